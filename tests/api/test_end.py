"""What stops a service waits ten seconds, and then kills it: the app ends long before, also while pages are open."""

from __future__ import annotations

import signal
import time

import httpx
from demo import demo_process


def test_it_ends_at_once_while_a_page_listens_and_leaves_nothing(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with demo_process(tmp_path, VJEPA_DEMO_SCRATCH_DIR=str(scratch)) as (url, process):
        assert list(scratch.rglob("run-*"))
        with httpx.Client(base_url=url, timeout=60) as page, page.stream("GET", "/gradio_api/heartbeat/page") as stream:
            assert "ALIVE" in next(stream.iter_text())
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert time.monotonic() - began < 4  # of which most is for machines with other things to do
    assert not list(scratch.rglob("run-*"))
    assert "Traceback" not in (tmp_path / "app.log").read_text()
