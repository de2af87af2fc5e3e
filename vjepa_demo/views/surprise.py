"""Where a clip is not what the predictor expected: the error of its forecasts, a time step and a patch.

After "Intuitive physics understanding emerges from self-supervised pretraining on natural videos" (Garrido et al.,
arXiv 2502.11831): windows slide over the clip, the beginning of each is shown, and what is expected of the rest is held
against the encoding of the whole window. Only relative values of one checkpoint mean something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_demo.errors import RequestError, cut
from vjepa_demo.views.similarity import Section, section

if TYPE_CHECKING:
    from vjepa_demo.model.encoder import Forecast

TUBELET = 2  # frames of a time step
MOST_CONTEXTS = 32
Progress = Callable[[str], None]


# (uint8 frames [B, T, 3, H, W] as the model takes them, how many steps of them are shown) -> what it expects.
Forecaster = Callable[[np.ndarray, Sequence[int]], "Forecast"]


@dataclass(frozen=True)
class Windows:
    """How forecasts are made of a clip, all in frames.

    Attributes:
        window: how long a window is.
        stride: how far one begins after the other.
        contexts: how much of a window is shown; one forecast for each.
    """

    window: int = 16
    stride: int = 2
    contexts: tuple[int, ...] = (2, 4, 6, 8, 10)

    @classmethod
    def fitting(cls, frames: int) -> Windows:
        """The usual ones, no longer than a clip of so many frames."""
        usual = cls()
        window = min(usual.window, frames)
        return cls(window, usual.stride, tuple(context for context in usual.contexts if context < window))

    def check(self, frames: int) -> None:
        """Raises RequestError where it cannot be done with a clip of so many frames."""
        numbers = (self.window, self.stride, *self.contexts)
        if any(type(number) is not int or number < 2 or number % 2 for number in numbers):
            raise RequestError("The window, the stride and the contexts must be even numbers of frames, at least 2.")
        if not self.contexts or len(set(self.contexts)) < len(self.contexts) or len(self.contexts) > MOST_CONTEXTS:
            raise RequestError(f"The contexts must be 1 to {MOST_CONTEXTS} different numbers of frames.")
        if max(self.contexts) >= self.window:
            raise RequestError(
                f"A context of {max(self.contexts)} frames leaves nothing to expect of a window of {self.window}: take "
                "less."
            )
        if frames < self.window:
            raise RequestError(
                f"A window of {self.window} frames does not fit into {frames}: sample more frames, or take a shorter "
                "window with shorter contexts."
            )

    @property
    def steps(self) -> list[int]:
        """How many time steps are shown, for each context."""
        return [context // TUBELET for context in self.contexts]


def parse_contexts(text: str) -> tuple[int, ...]:
    """Numbers of frames between commas. Raises RequestError."""
    parts = [part.strip() for part in str(text).split(",")]
    if not all(re.fullmatch(r"\d{1,4}", part) for part in parts) or len(parts) > MOST_CONTEXTS:
        raise RequestError(f"The contexts must be numbers of frames like 2,4,6, not {cut(text)}.")
    return tuple(map(int, parts))


@dataclass(frozen=True, eq=False)
class Surprise:
    """How far what came was from what was expected: mean absolute differences of layer-normed tokens, float64.

    NaN stands where nothing was expected: at the first step, and where a context leaves out the steps that it shows.

    Attributes:
        timestamps: `[S]`, seconds, the middle of the two frames of each time step.
        windows: how the forecasts were made.
        per_context: `[contexts, S]`, the mean over patches, channels and windows.
        per_patch: `[S, H', W']`, the mean over channels, windows and contexts; NaN in padding, too.
    """

    timestamps: np.ndarray
    windows: Windows
    per_context: np.ndarray
    per_patch: np.ndarray

    @property
    def surprise(self) -> np.ndarray:
        """`[S]`, the mean over the contexts that expected something of the step."""
        return _nanmean(self.per_context, 0)

    def json(self) -> dict[str, Any]:
        """All but the patches, ready for JSON: null for NaN; `maximum` is the step that surprised most, or null."""
        steps = self.surprise
        return {
            "timestamps": [round(float(t), 4) for t in self.timestamps],
            "surprise": _numbers(steps),
            "per_context": [_numbers(row) for row in self.per_context],
            "contexts": list(self.windows.contexts),
            "window_frames": self.windows.window,
            "stride_frames": self.windows.stride,
            "mean": _number(_nanmean(steps, 0)),
            "maximum": None if np.isnan(steps).all() else int(np.nanargmax(steps)),
        }

    def save(self, path: Path) -> None:
        """Write `.npz`: `timestamps`, `surprise`, `per_context`, `per_patch`, `contexts`. Raises OSError."""
        with path.open("wb") as file:
            np.savez(
                file,
                timestamps=self.timestamps,
                surprise=self.surprise,
                per_context=self.per_context,
                per_patch=self.per_patch,
                contexts=np.array(self.windows.contexts),
            )


def surprise(
    frames: np.ndarray,
    timestamps: np.ndarray,
    mask: np.ndarray,
    forecast: Forecaster,
    windows: Windows,
    *,
    at_once: int = 1,
    progress: Progress = lambda message: None,
) -> Surprise:
    """How surprising each time step of a clip is.

    Args:
        frames: uint8 `[T, 3, H, W]`, as the model takes them.
        timestamps: `[T]`, seconds.
        mask: bool `[H', W']`, False for patches that show padding.
        forecast: the predictor. A window is encoded once for all of its contexts.
        windows: how.
        at_once: how many windows go through the model together.
        progress: told how far it is.

    Raises:
        RequestError: the windows do not fit the clip.
        UserError: what the forecast raises.
    """
    windows.check(len(frames))
    steps, length = len(frames) // TUBELET, windows.window // TUBELET
    starts = list(range(0, len(frames) - windows.window + 1, windows.stride))
    sums = np.zeros((len(windows.contexts), steps, *mask.shape))
    counts: np.ndarray = np.zeros((len(windows.contexts), steps), dtype=int)
    for first in range(0, len(starts), at_once):
        batch = starts[first : first + at_once]
        progress(f"Expecting window {first + len(batch)} of {len(starts)}")
        told = forecast(np.stack([frames[start : start + windows.window] for start in batch]), windows.steps)
        for number, shown in enumerate(windows.steps):
            errors = np.abs(told.expected[shown] - told.target[:, shown:]).mean(axis=-1, dtype=np.float64)
            for start, of_window in zip(batch, errors, strict=True):
                begin = start // TUBELET
                sums[number, begin + shown : begin + length] += of_window
                counts[number, begin + shown : begin + length] += 1
    with np.errstate(invalid="ignore"):
        means = sums / counts[..., None, None]
    means[..., ~mask] = np.nan
    per_context = means[..., mask].mean(axis=-1)
    return Surprise(timestamps.reshape(-1, TUBELET).mean(axis=1), windows, per_context, _nanmean(means, 0))


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of a clip, told in patches that were seen: for each patch to come the seen one whose token is
    most like the expected token.

    Attributes:
        steps: how many time steps are shown, for each row.
        nearest: int32 `[rows, T', H', W']`, the index on the whole grid of that patch; -1 where the patch itself is
            shown, and in padding.
        cosine: float32, of the two tokens, layer-normed; 0 there.
    """

    steps: tuple[int, ...]
    nearest: np.ndarray
    cosine: np.ndarray


def expected(frames: np.ndarray, mask: np.ndarray, forecast: Forecaster, steps: Sequence[int]) -> Expected:
    """What is expected of a whole clip where only its first steps are shown.

    Args:
        frames, mask, forecast: as for `surprise`.
        steps: how many steps are shown: a row for each.

    Raises:
        UserError: what the forecast raises.
    """
    told = forecast(frames[None], steps)
    grid = (len(frames) // TUBELET, *mask.shape)
    nearest = np.full((len(steps), *grid), -1, dtype=np.int32)
    cosine = np.zeros((len(steps), *grid), dtype=np.float32)
    for row, shown in enumerate(steps):
        seen = np.flatnonzero(np.broadcast_to(mask, (shown, *mask.shape)))
        keys = _units(told.seen[shown][0].reshape(-1, told.target.shape[-1])[seen])
        guesses = _units(told.expected[shown][0][:, mask].reshape(-1, told.target.shape[-1]))
        alike = guesses @ keys.T
        best = alike.argmax(axis=1)
        shape = grid[0] - shown, int(mask.sum())
        nearest[row, shown:, mask] = seen[best].reshape(shape).T
        cosine[row, shown:, mask] = alike[np.arange(len(best)), best].reshape(shape).T
    return Expected(tuple(steps), nearest, cosine)


def packed(found: Surprise, drawn: Expected) -> tuple[dict[str, Section], dict[str, Any]]:
    """What the patch viewer shows of both, as further sections and words of `similarity.pack`; N is T'·H'·W'.

        errors   float32 [N]          `per_patch`
        curve    float32 [3, T']      `surprise`, and the least and the most that a context gives
        nearest  int32 [rows, N]      `Expected.nearest`
        alike    uint8 [rows, N]      255 times its cosine, 0 for a negative one

    The header's `expected` says how many steps are shown, for each row.
    """
    low, high = (of_all.reduce(found.per_context) for of_all in (np.fmin, np.fmax))  # which pass NaN over
    rows = len(drawn.steps)
    sections = {
        "errors": section(found.per_patch.reshape(-1), "float32"),
        "curve": section(np.stack([found.surprise, low, high]), "float32"),
        "nearest": section(drawn.nearest.reshape(rows, -1), "int32"),
        "alike": section(np.round(255 * np.clip(drawn.cosine, 0, 1)).reshape(rows, -1), "uint8"),
    }
    return sections, {"expected": list(drawn.steps)}


def _units(tokens: np.ndarray) -> np.ndarray:
    """Tokens `[n, D]`, centred as a layer norm does, of length 1."""
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is a number; NaN where nothing is, without a warning."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]
