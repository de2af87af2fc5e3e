"""A stranger who comes as an agent: no file of the server's, no address that is fetched, no way around limits."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from api.test_agents import call, told, with_agent
from security.conftest import upload
from security.test_guard import ask

from vjepa_demo.ui.guard import MAX_JSON_BYTES

AGENTS = "/gradio_api/mcp/"
ACCEPT = {"Accept": "application/json, text/event-stream"}
TOOL = "explorer_embed"  # on a Space of that name


def rpc(method: str, **parameters: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}


@pytest.fixture(scope="module")
def inner() -> Iterator[tuple[str, list[str]]]:
    """(address, requests so far) of something that only this machine reaches."""
    asked: list[str] = []

    class Inner(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_POST = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inner) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_no_file_of_the_servers_and_no_address_is_opened(space_url, secret, inner):
    address, asked = inner
    files = [
        str(secret), f"file://{secret}", f"/gradio_api/file={secret}", f"{space_url}/gradio_api/file={secret}",
        f"http://localhost/gradio_api/file={secret}/../{secret.name}", "/proc/self/environ", "/etc/passwd", "app.py",
        "assets/examples/dominoes.mp4", "../", "~/.bashrc", "\0", f"{address}/clip.mp4", f"{address}/examples/arm.mp4",
        f"{address}/gradio_api/file=", "https://example.com/clip.mp4", "ftp://127.0.0.1/clip.mp4", "//127.0.0.1/x.mp4",
        f"{space_url}/examples/v-jepa-2-explorer/../../../app.py", f"data:text/plain,{secret}",
        f"{space_url}/examples/v-jepa-2-explorer/nothing.mp4", f"{space_url}/examples/v-jepa-2-explorer/",
    ]  # fmt: skip
    for file in files:
        for tool in (TOOL, "explorer_heatmap"):
            answer = call(space_url, tool, file=file, frames=2)
            assert answer.isError, file
            assert "not kept here" in told(answer) or "as base64" in told(answer), (file, told(answer))
    assert not asked


@pytest.mark.parametrize("name", ["file", "checkpoint", "frames", "fit", "extra"])
def test_a_file_object_is_no_value_of_any_parameter(space_url, secret, video, name):
    """Gradio's own client, which it calls itself with, would upload what such an object names."""
    with httpx.Client(base_url=space_url, timeout=60) as client:
        given = {"file": upload(client, video), "frames": 2}
        for value in ({"path": str(secret), "meta": {"_type": "gradio.FileData"}}, [{"path": str(secret)}]):
            for address in (AGENTS, f"{AGENTS}?tools=embed", f"{AGENTS}?tools=nothing"):
                body = rpc("tools/call", name=TOOL, arguments={**given, name: value})
                text = client.post(address, json=body, headers=ACCEPT).text
                assert '"isError":true' in text, text
                assert "not of type" in text or "unexpected" in text or "There is no tool" in text, text


def test_the_pages_events_and_other_tools_are_not_there(space_url):
    for tool in ("nothing", "embed", "first_paint", "explorer_first_paint", "explorer_embed_1", "", "x" * 100_000):
        answer = call(space_url, tool)
        assert answer.isError
        assert "There is no tool" in told(answer)
        assert len(told(answer)) < 300


def test_nothing_but_tools_is_offered(space_url):
    for method, parameters in (
        ("resources/list", {}), ("resources/read", {"uri": "file:///etc/passwd"}), ("resources/templates/list", {}),
        ("prompts/list", {}), ("prompts/get", {"name": "embed"}), ("completion/complete", {}), ("tasks/list", {}),
        ("sampling/createMessage", {}), ("logging/setLevel", {"level": "debug"}), ("nothing", {}),
    ):  # fmt: skip
        text = httpx.post(f"{space_url}{AGENTS}", json=rpc(method, **parameters), headers=ACCEPT, timeout=60).text
        assert '"error"' in text, (method, text)
        assert "root:" not in text
        assert "Traceback" not in text


def test_strangers_name_no_folder_and_no_precision(space_url, video):
    with httpx.Client(base_url=space_url, timeout=60) as client:
        file = upload(client, video)
    for options, words in (
        ({"checkpoint": "/root"}, "only the checkpoints of the list"),
        ({"checkpoint": "../assets/nano"}, "only the checkpoints of the list"),
        ({"precision": "fp32"}, "the precision is chosen by the app"),
    ):
        assert words in told(call(space_url, TOOL, file=file, frames=2, **options))
    assert "not embedded in this way" in told(call(space_url, "explorer_neighbours", file=file, frames=6))


def test_what_is_sent_has_a_limit_and_must_be_what_it_says(space_url):
    with httpx.Client(base_url=space_url, timeout=60, headers=ACCEPT) as client:
        large = rpc("tools/call", name=TOOL, arguments={"file": "data:video/mp4;base64," + "A" * MAX_JSON_BYTES})
        assert client.post(AGENTS, json=large).status_code == 413
        for body in (b"", b"[]", b"x", b"[" * 100_000, json.dumps([rpc("tools/list")]).encode(), b'"\xff"'):
            headers = {"Content-Type": "application/json"}
            assert client.post(AGENTS, content=body, headers=headers).status_code == 400, body[:20]
        for body in ({}, {"jsonrpc": "2.0"}, {**rpc("tools/list"), "id": "x" * 10_000}, rpc("tools/call")):
            answer = client.post(AGENTS, json=body)
            assert answer.status_code in (200, 202, 400), body
            assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
@pytest.mark.parametrize("path", [AGENTS, AGENTS[:-1]])
def test_pages_of_others_are_no_agents(path, headers, status):
    assert ask("POST", path, headers, b"{}").status_code == status


@pytest.mark.parametrize("path", [AGENTS, AGENTS[:-1]])
def test_agents_ask_by_post_and_are_not_led_elsewhere(stranger, path):
    answer = stranger.get(path, headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert stranger.delete(path).status_code == 404
    assert stranger.post(path, json=rpc("tools/list"), headers=ACCEPT).status_code == 200
    for other in ("sse", "messages/", "messages", "http", "x", "schema/", "../file=/etc/passwd"):
        assert stranger.post(f"{AGENTS}{other}", json=rpc("tools/list"), headers=ACCEPT).status_code == 404, other
        assert stranger.get(f"{AGENTS}{other}").status_code == 404, other


def test_what_agents_ask_leaves_no_line_of_theirs_in_the_log(space_url, tmp_path_factory):
    names = ["line\nERROR vjepa_demo: forged", "anna's holiday.mp4"]
    for name in names:
        call(space_url, name)
        call(space_url, TOOL, file=name)
    text = (tmp_path_factory.getbasetemp() / "space0" / "app.log").read_text()
    assert "forged" not in text
    assert "holiday" not in text


def test_a_session_lists_the_tools_on_a_space(space_url):
    listed = with_agent(f"{space_url}{AGENTS}", lambda agent: agent.list_tools()).tools
    assert [tool.name for tool in listed] == [
        f"explorer_{name}" for name in ("embed", "similarity", "heatmap", "neighbours", "classify", "order", "surprise")
    ]
    words = listed[0].inputSchema["properties"]["checkpoint"]["description"]
    assert "; here there are nano, facebook/" in words


def test_nobody_is_told_the_address_that_somebody_else_has_made_up(space_url):
    for path in ("/gradio_api/info", "/"):
        for port in (1111, 2222):
            text = httpx.get(space_url + path, headers={"Host": f"localhost:{port}"}, timeout=60).text
            assert f"http://localhost:{port}" in text
            assert "localhost:1111" not in text or port == 1111
