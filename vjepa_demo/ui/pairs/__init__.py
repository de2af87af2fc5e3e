"""Pairs of clips that begin alike, one that can happen and one that cannot: beside the surprise, one click each."""

from __future__ import annotations

import csv
import functools
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Embedded
from vjepa_demo.model import checkpoints
from vjepa_demo.settings import ASSETS
from vjepa_demo.ui.gate import NO_VALUES
from vjepa_demo.ui.outcome import safe
from vjepa_demo.ui.widget import widget
from vjepa_demo.views import pairs as views

FOLDER = ASSETS / "pairs"  # made by assets/recipes/pairs.py
ABOUT = Path(__file__).parent / "about.html"
FRAMES = 16  # of each clip
MEASURED = "pairs.json"  # in a checkpoint's folder, where it was measured

log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """The possible and the impossible clip, what the button says, and whether it happens behind a screen."""

    possible: Path
    impossible: Path
    title: str
    out_of_sight: bool


@functools.cache
def known() -> tuple[Pair, ...]:
    """All that are shipped, in the order of `pairs.csv`."""

    def clip(row: dict[str, str], name: str) -> Path:
        return FOLDER / f"{row['kind']}-{name}.mp4"

    with (FOLDER / "pairs.csv").open(encoding="utf-8", newline="") as table:
        rows = csv.DictReader(table)
        return tuple(
            Pair(clip(row, "possible"), clip(row, "impossible"), row["title"], row["out_of_sight"] == "1")
            for row in rows
        )


def pairs(**kwargs: Any) -> gr.HTML:
    """The component. Its value tells which pair was chosen last, its event `chosen` that one was."""
    told = [{"title": pair.title, "hidden": pair.out_of_sight} for pair in known()]
    return widget("pairs", events=("chosen",), pairs=told, **kwargs)


def file_of(value: Any) -> str:
    """The path of the possible clip of the chosen pair. Raises RequestError."""
    number = value.get("pair") if isinstance(value, dict) else None
    if type(number) is not int or not 0 <= number < len(known()):
        raise RequestError(NO_VALUES)
    return str(known()[number].possible)


def named(name: str) -> Path | None:
    """The possible clip of this name, without its ending; None where there is none."""
    return next((pair.possible for pair in known() if pair.possible.stem == name), None)


def twin_of(file: str | Path) -> str | None:
    """The impossible clip that begins as a possible one does; None for all other files."""
    return next((str(pair.impossible) for pair in known() if pair.possible == Path(file)), None)


def measured(result: Embedded) -> str:
    """How the checkpoint that embedded a clip fares with such pairs, as HTML; nothing where that was not measured."""
    checkpoint = checkpoints.find(result.embedding.fingerprint.checkpoint)
    path = checkpoint.folder and checkpoint.folder / MEASURED
    if not path or not path.is_file():
        return ""
    try:
        return safe(views.figures(json.loads(path.read_text(encoding="utf-8")), checkpoint.name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError):
        log.warning("%s is not what assets/recipes/pairs.py writes", path, exc_info=True)
        return ""
