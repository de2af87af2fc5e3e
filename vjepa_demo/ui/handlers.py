"""What happens when something is pressed. Every function here ends in a result or in one clear sentence."""

from __future__ import annotations

import copy
import functools
import itertools
import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from vjepa_demo import explore, jobs, scratch
from vjepa_demo.embedder import DEFAULTS, Embedder, sampling_of
from vjepa_demo.embedding import Kind, Pooling
from vjepa_demo.errors import RequestError, UserError, duration, out_of_memory
from vjepa_demo.explore import Compared, Embedded, Progress
from vjepa_demo.model import checkpoints
from vjepa_demo.model.checkpoints import Checkpoint, Choice
from vjepa_demo.model.device import device_name
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import IMAGE_FRAMES, Fit, Options, Sampling, SamplingMode, page_fit
from vjepa_demo.references import current
from vjepa_demo.references.filling import Filling, fill, on_its_way
from vjepa_demo.references.preparing import missing
from vjepa_demo.settings import AUTO, ZERO_GPU, settings
from vjepa_demo.ui import examples, intake, sessions, under_way, visits
from vjepa_demo.ui.kept import Store
from vjepa_demo.ui.link import link_value, view_of
from vjepa_demo.ui.outcome import Update, event, safe, sentence, status
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.reference_map import WAITING, describe_clip, describe_filling, map_value
from vjepa_demo.views.similarity import pack

log = logging.getLogger(__name__)


def first_options() -> Options:
    """The options that the page's controls show at first."""
    checkpoint = opening().choice.checkpoint
    return Options(checkpoint.id, frames=checkpoint.frames, fit=page_fit())


results: Store[Embedded] = Store()
Made = tuple[str, Options]  # the file that is shown, and how it was embedded


def keep(result: Embedded) -> str:
    """The id under which the page finds a result again."""
    return results.put(result, result.parts, sessions.jobs_visitor().address)


def summary(result: Embedded) -> str:
    """The embedding's shape, what its parts mean, and what took how long."""
    embedding = result.embedding
    batch, count, channels = embedding.shape
    steps, rows, cols = embedding.grid
    made, times = embedding.fingerprint, embedding.timings_ms
    spent = [f"{name} {times[name]:,.0f} ms" + " (kept)" * (name in embedding.kept) for name in times]
    seen = "one image, repeated" if result.clip.is_image else f"{len(embedding.timestamps)} frames"
    facts = " · ".join(
        [
            *spent,
            f"{made.precision} on {device_name(embedding.device)}{embedding.speed and f' ({embedding.speed})'}",
            f"{result.clip.source.width} × {result.clip.source.height} px {result.clip.source.codec}",
        ]
    )
    notes = "".join(f'<div class="note">{safe(note)}</div>' for note in embedding.notes)
    return (
        f'<span class="shape">[{batch}, {count}, {channels}]</span> '
        f'<span class="parts">= {steps} time steps × {rows} × {cols} patches × {channels} channels '
        f"({safe(seen)}, {safe(made.fit)})</span>"
        f'<div class="facts">{safe(facts)}</div>{notes}'
    )


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
) -> Request:
    """A request from the controls; an empty field means its default."""
    options = make_options(checkpoint, frames, start, end, sampling, fit)
    return Request(options, pooling_asked(pooling), own_id)


def make_options(
    checkpoint: str,
    frames: float | None,
    start: float | None,
    end: float | None,
    sampling: str,
    fit: str,
    precision: str = "auto",
) -> Options:
    """Options from what was sent; an empty field means its default. Raises RequestError."""
    return Options(
        checkpoint=allowed(checkpoint),
        frames=None if frames is None else int(number(frames, "number of frames")),
        start=number(start or 0.0, "start of the span"),
        end=number(end, "end of the span") if end else None,
        sampling=sampling,  # type: ignore[arg-type]
        fit=fit,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
    )


def number(value: Any, name: str) -> float:
    """A control's value as a finite number. Raises RequestError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestError(f"The {name} must be a number.")
    return value


def pooling_asked(choice: str) -> Any:
    """The control's choice as a request takes it: None leaves it to the clip and the checkpoint."""
    return None if choice == AUTO else choice


def any_folder() -> bool:
    """Whether a folder may be named as a checkpoint: not by strangers, nor where a GPU has only what is prepared."""
    return not (settings.public or ZERO_GPU)


def allowed(checkpoint: str) -> str:
    """The checkpoint's name, where it is offered. Raises RequestError."""
    offered, known = ({one.id for one in some} for some in (listed_checkpoints(), checkpoints.KNOWN))
    if checkpoint not in offered | {AUTO, settings.checkpoint} and (checkpoint in known or not any_folder()):
        raise RequestError("Here only the checkpoints of the list can be used: choose one of them.")
    return checkpoint


# --- the page --------------------------------------------------------------------------------------------------------

# What was made of the clip before: a second clip beside it, a file to be saved, code.
GONE: Update = {"second": None, "file": None, "text": None}
# What an embedding changes on the page, in this order.
OUTPUTS = (
    *("status", "summary", "viewer", "map", "result", "link", "layer", "offer", "ready", "watched", "watch"),
    *("source", "made", "start", "end", *GONE),
)


@event(*OUTPUTS)
def embed(say: Progress, folder: Path, chosen: Any, source: str | None, *controls: Any) -> Iterator[Update]:
    """Embed a file that came in, and compare it with the references where these are embedded in the same way."""
    yield from _embed_new(say, folder, intake.file_of(chosen), source, *controls)


@event(*OUTPUTS)
def embed_example(say: Progress, folder: Path, chosen: Any, source: str | None, *controls: Any) -> Iterator[Update]:
    """Embed an example."""
    yield from _embed_new(say, folder, examples.file_of(chosen), source, *controls)


@event(*OUTPUTS)
def embed_again(say: Progress, folder: Path, source: str | None, made: Made | None, *controls: Any) -> Iterator[Update]:
    """Embed what is shown in another way: a control was changed, or only left, which Gradio tells in the same words."""
    request = make_request(*controls)
    file = source or str(examples.files()[0])
    if (file, request.options) == (made or (file, first_options())):
        yield {"status": status("Done.")} if end("clip") else {}  # what the controls asked for in between
        return
    yield from _embed(say, folder, file, request)


def _embed_new(say: Progress, folder: Path, file: str, source: str | None, *controls: Any) -> Iterator[Update]:
    """A new clip is seen whole, whatever span of the one before was chosen. Where it fails, the one before stays."""
    request = make_request(*controls)
    request = replace(request, options=replace(request.options, start=0.0, end=None))
    yield {"source": file}  # a control that is changed from now on is meant for this one
    try:
        yield from _embed(say, folder, file, request, {"start": 0, "end": 0})
    except Exception:
        yield {"source": source}
        raise


def _embed(say: Progress, folder: Path, file: str, request: Request, also: Update | None = None) -> Iterator[Update]:
    end_older()
    embedded = explore.embed(file, request.options, pooling=request.pooling, progress=say)
    end_older()  # what was asked of the clip before while this one was embedded
    # What is shown belongs together: nothing of the clip before is left.
    made = {"made": (file, request.options)}
    yield {**show(embedded, folder), "map": WAITING, **NO_OFFER, **made, **GONE, **(also or {})}
    # In one piece and last: what is yielded right after another reaches the page as a difference to that one, and may
    # undo it before it was seen.
    update = compare_or_offer(embedded, request.references, say)
    if told := sessions.own.parting(request.own_id):
        update["status"] = status(f"Done. {told}")
    yield update


def end_older() -> None:
    """End what is under way for the clip that the page shows no longer."""
    end("clip")
    end("offer")


def end(kind: str) -> set[str]:
    """End what was asked for before, of a kind, by the page for which is worked now. Returns the kinds of what was."""
    job = jobs.current()
    return under_way.end(job.visitor, kind, before=job) if job else set()


@event(*OUTPUTS, "offer_said", kind="offer", says_in=("status", "offer_said"))
def compare_anyway(say: Progress, folder: Path, result_id: str | None, own_id: str | None) -> Iterator[Update]:
    """Embed the references as the clip was embedded, then compare it with them."""
    result, references = shown(result_id), sessions.folder_of(own_id)
    # What is said beside the button shows only as long as it cannot be pressed.
    yield {"offer": gr.update(interactive=False), "offer_said": ""}
    try:
        compared = explore.compare(result, references, say)
    except UserError:
        yield {"offer": offer(*price(result, references))}
        raise
    yield {"status": status("Done."), "map": show_map(compared), **NO_OFFER}


def cancel(result_id: str | None, own_id: str | None) -> tuple[Any, Any, Any, Any]:
    """End all that is under way for the page. Returns what the two lines of status say, the offer, and that what an
    address may have asked for does not come."""
    kinds = under_way.end(visits.visitor())
    result = results.get(result_id)
    return (
        status("Cancelled. The last result is still here.") if kinds else NOT_BUSY,
        OWN_CANCELLED if "own" in kinds else gr.skip(),
        gr.skip() if result is None else offer(*price(result, sessions.folder_of(own_id))),
        {"failed": time.time()},  # what is the same as before is not told to the page
    )


def shown(result_id: str | None) -> Embedded:
    """The result of this id. Raises RequestError where it was dropped to make room."""
    result = results.get(result_id)
    if result is None:
        raise RequestError("This result is no longer kept here: embed the file again.")
    return result


NOT_BUSY = status("Nothing is under way.")
OWN_CANCELLED = status("Cancelled. The references are as they were.")
AT_ONCE_S = 5.0  # references are embedded unasked where it takes no longer than that
HIDDEN = gr.update(visible=False)
# Neither an offer to embed references, nor references that are on their way.
NO_OFFER: Update = {"offer": HIDDEN, "ready": HIDDEN, "watched": None, "watch": gr.update(active=False)}


def compare_or_offer(result: Embedded, references: Path, say: Progress) -> Update:
    """The clip's place among the references.

    Where these are not embedded in its way yet and that takes more than a few seconds, they are embedded in the
    background if the way is the checkpoint's own, and otherwise nothing begins by itself: what it would cost is said.
    """
    count, seconds = price(result, references)
    if seconds <= AT_ONCE_S:
        compared = explore.compare(result, references, say)
        return {"status": status("Done."), "map": show_map(compared), **NO_OFFER, **watching(result, references)}
    if is_own_way(result, references, seconds):
        result = explore.at_layer(result, None, say)
        filling = fill(references, result.embedding.fingerprint.options)
        return {"status": status("Done."), **show_filling(result, filling)}
    words = "Done. There is no map: the reference clips are not embedded in this way yet. The button below does it."
    return {"status": status(words), "map": None, **NO_OFFER, **offers(result, references, count, seconds)}


def is_own_way(result: Embedded, references: Path, seconds: float) -> bool:
    """Whether references may be embedded in the background at anybody's wish, since there are few such ways: those that
    all visitors see, like a clip that has as many frames as its checkpoint was trained on, or as nano, within the time
    that a build may take. On ZeroGPU a GPU is given to a visitor's request alone."""
    made = result.embedding.fingerprint
    frames = {checkpoints.find(made.checkpoint).frames, checkpoints.NANO.frames}
    return (
        made.sampling in {Sampling(count).name for count in frames}
        and made.fit in (page_fit(), DEFAULTS.fit)
        and references.resolve() == current.folder().resolve()
        and seconds <= settings.build_seconds
        and not (ZERO_GPU and result.embedding.device == "cuda")
    )


def show_filling(result: Embedded, filling: Filling) -> Update:
    """The clip among those references that are embedded already; the page asks again for the others."""
    known = filling.sets.get(result.pooling)
    found = explore.compare_with(result, known).comparison if known else None
    clip = describe_clip(result.embedding, found, name=result.name, auto=result.auto) if found else None
    if clip and not filling.mapped:
        clip["vote"] = None  # of a clip or two of each label
    return {
        **NO_OFFER,
        "map": map_value(known, clip, None if filling.over and not filling.failure else filling),
        **({} if filling.over else watched(result, filling.done, filling.folder)),
    }


def watched(result: Embedded, seen: int, references: Path) -> Update:
    """Lets the page ask every few seconds how far references are, of which it has seen so many."""
    return {"watched": (keep(result), seen, str(references)), "watch": gr.update(active=True)}


def watching(result: Embedded, references: Path) -> Update:
    """The same where others are to take their place."""
    return watched(result, 0, references) if current.words(references) else {}


def fill_in(told: Any, own_id: str | None) -> tuple[Any, Any, Any]:
    """What the page asks every few seconds while references are on their way: (map, what it watches, the timer).

    It says nothing while another clip is coming, and no more once the page shows references of the visitor's own.
    """
    unchanged, enough = (gr.skip(), gr.skip(), gr.skip()), (gr.skip(), None, gr.update(active=False))
    result_id, seen, before = told or (None, 0, "")
    result, references = results.get(result_id), sessions.folder_of(own_id)
    if result is None or references != current.folder():
        return enough
    if under_way.busy(visits.visitor(), "clip"):
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


def price(result: Embedded, references: Path) -> tuple[int, float]:
    """How many of the references are not embedded in a clip's way yet, and how many seconds that would take."""
    count, frames = missing(references, result.kind), result.embedding.fingerprint.options.frames or IMAGE_FRAMES
    # A photo has fewer frames than the references will have.
    return count, count * seconds_of(result) * (frames / IMAGE_FRAMES if result.clip.is_image else 1)


def offers(result: Embedded, references: Path, count: int, seconds: float) -> Update:
    """The button that embeds what is missing, and one that leads to a way of the same checkpoint that has a map."""
    way = ready_way(result, references)
    words = f"Or show the clip as {describe_way(way)}: its map is ready" if way else ""
    return {"offer": offer(count, seconds), "ready": gr.update(value=words, visible=way is not None)}


def ready_way(result: Embedded, references: Path) -> Options | None:
    """The options nearest to a clip's for which all references are embedded; None where there are none."""
    made = result.embedding.fingerprint.options
    frames = frames_offered(checkpoints.find(made.checkpoint).frames)
    ways = [
        replace(made, frames=count, sampling=sampling, fit=fit)
        for count, sampling, fit in itertools.product(frames, get_args(SamplingMode), get_args(Fit))
    ]
    ways.sort(
        key=lambda way: (
            way.fit != made.fit,
            way.sampling != made.sampling,
            abs((way.frames or 0) - (made.frames or 0)),
        )
    )
    fingerprint = replace(result.embedding.fingerprint, layer=None)
    for way in ways:
        kind = Kind(replace(fingerprint, sampling=sampling_of(way).name, fit=way.fit), result.pooling)
        if not missing(references, kind):
            return way
    return None


def frames_offered(trained_on: int) -> list[int]:
    """What the page lets choose from, beside what a checkpoint was trained on."""
    return sorted({16, 32, 64, trained_on})


def describe_way(way: Options) -> str:
    """For a person: "16 frames, 4 per second, crop"."""
    return f"{way.frames} frames, {'spread evenly' if way.sampling == 'even' else '4 per second'}, {way.fit}"


def take_ready(result_id: str | None, own_id: str | None) -> tuple[Any, Any, Any]:
    """The values of the controls (frames, sampling, fit) that lead to a map which is ready."""
    result = results.get(result_id)
    way = ready_way(result, sessions.folder_of(own_id)) if result else None
    return (way.frames, way.sampling, way.fit) if way else (gr.skip(), gr.skip(), gr.skip())


def offer(count: int, seconds: float) -> Any:
    """The button that embeds what is missing of the references, with its price; no button where nothing is."""
    words = f"Embed the {count} reference clips in this way too (about {duration(seconds)})"
    return gr.update(value=words, visible=True, interactive=True) if count else HIDDEN


def require_references(result: Embedded) -> None:
    """On a public app a client may not set off the embedding of all references and wait for it: they are embedded in
    the background in ways of which there are few. Raises RequestError."""
    count = missing(current.folder(), result.kind) if settings.public else 0
    if count and is_own_way(result, current.folder(), price(result, current.folder())[1]):
        filling = fill(current.folder(), result.embedding.fingerprint.options)
        again = "" if filling.failure else " Try again when they are."
        raise RequestError(f"{describe_filling(filling)['words']}{again}")
    if count:
        raise RequestError(
            f"{count} of the reference clips are not embedded in this way, and that is not done for clients of a "
            "shared app: leave checkpoint, frames, sampling and fit at what they are by default."
        )


def seconds_of(result: Embedded) -> float:
    """How long one clip like this took, from the file to its tokens."""
    return sum(result.embedding.timings_ms.values()) / 1e3


def show(result: Embedded, folder: Path, *, state: dict[str, Any] | None = None, turn: int | None = None) -> Update:
    """Everything but the map: the summary, the patches, the choice of layers, and where it is found again.

    Args:
        result: what is shown.
        folder: for the files.
        state: the viewer's, where it is not to stay as it is.
        turn: see `link_value`.
    """
    layers, layer = Embedder.open(result.embedding.fingerprint.options).layers, result.embedding.layer
    return {
        "summary": summary(result),
        "viewer": show_patches(result, folder, state=state),
        "layer": gr.update(maximum=layers, value=layers if layer is None else layer),
        **kept_as(result, turn),
    }


def kept_as(result: Embedded, turn: int | None = None) -> Update:
    """The id under which a result is found again, and the address that leads to it."""
    key = keep(result)
    return {"result": key, "link": link_value(result, key, turn)}


def show_patches(
    result: Embedded, folder: Path, second: Embedded | None = None, state: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the patch viewer gets: one clip, or two beside each other."""
    paths = []
    for number, clip in enumerate((result, second)):
        if clip is not None:
            paths.append(folder / f"clip{number}.bin")
            paths[-1].write_bytes(pack(clip.embedding, clip.clip))
    return viewer_value(
        *paths, name=result.name, compare_name=second.name if second else "", state=state, view=view_of(result)
    )


def show_map(compared: Compared) -> dict[str, Any]:
    clip, found = compared.embedded, compared.comparison
    return map_value(found.references, describe_clip(clip.embedding, found, name=clip.name, auto=clip.auto))


POINT = "Point at any patch to see what is similar."
LITTLE_MEMORY = "There is too little memory for it here: name a smaller checkpoint in VJEPA_DEMO_CHECKPOINT."
TELL_EVERY_S = 5.0


@dataclass(frozen=True, eq=False)
class Opening:
    """What the page opens with.

    Attributes:
        choice: the checkpoint that is chosen in the control, loaded, and why it is that one.
        example: an example, embedded; a sentence where it cannot be, which the log explains.
        failure: why it is not the checkpoint that it would have been; else empty.
    """

    choice: Choice
    example: Embedded | str
    failure: str = ""

    @property
    def said(self) -> str:
        """A line for those who come."""
        if isinstance(self.example, str):
            return status(self.example, "error")
        if self.failure:
            return status(self.failure, "partly")
        words = POINT
        checkpoint = self.choice.checkpoint
        if self.example.embedding.fingerprint.checkpoint != checkpoint.id:
            words += f" This example is nano's; {checkpoint.name} embeds what you choose."
        return status(words)


@functools.lru_cache(maxsize=1)
def opening() -> Opening:
    """What the page opens with, made once, when the app starts. Raises CheckpointError: there is no such default."""
    choice, failure = checkpoints.default(), ""
    if choice.checkpoint is not checkpoints.NANO:
        log.warning("%s: %s", choice.checkpoint.id, choice.why)
        try:
            # On ZeroGPU a GPU is given to a visitor's request alone: there nano embeds the example.
            get_encoder(choice.checkpoint.id, progress=_tell_terminal())
            return Opening(choice, _embed_example("nano" if ZERO_GPU else choice.checkpoint.id))
        except Exception as error:
            failed = choice.checkpoint
            reason = LITTLE_MEMORY if out_of_memory(error) else sentence(error)
            failure = f"{failed.name} could not be loaded, so this is nano. {reason}"
            log.warning("%s", failure)
            choice = checkpoints.fall_back(failed)
    try:
        return Opening(choice, _embed_example("nano"), failure)
    except Exception as error:
        return Opening(choice, sentence(error), failure)


def _embed_example(checkpoint: str) -> Embedded:
    for _ in range(2):  # the first pass loads libraries and weights, and its times would say nothing of the clip
        explore.kept.clear()
        frames = checkpoints.find(checkpoint).frames
        embedded = explore.embed(examples.files()[0], Options(checkpoint, frames=frames, fit=page_fit()))
    return embedded


def _tell_terminal() -> Progress:
    """Tells those who start the app what it waits for, not more often than every few seconds."""
    told = -TELL_EVERY_S

    def tell(message: str) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            log.warning("%s", message)

    return tell


def listed_checkpoints() -> list[Checkpoint]:
    """Those that the page's control offers: also the one that it opens with."""
    return list(dict.fromkeys([*checkpoints.offered(), opening().choice.checkpoint]))


def choice_told(chosen: str) -> tuple[str, str]:
    """The line beside the control: which checkpoint the page opened with and why, and the words of the button for the
    other one; no words where that is not offered.

    Args:
        chosen: what is chosen in the control.
    """
    choice = opening().choice
    if chosen == choice.checkpoint.id:
        other = f"{choice.other.name} ›" if choice.other in listed_checkpoints() else ""
        return safe(f"{choice.checkpoint.name}: {choice.why}"), other
    return "", f"‹ {choice.checkpoint.name}"


def choose_other(chosen: str) -> tuple[str, int, str]:
    """The checkpoint that the button beside the control offers, and its frames; pressed again, it leads back.

    Without a GPU the larger one gets no more frames than nano has: it would take minutes.
    """
    choice = opening().choice
    other = choice.other if chosen == choice.checkpoint.id else choice.checkpoint
    return other.id, min(other.frames, choice.checkpoint.frames), status(POINT)


@functools.lru_cache(maxsize=1)
def first_view() -> Update:
    """All that shows the first example but its place on the map, made once: every visitor sees the same."""
    first = opening()
    if isinstance(first.example, str):
        return {"status": first.said}
    folder = scratch.folder(scratch.UPLOADS) / "first"  # from where it is served, for as long as the app runs
    folder.mkdir(exist_ok=True)
    made = first.example.embedding.fingerprint.options.checkpoint
    other = {} if made == first.choice.checkpoint.id else {"made": (str(examples.files()[0]), Options(made))}
    return {**show(first.example, folder), "status": first.said, **other}


_placed: Compared | None = None


def first_place(example: Embedded) -> Update:
    """The first example's place on the map, where the references are embedded in its way, or soon are; else no map."""
    global _placed
    if _placed is None or _placed.comparison.references.folder != current.folder().resolve():
        if price(example, current.folder())[1] > AT_ONCE_S:
            return {"map": None, **NO_OFFER}
        _placed = explore.compare(example, current.folder())
    return {"map": show_map(_placed), **NO_OFFER, **watching(example, current.folder())}


_first = threading.Lock()


def first_updates() -> Update:
    """What a visitor sees before they have done anything: a finished example."""
    example = opening().example
    with _first:
        view = first_view()
        if not isinstance(example, str):
            try:
                view = view | first_place(example)
            except Exception as error:
                view = view | {"status": status(sentence(error), "error")}
        return copy.deepcopy(view)  # Gradio takes updates apart when it sends them


def opening_place(example: Embedded) -> Update:
    """The first example among references that are embedded in its way from now on, or what that would cost."""
    update = compare_or_offer(example, current.folder(), explore.say_nothing)
    del update["status"]
    return update


def first_paint() -> tuple[Any, ...]:
    """The first updates of a visitor's page; references that are not embedded in its way are from now on."""
    view, example = first_updates(), opening().example
    if not isinstance(example, str):
        view |= kept_as(example)
        if view.get("map", WAITING) is None:
            view |= opening_place(example)
    return tuple(view.get(name, gr.skip()) for name in OUTPUTS)
