"""Training views: what is cut out where, how cameras and things move, and where a view stands in the grid."""

from __future__ import annotations

from pathlib import Path

import nano
import numpy as np
import pytest
import torch
import views
from PIL import Image
from recipes import save_shard


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A photograph whose red grows to the right and green downwards, and a blue square with a transparent border."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "cutouts").mkdir()
    x, y = np.meshgrid(np.linspace(0, 255, 640), np.linspace(0, 255, 480))
    Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)).save(tmp_path / "photos/ramp.png")
    thing = np.zeros((200, 200, 4), np.uint8)
    thing[50:150, 50:150] = 0, 0, 255, 255
    Image.fromarray(thing).save(tmp_path / "cutouts/square.webp", lossless=True)
    return tmp_path


def test_a_square_around_a_centre_is_what_is_seen():
    x = torch.arange(64.0).expand(64, 64)
    picture = torch.stack([x, x.T, torch.zeros(64, 64)])[None].byte()
    centre, span = np.array([[[20.0, 40.0]]]), np.array([[16.0]])
    seen = views._look(picture, views._placed(centre, span, 0 * span, np.ones(1), (64, 64)))[0, 0] * 255
    # pixel k covers k to k + 1: its middle is at k + 1/2
    expected = 12 + (np.arange(views.SIDE) + 0.5) / 16 - 0.5
    np.testing.assert_allclose(seen[0, 128], expected, atol=0.02)
    np.testing.assert_allclose(seen[1, :, 128], expected + 20, atol=0.02)
    turned = views._look(picture, views._placed(centre, span, span * 0 + np.pi / 2, np.ones(1), (64, 64)))[0, 0] * 255
    np.testing.assert_allclose(turned[1, 128], expected + 20, atol=0.05)  # to the right is now downwards


def test_a_camera_over_a_photograph_stays_inside_and_moves_without_jumps(pictures):
    photographs = views.Photographs(pictures / "photos")
    frames = photographs.draw(np.random.default_rng(0), 12, 16)
    assert frames.shape == (12, 16, 3, views.SIDE, views.SIDE)
    assert float(frames[:, :, 2].max()) < 1e-6, "nothing beyond the photograph is seen"
    middle = frames[:, :, :2, 128, 128].numpy()
    speed = np.diff(middle, axis=1)
    assert np.abs(speed).max() < 0.06, "a sixteenth of the way at most"
    assert (np.abs(speed).max(axis=(1, 2)) > 1e-3).any(), "some move"
    assert (np.abs(speed).max(axis=(1, 2)) < 1e-6).any(), "some stand still"


def test_things_pass_before_a_photograph(pictures):
    photographs = views.Photographs(pictures / "photos", pictures / "cutouts")
    frames = photographs.draw(np.random.default_rng(1), 16, 8)
    blue = (frames[:, :, 2] > 0.5).flatten(2).float().mean(-1)
    assert 0.2 < float((blue > 0).float().mean()) < 0.99
    assert float(blue.max()) < 0.5
    inside = frames[:, :, :, :, :].permute(0, 1, 3, 4, 2)[frames[:, :, 2] > 0.999]
    assert float(inside[:, :2].max()) < 0.01, "a thing hides what is behind it"


def test_clips_are_cut_alike_in_all_frames_and_run_forwards(tmp_path):
    clip = np.zeros((1, 16, 128, 128, 3), np.uint8)
    clip[0, ..., 0] = np.arange(16)[:, None, None] * 10
    clip[0, ..., 1] = np.arange(128)
    np.save(tmp_path / "train_000.npy", clip)
    drawn = views.Films(tmp_path).draw(np.random.default_rng(0), 20, 8) * 255
    numbers = (drawn[:, :, 0, 0, 0] / 10).round().numpy()
    assert set(np.diff(numbers, axis=1).ravel()) == {1.0, 2.0}
    assert float((drawn[:, :, 1] - drawn[:, :1, 1]).abs().max()) < 1e-3, "one crop for a clip"
    width = (drawn[:, 0, 1, 0, -1] - drawn[:, 0, 1, 0, 0]).abs().numpy()
    assert 0.55 * 128 < width.min() < width.max() < 128


def test_clips_are_drawn_as_often_as_their_kind_says(tmp_path):
    np.save(tmp_path / "train_000.npy", np.zeros((20, 16, 8, 8, 3), np.uint8))
    shares = views.Films(tmp_path).shares
    np.testing.assert_allclose(shares, np.tile(views.WEIGHTS, 2) / (2 * sum(views.WEIGHTS)))


def test_a_view_stands_in_the_grid_at_neighbouring_times(tmp_path):
    save_shard(tmp_path)
    drawn = views.draw_views(views.Films(tmp_path), None, np.random.default_rng(0), 5, 3)
    assert drawn.frames.shape == (5, 6, 3, views.SIDE, views.SIDE)
    assert 0 <= float(drawn.frames.min()) <= float(drawn.frames.max()) <= 1
    places = drawn.positions.view(5, 3, 256)
    assert torch.equal(places % 256, torch.arange(256).expand(5, 3, 256))
    assert (places.diff(dim=1) == 256).all()
    assert 0 <= int(places.min()) <= int(places.max()) < nano.TOKENS
    assert torch.equal(
        views.draw_views(views.Films(tmp_path), None, np.random.default_rng(0), 1, 8).positions[0],
        torch.arange(nano.TOKENS),
    )


def test_the_model_s_input_is_the_normalised_mean_of_two_by_two_pixels():
    frames = torch.rand(2, 4, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    given = views.as_input(frames)
    assert given.shape == (2, 4, 3, 128, 128)
    block = frames[1, 2, :, 10:12, 20:22].mean(dim=(1, 2))
    expected = (block - torch.tensor(nano.MEAN)) / torch.tensor(nano.STD)
    torch.testing.assert_close(given[1, 2, :, 5, 10], expected)


def test_empty_folders_are_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no clips"):
        views.Films(tmp_path)
    with pytest.raises(FileNotFoundError, match="no photographs"):
        views.Photographs(tmp_path)
