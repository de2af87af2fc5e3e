"""Figures that walk or fall: dm_control's humanoid and quadruped, dressed in the stage's colours."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from .stage import Scene, Stage

Array = np.ndarray
LEGS = ("front_left", "front_right", "back_left", "back_right")
# Angles in degrees that let the humanoid's arms hang down beside its body (found by a search over the three joints).
HANGING = {"shoulder1": 35.0, "shoulder2": -35.0, "elbow": -80.0}


@cache
def _file(kind: str) -> str:
    """The figure's XML in dm_control's wheel, found without importing dm_control."""
    found = find_spec("dm_control")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("dm_control is not installed: pip install -r assets/recipes/requirements.txt")
    return str(Path(next(iter(found.submodule_search_locations))) / "suite" / f"{kind}.xml")


def _dress(stage: Stage, kind: str) -> tuple[Callable[[Any], None], str]:
    """A function that attaches the figure to a MjSpec, in three colours, and the word for the main one."""
    shirt, trousers, skin = stage.paint(plain=0.5), stage.paint(plain=0.8), stage.paint(plain=1.0)

    def paint(name: str) -> str:
        if any(part in name for part in ("head", "hand", "toe", "foot", "eye", "ankle")):
            return skin.material
        if any(part in name for part in ("thigh", "shin", "butt", "knee", "lower_waist", "hip")):
            return trousers.material
        return shirt.material

    def attach(spec: Any) -> None:
        child = mujoco.MjSpec.from_file(_file(kind))
        for thing in [*child.lights, *child.cameras, *child.sensors, *child.actuators, *child.sites]:
            child.delete(thing)
        child.option.timestep, child.visual.map.znear = spec.option.timestep, spec.visual.map.znear  # or it warns
        torso = child.body("torso")
        spec.worldbody.add_frame().attach_body(torso, "figure-", "")
        for geom in spec.geoms:
            if geom.name.startswith("figure-") or geom.parent.name.startswith("figure-"):
                geom.material = paint(geom.name + geom.parent.name)

    return attach, shirt.word


def _stride(
    model: Any, data: Any, pose: Callable[[float], dict[str, float]], feet: tuple[str, ...], seconds: float
) -> Array:
    """The root's way `[frames, 2]` (x, z in metres; 100 a second) on which the lowest foot neither slides nor sinks."""
    way = np.zeros((round(seconds * 100) + 2, 2))
    before: dict[str, Array] = {}
    x = 0.0
    for i in range(len(way)):
        data.qpos[:3] = (0, 0, 0)
        _set(data, pose(i / 100))
        mujoco.mj_kinematics(model, data)
        here = {foot: data.body(f"figure-{foot}").xpos.copy() for foot in feet}
        lowest = min(feet, key=lambda foot: here[foot][2])
        if before:
            x -= here[lowest][0] - before[lowest][0]
        way[i] = x, -_lowest(model, data)
        before = here
    return way


def _lowest(model: Any, data: Any) -> float:
    """The height of the figure's lowest point, metres."""
    low = np.inf
    for g in range(model.ngeom):
        if model.body(model.geom_bodyid[g]).name.startswith("figure-"):
            size, axis = model.geom_size[g], data.geom_xmat[g].reshape(3, 3)[2, 2]
            kind = model.geom_type[g]
            reach = size[0] + (abs(axis) * size[1] if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0)
            low = min(low, data.geom_xpos[g][2] - reach)
    return float(low)


def _set(data: Any, angles: dict[str, float]) -> None:
    """Sets joint angles given in degrees."""
    for name, angle in angles.items():
        data.joint(f"figure-{name}").qpos[0] = np.radians(angle)


def _humanoid_gait(rng: np.random.Generator) -> Callable[[float], dict[str, float]]:
    rate, swing, bend = rng.uniform(0.7, 1.0), rng.uniform(18, 28), rng.uniform(35, 60)
    arms, lean, first = rng.uniform(10, 30), rng.uniform(-4, 8), rng.uniform(0, 2 * np.pi)

    def pose(time: float) -> dict[str, float]:
        angles: dict[str, float] = {"abdomen_y": -lean}
        for side, offset in (("right", 0.0), ("left", np.pi)):
            phase = 2 * np.pi * rate * time + first + offset
            hip = -6 - swing * np.sin(phase)
            knee = -8 - bend * max(0.0, np.cos(phase + 0.3)) ** 1.5
            angles |= {f"{side}_hip_y": hip, f"{side}_knee": knee, f"{side}_ankle_y": 0.7 * (knee - hip)}
            mirror = 1 if side == "right" else -1
            angles |= {
                f"{side}_shoulder1": mirror * (HANGING["shoulder1"] + arms * np.sin(phase)),
                f"{side}_shoulder2": mirror * HANGING["shoulder2"],
                f"{side}_elbow": HANGING["elbow"] - 10,
            }
        return angles

    return pose


def _quadruped_gait(rng: np.random.Generator) -> Callable[[float], dict[str, float]]:
    rate, swing, lift = rng.uniform(0.7, 1.1), rng.uniform(14, 22), rng.uniform(20, 32)
    trot = rng.random() < 0.6
    offsets = (0, np.pi, np.pi, 0) if trot else (0, np.pi, 1.5 * np.pi, 0.5 * np.pi)

    def pose(time: float) -> dict[str, float]:
        angles = {}
        for leg, offset in zip(LEGS, offsets, strict=True):
            phase = 2 * np.pi * rate * time + offset
            forward = -1 if leg.endswith("left") else 1
            raised = max(0.0, np.cos(phase))
            angles |= {
                f"yaw_{leg}": forward * swing * np.sin(phase),
                f"pitch_{leg}": 15 - lift * raised,
                f"knee_{leg}": -5 - 10 * raised,
                f"ankle_{leg}": 5 + 15 * raised,
            }
        return angles

    return pose


def walk(stage: Stage) -> Scene:
    """A humanoid or a four-legged figure walks."""
    rng = stage.rng
    human = rng.random() < 0.6
    attach, word = _dress(stage, "humanoid" if human else "quadruped")
    pose = (_humanoid_gait if human else _quadruped_gait)(rng)
    feet = ("right_foot", "left_foot") if human else tuple(f"toe_{leg}" for leg in LEGS)
    way: dict[str, Array] = {}

    def start(model: Any, data: Any) -> None:
        way["root"] = _stride(model, data, pose, feet, 7.0)

    def root(time: float) -> tuple[float, float]:
        table = way["root"]
        at = min(time * 100, len(table) - 2)
        low = int(at)
        x, z = table[low] + (at - low) * (table[low + 1] - table[low])
        return x - table[175, 0], z  # passes the centre of the picture half-way through 3.5 seconds

    def control(time: float, _: Any, data: Any) -> None:
        x, z = root(time)
        data.qpos[:7] = (x, 0, z, 1, 0, 0, 0)
        _set(data, pose(time))

    scale, pace = 1.0 if human else 0.75, rng.uniform(0.4, 0.8)  # the camera goes along, a little slower
    return Scene(
        label="walk", description=f"A {'humanoid' if human else 'four-legged'} figure in {word} walks by",
        centre=(0, 0, 0.75 * scale), radius=1.45, azimuth=(50, 130) if rng.random() < 0.5 else (230, 310),
        elevation=(-28, -8), start=start, control=control, puppet=True, attach=attach,
        follow=lambda time: (pace * root(time)[0], 0.0, 0.0),
    )  # fmt: skip


def fall(stage: Stage) -> Scene:
    """A limp humanoid is pushed and collapses, or drops and tumbles."""
    rng = stage.rng
    stage.timestep = 0.004
    attach, word = _dress(stage, "humanoid")
    drops = rng.random() < 0.4
    push, turn = rng.normal(0, 0.9, 2), rng.normal(0, 1.2, 3)
    bends = {
        f"{side}_{joint}": rng.uniform(low, high)
        for side in ("right", "left")
        for joint, low, high in (("hip_y", -40, 5), ("knee", -60, -5), ("hip_x", -15, 0))
    }
    height, tilt = (rng.uniform(1.5, 1.9), rng.uniform(-1.2, 1.2)) if drops else (None, rng.uniform(-0.15, 0.15))
    axis = rng.uniform(0, 2 * np.pi)

    def start(model: Any, data: Any) -> None:
        half = tilt / 2
        data.qpos[:7] = (0, 0, 2, np.cos(half), np.sin(half) * np.cos(axis), np.sin(half) * np.sin(axis), 0)
        _set(data, bends)
        mujoco.mj_kinematics(model, data)
        data.qpos[2] = height if height is not None else 2 - _lowest(model, data)
        data.qvel[:2], data.qvel[3:6] = push * (0.7 if drops else 1), turn

    what = f"A limp humanoid figure in {word} {'drops and tumbles' if drops else 'loses its balance and falls'}"
    return Scene(
        label="fall", description=what, centre=(0, 0, 0.8), radius=1.35, azimuth=(0, 360), elevation=(-32, -10),
        start=start, attach=attach, speed=rng.uniform(0.4, 0.65),
    )  # fmt: skip
