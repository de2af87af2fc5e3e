"""The real app in a process of its own, for the tests that talk to it from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
STARTS_WITHIN_S = 300
LOG = "app.log"


@contextlib.contextmanager
def running_demo(cache: Path, **environment: str) -> Iterator[str]:
    """Start `app.py` on a free port, with its caches in an empty folder and no hub. Yields its address."""
    with demo_process(cache, **environment) as (address, _):
        yield address


@contextlib.contextmanager
def demo_process(cache: Path, *options: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """As `running_demo`, with options; yields the process too, which may have ended when the context ends."""
    port = int(environment.pop("VJEPA_DEMO_PORT", 0)) or free_port()
    address = f"http://127.0.0.1:{port}"
    with app_process(port, cache, *options, **environment) as process:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The app did not start:\n{(cache / LOG).read_text(errors='replace')}")
            time.sleep(0.1)
        yield address, process


@contextlib.contextmanager
def app_process(port: int, cache: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The app's process from the first moment on, when it does not answer yet; it ends with the context."""
    env = {
        **os.environ,
        "VJEPA_DEMO_PORT": str(port),
        "VJEPA_DEMO_CACHE_DIR": str(cache),
        "HF_HOME": str(cache / "hub"),
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    with (cache / LOG).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", *options], cwd=ROOT, env=env, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether anybody on this machine answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
