"""Kill `references build` at random moments, again and again, and see that it loses and believes nothing.

    python tests/kill_build.py --times 20

Clips are made with ffmpeg; the set is built into a folder in which its owner has clips of their own. After each SIGKILL
the source and the owner's files must be what they were, and every vector that is there bit by bit that of an unbroken
run; in the end the set must be the one that an unbroken run makes. Whenever a set
is finished, another folder is begun.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from conftest import ffmpeg, save_checkpoint
from safetensors import safe_open

from vjepa_demo.references.listing import CSV_NAME, STORED, read_folder
from vjepa_demo.references.store import Parts

ROOT = Path(__file__).resolve().parents[1]
CLIPS = 30


class Bench:
    """The source, the owner's folder, and how a build is run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source, self.owners = folder, folder / "source", folder / "owners"
        self.checkpoint = save_checkpoint(folder / "checkpoint")
        for number in range(CLIPS):
            target = self.source / "ab"[number % 2] / f"{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            ffmpeg("-f", "lavfi", "-i", f"testsrc=s=64x64:r=8:d=2,hue=h={12 * number}", "-pix_fmt", "yuv420p", target)
        self.owners.mkdir()
        for number in range(2):
            shutil.copy(self.source / "ab"[number] / f"{number}.mp4", self.owners / f"mine {number}.mp4")
        # Of the same name as one of the source's, with other content.
        (self.owners / "a").mkdir()
        shutil.copy(self.source / "b" / "1.mp4", self.owners / "a" / "0.mp4")
        rows = ["mine 0.mp4,x,1", "mine 1.mp4,x,2", "a/0.mp4,y,3", "away.mp4,y,4"]
        (self.owners / CSV_NAME).write_text("\n".join(["file,label,shelf", *rows, ""]))

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        options = ["--checkpoint", str(self.checkpoint), "--precision", "fp32", "--json"]
        command = [sys.executable, "-m", "vjepa_demo", "references", "build", str(self.source), "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VJEPA_DEMO_CACHE_DIR": str(self.folder / "cache")}
        silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*command, *options], cwd=ROOT, env=environment, **silence)

    def new_out(self, number: int) -> Path:
        return Path(shutil.copytree(self.owners, self.folder / f"out{number}"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def vectors_of(out: Path) -> dict[str, bytes]:
    """What a next run would believe, by SHA-256 of the clip."""
    found = {}
    for path in (out / STORED).glob("*.parts"):
        found.update({sha: row.tobytes() for sha, row in Parts(path.with_suffix(".safetensors")).read().items()})
    for path in (out / STORED).glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            hashes = json.loads(file.metadata()["sha256"])
            rows = np.asarray(file.get_tensor("vectors"))
        found.update({sha: row.tobytes() for sha, row in zip(hashes, rows, strict=True)})
    return found


def wait_for_parts(build: subprocess.Popen[bytes], out: Path, count: int) -> None:
    """Until so many vectors of an unfinished run are there, or the run has ended."""
    end = time.monotonic() + 120
    while build.poll() is None and len(list(out.glob(f"{STORED}/*.parts/*.npy"))) < count:
        assert time.monotonic() < end, "it does not go on"
        time.sleep(0.01)


def check(bench: Bench, out: Path, source: dict[str, bytes], owners: dict[str, bytes], right: dict[str, bytes]) -> int:
    """Raises AssertionError where something is lost or wrong; the number of vectors that are there."""
    assert files_of(bench.source) == source, "the source has changed"
    for name, data in owners.items():
        if name != CSV_NAME:
            assert (out / name).read_bytes() == data, f"{name} has changed"
    rows, old = (out / CSV_NAME).read_text(), owners[CSV_NAME].decode()
    assert rows.startswith(old), "rows of the owner are lost"
    assert rows == old or (out / f"{CSV_NAME}~").read_text() == old, "the backup is another"
    found = vectors_of(out)
    assert all(right[sha] == row for sha, row in found.items()), "a wrong vector is believed"
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        source, owners = files_of(bench.source), files_of(bench.owners)
        whole, started = bench.new_out(0), time.monotonic()
        assert bench.start(whole).wait(300) == 0, "the unbroken run fails"
        seconds = time.monotonic() - started
        right, rows = vectors_of(whole), read_folder(whole)
        print(f"unbroken: {seconds:.1f} s, {len(rows)} rows, {len(right)} vectors", flush=True)

        killed, finished, number, done = 0, 0, 1, []
        out = bench.new_out(number)
        while killed < options.times:
            build = bench.start(out)
            if killed % 4 < 3:  # while it embeds, or a little later
                have = done[-1] if done and done[-1] < CLIPS else 0
                wait_for_parts(build, out, min(have + chance.randint(1, 10), CLIPS))
                wait = chance.uniform(0, 0.05)
            else:  # whenever: also while it starts, or lays out the map
                wait = chance.uniform(0, 1) * seconds
            try:
                build.wait(wait)
            except subprocess.TimeoutExpired:
                build.send_signal(signal.SIGKILL)
                build.wait(10)
                killed += 1
            else:
                assert build.returncode == 0, "a run after a kill fails"
            done.append(check(bench, out, source, owners, right))
            if build.returncode == 0 or (done[-1] == CLIPS and killed % 4 == 0):
                assert build.returncode == 0 or bench.start(out).wait(300) == 0, "a run after a kill fails"
                check(bench, out, source, owners, right)
                finished += 1
                same(out, whole, rows)
                number += 1
                out = bench.new_out(number)
        assert bench.start(out).wait(300) == 0, "the last run fails"
        check(bench, out, source, owners, right)
        same(out, whole, rows)
        left = [path.name for path in out.rglob("*") if path.name.endswith((".lock", ".parts"))]
        assert not left, f"left behind: {left}"
        print(f"killed {killed} times, {finished + 1} sets finished and equal to the unbroken one")
        print(f"vectors there after each: {done}")


def same(out: Path, whole: Path, rows: list) -> None:
    assert read_folder(out) == rows, "the list is not that of an unbroken run"
    assert vectors_of(out) == vectors_of(whole)
    for path in (whole / STORED).glob("*.safetensors"):
        with safe_open(path, "numpy") as a, safe_open(out / STORED / path.name, "numpy") as b:
            assert a.metadata() == b.metadata(), "hashes, places or checksums differ"


if __name__ == "__main__":
    main()
