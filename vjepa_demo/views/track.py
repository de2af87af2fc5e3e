"""A long video as a row of windows: how much each differs from the one before, where something new begins, and which of
them are like a clip or a patch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Vector
from vjepa_demo.views.similarity import Position

# Windows that follow each other and differ by less than this are of one scene. By nano's means, windows of a camera
# that stands still differ by 0.01 to 0.14, and those with a cut between them by 0.3 to 0.7.
LEAST_CHANGE = 0.15


@dataclass(frozen=True, eq=False, repr=False)
class Track:
    """A video's windows, in the order of time.

    Attributes:
        spans: float64 `[W, 2]`, seconds.
        vectors: `[W, D]`.
        like: float32 `[W]`, how like each window is to what was asked for, as a cosine: of a clip, that of the vectors,
            all less the windows' mean; of a patch, that of the window's patch which is most like it, as
            `similarity.similarity` gives it. None where nothing was asked for.
        best: that patch of each window.
    """

    spans: np.ndarray
    vectors: Vector
    like: np.ndarray | None = None
    best: tuple[Position, ...] | None = None

    def __repr__(self) -> str:
        return f"Track({len(self.spans)} windows, {len(self.scenes)} scenes)"

    @cached_property
    def change(self) -> np.ndarray:
        """float32 `[W]`: how far each window's vector is from that of the one before, in lengths of a vector (the mean
        of all); 0 for the first."""
        array = self.vectors.array
        steps = np.linalg.norm(np.diff(array, axis=0), axis=1) / np.linalg.norm(array, axis=1).mean()
        return np.concatenate([[0], steps]).astype(np.float32)

    @cached_property
    def scenes(self) -> tuple[int, ...]:
        """Of each scene its first window (`segments`); windows that differ by less than LEAST_CHANGE are never two."""
        begins = segments(self.vectors.array)
        return 0, *(first for first in begins if self.change[first] >= LEAST_CHANGE)

    def begins(self, first: int) -> float:
        """When the scene of this first window begins, in seconds: halfway between the middles of the window and of the
        one before it."""
        return float(self.spans[first - 1 : first + 1].mean()) if first else float(self.spans[0, 0])

    def json(self) -> dict[str, Any]:
        """Ready for JSON."""
        asked: dict[str, Any] = {} if self.like is None else {"like": [round(float(x), 6) for x in self.like]}
        if self.best is not None:
            asked["best"] = [list(at) for at in self.best]
        return {
            "windows": [[round(float(x), 3) for x in span] for span in self.spans],
            "change": [round(float(x), 6) for x in self.change],
            "scenes": [{"window": first, "begins": round(self.begins(first), 3)} for first in self.scenes],
            **asked,
        }

    def save(self, path: str | Path, meta: dict[str, Any]) -> None:
        """Write `.npz`: `spans`, `vectors`, `change`, `scenes`, `like` and `best` where they were asked for, and
        `meta`, a JSON string. Raises OSError."""
        arrays: dict[str, Any] = {
            "spans": self.spans,
            "vectors": self.vectors.array,
            "change": self.change,
            "scenes": np.array(self.scenes),
            "meta": np.array(json.dumps(meta)),
            **{name: np.array(part) for name, part in (("like", self.like), ("best", self.best)) if part is not None},
        }
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)


def segments(vectors: np.ndarray) -> list[int]:
    """Where a row of vectors is cut so that those of a part are alike: kernel temporal segmentation (Potapov et al.,
    "Category-Specific Video Summarization", 2014) with the linear kernel.

    Of all ways to cut it m times, the one with the least squared distances to the parts' means; of all m, the one with
    the least of distances + v · m · (ln(n / m) + 1). The weight of that penalty, there a parameter, is the variance v
    of all: vectors without order lose v a cut, so that none pays. Parts have two vectors at least, on average.

    Args:
        vectors: float `[n, D]`.

    Returns:
        The first of each part but the first, ascending.
    """
    n = len(vectors)
    scatter = scatters(vectors)
    total = scatter[0, n]
    if n < 2 or total <= 0:
        return []
    cost = scatter[0].copy()  # of the first j, in one part
    costs, came = [total], []
    for m in range(1, max(1, n // 2) + 1):
        penalty = total / n * m * (np.log(n / m) + 1)
        if penalty >= min(costs):  # it only grows
            break
        # [i, j]: the first i in m parts, then one from i to j.
        sums = cost[:, None] + scatter
        came.append(sums.argmin(axis=0))
        cost = sums.min(axis=0)
        costs.append(cost[n] + penalty)
    found, end = [], n
    for m in range(int(np.argmin(costs)), 0, -1):
        end = int(came[m - 1][end])
        found.append(end)
    return found[::-1]


def scatters(vectors: np.ndarray) -> np.ndarray:
    """float64 `[n + 1, n + 1]`: at [i, j] the squared distances of the vectors from i to j − 1 to their mean, summed;
    infinite where i is not less than j."""
    array = vectors.astype(np.float64)
    n = len(array)
    array = array - array.mean(axis=0)
    squares = np.concatenate([[0], np.square(array).sum(axis=1).cumsum()])
    sums = np.concatenate([np.zeros((1, array.shape[1])), array.cumsum(axis=0)])
    lengths = np.square(sums).sum(axis=1)
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    within = lengths[j] + lengths[i] - 2 * sums @ sums.T
    found = squares[j] - squares[i] - within / np.maximum(j - i, 1)
    return np.where(i < j, np.maximum(found, 0), np.inf)
