"""The measures of the model card, in numpy: area under the curve of a similarity map, kNN accuracy, intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GRID = 16  # patches a side
TUBELET = 2  # frames a time step


def coverage(masks: np.ndarray, object_id: int, grid: tuple[int, int] = (GRID, GRID)) -> np.ndarray:
    """Share of every patch that an object covers, `[T / 2, rows, cols]`, from ids `[T, H, W]` (multiples of these)."""
    t, height, width = masks.shape
    rows, cols = grid
    if t % TUBELET or height % rows or width % cols:
        raise ValueError(f"masks {masks.shape} do not fit a grid of {TUBELET} frames and {rows} x {cols} patches")
    cells = (masks == object_id).reshape(t // TUBELET, TUBELET, rows, height // rows, cols, width // cols)
    return cells.mean(axis=(1, 3, 5))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each row of `scores` `[n, m]` against `positive` `[m]`: the share of pairs in the
    right order.

    Ties count half (Mann-Whitney).
    """
    positive = np.asarray(positive, dtype=bool)
    members, others = scores[:, positive], np.sort(scores[:, ~positive], axis=1)
    if not members.size or not others.size:
        raise ValueError("an area under the curve needs positives and negatives")
    below = np.stack([np.searchsorted(row, m, side="left") for row, m in zip(others, members, strict=True)])
    upto = np.stack([np.searchsorted(row, m, side="right") for row, m in zip(others, members, strict=True)])
    return ((below + upto) / 2).mean(axis=1) / others.shape[1]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a row of zeros stays zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def object_auc(tokens: np.ndarray, masks: np.ndarray, queries: int, rng: np.random.Generator) -> list[float]:
    """One figure for each object of a clip, from tokens `[8, 16, 16, D]` and object ids `[16, H, W]` (0: background).

    Tokens are centred by the clip's mean. Up to `queries` of the patches that the object covers by more than half at
    the first time step are queries; their cosines at all later steps are scored against the patches covered by more
    than half, with the partly covered ones left out. The object's figure is the mean over its queries. Objects out of
    sight give none.
    """
    return list(auc_of_objects(tokens, masks, queries, rng).values())


def auc_of_objects(
    tokens: np.ndarray,
    masks: np.ndarray,
    queries: int,
    rng: np.random.Generator,
    seen: np.ndarray | None = None,
) -> dict[int, float]:
    """`object_auc` by object id, on any grid `[T', H', W', D]`; patches that are not `seen` `[H', W']` do not count."""
    grid = tokens.shape[1:3]
    seen = np.ones(grid, bool) if seen is None else seen
    flat = tokens[:, seen]
    flat = unit(flat - flat.mean(axis=(0, 1)))
    first, later = flat[0], flat[1:].reshape(-1, flat.shape[-1])
    figures = {}
    for object_id in np.unique(masks[masks != 0]):
        cover = coverage(masks, object_id, grid)[:, seen]
        asked = np.flatnonzero(cover[0] > 0.5)
        rest = cover[1:].reshape(-1)
        judged = (rest > 0.5) | (rest == 0)
        if not len(asked) or not (rest > 0.5).any() or not (rest == 0).any():
            continue
        asked = rng.permutation(asked)[:queries]
        figures[int(object_id)] = float(roc_auc(first[asked] @ later[judged].T, rest[judged] > 0.5).mean())
    return figures


def knn_votes(
    queries: np.ndarray, known: np.ndarray, labels: np.ndarray, k: int, *, leave_one_out: bool = False
) -> np.ndarray:
    """The label that most of the `k` nearest known vectors have, by cosine; the larger sum of cosines decides a tie.

    With `leave_one_out` the queries are the known vectors themselves, and none votes for itself.
    """
    cosines = unit(queries) @ unit(known).T
    if leave_one_out:
        np.fill_diagonal(cosines, -np.inf)
    votes = []
    for row in cosines:
        near = np.argsort(-row, kind="stable")[:k]
        names = np.unique(labels[near])
        votes.append(max(names, key=lambda name: ((labels[near] == name).sum(), row[near][labels[near] == name].sum())))
    return np.array(votes)


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], float], *, rounds: int = 2000, seed: int = 0
) -> dict[str, float]:
    """A statistic of `values` `[n, ...]` with its 95 % interval over resamples of the n clips."""
    rng = np.random.default_rng(seed)
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"value": float(statistic(values)), "low": float(low), "high": float(high), "n": len(values)}
