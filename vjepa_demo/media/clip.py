"""The Clip: frames with their times, and what file they are from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vjepa_demo.options import Sampling

HDR_TOLD = "is HDR"  # in a note on what became of its light


@dataclass(frozen=True)
class Source:
    """What the file was. Sizes are of the upright picture with square pixels."""

    kind: Literal["video", "image"]
    width: int
    height: int
    codec: str
    duration: float = 0.0
    fps: float = 0.0
    frame_count: int = 1
    rotation: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Clip:
    """Frames as they were sampled, upright, with square pixels.

    Attributes:
        frames: uint8 `[T, 3, H, W]`; an image is a clip of one frame.
        timestamps: float64 `[T]`, seconds from the first frame of the video, of the frames that were really shown.
        source: what the file was.
        sampling: how the frames were chosen.
        notes: sentences about what had to be done differently from what was asked.

    Raises:
        ValueError: the arrays are not of these shapes.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    source: Source
    sampling: Sampling
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [T, 3, H, W], not {self.frames.dtype} {list(self.frames.shape)}")
        if self.timestamps.shape != self.frames.shape[:1]:
            raise ValueError(f"{len(self.frames)} frames need as many timestamps, not {list(self.timestamps.shape)}")

    def __repr__(self) -> str:
        span = "" if self.is_image else f" at {self.timestamps[0]:.2f} to {self.timestamps[-1]:.2f} s"
        return f"Clip({self.source.kind}, frames {list(self.frames.shape)}{span})"

    @property
    def is_image(self) -> bool:
        return self.source.kind == "image"

    @property
    def is_hdr(self) -> bool:
        """Whether it is of high dynamic range, whatever became of that."""
        return any(HDR_TOLD in note for note in self.notes)
