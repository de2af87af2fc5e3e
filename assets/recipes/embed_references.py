"""Embed the shipped reference clips with nano and lay out their map, so that no visitor has to wait for it.

    python assets/recipes/embed_references.py

writes `assets/references/vectors/<fingerprint>.safetensors` for each of `WAYS` and each pooling and a thumbnail of each
clip, and removes the old ones. Run it whenever the clips or nano have changed;
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

import numpy as np

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Embedding
from vjepa_demo.media.clip import Clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references.listing import STORED
from vjepa_demo.references.map import align
from vjepa_demo.references.preparing import SHIPPED, prepare
from vjepa_demo.references.store import THUMBNAILS, Stored

# The fit whole is served by squash: the clips are square.
WAYS = list(itertools.product((Sampling(16),), ("crop", "squash", "pad"), ("fp32", "bf16")))
POOLINGS = ("mean", "motion")


class Remembering:
    """An embedder that embeds a clip once, however often it is asked: each pooling wants the same tokens."""

    def __init__(self, embedder: Embedder) -> None:
        self.kind, self.read, self._embedder = embedder.kind, embedder.read, embedder
        self._embedded: dict[str, Embedding] = {}

    def embed(self, clip: Clip) -> Embedding:
        key = hashlib.sha256(clip.frames.tobytes()).hexdigest()
        if key not in self._embedded:
            self._embedded[key] = self._embedder.embed(clip)
        return self._embedded[key]


def main() -> None:
    """Make all of them anew; the maps of a pooling are turned alike, so that another fit looks like the same map."""
    folder = SHIPPED / STORED
    shutil.rmtree(folder, ignore_errors=True)
    first: dict[str, Stored] = {}
    for sampling, fit, precision in WAYS:
        embedder = Remembering(Embedder(get_encoder("nano", device="cpu", precision=precision), sampling, fit))
        for pooling in POOLINGS:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as store:
                made = prepare(SHIPPED, embedder, pooling, store=store)
                if made.failures:
                    sys.exit(f"these clips cannot be embedded: {made.failures}")
                stored = Stored.load(Path(store) / f"{made.kind.key}.safetensors", made.kind)
                if not (folder / THUMBNAILS).exists():
                    shutil.copytree(Path(store) / THUMBNAILS, folder / THUMBNAILS)
            assert stored is not None
            rows = np.arange(len(made))
            like = first.setdefault(pooling, stored)
            flat = align(stored.coordinates, like.coordinates, rows, rows)
            path = folder / f"{made.kind.key}.safetensors"
            Stored(stored.hashes, stored.vectors, flat).save(path, made.kind)
            seconds = time.perf_counter() - started
            how = f"{sampling.frames} {sampling.mode:4}  {fit:6} {precision} {pooling:6}"
            print(f"{path.name}  {how}  {len(made)} clips, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
