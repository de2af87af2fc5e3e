"""Reference clips as vectors: exact neighbours, the place of a clip on their fixed map, and when it is far from all.

Vectors are compared as cosines after the mean of the references is taken away: mean-pooled tokens share a large common
part (the background, the average token), and without it the angles between clips open up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from vjepa_demo.embedding import Kind, Vector, unit_vectors

# How many of the nearest references decide where a clip is placed: UMAP's own default neighbourhood.
PLACE_NEIGHBOURS = 15
# The curve 1 / (1 + a d^2b) that UMAP fits to min_dist = 0.1 and spread = 1 (`umap.umap_.find_ab_params`), the epochs
# and the first step of its `transform`, and the pushes it draws for every pull.
CURVE_A, CURVE_B = 1.5769434, 0.8950609
EPOCHS = 100
FIRST_STEP = 0.25
PUSHES = 5
CHUNK = 64  # queries placed at a time
# A clip is far when its nearest reference is less similar than is usual among the references: below this percentile of
# the references' own cosines to their nearest other one. 2.5 leaves one in forty known clips on the wrong side.
FAR_PERCENTILE = 2.5
# References compared with one another at a time: bounds memory to BLOCK × R floats.
BLOCK = 1024
# What is measured over the references themselves (the far rule, the quality of the map) is measured on so many of them
# at most, against all: 10,000 would take seconds, and a percentile of 2,000 is as good.
MEASURED = 2000


@dataclass(frozen=True)
class ReferenceClip:
    """One row of `clips.csv`; `file` is relative to the folder, with forward slashes, `split` is "" where none is."""

    file: str
    label: str
    description: str = ""
    licence: str = ""
    split: str = ""


@dataclass(frozen=True)
class Neighbour:
    """A reference clip near a query: `index` is its row in the set, `cosine` that of the centred vectors."""

    file: str
    label: str
    cosine: float
    index: int


@dataclass(frozen=True)
class Vote:
    """The label that most of the k nearest have; `margin` is its lead over the second, as a share of k (0: a tie)."""

    label: str
    count: int
    k: int
    margin: float


class Found(Protocol):
    """What is known of vectors among a set of references, however large it is: see `Comparison`."""

    @property
    def references(self) -> References[Found]: ...

    def neighbours(self, k: int = 5) -> list[Neighbour]: ...

    @property
    def far(self) -> bool: ...

    @property
    def flat(self) -> np.ndarray: ...


FoundT = TypeVar("FoundT", bound=Found, covariant=True)


class References(Protocol[FoundT]):
    """What every set of references answers: a `ReferenceSet`, or a table of more clips than memory holds."""

    @property
    def kind(self) -> Kind: ...

    @property
    def far_threshold(self) -> float: ...

    def __len__(self) -> int: ...

    def compare(self, vector: Vector) -> FoundT: ...


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Reference clips with their vectors and their places on a map that does not move.

    Attributes:
        kind: what kind all the vectors are.
        clips: R reference clips.
        vectors: float32 `[R, D]`, the pooled embeddings as they came from the encoder.
        coordinates: float32 `[R, 2]`, in the map's own units.
        hashes: SHA-256 of the R files.
        folder: where the files are.
        thumbnails: folders in which a small JPEG of each clip may be, named by its hash.
        failures: (file, sentence) for every file of the folder that could not be embedded.
        notes: (file, sentence) for every file that was taken otherwise than it was named.
    """

    kind: Kind
    clips: tuple[ReferenceClip, ...]
    vectors: np.ndarray
    coordinates: np.ndarray
    hashes: tuple[str, ...] = ()
    folder: Path = Path()
    thumbnails: tuple[Path, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"ReferenceSet({len(self)} clips, vectors {list(self.vectors.shape)}, {self.kind.pooling})"

    @property
    def of_table(self) -> Any:
        """What can be asked of the set's clips one by one (`scale.drawn.OfTable`); None where all of it is told."""
        return None

    @cached_property
    def equal(self) -> bool:
        """Whether all references have one and the same vector, as copies of one clip have."""
        return not np.ptp(self.vectors, axis=0).any()

    @cached_property
    def mean(self) -> np.ndarray:
        """float32 `[D]`: the mean of the references; zeros where all are equal, which then had no angle."""
        if self.equal:
            return np.zeros(self.vectors.shape[1], np.float32)
        return self.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)

    @cached_property
    def unit(self) -> np.ndarray:
        """float32 `[R, D]`: the references, centred by their mean, of length 1."""
        return unit_vectors(self.vectors - self.mean)

    @cached_property
    def span(self) -> float:
        """The map's diagonal in its own units, the yardstick for distances on it."""
        return float(np.linalg.norm(np.ptp(self.coordinates, axis=0)))

    @cached_property
    def far_threshold(self) -> float:
        """The cosine below which a clip counts as far from all references (FAR_PERCENTILE); −1 for fewer than 3."""
        if len(self) < 3 or self.equal:
            return -1.0
        nearest = [block.max(axis=1) for block in leave_one_out(self.vectors, rows=measured_rows(len(self)))]
        return float(np.percentile(np.concatenate(nearest), FAR_PERCENTILE))

    def compare(self, vector: Vector) -> Comparison:
        """Compare one vector, or several, with every reference: one product, from which all else is read.

        Raises:
            FingerprintMismatch: it is of another kind than the references' vectors.
        """
        self.kind.require(vector.kind)
        return Comparison(self, unit_vectors(np.asarray(vector.array, np.float32) - self.mean) @ self.unit.T)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Vectors `[..., D]` among one set of R references.

    Attributes:
        references: the set.
        cosines: float32 `[..., R]`, with every reference, all centred.
    """

    references: ReferenceSet
    cosines: np.ndarray

    def __repr__(self) -> str:
        return f"Comparison({list(self.cosines.shape)} cosines)"

    def neighbours(self, k: int = 5) -> list[Neighbour]:
        """The k references with the largest cosine to a single vector, nearest first."""
        clips = self.references.clips
        nearest = np.argsort(-self.cosines, kind="stable")[: max(k, 0)]
        return [Neighbour(clips[i].file, clips[i].label, float(self.cosines[i]), int(i)) for i in nearest]

    @property
    def nearest(self) -> float:
        """The cosine of a single vector with its nearest reference."""
        return float(self.cosines.max())

    @property
    def far(self) -> bool:
        """Whether a single vector is less similar to its nearest reference than is usual among the references."""
        return self.nearest < self.references.far_threshold

    @cached_property
    def flat(self) -> np.ndarray:
        """float32 `[..., 2]`: where the vectors belong on the fixed map (see `place`)."""
        return place(self.cosines, self.references.coordinates)


def vote(neighbours: Sequence[Neighbour]) -> Vote | None:
    """The majority label among neighbours; labels with as many votes are ordered by their summed cosine."""
    if not neighbours:
        return None
    tally: dict[str, list[float]] = defaultdict(list)
    for neighbour in neighbours:
        tally[neighbour.label].append(neighbour.cosine)
    ranked = sorted(tally.items(), key=lambda item: (-len(item[1]), -sum(item[1])))
    first = len(ranked[0][1])
    second = len(ranked[1][1]) if len(ranked) > 1 else 0
    return Vote(ranked[0][0], first, len(neighbours), (first - second) / len(neighbours))


def place(cosines: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Where queries belong on a fitted map: what `umap.UMAP.transform` does, without its dice and without numba.

    As there (arXiv 1802.03426, section 3), a query starts at the weighted mean of its nearest references' coordinates,
    with distances d = 1 − cosine, weights w = exp(−d / σ) and σ such that those of all but the nearest add up to
    log2(k). Then, over EPOCHS with a falling step, each of these references pulls it in proportion to its weight while
    all references push it away; where `transform` draws the pushes at random, their expectation is taken here. Left out
    one by one, the shipped references keep 52 % of their 10 nearest near them by the mean and 68 % by motion; at the
    weighted mean alone it would be 39 % and 58 % (`bench/placement.py`).

    Args:
        cosines: float `[..., R]`, of each query with every reference.
        coordinates: float `[R, dims]`.

    Returns:
        float32 `[..., dims]`.
    """
    queries = cosines.reshape(-1, cosines.shape[-1])
    chunks = [_place(queries[i : i + CHUNK], coordinates) for i in range(0, len(queries), CHUNK)]
    return np.concatenate(chunks).reshape(*cosines.shape[:-1], coordinates.shape[1]).astype(np.float32)


def begin(cosines: np.ndarray, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where n queries begin, `[n, dims]`; the places of their k nearest references, `[n, k, dims]`, and the weights."""
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : min(PLACE_NEIGHBOURS, len(coordinates))]
    near = coordinates[nearest].astype(np.float64)
    places, weights = weigh(np.take_along_axis(cosines, nearest, 1), near)
    return places, near, weights


def weigh(cosines: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted means `[n, dims]` of the places of the k nearest `[n, k, dims]`, and the weights `[n, k]`. `cosines`
    `[n, k]` are those of the k, the largest first."""
    if near.shape[1] == 1:
        return near[:, 0], np.ones((len(near), 1))
    gaps = np.maximum(1 - cosines, 0).astype(np.float64)
    weights = np.exp((gaps[:, :1] - gaps) / smooth_scale(gaps[:, 1:])[:, None])
    return (weights[..., None] * near).sum(axis=1) / weights.sum(axis=1)[:, None], weights


def _place(cosines: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    places, near, weights = begin(cosines, coordinates)
    k = near.shape[1]
    if k == 1:
        return places
    # `transform` leaves out what would be drawn less than once.
    weights = np.where(weights < 1 / EPOCHS, 0, weights)
    for epoch in range(EPOCHS):
        step = FIRST_STEP * (1 - epoch / EPOCHS)
        for i in range(k):
            away = places - near[:, i]
            square = np.maximum((away**2).sum(axis=1), 1e-12)
            pull = -2 * CURVE_A * CURVE_B * square ** (CURVE_B - 1) / (CURVE_A * square**CURVE_B + 1)
            places = places + step * weights[:, i, None] * np.clip(pull[:, None] * away, -4, 4)
        away = places[:, None] - coordinates
        square = (away**2).sum(axis=2)
        push = 2 * CURVE_B / ((0.001 + square) * (CURVE_A * square**CURVE_B + 1))
        drawn = PUSHES * weights.sum(axis=1)[:, None]
        places = places + step * drawn * np.clip(push[..., None] * away, -4, 4).mean(axis=1)
    return places


def smooth_scale(gaps: np.ndarray) -> np.ndarray:
    """σ `[n]` such that Σ exp(−gaps / σ) over the rows of gaps `[n, k − 1]` is log2(k), found by bisection."""
    target = np.log2(gaps.shape[1] + 1)
    low: np.ndarray = np.full(len(gaps), 1e-6)
    high: np.ndarray = np.full(len(gaps), 1e3)
    for _ in range(64):
        middle = np.sqrt(low * high)
        above = np.exp(-gaps / middle[:, None]).sum(axis=1) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.sqrt(low * high)


def measured_rows(count: int) -> np.ndarray:
    """Which of `count` references stand for all of them: int, ascending, the same ones every time."""
    if count <= MEASURED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MEASURED, replace=False))


def leave_one_out(vectors: np.ndarray, *, centred: bool = True, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield float32 blocks `[n, R]` of references' cosines with the others, each as if it were not one of them.

    A left-out row i must not be in the mean m that centres it and the others. With c = v − m over all R and n = R − 1,
    the mean without i lies at m − c_i / n: from there v_i points along c_i, the others along c_j + c_i / n, and the
    products of the c alone give the cosines. The cosine with itself is −inf.

    Args:
        vectors: float32 `[R, D]`.
        centred: whether the mean is taken away.
        rows: which references are left out, one after the other; all of them when None.
    """
    count = len(vectors)
    rows = np.arange(count) if rows is None else rows
    rest = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32) if centred else vectors
    square = (rest**2).sum(axis=1)
    share = 1 / (count - 1) if centred and count > 1 else 0.0
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        own = square[chosen, None]
        products = rest[chosen] @ rest.T
        lengths = np.sqrt(np.maximum(own * (square + 2 * share * products + share**2 * own), 1e-24))
        cosines = (products + share * own) / lengths
        cosines[np.arange(len(chosen)), chosen] = -np.inf
        yield cosines
