"""The Embedding: its grid, its pooling, its window, and the file it is written to."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo.embedding import Embedding, Fingerprint, Kind, motion
from vjepa_demo.errors import FingerprintMismatch, RequestError

MADE = Fingerprint("nano", "abc", "fp32", "even-4", "crop")


def make(window=(0.0, 0.0, 100.0, 100.0), size=(100, 100), shape=(2, 4, 4, 5), **changes) -> Embedding:
    tokens = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Embedding(tokens, np.arange(2 * shape[0]) / 4, MADE, "cpu", window, size, **changes)


def test_shapes() -> None:
    embedding = make(shape=(3, 2, 4, 5))
    assert embedding.grid == (3, 2, 4)
    assert embedding.shape == (1, 24, 5)
    flat = embedding.tokens.reshape(embedding.shape)[0]
    assert np.array_equal(flat[1 * 8 + 1 * 4 + 2], embedding.tokens[1, 1, 2])


def test_pooling_is_the_mean_of_all_tokens() -> None:
    embedding = make()
    expected = sum(token.astype(np.float64) for token in embedding.tokens.reshape(-1, 5)) / 32
    assert embedding.pooled().dtype == np.float32
    np.testing.assert_allclose(embedding.pooled(), expected, atol=1e-7)


def test_pooling_in_double_precision() -> None:
    tokens = np.full((64, 16, 16, 1), 0.1, dtype=np.float32)
    embedding = dataclasses.replace(make(), tokens=tokens, timestamps=np.arange(128.0))
    assert embedding.pooled()[0] == np.float32(0.1), "a sum of 16,384 terms in float32 would drift"


def slow_motion(tokens: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """What `motion` says, for up to 8 time steps, patch by patch, region by region and pair by pair."""
    steps, rows, cols = tokens.shape[:3]
    regions = min(8, max(min(rows, cols), max(rows, cols) // 2))
    patches = [(y, x) for y, x in np.ndindex(rows, cols) if seen is None or seen[y, x]]
    maps = {}
    for i, j in itertools.combinations(range(steps), 2):
        moved = {
            at: sum((float(a) - float(b)) ** 2 for a, b in zip(tokens[j][at], tokens[i][at], strict=True))
            for at in patches
        }
        usual = sum(moved.values()) / len(moved)
        maps[i, j] = np.zeros((regions, regions))
        for top, left in np.ndindex(regions, regions):
            ys, xs = (
                range(n * k // regions, max(n * k // regions + 1, n * (k + 1) // regions))
                for n, k in ((rows, top), (cols, left))
            )
            values = [moved[y, x] - usual if (y, x) in moved else 0.0 for y in ys for x in xs]
            maps[i, j][top, left] = sum(values) / len(values)
    path = [
        maps[i, i + 1][y, x] + maps[i, i + 1][y, regions - 1 - x]
        for i in range(steps - 1)
        for y in range(regions)
        for x in range(math.ceil(regions / 2))
    ]
    cosines = [
        (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) for a, b in itertools.combinations(maps.values(), 2)
    ]
    return np.concatenate([part / np.linalg.norm(part) for part in (path, cosines)]) * (
        [0.5] * len(path) + [1] * len(cosines)
    )


@pytest.mark.parametrize(
    "grid",
    [(3, 4, 4), (4, 8, 8), (3, 12, 12), (8, 16, 16), (3, 24, 24), (8, 16, 28), (8, 28, 16), (3, 2, 32), (3, 8, 3)],
)
def test_motion_is_the_change_of_each_region_and_how_alike_the_changes_are(grid) -> None:
    tokens = np.random.default_rng(1).normal(size=(*grid, 5)).astype(np.float32)
    actual = motion(tokens)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, slow_motion(tokens), atol=1e-5)
    assert np.linalg.norm(actual) == pytest.approx(np.hypot(0.5, 1), abs=1e-5)


def test_motion_beside_padding() -> None:
    tokens = np.random.default_rng(1).normal(size=(4, 16, 16, 5)).astype(np.float32)
    seen = np.zeros((16, 16), bool)
    seen[3:12] = True
    actual = motion(tokens, seen)
    np.testing.assert_allclose(actual, slow_motion(tokens, seen), atol=1e-5)
    assert not actual[: 3 * 32].reshape(3, 8, 4)[:, [0, 6, 7]].any()


@pytest.mark.parametrize(
    ("side", "others"), [(16, [(16, 28), (28, 16), (32, 2), (13, 32)]), (4, [(4, 7), (2, 8), (8, 1)])]
)
def test_motion_of_every_shape_of_one_checkpoint_is_as_long(side, others) -> None:
    lengths = {len(motion(np.random.default_rng(0).normal(size=(4, *grid, 5)))) for grid in [(side, side), *others]}
    assert len(lengths) == 1


def test_the_same_motion_is_the_same_in_another_shape() -> None:
    """What moves in the upper left of a square and of a grid twice as wide moves in the same region."""
    square, wide = np.zeros((3, 16, 16, 5), np.float32), np.zeros((3, 16, 32, 5), np.float32)
    square[1, 2:4, 2:4], square[2, 4:6, 2:4] = 1, 2
    wide[1, 2:4, 4:8], wide[2, 4:6, 4:8] = 1, 2
    np.testing.assert_allclose(motion(wide), motion(square), atol=1e-6)


def test_motion_of_a_long_clip_is_that_of_eight_spans() -> None:
    tokens = np.random.default_rng(2).normal(size=(32, 4, 4, 5)).astype(np.float32)
    spans = tokens.reshape(8, 4, 4, 4, 5).mean(axis=1)
    np.testing.assert_allclose(motion(tokens), motion(spans), rtol=1e-5, atol=1e-7)


def test_motion_does_not_tell_left_from_right_but_up_from_down_and_forth_from_back() -> None:
    tokens = np.random.default_rng(3).normal(size=(5, 16, 16, 5)).astype(np.float32)
    path, when = motion(tokens)[: 4 * 32], motion(tokens)[4 * 32 :]
    np.testing.assert_allclose(motion(tokens[:, :, ::-1]), motion(tokens), atol=1e-6)
    turned, backwards = motion(tokens[:, ::-1]), motion(tokens[::-1])
    assert not np.allclose(turned[: len(path)], path, atol=1e-2)
    np.testing.assert_allclose(turned[len(path) :], when, atol=1e-6)
    assert not np.allclose(backwards[: len(path)], path, atol=1e-2)
    assert not np.allclose(backwards[len(path) :], when, atol=1e-2)


def test_what_changes_the_whole_picture_is_no_motion() -> None:
    tokens = np.random.default_rng(4).normal(size=(1, 8, 8, 5)).astype(np.float32).repeat(4, axis=0)
    flash = np.zeros((4, 8, 8, 5), np.float32)
    flash[1:, ..., 0], flash[3, ..., 1] = 2, 2  # in channels of their own, so that squares add up
    tokens[..., :2] = 0
    assert not motion(tokens + flash).any()
    moving = np.zeros_like(flash)
    for step in range(4):
        moving[step, 2 * step : 2 * step + 2, 3:5, 4] = 1
    np.testing.assert_allclose(motion(tokens + moving + flash), motion(tokens + moving), atol=1e-6)


def test_motion_does_not_see_what_stands_still_nor_the_padding() -> None:
    embedding = make((0, -25, 100, 75), (100, 50))
    still = embedding.tokens.copy()
    still[1] = still[0]
    assert not dataclasses.replace(embedding, tokens=still).motion().any()
    still[1, 0] += 1  # a row of padding
    assert not dataclasses.replace(embedding, tokens=still).motion().any()
    still[1, 1, 2] += 1
    patches = np.zeros((4, 4))
    patches[1:3] = -1 / 8  # less than the eight patches do on average
    patches[1, 2] += 1
    expected = (patches + patches[:, ::-1])[:, :2]
    expected *= 0.5 / np.linalg.norm(expected)  # all there is; a single pair of times resembles no other
    np.testing.assert_allclose(dataclasses.replace(embedding, tokens=still).motion(), expected.ravel(), atol=1e-5)


def test_a_vector_says_how_it_was_made() -> None:
    embedding = make()
    assert np.array_equal(embedding.vector("mean").array, embedding.pooled())
    assert np.array_equal(embedding.vector("motion").array, embedding.motion())
    assert embedding.vector("mean").kind == Kind(embedding.fingerprint)
    with pytest.raises(FingerprintMismatch, match="pooling"):
        embedding.vector("motion").kind.require(Kind(embedding.fingerprint))
    with pytest.raises(RequestError, match="4 frames"):
        dataclasses.replace(embedding, tokens=embedding.tokens[:1]).vector("motion")


@pytest.mark.parametrize(
    ("window", "size", "mask"),
    [
        ((0, -25, 100, 75), (100, 50), [[0] * 4, [1] * 4, [1] * 4, [0] * 4]),
        ((-30, 0, 70, 100), (40, 100), [[0, 1, 1, 0]] * 4),
        ((10, 10, 60, 60), (100, 100), [[1] * 4] * 4),
    ],
)
def test_patches_of_padding(window, size, mask) -> None:
    embedding = make(window, size)
    assert embedding.patch_mask.tolist() == np.array(mask, dtype=bool).tolist()
    changed = embedding.tokens.copy()
    changed[:, ~embedding.patch_mask] += 100
    assert np.array_equal(dataclasses.replace(embedding, tokens=changed).pooled(), embedding.pooled())
    changed[:, embedding.patch_mask] += 100
    assert not np.array_equal(dataclasses.replace(embedding, tokens=changed).pooled(), embedding.pooled())


def test_crop_is_the_window_within_the_source() -> None:
    assert make((-10.0, 5.0, 90.0, 105.0), (80, 100)).crop == (0.0, 5.0, 80.0, 100.0)
    assert make((10.0, 5.0, 90.0, 85.0)).crop == (10.0, 5.0, 90.0, 85.0)


@pytest.mark.parametrize("at", [(-1, 0, 0), (2, 0, 0), (0, 4, 0), (0, 0, 4), (0, 0, -1), (0, 0), (0, 0, 0, 0)])
def test_positions_outside_the_grid(at) -> None:
    with pytest.raises(RequestError, match="step 0 to 1, row 0 to 3, column 0 to 3"):
        make().check_position(at)
    make().check_position((1, 3, 3))


def test_saved_without_pickle(tmp_path: Path) -> None:
    embedding = make(timings_ms={"decode": 1.234, "preprocess": 2.0, "encode": 3.0}, notes=("a note",))
    path = tmp_path / "clip.npz"
    embedding.save(path)
    with np.load(path, allow_pickle=False) as file:
        assert set(file) == {"tokens", "pooled", "timestamps", "meta"}
        assert np.array_equal(file["tokens"], embedding.tokens)
        assert np.array_equal(file["pooled"], embedding.pooled())
        assert np.array_equal(file["timestamps"], embedding.timestamps)
        assert (file["tokens"].dtype, file["pooled"].dtype, file["timestamps"].dtype) == (np.float32, np.float32, float)
        meta = json.loads(str(file["meta"]))
    assert meta == json.loads(json.dumps(embedding.meta()))
    assert meta["shape"] == [1, 32, 5]
    assert meta["notes"] == ["a note"]
    assert meta["timings_ms"] == {"decode": 1.23, "preprocess": 2.0, "encode": 3.0}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Fingerprint)])
def test_vectors_made_differently_are_not_compared(name: str) -> None:
    other = Kind(dataclasses.replace(MADE, **{name: 2 if name == "layer" else "other"}))
    assert other.key != Kind(MADE).key
    with pytest.raises(FingerprintMismatch, match=name):
        Kind(MADE).require(other)
    for pooling in ("mean", "motion"):
        Kind(MADE, pooling).require(Kind.parse(json.loads(json.dumps(Kind(MADE, pooling).fields))))


def test_motion_as_it_was_before_is_another_kind() -> None:
    kind = Kind(MADE, "motion")
    before = {**kind.fields, "pooling": "motion"}
    assert kind.key != hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:16]
    with pytest.raises(KeyError):
        Kind.parse(before)
