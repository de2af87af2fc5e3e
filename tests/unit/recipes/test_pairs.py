"""Pairs of possible and impossible clips: what they share, and what cannot tell them apart."""

from __future__ import annotations

import numpy as np
import pytest
from pairs import FRAMES, HIDDEN, KINDS, PLAIN, SIDE, accuracy, by_difference, pairs_of

from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.ui import pairs as shipped


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


def test_accuracy() -> None:
    assert accuracy([(1, 2), (2, 1), (1, 1), (0, 1)]) == 0.625


@pytest.mark.parametrize("pair", shipped.known(), ids=lambda pair: pair.title)
def test_those_of_the_page_are_the_first_of_their_kind_that_are_measured(pair: shipped.Pair) -> None:
    kind = pair.possible.stem.split("-")[0]
    made = next(pairs_of(kind, 0))
    assert pair.out_of_sight == (kind in HIDDEN)
    assert shipped.FRAMES == FRAMES
    for path, frames in ((pair.possible, made.possible), (pair.impossible, made.impossible)):
        assert path.stat().st_size < 60_000
        clip = read_clip(path, Sampling(FRAMES))
        assert np.abs(clip.frames.transpose(0, 2, 3, 1).astype(int) - frames).max() <= 4, (
            "but for the colours' rounding"
        )
        np.testing.assert_allclose(clip.timestamps, np.arange(FRAMES) / 4)
