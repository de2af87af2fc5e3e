"""A result on the page: what is shown of it, and its place among the references or what that would cost."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from vjepa_demo import explore
from vjepa_demo.embedder import DEFAULTS, sampling_of
from vjepa_demo.embedding import Kind
from vjepa_demo.errors import CheckpointError, FingerprintMismatch, RequestError, duration
from vjepa_demo.explore import Compared, Embedded, Progress
from vjepa_demo.jobs import Later
from vjepa_demo.model import checkpoints
from vjepa_demo.options import IMAGE_FRAMES, Fit, Options, Sampling, SamplingMode, page_fit
from vjepa_demo.references import current
from vjepa_demo.references.filling import Filling, fill
from vjepa_demo.references.preparing import has_map, missing
from vjepa_demo.settings import ZERO_GPU, settings
from vjepa_demo.ui import pairs, sessions, table
from vjepa_demo.ui.kept import Store
from vjepa_demo.ui.link import link_value, view_of
from vjepa_demo.ui.outcome import Update, safe, status
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.reference_map import describe_clip, describe_filling, map_value
from vjepa_demo.ui.table import describe_way
from vjepa_demo.views import labels
from vjepa_demo.views.similarity import pack
from vjepa_demo.views.surprise import Expected, Surprise, packed

# A result, or one that is on its way: a sentence then where it cannot be made.
Kept = Embedded | Later[Embedded | str]
results: Store[Kept] = Store()
# What was made of the clip before: a second clip beside it, a file to be saved, code.
GONE: Update = {"second": None, "file": None, "text": None, "tests": None}
# What an embedding changes on the page, in this order.
OUTPUTS = (
    *("status", "summary", "viewer", "map", "result", "link", "layer", "offer", "ready", "watched", "watch"),
    *("source", "made", "start", "end", "track", *GONE),
)


def keep(result: Kept) -> str:
    """The id under which the page finds a result again."""
    parts = result.parts if isinstance(result, Embedded) else 0
    return results.put(result, parts, sessions.jobs_visitor().address)


def there(result_id: str | None) -> Embedded | None:
    """The result of this id; None where it was dropped to make room, or is still on its way."""
    kept = results.get(result_id)
    found = kept.get() if isinstance(kept, Later) and kept.over else kept
    return found if isinstance(found, Embedded) else None


def awaited(result_id: str | None, say: Progress) -> Embedded | None:
    """The result of this id, once it is there; None where it was dropped to make room.

    Raises:
        CheckpointError: it cannot be made.
        Stopped: nobody waits for it any more.
    """
    kept = results.get(result_id)
    return None if kept is None else settled(kept, say)


def settled(result: Kept, say: Progress) -> Embedded:
    """A result, once it is there. Raises as `awaited` does."""
    if isinstance(result, Embedded):
        return result
    if not result.over:
        say("Loading the model")
    made = result.get()
    if isinstance(made, str):
        raise CheckpointError(made)
    return made


def shown(result_id: str | None, say: Progress) -> Embedded:
    """The same. Raises RequestError where it was dropped, and where the page does not show one yet."""
    if result_id is None:
        raise RequestError("No clip is shown yet: wait for the first one, or open yours.")
    result = awaited(result_id, say)
    if result is None:
        raise RequestError("This result is no longer kept here: embed the file again.")
    return result


def device_name(device: str) -> str:
    """What to show a person, e.g. "NVIDIA H200" or "CPU"."""
    if device != "cuda":
        return device.upper()
    import torch

    return torch.cuda.get_device_name()


MOST_LABELS = 5


def named(result: Embedded) -> labels.Labels | None:
    """What the checkpoint's classifier calls a clip; None where it has none. Raises UserError."""
    if not checkpoints.find(result.embedding.fingerprint.checkpoint).has_head:
        return None
    with contextlib.suppress(RequestError):  # its files hold only a part of it
        return explore.labels_of(result, MOST_LABELS)
    return None


def labels_list(result: Embedded) -> str:
    """The likeliest labels of a clip and what is to be known of them, or nothing."""
    if not (found := named(result)):
        return ""
    rows = "".join(f"<li><b>{share:.2f}</b> {safe(label)}</li>" for label, share in found.likeliest)
    return f'<ol class="labels">{rows}</ol><p class="cautions">{safe(" ".join(found.cautions))}</p>'


def summary(result: Embedded) -> str:
    """The embedding's shape, what its parts mean, what took how long, and what the clip is called."""
    embedding = result.embedding
    batch, count, channels = embedding.shape
    steps, rows, cols = embedding.grid
    made, times = embedding.fingerprint, embedding.timings_ms
    spent = [f"{name} {times[name]:,.0f} ms" + " (kept)" * (name in embedding.kept) for name in times]
    seen = "one image, repeated" if result.clip.is_image else f"{len(embedding.timestamps)} frames"
    facts = " · ".join(
        [
            *(spent or ["embedded beforehand"]),
            f"{made.precision} on {device_name(embedding.device)}{embedding.speed and f' ({embedding.speed})'}",
            f"{result.clip.source.width} × {result.clip.source.height} px {result.clip.source.codec}",
        ]
    )
    notes = "".join(f'<div class="note">{safe(note)}</div>' for note in embedding.notes)
    return (
        f'<span class="shape">[{batch}, {count}, {channels}]</span> '
        f'<span class="parts">= {steps} time steps × {rows} × {cols} patches × {channels} channels '
        f"({safe(seen)}, {safe(made.fit)})</span>"
        f'<div class="facts">{safe(facts)}</div>{notes}{labels_list(result)}'
    )


def show(
    result: Embedded,
    folder: Path,
    *,
    second: Embedded | None = None,
    state: dict[str, Any] | None = None,
    turn: int | None = None,
) -> Update:
    """Everything but the map: the summary, the patches, the choice of layers, and where it is found again.

    Args:
        result: what is shown.
        folder: for the files.
        second: the clip beside it.
        state: the viewer's, where it is not to stay as it is.
        turn: see `link_value`.
    """
    return {**describe(result), "viewer": show_patches(result, folder, second, state), **kept_as(result, turn)}


def describe(result: Embedded) -> Update:
    """The summary, and the choice of layers."""
    made = result.embedding.fingerprint
    layers = checkpoints.find(made.checkpoint).size.layers
    return {
        "summary": summary(result),
        "layer": gr.update(maximum=layers, value=layers if made.layer is None else made.layer),
    }


def kept_as(result: Embedded, turn: int | None = None, of: Kept | None = None) -> Update:
    """The id under which a result is found again, and the address that leads to it; `of`: what is kept in its place."""
    key = keep(of or result)
    return {"result": key, "link": link_value(result, key, turn)}


def beside(result: Embedded, file: str | None, say: Progress) -> Embedded | None:
    """The clip that is shown beside another one: a file, or else the impossible twin of a possible clip. Raises
    UserError."""
    file = file or pairs.twin_of(result.path)
    return explore.alike(file, result, say) if file else None


def show_patches(
    result: Embedded,
    folder: Path,
    second: Embedded | None = None,
    state: dict[str, Any] | None = None,
    foreseen: Callable[[Embedded], tuple[Surprise, Expected]] | None = None,
) -> dict[str, Any]:
    """What the patch viewer gets: one clip, or two beside each other.

    Args:
        result, second: the clips.
        folder: for their files.
        state: see `viewer_value`.
        foreseen: gives what was expected of a clip, where that is to be seen, too. Raises UserError.
    """
    paths = []
    for number, clip in enumerate((result, second)):
        if clip is not None:
            paths.append(folder / f"clip{number}.bin")
            paths[-1].write_bytes(viewer_bytes(clip, foreseen))
    return viewer_value(
        *paths, name=result.name, compare_name=second.name if second else "", state=state, view=view_of(result)
    )


def viewer_bytes(clip: Embedded, foreseen: Callable[[Embedded], tuple[Surprise, Expected]] | None = None) -> bytes:
    """A clip's file for the patch viewer, with where the checkpoint's classifier looked, if it has one; `foreseen`: see
    `show_patches`. Raises UserError."""
    more, told = packed(*foreseen(clip)) if foreseen else ({}, {})
    if found := named(clip):
        more |= labels.packed(found)
    return pack(clip.embedding, clip.clip, more=more, told=told)


def show_map(compared: Compared) -> dict[str, Any]:
    clip, found = compared.embedded, compared.comparison
    return map_value(found.references, describe_clip(clip.embedding, found, name=clip.name, auto=clip.auto))


AT_ONCE_S = 5.0  # references are embedded unasked where it takes no longer than that
HIDDEN = gr.update(visible=False)
# Neither an offer to embed references, nor references that are on their way.
NO_OFFER: Update = {"offer": HIDDEN, "ready": HIDDEN, "watched": None, "watch": gr.update(active=False)}


def compare_or_offer(result: Embedded, references: Path, say: Progress) -> Update:
    """The clip's place among the references.

    Where some of these are not embedded in its way yet and that takes more than a few seconds, or there is no map yet,
    it happens in the background if the way is the checkpoint's own. Otherwise nothing begins by itself that takes
    long: what it would cost is said.
    """
    count, seconds = price(result, references)
    long = seconds > AT_ONCE_S or (count and not has_map(references, result.kind))
    if long and is_own_way(result, references, seconds):
        result = explore.at_layer(result, None, say)
        filling = fill(references, result.embedding.fingerprint.options)
        return {"status": status("Done."), **show_filling(result, filling)}
    if seconds <= AT_ONCE_S:
        try:
            compared = table.compare(result, references, say)
        except FingerprintMismatch as error:  # of a table, to which nothing is added
            return {"status": status(str(error)), "map": None, **NO_OFFER, **ways(result, references)}
        return {"status": status("Done."), "map": show_map(compared), **NO_OFFER, **watching(result, references)}
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


def watched(result: Kept, seen: int, references: Path) -> Update:
    """Lets the page ask every few seconds how far references are, of which it has seen so many."""
    return {"watched": (keep(result), seen, str(references)), "watch": gr.update(active=True)}


def watching(result: Kept, references: Path) -> Update:
    """The same where others are to take their place."""
    return watched(result, 0, references) if current.words(references) else {}


def price(result: Embedded, references: Path) -> tuple[int, float]:
    """How many of the references are not embedded in a clip's way yet, and how many seconds that would take; none of a
    table, which stays as it is."""
    if table.options():
        return 0, 0.0
    count, frames = missing(references, result.kind), result.embedding.fingerprint.options.frames or IMAGE_FRAMES
    # A photo has fewer frames than the references will have.
    return count, count * seconds_of(result) * (frames / IMAGE_FRAMES if result.clip.is_image else 1)


def seconds_of(result: Embedded) -> float:
    """How long one clip like this took, from the file to its tokens."""
    return sum(result.embedding.timings_ms.values()) / 1e3


def offers(result: Embedded, references: Path, count: int, seconds: float) -> Update:
    """The button that embeds what is missing, and one that leads to a way of the same checkpoint that has a map."""
    return {"offer": offer(count, seconds), **ways(result, references)}


def ways(result: Embedded, references: Path) -> Update:
    """The latter of the two."""
    way = ready_way(result, references)
    words = f"Or show the clip as {describe_way(way)}: its map is ready" if way else ""
    return {"ready": gr.update(value=words, visible=way is not None)}


def ready_way(result: Embedded, references: Path) -> Options | None:
    """The options nearest to a clip's for which all references are embedded; None where there are none."""
    made = result.embedding.fingerprint.options
    if of_table := table.options():
        alike = (of_table.checkpoint, of_table.precision) == (made.checkpoint, made.precision)
        return of_table if alike and of_table != made else None
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
    """What the page lets choose from, beside what a checkpoint was trained on and what a table was embedded with."""
    made = table.options()
    return sorted({16, 32, 64, trained_on, *([made.frames] if made and made.frames else [])})


def offer(count: int, seconds: float) -> Any:
    """The button that embeds what is missing of the references, with its price; no button where nothing is."""
    words = f"Embed the {count} reference clips in this way too (about {duration(seconds)})"
    return gr.update(value=words, visible=True, interactive=True) if count else HIDDEN


def require_references(result: Embedded) -> None:
    """On a public app a client may not set off the embedding of all references and wait for it: they are embedded in
    the background in ways of which there are few. Raises RequestError."""
    count = missing(current.folder(), result.kind) if settings.public and not table.options() else 0
    if count and is_own_way(result, current.folder(), price(result, current.folder())[1]):
        filling = fill(current.folder(), result.embedding.fingerprint.options)
        again = "" if filling.failure else " Try again when they are."
        raise RequestError(f"{describe_filling(filling)['words']}{again}")
    if count:
        raise RequestError(
            f"{count} of the reference clips are not embedded in this way, and that is not done for clients of a "
            "shared app: leave checkpoint, frames, sampling and fit at what they are by default."
        )
