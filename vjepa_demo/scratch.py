"""The one folder for all that is written for visitors: their uploads, their references, files on the way to them.

Each process has a folder of its own, locked while it lives, which goes with it; what a killed process left behind is
removed by the next one that begins. Nothing outside that folder is ever deleted, and no link is followed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from vjepa_demo.errors import DiskError
from vjepa_demo.settings import settings

try:
    import fcntl
except ImportError:  # without locks nobody can tell a dead process's folder, and none is removed
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

RUN = re.compile(r"run-(\d+)-\w+")
LOCK = "lock"
UPLOADS = "uploads"  # with all that Gradio makes for the browser
WORK = "work"
BLOCK = 4096  # bytes of disk that file systems give out at a time
UID = os.getuid() if hasattr(os, "getuid") else 0

_lock = threading.RLock()
_run: _Run | None = None
_used: Counter[str] = Counter()  # paths that a running piece of work reads or writes, and how many do


class _Run:
    """This process's folder, and the lock that says so."""

    def __init__(self, base: Path) -> None:
        self.pid = os.getpid()
        with _locked(base / LOCK):  # nobody sweeps between the making of a folder and that of its lock
            self.folder = Path(tempfile.mkdtemp(prefix=f"run-{self.pid}-", dir=base))
            self._lock = (self.folder / LOCK).open("w")
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX)

    def end(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def begin() -> Path:
    """This process's folder, made when it is first asked for; what dead processes left behind is removed then.

    Raises:
        DiskError: it cannot be made, or the place for it belongs to somebody else.
    """
    global _run
    with _lock:
        if _run is None or _run.pid != os.getpid():
            base = _base()
            _sweep_runs(base)
            try:
                _run = _Run(base)
            except OSError as error:
                raise DiskError.of(error) from error
            atexit.register(end)
        return _run.folder


def begun() -> Path | None:
    """This process's folder, where there is one yet."""
    return _run.folder if _run else None


def end() -> None:
    """Remove this process's folder with all that is in it; a process forked from this one leaves it alone."""
    with _lock:
        if _run is not None and _run.pid == os.getpid():
            _run.end()


def folder(name: str) -> Path:
    """A folder for one kind of files, in that of this process."""
    path = begin() / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder that lives as long as the context."""
    with tempfile.TemporaryDirectory(dir=folder(WORK), ignore_cleanup_errors=True) as name, using(name):
        yield Path(name)


@contextlib.contextmanager
def using(*paths: str | Path | None) -> Iterator[None]:
    """Within this context none of these files, and nothing below these folders, is removed for its age."""
    names = [os.path.abspath(path) for path in paths if path is not None]
    with _lock:
        _used.update(names)
    try:
        yield
    finally:
        with _lock:
            _used.subtract(names)
            for name in names:
                if _used[name] <= 0:
                    del _used[name]
        for name in names:  # its age counts from here
            with contextlib.suppress(OSError, ValueError):
                os.utime(name)


def in_use(path: str | Path) -> bool:
    """Whether a running piece of work uses this file, a folder that it lies in, or something in it."""
    name = os.path.abspath(path)
    with _lock:
        used = list(_used)
    return any(_within(name, other) or _within(other, name) for other in used)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


# --- room and age ----------------------------------------------------------------------------------------------------


def check_room(needed: int = 0, folder: str | Path | None = None) -> None:
    """Raises DiskError when `needed` bytes more would not leave `settings.free_bytes` free of the disk that holds
    `folder`, or this process's own."""
    if shutil.disk_usage(folder or begin()).free - needed < settings.free_bytes:
        raise DiskError("The disk here is nearly full: try again later, or with smaller files.")


def size_of(folder: str | Path, shared: frozenset[tuple[int, int]] = frozenset()) -> int:
    """Bytes of disk that what is in a folder takes, each file counted once however many names it has.

    Args:
        folder: where to count; links are not followed.
        shared: (device, inode) of files that do not count, see `inodes_of`.
    """
    sizes = {(status.st_dev, status.st_ino): on_disk(status.st_size) for _, status in _files(folder)}
    folders = sum(len(inside) for _, inside, _ in os.walk(folder))
    return sum(size for inode, size in sizes.items() if inode not in shared) + folders * BLOCK


def on_disk(size: int) -> int:
    """Bytes of disk that a file of this size takes: whole blocks, and one more for its name, or a folder of its own. A
    thousand files of a byte each are some megabytes."""
    return (-(-size // BLOCK) + 1) * BLOCK


def inodes_of(*folders: str | Path) -> frozenset[tuple[int, int]]:
    """(device, inode) of all files in these folders."""
    return frozenset((status.st_dev, status.st_ino) for folder in folders for _, status in _files(folder))


def sweep(name: str, seconds: float, most_bytes: int | None = None, kept: frozenset[Path] = frozenset()) -> None:
    """Remove what is old in a folder of this process: files, and folders that are empty.

    Args:
        name: that of `folder`.
        seconds: how long after its last use a file is kept.
        most_bytes: above this, the oldest go even if they are younger.
        kept: files that stay whatever their age.
    """
    root, now = folder(name), time.time()
    found = [(max(status.st_mtime, status.st_ctime), path, on_disk(status.st_size)) for path, status in _files(root)]
    held = sum(size for _, _, size in found)
    for changed, path, size in sorted(found):
        too_much = most_bytes is not None and held > most_bytes
        if (now - changed > seconds or too_much) and path not in kept:
            with _lock, contextlib.suppress(OSError):
                if not in_use(path):
                    path.unlink()
                    held -= size
    for parent, folders, _ in os.walk(root, topdown=False):
        for path in (Path(parent, inside) for inside in folders):
            with contextlib.suppress(OSError):  # it is not empty
                if now - path.lstat().st_mtime > seconds and not in_use(path):
                    path.rmdir()


def files_in(name: str) -> frozenset[Path]:
    """All files in a folder of this process."""
    return frozenset(path for path, _ in _files(folder(name)))


def _files(folder: str | Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every regular file below a folder, as far as it is there and stays; links are not followed."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


class Janitor:
    """A thread that does some tasks over and over; one that fails is logged and does not keep it from the next."""

    def __init__(self, *tasks: Callable[[], None], every: float = 60.0) -> None:
        self._tasks, self._every = tasks, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the task at hand is done."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            for task in self._tasks:
                try:
                    task()
                except Exception:
                    log.exception("clearing up failed")


# --- the folders of all processes ------------------------------------------------------------------------------------


def _base() -> Path:
    """Where the folders of all processes of this user lie; nobody else may write there."""
    base = Path(settings.scratch_dir or tempfile.gettempdir()).resolve() / f"vjepa-demo-{UID}"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.lstat()
    except OSError as error:
        raise DiskError.of(error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != UID or (fcntl and status.st_mode & 0o022):
        raise DiskError(
            "The folder for temporary files belongs to somebody else, or others may write into it: name another place "
            "in VJEPA_DEMO_SCRATCH_DIR."
        )
    return base


def _sweep_runs(base: Path) -> None:
    """Remove the folders of processes that have ended without doing it themselves."""
    if not fcntl:
        return
    with contextlib.suppress(OSError), _locked(base / LOCK):
        for path in base.iterdir():
            status = path.lstat()
            if RUN.fullmatch(path.name) and stat.S_ISDIR(status.st_mode) and status.st_uid == UID and not _held(path):
                shutil.rmtree(path, ignore_errors=True)  # which refuses links, and follows none


def _held(run: Path) -> bool:
    """Whether the process of this folder lives."""
    try:
        with (run / LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or none that can be opened: it was being removed
        return False
    return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Hold a file's lock, which the kernel lets go when the process ends in whatever way."""
    with path.open("a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
