"""Only the routes that are used, under the app's own name, from its own pages; and of a folder only its clips."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
import pytest
from demo import ROOT, running_demo
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from security.conftest import upload

from vjepa_demo.settings import Settings
from vjepa_demo.ui.guard import MAX_JSON_BYTES

CLOSED = """
    GET /gradio_api/file=http://127.0.0.1:1/x.png
    GET /gradio_api/file=https://example.com/x.png
    GET /gradio_api/file=HTTP://example.com/x.png
    GET /gradio_api/file=//example.com/x.png
    GET /gradio_api/file=ftp://example.com/x.png
    GET /gradio_api/file=/etc/passwd
    GET /gradio_api/file=/proc/self/environ
    GET /gradio_api/file=../app.py
    GET /gradio_api/file=%2e%2e/app.py
    GET /gradio_api/file=app.py
    GET /gradio_api/file/app.py
    GET /gradio_api/proxy=https://example.com/
    GET /gradio_api/deep_link?session_hash=x
    GET /gradio_api/runs
    GET /gradio_api/run-history/records
    GET /gradio_api/dev/reload
    GET /gradio_api/openapi.json
    GET /gradio_api/stream/x/1/1/playlist.m3u8
    GET /gradio_api/custom_component/x/client/component/index.js
    GET /gradio_api/vibe-code
    GET /gradio_api/token
    GET /gradio_api/user
    GET /gradio_api/mcp/sse
    POST /gradio_api/mcp/messages/
    GET /monitoring
    GET /monitoring/summary
    GET /docs
    GET /openapi.json
    GET /logout
    GET /pwa_icon
    POST /gradio_api/process_recording
    POST /gradio_api/run/predict
    POST /gradio_api/run/embed
    POST /gradio_api/api/embed
    POST /gradio_api/component_server
    POST /gradio_api/stream/x
    POST /gradio_api/vibe-edit
    POST /gradio_api/run-history/connect
    POST /login
    PUT /gradio_api/queue/join
    DELETE /config
    OPTIONS /gradio_api/queue/join
"""


@pytest.mark.parametrize("line", [line.strip() for line in CLOSED.strip().splitlines()])
def test_what_is_not_used_is_not_there(stranger, line):
    method, path = line.split()
    answer = stranger.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code in (403, 404, 421), answer.text[:200]
    assert "root:" not in answer.text


def test_the_ways_of_clients_are_open(demo_url, video):
    summary, _ = Client(demo_url, verbose=False).predict(handle_file(video), frames=2, api_name="/embed")
    assert summary["shape"] == [1, 256, 192]
    with httpx.Client(base_url=demo_url, timeout=60) as curl:
        path = upload(curl, video)
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "0,0,0", False, "nano", 2, 0, None, "even"]
        joined = curl.post(
            "/gradio_api/call/similarity", json={"data": [*data, "crop", "auto", "stored"]}
        ).raise_for_status()
        told = curl.get(f"/gradio_api/call/similarity/{joined.json()['event_id']}").text
    assert "event: complete" in told
    assert '"scores"' in told


# --- who asks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "10.0.0.5", "localhost.evil.example", "[::2]"])
def test_a_local_app_is_not_known_by_other_names(demo_url, host):
    assert httpx.get(f"{demo_url}/config", headers={"Host": host}, timeout=60).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80"])
def test_a_local_app_is_known_by_its_own(demo_url, host):
    assert httpx.get(f"{demo_url}/config", headers={"Host": host}, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", "X-Forwarded-Host": "other.example"},
    ],
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/embed"])
def test_pages_of_others_cannot_post(demo_url, path, headers):
    answer = httpx.post(f"{demo_url}{path}", headers=headers, files={"files": ("a.png", b"x")}, timeout=60)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "somebody-explorer.hf.space", "10.0.0.1"])
def test_no_other_origin_may_read(stranger, host):
    answer = stranger.get("/config", headers={"Origin": "https://evil.example", "Host": host})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_bodies_have_a_limit(demo_url):
    large = b'{"data": "' + b"x" * MAX_JSON_BYTES + b'"}'

    def pieces():
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    for body in (large, pieces()):  # with its length told, and without
        headers = {"Content-Type": "application/json"}
        answer = httpx.post(f"{demo_url}/gradio_api/queue/join", content=body, headers=headers, timeout=60)
        assert answer.status_code == 413


# --- what every answer says of itself --------------------------------------------------------------------------------


def test_pages_say_what_they_may_load_and_who_may_show_them(demo_url, space_url):
    for url, ancestors in ((demo_url, "'none'"), (space_url, "https://huggingface.co https://*.hf.space")):
        headers = httpx.get(url, timeout=60).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["frame-ancestors"] == ancestors
        assert policy["default-src"] == "'self'"
        assert not re.search(r"https?:|\*", " ".join(v for k, v in policy.items() if k != "frame-ancestors"))
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "private, no-cache", "it names the host that it was asked for at"


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", True),
        ("page.html", b"<script>alert(1)</script>", False),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", False),
        ("a.png.html", b"<script>", False),
        ("a.xml", b"<x/>", False),
    ],
)
def test_files_run_nothing(stranger, tmp_path, name, data, shown):
    path = tmp_path / name
    path.write_bytes(data)
    answer = stranger.get(f"/gradio_api/file={upload(stranger, path)}")
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"].startswith("image/png" if shown else "application/octet-stream")
    assert ("attachment" in answer.headers.get("content-disposition", "")) is not shown


@pytest.mark.parametrize(
    "name", ["../../up.mp4", "C:\\up.mp4", "a\r\nSet-Cookie: x=1.mp4", "x" * 300 + ".mp4", ".htaccess", "con.mp4"]
)
def test_the_name_of_an_upload_leads_nowhere(stranger, space_url, name):
    answer = stranger.post("/gradio_api/upload", files={"files": (name, b"data")})
    assert "set-cookie" not in answer.headers
    if answer.status_code == 200:
        path = Path(answer.json()[0])
        assert path.parent.parent.name == "uploads"
        assert len(path.name) <= 255


# --- the folders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owners_url(tmp_path_factory, make_video):
    """The app on a folder of references that holds more than clips."""
    folder = tmp_path_factory.mktemp("owner")
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(make_video(f"owner{number}.mp4", frames=8).read_bytes())
    (folder / "clips.csv").write_text("file,label,notes\n0.mp4,a,secret-notes\n1.mp4,a,\n2.mp4,b,\n")
    (folder / ".env").write_text("SECRET=1")
    (folder / "x.html").write_text("<script>")
    with running_demo(tmp_path_factory.mktemp("owners"), VJEPA_DEMO_REFERENCES=str(folder)) as url:
        yield url, folder


def test_of_a_set_its_clips_are_served_and_nothing_else(owners_url):
    url, folder = owners_url
    with httpx.Client(base_url=url, timeout=60) as client:
        session = "owner"
        number = next(d["id"] for d in client.get("/config").json()["dependencies"] if d["api_name"] == "first_paint")
        client.post("/gradio_api/queue/join", json={"fn_index": number, "data": [], "session_hash": session})
        told = client.get("/gradio_api/queue/data", params={"session_hash": session}).text
        key = re.search(r"references/([\w-]{16,})", told).group(1)
        listed = client.get(f"/references/{key}/set.json")
        assert len(listed.json()["clips"]) == 3
        clip = client.get(f"/references/{key}/0", headers={"Range": "bytes=0-99"})
        assert (clip.status_code, len(clip.content)) == (206, 100)
        assert clip.headers["content-type"] == "video/mp4"
        assert "sandbox" in clip.headers["content-security-policy"]
        for name in (".env", "x.html", "clips.csv", "..%2f.env", "3", "-1", "0.html", "vectors", "9" * 30):
            assert client.get(f"/references/{key}/{name}").status_code == 404, name
        assert client.get(f"/references/{'x' * 32}/0").status_code == 404
        for path in (folder / ".env", folder / "0.mp4", folder / "clips.csv", folder):
            assert client.get(f"/gradio_api/file={path}").status_code == 404
        for text in (told, listed.text, client.get("/config").text, client.get("/").text):
            assert str(folder) not in text
            assert str(ROOT) not in text
            assert "secret-notes" not in text


# --- public or not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "public"),
    [
        ({}, False),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, False),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, True),  # noqa: S104
        ({"GRADIO_SERVER_NAME": "192.168.1.5"}, True),
        ({"GRADIO_SERVER_NAME": "::"}, True),
        ({"GRADIO_SERVER_NAME": "localhost"}, False),
        ({"GRADIO_SERVER_NAME": "::1"}, False),
        ({"SPACE_ID": "a/b"}, True),
        ({"SPACE_ID": "a/b", "GRADIO_SERVER_NAME": "127.0.0.1"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "VJEPA_DEMO_PUBLIC": "0"}, False),  # noqa: S104
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "VJEPA_DEMO_PUBLIC": "no"}, False),  # noqa: S104
        ({"VJEPA_DEMO_PUBLIC": "1"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "0.0.0.0"}, True),  # noqa: S104
        ({"VJEPA_DEMO_SERVER_NAME": "::"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "[::]"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": ""}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "0"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "fe80::1%eth0"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "gpu-7.lab.example"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "localhost.lab.example"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "127.0.0.2"}, False),
        ({"VJEPA_DEMO_SERVER_NAME": "LocalHost"}, False),
        ({"VJEPA_DEMO_SERVER_NAME": "192.168.1.5", "GRADIO_SERVER_NAME": "127.0.0.1"}, True),
        ({"VJEPA_DEMO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_NAME": "0.0.0.0"}, False),  # noqa: S104
        ({"VJEPA_DEMO_SERVER_NAME": "0.0.0.0", "VJEPA_DEMO_AUTH": "a:b"}, True),  # noqa: S104
        ({"VJEPA_DEMO_AUTH": "a:b"}, False),
        (
            {"VJEPA_DEMO_SERVER_NAME": "0.0.0.0", "VJEPA_DEMO_AUTH": "a:b", "VJEPA_DEMO_PUBLIC": "0"},  # noqa: S104
            False,
        ),
    ],
)
def test_whoever_can_reach_the_app_is_a_stranger_unless_told_otherwise(monkeypatch, environment, public):
    for name in (
        "GRADIO_SERVER_NAME",
        "SPACE_ID",
        *(f"VJEPA_DEMO_{name}" for name in ("PUBLIC", "SERVER_NAME", "AUTH")),
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment().public is public


@pytest.mark.parametrize("checkpoint", ["/root", "~root", "../", "nano/../nano", "/proc/self/cwd/assets/nano", "a/b"])
def test_strangers_name_no_folder_as_a_checkpoint(space_url, video, checkpoint):
    with pytest.raises(AppError, match="only the checkpoints of the list"):
        Client(space_url, verbose=False).predict(handle_file(video), checkpoint=checkpoint, api_name="/embed")


def test_strangers_do_not_have_all_references_embedded(space_url, video):
    client = Client(space_url, verbose=False)
    with pytest.raises(AppError, match="not embedded in this way"):
        client.predict(handle_file(video), frames=6, api_name="/neighbours")
    assert client.predict(handle_file(video), frames=16, api_name="/neighbours")["neighbours"]


def test_the_answers_to_mistakes_hold_no_trace_and_no_long_echo(stranger):
    number = next(d["id"] for d in stranger.get("/config").json()["dependencies"] if d["api_name"] == "similarity")
    data = [None, "x" * 100_000, False, "nano", 16, 0, None, "even", "crop", "y" * 100_000, "stored"]
    stranger.post("/gradio_api/queue/join", json={"fn_index": number, "data": data, "session_hash": "long"})
    told = stranger.get("/gradio_api/queue/data", params={"session_hash": "long"}).text
    assert "Traceback" not in told
    assert len(told) < 5000


def test_a_public_app_names_no_visitors_file_in_its_log_and_believes_no_address_that_they_write(tmp_path, make_video):
    space = {"SPACE_ID": "a/b", "VJEPA_DEMO_PROXIES": "0", "VJEPA_DEMO_PAGES_EACH": "5"}
    with running_demo(tmp_path, GRADIO_SERVER_NAME="127.0.0.1", **space) as url:
        broken = tmp_path / "holiday with anna.mp4"
        broken.write_bytes(make_video().read_bytes()[:700])
        with pytest.raises(AppError):
            Client(url, verbose=False).predict(handle_file(broken), api_name="/embed")
        pages = [
            httpx.post(
                f"{url}/gradio_api/queue/join",
                json={"data": [], "fn_index": 0, "session_hash": f"page{number}"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            ).status_code
            for number in range(8)
        ]
    assert pages[-3:] == [429] * 3
    assert "anna" not in (tmp_path / "app.log").read_text()


def test_gradio_writes_no_files_into_the_checkout():
    done = subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ".pyi" not in done.stdout
