"""The time tests: orders of frames that are known, and embeddings whose order can be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from colours import MADE
from conftest import MakeVideo, frame_numbers

from vjepa_demo import explore
from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import FingerprintMismatch, RequestError
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Options, Order, Sampling
from vjepa_demo.views.orders import reordered, time_tests

NUMBERS = {
    "reversed": list(range(15, -1, -1)),
    "frozen": [8] * 16,
    "fast": [0, 2, 4, 6, 8, 10, 12, 14],
}


@pytest.fixture
def clip(make_video: MakeVideo) -> Clip:
    return read_clip(make_video(), Sampling(16))


@pytest.mark.parametrize("order", get_args(Order))
def test_the_frames_are_in_that_order(clip: Clip, order: Order) -> None:
    other = reordered(clip, order)
    numbers = frame_numbers(other.frames)
    if order == "shuffled":
        assert sorted(numbers) == list(range(16))
        assert numbers != sorted(numbers)
        assert numbers == frame_numbers(reordered(clip, order).frames)
    else:
        assert numbers == NUMBERS[order]
    np.testing.assert_array_equal(other.timestamps, clip.timestamps[: len(numbers)])
    assert other.sampling.name == f"even-{len(numbers)}-{order}"


def test_an_odd_number_of_steps_has_its_last_one_left_out_when_it_is_twice_as_fast(clip: Clip) -> None:
    six = replace(clip, frames=clip.frames[:6], timestamps=clip.timestamps[:6], sampling=Sampling(6))
    assert frame_numbers(reordered(six, "fast").frames) == [0, 2]


def test_the_order_is_part_of_the_fingerprint(make_video: MakeVideo, small_checkpoint: Path) -> None:
    shown = explore.embed(make_video(), Options(str(small_checkpoint), precision="fp32"))
    embedder = explore.Embedder.open(shown.embedding.fingerprint.options)
    other = embedder.embed(reordered(shown.clip, "reversed"))
    assert other.fingerprint.sampling == "even-16-reversed"
    assert other.fingerprint.options == shown.embedding.fingerprint.options
    with pytest.raises(FingerprintMismatch, match="sampling"):
        shown.embedding.vector().kind.require(other.vector().kind)


def test_what_only_looks_cannot_tell_and_what_moves_can(clip: Clip) -> None:
    """An "encoder" whose tokens are the frames' own brightness, patch by patch: its mean knows no order."""

    def embed(clip: Clip) -> Embedding:
        small = clip.frames[:, :, ::8, ::8].mean(axis=1).reshape(-1, 2, 8, 8).mean(axis=1)[..., None]
        tokens = np.ascontiguousarray(np.concatenate([small, np.ones_like(small)], axis=-1), np.float32)
        return Embedding(tokens, clip.timestamps, MADE.fingerprint, "cpu", (0, 0, 64, 64), (64, 64))

    found = {test.order: test for test in time_tests(clip, embed(clip), embed)}
    assert found["reversed"].mean == pytest.approx(1.0, abs=0.02)
    assert found["frozen"].motion is None, "what stands still has no motion"
    assert found["shuffled"].motion is not None
    assert found["shuffled"].motion < 0.9


def test_a_picture_and_two_frames_are_told(clip: Clip) -> None:
    short = replace(clip, frames=clip.frames[:2], timestamps=clip.timestamps[:2])
    with pytest.raises(RequestError, match="too short"):
        reordered(short, "fast")
    picture = replace(clip, source=replace(clip.source, kind="image"))
    with pytest.raises(RequestError, match="no order of time"):
        reordered(picture, "reversed")


def test_all_of_it_on_a_checkpoint(make_video: MakeVideo, small_checkpoint: Path) -> None:
    shown = explore.embed(make_video(), Options(str(small_checkpoint), precision="fp32"))
    said: list[str] = []
    told = explore.order_json(shown.embedding, explore.time_tests_of(shown, said.append))
    assert [test["order"] for test in told["orders"]] == list(get_args(Order))
    assert all(-1 <= test["mean"] <= 1 for test in told["orders"])
    assert any("backwards" in words for words in said)


@pytest.mark.parametrize("frames", [4, 6])
def test_of_short_clips_there_is_no_motion_twice_as_fast(
    frames: int, make_video: MakeVideo, small_checkpoint: Path
) -> None:
    shown = explore.embed(make_video(), Options(str(small_checkpoint), frames, precision="fp32"))
    found = {test.order: test for test in explore.time_tests_of(shown)}
    assert found["fast"].motion is None
    assert found["reversed"].motion is not None
