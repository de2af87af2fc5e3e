"""What can be done with the clip that is shown: another layer, a second clip beside it, taking it home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import explore, jobs, windows
from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Embedded, Progress
from vjepa_demo.model import checkpoints
from vjepa_demo.ui import pairs, sessions
from vjepa_demo.ui.files import named_after
from vjepa_demo.ui.handlers import end, number, pooling_asked
from vjepa_demo.ui.outcome import Handler, Update, event, safe, status
from vjepa_demo.ui.result import beside, compare_or_offer, kept_as, show_patches, shown
from vjepa_demo.ui.track import track_value
from vjepa_demo.views.heatmap import Mark, heatmap_video
from vjepa_demo.views.loop import heat_loop
from vjepa_demo.views.orders import WORDS
from vjepa_demo.views.similarity import first_position, similarity
from vjepa_demo.views.snippet import snippet

EXPECTED = "Bright: not expected. Band: how much the contexts differ. Another checkpoint has another scale."
SAVED = "Saved where your browser puts downloads."
COMPARED_BY = {"mean": "what they show", "motion": "how they move", "probe": "what the classifier makes of them"}
MOST_SECONDS = 1e6
MOST_PLACES = 64  # of one query; each costs a product with all tokens


@event("status", "viewer", "result", "link", "second")
def change_layer(say: Progress, folder: Path, result_id: str | None, layer: int) -> Iterator[Update]:
    """Show the maps of another layer of the encoder."""
    end("expect")
    result = shown(result_id, say)
    say("Encoding")
    layer, layers = int(number(layer, "layer")), checkpoints.find(result.embedding.fingerprint.checkpoint).size.layers
    result = explore.at_layer(result, None if layer == layers else layer, say)
    words = "The last layer." if layer == layers else f"Layer {layer}; the map stays with the last one."
    yield {
        "status": status(words),
        "viewer": show_patches(result, folder, beside(result, None, say)),
        **kept_as(result),
        "second": None,  # it was embedded as the layer before
    }


@event("status", "map", "result", "link", "offer", "ready", "watched", "watch")
def change_pooling(
    say: Progress, folder: Path, result_id: str | None, choice: str, own_id: str | None
) -> Iterator[Update]:
    """Compare the clip with the references in another way, whatever was being done for the way before."""
    end("offer")
    result = shown(result_id, say)
    checkpoint = result.embedding.fingerprint.checkpoint
    asked = pooling_asked(choice, checkpoint)
    result = replace(result, pooling=explore.pooling_of(asked, checkpoint, result.clip), auto=asked is None)
    update = compare_or_offer(result, sessions.folder_of(own_id), say)
    if update["map"]:
        words = COMPARED_BY[result.pooling]
        update["status"] = status(f"Clips are compared by {words}.")
    yield {**update, **kept_as(result)}


@event("status", "viewer")
def compare(say: Progress, folder: Path, result_id: str | None, file: str | None) -> Iterator[Update]:
    """Show a second clip beside the first, or the first alone where there is none."""
    end("expect")
    result = shown(result_id, say)
    if file is None:
        yield {"viewer": show_patches(result, folder, beside(result, None, say))}
        return
    say("Embedding the second clip")
    second = beside(result, file, say)
    words = "A patch of one clip is now looked for in both."
    yield {"status": status(words), "viewer": show_patches(result, folder, second)}


@event("status", "viewer", "measured", kind="expect")
def expect(say: Progress, folder: Path, result_id: str | None, file: str | None) -> Iterator[Update]:
    """Show what was expected of the clip, and of the second one where there is one."""
    end("expect")
    result, second = shown(result_id, say), None
    try:
        second = beside(result, file, say)
        view = show_patches(result, folder, second, foreseen=lambda clip: explore.foreseen_of(clip, say))
    except Exception:
        yield {"viewer": show_patches(result, folder, second, state={"map": "similarity"})}
        raise
    yield {"status": status(EXPECTED), "viewer": view, "measured": pairs.measured(result)}


@event("status", "tests", kind="tests")
def try_orders(say: Progress, folder: Path, result_id: str | None) -> Iterator[Update]:
    """How like the clip its frames are in other orders, as a table."""
    result = shown(result_id, say)
    rows = "".join(
        f"<tr><th>{safe(WORDS[test.order])}</th><td>{test.mean:.2f}</td>"
        f"<td>{'–' if test.motion is None else f'{test.motion:.2f}'}</td></tr>"
        for test in explore.time_tests_of(result, say)
    )
    head = "<tr><th>The clip …</th><td>Appearance</td><td>Motion</td></tr>"
    about = (
        "How like the clip as it is, as cosines. 1.00 is no difference: this vector does not tell in which order time "
        "runs. The lower, the more it does; what Motion says of the frozen clip it says without any movement, so hold "
        "its other rows against that. Appearance and Motion are the vectors of Compare by; – where these cannot be "
        "compared."
    )
    yield {"status": status("Done."), "tests": f"<table>{head}{rows}</table><p>{about}</p>"}


@event("status", "track", kind="track")
def cut_up(say: Progress, folder: Path, result_id: str | None, query: Any) -> Iterator[Update]:
    """The windows of the whole film that the clip is of, compared with it, or with the patch that is pinned in it."""
    end("track")
    result = shown(result_id, say)
    pinned = query_places(query, "add")
    at = pinned[0] if pinned else None
    whole = replace(result.options, start=0.0, end=None)
    asked = replace(explore.at_layer(result, None, say), pooling="mean")
    found = windows.track(
        result.path, whole, windows.fitting(result.clip.source.duration), asked=asked, at=at, progress=say
    )
    stamps = result.embedding.timestamps
    asked_for = f"what was shown, {stamps[0]:.2f} to {stamps[-1]:.2f} s"
    if at:
        asked_for = f"the patch {where(result, at)}"
    yield {"status": status("Done."), "track": track_value(found, asked_for)}


def where(result: Embedded, at: tuple[int, int, int]) -> str:
    """Where in a clip a patch is, in words that stay true when another part is shown."""
    step, row, column = at
    return f"at {result.embedding.seconds[step]:.2f} s, row {row}, column {column}"


def remember_query(event: gr.EventData) -> dict[str, Any] | None:
    """The patches that are pinned in the viewer and the ends of its scale; None where a page sends something else."""
    query: dict[str, Any] = {name: bool(getattr(event, name, False)) for name in ("pinned", "centred")}
    for name in ("add", "subtract"):
        places: Any = getattr(event, name, None)
        if not is_places(places):
            return None
        query[name] = [{"clip": place["clip"], "at": place["at"]} for place in places]
    query["range"] = ends = getattr(event, "range", None)
    return query if is_range(ends) else None


def remember_span(event: gr.EventData) -> tuple[float, float]:
    """The ends of the span that was chosen on the line of moments, in seconds; 0 and 0 for what is no span."""
    start: Any = getattr(event, "start", None)
    end: Any = getattr(event, "end", None)
    sent = all(type(value) in (int, float) and 0 <= value < MOST_SECONDS for value in (start, end))
    return (start, end) if sent else (0, 0)


def is_places(value: Any) -> bool:
    """Whether a page sent places as the viewer does: a list of `{"clip": 0 or 1, "at": [step, row, column]}`."""
    return (
        isinstance(value, list)
        and len(value) <= MOST_PLACES
        and all(
            isinstance(place, dict)
            and place.get("clip") in (0, 1)
            and isinstance(place.get("at"), list)
            and len(place["at"]) == 3
            and all(type(i) is int for i in place["at"])
            for place in value
        )
    )


def is_range(value: Any) -> bool:
    """Whether a page sent the ends of a scale of cosines, the lower one first."""
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    return numbers and -1 <= value[0] < value[1] <= 1.05  # a scale has a least length, beyond 1 where it must


@event("status", "file", kind="file")
def take_embedding(say: Progress, folder: Path, result_id: str | None) -> Iterator[Update]:
    """The embedding as `.npz`."""
    yield {"file": None}  # the same file can be saved again
    result = shown(result_id, say)
    path = folder / named_after(result.name, ".npz")
    result.embedding.save(path)
    yield {"status": status(SAVED), "file": str(path)}


@event("status", "file", kind="file")
def take_video(say: Progress, folder: Path, result_id: str | None, query: Any) -> Iterator[Update]:
    """The clip with the pinned patch's heatmap as MP4."""
    yield {"file": None}
    result = shown(result_id, say)
    scores = pinned_scores(result, query)
    path = folder / named_after(result.name, "-heatmap.mp4")
    with jobs.turn(say):
        marks, (centred, ends) = query_marks(query), query_scale(query)
        heatmap_video(result.clip, result.embedding, scores, path, marks, centred=centred, ends=ends)
    yield {"status": status(SAVED), "file": str(path)}


def take_loop(ending: str) -> Handler:
    """The event that makes a loop in one of the formats: `loop.FORMATS`."""

    @event("status", "file", kind="file")
    def take(say: Progress, folder: Path, result_id: str | None, query: Any) -> Iterator[Update]:
        """Four seconds that run for ever: the pinned patch, or the one the viewer begins with, and its heat."""
        yield {"file": None}
        result, words = shown(result_id, say), SAVED
        path = folder / named_after(result.name, f"-loop{ending}")
        with jobs.turn(say):
            say("Making the loop")
            marks, (centred, ends) = query_marks(query), query_scale(query)
            if query_places(query, "add"):
                scores = pinned_scores(result, query)
            else:
                at = first_position(result.embedding, result.clip)
                scores, marks, ends = similarity(result.embedding, at, centred=centred), [Mark(*at)], None
                words = f"{SAVED} No patch of this clip is pinned: the loop is about row {at[1]}, column {at[2]}."
            heat_loop(result.clip, result.embedding, scores, path, marks, centred=centred, ends=ends)
        yield {"status": status(words), "file": str(path)}

    return take


@event("status", "text", kind="file")
def take_snippet(say: Progress, folder: Path, result_id: str | None, query: Any) -> Iterator[Update]:
    """Code that makes the same tokens with transformers alone."""
    result = shown(result_id, say)
    at = query_places(query, "add")
    code = snippet(result.embedding, result.clip, at[0] if at else None, result.name)
    yield {"status": status("The code makes the same tokens in a notebook."), "text": code}


def pinned_scores(result: Embedded, query: dict[str, Any] | None) -> Any:
    """Scores `[T', H', W']` of the pinned patches of the first clip. Raises RequestError where none is pinned."""
    add = query_places(query, "add")
    if not add:
        raise RequestError("No patch of this clip is pinned: click on one first, then the heatmap can be saved.")
    subtract = query_places(query, "subtract")
    centred = bool(query and query["centred"])
    return similarity(result.embedding, add[0], add=add[1:], subtract=subtract, centred=centred)


def query_places(query: dict[str, Any] | None, name: str) -> list[tuple[int, int, int]]:
    """The (step, row, column) of the patches that were added to or subtracted from the query in the first clip."""
    if not query or not query["pinned"]:
        return []
    return [tuple(place["at"]) for place in query[name] if place["clip"] == 0]


def query_marks(query: dict[str, Any] | None) -> list[Mark]:
    """The squares that the viewer draws in the first clip, with signs where the query has several patches."""
    several = query is not None and len(query["add"]) + len(query["subtract"]) > 1
    signs = (("add", 1), ("subtract", -1))
    return [Mark(*at, sign=several * sign) for name, sign in signs for at in query_places(query, name)]


def query_scale(query: dict[str, Any] | None) -> tuple[bool, tuple[float, float] | None]:
    """Whether the viewer shows centred cosines, as it does at first, and the ends of its scale where it is held."""
    if not query:
        return True, None
    low, high = query["range"]
    return query["centred"], (low, high) if query["pinned"] else None
