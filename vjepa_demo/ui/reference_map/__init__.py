"""The reference map as a Gradio component: where a clip lies among known clips, and the truth beside the picture."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vjepa_demo.embedding import Embedding
from vjepa_demo.explore import Request
from vjepa_demo.references.comparison import MEASURED, ReferenceSet, vote
from vjepa_demo.references.evaluation import evaluate
from vjepa_demo.references.map import map_quality
from vjepa_demo.ui.serving import shelf, thumbnail_of

FOLDER = Path(__file__).parent
# In the order of their needs: the figure, the panels beside it, the whole.
SCRIPTS = ("figure.js", "panels.js", "map.js")
SHOWN_NEIGHBOURS = 10

# Descriptions of sets, and the keys under which the page fetches them: made once for each.
_texts: weakref.WeakKeyDictionary[ReferenceSet, str] = weakref.WeakKeyDictionary()
_keys: weakref.WeakKeyDictionary[ReferenceSet, str] = weakref.WeakKeyDictionary()


def reference_map(**kwargs: Any) -> gr.HTML:
    """The component; its value comes from `map_value`.

    In the page it sends the bubbling event `stepfocus` with `{step}` (null when it ends) while the pointer is on a
    moment of the clip's path, and marks the step of every `patchquery` that reaches the document.
    """
    return gr.HTML(
        html_template="<div></div>",
        css_template=(FOLDER / "reference_map.css").read_text(encoding="utf-8"),
        js_on_load="\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
        apply_default_css=False,
        **kwargs,
    )


def map_value(references: ReferenceSet, embedding: Embedding | None) -> dict[str, Any]:
    """What the map shows: the references, and where a clip lies among them.

    Its addresses are relative to the app's root (see `serving.ROUTES`).

    Args:
        references: the set; the page can fetch its clips from now on, until many others have been shown.
        embedding: the clip, or None to show the references alone.

    Raises:
        FingerprintMismatch: the clip was embedded in another way than the references.
    """
    import plotly

    return {
        "plotly": f"plotly.min.js?{plotly.__version__}",
        "references": f"references/{key_of(references)}",
        "clip": None if embedding is None else describe_clip(references, embedding),
    }


def key_of(references: ReferenceSet) -> str:
    """The key under which a set is served: that of the app's own set is the same for all, any other is a secret."""
    if references not in _texts:
        _texts[references] = json.dumps(describe_set(references))
    key = _keys.get(references)
    if key is None or shelf.get(key) is None:
        secret = references.folder.resolve() != Request().reference_folder.resolve()
        key = _keys[references] = shelf.put(references, _texts[references], secret=secret)
    return key


def describe_set(references: ReferenceSet) -> dict[str, Any]:
    """The references as the page needs them: places on both maps, files to play, and how far the map can be trusted."""
    quality = map_quality(references.unit, references.coordinates)
    return {
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
        "pooling": references.fingerprint.pooling,
        "flat": rounded(references.coordinates),
        "space": rounded(references.space),
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


def describe_clip(references: ReferenceSet, embedding: Embedding) -> dict[str, Any]:
    """A clip as the page needs it: its place, its path over time, its cosines, its nearest references and their vote.

    The path is the mean of each time step's tokens, placed as a clip of its own; an image has none, nor has
    a clip that is compared by its motion, which no single step has.
    """
    pooling = references.fingerprint.pooling
    made, pooled = embedding.made(pooling), embedding.vector(pooling)
    steps = embedding.tokens[:, embedding.patch_mask].mean(axis=1, dtype=np.float64).astype(np.float32)
    seconds = embedding.timestamps.reshape(len(steps), -1).mean(axis=1)
    moves = pooling == "mean" and len(steps) > 1 and bool(np.ptp(seconds) > 0)
    neighbours = references.neighbours(pooled, made, SHOWN_NEIGHBOURS)
    nearness = references.nearness(pooled, made)
    winner = vote(neighbours)
    return {
        "flat": rounded(references.place(pooled, made)),
        "space": rounded(references.place_in_space(pooled, made)),
        "pathFlat": rounded(references.place(steps, made)) if moves else [],
        "pathSpace": rounded(references.place_in_space(steps, made)) if moves else [],
        "seconds": rounded(seconds) if moves else [],
        "cosines": rounded(references.cosines(pooled, made)),
        "neighbours": [near.index for near in neighbours],
        "vote": None if winner is None else vars(winner),
        "nearest": round(nearness.cosine, 3),
        "threshold": round(nearness.threshold, 3),
        "far": nearness.far,
    }


def rounded(array: np.ndarray) -> Any:
    """Nested lists of floats with four decimals: a thousandth of a map's span and a cosine need no more."""
    return np.round(np.asarray(array, np.float64), 4).tolist()
