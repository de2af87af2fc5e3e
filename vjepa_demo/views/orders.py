"""Time tests: does an embedding tell a clip from the same frames in another order, or does it only look?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from vjepa_demo.embedding import Embedding, motion
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip
from vjepa_demo.options import Order

SEED = 0
WORDS: dict[Order, str] = {
    "reversed": "backwards",
    "shuffled": "shuffled",
    "frozen": "its middle frame only",
    "fast": "twice as fast",
}


@dataclass(frozen=True)
class TimeTest:
    """How like a clip its frames in another order are.

    Attributes:
        order: which.
        mean: the cosine of the two embeddings' means, which tell what is seen.
        motion: that of their `motion`; None where one of them has none.
    """

    order: Order
    mean: float
    motion: float | None

    def json(self) -> dict[str, Any]:
        """Ready for JSON."""
        of_motion = None if self.motion is None else round(self.motion, 6)
        return {"order": self.order, "mean": round(self.mean, 6), "motion": of_motion}


def reordered(clip: Clip, order: Order) -> Clip:
    """A clip's frames in another order, at the times at which the clip's own are; half of them where it is "fast".

    "frozen" is its middle frame over and over; "shuffled" is the same every time for clips of as many frames.

    Raises:
        RequestError: it is an image, or too short.
    """
    count = len(clip.frames)
    if clip.is_image:
        raise RequestError("A picture has no order of time: choose a video.")
    if count < 4:
        raise RequestError("A clip of 2 frames is too short to be put into another order: take 4 frames or more.")
    taken = {
        "reversed": np.arange(count)[::-1],
        "shuffled": np.random.default_rng(SEED).permutation(count),
        "frozen": np.full(count, count // 2),
        "fast": np.arange(0, count - count % 4, 2),
    }[order]
    sampling = replace(clip.sampling, frames=len(taken), order=order)
    frames = np.ascontiguousarray(clip.frames[taken])
    return replace(clip, frames=frames, timestamps=clip.timestamps[: len(taken)], sampling=sampling)


def time_tests(clip: Clip, own: Embedding, embed: Callable[[Clip], Embedding]) -> list[TimeTest]:
    """All orders of a clip beside its own embedding. Raises RequestError, as `reordered`, and what `embed` raises."""
    found = []
    for order in get_args(Order):
        other = embed(reordered(clip, order))
        moved = _cosine_or_none(_motion(own), _motion(other)) if min(len(own.tokens), len(other.tokens)) > 1 else None
        found.append(TimeTest(order, _cosine(own.pooled(), other.pooled()), moved))
    return found


def _motion(embedding: Embedding) -> np.ndarray:
    return motion(embedding.tokens, embedding.patch_mask)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _cosine_or_none(one: np.ndarray, other: np.ndarray) -> float | None:
    """None where one of two has no direction, or they are of clips that are not equally long."""
    if one.shape != other.shape or min(np.linalg.norm(one), np.linalg.norm(other)) < 1e-6:
        return None
    return _cosine(one, other)
