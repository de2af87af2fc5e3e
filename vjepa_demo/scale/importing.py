"""A table of vectors that was made elsewhere, as a table of clips."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vjepa_demo.errors import ReferencesError, RequestError, cut
from vjepa_demo.options import Options
from vjepa_demo.references.preparing import NO_NUMBERS, PROVEN, alike
from vjepa_demo.scale.tables import BLOCK, Table, schema
from vjepa_demo.scale.work import MADE, Item, Worker

if TYPE_CHECKING:
    import pyarrow as pa

# What a column of ours may be called elsewhere.
NAMES = {
    "uri": ("uri", "path", "file", "filepath", "file_path", "filename", "video", "url"),
    "start": ("start", "start_time", "begin"),
    "end": ("end", "end_time"),
    "label": ("label", "class", "category"),
    **{name: (name,) for name in ("clip_id", "item", "split", *MADE, "motion", "thumbnail", "error", "x", "y")},
}
# Of these ours alone can be believed: elsewhere they are anything, and an identifier need not be one clip's.
OWN = (*MADE, "clip_id", "item", "error")
NO_VECTOR = "The row has no vector."
UNLIKE = (
    "The vectors are not those that this checkpoint makes of these clips in this way: say how they were made, or leave "
    "--checkpoint out."
)


class Read(NamedTuple):
    """What became of a table: the column of vectors, which other columns were taken as which, which were not, how many
    of the clips were embedded to prove the vectors, and whether it is known how they were made."""

    vector: str
    columns: dict[str, str]
    left_out: list[str]
    proven: int
    known: bool


def read_in(source: str, out: str, *, vector: str | None = None, options: Options | None = None) -> Read:
    """Make a table of clips of a Parquet file or a Lance table, some thousand rows at a time.

    Args:
        source: a path or an address.
        out: the table that is made; there must be none yet.
        vector: the column of vectors; None where there is a single one.
        options: how they were made, where the columns do not say so. Where clips are at hand, a few are embedded so,
            and have to have these vectors.

    Raises:
        ReferencesError, RequestError: it cannot be read, has no such column, or the vectors are of different lengths.
    """
    import lance
    import pyarrow as pa

    if Table(out).open() is not None:
        raise ReferencesError("There is a table in that place already: give --out another name.")
    form, batches = _opened(source)
    name = _vector(form, vector)
    columns = _columns(form, name)
    told = set(MADE) <= set(columns) and name == "vector"  # nothing else is the mean of the tokens
    if told and options:
        raise RequestError("The table says itself how its vectors were made: leave --checkpoint out.")
    for part in () if told else OWN:
        columns.pop(part, None)
    parts = batches([name, *columns.values()])
    first = next((part for part in parts if len(part)), None)
    if first is None:
        raise ReferencesError("The table has no rows: check the path.")
    width, motion = _width(first, name), _width(first, columns["motion"]) if "motion" in columns else 1
    if not width:
        raise ReferencesError("The first rows of the table have no vectors: take them out, or name another column.")
    worker = Worker(options) if options else None
    reading = _Reading(name, columns, schema(width, motion or 1), worker)
    proven = reading.prove(first, os.path.dirname(os.path.abspath(source))) if worker else 0
    fails: list[ReferencesError] = []

    def made() -> Iterator[pa.RecordBatch]:
        try:
            yield reading.batch(first)
            for part in parts:
                yield reading.batch(part)
        except ReferencesError as error:  # what reads this raises another one in its place
            fails.append(error)
            raise

    before = os.path.exists(out)
    try:
        lance.write_dataset(pa.RecordBatchReader.from_batches(reading.form, made()), out)
    except Exception as error:
        if not before:
            shutil.rmtree(out, ignore_errors=True)
        if fails:
            raise fails[0] from None
        if isinstance(error, (OSError, pa.ArrowInvalid)):
            raise ReferencesError(
                "The table cannot be read, or the new one cannot be written: see that both places can be reached."
            ) from error
        raise
    left_out = [column for column in form.names if column not in {name, *columns.values()}]
    return Read(name, columns, left_out, proven, told or worker is not None)


def _opened(source: str) -> tuple[pa.Schema, Callable[[list[str]], Iterator[pa.RecordBatch]]]:
    """A table's columns, and what reads some of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSystem

    if source.rstrip("/").lower().endswith(".lance"):
        dataset = Table(source).open()
        if dataset is None:
            raise ReferencesError("There is no such table: check the path.")
        return dataset.schema, lambda names: dataset.to_batches(columns=names, batch_size=BLOCK, batch_readahead=2)
    if not source.lower().endswith(".parquet"):
        raise RequestError("A table is read as .parquet or .lance: the name has to end with one of these.")
    try:
        system, path = FileSystem.from_uri(source if "://" in source else os.path.abspath(source))
        file = pq.ParquetFile(system.open_input_file(path))
    except (OSError, pa.ArrowInvalid) as error:
        raise ReferencesError("The table cannot be read: see that it is there, and that it is Parquet.") from error
    return file.schema_arrow, lambda names: file.iter_batches(BLOCK, columns=names)


def _vector(form: pa.Schema, wanted: str | None) -> str:
    """The column of vectors."""
    found = [field.name for field in form if _is_vector(field.type)]
    if wanted is not None:
        if wanted not in found:
            raise RequestError(
                f"The table has no column {cut(wanted)} of lists of numbers: name another one in --vector."
            )
        return wanted
    if not found:
        raise ReferencesError("The table has no column of lists of numbers: it holds no vectors.")
    if len(found) > 1 and set(found) != {"vector", "motion"}:
        raise RequestError(
            f"The vectors can be in several columns: choose one with --vector, {' or '.join(map(cut, found))}."
        )
    return "vector" if "vector" in found else found[0]


def _is_vector(kind: pa.DataType) -> bool:
    import pyarrow as pa

    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and pa.types.is_floating(kind.value_type)


def _columns(form: pa.Schema, vector: str) -> dict[str, str]:
    """Which column of a table is which of ours."""
    import pyarrow as pa

    named = {name.lower(): name for name in form.names if name != vector}
    found = {own: named[other] for own, others in NAMES.items() for other in others[::-1] if other in named}
    if "motion" in found and not _is_vector(form.field(found["motion"]).type):
        del found["motion"]
    if "thumbnail" in found and form.field(found["thumbnail"]).type not in (pa.binary(), pa.large_binary()):
        del found["thumbnail"]
    if not {"x", "y"} <= set(found):
        found = {own: name for own, name in found.items() if own not in "xy"}
    return found


def _width(batch: pa.RecordBatch, name: str) -> int:
    """How many numbers the vectors of a column have, by the first of them; 0 where there is none."""
    import pyarrow.compute as pc

    return int(pc.max(pc.list_value_length(batch[name])).as_py() or 0)


class _Reading:
    """What makes rows of ours of rows of another table."""

    def __init__(self, vector: str, columns: dict[str, str], form: pa.Schema, worker: Worker | None) -> None:
        self.vector, self.columns, self.form, self.worker, self.row = vector, columns, form, worker, 0

    def prove(self, batch: pa.RecordBatch, folder: str) -> int:
        """Embed a few of the clips, as the vectors are said to have been. Returns how many. Raises ReferencesError."""
        assert self.worker
        width, made = self.form.field("vector").type.list_size, self.worker.widths[0]
        if width != made:
            raise ReferencesError(
                f"The vectors have {width} numbers, those of this checkpoint {made}: choose another one."
            )
        proven = 0
        rows = self.batch(batch).select(["uri", "start", "end", "vector"]).to_pylist()
        self.row = 0
        for row in rows:
            path = os.path.join(folder, row["uri"] or "")
            if proven == PROVEN or not (row["vector"] and os.path.isfile(path)):
                continue
            made_here = self.worker.rows([Item(path, start=row["start"] or 0.0, end=row["end"])])[0][0].get("vector")
            if made_here is not None:
                proven += 1
                if not alike(np.asarray(row["vector"], np.float32), made_here):
                    raise ReferencesError(UNLIKE)
        return proven

    def batch(self, read: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of ours. Raises ReferencesError."""
        import pyarrow as pa
        import pyarrow.compute as pc

        count = len(read)
        vectors, whole = self._lists(read[self.vector], "vector")
        columns: dict[str, Any] = {
            name: self._cast(read[other], name) for name, other in self.columns.items() if name != "motion"
        }
        missing = read[self.vector].is_null().to_pylist()
        told = [None if good else NO_VECTOR if none else NO_NUMBERS for good, none in zip(whole, missing, strict=True)]
        faults = pa.array(told, pa.string())
        columns["error"] = pc.coalesce(columns["error"], faults) if "error" in columns else faults
        columns["vector"] = vectors
        if "motion" in self.columns:
            columns["motion"] = self._lists(read[self.columns["motion"]], "motion")[0]
        if self.worker:
            fingerprint = self.worker.embedder.fingerprint
            columns |= {name: pa.array([getattr(fingerprint, name)] * count, pa.string()) for name in MADE}
        if "clip_id" not in columns:
            named = zip(*(self._texts(columns, name, count) for name in ("uri", "start", "end")), strict=True)
            ids = [hashlib.sha256(f"{told}\n{self.row + n}".encode("utf-8", "replace")) for n, told in enumerate(named)]
            columns["clip_id"] = pa.array([each.hexdigest()[:20] for each in ids])
        columns.setdefault("item", columns["clip_id"])
        self.row += count
        return pa.record_batch([columns.get(f.name, pa.nulls(count, f.type)) for f in self.form], self.form)

    def _texts(self, columns: dict[str, Any], name: str, count: int) -> list[Any]:
        return columns[name].to_pylist() if name in columns else [None] * count

    def _cast(self, column: pa.Array, name: str) -> pa.Array:
        import pyarrow as pa

        try:
            return column.cast(self.form.field(name).type, safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ReferencesError(
                f"The column `{name}` of the table is not what it is elsewhere: give it another name, or take it out."
            ) from error

    def _lists(self, column: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
        """Vectors of a fixed size, and which rows have one, bool `[n]`; one that is not finite is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        width = self.form.field(name).type.list_size
        there = column.is_valid().to_numpy(zero_copy_only=False)
        lengths = pc.list_value_length(column.filter(pa.array(there))).to_numpy(zero_copy_only=False)
        if (lengths != width).any():
            raise ReferencesError(
                f"The vectors of the table have different lengths: {width} and {lengths[lengths != width][0]}."
            )
        numbers = np.zeros((len(column), width), np.float32)
        values = column.filter(pa.array(there)).flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            numbers[there] = values.astype(np.float32).reshape(-1, width)
        there &= np.isfinite(numbers).all(axis=1)
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), width, mask=pa.array(~there)), there
