"""Training clips from a folder of uint8 shards, as augmented views with every patch's place in the model's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from nano import GRID, MEAN, STD, STEPS
from torch import Tensor

# How often a clip is drawn, by the last digit of its number: five of a label, three free scenes, two photographs. Free
# scenes move most and are of all kinds; the labels' scenes often stand still.
WEIGHTS = (0.5,) * 5 + (2.0,) * 3 + (0.75,) * 2


class Shards:
    """All clips of `folder/*.npy`, each shard `[n, T, H, W, 3]` uint8, read as they are needed.

    A renderer may still be adding shards: `rescan` takes up new ones. A shard must appear under its name only when it
    is complete.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._shards: dict[str, np.ndarray] = {}
        self.rescan()

    def rescan(self) -> int:
        """Take up new shards and return the number of clips."""
        for path in sorted(self.folder.glob("*.npy")):
            if path.name in self._shards:
                continue
            try:
                shard = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError, EOFError):  # still being written
                continue
            if shard.ndim == 5 and shard.dtype == np.uint8:
                self._shards[path.name] = shard
        order = [self._shards[name] for name in sorted(self._shards)]
        self._where = [(shard, i) for shard in order for i in range(len(shard))]
        weights = np.array([WEIGHTS[i % len(WEIGHTS)] for _, i in self._where])
        self._shares = np.cumsum(weights) / weights.sum() if len(weights) else weights
        return len(self._where)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of `count` clips, with repetition, as often as `WEIGHTS` says."""
        return np.searchsorted(self._shares, rng.random(count), side="right").clip(max=len(self) - 1)

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> np.ndarray:
        shard, i = self._where[index]
        return shard[i]


@dataclass(frozen=True)
class Views:
    """`pixels` `[B, T, 3, S, S]`, normalised, and `positions` `[B, N]`, patches' numbers in the model's grid."""

    pixels: Tensor
    positions: Tensor


def _crop(rng: np.random.Generator, clip: np.ndarray, share: tuple[float, float], out: int) -> Tensor:
    """A random square of the clip, the same in all frames, flipped at times: `[T, 3, out, out]` in 0..255.

    Never reversed in time: what falls would rise.
    """
    height, width = clip.shape[1:3]
    side = round(min(height, width) * rng.uniform(*share))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    part = clip[:, y : y + side, x : x + side]
    if rng.random() < 0.5:
        part = part[:, :, ::-1]
    frames = torch.from_numpy(part.copy()).permute(0, 3, 1, 2).float()
    return F.interpolate(frames, size=(out, out), mode="bilinear", antialias=side > out, align_corners=False)


def _colours(rng: np.random.Generator, frames: Tensor) -> Tensor:
    """Brightness, contrast, saturation and a tint, drawn once for the clip."""
    gain = torch.tensor(rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, (1, 3, 1, 1)), dtype=torch.float32)
    shift = rng.uniform(-25, 25)
    grey = frames.mean(1, keepdim=True)
    frames = grey + (frames - grey) * rng.uniform(0.6, 1.3)
    middle = float(grey.mean())
    return ((frames - middle) * gain + middle + shift).clamp_(0, 255)


def window_positions(rng: np.random.Generator, side: int, steps: int, spread: bool) -> np.ndarray:
    """Token numbers `[steps * side * side]` of a view of `steps` x `side` x `side` tokens inside the model's grid.

    A view as large as the grid stands where it is. A smaller one is a close-up, which takes a random window of
    neighbouring places, or (`spread`) the whole frame at a lower resolution, which takes every second place.
    """
    stride = GRID // side if spread else 1
    y, x = (rng.integers(GRID - (side - 1) * stride, size=2)) if side < GRID else (0, 0)
    rows = y + stride * np.arange(side)
    columns = x + stride * np.arange(side)
    times = rng.integers(STEPS - steps + 1) + np.arange(steps)
    return (times[:, None, None] * GRID * GRID + rows[:, None] * GRID + columns).ravel()


def _span(rng: np.random.Generator, clip: np.ndarray, frames: int) -> np.ndarray:
    """`frames` of the clip's frames, all of them or a part: neighbours, or at times every second one."""
    stride = 2 if 2 * frames <= len(clip) and rng.random() < 0.5 else 1
    first = rng.integers(len(clip) - (frames - 1) * stride)
    return clip[first : first + frames * stride : stride]


def sample_views(rng: np.random.Generator, clips: Shards, batch: int, side: int, steps: int) -> Views:
    """Draw `batch` views of `steps` tubelets of 2 frames and `side` x `side` patches of 8 px.

    Half of the small ones are close-ups at about the clip's own scale, half show nearly all of it at half the scale.
    """
    views, positions = [], []
    for index in clips.draw(rng, batch):
        spread = side < GRID and rng.random() < 0.5
        share = (0.75, 1.0) if spread or side == GRID else (0.4, 0.7)
        frames = _crop(rng, _span(rng, clips[int(index)], 2 * steps), share, side * 8)
        views.append(_colours(rng, frames))
        positions.append(window_positions(rng, side, steps, spread))
    pixels = torch.stack(views).div_(255)
    pixels.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])
    return Views(pixels=pixels, positions=torch.from_numpy(np.stack(positions)))
