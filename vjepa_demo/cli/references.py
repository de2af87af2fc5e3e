"""`python -m vjepa_demo references build`, `export`, `import`, `evaluate` and so on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_demo.cli import scale
from vjepa_demo.errors import ReferencesError, RequestError
from vjepa_demo.options import Options, page_fit
from vjepa_demo.settings import is_table, settings

if TYPE_CHECKING:
    from vjepa_demo.embedder import Embedder


@dataclass(frozen=True)
class Shell:
    """What this command shares with the others.

    Attributes:
        add_options: adds the options that say how a file is embedded to a parser.
        add_pooling: adds the option that says how clips are compared.
        options_of: arguments -> `Options`.
        say: prints a message for a person.
        tell: (arguments, object, words) prints the result, as JSON or in words.
    """

    add_options: Callable[..., None]
    add_pooling: Callable[[Any], None]
    options_of: Callable[[argparse.Namespace], Options]
    say: Callable[[str], None]
    tell: Callable[[argparse.Namespace, dict[str, Any], str], None]


def add_parser(commands: Any, shell: Shell) -> None:
    """Add the command `references` to the parser's commands."""
    references = commands.add_parser("references", help="sets of reference clips: make one, measure one")
    actions = references.add_subparsers(dest="action", required=True, metavar="ACTION")

    make = actions.add_parser("build", help="embed a folder, or a dataset of videos on the Hub, into a set")
    make.add_argument(
        "source", metavar="SOURCE", help="a folder (sub-folders are labels, or clips.csv), or hf://datasets/…"
    )
    make.add_argument("--out", required=True, metavar="DIR", help="the set's folder; what is in it is kept and used")
    make.add_argument("--new-map", action="store_true", help="lay out all clips anew, near their old places")
    make.set_defaults(run=partial(run_build, shell))
    scale.add_options(make)

    export = actions.add_parser("export", help="a set as a table that other tools open")
    export.add_argument("folder", metavar="DIR", help="a set of reference clips, or a Lance table of a job")
    export.add_argument("--to", required=True, metavar="FILE", help="set.parquet or set.lance")
    export.set_defaults(run=partial(scale.run_export, shell))

    measure = actions.add_parser("evaluate", help="recall, mean average precision and kNN accuracy of a set")
    measure.add_argument("folder", metavar="DIR", help="a set of reference clips, or a table of clips")
    scale.add_sample(measure)
    measure.set_defaults(run=partial(run_evaluate, shell))

    warm = actions.add_parser(
        "warm", help="embed the references that the page shows before anybody asks, as the page would in the background"
    )
    warm.add_argument("--references", metavar="SOURCE", help="a folder or hf://datasets/… (default: the page's)")
    warm.add_argument(
        "--out", metavar="DIR", help="where to copy the vectors, e.g. assets/references/vectors of a Space"
    )
    warm.set_defaults(run=partial(run_warm, shell))

    scale.add_actions(actions, shell)

    for parser in (make, measure, warm, export):
        shell.add_options(parser, but=["hdr"])  # a set's vectors do not tell which of its clips were tone-mapped
    for parser in (make, measure, export):
        shell.add_pooling(parser)
    warm.set_defaults(fit=None)


def run_build(shell: Shell, given: argparse.Namespace) -> int:
    if given.engine != "plain":
        return scale.run_job(shell, given)
    from vjepa_demo.references.sources import build

    scale.check_plain(given)

    embedder = embedder_of(shell, given)
    embedded = 0

    def progress(done: int, total: int, message: str) -> None:
        nonlocal embedded
        embedded += message.startswith("Embedding")
        shell.say(f"{message}: {done} of {total}")

    made = build(given.source, given.out, embedder, given.pooling, progress=progress, refit=given.new_map)
    for name, sentence in made.notes:
        shell.say(f"{name!r} {sentence}")
    for name, sentence in made.failures:
        shell.say(f"left out {name!r}: {sentence}")
    summary = {
        "out": given.out,
        "clips": len(made),
        "labels": len({clip.label for clip in made.clips}),
        "embedded": embedded,
        "failures": [{"file": name, "error": sentence} for name, sentence in made.failures],
        "notes": [{"file": name, "note": sentence} for name, sentence in made.notes],
        "fingerprint": made.kind.fields,
    }
    words = f"{len(made)} clips in {summary['labels']} labels, {embedded} embedded now, {len(made.failures)} left out"
    shell.tell(given, summary, words)
    return 0


def run_warm(shell: Shell, given: argparse.Namespace) -> int:
    from vjepa_demo.references.filling import Filling
    from vjepa_demo.references.preparing import SHIPPED, missing, prepare
    from vjepa_demo.references.sources import fetch
    from vjepa_demo.references.store import Stored

    source = given.references or settings.references
    folder, given.fit = fetch(source or str(SHIPPED)), given.fit or page_fit(source)
    embedder = embedder_of(shell, given)
    clips = max(missing(folder, embedder.kind(pooling)) for pooling in embedder.poolings)
    filling = Filling(folder, shell.options_of(given))
    while clips and not filling.over:
        filling.step()
        shell.say(f"Embedding reference clips: {filling.done} of {filling.total}, {filling.left:.0f} s to go")
    if filling.failure:
        raise ReferencesError(filling.failure)
    for pooling in embedder.poolings:
        made = prepare(folder, embedder, pooling)
        if given.out:
            stored = Stored(made.hashes, made.vectors, made.coordinates)
            stored.save(Path(given.out) / f"{made.kind.key}.safetensors", made.kind)
    summary = {"folder": str(folder), "embedded": clips, "out": given.out, "fingerprint": asdict(embedder.fingerprint)}
    words = (
        f"{clips} reference clips embedded now" if clips else "All reference clips were embedded in this way already"
    )
    shell.tell(given, summary, f"{words}; the vectors are in {given.out}" if given.out else words)
    return 0


def run_evaluate(shell: Shell, given: argparse.Namespace) -> int:
    if is_table(given.folder):
        return scale.run_evaluate(shell, given)
    from vjepa_demo.references.evaluation import evaluate
    from vjepa_demo.references.preparing import prepare

    embedder = embedder_of(shell, given)
    found = prepare(
        given.folder,
        embedder,
        given.pooling,
        progress=lambda done, total, words: shell.say(f"{words}: {done} of {total}"),
    )
    measured = evaluate(found)
    shell.tell(given, {**measured, "fingerprint": found.kind.fields}, "\n".join(evaluated_in_words(measured)))
    return 0


def evaluated_in_words(measured: dict[str, Any]) -> list[str]:
    return [
        f"{measured['queries']} queries, {measured['labels']} labels, {measured['protocol']}",
        " " * 14 + "raw  centred",
        *(f"{name:12}{raw:5.3f}  {measured['centred'][name]:5.3f}" for name, raw in measured["raw"].items()),
    ]


def embedder_of(shell: Shell, given: argparse.Namespace) -> Embedder:
    """What embeds the set's clips."""
    from vjepa_demo.embedder import Embedder

    if given.start or given.end is not None:
        raise RequestError("Reference clips are embedded whole: leave --start and --end out.")
    return Embedder.open(shell.options_of(given), shell.say)
