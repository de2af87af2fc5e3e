"""The kinds of happenings in the clips. A family takes a `Stage` and returns a `Scene`; see `stage.py`."""

import os
import sys
from collections.abc import Callable

# MuJoCo reads it when it is imported.
if sys.platform == "linux" and "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: one thread a worker

from .balls import bounce, collide, roll, slide
from .blocks import dominoes, orbit, pour, topple
from .figures import fall, walk
from .machines import arm
from .stage import Scene, Stage
from .swings import cloth, cradle, pendulum, rope, spin

FAMILIES: dict[str, Callable[[Stage], Scene]] = {
    "bounce": bounce,
    "roll": roll,
    "slide": slide,
    "collide": collide,
    "topple": topple,
    "dominoes": dominoes,
    "pendulum": pendulum,
    "cradle": cradle,
    "spin": spin,
    "rope": rope,
    "cloth": cloth,
    "pour": pour,
    "arm": arm,
    "walk": walk,
    "fall": fall,
    "orbit": orbit,
}
