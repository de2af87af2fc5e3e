"""Sizes and times from the headers, against Pillow, which decodes every frame to know them."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vjepa_demo.errors import MediaError
from vjepa_demo.media import animations, reader
from vjepa_demo.media.animations import read_header
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.settings import settings

KINDS = ("gif", "png", "webp")


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """All different, since Pillow joins equal ones."""
    noise = np.random.default_rng(seed).integers(0, 255, (count, 12, 20, 3), dtype=np.uint8)
    return [Image.fromarray(frame) for frame in noise]


def save(path: Path, frames: list[Image.Image], durations: list[int], **options: object) -> Path:
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return path


def by_pillow(path: Path) -> tuple[tuple[int, int], list[float]]:
    """The slow way: the size, and each frame's duration once it is decoded."""
    durations = []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(float(image.info.get("duration", 0)))
        return image.size, durations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_times_are_pillows(tmp_path: Path, kind: str, seed: int) -> None:
    durations = np.random.default_rng(seed).integers(0, 90, 9) * 10
    path = save(tmp_path / f"a.{kind}", pictures(9, seed), durations.tolist())
    header = read_header(path)
    assert header is not None
    size, expected = by_pillow(path)
    assert (header.width, header.height) == size == (20, 12)
    assert list(header.durations) == pytest.approx(expected)
    assert len(expected) == 9


@pytest.mark.parametrize(
    "options",
    [{"disposal": 2}, {"comment": b"x" * 600}, {"transparency": 0}, {"interlace": True}, {"optimize": True}],
)
def test_gifs_with_all_kinds_of_blocks(tmp_path: Path, options: dict) -> None:
    frames = [picture.quantize(17) for picture in pictures(5)]
    path = save(tmp_path / "a.gif", frames, [30, 500, 0, 10, 655350], **options)
    header = read_header(path)
    assert header is not None
    assert list(header.durations) == by_pillow(path)[1]


def test_a_gif_whose_frames_are_larger_than_its_screen(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif", pictures(3), [100, 200, 300])
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 3, 2)
    path.write_bytes(data)
    header = read_header(path)
    assert header is not None
    assert (header.width, header.height) == by_pillow(path)[0] == (20, 12)


def test_an_animated_png_with_a_picture_of_its_own_for_other_programs(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", pictures(4), [100, 200, 300], default_image=True)
    header = read_header(path)
    assert header is not None
    assert list(header.durations) == by_pillow(path)[1] == [0, 100, 200, 300]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("kind", KINDS)
def test_still_pictures_have_one_time_or_none(tmp_path: Path, kind: str, mode: str) -> None:
    path = tmp_path / f"a.{kind}"
    pictures(1)[0].convert(mode).save(path)
    header = read_header(path)
    assert header is not None
    assert (header.width, header.height) == (20, 12)
    assert len(header.durations) <= 1


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 10}, {"lossless": True, "exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (16383, 1), (1, 16383), (300, 257)])
def test_every_way_of_writing_a_still_webp(tmp_path: Path, options: dict, size: tuple[int, int]) -> None:
    path = tmp_path / "a.webp"
    Image.new("RGBA" if "exif" in options else "RGB", size).save(path, **options)
    header = read_header(path)
    assert header is not None
    assert (header.width, header.height) == size


def test_other_files_have_no_such_header(tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "a.jpg")
    assert read_header(tmp_path / "a.jpg") is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_or_flipped_byte_makes_it_fail(tmp_path: Path, kind: str) -> None:
    """What is left of a file has no more frames than the whole, and ends without an exception."""
    path = save(tmp_path / f"a.{kind}", pictures(4), [100, 200, 300, 400])
    data = path.read_bytes()
    head = 12 if kind == "webp" else 8
    rng = np.random.default_rng(0)
    for size in {*range(head, min(120, len(data))), *rng.integers(head, len(data), 60).tolist()}:
        path.write_bytes(data[:size])
        header = read_header(path)
        assert header is not None
        assert len(header.durations) <= 4
    for at in rng.integers(head, len(data), 300):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        assert read_header(path) is not None


# --- bombs: told from the header, whatever decoding them would take ---------------------------------------------------


def gif_of(width: int, height: int, frames: int) -> bytes:
    """A screen of that size, and frames of one pixel: 23 bytes each."""
    frame = b"\x21\xf9\x04\0\x0a\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def webp_of(width: int, height: int, frames: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    def three(number: int) -> bytes:
        return struct.pack("<I", number)[:3]

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "WEBP", lossless=True)
    frame = three(0) * 4 + three(100) + b"\0" + buffer.getvalue()[12:]
    body = chunk(b"VP8X", b"\x02\0\0\0" + three(width - 1) + three(height - 1)) + chunk(b"ANIM", bytes(6))
    body += chunk(b"ANMF", frame) * frames
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("make", [gif_of, webp_of])
@pytest.mark.parametrize(
    ("size", "frames", "says"),
    [((10_000, 10_000), 20, "10,000 × 10,000 pixels"), ((5_000, 5_000), 200, "200 frames of 5,000 × 5,000 pixels")],
)
def test_small_files_that_ask_for_hours(tmp_path: Path, make, size: tuple[int, int], frames: int, says: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(make(*size, frames))
    assert path.stat().st_size < 20_000
    began = time.perf_counter()
    with pytest.raises(MediaError, match=says):
        read_clip(path)
    assert time.perf_counter() - began < 1.0


def test_a_canvas_is_known_before_pillow_makes_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    (tmp_path / "a.webp").write_bytes(webp_of(16_000, 16_000, 1))
    (tmp_path / "a.gif").write_bytes(gif_of(65_535, 65_535, 1))
    for name in ("a.webp", "a.gif"):
        with pytest.raises(MediaError, match="at most 40 million are taken"):
            read_clip(tmp_path / name)


@pytest.mark.parametrize("make", [gif_of, webp_of])
def test_many_small_frames_are_read(tmp_path: Path, make) -> None:
    (tmp_path / "a").write_bytes(make(16, 16, 20_000))
    clip = read_clip(tmp_path / "a", Sampling(4, end=0.4))
    assert clip.source.frame_count == 20_000
    assert clip.source.duration == pytest.approx(2000)


def test_how_many_frames_are_taken_depends_on_their_size(tmp_path: Path) -> None:
    limits = dataclasses.replace(settings, max_animation_pixels=1_000_000)
    (tmp_path / "a.gif").write_bytes(gif_of(16, 16, 100))
    assert read_clip(tmp_path / "a.gif", limits=limits).source.frame_count == 100
    (tmp_path / "b.gif").write_bytes(gif_of(16, 16, 101))
    with pytest.raises(MediaError, match="101 frames"):
        read_clip(tmp_path / "b.gif", limits=limits)
    (tmp_path / "c.gif").write_bytes(gif_of(200, 200, 26))
    with pytest.raises(MediaError, match="26 frames"):
        read_clip(tmp_path / "c.gif", limits=limits)


def test_an_animation_that_lasts_too_long(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif", pictures(3), [655_350] * 3)
    with pytest.raises(MediaError, match="more than 1,900 s"):
        read_clip(path, limits=dataclasses.replace(settings, max_seconds=1900))
    assert animations.read_header(path) is not None
    assert reader.read_clip(path).source.duration == pytest.approx(1966.05)


MAGIC = {"a.gif": b"GIF89a", "a.png": b"\x89PNG\r\n\x1a\n", "a.webp": b"RIFF\0\0\1\0WEBPVP8L"}


@pytest.mark.parametrize("name", MAGIC)
def test_long_nothing_behind_a_head_is_not_walked_byte_by_byte(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(MAGIC[name])
        file.truncate(200 * 2**20)
    began = time.process_time()  # of this process alone, whatever else the machine does
    header = read_header(tmp_path / name)
    assert header is not None
    assert header.durations == ()
    assert time.process_time() - began < 2.0
