"""What each address may use up of something in a stretch of time, so that one of them leaves room for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gradio.utils import LRUCache

REMEMBERED = 4096  # addresses


class Allowance:
    """Counts what each address has spent since its stretch of time began.

    Args:
        most: how much it may spend in one.
        seconds: how long it lasts; a new one begins with the first spending after it.
        clock: in seconds.
    """

    def __init__(self, most: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.seconds = most, seconds
        self._clock = clock
        self._spent: LRUCache[str, tuple[float, float]] = LRUCache(REMEMBERED)  # (since when, how much)
        self._lock = threading.Lock()

    def spend(self, address: str, amount: float = 1, *, anyway: bool = False) -> bool:
        """Whether so much is left of it; what is refused is not counted, unless it is spent `anyway`."""
        with self._lock:
            since, spent = self._spent.get(address, (self._clock(), 0.0))
            if self._clock() - since > self.seconds:
                since, spent = self._clock(), 0.0
            allowed = spent + amount <= self.most
            self._spent[address] = since, spent + amount * (allowed or anyway)
            return allowed
