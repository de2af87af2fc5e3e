"""Who is let in is what the owner wrote, or the app does not start; and nobody is told what that was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vjepa_demo.errors import RequestError
from vjepa_demo.settings import Settings
from vjepa_demo.ui import accounts

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (None, None),
        ("anna:secret", [("anna", "secret")]),
        ("anna:secret, bob:x:y ,", [("anna", "secret"), ("bob", "x:y")]),
        ("änne:gehéim", [("änne", "gehéim")]),
    ],
)
def test_names_and_passwords_are_read(text, read):
    assert accounts.read(text) == read


def test_a_file_has_one_in_each_line_and_its_passwords_may_hold_commas(tmp_path):
    path = tmp_path / "accounts"
    path.write_bytes(b"anna:a,b\r\n\nbob: c \n")
    assert accounts.read(f"@{path}") == [("anna", "a,b"), ("bob", "c")]


@pytest.mark.parametrize(
    "text", ["", " ", ",", "tops3cret", "anna:", ":tops3cret", "a:tops3cret,tops3cret", "a:b,a:tops3cret"]
)
@pytest.mark.parametrize("in_a_file", [False, True])
def test_what_names_nobody_is_refused_without_a_letter_of_it(tmp_path, text, in_a_file):
    path = tmp_path / "tops3cret"
    path.write_text(text.replace(",", "\n"))
    with pytest.raises(RequestError, match=r"VJEPA_DEMO_AUTH") as refusal:
        accounts.read(f"@{path}" if in_a_file else text)
    assert "tops3cret" not in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe:\xff"])
def test_a_file_that_cannot_be_read_is_not_named(tmp_path, content):
    path = tmp_path / "tops3cret"
    if content:
        path.write_bytes(content)
    for name in (path, tmp_path, f"{path}\0"):
        with pytest.raises(RequestError, match="cannot be read") as refusal:
            accounts.read(f"@{name}")
        assert "tops3cret" not in str(refusal.value)


def test_settings_do_not_show_it(monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_AUTH", "anna:tops3cret")
    settings = Settings.from_environment()
    assert settings.auth == "anna:tops3cret"
    assert "tops3cret" not in f"{settings!r} {settings}"


def test_the_app_does_not_start_where_it_is_malformed_and_says_so_in_a_line():
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, "VJEPA_DEMO_AUTH": "tops3cret", "VJEPA_DEMO_PORT": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Entry 1 of VJEPA_DEMO_AUTH is no name with a password")
    assert "tops3cret" not in line
