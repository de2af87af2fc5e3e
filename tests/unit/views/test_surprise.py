"""What the predictor expects, held against transformers' own modules the long way; and what it must not have seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeVideo, save_checkpoint
from transformers import AutoModel, AutoVideoProcessor

from vjepa_demo import explore
from vjepa_demo.errors import RequestError
from vjepa_demo.model.encoder import Encoder, Forecast, get_encoder
from vjepa_demo.options import Options
from vjepa_demo.settings import ASSETS
from vjepa_demo.views.surprise import Windows, expected, parse_contexts, surprise

MOVING = "geq=lum='mod(X*3+N*11+Y,255)':cb=128:cr=128"


@pytest.fixture(scope="module")
def clip_file(make_video: MakeVideo) -> Path:
    return make_video("moves.mp4", picture=MOVING, frames=24)


@pytest.fixture(scope="module")
def encoder(small_checkpoint: Path) -> Encoder:
    return get_encoder(str(small_checkpoint), "cpu", "fp32")


@pytest.fixture(scope="module")
def shown(clip_file: Path, small_checkpoint: Path) -> explore.Embedded:
    return explore.embed(clip_file, Options(str(small_checkpoint), frames=20, precision="fp32"))


def slow(folder: Path, frames: np.ndarray, windows: Windows) -> np.ndarray:
    """`[contexts, S, H', W']`: window by window and context by context, with transformers' own modules alone."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoVideoProcessor.from_pretrained(folder)
    steps, side = len(frames) // 2, model.config.crop_size // model.config.patch_size
    found: list[list[list[np.ndarray]]] = [[[] for _ in range(steps)] for _ in windows.contexts]
    for start in range(0, len(frames) - windows.window + 1, windows.stride):
        pixels = processor(torch.tensor(frames[start : start + windows.window]), return_tensors="pt")
        video = pixels["pixel_values_videos"]
        with torch.no_grad():
            whole = model.get_vision_features(video)
            target = torch.nn.functional.layer_norm(whole, whole.shape[-1:])
            for number, context in enumerate(windows.contexts):
                tokens = model.get_vision_features(video[:, :context])
                known = torch.arange(tokens.shape[1])[None]
                asked = torch.arange(tokens.shape[1], whole.shape[1])[None]
                told = model.predictor(encoder_hidden_states=tokens, context_mask=[known], target_mask=[asked])
                errors = (told.last_hidden_state - target[:, asked[0]]).abs().mean(-1).reshape(-1, side, side)
                for step, error in enumerate(errors, start=(start + context) // 2):
                    found[number][step].append(error.numpy())
    nothing = np.full((side, side), np.nan)
    return np.array([[np.mean(all_of, axis=0) if all_of else nothing for all_of in row] for row in found])


@pytest.mark.parametrize("windows", [Windows(), Windows(8, 4, (2, 6)), Windows(20, 2, (4,))], ids=str)
def test_it_is_what_transformers_gives_the_long_way(
    shown: explore.Embedded, small_checkpoint: Path, windows: Windows
) -> None:
    found = explore.surprise_of(shown, windows)
    wanted = slow(small_checkpoint, shown.clip.frames, windows)
    np.testing.assert_allclose(found.per_context, wanted.mean(axis=(2, 3)), rtol=2e-3)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        np.testing.assert_allclose(found.per_patch, np.nanmean(wanted, axis=0), rtol=5e-3)
        np.testing.assert_allclose(found.surprise, np.nanmean(wanted.mean(axis=(2, 3)), axis=0), rtol=2e-3)
    assert np.isnan(found.surprise[0]), "nothing comes before the first step"
    np.testing.assert_allclose(found.timestamps, shown.clip.timestamps.reshape(-1, 2).mean(axis=1))


VITL = {
    **{"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 2},
    **{"pred_hidden_size": 384, "pred_num_attention_heads": 12, "pred_num_hidden_layers": 2},
    "initializer_range": 0.02,
}


@pytest.mark.parametrize("shape", ["nano", "ViT-L"])
def test_of_nano_and_of_vitls_shape_it_is_the_long_way_within_one_per_cent(
    shape: str, clip_file: Path, tmp_path: Path
) -> None:
    folder = ASSETS / "nano" if shape == "nano" else save_checkpoint(tmp_path / shape, crop=256, **VITL)
    windows = Windows(8, 4, (2, 6))
    shown = explore.embed(clip_file, Options(str(folder), frames=12, precision="fp32"))
    found, wanted = explore.surprise_of(shown, windows), slow(folder, shown.clip.frames, windows)
    np.testing.assert_allclose(found.per_context, wanted.mean(axis=(2, 3)), rtol=0.01)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        np.testing.assert_allclose(found.per_patch, np.nanmean(wanted, axis=0), rtol=0.01)


def test_what_is_expected_has_not_seen_what_comes(encoder: Encoder, small_checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 16, 3, 64, 64), np.uint8)
    other = frames.copy()
    other[:, 8:] = rng.integers(0, 256, other[:, 8:].shape)
    first, second = (encoder.forecast(pixels, [2, 4]) for pixels in (frames, other))
    for steps in (2, 4):
        np.testing.assert_array_equal(first.expected[steps], second.expected[steps])
        np.testing.assert_array_equal(first.seen[steps], second.seen[steps])
    assert np.abs(first.target - second.target).max() > 0.1
    # transformers' own call takes the context from an encoding of all of it, and has seen it.
    model = AutoModel.from_pretrained(small_checkpoint).eval()
    known, asked = torch.arange(64)[None], torch.arange(64, 128)[None]
    with torch.no_grad():
        leaks = [
            model(encoder.normalise(torch.from_numpy(pixels)), context_mask=[known], target_mask=[asked])
            for pixels in (frames, other)
        ]
    one, two = (leak.predictor_output.last_hidden_state for leak in leaks)
    assert (one - two).abs().max() > 1e-3


def test_windows_go_together_as_they_go_alone(encoder: Encoder) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (24, 3, 64, 64), np.uint8)
    mask, stamps = np.ones((4, 4), bool), np.arange(24) / 4
    alone, together = (surprise(frames, stamps, mask, encoder.forecast, Windows(), at_once=count) for count in (1, 3))
    np.testing.assert_allclose(alone.per_patch, together.per_patch, rtol=1e-4)


def test_padding_counts_for_nothing(clip_file: Path, small_checkpoint: Path, make_video: MakeVideo) -> None:
    wide = make_video("wide.mp4", picture=MOVING, size="128x64", frames=16)
    shown = explore.embed(wide, Options(str(small_checkpoint), frames=16, fit="pad", precision="fp32"))
    found = explore.surprise_of(shown)
    assert np.isnan(found.per_patch[:, ~shown.embedding.patch_mask]).all()
    seen = found.per_patch[1:, shown.embedding.patch_mask]
    assert np.isfinite(seen).all()
    assert np.isfinite(found.surprise[1:]).all()
    drawn = explore.expected_of(shown)
    assert (drawn.nearest[..., ~shown.embedding.patch_mask] == -1).all()


def test_what_is_expected_is_told_in_patches_that_were_seen(shown: explore.Embedded, encoder: Encoder) -> None:
    found = explore.expected_of(shown)
    frames = encoder.preprocess(shown.clip)[0]
    area = found.nearest.shape[2] * found.nearest.shape[3]
    for row, steps in enumerate(found.steps):
        told = encoder.forecast(frames[None], [steps])
        keys = torch.from_numpy(told.seen[steps][0].reshape(-1, 88))
        guesses = torch.from_numpy(told.expected[steps][0].reshape(-1, 88))
        guesses = torch.nn.functional.layer_norm(guesses, (88,))
        alike = torch.nn.functional.cosine_similarity(guesses[:, None], keys[None], dim=-1)
        best, index = alike.max(dim=1)
        assert (found.nearest[row, :steps] == -1).all()
        assert (found.nearest[row, steps:].reshape(-1) < steps * area).all()
        np.testing.assert_allclose(found.cosine[row, steps:].reshape(-1), best, atol=1e-4)
        same = found.nearest[row, steps:].reshape(-1) == index.numpy()
        assert same.mean() > 0.99


@pytest.mark.parametrize(("frames", "forecasts"), [(16, 1), (12, 1), (20, 4)])
def test_both_are_what_each_is_alone_and_a_single_window_is_forecast_once(
    clip_file: Path,
    small_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: int,
    forecasts: int,
) -> None:
    shown = explore.embed(clip_file, Options(str(small_checkpoint), frames=frames, precision="fp32"))
    alone = explore.surprise_of(shown, Windows.fitting(frames)), explore.expected_of(shown)
    explore.kept.clear()
    asked = []

    def counted(self: Encoder, pixels: np.ndarray, steps: Sequence[int]) -> Forecast:
        asked.append(steps)
        return whole(self, pixels, steps)

    whole = Encoder.forecast
    monkeypatch.setattr(Encoder, "forecast", counted)
    found, drawn = explore.foreseen_of(shown)
    np.testing.assert_allclose(found.per_context, alone[0].per_context, rtol=1e-5)
    assert (drawn.nearest == alone[1].nearest).mean() > 0.99
    assert drawn.steps == alone[1].steps
    assert len(asked) == forecasts
    assert explore.foreseen_of(shown)[0] is found, "it is kept"


def test_a_forecast_of_a_clip_that_stands_still_is_drawn_in_its_own_patches() -> None:
    """A predictor that copies: each patch to come is the patch of its place in the last step that was seen."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(1, 1, 3, 4, 16)).astype(np.float32)

    target = np.repeat(one, 4, axis=1)
    seen = {steps: target[:, :steps] for steps in (1, 2)}
    told = Forecast(target, seen, {steps: target[:, steps:] for steps in (1, 2)})
    found = expected(np.zeros((8, 3, 48, 64), np.uint8), np.ones((3, 4), bool), lambda frames, steps: told, (1, 2))
    assert (found.nearest[0, 1:] == np.arange(12).reshape(3, 4)).all()
    assert (found.nearest[1, 2:] % 12 == np.arange(12).reshape(3, 4)).all()
    assert found.cosine[0, 1:].min() > 0.999


@pytest.mark.parametrize(
    ("windows", "frames", "words"),
    [
        (Windows(15), 16, "even numbers"),
        (Windows(stride=0), 16, "even numbers"),
        (Windows(contexts=(2, 3)), 16, "even numbers"),
        (Windows(contexts=()), 16, "different numbers"),
        (Windows(contexts=(2, 2)), 16, "different numbers"),
        (Windows(8), 16, "leaves nothing"),
        (Windows(32, contexts=(2,)), 16, "does not fit into 16"),
    ],
)
def test_windows_that_cannot_be_are_told(windows: Windows, frames: int, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        windows.check(frames)


@pytest.mark.parametrize("text", ["", "2,", "a", "2;4", "99999", "2,4," * 40])
def test_contexts_that_are_none_are_told(text: str) -> None:
    with pytest.raises(RequestError, match="contexts must be"):
        parse_contexts(text)


def test_a_picture_and_a_checkpoint_without_predictor_are_told(
    tmp_path: Path, clip_file: Path, small_checkpoint: Path
) -> None:
    from PIL import Image
    from safetensors.torch import load_file, save_file

    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    with pytest.raises(RequestError, match="no future"):
        explore.surprise_of(explore.embed(picture, Options(str(small_checkpoint), precision="fp32")))
    bare = save_checkpoint(tmp_path / "bare")
    weights = {
        name: weight for name, weight in load_file(bare / "model.safetensors").items() if "predictor" not in name
    }
    save_file(weights, bare / "model.safetensors")
    shown = explore.embed(clip_file, Options(str(bare), frames=16, precision="fp32"))
    for what in (explore.surprise_of, explore.expected_of):
        with pytest.raises(RequestError, match="has no predictor"):
            what(shown)


def test_the_json_holds_null_where_nothing_was_expected(shown: explore.Embedded) -> None:
    found = explore.surprise_of(shown, Windows(16, 8, (4,)))
    told = explore.surprise_json(shown.embedding, found)
    assert told["surprise"][:2] == [None, None]
    assert told["surprise"][-2:] == [None, None], "a stride that leaves the last frames out tells so"
    assert told["maximum"] == int(np.nanargmax(found.surprise))
    assert len(told["timestamps"]) == len(told["surprise"]) == len(told["per_context"][0]) == 10


def test_the_file_holds_what_the_json_says(shown: explore.Embedded, tmp_path: Path) -> None:
    found = explore.surprise_of(shown)
    found.save(tmp_path / "surprise.npz")
    saved = np.load(tmp_path / "surprise.npz")
    assert set(saved) == {"timestamps", "surprise", "per_context", "per_patch", "contexts"}
    np.testing.assert_array_equal(saved["per_patch"], found.per_patch)
    assert saved["per_patch"].shape == (10, 4, 4)
