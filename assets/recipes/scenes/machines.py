"""A robot arm that pushes things about."""

from typing import Any

import numpy as np

from .free import shape
from .stage import Scene, Stage

UPPER, FORE, SHOULDER = 0.85, 0.85, 0.45  # metres: the links' lengths, the shoulder's height


def reach(radius: float, height: float) -> tuple[float, float]:
    """Angles (radians) of shoulder and elbow that bring the wrist to a radius and height (two links, elbow up).

    Both turn about y: the shoulder from upright towards the front, the elbow on from the upper link's direction.
    """
    x, z = radius, height - SHOULDER
    far = min(np.hypot(x, z), UPPER + FORE - 1e-3)
    bend = np.arccos(np.clip((far**2 - UPPER**2 - FORE**2) / (2 * UPPER * FORE), -1, 1))
    lead = np.arctan2(FORE * np.sin(bend), UPPER + FORE * np.cos(bend))
    return float(np.arctan2(x, z) - lead), float(bend)


def arm(stage: Stage) -> Scene:
    """An arm lowers its hand and sweeps or pushes things over the floor."""
    rng = stage.rng
    stage.timestep = 0.004
    body, joint_paint, hand = stage.paint(plain=0.8), stage.paint(plain=1.0), stage.paint(plain=0.5)
    m, k, h = (f'material="{p.material}" density="300"' for p in (body, joint_paint, hand))
    off = 'contype="0" conaffinity="0"'
    stage.still(f'<geom type="cylinder" size="0.26 0.16" pos="0 0 0.16" {k}/>')
    finger = "".join(
        f'<geom type="capsule" size="0.05" fromto="0.1 {y} 0.03 0.1 {y} -0.12" {h}/>' for y in (-0.16, 0.16)
    )
    servo = 'damping="4" armature="0.5"'
    text = (
        f'<joint name="yaw" type="hinge" axis="0 0 1" {servo}/>'
        f'<geom type="cylinder" size="0.15 0.1" pos="0 0 -0.03" {m} {off}/>'
        f'<geom type="cylinder" size="0.13 0.17" euler="90 0 0" {k} {off}/>'
        f'<body name="upper"><joint name="shoulder" type="hinge" axis="0 1 0" {servo}/>'
        f'<geom type="capsule" size="0.09" fromto="0 0 0.1 0 0 {UPPER - 0.1}" {m} {off}/>'
        f'<body name="fore" pos="0 0 {UPPER}"><joint name="elbow" type="hinge" axis="0 1 0" {servo}/>'
        f'<geom type="cylinder" size="0.11 0.13" euler="90 0 0" {k} {off}/>'
        f'<geom type="capsule" size="0.07" fromto="0 0 0.1 0 0 {FORE - 0.08}" {m}/>'
        f'<body name="hand" pos="0 0 {FORE}"><joint name="wrist" type="hinge" axis="0 1 0" {servo}/>'
        f'<geom type="sphere" size="0.09" {k} {off}/><geom type="box" size="0.1 0.2 0.05" {h}/>{finger}'
        "</body></body></body>"
    )
    stage.body("arm", (0, 0, SHOULDER), text, joint="")
    stage.sections.append(
        "<actuator>"
        + "".join(f'<position joint="{j}" kp="1500" dampratio="1"/>' for j in ("yaw", "shoulder", "elbow", "wrist"))
        + "</actuator>"
    )
    sweep = rng.random() < 0.6
    facing = rng.uniform(-20, 20)
    side = rng.choice([-1, 1])
    count = int(rng.integers(1, 4))
    radius = rng.uniform(1.05, 1.3) if sweep else rng.uniform(0.85, 0.95)
    words = []
    for i in range(count):
        size = rng.uniform(0.17, 0.25)
        geom, word, height = shape(stage, size, density=120, friction="0.5 0.02 0.003", condim=6)
        if sweep:
            a = np.radians(facing) + side * (0.05 + 0.42 * i)
            spot = (radius * np.cos(a), radius * np.sin(a), height + 0.002)
        else:
            a = np.radians(facing) + (i - (count - 1) / 2) * 0.5
            spot = ((radius + 0.42) * np.cos(a), (radius + 0.42) * np.sin(a), height + 0.002)
        stage.body(f"thing{i}", spot, geom, turn=(0, 0, rng.uniform(0, 360)))
        words.append(word)
    lower, push = rng.uniform(0.5, 0.9), rng.uniform(1.1, 1.7)
    begin = facing - side * 50 if sweep else facing + rng.uniform(-15, 15)
    end = begin + side * rng.uniform(85, 115) if sweep else facing
    far = radius if sweep else rng.uniform(1.45, 1.55)

    def pose(time: float) -> tuple[float, float, float, float]:
        down, over, up = (
            _smooth((time - a) / b) for a, b in ((0.1, lower), (0.1 + lower, push), (0.4 + lower + push, 0.7))
        )
        shoulder, elbow = reach(radius + (far - radius) * over, 0.85 - 0.64 * down + 0.5 * up)
        return (
            np.radians(begin + (end - begin) * over),
            shoulder,
            elbow,
            np.pi - shoulder - elbow,
        )  # the hand points down

    def start(_: Any, data: Any) -> None:
        for name, angle in zip(("yaw", "shoulder", "elbow", "wrist"), pose(0.0), strict=True):
            data.joint(name).qpos[0] = angle

    def control(time: float, _: Any, data: Any) -> None:
        data.ctrl[:4] = pose(time)

    view = rng.choice([0.0, 90.0, 180.0, 270.0])
    things = f"a {words[0]}{' and other things' if count > 1 else ''}"
    what = f"A robot arm {'sweeps' if sweep else 'pushes'} {things} over the floor"
    return Scene(
        label="arm", description=what, centre=(0.65, 0, 0.5), radius=1.65, azimuth=(view - 30, view + 30),
        elevation=(-42, -20), start=start, control=control,
    )  # fmt: skip


def _smooth(share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)
