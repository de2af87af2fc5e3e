"""What reading a file in a child costs: 16 frames of a 10 s 720p clip, in turn with and without the child, CPU.

The clip is H.264 of 300 frames at 1.5 Mbit/s: a moving test picture under light noise. The child was started before,
as the app does. Each pair is read in the other order than the one before it, so that what else the machine does falls
on both; the median of the pairs' ratios is printed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vjepa_demo.media import reader, worker
from vjepa_demo.media.clip import Clip

BAR = 1.1
PICTURE = "testsrc2=size=1280x720:rate=30,noise=alls=8:allf=t,format=yuv420p"


def make_clip(folder: Path) -> Path:
    path = folder / "clip.mp4"
    encoder = ["-c:v", "libx264", "-preset", "medium", "-b:v", "1500k", "-t", "10"]
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", PICTURE, *encoder, str(path)], check=True)
    return path


def milliseconds(read: Callable[[Path], Clip], path: Path) -> float:
    start = time.perf_counter()
    read(path)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--clip", type=Path, help="a clip to use instead of the one that is made")
    options = parser.parse_args()
    start = time.perf_counter()
    worker.warm()
    warm_ms = (time.perf_counter() - start) * 1e3
    with tempfile.TemporaryDirectory() as folder:
        return measure(options.clip or make_clip(Path(folder)), options.pairs, warm_ms)


def measure(path: Path, count: int, warm_ms: float) -> int:
    pairs = []
    for pair in range(count + 2):
        order = [reader.read_clip, worker.read_clip]
        times = {read: milliseconds(read, path) for read in (order if pair % 2 else order[::-1])}
        if pair >= 2:  # the first ones import
            pairs.append((times[reader.read_clip], times[worker.read_clip]))
    alone, child = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(child / alone for alone, child in pairs)
    print(f"{path.name}: alone {alone:.0f} ms, in the child {child:.0f} ms; warm() returns after {warm_ms:.1f} ms")
    print(f"ratio of {count} pairs: {ratio:.3f} (at most {BAR:g}): {'met' if ratio <= BAR else 'MISSED'}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
