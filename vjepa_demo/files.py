"""Files that are there whole or not at all, that never take another's name unasked, and locks where two meet."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vjepa_demo import jobs
from vjepa_demo.errors import ReferencesError, is_full

try:
    import fcntl
except ImportError:  # Windows: then threads alone are kept apart
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

POLL_S = 0.05
TEMPORARY = ".tmp"  # what is being written ends so, and begins with a dot: nobody takes it for a clip
TEMPORARY_AGE_S = 3600  # older ones were left behind by a process that was killed
DISK_FULL = "The disk is full: make room on it, or add fewer clips."


class _Lock:
    def __init__(self) -> None:
        self.mutex, self.users = threading.Lock(), 0


_locks: dict[Path, _Lock] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Within this context no other thread, and no other process on this machine, has the lock of this name.

    The kernel takes the lock back when a process is killed, whatever it leaves of the file. Where no file can be locked
    (a folder that is read only, a file system without locks), threads alone are kept apart. A thread that has it must
    not ask for it again, and a job should not wait for it while it has the machine's turn.

    Raises:
        Stopped: the job that waits is to end.
    """
    key = Path(os.path.abspath(path))
    with _guard:
        held = _locks.setdefault(key, _Lock())
        held.users += 1
    try:
        with jobs.locked(held.mutex), _locked(key):
            yield
    finally:
        with _guard:
            held.users -= 1
            if not held.users:
                del _locks[key]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = _lock_file(path)
    try:
        yield
    finally:
        if file is not None:
            # Removed while it is locked: whoever waited for it finds another file at its name, and opens that.
            with contextlib.suppress(OSError):
                path.unlink()
            file.close()


def _lock_file(path: Path) -> IO[str] | None:
    while fcntl is not None:
        with contextlib.ExitStack() as stack, jobs.waiting():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("a"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    stack.pop_all()
                    return file
            except (BlockingIOError, FileNotFoundError):
                jobs.check()
                time.sleep(POLL_S)
            except OSError:
                return None
    return None


def replace_file(path: Path, write: Callable[[Path], Any], *, durable: bool = True) -> None:
    """Let `write` make a file that takes `path`'s place in one step, so that a reader never finds half of it; if it is
    to be `durable`, nor does whoever starts again after the machine went down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        write(temporary)
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def put(path: Path, target: Path, *, copy: bool = False) -> None:
    """Put a file at a name that is free: a hard link where that is possible and no `copy` is asked for, else a copy.

    Raises:
        FileExistsError: something has that name; it stays as it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "the name is taken", str(target))
    if not copy:
        with contextlib.suppress(OSError):
            # The Hub's cache holds links to its blobs: it is the blob that is wanted.
            os.link(path.resolve(), target)
            return
    temporary = _temporary(target)
    try:
        shutil.copy2(path, temporary)
        _sync(temporary)
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            temporary.rename(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{TEMPORARY}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > TEMPORARY_AGE_S:
                    path.unlink()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


SETTLED_S = 2.0  # file systems tell times in steps: what was just written may change again without a new time


def known_hash(path: Path) -> str:
    """What `file_hash` gives, remembered for as long as the file's name, place, size and times are the same.

    Raises:
        OSError: there is no such file, or it is no regular one, which might never end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    look = look_of(status)
    if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED_S:
        return file_hash(path)
    return _hash_of(path, look)


def look_of(status: os.stat_result) -> tuple[int, ...]:
    """Place, size and times of a file: while they are the same, so are its bytes, but for what was just written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.lru_cache(maxsize=20_000)
def _hash_of(path: Path, look: tuple[int, ...]) -> str:
    return file_hash(path)


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """A disk that takes no more, and a folder that may not be written to, become a ReferencesError."""
    try:
        yield
    except OSError as error:
        log.warning("not written: %s", error.strerror or type(error).__name__)
        raise ReferencesError(
            DISK_FULL
            if is_full(error)
            else "The folder of references cannot be written to: check that it is there and that you may change it."
        ) from error


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other thread or process uses; short, since `path`'s own may be a long one."""
    short = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return path.with_name(f".{short}.{os.getpid()}-{threading.get_ident()}{TEMPORARY}")


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before what follows."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if is_full(error) or error.errno == errno.EIO:
            raise
    finally:
        os.close(descriptor)
