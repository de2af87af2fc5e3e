"""Jobs of many clips, tables that other tools open, and what can be asked of such a table."""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vjepa_demo.errors import RequestError
from vjepa_demo.options import Cut, Options
from vjepa_demo.settings import is_table

if TYPE_CHECKING:
    from vjepa_demo.cli.references import Shell
    from vjepa_demo.embedding import Kind
    from vjepa_demo.scale.large import LargeSet, SmallSet

EXTRA = "What jobs and tables need is not installed: pip install -r requirements-scale.txt."
MOST_FAILURES = 50  # that are named; all are in the table
PLAN = ("ray", "concurrency", "batch", "readers", "gpus")
ENGINE_ONLY = (*PLAN, "window", "stride", "retry")
SHOWN = 20  # rows of what may be long
MOST_TEXT = 300  # characters of a name in a line
SAMPLE = 500  # clips of a large table that are looked up when it is evaluated


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
    from vjepa_demo.scale import job, large, sources

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
    cut = None
    if given.window is not None:
        cut = Cut(given.window, given.window / 2 if given.stride is None else given.stride)
    began = time.monotonic()
    items = sources.items(given.source)
    table, added = job.run(
        items,
        given.out,
        options,
        plan,
        cut,
        retry=bool(given.retry),
        progress=lambda done, total: shell.say(f"Embedding files: {done} of {total}"),
    )
    large.settle(given.out, shell.say)
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
    from vjepa_demo.cli import writable, writing
    from vjepa_demo.cli.references import embedder_of
    from vjepa_demo.references.preparing import prepare
    from vjepa_demo.scale import tables

    if "://" not in given.to and not given.to.endswith(".lance"):
        writable(given.to, ".parquet", ".lance")
    table: Any
    if is_table(given.folder):
        table = tables.of_job(given.folder)
    else:
        table = tables.of_set(prepare(given.folder, embedder_of(shell, given), given.pooling))
    with writing():
        columns = tables.write(table, given.to)
    summary = {"to": given.to, "clips": len(table), "columns": columns}
    shell.tell(given, summary, f"{len(table)} clips in {given.to}")
    return 0


# --- a table of clips ------------------------------------------------------------------------------------------------


def opened(source: str, *, comparing: bool = True) -> SmallSet | LargeSet:
    """A table of clips as a set of references: the one place where it becomes one.

    Args:
        comparing: whether clips are to be compared with it.

    Raises:
        UserError: it is none, has no index and needs one, or nobody knows how its vectors were made.
    """
    require("lance", "pyarrow")
    from vjepa_demo.scale import large

    found = large.opened(source)
    if comparing and found.kind == large.UNKNOWN:
        raise RequestError(large.NOBODY_KNOWS)
    return found


def like(kind: Kind, options: Options) -> Options:
    """The options that embed a clip as a table's were; what was asked for otherwise stays, and will not be compared."""
    made = kind.fingerprint.options
    asked = {field.name: value for field in fields(Options) if (value := getattr(options, field.name)) != field.default}
    return replace(made, **asked)


def described(table: SmallSet | LargeSet) -> dict[str, Any]:
    """What is to be known of a table whenever something is told of it."""
    from vjepa_demo.scale.large import UNKNOWN, LargeSet

    large = table if isinstance(table, LargeSet) else None
    return {
        "clips": len(table),
        "fingerprint": None if table.kind == UNKNOWN else table.kind.fields,
        "exact": large is None,
        "recall": round(large.facts.recall, 4) if large else 1.0,
        "not_indexed": large.added if large else 0,
        "stale": large.stale if large else False,
    }


def notes(table: SmallSet | LargeSet) -> list[str]:
    """The same for a person, where it is to be said at all."""
    unknown = described(table)["fingerprint"] is None
    return [*(["Nobody knows how the vectors of this table were made."] if unknown else []), *table.remarks]


def add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample",
        type=int,
        default=SAMPLE,
        metavar="N",
        help="clips of a large table that are looked up (%(default)s)",
    )


def add_actions(actions: Any, shell: Shell) -> None:
    """What is done to tables of clips, and what they are asked."""
    read = actions.add_parser("import", help="a table of vectors made elsewhere, or exported from here, as a set")
    read.add_argument("file", metavar="FILE", help="a .parquet file or a .lance table with a column of vectors")
    read.add_argument("--out", required=True, metavar="TABLE", help="the Lance table to make, set.lance")
    read.add_argument("--vector", metavar="NAME", help="the column of vectors (default: the only one)")
    shell.add_options(read, but=["hdr", "start", "end"])
    read.set_defaults(checkpoint=None, run=partial(run_import, shell))

    def asked(name: str, run: Callable[[Shell, argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=words)
        parser.add_argument("table", metavar="TABLE", help="a Lance table of clips")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.set_defaults(run=partial(run, shell))
        return parser

    asked("index", run_index, "prepare a table of clips for search, again after clips were added")
    twins = asked("duplicates", run_duplicates, "pairs of clips that are almost the same")
    twins.add_argument("--above", type=float, default=0.98, metavar="COSINE", help="how alike (default: %(default)s)")
    strays = asked("odd", run_odd, "clips that are far from all others")
    groups = asked("cluster", run_cluster, "clusters, each named by its most central clip")
    groups.add_argument("--clusters", type=int, metavar="N", help="so many, by k-means (default: what HDBSCAN finds)")
    for parser in (twins, strays, groups):
        parser.add_argument("--to", metavar="F.csv", help="where to write all of them")


def run_index(shell: Shell, given: argparse.Namespace) -> int:
    require("lance", "pyarrow")
    from vjepa_demo.scale import large

    began = time.monotonic()
    large.settle(given.table, shell.say)
    table = opened(given.table, comparing=False)
    told = {
        **described(table),
        "far_threshold": round(table.far_threshold, 6),
        "seconds": round(time.monotonic() - began, 1),
    }
    shell.tell(given, told, "\n".join([f"{len(table):,} clips can be searched.", *notes(table)]))
    return 0


def run_import(shell: Shell, given: argparse.Namespace) -> int:
    require("lance", "pyarrow")
    from vjepa_demo.scale import importing, large

    options = shell.options_of(given) if given.checkpoint else None
    if options is None and shell.options_of(given) != replace(Options(), checkpoint=None):  # type: ignore[arg-type]
        raise RequestError("How vectors were made begins with the checkpoint: name it with --checkpoint.")
    read = importing.read_in(given.file, given.out, vector=given.vector, options=options)
    large.settle(given.out, shell.say)
    table = opened(given.out, comparing=False)
    lines = [f"{len(table):,} clips in the table; the vectors are those of `{read.vector}`."]
    if options and not read.proven:
        lines.append("That they were made so could not be proven: the files of its first clips are not here.")
    told = {"out": given.out, **described(table), **read._asdict()}
    shell.tell(given, told, "\n".join([*lines, *notes(table)]))
    return 0


def run_duplicates(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.scale import within

    table, write = _asked(given)
    import numpy as np

    pairs, cosines = within.duplicates(table, given.above)
    columns = ["cosine", *(f"{name}_{which}" for which in "ab" for name in within.COLUMNS)]
    numbers, where = np.unique(pairs, return_inverse=True)
    rows, where = within.rows(table, numbers), where.reshape(pairs.shape)

    def row(pair: int) -> dict[str, Any]:
        a, b = (rows[number] for number in where[pair])
        return dict(zip(columns, [round(float(cosines[pair]), 6), *a.values(), *b.values()], strict=True))

    write(columns, map(row, range(len(pairs))))
    shown = [row(pair) for pair in range(min(SHOWN, len(pairs)))]
    lines = [f"{each['cosine']:.4f}  {plain(each['clip_a'])}  {plain(each['clip_b'])}" for each in shown]
    told = {**described(table), "above": given.above, "pairs": len(pairs), "first": shown, "to": given.to}
    shell.tell(given, told, "\n".join([f"{len(pairs):,} pairs of {len(table):,} clips", *lines, *notes(table)]))
    return 0


def run_odd(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.scale import within

    table, write = _asked(given)
    numbers, cosines = within.odd(table)
    rows = [{"cosine": round(float(c), 6), **row} for c, row in zip(cosines, within.rows(table, numbers), strict=True)]
    write(["cosine", *within.COLUMNS], rows)
    lines = [f"{row['cosine']:.4f}  {plain(row['label'])}  {plain(row['clip'])}" for row in rows[:SHOWN]]
    words = f"{len(rows):,} of {len(table):,} clips are less than {table.far_threshold:.4f} like any other"
    told = {**described(table), "far_threshold": round(table.far_threshold, 6), "odd": len(rows), "first": rows[:SHOWN]}
    shell.tell(given, {**told, "to": given.to}, "\n".join([words, *lines, *notes(table)]))
    return 0


def run_cluster(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.scale import within

    table, write = _asked(given)
    found, clusters = within.clusters(table, given.clusters)
    middles = within.rows(table, [cluster.central for cluster in clusters])
    told = [
        {
            "cluster": number,
            "clips": cluster.clips,
            "central": middle["clip"],
            "cosine": round(cluster.cosine, 4),
            "label": cluster.label,
            "share": round(cluster.share, 4),
        }
        for number, (cluster, middle) in enumerate(zip(clusters, middles, strict=True))
    ]
    every = within.all_rows(table)
    write(["cluster", *within.COLUMNS], ({"cluster": int(c), **row} for c, row in zip(found, every, strict=True)))
    loose = int((found < 0).sum())
    lines = [
        f"{c['cluster']:4}  {c['clips']:8,} clips  {plain(c['central'])}  ({plain(c['label'])} {c['share']:.0%})"
        for c in told
    ]
    words = f"{len(told)} clusters of {len(table):,} clips, {loose:,} in none"
    summary = {**described(table), "clusters": told, "in_none": loose, "to": given.to}
    shell.tell(given, summary, "\n".join([words, *lines[:SHOWN], *notes(table)]))
    return 0


def run_evaluate(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.cli.references import evaluated_in_words
    from vjepa_demo.scale import within

    if given.pooling != "mean":
        raise RequestError("Tables are compared by the mean of the tokens: leave --pooling out.")
    table = opened(given.folder, comparing=False)
    measured = within.evaluated(table, given.sample)
    told = {**measured, **described(table)}
    shell.tell(given, told, "\n".join([*evaluated_in_words(measured), *notes(table)]))
    return 0


def _defused(value: Any) -> Any:
    """A text as a spreadsheet may open it: what it would compute begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = "".join(character for character in value if character.isprintable())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def plain(text: Any) -> str:
    """Somebody else's text for a terminal: in one line that is not too long."""
    short = str(text) if len(str(text)) <= MOST_TEXT else f"{str(text)[:MOST_TEXT]}…"
    return "".join(character if character.isprintable() else "·" for character in short)


def _asked(given: argparse.Namespace) -> tuple[SmallSet | LargeSet, Callable[[Sequence[str], Iterable[Any]], None]]:
    """The table, and what writes rows to the file that is wanted."""
    from vjepa_demo.cli import writable, writing

    path = writable(given.to, ".csv")

    def write(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
        if path:
            with writing(), path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows({name: _defused(value) for name, value in row.items()} for row in rows)

    return opened(given.table, comparing=False), write
