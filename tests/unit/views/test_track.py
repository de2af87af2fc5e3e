"""A row of windows: where it is cut, against every way to cut it; what differs, and what is written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from colours import MADE

from vjepa_demo.embedding import Kind, Vector
from vjepa_demo.views.track import Track, segments


def track(array: np.ndarray, **asked) -> Track:
    begins = 2.0 * np.arange(len(array))
    return Track(np.stack([begins, begins + 4], axis=1), Vector(array.astype(np.float32), Kind(MADE)), **asked)


def slow(vectors: np.ndarray) -> list[int]:
    """The same by trying every way to cut the row."""
    n = len(vectors)

    def distances(cuts: tuple[int, ...]) -> float:
        parts = np.split(vectors, cuts)
        return float(sum(np.square(part - part.mean(axis=0)).sum() for part in parts))

    variance = distances(()) / n
    every = [cuts for m in range(n // 2 + 1) for cuts in itertools.combinations(range(1, n), m)]
    penalty = {m: variance * m * (np.log(n / m) + 1) if m else 0.0 for m in range(n // 2 + 1)}
    return list(min(every, key=lambda cuts: distances(cuts) + penalty[len(cuts)]))


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_ways_to_cut_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 5))
    vectors = centres[np.sort(rng.integers(0, 3, 8))] + 0.3 * rng.normal(size=(8, 5))
    assert segments(vectors) == slow(vectors)


def test_parts_of_unequal_length_are_found_again_and_what_has_no_order_is_not_cut() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(1, 64)) + 0.2 * rng.normal(size=(length, 64)) for length in (5, 31, 2, 12)]
    assert segments(np.concatenate(parts)) == [5, 36, 38]
    for seed in range(20):
        assert segments(np.random.default_rng(seed).normal(size=(40, 64))) == []
    assert segments(np.ones((6, 8))) == []
    assert segments(np.ones((1, 8))) == []


def test_windows_that_hardly_differ_are_one_scene() -> None:
    base = np.random.default_rng(1).normal(size=32)
    near, far = (np.stack([base] * 4 + [(1 + by) * base] * 4) for by in (0.1, 0.6))
    assert segments(near) == segments(far) == [4]
    assert track(near).scenes == (0,)
    found = track(far)
    assert found.scenes == (0, 4)
    # Window 3 is 6 to 10 s, window 4 is 8 to 12 s.
    assert found.begins(4) == 9.0
    assert found.begins(0) == 0.0


def test_change_is_in_lengths_of_a_vector() -> None:
    found = track(np.array([[3.0, 4.0], [3.0, 4.0], [-3.0, -4.0]]))
    assert found.change.tolist() == [0.0, 0.0, 2.0]


def test_what_is_told_and_written(tmp_path: Path) -> None:
    array = np.repeat(np.eye(2, 8), 3, axis=0)
    found = track(array, like=np.linspace(0, 1, 6, dtype=np.float32), best=((0, 1, 2),) * 6)
    told = found.json()
    assert told["windows"][1] == [2.0, 6.0]
    assert told["scenes"] == [{"window": 0, "begins": 0.0}, {"window": 3, "begins": 7.0}]
    assert told["like"][-1] == 1.0
    assert told["best"][0] == [0, 1, 2]
    found.save(tmp_path / "t.npz", {"checkpoint": "x"})
    with np.load(tmp_path / "t.npz") as saved:
        shapes = {"spans": (6, 2), "vectors": (6, 8), "change": (6,), "scenes": (2,), "like": (6,), "best": (6, 3)}
        assert {name: saved[name].shape for name in saved.files} == {**shapes, "meta": ()}
        assert json.loads(str(saved["meta"])) == {"checkpoint": "x"}
    assert {"like", "best"}.isdisjoint(track(array).json())
