"""The map of the references: fitted once with a seed, aligned to the one before, and how far it can be trusted.

Only coordinates leave this module. A UMAP object would have to be pickled, embeds its data and breaks between versions.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vjepa_demo.embedding import unit_vectors
from vjepa_demo.references.comparison import BLOCK, PLACE_NEIGHBOURS, measured_rows, place
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)

SEED = 2506
MIN_DIST = 0.1
# UMAP's spectral start needs more points than this to say anything; fewer are laid out by their principal components.
FEWEST_FOR_UMAP = 10
QUALITY_NEIGHBOURS = 10
# Cosines lie between −1 and 1, UMAP's maps span some ten units, and clips are placed with UMAP's forces.
MAP_SCALE = 10.0

# umap runs numba code on a thread pool that aborts the whole process when two threads enter it at once.
UMAP_LOCK = threading.RLock()


@dataclass(frozen=True)
class MapQuality:
    """How far a map can be trusted, for `neighbours` nearest references (10, or fewer in a small set).

    Attributes:
        recall: share of the true nearest references that are also among the nearest on the map, mean over references
            (over `comparison.measured_rows`).
        trustworthiness: 1 when no reference is near on the map that is not near in truth (Venna and Kaski 2001).
    """

    neighbours: int
    recall: float
    trustworthiness: float


def centred_units(vectors: np.ndarray) -> np.ndarray:
    """float32 `[R, D]`: centred by their own mean, of length 1."""
    return unit_vectors(vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32))


def fit_map(vectors: np.ndarray) -> np.ndarray:
    """Lay references `[R, D]` out by UMAP, with cosine on the centred vectors and a fixed seed.

    Returns:
        float32 `[R, 2]`. The same vectors give the same map in one process; another number of threads, or another
        CPU, rounds differently, which can move points by a tenth of the map while the neighbourhoods stay.
    """
    units = centred_units(vectors)
    count = len(units)
    # Clips that are all the same have no directions, and a spread of nothing to divide by.
    if count < FEWEST_FOR_UMAP or np.ptp(units, axis=0).max() < 1e-6:
        return _principal_components(units)
    with UMAP_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _let_numba_cache()
        import umap

        # Where labels are well apart the neighbour graph falls into pieces, and a spectral start lays them out anyhow;
        # principal components keep the large distances between them.
        mapper = umap.UMAP(
            n_neighbors=min(PLACE_NEIGHBOURS, count - 1),
            min_dist=MIN_DIST,
            metric="cosine",
            init="pca",
            random_state=SEED,
            n_jobs=1,
        )
        found = np.asarray(mapper.fit_transform(units), np.float32)
    return found if np.isfinite(found).all() else _principal_components(units)


def _let_numba_cache() -> None:
    """numba keeps what it compiles beside umap's own files; where it finds no place that can be written, umap's import
    fails. Then it gets one in the cache, or among the temporary files."""
    found = importlib.util.find_spec("umap")
    beside = Path(found.origin).parent if found and found.origin else Path()
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(beside, os.W_OK):
        return
    folder = Path(settings.cache_dir) / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="vjepa-demo-numba-"))
    log.info("numba keeps what it compiles in %s", folder)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _principal_components(units: np.ndarray) -> np.ndarray:
    rest = units - units.mean(axis=0)
    left, values, _ = np.linalg.svd(rest, full_matrices=False)
    found = MAP_SCALE * (left * values)[:, :2]
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))).astype(np.float32)


def align(points: np.ndarray, old: np.ndarray, kept: np.ndarray, kept_old: np.ndarray) -> np.ndarray:
    """Turn, mirror, scale and move a new map so that what it shares with an old one lies near its old places.

    Orthogonal Procrustes with one scale (Schönemann and Carroll 1970): with A, B the shared points less their means and
    U S Vᵀ = svd(Aᵀ B), the turn is U Vᵀ and the scale is ΣS / ΣA².

    Args:
        points: float `[R, 2]`, the new map.
        old: float `[Q, 2]`, the old one.
        kept, kept_old: int `[n]`, the rows of both that are the same reference; fewer than 3 leave the map as it is.
    """
    if len(kept) < 3:
        return points
    new_mean, old_mean = points[kept].mean(axis=0), old[kept_old].mean(axis=0)
    a, b = points[kept] - new_mean, old[kept_old] - old_mean
    left, values, right = np.linalg.svd(a.T @ b)
    total = float((a**2).sum())
    scale = float(values.sum()) / total if total > 0 else 1.0
    return ((points - new_mean) @ (left @ right) * (scale or 1.0) + old_mean).astype(np.float32)


def lay_out(vectors: np.ndarray, places: list[np.ndarray | None], *, refit: bool = False) -> np.ndarray:
    """float32 `[R, 2]`: known places as they are and new clips among them; a fit where there is no map yet.

    Args:
        vectors: float32 `[R, D]`.
        places: `[2]` for each that has a place already.
        refit: lay out all of them, turned to lie near their old places.
    """
    kept = np.array([row for row, known in enumerate(places) if known is not None], int)
    old = np.zeros((len(places), 2), np.float32)
    if len(kept):
        old[kept] = np.stack([known for known in places if known is not None])
    # Fewer than 3 points are no map whose shape anybody knows.
    if refit or len(kept) < min(3, len(places)):
        return align(fit_map(vectors), old, kept, kept)
    new = np.setdiff1d(np.arange(len(places)), kept)
    if len(new):
        units = centred_units(vectors)
        old[new] = place(units[new] @ units[kept].T, old[kept])
    return old


def map_quality(units: np.ndarray, coordinates: np.ndarray) -> MapQuality | None:
    """Hold a map against the truth.

    Trustworthiness is 1 − 2 / (n k (2n − 3k − 1)) · Σ max(0, r(i, j) − k), over each reference i and its k nearest on
    the map, j, where r is j's rank among i's true neighbours (as in scikit-learn's `manifold.trustworthiness`).

    Args:
        units: float32 `[R, D]` of length 1.
        coordinates: float `[R, 2]`.

    Returns:
        None for fewer than 4 references, where there is nothing to measure.
    """
    count = len(units)
    if count < 4:
        return None
    k = min(QUALITY_NEIGHBOURS, (count - 1) // 2)
    shared, penalty = 0, 0
    points = coordinates.astype(np.float64)
    measured = measured_rows(count)
    for start in range(0, len(measured), BLOCK):
        rows = measured[start : start + BLOCK]
        cosines = units[rows] @ units.T
        cosines[np.arange(len(rows)), rows] = -np.inf  # itself comes last
        order = np.argsort(-cosines, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, count + 1)[None, :], axis=1)
        distances = ((points[rows, None, :] - points[None, :, :]) ** 2).sum(axis=2)
        distances[np.arange(len(rows)), rows] = np.inf
        near = np.argsort(distances, axis=1, kind="stable")[:, :k]
        excess = np.maximum(np.take_along_axis(ranks, near, axis=1) - k, 0)
        shared += int((excess == 0).sum())
        penalty += int(excess.sum())
    pairs = len(measured) * k
    return MapQuality(k, shared / pairs, 1 - 2 * penalty / (pairs * (2 * count - 3 * k - 1)))
