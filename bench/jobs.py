"""A job of many clips: the same vectors as a plain loop makes, whatever is killed in the middle, and what it costs.

python bench/jobs.py --clips 300      # the shipped references in windows of 1 s
python bench/jobs.py                  # 60 of them

The plain loop opens an embedder, reads clip after clip, and embeds each. Beside it stand Daft in one process, the same
killed after a third and started again, and Ray with two workers, one of which is killed. Each way runs in a process of
its own; `whole` are its seconds from first to last, `clips` those without what is imported and started before the
first clip. Told is the greatest difference of any number of a vector from the plain loop's.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.options import Cut, Options
from vjepa_demo.references.preparing import SHIPPED

CUT = Cut(1.0, 0.5)
OPTIONS = Options("nano", frames=16, precision="fp32")
LEAST, MOST_DIFFERENCE = 0.9, 1e-5  # of the plain loop's clips a second; of a vector's numbers
RAY = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 10**8}


def listed(folder: Path) -> list[Any]:
    """The files of a folder, as a job is given them."""
    from vjepa_demo.scale import sources

    return sources.items(str(folder))


def plainly(folder: Path, out: Path) -> dict[str, float]:
    """One clip after the other, without anything of a job."""
    from vjepa_demo import Embedder

    items, embedder = listed(folder), Embedder.open(OPTIONS)
    began, vectors = time.monotonic(), {}
    for item in items:
        duration = embedder.read(item.uri).source.duration
        for start, end in CUT.spans(0.0, duration):
            own = replace(embedder, sampling=replace(embedder.sampling, start=start, end=end))
            vectors[f"{Path(item.uri).name} {start:g}"] = own.embed(item.uri).pooled()
    took = time.monotonic() - began
    np.savez(out, **vectors)
    return {"clips": took}


def as_job(folder: Path, out: Path, ray: bool) -> dict[str, float]:
    """By the engine. Its clips count from the end of the first batch, when all is imported and started, and what that
    batch took is put at what the others took."""
    from vjepa_demo.scale import job

    job.ADD_ROWS = 8
    if ray:
        import ray as cluster

        cluster.init(**RAY)
    marks: list[tuple[float, int]] = []

    def told(done: int, total: int) -> None:
        marks.append((time.monotonic(), done))
        print(done, total, flush=True)

    items = listed(folder)
    plan = job.Plan(ray="local", concurrency=2, batch=2) if ray else job.Plan()
    job.run(items, str(out), OPTIONS, plan, CUT, progress=told)
    # A worker hands over the files of a batch together, which come into the table in several steps at once.
    last_of_batch = [one for one, other in itertools.pairwise(marks[1:]) if other[0] - one[0] > 0.3]
    after = [*last_of_batch, marks[-1]]
    if len(after) < 2:  # too few to tell
        return {"clips": math.nan}
    share = (after[-1][1] - marks[0][1]) / (after[-1][1] - after[0][1])
    return {"clips": (after[-1][0] - after[0][0]) * share}


def begin(way: str, folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--way", way, str(folder), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended with {process.returncode}")
    return json.loads(said.strip().splitlines()[-1])


def until(process: subprocess.Popen[str], share: float) -> None:
    """Wait until such a share of the items is done."""
    assert process.stdout
    for line in process.stdout:
        done, total = map(int, line.split())
        if done >= share * total:
            return


def rays_workers() -> list[int]:
    """The processes of Ray that hold a model."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::UDFActor"):
                found.append(int(path.parent.name))
    return found


def vectors_of_table(out: Path) -> dict[str, list[np.ndarray]]:
    """All vectors of each clip: more than one would be one too many."""
    import lance

    found: dict[str, list[np.ndarray]] = {}
    for row in lance.dataset(str(out)).to_table().to_pylist():
        assert row["error"] is None, row["error"]
        found.setdefault(f"{Path(row['uri']).name} {row['start']:g}", []).append(np.array(row["vector"], np.float32))
    return found


def gather(folder: Path, clips: int) -> None:
    """Links to as many of the shipped references as have so many windows, one of each label in turn."""
    from vjepa_demo.media.worker import read_clip
    from vjepa_demo.options import Sampling

    files = sorted(SHIPPED.glob("*.mp4"), key=lambda path: (path.stem.rpartition("_")[2].zfill(4), path.stem))
    made = 0
    for path in files:
        if made >= clips:
            return
        (folder / path.name).symlink_to(path)
        made += len([*CUT.spans(0.0, read_clip(path, Sampling(2)).source.duration)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--way", nargs=3, metavar=("WAY", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        way, folder, out = given.way[0], Path(given.way[1]), Path(given.way[2])
        print(json.dumps(plainly(folder, out) if way == "plain" else as_job(folder, out, way == "ray")))
        return 0
    try:
        import daft  # noqa: F401
        import lance  # noqa: F401
        import ray  # noqa: F401
    except ImportError:
        print("jobs: left out, the extra is not here (make scale)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        return compare(Path(name), given.clips)


@dataclass(frozen=True)
class Took:
    """What one way took: all of it, and its clips alone, in seconds; `out` is the table that it made, and a way that
    was `disturbed` is not held to a speed."""

    name: str
    whole: float
    clips: float
    out: Path | None = None
    disturbed: bool = False


def run(name: str, way: str, folder: Path, out: Path, kill: str = "") -> Took:
    """One way, from first to last; killed after a third of the files: all of it ("job"), or a worker of it."""
    began, process = time.monotonic(), begin(way, folder, out)
    if kill:
        until(process, 1 / 3)
        os.kill(process.pid if kill == "job" else rays_workers()[0], signal.SIGKILL)
    if kill == "job":
        process.wait()
        print(f"killed with {len(vectors_of_table(out))} clips in the table", flush=True)
        process = begin(way, folder, out)
    clips = finish(process)["clips"]
    return Took(name, time.monotonic() - began, clips, None if way == "plain" else out, bool(kill))


def compare(work: Path, clips: int) -> int:
    """All ways, told in a table. Returns 1 where one of them misses what it must not."""
    folder = work / "clips"
    folder.mkdir()
    gather(folder, clips)
    plain = work / "plain.npz"
    ways = [
        run("plain loop", "plain", folder, plain),
        run("Daft", "daft", folder, work / "daft.lance"),
        run("plain loop, again", "plain", folder, plain),
        run("Daft, killed and begun again", "daft", folder, work / "killed.lance", "job"),
        run("Ray, a worker killed", "ray", folder, work / "ray.lance", "worker"),
    ]
    true = dict(np.load(plain))
    usual = statistics.mean(way.clips for way in ways if way.out is None)
    missed = False
    print(f"\n{len(true)} clips of {len([*folder.iterdir()])} files, nano, 16 frames, fp32\n")
    rows = [["way", "whole", "clips", "clips a second", "of the plain loop", "greatest difference"]]
    for way in ways:
        ratio, difference = usual / way.clips, ""
        if way.out:
            found = vectors_of_table(way.out)
            if found.keys() == true.keys() and all(len(vectors) == 1 for vectors in found.values()):
                apart = max(float(np.abs(vectors[0] - true[clip]).max()) for clip, vectors in found.items())
                difference, wrong = f"{apart:.1e}", apart > MOST_DIFFERENCE
            else:
                difference, wrong = "not all of them, or some twice", True
            missed |= wrong or (not way.disturbed and ratio < LEAST)
        speed = ["", ""] if way.disturbed else [f"{len(true) / way.clips:.2f}", f"{ratio:.2f}"]
        rows.append([way.name, f"{way.whole:.0f} s", f"{way.clips:.0f} s", *speed, difference])
    print("\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
