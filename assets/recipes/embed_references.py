"""Embed the shipped reference clips with nano and lay out their map, so that no visitor has to wait for it.

    python assets/recipes/embed_references.py

writes `assets/references/vectors/<fingerprint>.safetensors` for each of `WAYS` and each pooling and a thumbnail of each
clip, and removes the old ones. It takes an hour on two cores, and goes on where it stopped. Run it whenever the clips
or nano have changed; `tests/unit/references/test_shipped_references.py` holds the result.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.files import file_hash
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references.listing import STORED, read_folder
from vjepa_demo.references.map import align
from vjepa_demo.references.preparing import SHIPPED, prepare
from vjepa_demo.references.store import THUMBNAILS, Stored

STORE = Path(__file__).parents[2] / "build" / "vectors"  # one vector a file, until all of a way are there
# What a visitor can reach with a control or two of the page. Whole is served by squash: the clips are square. Of clips
# of three seconds, 64 frames at 4 a second would be the last one for the most part.
SAMPLINGS = [Sampling(16), Sampling(16, "fps"), Sampling(32), Sampling(32, "fps"), Sampling(64)]
FITS = {Sampling(16): ("crop", "squash", "pad"), Sampling(16, "fps"): ("crop", "squash")}
WAYS = [
    (sampling, fit, precision)
    for sampling in SAMPLINGS
    for fit in FITS.get(sampling, ("squash",))
    for precision in ("fp32", "bf16")
]


def main() -> None:
    """Make what is missing; the maps of a pooling are turned alike, so that another way looks like the same map."""
    folder = SHIPPED / STORED
    hashes = tuple(file_hash(SHIPPED / clip.file) for clip in read_folder(SHIPPED))
    first: dict[str, Stored] = {}
    wanted: set[Path] = set()
    for sampling, fit, precision in WAYS:
        embedder = Embedder(get_encoder("nano", device="cpu", precision=precision), sampling, fit)
        for pooling in embedder.poolings:
            kind = embedder.kind(pooling)
            path = folder / f"{kind.key}.safetensors"
            wanted.add(path)
            stored = Stored.load(path, kind)
            if stored is None or stored.hashes != hashes:
                started = time.perf_counter()
                stored = make(embedder, pooling, first.get(pooling))
                stored.save(path, kind, half=True)
                seconds = time.perf_counter() - started
                how = f"{sampling.frames} {sampling.mode:4}  {fit:6} {precision} {pooling:6}"
                print(f"{path.name}  {how}  {len(hashes)} clips, {seconds:.0f} s", flush=True)
            first.setdefault(pooling, stored)
    thumbnails = {folder / THUMBNAILS / f"{sha}.jpg" for sha in hashes}
    for path in {*folder.glob("*.*"), *(folder / THUMBNAILS).iterdir()} - wanted - thumbnails:
        path.unlink()


def make(embedder: Embedder, pooling: Pooling, like: Stored | None) -> Stored:
    """The vectors of the shipped clips and their map, turned to lie as another one does; thumbnails on the way."""
    made = prepare(SHIPPED, embedder, pooling, store=STORE, also=embedder.poolings)
    if made.failures:
        sys.exit(f"these clips cannot be embedded: {made.failures}")
    for sha in made.hashes:  # those of the first way: another one takes another frame
        target = SHIPPED / STORED / THUMBNAILS / f"{sha}.jpg"
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(STORE / THUMBNAILS / target.name, target)
    rows = np.arange(len(made))
    flat = align(made.coordinates, like.coordinates, rows, rows) if like else made.coordinates
    return Stored(made.hashes, made.vectors, flat)


if __name__ == "__main__":
    main()
