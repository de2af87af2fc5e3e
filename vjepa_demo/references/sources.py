"""Reference sets from elsewhere: a folder or a dataset on the Hub becomes a folder that carries its vectors along."""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vjepa_demo import jobs
from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import ReferencesError, UserError
from vjepa_demo.files import disk_errors, lock, put, sweep
from vjepa_demo.media.formats import MEDIA_TYPES, is_clip
from vjepa_demo.model import hub
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.listing import (
    CSV_LOCK,
    CSV_NAME,
    NAME_BYTES,
    STORED,
    Passed,
    clip_name,
    clips_of,
    composed,
    fault_of,
    read_folder,
    told,
    write_csv,
)
from vjepa_demo.references.preparing import Progress, cache_of, prepare
from vjepa_demo.references.store import THUMBNAILS, take_thumbnail
from vjepa_demo.settings import HUB

log = logging.getLogger(__name__)

# hf://datasets/OWNER/NAME[@REVISION][/FOLDER], as huggingface_hub's file system writes it.
HUB_SOURCE = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>.+?))?/*")


def build(
    source: str,
    out: str | Path,
    embedder: Embedder,
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
    refit: bool = False,
) -> ReferenceSet:
    """Make `out` a folder of reference clips with their vectors, which can be used, copied and moved as it is.

    Nothing that is in `out` is replaced. Each clip of the source is linked into it (copied, where it is on another
    disk) and embedded. One whose name is taken by a file with the same content is that clip, and its row stays; by one
    with other content, it gets a free name beside it, which `notes` tell. What has been embedded is kept at once, so
    that an interrupted run goes on where it stopped. Files that cannot be embedded are left out of `out` and named in
    `failures`, so that their names are free when they are mended; rows that were in `out` before stay, whatever
    becomes of their files.

    Args:
        source: a folder (`listing.read_folder`) or `hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`.
        out: the folder to make or to add to.
        embedder, pooling, progress, refit: as for `preparing.prepare`.

    Raises:
        ReferencesError: the source cannot be reached or holds no clip that can be embedded, or `out` cannot be written.
    """
    folder, out = fetch(source), Path(out)
    passed = Passed()
    clips = read_folder(folder, passed=passed)
    notes = [(source, told(passed))] if passed else []
    if folder.resolve() == out.resolve():
        listed = (out / CSV_NAME).is_file()
        made = settle(out, embedder, pooling, progress=progress, refit=refit)
        if not listed and made.failures:
            with lock(out / CSV_LOCK), disk_errors():
                write_csv(out, made.clips)
        return replace(made, notes=tuple(notes))
    if not (folder / CSV_NAME).is_file():  # a set made within its source is not its own source the next time
        with contextlib.suppress(ValueError):
            own = out.resolve().relative_to(folder.resolve()).as_posix()
            clips = [clip for clip in clips if not clip.file.startswith(f"{own}/")]
    addition = Addition(out)
    with addition.undone_on_failure():
        addition.begin_list()
        addition.collect(folder, clips, progress)
        made = settle(
            out,
            embedder,
            pooling,
            more=[cache_of(folder)],
            unproven=[folder / STORED],
            new=addition.clips,
            progress=progress,
            refit=refit,
        )
        addition.drop(made)
    return replace(made, failures=(*addition.refused, *made.failures), notes=(*notes, *addition.notes))


class Addition:
    """The clips that one call brings into a set: it knows which files it wrote, and takes back those and no others.

    They stand in `clips.csv` only when they are embedded (`settle`): a process that is killed before leaves the set
    as it was, with some files that nobody lists.

    Attributes:
        before: the set's clips when it began.
        clips: those that are new in the set.
        refused, notes: (name, sentence) for what is not taken, and for what is taken under another name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[ReferenceClip] = []
        self.refused: list[tuple[str, str]] = []
        self.notes: list[tuple[str, str]] = []
        self.before = clips_of(folder)
        self._rows = {composed(clip.file): clip for clip in self.before}
        self._written: dict[str, Path] = {}
        self._folders: list[Path] = []
        self._list_begun: bytes | None = None

    def begin_list(self) -> None:
        """Begin a `clips.csv` where there is none, with what is there: otherwise what is brought in would be clips
        before it is embedded, also for others who add to the folder."""
        path = self.folder / CSV_NAME
        with lock(self.folder / CSV_LOCK), disk_errors():
            if not path.exists():
                self.before = clips_of(self.folder)
                self._rows = {composed(clip.file): clip for clip in self.before}
                write_csv(self.folder, self.before)
                self._list_begun = path.read_bytes()

    def collect(self, source: Path, clips: Sequence[ReferenceClip], progress: Progress | None = None) -> None:
        """Bring clips of a folder in, under their names there."""
        for number, clip in enumerate(clips, start=1):
            jobs.check()
            name = clip_name(clip.file)
            if name is None:
                self.refused.append((clip.file, fault_of(clip.file)))
            elif not os.path.isfile(source / clip.file):
                self.refused.append((clip.file, "The file is missing: check that it is there."))
            elif not is_clip(source / clip.file):
                self.refused.append((clip.file, "The file is neither a video nor an image: check the name."))
            elif self._is_below_a_file(name):
                self.refused.append((clip.file, "It lies in a folder whose name a file of the set has: rename one."))
            else:
                self.bring(source / clip.file, replace(clip, file=name))
            if progress and number % 100 == 0:
                progress(number, len(clips), "Collecting clips")
        if self.refused:
            log.warning("%d of %d clips not taken: names that are none, or no files", len(self.refused), len(clips))

    def bring(self, path: Path, clip: ReferenceClip, *, copy: bool = False) -> None:
        """Put a file into the set as `clip.file`, or beside it where other content has that name.

        Raises:
            ReferencesError: the folder cannot be written to.
        """
        stem, suffix = os.path.splitext(clip.file)
        number, name = 1, clip.file
        with disk_errors():
            while True:
                jobs.check()
                old = self._rows.get(composed(name))
                target = self.folder / (old.file if old else name)
                if old or os.path.lexists(target):
                    if _same_content(path, target):
                        # Left by a call that was killed: another name of the source's file, which nothing is lost with.
                        if old is None and _is_link(path, target):
                            self._written[name] = target
                        break
                elif self._put(path, target, name, copy):
                    break
                number += 1
                name = _numbered(stem, number, suffix)
        if number > 1:
            self.notes.append((clip.file, f"was there already with other content: added as {name}"))
        if old is None:
            self._rows[composed(name)] = new = replace(clip, file=name)
            self.clips.append(new)
        elif (old.label, old.description) != (clip.label, clip.description):
            self.notes.append((name, "was there already: it keeps its own label and description"))

    def _put(self, path: Path, target: Path, name: str, copy: bool) -> bool:
        """False where somebody else has taken the name in the meantime."""
        missing = [place for place in target.parents if not place.exists() and self.folder in place.parents]
        sweep(target.parent)
        try:
            put(path, target, copy=copy)
        except FileExistsError:
            if self._is_below_a_file(name):
                raise
            return False
        self._folders += reversed(missing)
        self._written[name] = target
        return True

    def _is_below_a_file(self, name: str) -> bool:
        """Whether no other name in the same folder would be free either."""
        above = [self.folder / place for place in Path(name).parents]
        return any(os.path.lexists(place) and not place.is_dir() for place in above)

    def drop(self, made: ReferenceSet) -> None:
        """Take back what could not be embedded."""
        good = {clip.file for clip in made.clips}
        self._unlink([clip.file for clip in self.clips if clip.file not in good])

    @contextlib.contextmanager
    def undone_on_failure(self) -> Any:
        """However this context is left but by its end, everything that was brought in is taken back."""
        try:
            yield
        except BaseException:
            self._unlink(list(self._written))
            path = self.folder / CSV_NAME
            if self._list_begun is not None:
                with contextlib.suppress(OSError, UserError), lock(self.folder / CSV_LOCK):
                    if path.read_bytes() == self._list_begun:  # nobody else has written into it
                        path.unlink()
            raise

    def _unlink(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._written:
                with contextlib.suppress(OSError):
                    self._written.pop(name).unlink()
        for place in reversed(self._folders):
            with contextlib.suppress(OSError):  # others may have put something there
                place.rmdir()


def _numbered(stem: str, number: int, suffix: str) -> str:
    """Another name for a file, no longer than file systems take."""
    folder, slash, own = stem.rpartition("/")
    end = f"-{number}{suffix}"
    while len((own + end).encode("utf-8", "surrogateescape")) > NAME_BYTES:
        own = own[:-1]
    return f"{folder}{slash}{own}{end}"


def _is_link(path: Path, target: Path) -> bool:
    return os.path.samefile(path, target) and path.resolve() != target.resolve()


def _same_content(path: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(path, target) or filecmp.cmp(path, target, shallow=False)
    return False


def settle(
    folder: Path,
    embedder: Embedder,
    pooling: Pooling = "mean",
    *,
    more: Sequence[Path] = (),
    unproven: Sequence[Path] = (),
    new: Sequence[ReferenceClip] = (),
    progress: Progress | None = None,
    refit: bool = False,
) -> ReferenceSet:
    """Embed what is new in a set, store it there, and put the new clips that can be embedded on its list.

    Clips that are on the list stay on it, also those whose files are missing or cannot be read (see `failures`).

    Args:
        new: clips whose files are in the folder, but which are not on its list yet.
        folder, embedder, pooling, more, unproven, progress, refit: as for `preparing.prepare`.

    Raises:
        ReferencesError: as `prepare`, or the list cannot be written.
    """
    store, brought = folder / STORED, {composed(clip.file) for clip in new}

    def others() -> list[ReferenceClip]:
        """The clips of the folder; where it has no list, those that are new are found there, too."""
        rows, is_list = clips_of(folder), (folder / CSV_NAME).is_file()
        return rows if is_list else [clip for clip in rows if composed(clip.file) not in brought]

    rows = others()
    listed = {composed(clip.file) for clip in rows}
    made = prepare(
        folder,
        embedder,
        pooling,
        store=store,
        more=(cache_of(folder), *more),
        unproven=unproven,
        clips=[*rows, *(clip for clip in new if composed(clip.file) not in listed)] or None,
        progress=progress,
        refit=refit,
    )
    for source in (cache_of(folder), *more, *unproven):
        for sha in made.hashes:
            target = store / THUMBNAILS / f"{sha}.jpg"
            if not target.exists() and os.path.isfile(source / THUMBNAILS / target.name):
                take_thumbnail(source / THUMBNAILS / target.name, target)
    if new:
        good = {clip.file for clip in made.clips}
        with lock(folder / CSV_LOCK), disk_errors():
            rows = others()  # read again: somebody may have added to it while these were embedded
            listed = {composed(clip.file) for clip in rows}
            added = (clip for clip in new if clip.file in good and composed(clip.file) not in listed)
            write_csv(folder, [*rows, *added])
    return made


def _in_any_case(ending: str) -> str:
    """A pattern for an ending in small letters, in capitals or both."""
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in ending)


def fetch(source: str) -> Path:
    """The folder that a source names; a dataset on the Hub is downloaded, its videos, images and CSV files alone.

    Raises:
        ReferencesError: the address is faulty, the dataset does not exist, or the Hub cannot be reached.
        DiskError: there is no place for it.
    """
    if not source.startswith(HUB):
        return Path(source).expanduser()
    address = HUB_SOURCE.fullmatch(source)
    if not address or ".." in source:
        raise ReferencesError("The address of a dataset must be like hf://datasets/OWNER/NAME: correct it.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    within = f"{address['folder']}/" if address["folder"] else ""
    suffixes = sorted({".csv", *MEDIA_TYPES})
    try:
        folder = snapshot_download(
            address["repo"],
            repo_type="dataset",
            revision=address["revision"],
            allow_patterns=[f"{within}**{_in_any_case(suffix)}" for suffix in suffixes],
            etag_timeout=10,
        )
    except HFValidationError as error:
        raise ReferencesError("The Hub knows no dataset of such a name: correct the address.") from error
    except Exception as error:  # the client speaks through libraries of its own choice, each with its own errors
        log.warning("hub: %s: %.300s", type(error).__name__, error)
        hub.check_disk(error)
        found = hub.refusal_of(error, "dataset")
        raise ReferencesError(f"The dataset cannot be had, {found.why}: {found.advice}, or give a folder.") from error
    return Path(folder) / within
