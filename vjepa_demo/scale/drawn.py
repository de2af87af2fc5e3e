"""A table of clips as a page shows it: all points of its map at once, packed, and all else of a clip by its number."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_demo.media.formats import begins_as_clip, media_type
from vjepa_demo.scale.tables import coordinates_of, reading

if TYPE_CHECKING:
    import pyarrow as pa

DRAWN = 100_000  # points of a map at most
CELLS = 256  # of the map, along its width and its height, within which points stand for one another
# There are 48 pairs of a colour and a symbol (`reference_map/figure.js`). Where there are more labels, so many of the
# commonest are told apart, and all others have one look.
LOOKS, COMMONEST = 48, 40
NO_LABEL = "no label"
JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, eq=False)
class Points:
    """Clips as they are drawn, so that the first k of them are a sample of k: see `sampled`.

    Attributes:
        numbers: uint32 `[P]`, which clips of the set.
        places: float32 `[P, 2]`.
        looks: uint8 `[P]`, the index of a clip's label, or that of all others.
        labels: the looks, the commonest label first.
        others: whether the last look is that of all other labels.
    """

    numbers: np.ndarray
    places: np.ndarray
    looks: np.ndarray
    labels: list[str]
    others: bool

    def packed(self) -> bytes:
        """All x, all y (float32), all numbers (uint32), all looks (uint8), little-endian."""
        x, y = np.ascontiguousarray(self.places.T, "<f4")
        return b"".join(part.tobytes() for part in (x, y, self.numbers.astype("<u4"), self.looks.astype("u1")))


def sampled(places: np.ndarray, most: int) -> np.ndarray:
    """Which points are drawn of a map, int64 `[at most most]`, the same ones every time.

    They come one from each cell of the map in turn, in random order: however few are taken of them, what is sparse
    keeps its points for as long as what is dense has more. Points without a place are left out.

    Args:
        places: float32 `[R, 2]`; NaN where there is none.
    """
    placed = np.flatnonzero(np.isfinite(places).all(axis=1))
    if not len(placed):
        return placed
    found = places[placed].astype(np.float64)
    low, span = found.min(axis=0), np.maximum(np.ptp(found, axis=0), 1e-12)
    column, row = np.minimum((found - low) / span * CELLS, CELLS - 1).astype(np.int64).T
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(placed))
    cells = (row * CELLS + column)[shuffled]
    order = np.argsort(cells, kind="stable")
    _, begins, counts = np.unique(cells[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(begins, counts)
    return placed[shuffled[order[np.lexsort((rng.random(len(order)), turn))]]][:most]


def looks(labels: pa.ChunkedArray) -> tuple[np.ndarray, list[str], bool]:
    """See `Points`: the look of each of R labels, uint8 `[R]`, their names, and whether the last is that of all
    others."""
    encoded = labels.fill_null("").combine_chunks().dictionary_encode()
    codes, names = encoded.indices.to_numpy(), [name or NO_LABEL for name in encoded.dictionary.to_pylist()]
    order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")
    kept = len(names) if len(names) <= LOOKS else COMMONEST
    look = np.full(len(names), kept, np.uint8)
    look[order[:kept]] = np.arange(kept)
    told, others = [names[label] for label in order[:kept]], len(names) - kept
    return look[codes], [*told, f"{others:,} other labels"] if others else told, bool(others)


def _numbers(*values: float | None) -> list[float] | None:
    """All of them; None where one is null or not finite."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return found if len(found) == len(values) else None


class OfTable:
    """What every set of a table tells of its clips, by their numbers in the set, to those who show them.

    Attributes:
        table: the version of the table that the set is of.
        rows: int64 `[R]`, where in it each clip is.
        folder: where the table is.
    """

    table: Any
    rows: np.ndarray
    folder: Path

    @property
    def of_table(self) -> OfTable:
        """Itself: see `ReferenceSet.of_table`."""
        return self

    def taken(self, numbers: Sequence[int] | np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Columns of the table, for some of the references. Raises ReferencesError where it is gone."""
        rows = self.rows[np.asarray(numbers, np.int64)]
        with reading():
            return self.table.take(rows, columns=list(columns))

    @cached_property
    def points(self) -> Points:
        """All that are drawn."""
        with reading():
            held = self.table.to_table(columns=["x", "y", "label", "error"])
            held = held.filter(held["error"].is_null())
            places = coordinates_of(held)
            look, labels, others = looks(held["label"])
        chosen = sampled(places, DRAWN)
        return Points(chosen.astype(np.uint32), places[chosen], look[chosen], labels, others)

    def about(self, numbers: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """What a page tells of some of the references: their label, the name of the file without its folders, the span
        in seconds or None, the place, and whether there is a thumbnail, and the file on this machine."""
        columns = ["uri", "start", "end", "label", "x", "y", *self._pictures]
        return [
            {
                "label": row["label"] or NO_LABEL,
                "file": os.path.basename(row["uri"] or ""),
                "span": _numbers(row["start"] or 0.0, row["end"]),
                "flat": _numbers(row["x"], row["y"]),
                "thumbnail": (row.get("thumbnail") or b"").startswith(JPEG),
                "here": self._local(row["uri"]) is not None,
            }
            for row in (self.taken(numbers, columns).to_pylist() if len(numbers) else [])
        ]

    def known(self, numbers: Sequence[int]) -> dict[str, dict[str, Any]]:
        """The same by their numbers, as JSON names them."""
        return dict(zip(map(str, numbers), self.about(numbers), strict=True))

    def file(self, number: int) -> Path | None:
        """The clip on this machine; None where it is not, or is no clip."""
        return self._local(self.taken([number], ["uri"])["uri"][0].as_py())

    def thumbnail(self, number: int) -> bytes | None:
        """A JPEG; None where the table has none."""
        held = self.taken([number], self._pictures)["thumbnail"][0].as_py() if self._pictures else None
        return held if held and held.startswith(JPEG) else None

    @property
    def remarks(self) -> list[str]:
        """What is to be known of the set whenever something is told of it."""
        return []

    @property
    def _pictures(self) -> list[str]:
        return ["thumbnail"] if "thumbnail" in self.table.schema.names else []

    def _local(self, uri: str | None) -> Path | None:
        if not uri or "://" in uri:
            return None
        path = self.folder.parent / uri  # which an absolute one is not below
        with contextlib.suppress(OSError, ValueError):  # a name that is none, a folder that nobody may look into
            # What it begins with decides: a name, or what it is linked to, is the text of whoever made the table.
            if path.is_file() and media_type(path) and begins_as_clip(path):
                return path
        return None
