"""Results kept between events: bounded in bytes, the least used go first, many threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vjepa_demo.ui.kept import Store


def test_what_is_put_can_be_got() -> None:
    store: Store[str] = Store(100)
    key = store.put("a", 10)
    assert store.get(key) == "a"
    assert store.get(None) is None
    assert store.get("") is None
    assert store.get(key + "x") is None


def test_bounded_in_bytes() -> None:
    store: Store[int] = Store(100)
    keys = []
    for number in range(20):
        keys.append(store.put(number, 30))
        assert store.bytes_held <= 100
    assert [number for number, key in enumerate(keys) if store.get(key) is not None] == [17, 18, 19]
    assert store.bytes_held == 90


def test_the_longest_unused_goes_first() -> None:
    store: Store[str] = Store(100)
    a, b, c = (store.put(name, 30) for name in "abc")
    store.get(a)
    d = store.put("d", 30)
    assert [store.get(key) for key in (a, b, c, d)] == ["a", None, "c", "d"]


def test_one_large_item_drives_out_all_others_and_stays() -> None:
    store: Store[str] = Store(100)
    small = store.put("small", 30)
    large = store.put("large", 1000)
    assert store.get(small) is None
    assert store.get(large) == "large"
    next_one = store.put("next", 10)
    assert store.get(large) is None
    assert store.get(next_one) == "next"


def test_what_is_kept_already_keeps_its_id() -> None:
    store: Store[list[int]] = Store(100)
    item = [1]
    assert store.put(item, 60) == store.put(item, 60)
    assert store.put([1], 20) != store.put(item, 60), "another one that is equal is another one"
    assert store.bytes_held == 80


def test_bounded_in_number_where_items_share_all_they_hold() -> None:
    store: Store[object] = Store(100, max_items=5)
    other = store.put(object(), 10, "other")
    keys = [store.put(object(), {1: 60}, "one") for _ in range(20)]
    assert [number for number, key in enumerate(keys) if store.get(key) is not None] == [16, 17, 18, 19]
    assert store.get(other) is not None, "room is made by whoever has most"
    store.put(object(), 1, "another")
    assert store.get(keys[16]) is None


def test_ids_cannot_be_guessed() -> None:
    store: Store[object] = Store(10**6)
    keys = {store.put(object(), 1) for _ in range(1000)}
    assert len(keys) == 1000
    assert min(map(len, keys)) >= 22, "16 bytes in base64"


@pytest.mark.parametrize("workers", [8])
def test_many_threads(workers: int) -> None:
    store: Store[np.ndarray] = Store(50_000)

    def visit(seed: int) -> int:
        rng, found = np.random.default_rng(seed), 0
        for _ in range(300):
            item = np.full(int(rng.integers(1, 500)), seed)
            key = store.put(item, item.nbytes)
            assert store.bytes_held >= 0
            got = store.get(key)
            if got is not None:
                assert got is item
                found += 1
        return found

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(visit, range(workers)))
    assert min(found) > 0
    assert store.bytes_held <= 50_000


def test_what_is_not_used_for_long_goes(monkeypatch) -> None:
    from vjepa_demo.ui import kept as module

    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    store: Store[str] = Store(100, max_seconds=10)
    a, b = store.put("a", 10), store.put("b", 10)
    now = 8.0
    assert store.get(a) == "a"
    now = 12.0
    store.drop_old()
    assert store.bytes_held == 10
    assert store.get(a) == "a"
    assert store.get(b) is None


def test_who_takes_most_of_the_room_makes_it() -> None:
    store: Store[str] = Store(100)
    mine = store.put("mine", 30, "1")
    others = [store.put(f"{number}", 30, "2") for number in range(6)]
    assert store.get(mine) == "mine"
    assert [store.get(key) is not None for key in others] == [False] * 4 + [True] * 2
    large = store.put("large", 90, "1")
    assert store.get(large) == "large"


def test_what_items_share_counts_once() -> None:
    store: Store[str] = Store(100)
    other = store.put("other", 20, "2")
    layers = [store.put(f"layer {number}", {1: 50, 10 + number: 5}, "1") for number in range(6)]
    assert store.bytes_held == 100
    assert store.get(other) == "other"
    assert all(store.get(key) for key in layers)
    store.put("layer 6", {1: 50, 16: 5}, "1")
    assert store.get(other) == "other"
    assert store.get(layers[0]) is None
