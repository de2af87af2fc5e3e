"""A set as one file: written, and unpacked again, or any zip of clips, whoever made it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from vjepa_demo import jobs
from vjepa_demo.errors import ReferencesError, UserError, is_full
from vjepa_demo.files import DISK_FULL, disk_errors
from vjepa_demo.media.containers import HEAD, holds_pictures
from vjepa_demo.media.formats import MEDIA_TYPES, is_named_clip
from vjepa_demo.references.codepages import guess
from vjepa_demo.references.listing import (
    CSV_NAME,
    HIDDEN_FILE,
    LINK,
    MOST_CSV_BYTES,
    MOST_FILES,
    NAME_BYTES,
    OTHER,
    OUTSIDE,
    STORED,
    UNSEEN,
    Passed,
    as_exported,
    composed,
    is_hidden,
    name_within,
    read_folder,
    told,
)
from vjepa_demo.references.store import THUMBNAILS, copy_stored
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# Python reads a zip's list of entries as a whole, however long: the list of 5,000 takes less than this.
MOST_LIST_BYTES = 4 * 2**20
MOST_FOLDERS = 20  # in each other: one takes as much of the disk as a small clip
TOO_MANY = f"The zip holds more than {MOST_FILES} files: take fewer at a time."
ENCRYPTED = 0x1  # the flag of an entry that is
UTF8_NAME = 0x800  # the flag of an entry whose name is said to be UTF-8
UNICODE_PATH = 0x7075  # the extra field that holds the name in UTF-8 beside an older one (Info-ZIP's APPNOTE, 4.6.9)
ENDINGS = (*MEDIA_TYPES, CSV_NAME, ".safetensors")
NO_NAMES = "The names in the zip are written in a way that is not known: pack it again, with names in UTF-8."


class _Bounded(io.FileIO):
    """A file of which nobody gets more than MOST_LIST_BYTES at a time."""

    def read(self, size: int | None = -1) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > MOST_LIST_BYTES:
            raise ReferencesError(TOO_MANY)
        return super().read(wanted) or b""


@contextlib.contextmanager
def opened(
    path: Path, notes: list[str] | None = None
) -> Iterator[tuple[zipfile.ZipFile, list[tuple[zipfile.ZipInfo, str]]]]:
    """A zip, and those of its entries that are taken, with the names under which they are.

    Args:
        path: the zip.
        notes: is told how names were read, and what is passed over, each as the end of a sentence about the zip.

    Raises:
        ReferencesError: it holds too many files, or is damaged, also where that shows only within the context.
    """
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            infos, passed = archive.infolist(), Passed()
            names, language = _names(infos)
            if any(info.flag_bits & ENCRYPTED for info in infos):
                raise ReferencesError("The zip is encrypted: pack it again without a password.")
            wanted = [(info, _wanted(archive, info, name, passed)) for info, name in zip(infos, names, strict=True)]
            entries = [(info, name) for info, name in wanted if name]
            if len(entries) > MOST_FILES:
                raise ReferencesError(TOO_MANY)
            if notes is not None:
                notes += [f"has names in an old code page, read as {language}"] if language else []
                notes += [told(+passed)] if +passed else []  # a Counter's + leaves out what counts none
            yield archive, entries
    except UserError:
        raise
    except NotImplementedError as error:
        raise ReferencesError("The zip is compressed in a way that is not known here: pack it with Deflate.") from error
    except Exception as error:  # whatever a damaged archive makes of those that unpack it
        log.warning("zip not unpacked: %s", type(error).__name__)
        if is_full(error):
            raise ReferencesError(DISK_FULL) from error
        raise ReferencesError("The zip is damaged, or no zip at all: pack it again.") from error


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


def unpack(
    path: Path, target: Path, limits: Settings = settings, notes: list[str] | None = None
) -> list[tuple[str, str]]:
    """Unpack a zip of clips, or of an exported set, into an empty folder.

    Only videos, images, `clips.csv`, stored vectors and thumbnails are taken, with at most `limits.max_bytes` in all,
    whatever sizes the archive claims. No link is made: whatever a zip says, what is read from its clips is in it.

    Args:
        path, notes: as for `opened`.
        target: the folder.
        limits: how much may be unpacked.

    Returns:
        (name, sentence) for each entry whose name cannot be a file's.

    Raises:
        ReferencesError: it is damaged, or holds too much.
        Stopped: the job is to end.
    """
    refused: list[tuple[str, str]] = []
    room = limits.max_bytes
    with opened(path, notes) as (archive, entries):
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
                        raise ReferencesError(
                            "The clips.csv in the zip is too large to be a list of clips: shorten its texts."
                        )
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


def _wanted(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, full: str, passed: Passed) -> str | None:
    """The name under which an entry is unpacked, in Unicode's composed form; None for what is not taken."""
    if entry.is_dir():
        return None
    name, inside = PurePosixPath(full.replace("\\", "/")), name_within(composed(full))
    is_list_or_stored = name.name == CSV_NAME or (name.suffix.lower() == ".safetensors" and name.parent.name == STORED)
    named = is_named_clip(name.name) or is_list_or_stored
    if inside is None:
        passed[OUTSIDE] += named
    elif not inside.isprintable():
        passed[UNSEEN] += named
    elif stat.S_ISLNK(entry.external_attr >> 16):
        passed[LINK] += 1
    elif any(map(is_hidden, inside.split("/"))):
        passed[HIDDEN_FILE] += named
    elif not (named or _begins_as_clip(archive, entry, sum(passed.values()))):
        passed[OTHER] += 1
    else:
        return inside
    return None


def _begins_as_clip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, before: int) -> bool:
    """Whether an entry, whose name does not say so, is a clip by its content; no more of a zip than MOST_FILES are
    looked into."""
    if before >= MOST_FILES:
        return False
    with archive.open(entry) as file:
        return holds_pictures(file.read(HEAD), entry.file_size)


def _names(entries: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """The names of a zip's entries as they were where it was packed, and the language they were guessed by, or "".

    A name is UTF-8 where its flag or its extra field says so, or where its bytes are, as Macs write it. Others are in
    the code page of the system that packed them, which all of them tell together: the standard's own, that of the
    first PCs, is what nearly nobody packs in now.

    Raises:
        ReferencesError: no code page makes words of them.
    """
    names: list[str] = []
    raw: dict[int, bytes] = {}
    for at, entry in enumerate(entries):
        name = entry.orig_filename
        if not entry.flag_bits & UTF8_NAME and not entry.orig_filename.isascii():
            data = entry.orig_filename.encode("cp437")
            try:
                name = _unicode_path(entry.extra, data) or data.decode("utf-8")
            except UnicodeDecodeError:
                if name.lower().endswith(ENDINGS):
                    raw[at] = data
        names.append(name)
    found = guess(list(raw.values())) if raw else ("", "")
    if found is None:
        raise ReferencesError(NO_NAMES)
    codec, language = found
    try:
        return [raw[at].decode(codec) if at in raw else name for at, name in enumerate(names)], language
    except UnicodeDecodeError as error:
        raise ReferencesError(NO_NAMES) from error


def _unicode_path(extra: bytes, name: bytes) -> str | None:
    """The name that the field for it holds, where it was made for this name and not for one before."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and field[:1] == b"\1" and field[1:5] == struct.pack("<I", zlib.crc32(name)):
            with contextlib.suppress(UnicodeDecodeError):
                return field[5:].decode("utf-8")
    return None
