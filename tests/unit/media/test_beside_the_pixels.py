"""What a picture's file says beside its pixels, however odd, keeps nobody from reading these."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vjepa_demo.errors import MediaError
from vjepa_demo.media.reader import read_clip

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'


def ifd(*entries: tuple[int, int, int, int | bytes]) -> bytes:
    """EXIF of (tag, type, count, value) entries; a value of bytes stands behind them."""
    behind = 8 + 2 + 12 * len(entries) + 4
    head, data = b"II*\0" + struct.pack("<IH", 8, len(entries)), b""
    for tag, kind, count, value in entries:
        head += struct.pack("<HHII", tag, kind, count, behind + len(data) if isinstance(value, bytes) else value)
        data += value if isinstance(value, bytes) else b""
    return head + bytes(4) + data


TURNED = ifd((0x0112, 3, 1, 6))  # by 90 degrees
EXIFS = {  # each turned, and with something that cannot be read or written back
    "-1/0": ifd((0x0112, 3, 1, 6), (0x011A, 10, 1, struct.pack("<ii", -1, 0))),
    "width as text": ifd((0x0112, 3, 1, 6), (0x0100, 2, 5, b"abcd\0")),
    "no end": ifd((0x0112, 3, 1, 6))[:-4],
    "beyond its end": ifd((0x0112, 3, 1, 6), (0x010F, 2, 60_000, 50_000)),
    "a type that is none": ifd((0x0112, 3, 1, 6), (0x9000, 99, 7, 12)),
    "an interval that is itself": ifd((0x0112, 3, 1, 6), (0x8769, 4, 1, 8)),
}


def upright(path: Path) -> np.ndarray:
    return read_clip(path).frames[0].transpose(1, 2, 0)


# --- PNG -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    checked = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checked)


def png(path: Path, *chunks: bytes, behind: bool = False) -> Path:
    """The picture with chunks before its pixels, or behind them."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    data = buffer.getvalue()
    at = len(data) - 12 if behind else 33
    path.write_bytes(data[:at] + b"".join(chunks) + data[at:])
    return path


LONG = zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), 9)  # a workflow, a history: 1 MB and more
CHUNKS = {
    "compressed text": chunk(b"zTXt", b"workflow\0\0" + LONG),
    "international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    "profile": chunk(b"iCCP", b"printer\0\0" + LONG),
    "profile in another compression": chunk(b"iCCP", b"printer\0\7" + b"profile"),
    "text whose checksum is wrong": chunk(b"tEXt", b"Comment\0a note", crc=1),
    "eXIf whose checksum is wrong": chunk(b"eXIf", ifd((0x0112, 3, 1, 1)), crc=1),
    "sRGB that is empty": chunk(b"sRGB", b""),
    "pHYs that is short": chunk(b"pHYs", b"\0\0\1"),
    "gAMA that is empty": chunk(b"gAMA", b""),
    "cHRM that is short": chunk(b"cHRM", b"\0"),
    "times that are not those of an animation": chunk(b"fcTL", bytes(26)),
    "many texts": b"".join(chunk(b"tEXt", b"note\0" + bytes([number % 26 + 65]) * 2**20) for number in range(66)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_of_a_png(tmp_path: Path, name: str, behind: bool) -> None:
    np.testing.assert_array_equal(upright(png(tmp_path / "a.png", CHUNKS[name], behind=behind)), PIXELS)


@pytest.mark.parametrize("name", CHUNKS)
def test_a_turned_png_is_turned_whatever_else_it_says(tmp_path: Path, name: str) -> None:
    path = png(tmp_path / "a.png", chunk(b"eXIf", TURNED), CHUNKS[name])
    np.testing.assert_array_equal(upright(path), np.rot90(PIXELS, -1))


def test_transparency_of_a_palette_stays(tmp_path: Path) -> None:
    """As many screenshots are: a palette of which one colour is no colour, and a text beside it."""
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(1, (8, 0, 16, 16))
    picture.save(tmp_path / "plain.png", transparency=0)
    data = (tmp_path / "plain.png").read_bytes()
    (tmp_path / "noted.png").write_bytes(data[:33] + CHUNKS["compressed text"] + data[33:])
    first, second = upright(tmp_path / "plain.png"), upright(tmp_path / "noted.png")
    np.testing.assert_array_equal(first, second)
    assert first[0, 0].tolist() == [128, 128, 128]
    assert first[0, 15].tolist() == [0, 255, 0]


def test_an_animation_keeps_its_frames_and_times(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (60 * number, 0, 0)) for number in range(4)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=[100, 300, 100, 500])
    plain = read_clip(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:33] + CHUNKS["text whose checksum is wrong"] + data[33:])
    noted = read_clip(tmp_path / "b.png")
    np.testing.assert_array_equal(noted.frames, plain.frames)
    np.testing.assert_array_equal(noted.timestamps, plain.timestamps)
    assert noted.source.frame_count == 4


def test_pixels_that_are_damaged_are_told_as_ever(tmp_path: Path) -> None:
    data = png(tmp_path / "a.png", CHUNKS["compressed text"]).read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-200])
    with pytest.raises(MediaError, match="damaged or cut short"):
        read_clip(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes(jpeg(tmp_path / "a.jpg", segment(0xE0, b"JFIF\0")).read_bytes()[:700])
    with pytest.raises(MediaError, match="damaged or cut short"):
        read_clip(tmp_path / "a.jpg")


# --- JPEG ------------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(path: Path, *segments: bytes, jfif: bool = False) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", quality=100, subsampling=0)
    data = buffer.getvalue()
    begin = data if jfif else data[:2] + data[20:]  # the JFIF segment has 18 bytes
    path.write_bytes(begin[:2] + b"".join(segments) + begin[2:])
    return path


SEGMENTS = {
    "JFIF that is short": segment(0xE0, b"JFIF\0"),
    "Adobe's that is short": segment(0xEE, b"Adobe"),
    "profile that is short": segment(0xE2, b"ICC_PROFILE\0"),
    "profile without its first part": segment(0xE2, b"ICC_PROFILE\0\2\2" + bytes(50)),
    "profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1" + b"no profile at all"),
    "Photoshop's that breaks off": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
    "several pictures of which none is told": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "several pictures that are nowhere": segment(0xE2, b"MPF\0MM\0*\xff\xff\xff\xff"),
    "a comment": segment(0xFE, b"\xff\xfe a note \0"),
    "EXIF that is nothing": segment(0xE1, b"Exif\0\0"),
    "EXIF of noise": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + bytes(range(200))),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_a_jpeg(tmp_path: Path, name: str) -> None:
    expected = upright(jpeg(tmp_path / "plain.jpg"))
    np.testing.assert_array_equal(upright(jpeg(tmp_path / "a.jpg", SEGMENTS[name])), expected)
    turned = jpeg(tmp_path / "b.jpg", segment(0xE1, b"Exif\0\0" + TURNED), SEGMENTS[name])
    if not name.startswith("EXIF"):
        np.testing.assert_array_equal(upright(turned), np.rot90(expected, -1))


@pytest.mark.parametrize("name", EXIFS)
def test_turned_by_what_else_cannot_be_read(tmp_path: Path, name: str) -> None:
    expected = np.rot90(upright(jpeg(tmp_path / "plain.jpg")), -1)
    path = jpeg(tmp_path / "a.jpg", segment(0xE1, b"Exif\0\0" + EXIFS[name]))
    np.testing.assert_array_equal(upright(path), expected)
    np.testing.assert_array_equal(upright(png(tmp_path / "a.png", chunk(b"eXIf", EXIFS[name]))), np.rot90(PIXELS, -1))


def test_turned_by_its_xmp_alone(tmp_path: Path) -> None:
    expected = np.rot90(upright(jpeg(tmp_path / "plain.jpg")), -1)
    path = jpeg(tmp_path / "a.jpg", segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.encode()))
    np.testing.assert_array_equal(upright(path), expected)


def test_of_several_pictures_in_one_the_first_is_taken(tmp_path: Path) -> None:
    """As phones keep a map of light, or the other eye, behind a photo."""
    first, second = Image.fromarray(PIXELS), Image.new("RGB", (16, 16), (9, 9, 9))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=100, subsampling=0)
    clip = read_clip(tmp_path / "a.jpg")
    assert clip.is_image
    assert clip.frames.shape == (1, 3, *PIXELS.shape[:2])
    assert np.abs(clip.frames[0].transpose(1, 2, 0).astype(int) - PIXELS).mean() < 2


def test_notes_of_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    expected = upright(jpeg(tmp_path / "plain.jpg"))
    heads = [b"JFIF\0", b"Exif\0\0II*\0", b"ICC_PROFILE\0\1\1", b"Photoshop 3.0\0", b"Adobe", b"MPF\0II*\0", b"FPXR\0"]
    markers = [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xE2, 0xE2]
    for number in range(70):
        head, marker = heads[number % 7], markers[number % 7]
        noise = rng.integers(0, 256, int(rng.integers(0, 40)), np.uint8).tobytes()
        shown = upright(jpeg(tmp_path / "a.jpg", segment(marker, head + noise)))
        assert sorted(shown.shape) == sorted(expected.shape)
        if marker == 0xE2:
            np.testing.assert_array_equal(shown, expected)
