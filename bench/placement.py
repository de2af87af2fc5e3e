"""Where clips are placed, against `umap.transform`: each shipped reference left out, distances as shares of the map.

python bench/placement.py
"""

from __future__ import annotations

import warnings

import numpy as np

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import unit_vectors
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references.comparison import place
from vjepa_demo.references.map import SEED, map_quality
from vjepa_demo.references.preparing import SHIPPED, prepare


def main() -> None:
    """Print the distribution, and how far the shipped map can be trusted."""
    warnings.simplefilter("ignore")
    import umap

    shipped = prepare(SHIPPED, Embedder(get_encoder("nano", device="cpu", precision="fp32"), Sampling(16)))
    shares = []
    for row in range(len(shipped)):
        rest = np.delete(shipped.vectors, row, axis=0)
        mean = rest.mean(axis=0)
        units, query = unit_vectors(rest - mean), unit_vectors(shipped.vectors[row] - mean)
        mapper = umap.UMAP(n_neighbors=15, metric="cosine", init="pca", random_state=SEED, n_jobs=1).fit(units)
        theirs = mapper.transform(query[None])[0]
        span = np.linalg.norm(np.ptp(mapper.embedding_, axis=0))
        shares.append(np.linalg.norm(place(units @ query, mapper.embedding_) - theirs) / span)
    points = " · ".join(f"{name} {100 * np.percentile(shares, at):.2f} %" for name, at in PERCENTILES.items())
    print(f"{len(shares)} references left out one by one: {points} of the map's span")
    quality = map_quality(shipped.unit, shipped.coordinates)
    assert quality is not None
    print(f"recall@{quality.neighbours} {quality.recall:.3f} · trustworthiness {quality.trustworthiness:.3f}")


PERCENTILES = {"median": 50, "90th": 90, "95th": 95, "maximum": 100}

if __name__ == "__main__":
    main()
