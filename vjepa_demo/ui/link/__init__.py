"""The address of what is shown: a link to it, a reload, Back and Forward. As a component, it keeps the address; what an
address says arrives as its event `go`.
"""

from __future__ import annotations

import itertools
import json
import math
import weakref
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Embedded
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options
from vjepa_demo.settings import AUTO
from vjepa_demo.ui import examples, pairs
from vjepa_demo.ui.gate import NO_VALUES
from vjepa_demo.ui.widget import widget

OWN = "own"  # a clip that a visitor brought: no address names it, an id in their browser's history does
# What an address may say, as address.js reads and writes it. The first part is how a clip is embedded and compared.
MADE = ("clip", "checkpoint", "sampling", "fit", "by", "hdr", "frames", "from", "to", "layer")
NAMES = (*MADE, "label", "map", "seen", "step", "patches", "heat", "outline", "raw", "smooth", "borders")
MOST_STATE = 16_384  # characters of a viewer's state
MOST_TEXT = 300
MOST_NUMBER = 1e6

Wanted = dict[str, Any]

_views: weakref.WeakKeyDictionary[Embedding, int] = weakref.WeakKeyDictionary()
_numbers = itertools.count(1)


def link(usual: dict[str, Any], **kwargs: Any) -> gr.HTML:
    """The component; its value comes from `link_value`.

    Its event `go` asks for what an address says: see `remember_wanted`.

    Args:
        usual: what `made_of` says of what the page opens with; the address leaves it out.
        **kwargs: what `gr.HTML` takes.
    """
    return widget("link", events=("go",), usual=usual, **kwargs)


def made_of(file: str | Path, options: Options, layer: int | None = None, by: str = AUTO) -> dict[str, Any]:
    """How a clip is embedded and compared, as an address says it.

    Args:
        file: the clip; but for an example its name is not told.
        options: what was asked for.
        layer: of the encoder; None for the last, normalised.
        by: how it is compared with the references.
    """
    frames = options.frames or checkpoints.find(options.checkpoint).frames
    texts = (name_of(file), options.checkpoint, options.sampling, options.fit, by, options.hdr)
    return dict(zip(MADE, (*texts, frames, round(options.start, 3), round(options.end or 0, 3), layer), strict=True))


def name_of(file: str | Path) -> str:
    """A clip's name in an address."""
    path = Path(file)
    return path.stem if path in examples.files() or pairs.twin_of(path) else OWN


def link_value(result: Embedded, result_id: str, turn: int | None = None) -> dict[str, Any]:
    """What the address is to say from now on.

    Args:
        result: what is shown.
        result_id: under which it is kept.
        turn: that of the `go` which is answered by it.
    """
    by = AUTO if result.auto else result.pooling
    made = made_of(result.path, result.options, result.embedding.layer, by)
    return {"made": made, "id": result_id, "turn": turn, "view": view_of(result)}


def view_of(result: Embedded) -> int:
    """A number of the embedding that is shown: the same for a result that is only compared in another way."""
    return _views.setdefault(result.embedding, next(_numbers))


def show_as(result: Embedded, other: Embedded) -> None:
    """Give a result the number of another one that looks the same."""
    _views[result.embedding] = view_of(other)


def remember_wanted(event: gr.EventData) -> Wanted | None:
    """What an address asks for: the names of MADE, `id` (of a result that may still be kept), the viewer's `state`,
    `turn`, and whether the page was only just `opened`; None where a page sends something else."""
    sent: Wanted = {name: getattr(event, name, None) for name in (*MADE, "id", "state", "turn", "opened")}
    texts = [sent[name] for name in ("clip", "checkpoint", "sampling", "fit", "by", "hdr", "id")]
    numbers = [sent[name] for name in ("frames", "from", "to", "turn")]
    numbers += [] if sent["layer"] is None else [sent["layer"]]
    well = (
        all(isinstance(text, str) and len(text) <= MOST_TEXT for text in texts)
        and sent["opened"] in (None, False, True)
        and all(type(n) in (int, float) and math.isfinite(n) and 0 <= n <= MOST_NUMBER for n in numbers)
        and isinstance(sent["state"], dict)
        and len(json.dumps(sent["state"])) <= MOST_STATE
    )
    return sent if well else None


def example_of(name: str) -> str:
    """The path of the example of this name, or of a pair's possible clip. Raises RequestError."""
    if path := examples.named(name) or pairs.named(name):
        return str(path)
    names = ", ".join(path.stem for path in examples.files())
    raise RequestError(f"This link names a clip that is not here: choose one of {names}.")


def require(wanted: Wanted | None) -> Wanted:
    """Raises RequestError where a page sent something that no address says."""
    if wanted is None:
        raise RequestError(NO_VALUES)
    return wanted
