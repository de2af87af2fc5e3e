"""A file becomes a Clip: every container, orientation and bit depth, and the right frames at the right times."""

from __future__ import annotations

import dataclasses
import io
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CORNERS, MakeVideo, ffmpeg, frame_numbers
from hostile.make import DASH
from PIL import Image, features

from vjepa_demo.errors import MediaError, RequestError
from vjepa_demo.media import containers, reader
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.settings import settings

NEUTRAL = 128


# --- containers and codecs -------------------------------------------------------------------------------------------

CONTAINERS = [
    ("clip.mp4", "libx264", "h264"),
    ("clip.mov", "libx264", "h264"),
    ("clip.mkv", "libx264", "h264"),
    ("clip.avi", "libx264", "h264"),
    ("clip.mp4", "libx265", "hevc"),
    ("clip.mkv", "libx265", "hevc"),
    ("clip.webm", "libvpx-vp9", "vp9"),
    ("clip.mp4", "libvpx-vp9", "vp9"),
    ("clip.webm", "libaom-av1", "av1"),
    ("clip.mp4", "libsvtav1", "av1"),
    ("clip.avi", "mpeg4", "mpeg4"),
    ("clip.mp4", "mpeg4", "mpeg4"),
    ("clip.mpg", "mpeg2video", "mpeg2video"),
    ("clip.ts", "libx264", "h264"),
    ("clip.gif", "gif", "gif"),
]
ENCODER_OPTIONS = {
    "libx265": ("-x265-params", "log-level=none"),
    "libaom-av1": ("-cpu-used", "8"),
    "libsvtav1": ("-preset", "12"),
    "mpeg4": ("-q:v", "3", "-bf", "2"),
    "mpeg2video": ("-q:v", "3", "-bf", "2"),
}


@pytest.mark.parametrize(("name", "codec", "found"), CONTAINERS)
def test_every_frame_of_every_container(make_video: MakeVideo, name: str, codec: str, found: str) -> None:
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    path = make_video(name, codec, fps=25, frames=40, pixels=pixels, options=ENCODER_OPTIONS.get(codec, ()))
    clip = read_clip(path, Sampling(frames=40))
    assert frame_numbers(clip.frames) == list(range(40))
    np.testing.assert_allclose(clip.timestamps, np.arange(40) / 25, atol=1.1e-3)  # Matroska counts milliseconds
    assert clip.frames.dtype == np.uint8
    assert clip.frames.shape == (40, 3, 64, 64)
    assert (clip.source.codec, clip.source.width, clip.source.height) == (found, 64, 64)
    assert clip.source.duration == pytest.approx(1.6, abs=2e-3)
    assert clip.source.fps == pytest.approx(25, rel=2e-3)
    assert not clip.is_image
    # Frames out of order, in a container without times of showing: one by one they would be those of other moments.
    assert [note for note in clip.notes if "decoded in their order" not in note] == []
    assert bool(clip.notes) == ((name, codec) == ("clip.avi", "libx264"))


@pytest.mark.parametrize(
    "options",
    [
        ("-movflags", "+frag_keyframe+empty_moov"),
        ("-movflags", "+faststart", "-bf", "3"),
        ("-g", "1000", "-bf", "3"),  # one key frame only
        ("-x264-params", "open-gop=1:keyint=8:min-keyint=8"),
        ("-output_ts_offset", "3"),  # times that do not begin at 0
    ],
)
def test_mp4_variants(make_video: MakeVideo, options: tuple[str, ...]) -> None:
    clip = read_clip(make_video(fps=25, frames=40, options=options), Sampling(frames=20, start=0.4, end=1.2))
    assert frame_numbers(clip.frames) == list(range(10, 30))
    np.testing.assert_allclose(clip.timestamps, np.arange(10, 30) / 25, atol=1e-3)


def test_yuv444_is_not_green_when_the_first_read_is_a_seek(make_video: MakeVideo) -> None:
    path = make_video(fps=25, frames=40, pixels="yuv444p", options=("-g", "10"))
    clip = read_clip(path, Sampling(frames=2, start=1.2))
    assert frame_numbers(clip.frames) == [32, 37]
    assert np.ptp(clip.frames.astype(int), axis=1).max() <= 2, "black and white stripes have no colour"


def test_the_name_does_not_matter(make_video: MakeVideo, tmp_path: Path) -> None:
    odd = tmp_path / "%d ?*:concat|’\n.jpg"
    shutil.copy(make_video("clip.avi", "mpeg4"), odd)
    assert frame_numbers(read_clip(odd).frames) == list(range(16))


def test_without_the_ffmpeg_program_the_libraries_still_read(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("clip.avi", "mpeg4", options=("-q:v", "3"))
    monkeypatch.setattr(containers.shutil, "which", lambda name: None)
    assert frame_numbers(read_clip(path).frames) == list(range(16))


# --- upright, square, eight bits -------------------------------------------------------------------------------------


def corner_colours(frame: np.ndarray) -> list[str]:
    """What `CORNERS` shows at the corners of a frame `[3, H, W]`: top left, top right, bottom left, bottom right."""
    names = {(1, 1, 1): "white", (1, 0, 0): "red", (0, 0, 1): "blue"}
    return [names.get(tuple((frame[:, y, x] > 127).astype(int)), "?") for y in (4, -4) for x in (4, -4)]


TURNED = {  # degrees, counter-clockwise, that a player turns the frames by (ffmpeg 5 writes its rotate=.. so)
    0: ["white", "white", "red", "blue"],
    90: ["white", "blue", "white", "red"],
    180: ["blue", "red", "white", "white"],
    270: ["red", "white", "blue", "white"],
}


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrix(make_video: MakeVideo, tmp_path: Path, degrees: int) -> None:
    flat = make_video(picture=CORNERS, size="96x64")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", turned)
    clip = read_clip(turned, Sampling(frames=2))
    width, height = (64, 96) if degrees % 180 else (96, 64)
    assert clip.frames.shape[2:] == (height, width)
    assert (clip.source.width, clip.source.height) == (width, height)
    assert corner_colours(clip.frames[1]) == TURNED[degrees]
    ffmpeg("-i", turned, "-frames:v", "1", tmp_path / "shown.png")
    assert corner_colours(np.asarray(Image.open(tmp_path / "shown.png")).transpose(2, 0, 1)) == TURNED[degrees]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((64, 96, 3), dtype=np.uint8)
    upright[:, :48, 0] = upright[:, 48:, 2] = 255
    upright[:16] = 255
    stored = {  # how a camera stores the upright picture under each value of the tag
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    clip = read_clip(path)
    assert np.array_equal(clip.frames, upright.transpose(2, 0, 1)[None])
    assert (clip.source.width, clip.source.height) == (96, 64)
    assert clip.is_image
    assert clip.timestamps.tolist() == [0.0]


def test_rotation_means_the_same_for_images_and_videos(make_video: MakeVideo, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", make_video(picture=CORNERS, size="96x64"), "-c", "copy", "-metadata:s:v", "rotate=270", turned)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees clockwise, that is 270 counter-clockwise
    Image.new("RGB", (96, 64)).save(tmp_path / "photo.jpg", exif=exif)
    video, photo = read_clip(turned, Sampling(frames=2)).source, read_clip(tmp_path / "photo.jpg").source
    assert video.rotation % 360 == photo.rotation % 360 == 270


@pytest.mark.parametrize(("aspect", "width"), [("2/1", 128), ("1/2", 32), ("16/15", 68)])
def test_sample_aspect_ratio(make_video: MakeVideo, aspect: str, width: int) -> None:
    clip = read_clip(make_video(filters=(f"setsar={aspect}",), frames=16))
    assert clip.frames.shape == (16, 3, 64, width)
    assert (clip.source.width, clip.source.height) == (width, 64)
    assert frame_numbers(clip.frames) == list(range(16))


def test_sample_aspect_ratio_of_a_turned_video(make_video: MakeVideo, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    wide = make_video(picture=CORNERS, size="96x64", filters=("setsar=2/1",))
    ffmpeg("-i", wide, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    clip = read_clip(turned, Sampling(frames=2))
    assert clip.frames.shape[2:] == (192, 64), "192 × 64 square pixels, turned"
    assert corner_colours(clip.frames[0]) == TURNED[90]


@pytest.mark.parametrize(("codec", "pixels"), [("libx265", "yuv420p10le"), ("libx264", "yuv422p10le")])
def test_ten_bits_become_eight(make_video: MakeVideo, codec: str, pixels: str) -> None:
    ramp = "geq=lum='16+219*X/W':cb=128:cr=128"
    options = ENCODER_OPTIONS.get(codec, ())
    ten = make_video("clip.mkv", codec, picture=ramp, size="128x64", pixels=pixels, options=options)
    eight = make_video("clip.mkv", codec, picture=ramp, size="128x64", options=options)
    a, b = (read_clip(path, Sampling(frames=2)).frames.astype(int) for path in (ten, eight))
    assert np.abs(a - b).max() <= 4
    assert np.ptp(a) > 240


def png16(path: Path, samples: np.ndarray) -> Path:
    """A PNG of 16 bits a sample, `[H, W]` or `[H, W, 3]`, which Pillow does not write for colours."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    path.write_bytes(png_bytes(width, height, 16, 2 if samples.ndim == 3 else 0, zlib.compress(data)))
    return path


def png_bytes(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("brightest", [65535, 200], ids=["full", "dark"])
def test_sixteen_bit_png(tmp_path: Path, brightest: int) -> None:
    ramp = np.linspace(0, brightest, 64)[None].repeat(8, axis=0).astype(np.uint16)
    expected = np.round(ramp / 65535 * 255)
    grey = read_clip(png16(tmp_path / "grey.png", ramp)).frames[0]
    assert np.abs(grey - expected).max() <= 0.5
    colour = read_clip(png16(tmp_path / "colour.png", np.stack([ramp, ramp[:, ::-1], ramp * 0], axis=-1))).frames[0]
    assert np.abs(colour - np.stack([expected, expected[:, ::-1], expected * 0])).max() <= 1


def test_other_kinds_of_pixels(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode, name in (("L", "l.png"), ("1", "1.png"), ("P", "p.png"), ("CMYK", "cmyk.jpg"), ("RGB", "rgb.webp")):
        ramp.convert(mode).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        clip = read_clip(tmp_path / name)
        assert clip.frames.shape == (1, 3, 16, 16)
        assert np.ptp(clip.frames) > 200


def test_transparency_lies_on_the_neutral_ground(tmp_path: Path) -> None:
    rgba = np.zeros((16, 16, 4), dtype=np.uint8)
    rgba[..., 0] = 255
    rgba[:, 8:, 3] = 255  # left half transparent red, right half red
    rgba[8:, 12:, 3] = 128
    full, expected = Image.fromarray(rgba), np.full((3, 16, 16), NEUTRAL)
    expected[:, :, 8:] = np.array([255, 0, 0])[:, None, None]
    expected[:, 8:, 12:] = np.array([192, 64, 64])[:, None, None]
    full.save(tmp_path / "rgba.png")
    full.save(tmp_path / "rgba.webp", lossless=True)
    for name in ("rgba.png", "rgba.webp"):
        assert np.abs(read_clip(tmp_path / name).frames[0] - expected).max() <= 1, name
    rgba[8:, 12:, 3] = 255
    Image.fromarray(rgba).quantize(4).save(tmp_path / "palette.png")
    Image.fromarray(rgba).save(tmp_path / "palette.gif")
    expected[:, 8:, 12:] = np.array([255, 0, 0])[:, None, None]
    for name in ("palette.png", "palette.gif"):
        assert np.abs(read_clip(tmp_path / name).frames[0] - expected).max() <= 1, name


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_animation_with_transparency_and_uneven_times(tmp_path: Path, name: str) -> None:
    frames = []
    for x in range(4):
        rgba = np.zeros((16, 64, 4), dtype=np.uint8)
        if name.endswith("webp"):  # Pillow writes no transparent animations in this format
            rgba[:] = (NEUTRAL, NEUTRAL, NEUTRAL, 255)
        rgba[:, 16 * x : 16 * x + 16] = (0, 255, 0, 255)
        frames.append(Image.fromarray(rgba))
    durations = [100, 400, 100, 200]
    options = {"lossless": True} if name.endswith("webp") else {"disposal": 2 if name.endswith("gif") else 1}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    clip = read_clip(tmp_path / name, Sampling(frames=8))
    assert clip.source.duration == pytest.approx(0.8)
    assert clip.source.frame_count == 4
    at = [0, 1, 1, 1, 1, 2, 3, 3]  # the frame shown at 0.05, 0.15, .. 0.75 s
    np.testing.assert_allclose(clip.timestamps, np.array([0.0, 0.1, 0.5, 0.6])[at])
    for frame, x in zip(clip.frames, at, strict=True):
        expected = np.full((3, 16, 64), NEUTRAL)
        expected[:, :, 16 * x : 16 * x + 16] = np.array([0, 255, 0])[:, None, None]
        assert np.abs(frame - expected).max() <= 2
    assert "4 of the 8 frames" in clip.notes[0]


def test_avif(tmp_path: Path) -> None:
    path = tmp_path / "photo.avif"
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    Image.new("RGB", (40, 24), (10, 200, 30)).save(path, quality=95)
    clip = read_clip(path)
    assert clip.is_image
    assert np.abs(clip.frames[0].astype(int) - np.array([10, 200, 30])[:, None, None]).max() <= 6


# --- sampling --------------------------------------------------------------------------------------------------------


def shown_at(starts: np.ndarray, moments: np.ndarray) -> list[int]:
    """The slow obvious answer: the last frame that has begun at each moment."""
    return [max(i for i, start in enumerate(starts) if start <= moment + 1e-9) for moment in moments]


@pytest.mark.parametrize(
    ("frames", "start", "end"), [(16, 0.0, None), (2, 0.0, None), (8, 1.0, 2.5), (10, 2.2, 9.0), (4, 0.33, 0.37)]
)
def test_even_sampling(make_video: MakeVideo, frames: int, start: float, end: float | None) -> None:
    clip = read_clip(make_video(fps=30, frames=100), Sampling(frames=frames, start=start, end=end))
    starts, duration = np.arange(100) / 30, 100 / 30
    stop = duration if end is None else min(end, duration)
    moments = [start + (i + 0.5) * (stop - start) / frames for i in range(frames)]
    expected = shown_at(starts, np.array(moments))
    assert frame_numbers(clip.frames) == expected
    np.testing.assert_allclose(clip.timestamps, starts[expected], atol=1e-3)


@pytest.mark.parametrize(("frames", "start", "end"), [(8, 0.0, None), (8, 1.1, None), (16, 0.0, None), (8, 0.5, 1.5)])
def test_fps_sampling(make_video: MakeVideo, frames: int, start: float, end: float | None) -> None:
    clip = read_clip(make_video(fps=30, frames=100), Sampling(frames, "fps", start, end))
    starts, stop = np.arange(100) / 30, 100 / 30 if end is None else end
    inside = [min(start + i / 4, stop - 1e-3) for i in range(frames)]
    expected = shown_at(starts, np.array(inside))
    assert frame_numbers(clip.frames) == expected
    np.testing.assert_allclose(clip.timestamps, starts[expected], atol=1e-3)
    assert bool(clip.notes) == (len(set(expected)) < frames)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
@pytest.mark.parametrize("mode", ["even", "fps"])
def test_variable_frame_rate_is_sampled_by_time(make_video: MakeVideo, name: str, mode: str) -> None:
    # 20 frames in the first second, then 20 frames in four seconds: by index, half of them would be from the first.
    times = "setpts='round(if(lt(N,20),N*0.05,1+(N-20)*0.2)/TB)'"
    path = make_video(name, fps=20, frames=40, filters=(times,), options=("-fps_mode", "passthrough"))
    starts = np.where(np.arange(40) < 20, np.arange(40) * 0.05, 1 + (np.arange(40) - 20) * 0.2)
    clip = read_clip(path, Sampling(10, mode))  # type: ignore[arg-type]
    even = (np.arange(10) + 0.5) * clip.source.duration / 10
    moments = even if mode == "even" else np.arange(10) / 4
    expected = shown_at(starts, moments)
    assert frame_numbers(clip.frames) == expected
    np.testing.assert_allclose(clip.timestamps, starts[expected], atol=2e-3)
    assert 4.8 <= clip.source.duration <= 5.01


def test_fewer_frames_than_asked_repeat_the_nearest(make_video: MakeVideo) -> None:
    clip = read_clip(make_video(frames=6), Sampling(frames=16))
    numbers = frame_numbers(clip.frames)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(6))
    assert max(numbers.count(n) for n in range(6)) - min(numbers.count(n) for n in range(6)) <= 1
    assert clip.notes == ("The span holds 6 of the 16 frames asked for: the nearest ones are repeated.",)
    single = read_clip(make_video(frames=1), Sampling(frames=4))
    assert frame_numbers(single.frames) == [0] * 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frames": 15}, "even"),
        ({"frames": 0}, "even"),
        ({"frames": -2}, "even"),
        ({"frames": 1000}, "At most 64"),
        ({"start": -1.0}, "start"),
        ({"start": float("nan")}, "start"),
        ({"end": float("nan")}, "end"),
        ({"start": 2.0, "end": 1.0}, "later"),
        ({"start": 1.0, "end": 1.0}, "later"),
        ({"start": 50.0}, "2.00 s"),
        ({"mode": "odd"}, "sampling"),
    ],
)
def test_sampling_that_no_video_can_meet(make_video: MakeVideo, wrong: dict, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read_clip(make_video(), Sampling(**wrong))


# --- limits and damage -----------------------------------------------------------------------------------------------


def refused(path: Path, **limits: float) -> str:
    with pytest.raises(MediaError) as caught:
        read_clip(path, limits=dataclasses.replace(settings, **limits))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def no_decoding(*_: object, **__: object) -> Clip:
    raise AssertionError("frames were decoded before the limits were checked")


def test_limits_are_checked_before_decoding(make_video: MakeVideo, tmp_path: Path, monkeypatch) -> None:
    from torchcodec.decoders import VideoDecoder

    monkeypatch.setattr(VideoDecoder, "get_frames_played_at", no_decoding)
    monkeypatch.setattr(Image.Image, "convert", no_decoding)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    assert "MB" in refused(make_video(), max_bytes=1000)
    assert "MB" in refused(photo, max_bytes=10)
    assert "64 × 64" in refused(make_video(), max_frame_pixels=64 * 64 - 1)
    assert "64 × 64" in refused(photo, max_image_pixels=64 * 64 - 1)
    assert "lasts 2 s" in refused(make_video(), max_seconds=1.5)
    assert "more than 1 s" in refused(make_video("clip.gif", "gif", pixels="rgb8"), max_seconds=1.0)


def test_frames_that_do_not_fit_in_memory_are_decoded_smaller(make_video: MakeVideo) -> None:
    for path in (make_video(frames=16), make_video("clip.gif", "gif", pixels="rgb8")):
        clip = read_clip(path, limits=dataclasses.replace(settings, max_clip_bytes=16 * 3 * 32 * 32))
        assert clip.frames.shape == (16, 3, 32, 32)
        assert (clip.source.width, clip.source.height) == (64, 64)
        assert "32 × 32" in clip.notes[0]
        assert frame_numbers(clip.frames) == list(range(16))


def test_an_image_of_900_million_pixels(tmp_path: Path) -> None:
    side = 30_000
    row = b"\0" * (1 + side // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    path = tmp_path / "huge.png"
    path.write_bytes(png_bytes(side, side, 1, 0, data))
    assert path.stat().st_size < 1_000_000
    assert "at most 40 million are taken" in refused(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("<!--free-->", ""),
        ("<!--ftyp-->", ""),
        ("<aaafree>", "</aaafree>"),
        ("<?a moov?>", ""),
        ("    free", ""),
        ("\n\n\n\nmdat", ""),
        ("\ufeff<!--free-->", ""),
        ("RIFF....AVI ", ""),
        ("OggS", ""),
        ("FLV\x01", ""),
        (f"G<!--{'x' * 183}G-->", ""),
    ],
)
def test_a_playlist_is_not_read_whatever_it_begins_with(
    make_video: MakeVideo, tmp_path: Path, before: str, after: str
) -> None:
    """FFmpeg knows it by its words and opens the file that it names, which is somebody else's."""
    victim = make_video("victim.mp4")
    playlist = DASH.replace("/etc/passwd.mp4", str(victim))
    (tmp_path / "mine.mp4").write_text(before + playlist + after, encoding="utf-8")
    with pytest.raises(MediaError):
        read_clip(tmp_path / "mine.mp4")


@pytest.mark.parametrize("name", ["q/%{..,zz%}/secret.png", "q/%*.png", "x%03d.png", "[a-z]*.jpg"])
def test_a_name_is_no_pattern(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    """FFmpeg would look for pictures that it fits, elsewhere on the machine, before it looks into the file."""
    mine = make_video()
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "q" / "zz").mkdir(parents=True, exist_ok=True)
    for secret in (tmp_path / "secret.png", tmp_path / "q" / "other.png", tmp_path / "x001.png", tmp_path / "a.jpg"):
        Image.new("RGB", (48, 48), "red").save(secret)
    shutil.copy(mine, path)
    np.testing.assert_array_equal(read_clip(path).frames, read_clip(mine).frames)


def test_damaged_and_foreign_files(make_video: MakeVideo, tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    whole = make_video(size="320x240", frames=64, fps=25, picture="noise=alls=60:allf=t", options=("-g", "8"))
    plain = whole.read_bytes()
    assert plain.rfind(b"moov") > len(plain) // 2
    faststart = tmp_path / "faststart.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", faststart)
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(photo)

    assert "no such file" in refused(tmp_path / "missing.mp4")
    assert "no such file" in refused(Path("x" * 5000))
    assert "no such file" in refused(Path("x\0y"))
    assert "folder" in refused(tmp_path)
    assert "empty" in refused(file("empty.mp4", b""))
    assert "neither a video nor an image" in refused(file("text.mp4", b"This is not a video.\n" * 100))
    assert "neither a video nor an image" in refused(file("list.mp4", b"#EXTM3U\nhttp://localhost/a.ts\n"))
    assert "neither a video nor an image" in refused(file("byte.mp4", b"\x47"))
    assert "cut short" in refused(file("no_index.mp4", plain[: len(plain) // 2]))
    assert "damaged" in refused(file("head.mp4", b"\0\0\0\x18ftypisom" + b"\0" * 100))
    assert "damaged" in refused(file("zeros.mkv", b"\x1a\x45\xdf\xa3" + b"\0" * 1000))
    assert "damaged" in refused(file("half.jpg", photo.read_bytes()[: photo.stat().st_size // 2]))
    assert "damaged" in refused(file("half.gif", b"GIF89a\x10"))
    assert "HEIC" in refused(file("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100))


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mp3", "sound.wav", "sound.m4a", "sound.ogg", "sound.mkv"])
def test_sound_only(tmp_path: Path, name: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", tmp_path / name)
    message = refused(tmp_path / name)
    assert "sound" in message or (name == "sound.mp3" and "neither" in message)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("zero.mp4", "libx264"), ("zero.mkv", "libx264"), ("zero.webm", "libvpx-vp9"), ("0.avi", "mpeg4")],
)
def test_a_video_of_zero_seconds(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "color=size=64x64", "-t", "0", "-c:v", codec, path)
    assert path.stat().st_size > 0
    assert "holds no frames" in refused(path)


def test_cut_in_the_middle_what_is_there_can_be_read(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(size="320x240", frames=64, fps=25, picture="noise=alls=60:allf=t", options=("-g", "8"))
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", tmp_path / "faststart.mp4")
    data = (tmp_path / "faststart.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    clip = read_clip(tmp_path / "half.mp4", Sampling(frames=8, end=0.8))
    assert len(np.unique(clip.timestamps)) == 8


# --- limits told before the work -------------------------------------------------------------------------------------


class KeyFrames:
    """Stands for a decoder that knows where the key frames are."""

    def __init__(self, count: int, every: int) -> None:
        self.keys = np.arange(0, count, every)

    def _get_key_frame_indices(self) -> np.ndarray:
        return self.keys


def work(seconds: float, fps: int, size: tuple[int, int], key_every: float, frames: int) -> None:
    meta = SimpleNamespace(num_frames=round(seconds * fps), width=size[0], height=size[1])
    decoder = KeyFrames(meta.num_frames, round(key_every * fps))
    reader._check_work(decoder, (np.arange(frames) + 0.5) / frames, meta, settings)


@pytest.mark.parametrize("frames", [16, 64])
def test_ordinary_films_can_be_decoded(frames: int) -> None:
    work(3600, 30, (1280, 720), 10, frames)
    work(3600, 60, (1920, 1080), 10, frames)
    work(60, 60, (3840, 2160), 1, frames)
    work(60, 30, (7680, 4320), 1, frames)


@pytest.mark.parametrize(
    ("seconds", "fps", "size"), [(3600, 120, (7680, 4320)), (600, 60, (3840, 2160)), (3600, 600, (32, 32))]
)
def test_long_films_of_one_key_frame_cannot(seconds: float, fps: int, size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="more key frames"):
        work(seconds, fps, size, seconds, 16)


def test_the_work_is_counted_from_the_key_frames(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    # Frames 10 and 30 of 40: 31 frames of at least 50,000 pixels from the only key frame, or the two alone.
    limits = dataclasses.replace(settings, max_decoded_pixels=31 * 50_000 - 1)
    sampling = Sampling(frames=2)
    apart, one = (make_video(fps=25, frames=40, options=("-g", g, "-bf", "0")) for g in ("10", "1000"))
    assert len(read_clip(apart, sampling, limits).frames) == 2
    with pytest.raises(MediaError, match="To reach the frames, 31 of 64 × 64 pixels"):
        read_clip(one, sampling, limits)
    assert len(read_clip(one, sampling, dataclasses.replace(settings, max_decoded_pixels=31 * 50_000)).frames) == 2

    from torchcodec.decoders import VideoDecoder

    monkeypatch.delattr(VideoDecoder, "_get_key_frame_indices")
    assert len(read_clip(one, sampling, limits).frames) == 2, "where torchcodec does not tell, the deadline must do"


def test_too_many_frames_in_a_video(make_video: MakeVideo) -> None:
    assert "holds 16 frames and at most 15" in refused(make_video(), max_video_frames=15)


# --- what stands beside the pixels -----------------------------------------------------------------------------------


def exif(*entries: tuple[int, int, int, int | bytes]) -> bytes:
    """An EXIF block with these entries (tag, type, count, value), whatever they say."""
    head, tail, at = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)), b"", 14 + 12 * len(entries)
    for tag, kind, count, value in entries:
        where = at + len(tail) if isinstance(value, bytes) else value
        head += struct.pack("<HHII", tag, kind, count, where)
        tail += value if isinstance(value, bytes) else b""
    return b"Exif\0\0" + head + bytes(4) + tail


def with_exif(path: Path, block: bytes) -> Path:
    buffer = io.BytesIO()
    corners = np.zeros((64, 96, 3), dtype=np.uint8)
    corners[:, :48, 0] = corners[:, 48:, 2] = 255
    corners[:16] = 255
    Image.fromarray(corners).save(buffer, "JPEG", quality=95, subsampling=0)
    data = buffer.getvalue()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


TURNED_BY_90 = (0x0112, 3, 1, 6)


@pytest.mark.parametrize(
    "beside",
    [
        (0x011A, 10, 1, struct.pack("<ii", -1, 0)),  # a resolution of -1/0
        (0x0100, 2, 5, b"abcd\0"),  # a width that is text
        (0x8769, 4, 1, 8),  # a directory within itself
        (0x0132, 2, 2**31, 8),
        (0x010F, 99, 3, 0),
    ],
)
def test_exif_that_cannot_be_written_back(tmp_path: Path, beside: tuple[int, int, int, int | bytes]) -> None:
    clip = read_clip(with_exif(tmp_path / "photo.jpg", exif(TURNED_BY_90, beside)))
    assert clip.frames.shape == (1, 3, 96, 64)
    assert corner_colours(clip.frames[0]) == ["red", "white", "blue", "white"]
    assert clip.source.rotation == 270


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, value: int) -> None:
    clip = read_clip(with_exif(tmp_path / "photo.jpg", exif((0x0112, 3, 1, value))))
    assert clip.frames.shape == (1, 3, 64, 96)


def test_no_exif_keeps_a_picture_from_being_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = exif(TURNED_BY_90, (0x011A, 5, 1, bytes(8)), (0x8769, 4, 1, 8), (0x010F, 2, 6, b"maker\0"))
    for _ in range(200):
        block = bytearray(whole)
        for at in rng.integers(6, len(block), 4):
            block[at] = rng.integers(256)
        clip = read_clip(with_exif(tmp_path / "photo.jpg", bytes(block)))
        assert sorted(clip.frames.shape[2:]) == [64, 96]


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), ZeroDivisionError("x"), AssertionError()])
def test_whatever_a_library_raises_is_one_sentence(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reader, "_describe", fail)
    assert "cannot be read" in refused(make_video())
    assert "Traceback" in caplog.text, "the log knows it all"
    monkeypatch.setattr(reader, "_describe", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert refused(make_video()) == reader.TOO_MUCH_MEMORY
