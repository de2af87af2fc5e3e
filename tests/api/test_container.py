"""The Dockerfile, as far as it can be tried without a container: its files and its environment, in another folder."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from demo import ROOT, STARTS_WITHIN_S, free_port
from gradio_client import Client, handle_file

ENDS_WITHIN_S = 5  # what stops a container kills it after ten


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """(instruction, what follows it) of all steps."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in whole.splitlines() if line.strip())]


def all_of(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for step, rest in steps if step == name]


def environment(steps: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in all_of(steps, "ENV") for pair in rest.split())


def is_left_out(path: str) -> bool:
    """Whether `.dockerignore` keeps a file from the build: the last line that fits it or a folder of it decides."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().split("\n"):
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = Path(path).parts
        ways = [*("/".join(parts[:end]) for end in range(1, len(parts) + 1))]
        fits = any(
            fnmatch.fnmatchcase(Path(way).name, pattern[3:]) if pattern.startswith("**/") else
            way.count("/") == pattern.count("/") and fnmatch.fnmatchcase(way, pattern)
            for way in ways
        )  # fmt: skip
        left_out = not line.startswith("!") if fits else left_out
    return left_out


def copy_as_told(steps: list[tuple[str, str]], to: Path) -> None:
    for source, target in (rest.split() for rest in all_of(steps, "COPY")):
        given = ROOT / source
        files = [given] if given.is_file() else [path for path in given.rglob("*") if path.is_file()]
        files = [path for path in files if not is_left_out(str(path.relative_to(ROOT)))]
        assert files, f"{source} is not part of what is built from"
        for path in files:
            place = to / target / path.relative_to(given if given.is_dir() else given.parent)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def test_it_is_built_of_pinned_parts_and_runs_as_a_user_of_its_own(steps):
    (base,) = all_of(steps, "FROM")
    wanted = re.search(r"python_version: ([\d.]+)", (ROOT / "README.md").read_text())[1]
    assert base.startswith(f"python:{wanted}-slim-")
    assert any("--require-hashes -r requirements.lock" in rest for rest in all_of(steps, "RUN"))
    names = [name for name, _ in steps]
    (user,) = all_of(steps, "USER")
    assert user not in ("root", "0")
    assert "RUN" not in names[names.index("USER") :]
    (volume,) = all_of(steps, "VOLUME")
    kept = {name: value for name, value in environment(steps).items() if value.startswith(f"{volume}/")}
    assert kept.keys() == {"HF_HOME", "NUMBA_CACHE_DIR", "VJEPA_DEMO_CACHE_DIR"}
    assert all_of(steps, "EXPOSE") == [environment(steps)["VJEPA_DEMO_PORT"]]


@pytest.mark.parametrize(
    "name", [".env", "notes.txt", "assets/recipes/nano.py", "vjepa_demo/ui/__pycache__/a.pyc", ".git/config"]
)
def test_what_is_not_run_is_not_built_in(name):
    assert is_left_out(name)
    assert not is_left_out("vjepa_demo/ui/page.css")


def test_what_is_copied_starts_is_healthy_and_ends_before_it_is_killed(steps, tmp_path, video):
    """Under another name of its own, while a page is open."""
    copy_as_told(steps, tmp_path / "app")
    (tmp_path / "tmp").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (volume,) = all_of(steps, "VOLUME")
    given = {name: value.replace(f"{volume}/", f"{tmp_path}/cache/") for name, value in environment(steps).items()}
    given |= {"VJEPA_DEMO_PORT": str(port), "VJEPA_DEMO_HOSTS": "explorer.example", "HF_HUB_OFFLINE": "1"}
    given |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    run = {"cwd": tmp_path / "app", "env": given}
    (asked,) = all_of(steps, "HEALTHCHECK")
    check = [sys.executable, *json.loads(asked[asked.index("[") :])[1:]]
    start = [sys.executable, *json.loads(all_of(steps, "CMD")[0])[1:]]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(start, **run, stdout=log, stderr=log) as process:
        try:
            until = time.monotonic() + STARTS_WITHIN_S
            while subprocess.run(check, **run, capture_output=True).returncode:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.5)
            summary, _ = Client(url, verbose=False).predict(handle_file(video), frames=2, api_name="/embed")
            assert summary["shape"] == [1, 256, 192]
            told = [
                httpx.get(f"{url}/config", headers={"Host": host}).status_code
                for host in ("evil.example", "explorer.example")
            ]
            assert told == [421, 200]
            with httpx.stream("GET", f"{url}/gradio_api/heartbeat/page", timeout=60) as stream:
                assert "ALIVE" in next(stream.iter_text())
                process.send_signal(signal.SIGTERM)
                assert process.wait(ENDS_WITHIN_S) == 0
        finally:
            process.kill()
    written = {path.relative_to(tmp_path / "app") for path in (tmp_path / "app").rglob("*") if path.is_file()}
    assert {path.suffix for path in written if is_left_out(str(path))} <= {".pyc"}
    assert not list((tmp_path / "tmp").rglob("run-*"))
    assert "public, no folder" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
