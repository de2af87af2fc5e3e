"""Jobs on an engine: the vectors of the plain way, whoever computes them and whatever is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo.errors import ReferencesError
from vjepa_demo.options import Cut, Options
from vjepa_demo.scale import job, sources
from vjepa_demo.scale.job import Plan
from vjepa_demo.scale.tables import Table, vectors_of
from vjepa_demo.scale.work import Worker

pytest.importorskip("daft", reason="the extra for jobs is not installed: make scale")
lance = pytest.importorskip("lance")

ROOT = Path(__file__).parents[3]
OPTIONS = Options("nano", frames=4, precision="fp32")
CUT = Cut(0.5, 0.25)
JOB = """
import sys
from vjepa_demo.scale import job
job.ADD_ROWS = 1
from vjepa_demo.options import Cut, Options
from vjepa_demo.scale import sources
source, out, on_ray = sys.argv[1:]
if on_ray:  # what starts soonest
    import ray
    for _ in range(3):
        try:
            ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8)
            break
        except Exception:  # its node has to be there within 30 s
            ray.shutdown()
    else:
        sys.exit("Ray does not start")
job.run(
    sources.items(source), out, Options("nano", frames=4, precision="fp32"),
    job.Plan(ray=on_ray or None, concurrency=2 if on_ray else 1, batch=1), Cut(0.5, 0.25),
    progress=lambda done, total: print(done, total, flush=True),
)
"""


@pytest.fixture(scope="module")
def folder(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips with two labels, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(6):
        made = make_video(name=f"{number}.mp4", size="64x64", frames=20 + number)
        target = folder / f"label{number % 2}" / made.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(made.read_bytes())
    (folder / "label0" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 100)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, np.ndarray]:
    """The vectors without an engine, by clip."""
    rows = [row for rows in Worker(OPTIONS, CUT).rows(sources.items(str(folder))) for row in rows]
    assert len(rows) > 12
    return {row["clip_id"]: row["vector"] for row in rows if "vector" in row}


def assert_whole(out: Path, plain: dict[str, np.ndarray]) -> None:
    """Everything is in the table, once, as it is without an engine."""
    table = lance.dataset(str(out)).to_table()
    good = table.filter(table["error"].is_null())
    assert len(table) == len(good) + 1
    assert sorted(good["clip_id"].to_pylist()) == sorted(plain)
    for clip_id, vector in zip(good["clip_id"].to_pylist(), vectors_of(good), strict=True):
        np.testing.assert_allclose(vector, plain[clip_id], atol=1e-5)


def begin(folder: Path, out: Path, ray: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), str(out), ray],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until_added(process: subprocess.Popen[str]) -> None:
    """Wait until something is in the table."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.fullmatch(r"[1-9]\d* 7\n", line):
            return
    if lines and lines[-1] == "Ray does not start\n":
        pytest.skip("Ray gives its node 30 s to start, three times over: this machine is too busy for that")
    raise AssertionError("".join(lines))


def rays_workers() -> dict[int, str]:
    """The processes of Ray in which a job's workers are, by what they call themselves."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            name = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if name.startswith("ray::UDFActor"):
                found[int(path.parent.name)] = name
    return found


def test_the_native_runner_makes_what_the_plain_way_makes(folder: Path, plain: dict, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    items = sources.items(str(folder))
    table, added = job.run(
        items, str(tmp_path / "t.lance"), OPTIONS, Plan(batch=2), CUT, progress=lambda *n: told.append(n)
    )
    assert added == 7
    assert told[-1] == (7, 7)
    assert_whole(tmp_path / "t.lance", plain)
    (failed,) = table.failures(5)
    assert failed["uri"].endswith("broken.mp4")
    assert failed["error"].endswith(".")
    assert job.run(items, table.uri, OPTIONS, Plan(), CUT)[1] == 0
    with pytest.raises(ReferencesError, match="even-4"):
        job.run(items, table.uri, Options("nano", frames=8, precision="fp32"), Plan(), CUT)


def test_of_two_jobs_for_one_table_the_second_finds_all_done(
    folder: Path, plain: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see an empty table when they begin, and each embeds in a worker of its own."""
    both, added = threading.Barrier(2), []

    class Engine(job._Engine):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            both.wait(60)

    monkeypatch.setattr(job, "_Engine", Engine)
    items, out = sources.items(str(folder)), str(tmp_path / "out.lance")
    jobs = [threading.Thread(target=lambda: added.append(job.run(items, out, OPTIONS, Plan(), CUT)[1])) for _ in "ab"]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(120)
    assert sorted(added) == [0, len(items)]
    assert_whole(Path(out), plain)


def test_a_file_that_has_changed_takes_the_place_of_what_it_was(folder: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clips" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes((folder / "label0" / "0.mp4").read_bytes())
    table, _ = job.run(sources.items(str(clip.parent)), str(tmp_path / "t.lance"), OPTIONS, cut=CUT)
    before = table.counts()["clips"]
    clip.write_bytes((folder / "label1" / "5.mp4").read_bytes())
    _, added = job.run(sources.items(str(clip.parent)), table.uri, OPTIONS)
    assert added == 1
    assert table.counts()["clips"] == 1 < before


def test_what_failed_is_tried_again_when_asked(folder: Path, tmp_path: Path) -> None:
    listed, clip = tmp_path / "clips.csv", tmp_path / "late.mp4"
    listed.write_text(f"path,label\n{clip},late\n")
    items = sources.items(str(listed))
    table, _ = job.run(items, str(tmp_path / "t.lance"), OPTIONS)
    assert table.counts() == {"clips": 0, "failures": 1}
    assert job.run(items, table.uri, OPTIONS)[1] == 0
    clip.write_bytes((folder / "label0" / "0.mp4").read_bytes())
    assert job.run(items, table.uri, OPTIONS, retry=True)[1] == 1
    assert table.counts() == {"clips": 1, "failures": 0}


def test_a_job_that_is_killed_goes_on_where_it_stopped(folder: Path, plain: dict, tmp_path: Path) -> None:
    out = tmp_path / "t.lance"
    process = begin(folder, out)
    until_added(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = Table(out).counts()["clips"]
    assert 0 < kept < len(plain)
    job.run(sources.items(str(folder)), str(out), OPTIONS, Plan(), CUT)
    assert_whole(out, plain)


def test_on_ray_a_worker_that_is_killed_is_no_loss(folder: Path, plain: dict, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "t.lance"
    process = begin(folder, out, "local")
    until_added(process)
    workers = rays_workers()
    assert workers
    os.kill(next(iter(workers)), signal.SIGKILL)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert_whole(out, plain)
