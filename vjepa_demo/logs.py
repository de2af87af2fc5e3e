"""What stands in the log: no name of a visitor's file, no line that a visitor could have written, nothing for ever."""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from vjepa_demo import scratch
from vjepa_demo.errors import cut
from vjepa_demo.settings import settings

REMEMBERED = 1000  # places in the program


def begin(level: int = logging.WARNING) -> None:
    """Have everything that is logged from now on written to the standard error in this way."""
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Sparse())
    logging.basicConfig(level=level, handlers=[handler])


def named(text: object) -> str:
    """What a visitor called their file, for the log: nothing of it on a public app."""
    return "(a visitor's file)" if settings.public else cut(text)


class Discreet(logging.Formatter):
    """Leaves out what visitors called their files: everything below this process's folder is written as `…`. What does
    not print is escaped, and each line but the first begins with `|`: it can pass for no line of ours.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if folder := scratch.begun():
            text = re.sub(re.escape(str(folder)) + r"[^'\"\n]*", "…", text)
        return "\n| ".join(map(_printable, text.splitlines()))


class Sparse(logging.Filter):
    """Lets an error from the same place of the program through once in a while, with how often it came meanwhile.

    Args:
        seconds: how long the others are left out.
        clock: in seconds.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.seconds, self._clock = seconds, clock
        self._told: OrderedDict[Any, tuple[float, int]] = OrderedDict()  # (when, how many since)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        place = record.name, str(record.msg)[:200] if record.exc_info is None else _place(record.exc_info[1])
        when, since = self._told.get(place, (-self.seconds, 0))
        if self._clock() - when < self.seconds:
            self._told[place] = when, since + 1
            return False
        if since:
            record.msg, record.args = f"{record.getMessage()} (and {since} times more before)", ()
        self._told[place] = self._clock(), 0
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return True


def _place(error: BaseException | None) -> str:
    """The kind of an error, and the line of the program at which it came up."""
    trace = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        f"{type(error).__name__} {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else repr(error)[:200]
    )


def _printable(line: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in line
    )
