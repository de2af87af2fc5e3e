"""A video of which single frames cannot be had as they are to be, decoded in order into one of which they can.

FFmpeg's program is the last resort: it follows edits that begin between key frames, goes on after what is damaged,
scales pictures whose size changes, lays transparent ones on a ground and maps their light. What it decodes is kept
without loss, every frame a key frame.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vjepa_demo.errors import cut
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# Frames are laid on themselves, painted over: so they keep their times.
ON_GROUND = (
    "format=gbrap,split[under][picture];[under]lutrgb=r={0}:g={1}:b={2}:a=255[ground];"
    "[ground][picture]overlay=format=gbrp,format=bgr0"
)
# BT.2408: diffuse white is at 203 cd/m². What is brighter is rolled off above the middle of what is left (Möbius).
ROLLED_OFF = (
    "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt709,tonemap=mobius:param=0.6:desat=0:peak=5"
)
TONED = f"{ROLLED_OFF},zscale=transfer=bt709:matrix=bt709:range=limited,format=yuv420p"

SHARE = 0.7  # of the time that reading a file may take; the rest is for what came before and comes after


@contextlib.contextmanager
def decoded_in_order(
    path: Path, limits: Settings = settings, *, filters: str = "", decoder: str = ""
) -> Iterator[Path | None]:
    """The video in Matroska, upright, its frames at their times, for as long as the context; None where FFmpeg's
    program is missing, or gets nothing out of it in time.

    Args:
        path: the video.
        limits: how long it may take.
        filters: what is done to the frames, as FFmpeg names it.
        decoder: FFmpeg's name of the one to use; "" for its usual one.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
        copy = Path(folder) / "frames.mkv"
        source = ["-protocol_whitelist", "file", *(["-c:v", decoder] if decoder else []), "-i", f"file:{path}"]
        source += ["-map", "0:V:0", *(["-vf", filters] if filters else [])]
        lossless = ["-fps_mode", "passthrough", "-c:v", "ffv1", "-level", "3", "-g", "1", str(copy)]
        command = [program, "-v", "error", "-nostdin", *source, *lossless]
        try:
            done = subprocess.run(command, capture_output=True, timeout=limits.decode_seconds * SHARE, check=False)
            log.info("decoded in order: %s", cut(done.stderr.decode(errors="replace"), 300))
        except (subprocess.SubprocessError, OSError) as error:
            log.warning("not decoded in order: %s", error)
            yield None
            return
        yield copy if copy.is_file() and copy.stat().st_size else None


def toned(
    frames: np.ndarray, transfer: str, primaries: str = "bt2020", limits: Settings = settings
) -> np.ndarray | None:
    """Pictures of high dynamic range, uint8 `[T, 3, H, W]`, in sRGB, tone-mapped as videos are; None where FFmpeg's
    program is missing, or fails.

    Args:
        frames: the pictures.
        transfer, primaries: what light and which colours their values stand for, as FFmpeg names them.
        limits: how long it may take.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    count, _, height, width = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    said = f"setparams=color_trc={transfer}:color_primaries={primaries}:colorspace=gbr:range=pc"
    filters = f"{said},{ROLLED_OFF},zscale=transfer=iec61966-2-1,format=gbrp"
    command = [program, "-v", "error", *raw, "-video_size", f"{width}x{height}", "-i", "-", "-vf", filters, *raw, "-"]
    pixels = np.ascontiguousarray(frames.transpose(0, 2, 3, 1)).data
    try:
        done = subprocess.run(
            command, input=pixels, capture_output=True, timeout=limits.decode_seconds * SHARE, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        log.warning("not tone-mapped: %s", error)
        return None
    found = np.frombuffer(bytearray(done.stdout), np.uint8)
    return found.reshape(count, height, width, 3).transpose(0, 3, 1, 2) if found.size == frames.size else None
