"""What happens when something is pressed. Every function here ends in a result or in one clear sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import explore, jobs
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import RequestError, UserError
from vjepa_demo.explore import Progress
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options
from vjepa_demo.references import current
from vjepa_demo.references.filling import fill, on_its_way
from vjepa_demo.settings import AUTO, ZERO_GPU, settings
from vjepa_demo.ui import examples, intake, pairs, sessions, table, under_way, visits
from vjepa_demo.ui.opening import first_options, listed_checkpoints, opening
from vjepa_demo.ui.outcome import Update, event, status
from vjepa_demo.ui.reference_map import WAITING
from vjepa_demo.ui.result import (
    GONE,
    NO_OFFER,
    OUTPUTS,
    beside,
    compare_or_offer,
    offer,
    price,
    ready_way,
    results,
    show,
    show_filling,
    show_map,
    shown,
    there,
)

Made = tuple[str, Options]  # the file that is shown, and how it was embedded


@dataclass(frozen=True)
class Request:
    """What the page's controls ask for: how to embed a file, and with which references to compare it."""

    options: Options
    pooling: Pooling | None
    own_id: str | None

    @property
    def references(self) -> Path:
        """The folder of references that this visitor sees."""
        return sessions.folder_of(self.own_id)


def make_request(
    frames: float | None,
    start: float | None,
    end: float | None,
    sampling: str,
    fit: str,
    checkpoint: str,
    own_id: str | None = None,
    pooling: str = AUTO,
    hdr: str = "stored",
) -> Request:
    """A request from the controls; an empty field means its default."""
    options = make_options(checkpoint, frames, start, end, sampling, fit, hdr=hdr)
    return Request(options, pooling_asked(pooling, options.checkpoint), own_id)


def make_options(
    checkpoint: str,
    frames: float | None,
    start: float | None,
    end: float | None,
    sampling: str,
    fit: str,
    precision: str = "auto",
    hdr: str = "stored",
) -> Options:
    """Options from what was sent; an empty field means its default. Raises RequestError."""
    chosen = table.like({"checkpoint": checkpoint, "precision": precision})
    return Options(
        checkpoint=allowed(chosen["checkpoint"]),
        frames=None if frames is None else int(number(frames, "number of frames")),
        start=number(start or 0.0, "start of the span"),
        end=number(end, "end of the span") if end else None,
        sampling=sampling,  # type: ignore[arg-type]
        fit=fit,  # type: ignore[arg-type]
        precision=chosen["precision"],
        hdr=hdr,  # type: ignore[arg-type]
    )


def number(value: Any, name: str) -> float:
    """A control's value as a finite number. Raises RequestError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestError(f"The {name} must be a number.")
    return value


def pooling_asked(choice: str, checkpoint: str | None = None) -> Any:
    """The control's choice as a request takes it: None leaves it to the clip and the checkpoint, as does what a
    checkpoint that was chosen since does not have."""
    if choice == AUTO or (choice == "probe" and checkpoint and not _has_classifier(checkpoint)):
        return None
    return choice


def ways_offered(checkpoint: str) -> list[str]:
    """Classes of the control that says how clips are compared: with the classifier only where there is one."""
    return ["pooling"] if _has_classifier(checkpoint) else ["pooling", "without-classifier"]


def _has_classifier(checkpoint: str) -> bool:
    try:
        return checkpoints.find(checkpoint).has_head
    except UserError:  # whoever embeds with it says so
        return False


def offer_ways(checkpoint: str, chosen: str) -> Any:
    """The same for another checkpoint; what that does not have is not chosen any more."""
    return gr.update(elem_classes=ways_offered(checkpoint), value=pooling_asked(chosen, checkpoint) or AUTO)


def any_folder() -> bool:
    """Whether a folder may be named as a checkpoint: not by strangers, nor where a GPU has only what is prepared."""
    return not (settings.public or ZERO_GPU)


def allowed(checkpoint: str) -> str:
    """The checkpoint's name, where it is offered. Raises RequestError."""
    offered, known = ({one.id for one in some} for some in (listed_checkpoints(), checkpoints.KNOWN))
    if checkpoint not in offered | {AUTO, settings.checkpoint} and (checkpoint in known or not any_folder()):
        raise RequestError("Here only the checkpoints of the list can be used: choose one of them.")
    return checkpoint


@event(*OUTPUTS)
def embed(say: Progress, folder: Path, chosen: Any, source: str | None, *controls: Any) -> Iterator[Update]:
    """Embed a file that came in, and compare it with the references where these are embedded in the same way."""
    yield from _embed_new(say, folder, intake.file_of(chosen), source, *controls)


@event(*OUTPUTS)
def embed_example(say: Progress, folder: Path, chosen: Any, source: str | None, *controls: Any) -> Iterator[Update]:
    """Embed an example."""
    yield from _embed_new(say, folder, examples.file_of(chosen), source, *controls)


@event(*OUTPUTS, "frames")
def embed_pair(say: Progress, folder: Path, chosen: Any, source: str | None, *controls: Any) -> Iterator[Update]:
    """Embed a possible clip and its impossible twin, all their frames; the viewer then asks for what was expected."""
    controls = (pairs.FRAMES, *controls[1:])
    also = {"frames": pairs.FRAMES}
    yield from _embed_new(say, folder, pairs.file_of(chosen), source, *controls, also=also, state={"map": "surprise"})


@event(*OUTPUTS)
def embed_again(
    say: Progress, folder: Path, source: str | None, made: Made | None, result_id: str | None, *controls: Any
) -> Iterator[Update]:
    """Embed what is shown in another way: a control was changed, or only left, which Gradio tells in the same words."""
    request = make_request(*controls)
    file = source or str(examples.files()[0])
    before = made or (file, first_options())
    result, options = there(result_id), request.options
    if result and result.path == file and not result.clip.is_hdr:
        options = replace(options, hdr=before[1].hdr)  # it is the same either way
    if (file, options) == before:
        said = "Done." if options == request.options else "This clip is not HDR, so it stays as it is."
        ended = end("clip")  # what the controls asked for in between
        yield {"status": status(said)} if ended or options != request.options else {}
        return
    # The windows of a film stay while one of them after the other is shown, and only while all is embedded alike.
    alike = replace(options, start=before[1].start, end=before[1].end) == before[1]
    yield from _embed(say, folder, file, request, None if alike else {"track": None})


def _embed_new(
    say: Progress,
    folder: Path,
    file: str,
    source: str | None,
    *controls: Any,
    also: Update | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Update]:
    """A new clip is seen whole, whatever span of the one before was chosen. Where it fails, the one before stays."""
    request = make_request(*controls)
    request = replace(request, options=replace(request.options, start=0.0, end=None))
    yield {"source": file}  # a control that is changed from now on is meant for this one
    try:
        yield from _embed(say, folder, file, request, {"start": 0, "end": 0, "track": None, **(also or {})}, state)
    except Exception:
        yield {"source": source}
        raise


def _embed(
    say: Progress,
    folder: Path,
    file: str,
    request: Request,
    also: Update | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Update]:
    end_older()
    opening().loading.begin()  # while the file is read
    embedded = explore.embed(file, request.options, pooling=request.pooling, progress=say)
    second = beside(embedded, None, say)
    end_older()  # what was asked of the clip before while this one was embedded
    # What is shown belongs together: nothing of the clip before is left.
    view = show(embedded, folder, second=second, state=state)
    made = {"made": (file, request.options)}
    yield {**view, "map": WAITING, **NO_OFFER, **made, **GONE, **(also or {})}
    # In one piece and last: what is yielded right after another reaches the page as a difference to that one, and may
    # undo it before it was seen.
    update = compare_or_offer(embedded, request.references, say)
    if told := sessions.own.parting(request.own_id):
        update["status"] = status(f"Done. {told}")
    yield update


def end_older() -> None:
    """End what is under way for the clip that the page shows no longer."""
    for kind in ("clip", "offer", "expect", "tests", "track", "alike"):
        end(kind)


def end(kind: str) -> set[str]:
    """End what was asked for before, of a kind, by the page for which is worked now. Returns the kinds of what was."""
    job = jobs.current()
    return under_way.end(job.visitor, kind, before=job) if job else set()


@event(*OUTPUTS, "offer_said", kind="offer", says_in=("status", "offer_said"))
def compare_anyway(say: Progress, folder: Path, result_id: str | None, own_id: str | None) -> Iterator[Update]:
    """Embed the references as the clip was embedded, then compare it with them."""
    result, references = shown(result_id, say), sessions.folder_of(own_id)
    # What is said beside the button shows only as long as it cannot be pressed.
    yield {"offer": gr.update(interactive=False), "offer_said": ""}
    try:
        compared = table.compare(result, references, say)
    except UserError:
        yield {"offer": offer(*price(result, references))}
        raise
    yield {"status": status("Done."), "map": show_map(compared), **NO_OFFER}


def cancel(result_id: str | None, own_id: str | None) -> tuple[Any, Any, Any, Any]:
    """End all that is under way for the page. Returns what the two lines of status say, the offer, and that what an
    address may have asked for does not come."""
    kinds = under_way.end(visits.visitor())
    result = there(result_id)
    return (
        status("Cancelled. The last result is still here.") if kinds else NOT_BUSY,
        OWN_CANCELLED if "own" in kinds else gr.skip(),
        gr.skip() if result is None else offer(*price(result, sessions.folder_of(own_id))),
        {"failed": time.time()},  # what is the same as before is not told to the page
    )


NOT_BUSY = status("Nothing is under way.")
OWN_CANCELLED = status("Cancelled. The references are as they were.")


def fill_in(told: Any, own_id: str | None) -> tuple[Any, Any, Any]:
    """What the page asks every few seconds while references are on their way: (map, what it watches, the timer).

    It says nothing while another clip is coming, and no more once the page shows references of the visitor's own.
    """
    unchanged, enough = (gr.skip(), gr.skip(), gr.skip()), (gr.skip(), None, gr.update(active=False))
    result_id, seen, before = told or (None, 0, "")
    references = sessions.folder_of(own_id)
    if results.get(result_id) is None or references != current.folder():
        return enough
    result = there(result_id)
    if result is None or under_way.busy(visits.visitor(), "clip"):
        return unchanged
    options = result.embedding.fingerprint.options
    replaced = str(references) != before  # others have taken the place of those that are shown
    filling = fill(references, options) if replaced else on_its_way(references, options)
    if filling is None:
        return unchanged if current.words(references) else enough
    if filling.done == seen and not (filling.over or replaced):
        return unchanged
    update = show_filling(result, filling)
    if under_way.busy(visits.visitor(), "clip"):
        return unchanged
    return update["map"], update["watched"], update["watch"]


def take_ready(result_id: str | None, own_id: str | None) -> tuple[Any, Any, Any]:
    """The values of the controls (frames, sampling, fit) that lead to a map which is ready."""
    result = there(result_id)
    way = ready_way(result, sessions.folder_of(own_id)) if result else None
    return (way.frames, way.sampling, way.fit) if way else (gr.skip(), gr.skip(), gr.skip())
