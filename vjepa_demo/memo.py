"""What took long to compute, kept so that the same is not computed twice: bounded in bytes and in time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from vjepa_demo import jobs
from vjepa_demo.settings import settings

T = TypeVar("T")


@dataclass
class _Item(Generic[T]):
    value: T
    nbytes: int
    used: float


class Memo(Generic[T]):
    """The values that were used last, at most `max_bytes` of them, none for longer than `max_seconds` after its last
    use. Who asks for what another one is computing waits for it.

    Args:
        seal: makes a value safe to be shared, and tells its bytes.
    """

    def __init__(
        self,
        seal: Callable[[T], int],
        max_bytes: int = settings.memo_bytes,
        max_seconds: float = settings.keep_hours * 3600,
    ) -> None:
        self.max_bytes, self.max_seconds = max_bytes, max_seconds
        self._seal = seal
        self._items: OrderedDict[Hashable, _Item[T]] = OrderedDict()
        self._lock = threading.Lock()
        self._computing: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    def get(
        self, key: Hashable | None, compute: Callable[[], T], holds: Callable[[], bool] = lambda: True
    ) -> tuple[T, bool]:
        """The value of a key, and whether it was kept. Who has the machine's turn must not ask: the one who computes
        the same may be waiting for it.

        Args:
            key: None where the value is neither to be looked for nor to be kept.
            compute: computes the value.
            holds: tells, when it is computed, whether the value is still the key's.

        Raises:
            Stopped: the job that waits for another one is to end.
            What `compute` raises: then nothing is kept, and who waited computes it.
        """
        if key is None:
            return compute(), False
        with self._lock:
            lock = self._computing.setdefault(key, threading.Lock())
        with jobs.locked(lock):
            with self._lock:
                self._drop_old()
                if item := self._items.get(key):
                    self._items.move_to_end(key)
                    item.used = time.monotonic()
                    return item.value, True
            value = compute()
            if holds():
                self._keep(key, value)
            return value, False

    def drop_old(self) -> None:
        """Drop what has not been used for `max_seconds`."""
        with self._lock:
            self._drop_old()

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._items.clear()

    @property
    def bytes_held(self) -> int:
        with self._lock:
            return self._bytes()

    def _keep(self, key: Hashable, value: T) -> None:
        nbytes = self._seal(value)
        if nbytes > self.max_bytes:
            return
        with self._lock:
            self._items[key] = _Item(value, nbytes, time.monotonic())
            while self._bytes() > self.max_bytes:
                self._items.popitem(last=False)

    def _bytes(self) -> int:
        return sum(item.nbytes for item in self._items.values())

    def _drop_old(self) -> None:
        while self._items and time.monotonic() - next(iter(self._items.values())).used > self.max_seconds:
            self._items.popitem(last=False)
