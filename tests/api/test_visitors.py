"""Several visitors at once: work ends with its visitor, and nobody waits for more than the jobs before theirs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from demo import running_demo
from visitor import Visitor

PATIENCE_S = 600.0
FRAMES = 64  # a forward pass of some seconds, so that there is something to stop


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app that computes everything anew: what comes from memory cannot be stopped."""
    with running_demo(tmp_path_factory.mktemp("demo"), VJEPA_DEMO_MEMO_BYTES="0") as address:
        yield address


def time_of_a_job(demo_url: str, video: Path) -> float:
    """How long such a job takes here, alone and warm, in seconds."""
    with Visitor(demo_url, "warm") as visitor:
        file = visitor.upload(video)
        for _ in range(2):
            started = time.monotonic()
            visitor.embed(file, FRAMES)
            list(visitor.messages())
    return time.monotonic() - started


@pytest.fixture
def long_jobs(demo_url: str, video: Path) -> Callable[[], float]:
    """A function for a time in such jobs' times: the longest of one before the test and one at its end, since what else
    the machine does changes meanwhile."""
    before = time_of_a_job(demo_url, video)
    return lambda: max(before, time_of_a_job(demo_url, video))


def test_the_work_of_a_visitor_who_leaves_stops(demo_url, video, long_jobs):
    with Visitor(demo_url, "leaves") as first, Visitor(demo_url, "stays") as second:
        file = first.upload(video)
        for _ in range(8):
            first.embed(file, FRAMES)
        first.until("Encoding")
        started = time.monotonic()
        second.embed(second.upload(video), FRAMES)
        second.until("Done.")
        waited = time.monotonic() - started
    assert waited < 3 * long_jobs()


def test_a_cancelled_event_stops(demo_url, video, long_jobs):
    with Visitor(demo_url, "cancels") as first, Visitor(demo_url, "next") as second:
        file = first.upload(video)
        event = first.embed(file, FRAMES)
        for message in first.messages():
            if "Encoding" in str(message):
                started = time.monotonic()
                first.cancel(event, "embed_1")
                break
        stopped = time.monotonic() - started
        second.embed(second.upload(video))
        second.until("Done.")
    assert stopped < 1 + long_jobs() / 4


def test_ten_uploads_of_one_visitor_do_not_hold_the_next(demo_url, video):
    with Visitor(demo_url, "many") as many, Visitor(demo_url, "one") as one:
        file = many.upload(video)
        for _ in range(10):
            many.embed(file, FRAMES)
        heard: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(lambda: heard.extend(map(str, many.messages())))
            one.embed(one.upload(video), FRAMES)
            one.until("Done.")
            before = sum("Done." in message for message in heard)
            rest.result(timeout=PATIENCE_S)
    assert sum("process_completed" in message for message in heard) == 10
    assert before < 4


def test_another_pooling_ends_the_embedding_of_references_for_the_one_before(demo_url, video):
    """Otherwise the map would come to be that of a pooling which the page no longer shows."""
    with Visitor(demo_url, "pools") as visitor:
        visitor.embed(visitor.upload(video), 64, "fps")
        assert "reference clips in this way too" in str(list(visitor.messages()))
        visitor.join("compare_anyway", None, None)
        chosen, rest = "", []
        for message in visitor.messages():
            if chosen:
                rest.append((chosen in str(message) and message["msg"] == "process_completed", str(message)))
            elif "Embedding reference clips" in str(message):
                chosen = visitor.join("change_pooling", None, "mean", None)
    at = next(number for number, (is_end, _) in enumerate(rest) if is_end)
    assert "reference clips in this way too" in rest[at][1], "what is left of them is offered"
    assert not [said for _, said in rest[at:] if "Embedding reference clips" in said]


def test_references_of_an_unusual_way_are_offered_and_embedded_once_for_all_who_wait(demo_url, video, long_jobs):
    with Visitor(demo_url, "a") as first, Visitor(demo_url, "b") as second, Visitor(demo_url, "c") as third:
        for visitor in (first, second):
            visitor.embed(visitor.upload(video), 32, "fps")
            *_, last = map(str, visitor.messages())
            assert re.search(r"Embed the 12\d reference clips in this way too \(about \d", last), last
            visitor.join("compare_anyway", None, None)
        first.until("Embedding reference clips: ")
        # The second is told of what is being made already, and it goes on when the first has left.
        second.until("Embedding reference clips")
        # Both have left now. A third visitor waits for one reference clip at most, not for 126.
        started = time.monotonic()
        third.embed(third.upload(video))
        third.until("Done.")
        waited = time.monotonic() - started
    assert waited < 3 * long_jobs()
