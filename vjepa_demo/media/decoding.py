"""The child that reads files for `worker`: it answers requests, one at a time, until its parent is gone.

Each is answered within limits that it sets on itself; the parent keeps the time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.errors import UserError
from vjepa_demo.media import reader
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.containers import sniff
from vjepa_demo.options import Sampling
from vjepa_demo.settings import Settings

log = logging.getLogger(__name__)


class _Lines(logging.Handler):
    """Keeps what is logged while a file is read, to be handed to the parent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < 20:
            self.lines.append(self.format(record)[:10_000])


def serve(read: Callable[[str, Sampling, Settings], Clip] = reader.read_clip) -> None:
    """Answer the requests that come through the standard input, a socket, until the parent is gone."""
    with socket.socket(fileno=os.dup(0)) as channel:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        threading.Thread(target=_end_with_parent, args=(channel, os.getppid()), daemon=True).start()
        heard = _Lines()
        logging.basicConfig(handlers=[heard], format="%(name)s: %(message)s", force=True)
        for line in channel.makefile("rb"):
            request = json.loads(line)
            if "warm" in request:
                _import_decoder()
            elif not _answer(channel, request, read, heard):
                return


def _answer(channel: socket.socket, request: dict[str, Any], read: Callable[..., Clip], heard: _Lines) -> bool:
    """Read one file and say how it went. False where this process had better end."""
    path, sampling, limits = request["path"], Sampling(**request["sampling"]), Settings(**request["limits"])
    heard.lines.clear()
    frames, again = None, True
    with contextlib.suppress(UserError):
        if sniff(Path(path), limits) not in ("image", "gif"):
            _import_decoder()
    with _bounded(limits):
        channel.sendall(b'{"begun": true}\n')
        try:
            clip = read(path, sampling, limits)
            planar = clip.frames.flags.c_contiguous
            frames = np.ascontiguousarray(clip.frames if planar else clip.frames.transpose(0, 2, 3, 1))
            answer: dict[str, Any] = {
                "shape": [len(frames), *clip.frames.shape[2:]],
                "planar": planar,
                "timestamps": clip.timestamps.tolist(),
                "source": dataclasses.asdict(clip.source),
                "notes": clip.notes,
            }
        except UserError as error:
            again = not isinstance(error.__cause__, MemoryError) and str(error) != reader.TOO_MUCH_MEMORY
            answer = {"error": type(error).__name__, "says": str(error)}
        except MemoryError:
            again, answer = False, {"error": "MediaError", "says": reader.TOO_MUCH_MEMORY}
        except Exception:
            log.exception("not foreseen while reading a file")
            again, answer = False, {"error": "MediaError", "says": "The file cannot be read: choose another one."}
    channel.sendall(json.dumps({**answer, "log": heard.lines, "again": again}).encode() + b"\n")
    if frames is not None:
        channel.sendall(frames.data.cast("B"))
    return again


@contextlib.contextmanager
def _bounded(limits: Settings) -> Iterator[None]:
    """Memory, files and time within their limits. The alarm ends a process whose parent is no longer there to do it."""
    size, hard = _address_space(), resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 256, resource.RLIMIT_FSIZE: 2 * limits.max_bytes}
    for kind, most in wanted.items():
        ceiling = resource.getrlimit(kind)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most if ceiling < 0 else min(most, ceiling), ceiling))
    signal.alarm(math.ceil(limits.decode_seconds) + 10)
    with contextlib.suppress(ValueError, OSError):
        if size:
            resource.setrlimit(resource.RLIMIT_AS, (size + limits.decode_bytes, hard))
    try:
        yield
    finally:
        signal.alarm(0)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _address_space() -> int:
    """Bytes of address space in use, 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _import_decoder() -> None:
    """Import before the memory is counted what takes most of it; where it is missing, `media` says so."""
    try:
        import torchcodec.decoders
        import torchcodec.transforms  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        log.info("torchcodec could not be imported", exc_info=True)


def _end_with_parent(channel: socket.socket, parent: int) -> None:
    """End this process, and what it has started, when the parent is gone."""
    watch = select.poll()
    watch.register(channel, 0)  # nothing is asked for but the hang-up, which is always told
    while not watch.poll(1000) and os.getppid() == parent:  # a copy of the parent would keep the channel open
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    serve()
