"""What needs no learning: descriptions of patches and clips by colour, pixels and motion."""

from __future__ import annotations

import numpy as np

GRID = 16


def _cells(frames: np.ndarray) -> np.ndarray:
    """uint8 frames `[16, 128, 128, 3]` as patches `[8, 16, 16, 2, 8, 8, 3]`."""
    t, height, width, _ = frames.shape
    cells = frames.reshape(t // 2, 2, GRID, height // GRID, GRID, width // GRID, 3)
    return cells.transpose(0, 2, 4, 1, 3, 5, 6).astype(np.float32) / 255


def patch_colour(frames: np.ndarray) -> np.ndarray:
    """Mean colour of every patch, `[8, 16, 16, 3]`."""
    return _cells(frames).mean(axis=(3, 4, 5))


def patch_pixels(frames: np.ndarray) -> np.ndarray:
    """Pixels of every patch with mean 0 and deviation 1 within the patch, `[8, 16, 16, 384]` at 128 px."""
    pixels = _cells(frames).reshape(frames.shape[0] // 2, GRID, GRID, -1)
    return (pixels - pixels.mean(-1, keepdims=True)) / (pixels.std(-1, keepdims=True) + 1e-3)


def colour_histogram(frames: np.ndarray) -> np.ndarray:
    """Square roots of the shares of 8 x 8 x 8 colours, `[512]` (their product is the Bhattacharyya coefficient)."""
    bins = (frames.reshape(-1, 3) // 32).astype(np.int64) @ np.array([64, 8, 1])
    return np.sqrt(np.bincount(bins, minlength=512) / len(bins))


def motion_energy(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference between neighbouring frames in 8 x 8 regions, over time: `[15 * 64]`."""
    grey = frames.astype(np.float32).mean(axis=3)
    t, height, width = grey.shape
    return np.abs(np.diff(grey, axis=0)).reshape(t - 1, 8, height // 8, 8, width // 8).mean(axis=(2, 4)).ravel()
