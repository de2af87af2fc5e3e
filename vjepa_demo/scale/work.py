"""What a worker does, whatever engine it works for: one Embedder, opened once, and files that become rows.

A file is one piece of work: all of its clips are finished together or not at all, so that a job that is started again
knows of a whole file whether it is done. Whatever is wrong with one becomes its row's sentence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import queue
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Fingerprint, Kind, motion
from vjepa_demo.errors import MediaError, RequestError, UserError
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Cut, Options, Sampling
from vjepa_demo.references.preparing import NO_NUMBERS, ODD
from vjepa_demo.references.store import draw_thumbnail

log = logging.getLogger(__name__)

Row = dict[str, Any]
MADE = ("checkpoint", "revision", "precision", "sampling", "fit")
UNREACHABLE = "The file cannot be fetched: see that it is there, and that it may be read from here."


@dataclass(frozen=True)
class Item:
    """A file, or a span of one, that is to be embedded.

    Attributes:
        uri: a path, or an address that pyarrow's file systems know, e.g. s3://bucket/clip.mp4.
        label, split: as in `clips.csv`.
        start, end: the span in seconds; None means the end of the video.
        size, modified: bytes and time (seconds since 1970) of the file when it was listed: another one is another item.
    """

    uri: str
    label: str = ""
    split: str = ""
    start: float = 0.0
    end: float | None = None
    size: int = 0
    modified: float = 0.0


class _Read(NamedTuple):
    """A clip of the item of this number, or why there is none; neither where the item has no more."""

    item: int
    span: tuple[float, float | None] = (0.0, None)
    clip: Clip | None = None
    error: str = ""


class Worker:
    """Embeds files, and reads the next ones meanwhile.

    Args:
        options: how, without a span.
        cut: how videos are cut into windows; None where a file is one clip.
        readers: how many files are read at a time.
    """

    def __init__(self, options: Options, cut: Cut | None = None, readers: int = 1) -> None:
        self.embedder = Embedder.open(options)
        self.cut, self.readers = cut, readers

    @property
    def widths(self) -> tuple[int, int]:
        """How many numbers the vectors have: those of the mean, and those of the motion."""
        size = self.embedder.encoder.checkpoint.size
        steps, patches = max(2, self.embedder.sampling.frames // 2), size.side // size.patch
        return size.channels, len(motion(np.zeros((steps, patches, patches, 1), np.float32)))

    def rows(self, items: Sequence[Item]) -> list[list[Row]]:
        """For each item its rows, one a clip, in the order of time; see `tables.schema` for what they hold."""
        found: defaultdict[int, list[Row]] = defaultdict(list)
        with contextlib.closing(self._reading(items)) as reading:
            for batch in _batches(reading, self.embedder.at_once):
                for read, row in zip(batch, self._encoded(batch), strict=True):
                    found[read.item].append(self._described(items[read.item], read) | row)
        return [sorted(found[number], key=lambda row: row["start"]) for number in range(len(items))]

    def _reading(self, items: Sequence[Item]) -> Generator[_Read, None, None]:
        """The clips of all items, read in threads that are never far ahead."""
        rest, over = iter(enumerate(items)), threading.Event()
        ready: queue.Queue[_Read | None] = queue.Queue(max(2, self.embedder.at_once))
        taking = threading.Lock()

        def put(read: _Read | None) -> bool:
            while not over.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(read, timeout=0.5)
                    return True
            return False

        def work() -> None:
            while True:
                with taking:
                    taken = next(rest, None)
                if taken is None:
                    put(None)
                    return
                if not all(put(read) for read in self._read(*taken)):
                    return

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.readers)]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                while (read := ready.get()) is not None:
                    yield read
        finally:
            over.set()

    def _read(self, number: int, item: Item) -> Iterator[_Read]:
        """The clips of an item."""
        whole = item.start, item.end
        try:
            with local(item.uri) as path:
                for span in self._spans(path, item):
                    try:
                        yield _Read(number, span, self._clip(path, span))
                    except (MediaError, RequestError) as error:
                        yield _Read(number, span, error=str(error))
        except UserError as error:
            yield _Read(number, whole, error=str(error))
        except Exception as error:  # one file, however odd, is not the end of a million others
            log.warning("%.200s: %s: %.300s", item.uri, type(error).__name__, error)
            yield _Read(number, whole, error=UNREACHABLE if isinstance(error, OSError) else ODD)

    def _spans(self, path: Path, item: Item) -> list[tuple[float, float | None]]:
        if self.cut is None:
            return [(item.start, item.end)]
        source = read_clip(path, Sampling(2, start=item.start, end=item.end)).source
        if source.kind == "image":
            return [(item.start, item.end)]
        end = source.duration if item.end is None else min(item.end, source.duration)
        return [*self.cut.spans(item.start, end)]

    def _clip(self, path: Path, span: tuple[float, float | None]) -> Clip:
        sampling = replace(self.embedder.sampling, start=span[0], end=span[1])
        sampling.check()
        return read_clip(path, sampling)

    def _encoded(self, batch: Sequence[_Read]) -> list[Row]:
        """Vectors, thumbnails and sentences of what was read."""
        clips = [read.clip for read in batch if read.clip is not None]
        try:
            embeddings = iter(self.embedder.embed_many(clips) if clips else [])
        except (MediaError, RequestError) as error:
            if len(batch) > 1:
                return [row for read in batch for row in self._encoded([read])]
            return [{"error": str(error)}]
        rows: list[Row] = []
        for read in batch:
            if read.clip is None:
                rows.append({"error": read.error})
                continue
            embedding = next(embeddings)
            row: Row = {"vector": embedding.pooled()}
            if not np.isfinite(row["vector"]).all():
                rows.append({"error": NO_NUMBERS})
                continue
            row["thumbnail"] = draw_thumbnail(read.clip.frames[len(read.clip.frames) // 2])
            with contextlib.suppress(RequestError):  # too short for it
                row["motion"] = embedding.vector("motion").array
            rows.append(row)
        return rows

    def _described(self, item: Item, read: _Read) -> Row:
        clip = read.clip
        start, end = read.span
        if clip is not None and end is None and not clip.is_image:
            end = clip.source.duration
        return {
            "clip_id": hashlib.sha256(f"{item.uri}\n{start}\n{end}".encode("utf-8", "replace")).hexdigest()[:20],
            "item": key(item, self.cut, self.embedder.kind()),
            "uri": item.uri,
            "start": start,
            "end": end,
            "label": item.label,
            "split": item.split,
            **made_of(self.embedder.fingerprint),
        }


def made_of(fingerprint: Fingerprint) -> dict[str, str]:
    """The columns that say how a clip is embedded."""
    return {name: getattr(fingerprint, name) for name in MADE}


def key(item: Item, cut: Cut | None, kind: Kind) -> str:
    """By what an item is known to be done: all that its rows depend on."""
    told = [*astuple(item), cut and astuple(cut), kind.fields]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]


@contextlib.contextmanager
def local(uri: str) -> Iterator[Path]:
    """A file as one on this machine, for as long as the context lasts. Raises OSError."""
    if "://" not in uri:
        yield Path(uri)
        return
    from pyarrow.fs import FileSystem

    system, name = FileSystem.from_uri(uri)
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
        path = Path(folder) / f"clip{PurePosixPath(name).suffix}"
        with system.open_input_stream(name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        yield path


def _batches(reading: Iterator[_Read], most: int) -> Iterator[list[_Read]]:
    batch: list[_Read] = []
    for read in reading:
        batch.append(read)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch
