"""The scenes of a talk, read from a file: a JSON list of objects, one a line.

    {"clip": "dominoes", "patches": [[0, 9, 4]], "step": 0, "caption": "What looks like this patch?"}

clip, second    the name of an example, or a file that lies beside this one; `second` is compared with `clip`
caption         a line above the picture
patches         the query: [step, row, column], or [step, row, column, -1] for a patch that is subtracted
grid            [steps, rows, columns] that `patches` and `step` are meant for, where the checkpoint may have another
step            the one that is shown
map             "similarity" or "pca", the first three components as colours
heat            0 to 1, how much of the map lies over the picture; `smooth`: without the edges of patches
layer           of the encoder; the last where there is none

Only `clip` and `caption` have to be there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_demo.errors import ScenesError, cut
from vjepa_demo.settings import ASSETS
from vjepa_demo.ui import examples

SHIPPED = ASSETS / "examples" / "scenes.json"
MOST_SCENES, MOST_PATCHES, MOST_CAPTION = 40, 16, 120
MOST_BYTES = 100_000
HEAT = 0.75


@dataclass(frozen=True)
class Scene:
    """One scene; see this module for what its fields mean. `clip` and `second` are paths."""

    clip: Path
    caption: str
    second: Path | None = None
    patches: tuple[tuple[int, ...], ...] = ()
    grid: tuple[int, ...] | None = None
    step: int | None = None
    map: str = "similarity"
    heat: float = HEAT
    smooth: bool = False
    layer: int | None = None

    def state(self, grid: tuple[int, int, int]) -> dict[str, Any]:
        """What the patch viewer is told (`patch_viewer/state.js`), for a clip with this grid."""
        own = self.grid or grid
        patches = [
            {"at": [rescaled(i, *sizes) for i, sizes in zip(patch, zip(own, grid, strict=True), strict=False)]}
            | ({"sign": -1} if patch[3:] == (-1,) else {})
            for patch in self.patches
        ]
        shown = self.step if self.step is not None else self.patches[0][0] if self.patches else 0
        step = rescaled(shown, own[0], grid[0])
        switches = {"centred": True, "borders": False, "smooth": self.smooth, "threshold": 1}
        return {"patches": patches, "step": step, "map": self.map, "heat": self.heat, **switches}


def rescaled(index: int, own: int, count: int) -> int:
    """The index among `count` of the middle of one among `own`."""
    return min(count - 1, int((index + 0.5) * count / own))


def read(path: Path) -> list[Scene]:
    """The scenes in a file. Raises ScenesError, with a sentence for whoever wrote it."""
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise ScenesError(f"The file of scenes is longer than {MOST_BYTES:,} bytes: shorten it.")
        lines = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise ScenesError(f"The file of scenes cannot be read: {error.strerror or type(error).__name__}.") from error
    except json.JSONDecodeError as error:
        raise ScenesError(f"The file of scenes is no JSON: line {error.lineno}, {error.msg}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ScenesError("The file of scenes is no JSON in UTF-8: save it as that.") from error
    if not isinstance(lines, list) or not 0 < len(lines) <= MOST_SCENES:
        raise ScenesError(f"The file of scenes has to be a list of 1 to {MOST_SCENES} scenes: [{{...}}, {{...}}].")
    return [_scene(number, line, path.parent) for number, line in enumerate(lines, 1)]


def _scene(number: int, line: Any, folder: Path) -> Scene:
    def wrong(words: str) -> ScenesError:
        return ScenesError(f"Scene {number} of the file of scenes: {words}")

    if not isinstance(line, dict):
        raise wrong('it has to be an object, as {"clip": "dominoes", "caption": "..."}.')
    for name in ("clip", "caption"):
        if name not in line:
            raise wrong(f'"{name}" is missing.')
    for name, value in line.items():
        if name not in FIELDS:
            raise wrong(f"there is no {cut(name)}, but {', '.join(FIELDS)}.")
        if not FIELDS[name].fits(value):
            raise wrong(f'"{name}" has to be {FIELDS[name].words}, not {cut(json.dumps(value))}.')
    fields = dict(line)
    for name in ("patches", "grid"):
        if name in fields:
            fields[name] = tuple(tuple(part) if isinstance(part, list) else part for part in fields[name])
    for name in ("clip", "second"):
        if name in fields:
            fields[name] = _file(fields[name], folder)
            if fields[name] is None:
                raise wrong(f"no file beside it is called {cut(line[name])}, nor is an example.")
    scene = Scene(**fields)
    if scene.grid and any(i >= size for patch in scene.patches for i, size in zip(patch, scene.grid, strict=False)):
        raise wrong(f'one of its "patches" lies outside its "grid" {list(scene.grid)}.')
    if scene.patches and all(patch[3:] == (-1,) for patch in scene.patches):
        raise wrong('one of its "patches" has to be one that is not subtracted.')
    return scene


def _file(name: str, folder: Path) -> Path | None:
    """The file of this name beside the scenes, or the example of this name."""
    beside = folder / name
    return beside if beside.is_file() else examples.named(name)


@dataclass(frozen=True)
class _Field:
    fits: Callable[[Any], bool]
    words: str


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10_000


def _is_patch(value: Any) -> bool:
    ends = isinstance(value, list) and (len(value) == 3 or (len(value) == 4 and value[3] in (1, -1)))
    return ends and all(map(_whole, value[:3]))


FIELDS = {
    "clip": _Field(lambda value: isinstance(value, str) and bool(value), "the name of a file or of an example"),
    "second": _Field(lambda value: isinstance(value, str) and bool(value), "the name of a file or of an example"),
    "caption": _Field(lambda v: isinstance(v, str) and len(v) <= MOST_CAPTION, f"at most {MOST_CAPTION} characters"),
    "patches": _Field(
        lambda value: isinstance(value, list) and len(value) <= MOST_PATCHES and all(map(_is_patch, value)),
        "a list of [step, row, column] or [step, row, column, -1]",
    ),
    "grid": _Field(
        lambda value: isinstance(value, list) and len(value) == 3 and all(_whole(n) and n > 0 for n in value),
        "[steps, rows, columns]",
    ),
    "step": _Field(_whole, "a whole number from 0"),
    "map": _Field(lambda value: value in ("similarity", "pca"), '"similarity" or "pca"'),
    "heat": _Field(
        lambda v: type(v) in (int, float) and math.isfinite(v) and 0 <= v <= 1,
        "a number from 0 to 1",
    ),
    "smooth": _Field(lambda value: isinstance(value, bool), "true or false"),
    "layer": _Field(_whole, "a whole number from 0"),
}
