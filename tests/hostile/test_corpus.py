"""Every hostile or odd file ends in a clip or in one sentence, in time and within the memory that one file may take."""

from __future__ import annotations

import collections
import dataclasses
import logging
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import frame_numbers

from vjepa_demo.errors import MediaError, RequestError
from vjepa_demo.media import Clip, Sampling
from vjepa_demo.settings import settings
from vjepa_demo.worker import PROGRAM, Pool

sys.path.insert(0, str(Path(__file__).parent))
import make

# Tight, so that a bomb costs the test little: what is slow ends at the deadline, as it would later.
TIGHT = dataclasses.replace(settings, decode_seconds=2.5, decode_bytes=1024 * 2**20)
SAMPLING = Sampling(frames=4)
GRACE_S = 2.0  # the killing, on a busy machine


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make.write(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(PROGRAM)
    pool.warm()
    yield pool
    pool.close()


def flaw(clip: Clip, count: tuple[int, ...] = (1, SAMPLING.frames)) -> str:
    """What is wrong with a clip; empty when all holds."""
    frames, stamps, source = clip.frames, clip.timestamps, clip.source
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or len(frames) not in count:
        return f"frames {frames.dtype} {frames.shape}"
    if min(frames.shape) < 1 or frames.nbytes > TIGHT.max_clip_bytes:
        return f"size {frames.shape}"
    if stamps.shape != (len(frames),) or not np.isfinite(stamps).all() or (np.diff(stamps) < 0).any():
        return f"times {stamps}"
    if not 0 <= source.duration <= TIGHT.max_seconds or not np.isfinite(source.fps):
        return f"source {source}"
    return ""


def outcome(pool: Pool, path: Path) -> tuple[str, str]:
    """(What came of it, what is wrong with that)."""
    began = time.monotonic()
    try:
        clip = pool.read_clip(path, SAMPLING, TIGHT)
        said, wrong = "clip", flaw(clip)
    except (MediaError, RequestError) as error:
        said, wrong = str(error), ""
        if not re.fullmatch(r"[A-Z][^\n]{20,300}\.", said) or path.name in said or "/" in said or "Traceback" in said:
            wrong = f"no sentence: {said!r}"
    except Exception as error:
        said, wrong = "exception", repr(error)
    # The imports before the file is begun have a time of their own, which a busy machine may need.
    if time.monotonic() - began > TIGHT.decode_seconds + GRACE_S + 10:
        wrong = wrong or f"took {time.monotonic() - began:.1f} s"
    return said, wrong


def peak_bytes(pool: Pool) -> int:
    """Most memory that a child which is still there ever had in use."""
    peaks = [0]
    for worker in pool._idle:
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
        peaks += [int(size) * 1024 for size in re.findall(r"VmHWM:\s+(\d+) kB", status)]
    return max(peaks)


def test_every_file_ends_in_a_clip_or_a_sentence(
    corpus: list[Path], pool: Pool, caplog: pytest.LogCaptureFixture, make_video
) -> None:
    assert len(corpus) >= 200
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(2) as two:
        outcomes = dict(zip(corpus, two.map(lambda path: outcome(pool, path), corpus), strict=True))
    counts = collections.Counter(re.sub(r"[\d.,]+", "N", said) for said, _ in outcomes.values())
    print(*(f"{count:4d} {said}" for said, count in counts.most_common()), sep="\n")
    assert {path.name: wrong for path, (_, wrong) in outcomes.items() if wrong} == {}
    unforeseen = [line for line in caplog.messages if "not foreseen" in line]
    assert unforeseen == []
    # Playlists and the like are told by their content, and nothing in them is opened.
    for path, (said, _) in outcomes.items():
        if path.name.startswith(
            ("hls_", "concat", "session", "dash", "list", "metadata", "page", "drawing", "archive")
        ):
            assert "neither a video nor an image" in said, path.name
    assert counts["clip"] > 40, "odd is not hostile: most of the healthy files are read"
    assert peak_bytes(pool) < 2 * TIGHT.decode_bytes

    clip = pool.read_clip(make_video(), Sampling(frames=16), settings)
    assert frame_numbers(clip.frames) == list(range(16)), "and the next healthy file is read as ever"


@pytest.mark.parametrize("name", sorted({*make.VIDEOS, *make.PICTURES} - {"no_frame.mp4"}))
def test_the_healthy_files_behind_it_are_read(corpus: list[Path], pool: Pool, name: str) -> None:
    clip = pool.read_clip(corpus[0].parent / name, SAMPLING, dataclasses.replace(TIGHT, decode_seconds=30.0))
    assert flaw(clip) == ""
    assert np.ptp(clip.frames) > 100
