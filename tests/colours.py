"""An encoder for the tests of what is done with vectors, not of the vectors."""

from __future__ import annotations

import numpy as np

from vjepa_demo.embedding import Fingerprint

MADE = Fingerprint("test", "1", "fp32", "even-16", "crop")


class Colours:
    """Stands in for an encoder where only the bookkeeping is tested: a clip's vector is its mean colour."""

    def __init__(self) -> None:
        self.calls = 0

    def fingerprint(self, sampling, fit, pooling="mean"):
        return MADE

    def encode(self, clip, fit="crop"):
        self.calls += 1
        self.mean = clip.frames.astype(np.float32).mean(axis=(0, 2, 3))
        return self

    def vector(self, pooling):
        return self.mean
