"""Which checkpoints can be named, how they are loaded, and what is said where they cannot be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from conftest import save_checkpoint
from transformers import AutoModel, VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model, VJEPA2VideoProcessor

from vjepa_demo.errors import CheckpointError
from vjepa_demo.model import checkpoints
from vjepa_demo.settings import ASSETS, Settings

HUB_ID = "facebook/vjepa2-vitl-fpc64-256"


@pytest.fixture
def copy(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with nothing in it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


def refused(name: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(checkpoints.find(str(name)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_known_ones() -> None:
    assert len(checkpoints.HUB) == 8
    assert checkpoints.find("nano").frames == 16
    for checkpoint in checkpoints.HUB:
        assert checkpoints.find(checkpoint.id) is checkpoint
        assert f"fpc{checkpoint.frames}" in checkpoint.id or "fpc64" in checkpoint.id
        assert checkpoint.folder is None


def test_a_default_that_cannot_be_loaded_makes_auto_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_automatic", checkpoints.Choice(checkpoints.LARGE, "on a GPU"))
    assert checkpoints.find("auto") is checkpoints.LARGE
    assert checkpoints.fall_back(checkpoints.HUB[1]).checkpoint is checkpoints.NANO
    assert checkpoints.find("auto") is checkpoints.LARGE, "it was another one that failed"
    choice = checkpoints.fall_back(checkpoints.LARGE)
    assert choice.why == "ViT-L could not be loaded"
    assert checkpoints.find("auto") is checkpoints.NANO
    assert checkpoints.automatic() is choice


@pytest.mark.parametrize(
    ("device", "cuda", "gpu"), [("auto", True, True), ("cpu", True, False), ("auto", False, False)]
)
def test_a_gpu_counts_where_it_may_be_used(monkeypatch: pytest.MonkeyPatch, device: str, cuda: bool, gpu: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(checkpoints, "may_have_gpu", lambda: True)
    monkeypatch.setattr(checkpoints, "settings", Settings(device=device))
    assert checkpoints._has_gpu() == gpu


def test_what_is_offered(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(names: str) -> list[str]:
        monkeypatch.setattr(checkpoints, "settings", Settings(offered=names))
        return [checkpoint.id for checkpoint in checkpoints.offered()]

    assert offered("") == [checkpoint.id for checkpoint in checkpoints.KNOWN]
    giant = "facebook/vjepa2-vitg-fpc64-384"
    assert offered(f"{giant}  nano {small_checkpoint}") == ["nano", giant, str(small_checkpoint)]
    with pytest.raises(CheckpointError, match="There is no checkpoint 'facebook/vjepa3'"):
        offered("facebook/vjepa3")
    monkeypatch.setattr(checkpoints, "ZERO_GPU", True)
    assert offered("") == ["nano", HUB_ID]
    monkeypatch.setattr(checkpoints, "withdrawn", {HUB_ID})
    assert offered("") == ["nano"]


def test_sizes_are_those_of_the_configuration(small_checkpoint: Path) -> None:
    from transformers import AutoConfig

    assert checkpoints.Size.of(AutoConfig.from_pretrained(checkpoints.NANO.folder)) == checkpoints.NANO.size
    assert checkpoints.Size.of(VJEPA2Config()) == checkpoints.find(HUB_ID).size
    giant = VJEPA2Config(
        hidden_size=1408, num_hidden_layers=40, num_attention_heads=22, mlp_ratio=48 / 11, crop_size=384
    )
    assert checkpoints.Size.of(giant) == checkpoints.find("facebook/vjepa2-vitg-fpc64-384").size
    assert checkpoints.find(str(small_checkpoint)).size == checkpoints.Size(88, 4, 3, 352, 64)


def test_a_local_folder(small_checkpoint: Path) -> None:
    told: list[str] = []
    checkpoint = checkpoints.find(str(small_checkpoint))
    assert checkpoint.frames == 16
    loaded = checkpoints.load(checkpoint, told.append)
    assert told
    expected = AutoModel.from_pretrained(small_checkpoint).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model.state_dict().items())
    assert {value.dtype for value in loaded.model.state_dict().values()} == {torch.float32}
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.processor.crop_size["height"] == 64


def test_a_classifiers_encoder_is_loaded(tmp_path: Path) -> None:
    """The checkpoints tuned on Something-Something and Diving48 keep the encoder under another name."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2, "crop_size": 64}
    small = {"pred_hidden_size": 24, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1, "num_pooler_layers": 1}
    tuned = VJEPA2ForVideoClassification(VJEPA2Config(**sizes, **small, num_labels=3)).eval()
    tuned.save_pretrained(tmp_path / "tuned")
    VJEPA2VideoProcessor(crop_size=64).save_pretrained(tmp_path / "tuned")
    loaded = checkpoints.load(checkpoints.find(str(tmp_path / "tuned")))
    pixels = torch.randn(1, 4, 3, 64, 64)
    with torch.no_grad():
        found = loaded.model.get_vision_features(pixels)
        expected = tuned.vjepa2.get_vision_features(pixels)
    assert torch.equal(found, expected)


def test_weights_stored_in_half_precision_are_loaded_in_full(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "half")
    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    loaded = checkpoints.load(checkpoints.find(str(folder)))
    assert loaded.model.dtype == torch.float32


def test_weights_are_loaded_straight_to_a_precision(small_checkpoint: Path) -> None:
    loaded = checkpoints.load(checkpoints.find(str(small_checkpoint)), precision="bf16")
    expected = AutoModel.from_pretrained(small_checkpoint, dtype=torch.bfloat16).state_dict()
    found = loaded.model.state_dict()
    assert found.keys() == expected.keys()
    rounded = [name for name in expected if found[name].dtype == torch.bfloat16]
    assert all(torch.equal(found[name], expected[name]) for name in rounded)
    assert not [name for name in expected if name not in rounded and "norm" not in name and "patch_emb" not in name]


def test_loading_takes_no_more_memory_than_the_weights(tmp_path: Path) -> None:
    """100 million of them, as `bench/loading.py` measures a ViT-g: a copy in fp32, or a mapped file, takes 2 or 3 times
    as much."""
    shape = {"hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16}
    with torch.device("meta"):
        model = VJEPA2Model(VJEPA2Config(**shape))
    model.load_state_dict({name: torch.rand(value.shape) for name, value in model.state_dict().items()}, assign=True)
    model.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(crop_size=256).save_pretrained(tmp_path)
    command = [sys.executable, "bench/loading.py", "--load", str(tmp_path), "cpu", "bf16"]
    root = ASSETS.parent
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def test_weights_in_several_files(copy: Path, small_checkpoint: Path) -> None:
    (copy / "model.safetensors").unlink()
    model = AutoModel.from_pretrained(small_checkpoint)
    model.save_pretrained(copy, max_shard_size="200KB")
    assert len(list(copy.glob("*.safetensors"))) > 1
    found = checkpoints.load(checkpoints.find(str(copy))).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_a_predictor_that_is_not_whole_is_left_out(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    some = {name: value for name, value in weights.items() if "mask_token" not in name}
    save_file(some, copy / "model.safetensors", metadata={"format": "pt"})
    model = checkpoints.load(checkpoints.find(str(copy))).model
    assert model.predictor is None
    assert model.get_vision_features(torch.zeros(1, 2, 3, 64, 64)).shape == (1, 16, 88)


def test_the_revision_follows_the_files(copy: Path, small_checkpoint: Path) -> None:
    def revision(folder: Path) -> str:
        return checkpoints.load(checkpoints.find(str(folder))).revision

    assert revision(copy) == revision(small_checkpoint)
    processor = json.loads((copy / "video_preprocessor_config.json").read_text())
    (copy / "video_preprocessor_config.json").write_text(json.dumps({**processor, "image_mean": [0.4, 0.4, 0.4]}))
    assert revision(copy) != revision(small_checkpoint)


def test_a_hub_checkpoint_in_the_cache_needs_no_network(
    small_checkpoint: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = empty_cache / ("models--" + HUB_ID.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(small_checkpoint, repository / "snapshots" / commit)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    loaded = checkpoints.load(checkpoints.find(HUB_ID))
    assert loaded.revision == commit
    assert loaded.checkpoint.id == HUB_ID


def test_names_that_are_none() -> None:
    for name in ("facebook/vjepa2-huge", "no such folder", "", "nano ", "~nobody-here/x", "x\0y", "x" * 5000):
        message = refused(name)
        assert "nano" in message
        assert "facebook/vjepa2-vitl-fpc64-256" in message


def test_folders_that_hold_no_v_jepa_2(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "empty")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "bert" in refused(copy)
    (copy / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(copy)
    (copy / "config.json").write_text(json.dumps({**config, "crop_size": 96}))
    message = refused(copy)
    assert "64 px" in message
    assert "96 px" in message


def test_damaged_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    assert "damaged or incomplete" in refused(copy)
    weights.write_bytes(b"")
    assert "damaged or incomplete" in refused(copy)
    weights.unlink()
    assert "damaged or incomplete" in refused(copy)


def test_pickled_weights_are_not_opened(copy: Path) -> None:
    model = AutoModel.from_pretrained(copy)
    (copy / "model.safetensors").unlink()
    torch.save(model.state_dict(), copy / "pytorch_model.bin")
    assert "safetensors" in refused(copy)


def test_weights_of_another_shape_or_missing(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    removed = {name: value for name, value in weights.items() if "encoder.layer.1." not in name}
    save_file(removed, copy / "model.safetensors", metadata={"format": "pt"})
    assert "damaged or incomplete" in refused(copy), "a layer would be left at random values"


def test_no_preprocessor(copy: Path) -> None:
    (copy / "video_preprocessor_config.json").unlink()
    assert "video_preprocessor_config.json" in refused(copy)
