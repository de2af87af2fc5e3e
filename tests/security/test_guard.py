"""The guard by itself, around an app that answers everything: what it refuses cannot have come from that app."""

from __future__ import annotations

import asyncio
import errno
import inspect
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio.utils import get_upload_folder
from loops import finish

from vjepa_demo import scratch
from vjepa_demo.errors import RequestError
from vjepa_demo.settings import settings
from vjepa_demo.ui import gate
from vjepa_demo.ui.allowance import Allowance
from vjepa_demo.ui.guard import MAX_JSON_BYTES, UPLOAD, Function, Guard
from vjepa_demo.ui.unheard import MOST_UNREAD, Unheard, _Signals

JOIN = "/gradio_api/queue/join"
CALLED = "/gradio_api/call/embed"
HOST = "127.0.0.1:7860"
FUNCTIONS = {1: Function(""), 3: Function("embed", inspect.signature(lambda file, frames=16: None))}


async def everything(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body and says yes to it, and to any origin."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        more = message.get("more_body", False)
    headers = [(b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"yes"})


def ask(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    content: Any = None,
    guard: Guard | None = None,
) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(guard or Guard(everything, settings))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, headers=headers, content=content)

    return finish(one())


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/queue/data", "/references/k/0.jpg"])
def test_what_the_page_asks_for_gets_through_with_the_headers(path):
    answer = ask("GET", path)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["permissions-policy"].startswith("camera=(self), microphone=()")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "docs", "openapi.json", "gradio_api/docs", "gradio_api/openapi.json", "gradio_api/proxy=https://a.hf.space/",
        "gradio_api/deep_link", "gradio_api/runs", "gradio_api/run-history", "gradio_api/dev/reload", "monitoring",
        "gradio_api/monitoring", "gradio_api/vibe-code", "gradio_api/stream/a/b/c/playlist.m3u8",
        "gradio_api/component_server", "gradio_api/custom_component/a/b/c/d", "gradio_api/process_recording",
        "gradio_api/run/predict", "gradio_api/api/predict", "file=/etc/passwd", "gradio_api/file=http://127.0.0.1/",
        "gradio_api/file=HTTP://127.0.0.1/", "gradio_api/file=http%3A%2F%2F127.0.0.1%2F", "gradio_api/file=//127.0/",
        "gradio_api/file=/etc/passwd", "gradio_api/file=app.py", "gradio_api/file=../app.py",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_nothing_here_uses_is_not_there(method, path):
    assert ask(method, f"/{path}").status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_there(method):
    assert ask(method, JOIN).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": f"http://{HOST}"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HOST}"}, 200),
        ({"Origin": "https://a.hf.space", "X-Forwarded-Host": "a.hf.space"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "evil.example@127.0.0.1"}, 421),
        ({"Host": "localhost:7860"}, 200),
        ({"Host": "[::1]:7860"}, 200),
    ],
)
def test_only_this_apps_own_page_and_what_is_no_browser_may_post(headers, status):
    assert ask("POST", JOIN, headers, b"{}").status_code == status


@pytest.mark.parametrize("told", [True, False], ids=["with a length", "without a length"])
def test_a_request_brings_no_more_than_the_limit(told):
    async def parts(size: int) -> Any:
        yield b"{}" + b" " * (size // 2 - 2)
        yield b" " * (size - size // 2)

    for size, status in ((MAX_JSON_BYTES, 200), (MAX_JSON_BYTES + 1, 413)):
        whole = b"{}" + b" " * (size - 2)
        assert ask("POST", JOIN, content=whole if told else parts(size)).status_code == status


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The upload folder, with one file in it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    folder = tmp_path / "uploads"
    assert Path(get_upload_folder()) == folder
    (folder / "hash").mkdir(parents=True)
    (folder / "hash" / "clip.mp4").write_bytes(b"clip")
    return folder


def test_an_uploaded_file_is_admitted(uploads):
    assert gate.admit(str(uploads / "hash" / "clip.mp4")) == os.path.realpath(uploads / "hash" / "clip.mp4")


def test_nothing_but_an_uploaded_file_is_admitted_and_all_refusals_read_the_same(uploads, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (uploads / "hash" / "link.png").symlink_to(secret)
    (uploads / "linked").symlink_to(tmp_path)
    os.mkfifo(uploads / "hash" / "fifo")
    (uploads / "half.mp4").write_bytes(b"being written")
    with secret.open() as handle:
        forged = [
            secret, tmp_path / "missing.png", uploads / "hash" / "link.png", uploads / "linked" / "secret.png",
            uploads / "hash" / "fifo", uploads / "hash", uploads, uploads / "half.mp4", "/dev/zero",
            uploads / "hash" / ".." / ".." / "secret.png", f"/proc/self/fd/{handle.fileno()}", "a\0b", "/" * 9999,
            f"{uploads}/hash/clip.mp4\0", f"{uploads}/{'a' * 9999}", "", None, 7, {}, [], b"/etc/passwd",
        ]  # fmt: skip
        for path in forged:
            with pytest.raises(RequestError) as refusal:
                gate.admit(path)
            assert str(refusal.value) == gate.REFUSED, path


def test_a_folder_of_another_name_that_begins_alike_is_elsewhere(uploads):
    other = uploads.with_name("uploads-of-others") / "hash"
    other.mkdir(parents=True)
    (other / "clip.mp4").write_bytes(b"clip")
    with pytest.raises(RequestError):
        gate.admit(other / "clip.mp4")


# --- what it costs -----------------------------------------------------------------------------------------------


def answers(guard: Guard, bodies: list[Any], path: str = JOIN) -> list[int]:
    """The statuses of one request after the other."""
    sent = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    return [ask("POST", path, content=body, guard=guard).status_code for body in sent]


def test_a_call_names_a_function_and_a_session_that_there_may_be():
    good = [{"fn_index": 3, "session_hash": "abc"}, {"session_hash": "a-b_C9"}, {"data": []}]
    bad = [{"session_hash": "x" * 101}, {"session_hash": ""}, {"session_hash": "a b"}, {"session_hash": 5}, [], 3, b"{"]
    bad.append(b"[" * 100_000)
    unknown = [{"fn_index": 4}, {"fn_index": -1}, {"fn_index": "3"}, {"fn_index": True}, {"fn_index": 10**30}]
    for path in (JOIN, CALLED):
        guard = Guard(everything, settings, functions=FUNCTIONS)
        assert answers(guard, good, path) == [200] * len(good)
        assert answers(guard, bad, path) == [400] * len(bad)
        assert answers(guard, unknown, path) == [404] * len(unknown)


def test_only_functions_that_have_the_name_are_called_by_it():
    guard = Guard(everything, settings, functions=FUNCTIONS)
    names = ["embed", "embed/", "v2/embed", "v2/embed/", "similarity", "v2/similarity", "Embed", "v2", "1"]
    told = [answers(guard, [{"data": [], "file": None}], f"/gradio_api/call/{name}")[0] for name in names]
    assert told == [200] * 2 + [400] * 2 + [404] * 5
    bodies = [{"file": None}, {"file": None, "frames": 8}, {}, {"frames": 8}, {"file": None, "x\nforged": 1}]
    assert answers(guard, bodies, "/gradio_api/call/v2/embed") == [200] * 2 + [400] * 3


def test_letters_that_cannot_be_written_are_no_json():
    for path in (JOIN, CALLED, "/gradio_api/cancel", "/gradio_api/reset"):
        assert (
            answers(Guard(everything, settings), [b'{"event_id": "\\ud800"}', b'{"a": ["\\udfff"]}'], path) == [400] * 2
        )
        assert answers(Guard(everything, settings), [b'{"event_id": "\\ud83d\\ude00"}'], path) == [200]


@pytest.mark.parametrize("path", ["/assets/" + "a" * 5000, "/static/" + "a/" * 50, "/svelte/" + "a" * 201, "/assets/"])
def test_long_paths_are_not_looked_for(path):
    assert ask("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((name, 200) for name in ("a.hf.space", "a.hf.space, b:80", "[::1]:7860", "a:65535")),
        *((name, 400) for name in ("a bé{}", "", "[1:2]", "[::1]:65536", "a:65536", "a:٣".encode().decode("latin1"))),
    ],
)
def test_a_forwarded_host_is_a_host(name, code):
    assert ask("GET", "/", {"X-Forwarded-Host": name.encode("latin1")}).status_code == code


def test_an_upload_that_is_none_is_the_clients_mistake():
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"trace"})

    answer = ask("POST", UPLOAD, content=b"x", guard=Guard(fails, settings))
    assert (answer.status_code, answer.text) == (400, "This is no upload of files.\n")
    assert ask("GET", "/", guard=Guard(fails, settings)).status_code == 500


class Queue:
    """Stands for Gradio's: the sessions, events and messages that it keeps."""

    def __init__(self) -> None:
        self.pending_messages_per_session: dict[str, asyncio.Queue[object]] = {}
        self.pending_event_ids_session: dict[str, set[str]] = {}
        self.event_ids_to_events: dict[str, object] = {}

    def say(self, session: str, count: int = 1) -> None:
        messages = self.pending_messages_per_session.setdefault(session, asyncio.Queue())
        for _ in range(count):
            messages.put_nowait(object())


def test_only_those_who_may_be_told_something_are_listened_to():
    queue = Queue()
    queue.say("session", 0)
    queue.event_ids_to_events["running"] = object()
    queue.pending_event_ids_session["other"] = {"done"}
    guard = Guard(everything, settings, unheard=Unheard(queue))
    data, call = "/gradio_api/queue/data?session_hash=", "/gradio_api/call/embed/"
    good = [f"{data}session", f"{call}running", f"{call}done", f"{call}session"]
    bad = [data, f"{data}nobody", f"{call}nothing", "/gradio_api/queue/data", f"{data}a%0Ab", f"{data}{'x' * 101}"]
    assert [ask("GET", path, guard=guard).status_code for path in good] == [200] * 4
    assert [ask("GET", path, guard=guard).status_code for path in bad] == [400, 404, 404, 404, 400, 400]


def test_who_does_not_read_is_told_no_more():
    queue = Queue()
    queue.say("reads", MOST_UNREAD - 1)
    queue.say("sleeps", MOST_UNREAD)
    guard = Guard(everything, settings, unheard=Unheard(queue))
    calls = [{"session_hash": name} for name in ("reads", "sleeps", "new")]
    assert answers(guard, calls) == [200, 429, 200]


def test_messages_that_nobody_reads_are_dropped():
    queue = Queue()
    for name in ("sleeps", "reads", "quiet"):
        queue.say(name, 0 if name == "quiet" else 2)
        queue.pending_event_ids_session[name] = {name}
    unheard = Unheard(queue)
    unheard.drop()
    assert set(queue.pending_messages_per_session) == {"sleeps", "reads", "quiet"}
    queue.pending_messages_per_session["reads"].get_nowait()
    unheard.drop()
    assert set(queue.pending_messages_per_session) == set(queue.pending_event_ids_session) == {"reads", "quiet"}


def test_an_uploads_name_is_short():
    for path in (UPLOAD, "/gradio_api/upload_progress"):
        method = "POST" if path == UPLOAD else "GET"
        for name in ("abc", "A-b_9", "x" * 100):
            assert ask(method, f"{path}?upload_id={name}").status_code == 200
        for query in ("upload_id=" + "x" * 101, "upload_id=", "upload_id=a&upload_id=%00", "upload_id=" + "x" * 60_000):
            assert ask(method, f"{path}?{query}").status_code == 400
    assert ask("GET", "/config?x=" + "y" * 2000).status_code == 400
    page = ask("GET", "/?x=" + "y" * 2000)
    assert (page.status_code, page.headers["location"]) == (303, "./"), "a link that is none leads to the page"


@pytest.mark.parametrize(("query", "code"), [("", 200), ("?page=", 200), ("?page=x", 404), ("?page=&%70age=x", 404)])
def test_no_page_is_asked_for_by_a_name(query, code):
    assert [ask("GET", f"{path}{query}").status_code for path in ("/", "/config")] == [code] * 2


def test_a_header_does_not_say_where_the_app_is():
    told = []

    async def listens(scope: Any, receive: Any, send: Any) -> None:
        told.extend(name for name, _ in scope["headers"])
        await everything(scope, receive, send)

    headers = {"X-Gradio-Server": "https://evil.example", "X-Forwarded-Proto": "https"}
    assert ask("GET", "/", headers, guard=Guard(listens, settings)).status_code == 200
    assert b"x-forwarded-proto" in told
    assert b"x-gradio-server" not in told


def test_one_address_has_only_so_many_requests_open():
    async def ask_all(limits: Any) -> list[int]:
        go = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await everything(scope, receive, send)

        guard = Guard(slow, limits)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=f"http://{HOST}") as client:
            held = [asyncio.create_task(client.get("/gradio_api/heartbeat/a")) for _ in range(3)]
            await asyncio.sleep(0)
            while not any(task.done() for task in held) and sum(guard._open.values()) < 3:
                await asyncio.sleep(0.01)
            go.set()
            told = [(await task).status_code for task in held]
            assert not guard._open, "what has ended counts no more"
            return [*told, (await client.get("/")).status_code]

    assert finish(ask_all(replace(settings, public=True, open_each=2))) == [200, 200, 429, 200]
    assert finish(ask_all(replace(settings, open_each=2))) == [200] * 4


def test_what_is_kept_of_uploads_is_bounded():
    asked = _Signals(2)
    first = asked["a"]
    assert asked["a"] is first
    assert [len(asked) for name in "bcd" if asked[name]] == [2, 2, 2]
    assert "a" not in asked


def test_one_address_opens_only_so_many_pages_of_a_public_app():
    guard = Guard(everything, replace(settings, public=True, pages_each=3))
    pages = [{"session_hash": f"s{number}"} for number in range(5)]
    assert answers(guard, pages) == [200] * 3 + [429] * 2
    assert answers(guard, pages) == [200] * 3 + [429] * 2, "those that are open go on"
    assert answers(Guard(everything, replace(settings, pages_each=3)), pages) == [200] * 5, "nobody else is there"


def test_one_address_uploads_only_so_much_to_a_public_app():
    guard = Guard(everything, replace(settings, public=True, upload_bytes_each=250))
    assert answers(guard, [b"x" * 100] * 4, UPLOAD) == [200, 200, 429, 429]


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_each_file_of_an_upload_counts_with_the_disk_that_it_takes(chunk):
    guard = Guard(everything, replace(settings, public=True, upload_bytes_each=100 * scratch.on_disk(0)))
    body = b'\r\n--b\r\nContent-Disposition: form-data; name="files"; FileName=a\r\n\r\n.' * 60

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(body), chunk):
            yield body[at : at + chunk]

    told = [ask("POST", UPLOAD, {"Content-Length": str(len(body))}, parts(), guard).status_code for _ in range(3)]
    assert told == [200, 200, 429]


def test_an_allowance_is_of_an_address_and_comes_back():
    now = [0.0]
    allowance = Allowance(10, 60, lambda: now[0])
    assert [allowance.spend("a", amount) for amount in (6, 6, 4, 1)] == [True, False, True, False]
    assert allowance.spend("b", 10)
    now[0] = 61
    assert allowance.spend("a", 10)


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk here is full"),
        (OSError(errno.EROFS, "Read-only file system"), "can only be read"),
    ],
)
def test_an_upload_that_cannot_be_written_is_told_so(error, words):
    answer = ask("POST", UPLOAD, content=b"x", guard=failing(error))
    assert answer.status_code == 507
    assert words in answer.text


def test_an_upload_is_not_taken_where_there_is_no_room_for_it(monkeypatch):
    assert ask("POST", UPLOAD, content=b"x").status_code == 200
    monkeypatch.setattr(scratch, "settings", replace(settings, free_bytes=10**18))
    answer = ask("POST", UPLOAD, content=b"x")
    assert (answer.status_code, answer.text) == (
        507,
        "The disk here is nearly full: try again later, or with smaller files.\n",
    )
    assert ask("POST", JOIN, content=b"{}").status_code == 200


def test_other_errors_are_not_called_the_disks():
    with pytest.raises(ZeroDivisionError):
        ask("POST", UPLOAD, content=b"x", guard=failing(ZeroDivisionError()))


def failing(error: Exception) -> Guard:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return Guard(app, settings)
