"""Everything that happens to an upload, against the model's own forward pass: nano, 16 frames of a 10 s 720p clip, CPU.

The clip is H.264 of 300 frames: a zoom into the Mandelbrot set under light, moving noise, at 1.5 Mbit/s, which costs
a decoder about as much as a filmed clip of that size from the web. Both are timed in turn in one process, so that what
else the machine does falls on both. Nearly all of the decoding is FFmpeg's: every frame since the last key frame has to
be decoded to see one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vjepa_demo import explore
from vjepa_demo.embedder import Embedder
from vjepa_demo.errors import ReferencesError
from vjepa_demo.options import Options
from vjepa_demo.references import current
from vjepa_demo.references.preparing import prepare
from vjepa_demo.views.similarity import pack

BAR = 3.0
PICTURE = "mandelbrot=size=1280x720:rate=30,noise=alls=8:allf=t,format=yuv420p"


def make_clip(folder: Path) -> Path:
    path = folder / "clip.mp4"
    encoder = ["-c:v", "libx264", "-preset", "medium", "-b:v", "1500k", "-t", "10"]
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", PICTURE, *encoder, str(path)], check=True)
    return path


def milliseconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clip", type=Path, help="a clip to use instead of the one that is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return measure(options.clip or make_clip(Path(folder)), options.runs)


def measure(path: Path, runs: int) -> int:
    options = Options(frames=16)
    embedder = Embedder.open(options)
    encoder = embedder.encoder
    frames = torch.from_numpy(encoder.preprocess(embedder.read(path))[0])[None]
    try:
        references = prepare(current.folder(), embedder, embedder.pooling)
    except ReferencesError:
        references = None
    stages: dict[str, list[float]] = {name: [] for name in ("decode", "preprocess", "encode", "pack", "place")}

    def upload() -> None:
        result = explore.embed(path, options)
        packing = milliseconds(lambda: pack(result.embedding, result.clip))
        placing = milliseconds(lambda: references.compare(result.vector).flat) if references else 0.0
        for name, value in {**result.embedding.timings_ms, "pack": packing, "place": placing}.items():
            stages[name].append(value)

    forward_ms, upload_ms = [], []
    for run in range(runs + 2):
        forward, whole = milliseconds(lambda: encoder.forward(frames)), milliseconds(upload)
        if run >= 2:  # the first ones fill caches
            forward_ms.append(forward)
            upload_ms.append(whole)
    forward, whole = statistics.median(forward_ms), statistics.median(upload_ms)
    parts = ", ".join(f"{name} {statistics.median(values[2:]):.0f}" for name, values in stages.items())
    megabits = path.stat().st_size * 8 / 1e6
    print(f"clip: {path.name}, {megabits:.0f} Mbit; {encoder.checkpoint.id}, {encoder.precision}, {encoder.device}")
    print(f"forward pass alone: {forward:.0f} ms; everything after the upload: {whole:.0f} ms ({parts})")
    if references is None:
        print("there are no reference clips: the place on the map is left out")
    print(f"ratio: {whole / forward:.2f} (at most {BAR:g}): {'met' if whole <= BAR * forward else 'MISSED'}")
    return 0 if whole <= BAR * forward else 1


if __name__ == "__main__":
    raise SystemExit(main())
