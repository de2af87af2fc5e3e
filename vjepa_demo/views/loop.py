"""A short film that runs for ever, to be shared: a patch is marked, then what is like it lights up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vjepa_demo.embedding import Embedding
from vjepa_demo.media.clip import Clip
from vjepa_demo.views.heatmap import FOOT, Mark, Painter, check_scores, write_film

if TYPE_CHECKING:
    from PIL import Image

FORMATS = (".mp4", ".webp", ".gif")
SIDE = 640
MAGNIFY = 2.0  # a small clip's patches would hardly be seen
MOST_BYTES = 5_000_000
# Time goes in ticks, which all formats can tell: a GIF counts in hundredths of a second.
TICK_MS = 40
TICKS = 100
MARKED, FADE, HOT = 15, 4, 40  # ticks of the marked frame alone, pictures of a fade, ticks of a photo's full heat
MOST_FRAMES = 32
WEBP_QUALITY = 82
GIF_COLOURS = 255  # one of 256 is left for what does not change


class Shot(NamedTuple):
    """One picture of the loop: a sampled frame, its heat from 0 to 1, a share of another frame that is faded in."""

    ticks: int
    frame: int
    heat: float
    other: int = 0
    share: float = 0.0


def heat_loop(
    clip: Clip,
    embedding: Embedding,
    scores: np.ndarray,
    path: str | Path,
    marks: Sequence[Mark],
    *,
    centred: bool = True,
    ends: tuple[float, float] | None = None,
) -> None:
    """Write four seconds as an animated WebP, a GIF or an MP4; WebP and GIF say themselves that they run for ever.

    Args:
        clip, embedding, scores, centred, ends: as for `heatmap_video`.
        path: its ending is one of `FORMATS`.
        marks: the patches of the query; the loop begins in the step of the first.

    Raises:
        RequestError: FFmpeg's libraries on this machine cannot write H.264.
    """
    check_scores(embedding, scores)
    path = Path(path)
    write = {".webp": _write_webp, ".gif": _write_gif, ".mp4": _write_mp4}[path.suffix]
    plan = shots(2 * embedding.grid[0], 2 * marks[0].step, still=clip.is_image)
    side = SIDE
    for _ in range(4):  # noise compresses badly: such a clip is made smaller
        painter = Painter(clip, embedding, scores, side, marks, centred=centred, ends=ends, magnify=MAGNIFY, foot=FOOT)
        write(path, [_picture(painter, shot) for shot in plan], [shot.ticks for shot in plan])
        size = path.stat().st_size
        if size <= MOST_BYTES:
            return
        side = math.floor(0.95 * max(painter.width, painter.height + FOOT) * math.sqrt(MOST_BYTES / size))


def shots(count: int, first: int, *, still: bool) -> list[Shot]:
    """The pictures of a loop over `count` sampled frames that begins with `first`: the marked frame alone, its heat,
    then every step of the clip. No two that follow each other differ by more than a frame of the clip or a part of a
    fade, the last and the first included."""
    fades = [(i + 1) / (FADE + 1) for i in range(FADE)]
    rising = [Shot(2, first, heat) for heat in fades]
    falling = [Shot(2, first, heat) for heat in reversed(fades)]
    if still:
        slow = [Shot(4, first, shot.heat) for shot in (*rising, *falling)]
        hot = Shot(HOT, first, 1.0)
        return [Shot(TICKS - HOT - 8 * FADE, first, 0.0), *slow[:FADE], hot, *slow[FADE:]]
    every = list(range(0, count, math.ceil(count / MOST_FRAMES)))
    at = max(i for i, frame in enumerate(every) if frame <= first)
    run = list(_run(every[at:] + every[:at], TICKS - MARKED - 3 * 2 * FADE))
    end = next(i for i, shot in enumerate(run) if shot.frame == every[-1]) + 1
    over = [Shot(2, every[-1], 1.0, every[0], share) for share in fades]
    return [Shot(MARKED, first, 0.0), *rising, *run[:end], *over, *run[end:], *falling]


def _run(frames: Sequence[int], ticks: int) -> Iterator[Shot]:
    """Frames one after another, each as long as the others up to a tick."""
    for i, frame in enumerate(frames):
        yield Shot((i + 1) * ticks // len(frames) - i * ticks // len(frames), frame, 1.0)


def _picture(painter: Painter, shot: Shot) -> np.ndarray:
    """uint8 `[height, width, 3]`."""
    picture = painter.frame(shot.frame, with_scale=True, heat=shot.heat)
    if not shot.share:
        return picture
    other = painter.frame(shot.other, with_scale=True, heat=shot.heat)
    return np.round(picture * (1 - shot.share) + other * shot.share).astype(np.uint8)


def _write_webp(path: Path, pictures: list[np.ndarray], ticks: list[int]) -> None:
    first, *others = _images(pictures)
    durations = [TICK_MS * n for n in ticks]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, quality=WEBP_QUALITY, method=4)


def _write_gif(path: Path, pictures: list[np.ndarray], ticks: list[int]) -> None:
    """One palette for all pictures: with one each, what stands still would flicker."""
    from PIL import Image

    dots = np.concatenate([picture[::3, ::3].reshape(-1, 3) for picture in pictures])
    # An octree keeps what few pixels have, as a heat of few patches; a median cut gives most to a plain background.
    palette = Image.fromarray(dots[None]).quantize(GIF_COLOURS, Image.Quantize.FASTOCTREE)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in _images(pictures)]
    durations = [TICK_MS * n for n in ticks]
    # Pillow writes the palette once where it is named, and leaves out what has not changed where it optimises.
    named: dict[str, Any] = {"palette": bytes(palette.getpalette() or []), "optimize": True}
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, disposal=1, **named)


def _write_mp4(path: Path, pictures: list[np.ndarray], ticks: list[int]) -> None:
    write_film(np.repeat(np.stack(pictures), ticks, axis=0), path, 1000 / TICK_MS)


def _images(pictures: list[np.ndarray]) -> list[Image.Image]:
    from PIL import Image

    return [Image.fromarray(picture) for picture in pictures]
