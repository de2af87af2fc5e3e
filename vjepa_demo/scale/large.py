"""A table of clips as a set of references: in memory and exact where it is small, on disk and by an index where not.

The index is a Lance table of its own inside the table's folder, `_references/vector.lance`: the vectors of all clips
that have one, centred by their mean and of length 1, in the order of the table. What was measured when it was made
stands in its metadata: the mean, the far threshold, how many of the true nearest it finds. It is that of one version of
the table, for which it goes on to answer until it is made anew.
"""

from __future__ import annotations

import base64
import datetime
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_demo.embedding import Fingerprint, Kind, Vector, unit_vectors
from vjepa_demo.errors import ReferencesError
from vjepa_demo.references.comparison import (
    FAR_PERCENTILE,
    PLACE_NEIGHBOURS,
    Neighbour,
    ReferenceClip,
    ReferenceSet,
    measured_rows,
    weigh,
)
from vjepa_demo.scale.drawn import OfTable
from vjepa_demo.scale.tables import (
    Table,
    blocks_of,
    coordinates_of,
    mean_of,
    most_alike,
    offsets,
    reading,
    schema,
    vectors_of,
)
from vjepa_demo.scale.work import MADE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

# Clips that are compared one by one. Of 50,000 × 192 the mean, the far threshold and one place on the map took 19 s, on
# two busy cores, where an index of a million answered in 0.2 s.
EXACT = 20_000
PLACE = "_references/vector.lance"  # within the table
FACTS = "vjepa-demo"  # their name in the metadata
FORMAT = 1
RECALL_OF = 10  # nearest, of which the index has to find
LEAST_RECALL = 0.95  # of them, for QUERIES of the clips themselves
QUERIES = 256
PARTITION = 2048  # clips of a partition, about
# Of 200,000 × 192, on two cores, it is made in 6 s, IVF_PQ in 142, IVF_HNSW_SQ in 108; neither finds more, or sooner.
INDEX = "IVF_SQ"
REFINED = 8  # times as many as are asked for are compared exactly
DIMENSIONS = ("uri", "start", "end", "label", "split")
# How vectors were made that came without saying so.
UNKNOWN = Kind(Fingerprint("unknown", "", "", "", ""))
NOTHING = "There is no table of clips with vectors: check the path."
FOREIGN = "This table was made by something else: `references import` makes one of it that can be searched."
NO_NUMBERS = (
    "The table has vectors that are no numbers: `references export` and `import` make one of it that leaves them out."
)
MIXED = "The table holds clips that were embedded in different ways: make one for each."
NO_INDEX = "This table has {} clips and no index: make one with `references index`."
NOBODY_KNOWS = (
    "Nobody knows how the vectors of this table were made, so no clip can be compared with them: import them with "
    "--checkpoint and what else made them, if you know it."
)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Facts:
    """What was measured when a table was indexed.

    Attributes:
        version: of the table.
        clips: how many it had.
        kind: of its vectors, as `Kind.fields` gives it.
        mean: of the vectors, float32 `[D]` in base 64.
        far: see `ReferenceSet.far_threshold`.
        recall: share of the true RECALL_OF nearest that the index finds.
        probes: partitions that are looked into for that, of `partitions`.
    """

    version: int
    clips: int
    kind: dict[str, Any]
    mean: str
    far: float
    recall: float
    probes: int
    partitions: int


@dataclass(frozen=True, eq=False)
class Index:
    """An index that was finished: the Lance table of vectors, and what was measured."""

    units: Any
    facts: Facts

    @classmethod
    def open(cls, uri: str) -> Index | None:
        """That of a table; None where there is none."""
        units = Table(f"{uri}/{PLACE}").open()
        told = (units.schema.metadata or {}).get(FACTS.encode()) if units is not None else None
        try:
            held = json.loads(told) if told else {}
            return cls(units, Facts(**held)) if held.pop("format", None) == FORMAT else None
        except (ValueError, TypeError, AttributeError):  # somebody else's
            return None

    def set_of(self, table: Any, added: int = 0, *, stale: bool = False) -> LargeSet:
        """The set, with the version of the table that was indexed."""
        whole = table.count_rows() == self.facts.clips
        rows = np.arange(self.facts.clips) if whole else offsets(table.to_table(columns=["error"])["error"])
        return LargeSet(Kind.parse(self.facts.kind), table, rows, self.units, self.facts, added, stale)


def kind_of(made: dict[str, set[Any]]) -> Kind:
    """What kind the vectors of a table are, by the values of its columns. Raises ReferencesError where they differ."""
    if any(len(values) > 1 for values in made.values()):
        raise ReferencesError(MIXED)
    fields = {name: value for name, values in made.items() for value in values if value is not None}
    return Kind(Fingerprint(**fields)) if fields.keys() == made.keys() else UNKNOWN


@reading()
def opened(uri: str) -> SmallSet | LargeSet:
    """A table as a set of references. Raises ReferencesError."""
    import lance

    dataset = _own(uri)
    made = Index.open(uri)
    if made and made.facts.version == dataset.version:  # then nothing has to be counted
        return made.set_of(dataset)
    count = dataset.count_rows(filter="error IS NULL")
    if not count:
        raise ReferencesError(NOTHING)
    if count > EXACT:
        try:
            first = dataset.to_table(columns=list(MADE), filter="error IS NULL", limit=1)
            if made and kind_of({name: set(first[name].to_pylist()) for name in MADE}) == Kind.parse(made.facts.kind):
                indexed = lance.dataset(uri, version=made.facts.version)
                return made.set_of(indexed, count - made.facts.clips, stale=True)
        except (ValueError, OSError):
            log.info("the version of the table that was indexed is gone")
        raise ReferencesError(NO_INDEX.format(f"{count:,}"))
    table = dataset.to_table(columns=[*DIMENSIONS, *MADE, "x", "y", "vector"], filter="error IS NULL")
    if table["vector"].null_count:
        raise ReferencesError(
            "The table holds no means of clips, by which tables are compared: export the set by them."
        )
    kind = kind_of({name: set(table[name].unique().to_pylist()) for name in MADE})
    vectors = vectors_of(table)
    if not np.isfinite(vectors).all():
        raise ReferencesError(NO_NUMBERS)
    return SmallSet(
        kind,
        tuple(clips_of(table)),
        vectors,
        coordinates_of(table),
        folder=folder_of(dataset),
        table=dataset,
        rows=offsets(dataset.to_table(columns=["error"])["error"]),
    )


def settle(uri: str, progress: Progress = lambda message: None) -> None:
    """Do what is left to do, so that a table can be searched: its map and, where it is large, its index. Raises
    ReferencesError."""
    _own(uri)
    with Table(uri).changing():
        dataset = _own(uri)
        with reading():
            count = dataset.count_rows(filter="error IS NULL")
        if count > EXACT:
            made = Index.open(uri)
            if not made or made.facts.version != dataset.version:
                index(uri, progress)
        elif count:
            progress("Laying out the map")
            Table(uri).lay_out()


def _own(uri: str) -> Any:
    import pyarrow as pa

    dataset = Table(uri).open()
    if dataset is None:
        raise ReferencesError(NOTHING)
    own, wanted = dataset.schema, schema(1, 1)
    types = {name: own.field(name).type for name in own.names}
    if not {*DIMENSIONS, *MADE, "clip_id", "vector", "error", "x", "y"} <= types.keys():
        raise ReferencesError(FOREIGN)
    for name in types.keys() & set(wanted.names) - {"neighbors"}:
        mine, theirs = wanted.field(name).type, types[name]
        if pa.types.is_fixed_size_list(mine) and pa.types.is_fixed_size_list(theirs):  # of any length
            mine, theirs = mine.value_type, theirs.value_type
        if mine != theirs:
            raise ReferencesError(FOREIGN)
    return dataset


def clips_of(table: pa.Table) -> Iterator[ReferenceClip]:
    """The clips of rows. A span of a video is named as a media fragment, `clip.mp4#t=4,8` (W3C, 2012)."""
    for row in table.select(DIMENSIONS).to_pylist():
        span = "" if row["end"] is None else f"#t={row['start'] or 0:.10g},{row['end']:.10g}"
        yield ReferenceClip(f"{row['uri'] or ''}{span}", row["label"] or "", split=row["split"] or "")


def folder_of(dataset: Any) -> Path:
    """Where a table is, if that is on this machine."""
    return Path(dataset.uri.removeprefix("file://")).resolve()


@dataclass(frozen=True, eq=False)
class SmallSet(OfTable, ReferenceSet):
    """A table that is held in memory; `folder` is its own, and `clips` have addresses for names.

    Attributes:
        table: the table, as it was read.
        rows: int64 `[R]`, where in it each clip is.
    """

    table: Any = None
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class LargeSet(OfTable):
    """What `ReferenceSet` is, for more clips than are held in memory.

    Attributes:
        kind: what kind all the vectors are.
        table: the version of the table that was indexed.
        rows: int64 `[R]`, where in the table each clip is.
        units: the Lance table of the centred vectors of length 1.
        facts: what was measured then.
        added: clips that came into the table since, and are not found.
        stale: whether the table has changed since in any way.
    """

    kind: Kind
    table: Any
    rows: np.ndarray
    units: Any
    facts: Facts
    added: int = 0
    stale: bool = False

    def __len__(self) -> int:
        return self.facts.clips

    def __repr__(self) -> str:
        return f"LargeSet({len(self)} clips, vectors [{len(self)}, {len(self.mean)}])"

    @cached_property
    def folder(self) -> Path:  # type: ignore[override]
        """Where the table is."""
        return folder_of(self.table)

    @property
    def remarks(self) -> list[str]:
        """How much the index finds, and what came into the table since it was made."""
        lines = [f"The index finds {self.facts.recall:.1%} of the ten nearest (measured on clips of the table)."]
        if self.added:
            lines.append(f"{self.added:+,} clips since it was indexed: run `references index` again.")
        elif self.stale:
            lines.append("The table has changed since it was indexed: run `references index` again.")
        return lines

    @cached_property
    def mean(self) -> np.ndarray:
        """float32 `[D]`: the mean of the references."""
        return np.frombuffer(base64.b64decode(self.facts.mean), "<f4")

    @property
    def far_threshold(self) -> float:
        """The cosine below which a clip counts as far from all references."""
        return self.facts.far

    def compare(self, vector: Vector) -> LargeComparison:
        """Compare one vector, or several, with the references.

        Raises:
            FingerprintMismatch: it is of another kind than the references' vectors.
        """
        self.kind.require(vector.kind)
        return LargeComparison(self, unit_vectors(np.asarray(vector.array, np.float32) - self.mean))

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k references that the index finds nearest to each of the queries, nearest first.

        Args:
            queries: float32 `[n, D]`, centred and of length 1.

        Returns:
            int64 `[n, k]`, which they are, and float32 `[n, k]`, their cosines; −1 and −inf beyond those that it finds.
        """
        return search(self.units, queries, k, self.facts.probes)

    def clips(self, numbers: Sequence[int] | np.ndarray) -> list[ReferenceClip]:
        """Some of the references."""
        return list(clips_of(self.taken(numbers, DIMENSIONS)))

    def places(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 `[n, 2]`: where some of the references are on the map; NaN where they have no place."""
        return coordinates_of(self.taken(numbers, ["x", "y"]))


@dataclass(frozen=True, eq=False)
class LargeComparison:
    """What `Comparison` is, among a set that is asked by its index.

    Attributes:
        references: the set.
        units: float32 `[..., D]`, the vectors, centred by its mean, of length 1.
    """

    references: LargeSet
    units: np.ndarray

    def neighbours(self, k: int = 5) -> list[Neighbour]:
        """The k references with the largest cosine to a single vector, nearest first; see `LargeSet.nearest`."""
        found, cosines = (part[0] for part in self._nearest(k))
        found = found[found >= 0]
        clips = self.references.clips(found) if len(found) else []
        named = zip(clips, cosines, found, strict=False)
        return [Neighbour(clip.file, clip.label, float(cosine), int(row)) for clip, cosine, row in named]

    @property
    def nearest(self) -> float:
        """The cosine of a single vector with its nearest reference."""
        return float(self._nearest(1)[1][0, 0])

    @property
    def far(self) -> bool:
        """Whether a single vector is less similar to its nearest reference than is usual among the references."""
        return self.nearest < self.references.far_threshold

    @cached_property
    def flat(self) -> np.ndarray:
        """float32 `[..., 2]`: the means of the places of the nearest references, weighted as UMAP does."""
        found, cosines = self._few
        near = self.references.places(found.ravel()).reshape(*found.shape, 2)
        return weigh(cosines, near)[0].astype(np.float32).reshape(*self.units.shape[:-1], 2)

    @cached_property
    def _few(self) -> tuple[np.ndarray, np.ndarray]:
        return self.references.nearest(self.units.reshape(-1, self.units.shape[-1]), PLACE_NEIGHBOURS)

    def _nearest(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k <= PLACE_NEIGHBOURS:
            found, cosines = self._few
            return found[:, : max(k, 0)], cosines[:, : max(k, 0)]
        return self.references.nearest(self.units.reshape(-1, self.units.shape[-1]), k)


def search(units: Any, queries: np.ndarray, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
    """See `LargeSet.nearest`; `units` is a Lance table with an index. Raises ReferencesError where it is gone."""
    numbers: np.ndarray = np.full((len(queries), k), -1, np.int64)
    cosines: np.ndarray = np.full((len(queries), k), -np.inf, np.float32)
    for query, unit in enumerate(queries):
        with reading():
            found = units.to_table(
                columns=["number", "_distance"],
                nearest={"column": "unit", "q": unit, "k": k, "nprobes": probes, "refine_factor": REFINED},
            )
        count = len(found)
        numbers[query, :count] = found["number"].to_numpy()
        # Of vectors of length 1 the square of the distance is 2 − 2 cos.
        cosines[query, :count] = 1 - found["_distance"].to_numpy() / 2
    return numbers, cosines


def index(uri: str, progress: Progress = lambda message: None) -> Facts:
    """Place and index all clips of a table, and measure the index; until that is done the table has none. Raises
    ReferencesError."""
    import lance
    import pyarrow as pa

    _own(uri)
    progress("Laying out the map")
    Table(uri).lay_out()
    dataset = _own(uri)
    made: dict[str, set[Any]] = {name: set() for name in MADE}
    count = 0
    for batch in dataset.to_batches(columns=list(MADE), filter="error IS NULL"):
        count += len(batch)
        for name in MADE:
            made[name].update(batch[name].unique().to_pylist())
    if not count:
        raise ReferencesError(NOTHING)
    kind = kind_of(made)
    progress("Centring the vectors")
    mean, _ = mean_of(dataset)
    if not np.isfinite(mean).all():
        raise ReferencesError(NO_NUMBERS)
    form = pa.schema({"number": pa.int64(), "unit": pa.list_(pa.float32(), len(mean))})

    def centred() -> Iterator[pa.RecordBatch]:
        number = 0
        for block in blocks_of(dataset):
            unit = pa.FixedSizeListArray.from_arrays(pa.array(unit_vectors(block - mean).ravel()), len(mean))
            yield pa.record_batch([pa.array(np.arange(number, number + len(block))), unit], form)
            number += len(block)

    place = f"{uri}/{PLACE}"
    units = lance.write_dataset(pa.RecordBatchReader.from_batches(form, centred()), place, mode="overwrite")
    progress("Making the index")
    partitions = max(1, round(count / PARTITION))
    units = units.create_index("unit", INDEX, metric="l2", num_partitions=partitions)
    progress("Measuring the index")
    far, recall, probes = measured(units, count, partitions)
    facts = Facts(
        dataset.version, count, kind.fields, base64.b64encode(mean.astype("<f4").tobytes()).decode(), far, recall,
        probes, partitions,
    )  # fmt: skip
    units.update_schema_metadata({FACTS: json.dumps({"format": FORMAT, **vars(facts)})})
    units.cleanup_old_versions(datetime.timedelta(0))
    return facts


def measured(units: Any, count: int, partitions: int) -> tuple[float, float, int]:
    """The far threshold, the recall of the index, and in how many partitions it has to look for that."""
    chosen = measured_rows(count)
    queries = vectors_of(units.take(chosen, columns=["unit"]), "unit")
    true, cosines = exact(blocks_of(units, "unit"), queries, RECALL_OF, chosen)
    far = float(np.percentile(cosines[:, 0], FAR_PERCENTILE))
    asked = np.random.default_rng(0).choice(len(queries), min(QUERIES, len(queries)), replace=False)
    probes, recall = min(8, partitions), 0.0
    while True:
        found, _ = search(units, queries[asked], RECALL_OF + 1, probes)
        others = [set(row) - {own} for row, own in zip(found.tolist(), chosen[asked].tolist(), strict=True)]
        recall = (
            float(np.mean([len(a & set(b)) for a, b in zip(others, true[asked].tolist(), strict=True)])) / RECALL_OF
        )
        if recall >= LEAST_RECALL or probes == partitions:
            return far, recall, probes
        probes = min(2 * probes, partitions)


def exact(
    blocks: Iterator[np.ndarray], queries: np.ndarray, k: int, but: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k of R vectors that are most like each of the queries, by comparing all.

    Args:
        blocks: of the vectors, float32 `[n, D]`, of length 1.
        queries: float32 `[Q, D]`, of length 1.
        but: int `[Q]`, which of the vectors each query is itself, and does not find.

    Returns:
        int64 `[Q, k]`, and their cosines, float32 `[Q, k]`, nearest first.
    """
    numbers: np.ndarray = np.empty((len(queries), 0), np.int64)
    best: np.ndarray = np.empty((len(queries), 0), np.float32)
    row = 0
    for block in blocks:
        cosines = queries @ block.T
        if but is not None:
            own = np.flatnonzero((but >= row) & (but < row + len(block)))
            cosines[own, but[own] - row] = -np.inf
        near = most_alike(cosines, min(k, len(block)))
        numbers = np.concatenate([numbers, near + row], axis=1)
        best = np.concatenate([best, np.take_along_axis(cosines, near, 1)], axis=1)
        order = most_alike(best, min(k, best.shape[1]))
        numbers, best = np.take_along_axis(numbers, order, 1), np.take_along_axis(best, order, 1)
        row += len(block)
    return numbers, best
