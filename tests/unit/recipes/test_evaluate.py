"""The card's figures against slow, obvious versions of themselves, on clips whose objects are known."""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import nano
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from baselines import colour_histogram, motion_energy, patch_colour, patch_pixels
from measures import bootstrap, coverage, knn_votes, object_auc, roc_auc
from recipes import TINY
from sklearn.metrics import roc_auc_score


def moving_square(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and masks of a red square that moves over grey noise, not aligned with the patches."""
    rng = np.random.default_rng(number)
    frames = rng.integers(90, 140, (16, 128, 128, 1)).repeat(3, axis=3).astype(np.uint8)
    masks = np.zeros((16, 128, 128), dtype=np.int16)
    y = int(rng.integers(5, 90))
    for t in range(16):
        frames[t, y : y + 28, 3 + 5 * t : 31 + 5 * t] = (220, 30, 30)
        masks[t, y : y + 28, 3 + 5 * t : 31 + 5 * t] = 1
    return frames, masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heldout")
    for number in range(4):
        frames, masks = moving_square(number)
        np.savez_compressed(folder / f"clip_{number}.npz", frames=frames, masks=masks, label=np.array("ab"[number % 2]))
    return folder


def slow_object_auc(tokens: np.ndarray, masks: np.ndarray) -> float:
    """One object, all of its queries, patch by patch."""
    centre = tokens.reshape(-1, tokens.shape[-1]).mean(0)

    def cosine(a, b):
        return float((a - centre) @ (b - centre) / np.linalg.norm(a - centre) / np.linalg.norm(b - centre))

    def cover(t, y, x):
        return float((masks[2 * t : 2 * t + 2, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] == 1).mean())

    figures = []
    for y in range(16):
        for x in range(16):
            if cover(0, y, x) <= 0.5:
                continue
            truth, scores = [], []
            for t, v, u in np.ndindex(7, 16, 16):
                share = cover(t + 1, v, u)
                if share > 0.5 or share == 0:
                    truth.append(share > 0.5)
                    scores.append(cosine(tokens[0, y, x], tokens[t + 1, v, u]))
            figures.append(roc_auc_score(truth, scores))
    return float(np.mean(figures))


def test_the_area_under_the_curve_counts_pairs():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (3, 40)) / 5.0  # with ties
    truth = rng.random(40) < 0.4
    for row, area in zip(scores, roc_auc(scores, truth), strict=True):
        pairs = [(p > n) + (p == n) / 2 for p in row[truth] for n in row[~truth]]
        assert area == pytest.approx(np.mean(pairs))
        assert area == pytest.approx(roc_auc_score(truth, row))
    with pytest.raises(ValueError, match="positives and negatives"):
        roc_auc(scores, np.ones(40, bool))


def test_object_auc_is_that_of_the_obvious_loop():
    frames, masks = moving_square(7)
    tokens = np.random.default_rng(1).normal(size=(8, 16, 16, 5)) + 4 * patch_colour(frames)[..., :1]
    figures = object_auc(tokens, masks, queries=1000, rng=np.random.default_rng(0))
    assert figures == [pytest.approx(slow_object_auc(tokens, masks))]


def test_an_object_that_is_not_there_at_first_gives_no_figure():
    frames, masks = moving_square(7)
    masks[:2] = 0
    assert object_auc(patch_colour(frames), masks, 16, np.random.default_rng(0)) == []


def test_coverage_is_the_share_of_pixels_in_both_frames():
    masks = np.zeros((4, 32, 32), dtype=np.int16)
    masks[2, 0, 0] = 5
    expected = np.zeros((2, 16, 16))
    expected[1, 0, 0] = 1 / 8
    np.testing.assert_array_equal(coverage(masks, 5), expected)
    with pytest.raises(ValueError, match="do not fit"):
        coverage(masks[:3], 5)


def test_neighbours_vote_and_none_for_itself():
    angles = np.radians([0, 1, 2, 90, 91, 45])
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array(["a", "b", "b", "c", "c", "d"])
    assert list(knn_votes(known, known, labels, 1, leave_one_out=True)) == ["b", "a", "b", "c", "c", "b"]
    assert list(knn_votes(known, known, labels, 1)) == list(labels)
    assert list(knn_votes(known[:1], known, labels, 3)) == ["b"]


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=400)
    figure = bootstrap(values, np.mean)
    assert figure["value"] == pytest.approx(values.mean())
    assert (figure["high"] - figure["low"]) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert figure == bootstrap(values, np.mean)


def test_baselines_describe_the_patches_and_clips_that_they_name():
    frames, _ = moving_square(3)
    colour, pixels = patch_colour(frames), patch_pixels(frames)
    patch = frames[4:6, 24:32, 40:48] / 255
    np.testing.assert_allclose(colour[2, 3, 5], patch.mean((0, 1, 2)), rtol=1e-5)
    expected = (patch - patch.mean()) / (patch.std() + 1e-3)
    np.testing.assert_allclose(pixels[2, 3, 5], expected.ravel(), atol=1e-4)
    assert np.square(colour_histogram(frames)).sum() == pytest.approx(1)
    still = motion_energy(np.repeat(frames[:1], 16, axis=0))
    assert not still.any()
    assert motion_energy(frames).any()


def test_the_forecast_sees_only_the_first_half():
    model = nano.new_nano(0, nano.nano_config(**TINY))
    judge = evaluate.Nano(model)
    frames, _ = moving_square(2)
    whole = judge.tokens(frames)
    errors = judge.forecast(frames, whole)
    pixels = evaluate.pixel_values(frames)
    with torch.no_grad():
        torch.testing.assert_close(whole, model.get_vision_features(pixels)[0], atol=1e-4, rtol=0)
        context = model.get_vision_features(pixels[:, :8])
        at = torch.arange(2048)[None]
        told = model.predictor(context, [at[:, :1024]], [at[:, 1024:]]).last_hidden_state[0]
        target = F.layer_norm(whole, whole.shape[-1:])
        last = F.layer_norm(context, whole.shape[-1:])[0, 768:]
    for ahead in range(4):
        now = slice(1024 + 256 * ahead, 1280 + 256 * ahead)
        assert errors[0, ahead] == pytest.approx(
            float((told[256 * ahead : 256 * ahead + 256] - target[now]).abs().mean()), abs=1e-4
        )
        assert errors[1, ahead] == pytest.approx(float((last - target[now]).abs().mean()), abs=1e-4)
    changed = frames.copy()
    changed[8:] = 0
    with torch.no_grad():
        torch.testing.assert_close(judge.tokens(changed[:8]), context[0], atol=1e-4, rtol=0)


def test_one_command_gives_all_figures(folder, tmp_path, capsys):
    nano.save_nano(nano.new_nano(0, nano.nano_config(**TINY)), tmp_path)
    arguments = ["--checkpoint", str(tmp_path), "--clips", str(folder), "--queries", "4"]
    assert evaluate.main([*arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["object_auc"]) == {"nano", "random nano, seed 0", "patch colour", "patch pixels"}
    assert figures["object_auc"]["patch colour"]["value"] > 0.95, "a red square on grey"
    assert figures["object_auc"]["nano"]["objects"] == 4
    ours = {f"{who}, {pooling}" for who in ("nano", "random nano, seed 0") for pooling in ("mean", "motion")}
    assert set(figures["labels"]) == {*ours, "colour histogram", "motion energy", "chance"}
    for figure in figures["object_auc"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    for ahead in range(1, 5):
        of = figures["forecast"]["nano"]
        ratio = of[f"predictor_{ahead}"]["value"] / of[f"copy_{ahead}"]["value"]
        assert of[f"over_copy_{ahead}"]["value"] == pytest.approx(ratio)
    evaluate.main(arguments)
    assert "| nano |" in capsys.readouterr().out
