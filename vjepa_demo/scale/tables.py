"""Tables of clips with their vectors, one schema for all: a Lance table that a job adds to, Parquet to hand on.

Columns:

    clip_id     20 hex digits: of the address and the span
    item        20 hex digits: of what a job was given; a file with all of its windows is one item
    uri, start, end, label, split      the clip; the span in seconds, `end` null for a picture
    checkpoint, revision, precision, sampling, fit     how it was embedded (`embedding.Fingerprint`)
    vector      float32 [D]: the mean of its tokens
    motion      float32 [M]: see `embedding.motion`; null for a clip that is too short for it
    thumbnail   a small JPEG
    error       a sentence, where there is no vector
    x, y        the place on the map; null until one is laid out
    neighbors   {"ids", "distances"}: rows of this table and 1 − cosine, the nearest first; in exports alone
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_demo.embedding import Fingerprint, unit_vectors
from vjepa_demo.errors import ReferencesError, RequestError
from vjepa_demo.files import lock
from vjepa_demo.references.comparison import PLACE_NEIGHBOURS, ReferenceSet, leave_one_out, weigh
from vjepa_demo.references.map import align, fit_map
from vjepa_demo.scale.work import MADE, Row, made_of

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

os.environ.setdefault("LANCE_LOG", "error")  # before it is imported: it warns of each table that is made

NEIGHBOURS = 15  # of a clip, in exports
LAID_OUT = 10_000  # clips of which UMAP makes a map; all others are placed on it
BLOCK = 4096  # rows compared at a time
UNREADABLE = "The table of clips cannot be read: see that it is there, whole, and may be read, or name another one."
OTHER_KIND = "The table at {} holds clips embedded in another way ({}): name another one, or its options."


def schema(width: int, motion: int) -> pa.Schema:
    """See this module; `width` is D, `motion` M."""
    import pyarrow as pa

    vector = {"vector": pa.list_(pa.float32(), width), "motion": pa.list_(pa.float32(), motion)}
    near = pa.struct({"ids": pa.list_(pa.int64()), "distances": pa.list_(pa.float32())})
    fields = {name: pa.string() for name in ("clip_id", "item", "uri", "label", "split", *MADE)}
    fields |= {"start": pa.float64(), "end": pa.float64(), **vector}
    fields |= {"thumbnail": pa.binary(), "error": pa.string(), "x": pa.float32(), "y": pa.float32(), "neighbors": near}
    return pa.schema(fields)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """What is read within this context is of a table, as somebody may have made it. Raises ReferencesError where it is
    gone, or damaged."""
    try:
        yield
    except (OSError, ValueError) as error:  # Lance's own are these
        log.warning("a table cannot be read", exc_info=True)
        raise ReferencesError(UNREADABLE) from error


class Table:
    """A Lance table at a path or an address, whether it is there yet or not. Each `append` is there whole or not."""

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)

    def open(self) -> Any:
        """The dataset as it is now; None where there is none. Raises ReferencesError where it cannot be read."""
        import lance

        with reading():
            try:
                return lance.dataset(self.uri)
            except (ValueError, OSError) as error:
                if "not found" in str(error).lower() or "does not exist" in str(error).lower():
                    return None
                raise

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Within this context nobody else on this machine adds to the table, lays it out or indexes it. Of one at an
        address nobody knows."""
        with contextlib.nullcontext() if "://" in self.uri else lock(Path(f"{self.uri}.lock")):
            yield

    def done(self, fingerprint: Fingerprint) -> dict[str, str]:
        """The items that are in it, with their addresses. Raises ReferencesError where the table is of another kind."""
        found: dict[str, str] = {}
        if (dataset := self.open()) is not None:  # an empty one is false
            for batch in dataset.to_batches(columns=["item", "uri", *MADE]):
                for name in MADE:
                    others = set(batch[name].unique().to_pylist()) - {getattr(fingerprint, name)}
                    if others:
                        raise ReferencesError(OTHER_KIND.format(self.uri, ", ".join(sorted(map(str, others)))))
                found.update(zip(batch["item"].to_pylist(), batch["uri"].to_pylist(), strict=True))
        return found

    def drop(self, items: Sequence[str]) -> None:
        """Drop the rows of items."""
        dataset: Any = self.open() if items else None
        for begins in range(0, len(items), BLOCK):
            names = ", ".join("'{}'".format(name.replace("'", "''")) for name in items[begins : begins + BLOCK])
            dataset.delete(f"item IN ({names})")

    def drop_failures(self) -> None:
        """Drop the rows of items in which something could not be embedded, so that they are tried again."""
        if (dataset := self.open()) is not None:  # an empty one is false
            self.drop(dataset.to_table(columns=["item"], filter="error IS NOT NULL")["item"].unique().to_pylist())

    def append(self, rows: Sequence[Row], fields: pa.Schema) -> None:
        """Add rows, as `Worker.rows` makes them, in one step."""
        import lance
        import pyarrow as pa

        added = pa.Table.from_pylist(rows, fields)
        lance.write_dataset(added, self.uri, mode="create" if self.open() is None else "append")

    def counts(self) -> dict[str, int]:
        """How many clips it holds, and how many of them have no vector."""
        dataset = self.open()
        if dataset is None:
            return {"clips": 0, "failures": 0}
        failures = dataset.count_rows(filter="error IS NOT NULL")
        return {"clips": dataset.count_rows() - failures, "failures": failures}

    def failures(self, most: int) -> list[Row]:
        """The first of them: uri, start, end, error."""
        dataset = self.open()
        columns = ["uri", "start", "end", "error"]
        return (
            dataset.to_table(columns=columns, filter="error IS NOT NULL", limit=most).to_pylist()
            if dataset is not None
            else []
        )

    def lay_out(self, *, refit: bool = False) -> int:
        """Give every clip a place on a map: that of UMAP for LAID_OUT of them, drawn at random; for any other one the
        mean of its nearest of these, weighted as UMAP does. Where more clips have a place than have none, they keep it,
        and the others are placed among them. Returns how many clips have a place now.

        Args:
            refit: lay out all of them anew, turned to lie near their old places.
        """
        import pyarrow as pa

        dataset = self.open()
        held = dataset.to_table(columns=["clip_id", "x", "y", "error"]) if dataset is not None else None
        rows = offsets(held["error"]) if held is not None else ()
        if held is None or not len(rows):
            return 0
        held = held.take(rows)
        places = coordinates_of(held)
        known = np.isfinite(places).all(axis=1)
        refit |= known.sum() < min(LAID_OUT, len(rows) / 2)
        new = np.full(len(rows), True) if refit else ~known
        if not new.any():
            return len(rows)
        fitted = drawn(np.arange(len(rows)) if refit else np.flatnonzero(known), LAID_OUT)
        vectors = vectors_of(dataset.take(rows[fitted], columns=["vector"]))
        if refit:
            kept = np.flatnonzero(known[fitted])
            places[fitted] = align(fit_map(vectors), places[fitted], kept, kept)
            new[fitted] = False
        if new.any():
            mean = mean_of(dataset)[0]
            found = places_among(blocks_of(dataset), new, vectors - mean, places[fitted], mean)
            places[new] = np.concatenate(list(found))
        new[fitted] = refit
        update = pa.table({"clip_id": held["clip_id"], "x": places[:, 0], "y": places[:, 1]})
        # The other columns stay as they are on disk.
        merge = dataset.merge_insert("clip_id").when_matched_update_all().write_mode("rewrite_columns")
        merge.execute(update.filter(pa.array(new)))
        return len(rows)


def offsets(errors: pa.ChunkedArray) -> np.ndarray:
    """The rows that have a vector, int64, of a table with this column `error`."""
    return np.flatnonzero(errors.is_null().to_numpy())


def drawn(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, the same ones every time, in order."""
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def vectors_of(table: pa.Table | pa.RecordBatch, name: str = "vector") -> np.ndarray:
    """float32 `[R, D]` of a column of vectors, none of which is null."""
    column = table[name]
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)


def coordinates_of(table: pa.Table) -> np.ndarray:
    """float32 `[R, 2]`: where clips are on the map; NaN where they have no place."""
    return np.stack([table[name].to_numpy().astype(np.float32) for name in ("x", "y")], axis=1)


def blocks_of(dataset: Any, name: str = "vector") -> Iterator[np.ndarray]:
    """float32 `[n, D]`: the vectors of all clips that have one, in the order of the table, some at a time."""
    scan = {"filter": "error IS NULL"} if "error" in dataset.schema.names else {}
    for batch in dataset.to_batches(columns=[name], batch_size=BLOCK, batch_readahead=2, **scan):
        if len(batch):
            yield vectors_of(batch, name)


def mean_of(dataset: Any) -> tuple[np.ndarray, bool]:
    """float32 `[D]`, the mean of all vectors, and whether they are all equal, which then had no angle to it: zeros."""
    total, count, low, high = 0.0, 0, np.inf, -np.inf
    for block in blocks_of(dataset):
        total, count = total + block.sum(axis=0, dtype=np.float64), count + len(block)
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    equal = bool(np.all(low == high))
    mean = np.asarray(total, np.float64) / count
    return (np.zeros_like(mean, np.float32) if equal else mean.astype(np.float32)), equal


def places_among(
    blocks: Iterator[np.ndarray], wanted: np.ndarray, known: np.ndarray, places: np.ndarray, mean: np.ndarray
) -> Iterator[np.ndarray]:
    """float32 `[n, 2]`: where vectors belong among some that have a place.

    Args:
        blocks: of vectors `[n, D]`, R in all.
        wanted: bool `[R]`, which of them are placed.
        known: float32 `[K, D]`, those that have a place, centred.
        places: float32 `[K, 2]`.
        mean: float32 `[D]`, what the others are centred by.
    """
    units, k, row = unit_vectors(known).T, min(PLACE_NEIGHBOURS, len(known)), 0
    for block in blocks:
        chosen = unit_vectors(block[wanted[row : row + len(block)]] - mean)
        row += len(block)
        if len(chosen):
            cosines = chosen @ units
            nearest = most_alike(cosines, k)
            yield weigh(np.take_along_axis(cosines, nearest, 1), places[nearest])[0].astype(np.float32)


def most_alike(cosines: np.ndarray, k: int) -> np.ndarray:
    """int64 `[n, k]`: the columns of cosines `[n, R]` with the k largest, in falling order."""
    import torch

    return torch.topk(torch.from_numpy(cosines), k, dim=1).indices.numpy()  # numpy's partition takes twice as long


def of_set(references: ReferenceSet) -> pa.Table:
    """A set of references as such a table. Thumbnails are those that the set has; what a reference set does not know
    (the motion, where it compares by the mean, and the mean, where it compares by motion) stays null. Raises
    RequestError where the set is compared by anything else."""
    import pyarrow as pa

    if references.kind.pooling == "probe":
        raise RequestError("Tables hold no vectors of classifiers: export the set by mean or motion.")
    made, motion = references.kind.fingerprint, references.kind.pooling == "motion"
    near = nearest(references.vectors)
    width = references.vectors.shape[1]
    rows = [
        {
            "clip_id": hashlib.sha256(clip.file.encode("utf-8", "replace")).hexdigest()[:20],
            "uri": str(references.folder / clip.file),
            "label": clip.label,
            "split": clip.split,
            **made_of(made),
            "motion" if motion else "vector": vector,
            "thumbnail": _thumbnail(references, row),
            "x": float(place[0]),
            "y": float(place[1]),
            "neighbors": near[row],
        }
        for row, (clip, vector, place) in enumerate(
            zip(references.clips, references.vectors, references.coordinates, strict=True)
        )
    ]
    fields = schema(1 if motion else width, width if motion else 1)
    return pa.Table.from_pylist(rows, fields)


@reading()
def of_job(uri: str) -> pa.Table:
    """The clips of a job's table that have a vector, with their neighbours. Raises ReferencesError."""
    import pyarrow as pa

    dataset = Table(uri).open()
    table = dataset.to_table(filter="error IS NULL") if dataset is not None else None
    if table is None or not len(table):
        raise ReferencesError("There is no table of clips with vectors: check the path.")
    field = table.schema.field("neighbors")
    near = pa.array(nearest(vectors_of(table)), field.type)
    return table.set_column(table.schema.get_field_index("neighbors"), field, near)


def nearest(vectors: np.ndarray, k: int = NEIGHBOURS) -> list[Row]:
    """For each row the k rows that are most like it, by the cosines that `leave_one_out` gives."""
    found: list[Row] = []
    for block in leave_one_out(vectors):
        k = min(k, block.shape[1] - 1)
        ids = np.argsort(-block, axis=1, kind="stable")[:, :k]
        gaps = 1 - np.take_along_axis(block, ids, 1)
        found += [{"ids": i.tolist(), "distances": d.tolist()} for i, d in zip(ids, gaps, strict=True)]
    return found


def _thumbnail(references: ReferenceSet, row: int) -> bytes | None:
    name = f"{references.hashes[row]}.jpg" if references.hashes else ""
    for folder in references.thumbnails if name else ():
        with contextlib.suppress(OSError):
            return (folder / name).read_bytes()
    return None


def write(table: pa.Table, target: str) -> list[str]:
    """Write a table as Parquet or Lance, whichever the name ends with. Returns the names of the columns that are in it.
    Raises RequestError, OSError."""
    if target.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name in ("vector", "motion"):  # of a fixed size Parquet's readers take no nulls
            if table[name].null_count == len(table):
                table = table.drop_columns([name])
            elif table[name].null_count:
                table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.list_(pa.float32())))
        pq.write_table(table, target)
    elif target.endswith(".lance"):
        import lance

        if Table(target).open() is not None:
            raise RequestError("There is a table in that place already: give --to another name.")
        lance.write_dataset(table, target)
    else:
        raise RequestError("A table is written as .parquet or .lance: let the name end with one of these.")
    return list(table.column_names)
