"""The page in a browser: as on a Space, below the path of a proxy, and with names that are made to do harm."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
from demo import running_demo
from playwright.sync_api import Page, expect

WAIT_MS = 90_000
NAMES = [
    "${window.XSS=1}<img src=x onerror=window.XSS=1>.mp4",
    "{{window.XSS=1}}`${alert(1)}`.mp4",
    '-dash 🏃 "q" #1 50%?.mp4',
    ".mp4",
    "\u202egpm.exe\u202c & 'quotes' \"and\" <b>.mp4",
]


def ready(page: Page) -> None:
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def embed(page: Page, file: str) -> None:
    page.get_by_label("Video or image").set_input_files(file)
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(page)


def test_on_a_space_the_page_works_and_asks_no_other_host(page, space_url, video, console_errors, left_localhost):
    page.goto(space_url)
    ready(page)
    embed(page, str(video))
    assert not left_localhost
    assert not console_errors


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(page, space_url, video, tmp_path, name, console_errors):
    path = tmp_path / name
    shutil.copy(video, path)
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    page.goto(space_url)
    ready(page)
    embed(page, str(path))
    page.get_by_text("Your own references").click()
    page.get_by_label("Label of the new clips").fill(name)
    page.locator("input[type=file]").nth(-2).set_input_files(str(path))
    page.get_by_role("button", name="Add to the map").click()
    expect(page.get_by_text("1 clip added.")).to_be_visible(timeout=WAIT_MS)
    ready(page)
    assert page.evaluate("window.XSS") is None
    assert not page.locator("img[src=x]").count()
    assert not console_errors


@contextmanager
def proxy(target: str, prefix: str) -> Iterator[str]:
    """What nginx's `location PREFIX/ { proxy_pass TARGET/; }` does: the path is passed on without its beginning."""
    host, port = urlsplit(target).hostname, urlsplit(target).port
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            with closing(source), closing(sink):
                pass

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := client.recv(65536)):
                return
            head += data
        lines, body = head.split(b"\r\n\r\n", 1)
        first, *rest = lines.split(b"\r\n")
        method, path, version = first.split(b" ")
        if not path.startswith(prefix.encode()):
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            client.close()
            return
        asked = next(line.split(b": ", 1)[1] for line in rest if line.lower().startswith(b"host:"))
        kept = [line for line in rest if not line.lower().startswith(b"connection:")]
        more = [b"Connection: close", b"X-Forwarded-Host: " + asked, b"X-Forwarded-Proto: http"]
        path = path[len(prefix) :] or b"/"
        upstream = socket.create_connection((host, port))
        upstream.sendall(b"\r\n".join([b" ".join([method, path, version]), *kept, *more]) + b"\r\n\r\n" + body)
        threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
        pump(upstream, client)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}{prefix}/"
    server.close()


def test_below_the_path_of_a_proxy_everything_loads(page, tmp_path_factory, video, console_errors, left_localhost):
    with (
        running_demo(tmp_path_factory.mktemp("below"), GRADIO_ROOT_PATH="/demo") as target,
        proxy(target, "/demo") as url,
    ):
        outside: list[str] = []
        page.on("response", lambda answer: outside.append(answer.url) if answer.status >= 400 else None)
        page.goto(url)
        ready(page)
        embed(page, str(video))
        page.get_by_label("Nearest references").get_by_role("button").first.click()
        player = page.get_by_label(re.compile("^Reference clip:"))
        expect(player).to_be_visible()
        page.wait_for_function("() => document.querySelector('video.rm-screen').readyState >= 2", timeout=WAIT_MS)
        assert not [address for address in outside if not address.endswith("favicon.ico")]
    assert not left_localhost
    assert not console_errors
