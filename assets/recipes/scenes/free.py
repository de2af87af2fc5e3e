"""Free scenes: a few bodies of random shape, material, size and speed, without a label."""

from typing import Any

import numpy as np

from .stage import Scene, Stage

SHAPES = ("sphere", "box", "capsule", "cylinder", "ellipsoid")


def shape(stage: Stage, size: float, kinds: tuple[str, ...] = SHAPES, **attributes: Any) -> tuple[str, str, float]:
    """A geom of about `size` metres: its XML, the English word for it, and its height when it stands."""
    rng = stage.rng
    kind = str(rng.choice(list(kinds)))
    sides = size * rng.uniform(0.65, 1.15, 3)
    paint = stage.paint()
    values, height = {
        "sphere": (f"{size:.3f}", size),
        "box": (" ".join(f"{s:.3f}" for s in sides), sides[2]),
        "capsule": (f"{0.6 * size:.3f} {0.6 * size:.3f}", 1.2 * size),
        "cylinder": (f"{0.8 * size:.3f} {sides[1]:.3f}", sides[1]),
        "ellipsoid": (" ".join(f"{s:.3f}" for s in sides), sides[2]),
    }[kind]
    extra = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    word = {"sphere": "ball", "box": "block", "ellipsoid": "pebble"}.get(kind, kind)
    geom = f'<geom type="{kind}" size="{values}" material="{paint.material}" {extra}/>'
    return geom, f"{paint.word} {word}", float(height)


def bouncy(zeta: float, rate: float = 200.0) -> str:
    """MuJoCo's contact as a spring-damper: damping ratio `zeta` (restitution about exp(-pi zeta)), `rate` in rad/s."""
    return f"{1 / (rate * zeta):.4f} {zeta:.3f}"


def free(stage: Stage) -> Scene:
    """2 to 8 bodies that fall, slide, spin and collide under a still, turning or shaking camera."""
    rng = stage.rng
    count = int(rng.integers(2, 9))
    stage.gravity = float(rng.choice([9.81, rng.uniform(2.0, 9.8)]))
    velocities = []
    for _ in range(count):
        size = rng.uniform(0.18, 0.6)
        friction = f"{rng.uniform(0.2, 1):.2f} 0.01 0.001"
        solref = bouncy(rng.uniform(0.05, 0.9))
        geom, _, _ = shape(stage, size, density=500, solref=solref, friction=friction, condim=4, priority=1)
        x, y = rng.uniform(-1.9, 1.9, 2)
        z = size * 1.3 if rng.random() < 0.45 else rng.uniform(0.8, 3.2)
        turn = " ".join(f"{v:.1f}" for v in rng.uniform(0, 360, 3))
        stage.world.append(f'<body pos="{x:.3f} {y:.3f} {z:.3f}" euler="{turn}"><freejoint/>{geom}</body>')
        towards = -np.array([x, y, 0]) * rng.uniform(-0.2, 1.2) + rng.normal(0, 0.8, 3)
        velocities.append(np.concatenate([towards * (rng.random() < 0.8), rng.normal(0, 3, 3)]))
    speeds = np.concatenate(velocities)

    def start(model: Any, data: Any) -> None:
        data.qvel[: len(speeds)] = speeds

    turning = rng.random() < 0.4
    return Scene(
        label="",
        description=f"{count} objects fall, slide and collide",
        centre=(0.0, 0.0, rng.uniform(0.5, 0.9)),
        radius=rng.uniform(1.5, 2.4),
        azimuth=(0, 360),
        elevation=(-60, -5),
        orbit=float(rng.choice([-1, 1]) * rng.uniform(15, 110)) if turning else 0.0,
        start=start,
        wander=0.5,
    )
