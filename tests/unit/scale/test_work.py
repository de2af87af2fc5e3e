"""What becomes of a file in a job: its spans, its rows, and a sentence where there is none."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Kind
from vjepa_demo.options import Cut, Options
from vjepa_demo.scale.work import Item, Worker, key

OPTIONS = Options("nano", frames=16, precision="fp32")


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(OPTIONS)


@pytest.mark.parametrize(
    ("end", "spans"),
    [
        (3.0, [(0, 3.0)]),
        (4.0, [(0, 4)]),
        (3.9999, [(0, 3.9999)]),
        (4.0005, [(0, 4.0005)]),
        (5.0, [(0, 4), (1, 5)]),
        (8.0, [(0, 4), (2, 6), (4, 8)]),
        (9.0, [(0, 4), (2, 6), (4, 8), (5, 9)]),
    ],
)
def test_windows_leave_nothing_out(end: float, spans: list[tuple[float, float]]) -> None:
    assert Cut(4, 2).spans(0, end) == spans


def test_windows_of_a_span_lie_in_it() -> None:
    for begin, end in [(1.5, 20.0), (0.1, 7.7), (3.0, 7.0)]:
        found = Cut(4, 1.3).spans(begin, end)
        assert found[0][0] == begin
        assert found[-1][1] == end
        assert all(late[0] - early[0] < 1.3001 for early, late in itertools.pairwise(found))
        assert all(abs(b - a - 4) < 1e-6 for a, b in found)


def test_a_file_is_what_the_embedder_makes_of_it(worker: Worker, video: Path) -> None:
    ((row,),) = worker.rows([Item(str(video), "moves", "train")])
    alone = Embedder.open(OPTIONS).embed(video)
    np.testing.assert_array_equal(row["vector"], alone.pooled())
    np.testing.assert_array_equal(row["motion"], alone.motion())
    assert (len(row["vector"]), len(row["motion"])) == worker.widths
    assert (row["label"], row["split"], row["start"], row["fit"]) == ("moves", "train", 0.0, "crop")
    assert row["thumbnail"][:2] == b"\xff\xd8"


def test_a_window_is_what_the_embedder_makes_of_that_span(video: Path) -> None:
    (rows,) = Worker(OPTIONS, Cut(1.0, 0.5)).rows([Item(str(video), start=0.2)])
    assert len(rows) > 1
    for row in rows:
        alone = Embedder.open(replace(OPTIONS, start=row["start"], end=row["end"])).embed(video)
        np.testing.assert_array_equal(row["vector"], alone.pooled())
    assert len({row["clip_id"] for row in rows}) == len(rows)
    assert len({row["item"] for row in rows}) == 1


def test_rows_come_in_the_order_of_the_items_however_many_are_read_at_a_time(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 100)
    items = [Item(str(video), str(number)) for number in range(5)]
    items[2:2] = [Item(str(broken), "broken"), Item(str(tmp_path / "gone.mp4"), "gone")]
    found = Worker(OPTIONS, readers=3).rows(items)
    assert [row["label"] for rows in found for row in rows] == ["0", "1", "broken", "gone", "2", "3", "4"]
    for rows in found[2:4]:
        assert "vector" not in rows[0]
        assert rows[0]["error"].endswith(".")


def test_what_is_done_is_known_by_all_that_it_depends_on() -> None:
    kind = Kind(Embedder.open(OPTIONS).fingerprint)
    item, cut = Item("clip.mp4", "label", size=5, modified=7.0), Cut(4, 2)
    others = [replace(item, **change) for change in ({"uri": "x"}, {"size": 6}, {"modified": 8.0}, {"end": 1.0})]
    keys = {key(each, cut, kind) for each in (item, *others)} | {key(item, None, kind)}
    keys.add(key(item, cut, replace(kind, fingerprint=replace(kind.fingerprint, revision="another"))))
    assert len(keys) == 7
    assert key(Item(**json.loads(json.dumps(item.__dict__))), cut, kind) in keys
