"""Containers × codecs × pixel formats that FFmpeg can write, each decoded at 16 moments: its number is painted
into each frame."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from conftest import MakeVideo, frame_numbers

from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling

# Codec: (the options of its encoder, its pixel formats, the containers that hold it). "b" are frames out of order.
B = ("-g", "12", "-bf", "2")
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "libx264": (B, ("yuv420p", "yuv422p10le", "yuv444p", "gray"), ("mp4", "mkv", "mov", "ts", "m2ts", "flv", "avi")),
    "libx264rgb": (B, ("rgb24",), ("mkv", "mov")),
    "libx265": (("-x265-params", "log-level=none"), ("yuv420p", "yuv420p10le"), ("mp4", "mkv", "ts")),
    "libvpx": (("-g", "12"), ("yuv420p",), ("webm", "mkv", "ivf")),
    "libvpx-vp9": (("-g", "12", "-cpu-used", "8"), ("yuv420p", "yuv444p", "yuv420p10le"), ("webm", "mp4", "ivf")),
    "libaom-av1": (("-g", "12", "-cpu-used", "8", "-usage", "realtime"), ("yuv420p",), ("mp4", "webm", "ivf")),
    "mpeg4": (B, ("yuv420p",), ("mp4", "avi", "mkv", "3gp", "nut")),
    "msmpeg4": (("-g", "12"), ("yuv420p",), ("avi", "asf")),
    "mpeg1video": (B, ("yuv420p",), ("mpg", "mkv")),
    "mpeg2video": (B, ("yuv420p", "yuv422p"), ("mpg", "ts", "vob", "mxf", "mkv")),
    "mjpeg": (("-q:v", "3"), ("yuvj420p", "yuvj444p"), ("avi", "mov", "mkv")),
    "prores_ks": ((), ("yuv422p10le", "yuv444p10le", "yuva444p10le"), ("mov", "mkv")),
    "ffv1": ((), ("yuv420p", "yuv444p16le", "bgra", "gray16le"), ("mkv", "avi", "nut")),
    "huffyuv": ((), ("yuv422p", "rgb24"), ("avi", "mkv")),
    "utvideo": ((), ("yuv420p", "gbrp"), ("avi", "mkv")),
    "qtrle": ((), ("rgb24", "argb"), ("mov",)),
    "png": ((), ("rgb24", "rgba"), ("mov", "avi")),
    "rawvideo": ((), ("yuv420p", "bgr24"), ("avi", "nut")),
    "dnxhd": (("-profile:v", "dnxhr_hq"), ("yuv422p",), ("mov", "mxf")),
    "wmv2": (("-g", "12"), ("yuv420p",), ("wmv", "avi")),
    "flv": (("-g", "12", "-q:v", "2"), ("yuv420p",), ("flv",)),
    "libtheora": (("-q:v", "9"), ("yuv420p", "yuv444p"), ("ogv", "mkv")),
    "wrapped_avframe": ((), ("yuv420p", "yuv444p"), ("y4m",)),
    "h263p": (("-q:v", "2"), ("yuv420p",), ("avi", "mkv")),
    "h263": (("-q:v", "2"), ("yuv420p",), ("3gp", "avi")),
    "snow": ((), ("yuv420p",), ("avi",)),
    "cinepak": ((), ("rgb24",), ("avi", "mov")),
    "rv20": (("-g", "12"), ("yuv420p",), ("rm",)),
    "jpeg2000": ((), ("yuv420p", "rgb24"), ("mkv", "mxf")),
}
CASES = [
    (codec, pixels, container)
    for codec, (_, formats, containers) in TABLE.items()
    for pixels in formats
    for container in containers
]
# Those that know only some frame rates.
STANDARD = {"mxf", "mpg", "vob", "rm", "mpeg1video", "mpeg2video", "h263p", "h263"}
SIZE = {"dnxhd": "256x128", "rv20": "176x144", "h263p": "176x144", "h263": "176x144"}


def test_it_is_a_large_table() -> None:
    assert len(CASES) >= 100


@pytest.mark.parametrize(("codec", "pixels", "container"), CASES, ids=["-".join(case) for case in CASES])
def test_each_frame_is_the_one_of_its_moment(make_video: MakeVideo, codec: str, pixels: str, container: str) -> None:
    fps = 25 if container in STANDARD or codec in STANDARD else 10
    made = {"size": SIZE.get(codec, "128x64"), "pixels": pixels, "options": TABLE[codec][0]}
    try:
        path = make_video(f"clip.{container}", codec, fps=fps, frames=48, **made)
    except (AssertionError, subprocess.SubprocessError) as error:
        pytest.skip(f"this FFmpeg does not write it: {error}")
    clip = read_clip(path, Sampling(16))
    wanted = np.arange(16) * 3 + 1  # the middle of each of 16 equal parts
    assert frame_numbers(clip.frames) == np.round(clip.timestamps * fps).astype(int).tolist()
    # Not every container says for how long the last frame is shown.
    assert np.abs(clip.timestamps * fps - wanted).max() <= 1.01
