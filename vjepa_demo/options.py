"""Options: how a file is embedded. Every value, its default, its check and its explanation stand here once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from vjepa_demo.errors import RequestError, cut
from vjepa_demo.settings import Settings, is_own_folder, settings

if TYPE_CHECKING:
    import numpy as np

SamplingMode = Literal["even", "fps"]
Fit = Literal["crop", "whole", "squash", "pad"]
Precision = Literal["auto", "fp32", "bf16"]
FITS = "crop, whole, squash or pad"

# V-JEPA 2 was pretrained on clips sampled at 4 frames a second (arXiv 2506.09985, section 2).
PRETRAINING_FPS = 4.0
# Seconds that keep a moment which falls on a frame's start from being rounded to the frame before it.
ROUNDING = 5e-4
# The model card embeds an image as 16 equal frames.
IMAGE_FRAMES = 16


@dataclass(frozen=True)
class Sampling:
    """Which moments of a video are taken.

    Attributes:
        frames: how many, an even number of at least 2 (a tubelet holds two frames).
        mode: "even" spreads them over the span; "fps" takes PRETRAINING_FPS a second from the start of the span.
        start, end: the span in seconds from the first frame; None means the end of the video.
    """

    frames: int = 16
    mode: SamplingMode = "even"
    start: float = 0.0
    end: float | None = None

    @property
    def name(self) -> str:
        """Mode and frames, e.g. "even-16": what two clips must share, whatever their spans."""
        return f"{self.mode}-{self.frames}"

    def check(self, limits: Settings = settings) -> None:
        """Raises RequestError where the numbers cannot be met by any video."""
        if self.frames < 2 or self.frames % 2:
            raise RequestError(
                f"The number of frames must be even and at least 2, not {cut(self.frames)}: "
                "the model reads frames in pairs (tubelets)."
            )
        if self.frames > limits.max_frames:
            raise RequestError(
                f"At most {limits.max_frames} frames can be sampled, not {cut(self.frames)}: ask for fewer."
            )
        if self.mode not in ("even", "fps"):
            raise RequestError(f"The sampling must be 'even' or 'fps', not {cut(self.mode)}.")
        if not math.isfinite(self.start) or self.start < 0:
            raise RequestError(f"The start of the span must be 0 seconds or later, not {self.start:g}.")
        if self.end is not None and not self.end > self.start:
            raise RequestError(f"The end of the span ({self.end:g} s) must be later than its start ({self.start:g} s).")

    def moments(self, duration: float) -> np.ndarray:
        """The moments to show, float64 `[frames]`, in seconds from the first frame of a video of this duration.

        "even" takes the middle of each of `frames` equal parts of the span, so that a span of exactly `frames` frames
        gives each of them once.

        Raises:
            RequestError: the span starts after the video has ended.
        """
        import numpy as np  # here, since the shell's help needs only the options' words

        if self.start >= duration:
            raise RequestError(
                f"The span starts at {self.start:g} s, but the video lasts {duration:.2f} s: start it earlier."
            )
        end = duration if self.end is None else min(self.end, duration)
        if self.mode == "fps":
            # The last moment of the span stands for all that lie beyond it.
            moments = self.start + np.arange(self.frames) / PRETRAINING_FPS
            return np.clip(moments, self.start, max(self.start, end - 2 * ROUNDING))
        return self.start + (np.arange(self.frames) + 0.5) * (end - self.start) / self.frames


@dataclass(frozen=True)
class Options:
    """How a file is embedded. The shell's flags and the inputs of the endpoints are made from these fields.

    Attributes:
        checkpoint: "auto" (`checkpoints.choose`), "nano", an id on the Hub, or a folder in transformers' format.
        frames: how many frames; None for as many as the checkpoint was trained on.
        start, end: the span, in seconds from the first frame; None means the end.
        sampling: see `Sampling.mode`.
        fit: how a picture becomes the model's input (`Encoder.encode`).
        precision: "auto" takes bf16 where it is faster.
    """

    checkpoint: str = field(
        default=settings.checkpoint,
        metadata={
            "help": "default: %(default)s; auto is ViT-L where a GPU is, else nano",
            "metavar": "auto|nano|HUB-ID|DIR",
        },
    )
    frames: int | None = field(
        default=None, metadata={"help": "how many frames (default: as the model was trained)", "metavar": "N"}
    )
    start: float = field(default=0.0, metadata={"help": "start of the span in seconds", "metavar": "S"})
    end: float | None = field(default=None, metadata={"help": "end of the span in seconds", "metavar": "S"})
    sampling: SamplingMode = field(
        default="even", metadata={"help": "spread, or 4 frames a second", "choices": get_args(SamplingMode)}
    )
    fit: Fit = field(
        default="crop", metadata={"help": "how the picture becomes the model's input", "choices": get_args(Fit)}
    )
    precision: Precision = field(default="auto", metadata={"choices": get_args(Precision)})

    def check(self) -> None:
        """Raises RequestError where an option is none of its choices."""
        if self.fit not in get_args(Fit):
            raise RequestError(f"The fit must be {FITS}, not {cut(self.fit)}.")
        if self.precision not in get_args(Precision):
            raise RequestError(f"The precision must be auto, fp32 or bf16, not {cut(self.precision)}.")


def page_fit(references: str | None = None) -> Fit:
    """The fit that the page begins with, where it shows these references, or those of the settings.

    Of the objects in clips of 16:9, `whole` finds most again (`assets/recipes/README.md`). A folder of references that
    the shell has built has vectors of `crop`, its default, and is not to be embedded anew.
    """
    return "crop" if is_own_folder(settings.references if references is None else references) else "whole"
