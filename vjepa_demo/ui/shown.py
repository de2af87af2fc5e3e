"""What can be done with the clip that is shown: another layer, a second clip beside it, taking it home."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import pipeline
from vjepa_demo.dense import similarity
from vjepa_demo.errors import RequestError, UserError
from vjepa_demo.export import heatmap_video, snippet
from vjepa_demo.pipeline import Result
from vjepa_demo.ui import sessions
from vjepa_demo.ui.handlers import (
    LAST_LAYER,
    OUR_FAULT,
    pooling_asked,
    results,
    scratch,
    show_map,
    show_patches,
    status,
)
from vjepa_demo.ui.narrate import narrate

log = logging.getLogger(__name__)


def change_layer(result_id: str | None, layer: int) -> Iterator[tuple[Any, Any, Any]]:
    """Show the maps of another layer: yields updates of (status, patch viewer, result's id)."""
    keep = gr.skip()
    try:
        result = shown(result_id)
        yield status("Encoding …", "busy"), keep, keep
        result = pipeline.at_layer(result, None if layer == LAST_LAYER else int(layer))
        with scratch() as folder:
            words = "The last layer." if layer == LAST_LAYER else f"Layer {layer}; the map stays with the last one."
            yield status(words), show_patches(result, folder), results.put(result, result.nbytes)
    except UserError as error:
        yield status(str(error), "error"), keep, keep
    except Exception:
        log.exception("changing the layer failed")
        yield status(OUR_FAULT, "error"), keep, keep


def change_pooling(result_id: str | None, choice: str, own_id: str | None) -> Iterator[tuple[Any, Any, Any]]:
    """Compare the clip with the references in another way: yields updates of (status, map, result's id)."""
    keep = gr.skip()
    try:
        result, folder_of_references = shown(result_id), sessions.folder_of(own_id)
        pooling = pooling_asked(choice)
        for item in narrate(lambda progress: iter([pipeline.among(result, folder_of_references, pooling, progress)])):
            if isinstance(item, str):
                yield status(f"{item} …", "busy"), keep, keep
                continue
            with scratch() as folder:
                words = {"mean": "what they show", "motion": "how they move"}[item.pooling]
                kept = replace(result, pooling=item.pooling)
                yield status(f"Clips are compared by {words}."), show_map(item, folder), results.put(kept, kept.nbytes)
    except UserError as error:
        yield status(str(error), "error"), keep, keep
    except Exception:
        log.exception("changing the pooling failed")
        yield status(OUR_FAULT, "error"), keep, keep


def compare(result_id: str | None, file: str | None) -> Iterator[tuple[Any, Any]]:
    """Show a second clip beside the first, or the first alone where there is none: (status, patch viewer)."""
    keep = gr.skip()
    try:
        result = shown(result_id)
        with scratch() as folder:
            if file is None:
                yield keep, show_patches(result, folder)
                return
            yield status("Embedding the second clip …", "busy"), keep
            second = pipeline.alike(file, result)
            yield status("A patch of one clip is now looked for in both."), show_patches(result, folder, second)
    except UserError as error:
        yield status(str(error), "error"), keep
    except Exception:
        log.exception("comparing failed")
        yield status(OUR_FAULT, "error"), keep


def remember_query(event: gr.EventData) -> dict[str, Any]:
    """The patches that are pinned in the viewer."""
    return {name: getattr(event, name) for name in ("pinned", "add", "subtract", "centred")}


def take_embedding(result_id: str | None) -> Iterator[tuple[Any, Any]]:
    """The embedding as `.npz`: (status, file)."""

    def make(result: Result, folder: Path) -> Path:
        assert result.embedding is not None
        result.embedding.save(folder / "embedding.npz")
        return folder / "embedding.npz"

    yield from take(result_id, make)


def take_video(result_id: str | None, query: dict[str, Any] | None) -> Iterator[tuple[Any, Any]]:
    """The clip with the pinned patch's heatmap as MP4: (status, file)."""

    def make(result: Result, folder: Path) -> Path:
        assert result.embedding is not None
        scores = pinned_scores(result, query)
        heatmap_video(result.clip, result.embedding, scores, folder / "heatmap.mp4")
        return folder / "heatmap.mp4"

    yield from take(result_id, make)


def take_snippet(result_id: str | None, query: dict[str, Any] | None) -> tuple[Any, Any]:
    """Code that makes the same tokens with transformers alone: (status, code)."""
    try:
        result = shown(result_id)
        assert result.embedding is not None
        at = query_places(query, "add")
        return status("The code makes the same tokens in a notebook."), snippet(
            result.embedding, result.clip, at[0] if at else None
        )
    except UserError as error:
        return status(str(error), "error"), gr.skip()


def take(result_id: str | None, make: Callable[[Result, Path], Path]) -> Iterator[tuple[Any, Any]]:
    """Make a file of the result that is shown; where it fails, say why."""
    try:
        with scratch() as folder:
            yield status("Ready to be saved."), str(make(shown(result_id), folder))
    except UserError as error:
        yield status(str(error), "error"), gr.skip()
    except Exception:
        log.exception("taking home failed")
        yield status(OUR_FAULT, "error"), gr.skip()


def shown(result_id: str | None) -> Result:
    """The result of this id. Raises RequestError where it was dropped to make room."""
    result = results.get(result_id)
    if result is None or result.embedding is None:
        raise RequestError("This result is no longer kept here: embed the file again.")
    return result


def pinned_scores(result: Result, query: dict[str, Any] | None) -> Any:
    """Scores `[T', H', W']` of the pinned patches of the first clip. Raises RequestError where none is pinned."""
    add = query_places(query, "add")
    if not add:
        raise RequestError("No patch of this clip is pinned: click on one first, then the heatmap can be saved.")
    assert result.embedding is not None
    subtract = query_places(query, "subtract")
    centred = bool(query and query["centred"])
    return similarity(result.embedding, add[0], add=add[1:], subtract=subtract, centred=centred)


def query_places(query: dict[str, Any] | None, name: str) -> list[tuple[int, int, int]]:
    """The (step, row, column) of the patches that were added to or subtracted from the query in the first clip."""
    if not query or not query["pinned"]:
        return []
    return [tuple(place["at"]) for place in query[name] if place["clip"] == 0]
