"""The kinds of happenings in the clips. A family takes a `Stage` and returns a `Scene`; see `stage.py`."""

from collections.abc import Callable

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
