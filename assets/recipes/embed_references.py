"""Embed the shipped reference clips with nano and lay out their map, so that no visitor has to wait for it.

    python assets/recipes/embed_references.py

writes `assets/references/vectors/<fingerprint>.safetensors` for each fit and precision at 16 frames and a thumbnail
of each clip, and removes the old ones. Run it whenever the clips or nano have changed;
`tests/unit/test_shipped_references.py` holds the result.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vjepa_demo.encoder import get_encoder
from vjepa_demo.media import Sampling
from vjepa_demo.reference_layout import align
from vjepa_demo.reference_sets import SHIPPED, STORED, prepare
from vjepa_demo.reference_store import THUMBNAILS, Stored

FITS = ("crop", "squash", "pad")
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Make all of them anew; the maps are turned alike, so that another fit looks like the same map."""
    folder = SHIPPED / STORED
    shutil.rmtree(folder, ignore_errors=True)
    first: Stored | None = None
    for fit in FITS:
        for precision in PRECISIONS:
            started = time.perf_counter()
            encoder = get_encoder("nano", device="cpu", precision=precision)
            with tempfile.TemporaryDirectory() as store:
                made = prepare(SHIPPED, encoder, Sampling(16), fit, store=store)
                if made.failures:
                    sys.exit(f"these clips cannot be embedded: {made.failures}")
                stored = Stored.load(Path(store) / f"{made.fingerprint.key}.safetensors", made.fingerprint)
                if first is None:
                    shutil.copytree(Path(store) / THUMBNAILS, folder / THUMBNAILS)
            assert stored is not None
            rows = np.arange(len(made))
            first = first or stored
            flat = align(stored.coordinates, first.coordinates, rows, rows)
            space = align(stored.space, first.space, rows, rows)
            path = folder / f"{made.fingerprint.key}.safetensors"
            Stored(stored.hashes, stored.vectors, flat, space).save(path, made.fingerprint)
            print(
                f"{path.name}  {fit:6} {precision}  {len(made)} clips, {time.perf_counter() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
