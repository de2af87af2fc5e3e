"""Changing a set of reference clips: add, rename, remove, take it along as one file, and bring it back.

All of it works on a set's folder as `reference_build.build` makes it (clips, `clips.csv`, `vectors/`), which stays
usable between any two steps.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import ReferencesError
from vjepa_demo.media import Sampling
from vjepa_demo.reference_build import collect, link, settle
from vjepa_demo.reference_sets import (
    CSV_NAME,
    IMAGE_SUFFIXES,
    STORED,
    VIDEO_SUFFIXES,
    Progress,
    cache_of,
    read_folder,
    write_csv,
)
from vjepa_demo.reference_store import THUMBNAILS
from vjepa_demo.references import ReferenceClip, ReferenceSet
from vjepa_demo.settings import Settings, settings

OWN = "own"  # the folder for clips added by hand; only these are deleted when they are removed
LABEL_LENGTH = 60
MOST_FILES = 5000


@dataclass(frozen=True)
class Report:
    """What came of adding: the set, how many clips are new in it, and (name, sentence) for each that failed."""

    references: ReferenceSet
    added: int
    failures: tuple[tuple[str, str], ...]


def take(
    folder: Path,
    files: Iterable[tuple[Path, str]],
    label: str,
    encoder: Any,
    sampling: Sampling | None = None,
    fit: str = "crop",
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
) -> Report:
    """Add uploads to a set and embed them: clips under one label, and zips of clips or of whole sets.

    In a zip, sub-folders are labels, or its `clips.csv` says them; clips beside these get the label too.

    Args:
        folder: the set.
        files: (path, the name it had) for each upload.
        label: may be empty where only zips say the labels themselves.
        encoder, sampling, fit, pooling, progress: as for `reference_sets.prepare`.

    Raises:
        ReferencesError: a label is missing, a zip is damaged, or nothing in all of it can be embedded.
    """
    before = {clip.file for clip in _clips_of(folder)}
    with tempfile.TemporaryDirectory() as scratch:
        loose, more = [], [cache_of(folder)]
        for number, (path, name) in enumerate(files):
            if not zipfile.is_zipfile(path) or Path(name).suffix.lower() != ".zip":
                loose.append((path, name, label))
                continue
            inside = Path(scratch) / str(number)
            unpack(path, inside)
            root = _root_of(inside)
            if not (root / CSV_NAME).is_file():
                loose += [(clip, clip.name, label) for clip in sorted(root.iterdir()) if clip.is_file()]
            if (root / CSV_NAME).is_file() or any(path.is_dir() for path in root.iterdir()):
                collect(root, folder)
                more.append(root / STORED)
        if loose:
            add(folder, loose)
        made = settle(folder, encoder, sampling, fit, pooling, more=more, progress=progress)
    for name, _ in made.failures:
        if name not in before:
            (folder / name).unlink(missing_ok=True)
    return Report(made, len({clip.file for clip in made.clips} - before), made.failures)


def copy_set(folder: Path, target: Path) -> None:
    """Make `target` a set of the same clips and stored vectors; on one disk the clips cost links, no bytes."""
    collect(folder, target)
    (target / STORED).mkdir(exist_ok=True)
    for source in (cache_of(folder), folder / STORED):
        for path in source.glob("*.safetensors"):
            shutil.copy2(path, target / STORED / path.name)
        for path in (source / THUMBNAILS).glob("*.jpg"):
            link(path, target / STORED / THUMBNAILS / path.name)


def add(folder: Path, files: Iterable[tuple[Path, str, str]]) -> list[str]:
    """Add files to a set; they are embedded when it is next prepared.

    Args:
        folder: the set.
        files: (path, the name it had, label) for each.

    Returns:
        The clips' names in the set.

    Raises:
        ReferencesError: a label is empty.
    """
    clips = _clips_of(folder)
    taken = {clip.file for clip in clips}
    added = []
    for path, name, label in files:
        label = clean_label(label)
        file = _free_name(f"{OWN}/{_plain(label)}/{_plain(Path(name).stem)}", Path(name).suffix.lower(), taken)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / file)
        taken.add(file)
        added.append(file)
        clips.append(ReferenceClip(file, label))
    write_csv(folder, clips)
    return added


def rename(folder: Path, files: Sequence[str], label: str) -> None:
    """Give clips another label. Raises ReferencesError where it is empty or a clip is not in the set."""
    label = clean_label(label)
    clips = _chosen(folder, files)
    write_csv(folder, [replace(clip, label=label) if clip.file in files else clip for clip in clips])


def remove(folder: Path, files: Sequence[str]) -> None:
    """Take clips out of a set; files that were added by hand are deleted too. The others keep their places on the map.

    Raises:
        ReferencesError: a clip is not in the set, or none would be left.
    """
    clips = [clip for clip in _chosen(folder, files) if clip.file not in files]
    if not clips:
        raise ReferencesError("A set needs at least one clip: keep one, or add another first.")
    write_csv(folder, clips)
    for file in files:
        if file.startswith(f"{OWN}/"):
            (folder / file).unlink(missing_ok=True)


def export(folder: Path, target: Path) -> None:
    """Write a set as one zip: `clips.csv`, the vectors as safetensors, the thumbnails and the clips themselves."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.write(folder / CSV_NAME, CSV_NAME)
        for path in sorted((folder / STORED).glob("*.safetensors")):
            archive.write(path, f"{STORED}/{path.name}")
        for path in sorted((folder / STORED / THUMBNAILS).glob("*.jpg")):
            archive.write(path, f"{STORED}/{THUMBNAILS}/{path.name}")
        for clip in read_folder(folder):
            archive.write(folder / clip.file, clip.file)


def unpack(path: Path, target: Path, limits: Settings = settings) -> None:
    """Unpack a zip of clips, or of an exported set, into an empty folder.

    Only videos, images, CSV files, stored vectors and thumbnails are taken, with at most `limits.max_bytes` in all,
    whatever sizes the archive claims.

    Raises:
        ReferencesError: it is no zip, it is damaged, or it holds too much.
    """
    kinds = VIDEO_SUFFIXES | IMAGE_SUFFIXES | {".csv", ".safetensors"}
    room, most = limits.max_bytes, f"{limits.max_bytes / 2**20:,.0f} MB"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).suffix.lower() in kinds]
            if len(entries) > MOST_FILES:
                raise ReferencesError(f"The zip holds more than {MOST_FILES} files: take fewer at a time.")
            for entry in entries:
                parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
                is_link = stat.S_ISLNK(entry.external_attr >> 16)
                if (
                    entry.is_dir()
                    or is_link
                    or ".." in parts
                    or parts[0].startswith(("/", "__MACOSX"))
                    or ":" in parts[0]
                ):
                    continue
                inside = target.joinpath(*parts)
                inside.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, inside.open("wb") as file:
                    while block := source.read(1 << 20):
                        room -= len(block)
                        if room < 0:
                            raise ReferencesError(f"The zip unpacks to more than {most}: take fewer clips at a time.")
                        file.write(block)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ReferencesError("The zip is damaged, encrypted or no zip at all: pack it again.") from error


def clean_label(label: str) -> str:
    """A label in one line. Raises ReferencesError where nothing is left."""
    label = " ".join(label.split())[:LABEL_LENGTH].strip()
    if not label:
        raise ReferencesError("The clips need a label: write what is in them, in a word or two.")
    return label


def _root_of(folder: Path) -> Path:
    """Where an unpacked zip's clips are: in the one folder that it holds, when there is nothing beside it."""
    inside = list(folder.iterdir()) if folder.is_dir() else []
    if not inside:
        raise ReferencesError("The zip holds no videos or images: pack the clips, or sub-folders of clips, into it.")
    # A folder of clips alone is a label; one of folders, or with a clips.csv, is a wrapping.
    wrapped = len(inside) == 1 and inside[0].is_dir()
    if wrapped and ((inside[0] / CSV_NAME).is_file() or any(path.is_dir() for path in inside[0].iterdir())):
        return inside[0]
    return folder


def _clips_of(folder: Path) -> list[ReferenceClip]:
    return read_folder(folder) if folder.is_dir() and any(folder.iterdir()) else []


def _chosen(folder: Path, files: Sequence[str]) -> list[ReferenceClip]:
    clips = read_folder(folder)
    if not files:
        raise ReferencesError("No clip is chosen: choose one or more from the list.")
    if not set(files) <= {clip.file for clip in clips}:
        raise ReferencesError("A clip that was chosen is no longer in the set: choose again.")
    return clips


def _plain(name: str) -> str:
    """A part of a path that every system takes."""
    return re.sub(r"[^\w-]+", "_", name).strip("_")[:LABEL_LENGTH] or "clip"


def _free_name(stem: str, suffix: str, taken: set[str]) -> str:
    suffix = suffix if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES else ""
    name, number = f"{stem}{suffix}", 2
    while name in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    return name
