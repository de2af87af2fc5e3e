"""The same from a shell: one JSON object on standard output, everything else on standard error.

Exit codes: 0 when it worked, 2 for a mistake that the user can put right, 1 for a failure of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from vjepa_demo.cli import references, scale
from vjepa_demo.errors import DiskError, RequestError, UserError, cut, of_disk
from vjepa_demo.options import Cut, Options, Question, described
from vjepa_demo.settings import is_table, settings

log = logging.getLogger(__name__)
QUESTION = {option.name: option for option in fields(Question)}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (see {self.prog} --help).")


def build_parser() -> Parser:
    parser = Parser(prog="python -m vjepa_demo", description="Embed videos and images with V-JEPA 2.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = Parser(add_help=False)
    common.add_argument("file", metavar="FILE", help=described(QUESTION["file"]))
    add_options(common)

    embed = commands.add_parser("embed", parents=[common], help="tokens and their mean")
    embed.add_argument("--out", metavar="F.npz", help="where to write tokens, pooled, timestamps and meta")
    embed.set_defaults(run=run_embed)

    similarity = commands.add_parser("similarity", parents=[common], help="cosine of one patch to all the others")
    add_option(similarity, QUESTION["at"], required=True)
    similarity.add_argument("--raw", action="store_true", help=described(QUESTION["raw"]))
    similarity.add_argument("--out", metavar="F.npz|F.png", help="where to write the scores, or a picture of them")
    similarity.set_defaults(run=run_similarity)

    neighbours = commands.add_parser("neighbours", parents=[common], help="the reference clips that resemble it most")
    add_option(neighbours, QUESTION["k"], "-k")
    neighbours.add_argument(
        "--references", metavar="DIR", help="a folder of clips with a clips.csv, or a table of clips (default: shipped)"
    )
    add_option(neighbours, QUESTION["at"], default=None)
    add_pooling(neighbours)
    neighbours.set_defaults(run=run_neighbours)

    surprise = commands.add_parser("surprise", parents=[common], help="where the clip is not what was expected")
    for name in ("window", "stride", "contexts"):
        add_option(surprise, QUESTION[name])
    surprise.add_argument("--out", metavar="F.npz", help="where to write timestamps, surprise, per_context, per_patch")
    surprise.set_defaults(run=run_surprise)

    classify = commands.add_parser("classify", parents=[common], help="what a checkpoint's classifier calls it")
    add_option(classify, QUESTION["k"], "-k")
    classify.set_defaults(run=run_classify)

    order = commands.add_parser("order", parents=[common], help="does the embedding tell the order of time")
    order.set_defaults(run=run_order)

    windows = commands.add_parser("windows", parents=[common], help="a long video, window by window: where it changes")
    windows.add_argument("--window", type=float, default=Cut.length, metavar="S", help="seconds (default: %(default)g)")
    windows.add_argument(
        "--stride", type=float, metavar="S", help="seconds from one window to the next (default: half a window)"
    )
    windows.add_argument(
        "--like", metavar="FILE", help="tell how like each window is to this clip, or to a span of it: FILE#t=START,END"
    )
    add_option(windows, QUESTION["at"], default=None)
    add_pooling(windows)
    windows.add_argument("--out", metavar="F.npz", help="where to write spans, vectors, change, scenes, like and best")
    windows.set_defaults(run=run_windows)

    references.add_parser(commands, references.Shell(add_options, add_pooling, options_of, say, tell))
    return parser


def add_options(parser: argparse.ArgumentParser, but: Collection[str] = ()) -> None:
    """The options that say how a file is embedded, one for each field of `Options` that is not left out."""
    for option in fields(Options):
        if option.name not in but:
            add_option(parser, option)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_pooling(parser: argparse.ArgumentParser) -> None:
    """The option that says how a clip becomes the vector that is compared."""
    add_option(parser, QUESTION["pooling"])


def add_option(parser: argparse.ArgumentParser, option: Field[Any], flag: str = "", **own: Any) -> None:
    """An option of `Options` or `Question`, with its own words, default and choices."""
    kind = {"int": int, "float": float}.get(str(option.type).split(" ")[0], str)
    known = {name: option.metadata[name] for name in ("help", "metavar", "choices") if name in option.metadata}
    parser.add_argument(flag or f"--{option.name}", type=kind, **{"default": option.default, **known, **own})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    # Where it cannot show a letter, or a name is no text, it shows what stands for that.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _begin_log(os.environ.get("VJEPA_DEMO_LOG") or "ERROR")
        given = build_parser().parse_args(argv)
        code = given.run(given)
        if sys.stdout:
            sys.stdout.flush()  # what cannot be written is to be known here
        return code
    except BrokenPipeError:  # whoever reads, as `head` does, has enough
        _let_go_of_stdout()
        return 128 + 13
    except UserError as error:
        log.debug("user error", exc_info=True)
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except Exception as error:
        if of_disk(error):
            log.debug("disk", exc_info=True)
            _let_go_of_stdout()
            say(str(DiskError.of(error)))
            return 2
        logging.getLogger().exception("This is a failure of the program, not of the file")
        return 1


def _begin_log(level: str) -> None:
    """Raises RequestError where there is no such level."""
    try:
        logging.basicConfig(level=int(level) if level.isdigit() else level.upper(), format="%(name)s: %(message)s")
    except ValueError:
        raise RequestError(
            f"VJEPA_DEMO_LOG must be DEBUG, INFO, WARNING or ERROR, not {cut(level)}: correct it, or leave it unset."
        ) from None


def _let_go_of_stdout() -> None:
    """What cannot be written there goes nowhere: at its end Python would try again, and complain."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    from vjepa_demo.views.similarity import similarity

    at = explore.parse_position(given.at)
    out = writable(given.out, ".npz", ".png")
    found = explore.embed(given.file, options_of(given), progress=say)
    scores = similarity(found.embedding, at, centred=not given.raw)
    if out:
        with writing():
            explore.save_scores(found, at, scores, out, centred=not given.raw)
        say(f"Wrote {out}")
    best = np.nanmax(scores.reshape(len(scores), -1), axis=1)
    words = "best match at each time step: " + " ".join(f"{x:.3f}" for x in best)
    tell(given, explore.similarity_json(found.embedding, at, not given.raw, scores), words)
    return 0


def run_surprise(given: argparse.Namespace) -> int:
    from vjepa_demo import explore
    from vjepa_demo.views.surprise import Windows, parse_contexts

    windows = Windows(given.window, given.stride, parse_contexts(given.contexts))
    out = writable(given.out, ".npz")
    shown = explore.embed(given.file, options_of(given), progress=say)
    found = explore.surprise_of(shown, windows, say)
    if out:
        with writing():
            found.save(out)
        say(f"Wrote {out}")
    told = explore.surprise_json(shown.embedding, found)
    words = " ".join("–" if x is None else f"{x:.3f}" for x in told["surprise"])
    tell(given, told, f"surprise at each time step: {words}")
    return 0


def run_classify(given: argparse.Namespace) -> int:
    from vjepa_demo import explore

    options = options_of(given)
    explore.check_labels(given.k, options)
    shown = explore.embed(given.file, options, progress=say)
    found = explore.labels_of(shown, given.k, say)
    (step, row, col), times = found.most(shown.embedding.patch_mask)
    lines = [f"{probability:.3f}  {label}" for label, probability in found.likeliest]
    lines.append(f"It looked most at {step},{row},{col} (step, row, column): {times:.1f} times the average.")
    tell(given, explore.classify_json(shown.embedding, found), "\n".join([*lines, *found.cautions]))
    return 0


def run_order(given: argparse.Namespace) -> int:
    from vjepa_demo import explore

    shown = explore.embed(given.file, options_of(given), progress=say)
    tests = explore.time_tests_of(shown, say)
    lines = ["cosine to the clip as it is: by what is seen, by motion"]
    for test in tests:
        of_motion = "–" if test.motion is None else f"{test.motion:.3f}"
        lines.append(f"{test.order:9} {test.mean:.3f}  {of_motion}")
    tell(given, explore.order_json(shown.embedding, tests), "\n".join(lines))
    return 0


def run_windows(given: argparse.Namespace) -> int:
    from vjepa_demo import explore, windows

    at = explore.parse_position(given.at) if given.at else None
    out = writable(given.out, ".npz")
    cut, options = Cut(given.window, given.window / 2 if given.stride is None else given.stride), options_of(given)
    if at and not given.like:
        raise RequestError("A patch is that of a clip: say of which one with --like.")
    asked = windows.named(given.like, options, given.pooling, say) if given.like else None
    found = windows.track(given.file, options, cut, pooling=given.pooling, asked=asked, at=at, progress=say)
    told, track = found.json(), found.track
    if out:
        with writing():
            track.save(out, told)
        say(f"Wrote {out}")
    lines = []
    for number, (start, end) in enumerate(track.spans):
        if number in track.scenes:
            lines.append(f"scene {track.scenes.index(number) + 1}, from about {track.begins(number):g} s")
        like = "" if track.like is None else f"   like {track.like[number]:6.3f}"
        best = "" if track.best is None else f" at {','.join(map(str, track.best[number]))}"
        lines.append(f"  {start:8.2f} to {end:8.2f} s   change {track.change[number]:.3f}{like}{best}")
    lines += [f"No window at {begins:g} s. {error}" for begins, error in found.failures]
    tell(given, told, "\n".join(lines))
    return 0


def run_neighbours(given: argparse.Namespace) -> int:
    from vjepa_demo import explore
    from vjepa_demo.references.comparison import Found
    from vjepa_demo.references.preparing import SHIPPED
    from vjepa_demo.references.sources import fetch

    explore.check_count(given.k)
    at = explore.parse_position(given.at) if given.at else None
    source, options = given.references or settings.references or str(SHIPPED), options_of(given)
    table = scale.opened(source) if is_table(source) else None
    if table:
        options = scale.like(table.kind, options)
    shown = explore.embed(given.file, options, pooling=given.pooling, progress=say)
    compared: explore.Compared[Found] = (
        explore.compare_with(shown, table, at) if table else explore.compare(shown, fetch(source), say, at)
    )
    told, found = explore.neighbours_json(compared, given.k), compared.comparison
    near = found.neighbours(given.k)
    lines = [f"{each.cosine:.3f}  {scale.plain(each.label)}  {scale.plain(each.file)}" for each in near]
    if at:
        lines.append(f"Compared is the mean of the {compared.patches} patches that are like this one.")
    elif found.far:
        lines.append("This clip is far from all references: take its neighbours with care.")
    if table:
        told["references"] = scale.described(table)
        lines += scale.notes(table)
    tell(given, told, "\n".join(lines))
    return 0


def options_of(given: argparse.Namespace) -> Options:
    """The options among the arguments; those that a command does not have are as they are by default."""
    return Options(**{option.name: getattr(given, option.name) for option in fields(Options) if option.name in given})


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
        reason = f" ({error.strerror})" if error.strerror else ""
        raise RequestError(f"The file cannot be written{reason}: choose another place.") from error


def grid_in_words(summary: dict[str, Any]) -> str:
    steps, rows, cols = summary["grid"]
    return f"{steps} time steps × {rows} × {cols} patches × {summary['shape'][-1]} channels"


def tell(given: argparse.Namespace, summary: dict[str, Any], words: str) -> None:
    """Print the JSON object, or the words for a person."""
    print(json.dumps(summary, allow_nan=False) if given.json else words)


def say(message: str) -> None:
    """Progress and messages, on standard error."""
    print(message, file=sys.stderr, flush=True)
