"""Whose references are used: the visitor's own copy of the set, or the folder that the app was started with.

On a public Space, and wherever no folder was named, what a visitor adds goes to a temporary folder under an id of 128
random bits that only their page knows. It begins with the first change that succeeds, counts with all bytes that it
takes on disk, and goes when it has not been used for some hours, or when others need the room. Run with a folder of
references of one's own, the app adds to that folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gradio.utils import LRUCache

from vjepa_demo import jobs, scratch
from vjepa_demo.errors import DiskError, ReferencesError
from vjepa_demo.jobs import Visitor
from vjepa_demo.references import current
from vjepa_demo.references.change import REMOVED, copy_set
from vjepa_demo.references.preparing import SHIPPED, cache_of
from vjepa_demo.settings import MIB, Settings, settings

IDLE_S = 600.0  # a session that was used since then does not have to make room for others
UNFINISHED = shutil.ignore_patterns(".*", "*.lock", "*.parts")  # what somebody is writing at the moment
LEAST_BYTES = MIB  # a session counts as at least so much: a file of a few bytes costs memory, too
REMEMBERED = 4096  # sessions whose owners have not been told yet that they are gone


@dataclass
class Session:
    """A visitor's own copy of the references, and who uses it at present.

    `bytes` are those of the set on disk, `removed` those of what the last removal took out of it, `coming` those that a
    change under way will take at most.
    """

    id: str
    folder: Path
    owner: Visitor
    used: float = 0.0
    users: int = 0
    bytes: int = 0
    removed: int = 0
    coming: int = 0
    saved: Path | None = None
    over: bool = False
    changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """Bytes on disk, also those that are coming: its own files, and the set as one file while that is there."""
        there = self.bytes + self.removed + self.coming
        with contextlib.suppress(OSError):
            return there + (self.saved.stat().st_size if self.saved else 0)
        return there


@dataclass
class Change:
    """A set that is being changed: its folder, the id of its session, and what its owner has to be told."""

    folder: Path
    id: str | None = None
    told: str = ""


class Sessions:
    """The sessions of all visitors, within the limits of the disk."""

    def __init__(self, limits: Settings = settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._all: dict[str, Session] = {}
        self._beginning: dict[str, Session] = {}  # those of a first change under way
        self._lock = threading.RLock()
        self._parted: LRUCache[str, list[str]] = LRUCache(REMEMBERED)

    def __len__(self) -> int:
        return len(self._all)

    def _of(self, own_id: str | None) -> Session | None:
        """The session of this id; that of the same page, where Gradio has dropped what it kept for it, the id too."""
        who = jobs_visitor()
        if own_id is None and who.session:
            return next((session for session in self._all.values() if session.owner == who), None)
        return self._all.get(own_id or "")

    def folder_of(self, own_id: str | None) -> Path | None:
        """The folder of a session, or None where there is none any more."""
        with self.held(own_id) as folder:
            return folder

    @contextlib.contextmanager
    def held(self, own_id: str | None) -> Iterator[Path | None]:
        """The folder of a session, which stays as long as the context, or None."""
        with self._lock:
            session = self._of(own_id)
            if session:
                session.users += 1
        if session is None:
            yield None
            return
        try:
            yield session.folder
        finally:
            self._release(session)

    @contextlib.contextmanager
    def change(self, own_id: str | None, needed: int = 0, *, may_begin: bool = True) -> Iterator[Change]:
        """Change a session's set: as a whole, or not at all.

        It begins with this change where there is none yet. When the context ends in an error, or what it leaves takes
        more than is allowed, the set is as it was before; a session that had just begun is gone.

        Args:
            own_id: the session's id, or None.
            needed: bytes that the change will need, as far as is known.
            may_begin: whether a session that is gone may be begun anew; else its owner is told that it is gone.

        Raises:
            ReferencesError: it takes too much; or the session is gone.
            DiskError: the disk is nearly full.
        """
        told = self.parting(own_id)
        if told and not may_begin:
            raise ReferencesError(told)
        with self._lock:
            session = self._of(own_id)
            if session:
                session.users += 1
        if session is None:
            session = Session(secrets.token_urlsafe(16), _new_folder(), jobs_visitor(), users=1)
        try:
            with jobs.locked(session.changing), self._coming(session, needed), self._undone_if_it_fails(session):
                yield Change(session.folder, session.id, told)
        except BaseException:
            self._remember(told, own_id, jobs_visitor().session)  # what went wrong is said instead
            raise
        finally:
            self._release(session)

    @contextlib.contextmanager
    def _coming(self, session: Session, needed: int) -> Iterator[None]:
        """Within this context others have to leave the room that this session will need."""
        with self._lock:
            self._check(session, session.bytes + needed)
            session.coming = needed
            if session.id not in self._all:
                self._beginning[session.id] = session
        try:
            yield
        finally:
            with self._lock:
                session.coming = 0
                self._beginning.pop(session.id, None)

    @contextlib.contextmanager
    def _undone_if_it_fails(self, session: Session) -> Iterator[None]:
        # The copy is made before anything can go wrong with the set. Going back is going over to the copy: into the
        # folder itself others may still be writing, who embed clips for a map.
        before = None
        if session.id in self._all:
            before = _new_folder()
            try:
                shutil.copytree(session.folder, before, copy_function=_link, ignore=_unfinished)
            except BaseException:
                shutil.rmtree(before, ignore_errors=True)
                raise
        try:
            if before is None:
                copy_set(current.folder(), session.folder)
            yield
            # What was removed leaves room for others at once, and goes with the next change.
            removed = scratch.size_of(session.folder / REMOVED, _shipped())
            size = max(LEAST_BYTES, scratch.size_of(session.folder, _shipped()) - removed)
            with self._lock:
                self._check(session, size)
                session.bytes, session.removed, session.coming = size, removed, 0
                self._all[session.id] = session
                self._beginning.pop(session.id, None)
        except BaseException:
            changed = session.folder
            if before is not None:
                session.folder = before
            shutil.rmtree(changed, ignore_errors=True)
            raise
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def _check(self, session: Session, size: int) -> None:
        """Make room for a session of this size, from those that are idle."""
        limits, owner = self.limits, session.owner.address
        if limits.public and size > limits.own_bytes:
            raise ReferencesError(
                f"Your references may take {limits.own_bytes / MIB:,.0f} MB here, and these would be "
                f"{size / MIB:,.0f} MB: remove some, or add fewer."
            )
        with self._lock:
            everybody = [*self._all.values(), *self._beginning.values()]
            saved = session.size - session.bytes - session.coming
            mine = [other for other in everybody if other is not session and other.owner.address == owner]
            if limits.public and not self._room(mine, limits.own_bytes_each - size - saved):
                raise ReferencesError("The references added from your network take all the room they may: remove some.")
            if not self._room(everybody, limits.own_bytes_all - size - saved, but=session):
                raise ReferencesError("There is no room for more references at the moment: try again in an hour.")
            grows = max(0, size - session.bytes)
            while True:
                try:
                    return scratch.check_room(grows)
                except DiskError:
                    if not self._drop_idle([*self._all.values()], but=session):
                        raise

    def _room(self, among: list[Session], most: int, but: Session | None = None) -> bool:
        """Whether these sessions take at most so many bytes, when the longest unused of them have gone."""
        while sum(other.size for other in among if other is not but and not other.over) > most:
            if not self._drop_idle(among, but):
                return False
        return True

    def _drop_idle(self, among: list[Session], but: Session | None = None) -> bool:
        """Drop the longest unused of these that nobody uses. Returns whether there was one."""
        idle = [
            other
            for other in among
            if other is not but and not other.over and not other.users and self._clock() - other.used > IDLE_S
        ]
        if not idle:
            return False
        self._drop(min(idle, key=lambda other: other.used), "to make room for others")
        return True

    def drop_old(self) -> None:
        """Drop what has not been used for `keep_hours`, also folders that are nobody's: what was still being written
        into a session when it went makes its folder anew."""
        hours = self.limits.keep_hours
        with self._lock:
            for session in list(self._all.values()):
                if not session.users and self._clock() - session.used > hours * 3600:
                    self._drop(session, f"after {hours:g} hour{'s' * (hours != 1)} without use")
            known = {session.folder for session in self._all.values()}
        for folder in set(scratch.folder("own").iterdir()) - known:
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > max(hours * 3600, settings.build_seconds):
                    shutil.rmtree(folder, ignore_errors=True)

    def end(self, own_id: str | None) -> None:
        """Drop a session, at once or when it is no longer used. Gradio asks for it, some time after its page was
        closed."""
        with self._lock:
            session = self._all.get(own_id or "")
            if session and session.users:
                session.over = True
            elif session:
                self._drop(session, "when the page was closed")

    def parting(self, own_id: str | None) -> str:
        """What has become of a session that is gone, for its owner, who is told once; "" where nothing has."""
        with self._lock:
            for key in (jobs_visitor().session, own_id or ""):
                if key and (words := self._parted.pop(key, [])):
                    return words.pop()
        return ""

    def saved(self, own_id: str | None, path: Path) -> None:
        """The set as one file, which counts with it; the one before it goes.

        Raises:
            ReferencesError: it takes too much; it is gone then.
        """
        with self._lock:
            session = self._all.get(own_id or "")
            if session is None:
                return
            before, session.saved = session.saved, path
            try:
                if before:
                    shutil.rmtree(before.parent, ignore_errors=True)
                self._check(session, session.bytes)
            except BaseException:
                session.saved = None
                shutil.rmtree(path.parent, ignore_errors=True)
                raise

    def _release(self, session: Session) -> None:
        with self._lock:
            session.users -= 1
            session.used = self._clock()
            if session.over and not session.users and session.id in self._all:
                self._drop(session, "when the page was closed")

    def _drop(self, session: Session, why: str) -> None:
        session.over = True
        del self._all[session.id]
        shutil.rmtree(session.folder, ignore_errors=True)
        if session.saved:
            shutil.rmtree(session.saved.parent, ignore_errors=True)
        words = f"Your own references were removed here {why}: add them again, or bring the saved set back."
        self._remember(words, session.id, session.owner.session)

    def _remember(self, words: str, *keys: str | None) -> None:
        told = [words]  # one list for all keys: who is told by one is not told again by another
        for key in filter(None, keys):
            if words:
                self._parted[key] = told


own = Sessions()
_kept_changing = threading.Lock()


def are_kept() -> bool:
    """Whether added clips stay in the folder of references: run locally, with a folder of one's own."""
    return settings.own_folder and not settings.public


def folder_of(own_id: str | None) -> Path:
    """The folder of references that a visitor sees: their own, or that of all."""
    return (None if are_kept() else own.folder_of(own_id)) or current.folder()


@contextlib.contextmanager
def held(own_id: str | None) -> Iterator[Path | None]:
    """The folder of a visitor's own references, which stays as long as the context; None where they see that of all."""
    with contextlib.nullcontext() if are_kept() else own.held(own_id) as folder:
        yield folder


@contextlib.contextmanager
def change(own_id: str | None, needed: int = 0, *, may_begin: bool = True) -> Iterator[Change]:
    """The folder to change, see `Sessions.change`; one that is kept is changed as it is."""
    if not are_kept():
        with own.change(own_id, needed, may_begin=may_begin) as changed:
            yield changed
        return
    with jobs.locked(_kept_changing):
        yield Change(current.folder())


def jobs_visitor() -> Visitor:
    """Who waits for the work that is being done."""
    job = jobs.current()
    return job.visitor if job else Visitor()


def _new_folder() -> Path:
    return scratch.folder("own") / secrets.token_hex(16)


def _shipped() -> frozenset[tuple[int, int]]:
    """The files that a session has only links to."""
    folders = {current.folder(), SHIPPED}  # a session may have begun before others took the place of the shipped ones
    return scratch.inodes_of(*folders, *map(cache_of, folders))


def _unfinished(folder: str, names: list[str]) -> set[str]:
    return UNFINISHED(folder, names) - {REMOVED}


def _link(source: str, target: str) -> None:
    """Files of a set are replaced, never written into: a link keeps them as they are."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
