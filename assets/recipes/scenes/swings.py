"""What hangs or turns about a point: pendulum, Newton's cradle, spinning top, rope, cloth."""

from typing import Any

import numpy as np

from .stage import Scene, Stage, side_on


def _gallows(stage: Stage, height: float, reach: float, along: str = "y") -> str:
    """Two posts and a beam at `height`, `reach` to either side along an axis. Returns the colour's word."""
    paint = stage.paint(plain=0.7)
    material = f'material="{paint.material}"'
    ends = [(0, -reach), (0, reach)] if along == "y" else [(-reach, 0), (reach, 0)]
    for x, y in ends:
        stage.still(f'<geom type="cylinder" size="0.045" fromto="{x} {y} 0 {x} {y} {height}" {material}/>')
    (x0, y0), (x1, y1) = ends
    stage.still(f'<geom type="capsule" size="0.045" fromto="{x0} {y0} {height} {x1} {y1} {height}" {material}/>')
    return paint.word


def pendulum(stage: Stage) -> Scene:
    """A pendulum swings; sometimes a second one hangs from it."""
    rng = stage.rng
    length, double = rng.uniform(1.2, 1.7), rng.random() < 0.3
    height = length * (1.0 if not double else 1.55) + rng.uniform(0.5, 0.65)
    _gallows(stage, height, 0.7)
    rod, bob = stage.paint(plain=0.9), stage.paint(plain=0.2)
    size = rng.uniform(0.2, 0.32)
    kind = f'type="sphere" size="{size:.3f}"'
    if rng.random() < 0.4:
        kind = f'type="cylinder" size="{1.2 * size:.3f} {0.4 * size:.3f}" euler="90 0 0"'
    off = 'contype="0" conaffinity="0"'

    def arm(name: str, long: float, inner: str) -> str:
        return (
            f'<joint name="{name}" type="hinge" axis="0 1 0" damping="0.02"/>'
            f'<geom type="capsule" size="0.03" fromto="0 0 0 0 0 {-long:.3f}" material="{rod.material}" '
            f'{off} density="200"/>'
            f'<geom {kind} pos="0 0 {-long:.3f}" material="{bob.material}" density="400" {off}/>{inner}'
        )

    second = f'<body name="lower" pos="0 0 {-length:.3f}">{arm("second", 0.55 * length, "")}</body>' if double else ""
    stage.body("arm", (0, 0, height), arm("swing", length, second), joint="")
    angle = np.radians(rng.uniform(35, 75)) * rng.choice([-1, 1])

    def start(_: Any, data: Any) -> None:
        data.joint("swing").qpos[0] = angle
        if double:
            data.joint("second").qpos[0] = -0.6 * angle

    what = f"A {'double ' if double else ''}pendulum with a {bob.word} bob swings"
    return Scene(
        label="pendulum", description=what, centre=(0, 0, height / 2),
        radius=max(height / 2 + 0.45, 1.1 * length * (1.3 if double else 1)), azimuth=side_on(rng),
        start=start,
    )  # fmt: skip


def cradle(stage: Stage) -> Scene:
    """Newton's cradle: the outer balls take turns."""
    rng = stage.rng
    stage.timestep = 0.0005
    count, size, length = int(rng.integers(4, 6)), rng.uniform(0.2, 0.25), rng.uniform(1.05, 1.3)
    lifted = int(rng.choice([1, 1, 2]))
    height, spread = length + size + 0.35, 0.45
    paint, string = stage.paint(plain=0.5), stage.paint(plain=1.0)
    reach = count * size + 0.25
    for y in (-spread, spread):
        stage.still(
            f'<geom type="capsule" size="0.04" fromto="{-reach} {y} {height} {reach} {y} {height}" '
            f'material="{string.material}"/>'
        )
        for x in (-reach, reach):
            stage.still(
                f'<geom type="cylinder" size="0.04" fromto="{x} {y} 0 {x} {y} {height}" material="{string.material}"/>'
            )
    for i in range(count):
        strings = "".join(
            f'<geom type="capsule" size="0.012" fromto="0 {y} 0 0 0 {-length:.3f}" material="{string.material}" '
            f'density="1" contype="0" conaffinity="0"/>'
            for y in (-spread, spread)
        )
        ball = (
            f'<geom type="sphere" size="{size:.4f}" pos="0 0 {-length:.3f}" material="{paint.material}" density="500" '
            f'friction="0 0 0" solref="0.2 0.005" solimp="0.95 0.95 0.001" priority="3"/>'
        )
        x = (i - (count - 1) / 2) * (2 * size + 0.006)
        stage.body(
            f"ball{i}",
            (x, 0, height),
            strings + ball,
            joint=f'<joint name="hang{i}" type="hinge" axis="0 1 0" damping="0.003"/>',
        )
    angle = np.radians(rng.uniform(35, 55))

    def start(_: Any, data: Any) -> None:
        for i in range(lifted):
            data.joint(f"hang{i}").qpos[0] = angle

    return Scene(
        label="cradle", description=f"A Newton's cradle of {count} {paint.word} balls clicks back and forth",
        centre=(0, 0, height / 2 + 0.05),
        radius=max(height / 2 + 0.4, 0.85 * (reach + length)), azimuth=side_on(rng, 25),
        start=start,
    )  # fmt: skip


def spin(stage: Stage) -> Scene:
    """A top spins, sways and in the end falls over."""
    rng = stage.rng
    wide, stem = rng.uniform(0.5, 0.7), rng.uniform(0.26, 0.34)
    disc, body = stage.paint(plain=0.0), stage.paint(plain=0.4)
    off = 'friction="0.6 0.002 0.00002" condim="4"'
    cone = "".join(
        f'<geom type="cylinder" size="{0.75 * wide * (k + 1) / 6:.3f} {stem / 12:.4f}" '
        f'pos="0 0 {stem * (k + 0.5) / 6:.4f}" material="{body.material}" density="60" {off}/>'
        for k in range(1, 6)
    )
    geoms = (
        f'<geom type="sphere" size="0.05" pos="0 0 0.05" material="{body.material}" {off} density="200"/>{cone}'
        f'<geom type="cylinder" size="{wide:.3f} 0.06" pos="0 0 {stem + 0.05:.3f}" material="{disc.material}" '
        f'density="500" {off}/>'
        f'<geom type="capsule" size="0.05" fromto="0 0 {stem:.3f} 0 0 {stem + 0.4:.3f}" material="{body.material}" '
        f'density="100" {off}/>'
    )
    tilt = rng.uniform(4, 14)
    stage.body("top", (0, 0, 0.002), geoms, turn=(0, tilt, 0))
    rate = rng.uniform(9, 17) * rng.choice(
        [-1, 1]
    )  # radians a second: the pattern turns less than half a frame's worth
    drift = rng.normal(0, 0.12, 2)

    def start(_: Any, data: Any) -> None:
        data.joint("top").qvel[:] = (*drift, 0, 0, 0, rate)

    return Scene(
        label="spin", description=f"A spinning top with a {disc.word} disc turns and sways", centre=(0, 0, 0.35),
        radius=1.15, azimuth=(0, 360), elevation=(-42, -18), start=start,
    )  # fmt: skip


def rope(stage: Stage) -> Scene:
    """A rope with a weight at its end swings and curls."""
    rng = stage.rng
    links, length = int(rng.integers(12, 17)), rng.uniform(1.6, 2.0)
    height, piece, size = length + rng.uniform(0.5, 0.7), length / links, rng.uniform(0.04, 0.06)
    _gallows(stage, height, 0.75)
    paints = [stage.paint(plain=1.0) for _ in range(2)]
    weight, text = stage.paint(plain=0.3), ""
    heavy = rng.random() < 0.7
    for i in reversed(range(links)):
        end = ""
        if i == links - 1 and heavy:
            end = (
                f'<geom type="sphere" size="{rng.uniform(0.12, 0.2):.3f}" pos="0 0 {-piece - 0.1:.3f}" '
                f'material="{weight.material}" density="300" contype="0" conaffinity="0"/>'
            )
        inner = (
            f'<joint name="link{i}" type="ball" damping="0.015"/>'
            f'<geom type="capsule" size="{size:.3f}" fromto="0 0 0 0 0 {-piece:.4f}" '
            f'material="{paints[i // 2 % 2].material}" density="300" contype="0" conaffinity="0"/>{end}{text}'
        )
        text = f'<body pos="0 0 {-piece:.4f}">{inner}</body>' if i else inner
    stage.body("rope", (0, 0, height), text, joint="")
    angle, curl = np.radians(rng.uniform(45, 85)) * rng.choice([-1, 1]), rng.normal(0, 0.12, links)
    sideways = rng.normal(0, 0.8)

    def start(_: Any, data: Any) -> None:
        for i in range(links):
            half = (angle if i == 0 else curl[i]) / 2
            data.joint(f"link{i}").qpos[:] = (np.cos(half), 0, np.sin(half), 0)
        data.joint("link0").qvel[:] = (sideways, 0, 0)

    what = f"A {paints[0].word} rope {'with a weight ' if heavy else ''}swings"
    return Scene(
        label="rope", description=what, centre=(0, 0, height / 2),
        radius=max(height / 2 + 0.35, 0.95 * length), azimuth=side_on(rng),
        start=start, speed=rng.uniform(0.8, 1.0),
    )  # fmt: skip


def cloth(stage: Stage) -> Scene:
    """A cloth hangs from a bar, swings back from where it was held, and flutters in a gust."""
    rng = stage.rng
    stage.timestep = 0.003
    cells = 9
    width, tall = rng.uniform(1.4, 1.8), rng.uniform(1.2, 1.5)
    height = tall + rng.uniform(0.5, 0.7)
    _gallows(stage, height + 0.05, width / 2 + 0.12, along="x")
    material, word = stage.fabric()
    corners = rng.random() < 0.3  # pinned at its corners only
    pins = " ".join(f"{i} {cells - 1}" for i in ((0, cells - 1) if corners else range(cells)))
    lift = np.radians(rng.uniform(15, 65)) * rng.choice([-1, 1])
    away = -np.array([0, np.sin(lift), np.cos(lift)])  # from the bar to the free edge
    middle = np.array([0, 0, height]) + away * tall / 2
    stage.world.append(
        f'<flexcomp name="cloth" type="grid" dim="2" count="{cells} {cells} 1" '
        f'pos="{middle[0]:.4f} {middle[1]:.4f} {middle[2]:.4f}" '
        f'euler="{90 - np.degrees(lift):.3f} 0 0" spacing="{width / (cells - 1):.4f} {tall / (cells - 1):.4f} 0.1" '
        f'radius="0.01" mass="0.6" material="{material}"><pin grid="{pins}"/><edge equality="true" damping="0.02"/>'
        f'<contact contype="0" conaffinity="0" selfcollide="none"/></flexcomp>'
    )
    gust, beat, phase = rng.uniform(0.5, 5.0), rng.uniform(2.0, 5.0), rng.uniform(0, 6)

    def control(time: float, _: Any, data: Any) -> None:
        across = np.arange(data.qfrc_applied.size // 3) * (cells / 81)
        # local z of the cloth's own frame is what stands upright on it
        data.qfrc_applied[2::3] = 0.6 / 81 * gust * np.sin(beat * time + phase + 0.7 * across)

    view = rng.choice([50.0, 130.0, 230.0, 310.0])
    return Scene(
        label="cloth", description=f"A {word} cloth swings from a bar", centre=(0, 0, height / 2 + 0.1),
        radius=height / 2 + 0.4, azimuth=(view - 15, view + 15), control=control,
    )  # fmt: skip
