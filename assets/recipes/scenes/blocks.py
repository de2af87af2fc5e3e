"""What many bodies do together: a tower topples, dominoes fall, grains pour; and a still life that is walked around."""

from typing import Any

import numpy as np

from .free import shape
from .stage import Scene, Stage, side_on


def topple(stage: Stage) -> Scene:
    """A tower of blocks is hit by a ball and falls over."""
    rng = stage.rng
    count, z, side = int(rng.integers(5, 9)), 0.0, rng.choice([-1, 1])
    round_ones = rng.random() < 0.25
    for i in range(count):
        half = rng.uniform(0.13, 0.19)
        wide = rng.uniform(0.22, 0.31, 2)
        paint = stage.paint()
        kind = (
            f'type="cylinder" size="{wide[0]:.3f} {half:.3f}"'
            if round_ones
            else f'type="box" size="{wide[0]:.3f} {wide[1]:.3f} {half:.3f}"'
        )
        geom = f'<geom {kind} material="{paint.material}" density="150" friction="0.7 0.01 0.001"/>'
        x, y = rng.uniform(-0.05, 0.05, 2)
        stage.body(f"block{i}", (x, y, z + half), geom, turn=(0, 0, rng.uniform(-25, 25)))
        z += 2 * half
    size = rng.uniform(0.2, 0.28)
    ball, word, _ = shape(stage, size, ("sphere",), density=2500)
    flight = rng.uniform(0.5, 0.75)  # seconds until it hits
    target, origin = np.array([0, 0, z * rng.uniform(0.55, 0.85)]), np.array([side * 2.6, rng.uniform(-0.4, 0.4), 1.1])
    velocity = (target - origin) / flight + np.array([0, 0, stage.gravity * flight / 2])
    stage.body("ball", tuple(origin), ball)

    def start(_: Any, data: Any) -> None:
        data.joint("ball").qvel[:3] = velocity

    return Scene(
        label="topple", description=f"A tower of {count} blocks is hit by a {word} and topples",
        centre=(-0.2 * side, 0, max(0.85, 0.45 * z)),
        radius=max(1.75, 0.65 * z), azimuth=side_on(rng), start=start, speed=rng.uniform(0.6, 0.9),
    )  # fmt: skip


def dominoes(stage: Stage) -> Scene:
    """A row or an arc of dominoes falls, one after the other."""
    rng = stage.rng
    count = int(rng.integers(9, 14))
    tall, gap = rng.uniform(0.36, 0.5), rng.uniform(0.27, 0.33)
    bend = rng.uniform(-0.09, 0.09) if rng.random() < 0.6 else 0.0  # radians from one to the next
    paints = [stage.paint(plain=0.6) for _ in range(int(rng.integers(1, 4)))]
    angle, place, places = -bend * (count - 1) / 2, np.zeros(2), []
    for _ in range(count):
        places.append((*place, angle))
        place = place + gap * np.array([np.cos(angle + bend / 2), np.sin(angle + bend / 2)])
        angle += bend
    middle = np.mean([p[:2] for p in places], axis=0)
    for i, (x, y, angle) in enumerate(places):
        geom = (
            f'<geom type="box" size="0.045 0.2 {tall:.3f}" material="{paints[i % len(paints)].material}" '
            f'density="300" friction="0.35 0.005 0.0001"/>'
        )
        stage.body(f"domino{i}", (x - middle[0], y - middle[1], tall), geom, turn=(0, 0, np.degrees(angle)))
    push = rng.uniform(1.6, 2.2)
    first = places[0][2]

    def start(_: Any, data: Any) -> None:
        # turn the first one about its far bottom edge
        v = push * tall
        data.joint("domino0").qvel[:] = (v * np.cos(first), v * np.sin(first), 0, 0, push, 0)

    return Scene(
        label="dominoes", description=f"A row of {count} {paints[0].word} dominoes falls one after the other",
        centre=(0, 0, 0.4), radius=gap * count / 2 + 0.15, azimuth=side_on(rng, 40), elevation=(-40, -16), start=start,
        speed=rng.uniform(0.55, 0.8),
    )  # fmt: skip


def pour(stage: Stage) -> Scene:
    """Grains pour out of a tilting cup, onto the floor or into a tray."""
    rng = stage.rng
    stage.timestep = 0.005
    width, tall, high, side = 0.33, 0.36, rng.uniform(1.3, 1.5), float(rng.choice([-1, 1]))
    cup, wall = stage.paint(plain=0.6, opacity=rng.choice([0.4, 1.0])), 0.025
    panels = [(0, 0, -tall, width, width, wall)]
    panels += [(s * width, 0, 0, wall, width, tall) for s in (-1, 1)] + [
        (0, s * width, 0, width, wall, tall) for s in (-1, 1)
    ]
    geoms = "".join(
        f'<geom type="box" pos="{x} {y} {z}" size="{a} {b} {c}" material="{cup.material}" friction="0.1 0.005 0.0001"/>'
        for x, y, z, a, b, c in panels
    )
    stage.body(
        "cup", (0.45 * side, 0, high), geoms,
        joint='<joint name="tilt" type="hinge" axis="0 1 0" damping="5" armature="5"/>',
    )  # fmt: skip
    stage.sections.append('<actuator><position name="tilt" joint="tilt" kp="900" dampratio="1"/></actuator>')
    size = rng.uniform(0.058, 0.068)
    paints = [stage.paint(plain=0.9) for _ in range(int(rng.integers(1, 4)))]
    round_ones = rng.random() < 0.7
    kind = (
        f'type="sphere" size="{size:.3f}"'
        if round_ones
        else f'type="box" size="{0.8 * size:.3f} {0.7 * size:.3f} {0.6 * size:.3f}"'
    )
    spots = np.linspace(-1, 1, 4) * (width - wall - 1.1 * size)
    count = int(rng.integers(56, 81))
    for i in range(count):
        layer, rest = divmod(i, 16)
        x, y = spots[rest % 4] + rng.normal(0, 0.004), spots[rest // 4] + rng.normal(0, 0.004)
        paint = paints[i % len(paints)].material
        geom = f'<geom {kind} material="{paint}" density="400" friction="0.4 0.02 0.002" condim="3"/>'
        stage.body(f"grain{i}", (0.45 * side + x, y, high - tall + 0.1 + layer * 2.1 * size), geom)
    if rng.random() < 0.5:
        tray = stage.paint(plain=0.6)
        for x, y, a, b in ((0.6, 0, 0.03, 0.6), (-0.6, 0, 0.03, 0.6), (0, 0.6, 0.6, 0.03), (0, -0.6, 0.6, 0.03)):
            stage.still(
                f'<geom type="box" pos="{x - 0.5 * side} {y} 0.1" size="{a} {b} 0.1" material="{tray.material}"/>'
            )
    angle, time = np.radians(rng.uniform(120, 145)) * -side, rng.uniform(1.5, 2.4)

    def control(now: float, _: Any, data: Any) -> None:
        share = float(np.clip((now + 0.1) / time, 0, 1))
        data.ctrl[0] = angle * share * share * (3 - 2 * share)

    return Scene(
        label="pour", description=f"{paints[0].word.capitalize()} grains pour out of a tilting cup",
        centre=(-0.1 * side, 0, 0.85), radius=1.35, azimuth=side_on(rng), elevation=(-38, -16), control=control,
    )  # fmt: skip


def orbit(stage: Stage) -> Scene:
    """A camera walks around things that stand still."""
    rng = stage.rng
    count = int(rng.integers(3, 7))
    pedestal = rng.random() < 0.5
    base = rng.uniform(0.3, 0.6) if pedestal else 0.0
    if pedestal:
        paint = stage.paint(plain=0.5)
        stage.still(
            f'<geom type="cylinder" size="1.35 {base / 2:.3f}" pos="0 0 {base / 2:.3f}" material="{paint.material}"/>'
        )
    turn = rng.uniform(0, 2 * np.pi)
    words = []
    for i in range(count):
        angle = turn + 2 * np.pi * i / max(count - 1, 1)
        reach = 0.0 if i == count - 1 else rng.uniform(0.75, 0.95)
        size = rng.uniform(0.2, 0.34) if reach else rng.uniform(0.3, 0.42)
        geom, word, height = shape(stage, size, condim=6, friction="1 0.1 0.1", density=600)
        spot = (reach * np.cos(angle), reach * np.sin(angle), base + height + 0.001)
        stage.body(f"thing{i}", spot, geom, turn=(0, 0, rng.uniform(0, 360)))
        words.append(word)
    what = f"The camera walks around a still life: {words[-1]}, {words[0]} and {count - 2} more"
    return Scene(
        label="orbit", description=what,
        centre=(0, 0, base + 0.25), radius=1.5, azimuth=(0, 360), elevation=(-35, -14),
        orbit=float(rng.choice([-1, 1]) * rng.uniform(70, 140)), settle=0.8, wander=0.0,
    )  # fmt: skip
