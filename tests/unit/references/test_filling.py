"""References embedded in the background: what is there is there for all, no point moves, and nothing is made twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo import jobs
from vjepa_demo.embedder import Embedder
from vjepa_demo.jobs import Job
from vjepa_demo.model.encoder import Encoder
from vjepa_demo.options import Options
from vjepa_demo.references import filling, preparing
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.filling import FIRST_MAP, STEP, Filling, fill, in_turn
from vjepa_demo.references.listing import read_folder, write_csv
from vjepa_demo.references.map import map_quality
from vjepa_demo.references.preparing import SHIPPED, missing, prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips of each of sixteen labels, in a set that carries its vectors along."""
    target = tmp_path / "set"
    (target / "vectors").mkdir(parents=True)
    clips = [clip for clip in read_folder(SHIPPED) if clip.file.removesuffix(".mp4")[-2:] in ("_0", "_1", "_2")]
    for clip in clips:
        shutil.copyfile(SHIPPED / clip.file, target / clip.file)
    write_csv(target, clips)
    return target


@pytest.fixture
def options(small_checkpoint: Path) -> Options:
    return Options(str(small_checkpoint), precision="fp32")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every clip that is encoded."""
    calls: list[int] = []
    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda *given, **named: calls.append(1) or encode(*given, **named))
    return calls


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch):
    """Nothing is in memory, and nothing works on when a test is over."""
    forget()
    yield
    for known in filling._fillings.values():
        known.over = True
    until(lambda: filling._thread is None)


def forget() -> None:
    filling._fillings.clear()
    preparing._sets.clear()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def watch(found: Filling) -> list[ReferenceSet]:
    """All sets that somebody who looks on is shown, by their means."""
    seen: list[ReferenceSet] = []
    while not found.over:
        known = found.sets.get("mean")
        if known is not None and (not seen or known is not seen[-1]):
            seen.append(known)
        time.sleep(0.002)
    assert not found.failure
    return seen


def test_one_clip_of_each_label_comes_first():
    clips = [ReferenceClip(name, name[0]) for name in ("a0", "a1", "a2", "b0", "b1", "c0")]
    assert [clip.file for clip in in_turn(clips)] == ["a0", "b0", "c0", "a1", "b1", "a2"]


def test_it_grows_and_no_point_of_the_map_moves(folder, options, encoded):
    found = fill(folder, options)
    assert fill(folder, options) is found
    seen = watch(found)
    assert found.done == found.total == 48
    assert len(encoded) == 48  # once, for both poolings
    assert [len(known) for known in seen] == list(range(STEP, 49, STEP))
    order = [clip.file for clip in in_turn(read_folder(folder))]
    for known in seen:
        assert [clip.file for clip in known.clips] == order[: len(known)]
    for known in seen[FIRST_MAP // STEP :]:
        np.testing.assert_array_equal(known.coordinates[:FIRST_MAP], seen[FIRST_MAP // STEP - 1].coordinates)
    for known, larger in zip(seen[FIRST_MAP // STEP - 1 :], seen[FIRST_MAP // STEP :], strict=False):
        np.testing.assert_array_equal(larger.coordinates[: len(known)], known.coordinates)
    assert found.mapped
    # In the end all of them were laid out together.
    embedder = Embedder.open(options)
    for pooling in embedder.poolings:
        grown = found.sets[pooling]
        assert missing(folder, embedder.kind(pooling)) == 0
        whole = prepare(folder, embedder, pooling)
        assert [clip.file for clip in whole.clips] == [clip.file for clip in read_folder(folder)]
        rows = [whole.hashes.index(sha) for sha in grown.hashes]
        np.testing.assert_array_equal(whole.vectors[rows], grown.vectors)
        better, good = (map_quality(known.unit, known.coordinates) for known in (whole, grown))
        assert better is not None
        assert good is not None
        assert better.recall >= good.recall - 0.02
    assert len(encoded) == 48


def test_a_process_that_ended_goes_on_where_it_was(folder, options, encoded):
    stopped = Filling(folder, options)
    for _ in range(3):
        stopped.step()
    assert len(encoded) == 3 * STEP
    forget()
    assert missing(folder, Embedder.open(options).kind("motion")) == 48 - 3 * STEP
    found = fill(folder, options)
    until(lambda: found.over)
    assert len(encoded) == 48


def test_a_visitor_does_not_wait_for_a_reference(folder, options, encoded):
    found = fill(folder, options)
    until(lambda: found.done)
    turns: list[float] = []
    while not found.over and len(turns) < 5:
        began = time.monotonic()
        with Job().running(), jobs.turn():
            turns.append(time.monotonic() - began)
            done = len(encoded)
            time.sleep(0.3)
            assert len(encoded) <= done + 1  # the one that rests in the middle
    assert turns
    assert max(turns) < 5


def test_what_was_asked_for_last_is_next_and_then_they_take_turns(folder, options, tmp_path, monkeypatch):
    write_csv(folder, read_folder(folder)[: 3 * STEP])
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    steps: list[Path] = []
    step = Filling.step
    monkeypatch.setattr(Filling, "step", lambda filling: (steps.append(filling.folder), step(filling)))
    begun = [fill(folder, options)]
    until(lambda: steps)
    begun.append(fill(other, options))
    until(lambda: all(found.over for found in begun))
    assert steps[0] == folder
    assert steps[1:4] == [other, folder, other]
    assert len(steps) == 6


def test_a_broken_clip_is_left_out_and_the_map_comes_all_the_same(folder, options, encoded, monkeypatch):
    write_csv(folder, read_folder(folder)[: 2 * STEP])
    broken = folder / read_folder(folder)[3].file
    broken.write_bytes(b"no film")
    tried: list[Path] = []
    read = Embedder.read
    monkeypatch.setattr(Embedder, "read", lambda embedder, path: tried.append(path) or read(embedder, path))
    found = fill(folder, options)
    until(lambda: found.over)
    assert found.mapped
    assert not found.failure
    assert len(found.sets["mean"]) == 2 * STEP - 1
    assert tried.count(broken) <= 4, "once for each pooling, and once more at the end"


def test_the_map_that_its_owner_has_is_not_moved(folder, options):
    embedder = Embedder.open(options)
    owners = prepare(folder, embedder, "motion")
    assert missing(folder, embedder.kind("mean")) == 48
    preparing._sets.clear()
    found = fill(folder, options)
    grown = watch(found)
    assert [len(known) for known in grown] == list(range(STEP, 49, STEP)), (
        "what has no vectors by the mean is no clip yet"
    )
    preparing._sets.clear()
    np.testing.assert_array_equal(prepare(folder, embedder, "motion").coordinates, owners.coordinates)


def test_a_failure_is_one_sentence_and_is_tried_again_later(folder, monkeypatch):
    nowhere = Options("nano/nowhere")
    found = fill(folder, nowhere)
    until(lambda: found.over)
    assert "There is no checkpoint" in found.failure
    assert fill(folder, nowhere) is found
    monkeypatch.setattr(filling, "AGAIN_S", 0)
    assert fill(folder, nowhere) is not found
