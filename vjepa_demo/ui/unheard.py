"""What Gradio keeps for those who may never come for it, messages of events and names of uploads: all of it bounded."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import gradio as gr
from gradio import routes
from gradio.utils import LRUCache

REMEMBERED = 20_000  # sessions and uploads
MOST_UNREAD = 48  # messages of one session: a page reads them as they come, curl after each call


class _Signals(LRUCache[str, asyncio.Event]):
    """One for every upload that is asked after, until others have come."""

    def __missing__(self, name: str) -> asyncio.Event:
        self[name] = asyncio.Event()
        return self[name]


class _ToldOnce(threading.local):
    """The description of the functions, which has the address in it under which it was asked for: Gradio would keep it
    as it was for whoever asked first, and tell it to everybody."""

    info: Any = None

    def __get__(self, app: Any, kind: Any = None) -> Any:
        info, self.info = self.info, None
        return info

    def __set__(self, app: Any, info: Any) -> None:
        self.info = info


def bound(demo: gr.Blocks) -> None:
    """Bound what Gradio keeps by name: the oldest entry goes when a new one comes."""
    # Whoever falls out of it while they wait is told nothing any more; an entry without messages costs next to nothing.
    demo._queue.pending_messages_per_session = LRUCache(REMEMBERED)
    routes.App.api_info = _ToldOnce()  # type: ignore[assignment]
    routes.file_upload_statuses._statuses = LRUCache(REMEMBERED)
    routes.file_upload_statuses._signals = _Signals(REMEMBERED)  # type: ignore[assignment]


class Unheard:
    """The messages that wait in Gradio's queue for those who are to be told."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._first: dict[str, Any] = {}  # the message that each session was to read next, when it was last looked at

    def has(self, name: str) -> bool:
        """Whether there is a session or an event of this name to be told of."""
        queue = self._queue
        return (
            name in queue.pending_messages_per_session
            or name in queue.event_ids_to_events
            or any(name in events for events in list(queue.pending_event_ids_session.values()))
        )

    def is_full(self, session: str) -> bool:
        """Whether a session has left so many messages unread that it has to read them first."""
        messages = self._queue.pending_messages_per_session.get(session)
        return messages is not None and messages.qsize() >= MOST_UNREAD

    def drop(self) -> None:
        """Drop the messages of sessions that have read none since the last time."""
        first = {
            session: messages._queue[0]
            for session, messages in list(self._queue.pending_messages_per_session.items())
            if not messages.empty()
        }
        for session, message in first.items():
            if self._first.get(session) is message:
                self._queue.pending_messages_per_session.pop(session, None)
                self._queue.pending_event_ids_session.pop(session, None)
        self._first = first
