"""What reading a file in a child costs: 16 frames of a 10 s 720p clip, in turn with and without the child, CPU.

And what a file costs until it is nano's input, in turn with the way of the model cards (torchcodec's decoder as it is,
the same frames, `AutoVideoProcessor`): that clip and an example.

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
from typing import Any

import numpy as np
import torch

from vjepa_demo.embedder import Embedder
from vjepa_demo.media import reader, worker
from vjepa_demo.options import Options
from vjepa_demo.settings import ASSETS

BAR = 1.1
EXAMPLE = ASSETS / "examples" / "dominoes.mp4"
PICTURE = "testsrc2=size=1280x720:rate=30,noise=alls=8:allf=t,format=yuv420p"


def make_clip(folder: Path) -> Path:
    path = folder / "clip.mp4"
    encoder = ["-c:v", "libx264", "-preset", "medium", "-b:v", "1500k", "-t", "10"]
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", PICTURE, *encoder, str(path)], check=True)
    return path


def milliseconds(read: Callable[[Path], Any], path: Path) -> float:
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
        path = options.clip or make_clip(Path(folder))
        failed = measure(path, options.pairs, warm_ms)
        for file in (path, EXAMPLE):
            compare_with_the_card(file, options.pairs)
        return failed


def in_turn(first: Callable[[Path], Any], second: Callable[[Path], Any], path: Path, count: int) -> list[list[float]]:
    """Milliseconds of both, pair by pair, the first ones, which import, left out."""
    pairs = []
    for pair in range(count + 2):
        times = {each: milliseconds(each, path) for each in ((first, second) if pair % 2 else (second, first))}
        pairs.append([times[first], times[second]])
    return pairs[2:]


def compare_with_the_card(path: Path, count: int) -> None:
    from torchcodec.decoders import VideoDecoder
    from transformers import AutoVideoProcessor

    embedder = Embedder.open(Options("nano", frames=16, precision="fp32"))
    processor = AutoVideoProcessor.from_pretrained(ASSETS / "nano")
    clip, meta = embedder.read(path), VideoDecoder(path).metadata
    indices = np.rint(clip.timestamps * meta.average_fps).astype(int).tolist()

    def card(path: Path) -> torch.Tensor:
        video = VideoDecoder(path).get_frames_at(indices=indices).data
        return processor(video, return_tensors="pt")["pixel_values_videos"]

    def ours(path: Path) -> torch.Tensor:
        frames, _ = embedder.encoder.preprocess(embedder.read(path))
        return embedder.encoder.normalise(torch.from_numpy(frames)[None])

    assert torch.equal(card(path), ours(path)), "the same input, bit by bit"
    pairs = in_turn(card, ours, path, count)
    (theirs, own), ratios = map(statistics.median, zip(*pairs, strict=True)), [card / ours for card, ours in pairs]
    print(
        f"{path.name} to nano's input: the card's way {theirs:.0f} ms, ours {own:.0f} ms; ratio of {count} pairs: "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def measure(path: Path, count: int, warm_ms: float) -> int:
    pairs = in_turn(reader.read_clip, worker.read_clip, path, count)
    alone, child = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(child / alone for alone, child in pairs)
    print(f"{path.name}: alone {alone:.0f} ms, in the child {child:.0f} ms; warm() returns after {warm_ms:.1f} ms")
    print(f"ratio of {count} pairs: {ratio:.3f} (at most {BAR:g}): {'met' if ratio <= BAR else 'MISSED'}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
