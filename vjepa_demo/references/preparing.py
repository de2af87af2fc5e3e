"""A folder of reference clips becomes a ReferenceSet: embedded where no stored vector fits, and stored."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np

from vjepa_demo import jobs
from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Embedding, Kind, Pooling
from vjepa_demo.errors import (
    BusyError,
    CheckpointError,
    DiskError,
    MediaError,
    ReferencesError,
    RequestError,
    Stopped,
)
from vjepa_demo.files import known_hash, lock, sweep
from vjepa_demo.media.clip import Clip
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.listing import STORED, read_folder
from vjepa_demo.references.looking import Look, look, stamp
from vjepa_demo.references.map import UMAP_LOCK, lay_out
from vjepa_demo.references.store import THUMBNAILS, Parts, Stored, save_thumbnail
from vjepa_demo.settings import ASSETS, settings

log = logging.getLogger(__name__)

SHIPPED = ASSETS / "references"
MISSING = "The file is missing or cannot be opened: check that it is there."
ODD = "Something in the file is not as it should be: save or convert it again."
NO_NUMBERS = "The checkpoint makes no numbers of this clip: leave it out."
# Vectors from elsewhere are proven on so many of their clips, chosen so that nobody can know which; on an app that
# strangers share all of a small set are embedded anew.
PROVEN, PROVEN_WHOLE = 2, 8
# Between two machines, or in half precision, a vector differs by less; that of another clip by more.
LEAST_COSINE, MOST_DIFFERENCE = 0.99, 0.05

EMBEDDING = "Embedding reference clips"
# (clips done, clips in all, what is happening)
Progress = Callable[[int, int, str], None]

# Sets in memory, by where their vectors are stored, with what the folder looked like when each was prepared.
MOST_IN_MEMORY = 8
_sets: OrderedDict[Path, tuple[Look, ReferenceSet]] = OrderedDict()
_guard = threading.Lock()


def prepare(
    folder: str | Path,
    embedder: Embedder,
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
    store: str | Path | None = None,
    more: Sequence[Path] = (),
    unproven: Sequence[Path] = (),
    clips: Sequence[ReferenceClip] | None = None,
    refit: bool = False,
    also: Sequence[Pooling] = (),
    partly: bool = False,
    before: ReferenceSet | None = None,
) -> ReferenceSet:
    """The reference set of a folder: stored vectors where they fit, a forward pass for every other clip.

    Vectors are looked for in the folder itself (`vectors/`) and in `store`. New ones are kept as soon as they are made,
    so that an interrupted run goes on where it stopped; where the disk takes none, they are kept in memory. Clips that
    are new on a known map are placed on it and move none of the old points. A set that is ready is given at once, one
    that somebody else is making is waited for; between two clips others have the machine's turn, so a job must not
    have it when it calls this.

    Args:
        folder: with `clips.csv`, or sub-folders named after labels.
        embedder, pooling: how clips are embedded and made a vector.
        progress: told (done, all, message) after every clip that was embedded.
        store: where new vectors are kept; see `store_of` when None.
        more: other folders in which stored vectors may be found; the places in them count where there is no map yet.
        unproven: the same for vectors made by somebody else: they are used where a sample, embedded here, holds.
        clips: the clips, where they are not those of `read_folder`.
        refit: lay all clips out anew, turned to lie near their old places.
        also: other poolings that are asked for next: what they make of the same tokens is kept on the way.
        partly: more clips are to come: vectors are kept one by one, and their map in memory alone.
        before: the set as it was with fewer clips; its vectors and places count.

    Raises:
        ReferencesError: the folder holds no clip, or none that can be embedded.
        Stopped: the job that asks for it is to end.
    """
    folder, kind = Path(folder), embedder.kind(pooling)
    seen = look(folder, clips)
    name = f"{kind.key}.safetensors"
    target = (Path(store) if store else store_of(folder)) / name
    found = None if refit else _ready(target, seen)
    if found is None:
        with lock(target.with_suffix(".lock")):
            found = None if refit else _ready(target, seen)
            if found is None:
                paths = [path / name for path in (*more, folder / STORED)]
                run = _Run(folder, embedder, kind, target, progress, also, partly, before)
                found = run.make(list(seen.clips), paths, [path / name for path in unproven], refit)
                _remember(target, seen, found)
    return found


def stored_set(folder: Path, kind: Kind) -> ReferenceSet | None:
    """What `prepare` gives, without an embedder: None where it would have to embed a clip. Raises ReferencesError."""
    return None if missing(folder, kind) else prepare(folder, _Known(kind), kind.pooling)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Known:
    """Stands for an embedder where nothing is left to embed."""

    own: Kind
    at_once = 1

    def kind(self, pooling: Pooling) -> Kind:
        return self.own


def missing(folder: str | Path, kind: Kind) -> int:
    """How many clips of a folder `prepare` would have to embed first. Raises ReferencesError where it holds none."""
    folder = Path(folder)
    target = store_of(folder) / f"{kind.key}.safetensors"
    if _ready(target, look(folder)):
        return 0  # what cannot be embedded is known, too
    return len(divide(folder, kind)[1])


def divide(folder: Path, kind: Kind) -> tuple[list[ReferenceClip], list[ReferenceClip]]:
    """The clips of a folder that have a vector of a kind, and those that have to be embedded for it."""
    target = store_of(folder) / f"{kind.key}.safetensors"
    known = Parts(target).names()
    for stored in _stored(folder, kind, target):
        known.update(stored.hashes)
    there: list[ReferenceClip] = []
    rest: list[ReferenceClip] = []
    for clip in look(folder).clips:
        jobs.check()
        with contextlib.suppress(OSError, ValueError):  # what cannot be read is not embedded
            (there if known_hash(folder / clip.file) in known else rest).append(clip)
    return there, rest


def has_map(folder: Path, kind: Kind) -> bool:
    """Whether clips of a folder have a map of a kind on disk, on which others can be placed."""
    return bool(_stored(folder, kind, store_of(folder) / f"{kind.key}.safetensors"))


def _stored(folder: Path, kind: Kind, target: Path) -> list[Stored]:
    found = [_load(path, kind) for path in dict.fromkeys((folder / STORED / target.name, target))]
    return [stored for stored in found if stored]


def _load(path: Path, kind: Kind) -> Stored | None:
    """The stored vectors of a kind; those of the shipped clips, which are square, are the same as under "squash"."""
    found = Stored.load(path, kind)
    if found is None and kind.fingerprint.fit == "whole":
        square = replace(kind, fingerprint=replace(kind.fingerprint, fit="squash"))
        found = Stored.load(path.with_name(f"{square.key}.safetensors"), square)
        return found.only(_shipped()) if found else None
    return found


@lru_cache(maxsize=1)
def _shipped() -> frozenset[str]:
    """The SHA-256 of the shipped clips."""
    return frozenset(known_hash(SHIPPED / clip.file) for clip in read_folder(SHIPPED))


def _ready(target: Path, seen: Look) -> ReferenceSet | None:
    with _guard:
        held = _sets.get(target)
        if held is None or held[0] != seen:
            return None
        _sets.move_to_end(target)
        return held[1]


def _remember(target: Path, seen: Look, found: ReferenceSet) -> None:
    with _guard:
        _sets[target] = seen, found
        _sets.move_to_end(target)
        while len(_sets) > MOST_IN_MEMORY:
            _sets.popitem(last=False)


class _Run:
    """One making of a set: what is known of its vectors so far."""

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        kind: Kind,
        target: Path,
        progress: Progress | None,
        also: Sequence[Pooling],
        partly: bool,
        before: ReferenceSet | None,
    ) -> None:
        self.folder, self.embedder, self.kind, self.target = folder, embedder, kind, target
        self.also, self.partly, self.before = also, partly, before
        self.progress = progress or (lambda done, total, message: None)
        self.parts = Parts(target)
        self.vectors: dict[str, np.ndarray] = {}  # by SHA-256
        self.failures = dict(before.failures) if before else {}  # by file; a broken one is not tried at every step
        self.looks: dict[str, tuple[int, int]] = {}  # size and time of each file when it was hashed
        self.stored_all, self.traced = True, False

    def make(self, clips: list[ReferenceClip], paths: list[Path], unproven: list[Path], refit: bool) -> ReferenceSet:
        """`paths` are files of stored vectors, the later ones more to be believed, and more than all the target."""
        for place in (self.target.parent, self.target.parent / THUMBNAILS, self.parts.folder):
            sweep(place)
        loaded = [_load(path, self.kind) for path in dict.fromkeys((*paths, self.target))]
        own = [stored for stored in (*loaded[-2:], self._held()) if stored]
        known = [stored for stored in (*loaded[:-2], *own) if stored]
        # Places of different maps must not be mixed: those of other sets count only where this one has no map.
        mapped = own or known[-1:]
        for stored in known:
            self.vectors.update(stored.by_hash())
        self.vectors.update(self.parts.read(self.vectors))

        hashes = self._hash(clips)
        for path in unproven:
            foreign = Stored.load(path, self.kind)
            if foreign and self._holds(foreign, clips, hashes):
                self.vectors = {**foreign.by_hash(), **self.vectors}
                mapped = mapped or [foreign]
        new = [(clip, sha) for clip, sha in zip(clips, hashes, strict=True) if sha and sha not in self.vectors]
        done, together = 0, self.embedder.at_once
        while batch := new[done : done + together]:
            embedded = self._embed(batch, done, len(new))
            done += len(batch)
            if embedded:
                self.progress(done, len(new), EMBEDDING)
        good = [(clip, sha) for clip, sha in zip(clips, hashes, strict=True) if clip.file not in self.failures]
        self._tell_failures(len(clips))
        if not good:
            first = next(iter(self.failures.values()), MISSING)
            raise ReferencesError(f"None of the reference clips can be read; of the first: {first}")

        whole = self._place([sha for _, sha in good], mapped, refit)
        if not self.partly and whole not in loaded[-2:] and self._store(lambda: whole.save(self.target, self.kind)):
            self.parts.clear()
        folder = self.folder.resolve()
        return ReferenceSet(
            kind=self.kind,
            clips=tuple(clip for clip, _ in good),
            vectors=whole.vectors,
            coordinates=whole.coordinates,
            hashes=whole.hashes,
            folder=folder,
            thumbnails=(folder / STORED / THUMBNAILS, self.target.parent.resolve() / THUMBNAILS),
            failures=tuple((clip.file, self.failures[clip.file]) for clip in clips if clip.file in self.failures),
        )

    @property
    def _low(self) -> bool:
        job = jobs.current()
        return job is not None and job.low

    def _held(self) -> Stored | None:
        """The set as it is in memory: all there is of it, where the disk takes nothing."""
        with _guard:
            held = _sets.get(self.target)
        found = self.before or (held[1] if held else None)
        return Stored(found.hashes, found.vectors, found.coordinates) if found else None

    def _hash(self, clips: Sequence[ReferenceClip]) -> list[str]:
        """The SHA-256 of each clip's file; "" where it cannot be read, which is a failure then."""
        hashes = []
        for clip in clips:
            jobs.check()
            self.looks[clip.file] = stamp(self.folder / clip.file)
            try:
                hashes.append(known_hash(self.folder / clip.file))
            except (OSError, ValueError):
                hashes.append("")
                self.failures[clip.file] = MISSING
        return hashes

    def _holds(self, stored: Stored, clips: list[ReferenceClip], hashes: list[str]) -> bool:
        """Whether vectors made elsewhere are what is made here of some of their clips; those are embedded for it."""
        claimed = stored.by_hash()
        new = [row for row, sha in enumerate(hashes) if sha in claimed and sha not in self.vectors]
        count = len(new) if settings.public and len(new) <= PROVEN_WHOLE else min(PROVEN, len(new))
        tried = 0
        for row in random.SystemRandom().sample(new, len(new)):
            tried += self._embed([(clips[row], hashes[row])], row, len(clips))
            if tried == count:
                break
        return tried > 0 and self._agree(claimed)

    def _agree(self, claimed: dict[str, np.ndarray]) -> bool:
        agree = all(alike(claimed[sha], self.vectors[sha]) for sha in claimed.keys() & self.vectors.keys())
        if not agree:
            log.warning("vectors that came with clips are not those of the clips, and are not used")
        return agree

    def _embed(self, batch: list[tuple[ReferenceClip, str]], done: int, total: int) -> int:
        """Put the vectors of clips to the others; what has none becomes a failure. Returns how many have one now."""
        new = [(clip, sha) for clip, sha in batch if sha not in self.vectors and clip.file not in self.failures]
        jobs.check()
        if new:
            waiting = f"{EMBEDDING} ({{}})".format
            told = lambda words: self.progress(done, total, waiting(words.lower()))  # noqa: E731
            with contextlib.ExitStack() as turn:
                if not self._low:  # else the files are read beside others' work, which does not wait for that
                    turn.enter_context(jobs.turn(told))
                read = [(clip, sha, frames) for clip, sha in new if (frames := self._read(clip)) is not None]
                turn.enter_context(jobs.turn(told))
                embeddings = self._encode([(clip, frames) for clip, _, frames in read]) if read else {}
                for clip, sha, frames in read:  # in the same turn: a classifier's vector is another pass
                    if clip.file in embeddings:
                        self._take(clip, sha, frames, embeddings[clip.file])
        return sum(sha in self.vectors for _, sha in batch)

    def _read(self, clip: ReferenceClip) -> Clip | None:
        try:
            return self.embedder.read(self.folder / clip.file)
        except (MediaError, RequestError) as error:
            self.failures[clip.file] = str(error)
        except (BusyError, DiskError, Stopped, MemoryError):  # nothing of the clip's
            raise
        except OSError:
            self.failures[clip.file] = MISSING
        except Exception as error:  # one file, however odd, is not the end of a thousand others
            self._trace(error)
            self.failures[clip.file] = ODD
        return None

    def _encode(self, read: list[tuple[ReferenceClip, Clip]]) -> dict[str, Embedding]:
        """Embeddings by file, of all clips at once where that works."""
        try:
            clips = [frames for _, frames in read]
            found = self.embedder.embed_many(clips) if len(clips) > 1 else [self.embedder.embed(clips[0])]
            return {clip.file: embedding for (clip, _), embedding in zip(read, found, strict=True)}
        except (MediaError, RequestError) as error:
            if len(read) > 1:
                return {file: made for one in read for file, made in self._encode([one]).items()}
            self.failures[read[0][0].file] = str(error)
            return {}

    def _take(self, clip: ReferenceClip, sha: str, frames: Clip, embedding: Embedding) -> None:
        """Keep a clip's vector and its thumbnail."""
        try:
            vector = self.embedder.vector(embedding, self.kind.pooling).array
        except RequestError as error:
            self.failures[clip.file] = str(error)
            return
        if not np.isfinite(vector).all():
            self.failures[clip.file] = NO_NUMBERS
        elif stamp(self.folder / clip.file) != self.looks[clip.file]:
            self.failures[clip.file] = "The file changed while it was read: try again when it is written."
        else:
            self.vectors[sha] = vector
            self._keep_others(sha, embedding)
            thumbnail = self.target.parent / THUMBNAILS / f"{sha}.jpg"
            self._store(lambda: save_thumbnail(frames.frames[len(frames.frames) // 2], thumbnail))
            self._store(lambda: self.parts.add(sha, vector))

    def _keep_others(self, sha: str, embedding: Embedding) -> None:
        for pooling, parts, known in self._others:
            if sha in known:
                continue
            with contextlib.suppress(RequestError, CheckpointError):  # too short for it, or no room for it
                vector = self.embedder.vector(embedding, pooling).array
                if np.isfinite(vector).all():
                    self._store(partial(parts.add, sha, vector))

    @cached_property
    def _others(self) -> list[tuple[Pooling, Parts, set[str]]]:
        """The poolings of `also`, where their vectors go, and the clips that have one already."""
        others = []
        for pooling in self.also:
            if pooling == self.kind.pooling:
                continue
            kind = replace(self.kind, pooling=pooling)
            target = self.target.with_name(f"{kind.key}.safetensors")
            known = {sha for stored in _stored(self.folder, kind, target) for sha in stored.hashes}
            others.append((pooling, Parts(target), known))
        return others

    def _store(self, write: Callable[[], None]) -> bool:
        """Write something; False where the disk does not take it, which ends nothing."""
        try:
            write()
        except OSError as error:
            if self.stored_all:
                log.warning("reference vectors stay in memory, they cannot be stored: %s", error.strerror)
            self.stored_all = False
            return False
        return True

    def _place(self, hashes: list[str], mapped: list[Stored], refit: bool) -> Stored:
        """The vectors with their places: those they have, or a map of all where there is none."""
        stacked = np.stack([self.vectors[sha] for sha in hashes]).astype(np.float32)
        for stored in [] if refit else reversed(mapped):
            if stored.hashes == tuple(hashes) and np.array_equal(stored.vectors, stacked):
                return stored
        self.progress(len(hashes), len(hashes), "Laying out the map")
        old = {sha: row for stored in mapped for sha, row in zip(stored.hashes, stored.coordinates, strict=True)}
        jobs.check()
        # UMAP cannot rest for others, and needs one core: what has low priority lays out beside them. Whoever has the
        # turn must not wait for it.
        told = partial(self.progress, len(hashes), len(hashes))
        with jobs.locked(UMAP_LOCK), nullcontext() if self._low else jobs.turn(told):
            places = lay_out(stacked, [old.get(sha) for sha in hashes], refit=refit)
        return Stored(tuple(hashes), stacked, places)

    def _trace(self, error: Exception) -> None:
        """Log the first unforeseen error of a run and how it came; its text may hold a visitor's name."""
        if not self.traced:
            way = "".join(traceback.format_tb(error.__traceback__))
            words = "" if settings.public else f": {str(error)[:200]!r}"
            log.error("a reference clip ended with %s%s\n%s", type(error).__name__, words, way)
        self.traced = True

    def _tell_failures(self, count: int) -> None:
        """One line for all: a list may be long."""
        if self.failures:
            name, sentence = next(iter(self.failures.items()))
            first = sentence if settings.public else f"{name[:100]!r}: {sentence}"
            log.warning("%d of %d reference clips not embedded; the first: %s", len(self.failures), count, first)


def alike(claimed: np.ndarray, made: np.ndarray) -> bool:
    """Whether a vector from elsewhere is what was made here of the same clip, but for another machine's rounding."""
    if claimed.shape != made.shape:
        return False
    a, b = claimed.astype(np.float64), made.astype(np.float64)
    cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    return bool(cosine >= LEAST_COSINE and np.abs(a - b).max() <= MOST_DIFFERENCE * np.abs(b).max())


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
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(settings.cache_dir) / "references" / name
