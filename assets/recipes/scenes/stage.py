"""A stage: the room, light, materials and camera that every scene shares, whatever happens in it.

Labels must not be told by their colours, so the stage is drawn from the same distribution for
all of them; a family of scenes only adds bodies and says where to look.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import photos, textures

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Look:
    """How much care a picture gets: what the scenes' cost depends on."""

    size: int = 128  # pixels of the finished frame's height, and of its width too unless there is a `width`
    width: int = 0
    oversample: int = 2  # rendered this many times larger, then averaged down
    shadow_lights: int = 0  # lights that cast shadows; several of them side by side soften the edge
    shadow_size: int = 1024
    shadow_reach: float = 6.0  # metres around the middle; the floor speckles beyond it
    texture: int = 256  # pixels of a texture's side
    reflection: float = 0.1  # share of the floors that mirror
    patterns: Sequence[str] = textures.TRAINING
    photos: Sequence[Path] = ()
    photo_share: float = 0.5  # share of the surfaces that carry a photograph, where there are any

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the finished frame, in pixels."""
        return self.size, self.width or self.size

    @property
    def rendered(self) -> tuple[int, int]:
        """(height, width) of what is rendered for it."""
        height, width = self.shape
        return height * self.oversample, width * self.oversample


class Paint(NamedTuple):
    """A material's name in the model, and the word for its colour."""

    material: str
    word: str


def _nothing(*_: Any) -> None:
    return None


@dataclass(kw_only=True)
class Scene:
    """What happens: bodies are already on the stage, here is how they start and where to look.

    `start(model, data)` sets the first state, `control(time, model, data)` runs before every step.
    With `puppet` the control sets the pose itself and nothing is simulated.
    """

    label: str
    description: str
    centre: tuple[float, float, float] = (0.0, 0.0, 1.0)  # of what happens, in metres
    radius: float = 2.0  # of the sphere around the centre that must be in the picture, in metres
    azimuth: tuple[float, float] = (60.0, 120.0)  # degrees; at 90 the camera looks along +y
    elevation: tuple[float, float] = (-32.0, -10.0)  # degrees; below 0 the camera looks down
    orbit: float = 0.0  # degrees that the camera turns around the centre during the clip
    speed: float = 1.0  # simulated seconds in one second of the clip
    settle: float = 0.0  # seconds simulated before the clip begins
    start: Callable[[Any, Any], None] = _nothing
    control: Callable[[float, Any, Any], None] = _nothing
    follow: Callable[[float], tuple[float, float, float]] | None = None
    puppet: bool = False
    attach: Callable[[Any], None] | None = None  # adds to the MjSpec what XML text cannot say
    wander: float = 0.3  # share of the clips in which the camera drifts

    def __post_init__(self) -> None:
        self.description = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", self.description)


def side_on(rng: np.random.Generator, spread: float = 30.0) -> tuple[float, float]:
    """Azimuths from which a happening along x is seen from the side, from the front or from the back of it."""
    middle = 90.0 if rng.random() < 0.5 else 270.0
    return middle - spread, middle + spread


@dataclass
class Stage:
    """Collects a scene's XML. Deterministic: all choices come from `rng`."""

    rng: np.random.Generator
    look: Look
    world: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)  # <actuator>, <equality>, <tendon> … as they are
    assets: list[str] = field(default_factory=list)
    pixels: dict[str, Array] = field(default_factory=dict)  # texture name -> uint8 [rows, columns, 3]
    gravity: float = 9.81
    timestep: float = 0.002

    def __post_init__(self) -> None:
        self.colours = textures.palette(self.rng, 6)  # the first two for floor and walls, the others for objects
        self._light()
        self._room()

    # -- materials ------------------------------------------------------------------------------------------------

    def paint(self, *, plain: float = 0.35, colour: Array | None = None, opacity: float = 1.0) -> Paint:
        """A new material for an object, in one of the stage's colours; `plain` is the chance that it has no pattern."""
        rng = self.rng
        first = self.colours[rng.integers(2, len(self.colours))] if colour is None else colour
        second = np.clip(first * rng.uniform(0.35, 0.6) if rng.random() < 0.5 else 0.35 * first + 0.65, 0, 1)
        patterns = [kind for kind in self.look.patterns if plain > 0 or kind != "plain"]
        kind = "plain" if rng.random() < plain else str(rng.choice(patterns))
        square = self._square(kind, first, second, share=0.4)
        shine = f'specular="{rng.uniform(0.1, 0.8):.2f}" shininess="{rng.uniform(0.2, 0.9):.2f}"'
        name = self._texture("cube", np.concatenate([square] * 6), f'{shine} rgba="1 1 1 {opacity:.2f}"')
        return Paint(name, textures.colour_word(first))

    def fabric(self) -> Paint:
        """A material for a cloth, whose texture lies flat on it."""
        rng = self.rng
        first = self.colours[rng.integers(2, len(self.colours))]
        kind = str(rng.choice([k for k in self.look.patterns if k != "plain"]))
        square = self._square(kind, first, np.clip(0.3 * first + 0.65, 0, 1), share=0.4)
        return Paint(self._texture("2d", square, 'texrepeat="2 2" specular="0.1"'), textures.colour_word(first))

    def _square(self, kind: str, first: Array, second: Array, share: float) -> Array:
        if self.look.photos and self.rng.random() < share * self.look.photo_share:
            return photos.crop(self.rng, self.look.photos, self.look.texture)
        return textures.pattern(self.rng, kind, first, second, self.look.texture)

    def _texture(self, kind: str, pixels: Array, attributes: str) -> str:
        """Declares an empty texture and keeps its pixels: they are written into the compiled model."""
        name = f"paint{len(self.pixels)}"
        self.pixels[name] = pixels
        size = f'width="{pixels.shape[1]}" height="{pixels.shape[1]}"'
        self.assets.append(f'<texture name="{name}" type="{kind}" builtin="flat" rgb1="1 1 1" {size}/>')
        if kind != "skybox":
            self.assets.append(f'<material name="{name}" texture="{name}" {attributes}/>')
        return name

    def _surface(self, *, repeat: float, mirror: float = 0.0) -> str:
        rng = self.rng
        first = self.colours[rng.integers(2)]
        grey = first.mean() + rng.uniform(0.0, 0.25)
        first = grey + (first - grey) * rng.uniform(0.1, 0.7)  # quieter than the objects
        first = np.clip(first * rng.uniform(0.6, 1.1), 0.08, 0.8)
        second = np.clip(first * rng.uniform(0.65, 0.93), 0, 1)
        kind = str(rng.choice(list(self.look.patterns)))
        square = self._square(kind, first, second, share=1.0)
        return self._texture(
            "2d",
            square,
            f'texuniform="true" texrepeat="{repeat:.3f} {repeat:.3f}" specular="0.15" shininess="0.3" '
            f'reflectance="{mirror:.2f}"',
        )

    # -- bodies ---------------------------------------------------------------------------------------------------

    def body(
        self,
        name: str,
        place: Sequence[float],
        geoms: str,
        *,
        joint: str | None = None,
        turn: Sequence[float] = (0, 0, 0),
    ) -> None:
        """Adds a body that moves: freely, or by the `joint` given as XML. `turn` are Euler angles in degrees."""
        where, angles = (" ".join(f"{float(v):.4f}" for v in values) for values in (place, turn))
        joint = f'<freejoint name="{name}"/>' if joint is None else joint
        self.world.append(f'<body name="{name}" pos="{where}" euler="{angles}">{joint}{geoms}</body>')

    def still(self, geom: str) -> None:
        """Adds something that never moves."""
        self.world.append(geom)

    # -- room and light -------------------------------------------------------------------------------------------

    def _light(self) -> None:
        rng, look = self.rng, self.look
        azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(42, 75))
        strength = rng.uniform(0.45, 0.75)
        tint = 1 + rng.uniform(-0.1, 0.1) * np.array([1.0, 0.1, -1.0])  # warm or cool
        count = max(look.shadow_lights, 1)
        for i in range(count):
            # neighbours one and a half degrees apart: together they cast the soft edge of a wide lamp
            a, h = azimuth + 0.03 * (i - (count - 1) / 2), height + 0.025 * ((i % 2) - 0.5) * (count > 1)
            direction = -np.array([np.cos(h) * np.cos(a), np.cos(h) * np.sin(a), np.sin(h)])
            self._lamp(direction, tint * strength / count, look.shadow_lights > 0)
        opposite = -np.array([-0.7 * np.cos(azimuth), -0.7 * np.sin(azimuth), 0.7])
        self._lamp(opposite, np.ones(3) * rng.uniform(0.1, 0.25), False)
        self.ambient = rng.uniform(0.25, 0.4)

    def _lamp(self, direction: Array, colour: Array, shadow: bool) -> None:
        where = " ".join(f"{v:.3f}" for v in -8 * direction)
        self.world.append(
            f'<light type="directional" pos="{where}" dir="{" ".join(f"{v:.4f}" for v in direction)}" '
            f'diffuse="{" ".join(f"{v:.3f}" for v in colour)}" specular="0.25 0.25 0.25" '
            f'castshadow="{"true" if shadow else "false"}"/>'
        )

    def _room(self) -> None:
        rng = self.rng
        mirror = rng.uniform(0.08, 0.25) if rng.random() < self.look.reflection else 0.0
        floor = self._surface(repeat=rng.uniform(0.2, 0.5), mirror=mirror)
        self.world.append(f'<geom name="floor" type="plane" size="0 0 1" material="{floor}"/>')
        if rng.random() < 0.5:  # a room; otherwise the floor runs to the horizon
            reach, tall = rng.uniform(8, 12), 6  # low enough for the lamp to shine over it on the middle
            wall = self._surface(repeat=1 / rng.uniform(3, 9))
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                axes = f'xyaxes="{-y} {x} 0 0 0 1"'
                self.world.append(
                    f'<geom type="plane" pos="{-x * reach:.2f} {-y * reach:.2f} {tall / 2}" {axes} '
                    f'size="{reach:.2f} {tall / 2} 1" material="{wall}" contype="0" conaffinity="0"/>'
                )
        self._sky()

    def _sky(self) -> None:
        rng, look = self.rng, self.look
        top = np.clip(self.colours[rng.integers(len(self.colours))] * 0.5 + rng.uniform(0.1, 0.4), 0, 1)
        low = np.clip(top * 0.4 + 0.6 * rng.uniform(0.6, 1.0), 0, 1)
        self.horizon = low
        if look.photos and rng.random() < look.photo_share:
            self._texture("skybox", np.concatenate([photos.crop(rng, look.photos, 256) for _ in range(6)]), "")
            return
        mix = lambda rgb: " ".join(f"{v:.3f}" for v in rgb)  # noqa: E731
        self.assets.append(
            f'<texture type="skybox" builtin="gradient" rgb1="{mix(top)}" rgb2="{mix(low)}" width="128" height="768"/>'
        )

    # -- the finished text ----------------------------------------------------------------------------------------

    def xml(self) -> str:
        """The model, complete but for the pixels of its textures."""
        height, width = self.look.rendered
        haze = " ".join(f"{v:.3f}" for v in self.horizon)
        line = "\n"
        return f"""<mujoco>
<compiler angle="degree"/>
<option timestep="{self.timestep}" gravity="0 0 {-self.gravity}" integrator="implicitfast"/>
<size memory="64M"/>
<statistic center="0 0 1" extent="6"/>
<visual>
  <global offwidth="{width}" offheight="{height}"/>
  <quality shadowsize="{self.look.shadow_size}" offsamples="0"/>
  <headlight ambient="{self.ambient:.2f} {self.ambient:.2f} {self.ambient:.2f}" diffuse="0.2 0.2 0.2" specular="0 0 0"/>
  <map znear="0.02" zfar="20" haze="0.4" shadowclip="{self.look.shadow_reach / 6:.2f}"/>
  <rgba haze="{haze} 1"/>
</visual>
<asset>{line.join(self.assets)}</asset>
<worldbody>{line.join(self.world)}</worldbody>
{line.join(self.sections)}
</mujoco>"""
