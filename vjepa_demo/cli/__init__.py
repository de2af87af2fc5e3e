"""The same from a shell: one JSON object on standard output, everything else on standard error.

Exit codes: 0 when it worked, 2 for a mistake that the user can put right, 1 for a failure of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from vjepa_demo.cli import references
from vjepa_demo.errors import RequestError, UserError
from vjepa_demo.options import Options
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (see {self.prog} --help).")


def build_parser() -> Parser:
    parser = Parser(prog="python -m vjepa_demo", description="Embed videos and images with V-JEPA 2.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = Parser(add_help=False)
    common.add_argument("file", metavar="FILE", help="a video or an image")
    add_options(common)

    embed = commands.add_parser("embed", parents=[common], help="tokens and their mean")
    embed.add_argument("--out", metavar="F.npz", help="where to write tokens, pooled, timestamps and meta")
    embed.set_defaults(run=run_embed)

    similarity = commands.add_parser("similarity", parents=[common], help="cosine of one patch to all the others")
    similarity.add_argument("--at", required=True, metavar="STEP,ROW,COL", help="the patch, counted from 0")
    similarity.add_argument("--raw", action="store_true", help="do not subtract the clip's mean token first")
    similarity.add_argument("--out", metavar="F.npz|F.png", help="where to write the scores, or a picture of them")
    similarity.set_defaults(run=run_similarity)

    neighbours = commands.add_parser("neighbours", parents=[common], help="the reference clips that resemble it most")
    neighbours.add_argument("-k", type=int, default=5, metavar="K", help="how many (default 5)")
    neighbours.add_argument("--references", metavar="DIR", help="a folder of clips with a clips.csv (default: shipped)")
    add_pooling(neighbours)
    neighbours.set_defaults(run=run_neighbours)

    references.add_parser(commands, references.Shell(add_options, add_pooling, options_of, say, tell))
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a file is embedded, one for each field of `Options`."""
    kinds = {"int": int, "float": float, "str": str}
    for option in fields(Options):
        known = {name: option.metadata[name] for name in ("help", "metavar", "choices") if name in option.metadata}
        kind = kinds.get(str(option.type).split(" ")[0], str)
        parser.add_argument(f"--{option.name}", type=kind, default=option.default, **known)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_pooling(parser: argparse.ArgumentParser) -> None:
    """The option that says how a clip becomes the vector that is compared."""
    parser.add_argument(
        "--pooling",
        choices=("mean", "motion"),
        default="mean",
        help="compare what clips show (default), or how they move",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    logging.basicConfig(level=os.environ.get("VJEPA_DEMO_LOG", "ERROR"), format="%(name)s: %(message)s")
    try:
        given = build_parser().parse_args(argv)
        return given.run(given)
    except UserError as error:
        log.debug("user error", exc_info=True)
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except Exception:
        logging.getLogger().exception("This is a failure of the program, not of the file")
        return 1


def run_embed(given: argparse.Namespace) -> int:
    from vjepa_demo import explore

    out = writable(given.out, ".npz")
    embedding = explore.embed(given.file, options_of(given), progress=say).embedding
    if out:
        with writing():
            embedding.save(out)
        say(f"Wrote {out}")
    summary = explore.embedding_json(embedding)
    tell(given, summary, f"{summary['shape']}: {grid_in_words(summary)}")
    return 0


def run_similarity(given: argparse.Namespace) -> int:
    import numpy as np

    from vjepa_demo import explore
    from vjepa_demo.views.heatmap import heatmap_image
    from vjepa_demo.views.similarity import similarity

    at = explore.parse_position(given.at)
    out = writable(given.out, ".npz", ".png")
    found = explore.embed(given.file, options_of(given), progress=say)
    scores = similarity(found.embedding, at, centred=not given.raw)
    if out:
        with writing():
            if out.suffix == ".npz":
                np.savez(out, scores=scores, at=np.array(at), meta=np.array(json.dumps(found.embedding.meta())))
            else:
                heatmap_image(found.clip, found.embedding, scores, out, centred=not given.raw)
        say(f"Wrote {out}")
    best = np.nanmax(scores.reshape(len(scores), -1), axis=1)
    words = "best match at each time step: " + " ".join(f"{x:.3f}" for x in best)
    tell(given, explore.similarity_json(found.embedding, at, not given.raw, scores), words)
    return 0


def run_neighbours(given: argparse.Namespace) -> int:
    from vjepa_demo import explore
    from vjepa_demo.references.preparing import SHIPPED
    from vjepa_demo.references.sources import fetch

    explore.check_count(given.k)
    folder = fetch(given.references or settings.references or str(SHIPPED))
    compared = explore.compare(
        explore.embed(given.file, options_of(given), pooling=given.pooling, progress=say), folder, say
    )
    lines = [f"{near.cosine:.3f}  {near.label}  {near.file}" for near in compared.comparison.neighbours(given.k)]
    if compared.comparison.far:
        lines.append("This clip is far from all references: take its neighbours with care.")
    tell(given, explore.neighbours_json(compared, given.k), "\n".join(lines))
    return 0


def options_of(given: argparse.Namespace) -> Options:
    """The options among the arguments."""
    return Options(**{option.name: getattr(given, option.name) for option in fields(Options)})


def writable(name: str | None, *suffixes: str) -> Path | None:
    """The path to write to, checked before the work is done. Raises RequestError."""
    if name is None:
        return None
    path = Path(name)
    if path.suffix not in suffixes:
        raise RequestError(f"The file to write must end in {' or '.join(suffixes)}, not {path.suffix or 'nothing'}.")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise RequestError("The file to write has no folder that can be written to: create the folder first.")
    return path


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Raises RequestError where the disk is full or the file may not be written."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"The file cannot be written ({error.strerror}): choose another place.") from error


def grid_in_words(summary: dict[str, Any]) -> str:
    steps, rows, cols = summary["grid"]
    return f"{steps} time steps × {rows} × {cols} patches × {summary['shape'][-1]} channels"


def tell(given: argparse.Namespace, summary: dict[str, Any], words: str) -> None:
    """Print the JSON object, or the words for a person."""
    print(json.dumps(summary) if given.json else words)


def say(message: str) -> None:
    """Progress and messages, on standard error."""
    print(message, file=sys.stderr, flush=True)
