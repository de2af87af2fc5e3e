"""A long video, window by window: each is embedded as a clip of its own, and together they are a `Track`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo import jobs
from vjepa_demo.embedder import DEFAULTS, sampling_of
from vjepa_demo.embedding import Pooling, Vector, unit_vectors
from vjepa_demo.errors import MediaError, RequestError
from vjepa_demo.explore import Embedded, Progress, embed, embedding_json, say_nothing
from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Cut, Options
from vjepa_demo.views.similarity import Position, similarity
from vjepa_demo.views.track import Track

CUT = Cut()
LEAST_S, SOME, MOST = 1.0, 8, 60  # seconds of a window; how many of them, end to end, a film is cut into
SPAN = re.compile(r"(.+)#t=([\d.]*),?([\d.]*)")  # a media fragment (W3C, 2012), in seconds


@dataclass(frozen=True)
class Tracked:
    """A video's windows.

    Attributes:
        track: those that could be embedded.
        first: the first of them.
        failures: (second at which it begins, sentence) of every other one.
    """

    track: Track
    first: Embedded
    failures: tuple[tuple[float, str], ...] = ()

    def json(self) -> dict[str, Any]:
        """Ready for JSON; the shapes are those of each window."""
        told = embedding_json(self.first.embedding)
        for of_one in ("timestamps", "timings_ms", "kept"):
            del told[of_one]
        failures = [{"begins": begins, "error": error} for begins, error in self.failures]
        return {**told, "pooling": self.first.pooling, **self.track.json(), "failures": failures}


def track(
    path: str | Path,
    options: Options = DEFAULTS,
    cut: Cut = CUT,
    *,
    pooling: Pooling = "mean",
    asked: Embedded | None = None,
    at: Position | None = None,
    progress: Progress = say_nothing,
) -> Tracked:
    """Embed a video window by window.

    Args:
        path: the video.
        options: how each window is embedded; a span is that of the video.
        cut: its windows.
        pooling: how each becomes a vector.
        asked: a clip that every window is compared with, embedded as they are; see `named`.
        at: a patch of that clip; the patches of every window are compared with it.
        progress: told what is being done.

    Raises:
        UserError: a file or an option is at fault.
    """
    cut.check()
    spans = _spans(path, options, cut, progress)
    if asked and at:
        similarity(asked.embedding, at)  # that it is on the grid is told before the work is done
    vectors: list[Vector] = []
    kept, best, failures = [], [], []
    first: Embedded | None = None
    for number, (start, end) in enumerate(spans, 1):
        progress(f"Window {number} of {len(spans)}, at {start:g} s")
        try:
            shown = embed(path, replace(options, start=start, end=end), pooling=pooling)
        except MediaError as error:  # a part that is damaged
            failures.append((start, str(error)))
            continue
        first = first or shown
        kept.append((start, end))
        vectors.append(shown.vector)
        if asked and at:
            best.append(_best(asked, at, shown))
    if first is None:
        raise MediaError(failures[0][1])
    array = Vector(np.stack([vector.array for vector in vectors]), vectors[0].kind)
    found = Track(np.array(kept), array)
    if best:
        scores, places = zip(*best, strict=True)
        found = replace(found, like=np.array(scores, np.float32), best=places)
    elif asked:
        found = replace(found, like=_cosines(array, asked.vector))
    return Tracked(found, first, tuple(failures))


def fitting(seconds: float) -> Cut:
    """How a film that lasts so long is cut where nobody says how: into windows of 4 s, as long as these are not many;
    each begins in the middle of the one before."""
    length = round(min(max(CUT.length, seconds / MOST), max(LEAST_S, seconds / SOME)), 2)
    return Cut(length, length / 2)


def _spans(path: str | Path, options: Options, cut: Cut, progress: Progress) -> list[tuple[float, float]]:
    """The windows of the video, or of its span. Raises UserError."""
    with jobs.turn(progress):  # as every file is read
        source = read_clip(path, replace(sampling_of(options), frames=2)).source
    if source.kind == "image":
        raise RequestError("A picture has no windows: choose a video.")
    end = source.duration if options.end is None else min(options.end, source.duration)
    spans = cut.spans(options.start, end)
    if len(spans) < 2:
        raise RequestError(f"{end - options.start:.2f} s are a single window: take shorter ones.")
    return spans


def named(like: str, options: Options, pooling: Pooling = "mean", progress: Progress = say_nothing) -> Embedded:
    """A file, or FILE#t=START,END, as a clip to compare windows with that are embedded with these options. Raises
    UserError."""
    start, end, span = 0.0, None, SPAN.fullmatch(like)
    if span and not Path(like).exists():
        like = span[1]
        try:
            start, end = float(span[2] or 0), float(span[3]) if span[3] else None
        except ValueError:
            raise RequestError("The span cannot be read: write FILE#t=START,END, in seconds.") from None
    progress("Embedding what the windows are compared with")
    return embed(like, replace(options, start=start, end=end), pooling=pooling)


def _best(asked: Embedded, at: Position, shown: Embedded) -> tuple[float, Position]:
    """The patch of a window that is most like that of another clip, and its cosine."""
    scores = similarity(asked.embedding, at, other=shown.embedding)
    step, row, col = np.unravel_index(np.nanargmax(scores), scores.shape)
    return float(scores[step, row, col]), (int(step), int(row), int(col))


def _cosines(windows: Vector, asked: Vector) -> np.ndarray:
    """Of each window with a clip, all less the windows' mean. Raises FingerprintMismatch."""
    windows.kind.require(asked.kind)
    mean = windows.array.mean(axis=0)
    return (unit_vectors(windows.array - mean) @ unit_vectors(asked.array - mean)).astype(np.float32)
