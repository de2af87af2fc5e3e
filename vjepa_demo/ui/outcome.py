"""What becomes of an event: its work runs beside the server, and ends in updates or in one clear sentence."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import html
import logging
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

import gradio as gr

from vjepa_demo import jobs
from vjepa_demo import scratch as folders
from vjepa_demo.errors import DiskError, UserError, of_disk
from vjepa_demo.explore import Progress
from vjepa_demo.jobs import Job
from vjepa_demo.settings import settings
from vjepa_demo.ui import sessions, under_way, visits
from vjepa_demo.ui.files import scratch

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on our side; the last result is still here. Try again, or choose another file."

# How every event of the page is wired: it tells its progress itself, and is not part of the API.
RUN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Of what a newer event of its kind ends: Gradio would not send that while one is under way.
AT_ONCE: dict[str, Any] = {**RUN, "trigger_mode": "multiple"}

T = TypeVar("T")
Update = dict[str, Any]
# Says what is being done, gets a folder for files on their way to the browser, and the values of the inputs.
Work = Callable[..., Iterator[Update]]
Handler = Callable[..., AsyncIterator[tuple[Any, ...]]]


def safe(text: str) -> str:
    """Text for an HTML component, whose content is also searched for template marks."""
    return html.escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def status(message: str, kind: str = "") -> str:
    """A line for the status; kind is "", "opening" (nobody has asked for anything yet), "busy", "partly" (some of it
    failed) or "error"."""
    role = "alert" if kind in ("partly", "error") else "status"
    return f'<div role="{role}" class="{kind}">{safe(message)}</div>'


def sentence(error: BaseException) -> str:
    """What a user is told: their own mistakes as they are, of ours only that they are ours; the log has the trace."""
    if isinstance(error, UserError):
        log.debug("told the user", exc_info=error)
        return str(error)
    if isinstance(error, gr.Error):  # the platform's own words, e.g. of a GPU quota that is used up
        return str(error.message)
    log.error("an event failed", exc_info=error)
    return str(DiskError.of(error)) if of_disk(error) else OUR_FAULT


def event(
    *outputs: str,
    kind: str = "clip",
    seconds: float = settings.job_seconds,
    says_in: tuple[str, ...] = ("status",),
    low: bool = False,
) -> Callable[[Work], Handler]:
    """Make an event handler of a generator `work(say, folder, *inputs)` that yields `{output: value}`.

    The work runs in a thread, as a job that ends when its visitor cancels it or leaves. What it says, and why it
    failed, is shown in `status`, one of the outputs; outputs that an update does not name stay as they are.

    Args:
        outputs: their names, in the order in which they are wired.
        kind: what the work is about, for those who end it (`pages.end`).
        seconds: how long the work may take, its waiting left out.
        says_in: the outputs that show what it says; why it failed is shown in `status` alone.
        low: it lets all other work go first.
    """

    def in_order(update: Update) -> tuple[Any, ...]:
        assert set(update) <= set(outputs), f"{set(update)} are not among {outputs}"
        return tuple(update.get(name, gr.skip()) for name in outputs)

    def decorate(work: Work) -> Handler:
        @functools.wraps(work)
        async def handler(*inputs: Any) -> AsyncIterator[tuple[Any, ...]]:
            job = visits.job(seconds=seconds, low=low)
            with scratch() as folder, under_way.working(job, kind):
                try:
                    async with contextlib.aclosing(
                        narrate(lambda say: keeping(inputs, work(say, folder, *inputs)), job)
                    ) as stream:
                        async for item in stream:
                            if job.quiet:
                                break
                            if isinstance(item, str):
                                item = dict.fromkeys(says_in, status(f"{item} …", "busy"))
                            yield in_order(item)
                except Exception as error:
                    if not job.quiet:
                        yield in_order({"status": status(sentence(error), "error")})
                if job.quiet:
                    yield in_order({})  # what is yielded last is sent once more at the end

        del handler.__wrapped__  # Gradio counts the inputs of what it wraps
        return handler

    return decorate


def keeping(inputs: Iterable[Any], work: Iterator[T]) -> Iterator[T]:
    """The work, during which nothing goes for its age that its inputs name: uploads, a visitor's own references."""
    texts, left = [], list(inputs)
    while left:
        item = left.pop()
        texts += [item] if isinstance(item, str) else []
        left += item if isinstance(item, (list, tuple)) else []
    with contextlib.ExitStack() as stack:
        for text in (None, *texts):
            stack.enter_context(sessions.held(text))
        uploads = f"{folders.folder(folders.UPLOADS)}{os.sep}"
        stack.enter_context(folders.using(*(text for text in texts if os.path.abspath(text).startswith(uploads))))
        yield from work


async def narrate(work: Callable[[Progress], Iterator[T]], job: Job | None = None) -> AsyncGenerator[T | str, None]:
    """Run `work(progress)` in a thread and yield its results, and each message it gives to `progress`, as they come.

    What `work` raises is raised here. The thread carries the caller's context, in which Gradio and ZeroGPU keep the
    request that is served. When nobody asks for more, as after a cancelled event, the job is stopped.

    Raises:
        RequestError: too much work of the same visitor is here already.
    """
    loop = asyncio.get_running_loop()
    stream: asyncio.Queue[tuple[str, T | str | BaseException | None]] = asyncio.Queue()
    job = job or Job()
    here = contextlib.ExitStack()
    here.enter_context(jobs.door.entered(job))

    def put(kind: str, item: T | str | BaseException | None = None) -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(stream.put_nowait, (kind, item))

    def run() -> None:
        with here, job.running():
            try:
                for result in work(lambda message: put("item", message)):
                    put("item", result)
                put("end")
            except BaseException as error:  # handed over, not swallowed
                put("error", error)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    try:
        while True:
            kind, item = await stream.get()
            if kind == "end":
                return
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        job.stop()


async def finished(work: Callable[[], T], *inputs: Any) -> T:
    """What one piece of work for an endpoint returns, made of its inputs in a thread, as a job of its client.

    Raises:
        gr.Error: with a sentence for the client.
    """
    try:
        async with contextlib.aclosing(narrate(lambda say: keeping(inputs, once(work)), visits.job())) as stream:
            return [result async for result in stream][-1]  # type: ignore[return-value]
    except Exception as error:
        raise gr.Error(sentence(error), print_exception=False) from error


def once(work: Callable[[], T]) -> Iterator[T]:
    yield work()
