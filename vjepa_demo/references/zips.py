"""A set as one file: written, and unpacked again, or any zip of clips, whoever made it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from vjepa_demo import jobs
from vjepa_demo.errors import ReferencesError, UserError, is_full
from vjepa_demo.files import DISK_FULL, disk_errors
from vjepa_demo.media.formats import MEDIA_TYPES
from vjepa_demo.references.listing import (
    CSV_NAME,
    MOST_CSV_BYTES,
    MOST_FILES,
    NAME_BYTES,
    STORED,
    as_exported,
    composed,
    is_hidden,
    name_within,
    read_folder,
)
from vjepa_demo.references.store import THUMBNAILS, copy_stored
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# Python reads a zip's list of entries as a whole, however long: the list of 5,000 takes less than this.
MOST_LIST_BYTES = 4 * 2**20
MOST_FOLDERS = 20  # in each other: one takes as much of the disk as a small clip
TOO_MANY = f"The zip holds more than {MOST_FILES} files: take fewer at a time."
UTF8_NAME = 0x800  # the flag of an entry whose name is said to be UTF-8


class _Bounded(io.FileIO):
    """A file of which nobody gets more than MOST_LIST_BYTES at a time."""

    def read(self, size: int | None = -1) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > MOST_LIST_BYTES:
            raise ReferencesError(TOO_MANY)
        return super().read(wanted) or b""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[tuple[zipfile.ZipInfo, str]]]]:
    """A zip, and those of its entries that are taken, with the names under which they are.

    Raises:
        ReferencesError: it holds too many files, or is damaged, also where that shows only within the context.
    """
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            entries = [(entry, name) for entry in archive.infolist() if (name := _wanted(entry))]
            if len(entries) > MOST_FILES:
                raise ReferencesError(TOO_MANY)
            yield archive, entries
    except UserError:
        raise
    except Exception as error:  # whatever a damaged archive makes of those that unpack it
        log.warning("zip not unpacked: %s", type(error).__name__)
        if is_full(error):
            raise ReferencesError(DISK_FULL) from error
        raise ReferencesError("The zip is damaged, encrypted or no zip at all: pack it again.") from error


def unpacked_size(path: Path, but: Collection[tuple[str, int]] = ()) -> int:
    """Bytes that what is taken of a zip says it takes, less the files of which (name, size) is known. No entry unpacks
    to more than it says.

    Raises:
        ReferencesError: it holds too many files, or is damaged.
    """
    with opened(path) as (_, entries):
        files = [(PurePosixPath(name).name, entry.file_size) for entry, name in entries]
    return sum(size for name, size in files if (name, size) not in but)


def export(folder: Path, target: Path) -> None:
    """Write a set as one zip: `clips.csv`, the vectors as safetensors, the thumbnails and the clips themselves.

    Clips that are missing are left out. In `clips.csv` formulas are defused with an apostrophe, which the way back
    takes off; files keep their names.

    Raises:
        ReferencesError: the set is empty, or the zip cannot be written.
    """
    clips, copied = read_folder(folder), target.with_suffix(".safetensors")
    try:
        with disk_errors(), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            archive.writestr(CSV_NAME, as_exported(folder))
            for path in sorted((folder / STORED).glob("*.safetensors")):
                copy_stored(path, copied)
                if copied.exists():
                    archive.write(copied, f"{STORED}/{path.name}")
                    copied.unlink()
            for path in sorted((folder / STORED / THUMBNAILS).glob("*.jpg")):
                archive.write(path, f"{STORED}/{THUMBNAILS}/{path.name}")
            for clip in clips:
                jobs.check()
                if os.path.isfile(folder / clip.file):
                    archive.write(folder / clip.file, clip.file)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        copied.unlink(missing_ok=True)


def unpack(path: Path, target: Path, limits: Settings = settings) -> list[tuple[str, str]]:
    """Unpack a zip of clips, or of an exported set, into an empty folder.

    Only videos, images, `clips.csv`, stored vectors and thumbnails are taken, with at most `limits.max_bytes` in all,
    whatever sizes the archive claims.

    Returns:
        (name, sentence) for each entry whose name cannot be a file's.

    Raises:
        ReferencesError: it is damaged, or holds too much.
        Stopped: the job is to end.
    """
    refused: list[tuple[str, str]] = []
    room = limits.max_bytes
    with opened(path) as (archive, entries):
        for entry, name in entries:
            jobs.check()
            inside = target / name
            if name.count("/") > MOST_FOLDERS:
                refused.append((name, f"It lies in more than {MOST_FOLDERS} folders: move it up."))
                continue
            if any(len(part.encode("utf-8", "surrogateescape")) > NAME_BYTES for part in name.split("/")):
                refused.append((name, "The name is too long for a file: shorten it."))
                continue
            try:
                inside.parent.mkdir(parents=True, exist_ok=True)
                file = inside.open("xb")
            except OSError as error:
                if is_full(error):
                    raise
                refused.append((name, "The zip holds this name twice, or one that no file can have: rename it."))
                continue
            most = MOST_CSV_BYTES if inside.name == CSV_NAME else room
            with file, archive.open(entry) as source:
                while block := source.read(1 << 20):
                    jobs.check()
                    room, most = room - len(block), most - len(block)
                    if room < 0:
                        raise ReferencesError(
                            f"The zip unpacks to more than {limits.max_bytes / 2**20:,.0f} MB: take fewer clips at a "
                            "time."
                        )
                    if most < 0:
                        raise ReferencesError("The clips.csv in the zip is too large to be a list of clips.")
                    file.write(block)
    return refused


def root_of(folder: Path) -> Path:
    """Where an unpacked zip's clips are: in the one folder that it holds, when there is nothing beside it.

    Raises:
        ReferencesError: there are none.
    """
    inside = list(folder.iterdir()) if folder.is_dir() else []
    if not inside:
        raise ReferencesError("The zip holds no videos or images: pack the clips, or sub-folders of clips, into it.")
    # A folder of clips alone is a label; one of folders, or with a clips.csv, is a wrapping.
    wrapped = len(inside) == 1 and inside[0].is_dir()
    if wrapped and ((inside[0] / CSV_NAME).is_file() or any(path.is_dir() for path in inside[0].iterdir())):
        return inside[0]
    return folder


def _wanted(entry: zipfile.ZipInfo) -> str | None:
    """The name under which an entry is unpacked, in Unicode's composed form; None for what is not taken."""
    name = entry.filename
    if not entry.flag_bits & UTF8_NAME:
        # Read as an old PC's letters, which is the standard; Macs write UTF-8 without saying so.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    inside = name_within(composed(name))
    if inside is None or not inside.isprintable() or entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
        return None
    parts = PurePosixPath(inside).parts
    if any(map(is_hidden, parts)):
        return None
    suffix = PurePosixPath(inside).suffix.lower()
    stored = suffix == ".safetensors" and parts[-2:-1] == (STORED,)
    return inside if suffix in MEDIA_TYPES or parts[-1] == CSV_NAME or stored else None
