"""`references build --engine daft` and `references export`: jobs of many clips, and tables that other tools open."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_demo.errors import RequestError

if TYPE_CHECKING:
    from vjepa_demo.cli.references import Shell

EXTRA = "What jobs and tables need is not installed: pip install -r requirements-scale.txt."
MOST_FAILURES = 50  # that are named; all are in the table
PLAN = ("ray", "concurrency", "batch", "readers", "gpus")
ENGINE_ONLY = (*PLAN, "window", "stride", "retry")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of a job."""
    group = parser.add_argument_group(
        "with --engine daft: SOURCE may also be a pattern, s3://…, a CSV or a Parquet file"
    )
    group.add_argument("--engine", choices=("plain", "daft"), default="plain", help="daft: DIR is a Lance table")
    group.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster (local: one on this machine)")
    group.add_argument("--concurrency", type=int, metavar="N", help="workers, each with a model (default: 1)")
    group.add_argument("--batch", type=int, metavar="N", help="files that a worker takes at a time (default: 8)")
    group.add_argument("--readers", type=int, metavar="N", help="files that a worker reads at a time (default: 1)")
    group.add_argument("--gpus", type=float, metavar="N", help="graphics cards of a worker (default: 1 where one is)")
    group.add_argument("--window", type=float, metavar="S", help="cut videos into windows of so many seconds")
    group.add_argument("--stride", type=float, metavar="S", help="from one window to the next (default: half a window)")
    group.add_argument("--retry", action="store_true", default=None, help="try again what could not be embedded")


def check_plain(given: argparse.Namespace) -> None:
    """Raises RequestError where an option of a job is given without an engine."""
    if told := [name for name in ENGINE_ONLY if getattr(given, name) is not None]:
        raise RequestError(f"--{told[0]} needs --engine daft: add that, or leave --{told[0]} out.")


def require(*packages: str) -> None:
    """Raises RequestError where one of the extra's packages is not here."""
    if any(find_spec(package) is None for package in packages):
        raise RequestError(EXTRA)


def run_job(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.scale import job, sources, work

    require("daft", "lance", *(["ray"] if given.ray else []))
    if given.start or given.end is not None:
        raise RequestError("Clips are embedded whole: leave --start and --end out, or list spans in a table.")
    if given.stride is not None and given.window is None:
        raise RequestError("--stride is from one window to the next: give --window too.")
    options = shell.options_of(given)
    chosen = {name: getattr(given, name) for name in PLAN if getattr(given, name) is not None}
    for name in ("concurrency", "batch", "readers"):
        if chosen.get(name, 1) < 1:
            raise RequestError(f"--{name} must be 1 or more, not {chosen[name]}.")
    plan = job.Plan(**{"gpus": job.has_gpu(), **chosen})
    windows = given.window and work.Windows(given.window, given.stride or given.window / 2)
    began = time.monotonic()
    items = sources.items(given.source)
    table, added = job.run(
        items,
        given.out,
        options,
        plan,
        windows,
        retry=bool(given.retry),
        progress=lambda done, total: shell.say(f"Embedding files: {done} of {total}"),
    )
    if added:
        shell.say("Laying out the map")
        table.lay_out()
    failures, counts = table.failures(MOST_FAILURES), table.counts()
    for row in failures:
        shell.say(f"left out {row['uri']!r}: {row['error']}")
    seconds = round(time.monotonic() - began, 1)
    summary = {"out": given.out, "files": len(items), "added": added, **counts, "seconds": seconds, "failed": failures}
    words = f"{counts['clips']} clips of {len(items)} files, {added} files done now, {counts['failures']} left out"
    shell.tell(given, summary, words)
    return 0


def run_export(shell: Shell, given: argparse.Namespace) -> int:
    require("pyarrow", *(["lance"] if given.to.endswith(".lance") else []))
    from vjepa_demo.cli.references import embedder_of
    from vjepa_demo.references.preparing import prepare
    from vjepa_demo.scale import tables

    table: Any
    if (Path(given.folder) / "_versions").is_dir() or "://" in given.folder:
        table = tables.of_job(given.folder)
    else:
        table = tables.of_set(prepare(given.folder, embedder_of(shell, given), given.pooling))
    summary = {"to": given.to, "clips": len(table), "columns": tables.write(table, given.to)}
    shell.tell(given, summary, f"{len(table)} clips in {given.to}")
    return 0
