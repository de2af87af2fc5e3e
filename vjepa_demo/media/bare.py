"""A PNG or JPEG without what it says beside its pixels: texts, profiles and notes that a reader may fall over."""

from __future__ import annotations

import contextlib
import logging
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

PNG = b"\x89PNG\r\n\x1a\n"
# Chunks beside those that pixels are made of; which way is up, where that is asked for.
OF_PIXELS, OF_DIRECTION = {b"tRNS", b"acTL"}, b"eXIf"
ANIMATED, OF_ANIMATION = b"acTL", {b"fcTL", b"fdAT"}  # the first announces the others
ANCILLARY = 0x20  # of a chunk's first letter: a small one

JPEG = b"\xff\xd8"
APP1, APP14, COMMENT, SCAN = 0xE1, 0xEE, 0xFE, 0xDA
ADOBE_BYTES = 12  # of what tells how the colours are coded; less tells nothing


@contextlib.contextmanager
def bare(path: Path, *, direction: bool) -> Iterator[Path | None]:
    """A copy of a picture that holds its pixels, for as long as the context; None where it is of another format.

    Args:
        path: the picture.
        direction: whether it keeps what it says of which way is up.
    """
    data = path.read_bytes()
    pieces = _png(data, direction) if data.startswith(PNG) else _jpeg(data, direction) if data[:2] == JPEG else None
    if pieces is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
        copy = Path(folder) / "picture"
        copy.write_bytes(b"".join(pieces))
        log.info("read without what it says beside its pixels")
        yield copy


def _png(data: bytes, direction: bool) -> Iterator[bytes]:
    yield PNG
    at, animated = len(PNG), False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + length + 12]
        at += length + 12
        if kind[0] & ANCILLARY:
            wanted = kind in OF_PIXELS or (direction and kind == OF_DIRECTION) or (animated and kind in OF_ANIMATION)
            if not wanted or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                continue
            animated |= kind == ANIMATED
        yield chunk


def _jpeg(data: bytes, direction: bool) -> Iterator[bytes]:
    yield JPEG
    at = len(JPEG)
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):  # between segments, or bytes that fill
            at += 1
            continue
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker == SCAN:
            yield data[at:]
            return
        segment = data[at : at + 2 + length]
        at += 2 + length
        beside = 0xE0 <= marker <= 0xEF or marker == COMMENT
        turned = direction and marker == APP1 and segment[4:10] == b"Exif\0\0"
        coded = marker == APP14 and segment[4:9] == b"Adobe" and len(segment) >= 4 + ADOBE_BYTES
        if not beside or turned or coded:
            yield segment
