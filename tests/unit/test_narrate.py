"""Messages and results come in the order in which they were made, and errors are raised where they are awaited."""

from __future__ import annotations

import contextvars

import pytest

from vjepa_demo.errors import MediaError
from vjepa_demo.ui.narrate import narrate


def test_messages_and_results_keep_their_order():
    def work(progress):
        progress("one")
        yield 1
        progress("two")
        progress("three")
        yield 2

    assert list(narrate(work)) == ["one", 1, "two", "three", 2]


def test_an_error_comes_after_what_was_done_before_it():
    def work(progress):
        yield 1
        raise MediaError("broken")

    stream = narrate(work)
    assert next(stream) == 1
    with pytest.raises(MediaError, match="broken"):
        next(stream)


def test_the_work_sees_the_callers_context():
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the caller")

    def work(progress):
        yield who.get()

    assert list(narrate(work)) == ["the caller"]
