"""The examples: a row of pictures, one click each."""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo.errors import RequestError
from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.settings import ASSETS
from vjepa_demo.ui.gate import NO_VALUES
from vjepa_demo.ui.widget import widget

POSTER_SIZE = (128, 80)  # pixels, twice as many as it is shown at
POSTERS = ASSETS / "examples" / "posters.jpg"  # made by assets/recipes/pack_first.py


def examples(**kwargs: Any) -> gr.HTML:
    """The component. Its value tells which example was chosen last, its event `chosen` that one was."""
    return widget("examples", events=("chosen",), names=[path.stem for path in files()], **kwargs)


@functools.cache
def files() -> tuple[Path, ...]:
    """What a newcomer can click, in the order of `examples.csv`; the page opens with the first."""
    with (ASSETS / "examples" / "examples.csv").open(encoding="utf-8", newline="") as table:
        return tuple(ASSETS / "examples" / row["file"] for row in csv.DictReader(table))


def named(name: str) -> Path | None:
    """The example of this name, without its ending; None where there is none."""
    return next((path for path in files() if path.stem == name), None)


def file_of(value: Any) -> str:
    """The path of the chosen example. Raises RequestError."""
    number = value.get("example") if isinstance(value, dict) else None
    if type(number) is not int or not 0 <= number < len(files()):
        raise RequestError(NO_VALUES)
    return str(files()[number])


@functools.cache
def posters() -> bytes:
    """The ends of all examples, one below the other, as one JPEG: as it is shipped, if it is of these examples."""
    from PIL import Image

    with contextlib.suppress(OSError), Image.open(POSTERS) as shipped:
        if shipped.info.get("comment") == _digest():
            return POSTERS.read_bytes()
    return draw_posters()


def _digest() -> bytes:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files())).hexdigest().encode()


def draw_posters() -> bytes:
    """That JPEG, made anew; as its comment it has the SHA-256 of the examples."""
    from PIL import Image

    sheet = Image.new("RGB", (POSTER_SIZE[0], POSTER_SIZE[1] * len(files())))
    for number, path in enumerate(files()):
        sheet.paste(poster(path), (0, POSTER_SIZE[1] * number))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=80, comment=_digest())
    return out.getvalue()


def poster(path: Path) -> Any:
    """The middle of the end of a clip, as a PIL image."""
    from PIL import Image, ImageOps

    clip = read_clip(path, Sampling(2))
    return ImageOps.fit(Image.fromarray(clip.frames[-1].transpose(1, 2, 0)), POSTER_SIZE)
