"""What can go wrong for a user, in one sentence they can act on.

The message of a `UserError` is shown as it is, on the page and in the shell: it says what is wrong and what to do,
and holds no file name, since a name is the user's text and would have to be escaped wherever it is shown.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

FULL_MEMORY = re.compile("out of memory|allocate memory")
NO_TEMPORARY = "No usable temporary directory"  # Python's `tempfile`, where nothing can be written
SHOWN_CHARACTERS = 60  # of a text that somebody else wrote


class UserError(Exception):
    """Something the user can put right; its message is a sentence for them."""


class MediaError(UserError):
    """The file cannot be read as a video or an image within the limits."""


class RequestError(UserError):
    """An option is outside what is possible: an odd number of frames, a patch outside the grid, an empty span."""


class CheckpointError(UserError):
    """The checkpoint is unknown, cannot be reached, or does not fit the input."""


class GpuError(CheckpointError):
    """The graphics card fails, after which a process can often use it no more."""

    def __init__(
        self,
        message: str = "The graphics card fails: try again; if that does not help, the app has to be started again.",
    ) -> None:
        super().__init__(message)


class SettingsError(UserError):
    """A variable of the environment is set to what it cannot hold."""


class ReferencesError(UserError):
    """A set of reference clips is missing, damaged or empty."""


class PortError(UserError):
    """The app cannot listen where it was told to."""


class ScenesError(UserError):
    """The scenes of a talk are not written as they have to be."""


class FingerprintMismatch(UserError):
    """Two vectors were made in different ways and must not be compared."""


class DiskError(UserError):
    """Something cannot be written: the disk is full, or may not be written to."""

    @classmethod
    def of(cls, error: BaseException) -> DiskError:
        """The sentence for a failure to write, or for anything that came of one."""
        if any(_disk_number(cause) == errno.ENOENT for cause in causes(error)):
            return cls("There is no folder for temporary files that can be written to: let TMPDIR name one.")
        if any(_disk_number(cause) == errno.EROFS for cause in causes(error)):
            return cls("The disk here can only be read: its owner has to make it writable, or to name another folder.")
        if is_full(error):
            return cls("The disk here is full: try again later, or ask its owner to make room.")
        return cls("A folder here cannot be written to: its owner has to allow it, or to name another one.")


class BusyError(UserError):
    """Something cannot be done at the moment, whatever is asked; the same may work in a minute."""


class Stopped(UserError):
    """Work ended before it was done: cancelled, abandoned, or out of time."""


def is_full(error: BaseException) -> bool:
    """Whether the disk, or what its owner may use of it, is full."""
    return any(_disk_number(cause) in {errno.ENOSPC, errno.EDQUOT} for cause in causes(error))


def out_of_memory(error: BaseException) -> bool:
    """Whether memory is full: torch tells of a GPU's by an error of its own, of a CPU's by a RuntimeError."""
    return isinstance(error, MemoryError) or bool(FULL_MEMORY.search(str(error)))


def of_disk(error: BaseException) -> bool:
    """Whether something failed because a disk is full or may only be read, in whatever library it came up."""
    return any(_disk_number(cause) is not None for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came of, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _disk_number(error: BaseException) -> int | None:
    """ENOSPC, EDQUOT or EROFS where this error is about a disk, ENOENT where there is none to write to, else None."""
    numbers = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
    if isinstance(error, OSError) and error.errno in numbers:
        return error.errno
    if isinstance(error, FileNotFoundError) and NO_TEMPORARY in str(error):
        return errno.ENOENT
    # safetensors raises an error of its own with the system's number in its text; numpy says what it could not write.
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return int(found[1]) if int(found[1]) in numbers else None
    return errno.ENOSPC if re.search(r"\d+ requested and \d+ written", str(error)) else None


def cut(text: object, most: int = SHOWN_CHARACTERS) -> str:
    """Somebody else's text in one short line, in quotes: what does not print is escaped, what is too long is cut.

    A number is cut too, and stands without quotes.
    """
    short = str(text)
    short = short if len(short) <= most else short[: most - 1] + "…"
    return repr(short) if isinstance(text, (str, Path)) else short


def duration(seconds: float) -> str:
    """For a person: "40 s", "9 min" or "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
