"""An embedder for the tests of what is done with vectors, not of the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vjepa_demo.embedding import Fingerprint, Kind, Vector
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Sampling

MADE = Kind(Fingerprint("test", "1", "fp32", "even-16", "crop"))


class Colours:
    """Stands in for an embedder where only the bookkeeping is tested: a clip's vector is its mean colour."""

    at_once = 1

    def __init__(self) -> None:
        self.calls = 0

    def kind(self, pooling: str = "mean") -> Kind:
        return MADE

    def read(self, path: Path) -> Clip:
        return read_clip(path, Sampling())

    def embed(self, clip: Clip) -> Colours:
        self.calls += 1
        self.mean = clip.frames.astype(np.float32).mean(axis=(0, 2, 3))
        return self

    def vector(self, embedding: Colours, pooling: str) -> Vector:
        return Vector(embedding.mean, self.kind(pooling))
