"""Embed the shipped reference clips with nano and lay out their map, so that no visitor has to wait for it.

    python assets/recipes/embed_references.py

writes `assets/references/vectors/<fingerprint>.safetensors` for each fit, precision and pooling at 16 frames and a
thumbnail of each clip, and removes the old ones. Run it whenever the clips or nano have changed;
`tests/unit/test_shipped_references.py` holds the result.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vjepa_demo.embedding import Embedding
from vjepa_demo.media.reader import Clip, Sampling
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.references.map import align
from vjepa_demo.references.preparing import SHIPPED, STORED, prepare
from vjepa_demo.references.store import THUMBNAILS, Stored

FITS = ("crop", "squash", "pad")
PRECISIONS = ("fp32", "bf16")
POOLINGS = ("mean", "motion")


class Remembering:
    """An encoder that embeds a clip once, however often it is asked: each pooling wants the same tokens."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.fingerprint = encoder, encoder.fingerprint
        self._made: dict[tuple[str, str], Embedding] = {}

    def encode(self, clip: Clip, fit: str) -> Embedding:
        key = hashlib.sha256(clip.frames.tobytes()).hexdigest(), fit
        if key not in self._made:
            self._made[key] = self.encoder.encode(clip, fit=fit)
        return self._made[key]


def main() -> None:
    """Make all of them anew; the maps of a pooling are turned alike, so that another fit looks like the same map."""
    folder = SHIPPED / STORED
    shutil.rmtree(folder, ignore_errors=True)
    first: dict[str, Stored] = {}
    for fit, precision in itertools.product(FITS, PRECISIONS):
        encoder = Remembering(get_encoder("nano", device="cpu", precision=precision))
        for pooling in POOLINGS:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as store:
                made = prepare(SHIPPED, encoder, Sampling(16), fit, pooling, store=store)
                if made.failures:
                    sys.exit(f"these clips cannot be embedded: {made.failures}")
                stored = Stored.load(Path(store) / f"{made.fingerprint.key}.safetensors", made.fingerprint)
                if not (folder / THUMBNAILS).exists():
                    shutil.copytree(Path(store) / THUMBNAILS, folder / THUMBNAILS)
            assert stored is not None
            rows = np.arange(len(made))
            like = first.setdefault(pooling, stored)
            flat = align(stored.coordinates, like.coordinates, rows, rows)
            space = align(stored.space, like.space, rows, rows)
            path = folder / f"{made.fingerprint.key}.safetensors"
            Stored(stored.hashes, stored.vectors, flat, space).save(path, made.fingerprint)
            seconds = time.perf_counter() - started
            print(f"{path.name}  {fit:6} {precision} {pooling:6}  {len(made)} clips, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
