"""Training views, made where the model trains: crops of rendered clips, and pans over photographs with things in front.

A view is drawn at twice the model's size: the seer sees it so, and the student its mean over two by two pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from nano import GRID, MEAN, STD, STEPS
from PIL import Image
from seer import SIDE
from torch import Tensor

PHOTO = 640  # pixels of the long side of a photograph
CUTOUT = 256  # pixels of the long side of a cut-out
FRAMES = 2 * STEPS
MOST_CUTOUTS = 3

# How often a clip is drawn, by the last digit of its number: five of a label, three free scenes, two that pan over
# photographs. Free scenes move most and are of all kinds, the labels' often stand still, and `Photographs` pans itself.
WEIGHTS = (0.5,) * 5 + (2.5,) * 3 + (0.0,) * 2


@dataclass(frozen=True)
class Views:
    """`frames` `[B, 2T, 3, 256, 256]` in 0..1, and `positions` `[B, T·256]`, their patches' numbers in the grid."""

    frames: Tensor
    positions: Tensor


class Source(Protocol):
    """Where views come from: `batch` of them, of `steps` tubelets."""

    def __call__(self, rng: np.random.Generator, batch: int, steps: int) -> Views: ...


def as_input(frames: Tensor, side: int = SIDE // 2) -> Tensor:
    """Frames `[B, 2T, 3, 256, 256]` in 0..1 as the model takes them: normalised, at half the size."""
    small = F.avg_pool2d(frames.flatten(0, 1), frames.shape[-1] // side).unflatten(0, (len(frames), -1))
    mean, std = (torch.tensor(values, device=frames.device)[:, None, None] for values in (MEAN, STD))
    return (small - mean) / std


class Films:
    """Rendered clips of 16 frames at 128 px, on the device: the shards `[n, 16, 128, 128, 3]` uint8 of a folder."""

    def __init__(self, folder: Path, device: str = "cpu"):
        shards = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))]
        if not shards:
            raise FileNotFoundError(f"no clips in {folder}: render them first (render_clips.py training)")
        pixels = torch.cat([torch.from_numpy(shard) for shard in shards])
        self.pixels = pixels.permute(0, 1, 4, 2, 3).contiguous().to(device)
        weights = np.array([WEIGHTS[i % len(WEIGHTS)] for i in range(len(pixels))])
        self.shares = weights / weights.sum()

    def draw(self, rng: np.random.Generator, batch: int, frames: int) -> Tensor:
        """Crops of `batch` clips, the same in all frames, flipped at times: `[batch, frames, 3, SIDE, SIDE]`.

        The frames are neighbours or, where they suffice, every second one; never reversed in time: what falls would
        rise.
        """
        device, size = self.pixels.device, self.pixels.shape[-1]
        index = rng.choice(len(self.shares), size=batch, p=self.shares)
        stride = np.where((2 * frames <= FRAMES) & (rng.random(batch) < 0.5), 2, 1)
        first = rng.integers(FRAMES - (frames - 1) * stride)
        at = first[:, None] + stride[:, None] * np.arange(frames)
        pixels = self.pixels[torch.from_numpy(index).to(device)[:, None], torch.from_numpy(at).to(device)]
        span = rng.uniform(0.6, 1.0, batch) * size
        centre = rng.uniform(span[:, None] / 2, size - span[:, None] / 2, (batch, 2))
        flip = np.where(rng.random(batch) < 0.5, -1.0, 1.0)
        matrices = np.repeat(_placed(centre, span, 0 * span, flip, (size, size))[:, None], frames, axis=1)
        return _look(pixels, matrices, "bicubic").clamp_(0, 1)


class Photographs:
    """Photographs and cut-outs (pictures with transparency) of two folders, on the device."""

    def __init__(self, folder: Path, cutouts: Path | None = None, device: str = "cpu"):
        def buffer(paths: list[Path], mode: str, size: int) -> tuple[Tensor, np.ndarray]:
            pixels = np.zeros((len(paths), len(mode), size, size), np.uint8)
            sizes = np.empty((len(paths), 2))
            for i, path in enumerate(paths):
                with Image.open(path) as image:
                    picture = image.convert(mode)
                picture.thumbnail((size, size), Image.Resampling.LANCZOS)
                sizes[i] = picture.size
                pixels[i, :, : picture.height, : picture.width] = np.asarray(picture).transpose(2, 0, 1)
            return torch.from_numpy(pixels).to(device), sizes

        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        if not paths:
            raise FileNotFoundError(f"no photographs in {folder}")
        self.pixels, self.sizes = buffer(paths, "RGB", PHOTO)
        things = sorted(cutouts.rglob("*.webp")) if cutouts else []
        self.cutouts, self.cutout_sizes = buffer(things, "RGBA", CUTOUT)

    def draw(self, rng: np.random.Generator, batch: int, frames: int) -> Tensor:
        """A camera glides over `batch` photographs, things pass before it: `[batch, frames, 3, SIDE, SIDE]`.

        Centre, zoom and turn change along straight lines, by so much that a clip of sixteen frames goes some way.
        """
        device = self.pixels.device
        index = rng.integers(len(self.pixels), size=batch)
        short = self.sizes[index].min(axis=1)
        time = (np.arange(frames) / (FRAMES - 1))[None, :] * np.where(rng.random((batch, 1)) < 0.3, 0.0, 1.0)
        span = (rng.uniform(0.3, 0.95, batch) * short)[:, None] * np.exp(rng.normal(0, 0.25, (batch, 1)) * time)
        turn = rng.normal(0, 6, (batch, 1)) + rng.normal(0, 8, (batch, 1)) * time
        drift = rng.normal(0, 0.25, (batch, 1, 2)) * span[:, :1, None] * time[..., None]
        room = np.maximum(self.sizes[index][:, None] - span[..., None].max(1, keepdims=True), 0)
        centre = span[..., None].max(1, keepdims=True) / 2 + rng.random((batch, 1, 2)) * room + drift
        flip = np.where(rng.random((batch, 1)) < 0.5, -1.0, 1.0)
        sizes = (self.pixels.shape[-1],) * 2
        source = self.pixels[torch.from_numpy(index).to(device)]
        matrices = _placed(_inside(centre, span, self.sizes[index]), span, np.radians(turn), flip, sizes)
        picture = _look(source, matrices)
        for layer in range(MOST_CUTOUTS if len(self.cutouts) else 0):
            shown = rng.random(batch) < 0.6 / (1 + 0.5 * layer)
            index = rng.integers(len(self.cutouts), size=batch)
            size = rng.uniform(0.15, 0.6, (batch, 1)) * SIDE / CUTOUT * np.exp(rng.normal(0, 0.2, (batch, 1)) * time)
            turn = rng.normal(0, 10, (batch, 1)) + rng.normal(0, 25, (batch, 1)) * time
            own = np.arange(frames) / (FRAMES - 1)  # a thing may move while the camera stands still
            path = rng.uniform(0.05, 0.95, (batch, 1, 2)) + rng.normal(0, 0.3, (batch, 1, 2)) * own[:, None]
            # the cut-out as seen from the view: the inverse of where it is put
            span = SIDE / size
            offset = (0.5 - path) * span[..., None]
            radians, flip = np.radians(turn), np.where(rng.random((batch, 1)) < 0.5, -1.0, 1.0)
            cos, sin = np.cos(radians), np.sin(radians)
            x, y = offset[..., 0] * flip, offset[..., 1]
            middle = self.cutout_sizes[index][:, None] / 2
            centre = middle + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
            matrices = _placed(centre, span, radians, flip, (CUTOUT, CUTOUT))
            thing = _look(self.cutouts[torch.from_numpy(index).to(device)], matrices)
            alpha = thing[:, :, 3:] * torch.from_numpy(shown).to(device)[:, None, None, None, None]
            picture = torch.lerp(picture, thing[:, :, :3], alpha)
        return picture


def _inside(centre: np.ndarray, span: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres moved so that squares of `span` stay within pictures of `sizes`, as far as they fit."""
    half, sizes = span[..., None] / 2, sizes[:, None]
    return np.clip(centre, np.minimum(half, sizes / 2), np.maximum(sizes - half, sizes / 2))


def _placed(
    centre: np.ndarray, span: np.ndarray, radians: np.ndarray, flip: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Matrices `[..., 2, 3]` for `affine_grid`: the square of `span` pixels around `centre` (x, y), turned, flipped."""
    width, height = size
    cos, sin = np.cos(radians) * span, np.sin(radians) * span
    flip = np.broadcast_to(flip, cos.shape)
    rows = [
        np.stack([cos * flip / width, -sin / width, 2 * centre[..., 0] / width - 1], axis=-1),
        np.stack([sin * flip / height, cos / height, 2 * centre[..., 1] / height - 1], axis=-1),
    ]
    return np.stack(rows, axis=-2)


def _look(pixels: Tensor, matrices: np.ndarray, mode: str = "bilinear") -> Tensor:
    """Pictures uint8 `[B, C, H, W]`, or one for each frame `[B, F, C, H, W]`, seen through `matrices` `[B, F, 2, 3]`:
    `[B, F, C, SIDE, SIDE]` in 0..1; nothing (0) beyond a picture with transparency, its edge repeated beyond others."""
    batch, frames = matrices.shape[:2]
    theta = torch.from_numpy(matrices.reshape(-1, 2, 3)).float().to(pixels.device)
    if pixels.ndim == 5:
        grid = F.affine_grid(theta, [batch * frames, 1, SIDE, SIDE], align_corners=False)
        out = F.grid_sample(pixels.flatten(0, 1).float() / 255, grid, mode, "border", align_corners=False)
        return out.unflatten(0, (batch, frames))
    # all frames of a picture at once, below one another: it need not be copied for each
    grid = F.affine_grid(theta, [batch * frames, 1, SIDE, SIDE], align_corners=False).view(batch, -1, SIDE, 2)
    padding = "zeros" if pixels.shape[1] == 4 else "border"
    out = F.grid_sample(pixels.float() / 255, grid, mode, padding, align_corners=False)
    return out.unflatten(2, (frames, SIDE)).transpose(1, 2)


def recolour(rng: np.random.Generator, frames: Tensor) -> Tensor:
    """Brightness, contrast, saturation and a tint, drawn once for each clip of `frames` `[B, F, 3, S, S]` in 0..1."""
    batch, device = len(frames), frames.device

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (batch, *(shape or (1, 1, 1, 1))))).float().to(device)

    grey = frames.mean(2, keepdim=True)
    frames = grey + (frames - grey) * drawn(0.5, 1.3)
    middle = grey.mean(dim=(1, 2, 3, 4), keepdim=True)
    gain = drawn(0.75, 1.25) * drawn(0.9, 1.1, 1, 3, 1, 1)
    return ((frames - middle) * gain + middle + drawn(-0.1, 0.1)).clamp_(0, 1)


def draw_views(
    films: Films, photographs: Photographs | None, rng: np.random.Generator, batch: int, steps: int
) -> Views:
    """`batch` views of `steps` tubelets: half of them rendered, half over photographs, where there are any."""
    panned = batch // 2 if photographs else 0
    parts = [films.draw(rng, batch - panned, 2 * steps)]
    if photographs and panned:
        parts.append(photographs.draw(rng, panned, 2 * steps))
    frames = recolour(rng, torch.cat(parts))
    first = rng.integers(STEPS - steps + 1, size=(batch, 1))
    positions = first * GRID * GRID + np.arange(steps * GRID * GRID)
    return Views(frames, torch.from_numpy(positions).to(frames.device))
