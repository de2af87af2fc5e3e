"""What a job is to embed: a folder, a pattern, an address of an object store, a table, or a dataset on the Hub."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vjepa_demo.errors import ReferencesError
from vjepa_demo.media.formats import is_clip, is_named_clip
from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import CSV_NAME, clips_of, is_hidden
from vjepa_demo.references.sources import fetch
from vjepa_demo.scale.work import Item
from vjepa_demo.settings import HUB

log = logging.getLogger(__name__)

MOST = 10_000_000  # clips of a folder
TABLES = (".csv", ".parquet")


def items(source: str) -> list[Item]:
    """What a source holds, in its own order.

    Args:
        source: a folder, read as a set of references is; a pattern with * or ?; a CSV or Parquet file with `path`
            (or `uri`) and, where they are wanted, `start`, `end` (seconds), `label`, `split`, relative paths counting
            from where it lies; an address such as s3://bucket/folder, whose first sub-folders are labels; or
            `hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`.

    Raises:
        ReferencesError: it cannot be reached, or holds no clip.
    """
    try:
        found = list(_items(source))
    except (OSError, ValueError) as error:  # Arrow's own are these
        log.warning("a source cannot be read", exc_info=True)
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise ReferencesError(
            f"The source cannot be read{reason}: see that it is there, may be read, and is what its name says."
        ) from error
    if not found:
        raise ReferencesError("The source holds no clip: videos or pictures, or a table of their paths.")
    return found


def _items(source: str) -> Iterator[Item]:
    if source.lower().endswith(TABLES):
        return _listed(source)
    if "://" in source and not source.startswith(HUB):
        return _stored(source)
    if glob.has_magic(source):
        return (_item(name) for name in sorted(glob.glob(source, recursive=True)) if is_clip(Path(name)))
    return _in_folder(fetch(source))


def _in_folder(folder: Path) -> Iterator[Item]:
    """As a set of references is read, and what lies in no sub-folder besides, without a label."""
    if not folder.is_dir():
        raise ReferencesError("There is no such folder: check the path.")
    clips = clips_of(folder, MOST)
    if not (folder / CSV_NAME).is_file():
        clips += [ReferenceClip(name, "") for name in sorted(os.listdir(folder)) if is_named_clip(name)]
    for clip in clips:
        yield _item(str(folder.resolve() / clip.file), clip)


def _item(path: str, clip: ReferenceClip | None = None) -> Item:
    """A file of this machine. One that is not there is one all the same: its row says so."""
    try:
        status = os.stat(path)
        size, modified = status.st_size, status.st_mtime
    except OSError:
        size, modified = 0, 0.0
    label, split = (clip.label, clip.split) if clip else (Path(path).parent.name, "")
    return Item(os.path.abspath(path), label, split, size=size, modified=modified)


def _stored(address: str) -> Iterator[Item]:
    """The clips below an address of a store."""
    from pyarrow.fs import FileSelector, FileSystem, FileType

    system, folder = FileSystem.from_uri(address)
    scheme = address.split("://", 1)[0]
    for info in sorted(system.get_file_info(FileSelector(folder, recursive=True)), key=lambda info: info.path):
        within = PurePosixPath(info.path).relative_to(folder).parts
        if info.type == FileType.File and is_named_clip(info.base_name) and not any(map(is_hidden, within)):
            label = within[0] if len(within) > 1 else ""
            modified = info.mtime.timestamp() if info.mtime else 0.0
            yield Item(f"{scheme}://{info.path}", label, size=info.size or 0, modified=modified)


def _listed(address: str) -> Iterator[Item]:
    """The rows of a table of clips."""
    import pyarrow.csv
    import pyarrow.parquet
    from pyarrow.fs import FileSystem

    system, name = FileSystem.from_uri(address if "://" in address else os.path.abspath(address))
    with system.open_input_file(name) as file:
        read = pyarrow.parquet.read_table if name.lower().endswith(".parquet") else pyarrow.csv.read_csv
        table = read(file)
    names = {column.strip().lower(): column for column in table.column_names}
    path = names.get("path") or names.get("uri") or names.get("file")
    if path is None:
        raise ReferencesError("The table of clips has no column `path`: name the column with the files so.")
    kept = {wanted: names[wanted] for wanted in ("start", "end", "label", "split") if wanted in names}
    here = address.rsplit("/", 1)[0] if "://" in address else os.path.dirname(os.path.abspath(address))
    for number, row in enumerate(table.select([path, *kept.values()]).to_pylist(), 2):
        yield _row(row[path], {wanted: row[column] for wanted, column in kept.items()}, here, number)


def _row(path: Any, told: dict[str, Any], here: str, line: int) -> Item:
    if not path:
        raise ReferencesError(f"Row {line} of the table of clips names no file: fill it in, or take the row out.")
    try:
        start, end = float(told.get("start") or 0.0), told.get("end")
        end = None if end in (None, "") else float(end)
    except (TypeError, ValueError) as error:
        raise ReferencesError(f"Row {line} of the table of clips: `start` and `end` have to be seconds.") from error
    label, split = str(told.get("label") or ""), str(told.get("split") or "")
    path = str(path)
    if "://" in here or "://" in path:
        return Item(path if "://" in path else f"{here}/{path}", label, split, start, end)
    found = _item(os.path.join(here, path))
    return Item(found.uri, label, split, start, end, found.size, found.modified)
