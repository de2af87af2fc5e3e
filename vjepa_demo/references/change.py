"""Changing a set of reference clips: add, rename, remove and undo that, take it along as one file, and bring it back.

All of it works on a set's folder as `sources.build` makes it (clips, `clips.csv`, `vectors/`), which stays
usable between any two steps.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import MediaError, ReferencesError
from vjepa_demo.files import disk_errors, lock, put
from vjepa_demo.media.containers import sniff
from vjepa_demo.media.formats import ENDINGS, is_named_clip
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.listing import (
    CSV_LOCK,
    CSV_NAME,
    LABEL_LENGTH,
    MOST_FILES,
    STORED,
    Table,
    as_moved,
    clip_name,
    clips_of,
    composed,
    one_line,
    read_folder,
    write_csv,
)
from vjepa_demo.references.preparing import Progress, cache_of
from vjepa_demo.references.sources import Addition, settle
from vjepa_demo.references.store import THUMBNAILS, copy_stored
from vjepa_demo.references.zips import export, root_of, unpack

__all__ = [
    "OWN",
    "REMOVED",
    "Report",
    "add",
    "bring_back",
    "clean_label",
    "copy_set",
    "export",
    "forget_removed",
    "remove",
    "rename",
    "take",
    "unpack",
]

OWN = "own"  # the folder for clips added by hand; only these are deleted when they are removed
REMOVED = ".removed"  # what the last removal took out: the list and the vectors before it, and files added by hand
LEFT = "left.csv"  # in it, the list after it


@dataclass(frozen=True)
class Report:
    """What came of adding: the set, how many clips are new in it, and (name, sentence) for each that failed, those of
    this addition first, and for each that was taken otherwise than it was named. `tried` is how many were to be new; a
    zip that cannot be read is one."""

    references: ReferenceSet
    added: int
    failures: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...] = ()
    tried: int = 0


def take(
    folder: Path,
    files: Iterable[tuple[Path, str]],
    label: str,
    embedder: Embedder,
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
) -> Report:
    """Add uploads to a set and embed them: clips under one label, and zips of clips or of whole sets.

    In a zip, sub-folders are labels, or its `clips.csv` says them; clips beside these get the label too. Nothing that
    is in the set is replaced: a clip whose name is taken gets another one, or is the one that has it where the bytes
    are equal. An addition that fails or is stopped is undone whole; what it has embedded is kept for the next.

    Args:
        folder: the set.
        files: (path, the name it had) for each upload.
        label: may be empty where only zips say the labels themselves.
        embedder, pooling, progress: as for `preparing.prepare`.

    Raises:
        ReferencesError: a label is missing, nothing in all of it can be embedded, there is nothing but zips that cannot
            be read, or the folder cannot be written to.
    """
    addition = Addition(folder)
    unproven: list[Path] = []
    zipped: dict[str, str] = {}  # the zip's name by that of a clip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, addition.undone_on_failure():
        addition.begin_list()
        loose: list[tuple[Path, str, str]] = []  # the last is the zip's name, or ""
        for number, (path, name) in enumerate(files):
            if Path(name).suffix.lower() != ".zip":
                loose.append((path, name, ""))
                continue
            inside, refused, known = Path(scratch) / str(number), len(addition.refused), len(addition.clips)
            notes: list[str] = []
            try:
                addition.refused += unpack(path, inside, notes=notes)
                root = root_of(inside)
            except ReferencesError as error:
                addition.refused.append((name, " ".join([str(error), *(f"It {note}." for note in notes)])))
                continue
            listed = (root / CSV_NAME).is_file()
            if not listed:
                loose += [(clip, clip.name, name) for clip in sorted(root.iterdir()) if clip.is_file()]
            if listed or any(path.is_dir() for path in root.iterdir()):
                addition.collect(root, clips_of(root, MOST_FILES, exported=True))
                unproven.append(root / STORED)
            addition.notes += [(name, note) for note in notes]
            addition.refused[refused:] = [(f"{file} in {name}", told) for file, told in addition.refused[refused:]]
            zipped |= dict.fromkeys((clip.file for clip in addition.clips[known:]), name)
            if len(loose) + len(addition.clips) > MOST_FILES:
                raise ReferencesError(f"These are more than {MOST_FILES} files: take fewer at a time.")
        if addition.refused and not (loose or unproven):
            raise ReferencesError(" ".join(f"{name}: {sentence}" for name, sentence in addition.refused))
        for path, name, archive in loose:
            known = len(addition.clips)
            addition.bring(path, ReferenceClip(_own_name(path, name, label), clean_label(label)), copy=True)
            if archive:
                zipped |= dict.fromkeys((clip.file for clip in addition.clips[known:]), archive)
        made = settle(
            folder,
            embedder,
            pooling,
            unproven=unproven,
            new=addition.clips,
            progress=progress,
        )
        addition.drop(made)
    new = {clip.file for clip in addition.clips}
    failures = [
        (f"{file} in {zipped[file]}" if file in zipped else file, sentence)
        for file, sentence in sorted(made.failures, key=lambda failure: failure[0] not in new)
    ]
    added, tried = len(new & {clip.file for clip in made.clips}), len(new) + len(addition.refused)
    return Report(made, added, (*addition.refused, *failures), tuple(addition.notes), tried)


def copy_set(folder: Path, target: Path) -> None:
    """Make `target` a set of the same clips and stored vectors; on one disk the clips cost links, no bytes."""
    addition = Addition(target)
    clips = read_folder(folder)
    with addition.undone_on_failure(), disk_errors():
        addition.collect(folder, [clip for clip in clips if clip_name(clip.file)])
        if (folder / CSV_NAME).is_file() and not addition.before:  # with the columns that only its owner knows
            target.mkdir(parents=True, exist_ok=True)
            (target / CSV_NAME).write_bytes(as_moved(folder))
        else:
            write_csv(target, [*addition.before, *addition.clips])
        for source in (cache_of(folder), folder / STORED):
            for path in source.glob("*.safetensors"):
                copy_stored(path, target / STORED / path.name)
            for path in (source / THUMBNAILS).glob("*.jpg"):
                with contextlib.suppress(FileExistsError):
                    put(path, target / STORED / THUMBNAILS / path.name)


def add(folder: Path, files: Iterable[tuple[Path, str, str]]) -> list[str]:
    """Add files to a set; they are embedded when it is next prepared.

    Args:
        folder: the set.
        files: (path, the name it had, label) for each.

    Returns:
        The names of the clips that are new in the set.

    Raises:
        ReferencesError: a label is empty, or the folder cannot be written to.
    """
    addition = Addition(folder)
    with addition.undone_on_failure():
        for path, name, label in files:
            addition.bring(path, ReferenceClip(_own_name(path, name, label), clean_label(label)), copy=True)
        with lock(folder / CSV_LOCK), disk_errors():
            rows = clips_of(folder) if (folder / CSV_NAME).is_file() else addition.before
            write_csv(folder, [*rows, *addition.clips])
    return [clip.file for clip in addition.clips]


def rename(folder: Path, files: Sequence[str], label: str) -> None:
    """Give clips another label. Raises ReferencesError where it is empty or a clip is not in the set."""
    label = clean_label(label)
    with lock(folder / CSV_LOCK), disk_errors():
        clips = _chosen(folder, files)
        write_csv(folder, [replace(clip, label=label) if clip.file in files else clip for clip in clips])


def remove(folder: Path, files: Sequence[str]) -> None:
    """Take clips out of a set. The others keep their places on the map.

    Files that were added by hand go to a hidden folder, from where `bring_back` takes them until `forget_removed`.

    Raises:
        ReferencesError: a clip is not in the set, or none would be left.
    """
    with lock(folder / CSV_LOCK), disk_errors():
        before = _chosen(folder, files)
        clips = [clip for clip in before if clip.file not in files]
        if not clips:
            raise ReferencesError("A set needs at least one clip: keep one, or add another first.")
        forget_removed(folder)
        if not (folder / CSV_NAME).is_file():
            write_csv(folder, before)
        gone = folder / REMOVED
        put(folder / CSV_NAME, gone / CSV_NAME, copy=True)
        for stored in (folder / STORED).glob("*.safetensors"):  # with the places on the map
            put(stored, gone / STORED / stored.name)
        write_csv(folder, clips)
        put(folder / CSV_NAME, gone / LEFT, copy=True)
        for file in files:
            if file.startswith(f"{OWN}/") and os.path.lexists(folder / file):
                (gone / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(folder / file, gone / file)


def bring_back(folder: Path) -> int:
    """Undo the last removal: its rows, files, vectors and places on the map. Returns how many clips are back.

    Raises:
        ReferencesError: there is nothing to bring back, or the folder cannot be written to.
    """
    gone = folder / REMOVED
    with lock(folder / CSV_LOCK), disk_errors():
        if not (gone / LEFT).is_file():
            raise ReferencesError("There is nothing to bring back: the references were changed again since.")
        rows = clips_of(folder)
        here = {clip.file for clip in rows}
        back = [clip for clip, _ in Table.read(gone / CSV_NAME).clips(folder) if clip.file not in here]
        for clip in back:
            if os.path.lexists(gone / clip.file) and not os.path.lexists(folder / clip.file):
                (folder / clip.file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(gone / clip.file, folder / clip.file)
        if (folder / CSV_NAME).read_bytes() == (gone / LEFT).read_bytes():  # with the columns that only its owner knows
            os.replace(gone / CSV_NAME, folder / CSV_NAME)
            for stored in (gone / STORED).glob("*.safetensors"):
                os.replace(stored, folder / STORED / stored.name)
        else:
            write_csv(folder, [*rows, *back])
    forget_removed(folder)
    return len(back)


def forget_removed(folder: Path) -> None:
    """Delete what the last removal took out of a set."""
    shutil.rmtree(folder / REMOVED, ignore_errors=True)


def clean_label(label: str) -> str:
    """A label in one line, in Unicode's composed form. Raises ReferencesError where nothing is left."""
    label = one_line(composed(label), LABEL_LENGTH)
    if not label:
        raise ReferencesError("The clips need a label: write what is in them, in a word or two.")
    return label


def _chosen(folder: Path, files: Sequence[str]) -> list[ReferenceClip]:
    clips = read_folder(folder)
    if not files:
        raise ReferencesError("No clip is chosen: choose one or more from the list.")
    if not set(files) <= {clip.file for clip in clips}:
        raise ReferencesError("A clip that was chosen is no longer in the set: choose again.")
    return clips


def _plain(name: str) -> str:
    """A part of a path that every system takes."""
    return re.sub(r"[^\w-]+", "_", composed(name)).strip("_")[:LABEL_LENGTH] or "clip"


def _own_name(path: Path, name: str, label: str) -> str:
    """The name in the set of an upload: its ending says what it is, too."""
    suffix = Path(name).suffix.lower()
    if not is_named_clip(name):
        suffix = ".mp4"
        with contextlib.suppress(MediaError):
            suffix = ENDINGS[sniff(path)]
    return f"{OWN}/{_plain(label)}/{_plain(Path(name).stem)}{suffix}"
