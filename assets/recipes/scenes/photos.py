"""Photographs: the statistics of real images, as textures, as backdrops, and panned over on their own.

A photograph is known by its folder and name; a hash of these splits the collection, so that no
held-out clip shows a picture that a training clip showed, in any resolution.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray
KINDS = {".jpg", ".jpeg", ".png", ".webp"}
HELD_OUT_SHARE = 0.25


def find(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photographs below `folder` for training and, disjoint from these, for held-out clips.

    Of the several sizes of one picture (`Name/contents/images/2560x1600.jpg`) only one is taken.
    """
    chosen: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in KINDS and path.stem != "screenshot":
            chosen.setdefault(_key(path), path)
    training, held_out = [], []
    for key, path in sorted(chosen.items()):
        share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
        (held_out if share < HELD_OUT_SHARE else training).append(path)
    return training, held_out


def _key(path: Path) -> str:
    """One word for all versions of a picture: sizes and the light and dark (`-l`, `-d`) forms."""
    if path.parent.name in {"images", "images_dark"} and len(path.parts) > 3:
        return path.parts[-4]
    stem = path.stem.split("_3840")[0].split("_5640")[0]
    return stem[:-2] if stem.endswith(("-l", "-d")) else stem


@lru_cache(maxsize=160)
def load(path: Path) -> Image.Image:
    """The photograph as RGB, its short side at most 512 pixels (read once a process)."""
    with Image.open(path) as image:
        image.draft("RGB", (1400, 1400))
        image = image.convert("RGB")
    scale = min(1.0, 512 / min(image.size))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)


def crop(rng: np.random.Generator, paths: Sequence[Path], side: int) -> Array:
    """A random square of a random photograph: uint8 `[side, side, 3]`."""
    image = load(paths[rng.integers(len(paths))])
    span = rng.uniform(0.45, 1.0) * min(image.size)
    left, top = rng.uniform(0, image.width - span), rng.uniform(0, image.height - span)
    box = (left, top, left + span, top + span)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def pan(rng: np.random.Generator, paths: Sequence[Path], frames: int, side: int) -> Array:
    """A camera that glides over a photograph, with cut-outs of another nearer by: uint8 `[frames, side, side, 3]`.

    Nearer layers move faster (parallax). Crops move, zoom and turn along straight lines.
    """
    background = load(paths[rng.integers(len(paths))])
    cutouts = [_cutout(rng, load(paths[rng.integers(len(paths))]), side) for _ in range(rng.integers(0, 4))]
    span0 = rng.uniform(0.35, 0.7) * min(background.size)
    span1 = span0 * np.exp(rng.normal(0, 0.2))
    span1 = min(span1, 0.9 * min(background.size))
    turn0, turn1 = rng.normal(0, 6, 2)
    ends = [[rng.uniform(0.6 * s, max(d - 0.6 * s, 0.6 * s + 1)) for d in background.size] for s in (span0, span1)]
    drift = (np.array(ends[1]) - ends[0]) / (span0 / side)  # pixels of the picture, over the whole clip
    out = np.empty((frames, side, side, 3), np.uint8)
    for i in range(frames):
        t = i / max(frames - 1, 1)
        span = span0 + (span1 - span0) * t
        picture = _view(
            background, (1 - t) * np.array(ends[0]) + t * np.array(ends[1]), span, turn0 + t * (turn1 - turn0), side
        )
        for image, mask, at, depth in cutouts:
            where = at - depth * drift * (t - 0.5)
            picture.paste(image, (round(where[0]), round(where[1])), mask)
        out[i] = np.asarray(picture)
    return out


def _view(image: Image.Image, centre: Array, span: float, degrees: float, side: int) -> Image.Image:
    """The square of `span` pixels around `centre`, turned, as `side` pixels (rendered twice as large, then halved)."""
    scale = span / (2 * side)
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    matrix = (cos, -sin, centre[0] - side * (cos - sin), sin, cos, centre[1] - side * (sin + cos))
    view = image.transform((2 * side, 2 * side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return view.reduce(2)


def _cutout(rng: np.random.Generator, image: Image.Image, side: int) -> tuple[Image.Image, Image.Image, Array, float]:
    """A piece of a photograph in a random outline: its picture, its mask, its place and its depth factor."""
    size = int(rng.uniform(0.2, 0.5) * side)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    reach = rng.uniform(0.3, 0.5, len(angles)) * 2 * size
    outline = [(size + r * np.cos(a), size + r * np.sin(a)) for a, r in zip(angles, reach, strict=True)]
    mask = Image.new("L", (2 * size, 2 * size), 0)
    if rng.random() < 0.5:
        ImageDraw.Draw(mask).ellipse((0, 0, 2 * size - 1, 2 * size - 1), fill=255)
    else:
        ImageDraw.Draw(mask).polygon(outline, fill=255)
    mask = mask.reduce(2).filter(ImageFilter.GaussianBlur(0.6))
    span = rng.uniform(0.2, 0.6) * min(image.size)
    left, top = rng.uniform(0, image.width - span), rng.uniform(0, image.height - span)
    piece = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + span, top + span))
    return piece, mask, rng.uniform(-0.1, 0.9, 2) * side, float(rng.uniform(1.2, 2.5))
