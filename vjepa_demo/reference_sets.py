"""A folder of reference clips becomes a ReferenceSet: embedded where no stored vector fits, and stored."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import MediaError, ReferencesError, RequestError
from vjepa_demo.media import Sampling, read_clip
from vjepa_demo.reference_layout import align, centred_units, fit_map
from vjepa_demo.reference_store import THUMBNAILS, Parts, Stored, file_hash, replace_file, save_thumbnail
from vjepa_demo.references import ReferenceClip, ReferenceSet, place
from vjepa_demo.settings import ASSETS, settings

log = logging.getLogger(__name__)

SHIPPED = ASSETS / "references"
CSV_NAME = "clips.csv"
STORED = "vectors"  # the folder beside clips.csv in which a set carries its vectors along
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".flv"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif"}
SPLITS = {"train", "training", "val", "valid", "validation", "test"}

# (clips done, clips in all, what is happening)
Progress = Callable[[int, int, str], None]

# Sets in memory, by where their vectors are stored, with what the folder looked like when each was prepared. The lock
# keeps two visitors from embedding the same clips side by side.
MOST_IN_MEMORY = 8
_sets: OrderedDict[Path, tuple[list[Any], ReferenceSet]] = OrderedDict()
_preparing = threading.Lock()


def read_folder(folder: str | Path) -> list[ReferenceClip]:
    """The reference clips of a folder: the rows of its `clips.csv`, else every video and image in its sub-folders.

    `clips.csv` has the columns file and label, and may have description, licence and split. Without it a clip's label
    is the name of the folder it lies in, and its split that of the first folder if it is called train, val or test.

    Raises:
        ReferencesError: there is no such folder, no clip in it, or its `clips.csv` is faulty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReferencesError("There is no such folder of reference clips: check the path.")
    path = folder / CSV_NAME
    clips = _read_csv(path) if path.is_file() else _read_tree(folder)
    if not clips:
        raise ReferencesError(
            "The folder holds no reference clips: put a clips.csv with the columns file and label into it, or one "
            "sub-folder of clips for each label."
        )
    return clips


def _read_csv(path: Path) -> list[ReferenceClip]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReferencesError("The file clips.csv cannot be read: save it as CSV in UTF-8.") from error
    clips, root = [], path.parent.resolve()
    for number, row in enumerate(rows, start=2):
        clip = ReferenceClip(**{field.name: (row.get(field.name) or "").strip() for field in fields(ReferenceClip)})
        if not clip.file or not clip.label:
            raise ReferencesError(f"Line {number} of clips.csv lacks a file or a label: fill both columns.")
        if not (root / clip.file).resolve().is_relative_to(root):
            raise ReferencesError(f"Line {number} of clips.csv names a file outside its folder: move it inside.")
        clips.append(clip)
    if len({clip.file for clip in clips}) < len(clips):
        raise ReferencesError("A file stands in clips.csv more than once: keep one line for each.")
    return clips


def _read_tree(folder: Path) -> list[ReferenceClip]:
    clips = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[:2] == (STORED, THUMBNAILS):
            continue
        if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES and len(parts) > 1 and path.is_file():
            split = parts[0].lower() if len(parts) > 2 and parts[0].lower() in SPLITS else ""
            clips.append(ReferenceClip("/".join(parts), parts[-2], split=split))
    return clips


def write_csv(folder: Path, clips: Iterable[ReferenceClip]) -> None:
    """Write `clips.csv`, all of it or nothing."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(ReferenceClip)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(clip) for clip in clips)

    replace_file(folder / CSV_NAME, write)


def prepare(
    folder: str | Path,
    encoder: Any,
    sampling: Sampling | None = None,
    fit: str = "crop",
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
    store: str | Path | None = None,
    more: Sequence[Path] = (),
    refit: bool = False,
) -> ReferenceSet:
    """The reference set of a folder: stored vectors where they fit, a forward pass for every other clip.

    Vectors are looked for in the folder itself (`vectors/`) and in `store`. New ones are kept as soon as they are made,
    so that an interrupted run goes on where it stopped. Clips that are new on a known map are placed on it and move
    none of the old points.

    Args:
        folder: with `clips.csv`, or sub-folders named after labels.
        encoder: an `encoder.Encoder`.
        sampling, fit, pooling: how clips are sampled, fitted and made a vector; part of the fingerprint.
        progress: told (done, all, message) after every clip that was embedded.
        store: where new vectors are kept; see `store_of` when None.
        more: other folders in which stored vectors may be found; the places in them count where there is no map yet.
        refit: lay all clips out anew, turned to lie near their old places.

    Raises:
        ReferencesError: the folder holds no clip, or none that can be embedded.
    """
    folder, sampling = Path(folder), sampling or Sampling()
    clips = read_folder(folder)
    fingerprint = encoder.fingerprint(sampling, fit, pooling)
    target = (Path(store) if store else store_of(folder)) / f"{fingerprint.key}.safetensors"
    with _preparing:
        look = [(clip, *_size_and_time(folder / clip.file)) for clip in clips]
        held = _sets.get(target)
        if refit or held is None or held[0] != look:
            paths = [path / target.name for path in (*more, folder / STORED, target.parent)]
            _sets[target] = look, _prepare(folder, clips, encoder, sampling, fit, pooling, paths, progress, refit)
        _sets.move_to_end(target)
        while len(_sets) > MOST_IN_MEMORY:
            _sets.popitem(last=False)
        return _sets[target][1]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _prepare(
    folder: Path,
    clips: list[ReferenceClip],
    encoder: Any,
    sampling: Sampling,
    fit: str,
    pooling: Pooling,
    paths: list[Path],
    progress: Progress | None,
    refit: bool,
) -> ReferenceSet:
    """`paths` are files of stored vectors, the later ones more to be believed; the last is written to."""
    fingerprint, target = encoder.fingerprint(sampling, fit, pooling), paths[-1]
    loaded = [Stored.load(path, fingerprint) for path in paths]
    known = [stored for stored in loaded if stored]
    # Places of different maps must not be mixed: those of other sets count only where this one has no map.
    mapped = [stored for stored in loaded[-2:] if stored] or known[-1:]

    vectors = {sha: row for stored in known for sha, row in zip(stored.hashes, stored.vectors, strict=True)}
    parts = Parts(target)
    vectors.update(parts.read())
    embedded: list[tuple[ReferenceClip, str]] = []
    failures: list[tuple[str, str]] = []
    for number, clip in enumerate(clips, start=1):
        made = len(vectors)
        sha, failure = _embed(folder / clip.file, encoder, sampling, fit, pooling, vectors, parts)
        if failure:
            log.warning("reference clip %s: %s", clip.file, failure)
            failures.append((clip.file, failure))
        else:
            embedded.append((clip, sha))
        if progress and len(vectors) > made:
            progress(number, len(clips), "Embedding reference clips")
    if not embedded:
        raise ReferencesError(f"None of the reference clips can be read; of the first: {failures[0][1]}")

    hashes = tuple(sha for _, sha in embedded)
    whole = next((stored for stored in reversed(mapped) if stored.hashes == hashes), None)
    if refit or whole is None:
        if progress:
            progress(len(clips), len(clips), "Laying out the map")
        stacked = np.stack([vectors[sha] for sha in hashes])
        flat = {sha: row for stored in mapped for sha, row in zip(stored.hashes, stored.coordinates, strict=True)}
        deep = {sha: row for stored in mapped for sha, row in zip(stored.hashes, stored.space, strict=True)}
        whole = Stored(
            hashes,
            stacked,
            lay_out(stacked, [flat.get(sha) for sha in hashes], dims=2, refit=refit),
            lay_out(stacked, [deep.get(sha) for sha in hashes], dims=3, refit=refit),
        )
    if whole not in loaded[-2:]:
        whole.save(target, fingerprint)
    parts.clear()
    return ReferenceSet(
        fingerprint=fingerprint,
        clips=tuple(clip for clip, _ in embedded),
        vectors=whole.vectors,
        coordinates=whole.coordinates,
        space=whole.space,
        hashes=hashes,
        folder=folder.resolve(),
        thumbnails=(folder.resolve() / STORED / THUMBNAILS, target.parent.resolve() / THUMBNAILS),
        failures=tuple(failures),
    )


def store_of(folder: Path) -> Path:
    """Where new vectors of a folder are kept: in it, where it carries vectors along already, else in the cache.

    The shipped references stay as they were shipped.
    """
    carried = folder / STORED
    if carried.is_dir() and os.access(carried, os.W_OK) and folder.resolve() != SHIPPED.resolve():
        return carried
    return cache_of(folder)


def cache_of(folder: Path) -> Path:
    """Where vectors of a folder are cached: named by its path alone, since its files are checked one by one."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(settings.cache_dir) / "references" / name


def _embed(
    path: Path,
    encoder: Any,
    sampling: Sampling,
    fit: str,
    pooling: Pooling,
    vectors: dict[str, np.ndarray],
    parts: Parts,
) -> tuple[str, str]:
    """(SHA-256 of the file, ""), with its vector in `vectors`, or ("", why it cannot be embedded)."""
    try:
        sha = file_hash(path)
        if sha not in vectors:
            clip = read_clip(path, sampling)
            vectors[sha] = encoder.encode(clip, fit=fit).vector(pooling)
            parts.add(sha, vectors[sha])
            save_thumbnail(clip.frames[len(clip.frames) // 2], parts.folder.parent / THUMBNAILS / f"{sha}.jpg")
    except (MediaError, RequestError) as error:
        return "", str(error)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return "", "The file is missing or cannot be opened: check that it is there."
    return sha, ""


def lay_out(vectors: np.ndarray, places: list[np.ndarray | None], *, dims: int, refit: bool = False) -> np.ndarray:
    """float32 `[R, dims]`: known places as they are and new clips among them; a fit where there is no map yet.

    Args:
        vectors: float32 `[R, D]`.
        places: `[dims]` for each that has a place already.
        refit: lay out all of them, turned to lie near their old places.
    """
    kept = np.array([row for row, known in enumerate(places) if known is not None], int)
    old = np.zeros((len(places), dims), np.float32)
    if len(kept):
        old[kept] = np.stack([places[row] for row in kept])
    # Fewer than 3 points are no map whose shape anybody knows.
    if refit or len(kept) < min(3, len(places)):
        return align(fit_map(vectors, dims=dims), old, kept, kept)
    new = np.setdiff1d(np.arange(len(places)), kept)
    if len(new):
        units = centred_units(vectors)
        old[new] = place(units[new] @ units[kept].T, old[kept])
    return old
