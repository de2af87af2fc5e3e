"""A video of which single frames cannot be found, decoded from its beginning into one of which they can.

FFmpeg's program is the last resort: it follows edits that begin between key frames, goes on after what is damaged, and
scales pictures whose size changes. What it decodes is kept without loss, every frame a key frame.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vjepa_demo.errors import cut
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

SHARE = 0.7  # of the time that reading a file may take; the rest is for what came before and comes after


@contextlib.contextmanager
def decoded_in_order(path: Path, limits: Settings = settings) -> Iterator[Path | None]:
    """The video in Matroska, upright, its frames at their times, for as long as the context; None where FFmpeg's
    program is missing, or gets nothing out of it in time."""
    program = shutil.which("ffmpeg")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
        copy = Path(folder) / "frames.mkv"
        source = ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:V:0"]
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
