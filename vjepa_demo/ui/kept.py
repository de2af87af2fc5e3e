"""Results kept between events: the page holds an id, the arrays stay here, bounded in bytes and in time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vjepa_demo.settings import settings

T = TypeVar("T")
MOST_ITEMS = 1024  # those that share their parts take no bytes of their own, but a place each


@dataclass
class _Item(Generic[T]):
    item: T
    parts: Mapping[Any, int]
    owner: str
    used: float


class Store(Generic[T]):
    """Keeps the most recently used results, at most `max_bytes` and `max_items` of them (and always the newest), none
    for longer than `max_seconds` after its last use. Room is made by whoever takes most of it.

    Ids are 128 random bits: who does not have one cannot guess it.
    """

    def __init__(
        self,
        max_bytes: int = settings.store_bytes,
        max_seconds: float = settings.keep_hours * 3600,
        max_items: int = MOST_ITEMS,
    ) -> None:
        self.max_bytes, self.max_seconds, self.max_items = max_bytes, max_seconds, max_items
        self._items: OrderedDict[str, _Item[T]] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, item: T, size: int | Mapping[int, int], owner: str = "") -> str:
        """Keep an item. Returns its id.

        One that is kept already keeps its id. Where it needs the room, the longest unused of the owner who has most of
        it goes, again and again.

        Args:
            item: what to keep.
            size: its bytes, or those of its parts, by something that tells the part: one that several items share
                counts once.
            owner: whose it is.
        """
        key = secrets.token_urlsafe(16)
        with self._lock:
            for known, kept in self._items.items():
                if kept.item is item:
                    return known
            parts = {key: size} if isinstance(size, int) else dict(size)
            self._items[key] = _Item(item, parts, owner, time.monotonic())
            if len(self._items) > self.max_items:
                most = Counter(kept.owner for old, kept in self._items.items() if old != key).most_common(1)[0][0]
                del self._items[next(old for old, kept in self._items.items() if kept.owner == most and old != key)]
            while self.bytes_held > self.max_bytes and len(self._items) > 1:
                others = [(old, kept) for old, kept in self._items.items() if old != key]
                owners = {kept.owner for _, kept in others}
                most = max(owners, key=lambda name: _bytes(kept for _, kept in others if kept.owner == name))
                del self._items[next(old for old, kept in others if kept.owner == most)]
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
            return _bytes(self._items.values())


def _bytes(items: Iterable[_Item[Any]]) -> int:
    """Bytes that items take, each part counted once."""
    parts: dict[object, int] = {}
    for kept in items:
        parts.update(kept.parts)
    return sum(parts.values())
