"""Where clips are placed, against `umap.transform`: each shipped reference left out, distances as shares of the map.

And how many of a clip's true neighbours stay its neighbours on the map, beside placing it at their weighted mean alone.

python bench/placement.py
"""

from __future__ import annotations

import warnings

import numpy as np

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import unit_vectors
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references.comparison import ReferenceSet, begin, place
from vjepa_demo.references.map import SEED, map_quality
from vjepa_demo.references.preparing import SHIPPED, prepare


def main() -> None:
    """Print the distribution, and how far the shipped map can be trusted."""
    warnings.simplefilter("ignore")
    import umap

    embedder = Embedder(get_encoder("nano", device="cpu", precision="fp32"), Sampling(16))
    for pooling in ("mean", "motion"):
        print(kept(prepare(SHIPPED, embedder, pooling)))
    shipped = prepare(SHIPPED, embedder)
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


def kept(references: ReferenceSet) -> str:
    """How many of the K nearest references are among the K nearest on the map, for each reference left out."""
    counts: dict[str, list[int]] = {"placed": [], "at the weighted mean": []}
    for row in range(len(references)):
        rest, places = (np.delete(array, row, axis=0) for array in (references.vectors, references.coordinates))
        mean = rest.mean(axis=0)
        cosines = (unit_vectors(rest - mean) @ unit_vectors(references.vectors[row] - mean))[None]
        found = {"placed": place(cosines, places), "at the weighted mean": begin(cosines, places)[0]}
        for name, at in found.items():
            near = np.argsort(np.linalg.norm(places - at, axis=1))[:K]
            counts[name].append(len(set(near) & set(np.argsort(-cosines[0])[:K])))
    shares = ", ".join(f"{name} {np.mean(values) / K:.3f}" for name, values in counts.items())
    return f"by {references.kind.pooling}, true {K} nearest that are near on the map: {shares}"


K = 10
PERCENTILES = {"median": 50, "90th": 90, "95th": 95, "maximum": 100}

if __name__ == "__main__":
    main()
