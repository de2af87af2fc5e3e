"""How well the nearest references tell a clip's label: recall@k, mean average precision and a vote of the nearest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vjepa_demo.embedding import unit_vectors
from vjepa_demo.errors import ReferencesError
from vjepa_demo.references.comparison import BLOCK, Neighbour, ReferenceSet, leave_one_out, vote

RECALLS = (1, 5, 10)
VOTERS = 10
TRAIN = {"train", "training"}
TEST = {"test", "val", "valid", "validation"}


def evaluate(references: ReferenceSet) -> dict[str, Any]:
    """Measure a set, on raw vectors and on centred ones.

    With a `split` column that has both train and test (or val), each test clip is looked up among the train clips,
    whose mean centres them all; otherwise each clip among all the others, whose mean does.

    Returns:
        "clips", "labels", "queries", "protocol", "voters", and for "raw" and "centred" each "recall@1", "recall@5",
        "recall@10" (share of queries with one of their own label among so many nearest), "map" (mean average
        precision of the whole ranking, over queries whose label occurs among the others) and "knn_accuracy" (share of
        queries whose label wins the vote of the nearest, `comparison.vote`).

    Raises:
        ReferencesError: there are fewer than two clips.
    """
    if len(references) < 2:
        raise ReferencesError("A set of one clip cannot be evaluated: add more clips.")
    labels = np.array([clip.label for clip in references.clips])
    splits = [clip.split.lower() for clip in references.clips]
    train = np.array([row for row, split in enumerate(splits) if split in TRAIN], int)
    test = np.array([row for row, split in enumerate(splits) if split in TEST], int)
    divided = len(train) > 0 and len(test) > 0
    queries = test if divided else np.arange(len(references))
    gallery = train if divided else np.arange(len(references))

    def blocks(centred: bool) -> Iterator[np.ndarray]:
        if not divided:
            return leave_one_out(references.vectors, centred=centred)
        return _train_test(references.vectors[train], references.vectors[test], centred)

    return {
        "clips": len(references),
        "labels": len(set(labels)),
        "queries": len(queries),
        "protocol": "train/test" if divided else "leave-one-out",
        "voters": VOTERS,
        "raw": score(blocks(False), labels[queries], labels[gallery]),
        "centred": score(blocks(True), labels[queries], labels[gallery]),
    }


def _train_test(train: np.ndarray, test: np.ndarray, centred: bool) -> Iterator[np.ndarray]:
    """Blocks `[rows, N]` of cosines of test vectors `[Q, D]` with train vectors `[N, D]`."""
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32) if centred else np.float32(0)
    units = unit_vectors(train - mean)
    for start in range(0, len(test), BLOCK):
        yield unit_vectors(test[start : start + BLOCK] - mean) @ units.T


def score(blocks: Iterator[np.ndarray], wanted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure rankings.

    Args:
        blocks: float `[rows, N]` cosines of successive queries with the N of the gallery, −inf for what is left out.
        wanted: the label of each query.
        labels: those of the gallery, `[N]`.
    """
    hits = dict.fromkeys(RECALLS, 0)
    precisions: list[float] = []
    right = row = 0
    for block in blocks:
        orders = np.argsort(-block, axis=1, kind="stable")
        for cosines, order in zip(block, orders, strict=True):
            order = order[np.isfinite(cosines[order])]
            same = labels[order] == wanted[row]
            for k in RECALLS:
                hits[k] += bool(same[:k].any())
            ranks = np.flatnonzero(same) + 1
            if len(ranks):
                precisions.append(float((np.arange(1, len(ranks) + 1) / ranks).mean()))
            nearest = [Neighbour("", str(labels[i]), float(cosines[i]), int(i)) for i in order[:VOTERS]]
            winner = vote(nearest)
            right += winner is not None and winner.label == wanted[row]
            row += 1
    return {
        **{f"recall@{k}": hits[k] / row for k in RECALLS},
        "map": float(np.mean(precisions)) if precisions else 0.0,
        "knn_accuracy": right / row,
    }
