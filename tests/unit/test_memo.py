"""What was computed is kept: once for all who ask at the same time, bounded in bytes and in time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vjepa_demo.errors import Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.memo import Memo


def fail() -> str:
    raise ZeroDivisionError


def test_a_value_is_computed_once_and_none_is_no_key() -> None:
    memo: Memo[str] = Memo(len, 100)
    assert memo.get("a", lambda: "first") == ("first", False)
    assert memo.get("a", lambda: "second") == ("first", True)
    assert memo.get("b", lambda: "second") == ("second", False)
    assert memo.get(None, lambda: "x") == ("x", False)
    assert memo.get(None, lambda: "y") == ("y", False)
    memo.clear()
    assert memo.get("a", lambda: "third") == ("third", False)


def test_bounded_in_bytes_and_the_longest_unused_goes_first() -> None:
    memo: Memo[bytes] = Memo(len, 100)
    for number in range(20):
        memo.get(number, lambda: bytes(30))
        memo.get(0, lambda: bytes(30))
        assert memo.bytes_held <= 100
    assert [number for number in range(20) if memo.get(number, lambda: bytes(0))[1]] == [0, 18, 19]


def test_what_is_larger_than_all_that_may_be_kept_drives_nothing_out() -> None:
    memo: Memo[bytes] = Memo(len, 100)
    memo.get("small", lambda: bytes(30))
    assert memo.get("large", lambda: bytes(101)) == (bytes(101), False)
    assert memo.get("large", lambda: b"") == (b"", False)
    assert memo.get("small", fail) == (bytes(30), True)


def test_what_was_not_used_for_long_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    memo: Memo[str] = Memo(len, 100, max_seconds=10)
    memo.get("a", lambda: "a")
    memo.get("b", lambda: "b")
    now = 8.0
    assert memo.get("a", fail)[1], "a use counts"
    now = 12.0
    memo.drop_old()
    assert memo.bytes_held == 1
    assert memo.get("a", fail)[1]
    assert not memo.get("b", lambda: "b")[1]


def test_what_failed_or_is_no_longer_the_keys_is_not_kept() -> None:
    memo: Memo[str] = Memo(len, 100)
    with pytest.raises(ZeroDivisionError):
        memo.get("a", fail)
    assert memo.get("a", lambda: "stale", lambda: False) == ("stale", False)
    assert memo.get("a", lambda: "a") == ("a", False)


def test_who_asks_while_it_is_computed_waits_for_it() -> None:
    memo: Memo[str] = Memo(len, 100)
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def compute() -> str:
        calls.append(1)
        begun.set()
        assert go_on.wait(10)
        return "value"

    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(memo.get, "a", compute)
        assert begun.wait(10)
        others = [threads.submit(memo.get, "a", compute) for _ in range(4)]
        assert memo.get("b", lambda: "other") == ("other", False), "nobody waits for another key"
        go_on.set()
        assert first.result() == ("value", False)
        assert [other.result() for other in others] == [("value", True)] * 4
    assert len(calls) == 1


def test_who_waits_computes_it_where_the_first_one_failed_and_may_leave() -> None:
    memo: Memo[str] = Memo(len, 100)
    begun, go_on = threading.Event(), threading.Event()

    def fail_late() -> str:
        begun.set()
        assert go_on.wait(10)
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(memo.get, "a", fail_late)
        assert begun.wait(10)
        left = Job()
        left.stop()
        with left.running(), pytest.raises(Stopped):
            memo.get("a", fail)
        second = threads.submit(memo.get, "a", lambda: "mine")
        go_on.set()
        with pytest.raises(ZeroDivisionError):
            first.result()
        assert second.result() == ("mine", False)
