"""A heatmap over the frames, to be taken home: as a picture or as a film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vjepa_demo import jobs
from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip
from vjepa_demo.views.similarity import Position, colour_table, score_range

VIDEO_SIDE = 960
TILE_SIDE = 480
FOOT = 36
IMAGE_FPS = 4.0
# What the model did not see is dimmed, padding is grey, and the map is clear below the middle of its range, as in the
# browser.
DIMMED = 0.28
PADDING = 64
OPACITY = 0.6
CLEAR_BELOW, FULL_ABOVE = 0.4, 0.75
SHADE = 0.35
FAINT = 0.6
LEAST_SIGN = 12  # pixels of a patch in which a plus or a minus can be read


class Mark(NamedTuple):
    """A patch that gets a square; `sign` is 1 or -1 where it was added to or subtracted from a query of several."""

    step: int
    row: int
    col: int
    sign: int = 0


def heatmap_video(
    clip: Clip,
    embedding: Embedding,
    scores: np.ndarray,
    path: str | Path,
    marks: Sequence[Mark] = (),
    *,
    centred: bool = True,
    ends: tuple[float, float] | None = None,
) -> None:
    """Write an H.264 MP4 of the sampled frames, at the pace they were sampled, under a map of the scores.

    Args:
        clip, embedding: what was embedded, and the embedding.
        scores: float `[T', H', W']`, as from `similarity`; NaN is left clear. One scale holds for all frames.
        path: must end in ".mp4".
        marks: patches that get a square, a faint one in the frames of other steps.
        centred: whether the clip's mean token was subtracted; the scale says so.
        ends: the lowest and the highest score of the scale; those of `score_range` where None.

    Raises:
        RequestError: FFmpeg's libraries on this machine cannot write H.264.
    """
    check_scores(embedding, scores)
    painter = Painter(clip, embedding, scores, VIDEO_SIDE, marks, centred=centred, ends=ends)
    count = 2 * embedding.grid[0]
    frames = np.stack([painter.frame(i, with_scale=True) for i in range(count)])
    times = embedding.timestamps
    span = float(times[-1] - times[0])
    rate = (len(times) - 1) / span if span > 0 else IMAGE_FPS
    write_film(frames, path, min(60.0, max(1.0, rate)))


def write_film(frames: np.ndarray, path: str | Path, rate: float) -> None:
    """Write uint8 `[N, height, width, 3]`, sides even, as H.264 in MP4. Raises RequestError as `heatmap_video` does."""
    import torch
    from torchcodec.encoders import VideoEncoder

    encoder = VideoEncoder(torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))), frame_rate=rate)
    try:
        encoder.to_file(path, codec="libx264", pixel_format="yuv420p", crf=18, preset="fast")
    except RuntimeError as error:
        raise RequestError("The film could not be written: install an FFmpeg that has libx264.") from error


def heatmap_image(
    clip: Clip, embedding: Embedding, scores: np.ndarray, path: str | Path, *, centred: bool = True
) -> None:
    """Write a PNG of all time steps beside each other, each under its map of the scores, with one scale.

    Args:
        clip, embedding, scores, path, centred: as for `heatmap_video`; the first frame of each step is shown.
    """
    from PIL import Image

    check_scores(embedding, scores)
    steps = embedding.grid[0]
    painter = Painter(clip, embedding, scores, TILE_SIDE, centred=centred)
    # Of the layouts that leave no gap, the one whose shape is nearest to 16:10.
    shape = 1.6 * painter.height / painter.width * steps
    columns = min((n for n in range(1, steps + 1) if steps % n == 0), key=lambda n: abs(math.log(n * n / shape)))
    rows = steps // columns
    sheet = np.full((rows * (painter.height + 4), columns * (painter.width + 4), 3), 16, dtype=np.uint8)
    for step in range(steps):
        y, x = step // columns * (painter.height + 4), step % columns * (painter.width + 4)
        sheet[y : y + painter.height, x : x + painter.width] = painter.frame(2 * step, with_scale=False)
    Image.fromarray(np.concatenate([sheet, painter.scale(sheet.shape[1])])).save(path, "PNG")


def heatmap_frame(clip: Clip, embedding: Embedding, scores: np.ndarray, at: Position) -> np.ndarray:
    """uint8 `[height, width, 3]`: the first frame of a patch's step under the map, with a square on the patch."""
    check_scores(embedding, scores)
    return Painter(clip, embedding, scores, VIDEO_SIDE, [Mark(*at)]).frame(2 * at[0], with_scale=False)


def check_scores(embedding: Embedding, scores: np.ndarray) -> None:
    if scores.shape != embedding.grid:
        raise ValueError(f"scores have the shape {scores.shape}, the grid is {embedding.grid}")


class Painter:
    """Paints frames of a clip with the model's window and a map, as the patch viewer shows them.

    The canvas covers the source and the window together: under "pad" the window reaches beyond the picture. It is
    `side` pixels long at most, less `foot` of its height, and at most `magnify` times as large as the source.
    """

    def __init__(
        self,
        clip: Clip,
        embedding: Embedding,
        scores: np.ndarray,
        side: int,
        marks: Sequence[Mark] = (),
        *,
        centred: bool = True,
        ends: tuple[float, float] | None = None,
        magnify: float = 1.0,
        foot: int = 0,
    ) -> None:
        self.frames, self.scores, self.marks = clip.frames, scores, marks
        self.low, self.high = ends or score_range(scores)
        self.quantity = "centred cosine" if centred else "cosine"
        (left, top, right, bottom), (width, height) = embedding.window, embedding.source_size
        x0, y0, x1, y1 = min(0.0, left), min(0.0, top), max(width, right), max(height, bottom)
        scale = min(magnify, side / (x1 - x0), (side - foot) / (y1 - y0))
        self.width, self.height = (max(2, round(n * scale / 2) * 2) for n in (x1 - x0, y1 - y0))
        # The source's coordinates of each canvas pixel's centre, and from them the pixel's patch, or -1.
        self.x = x0 + (np.arange(self.width) + 0.5) * (x1 - x0) / self.width
        self.y = y0 + (np.arange(self.height) + 0.5) * (y1 - y0) / self.height
        _, rows, cols = embedding.grid
        self.col = _bins(self.x, left, right, cols)
        self.row = _bins(self.y, top, bottom, rows)
        self.inside = (self.row >= 0)[:, None] & (self.col >= 0)[None, :]
        self.picture = ((self.y >= 0) & (self.y < height))[:, None] & ((self.x >= 0) & (self.x < width))[None, :]
        self.place = tuple(round(n * self.width / (x1 - x0)) for n in (-x0, -y0, width, height))

    def frame(self, index: int, *, with_scale: bool, heat: float = 1.0) -> np.ndarray:
        """uint8 `[height, width, 3]`, with the scale below it if asked for: sampled frame `index` under its map.

        `heat` is how much of the map is there, from 0, the plain frame, to 1.
        """
        from PIL import Image

        jobs.check()  # who waits for a film may have left or cancelled it
        source = Image.fromarray(np.ascontiguousarray(self.frames[min(index, len(self.frames) - 1)].transpose(1, 2, 0)))
        left, top, width, height = self.place
        base = Image.new("RGB", (self.width, self.height), (PADDING,) * 3)
        base.paste(
            source.resize((max(1, width), max(1, height)), Image.Resampling.BICUBIC, reducing_gap=2.0), (left, top)
        )
        canvas = np.asarray(base, dtype=np.float32).copy()
        canvas[self.picture & ~self.inside] *= DIMMED
        level = (self.scores[index // 2] - self.low) / (self.high - self.low)
        level = np.where(self.inside, level[self.row][:, self.col], np.nan)
        painted = ~np.isnan(level)
        level = np.clip(level[painted], 0.0, 1.0)
        opacity = OPACITY * heat
        alpha = opacity * np.clip((level - CLEAR_BELOW) / (FULL_ABOVE - CLEAR_BELOW), 0.0, 1.0)[:, None]
        canvas[painted] = canvas[painted] * (1 - SHADE * opacity) * (1 - alpha) + _colours(level) * alpha
        out = np.round(canvas).astype(np.uint8)
        for step, row, col, sign in self.marks:
            self._square(out, row, col, sign, faint=step != index // 2)
        return np.concatenate([out, self.scale(self.width)]) if with_scale else out

    def _square(self, out: np.ndarray, row: int, col: int, sign: int, *, faint: bool) -> None:
        """A white frame on a dark one around a patch, visible on any colour; thin and dashed where it is faint."""
        rows, cols = np.flatnonzero(self.row == row), np.flatnonzero(self.col == col)
        if not (len(rows) and len(cols)):
            return  # a canvas of a few pixels
        box = out[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        y, x = np.mgrid[: len(rows), : len(cols)]
        deep = np.minimum(np.minimum(y, y[::-1]), np.minimum(x, x[:, ::-1]))  # pixels from the border
        dark, light = deep < (3 if faint else 4), (deep == 1) | ((deep == 2) & (not faint))
        if faint:
            light &= (x + y) % 6 < 3
        if sign and min(box.shape[:2]) > LEAST_SIGN:
            arm = 0.22 * min(box.shape[:2])
            across, down = np.abs(x - x.max() / 2), np.abs(y - y.max() / 2)
            for shape, grown in ((dark, 1), (light, 0)):
                shape |= (down <= 1 + grown) & (across <= arm + grown)
                shape |= (sign > 0) & (across <= 1 + grown) & (down <= arm + grown)
        for shape, level in ((dark & ~light, 0), (light, 255)):
            box[shape] = np.round(box[shape] * (1 - FAINT) + level * FAINT) if faint else level

    def scale(self, width: int) -> np.ndarray:
        """uint8 `[FOOT, width, 3]`: the colours from the lowest to the highest score, with both numbers."""
        from PIL import Image, ImageDraw, ImageFont

        foot = np.full((FOOT, width, 3), 16, dtype=np.uint8)
        font, words = ImageFont.load_default(14), f"{self.high:.2f} {self.quantity}"
        bar = max(1, min(240, width - 76 - math.ceil(font.getlength(words))))
        foot[10:26, 60 : 60 + bar] = _colours(np.linspace(0, 1, bar))[: width - 60]
        image = Image.fromarray(foot)
        draw = ImageDraw.Draw(image)
        draw.text((52, FOOT // 2), f"{self.low:.2f}", fill="white", font=font, anchor="rm")
        draw.text((68 + bar, FOOT // 2), words, fill="white", font=font, anchor="lm")
        return np.asarray(image)


def _bins(x: np.ndarray, start: float, end: float, count: int) -> np.ndarray:
    """Which of `count` equal parts of [start, end) each x lies in; -1 outside."""
    index = np.floor((x - start) / (end - start) * count).astype(int)
    return np.where((index >= 0) & (index < count), index, -1)


def _colours(level: np.ndarray) -> np.ndarray:
    """float `[..., 3]`, the colour of each level from 0 to 1, between the table's entries."""
    table = colour_table().astype(np.float32)
    place = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(level, place, table[:, channel]) for channel in range(3)], axis=-1)


# --- code ------------------------------------------------------------------------------------------------------------
