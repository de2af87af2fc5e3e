"""The same clips, read in a process of their own that can be stopped: what a file does there ends there.

A file from a stranger may crash FFmpeg, never end, or take all memory. It is therefore decoded by a child that is bound
in memory and killed, with whatever it has started, at a deadline or when nobody waits any more. It is used again while
it behaves. The two speak through a socket: a line of JSON each way, then the pixels. The parent believes nothing that
the child says without a look, since a file that has taken the child over speaks through it.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo import jobs, scratch
from vjepa_demo.errors import BusyError, DiskError, MediaError, RequestError, of_disk
from vjepa_demo.media import reader
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.options import Sampling
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "vjepa_demo.media.decoding")
POLL_S = 0.05
START_S = 60.0  # a first import from a slow disk
MOST_IDLE = 2
MOST_FILES = 200  # then a fresh one: whatever a library leaks goes with it
MOST_LINE = 2**20  # bytes of a line of JSON
MOST_TEXT = 600  # letters of a sentence
MOST_LINES = 50  # in the log, of one file
KINDS = {"DiskError": DiskError, "MediaError": MediaError, "RequestError": RequestError}
# A file that takes the child over finds no keys there.
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|_KEY$", re.IGNORECASE)

CRASHED = "The file makes the decoder fail and cannot be read: export it again, or choose another one."
TOO_SLOW = "Reading the file takes longer than the {:g} s that are given to one file: cut it or scale it down first."
NOT_STARTED = "No file can be read here at the moment: try again in a minute."


class Gone(Exception):
    """The child ended, or said what makes no sense, instead of answering."""


def read_clip(path: str | Path, sampling: Sampling | None = None, limits: Settings = settings) -> Clip:
    """`reader.read_clip` in a child: the same clip, the same errors, within `decode_seconds` and `decode_bytes`.

    Raises:
        MediaError: as there; or the file crashed the decoder, or took more time or memory than one file may.
        BusyError, DiskError: no child can be had, which is nothing of the file's.
        RequestError: the sampling cannot be met.
        Stopped: nobody waits for it any more.
    """
    sampling = sampling or Sampling()
    sampling.check(limits)
    if os.name != "posix":
        _say_unprotected()
        return reader.read_clip(path, sampling, limits)
    return _pool.read_clip(path, sampling, limits)


@functools.cache
def _say_unprotected() -> None:
    log.warning("on this system files are decoded in the app's own process, without limits of time and memory")


def warm() -> None:
    """Start a child in the background, so that the first file does not wait for its imports."""
    if os.name == "posix":
        threading.Thread(target=_pool.warm, name="decoding", daemon=True).start()


class Pool:
    """Children that wait for files: one for each file that is read at the same time, few of them kept.

    Args:
        program: what a child runs.
    """

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self.program = program
        self._idle: list[Worker] = []
        self._children = 0  # those that wait for files, read them, or are being started
        self._lock = threading.Lock()

    def read_clip(self, path: str | Path, sampling: Sampling, limits: Settings) -> Clip:
        """See the function of that name."""
        while True:
            worker, used = self._take()
            try:
                clip = worker.read_clip(os.path.abspath(path), sampling, limits)
            except Gone as error:
                if used and not worker.begun:  # it had died while it was idle
                    continue
                log.warning("decoding ended with the child: %s", error)
                raise (MediaError(CRASHED) if worker.begun else BusyError(NOT_STARTED)) from None
            finally:
                self._give_back(worker)
            return clip

    def warm(self) -> None:
        """Have one child that has imported what decoding takes, where there is none."""
        with self._lock:
            if self._children:
                return
        with contextlib.suppress(BusyError, DiskError, OSError):
            worker = self._start()
            try:
                worker.send({"warm": True})
            finally:
                self._give_back(worker)

    def close(self) -> None:
        """End all children that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            self._end(worker)

    def forget(self) -> None:
        """In a copy of the process: the children are not its own."""
        self._idle, self._children, self._lock = [], 0, threading.Lock()

    def _take(self) -> tuple[Worker, bool]:
        """A child, and whether it was used before."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._start(), False
            if worker.is_alive:
                return worker, True
            self._end(worker)

    def _start(self) -> Worker:
        # Nothing is decoded here instead: who exhausts the processes would choose where his file is read.
        with self._lock:
            self._children += 1
        try:
            return Worker(self.program)
        except OSError as error:
            with self._lock:
                self._children -= 1
            log.error("no process can be started for decoding: %s", error)
            raise (DiskError.of(error) if of_disk(error) else BusyError(NOT_STARTED)) from error

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            keep = worker.is_free and worker.is_alive and len(self._idle) < MOST_IDLE
            if keep:
                self._idle.append(worker)
        if not keep:
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        worker.kill()
        with self._lock:
            self._children -= 1


class Worker:
    """One child, as its parent sees it.

    Attributes:
        begun: whether it has begun with its last file.
        is_free: whether it may be given another one.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self.begun, self.is_free, self._files, self._lines_left = False, True, 0, MOST_LINES
        self._scratch = tempfile.mkdtemp(dir=scratch.folder("decoding"))
        self._socket, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
        environment.update(TMPDIR=self._scratch, CUDA_VISIBLE_DEVICES="", MALLOC_ARENA_MAX="2", PYTHONFAULTHANDLER="1")
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # torch has the frames in huge pages, which are there sooner
        try:
            self._process = subprocess.Popen(
                list(program),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=Path(__file__).resolve().parents[2],
                env=environment,
                start_new_session=True,
            )
        except OSError:
            self._socket.close()
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        finally:
            theirs.close()
        self._socket.settimeout(POLL_S)
        threading.Thread(target=self._listen, name="decoding", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def read_clip(self, path: str, sampling: Sampling, limits: Settings) -> Clip:
        """The clip, or the child's error.

        Raises:
            Gone: the child ended, or its answer makes no sense.
            UserError: what the child says of the file; that it took too long; or that nobody waits.
        """
        self.begun, self.is_free = False, False
        self._files, self._lines_left = self._files + 1, MOST_LINES
        known = dataclasses.asdict(dataclasses.replace(limits, auth=None))  # a file may take the child over
        request = {"path": path, "sampling": dataclasses.asdict(sampling), "limits": known}
        try:
            self.send(request)
            until = time.monotonic() + START_S
            if self._line(until) != {"begun": True}:
                raise Gone("it did not begin")
            self.begun = True
            until = time.monotonic() + limits.decode_seconds
            answer = self._line(until)
            _write_down(answer.get("log"))
            if "error" in answer:
                raised = KINDS.get(str(answer["error"]), MediaError)(_sentence(answer.get("says")))
            else:
                clip = self._clip(answer, sampling, limits, until)
        except TimeoutError:
            log.warning("decoding was stopped after %g s", limits.decode_seconds)
            if not self.begun:
                raise BusyError(NOT_STARTED) from None
            raise MediaError(TOO_SLOW.format(limits.decode_seconds)) from None
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise Gone(f"{type(error).__name__}: {error}") from error
        self.is_free = answer.get("again") is True and self._files < MOST_FILES
        if "error" in answer:
            raise raised
        return clip

    def send(self, request: dict[str, Any]) -> None:
        """Hand over a request. Raises OSError where nobody is there."""
        self._socket.settimeout(START_S)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        finally:
            self._socket.settimeout(POLL_S)

    def kill(self) -> None:
        """End the child and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._socket.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _listen(self) -> None:
        """Log what FFmpeg and others write to the standard error, until the child ends."""
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            while line := errors.readline(MOST_TEXT):
                if self._lines_left > 0:
                    self._lines_left -= 1
                    _write_down([line.decode(errors="replace")])

    def _line(self, until: float) -> dict[str, Any]:
        line = bytearray()
        # What follows the line must stay in the socket: it is looked at before it is taken.
        while True:
            part = self._receive(lambda: self._socket.recv(4096, socket.MSG_PEEK), until)
            end = part.find(b"\n") + 1
            line += self._socket.recv(end or len(part))
            if end:
                answer = json.loads(line)
                if not isinstance(answer, dict):
                    raise ValueError("not an object")
                return answer
            if len(line) > MOST_LINE:
                raise ValueError("a line that does not end")

    def _receive(self, receive: Callable[[], Any], until: float) -> Any:
        """What `receive` gives, waiting for it, while somebody waits for us."""
        while True:
            jobs.check()
            if time.monotonic() > until:
                raise TimeoutError
            try:
                if part := receive():
                    return part
            except TimeoutError:
                continue
            raise Gone(f"exit status {_status(self._process)}")

    def _clip(self, answer: dict[str, Any], sampling: Sampling, limits: Settings, until: float) -> Clip:
        """The clip that the answer describes, its pixels read from the socket. Raises ValueError and its kin."""
        t, height, width = (int(size) for size in answer["shape"])
        if not (t in (1, sampling.frames) and min(height, width) > 0):
            raise ValueError("sizes that were not asked for")
        if t * height * width * 3 > max(limits.max_clip_bytes, 3 * t):
            raise ValueError("more pixels than were asked for")
        source = Source(**answer["source"])
        stamps = np.array(answer["timestamps"], dtype=np.float64)
        _check(source, stamps, t)
        planar = answer["planar"] is True
        frames = np.empty((t, 3, height, width) if planar else (t, height, width, 3), dtype=np.uint8)
        space = frames.data.cast("B")
        while space:
            space = space[self._receive(functools.partial(self._socket.recv_into, space), until) :]
        notes = tuple(map(_sentence, answer["notes"]))
        return Clip(frames if planar else frames.transpose(0, 3, 1, 2), stamps, source, sampling, notes)


def _check(source: Source, stamps: np.ndarray, t: int) -> None:
    """Raises ValueError where a source or its times are not what `media` makes."""
    numbers = (source.width, source.height, source.duration, source.fps, source.frame_count, source.rotation)
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ValueError("numbers that are none")
    if min(source.width, source.height, source.frame_count) < 1 or source.kind not in ("video", "image"):
        raise ValueError("a source that cannot be")
    if not re.fullmatch(r"[\w.-]{0,40}", source.codec, re.ASCII):
        raise ValueError("a codec that is none")
    if stamps.shape != (t,) or not np.isfinite(stamps).all() or (np.diff(stamps) < 0).any():
        raise ValueError("times that do not ascend")


def _sentence(text: Any) -> str:
    """One line of at most MOST_TEXT letters. Raises TypeError where it is no text."""
    if not isinstance(text, str):
        raise TypeError("no text")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:MOST_TEXT]).split())


def _write_down(lines: Any) -> None:
    """What the child had to say to the log: no line of it can pass for one of ours."""
    for line in lines[:20] if isinstance(lines, list) else ():
        for part in str(line)[:20_000].splitlines()[:MOST_LINES]:
            log.warning("in the child: | %s", _sentence(part))


def _status(process: subprocess.Popen[bytes]) -> str:
    """How a process ended whose socket is closed."""
    try:
        code = process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return "unknown"
    return signal.Signals(-code).name if -code in set(signal.Signals) else str(code)


_pool = Pool()
atexit.register(_pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)
