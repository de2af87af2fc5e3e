"""Results kept between events: the page holds an id, the arrays stay here, bounded in bytes and in time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from vjepa_demo.settings import settings

T = TypeVar("T")


@dataclass
class _Item(Generic[T]):
    item: T
    size: int
    owner: str
    used: float


class Store(Generic[T]):
    """Keeps the most recently used results, at most `max_bytes` of them (and always the newest), none for longer than
    `max_seconds` after its last use. Room is made by whoever takes most of it.

    Ids are 128 random bits: who does not have one cannot guess it.
    """

    def __init__(self, max_bytes: int = settings.store_bytes, max_seconds: float = settings.keep_hours * 3600) -> None:
        self.max_bytes, self.max_seconds = max_bytes, max_seconds
        self._items: OrderedDict[str, _Item[T]] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, item: T, size: int, owner: str = "") -> str:
        """Keep an item of `size` bytes. Returns its id.

        Where it needs the room, the longest unused of the owner who has most of it goes, again and again.
        """
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._items[key] = _Item(item, size, owner, time.monotonic())
            while self.bytes_held > self.max_bytes and len(self._items) > 1:
                held: Counter[str] = Counter()
                for old, kept in self._items.items():
                    held[kept.owner] += kept.size * (old != key)
                most = max(held, key=lambda name: held[name])
                del self._items[next(old for old, kept in self._items.items() if kept.owner == most and old != key)]
        return key

    def get(self, key: str | None) -> T | None:
        """The item of this id, or None where it has been dropped."""
        with self._lock:
            self._drop_old()
            if key is None or key not in self._items:
                return None
            self._items.move_to_end(key)
            self._items[key].used = time.monotonic()
            return self._items[key].item

    def drop_old(self) -> None:
        """Drop what has not been used for `max_seconds`."""
        with self._lock:
            self._drop_old()

    def _drop_old(self) -> None:
        while self._items and time.monotonic() - next(iter(self._items.values())).used > self.max_seconds:
            self._items.popitem(last=False)

    @property
    def bytes_held(self) -> int:
        with self._lock:
            return sum(kept.size for kept in self._items.values())
