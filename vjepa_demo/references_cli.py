"""`python -m vjepa_demo references build` and `references evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from vjepa_demo.errors import RequestError


def add_parser(commands: Any) -> None:
    """Add the command `references` to the parser's commands."""
    from vjepa_demo.cli import add_options

    references = commands.add_parser("references", help="sets of reference clips: make one, measure one")
    actions = references.add_subparsers(dest="action", required=True, metavar="ACTION")

    make = actions.add_parser("build", help="embed a folder, or a dataset of videos on the Hub, into a set")
    make.add_argument(
        "source", metavar="SOURCE", help="a folder (sub-folders are labels, or clips.csv), or hf://datasets/…"
    )
    make.add_argument("--out", required=True, metavar="DIR", help="the set's folder; what is in it is kept and used")
    make.add_argument("--new-map", action="store_true", help="lay out all clips anew, near their old places")
    make.set_defaults(run=run_build)

    measure = actions.add_parser("evaluate", help="recall, mean average precision and kNN accuracy of a set")
    measure.add_argument("folder", metavar="DIR", help="a set of reference clips")
    measure.set_defaults(run=run_evaluate)

    for parser in (make, measure):
        add_options(parser)


def run_build(options: argparse.Namespace) -> int:
    from vjepa_demo.cli import say, tell
    from vjepa_demo.reference_build import build

    encoder, sampling = _encoder_and_sampling(options)
    embedded = 0

    def progress(done: int, total: int, message: str) -> None:
        nonlocal embedded
        embedded += message.startswith("Embedding")
        say(f"{message}: {done} of {total}")

    made = build(options.source, options.out, encoder, sampling, options.fit, progress=progress, refit=options.new_map)
    for name, sentence in made.failures:
        say(f"left out {name!r}: {sentence}")
    summary = {
        "out": options.out,
        "clips": len(made),
        "labels": len({clip.label for clip in made.clips}),
        "embedded": embedded,
        "failures": [{"file": name, "error": sentence} for name, sentence in made.failures],
        "fingerprint": vars(made.fingerprint),
    }
    words = f"{len(made)} clips in {summary['labels']} labels, {embedded} embedded now, {len(made.failures)} left out"
    tell(options, summary, words)
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    from vjepa_demo.cli import say, tell
    from vjepa_demo.reference_evaluation import evaluate
    from vjepa_demo.reference_sets import prepare

    encoder, sampling = _encoder_and_sampling(options)
    found = prepare(
        options.folder,
        encoder,
        sampling,
        options.fit,
        progress=lambda done, total, words: say(f"{words}: {done} of {total}"),
    )
    measured = evaluate(found)
    names = list(measured["raw"])
    lines = [
        f"{measured['queries']} queries, {measured['labels']} labels, {measured['protocol']}",
        " " * 14 + "raw  centred",
    ]
    lines += [f"{name:12}{measured['raw'][name]:5.3f}  {measured['centred'][name]:5.3f}" for name in names]
    tell(options, {**measured, "fingerprint": vars(found.fingerprint)}, "\n".join(lines))
    return 0


def _encoder_and_sampling(options: argparse.Namespace) -> tuple[Any, Any]:
    from vjepa_demo.cli import make_request, say
    from vjepa_demo.encoder import get_encoder

    if options.start or options.end is not None:
        raise RequestError("Reference clips are embedded whole: leave --start and --end out.")
    request = make_request(options)
    sampling = request.check()
    return get_encoder(request.checkpoint, precision=request.precision, progress=say), sampling
