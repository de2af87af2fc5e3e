"""What is found within a set, small or large, against slow versions."""

from __future__ import annotations

import numpy as np
import pytest
from clip_tables import KIND, clustered, units_of, write_indexed

from vjepa_demo.errors import RequestError
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.evaluation import evaluate
from vjepa_demo.scale import large, tables, within
from vjepa_demo.scale.large import LargeSet

pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")

COUNT, WIDTH, CENTRES = 2000, 32, 8
STRAYS, TWINS = 5, 6


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Clips about CENTRES, of which the first few are strays, and the last few almost copies of others."""
    vectors, labels = clustered(COUNT, WIDTH, CENTRES, seed=4)
    rng = np.random.default_rng(5)
    vectors[:STRAYS] = 2 + 5 * rng.normal(size=(STRAYS, WIDTH))
    vectors[-TWINS:] = vectors[100 : 100 + TWINS] + 0.001 * rng.normal(size=(TWINS, WIDTH))
    labels[-TWINS:] = labels[100 : 100 + TWINS]
    return vectors, labels


VECTORS, LABELS = drawn()
UNITS = units_of(VECTORS, VECTORS.mean(axis=0, dtype=np.float64))
COSINES = UNITS @ UNITS.T - 3 * np.eye(COUNT)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> LargeSet:
    path = tmp_path_factory.mktemp("within") / "clips.lance"
    sizes = [(large, "PARTITION", 100), (tables, "LAID_OUT", 200)]
    write_indexed(path, VECTORS, LABELS, sizes, faulty=3, split=["train", "test"] * (COUNT // 2))
    found = large.opened(str(path))  # by its index, however few they are
    assert isinstance(found, LargeSet)
    return found


@pytest.fixture(scope="module")
def small() -> ReferenceSet:
    clips = tuple(ReferenceClip(f"/{n}.mp4", f"label {label}") for n, label in enumerate(LABELS))
    return ReferenceSet(KIND, clips, VECTORS, np.zeros((COUNT, 2), np.float32))


@pytest.fixture(params=["small", "big"])
def references(request: pytest.FixtureRequest) -> within.Set:
    return request.getfixturevalue(request.param)


def test_duplicates_are_the_pairs_of_a_slow_loop(references: within.Set) -> None:
    for above in (0.999, 0.99):
        pairs, cosines = within.duplicates(references, above)
        a, b = np.nonzero(np.triu(above <= COSINES))
        assert len(a) >= TWINS
        assert {tuple(pair) for pair in pairs.tolist()} == set(zip(a.tolist(), b.tolist(), strict=True))
        np.testing.assert_allclose(cosines, COSINES[pairs[:, 0], pairs[:, 1]], atol=1e-5)
        assert (np.diff(cosines) <= 0).all()
    assert {(100 + n, COUNT - TWINS + n) for n in range(TWINS)} <= {tuple(pair) for pair in pairs.tolist()}


def test_too_many_pairs_are_refused(references: within.Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "MOST_PAIRS", 100)
    with pytest.raises(RequestError, match="larger cosine"):
        within.duplicates(references, -1)
    with pytest.raises(RequestError, match="between -1 and 1"):
        within.duplicates(references, float("nan"))


def test_odd_ones_are_those_below_the_far_threshold(references: within.Set) -> None:
    found, cosines = within.odd(references)
    assert set(found[:STRAYS].tolist()) == set(range(STRAYS))
    true = COSINES.max(axis=1)
    threshold = references.far_threshold
    sure = np.abs(true - threshold) > 1e-3  # a clip that is left out is not in the mean, either
    assert set(found.tolist()) & set(np.flatnonzero(sure).tolist()) == set(
        np.flatnonzero((true < threshold) & sure).tolist()
    )
    np.testing.assert_allclose(cosines, true[found], atol=2e-3)
    assert (np.diff(cosines) >= 0).all()


@pytest.mark.parametrize("count", [CENTRES, None])
def test_clusters_are_those_that_the_clips_were_drawn_from(references: within.Set, count: int | None) -> None:
    found, clusters = within.clusters(references, count)
    assert len(clusters) == CENTRES
    assert [cluster.clips for cluster in clusters] == np.bincount(found[found >= 0]).tolist()
    known = np.arange(COUNT) >= STRAYS
    for number, cluster in enumerate(clusters):
        members = np.flatnonzero(found == number)
        if count:
            label, times = max(
                ((f"label {n}", (LABELS[members] == n).sum()) for n in range(CENTRES)), key=lambda x: x[1]
            )
            assert (cluster.label, cluster.share) == (label, pytest.approx(times / len(members)))
        assert cluster.share > 0.95
        middle = UNITS[members].sum(axis=0)
        alike = UNITS[members] @ middle / np.linalg.norm(middle)
        assert alike[members.tolist().index(cluster.central)] == pytest.approx(alike.max(), abs=1e-5)
        assert cluster.cosine == pytest.approx(alike.mean(), abs=1e-4)
    assert (found[known] >= 0).mean() > 0.95


def test_clusters_of_a_sample_take_in_the_rest(small: ReferenceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "FITTED", 300)
    monkeypatch.setattr(within, "DENSE", 300)
    for count in (CENTRES, None):
        found, clusters = within.clusters(small, count)
        assert len(clusters) == CENTRES
        assert all(len(set(LABELS[(found == n) & (np.arange(COUNT) >= STRAYS)].tolist())) == 1 for n in range(CENTRES))


def test_more_clusters_than_clips_are_refused(references: within.Set) -> None:
    for count in (0, COUNT + 1):
        with pytest.raises(RequestError, match=r"1 to 2,000"):
            within.clusters(references, count)


def test_a_large_set_is_evaluated_as_a_small_one(big: LargeSet, small: ReferenceSet) -> None:
    split = ("train", "test")
    clips = tuple(ReferenceClip(clip.file, clip.label, split=split[n % 2]) for n, clip in enumerate(small.clips))
    whole = evaluate(ReferenceSet(KIND, clips, VECTORS, small.coordinates))
    found = within.evaluated(big, COUNT)
    assert found.keys() == whole.keys()
    for name in ("clips", "labels", "queries", "protocol", "voters"):
        assert found[name] == whole[name]
    for way in ("raw", "centred"):
        for name, value in whole[way].items():
            assert found[way][name] == pytest.approx(value, abs=0.01)
    assert within.evaluated(big, 50)["queries"] == 50


def test_names_of_all_are_in_the_order_of_the_numbers(references: within.Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "MANY", 300)
    told = list(within.all_rows(references))
    assert len(told) == COUNT
    assert [row["label"] for row in told] == [f"label {label}" for label in LABELS]
    assert told[700]["clip"].startswith("/700.mp4")
