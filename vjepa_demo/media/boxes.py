"""What an MP4 or MOV says of its tracks that torchcodec does not apply or tell: mirrors, edits, codecs, Dolby Vision.

A movie is boxes within boxes: a length, four letters, and what is inside (ISO/IEC 14496-12; Apple's QuickTime File
Format).
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 * 2**20  # of what tells about all frames of a film of hours
MOST_BOXES = 10_000
DOLBY = re.compile(b"dv[cvw]C..(.)", re.DOTALL)  # after two bytes of its version, seven bits are the profile
ENCRYPTED = {"encv", "drmi"}  # common encryption, and Apple's own


@dataclass(frozen=True)
class Track:
    """A track of pictures.

    Attributes:
        stream: its number among all tracks, as FFmpeg counts its streams.
        mirrored: whether its matrix, by which it is shown, mirrors the pictures.
        cuts: how many of its pieces are shown one after the other.
        tag: four letters that tell its codec.
        dolby: the profile of Dolby Vision; 0 where it is none.
    """

    stream: int
    mirrored: bool
    cuts: int
    tag: str
    dolby: int

    @property
    def encrypted(self) -> bool:
        return self.tag in ENCRYPTED


def picture_tracks(path: Path) -> list[Track]:
    """The tracks of pictures of a movie; none where the file is something else, or not written as one."""
    with contextlib.suppress(OSError, ValueError, struct.error, IndexError), path.open("rb") as file:
        movie = _movie(file)
        mirror = _mirror(next(_boxes(movie, b"mvhd"), b""), 20)
        tracks = [_track(number, box, mirror) for number, box in enumerate(_boxes(movie, b"trak"))]
        return [track for track in tracks if track]
    return []


def _movie(file: BinaryIO) -> bytes:
    """What is inside the movie's box."""
    for _ in range(MOST_BOXES):
        head = file.read(16)
        if len(head) < 8:
            break
        length, inside = _sizes(head)
        file.seek(inside - len(head), 1)
        if head[4:8] == b"moov":
            return file.read(min(length - inside, MOST_BYTES)) if length else file.read(MOST_BYTES)
        if length < inside:
            break
        file.seek(length - inside, 1)
    return b""


def _sizes(head: bytes) -> tuple[int, int]:
    """How long a box is, 0 where it goes to the end, and where in it begins what is inside, by its first 16 bytes."""
    length = int.from_bytes(head[:4], "big")
    return (int.from_bytes(head[8:16], "big"), 16) if length == 1 else (length, 8)


def _boxes(data: bytes, *path: bytes) -> Iterator[bytes]:
    """What is inside the boxes that lie within one another in this order."""
    at = 0
    while at + 8 <= len(data):
        length, inside = _sizes(data[at : at + 16])
        length = length or len(data) - at
        if length < inside:
            return
        if data[at + 4 : at + 8] == path[0]:
            own = data[at + inside : at + length]
            if len(path) == 1:
                yield own
            else:
                yield from _boxes(own, *path[1:])
        at += length


def _track(number: int, box: bytes, mirror: bool) -> Track | None:
    if not any(handler[8:12] == b"vide" for handler in _boxes(box, b"mdia", b"hdlr")):
        return None
    head = next(_boxes(box, b"tkhd"), b"")
    shown = [edit for edits in _boxes(box, b"edts", b"elst") for edit in _edits(edits)]
    formats = next(_boxes(box, b"mdia", b"minf", b"stbl", b"stsd"), b"")
    tag = formats[12:16].decode("latin-1")
    return Track(number, _mirror(head, 24) != mirror, sum(shown), tag, _dolby_profile(formats))


def _dolby_profile(formats: bytes) -> int:
    """Of a track's sample entries (Dolby Vision Streams Within the ISO Base Media File Format, 2.2)."""
    found = DOLBY.search(formats)
    return found[1][0] >> 1 if found else 0


def _mirror(head: bytes, before: int) -> bool:
    """Whether the matrix in the head of a movie or a track mirrors.

    Args:
        head: what is inside its box.
        before: how many bytes stand between its times, of 32 or 64 bits, and the matrix, the version left out.
    """
    if not head:
        return False
    times = 12 if head[0] == 0 else 24
    across, down, _, right, up = struct.unpack_from(">5i", head, 4 + times + before)
    return across * up - down * right < 0


def _edits(data: bytes) -> Iterator[bool]:
    """For each piece of a list of edits whether it shows something, and not an empty time."""
    wide = data[0] == 1
    for number in range(int.from_bytes(data[4:8], "big")):
        (begin,) = struct.unpack_from(
            ">q" if wide else ">i", data, 8 + number * (20 if wide else 12) + (8 if wide else 4)
        )
        yield begin != -1
