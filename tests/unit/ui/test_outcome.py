"""Messages and results come in the order in which they were made, errors where they are awaited, and work ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time

import gradio as gr
import pytest
from loops import finish

from vjepa_demo import jobs
from vjepa_demo.errors import MediaError, Stopped
from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.ui import outcome, under_way
from vjepa_demo.ui.outcome import OUR_FAULT, event, narrate


def told(work, job=None, until=lambda item: False) -> list:
    """All that comes out of `narrate`, or what comes until the one who listens has had enough."""

    async def listen():
        items = []
        async with contextlib.aclosing(narrate(work, job)) as stream:
            async for item in stream:
                items.append(item)
                if until(item):
                    break
        return items

    return finish(listen())


def test_messages_and_results_keep_their_order():
    def work(progress):
        progress("one")
        yield 1
        progress("two")
        progress("three")
        yield 2

    assert told(work) == ["one", 1, "two", "three", 2]


def test_an_error_comes_after_what_was_done_before_it():
    def work(progress):
        yield 1
        raise MediaError("broken")

    seen = []
    with pytest.raises(MediaError, match="broken"):
        told(work, until=seen.append)
    assert seen == [1]


def test_the_work_sees_the_callers_context():
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the caller")

    def work(progress):
        yield who.get()

    assert told(work) == ["the caller"]


def test_the_work_stops_when_nobody_listens_any_more():
    stopped = threading.Event()

    def work(progress):
        yield 1
        try:
            while True:
                jobs.check()
                time.sleep(0.01)
        except Stopped:
            stopped.set()
            raise

    assert told(work, until=lambda item: item == 1) == [1]
    assert stopped.wait(1)


def test_a_job_that_is_stopped_ends_the_stream():
    def work(progress):
        yield 1
        while True:
            jobs.check()
            time.sleep(0.01)

    job = Job()
    with pytest.raises(Stopped):
        told(work, job, until=lambda item: job.stop())


def updates(handler, *inputs) -> list:
    async def listen():
        return [update async for update in handler(*inputs)]

    return finish(listen())


def test_an_event_ends_in_updates_or_in_one_sentence(caplog):
    @event("status", "map")
    def work(say, folder, fault):
        say("Thinking")
        yield {"map": folder.is_dir()}
        if fault:
            raise fault

    busy, placed = updates(work, None)
    assert "Thinking …" in busy[0]
    assert placed[1] is True
    assert "broken" in updates(work, MediaError("broken"))[-1][0]
    assert not caplog.records
    ours = updates(work, KeyError("a secret"))[-1][0]
    assert OUR_FAULT in ours
    assert "a secret" not in ours
    assert "a secret" in caplog.text


def test_an_event_cannot_update_what_is_not_wired(caplog):
    @event("status")
    def work(say, folder):
        yield {"map": 1}

    assert OUR_FAULT in updates(work)[-1][0]
    assert "not among" in caplog.text


@pytest.fixture
def page(monkeypatch) -> Visitor:
    """The events of a test come from this page."""
    page = Visitor("10.0.0.1", "page")
    monkeypatch.setattr(outcome.visits, "job", lambda **options: Job(page, **options))
    return page


def test_work_that_is_ended_says_and_shows_nothing_more(page):
    shown = threading.Event()

    @event("status", "map")
    def older(say, folder):
        say("Thinking")
        yield {"map": "first"}
        while True:
            jobs.check()
            say("still thinking")
            time.sleep(0.01)

    @event("status", kind="file")
    def other(say, folder):
        assert shown.wait(10)
        yield {"status": under_way.end(page, "clip")}

    async def both():
        async def listen(handler):
            seen = []
            async for update in handler():
                seen.append(update)
                if update[-1] == "first":
                    shown.set()
            return seen

        return await asyncio.gather(listen(older), listen(other))

    seen, ((ended,),) = finish(both())
    assert ("Thinking …" in seen[0][0], seen[1][1]) == (True, "first")
    assert "Stopped" not in str(seen)
    assert seen[-1] == (gr.skip(), gr.skip()), "Gradio sends the last update once more: it must change nothing"
    assert ended == {"clip"}
    assert not under_way._work


def test_the_work_of_other_pages_goes_on(page):
    own, others, curl = Job(page), Job(Visitor("10.0.0.1", "other")), Job(Visitor("10.0.0.1"))
    with under_way.working(own, "clip"), under_way.working(others, "clip"), under_way.working(curl, "clip"):
        assert under_way.end(page, "own") == set()
        assert under_way.end(page, "clip", before=own) == set()
        assert under_way.end(page, "clip") == {"clip"}
        assert under_way.end(curl.visitor) == set()
    for job in (others, curl):
        job.check()
    with pytest.raises(Stopped):
        own.check()
