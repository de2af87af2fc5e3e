"""`python -m vjepa_demo references build` and `references evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vjepa_demo.errors import RequestError


@dataclass(frozen=True)
class Shell:
    """What this command shares with the others.

    Attributes:
        add_options: adds the options that say how a file is embedded to a parser.
        add_pooling: adds the option that says how clips are compared.
        make_request: options -> `explore.Request`.
        say: prints a message for a person.
        tell: (options, object, words) prints the result, as JSON or in words.
    """

    add_options: Callable[[Any], None]
    add_pooling: Callable[[Any], None]
    make_request: Callable[[argparse.Namespace], Any]
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

    measure = actions.add_parser("evaluate", help="recall, mean average precision and kNN accuracy of a set")
    measure.add_argument("folder", metavar="DIR", help="a set of reference clips")
    measure.set_defaults(run=partial(run_evaluate, shell))

    for parser in (make, measure):
        shell.add_options(parser)
        shell.add_pooling(parser)


def run_build(shell: Shell, options: argparse.Namespace) -> int:
    from vjepa_demo.references.sources import build

    encoder, sampling, pooling = _way(shell, options)
    embedded = 0

    def progress(done: int, total: int, message: str) -> None:
        nonlocal embedded
        embedded += message.startswith("Embedding")
        shell.say(f"{message}: {done} of {total}")

    made = build(
        options.source,
        options.out,
        encoder,
        sampling,
        options.fit,
        pooling,
        progress=progress,
        refit=options.new_map,
    )
    for name, sentence in made.notes:
        shell.say(f"{name!r} {sentence}")
    for name, sentence in made.failures:
        shell.say(f"left out {name!r}: {sentence}")
    summary = {
        "out": options.out,
        "clips": len(made),
        "labels": len({clip.label for clip in made.clips}),
        "embedded": embedded,
        "failures": [{"file": name, "error": sentence} for name, sentence in made.failures],
        "notes": [{"file": name, "note": sentence} for name, sentence in made.notes],
        "fingerprint": vars(made.fingerprint),
    }
    words = f"{len(made)} clips in {summary['labels']} labels, {embedded} embedded now, {len(made.failures)} left out"
    shell.tell(options, summary, words)
    return 0


def run_evaluate(shell: Shell, options: argparse.Namespace) -> int:
    from vjepa_demo.references.evaluation import evaluate
    from vjepa_demo.references.preparing import prepare

    encoder, sampling, pooling = _way(shell, options)
    found = prepare(
        options.folder,
        encoder,
        sampling,
        options.fit,
        pooling,
        progress=lambda done, total, words: shell.say(f"{words}: {done} of {total}"),
    )
    measured = evaluate(found)
    names = list(measured["raw"])
    lines = [
        f"{measured['queries']} queries, {measured['labels']} labels, {measured['protocol']}",
        " " * 14 + "raw  centred",
    ]
    lines += [f"{name:12}{measured['raw'][name]:5.3f}  {measured['centred'][name]:5.3f}" for name in names]
    shell.tell(options, {**measured, "fingerprint": vars(found.fingerprint)}, "\n".join(lines))
    return 0


def _way(shell: Shell, options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """How the set's clips are embedded: encoder, sampling and pooling."""
    from vjepa_demo.model.encoder import get_encoder

    if options.start or options.end is not None:
        raise RequestError("Reference clips are embedded whole: leave --start and --end out.")
    request = shell.make_request(options)
    sampling = request.check()
    encoder = get_encoder(request.checkpoint, precision=request.precision, progress=shell.say)
    return encoder, sampling, request.pooling
