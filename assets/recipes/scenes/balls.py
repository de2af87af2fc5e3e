"""What a single push or fall does: bounce, roll down a slope, slide to rest, collide."""

from typing import Any

import numpy as np

from .free import bouncy, shape
from .stage import Scene, Stage, side_on


def bounce(stage: Stage) -> Scene:
    """One to three balls fall and bounce, drifting sideways a little."""
    rng = stage.rng
    count = int(rng.choice([1, 1, 2, 3]))
    words, starts = [], []
    for i in range(count):
        size = rng.uniform(0.26, 0.46)
        geom, word, _ = shape(stage, size, ("sphere",), solref=bouncy(rng.uniform(0.03, 0.09)), priority=2, condim=3)
        x, y = (i - (count - 1) / 2) * 1.1 + rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.3)
        stage.body(f"ball{i}", (x, y, rng.uniform(1.8, 2.9)), geom)
        words.append(word)
        starts.append((rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.1), rng.uniform(-1, 0.5), *rng.normal(0, 2, 3)))

    def start(_: Any, data: Any) -> None:
        for i, velocity in enumerate(starts):
            data.joint(f"ball{i}").qvel[:] = velocity

    what = f"A {words[0]} falls and bounces" if count == 1 else f"{_number(count)} balls fall and bounce"
    return Scene(
        label="bounce", description=what, centre=(0, 0, 1.5), radius=1.8, azimuth=side_on(rng), start=start,
        speed=rng.uniform(0.8, 1.1),
    )  # fmt: skip


def roll(stage: Stage) -> Scene:
    """A ball, or a wheel, rolls down a ramp and out over the floor."""
    rng = stage.rng
    tilt, length = np.radians(rng.uniform(10, 17)), rng.uniform(2.4, 2.9)
    size, width = rng.uniform(0.24, 0.4), rng.uniform(0.5, 0.8)
    high, foot = length * np.sin(tilt), -1.9 + length * np.cos(tilt)  # of the ramp's top; where it meets the floor
    ramp = stage.paint(plain=0.6)
    middle = ((-1.9 + foot) / 2 - 0.05 * np.sin(tilt), 0, high / 2 - 0.05 * np.cos(tilt))
    stage.still(
        f'<geom type="box" size="{length / 2:.3f} {width:.3f} 0.05" pos="{_text(middle)}" '
        f'euler="0 {np.degrees(tilt):.3f} 0" material="{ramp.material}" friction="1 0.005 0.0001"/>'
    )
    stage.still(
        f'<geom type="box" size="0.06 {0.8 * width:.3f} {(high - 0.1) / 2:.3f}" pos="-1.75 0 {(high - 0.1) / 2:.3f}" '
        f'material="{ramp.material}"/>'
    )
    wheel = rng.random() < 0.3
    paint = stage.paint(plain=0.1)
    kind = (
        f'type="cylinder" size="{size:.3f} {0.4 * size:.3f}" euler="90 0 0"'
        if wheel
        else f'type="sphere" size="{size:.3f}"'
    )
    geom = f'<geom {kind} material="{paint.material}" friction="1 0.005 0.03" condim="6" priority="2" density="400"/>'
    place = (-1.7 + size * np.sin(tilt), 0, high - 0.2 * np.tan(tilt) + size * np.cos(tilt) + 0.01)
    stage.body("ball", place, geom)
    thing = f"{paint.word} {'wheel' if wheel else 'ball'}"
    return Scene(
        label="roll", description=f"A {thing} rolls down a slope", centre=(0.3, 0, 0.5), radius=2.05,
        azimuth=side_on(rng), speed=rng.uniform(0.75, 1.0),
    )  # fmt: skip


def slide(stage: Stage) -> Scene:
    """A block or a puck slides over the floor and comes to rest."""
    rng = stage.rng
    way, time = rng.uniform(2.2, 3.0), rng.uniform(1.5, 2.6)
    friction = 2 * way / time**2 / stage.gravity  # so that it stops after `time` seconds and `way` metres
    size = rng.uniform(0.32, 0.5)
    paint = stage.paint(plain=0.2)
    flat = rng.random() < 0.4
    sides = size * rng.uniform(0.8, 1.1, 3) * (1, 1, 0.7)
    kind = f'type="cylinder" size="{size:.3f} {0.4 * size:.3f}"' if flat else f'type="box" size="{_text(sides)}"'
    geom = (
        f'<geom {kind} material="{paint.material}" friction="{friction:.4f} 0.005 0.0001" priority="2" density="400"/>'
    )
    stage.body(
        "block",
        (-way / 2, rng.uniform(-0.2, 0.2), 0.4 * size if flat else sides[2]),
        geom,
        turn=(0, 0, rng.uniform(0, 90)),
    )
    spin = rng.normal(0, 1.2)

    def start(_: Any, data: Any) -> None:
        data.joint("block").qvel[:] = (2 * way / time, 0, 0, 0, 0, spin)

    what = f"A {paint.word} {'puck' if flat else 'block'} slides over the floor and comes to rest"
    return Scene(
        label="slide", description=what, centre=(0.1, 0, 0.45), radius=1.8, azimuth=side_on(rng), start=start,
        elevation=(-38, -14),
    )  # fmt: skip


def collide(stage: Stage) -> Scene:
    """Two bodies run into each other and part again."""
    rng = stage.rng
    reach, speed = rng.uniform(1.3, 1.6), rng.uniform(1.1, 1.6)
    balls = rng.random() < 0.65
    words, still = [], rng.random() < 0.35  # sometimes one of them lies still and is hit
    for i, sign in enumerate((-1, 1)):
        size = rng.uniform(0.28, 0.44)
        kinds = ("sphere",) if balls else ("box", "cylinder")
        geom, word, height = shape(
            stage, size, kinds, solref=bouncy(0.15), priority=2, density=400,
            friction="0.6 0.005 0.006" if balls else "0.06 0.005 0.0001", condim=6 if balls else 3,
        )  # fmt: skip
        x = 0.0 if still and i else sign * reach
        stage.body(f"body{i}", (x, rng.uniform(-0.1, 0.1), height + 0.002), geom)
        words.append((word, size))

    def start(_: Any, data: Any) -> None:
        for i, sign in enumerate((-1, 1)):
            here = 0.0 if still and i else -sign * speed * (1 + 0.3 * (still and not i))
            data.joint(f"body{i}").qvel[:] = (here, 0, 0, 0, here / words[i][1] * balls, 0)

    first, second = words[0][0], words[1][0]
    how = f"hits a {second} that lies still" if still else f"and a {second} collide"
    return Scene(
        label="collide", description=f"A {first} {how}", centre=(0.2 * still, 0, 0.4), radius=1.75,
        azimuth=side_on(rng), start=start, elevation=(-38, -14),
    )  # fmt: skip


def _text(values: Any) -> str:
    return " ".join(f"{float(v):.4f}" for v in values)


def _number(count: int) -> str:
    return ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")[count]
