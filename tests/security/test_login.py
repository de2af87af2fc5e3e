"""A private server: without a login there is the page that asks for one, and nothing else of anybody's."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from api.test_agents import call
from demo import demo_process
from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from security.conftest import upload
from security.test_guard import ask, everything

from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.ui import serving, widget
from vjepa_demo.ui.guard import Guard

PASSWORD = "correct,horse:battery"  # noqa: S105
HALF_MINUTE = {"timeout": 60}
# What is the same in every copy of the app, and what the page that asks for a login is made of.
FOR_ALL = {"/", "/health", "/robots.txt", "/theme.css", "/manifest.json", "/favicon.ico", "/gradio_api/theme.css"}
FOR_ALL |= {"/gradio_api/startup-events", "/gradio_api/app_id", "/assets/{path:path}", "/static/{path:path}"}
FOR_ALL |= {"/svelte/{path:path}", "/login", "/login/", "/card.jpg"}


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """(address, log, folder of the owner's checkpoint) of an app with one account, kept in a file."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "accounts").write_text(f"anna:{PASSWORD}\n")
    checkpoint = folder / "owners-own"
    shutil.copytree(ASSETS / "nano", checkpoint)
    environment = {"VJEPA_DEMO_AUTH": f"@{folder / 'accounts'}", "VJEPA_DEMO_CHECKPOINT": str(checkpoint)}
    environment |= {"VJEPA_DEMO_LOGINS_EACH": "5", "VJEPA_DEMO_PROXIES": "1"}
    with demo_process(folder, **environment) as (url, _):
        yield url, folder / "app.log", checkpoint


@pytest.fixture
def anna(private) -> Iterator[httpx.Client]:
    """Somebody who has logged in, below the app's address."""
    with httpx.Client(base_url=private[0], **HALF_MINUTE) as client:
        assert log_in(client).status_code == 200
        yield client


def log_in(client: httpx.Client, password: str = PASSWORD, address: str = "203.0.113.1") -> httpx.Response:
    return client.post("/login", data={"username": "anna", "password": password}, headers={"X-Forwarded-For": address})


def test_without_a_login_no_route_gives_anything_of_anybodys(private, anna, video):
    uploaded = upload(anna, video)
    number = next(d["id"] for d in anna.get("/config").json()["dependencies"] if d["api_name"] == "first_paint")
    key, until = None, time.monotonic() + 120
    while key is None:  # the references are embedded with the owner's checkpoint, some at a time
        assert time.monotonic() < until
        joined = anna.post("/gradio_api/queue/join", json={"fn_index": number, "data": [], "session_hash": "anna"})
        told = anna.get("/gradio_api/queue/data", params={"session_hash": "anna"}).text
        key = re.search(r"references/([\w-]{16,})", told)
        time.sleep(0.5)
    key = key.group(1)
    event = joined.json()["event_id"]
    reads = [
        "/config", "/config/", "/plotly.min.js", "/examples.jpg", f"/widgets/{widget.VERSION}/shared/widgets.js",
        f"/references/{key}/set.json", f"/references/{key}/0", f"/references/{key}/0.jpg",
        "/gradio_api/info", "/gradio_api/info/", f"/gradio_api/file={uploaded}", "/gradio_api/heartbeat/anna",
        "/gradio_api/queue/data?session_hash=anna", "/gradio_api/upload_progress?upload_id=anna",
        "/gradio_api/mcp/", "/gradio_api/mcp/schema", "/examples/v-jepa-2-explorer/dominoes.mp4",
        f"/gradio_api/call/first_paint/{event}", f"/gradio_api/call/v2/first_paint/{event}",
    ]  # fmt: skip
    writes = [
        "upload",
        "queue/join",
        "cancel",
        "reset",
        "reset/",
        "call/embed",
        "call/embed/",
        "call/v2/embed",
        "mcp",
        "mcp/",
    ]
    with httpx.Client(base_url=private[0], **HALF_MINUTE) as stranger:
        for cookie in (None, "access-token-x=y", f"access-token-unsecure-{'x' * 43}="):
            headers = {"Cookie": cookie} if cookie else {}
            for path in reads:
                for method in ("GET", "HEAD"):
                    assert stranger.request(method, path, headers=headers).status_code == 401, path
            for path in writes:
                assert stranger.post(f"/gradio_api/{path}", headers=headers, json={}).status_code == 401, path
    for path in (reads[3], reads[5], reads[6], reads[7], reads[10]):
        assert anna.get(path).status_code == 200, path


def test_no_route_that_there_is_or_will_be_is_open_but_those_that_are_known():
    """Asked of the guard, which lets through to an app that answers everything."""
    from gradio import Blocks
    from gradio.routes import App

    guard = Guard(everything, replace(settings, auth="anna:x"))
    with Blocks() as blocks:
        pass
    routes = [*App.create_app(blocks).routes, *serving.ROUTES]
    for route in routes:  # FastAPI keeps those of a router in it, or adds them all
        routes += getattr(getattr(route, "original_router", None), "routes", [])
    paths = {route.path for route in routes if hasattr(route, "path")}
    assert len(paths) > 60
    for path in paths - FOR_ALL:
        asked = re.sub(r"\{[^}]*\}", "abc", path)
        for method, body in (("GET", None), ("HEAD", None), ("POST", b"{}")):
            assert ask(method, asked, guard=guard, content=body).status_code in (401, 404), path
    for path in FOR_ALL - {"/login", "/login/"}:
        assert ask("GET", re.sub(r"\{[^}]*\}", "abc", path), guard=guard).status_code == 200, path
    assert ask("POST", "/login", guard=guard, content=b"").status_code == 200
    assert ask("POST", "/login", content=b"").status_code == 404, "where nobody has to log in, there is no such thing"


def test_the_page_that_asks_for_a_login_tells_nothing_of_the_app(private):
    url, _, checkpoint = private
    for address in ("/", "/?all_endpoints=true", "/?deep_link=x", "/manifest.json", "/gradio_api/startup-events"):
        page = httpx.get(url + address, **HALF_MINUTE)
        assert page.status_code == 200
        for told in (checkpoint.name, "/embed", "endpoint", "anna", PASSWORD, "nano"):
            assert told not in page.text, (address, told)
    page = httpx.get(url, **HALF_MINUTE)
    assert '"auth_required":true' in page.text.replace(" ", "")
    assert "V-JEPA 2 Explorer" in page.text
    assert page.headers["content-security-policy"]


def test_an_agent_works_with_the_cookie_of_a_login(private, anna, video):
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in anna.cookies.items())}
    answer = call(private[0], "embed", cookie, file=upload(anna, video), frames=2)
    assert answer.structuredContent["grid"][0] == 1
    address = answer.content[-1].text.removeprefix(private[0])
    assert anna.get(address).status_code == 200
    assert httpx.get(private[0] + address, **HALF_MINUTE).status_code == 401


def test_the_api_works_with_a_login_and_says_that_it_needs_one(private, video):
    with pytest.raises(AuthenticationError):
        Client(private[0], verbose=False)
    with pytest.raises(ValueError, match="Could not login"):
        Client(private[0], verbose=False, auth=("anna", "wrong"))
    client = Client(private[0], verbose=False, auth=("anna", PASSWORD))
    summary, _ = client.predict(handle_file(video), frames=2, api_name="/embed")
    assert summary["shape"] == [1, 256, 192]


def test_a_password_can_be_tried_some_times_an_hour_and_right_ones_do_not_count(private):
    with httpx.Client(base_url=private[0], **HALF_MINUTE) as client:
        assert [log_in(client, address="203.0.113.2").status_code for _ in range(8)] == [200] * 8
        wrong = [log_in(client, f"wrong{number}", "203.0.113.2").status_code for number in range(7)]
        assert wrong == [400] * 5 + [429] * 2
        refused = log_in(client, address="203.0.113.2")
        assert (refused.status_code, "in an hour" in refused.text) == (429, True)
        assert log_in(client, address="203.0.113.3").status_code == 200, "others can still"
        hosts = [f"2001:db8:1:2::{number:x}" for number in range(1, 7)]
        assert [log_in(client, "wrong", host).status_code for host in hosts] == [400] * 5 + [429], "one network's"
        assert log_in(client, address="2001:db8:1:3::1").status_code == 200


def test_no_page_of_others_logs_anybody_in(private):
    sent = {"data": {"username": "anna", "password": PASSWORD}, "headers": {"Origin": "https://evil.example"}}
    assert httpx.post(f"{private[0]}/login", **sent, **HALF_MINUTE).status_code == 403


def test_what_is_no_login_is_an_answer_and_no_error(private):
    with httpx.Client(base_url=private[0], **HALF_MINUTE) as client:
        for number, body in enumerate((b"", b"{}", b"username=anna", b"\xff" * 1000, b"username=%ff&password=%00")):
            headers = {"X-Forwarded-For": f"203.0.113.{number + 10}"}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            assert client.post("/login", content=body, headers=headers).status_code in (400, 422)
        odd = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        headers["Content-Type"] = "multipart/form-data; boundary=b; charset=unicode_escape"
        for name in (b"anna", b"nobody"):
            body = odd % (b"username", name) + odd % (b"password", rb"\ud800") + b"--b--\r\n"
            assert client.post("/login", content=body, headers=headers).status_code == 400, "whoever is named"
        assert client.post("/login", content=b"x" * 2_000_000).status_code == 413
        assert client.get("/login").status_code == 404


def test_it_can_be_asked_for_its_health_at_any_address_without_a_login(private):
    answer = httpx.get(f"{private[0]}/health", headers={"Host": "10.1.2.3:80"}, **HALF_MINUTE)
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert httpx.post(f"{private[0]}/health", **HALF_MINUTE).status_code in (401, 404)


def test_the_password_stands_nowhere(private, anna):
    assert PASSWORD not in anna.get("/config").text
    assert PASSWORD not in anna.get("/").text
    log = private[1].read_text()
    assert PASSWORD not in log
    assert "Traceback" not in log
