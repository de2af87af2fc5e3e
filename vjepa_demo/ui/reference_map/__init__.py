"""The reference map as a Gradio component: where a clip lies among known clips, and the truth beside the picture."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import duration
from vjepa_demo.references import current
from vjepa_demo.references.comparison import MEASURED, Comparison, Neighbour, ReferenceSet, vote
from vjepa_demo.references.evaluation import evaluate
from vjepa_demo.references.filling import FIRST_MAP, Filling
from vjepa_demo.references.map import map_quality
from vjepa_demo.ui.serving import shelf, thumbnail_of
from vjepa_demo.ui.widget import widget

if TYPE_CHECKING:
    from vjepa_demo.scale.drawn import OfTable
    from vjepa_demo.scale.large import LargeComparison, LargeSet

    Set = ReferenceSet | LargeSet

SHOWN_NEIGHBOURS = 10
# What the map shows while a new clip is being compared: nothing of the one before.
WAITING: dict[str, Any] = {"references": None, "clip": None, "waiting": True}

# Descriptions of sets, and the keys under which the page fetches them: made once for each.
_texts: weakref.WeakKeyDictionary[Set, str] = weakref.WeakKeyDictionary()
_keys: weakref.WeakKeyDictionary[Set, str] = weakref.WeakKeyDictionary()


def reference_map(**kwargs: Any) -> gr.HTML:
    """The component; its value comes from `map_value`.

    In the page it sends the bubbling event `stepfocus` with `{step}` (null when it ends) while the pointer is on a
    moment of the clip's path, and marks the step of every `patchquery` that reaches the document. It sends
    `labelchange` with `{label}` ("" for all) when one is shown alone, and does so at the document's event `showlabel`.
    """
    return widget("reference_map", **kwargs)


def map_value(
    references: Set | None, clip: dict[str, Any] | None = None, filling: Filling | None = None
) -> dict[str, Any]:
    """What the map shows: the references, and where a clip lies among them.

    Its addresses are relative to the app's root (see `serving.ROUTES`).

    Args:
        references: the set; the page can fetch its clips from now on, until many others have been shown.
        clip: what `describe_clip` says of it, or None to show the references alone.
        filling: how far the set is, where it is embedded in the background; it may hold no clip then.
    """
    import plotly

    return {
        "plotly": f"plotly.min.js?{plotly.__version__}",
        "references": f"references/{key_of(references)}" if references else None,
        "clip": clip,
        "filling": describe_filling(filling) if filling else references and on_the_way(references),
    }


def on_the_way(references: Set) -> dict[str, Any] | None:
    """What is said while others are to come in their place."""
    words = current.words(references.folder)
    return {"words": words, "mapped": True, "failed": False} if words else None


def describe_filling(filling: Filling) -> dict[str, Any]:
    """How far the references are, in a sentence, and whether there is a map of those that are there."""
    words = filling.failure
    if not words and filling.total:
        words = f"{filling.done} of {filling.total} reference clips are embedded"
        words += f", about {duration(filling.left)} to go." if filling.left else "."
    elif not words:
        words = "The reference clips are about to be embedded."
    if not filling.mapped and not filling.failure:
        words += f" The map comes with {min(FIRST_MAP, filling.total) or FIRST_MAP} of them."
    return {"words": words, "mapped": filling.mapped, "failed": bool(filling.failure)}


def key_of(references: Set) -> str:
    """The key under which a set is served: that of the app's own set is the same for all, any other is a secret."""
    if references not in _texts:
        _texts[references] = json.dumps(describe_set(references), allow_nan=False)
    key, text = _keys.get(references), _texts[references]
    if key is None or shelf.get(key) is None:
        if not isinstance(references, ReferenceSet) or references.of_table:
            key = shelf.put_table(references.of_table, text)
        else:
            secret = references.folder.resolve() != current.folder().resolve()
            key = shelf.put(references, text, secret=secret)
        _keys[references] = key
    return key


def describe_table(table: OfTable) -> dict[str, Any]:
    """A table as the page needs it beside its points: how many of its clips are drawn, and the labels' looks."""
    points = table.points
    return {
        "points": len(points.numbers),
        "labels": points.labels,
        "others": points.others,
        "remarks": table.remarks,
        "quality": None,
        "votes": None,
    }


def describe_set(references: Set) -> dict[str, Any]:
    """The references as the page needs them: places on the map, files to play, and how far the map can be trusted; of
    a table, what `describe_table` gives."""
    told = {"count": len(references), "pooling": references.kind.pooling}
    if not isinstance(references, ReferenceSet) or references.of_table:
        return {**told, **describe_table(references.of_table)}
    quality = map_quality(references.unit, references.coordinates)
    return {
        **told,
        "clips": [
            {
                "file": clip.file,
                "label": clip.label,
                "description": clip.description,
                "licence": clip.licence,
                "thumbnail": thumbnail_of(references, sha) is not None,
            }
            for clip, sha in zip(references.clips, references.hashes, strict=True)
        ],
        "flat": rounded(references.coordinates),
        "quality": None
        if quality is None
        else {
            "neighbours": quality.neighbours,
            "recall": round(quality.recall, 3),
            "trustworthiness": round(quality.trustworthiness, 3),
        },
        "votes": describe_votes(references),
    }


def describe_votes(references: ReferenceSet) -> dict[str, float] | None:
    """How often the vote of the nearest names a reference's own label, and how often its commonest label would.

    None for a set too small to tell, or so large that a visitor would wait for it.
    """
    if not 20 <= len(references) <= MEASURED:
        return None
    measured = evaluate(references)
    commonest = max(Counter(clip.label for clip in references.clips).values())
    return {
        "voters": measured["voters"],
        "right": round(measured["centred"]["knn_accuracy"], 3),
        "guess": round(commonest / len(references), 3),
    }


def describe_clip(
    embedding: Embedding, comparison: Comparison | LargeComparison, *, name: str = "", auto: bool = False
) -> dict[str, Any]:
    """A clip as the page needs it: its place, its path over time, its cosines, its nearest references and their vote.

    Of a table only what the nearest are is told: see `describe_neighbours`. The path is the mean of each time step's
    tokens, placed as a clip of its own; an image has none, nor has
    a clip that is compared by its motion, which no single step has.

    Args:
        embedding: the clip's.
        comparison: the clip among the references.
        name: of its file.
        auto: nobody asked for the way in which it is compared.
    """
    references: Set = comparison.references
    seconds = embedding.seconds
    moves = references.kind.pooling == "mean" and len(seconds) > 1 and bool(np.ptp(seconds) > 0)
    path = references.compare(embedding.path()) if moves else None
    neighbours = comparison.neighbours(SHOWN_NEIGHBOURS)
    # The references are films: which of them a photo resembles says little of what it shows.
    winner = vote(neighbours) if np.ptp(seconds) > 0 else None
    winner = winner if winner and winner.label else None
    return {
        "name": name,
        "auto": auto,
        "flat": rounded(comparison.flat),
        "pathFlat": rounded(path.flat) if path else [],
        "seconds": rounded(seconds) if path else [],
        "neighbours": [near.index for near in neighbours],
        **describe_neighbours(comparison, neighbours),
        "vote": None if winner is None else vars(winner),
        "nearest": round(comparison.nearest, 3),
        "threshold": round(references.far_threshold, 3),
        "far": comparison.far,
    }


def describe_neighbours(comparison: Comparison | LargeComparison, neighbours: list[Neighbour]) -> dict[str, Any]:
    """The cosines with all references, by the row; of a table those with the nearest, and all that is told of these."""
    if isinstance(comparison, Comparison) and not comparison.references.of_table:
        return {"cosines": rounded(comparison.cosines)}
    rows = [near.index for near in neighbours]
    return {
        "cosines": {str(near.index): round(near.cosine, 4) for near in neighbours},
        "known": comparison.references.of_table.known(rows),
    }


def rounded(array: np.ndarray) -> Any:
    """Nested lists of floats with four decimals: a thousandth of a map's span and a cosine need no more."""
    return np.round(np.asarray(array, np.float64), 4).tolist()
