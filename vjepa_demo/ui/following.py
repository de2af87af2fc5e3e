"""Following a link: what an address asks for is shown again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

from vjepa_demo import explore, scratch
from vjepa_demo.errors import RequestError, duration
from vjepa_demo.explore import Embedded, Progress
from vjepa_demo.model import hub
from vjepa_demo.options import Options, Pooling
from vjepa_demo.settings import AUTO, settings
from vjepa_demo.ui import sessions
from vjepa_demo.ui.handlers import end_older, make_options, pooling_asked
from vjepa_demo.ui.link import OWN, Wanted, example_of, name_of, require
from vjepa_demo.ui.opening import first_options, first_paint, listed_checkpoints, opening
from vjepa_demo.ui.outcome import Update, event, sentence, status
from vjepa_demo.ui.reference_map import WAITING
from vjepa_demo.ui.result import (
    GONE,
    NO_OFFER,
    OUTPUTS,
    awaited,
    beside,
    compare_or_offer,
    frames_offered,
    settled,
    show,
)

# The controls that show how the clip is embedded and compared, beside those of OUTPUTS.
CONTROLS = ("frames", "sampling", "fit", "hdr", "checkpoint", "pooling")


@event(*OUTPUTS, *CONTROLS)
def follow(say: Progress, folder: Path, wanted: Wanted | None, own_id: str | None) -> Iterator[Update]:
    """Show what an address asks for. Where that is not to be had, what is shown stays, and the address tells it again;
    a page that has only just opened shows what it opens with."""
    try:
        wanted = require(wanted)
        file, options, kept = clip_of(wanted, say)
        end_older()
        with scratch.using(*([file] if kept else [])):
            result = shown_by(file, options, kept, wanted, say)
            second = beside(result, None, say)
        end_older()
        made = {"made": (file, options), "source": file, "start": options.start, "end": options.end or 0, "track": None}
        controls: Update = {"frames": options.frames, "sampling": options.sampling, "fit": options.fit}
        controls |= {"hdr": options.hdr, "checkpoint": options.checkpoint, "pooling": wanted["by"]}
        view = show(result, folder, second=second, state=wanted["state"], turn=int(wanted["turn"]))
    except Exception as error:
        told: Update = {"status": status(sentence(error), "error"), "link": {"turn": wanted and wanted["turn"]}}
        first = next(first_paint()) if wanted and wanted["opened"] else {}
        if isinstance(first.get("link"), dict):
            told["link"] = {**first["link"], **told["link"]}
        told["link"]["failed"] = True
        yield {**first, **told}
        return
    yield {**view, "map": WAITING, **NO_OFFER, **GONE, **made, **controls}
    yield compare_or_offer(result, sessions.folder_of(own_id), say)


def clip_of(wanted: Wanted, say: Progress) -> tuple[str, Options, Embedded | None]:
    """The file, how it is to be embedded, and what is kept of it, if anything is. Raises UserError."""
    kept = awaited(wanted["id"], say)
    frames, layer = wanted["frames"], wanted["layer"]
    if kept and name_of(kept.path) != wanted["clip"]:
        kept = None
    if wanted["clip"] == OWN and kept is None:
        raise RequestError(
            "The clip of this link is not kept here any more, or was opened in another browser: open its file again. "
            f"A clip is kept for {duration(settings.keep_hours * 3600)} at most, and never beyond a restart."
        )
    check_checkpoint(wanted["checkpoint"], kept)
    if frames not in {*frames_offered(opening().choice.checkpoint.frames), *([kept.options.frames] if kept else [])}:
        raise RequestError(f"This link asks for {frames:g} frames, which cannot be chosen here: choose another number.")
    if wanted["by"] not in (AUTO, *get_args(Pooling)):
        raise RequestError("This link compares clips in a way that is not known here: choose one beside the map.")
    options = make_options(
        wanted["checkpoint"],
        frames,
        wanted["from"],
        wanted["to"],
        wanted["sampling"],
        wanted["fit"],
        hdr=wanted["hdr"],
    )
    options.check()
    if layer is not None and layer != int(layer):
        raise RequestError("This link names a layer that the encoder does not have: choose one by hand.")
    return kept.path if kept else example_of(wanted["clip"]), options, kept


def check_checkpoint(name: str, kept: Embedded | None) -> None:
    """A link is followed with a click, or by another site's page: it may not make the app load what nobody here has
    chosen, nor download gigabytes. Raises RequestError."""
    if name in {first_options().checkpoint, settings.checkpoint} or (kept and kept.options.checkpoint == name):
        return
    listed = next((known for known in listed_checkpoints() if known.id == name), None)
    if listed is None:
        raise RequestError("This link names a checkpoint that is not in the list: choose it by hand, if you trust it.")
    if not (listed.folder or hub.cached(name)):
        raise RequestError(f"This link is about {listed.name}, which has not been downloaded here: choose it by hand.")


def shown_by(file: str, options: Options, kept: Embedded | None, wanted: Wanted, say: Progress) -> Embedded:
    """The clip as it is wanted; it is embedded only where it is not kept in that way. Raises UserError."""
    asked = pooling_asked(wanted["by"])
    layer = None if wanted["layer"] is None else int(wanted["layer"])
    first = opening()
    for known, what in ((kept, kept), (first.shown, first.kept)):
        if known and what and (known.path, known.options) == (file, options):
            known = explore.at_layer(settled(what, say), layer, say)
            return replace(known, pooling=explore.pooling_of(asked, options.checkpoint, known.clip), auto=asked is None)
    if not os.path.isfile(file):
        raise RequestError("The file of this clip is not kept here any more: open it again.")
    return explore.embed(file, options, pooling=asked, layer=layer, progress=say)
