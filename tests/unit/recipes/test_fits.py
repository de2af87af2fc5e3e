"""The figures of the fits: the positions of both variants, where the masks are, and clips whose objects are known."""

from __future__ import annotations

from pathlib import Path

import fits
import nano
import numpy as np
import pytest
import torch
from measures import auc_of_objects, coverage
from recipes import TINY
from transformers import VJEPA2Model

from vjepa_demo.embedding import Embedding
from vjepa_demo.model.forward import encode, patchify


def moving_square(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and masks, 16:9, of a red square (1) that moves over grey noise, and of a blue one (2) at the left end."""
    rng = np.random.default_rng(number)
    frames = rng.integers(90, 140, (16, 126, 224, 1)).repeat(3, axis=3).astype(np.uint8)
    masks = np.zeros((16, 126, 224), dtype=np.int16)
    for t in range(16):
        for where, colour, name in (((100 + 2 * t, 40 + t), (220, 30, 30), 1), ((4, 60), (30, 30, 220), 2)):
            x, y = where
            frames[t, y : y + 28, x : x + 28], masks[t, y : y + 28, x : x + 28] = colour, name
    return frames, masks


def embedding(grid: tuple[int, int, int], window: tuple[float, float, float, float]) -> Embedding:
    tokens = np.random.default_rng(0).normal(size=(*grid, 4)).astype(np.float32)
    made = fits.get_encoder("nano", device="cpu", precision="fp32").fingerprint(fits.Sampling(16))
    return Embedding(tokens, np.arange(2.0 * grid[0]), made, "cpu", window, (224, 126))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("grid", [(16, 28), (28, 16), (13, 32)])
def test_the_positions_are_those_that_transformers_is_told(grid: tuple[int, int], scaled: bool) -> None:
    model = nano.new_nano(0, nano.nano_config(**TINY))
    rows, cols = grid
    pixels = torch.randn(1, 4, 3, 8 * rows, 8 * cols, generator=torch.Generator().manual_seed(0))
    patches = patchify(pixels, model.config)
    with torch.inference_mode():
        rope = fits.rope_of(model.config, grid, scaled=scaled)
        found = encode(model, patches, torch.arange(patches.shape[1])[None], rope)
        share = min(1.0, 15 / (cols - 1)) if scaled else 1.0
        places = [(t, y, x * share) for t in range(2) for y in range(rows) for x in range(cols)]
        for layer in model.encoder.layer:
            layer.attention.get_position_ids = lambda *_, **__: torch.tensor(places).T
        expected = VJEPA2Model.get_vision_features(model, pixels)
    assert (found - expected).abs().max() < 1e-4


def test_masks_are_seen_through_the_window() -> None:
    masks = np.zeros((2, 126, 224), np.int16)
    masks[:, :63, 112:] = 5
    right = fits.grid_masks(masks, embedding((1, 4, 4), (112.0, 0.0, 224.0, 126.0)))
    np.testing.assert_array_equal(coverage(right, 5, (4, 4))[0], [[1] * 4] * 2 + [[0] * 4] * 2)
    padded = fits.grid_masks(masks, embedding((1, 4, 4), (0.0, -49.0, 224.0, 175.0)))
    np.testing.assert_array_equal(coverage(padded, 5, (4, 4))[0][:, 3], [1 / 8, 1, 0, 0])
    whole = fits.grid_masks(masks, embedding((1, 2, 7), (0.0, 0.0, 224.0, 126.0)))
    np.testing.assert_array_equal(coverage(whole, 5, (2, 7))[0], [[0, 0, 0, 0.5, 1, 1, 1], [0] * 7])


def test_an_object_is_found_by_its_tokens_alone_on_any_grid() -> None:
    _, masks = moving_square(0)
    one = embedding((8, 16, 28), (0.0, 0.0, 224.0, 126.0))
    shown = fits.grid_masks(masks, one)
    one.tokens[:] += 50 * (coverage(shown, 1, (16, 28)) > 0.5)[..., None] * np.array([1, -1, 0, 0])
    found = auc_of_objects(one.tokens, shown, 100, np.random.default_rng(0))
    assert found[1] == pytest.approx(1.0, abs=1e-6)
    assert found[2] < 0.9, "its tokens are noise"
    area = (49.0, 0.0, 175.0, 126.0)
    points = fits.auc_at_points(one, masks, area, 100, np.random.default_rng(0))
    assert points.keys() == {1}, "the blue one is outside of the area"
    assert points[1] > 0.95


def test_patches_of_padding_do_not_count() -> None:
    _, masks = moving_square(0)
    one = embedding((8, 16, 16), (0.0, -49.0, 224.0, 175.0))
    shown = fits.grid_masks(masks, one)
    found = [
        auc_of_objects(
            np.where(one.patch_mask[..., None], one.tokens, x), shown, 9, np.random.default_rng(0), one.patch_mask
        )
        for x in (0, 7)
    ]
    assert found[0] == found[1]


def test_the_figures_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        frames, masks = moving_square(number)
        np.savez_compressed(tmp_path / f"clip_{number}.npz", frames=frames, masks=masks, label=np.array(""))
    assert fits.main(["--clips", str(tmp_path), "--json"]) == 0
    figures = fits.json.loads(capsys.readouterr().out)
    assert figures["whole"]["grid"] == [8, 16, 28]
    assert [figures[fit]["all"]["objects"] for fit in fits.FITS] == [4] * 5
    assert figures["crop"]["own grid"]["objects"] == 2, "the blue ones lie outside"
    assert figures["whole"]["own grid"]["objects"] == 4
    assert figures["crop"]["all"]["value"] == pytest.approx((figures["crop"]["own grid"]["value"] + 0.5) / 2)
    assert figures["whole"]["all, over crop"]["value"] > 0.1
    assert "16 × 28" in fits.table(figures)
