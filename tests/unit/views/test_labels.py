"""What a clip is called: likeliest first, in all 1, with words of caution; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS, MakeVideo, save_classifier
from transformers import AutoVideoProcessor, VJEPA2ForVideoClassification

from vjepa_demo import cli, explore
from vjepa_demo.errors import FingerprintMismatch, RequestError
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model import checkpoints
from vjepa_demo.model.encoder import Classification
from vjepa_demo.options import Options, Sampling
from vjepa_demo.views.labels import cautions, labels, packed

MOVING = "geq=lum='mod(X*3+N*11+Y,255)':cb=128:cr=128"


@pytest.fixture(scope="module")
def clip_file(make_video: MakeVideo) -> Path:
    return make_video("moves.mp4", picture=MOVING, frames=24)


@pytest.fixture(scope="module")
def shown(clip_file: Path, small_classifier: Path) -> explore.Embedded:
    return explore.embed(clip_file, Options(str(small_classifier), precision="fp32"))


def classification(*logits: float) -> Classification:
    attention = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return Classification(np.array(logits, np.float32), np.zeros(5, np.float32), attention / attention.sum())


def test_they_are_the_softmax_in_order() -> None:
    found = labels(classification(1.0, 3.0, -200.0, 3.0), ("a", "b", "c", "d"))
    assert [label.label for label in found.likeliest] == ["b", "d", "a", "c"], "equals stay in their order"
    share = np.exp([3, 3, 1, -200]) / np.exp([3, 3, 1, -200]).sum()
    np.testing.assert_allclose([label.probability for label in found.likeliest], share, rtol=1e-6)
    assert sum(label.probability for label in found.likeliest) == pytest.approx(1.0)


def test_logits_of_any_size_have_probabilities() -> None:
    found = labels(classification(5000.0, -5000.0), ("a", "b"))
    assert [label.probability for label in found.likeliest] == [1.0, 0.0]


def test_where_it_looked_most() -> None:
    found = labels(classification(0.0), ("a",))
    mask = np.ones((3, 4), bool)
    assert found.most(mask) == ((1, 2, 3), pytest.approx(23 / 11.5))
    mask[2, 2:] = mask[:, 1] = False
    assert found.most(mask) == ((1, 2, 0), pytest.approx(20 / 11.5)), "padding is nothing to look at"
    kind, shape, data = packed(found)["attention"]
    assert (kind, shape) == ("float32", [24])
    np.testing.assert_allclose(np.frombuffer(data, "<f4"), np.arange(24) / 11.5, rtol=1e-6)


def test_all_of_it_on_a_checkpoint(shown: explore.Embedded, small_classifier: Path) -> None:
    inputs = AutoVideoProcessor.from_pretrained(small_classifier)(
        torch.from_numpy(shown.clip.frames.copy()), return_tensors="pt"
    )
    model = VJEPA2ForVideoClassification.from_pretrained(small_classifier).eval()
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1)[0]
    said: list[str] = []
    found = explore.labels_of(shown, 6, said.append)
    assert said == ["Naming what happens"]
    best = expected.argsort(descending=True)
    np.testing.assert_allclose([label.probability for label in found.likeliest], expected[best], atol=1e-4)
    names = [" ".join(LABELS[i].replace("\x1b", " ").split()) for i in best.tolist()]
    assert [label.label for label in found.likeliest] == names
    assert sum(label.probability for label in found.likeliest) == pytest.approx(1.0, abs=1e-6)
    assert found.attention.shape == shown.embedding.grid == (8, 4, 4)
    assert explore.labels_of(shown, 2).likeliest == found.likeliest[:2], "what is kept is not cut"
    assert len(explore.labels_of(shown, 99).likeliest) == len(LABELS)


def test_the_json_is_whole(shown: explore.Embedded) -> None:
    found = explore.labels_of(shown, 3)
    told = json.loads(json.dumps(explore.classify_json(shown.embedding, found)))
    assert [entry["label"] for entry in told["labels"]] == [label.label for label in found.likeliest]
    attention = np.array(told["attention"])
    assert attention.shape == tuple(told["grid"])
    assert attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert told["cautions"] == list(found.cautions)


def test_another_layer_is_shown_and_the_last_one_is_read(shown: explore.Embedded) -> None:
    early = explore.at_layer(shown, 0)
    one, other = explore.labels_of(shown), explore.labels_of(early)
    assert one.likeliest == other.likeliest
    embedder = explore.Embedder.open(shown.embedding.fingerprint.options)
    with pytest.raises(RequestError, match="last layer"):
        embedder.classify(early.embedding)


def test_clips_are_compared_by_what_the_labels_are_read_off(
    shown: explore.Embedded, clip_file: Path, small_classifier: Path, make_video: MakeVideo, tmp_path: Path
) -> None:
    model = VJEPA2ForVideoClassification.from_pretrained(small_classifier).eval()
    processor = AutoVideoProcessor.from_pretrained(small_classifier)

    def theirs(clip: Clip) -> np.ndarray:
        with torch.no_grad():
            tokens = model.vjepa2(**processor(torch.from_numpy(clip.frames.copy()), return_tensors="pt"))
            return model.pooler(tokens.last_hidden_state)[0].numpy()

    options = Options(str(small_classifier), precision="fp32")
    found = explore.embed(clip_file, options, pooling="probe")
    np.testing.assert_allclose(found.vector.array, theirs(found.clip), atol=1e-4)
    assert found.vector.kind.pooling == "probe"
    with pytest.raises(FingerprintMismatch, match="pooling"):
        found.vector.kind.require(shown.vector.kind)
    np.testing.assert_array_equal(explore.at_layer(found, 0).vector.array, found.vector.array)

    folder = tmp_path / "references"
    for number, speed in enumerate((3, 7, 12)):
        file = folder / f"label {number}" / f"{number}.mp4"
        file.parent.mkdir(parents=True)
        picture = f"geq=lum='mod(X*{speed}+N*{speed * 5}+Y,255)':cb=128:cr=128"
        shutil.copy(make_video(f"{number}.mp4", picture=picture, frames=16), file)
    compared = explore.compare(found, folder).comparison
    known = np.stack([theirs(explore.embed(folder / clip.file, options).clip) for clip in compared.references.clips])
    np.testing.assert_allclose(compared.references.vectors, known, atol=1e-4)


def test_a_checkpoint_without_a_classifier_is_not_compared_by_it(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no classifier"):
        explore.embed(clip_file, Options("nano", precision="fp32"), pooling="probe")
    with pytest.raises(RequestError, match="has no classifier"):
        explore.Embedder.open(Options("nano")).kind("probe")
    assert explore.Embedder.open(Options("nano")).poolings == ("mean", "motion")


def test_a_picture_and_a_wide_grid_have_labels(small_classifier: Path, photo: Path, make_video: MakeVideo) -> None:
    picture = explore.embed(photo, Options(str(small_classifier), precision="fp32"))
    assert explore.labels_of(picture).attention.shape == (8, 4, 4)
    wide = make_video("wide.mp4", picture=MOVING, size="128x64", frames=16)
    found = explore.labels_of(explore.embed(wide, Options(str(small_classifier), fit="whole", precision="fp32")))
    assert found.attention.shape == (8, 4, 8)
    assert found.attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert any("here it was given 16 (whole)" in words for words in found.cautions)


def test_checkpoints_without_a_classifier_are_told_before_anything_is_read(tmp_path: Path, clip_file: Path) -> None:
    with pytest.raises(RequestError, match="has no classifier"):
        explore.check_labels(5, Options("nano"))
    with pytest.raises(RequestError, match="has no classifier"):
        explore.labels_of(explore.embed(clip_file, Options("nano", precision="fp32")))
    with pytest.raises(RequestError, match="labels must be at least 1"):
        explore.check_labels(0, Options("facebook/vjepa2-vitl-fpc16-256-ssv2"))


def test_a_classifier_whose_weights_are_not_all_there_is_told(tmp_path: Path, clip_file: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_classifier(tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["pooler.query_tokens"]
    save_file(weights, folder / "model.safetensors")
    shown = explore.embed(clip_file, Options(str(folder), precision="fp32"))
    with pytest.raises(RequestError, match="has no classifier"):
        explore.labels_of(shown)


def test_the_words_of_caution() -> None:
    def told(name: str, frames: int, fit: str = "crop", count: int = 174) -> str:
        clip = Clip(np.zeros((frames, 3, 8, 8), np.uint8), np.zeros(frames), Source("video", 8, 8, "raw"), Sampling())
        return " ".join(cautions(checkpoints.find(name), count, clip, fit))  # type: ignore[arg-type]

    plain = told("facebook/vjepa2-vitl-fpc16-256-ssv2", 16)
    assert "knows 174 labels" in plain
    assert "One clip, one view" in plain
    assert "Diving48" not in plain
    assert "trained on" not in plain
    assert "trained on 16 frames" in told("facebook/vjepa2-vitl-fpc16-256-ssv2", 64)
    assert "given 16 (squash)" in told("facebook/vjepa2-vitl-fpc16-256-ssv2", 16, "squash")
    assert "read four layers" in told("facebook/vjepa2-vitg-fpc32-384-diving48", 32, count=48)


def test_from_a_shell(clip_file: Path, small_classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["classify", str(clip_file), "--checkpoint", str(small_classifier), "-k", "2", "--precision", "fp32"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert lines[:2] == [f"{entry['probability']:.3f}  {entry['label']}" for entry in told["labels"]]
    assert lines[2].startswith("It looked most at ")
    assert lines[3:] == told["cautions"]
    assert told["sampling"] == "even-16"
    assert cli.main(["classify", str(clip_file), "--checkpoint", "nano"]) == 2
    assert "has no classifier" in capsys.readouterr().err
