"""The classifier of a checkpoint, held against transformers' own model and against attention computed by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS, save_classifier
from safetensors.torch import load_file, save_file
from transformers import AutoVideoProcessor, VJEPA2ForVideoClassification

from vjepa_demo.errors import CheckpointError, RequestError
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model import checkpoints, zero_gpu
from vjepa_demo.model.encoder import Classification, Encoder, _gpu_seconds, get_encoder
from vjepa_demo.model.heads import one_line
from vjepa_demo.options import Sampling


@pytest.fixture(scope="module")
def theirs(small_classifier: Path) -> VJEPA2ForVideoClassification:
    return VJEPA2ForVideoClassification.from_pretrained(small_classifier, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def encoder(small_classifier: Path) -> Encoder:
    return get_encoder(str(small_classifier), "cpu", "fp32")


def clip_of(frames: int, height: int = 64, width: int = 64, *, image: bool = False) -> Clip:
    pixels = np.random.default_rng(frames).integers(0, 256, (frames, 3, height, width), np.uint8)
    source = Source("image" if image else "video", width, height, "raw", frame_count=frames)
    return Clip(pixels, np.arange(frames) / 4, source, Sampling(max(frames, 2)))


def by_hand(theirs: VJEPA2ForVideoClassification, tokens: np.ndarray) -> np.ndarray:
    """The pooler's cross-attention to each token `[N]`, in float64: head by head and token by token."""
    hidden = torch.from_numpy(tokens.reshape(1, -1, tokens.shape[-1]).copy())
    with torch.no_grad():
        for layer in theirs.pooler.self_attention_layers:
            hidden = layer(hidden, None)[0]
        cross = theirs.pooler.cross_attention_layer
        hidden = cross.layer_norm1(hidden)[0].numpy().astype(np.float64)
    attention = cross.cross_attn
    heads, size = attention.num_heads, attention.head_dim

    def product(layer: torch.nn.Linear, row: np.ndarray) -> np.ndarray:
        return layer.weight.detach().numpy().astype(np.float64) @ row + layer.bias.detach().numpy()

    query = product(attention.q_proj, theirs.pooler.query_tokens.detach().numpy()[0, 0].astype(np.float64))
    keys = [product(attention.k_proj, row) for row in hidden]
    total = np.zeros(len(hidden))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        powers = np.array([math.exp(float(query[own] @ key[own]) / math.sqrt(size)) for key in keys])
        total += powers / powers.sum()
    return total / heads


@pytest.mark.parametrize("frames", [16, 4])
def test_logits_are_transformers_own(encoder: Encoder, theirs, small_classifier: Path, frames: int) -> None:
    clip = clip_of(frames)
    inputs = AutoVideoProcessor.from_pretrained(small_classifier)(torch.from_numpy(clip.frames), return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).logits[0]
    found = encoder.classify(encoder.encode(clip).tokens)
    assert found.logits.dtype == np.float32
    assert np.abs(found.logits - expected.numpy()).max() < 1e-4
    assert expected.std() > 0.1, "a difference would show"
    other = encoder.classify(encoder.encode(clip_of(frames + 2)).tokens)
    assert np.abs(other.logits - found.logits).max() > 1e-3


def test_an_image_is_repeated_as_on_the_model_card(encoder: Encoder, theirs, small_classifier: Path) -> None:
    clip = clip_of(1, 90, 120, image=True)
    pixels = AutoVideoProcessor.from_pretrained(small_classifier)(torch.from_numpy(clip.frames), return_tensors="pt")
    with torch.no_grad():
        expected = theirs(pixels["pixel_values_videos"].repeat(1, 16, 1, 1, 1)).logits[0]
    found = encoder.classify(encoder.encode(clip).tokens)
    assert np.abs(found.logits - expected.numpy()).max() < 1e-4
    assert found.attention.shape == (8, 4, 4)


@pytest.mark.parametrize("fit", ["crop", "whole", "pad"])
def test_attention_is_that_of_the_last_layer_computed_by_hand(encoder: Encoder, theirs, fit: str) -> None:
    embedding = encoder.encode(clip_of(6, 64, 112), fit)
    found = encoder.classify(embedding.tokens)
    assert found.attention.shape == embedding.grid
    assert (embedding.grid == (3, 4, 7)) == (fit == "whole")
    expected = by_hand(theirs, embedding.tokens)
    np.testing.assert_allclose(found.attention.reshape(-1), expected, rtol=1e-3)
    assert found.attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert expected.max() > 1.5 * expected.min(), "a permutation would show"


def test_the_vector_is_what_the_labels_are_read_off(encoder: Encoder, theirs) -> None:
    tokens = encoder.encode(clip_of(4)).tokens
    found = encoder.classify(tokens)
    with torch.no_grad():
        expected = theirs.pooler(torch.from_numpy(tokens.reshape(1, -1, 88).copy()))[0].numpy()
        read = theirs.classifier(torch.from_numpy(found.pooled)).numpy()
    np.testing.assert_allclose(found.pooled, expected, atol=1e-4)
    np.testing.assert_allclose(found.logits, read, atol=1e-4)


def test_it_stays_in_fp32_where_the_encoder_does_not(small_classifier: Path, encoder: Encoder) -> None:
    half = get_encoder(str(small_classifier), "cpu", "bf16")
    assert {weights.dtype for weights in half.head.parameters()} == {torch.float32}
    clip = clip_of(4)
    exact, near = (used.classify(used.encode(clip).tokens) for used in (encoder, half))
    assert np.abs(exact.pooled - near.pooled).max() < 0.2
    tokens = encoder.encode(clip).tokens
    np.testing.assert_array_equal(half.classify(tokens).logits, encoder.classify(tokens).logits)


def test_its_weights_count_as_memory(encoder: Encoder, theirs) -> None:
    assert encoder.nbytes == sum(weights.nbytes for weights in theirs.parameters())


def test_labels_are_one_line_of_text_each(encoder: Encoder) -> None:
    assert encoder.labels == (*LABELS[:2], "two lines [31m", *LABELS[3:])
    assert one_line(3) == "3"


def test_checkpoints_without_a_classifier_say_so(small_checkpoint: Path) -> None:
    for name in ("nano", str(small_checkpoint)):
        assert not checkpoints.find(name).has_head
        encoder = get_encoder(name, "cpu", "fp32")
        with pytest.raises(RequestError, match="has no classifier"):
            encoder.classify(np.zeros((2, 4, 4, encoder.config.hidden_size), np.float32))
        with pytest.raises(RequestError, match="has no classifier"):
            encoder.labels  # noqa: B018


def test_which_have_one(small_classifier: Path) -> None:
    assert [known.id for known in checkpoints.KNOWN if known.has_head] == [known.id for known in checkpoints.HUB[4:]]
    assert checkpoints.find(str(small_classifier)).has_head


def test_frames_are_those_it_was_trained_on(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "fpc32", frames_per_clip=32)
    assert checkpoints.find(str(folder)).frames == 32
    assert checkpoints.find("facebook/vjepa2-vitl-fpc32-256-diving48").frames == 32
    assert checkpoints.find("facebook/vjepa2-vitl-fpc16-256-ssv2").frames == 16


@pytest.fixture
def copy(small_classifier: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_classifier, tmp_path / "copy"))


def test_weights_in_several_files(copy: Path, theirs, encoder: Encoder) -> None:
    (copy / "model.safetensors").unlink()
    theirs.save_pretrained(copy, max_shard_size="200KB")
    assert len(list(copy.glob("*.safetensors"))) > 1
    head = checkpoints.load(checkpoints.find(str(copy))).head
    assert all(torch.equal(weights, encoder.head.state_dict()[name]) for name, weights in head.state_dict().items())


def test_one_that_is_not_whole_is_left_out_and_one_of_another_shape_is_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    part = {name: value for name, value in weights.items() if name != "classifier.bias"}
    save_file(part, copy / "model.safetensors", metadata={"format": "pt"})
    assert checkpoints.load(checkpoints.find(str(copy))).head is None
    save_file({**part, "classifier.bias": torch.zeros(5)}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        checkpoints.load(checkpoints.find(str(copy)))


def test_labels_that_the_config_does_not_name_are_numbered(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {number: name for number, name in config["id2label"].items() if number != "4"} | {"9": "nine"}
    config["label2id"] = {name: number for number, name in config["id2label"].items()}
    (copy / "config.json").write_text(json.dumps(config))
    assert checkpoints.load(checkpoints.find(str(copy))).head.labels[4:] == ("4", "6")


def test_a_gpu_is_asked_for_as_long_as_the_tokens_take() -> None:
    name = "facebook/vjepa2-vitl-fpc16-256-ssv2"
    size = checkpoints.find(name).size
    asked = _gpu_seconds((name, "cuda", "bf16"), "judge", np.zeros((1, 2048, 4), np.float32), None)
    assert asked == zero_gpu.seconds(size, 16, 256, precision="bf16")


def test_what_it_gives_is_named(encoder: Encoder) -> None:
    found = encoder.classify(encoder.encode(clip_of(4)).tokens)
    assert isinstance(found, Classification)
    assert (found.logits.shape, found.pooled.shape, found.attention.shape) == ((6,), (88,), (2, 4, 4))
