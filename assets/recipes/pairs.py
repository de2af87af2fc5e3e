"""Possible and impossible: pairs of clips with a common beginning, and which of the two surprises a checkpoint more.

    python assets/recipes/pairs.py --checkpoint assets/nano --pairs 100 --json build/pairs.json
    python assets/recipes/pairs.py --film build/pairs                # the clips, to look at
    python assets/recipes/pairs.py --film assets/pairs --kinds swapped gone vanish through --pairs 1  # the page's

Out of sight, things pass behind a screen, so that no single frame of an impossible clip differs from one of a possible
clip: what comes out is what did not go in. The clips of a set are matched as in IntPhys (Riochet et al., arXiv
1803.07616): whatever ends an impossible clip ends a possible one of the same set as well, so that neither a frame nor
how much changes from one to the next tells them apart. In plain sight they do, and an emptier scene is easier to
expect.

A pair is right where the impossible clip surprises more. Beside the checkpoint stand one with random weights, and the
mean difference of consecutive frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scenes.textures import noise, palette

from vjepa_demo.views.pairs import interval

FRAMES, SIDE, SUPER = 16, 128, 2
GROUND = 0.72  # height of the floor's far edge, as a share of the picture
SEED = 9000


@dataclass(frozen=True)
class Thing:
    """Something that moves: a ball or a box of a colour, `size` the half of its width as a share of the picture."""

    shape: str
    colour: np.ndarray
    mark: np.ndarray
    size: float


@dataclass(frozen=True)
class Set:
    """What all clips of a set share, and what may be in them."""

    far: np.ndarray
    near: np.ndarray
    screen: np.ndarray
    edges: tuple[float, float]
    things: tuple[Thing, Thing]
    flip: bool


# Where a thing is at a time from 0 to 1: its middle (x, height above the floor), or None where it is not there.
Way = Callable[[float], "tuple[float, float] | None"]
Part = tuple[Thing, Way]


def make_set(rng: np.random.Generator, screened: bool) -> Set:
    """A room with a floor, two things that cannot be mistaken for each other, and a screen."""
    side = SIDE * SUPER
    colours = palette(rng, 6)

    def surface(colour: np.ndarray, strength: float) -> np.ndarray:
        grain = noise(rng, side, 4, int(rng.integers(3, 8)))[..., None] - 0.5
        return np.clip(colour * (1 + strength * grain), 0, 1)

    for own in (0, 1):  # told from each other, and from what is around them
        others = [*range(own), 2, 3, 4]
        while min(np.abs(colours[own] - colours[other]).max() for other in others) < 0.35:
            colours[own] = rng.random(3)
    shapes = rng.permutation(["ball", "box"])
    size = rng.uniform(0.085, 0.11)
    things = [Thing(shapes[i], colours[i], colours[4 + i], size) for i in (0, 1)]
    middle, width = rng.uniform(0.48, 0.52), rng.uniform(0.34, 0.4)  # in the middle of the way it is out of sight
    edges = (middle - width / 2, middle + width / 2) if screened else (2.0, 2.0)
    flip = bool(rng.random() < 0.5)
    far, near, screen = (surface(colours[2 + i], strength) for i, strength in enumerate((0.5, 0.6, 0.8)))
    return Set(far, near, screen, edges, (things[0], things[1]), flip)


def film(room: Set, parts: list[Part]) -> np.ndarray:
    """The frames, uint8 `[FRAMES, SIDE, SIDE, 3]`."""
    side = SIDE * SUPER
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    frames = []
    for number in range(FRAMES):
        time = number / (FRAMES - 1)
        picture = np.where((y < GROUND)[..., None], room.far, room.near)
        for thing, way in parts:
            if (at := way(time)) is not None:
                _draw(picture, x, y, thing, *at)
        behind = (x > room.edges[0]) & (x < room.edges[1]) & (y > 0.25) & (y < GROUND + 0.13)
        picture[behind] = room.screen[behind]
        picture = picture[:, ::-1] if room.flip else picture
        small = picture.reshape(SIDE, SUPER, SIDE, SUPER, 3).mean(axis=(1, 3))
        frames.append(np.round(255 * small).astype(np.uint8))
    return np.stack(frames)


def _draw(picture: np.ndarray, x: np.ndarray, y: np.ndarray, thing: Thing, across: float, above: float) -> None:
    floor = GROUND + 0.09
    middle = floor - thing.size - above
    shadow = ((x - across) / thing.size) ** 2 + ((y - floor) / (0.25 * thing.size)) ** 2
    picture *= 1 - 0.4 * np.exp(-shadow - 6 * above)[..., None]
    u, v = (x - across) / thing.size, (y - middle) / thing.size
    radius = np.hypot(u, v)
    inside = radius < 1 if thing.shape == "ball" else np.maximum(np.abs(u), np.abs(v)) < 0.9
    # What rolls turns by its way over its radius.
    turn = across / thing.size if thing.shape == "ball" else 0.0
    spots = np.cos(turn) * u + np.sin(turn) * v > 0.35 if thing.shape == "ball" else np.abs(v) < 0.3
    light = np.clip(1.05 - 0.35 * (0.6 * u + 0.8 * v), 0.5, 1.3)[..., None]
    colour = np.where(spots[..., None], thing.mark, thing.colour) * light
    picture[inside] = np.clip(colour[inside], 0, 1)


def roll(begin: float = -0.1, end: float = 1.1, above: float = 0.0, power: float = 1.0) -> Way:
    """Through the picture on a line, evenly (`power` 1) or slower and slower."""
    return lambda time: (begin + (end - begin) * time**power, above)


def switch(first: Way, second: Way, at: float) -> Way:
    """One way before a time, another from then on."""
    return lambda time: (first if time < at else second)(time)


def nothing(time: float) -> None:
    """Not there."""


@dataclass(frozen=True)
class Pair:
    """A possible clip and an impossible one that begin alike."""

    possible: np.ndarray
    impossible: np.ndarray


def pairs_of(kind: str, number: int) -> Iterator[Pair]:
    """The pairs of one set: for each beginning the end that fits, and the one that is the other beginning's."""
    rng = np.random.default_rng([SEED, KINDS.index(kind), number])
    room = make_set(rng, screened=kind in HIDDEN)
    if kind in HIDDEN:
        begins, ends = HIDDEN[kind](room)
        # Between the screen's edges, a thing is out of sight for a while around the middle of the way.
        clips = {(b, e): film(room, _joined(begins[b], ends[e])) for b, e in itertools.product((0, 1), (0, 1))}
        for own in (0, 1):
            yield Pair(clips[own, own], clips[own, 1 - own])
    else:
        possible, impossible = PLAIN[kind](room, rng)
        yield Pair(film(room, possible), film(room, impossible))


HALF = 0.5


def possible(rng: np.random.Generator) -> np.ndarray:
    """A clip in which nothing impossible happens behind a screen, to learn from: the frames, as `film` gives them.

    One thing or none passes behind it, on the floor or in the air, at any of the speeds that the pairs have. No pair
    has its room or its things: those of pairs are drawn from `SEED`.
    """
    room = make_set(rng, screened=True)
    reach = rng.uniform(-0.1, 0.25)  # beyond the picture's edges, so the quicker
    ways = [roll(-reach, 1 + reach, above=rng.choice([0.0, rng.uniform(0.0, 0.3)]))] if rng.random() < 0.8 else []
    return film(room, [(room.things[0], way) for way in ways])


def _joined(begin: list[Part], end: list[Part]) -> list[Part]:
    parts = [(thing, switch(way, nothing, HALF)) for thing, way in begin]
    return parts + [(thing, switch(nothing, way, HALF)) for thing, way in end]


Ends = tuple[tuple[list[Part], list[Part]], tuple[list[Part], list[Part]]]


def gone(room: Set) -> Ends:
    """It does not come out; or something comes out where nothing went in."""
    one = room.things[0]
    return ([(one, roll())], []), ([(one, roll())], [])


def swapped(room: Set) -> Ends:
    """Another one comes out."""
    one, other = room.things
    return ([(one, roll())], [(other, roll())]), ([(one, roll())], [(other, roll())])


def elsewhere(room: Set) -> Ends:
    """It goes in on the floor and comes out in the air, or the other way round."""
    low, high = ((room.things[0], roll(above=above)) for above in (0.0, 0.22))
    return ([low], [high]), ([low], [high])


def late(room: Set) -> Ends:
    """Of one that is quick the end of a slow one, which comes out later, and the other way round."""
    one = room.things[0]
    quick, slow = roll(-0.25, 1.25), roll(0.1, 0.9)
    return ([(one, quick)], [(one, slow)]), ([(one, quick)], [(one, slow)])


def vanish(room: Set, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """It is no longer there."""
    way, at = roll(0.1, 0.9), rng.uniform(0.45, 0.6)
    return [(room.things[0], way)], [(room.things[0], switch(way, nothing, at))]


def teleport(room: Set, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """It goes on from somewhere else."""
    way, at = roll(0.1, 0.6), rng.uniform(0.45, 0.6)
    return [(room.things[0], way)], [(room.things[0], switch(way, roll(0.4, 0.9), at))]


def through(room: Set, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """It goes through a box that stands in its way, instead of stopping at it."""
    wall = (room.things[1], lambda _: (0.62, 0.0))
    stop = 0.62 - room.things[0].size - room.things[1].size
    way = roll(0.0, 1.0)
    return (
        [wall, (room.things[0], lambda time: (min(time, stop), 0.0))],
        [wall, (room.things[0], way)],
    )


def hang(room: Set, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """It hangs in the air, instead of falling on."""
    x, height, at = rng.uniform(0.3, 0.7), 0.5, 0.5

    def fall(time: float) -> tuple[float, float]:
        return x, max(0.0, height - 0.9 * time**2)

    return [(room.things[0], fall)], [(room.things[0], switch(fall, lambda _: fall(at), at))]


HIDDEN: dict[str, Callable[[Set], Ends]] = {"gone": gone, "swapped": swapped, "elsewhere": elsewhere, "late": late}
PLAIN = {"vanish": vanish, "teleport": teleport, "through": through, "hang": hang}
KINDS = [*HIDDEN, *PLAIN]
WORDS = {
    "gone": "it does not come out, or comes out of nothing",
    "swapped": "another one comes out",
    "elsewhere": "it comes out at another height",
    "late": "it comes out too late, or too early",
    "vanish": "it vanishes",
    "teleport": "it goes on elsewhere",
    "through": "it goes through a box",
    "hang": "it hangs in the air",
}


# --- how they are told apart -----------------------------------------------------------------------------------------

# A clip's frames -> (mean, maximum) of what it is judged by.
Judge = Callable[[np.ndarray], "tuple[float, float]"]


def by_checkpoint(folder: str) -> Judge:
    """The surprise of a checkpoint, over its time steps."""
    from vjepa_demo.embedder import Embedder
    from vjepa_demo.media.clip import Clip, Source
    from vjepa_demo.options import Options, Sampling
    from vjepa_demo.views.surprise import Windows, surprise

    embedder = Embedder.open(Options(folder, FRAMES, fit="squash"))

    def judge(frames: np.ndarray) -> tuple[float, float]:
        stamps = np.arange(FRAMES) / 4
        source = Source("video", SIDE, SIDE, "", FRAMES / 4, 4.0, FRAMES)
        clip = Clip(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), stamps, source, Sampling(FRAMES))
        pixels = embedder.input_of(clip)
        patch = embedder.encoder.config.patch_size
        mask = np.ones([side // patch for side in pixels.shape[-2:]], bool)
        found = surprise(pixels, stamps, mask, embedder.forecast, Windows()).surprise
        return float(np.nanmean(found)), float(np.nanmax(found))

    return judge


def by_difference(frames: np.ndarray) -> tuple[float, float]:
    """How much the pixels change from one frame to the next."""
    change = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    return float(change.mean()), float(change.max())


def random_like(folder: str, target: Path) -> None:
    """A checkpoint of the same shape that has learnt nothing."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoVideoProcessor

    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(target)
    AutoVideoProcessor.from_pretrained(folder).save_pretrained(target)


def accuracy(scores: list[tuple[float, float]]) -> float:
    """The share of (possible, impossible) in which the second is higher; equal ones count half."""
    return float(np.mean([0.5 if one == other else float(other > one) for one, other in scores]))


def evaluate(judges: dict[str, Judge], kinds: list[str], pairs: int, say: Callable[[str], None]) -> dict[str, object]:
    """For each kind and judge the accuracy by mean and by maximum, with intervals."""
    found: dict[str, object] = {}
    for kind in kinds:
        wanted = list(itertools.islice((pair for n in itertools.count() for pair in pairs_of(kind, n)), pairs))
        row: dict[str, object] = {"pairs": len(wanted), "what": WORDS[kind], "out_of_sight": kind in HIDDEN}
        for name, judge in judges.items():
            judged = [(judge(pair.possible), judge(pair.impossible)) for pair in wanted]
            for index, how in enumerate(("mean", "maximum")):
                right = accuracy([(one[index], other[index]) for one, other in judged])
                low, high = interval(right, len(wanted))
                row[f"{name} {how}"] = [round(right, 3), round(low, 3), round(high, 3)]
        found[kind] = row
        say(f"{kind}: {json.dumps(row)}")
    return found


def save_films(folder: Path, kinds: list[str], pairs: int) -> None:
    """The clips as lossless MP4, 4 frames a second."""
    import subprocess

    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        wanted = itertools.islice((pair for n in itertools.count() for pair in pairs_of(kind, n)), pairs)
        for number, pair in enumerate(wanted):
            for name, frames in (("possible", pair.possible), ("impossible", pair.impossible)):
                target = folder / f"{kind}-{f'{number}-' if pairs > 1 else ''}{name}.mp4"
                raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", "4", "-i", "-"]
                encoder = ["-c:v", "libx264", "-pix_fmt", "yuv444p", "-qp", "0", str(target)]
                subprocess.run(["ffmpeg", "-v", "error", "-y", *raw, *encoder], input=frames.tobytes(), check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", default=str(Path(__file__).parents[1] / "nano"), help="a folder, or an id on the Hub"
    )
    parser.add_argument("--random", type=Path, help="where the one with random weights is made, or was")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--pairs", type=int, default=100, help="of each kind")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--film", type=Path, help="only write the clips into this folder")
    given = parser.parse_args()
    if given.film:
        save_films(given.film, given.kinds, given.pairs)
        return 0
    judges: dict[str, Judge] = {"checkpoint": by_checkpoint(given.checkpoint), "difference": by_difference}
    if given.random:
        if not (given.random / "config.json").exists():
            random_like(given.checkpoint, given.random)
        judges["random"] = by_checkpoint(str(given.random))
    found = evaluate(judges, given.kinds, given.pairs, lambda words: print(words, file=sys.stderr, flush=True))
    text = json.dumps(found, indent=1)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
