"""Code that makes the same tokens in a notebook, from a template that reads as the Python it becomes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.pictures import NEUTRAL_GROUND
from vjepa_demo.options import IMAGE_FRAMES, ROUNDING
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.views.similarity import Position


def snippet(embedding: Embedding, clip: Clip, at: Position | None = None, name: str = "") -> str:
    """Code that makes this embedding's tokens again with transformers, torchcodec and Pillow alone.

    It names the file `name`, or "clip.mp4" or "image.png", beside the notebook. It reads the same moments, fits them to
    the model's input in the same way, and leaves `tokens` `[T', H', W', D]`; with `at` (step, row, column) also
    `scores`, the centred cosine.

    Raises:
        RequestError: the position is outside the grid, or the clip is an animated picture.
    """
    if at is not None:
        embedding.check_position(at)
    if clip.source.kind == "video" and clip.source.codec in ("gif", "webp", "png", "avif"):
        raise RequestError("There is no code for an animated picture: save it as a video and embed that.")
    steps, rows, cols = embedding.grid
    height, width = clip.frames.shape[-2:]
    made, seen = embedding.fingerprint, embedding.patch_mask
    checkpoint, revision, ours = made.checkpoint, "", made.checkpoint == "nano"
    if ours:  # whoever is on this machine has its folder; others have that of a clone
        checkpoint = "assets/nano" if settings.public else str(ASSETS / "nano")
    elif not Path(checkpoint).is_absolute():
        revision = f", revision={literal(made.revision)}"
    return _template().render(
        made=made,
        what="last layer, normalised" if made.layer is None else f"layer {made.layer}",
        **{"steps": steps, "rows": rows, "cols": cols, "dim": embedding.tokens.shape[-1]},
        image=clip.is_image,
        image_frames=IMAGE_FRAMES,
        file=literal(name or ("image.png" if clip.is_image else "clip.mp4")),
        checkpoint=literal(checkpoint),
        clone=ours and settings.public,
        space=literal(settings.space) if ours and settings.space else "",
        revision=revision,
        seconds=", ".join(f"{t:.6f}".rstrip("0").rstrip(".") for t in embedding.timestamps),
        **{"height": height, "width": width, "rounding": ROUNDING, "ground": NEUTRAL_GROUND[0]},
        at=at,
        seen_rows=_span(seen.any(1)),
        seen_cols=_span(seen.any(0)),
    )


def literal(text: str) -> str:
    """A text as Python reads it, in letters that are seen as they are: what could turn the line around is a number."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)


def _span(seen: Any) -> str:
    """From the first to the last that is seen, as a slice."""
    places = np.flatnonzero(seen)
    return f"{places[0]}:{places[-1] + 1}"


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_suffix(".py.jinja").read_text(encoding="utf-8")
    # What is made is Python, no page: nothing is escaped, and all that comes from elsewhere is written by `literal`.
    return Environment(  # noqa: S701
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(text)
