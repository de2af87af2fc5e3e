"""From a scene to frames: compile, simulate, look through a moving camera, render, and cut out masks."""

from collections.abc import Sequence
from functools import cache

import mujoco
import numpy as np

from .stage import Look, Scene, Stage

Array = np.ndarray
FOV = 40.0  # degrees from the bottom to the top of the picture


def compile_model(stage: Stage, scene: Scene) -> mujoco.MjModel:
    """The model with its textures' pixels written in."""
    spec = mujoco.MjSpec.from_string(stage.xml())
    if scene.attach is not None:
        scene.attach(spec)
    model = spec.compile()
    for name, pixels in stage.pixels.items():
        index = model.texture(name).id
        begin, size = model.tex_adr[index], pixels.size
        model.tex_data[begin : begin + size] = pixels.reshape(-1)
    return model


class Camera:
    """The way of the camera through a clip, drawn once from the stage's generator.

    In a picture that is wider than high, what happens is anywhere from the left end to the right.
    """

    def __init__(self, rng: np.random.Generator, scene: Scene, aspect: float = 1.0) -> None:
        self.scene = scene
        self.azimuth, self.elevation = rng.uniform(*scene.azimuth), rng.uniform(*scene.elevation)
        self.distance = scene.radius / np.sin(np.radians(FOV / 2)) * rng.uniform(0.95, 1.12)
        moves = rng.random() < scene.wander
        self.drift = rng.normal(0, 1, 3) * (7.0, 2.0, 0.05) * moves  # degrees, degrees, share of the distance; a clip
        self.shake = rng.uniform(0.0, 0.012) * self.distance * (moves and rng.random() < 0.3)
        self.phases, self.rates = rng.uniform(0, 6.28, 3), rng.uniform(3, 9, 3)
        self.aside = rng.uniform(-1, 1) * (aspect - 1) * scene.radius if aspect > 1 else 0.0  # metres to the right

    def at(self, share: float, time: float) -> mujoco.MjvCamera:
        """The camera at `share` (0..1) of the clip, `time` seconds after its begin."""
        scene, camera = self.scene, mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        shift = np.array(scene.follow(time)) if scene.follow is not None else np.zeros(3)
        camera.lookat[:] = np.array(scene.centre) + shift + self.shake * np.sin(self.phases + self.rates * time)
        camera.azimuth = self.azimuth + (share - 0.5) * (self.drift[0] + scene.orbit)
        turn = np.radians(camera.azimuth)
        camera.lookat[:2] += self.aside * np.array([np.sin(turn), -np.cos(turn)])
        camera.elevation = min(self.elevation + (share - 0.5) * self.drift[1], -3.0)
        camera.distance = self.distance * (1 + (share - 0.5) * self.drift[2])
        return camera


def shoot(stage: Stage, scene: Scene, times: Sequence[float], *, masks: bool = False) -> tuple[Array, Array | None]:
    """Simulates and renders.

    `times` are seconds of the clip, rising. Returns frames uint8 `[T, H, W, 3]` and, with `masks`,
    object ids int16 `[T, H, W]`: 0 is whatever cannot move, ids count the moving trees of bodies from 1.
    """
    look = stage.look
    model = compile_model(stage, scene)
    model.vis.global_.fovy = FOV
    data = mujoco.MjData(model)
    height, width = look.shape
    camera = Camera(stage.rng, scene, width / height)
    mujoco.mj_forward(model, data)
    while data.time < scene.settle:
        mujoco.mj_step(model, data)
    data.time = 0.0
    scene.start(model, data)
    mujoco.mj_forward(model, data)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    ids = np.zeros((len(times), height, width), np.int16) if masks else None
    objects = object_ids(model)
    lens = Lens(model, look.rendered, shadows=look.shadow_lights > 0)
    for i, time in enumerate(times):
        advance(model, data, scene, time * scene.speed)
        lens.look(data, camera.at(time / max(times[-1], 1e-9), time))
        frames[i] = shrink(lens.picture(), look)
        if ids is not None:
            ids[i] = identify(lens.segments(), objects, look)
    lens.close()
    return frames, ids


@cache
def _context() -> "mujoco.GLContext":
    """The process's one OpenGL context: making one for each clip takes longer than the clip's sixteen frames."""
    context = mujoco.GLContext(64, 64)
    context.make_current()
    return context


class Lens:
    """MuJoCo's offscreen renderer for one model, in the process's context."""

    def __init__(self, model: mujoco.MjModel, shape: tuple[int, int], *, shadows: bool) -> None:
        _context()
        self.model, self.shape = model, shape
        self.scene = mujoco.MjvScene(model, 4000)
        self.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self.option, self.perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self.device = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.device)
        self.rectangle = mujoco.MjrRect(0, 0, shape[1], shape[0])

    def look(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> None:
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, data, self.option, self.perturb, camera, everything, self.scene)

    def picture(self) -> Array:
        """uint8 `[height, width, 3]`, the first row at the top."""
        pixels = np.empty((*self.shape, 3), np.uint8)
        mujoco.mjr_render(self.rectangle, self.scene, self.device)
        mujoco.mjr_readPixels(pixels, None, self.rectangle, self.device)
        return pixels[::-1]

    def segments(self) -> Array:
        """int32 `[height, width, 2]`: id and kind (`mjtObj`) of what each pixel shows, -1 where there is nothing."""
        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self.scene.flags[flag] = True
        coded = self.picture().astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        for flag in flags:
            self.scene.flags[flag] = False
        table = np.full((self.scene.ngeom + 1, 2), -1, np.int32)  # row 0: the sky
        for geom in self.scene.geoms[: self.scene.ngeom]:
            if geom.segid >= 0:
                table[geom.segid + 1] = geom.objid, geom.objtype
        return table[coded]

    def close(self) -> None:
        self.device.free()


def advance(model: mujoco.MjModel, data: mujoco.MjData, scene: Scene, until: float) -> None:
    """Runs the simulation (or, for a puppet, sets the pose) up to the simulated second `until`."""
    if scene.puppet:
        data.time = until
        scene.control(until, model, data)
        mujoco.mj_forward(model, data)
        return
    while data.time < until - 1e-9:
        scene.control(data.time, model, data)
        mujoco.mj_step(model, data)


def shrink(picture: Array, look: Look) -> Array:
    """Averages blocks of `oversample` x `oversample` rendered pixels: uint8 `[H, W, 3]`."""
    n = look.oversample
    total = np.zeros((*look.shape, 3), np.uint16)
    for row in range(n):  # six times faster than a sum over two axes of a reshaped picture
        for column in range(n):
            total += picture[row::n, column::n]
    return (total // (n * n)).astype(np.uint8)


def object_ids(model: mujoco.MjModel) -> dict[int, Array]:
    """Per kind of rendered thing (geom, flex) the object id of each: a moving tree of bodies is one object."""
    moving = [b for b in range(model.nbody) if model.body_weldid[b] != 0]
    roots = {root: i + 1 for i, root in enumerate(sorted({int(model.body_rootid[b]) for b in moving}))}
    geoms = np.zeros(model.ngeom, np.int16)
    for geom, body in enumerate(model.geom_bodyid):
        if model.body_weldid[body] != 0:
            geoms[geom] = roots[int(model.body_rootid[body])]
    kinds = {int(mujoco.mjtObj.mjOBJ_GEOM): geoms}
    if model.nflex:
        kinds[int(mujoco.mjtObj.mjOBJ_FLEX)] = np.arange(model.nflex, dtype=np.int16) + len(roots) + 1
    return kinds


def identify(segments: Array, objects: dict[int, Array], look: Look) -> Array:
    """MuJoCo's segmentation int32 `[height, width, 2]` (id, kind) as object ids int16 `[H, W]`."""
    n = look.oversample
    segments = segments[n // 2 :: n, n // 2 :: n]
    ids = np.zeros(segments.shape[:2], np.int16)
    for kind, table in objects.items():
        here = segments[..., 1] == kind
        ids[here] = table[segments[..., 0][here]]
    return ids
