"""The Embedding: a clip's tokens on their grid, with all that is needed to know how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.errors import FingerprintMismatch, RequestError, cut
from vjepa_demo.options import Options, Pooling

# The long side of a grid that is not square, in sides of the checkpoint's square, at most; the short one has the
# square's side unless the long one is at this limit. Positions beyond it are far from all that was trained, and time
# and memory grow with the tokens.
MOST_SIDES = 2
# What they are called beside stored vectors. "motion" alone was another one, whose vectors resemble none of these.
POOLING_NAMES: dict[Pooling, str] = {"mean": "mean", "motion": "motion-2", "probe": "probe"}
# `motion` looks at so many regions a side, whatever the grid, and at so many times at most: enough to tell a fall from
# a roll, too few to tell patch from patch, and what a long clip costs stays small.
REGIONS = 8
SPANS = 8
# Length of the part of `motion` that says where and when, beside 1 for the part that says when alone. Chosen on the
# shipped references and 320 rendered clips (seeds 520 to 543), where 0.3 to 0.7 find the same labels.
PATH_WEIGHT = 0.5


@dataclass(frozen=True)
class Fingerprint:
    """How a clip was embedded: all that makes the tokens of two embeddings unlike.

    Attributes:
        checkpoint, revision: the checkpoint's name, and which one of this name it was.
        precision: "fp32" or "bf16".
        sampling: mode and frames, e.g. "even-16", and an order that is not that of time (`Sampling.name`).
        fit: "crop", "whole", "squash" or "pad".
        layer: index of the encoder layer whose output it is; None for the last one, normalised.
    """

    checkpoint: str
    revision: str
    precision: str
    sampling: str
    fit: str
    layer: int | None = None

    @property
    def options(self) -> Options:
        """What embeds other clips like this one, each from its beginning to its end and in the order of time."""
        mode, frames, *_ = self.sampling.split("-")
        return Options(self.checkpoint, int(frames), sampling=mode, fit=self.fit, precision=self.precision)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Kind:
    """What kind of vector: how its clip was embedded, and how the tokens became one vector.

    Vectors are compared only when these agree.
    """

    fingerprint: Fingerprint
    pooling: Pooling = "mean"

    @property
    def fields(self) -> dict[str, Any]:
        """All of it as JSON; the layer only where it is not the last."""
        fields = {**asdict(self.fingerprint), "pooling": POOLING_NAMES[self.pooling]}
        if fields["layer"] is None:
            del fields["layer"]
        return fields

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Kind:
        """What `fields` gave. Raises KeyError or TypeError where it is something else, or of an earlier `motion`."""
        rest = dict(fields)
        pooling = {name: pooling for pooling, name in POOLING_NAMES.items()}[rest.pop("pooling")]
        return cls(Fingerprint(**rest), pooling)

    @property
    def key(self) -> str:
        """A short name for files and caches: the first 16 hex digits of the SHA-256 of the fields."""
        return hashlib.sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()[:16]

    def require(self, other: Kind) -> None:
        """Raises FingerprintMismatch, naming the fields that differ, unless both are alike."""
        mine, theirs = ({"layer": None, **kind.fields} for kind in (self, other))
        differing = [f"{name} ({mine[name]} / {theirs[name]})" for name in mine if mine[name] != theirs[name]]
        if differing:
            raise FingerprintMismatch(
                f"These vectors differ in {', '.join(differing)} and cannot be compared: embed both in the same way."
            )


@dataclass(frozen=True, eq=False)
class Vector:
    """One vector a clip, float32 `[D]`, or several of one kind, `[..., D]`."""

    array: np.ndarray
    kind: Kind

    def __repr__(self) -> str:
        return f"Vector({list(self.array.shape)}, {self.kind.pooling} of {self.kind.fingerprint.checkpoint})"


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """What the encoder made of one clip.

    Attributes:
        tokens: float32 `[T', H', W', D]`, the patch tokens after the final LayerNorm, on their grid.
        timestamps: float64 `[T]`, seconds, of the frames given to the model (an image: T zeros).
        fingerprint: how it was made.
        device: "cuda", "mps" or "cpu".
        window: (left, top, right, bottom), the rectangle that the grid covers, in pixels of the upright source; it
            reaches beyond the picture where the input was padded.
        source_size: (width, height) of the upright source, in pixels.
        timings_ms: milliseconds for "decode", "preprocess", "encode".
        notes: sentences about what was done differently from what was asked.
        speed: how the precision does on the machine, in words; none where that was not measured.
        kept: the names of those times that are of an earlier call, whose result was kept and not computed again.

    Raises:
        ValueError: the arrays are not of these shapes.
    """

    tokens: np.ndarray
    timestamps: np.ndarray
    fingerprint: Fingerprint
    device: str
    window: tuple[float, float, float, float]
    source_size: tuple[int, int]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    speed: str = ""
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tokens.ndim != 4 or self.tokens.dtype != np.float32:
            raise ValueError(f"tokens must be float32 [T', H', W', D], not {self.tokens.dtype} {self.tokens.shape}")
        if self.timestamps.ndim != 1 or len(self.timestamps) % len(self.tokens):
            raise ValueError(f"{len(self.tokens)} time steps cannot be {self.timestamps.shape} frames")

    def __repr__(self) -> str:
        made = self.fingerprint
        return f"Embedding(tokens {list(self.tokens.shape)}, {made.checkpoint}, {made.sampling}, {made.fit})"

    @property
    def layer(self) -> int | None:
        """Index of the encoder layer whose output this is; None is the last one, normalised."""
        return self.fingerprint.layer

    @property
    def grid(self) -> tuple[int, int, int]:
        """(T', H', W'): time steps, rows and columns of patches."""
        steps, rows, cols, _ = self.tokens.shape
        return steps, rows, cols

    @property
    def seconds(self) -> np.ndarray:
        """float64 `[T']`: the middle of each time step."""
        return self.timestamps.reshape(len(self.tokens), -1).mean(axis=1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape that `get_vision_features` returns: `[1, T'·H'·W', D]`."""
        return 1, int(np.prod(self.grid)), self.tokens.shape[-1]

    @property
    def crop(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom): the part of the upright source that the model saw, in pixels."""
        left, top, right, bottom = self.window
        width, height = self.source_size
        return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))

    @property
    def patch_mask(self) -> np.ndarray:
        """bool `[H', W']`: False for patches whose centre lies in the padding and shows nothing of the source."""
        _, rows, cols = self.grid
        left, top, right, bottom = self.window
        x = left + (np.arange(cols) + 0.5) * (right - left) / cols
        y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
        width, height = self.source_size
        return ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))[None, :]

    def pooled(self) -> np.ndarray:
        """float32 `[D]`: the mean of the tokens, those of padding left out."""
        return self.tokens[:, self.patch_mask].mean(axis=(0, 1), dtype=np.float64).astype(np.float32)

    def motion(self) -> np.ndarray:
        """`motion` of the tokens, with no motion in padding."""
        return motion(self.tokens, self.patch_mask)

    def vector(self, pooling: Pooling = "mean") -> Vector:
        """The clip as one vector: `pooled()` or `motion()`.

        Raises:
            RequestError: the motion within a single time step is asked for.
            ValueError: the classifier's vector is asked for, which `Embedder.vector` gives.
        """
        if pooling == "probe":
            raise ValueError("an embedding does not hold what a classifier makes of it")
        if pooling == "motion" and len(self.tokens) < 2:
            raise RequestError("Clips of 2 frames cannot be compared by their motion: take 4 frames or more.")
        return Vector(self.pooled() if pooling == "mean" else self.motion(), Kind(self.fingerprint, pooling))

    def path(self) -> Vector:
        """float32 `[T', D]`: the mean of each time step's tokens, as if it were a clip of its own."""
        means = self.tokens[:, self.patch_mask].mean(axis=1, dtype=np.float64).astype(np.float32)
        return Vector(means, Kind(self.fingerprint))

    def check_position(self, at: tuple[int, int, int]) -> None:
        """Raises RequestError where (step, row, column) is not on the grid."""
        if len(at) != 3 or any(not 0 <= i < n for i, n in zip(at, self.grid, strict=True)):
            steps, rows, cols = self.grid
            raise RequestError(
                f"The patch {','.join(map(cut, at))} is outside the grid: step 0 to {steps - 1}, row 0 to {rows - 1}, "
                f"column 0 to {cols - 1}."
            )

    def meta(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        return {
            "shape": list(self.shape),
            "grid": list(self.grid),
            "checkpoint": self.fingerprint.checkpoint,
            "revision": self.fingerprint.revision,
            "precision": self.fingerprint.precision,
            "speed": self.speed,
            "sampling": self.fingerprint.sampling,
            "fit": self.fingerprint.fit,
            "pooling": "mean",
            "device": self.device,
            "layer": self.layer,
            "timings_ms": {name: round(ms, 2) for name, ms in self.timings_ms.items()},
            "kept": list(self.kept),
            "crop": [round(x, 3) for x in self.crop],
            "window": [round(x, 3) for x in self.window],
            "source_size": list(self.source_size),
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write `.npz`: `tokens`, `pooled` `[D]`, `timestamps`, and `meta`, a JSON string. Nothing is pickled."""
        with Path(path).open("wb") as file:
            np.savez(
                file,
                tokens=self.tokens,
                pooled=self.pooled(),
                timestamps=self.timestamps,
                meta=np.array(json.dumps(self.meta())),
            )


def motion(tokens: np.ndarray, patch_mask: np.ndarray | None = None) -> np.ndarray:
    """How a clip moves: where its tokens change from time to time, and which changes between any two times are alike.

    What the clip looks like cancels out, and so does what changes all of the picture alike; a moving camera counts for
    less. The first part does not tell left from right. The second knows no places, only when the same ones move again:
    a temporal self-similarity (Junejo et al., "View-Independent Action Recognition from Temporal Self-Similarities",
    2011) of the changes instead of the frames.

    Args:
        tokens: `[T', H', W', D]`, T' of 2 or more.
        patch_mask: bool `[H', W']`, False where nothing is to be counted.

    Returns:
        float32 `[(S − 1)·R·⌈R / 2⌉ + P·(P − 1) / 2]`. With S the smaller of SPANS and T', P = S·(S − 1) / 2 is the
        number of pairs of times, and R the smaller of REGIONS and the side of the checkpoint's square, so that clips of
        any shape can be compared. Each pair has a map of change, the squared distances of the tokens less their mean
        over the map, averaged over R × R regions of the grid. First the maps of consecutive times, each added to its
        mirror image, of which the left half is kept, with the length PATH_WEIGHT; then the cosines of all maps, two by
        two, with the length 1. Zeros where nothing changes, or everything alike.
    """
    steps = [part.mean(axis=0, dtype=np.float32) for part in np.array_split(tokens, min(SPANS, len(tokens)))]
    earlier, later = np.triu_indices(len(steps), 1)
    change = np.stack([np.square(steps[j] - steps[i]).sum(axis=-1) for i, j in zip(earlier, later, strict=True)])
    counted = np.ones(change.shape[1:], bool) if patch_mask is None else patch_mask
    change = (change - change[:, counted].mean(axis=1)[:, None, None]) * counted
    short, long = sorted(change.shape[1:])
    regions = min(REGIONS, max(short, long // MOST_SIDES))
    for axis in (1, 2):
        edges = np.linspace(0, change.shape[axis], regions + 1)
        begins = edges[:-1].astype(int)
        ends = np.maximum(edges[1:].astype(int), begins + 1)  # what is fewer than the regions is in several of them
        parts = [change.take(range(begin, end), axis) for begin, end in zip(begins, ends, strict=True)]
        change = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    maps = unit_vectors(change.reshape(len(change), -1))
    alike = (maps @ maps.T)[np.triu_indices(len(maps), 1)]
    path = change[later - earlier == 1]
    path = (path + path[..., ::-1])[..., : (regions + 1) // 2]
    return np.concatenate([PATH_WEIGHT * unit_vectors(path.ravel()), unit_vectors(alike)])


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """float32 `[..., D]` of length 1; a vector of zeros stays zeros, so that its cosines are 0 and not NaN."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors, np.float32), where=lengths > 1e-12)
