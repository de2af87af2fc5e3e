"""Whatever is uploaded ends in a clip that is one, or in one sentence, in time; and the next file is read as before."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile.make import make

from vjepa_demo.errors import UserError
from vjepa_demo.media import worker
from vjepa_demo.media.clip import Clip
from vjepa_demo.options import Sampling
from vjepa_demo.settings import MIB, settings

SECONDS = 6.0
LIMITS = replace(settings, decode_seconds=SECONDS, decode_bytes=1536 * MIB, max_clip_bytes=64 * MIB)
KINDS = (
    *("sound", "truncated", "flipped", "spliced", "named wrongly", "bombs", "odd metadata", "odd pictures"),
    *("odd videos", "sparse", "no file"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, list[Path]]:
    return make(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module", autouse=True)
def warm():
    worker.warm()


def check(clip: Clip, sampling: Sampling) -> None:
    """Whether a clip is what `reader.read_clip` promises."""
    assert clip.frames.dtype == np.uint8
    assert clip.frames.ndim == 4
    assert clip.frames.shape[1] == 3
    assert min(clip.frames.shape) > 0
    assert clip.frames.nbytes <= max(LIMITS.max_clip_bytes, 3 * sampling.frames)
    assert clip.timestamps.shape == clip.frames.shape[:1]
    assert np.isfinite(clip.timestamps).all()
    assert (np.diff(clip.timestamps) >= 0).all()
    assert clip.source.kind == ("image" if len(clip.frames) == 1 else "video")


def check_sentence(error: UserError) -> None:
    """Whether what is said is one line for a person, with no path and no trace in it."""
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert "/" not in text
    assert "Traceback" not in text
    assert 20 < len(text) < 300


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_ends_in_a_clip_or_in_one_sentence(corpus, kind):
    sampling, outcomes = Sampling(frames=8), Counter()
    for path in corpus[kind]:
        started = time.monotonic()
        try:
            check(worker.read_clip(path, sampling, LIMITS), sampling)
            outcomes["clips"] += 1
        except UserError as error:
            check_sentence(error)
            outcomes["sentences"] += 1
        assert time.monotonic() - started < 2 * SECONDS + 4, path.name
    print(kind, dict(outcomes))
    if kind in ("sound", "odd pictures"):
        assert not outcomes["sentences"]
    if kind in ("no file", "sparse"):
        assert not outcomes["clips"]


def test_there_are_many(corpus):
    assert sum(map(len, corpus.values())) >= 200
    assert set(corpus) == set(KINDS)


def test_lists_of_other_files_are_not_opened(corpus):
    lists = [path for path in corpus["named wrongly"] if path.name.startswith(("hls", "concat", "sdp", "dash", "asx"))]
    assert len(lists) >= 10
    for path in lists:
        with pytest.raises(UserError, match="neither a video nor an image"):
            worker.read_clip(path, Sampling(frames=2), LIMITS)


def test_bombs_are_told_before_they_go_off(corpus):
    """Where the headers tell, nothing is decoded: the answer comes at once."""
    bombs = {path.name: path for path in corpus["bombs"]}
    for name in ("canvas.gif", "canvas_max.gif", "canvas.webp", "canvas_max.webp", "canvas_apng.png", "pixels.png"):
        started = time.monotonic()
        with pytest.raises(UserError, match=r"million pixels|pixels and at most|scale it down"):
            worker.read_clip(bombs[name], Sampling(frames=2), LIMITS)
        assert time.monotonic() - started < SECONDS / 2, name


def test_after_all_that_a_sound_clip_is_read_as_before(corpus):
    path = next(path for path in corpus["sound"] if path.name == "h264.mp4")
    first = worker.read_clip(path, Sampling(frames=8), LIMITS)
    for bad in (*corpus["bombs"][:4], *corpus["flipped"][:6]):
        try:
            worker.read_clip(bad, Sampling(frames=2), LIMITS)
        except UserError:
            continue
    again = worker.read_clip(path, Sampling(frames=8), LIMITS)
    np.testing.assert_array_equal(first.frames, again.frames)
