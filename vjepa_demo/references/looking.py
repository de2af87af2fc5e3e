"""What a folder of references looks like now: its clips, and the size and time of each file."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa_demo.files import SETTLED_S
from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import CSV_NAME, directories, read_folder

# A look at a folder of a hundred thousand clips takes a second, and every upload asks for one. What was seen is good
# for so many times as long as it took, so that looking takes at most a fiftieth of the time; and not at all, where it
# took less than a wink, or a directory or the list has changed since.
GOOD_FOR, A_WINK, AT_MOST = 50, 0.02, 60.0  # times, seconds, seconds
MOST_FOLDERS = 64

Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds; -1, -1 where there is no file


@dataclass(frozen=True)
class Look:
    """Two are equal where the same clips are listed, and none of their files has been written since."""

    clips: tuple[ReferenceClip, ...]
    stamps: tuple[Stamp, ...]


@dataclass(frozen=True)
class _Kept:
    look: Look
    until: float
    places: tuple[Path, ...]  # whose stamps tell that something was added, renamed or removed
    stamps: tuple[Stamp, ...]


_kept: OrderedDict[Path, _Kept] = OrderedDict()
_guard = threading.Lock()


def look(folder: Path, clips: Sequence[ReferenceClip] | None = None) -> Look:
    """How a folder looks, with its own clips or these.

    Raises:
        ReferencesError: it holds no clip, or its list is faulty.
    """
    if clips is not None:
        return _looked(folder, clips)
    with _guard:
        kept = _kept.get(folder)
    if kept and time.monotonic() < kept.until and kept.stamps == tuple(map(stamp, kept.places)):
        return kept.look
    began, moment = time.monotonic(), time.time_ns()
    found = _looked(folder, read_folder(folder))
    took = time.monotonic() - began
    if took >= A_WINK:
        listed = folder / CSV_NAME
        # Where there is a list, nothing else says which clips there are.
        places = (listed,) if listed.is_file() else (listed, *directories(folder))
        stamps = tuple(map(stamp, places))
        if any(written >= moment - SETTLED_S * 1e9 for _, written in (*stamps, *found.stamps)):
            return found  # a clock may be coarse, and what was just written may not be all of it
        with _guard:
            _kept[folder] = _Kept(found, began + min(GOOD_FOR * took, AT_MOST), places, stamps)
            _kept.move_to_end(folder)
            while len(_kept) > MOST_FOLDERS:
                _kept.popitem(last=False)
    return found


def stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _looked(folder: Path, clips: Sequence[ReferenceClip]) -> Look:
    return Look(tuple(clips), tuple(stamp(folder / clip.file) for clip in clips))
