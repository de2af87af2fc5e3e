"""Whose references are used: the visitor's own copy of the set, or the folder that the app was started with.

On a public Space, and wherever no folder was named, what a visitor adds goes to a temporary folder under an id of 128
random bits that only their page knows, and is deleted when it is dropped. Run with a folder of references of one's own,
the app adds to that folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from vjepa_demo.pipeline import Request
from vjepa_demo.reference_edit import copy_set
from vjepa_demo.settings import MIB, settings
from vjepa_demo.store import Store

# Disk that a visitor's clips may take, and that of all of them; the longest unused go first.
SESSION_BYTES = 256 * MIB
ALL_BYTES = 8 * 1024 * MIB


class Session:
    """A visitor's own copy of the references; its folder is deleted with it."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="vjepa-demo-own-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        copy_set(Request().reference_folder, self.folder)


sessions: Store[Session] = Store(ALL_BYTES)


def are_kept() -> bool:
    """Whether added clips stay in the folder of references: run locally, with a folder of one's own."""
    return bool(settings.references) and not settings.public


def folder_of(own_id: str | None) -> str | None:
    """The visitor's folder of references for `pipeline.Request`, or None for that of all."""
    session = None if are_kept() else sessions.get(own_id)
    return str(session.folder) if session else None


def open_folder(own_id: str | None) -> tuple[str | None, Path]:
    """(id, folder) to add to; a session is begun where there is none yet.

    Raises:
        ReferencesError: there are no references to begin with.
    """
    if are_kept():
        return None, Request().reference_folder
    session = sessions.get(own_id)
    if session is None:
        session = Session()
        own_id = sessions.put(session, SESSION_BYTES)
    return own_id, session.folder
