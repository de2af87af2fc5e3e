"""References that must be embedded first are embedded once for all who wait, and no longer than somebody waits."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vjepa_demo import jobs
from vjepa_demo.errors import ReferencesError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.references import background

EMBEDDER = SimpleNamespace(kind=lambda pooling: pooling)


class Waiter(threading.Thread):
    """Somebody who waits for the references of a folder, as a job of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.job = folder, Job()
        self.told: list[str] = []
        self.result: object = None
        self.start()

    def run(self) -> None:
        with self.job.running():
            try:
                self.result = background.prepared(self.folder, EMBEDDER, "mean", progress=self.told.append)
            except Exception as error:
                self.result = error


class Making:
    """Stands for `prepare`: works until it is let go, and says how often it was begun and given up."""

    def __init__(self) -> None:
        self.begun, self.given_up = 0, 0
        self.go = threading.Event()
        self.fault: Exception | None = None

    def __call__(self, folder: Path, *options: object, progress: Callable[[int, int, str], None]) -> str:
        self.begun += 1
        progress(1, 9, "Embedding reference clips")
        try:
            while not self.go.wait(0.01):
                jobs.check()
        except Stopped:
            self.given_up += 1
            raise
        if self.fault:
            raise self.fault
        return f"the set of {folder.name}"


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Making:
    making = Making()
    monkeypatch.setattr(background, "prepare", making)
    return making


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_is_made_once_for_all_who_wait(making, tmp_path):
    waiters = [Waiter(tmp_path / "a") for _ in range(3)]
    other = Waiter(tmp_path / "b")
    until(lambda: making.begun == 2)
    until(lambda: waiters[0].told == ["Embedding reference clips: 1 of 9"] or making.begun == 2)
    making.go.set()
    for waiter in (*waiters, other):
        waiter.join(10)
    assert [waiter.result for waiter in waiters] == ["the set of a"] * 3
    assert other.result == "the set of b"
    assert making.begun == 2


def test_it_ends_with_the_last_who_waits_for_it(making, tmp_path):
    first, second = Waiter(tmp_path), Waiter(tmp_path)
    until(lambda: making.begun == 1)
    first.job.stop()
    first.join(10)
    assert isinstance(first.result, Stopped)
    time.sleep(4 * jobs.POLL_S)
    assert making.given_up == 0
    second.job.stop()
    until(lambda: making.given_up == 1)


def test_who_comes_after_it_was_given_up_has_it_made_anew(making, tmp_path):
    first = Waiter(tmp_path)
    until(lambda: making.begun == 1)
    first.job.stop()
    first.join(10)
    second = Waiter(tmp_path)
    until(lambda: making.begun == 2)
    making.go.set()
    second.join(10)
    assert second.result == f"the set of {tmp_path.name}"


def test_its_failure_reaches_all_who_wait(making, tmp_path):
    making.fault = ReferencesError("no clip")
    waiters = [Waiter(tmp_path), Waiter(tmp_path)]
    until(lambda: making.begun == 1)
    making.go.set()
    for waiter in waiters:
        waiter.join(10)
        assert isinstance(waiter.result, ReferencesError)


def test_it_lets_everybody_else_go_first(monkeypatch, tmp_path):
    seen: list[Job | None] = []

    def prepare(*options: object, progress: object) -> str:
        seen.append(jobs.current())
        return "set"

    monkeypatch.setattr(background, "prepare", prepare)
    waiter = Waiter(tmp_path)
    waiter.join(10)
    assert seen[0] is not None
    assert seen[0].low
    assert seen[0] is not waiter.job


def test_outside_a_job_it_is_made_at_once(making, tmp_path):
    making.go.set()
    told: list[str] = []
    made = background.prepared(tmp_path, EMBEDDER, "mean", progress=told.append)
    assert made == f"the set of {tmp_path.name}"
    assert told == ["Embedding reference clips: 1 of 9"]
    assert contextvars.copy_context().get(jobs._current) is None
