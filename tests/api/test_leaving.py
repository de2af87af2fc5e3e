"""What the README promises of visitors' files: gone some hours after their last use, and with the app in any case."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from demo import ROOT, demo_process
from gradio_client import Client, handle_file

from vjepa_demo.settings import Settings

KEPT_S = 4.0
SCRATCH = "VJEPA_DEMO_SCRATCH_DIR"


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def break_off_an_upload(url: str) -> socket.socket:
    """Send the beginning of a file and no more; it is broken off when the socket is closed."""
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="broken.mp4"\r\n\r\n'
    )
    peer = socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=10)
    peer.sendall(head.encode() + b"secret" * 100_000)
    return peer


def test_visitors_files_go_with_time_with_the_app_and_after_it_was_killed(tmp_path, video):
    place = tmp_path / "scratch"
    private = tmp_path / "my_private_video.mp4"
    private.write_bytes(video.read_bytes())
    hours = str(KEPT_S / 3600)
    with demo_process(tmp_path, **{SCRATCH: str(place), "VJEPA_DEMO_KEEP_HOURS": hours}) as (url, process):
        own = files_below(place)
        client = Client(url, verbose=False)
        client.predict(handle_file(private), api_name="/embed")
        broken = break_off_an_upload(url)
        assert {"my_private_video.mp4", "embedding.npz"} <= files_below(place)
        assert until(lambda: any(name.startswith("tmp") for name in files_below(place)))
        broken.close()
        assert until(lambda: files_below(place) == own), files_below(place) ^ own

        client.predict(handle_file(private), api_name="/embed")
        process.kill()
        process.wait(timeout=10)
        assert "my_private_video.mp4" in files_below(place)

    with demo_process(tmp_path, **{SCRATCH: str(place)}) as (url, process):
        assert "my_private_video.mp4" not in files_below(place)
        Client(url, verbose=False).predict(handle_file(private), api_name="/embed")
        assert "my_private_video.mp4" in files_below(place)
        process.terminate()
        process.wait(timeout=10)
    assert files_below(place) == set()
    said = (tmp_path / "app.log").read_text()
    assert "Traceback" not in said
    assert "my_private_video" not in said


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Path]:
    """A place on a disk of its own, on which nothing is free."""
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=1", "none", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be made by an administrator")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_the_app_ends_with_one_sentence(full_disk):
    environment = {**os.environ, SCRATCH: str(full_disk)}
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "The disk here is full: try again later, or ask its owner to make room."


def test_the_readme_says_how_long():

    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"deleted {Settings().keep_hours:g} hours after their last use (`VJEPA_DEMO_KEEP_HOURS`)" in text
