"""Results and the messages on the way to them, as one stream that an event handler can pass on."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from vjepa_demo.pipeline import Progress

T = TypeVar("T")


def narrate(work: Callable[[Progress], Iterator[T]]) -> Iterator[T | str]:
    """Run `work(progress)` in a thread and yield its results, and each message it gives to `progress`, as they come.

    What `work` raises is raised here. The thread carries the caller's context, in which Gradio and ZeroGPU keep the
    request that is served.
    """
    stream: queue.SimpleQueue[tuple[str, T | str | BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            for result in work(lambda message: stream.put(("item", message))):
                stream.put(("item", result))
            stream.put(("end", None))
        except BaseException as error:  # handed over, not swallowed
            stream.put(("error", error))

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    while True:
        kind, item = stream.get()
        if kind == "end":
            return
        if isinstance(item, BaseException):
            raise item
        yield item  # type: ignore[misc]
