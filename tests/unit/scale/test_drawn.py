"""A table as a page shows it: the points are the table's, what is sparse keeps its own, the nearest are always told."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clip_tables import KIND, clustered, write_indexed, write_table
from PIL import Image

from vjepa_demo.embedding import Embedding, Vector
from vjepa_demo.errors import ReferencesError
from vjepa_demo.scale import drawn, large, tables
from vjepa_demo.scale.drawn import sampled
from vjepa_demo.scale.large import LargeSet, SmallSet
from vjepa_demo.ui import examples

lance = pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")
pa = pytest.importorskip("pyarrow")

COUNT, WIDTH, FAULTY = 1500, 16, 3
VECTORS, LABELS = clustered(COUNT, WIDTH, 60, seed=1)
SMALL = ((large, "EXACT", 1000), (large, "PARTITION", 200), (tables, "LAID_OUT", 300))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a test sees what a million rows would show."""
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "clips.lance"
    write_indexed(path, VECTORS, LABELS, list(SMALL), faulty=FAULTY)
    return path


@pytest.fixture(params=["small", "large"])
def references(request: pytest.FixtureRequest, indexed: Path, monkeypatch: pytest.MonkeyPatch) -> SmallSet | LargeSet:
    if request.param == "large":
        return large.opened(str(indexed))
    monkeypatch.setattr(large, "EXACT", COUNT)
    monkeypatch.setattr(large.Index, "open", lambda uri: None)
    found = large.opened(str(indexed))
    assert isinstance(found, SmallSet)
    return found


def test_what_is_packed_is_what_the_table_holds(references: SmallSet | LargeSet, indexed: Path) -> None:
    held = lance.dataset(str(indexed)).to_table(filter="error IS NULL").to_pylist()
    points, packed = references.points, references.points.packed()
    assert len(packed) == 13 * COUNT
    x, y = np.frombuffer(packed, "<f4", 2 * COUNT).reshape(2, COUNT)
    numbers = np.frombuffer(packed, "<u4", COUNT, 8 * COUNT)
    looks = np.frombuffer(packed, "u1", COUNT, 12 * COUNT)
    assert sorted(numbers) == list(range(COUNT))
    many = Counter(row["label"] for row in held)
    told = points.labels[: drawn.COMMONEST]
    assert [many[label] for label in told] == sorted(many.values(), reverse=True)[: drawn.COMMONEST]
    assert (points.others, points.labels[drawn.COMMONEST :]) == (True, ["20 other labels"])
    for i in range(0, COUNT, 7):
        row = held[numbers[i]]
        assert (x[i], y[i]) == (np.float32(row["x"]), np.float32(row["y"]))
        if row["label"] in told:
            assert points.labels[looks[i]] == row["label"]
        else:
            assert looks[i] == drawn.COMMONEST
    about = references.about([5, 1])[1]
    assert about["flat"] == [held[1]["x"], held[1]["y"]]
    assert (about["label"], about["file"], about["span"]) == (held[1]["label"], "1.mp4", [0.0, 4.0])
    assert (about["here"], about["thumbnail"]) == (False, False)
    assert references.about([]) == []


def test_labels_that_can_be_told_apart_each_have_a_look_of_their_own() -> None:
    column = pa.chunked_array([["b", "a", None], ["b", "a", "b"]])
    look, labels, others = drawn.looks(column)
    assert (labels, others) == (["b", "a", drawn.NO_LABEL], False)
    assert look.tolist() == [0, 1, 2, 0, 1, 0]


def test_where_there_are_few_points_all_of_them_are_drawn() -> None:
    rng = np.random.default_rng(3)
    lone = rng.uniform((200, 0), (300, 100), size=(40, 2))
    places = np.concatenate([rng.normal(size=(5000, 2)), lone, [[np.nan, 0]]]).astype(np.float32)
    chosen = sampled(places, 500)
    assert len(set(chosen.tolist())) == 500
    assert set(range(5000, 5040)) <= set(chosen.tolist())
    assert 5040 not in chosen, "it has no place"
    np.testing.assert_array_equal(chosen, sampled(places, 500))
    np.testing.assert_array_equal(chosen[:200], sampled(places, 200), "the first are a sample, too")
    assert sorted(sampled(places, 10_000)) == list(range(5040))
    at_random = np.random.default_rng(4).choice(5040, 500, replace=False)
    assert np.ptp(places[chosen], axis=0).min() >= np.ptp(places[at_random], axis=0).min()
    assert len(sampled(places[-1:], 5)) == 0
    assert sampled(np.zeros((3, 2), np.float32), 5).tolist() != []


def test_the_nearest_are_told_however_few_are_drawn(
    references: SmallSet | LargeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vjepa_demo.ui.reference_map import describe_clip, describe_set

    monkeypatch.setattr(drawn, "DRAWN", 20)
    tokens = np.repeat(VECTORS[:4], 4, axis=0).reshape(4, 2, 2, WIDTH)
    clip = Embedding(tokens, np.arange(8) / 4, KIND.fingerprint, "cpu", (0, 0, 64, 64), (64, 64))
    compared = references.compare(Vector(VECTORS[7], KIND))
    told, near = describe_clip(clip, compared), compared.neighbours(10)
    assert told["neighbours"] == [each.index for each in near]
    assert told["neighbours"][0] == 7
    assert set(told["known"]) == set(told["cosines"]) == {str(each.index) for each in near}
    for each in near:
        about = told["known"][str(each.index)]
        assert about["label"] == each.label
        np.testing.assert_array_equal(np.float32(about["flat"]), references.about([each.index])[0]["flat"])
    assert len(told["pathFlat"]) == 4
    assert np.isfinite(told["pathFlat"]).all()
    described = describe_set(references)
    assert (described["count"], described["points"], len(described["labels"])) == (COUNT, 20, 41)
    assert bool(described["remarks"]) == isinstance(references, LargeSet)
    assert not set(references.points.numbers.tolist()) >= set(told["neighbours"])


def test_a_file_is_one_of_the_table_and_a_clip(tmp_path: Path) -> None:
    clips = ["clips/a.mp4", str(tmp_path / "b.jpg"), "notes.txt", "s3://bucket/c.mp4", None, "gone.mp4"]
    (tmp_path / "clips").mkdir()
    shutil.copy(examples.files()[0], tmp_path / "clips/a.mp4")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("what is in it")
    pictures = [b"\xff\xd8\xff\xe0", b"<script>", None, b"", b"\xff\xd8\xff\xe1", None]
    more = {"uri": clips, "thumbnail": pictures, "end": [None, 4.0, float("nan"), 4.0, 4.0, 4.0], "label": [None] * 6}
    path = tmp_path / "set.lance"
    write_table(path, VECTORS[:6], LABELS[:6], faulty=2, **more)
    large.settle(str(path))
    found = large.opened(str(path))
    assert found.of_table is found
    assert found.folder == path.resolve()
    assert [found.file(n) for n in range(6)] == [tmp_path / "clips/a.mp4", tmp_path / "b.jpg", None, None, None, None]
    assert [found.thumbnail(n) for n in range(6)] == [pictures[0], None, None, None, pictures[4], None]
    about = found.about(range(6))
    assert [each["here"] for each in about] == [True, True, False, False, False, False]
    assert [each["thumbnail"] for each in about] == [True, False, False, False, True, False]
    assert [each["span"] for each in about] == [None, [0.0, 4.0], None, [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]
    assert {each["label"] for each in about} == {drawn.NO_LABEL}
    assert [each["file"] for each in about] == ["a.mp4", "b.jpg", "notes.txt", "c.mp4", "", "gone.mp4"]


def test_nothing_but_a_clip_is_handed_out_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n" * 20)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "passwd")
    (tmp_path / "code.ts").write_text("export const one = 1;\n" * 50)
    uris = ["link.mp4", "code.ts", "a" * 5000 + ".mp4", "nul\0.mp4", "/proc/self/environ", ".."]
    path = tmp_path / "set.lance"
    write_table(path, VECTORS[:6], LABELS[:6], uri=uris)
    found = large.opened(str(path))
    assert [found.file(number) for number in range(6)] == [None] * 6
    assert not any(each["here"] for each in found.about(range(6)))


@pytest.mark.parametrize("write", [write_table, partial(write_indexed, sizes=[(large, "PARTITION", 100)])])
def test_a_table_that_is_gone_is_said(write: Callable[..., None], tmp_path: Path) -> None:
    from starlette.requests import Request

    from vjepa_demo.ui import serving

    path = tmp_path / "set.lance"
    write(path, VECTORS[:300], LABELS[:300])
    found = large.opened(str(path))
    key = serving.shelf.put_table(found, "{}")
    shutil.rmtree(path)
    with pytest.raises(ReferencesError, match="cannot be read"):
        found.about([3])
    if isinstance(found, LargeSet):  # a small one is in memory
        with pytest.raises(ReferencesError, match="cannot be read"):
            found.compare(Vector(VECTORS[7], KIND)).neighbours(3)
    for name in ("3", "3.jpg", "3.json"):
        asked = Request({"type": "http", "path_params": {"key": key, "name": name}})
        assert serving.reference(asked).status_code == 404, name
