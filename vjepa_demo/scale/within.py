"""What there is to see within one set, however large: near-duplicates, odd ones, clusters, how well labels are found.

Nothing is held for each pair. A large set is gone through block by block, or by the partitions of its index: a clip is
compared with those of the PROBES partitions that it is nearest to.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjepa_demo import jobs, scratch
from vjepa_demo.embedding import unit_vectors
from vjepa_demo.errors import ReferencesError, RequestError
from vjepa_demo.references.comparison import BLOCK, ReferenceClip, ReferenceSet, leave_one_out
from vjepa_demo.references.evaluation import TEST, TRAIN, VOTERS, evaluate, score
from vjepa_demo.scale.large import LargeSet, exact
from vjepa_demo.scale.tables import blocks_of, drawn, most_alike, reading, vectors_of

Set = ReferenceSet | LargeSet
PROBES = 4  # partitions that a clip's near-duplicates are looked for in
MOST_PAIRS = 1_000_000
MANY_PAIRS = "More than {} pairs are so much alike: ask for a larger cosine."
SEED = 0
COLUMNS = ("clip", "label")
MANY = 65_536  # clips whose names are read at a time
FITTED = 20_000  # clips that k-means is fitted to, from STARTS beginnings
STARTS = 4
DENSE = 5_000  # clips that HDBSCAN is fitted to: its time grows with their square
FEWEST = 5  # clips of a cluster of HDBSCAN
QUERY_BYTES = 256 * 2**20  # of cosines of the queries of an evaluation, at a time


@dataclass(frozen=True)
class Cluster:
    """Clips that are like each other: how many, the one that is most like their mean, how much they are like it on the
    average, and the label that most have, with its share."""

    clips: int
    central: int
    cosine: float
    label: str
    share: float


def blocks(references: Set) -> Iterator[np.ndarray]:
    """float32 `[n, D]`: the vectors of all clips, centred and of length 1, some at a time."""
    with reading():
        if isinstance(references, LargeSet):
            found = blocks_of(references.units, "unit")
        else:
            found = (references.unit[row : row + BLOCK] for row in range(0, len(references), BLOCK))
        for block in found:
            jobs.give_way()  # whoever asked may have left, or others wait for the machine
            yield block


def taken(references: Set, numbers: np.ndarray) -> np.ndarray:
    """float32 `[n, D]`: those of some clips."""
    if isinstance(references, LargeSet):
        with reading():
            return vectors_of(references.units.take(numbers, columns=["unit"]), "unit")
    return references.unit[numbers]


def clips(references: Set, numbers: Sequence[int] | np.ndarray) -> list[ReferenceClip]:
    """Some of the clips."""
    if isinstance(references, LargeSet):
        return references.clips(numbers)
    return [references.clips[number] for number in numbers]


def rows(references: Set, numbers: Sequence[int] | np.ndarray) -> list[dict[str, str]]:
    """COLUMNS of some of the clips."""
    found = clips(references, numbers) if len(numbers) else []
    return [dict(zip(COLUMNS, (clip.file, clip.label), strict=True)) for clip in found]


def all_rows(references: Set) -> Iterator[dict[str, str]]:
    """COLUMNS of all clips."""
    for begins in range(0, len(references), MANY):
        yield from rows(references, np.arange(begins, min(begins + MANY, len(references))))


def labels(references: Set) -> np.ndarray:
    """The label of each clip, object `[R]`: one long text must not make all of them long."""
    if isinstance(references, LargeSet):
        with reading():
            column = references.table.to_table(columns=["label"], filter="error IS NULL")["label"]
        return np.asarray(column.fill_null("").to_numpy(), object)
    return np.array([clip.label for clip in references.clips], object)


def products(references: Set, probes: int = PROBES) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Clips compared with others, as (numbers `[n]`, numbers `[m]`, cosines `[n, m]`): in a small set all with all, in
    a large one each with all that are in its nearest partitions. A clip meets itself, too, and others once or twice."""
    if isinstance(references, ReferenceSet):
        everything = np.arange(len(references))
        for rows in np.array_split(everything, max(1, -(-len(references) // BLOCK))):
            yield rows, everything, references.unit[rows] @ references.unit.T
        return
    cells = vectors_of_centroids(references.units)
    probes = min(probes, len(cells))
    half = (cells**2).sum(axis=1) / 2
    # Rows from here and there are read from it at once, and not from a table.
    with tempfile.TemporaryFile(dir=scratch.folder(scratch.WORK)) as file:
        nearest = []
        for block in blocks(references):
            file.write(block.tobytes())
            nearest.append(most_alike(block @ cells.T - half, probes).astype(np.int32))
        file.flush()
        units = np.memmap(file, np.float32, "r", shape=(len(references), cells.shape[1]))
        near = np.concatenate(nearest)
        members, visits = np.argsort(near[:, 0], kind="stable"), np.argsort(near.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(near[:, 0], minlength=len(cells)))
        visited = np.cumsum(np.bincount(near.ravel(), minlength=len(cells)))
        for own, asking in zip(np.split(members, ends[:-1]), np.split(visits // probes, visited[:-1]), strict=True):
            known = units[own].T
            for begins in range(0, len(asking) if len(own) else 0, BLOCK):
                jobs.give_way()
                rows = asking[begins : begins + BLOCK]
                yield rows, own, units[rows] @ known


def vectors_of_centroids(units: Any) -> np.ndarray:
    """float32 `[C, D]`: the middles of the partitions of an index."""
    found = units.centroids(column="unit")
    return np.asarray(found.flatten(), np.float32).reshape(len(found), -1)


def duplicates(references: Set, above: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of clips whose cosine is `above` or more, those that are most alike first.

    Returns:
        int64 `[P, 2]`, each pair once, and float32 `[P]`, their cosines.

    Raises:
        RequestError: there are too many.
    """
    if not -1 <= above <= 1:
        raise RequestError(f"A cosine lies between -1 and 1, not at {above:g}: choose one between them.")
    keys: np.ndarray = np.empty(0, np.int64)  # of a pair: the lower number times R, and the higher one
    cosines: np.ndarray = np.empty(0, np.float32)
    new: list[tuple[np.ndarray, np.ndarray]] = []

    def merged() -> tuple[np.ndarray, np.ndarray]:
        every, found = (np.concatenate(parts) for parts in zip((keys, cosines), *new, strict=True))
        once, index = np.unique(every, return_index=True)
        if len(once) > MOST_PAIRS:
            raise RequestError(MANY_PAIRS.format(f"{MOST_PAIRS:,}"))
        return once, found[index]

    for rows, others, block in products(references):
        alike = block >= above
        if np.count_nonzero(alike) > 2 * MOST_PAIRS + len(rows):  # in a block a pair stands twice at most
            raise RequestError(MANY_PAIRS.format(f"{MOST_PAIRS:,}"))
        a, b = np.nonzero(alike)
        apart = rows[a] != others[b]
        a, b = a[apart], b[apart]
        new.append((np.minimum(rows[a], others[b]) * len(references) + np.maximum(rows[a], others[b]), block[a, b]))
        if sum(len(part) for part, _ in new) > MOST_PAIRS:
            (keys, cosines), new = merged(), []
    keys, cosines = merged()
    order = np.lexsort((keys, -cosines))
    keys = keys[order]
    return np.stack([keys // len(references), keys % len(references)], axis=1), cosines[order]


def odd(references: Set) -> tuple[np.ndarray, np.ndarray]:
    """The clips that are far from all others (`ReferenceSet.far_threshold`), the oddest first.

    Returns:
        int64 `[n]`, which they are, and float32 `[n]`, the cosine of each with the one that is nearest to it.
    """
    if isinstance(references, ReferenceSet):
        found = [block.max(axis=1) for block in leave_one_out(references.vectors)] if len(references) > 1 else []
        nearest = np.concatenate([*found, np.empty(0, np.float32)])
        rows = np.flatnonzero(nearest < references.far_threshold)
        nearest = nearest[rows]
    else:
        known: np.ndarray = np.full(len(references), -np.inf, np.float32)
        for asking, others, cosines in products(references, 1):
            same = np.searchsorted(others, asking)
            same[same == len(others)] = 0
            at = np.flatnonzero(others[same] == asking)
            cosines[at, same[at]] = -np.inf
            known[asking] = np.maximum(known[asking], cosines.max(axis=1))
        # What is near to something in its own partition is not odd; the others are compared with all.
        rows = np.flatnonzero(known < references.far_threshold)
        parts = [
            exact(blocks(references), taken(references, part), 1, part)[1][:, 0]
            for part in np.array_split(rows, max(1, -(-len(rows) // FITTED)))
            if len(part)
        ]
        nearest = np.concatenate([*parts, np.empty(0, np.float32)])
        rows, nearest = rows[nearest < references.far_threshold], nearest[nearest < references.far_threshold]
    order = np.argsort(nearest, kind="stable")
    return rows[order], nearest[order]


def clusters(references: Set, count: int | None = None) -> tuple[np.ndarray, list[Cluster]]:
    """Clips in clusters: so many by k-means, or as many as HDBSCAN finds in a sample, to whose clusters the other clips
    go with the one that is nearest to them.

    Returns:
        int32 `[R]`, the cluster of each clip, −1 for none, and the clusters, the largest first.

    Raises:
        RequestError: the set has not so many clips.
    """
    if count is not None and not 1 <= count <= len(references):
        raise RequestError(f"The number of clusters must be 1 to {len(references):,}, not {count:,}.")
    if count is None:
        found = _dense(references)
    else:
        middles = _middles(references, count)
        found = np.concatenate([(block @ middles.T).argmax(axis=1) for block in blocks(references)])
    sizes = np.bincount(found[found >= 0], minlength=1)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    renamed = np.full(len(sizes) + 1, -1, np.int32)  # the last is that of −1
    renamed[order] = np.arange(len(order))
    found = renamed[found]
    return found, _described(references, found, len(order))


def _middles(references: Set, count: int) -> np.ndarray:
    """float32 `[count, D]`, of length 1: by k-means of a sample, and then the means of all that are nearest to each."""
    from sklearn.cluster import KMeans

    sample = drawn(np.arange(len(references)), max(FITTED, 8 * count))
    fitted = KMeans(count, n_init=STARTS, random_state=SEED).fit(taken(references, sample))
    middles = unit_vectors(fitted.cluster_centers_.astype(np.float32))
    if len(sample) == len(references):
        return middles
    sums = np.zeros(middles.shape, np.float64)
    for block in blocks(references):
        np.add.at(sums, (block @ middles.T).argmax(axis=1), block)
    return unit_vectors(sums.astype(np.float32))


def _dense(references: Set) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    sample = drawn(np.arange(len(references)), DENSE)
    if len(sample) < FEWEST:
        return np.full(len(references), -1)
    known = taken(references, sample)
    fitted = (
        HDBSCAN(min_cluster_size=max(FEWEST, len(sample) // 200), algorithm="ball_tree", copy=True).fit(known).labels_
    )
    if len(sample) == len(references):
        return fitted
    return np.concatenate([fitted[(block @ known.T).argmax(axis=1)] for block in blocks(references)])


def _described(references: Set, found: np.ndarray, count: int) -> list[Cluster]:
    sums = np.zeros((count + 1, next(blocks(references)).shape[1]), np.float64)
    row = 0
    for block in blocks(references):  # what is in no cluster goes to the last row
        np.add.at(sums, found[row : row + len(block)], block)
        row += len(block)
    sizes = np.bincount(found[found >= 0], minlength=count)
    middles = unit_vectors(sums.astype(np.float32))
    best, central, alike = np.full(count, -np.inf), np.zeros(count, int), np.zeros(count)
    row = 0
    for block in blocks(references):
        own = found[row : row + len(block)]
        cosines = np.einsum("nd,nd->n", block, middles[own])
        order = np.flatnonzero(own >= 0)
        np.add.at(alike, own[order], cosines[order])
        order = order[np.argsort(cosines[order], kind="stable")]
        tops = np.full(count, -1)
        tops[own[order]] = order  # the last of each, which is the most alike
        better = np.flatnonzero(tops >= 0)
        better = better[cosines[tops[better]] > best[better]]
        best[better], central[better] = cosines[tops[better]], tops[better] + row
        row += len(block)
    names = labels(references)
    told = []
    for number in range(count):
        label, times = Counter(names[found == number].tolist()).most_common(1)[0]
        size = int(sizes[number])
        told.append(Cluster(size, int(central[number]), float(alike[number] / size), label, times / size))
    return told


def evaluated(references: Set, queries: int) -> dict[str, Any]:
    """What `evaluation.evaluate` measures; in a large set for so many of its clips, drawn at random, among all."""
    if isinstance(references, ReferenceSet):
        return evaluate(references)
    if queries < 1:
        raise RequestError("The sample must have at least 1 clip.")
    names = labels(references)
    column = references.table.to_table(columns=["split"], filter="error IS NULL")["split"].fill_null("")
    splits = np.char.lower(np.asarray(column.to_numpy(), str))
    train, test = np.isin(splits, list(TRAIN)), np.isin(splits, list(TEST))
    divided = bool(train.any() and test.any())
    asked = drawn(np.flatnonzero(test) if divided else np.arange(len(references)), queries)
    gallery = train if divided else np.full(len(references), True)
    if len(set(names.tolist())) < 2:
        raise ReferencesError("A set with fewer than two labels cannot be evaluated: label its clips.")

    def ranked(centred: bool) -> Iterator[np.ndarray]:
        at_once = max(1, QUERY_BYTES // (4 * len(references)))
        for begins in range(0, len(asked), at_once):
            rows = asked[begins : begins + at_once]
            if centred:
                wanted, among = taken(references, rows), blocks(references)
            else:
                wanted = unit_vectors(vectors_of(references.taken(rows, ["vector"])))
                among = (unit_vectors(block) for block in blocks_of(references.table))
            cosines = np.concatenate([wanted @ block.T for block in among], axis=1)
            cosines[np.arange(len(rows)), rows] = -np.inf
            cosines[:, ~gallery] = -np.inf
            yield from np.array_split(cosines, len(rows))

    return {
        "clips": len(references),
        "labels": len(set(names.tolist())),
        "queries": len(asked),
        "protocol": "train/test" if divided else "leave-one-out",
        "voters": VOTERS,
        "raw": score(ranked(False), names[asked], names),
        "centred": score(ranked(True), names[asked], names),
    }
