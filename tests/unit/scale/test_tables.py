"""Tables of clips: what is exported is the set, to whoever opens it; places and neighbours against slow versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_tables import write_table

from vjepa_demo.embedding import Fingerprint, Kind
from vjepa_demo.errors import RequestError
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.scale import tables

pytest.importorskip("pyarrow", reason="the extra for jobs is not installed: make scale")


@pytest.fixture(scope="module")
def references() -> ReferenceSet:
    """40 vectors about four centres, with places."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(4, 24)), 10, axis=0)
    vectors = (centres + 0.3 * rng.normal(size=centres.shape)).astype(np.float32)
    clips = tuple(ReferenceClip(f"{i // 10}/{i}.mp4", f"label {i // 10}", split="train") for i in range(40))
    places = rng.normal(size=(40, 2)).astype(np.float32)
    return ReferenceSet(Kind(Fingerprint("nano", "1", "fp32", "even-16", "whole")), clips, vectors, places)


@pytest.mark.parametrize("ending", ["parquet", "lance"])
def test_what_is_exported_is_the_set(references: ReferenceSet, tmp_path: Path, ending: str) -> None:
    target = str(tmp_path / f"set.{ending}")
    tables.write(tables.of_set(references), target)
    if ending == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(target)
    else:
        lance = pytest.importorskip("lance")
        table = lance.dataset(target).to_table()
    np.testing.assert_array_equal(tables.vectors_of(table), references.vectors)
    np.testing.assert_array_equal(np.stack([table["x"], table["y"]], axis=1), references.coordinates)
    assert table["label"].to_pylist() == [clip.label for clip in references.clips]
    assert set(table["fit"].to_pylist()) == {"whole"}
    assert len(set(table["clip_id"].to_pylist())) == 40
    near = references.compare(references_vector(references, 7)).neighbours(3)
    assert near[0].index == 7
    assert table["neighbors"][7].as_py()["ids"][0] in {each.index for each in near[1:]} | set(range(10))
    assert len(table["neighbors"][7].as_py()["distances"]) == tables.NEIGHBOURS


def references_vector(references: ReferenceSet, row: int):
    from vjepa_demo.embedding import Vector

    return Vector(references.vectors[row], references.kind)


def test_neighbours_are_those_of_a_slow_loop(references: ReferenceSet) -> None:
    found = tables.nearest(references.vectors, 5)
    for row in range(0, 40, 7):
        others = np.delete(references.vectors, row, axis=0)
        mean = others.mean(axis=0)
        ids = np.delete(np.arange(40), row)
        query = references.vectors[row] - mean
        cosines = [float(query @ (v - mean) / np.linalg.norm(query) / np.linalg.norm(v - mean)) for v in others]
        best = sorted(range(39), key=lambda i: -cosines[i])[:5]
        assert found[row]["ids"] == [int(ids[i]) for i in best]
        np.testing.assert_allclose(found[row]["distances"], [1 - cosines[i] for i in best], atol=1e-5)


def places_of(path: Path) -> np.ndarray:
    table = tables.Table(path).open().to_table(filter="error IS NULL")
    return np.stack([table["x"], table["y"]], axis=1)


def test_a_large_map_is_that_of_a_sample_and_the_others_lie_among_their_like(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lance")
    rng, path = np.random.default_rng(3), tmp_path / "clips.lance"
    labels = np.repeat(np.arange(6), 50)
    vectors = (3 * rng.normal(size=(6, 32))[labels] + rng.normal(size=(300, 32))).astype(np.float32)
    monkeypatch.setattr(tables, "LAID_OUT", 120)
    monkeypatch.setattr(tables, "BLOCK", 64)
    write_table(path, vectors[:290], labels[:290], faulty=4)
    table = tables.Table(path)
    assert table.lay_out() == 290
    before = places_of(path)
    assert np.isfinite(before).all()
    write_table(path, vectors[290:], labels[290:], faulty=2)
    assert table.lay_out() == 300
    places = places_of(path)
    np.testing.assert_array_equal(places[:290], before)
    assert table.lay_out() == 300
    np.testing.assert_array_equal(places_of(path), places)
    table.lay_out(refit=True)
    again = places_of(path)
    span = np.linalg.norm(np.ptp(places, axis=0))
    assert np.median(np.linalg.norm(again - places, axis=1)) < 0.3 * span, "it is turned to lie near the old places"
    for found in (places, again):
        assert np.isfinite(found).all()
        nearest = ((found[:, None] - found) ** 2).sum(axis=-1) + np.diag(np.full(300, np.inf))
        assert (labels[nearest.argmin(axis=1)] == labels).mean() > 0.9
    held = table.open().to_table(filter="error IS NULL")
    np.testing.assert_array_equal(tables.vectors_of(held), vectors)


def test_the_most_alike_are_those_of_a_sort() -> None:
    cosines = np.random.default_rng(2).normal(size=(9, 40))
    for k in (1, 7, 40):
        np.testing.assert_array_equal(tables.most_alike(cosines, k), np.argsort(-cosines, axis=1)[:, :k])


def test_a_table_of_another_format_is_refused(references: ReferenceSet, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"\.parquet or \.lance"):
        tables.write(tables.of_set(references), str(tmp_path / "set.xlsx"))


def test_a_set_compared_by_a_classifier_is_refused(references: ReferenceSet) -> None:
    """A table has columns of the mean and of the motion, and would pass the one off as the other."""
    by_classifier = replace(references, kind=replace(references.kind, pooling="probe"))
    with pytest.raises(RequestError, match="export the set by mean or motion"):
        tables.of_set(by_classifier)


def test_a_table_that_is_there_is_not_written_over(references: ReferenceSet, tmp_path: Path) -> None:
    table = tables.of_set(references)
    tables.write(table, str(tmp_path / "set.lance"))
    with pytest.raises(RequestError, match="already"):
        tables.write(table.slice(0, 3), str(tmp_path / "set.lance"))
    assert tables.Table(tmp_path / "set.lance").counts()["clips"] == 40


def test_any_name_of_an_item_is_dropped_alone(tmp_path: Path) -> None:
    names = ["O'Brien", "x') OR ('1'='1", "other"]
    write_table(tmp_path / "set.lance", np.eye(3, dtype=np.float32), np.zeros(3, int), item=names)
    for left in (2, 1):
        tables.Table(tmp_path / "set.lance").drop([names[2 - left]])
        assert tables.Table(tmp_path / "set.lance").counts()["clips"] == left
