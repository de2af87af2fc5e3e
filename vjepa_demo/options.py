"""What can be asked for: how a file is embedded (`Options`), and what is to be seen of it (`Question`).

Every value, its default, its check and its explanation stand here once; the shell's flags and the inputs of the
endpoints are made of them.
"""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from vjepa_demo.errors import RequestError, cut
from vjepa_demo.settings import Settings, is_own_folder, settings

if TYPE_CHECKING:
    import numpy as np

SamplingMode = Literal["even", "fps"]
Fit = Literal["crop", "whole", "squash", "pad"]
Precision = Literal["auto", "fp32", "bf16"]
Written = Literal["png", "npz"]
# Another order of a clip's frames than that of time.
Order = Literal["reversed", "shuffled", "frozen", "fast"]
# What is made of a video of high dynamic range: taken as it is stored, as the model card does, or tone-mapped.
Hdr = Literal["stored", "toned"]
# How the tokens of a clip become one vector: their mean, how much they change, where and when, or what the checkpoint's
# classifier makes of them.
Pooling = Literal["mean", "motion", "probe"]
FITS = "crop, whole, squash or pad"

# V-JEPA 2 was pretrained on clips sampled at 4 frames a second (arXiv 2506.09985, section 2).
PRETRAINING_FPS = 4.0
# Seconds that keep a moment which falls on a frame's start from being rounded to the frame before it.
ROUNDING = 5e-4
SHORT = 1e-3  # seconds: a video of 4 s may say that it lasts 3.9999 s
# The model card embeds an image as 16 equal frames.
IMAGE_FRAMES = 16


@dataclass(frozen=True)
class Sampling:
    """Which moments of a video are taken.

    Attributes:
        frames: how many, an even number of at least 2 (a tubelet holds two frames).
        mode: "even" spreads them over the span; "fps" takes PRETRAINING_FPS a second from the start of the span.
        start, end: the span in seconds from the first frame; None means the end of the video.
        hdr: what a video of high dynamic range becomes; others are the same either way, and so is `name`: what is
            tone-mapped may be compared with them.
        order: in which the frames are, where that is not the order of time (`orders.reordered`).
    """

    frames: int = 16
    mode: SamplingMode = "even"
    start: float = 0.0
    end: float | None = None
    hdr: Hdr = "stored"
    order: Order | None = None

    @property
    def name(self) -> str:
        """Mode and frames, e.g. "even-16", and the order if it is another than that of time: what two clips must share,
        whatever their spans."""
        return f"{self.mode}-{self.frames}" + (f"-{self.order}" if self.order else "")

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
        if self.hdr not in get_args(Hdr):
            raise RequestError(f"An HDR video must be taken as 'stored' or 'toned', not {cut(self.hdr)}.")
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


MOST_WINDOWS = 100_000  # of one file


@dataclass(frozen=True)
class Cut:
    """A long video is cut into windows of `length` seconds, one every `stride` seconds."""

    length: float = 4.0
    stride: float = 2.0

    def check(self) -> None:
        """Raises RequestError."""
        if not all(math.isfinite(x) and x > 0 for x in (self.length, self.stride)):
            raise RequestError("A window and its stride must be longer than 0 seconds.")

    def spans(self, start: float, end: float) -> list[tuple[float, float]]:
        """The windows of a span. The last one ends with it, so that nothing is left out; a span that is shorter than a
        window is one. Raises RequestError where there are too many."""
        if end - start <= self.length + SHORT:
            return [(start, end)]
        count = (end - start - self.length + SHORT) // self.stride + 1
        if count > MOST_WINDOWS:
            raise RequestError(
                f"A file would be cut into more than {MOST_WINDOWS:,} windows: take longer ones, with a longer stride."
            )
        count = int(count)
        begins = [start + number * self.stride for number in range(count)]
        if end - begins[-1] - self.length > SHORT:
            begins.append(end - self.length)
        return [(round(begin, 6), round(min(begin + self.length, end), 6)) for begin in begins]


@dataclass(frozen=True)
class Options:
    """How a file is embedded.

    Attributes:
        checkpoint: "auto" (`checkpoints.choose`), "nano", an id on the Hub, or a folder in transformers' format.
        frames: how many frames; None for as many as the checkpoint was trained on.
        start, end: the span, in seconds from the first frame; None means the end.
        sampling: see `Sampling.mode`.
        fit: how a picture becomes the model's input (`Encoder.encode`).
        precision: "auto" takes bf16 where that was measured to be faster.
        hdr: see `Sampling.hdr`.
    """

    checkpoint: str = field(
        default=settings.checkpoint,
        metadata={
            "help": "nano, an id on the Hub or a folder (default: %(default)s); auto: ViT-L where a GPU is, else nano",
            "metavar": "auto|nano|HUB-ID|DIR",
        },
    )
    frames: int | None = field(
        default=None,
        metadata={"help": "how many frames, an even number (default: as the model was trained)", "metavar": "N"},
    )
    start: float = field(default=0.0, metadata={"help": "start of the span in seconds", "metavar": "S"})
    end: float | None = field(
        default=None, metadata={"help": "end of the span in seconds (default: the end of the video)", "metavar": "S"}
    )
    sampling: SamplingMode = field(
        default="even",
        metadata={"help": "frames spread over the span, or 4 frames a second (fps)", "choices": get_args(SamplingMode)},
    )
    fit: Fit = field(
        default="crop",
        metadata={
            "help": "how the picture becomes the model's input: its middle (crop), all of it on a wider or higher grid "
            "(whole), squeezed (squash) or with bars (pad)",
            "choices": get_args(Fit),
        },
    )
    precision: Precision = field(
        default="auto",
        metadata={"help": "auto takes bf16 where that was measured to be faster", "choices": get_args(Precision)},
    )
    hdr: Hdr = field(
        default="stored",
        metadata={
            "help": "an HDR video (PQ, HLG) as it is stored, which looks dull, or tone-mapped (toned)",
            "choices": get_args(Hdr),
        },
    )

    def check(self) -> None:
        """Raises RequestError where an option is none of its choices."""
        if self.fit not in get_args(Fit):
            raise RequestError(f"The fit must be {FITS}, not {cut(self.fit)}.")
        if self.precision not in get_args(Precision):
            raise RequestError(f"The precision must be auto, fp32 or bf16, not {cut(self.precision)}.")


@dataclass(frozen=True)
class Question:
    """What is asked of a file, beside `Options`. Each command and each endpoint takes those that it names.

    Attributes:
        file: what is embedded.
        at: a patch, as `explore.parse_position` reads it.
        raw: whether similarity is that of the tokens themselves.
        k: how many neighbours, or labels.
        pooling: how a clip becomes the vector that is compared.
        window, stride, contexts: see `surprise.Windows`.
        out: which file is made of scores; in the shell its name says so.
    """

    file: str = field(default="", metadata={"help": "a video or an image"})
    at: str = field(
        default="0,0,0",
        metadata={"help": "the patch: time step, row and column, counted from 0", "metavar": "STEP,ROW,COL"},
    )
    raw: bool = field(default=False, metadata={"help": "do not subtract the clip's mean token first"})
    k: int = field(
        default=5, metadata={"help": "how many neighbours, or labels (default: %(default)s)", "metavar": "K"}
    )
    pooling: Pooling = field(
        default="mean",
        metadata={
            "help": "compare what clips show (mean), how they move (motion), or what the checkpoint's classifier "
            "makes of them (probe)",
            "choices": get_args(Pooling),
        },
    )
    window: int = field(default=16, metadata={"help": "frames of a window (default: %(default)s)", "metavar": "N"})
    stride: int = field(
        default=2, metadata={"help": "frames from one window to the next (default: %(default)s)", "metavar": "N"}
    )
    contexts: str = field(
        default="2,4,6,8,10",
        metadata={"help": "how many frames of a window are shown (default: %(default)s)", "metavar": "N,N,…"},
    )
    out: Written = field(
        default="png",
        metadata={"help": "the scores as a picture (png), or as they are (npz)", "choices": get_args(Written)},
    )


def described(option: Field[Any]) -> str:
    """What an option is for, in the words of the shell's help."""
    return option.metadata["help"] % {"default": option.default}


def page_fit(references: str | None = None) -> Fit:
    """The fit that the page begins with, where it shows these references, or those of the settings.

    Of the objects in clips of 16:9, `whole` finds most again (`assets/recipes/README.md`). A folder of references that
    the shell has built has vectors of `crop`, its default, and is not to be embedded anew.
    """
    return "crop" if is_own_folder(settings.references if references is None else references) else "whole"
