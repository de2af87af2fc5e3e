"""How large an image file's canvas is and how long its frames are shown, read from the headers: nothing is decoded.

Pillow knows a frame's duration once it has decoded all frames before it, and opens a WebP by making room for its
canvas: a file of a few kilobytes can ask for hours and gigabytes, which must be known before.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

GIF_MARKS = re.compile(rb"[,!;]")  # a frame, an extension, the end; what lies between is skipped, as Pillow does


@dataclass(frozen=True)
class Header:
    """What the headers say.

    Attributes:
        width, height: of the canvas, in pixels; 0 where the file ends before it says.
        durations: milliseconds that each frame asks for, in order; one entry, or none, for a still image.
    """

    width: int
    height: int
    durations: tuple[float, ...] = ()


def read_header(path: Path) -> Header | None:
    """The header of a GIF, PNG or WebP; None for other files. What is cut off or damaged is left out."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            if data[:4] == b"GIF8":
                return _gif(data)
            if data[:8] == b"\x89PNG\r\n\x1a\n":
                return _png(data)
            if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
                return _webp(data)
        except (IndexError, struct.error):
            return Header(0, 0)
        return None


def _gif(data: mmap.mmap) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, delay, durations = 13 + _colours(flags), 0, []
    try:
        while (found := GIF_MARKS.search(data, at)) and found[0] != b";":
            at = found.end()
            if found[0] == b"!":
                if data[at] == 0xF9 and data[at + 1]:
                    (delay,) = struct.unpack_from("<H", data, at + 3)
                at = _skip_blocks(data, at + 1)
            else:
                x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at)
                width, height = max(width, x + w), max(height, y + h)  # Pillow widens the canvas so
                at += 9 + _colours(flags) + 1
                data[at - 1]  # a frame counts from its first code on
                durations.append(10.0 * delay)
                delay = 0
                at = _skip_blocks(data, at)
    except (IndexError, struct.error):
        pass
    return Header(width, height, tuple(durations))


def _colours(flags: int) -> int:
    """Bytes of the table of colours that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(data: mmap.mmap, at: int) -> int:
    while size := data[at]:
        at += size + 1
    return at + 1


def _png(data: mmap.mmap) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    at, announced, shown_first, durations = 8, 0, False, []
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND" or (kind == b"IDAT" and not announced) or not kind.isalpha():
            break
        if kind == b"acTL" and not announced:
            announced, _ = struct.unpack_from(">II", data, at + 8)
        elif kind == b"fcTL" and at + 34 <= len(data):
            number, parts = struct.unpack_from(">HH", data, at + 28)
            durations.append(number / (parts or 100) * 1000)
        elif kind == b"IDAT" and not durations:  # a picture for programs that show no animations; Pillow's first frame
            shown_first = True
            durations.append(0.0)
        at += length + 12
    return Header(width, height, tuple(durations[: announced + shown_first]))


def _webp(data: mmap.mmap) -> Header:
    width = height = 0
    at, durations = 12, []
    end = min(len(data), struct.unpack_from("<I", data, 4)[0] + 8)
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 24]
        if kind == b"VP8X":
            width, height = _three(body, 4) + 1, _three(body, 7) + 1
        elif kind == b"ANMF":
            durations.append(float(_three(body, 12)))
        elif kind == b"VP8 " and not width:
            width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", body, 6))
        elif kind == b"VP8L" and not width:
            (bits,) = struct.unpack_from("<I", body, 1)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        at += 8 + length + length % 2
    return Header(width, height, tuple(durations))


def _three(body: bytes, at: int) -> int:
    """A little-endian number of three bytes."""
    return body[at] | body[at + 1] << 8 | body[at + 2] << 16
