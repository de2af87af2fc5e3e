"""A visitor of the running app as the server sees one: a session that joins the queue, listens, and may leave."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

PATIENCE_S = 120.0


class Visitor:
    """One session. `join` an event, then read `messages`; `leave` breaks the connection, as a closed tab does."""

    def __init__(self, url: str, session: str) -> None:
        self.session = session
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S)
        self.config = self.http.get("/config").json()
        self._stream: Any = None

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.leave()
        self.http.close()

    def event(self, name: str) -> int:
        """The number of an event by its handler's name."""
        return next(each["id"] for each in self.config["dependencies"] if each["api_name"] == name)

    def upload(self, path: Path) -> dict[str, Any]:
        """The file as a component's value."""
        answer = self.http.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        assert answer.status_code == 200, answer.text
        return {"path": answer.json()[0], "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def join(self, name: str, *data: Any) -> str:
        """Ask for an event; returns its id."""
        body = {"fn_index": self.event(name), "data": list(data), "session_hash": self.session}
        answer = self.http.post("/gradio_api/queue/join", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["event_id"]

    def embed(self, file: dict[str, Any], frames: int = 16, sampling: str = "even") -> str:
        """Ask for a video to be embedded, as the page does when a file came in."""
        return self.join("embed_1", file, None, frames, 0, 0, sampling, "crop", "nano", None, "auto", "stored")

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the server tells this session, until all of its events are done."""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            self._stream = stream
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "close_stream":
                        return
                    yield message

    def leave(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def cancel(self, event: str, name: str) -> None:
        body = {"session_hash": self.session, "fn_index": self.event(name), "event_id": event}
        assert self.http.post("/gradio_api/cancel", json=body).status_code == 200

    def until(self, words: str) -> str:
        """Listen until a message has these words in it, then leave. Returns the message."""
        deadline = time.monotonic() + PATIENCE_S
        for message in self.messages():
            text = json.dumps(message, ensure_ascii=False)
            if words in text:
                return text
            assert time.monotonic() < deadline, f"{words!r} was not said"
        raise AssertionError(f"{words!r} was not said before the end")
