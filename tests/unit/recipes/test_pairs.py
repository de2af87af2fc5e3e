"""Pairs of possible and impossible clips: what they share, and what cannot tell them apart."""

from __future__ import annotations

import numpy as np
import pytest
from pairs import FRAMES, HIDDEN, KINDS, PLAIN, SIDE, accuracy, by_difference, interval, pairs_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_begins_alike_and_ends_unlike(kind: str) -> None:
    for pair in pairs_of(kind, 0):
        assert pair.possible.shape == pair.impossible.shape == (FRAMES, SIDE, SIDE, 3)
        alike = (pair.possible == pair.impossible).all(axis=(1, 2, 3))
        first = int(np.argmin(alike))
        assert first >= 5, "there is something to expect it by"
        assert not alike.all()


@pytest.mark.parametrize("kind", HIDDEN)
def test_out_of_sight_every_frame_of_an_impossible_clip_is_one_of_a_possible_clip(kind: str) -> None:
    for number in range(2):
        pairs = list(pairs_of(kind, number))
        known = {frame.tobytes() for pair in pairs for frame in pair.possible}
        assert all(frame.tobytes() in known for pair in pairs for frame in pair.impossible)


@pytest.mark.parametrize("kind", HIDDEN)
def test_out_of_sight_change_from_frame_to_frame_tells_nothing(kind: str) -> None:
    pairs = [pair for number in range(3) for pair in pairs_of(kind, number)]
    scores = [(by_difference(pair.possible)[0], by_difference(pair.impossible)[0]) for pair in pairs]
    assert accuracy([(round(one, 6), round(other, 6)) for one, other in scores]) == pytest.approx(0.5, abs=0.17)


@pytest.mark.parametrize("kind", PLAIN)
def test_in_plain_sight_an_impossible_clip_is_one_of_its_own(kind: str) -> None:
    (pair,) = pairs_of(kind, 1)
    known = {frame.tobytes() for frame in pair.possible}
    assert any(frame.tobytes() not in known for frame in pair.impossible)


def test_the_same_number_is_the_same_pair() -> None:
    one, other = (next(pairs_of("gone", 3)) for _ in range(2))
    np.testing.assert_array_equal(one.impossible, other.impossible)
    assert (next(pairs_of("gone", 4)).possible != one.possible).any()


def test_accuracy_and_its_interval() -> None:
    assert accuracy([(1, 2), (2, 1), (1, 1), (0, 1)]) == 0.625
    low, high = interval(0.5, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert interval(1.0, 10)[0] == pytest.approx(0.722, abs=1e-3)
