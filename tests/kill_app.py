"""SIGKILL at random moments of a busy server, again and again: does it start, answer rightly, and lose nothing?

    python tests/kill_app.py --times 20

The app runs with a folder of references of its owner's, in which it keeps what is added on the page. Each time visitors
embed clips, add clips and have references embedded in a new way until the process group is killed. Then it starts anew:
the owner's files and rows must be there, answers must equal those from before, and nothing older may be left behind.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from demo import ROOT, STARTS_WITHIN_S, _answers
from soak import OPTIONS, Served, digest, files_below, listen, make_media
from visitor import Visitor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, _ = make_media(folder)
        owner = make_owner(folder / "owner", sound)
        precious = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in owner.rglob("*") if path.is_file()}
        problems: list[str] = []
        right: str | None = None
        added: list[int] = []
        for number in range(options.times + 1):
            process, url = start(folder, owner)
            try:
                answer = nearest(url, sound[0], f"look-{number}")
                right = right or answer
                if answer != right:
                    problems.append(f"{number}: the answer is another one")
                problems += [f"{number}: {words}" for words in lost(owner, precious)]
                added.append(len(rows(owner)))
                if number < options.times:
                    threads = keep_busy(url, sound, number)
                    time.sleep(dice.uniform(0.2, 8))
                    os.killpg(process.pid, signal.SIGKILL)
                    for thread in threads:
                        thread.join(60)
            finally:
                if number == options.times:
                    process.terminate()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=30)
        left = files_below(folder / "scratch")
        print(
            json.dumps(
                {
                    "kills": options.times,
                    "problems": problems,
                    "rows_after_each_start": added,
                    "left_in_scratch": sorted(Path(path).name for path in left),
                },
                indent=1,
            )
        )
        sys.exit(bool(problems))


def make_owner(folder: Path, sound: list[Path]) -> Path:
    """A folder of references as an owner keeps it: with notes, a column of their own, and an order of their own."""
    (folder / "box").mkdir(parents=True)
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "description", "camera"])
        for number, path in enumerate(reversed(sound[:4])):
            (folder / "box" / f"{number}.mp4").write_bytes(path.read_bytes())
            writer.writerow([f"box/{number}.mp4", f"label {number % 2}", "precious notes", f"cam {number}"])
    (folder / "notes.txt").write_text("the owner's")
    (folder / ".env").write_text("SECRET=1")
    return folder


def start(folder: Path, owner: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "VJEPA_DEMO_PORT": str(port),
        "VJEPA_DEMO_CACHE_DIR": str(folder / "cache"),
        "VJEPA_DEMO_SCRATCH_DIR": str(folder / "scratch"),
        "HF_HUB_OFFLINE": "1",
    }
    with (folder / "app.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--references", str(owner)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + STARTS_WITHIN_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "app.log").read_text(errors="replace")[-3000:])
        time.sleep(0.2)
    return process, url


def nearest(url: str, path: Path, session: str) -> str:
    """The heatmap of a clip: it does not depend on what was added meanwhile."""
    with Visitor(url, session) as visitor:
        visitor.join("similarity", visitor.upload(path), "0,8,8", False, *OPTIONS)
        answer = listen(visitor, Served(time.monotonic()))
        return digest(answer["output"]["data"][0])


def rows(owner: Path) -> list[dict[str, str]]:
    with (owner / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lost(owner: Path, precious: dict[Path, str]) -> list[str]:
    """What of the owner's is not as it was."""
    words = [
        f"{path.name} is gone or changed"
        for path, sha in precious.items()
        if path.name != "clips.csv" and (not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha)
    ]
    kept = {row["file"]: row for row in rows(owner)}
    for number in range(4):
        row = kept.get(f"box/{number}.mp4")
        if not row or row["description"] != "precious notes" or row["camera"] != f"cam {number}":
            words.append(f"the row of box/{number}.mp4 is not as it was: {row}")
    return words + [f"a row without a file: {file}" for file in kept if not (owner / file).is_file()]


def keep_busy(url: str, sound: list[Path], turn: int) -> list[threading.Thread]:
    """Visitors that embed, add and compare until the server is gone."""

    def work(number: int) -> None:
        with Visitor(url, f"busy-{turn}-{number}") as visitor:
            while True:
                file = visitor.upload(sound[(turn + number) % 4])
                if number == 0:
                    visitor.join("add_clips", None, None, [file], None, f"added {turn % 3}")
                elif number == 1:
                    visitor.embed(file, 32)
                    list(visitor.messages())
                    visitor.join("compare_anyway", None, None)
                else:
                    visitor.embed(file)
                list(visitor.messages())

    def until_gone(number: int) -> None:
        try:
            work(number)
        except Exception:
            return  # the server was killed

    threads = [threading.Thread(target=until_gone, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    return threads


if __name__ == "__main__":
    main()
