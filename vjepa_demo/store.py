"""Results kept between events: the page holds an id, the arrays stay here, bounded in bytes."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from vjepa_demo.settings import settings

T = TypeVar("T")


class Store(Generic[T]):
    """Keeps the most recently used results, at most `max_bytes` of them (and always the newest).

    Ids are 128 random bits: who does not have one cannot guess it.
    """

    def __init__(self, max_bytes: int = settings.store_bytes) -> None:
        self.max_bytes = max_bytes
        self._items: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, item: T, size: int) -> str:
        """Keep an item of `size` bytes, dropping the longest unused ones where it needs the room. Returns its id."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._items[key] = (item, size)
            while self.bytes_held > self.max_bytes and len(self._items) > 1:
                self._items.popitem(last=False)
        return key

    def get(self, key: str | None) -> T | None:
        """The item of this id, or None where it has been dropped."""
        with self._lock:
            if key is None or key not in self._items:
                return None
            self._items.move_to_end(key)
            return self._items[key][0]

    @property
    def bytes_held(self) -> int:
        return sum(size for _, size in self._items.values())
