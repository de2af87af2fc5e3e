"""Tables as sets of references: exact where they are small, and by an index that finds what a slow comparison finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_tables import KIND, clustered, units_of, write_indexed, write_table

from vjepa_demo.embedding import Fingerprint, Kind, Vector
from vjepa_demo.errors import FingerprintMismatch, ReferencesError
from vjepa_demo.references.comparison import FAR_PERCENTILE, ReferenceSet, vote
from vjepa_demo.scale import large, tables
from vjepa_demo.scale.large import LargeSet

lance = pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")

COUNT, WIDTH, FAULTY = 3000, 32, 7
VECTORS, LABELS = clustered(COUNT, WIDTH, 12, seed=1)
MEAN = VECTORS.mean(axis=0, dtype=np.float64)
COSINES = units_of(VECTORS, MEAN) @ units_of(VECTORS, MEAN).T - 3 * np.eye(COUNT)
QUERIES = clustered(40, WIDTH, 12, seed=2)[0]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a test sees what a million rows would show."""
    monkeypatch.setattr(large, "EXACT", 1000)
    monkeypatch.setattr(large, "PARTITION", 200)
    monkeypatch.setattr(tables, "LAID_OUT", 300)
    monkeypatch.setattr(tables, "BLOCK", 512)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "clips.lance"
    sizes = [(large, "PARTITION", 200), (tables, "LAID_OUT", 300), (tables, "BLOCK", 512)]
    write_indexed(path, VECTORS, LABELS, sizes, faulty=FAULTY)
    return path


@pytest.fixture
def references(indexed: Path) -> LargeSet:
    found = large.opened(str(indexed))
    assert isinstance(found, LargeSet)
    return found


def test_a_small_table_is_a_set_of_references_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "clips.lance"
    write_table(path, VECTORS[:200], LABELS[:200], faulty=3)
    large.settle(str(path))
    found = large.opened(str(path))
    assert isinstance(found, ReferenceSet)
    assert found.kind == KIND
    np.testing.assert_array_equal(found.vectors, VECTORS[:200])
    assert np.isfinite(found.coordinates).all()
    assert found.clips[4].file == "/4.mp4#t=0,4"
    assert found.clips[4].label == f"label {LABELS[4]}"
    assert not (path / "_references").exists()


def test_the_nearest_are_those_of_a_slow_loop(references: LargeSet) -> None:
    np.testing.assert_allclose(references.mean, MEAN, atol=1e-5)
    true = units_of(QUERIES, MEAN) @ units_of(VECTORS, MEAN).T
    hits = 0
    for query, cosines in zip(QUERIES, true, strict=True):
        near = references.compare(Vector(query, KIND)).neighbours(10)
        hits += len({each.index for each in near} & set(np.argsort(-cosines)[:10].tolist()))
        np.testing.assert_allclose([each.cosine for each in near], cosines[[each.index for each in near]], atol=1e-4)
        assert [each.cosine for each in near] == sorted((each.cosine for each in near), reverse=True)
        assert [each.file for each in near] == [f"/{each.index}.mp4#t=0,4" for each in near]
        assert [each.label for each in near] == [f"label {LABELS[each.index]}" for each in near]
    assert hits / (10 * len(QUERIES)) >= 0.95
    near = references.compare(Vector(VECTORS[5], KIND)).neighbours(40)
    assert (near[0].index, len(near)) == (5, 40)
    won = vote(near[:10])
    assert won
    assert won.label == f"label {LABELS[5]}"


def test_far_is_what_it_is_in_a_small_set(references: LargeSet) -> None:
    assert references.far_threshold == pytest.approx(
        np.percentile(COSINES.max(axis=1)[large.measured_rows(COUNT)], FAR_PERCENTILE), abs=1e-4
    )
    alone = np.full(WIDTH, 2.0, np.float32) + 40 * np.eye(WIDTH, dtype=np.float32)[3]
    assert references.compare(Vector(alone, KIND)).far
    assert not references.compare(Vector(VECTORS[0], KIND)).far
    assert 0.9 <= references.facts.recall <= 1


def test_a_clip_lies_among_its_like(references: LargeSet) -> None:
    places = references.places(np.arange(COUNT))
    assert np.isfinite(places).all()
    found = references.compare(Vector(QUERIES, KIND)).flat
    assert found.shape == (40, 2)
    nearest = (units_of(QUERIES, MEAN) @ units_of(VECTORS, MEAN).T).argmax(axis=1)
    span = np.linalg.norm(np.ptp(places, axis=0))
    assert np.median(np.linalg.norm(found - places[nearest], axis=1)) < 0.05 * span


def test_a_clip_of_another_kind_is_refused(references: LargeSet) -> None:
    other = replace(KIND, fingerprint=replace(KIND.fingerprint, fit="crop"))
    with pytest.raises(FingerprintMismatch, match="fit"):
        references.compare(Vector(QUERIES[0], other))


def test_clips_that_came_since_are_told_and_found_after_the_next_index(tmp_path: Path) -> None:
    path, late = tmp_path / "clips.lance", VECTORS[1500:1510] + 1
    write_table(path, VECTORS[:1500], LABELS[:1500])
    large.settle(str(path))
    before = large.opened(str(path)).places([0, 7])  # type: ignore[union-attr]
    write_table(path, late, LABELS[1500:1510], faulty=1)
    found = large.opened(str(path))
    assert isinstance(found, LargeSet)
    assert (len(found), found.added) == (1500, 10)
    assert found.compare(Vector(late[3], KIND)).neighbours(1)[0].cosine < 0.999
    large.settle(str(path))
    found = large.opened(str(path))
    assert isinstance(found, LargeSet)
    assert (len(found), found.added) == (1510, 0)
    (near,) = found.compare(Vector(late[3], KIND)).neighbours(1)
    assert near.index == 1503
    assert near.cosine == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(found.places([0, 7]), before)
    version = found.facts.version
    large.settle(str(path))
    assert large.opened(str(path)).facts.version == version  # type: ignore[union-attr]


def test_an_index_that_was_not_finished_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clips.lance"
    write_table(path, VECTORS[:1200], LABELS[:1200])
    with pytest.raises(ReferencesError, match=r"1,200 clips and no index: .*`references index`"):
        large.opened(str(path))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(large, "measured", killed)
        with pytest.raises(KeyboardInterrupt):
            large.index(str(path))
    with pytest.raises(ReferencesError, match="no index"):
        large.opened(str(path))
    large.index(str(path))
    assert len(large.opened(str(path))) == 1200


def test_what_is_no_table_of_clips_of_one_kind_is_said(tmp_path: Path) -> None:
    import pyarrow as pa

    with pytest.raises(ReferencesError, match="check the path"):
        large.opened(str(tmp_path / "none.lance"))
    lance.write_dataset(pa.table({"a": [1, 2]}), tmp_path / "other.lance")
    with pytest.raises(ReferencesError, match="references import"):
        large.opened(str(tmp_path / "other.lance"))
    path = tmp_path / "mixed.lance"
    write_table(path, VECTORS[:20], LABELS[:20])
    write_table(path, VECTORS[:20], LABELS[:20], kind=Kind(Fingerprint("nano", "2", "fp32", "even-16", "whole")))
    with pytest.raises(ReferencesError, match="different ways"):
        large.opened(str(path))


def test_exact_is_a_sort_of_all() -> None:
    units = units_of(VECTORS, MEAN).astype(np.float32)
    rows = np.array([0, 700, 2999])
    found, cosines = large.exact(iter(np.array_split(units, 7)), units[rows], 12, rows)
    order = np.argsort(-COSINES[rows], axis=1)[:, :12]
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(cosines, np.take_along_axis(COSINES[rows], order, 1), atol=1e-5)
