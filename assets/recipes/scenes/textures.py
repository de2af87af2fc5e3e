"""Colours and procedural patterns for the rendered scenes.

Every pattern is a pure function of a `numpy` generator and two colours and tiles without a seam,
so that it can be repeated over a floor. Training and held-out clips take their patterns from
disjoint sets (`TRAINING`, `HELD_OUT`); `plain` is in both.
"""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image

Array = np.ndarray


def palette(rng: np.random.Generator, colours: int = 5) -> Array:
    """Random colours that go together: float64 `[colours, 3]` in 0..1.

    Hues follow one of the painter's schemes (neighbours, opposites, triad, free) around a random
    hue; one colour in five is nearly grey, as in most rooms.
    """
    base = rng.random()
    steps = [(0.0, 0.06, -0.06, 0.12), (0.0, 0.5, 0.04, 0.54), (0.0, 1 / 3, 2 / 3, 0.05), tuple(rng.random(4))]
    scheme = steps[rng.integers(len(steps))]
    found = []
    for i in range(colours):
        hue = (base + scheme[i % len(scheme)] + rng.normal(0, 0.02)) % 1.0
        saturation = rng.uniform(0.02, 0.15) if rng.random() < 0.2 else rng.uniform(0.45, 0.9)
        found.append(colorsys.hsv_to_rgb(hue, saturation, rng.uniform(0.45, 0.98)))
    return np.array(found)


def colour_word(rgb: Array) -> str:
    """The plain English word for a colour `[3]` in 0..1."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(v) for v in rgb))
    if saturation < 0.2:
        return "white" if value > 0.85 else "grey" if value > 0.25 else "black"
    names = [
        (0.035, "red"),
        (0.1, "brown" if value < 0.65 else "orange"),
        (0.18, "olive" if value < 0.6 else "yellow"),
        (0.44, "green"),
        (0.53, "teal"),
        (0.7, "blue"),
        (0.82, "purple"),
        (0.95, "pink"),
        (1.01, "red"),
    ]
    return next(word for edge, word in names if hue < edge)


def noise(rng: np.random.Generator, side: int, octaves: int = 4, first: int = 4, stretch: int = 1) -> Array:
    """Smooth tiling noise `[side, side]` in 0..1: random grids, each twice as fine and half as strong."""
    total = np.zeros((side, side))
    for octave in range(octaves):
        cells = first * 2**octave
        grid = rng.random((max(cells // stretch, 1), cells)).astype(np.float32)
        image = Image.fromarray(np.tile(grid, (3, 3)))  # neighbours on all sides, so that the middle tiles
        image = image.resize((side, side), Image.Resampling.BICUBIC, box=_middle(grid.shape))
        total += np.asarray(image) / 2**octave
    total -= total.min()
    return total / max(total.max(), 1e-9)


def _middle(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    rows, columns = shape
    return columns, rows, 2 * columns, 2 * rows


def _grid(side: int) -> tuple[Array, Array]:
    rows, columns = np.mgrid[0:side, 0:side] / side
    return rows, columns


def _plain(rng: np.random.Generator, side: int) -> Array:
    return 0.12 * noise(rng, side, 3, 8)


def _checker(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    cells = int(rng.choice([2, 4, 6, 8]))
    return (np.floor(rows * cells) + np.floor(columns * cells)) % 2


def _stripes(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    count, slant = int(rng.integers(2, 9)), int(rng.integers(0, 3))
    share = rng.uniform(0.3, 0.7)
    return ((columns * count + rows * slant) % 1.0 < share).astype(float)


def _wood(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    rings = rows * int(rng.integers(5, 11)) + 1.4 * noise(rng, side, 3, 4, stretch=2)
    fibres = noise(rng, side, 3, 16, stretch=8).T
    planks = (rows * 4 % 1.0 < 0.03).astype(float)
    return np.clip(0.55 * np.abs(np.sin(np.pi * rings)) + 0.35 * fibres + 0.6 * planks, 0, 1) + 0 * columns


def _tiles(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    cells = int(rng.choice([2, 3, 4]))
    joint = np.minimum(np.abs((rows * cells) % 1 - 0.5), np.abs((columns * cells) % 1 - 0.5))
    edge = np.maximum(np.abs((rows * cells) % 1 - 0.5), np.abs((columns * cells) % 1 - 0.5)) > 0.47
    shade = rng.random((cells, cells))[(rows * cells).astype(int), (columns * cells).astype(int)]
    return np.where(edge, 1.0, 0.35 * shade + 0.1 * noise(rng, side)) + 0 * joint


def _dots(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    cells = int(rng.choice([3, 4, 6]))
    shift = 0.5 * (np.floor(rows * cells) % 2) if cells % 2 == 0 else 0.0
    distance = np.hypot((rows * cells) % 1 - 0.5, (columns * cells + shift) % 1 - 0.5)
    return (distance < rng.uniform(0.2, 0.38)).astype(float)


def _clouds(rng: np.random.Generator, side: int) -> Array:
    return noise(rng, side, 5, 3)


def _bricks(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    layers = int(rng.choice([4, 6, 8]))
    across = columns * layers / 2 + 0.5 * (np.floor(rows * layers) % 2)
    joint = ((rows * layers) % 1 < 0.1) | (across % 1 < 0.05)
    return np.where(joint, 1.0, 0.35 * noise(rng, side, 4, 8))


def _zigzag(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    count = int(rng.integers(3, 7))
    wave = np.abs((columns * count) % 1 - 0.5)
    return ((rows * count + wave) % 1 < 0.5).astype(float)


def _rings(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    cells = int(rng.choice([1, 2, 3]))
    distance = np.hypot((rows * cells) % 1 - 0.5, (columns * cells) % 1 - 0.5)
    return (np.sin(distance * rng.uniform(20, 40)) > 0).astype(float) * (distance < 0.5)


def _marble(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    veins = np.sin(2 * np.pi * (int(rng.integers(1, 3)) * (rows + columns) + 1.2 * noise(rng, side, 5, 3)))
    return np.abs(veins) ** 0.5


def _gingham(rng: np.random.Generator, side: int) -> Array:
    rows, columns = _grid(side)
    cells = int(rng.choice([2, 4, 5]))
    return 0.5 * ((rows * cells % 1) < 0.5) + 0.5 * ((columns * cells % 1) < 0.5)


def _speckle(rng: np.random.Generator, side: int) -> Array:
    return (noise(rng, side, 2, 24) > rng.uniform(0.55, 0.7)).astype(float)


PATTERNS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "plain": _plain,
    "checker": _checker,
    "stripes": _stripes,
    "wood": _wood,
    "tiles": _tiles,
    "dots": _dots,
    "clouds": _clouds,
    "bricks": _bricks,
    "zigzag": _zigzag,
    "rings": _rings,
    "marble": _marble,
    "gingham": _gingham,
    "speckle": _speckle,
}
TRAINING = ("plain", "checker", "stripes", "wood", "tiles", "dots", "clouds", "bricks")
HELD_OUT = ("plain", "zigzag", "rings", "marble", "gingham", "speckle")


def pattern(rng: np.random.Generator, kind: str, first: Array, second: Array, side: int) -> Array:
    """A tiling texture uint8 `[side, side, 3]` from colour `first` (0) to colour `second` (1).

    It is drawn twice as large and averaged down, so that its edges are smooth when the camera comes near.
    """
    weight = np.clip(PATTERNS[kind](rng, 2 * side), 0, 1)
    weight = weight.reshape(side, 2, side, 2).mean(axis=(1, 3))[..., None]
    grain = 1 + 0.05 * (noise(rng, side, 2, 32)[..., None] - 0.5)
    return np.clip(255 * (first + (second - first) * weight) * grain, 0, 255).astype(np.uint8)
