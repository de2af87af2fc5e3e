"""Results kept between events: the page holds an id, the arrays stay here, bounded in bytes and in time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

from vjepa_demo.settings import settings

T = TypeVar("T")


class Store(Generic[T]):
    """Keeps the most recently used results, at most `max_bytes` of them (and always the newest), none for longer than
    `max_seconds` after its last use.

    Ids are 128 random bits: who does not have one cannot guess it.
    """

    def __init__(self, max_bytes: int = settings.store_bytes, max_seconds: float = settings.keep_hours * 3600) -> None:
        self.max_bytes, self.max_seconds = max_bytes, max_seconds
        self._items: OrderedDict[str, tuple[T, int, float]] = OrderedDict()  # (item, its bytes, when it was last used)
        self._lock = threading.RLock()

    def put(self, item: T, size: int) -> str:
        """Keep an item of `size` bytes, dropping the longest unused ones where it needs the room. Returns its id."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._items[key] = (item, size, time.monotonic())
            while self.bytes_held > self.max_bytes and len(self._items) > 1:
                self._items.popitem(last=False)
        return key

    def get(self, key: str | None) -> T | None:
        """The item of this id, or None where it has been dropped."""
        with self._lock:
            self._drop_old()
            if key is None or key not in self._items:
                return None
            item, size, _ = self._items.pop(key)
            self._items[key] = (item, size, time.monotonic())
            return item

    def drop_old(self) -> None:
        """Drop what has not been used for `max_seconds`."""
        with self._lock:
            self._drop_old()

    def _drop_old(self) -> None:
        while self._items and time.monotonic() - next(iter(self._items.values()))[2] > self.max_seconds:
            self._items.popitem(last=False)

    @property
    def bytes_held(self) -> int:
        with self._lock:
            return sum(size for _, size, _ in self._items.values())
