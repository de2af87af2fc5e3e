"""Whatever a stranger writes into any field of any function, they learn nothing of the files on the server's disk.

Each forged request is sent twice, for a file that exists and for one that does not: where the answers are the same in
every byte, nothing of the file can be in them. What functions and fields there are is read from the running app.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loops import finish
from security.conftest import upload

from vjepa_demo.errors import RequestError
from vjepa_demo.ui import gate
from vjepa_demo.ui.outcome import OUR_FAULT

META = {"_type": "gradio.FileData"}
# The ways to write a path into a field.
FORMS: dict[str, Callable[[str], Any]] = {
    "text": lambda path: path,
    "texts": lambda path: [path],
    "file": lambda path: {"path": path, "meta": META},
    "file without meta": lambda path: {"path": path},
    "svg without meta": lambda path: {"path": path, "orig_name": "a.svg"},
    "files": lambda path: [{"path": path, "meta": META}],
    "files without meta": lambda path: [{"path": path}],
    "stream": lambda path: {"path": path, "is_stream": True, "meta": META},
    "inside another": lambda path: {"video": {"path": path}, "image": {"path": path}, "value": {"path": path}},
    "list for a path": lambda path: {"path": [path]},
    "file for a path": lambda path: {"path": {"path": path, "meta": META}, "meta": META},
    "url": lambda path: {"path": None, "url": f"file://{path}", "meta": META},
}
# Those that are tried where no file belongs, too: a text in each field, the others in one field of each kind.
ESSENTIAL = {name: FORMS[name] for name in ("text", "file", "file without meta")}
FILES = {"file", "image", "video", "uploadbutton", "gallery", "model3d", "audio", "dataset", "html"}
TOGETHER = 24  # requests in flight


def functions(client: httpx.Client) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(number, the component of each field) of all functions of the app, each once, although several controls may call
    it with the same fields."""
    config = client.get("/config").raise_for_status().json()
    components = {component["id"]: component for component in config["components"]}
    seen = set()
    for function in config["dependencies"]:
        fields = [components[number] for number in function["inputs"]]
        kind = re.sub(r"_\d+$", "", function["api_name"] or ""), *(field["type"] for field in fields)
        if function["backend_fn"] and kind not in seen:
            seen.add(kind)
            yield function["id"], fields


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    """All that comes back for one event, as text without what differs from one event to the next."""
    session = os.urandom(8).hex()
    joined = await client.post("/gradio_api/queue/join", json={**body, "session_hash": session})
    if joined.status_code != 200:
        return f"{joined.status_code} {joined.text}"
    lines = []
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                output = {**message["output"], "duration": 0, "average_duration": 0}
                lines.append(json.dumps([message["success"], output], sort_keys=True))
                break
    # A set of references of one's own has a key that nobody can guess, and so has the folder of a file to be saved;
    # what failed tells when.
    return re.sub(r"references/[\w-]+|/run-[^\"]*|(?<=\"failed\": )[\d.]+", "…", "\n".join(lines))


def answers(url: str, bodies: list[dict[str, Any]]) -> list[str]:
    """The answers to all these requests."""

    async def ask_all() -> list[str]:
        places = asyncio.Semaphore(TOGETHER)

        async def in_turn(body: dict[str, Any]) -> str:
            async with places:
                return await ask(client, body)

        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            return await asyncio.gather(*map(in_turn, bodies))

    return finish(ask_all())


def twins(secret: Path) -> tuple[str, str]:
    """The path of a file that exists, and one as long of a file that does not."""
    missing = secret.with_name("absent.png")
    assert secret.exists()
    assert not missing.exists()
    return str(secret), str(missing)


def requests(client: httpx.Client, path: str) -> dict[str, dict[str, Any]]:
    """Every way to write a path into any field of any function, by what it is; new functions are among them."""
    bodies = {}
    everywhere: set[str] = set()
    for number, fields in functions(client):
        usual = [field["props"].get("value") for field in fields]
        kinds = {field["type"] for field in fields}
        tried: set[str] = set()
        for at, field in enumerate(fields):
            if field["type"] == "state":  # the server puts its own there; forged together with the others below
                continue
            forms = FORMS if field["type"] in FILES else ESSENTIAL if field["type"] not in tried else {"text": str}
            tried.add(field["type"])
            for name, form in forms.items():
                data = [*usual[:at], form(path), *usual[at + 1 :]]
                bodies[f"function {number}, {field['type']} at {at}, {name}"] = {"fn_index": number, "data": data}
        forms = FORMS if kinds & FILES or kinds - everywhere else ESSENTIAL
        everywhere |= kinds
        for name, form in forms.items() if fields else ():
            bodies[f"function {number}, everywhere, {name}"] = {"fn_index": number, "data": [form(path)] * len(fields)}
        for name, form in ESSENTIAL.items():
            event = {"fn_index": number, "data": usual, "event_data": form(path)}
            bodies[f"function {number}, event data, {name}"] = event
    return bodies


def test_no_field_of_any_function_tells_a_file_that_exists_from_one_that_does_not(stranger, space_url, secret):
    there, absent = (requests(stranger, path) for path in twins(secret))
    assert len(there) > 500
    told = answers(space_url, [*there.values(), *absent.values()])
    for name, one, other in zip(there, told[: len(there)], told[len(there) :], strict=True):
        assert one.replace("secret.png", "absent.png") == other, name


# What no field of the page sends.
ODD: dict[str, Any] = {
    "nothing": None,
    "an endless number": 10**400,
    "a negative number": -(2**63),
    "an object": {"a": {"b": [10**400]}},
    "half": 0.5,
    "yes": True,
    "a long text": "x" * 5000,
    "a list": [[], {}, None],
}


def test_no_value_of_any_field_ends_as_our_mistake(stranger, space_url, photo):
    file = {"path": upload(stranger, photo), "meta": META}
    bodies = {}
    for number, fields in functions(stranger):
        usual = [file if field["type"] in {"file", "video"} else field["props"].get("value") for field in fields]
        for at, field in enumerate(fields):
            for name, value in list(ODD.items())[:2]:
                data = [*usual[:at], value, *usual[at + 1 :]]
                bodies[f"function {number}, {field['type']} at {at}, {name}"] = {"fn_index": number, "data": data}
        for name, value in ODD.items() if fields else ():
            bodies[f"function {number}, everywhere, {name}"] = {"fn_index": number, "data": [value] * len(fields)}
        event = {"fn_index": number, "data": usual, "event_data": [[], 10**400][number % 2]}
        bodies[f"function {number}, event data"] = event
    assert len(bodies) > 400
    told = dict(zip(bodies, answers(space_url, list(bodies.values())), strict=True))
    assert [name for name, answer in told.items() if OUR_FAULT in answer or not answer] == []
    assert all(len(answer) < 3000 for answer in told.values() if answer.startswith("[false")), "no long echo"


def test_a_link_or_a_device_in_the_upload_folder_is_no_upload(tmp_path, monkeypatch, secret):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    inside = tmp_path / "abc"
    inside.mkdir()
    upload = inside / "clip.mp4"
    upload.write_bytes(b"x")
    assert gate.admit(upload) == str(upload.resolve())
    (inside / "link.mp4").symlink_to(secret)
    (tmp_path / "folder").symlink_to(secret.parent)
    os.mkfifo(inside / "fifo.mp4")
    (tmp_path / "tmpabc").write_bytes(b"an upload on its way")
    number = os.open(upload, os.O_RDONLY)
    try:
        for path in (
            secret,
            inside,
            inside / "link.mp4",
            tmp_path / "folder" / secret.name,
            inside / "fifo.mp4",
            tmp_path / "tmpabc",
            inside / ".." / ".." / "etc" / "passwd",
            f"{inside}/../abc/clip.mp4",  # of which only the last part would have been looked at
            f"/proc/self/cwd/../../../../../..{upload}",
            f"/{upload}",
            f"{upload}/",
            f"{upload}/.",
            os.path.relpath(upload),
            f"/proc/self/fd/{number}",
            f"/proc/{os.getpid()}/root{upload}",
            "\0",
            str(inside / "x") * 4000,
            "",
            ".",
            None,
            7,
            b"/etc/passwd",
            {"path": str(upload)},
            [str(upload)],
        ):
            with pytest.raises(RequestError) as caught:
                gate.admit(path)
            assert str(caught.value) == gate.REFUSED
    finally:
        os.close(number)


def test_another_visitors_upload_cannot_be_read_while_it_comes_in(stranger, space_url):
    numbers = range(3, 40)
    bodies = [
        {"fn_index": number, "data": [{"path": f"/proc/self/fd/{n}"}, *[field["props"].get("value") for field in rest]]}
        for number, (first, *rest) in ((number, fields) for number, fields in functions(stranger) if fields)
        if first["type"] in ("image", "video", "file")
        for n in numbers
    ]
    assert set(answers(space_url, bodies)) == {answers(space_url, [bodies[0]])[0]}
    assert gate.REFUSED in answers(space_url, [bodies[0]])[0]


def test_what_was_uploaded_is_taken(stranger, space_url, photo):
    path = upload(stranger, photo)
    (number,) = (each["id"] for each in stranger.get("/config").json()["dependencies"] if each["api_name"] == "embed")
    data = [{"path": path, "meta": META}, "nano", 2, 0, None, "even", "crop", "auto", "stored"]
    (told,) = answers(space_url, [{"fn_index": number, "data": data}])
    assert '"shape": [1, 2048, 192]' in told  # an image is repeated to 16 frames


@pytest.mark.parametrize("data", [[], [1], [{"a": 1}] * 40, ["x" * 1000, None]])
def test_values_that_no_page_sends_are_one_sentence(stranger, space_url, data):
    numbers = [number for number, fields in functions(stranger) if len(fields) > 2]

    async def answers() -> list[str]:
        async with httpx.AsyncClient(base_url=space_url, timeout=60) as client:
            return await asyncio.gather(*(ask(client, {"fn_index": number, "data": data}) for number in numbers))

    told = finish(answers())
    assert len(told) >= 5
    assert all("Traceback" not in text and "needed:" not in text for text in told)
    if not data:
        assert all(gate.NO_VALUES in text for text in told)
