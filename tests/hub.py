"""A small Hugging Face Hub on this machine, for the real client of it: HF_ENDPOINT has to name its address."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, and how it fails.

    Attributes:
        repo_id, folder: one repository, and the folder of its files.
        kind: "models" or "datasets".
        refused: (status, X-Error-Code) of what is answered for other repositories, by their ids.
        refused_with: more headers of that.
        sends: how many bytes of weights are sent for each request for them, one after another, before the connection
            is closed; all of them once the list is empty.
        parts: whether a part of a file can be asked for.
        pause_s: how long an answer takes, and each 64 KB of weights.
        weights: how the names of those files end.
        claims: the size that is told of the weights where it is not their own.
        asked: (method, path, what the Range header says) of all requests.
    """

    repo_id: str
    folder: Path
    kind: str = "models"
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused_with: dict[str, str] = field(default_factory=dict)
    sends: list[int] = field(default_factory=list)
    parts: bool = True
    pause_s: float = 0.0
    weights: str = ".safetensors"
    claims: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""

    @cached_property
    def files(self) -> dict[str, bytes]:
        paths = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}

    def sent_from(self) -> list[int]:
        """From which byte on weights were asked for, one number a request."""
        weights = [part for method, path, part in self.asked if method == "GET" and path.endswith(self.weights)]
        return [int(part.removeprefix("bytes=").split("-")[0] or 0) for part in weights]

    @contextmanager
    def running(self) -> Iterator[Hub]:
        """Serve on a free port until the context ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        time.sleep(hub.pause_s)
        for repo_id, (status, code) in hub.refused.items():
            if f"/{repo_id}" in path:
                return self._send(status, b"{}", **({"X-Error-Code": code} if code else {}), **hub.refused_with)
        files = f"/{'datasets/' * (hub.kind == 'datasets')}{hub.repo_id}/resolve/"
        name = path.removeprefix(files).partition("/")[2]
        if path.startswith(f"/api/{hub.kind}/{hub.repo_id}/tree/"):
            return self._send_json([self._about(name) for name in hub.files])
        if path.startswith(f"/api/{hub.kind}/{hub.repo_id}"):
            siblings = [{"rfilename": name} for name in hub.files]
            return self._send_json({"id": hub.repo_id, "sha": COMMIT, "siblings": siblings, "tags": []})
        if path.startswith(files) and name in hub.files:
            return self._send_file(name, hub.files[name])
        return self._send(404, b"{}", **{"X-Error-Code": "EntryNotFound"})

    def _about(self, name: str) -> dict[str, Any]:
        data = self.hub.files[name]
        about = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324
        if name.endswith(self.hub.weights):
            about["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return about

    def _send_file(self, name: str, data: bytes) -> None:
        hub, weights = self.hub, name.endswith(self.hub.weights)
        made = hashlib.sha256(data).hexdigest() if weights else hashlib.sha1(data).hexdigest()  # noqa: S324
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{made}"', "Accept-Ranges": "bytes"}
        if weights and self.command == "HEAD" and hub.claims:
            headers["X-Linked-Size"] = str(hub.claims)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]) if hub.parts else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        part = data[start:]
        sent = hub.sends.pop(0) if weights and hub.sends and self.command == "GET" else len(part)
        self._send(206 if start else 200, part[:sent], len(part), **headers)
        self.close_connection = self.close_connection or sent < len(part)

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body), 1 << 16):
            self.wfile.write(body[at : at + (1 << 16)])
            self.wfile.flush()
            time.sleep(self.hub.pause_s if len(body) > 1 << 16 else 0)
