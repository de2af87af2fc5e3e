"""Agents and notebooks are told what each endpoint is for, and are answered what the shell prints."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from api.test_endpoints import shell, without_times
from demo import demo_process, running_demo
from gradio_client import Client
from loops import finish
from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client
from security.conftest import upload

from vjepa_demo.cli import build_parser
from vjepa_demo.options import Options, Question, described
from vjepa_demo.settings import ASSETS

NAMES = ["embed", "similarity", "heatmap", "neighbours", "classify", "order", "surprise"]
EXAMPLE = "/examples/v-jepa-2-explorer/dominoes.mp4"


def with_agent(url: str, ask: Callable[[ClientSession], Any], headers: dict[str, str] | None = None) -> Any:
    """What `ask` returns of a session of a client of the protocol."""

    async def session() -> Any:
        async with (
            streamablehttp_client(url, headers=headers) as (read, write, _),
            ClientSession(read, write) as agent,
        ):
            await agent.initialize()
            return await ask(agent)

    return finish(session())


def call(url: str, tool: str, headers: dict[str, str] | None = None, **arguments: Any) -> types.CallToolResult:
    return with_agent(f"{url}/gradio_api/mcp", lambda agent: agent.call_tool(tool, arguments), headers)


def uploaded(url: str, path: Path) -> str:
    with httpx.Client(base_url=url, timeout=60) as client:
        return upload(client, path)


def told(answer: types.CallToolResult) -> str:
    """The text of an answer, which is an error's where it is one."""
    return " ".join(part.text for part in answer.content if isinstance(part, types.TextContent))


# --- what they are told ----------------------------------------------------------------------------------------------


def test_every_tool_and_each_of_its_parameters_is_described_in_the_words_of_the_shell(demo_url):
    listed = with_agent(f"{demo_url}/gradio_api/mcp", lambda agent: agent.list_tools()).tools
    assert [tool.name for tool in listed] == NAMES, "the page's own events are no tools"
    words = {option.name: described(option) for option in (*fields(Options), *fields(Question))}
    for tool in listed:
        assert "Answers: " in tool.description
        assert tool.inputSchema["required"] == ["file"]
        for name, parameter in tool.inputSchema["properties"].items():
            assert parameter["description"].startswith(words[name]), name
            assert parameter["type"]
            assert ("default" in parameter) == (name != "file"), name
    shown = httpx.get(f"{demo_url}/gradio_api/mcp/schema", timeout=60).json()
    assert [(tool["name"], tool["inputSchema"]) for tool in shown] == [(each.name, each.inputSchema) for each in listed]
    commands = build_parser()._subparsers._group_actions[0].choices
    for command in ("embed", "similarity", "neighbours", "classify", "order", "surprise"):
        tool = next(tool for tool in listed if tool.name == command)
        for action in commands[command]._actions:
            if action.dest in tool.inputSchema["properties"]:
                assert words[action.dest] == action.help % vars(action), "one text for each option"


def test_clients_and_the_page_of_the_api_are_told_the_same(demo_url, capsys):
    info = httpx.get(f"{demo_url}/gradio_api/info", timeout=60).json()["named_endpoints"]
    assert list(info) == [f"/{name}" for name in NAMES]
    for endpoint in info.values():
        assert "Answers: " in endpoint["description"]
        assert all(each["python_type"]["description"] for each in endpoint["parameters"] + endpoint["returns"])
        assert all(each["type"].get("type") != {} for each in endpoint["parameters"])
    Client(demo_url, verbose=False).view_api()
    said = capsys.readouterr().out
    assert all(described(option) in said for option in fields(Options))


def test_the_code_that_the_page_shows_works_as_it_stands(demo_url, tmp_path):
    info = httpx.get(f"{demo_url}/gradio_api/info", timeout=60).json()["named_endpoints"]
    code = info["/neighbours"]["code_snippets"]["python"]
    assert EXAMPLE in code
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "'label': 'dominoes'" in done.stdout
    sample = httpx.get(f"{demo_url}{EXAMPLE}", timeout=60)
    assert sample.content == (ASSETS / "examples" / "dominoes.mp4").read_bytes()
    assert sample.headers["content-type"] == "video/mp4"
    assert httpx.get(f"{demo_url}{EXAMPLE.replace('dominoes', 'nothing')}", timeout=60).status_code == 404


# --- what they are answered ------------------------------------------------------------------------------------------


def test_embed_agrees_with_the_shell(demo_url, video, tmp_path, capsys):
    answer = call(demo_url, "embed", file=uploaded(demo_url, video), precision="fp32")
    expected = shell(capsys, "embed", str(video), "--precision", "fp32", "--out", str(tmp_path / "shell.npz"))
    assert without_times(answer.structuredContent) == without_times(expected)
    summary, address = answer.content
    assert json.loads(summary.text) == answer.structuredContent
    ours = tmp_path / "ours.npz"
    ours.write_bytes(httpx.get(address.text, timeout=60).raise_for_status().content)
    with np.load(ours, allow_pickle=False) as ours, np.load(tmp_path / "shell.npz", allow_pickle=False) as theirs:
        np.testing.assert_allclose(ours["tokens"], theirs["tokens"], atol=1e-4)


def test_similarity_agrees_with_the_shell_as_scores_file_and_picture(demo_url, video, tmp_path, capsys):
    options = {"at": "1,2,3", "precision": "fp32"}
    file, out = uploaded(demo_url, video), tmp_path / "shell.npz"
    expected = shell(capsys, "similarity", str(video), "--at", "1,2,3", "--precision", "fp32", "--out", str(out))
    answer = call(demo_url, "similarity", file=file, **options).structuredContent
    np.testing.assert_allclose(np.array(answer["scores"]), np.array(expected["scores"]), atol=1e-4)
    (address,) = call(demo_url, "heatmap", file=file, out="npz", **options).content
    ours = tmp_path / "ours.npz"
    ours.write_bytes(httpx.get(address.text, timeout=60).raise_for_status().content)
    with np.load(ours, allow_pickle=False) as ours, np.load(out, allow_pickle=False) as theirs:
        assert set(ours) == set(theirs)
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-4)
    picture, address = call(demo_url, "heatmap", file=file, **options).content
    assert (picture.type, picture.mimeType) == ("image", "image/jpeg")
    assert base64.b64decode(picture.data).startswith(b"\xff\xd8")
    assert httpx.get(address.text, timeout=60).content.startswith(b"\x89PNG")


def test_neighbours_agree_with_the_shell(demo_url, video, capsys):
    answer = call(demo_url, "neighbours", file=uploaded(demo_url, video), k=3, pooling="motion", precision="fp32")
    expected = shell(capsys, "neighbours", str(video), "-k", "3", "--pooling", "motion", "--precision", "fp32")
    found = answer.structuredContent
    assert [near["file"] for near in found["neighbours"]] == [near["file"] for near in expected["neighbours"]]
    assert (found["far"], found["pooling"]) == (expected["far"], "motion")
    assert found["position"] == pytest.approx(expected["position"], abs=1e-3)


def test_a_file_is_a_path_an_address_of_this_app_or_data_and_leaves_nothing_behind(demo_url, video):
    path = uploaded(demo_url, video)
    run = Path(path).parents[2]
    data = f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}"
    before = set(run.rglob("*"))
    answers = [
        call(demo_url, "similarity", file=file, frames=2)
        for file in (path, f"{demo_url}/gradio_api/file={path}", f"https://x.example/sub/gradio_api/file={path}", data)
    ]
    scores = [answer.structuredContent["scores"] for answer in answers]
    assert scores == scores[:1] * 4
    assert set(run.rglob("*")) == before
    assert not call(demo_url, "similarity", file=f"http://localhost{EXAMPLE}", frames=2).isError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "'file' is a required property"),
        ({"file": None}, "not of type 'string'"),
        ({"file": "", "frames": 2}, "not kept here"),
        ({"frames": 15}, "must be even"),
        ({"frames": "16"}, "frames: '16' is not of type"),
        ({"frames": 10**400}, "no values"),
        ({"fit": "stretch" * 1000}, "is not one of|stretch"),
        ({"at": "9,9"}, "STEP,ROW,COL"),
        ({"layer": 3}, "'layer' was unexpected"),
        ({"file": "data:video/mp4;base64,no base64"}, "holds a file as base64"),
        ({"file": "data:video/mp4;base64,AAAA"}, "neither a video nor an image"),
    ],
)
def test_mistakes_come_back_as_one_sentence(demo_url, video, arguments, sentence):
    if "file" not in arguments and arguments:
        arguments = {"file": f"http://localhost{EXAMPLE}", **arguments}
    answer = call(demo_url, "similarity", **arguments)
    assert answer.isError
    assert any(part in told(answer) for part in sentence.split("|")), told(answer)
    assert len(told(answer)) < 600
    assert "Traceback" not in told(answer)


def test_an_address_can_name_the_tools_that_are_wanted(demo_url):
    async def ask(agent: ClientSession) -> tuple[list[str], types.CallToolResult]:
        return [tool.name for tool in (await agent.list_tools()).tools], await agent.call_tool("embed", {"file": "x"})

    names, refused = with_agent(f"{demo_url}/gradio_api/mcp/?tools=neighbours,similarity", ask)
    assert names == ["similarity", "neighbours"]
    assert told(refused) == "There is no tool 'embed' here: there are similarity, neighbours."


# --- whose work it is ------------------------------------------------------------------------------------------------


def test_who_asks_by_an_agent_is_a_visitor_like_any_other_whose_work_ends_when_they_leave(tmp_path, make_video):
    """One piece of work for each address: that of another one is not counted, and neither is what was left."""
    long = make_video("long.mp4", source="testsrc2=s=320x180:r=24:d=4", frames=96)
    limits = {"VJEPA_DEMO_MOST_EACH": "1", "VJEPA_DEMO_PROXIES": "1", "VJEPA_DEMO_PUBLIC": "1"}
    anna, ben = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    with running_demo(tmp_path, **limits) as url:
        file = uploaded(url, long)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body["params"] = {"name": "embed", "arguments": {"file": file, "frames": 64, "fit": "whole"}}
        headers = {**anna, "Accept": "application/json, text/event-stream"}
        with httpx.stream("POST", f"{url}/gradio_api/mcp/", json=body, headers=headers, timeout=120) as working:
            assert working.status_code == 200
            refused = call(url, "embed", anna, file=file, frames=2)
            assert "1 pieces of work from your network are here already" in told(refused)
            assert not call(url, "embed", ben, file=file, frames=2).isError
        tries = [call(url, "embed", anna, file=file, frames=2).isError for _ in range(3)]
        assert not all(tries), "what nobody waits for any more goes on"


def test_the_end_of_the_app_does_not_wait_for_what_agents_have_asked_for(tmp_path, make_video):
    long = make_video("long.mp4", source="testsrc2=s=320x180:r=24:d=4", frames=96)
    with demo_process(tmp_path) as (url, process):
        file = uploaded(url, long)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        headers = {"Accept": "application/json, text/event-stream"}
        body["params"] = {"name": "embed", "arguments": {"file": file, "frames": 2}}
        httpx.post(f"{url}/gradio_api/mcp/", json=body, headers=headers, timeout=120)  # the model is loaded then
        body["params"] = {"name": "embed", "arguments": {"file": file, "frames": 64, "fit": "whole"}}
        with httpx.stream("POST", f"{url}/gradio_api/mcp/", json=body, headers=headers, timeout=120) as working:
            assert working.status_code == 200
            process.terminate()
            assert "The app has been stopped." in working.read().decode()
        assert process.wait(timeout=30) == 0
