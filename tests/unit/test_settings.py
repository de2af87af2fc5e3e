"""What the environment says: read where it can be, and one sentence where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from vjepa_demo.errors import SettingsError
from vjepa_demo.settings import Settings, no_network

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("MAX_SECONDS", "abc", "a number, 0 or more, not 'abc'"),
        ("MAX_SECONDS", "1,5", "a number"),  # as it is written in German
        ("MAX_SECONDS", "-1", "a number, 0 or more"),
        ("MAX_SECONDS", "nan", "a number"),
        ("MAX_SECONDS", "inf", "a number"),
        ("MAX_BYTES", "512 MB", "a whole number, 0 or more, not '512 MB'"),
        ("MAX_BYTES", "1e6", "a whole number"),
        ("PROXIES", "-1", "a whole number, 0 or more"),
        ("PUBLIC", "maybe", "1 or 0, not 'maybe'"),
        ("DEVICE", "gpu", "auto or cuda or mps or cpu, not 'gpu'"),
        ("FORWARD", "slow", "fast or reference"),
    ],
)
def test_what_cannot_be_is_a_sentence(monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str) -> None:
    monkeypatch.setenv(f"VJEPA_DEMO_{name}", text)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    assert str(caught.value).startswith(f"VJEPA_DEMO_{name} must be {words}")
    assert str(caught.value).endswith(": correct it, or leave it unset.")


@pytest.mark.parametrize("name", ["max_seconds", "max_bytes", "device", "forward", "proxies"])
def test_an_empty_text_is_as_none_as_compose_files_write_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"VJEPA_DEMO_{name.upper()}", "")
    assert getattr(Settings.from_environment(), name) == getattr(Settings, name)


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is run as a number: no name, no home."""

    def none(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VJEPA_DEMO_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert Path(Settings.from_environment().cache_dir).parent.is_dir()


@pytest.mark.parametrize("program", [["-m", "vjepa_demo", "--help"], ["app.py"]], ids=["shell", "app"])
def test_each_program_says_it_in_one_line(program: list[str]) -> None:
    environment = {**os.environ, "VJEPA_DEMO_MAX_SECONDS": "soon"}
    done = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "VJEPA_DEMO_MAX_SECONDS must be a number, 0 or more, not 'soon': correct it, or leave it unset."
    ]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9/", "socks://127.0.0.1:9/", "socks5://127.0.0.1:9/"])
def test_no_proxy_stands_between_the_app_and_itself(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises((httpx.ConnectError, ImportError, ValueError)):  # as without it
        httpx.get("http://127.0.0.1:1/", timeout=1)
    with no_network(), pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:1/", timeout=1)
    with no_network():
        httpx.Client().close()
    assert os.environ["ALL_PROXY"] == os.environ["http_proxy"] == proxy, "the Hub is asked through it"


@pytest.mark.parametrize(
    "odd",
    [
        {"ALL_PROXY": "socks://127.0.0.1:9/"},
        {"SSL_CERT_FILE": "/of/an/environment/that/was/removed.pem"},
        {"SSL_CERT_FILE": str(ROOT / "app.py")},
        {"SSLKEYLOGFILE": "/nowhere/keys"},
        {"NO_PROXY": "::1,*,[fe80::1]:80"},
        {"GRADIO_SERVER_PORT": "none", "VJEPA_DEMO_PORT": "47860"},
    ],
    ids=lambda odd: "-".join(odd),
)
def test_what_the_environment_says_of_networks_does_not_end_the_start(odd: dict[str, str]) -> None:
    """Gradio is imported; whether it then answers is asked elsewhere."""
    environment = {**os.environ, "VJEPA_DEMO_SCENES": str(ROOT / "app.py"), **odd}
    done = subprocess.run(
        [sys.executable, "app.py"], capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment
    )
    assert done.stderr.splitlines()[-1].startswith("The file of scenes is no JSON"), done.stderr
    assert "Traceback" not in done.stderr
