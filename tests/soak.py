"""Many visitors for a long time, some hostile, some leaving: is every result right, does anybody wait too long?

    python tests/soak.py --minutes 20 --clients 16

Starts the app, lets clients upload, look and leave, and prints one JSON object. Every finished answer must equal that
of a single run; nobody may wait longer than the jobs before theirs took; memory is that at the end over that after the
first minutes; files are what is left once all that is kept has aged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo import running_demo
from visitor import Visitor

OPTIONS = ["nano", None, 0, None, "even", "crop", "auto", "stored"]  # the endpoints' own defaults
SETTLED_S = 180.0  # memory is compared with that after so long
KEPT_HOURS = 0.1
STORE_BYTES = 256 * 2**20  # results in memory: bounded low enough to be full before memory is compared


@dataclass
class Served:
    """One job as its client saw it: when it was asked for, begun and done, in seconds."""

    asked: float
    begun: float = 0.0
    done: float = 0.0


@dataclass
class Record:
    """What all clients saw."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_media(folder: Path) -> tuple[list[Path], list[Path]]:
    """(sound files, hostile files)."""
    sound, hostile = [], []
    for number, (source, options) in enumerate(
        [
            ("testsrc2=s=640x360:r=24:d=3", ["-pix_fmt", "yuv420p"]),
            ("mandelbrot=s=320x240:r=12", ["-t", "3", "-pix_fmt", "yuv420p"]),
            ("testsrc=s=1280x720:r=30:d=6", ["-pix_fmt", "yuv420p"]),
            ("life=s=320x180:r=10:mold=10:ratio=0.2:seed=7", ["-t", "4", "-pix_fmt", "yuv420p"]),
        ]
    ):
        path = folder / f"{number}.mp4"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *options, str(path)]
        subprocess.run(command, check=True, timeout=120)
        sound.append(path)
    photo = folder / "photo.png"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(sound[0]), "-frames:v", "1", str(photo)], check=True, timeout=60
    )
    sound.append(photo)
    whole = sound[0].read_bytes()
    for name, data in {
        "empty.mp4": b"",
        "text.mp4": b"not a video",
        "half.mp4": whole[: len(whole) // 2],
        "list.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "bomb.gif": b"GIF89a"
        + struct.pack("<HHBBB", 10000, 10000, 0x80, 0, 0)
        + bytes(6)
        + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00") * 200
        + b"\x3b",
    }.items():
        hostile.append(folder / name)
        hostile[-1].write_bytes(data)
    flipped = bytearray(whole)
    for at in random.Random(3).sample(range(len(flipped) // 2, len(flipped)), 200):
        flipped[at] ^= 0xFF
    hostile.append(folder / "flipped.mp4")
    hostile[-1].write_bytes(bytes(flipped))
    return sound, hostile


def digest(answer: Any) -> str:
    """An answer without the times that it took."""
    if isinstance(answer, dict):
        answer = {name: value for name, value in answer.items() if name not in ("timings_ms", "kept", "speed")}
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:16]


def ask(visitor: Visitor, kind: str, file: dict[str, Any]) -> str:
    """Ask for one job; returns the event's id."""
    if kind == "similarity":
        return visitor.join("similarity", file, "0,8,8", False, *OPTIONS)
    if kind == "neighbours":
        return visitor.join("neighbours", file, 5, *OPTIONS, "mean")
    return visitor.embed(file)


def listen(visitor: Visitor, served: Served, leave_at: str = "") -> Any:
    """The answer of a job: its output, the sentence that it failed with, or None when the client left."""
    output: Any = None
    for message in visitor.messages():
        text = json.dumps(message, ensure_ascii=False)
        if not served.begun and "Reading the file" in text:
            served.begun = time.monotonic()
        if leave_at and leave_at in text:
            return None
        if message["msg"] == "process_completed":
            served.done = time.monotonic()
            output = message
    return output


def truth(url: str, files: list[Path]) -> dict[tuple[str, str], str]:
    """The answers of single runs, one after the other."""
    right = {}
    for path in files:
        for kind in ("similarity", "neighbours"):
            with Visitor(url, f"truth-{path.stem}-{kind}") as visitor:
                ask(visitor, kind, visitor.upload(path))
                answer = listen(visitor, Served(time.monotonic()))
                assert answer["success"], (path, answer)
                right[kind, path.name] = digest(answer["output"]["data"][0])
    return right


def client(
    url: str, number: int, until: float, sound: list[Path], hostile: list[Path], right: dict, record: Record
) -> None:
    """One visitor after the other, each with a job or two, as long as there is time."""
    dice = random.Random(number)
    visit = 0
    while time.monotonic() < until:
        visit += 1
        fate = dice.random()
        kind = dice.choice(["similarity", "similarity", "neighbours", "page"])
        path = dice.choice(hostile if fate < 0.05 else sound)
        leaves = 0.05 <= fate < 0.10
        try:
            with Visitor(url, f"client-{number}-visit-{visit}") as visitor:
                file = visitor.upload(path)
                served = Served(time.monotonic())
                ask(visitor, "page" if leaves else kind, file)
                answer = listen(visitor, served, "Encoding" if leaves else "")
                served.done = served.done or time.monotonic()
                judge(kind, path, path in hostile, leaves, answer, right, record)
                with record.lock:
                    record.served.append(served)
        except Exception as error:
            with record.lock:
                record.wrong.append(f"{kind} {path.name}: {error!r}"[:300])
        time.sleep(dice.uniform(0, 0.5))


def judge(kind: str, path: Path, bad: bool, leaves: bool, answer: Any, right: dict, record: Record) -> None:
    with record.lock:
        if leaves:
            record.counts["left"] += 1
            return
        text = json.dumps(answer, ensure_ascii=False)
        if "our side" in text:
            record.wrong.append(f"{kind} {path.name}: our side")
        if bad:
            record.counts["hostile"] += 1
            return
        record.counts[kind] += 1
        if kind == "page":
            if "Done." not in text:
                record.wrong.append(f"page {path.name}: {text[:200]}")
        elif not answer or not answer["success"]:
            record.wrong.append(f"{kind} {path.name}: {text[:200]}")
        elif digest(answer["output"]["data"][0]) != right[kind, path.name]:
            record.wrong.append(f"{kind} {path.name}: another answer than a single run's")


def memory_mb(root: int) -> float:
    """Proportional set size of a process and all below it, in MB."""
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        try:
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):
            continue
    return total / 1024


def beyond_their_turn(served: list[Served]) -> float:
    """The most seconds that anybody waited after all jobs before theirs were done; 0 is what is promised.

    A job is before another when it was asked for earlier and not done when the other was asked for. All are done by one
    machine, so what they take is the time that they cover together. Times are those of the clients, who hear of things
    a little later than they happen; a client that leaves does not see its job end.
    """
    worst = 0.0
    for job in served:
        before = [other.done for other in served if other.asked < job.asked < other.done]
        if job.begun:
            worst = max(worst, job.begun - max([job.asked, *before]))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--linger", type=float, default=10, help="minutes until the files that are left are counted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, hostile = make_media(folder)
        scratch = folder / "scratch"
        environment = {"VJEPA_DEMO_SCRATCH_DIR": str(scratch), "VJEPA_DEMO_KEEP_HOURS": str(KEPT_HOURS)}
        environment["VJEPA_DEMO_STORE_BYTES"] = str(STORE_BYTES)
        (folder / "cache").mkdir()
        with running_demo(folder / "cache", **environment) as url:
            right = truth(url, sound)
            before = files_below(scratch)
            record = Record()
            started = time.monotonic()
            until = started + options.minutes * 60
            threads = [
                threading.Thread(target=client, args=(url, number, until, sound, hostile, right, record))
                for number in range(options.clients)
            ]
            for thread in threads:
                thread.start()
            server = int(subprocess.run(["pgrep", "-nf", "app.py"], capture_output=True, text=True).stdout)
            memory: list[tuple[float, float]] = []
            while any(thread.is_alive() for thread in threads):
                memory.append((time.monotonic() - started, memory_mb(server)))
                time.sleep(5)
            settled = next((mb for seconds, mb in memory if seconds >= min(SETTLED_S, options.minutes * 12)), 0.0)
            end = sorted(mb for _, mb in memory[-6:])[len(memory[-6:]) // 2]
            log = (folder / "cache" / "app.log").read_text(errors="replace")
            print(json.dumps({"partly": record.counts, "wrong": record.wrong[:20]}), file=sys.stderr, flush=True)
            time.sleep(options.linger * 60)
            left = sorted(files_below(scratch) - before)
        print(
            json.dumps(
                {
                    "minutes": options.minutes,
                    "clients": options.clients,
                    "counts": record.counts,
                    "wrong": len(record.wrong),
                    "examples": record.wrong[:10],
                    "waited_beyond_the_jobs_before_s": round(beyond_their_turn(record.served), 2),
                    "longest_wait_s": round(max((s.begun - s.asked for s in record.served if s.begun), default=0), 1),
                    "memory_settled_mb": round(settled),
                    "memory_end_mb": round(end),
                    "memory_ratio": round(end / settled, 3) if settled else None,
                    "files_left": [str(Path(path).name) for path in left][:20],
                    "tracebacks_in_the_log": log.count("Traceback (most recent call last)"),
                    "left_after_the_end": sorted(str(Path(path).name) for path in files_below(scratch)),
                },
                indent=1,
            )
        )


def files_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()


if __name__ == "__main__":
    main()
