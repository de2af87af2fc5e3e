"""Who is served by the event that Gradio handles now, and whether they still wait for it."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from typing import Any

from gradio.context import LocalContext
from starlette.datastructures import Headers

from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.settings import settings

# A client that never fetches what it is told is given up: its messages pile up. Browsers listen at once, and whoever
# uses two calls of curl needs a moment between them.
UNHEARD_S = 30.0


def address_of(headers: Headers, client: str) -> str:
    """The address that a request came from; `client` is whoever asked us.

    Each proxy adds the address that it was asked from, at the end of the header or in a line of its own: what stands
    before the entries of those that are trusted may be made up.
    """
    passed = [part.strip() for line in headers.getlist("x-forwarded-for") for part in line.split(",") if part.strip()]
    return passed[-min(settings.proxies, len(passed))] if settings.proxies and passed else client


def network_of(address: str) -> str:
    """Of an IPv6 address the half that a host does not choose by itself; any other as it is."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address).version == 6:
            return str(ipaddress.ip_network((address, 64), strict=False))
    return address


def visitor() -> Visitor:
    """The address and the session of the request that is being handled; empty outside of one."""
    request: Any = LocalContext.request.get(None)
    if request is None:
        return Visitor()
    headers = request.headers if isinstance(request.headers, Headers) else Headers(dict(request.headers))
    return Visitor(address_of(headers, request.client.host if request.client else ""), request.session_hash or "")


def job(**options: Any) -> Job:
    """A job for the event that is being handled: it ends when its client has gone. Options are those of `Job`."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or event_id is None:
        return Job(visitor(), **options)
    return Job(visitor(), gone=_Listening(blocks, event_id).gone, **options)


class _Listening:
    """Whether the client of an event is there: Gradio marks the events of a broken connection."""

    def __init__(self, blocks: Any, event_id: str) -> None:
        self._queue, self._event_id = blocks._queue, event_id
        self._heard = time.monotonic()

    def gone(self) -> bool:
        event = self._queue.event_ids_to_events.get(self._event_id)
        if event is None or not event.alive:
            return True
        messages = self._queue.pending_messages_per_session.get(event.session_hash)
        if messages is None or messages.empty():
            self._heard = time.monotonic()
        return time.monotonic() - self._heard > UNHEARD_S
