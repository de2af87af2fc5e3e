"""References that have to be embedded first: once for all who wait for them, behind everybody's clips."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vjepa_demo import jobs
from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.references.comparison import ReferenceSet
from vjepa_demo.references.preparing import prepare
from vjepa_demo.settings import ZERO_GPU, settings

log = logging.getLogger(__name__)

Say = Callable[[str], None]


class _Build:
    """One set in the making: a thread with a job of low priority, which ends with the last who waits for it."""

    def __init__(self, make: Callable[[Callable[[int, int, str], None]], ReferenceSet]) -> None:
        self._make = make
        self._job = Job(Visitor("", "references"), settings.build_seconds, gone=lambda: not self.waiting, low=True)
        self.waiting: dict[int, Say] = {}
        self.over = threading.Event()
        self.result: ReferenceSet | BaseException | None = None

    def start(self) -> None:
        # A context of its own: the request of the one who came first must not be taken for that of the others. But on
        # ZeroGPU a GPU is given to somebody's request alone, and that is theirs.
        context = contextvars.copy_context() if ZERO_GPU else contextvars.Context()
        threading.Thread(target=context.run, args=(self._run,), daemon=True).start()

    def _run(self) -> None:
        try:
            with self._job.running():
                self.result = self._make(self._tell)
        except BaseException as error:  # raised where it is awaited
            self.result = error
        finally:
            self.over.set()

    def _tell(self, done: int, total: int, message: str) -> None:
        for say in list(self.waiting.values()):
            say(f"{message}: {done} of {total}")

    def wait(self, say: Say) -> ReferenceSet:
        """The set, once it is made. Raises what its making raised, or Stopped when the one who waits is stopped."""
        try:
            with jobs.waiting():
                while not self.over.wait(jobs.POLL_S):
                    jobs.check()
        finally:
            with _lock:
                self.waiting.pop(id(say), None)
        if isinstance(self.result, BaseException):
            raise self.result
        assert self.result is not None
        return self.result


_lock = threading.Lock()
_builds: dict[Any, _Build] = {}


def prepared(folder: Path, embedder: Embedder, pooling: Pooling, *, progress: Say) -> ReferenceSet:
    """The reference set of a folder, as `preparing.prepare` makes it; outside a job, just that.

    Within a job, what has to be embedded is embedded by one thread for all who ask for the same set, with low
    priority; it is given up when the last of them has left, and goes on where it was when somebody asks again.

    Raises:
        UserError: the folder or a clip is at fault, or the job was stopped.
    """

    def make(tell: Callable[[int, int, str], None]) -> ReferenceSet:
        return prepare(folder, embedder, pooling, progress=tell)

    if jobs.current() is None:
        return make(lambda done, total, message: progress(f"{message}: {done} of {total}"))

    def say(message: str) -> None:  # an object of its own for each who waits
        progress(message)

    key = (folder.resolve(), embedder.kind(pooling))
    with _lock:
        build = _builds.get(key)
        begin = build is None or build.over.is_set() or not build.waiting
        if build is None or begin:
            build = _builds[key] = _Build(make)
        build.waiting[id(say)] = say
        for other in [other for other, known in _builds.items() if known.over.is_set()]:
            del _builds[other]
    if begin:
        build.start()
    return build.wait(say)
