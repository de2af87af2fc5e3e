"""Frames of a video that cannot be had one by one as they are to be, decoded in order from its beginning.

FFmpeg's program is the last resort: it follows edits that begin between key frames, goes on after what is damaged,
scales pictures whose size changes, lays transparent ones on a ground and maps their light. It decodes twice: to tell
when each frame is shown, and to keep those that are wanted, without loss. To keep all of them would take ten times as
long, and gigabytes.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vjepa_demo.errors import MediaError, cut
from vjepa_demo.media.containers import check_room
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
EACH = ("-fps_mode", "passthrough", "-enc_time_base", "-1")  # every frame once, at its own time
SMALL = "scale=16:16:flags=neighbor,format=gray"  # a list of frames has a checksum of each
NO_TIME = -(2**63)
NEAR = 2e-3  # seconds; Matroska counts in milliseconds
TOO_LONG = (
    "Single frames of this video cannot be found, and to decode all of it takes longer than is given to one file: cut "
    "it, or export it again."
)


@dataclass(frozen=True, eq=False)
class Times:
    """When the frames of a video that can be decoded are shown.

    Attributes:
        begin: seconds at which FFmpeg shows the first one.
        starts: float64 `[N]`, seconds from there, ascending.
        duration: seconds until the last one is over.
    """

    begin: float
    starts: np.ndarray
    duration: float


class InOrder:
    """The frames of one stream of a video, from its beginning, within a time.

    Args:
        path: the video.
        limits: how long it may take.
        stream: which one, as FFmpeg's `-map` names it.
        decoder: FFmpeg's name of the one to use; "" for its usual one.

    Raises, as its methods do:
        MediaError: FFmpeg's program is missing, or gets nothing out of it in time.
        DiskError: there is no room for the frames.
    """

    def __init__(self, path: Path, limits: Settings = settings, *, stream: str = "0:V:0", decoder: str = "") -> None:
        self._until = time.monotonic() + limits.decode_seconds * SHARE
        source = ["-protocol_whitelist", "file", *(["-c:v", decoder] if decoder else []), "-i", f"file:{path}"]
        self._source = [*source, "-map", stream]

    def times(self) -> Times:
        """When the frames are shown."""
        told = self._run("-vf", SMALL, *EACH, "-f", "framecrc", "-")
        base = re.search(rb"#tb 0: (\d+)/(\d+)", told)
        rows = [line.split(b",")[2:4] for line in told.splitlines() if not line.startswith(b"#")]
        ticks = np.array([row for row in rows if int(row[0]) != NO_TIME], dtype=np.int64).reshape(-1, 2)
        if base is None or not len(ticks):
            raise MediaError("The video holds no frames that can be decoded: export it again.")
        seconds = ticks * (int(base[1]) / int(base[2]))
        starts = np.maximum.accumulate(seconds[:, 0])
        last = seconds[-1, 1] if seconds[-1, 1] > 0 else float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
        return Times(float(starts[0]), starts - starts[0], float(starts[-1] - starts[0]) + last)

    @contextlib.contextmanager
    def frames(self, moments: Sequence[float], filters: str = "") -> Iterator[Path]:
        """The frames that begin at these times of FFmpeg's, in Matroska, upright, for as long as the context.

        Args:
            moments: ascending; no frame of the video may begin as near to one as another does.
            filters: what is done to them, as FFmpeg names it.
        """
        with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
            # By time: where the size of the pictures changes, FFmpeg begins to count anew.
            wanted = "+".join(f"lt(abs(t-{moment:.6f}),{5e-5})" for moment in moments)
            chosen = ",".join([f"select='{wanted}'", *([filters] if filters else [])])
            copy = Path(folder) / "frames.mkv"
            self._run("-vf", chosen, *EACH, "-c:v", "ffv1", "-level", "3", "-g", "1", str(copy))
            yield copy

    def _run(self, *arguments: str) -> bytes:
        program = shutil.which("ffmpeg")
        if program is None:
            raise MediaError("FFmpeg's program is missing: install it (apt-get install ffmpeg).")
        command = [program, "-v", "error", "-nostdin", *self._source, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=max(0.1, self._until - time.monotonic()), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MediaError(TOO_LONG) from error
        check_room(done.stderr)
        if done.stderr:
            log.info("decoded in order: %s", cut(done.stderr.decode(errors="replace"), 300))
        return done.stdout


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
