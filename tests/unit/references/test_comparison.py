"""Reference vectors, neighbours, the map and its placement, each against a slow or foreign version of itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vjepa_demo.embedding import POOLING_NAMES, Fingerprint, Kind, Vector
from vjepa_demo.errors import FingerprintMismatch, ReferencesError, RequestError
from vjepa_demo.media.worker import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.references import preparing
from vjepa_demo.references.comparison import (
    CURVE_A,
    CURVE_B,
    Neighbour,
    ReferenceClip,
    ReferenceSet,
    leave_one_out,
    vote,
)
from vjepa_demo.references.listing import read_folder, write_csv
from vjepa_demo.references.map import MIN_DIST, UMAP_LOCK, align, fit_map, map_quality
from vjepa_demo.references.preparing import prepare
from vjepa_demo.references.store import Parts, Stored

MADE = Kind(Fingerprint("test", "1", "fp32", "even-16", "crop"))


def clusters(labels: int = 12, each: int = 8, width: int = 192, spread: float = 0.6, seed: int = 0) -> np.ndarray:
    """float32 `[labels·each, width]`: vectors that share a common part, as pooled tokens do, in groups."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(labels, width)), each, axis=0)
    return (2 * rng.normal(size=width) + centres + spread * rng.normal(size=centres.shape)).astype(np.float32)


def make_set(vectors: np.ndarray, coordinates: np.ndarray | None = None, each: int = 8) -> ReferenceSet:
    clips = tuple(ReferenceClip(f"{i}.mp4", f"label {i // each}") for i in range(len(vectors)))
    if coordinates is None:
        coordinates = np.random.default_rng(1).normal(size=(len(vectors), 2)).astype(np.float32)
    return ReferenceSet(MADE, clips, vectors, coordinates)


@pytest.fixture(scope="session")
def fitted() -> ReferenceSet:
    """96 vectors with their UMAP map, fitted once."""
    vectors = clusters()
    return make_set(vectors, fit_map(vectors))


# --- neighbours, vote, far rule ---


def test_neighbours_are_those_of_a_plain_loop():
    references = make_set(clusters(), each=8)
    query = clusters(seed=5)[3]
    mean = [sum(column) / len(references) for column in zip(*references.vectors.tolist(), strict=True)]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        x, y = (
            [p - m for p, m in zip(a.tolist(), mean, strict=True)],
            [p - m for p, m in zip(b.tolist(), mean, strict=True)],
        )
        return sum(p * q for p, q in zip(x, y, strict=True)) / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5

    slow = sorted(((cosine(query, row), i) for i, row in enumerate(references.vectors)), reverse=True)[:7]
    found = references.compare(Vector(query, MADE)).neighbours(7)
    assert [near.index for near in found] == [i for _, i in slow]
    assert [near.cosine for near in found] == pytest.approx([c for c, _ in slow], abs=1e-5)
    assert [near.file for near in found] == [f"{i}.mp4" for _, i in slow]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_copies_of_one_clip_are_as_near_as_a_clip_can_be(count: int):
    one, other = clusters()[0], clusters()[-1]
    references = make_set(np.repeat(one[None], count, axis=0), fit_map(np.repeat(one[None], count, axis=0)))
    same, unlike = references.compare(Vector(one, MADE)), references.compare(Vector(other, MADE))
    plain = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    np.testing.assert_allclose(same.cosines, 1, atol=1e-6)
    np.testing.assert_allclose(unlike.cosines, plain, atol=1e-6)
    assert np.isfinite(references.coordinates).all()
    assert np.isfinite(same.flat).all()
    assert not same.far


def test_a_reference_is_its_own_nearest_neighbour():
    references = make_set(clusters())
    for row in (0, 41, 95):
        nearest = references.compare(Vector(references.vectors[row], MADE)).neighbours(1)[0]
        assert nearest.index == row
        assert nearest.cosine == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("field", ["checkpoint", "revision", "precision", "sampling", "fit", "pooling"])
def test_vectors_made_otherwise_are_refused(field):
    references = make_set(clusters())
    other = Kind.parse({**MADE.fields, field: POOLING_NAMES["motion"] if field == "pooling" else "other"})
    with pytest.raises(FingerprintMismatch, match=field):
        references.compare(Vector(references.vectors[0], other))


@pytest.mark.parametrize("centred", [True, False])
def test_leave_one_out_is_what_leaving_one_out_gives(centred):
    vectors = clusters(labels=5, each=4)
    found = np.concatenate(list(leave_one_out(vectors, centred=centred)))
    for row in range(len(vectors)):
        rest = np.delete(vectors, row, axis=0)
        mean = rest.mean(axis=0) if centred else 0
        a, b = rest - mean, vectors[row] - mean
        slow = a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b)
        np.testing.assert_allclose(np.delete(found[row], row), slow, atol=1e-5)
        assert found[row, row] == -np.inf


def test_far_is_what_is_less_similar_than_the_references_are_among_themselves():
    references = make_set(clusters())
    rng = np.random.default_rng(3)
    noise = references.mean + rng.normal(size=(200, 192)).astype(np.float32)
    assert all(references.compare(Vector(vector, MADE)).far for vector in noise)
    near = clusters(spread=0.6, seed=0) + 0.1 * rng.normal(size=(96, 192)).astype(np.float32)
    assert np.mean([references.compare(Vector(vector, MADE)).far for vector in near]) < 0.05
    # By its own rule, one in forty of the references is far from the others.
    nearest = np.concatenate(list(leave_one_out(references.vectors))).max(axis=1)
    assert np.mean(nearest < references.far_threshold) == pytest.approx(0.025, abs=0.011)


def test_far_rule_says_nothing_about_a_set_too_small_to_have_a_habit():
    references = make_set(clusters()[:2])
    assert not references.compare(Vector(-references.vectors[0], MADE)).far


def test_a_set_of_one_clip_has_neighbours_and_a_place():
    references = make_set(clusters()[:1], np.zeros((1, 2), np.float32))
    assert references.compare(Vector(references.vectors[0], MADE)).neighbours(5)[0].cosine == pytest.approx(1, abs=1e-6)
    assert references.compare(Vector(references.vectors[0], MADE)).flat.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("votes", "label", "margin"),
    [
        ([("a", 0.9), ("b", 0.8), ("b", 0.7)], "b", 1 / 3),
        ([("a", 0.9), ("a", 0.1), ("b", 0.6), ("b", 0.5)], "b", 0),  # as many votes: the closer ones win
        ([("a", 0.9)], "a", 1),
    ],
)
def test_vote(votes, label, margin):
    found = vote([Neighbour("", name, cosine, i) for i, (name, cosine) in enumerate(votes)])
    assert found is not None
    assert (found.label, found.margin) == (label, pytest.approx(margin))
    assert vote([]) is None


# --- the map ---


def test_placement_lands_where_umap_transform_does(fitted):
    """Held-out clips, placed by us and by `transform` on the same map; FACTS: median under 2 % of the map's span."""
    import umap

    from vjepa_demo.embedding import unit_vectors

    rng = np.random.default_rng(0)
    shares = []
    for fold in np.array_split(rng.permutation(len(fitted)), 4):
        kept = np.setdiff1d(np.arange(len(fitted)), fold)
        vectors = fitted.vectors[kept]
        centred = unit_vectors(vectors - vectors.mean(axis=0))
        with UMAP_LOCK:
            mapper = umap.UMAP(n_neighbors=15, metric="cosine", init="pca", random_state=1, n_jobs=1).fit(centred)
            rest = make_set(vectors, mapper.embedding_)
            for row in fold:
                query = fitted.vectors[row]
                theirs = mapper.transform(unit_vectors(query - vectors.mean(axis=0))[None])[0]
                shares.append(np.linalg.norm(rest.compare(Vector(query, MADE)).flat - theirs) / rest.span)
    assert np.median(shares) < 0.02
    assert np.percentile(shares, 90) < 0.05


def test_the_curve_is_umaps():
    from umap.umap_ import find_ab_params

    assert find_ab_params(1.0, MIN_DIST) == pytest.approx((CURVE_A, CURVE_B), abs=1e-6)


def test_many_are_placed_as_each_one_is(fitted):
    queries = clusters(seed=7)[:5]
    together = fitted.compare(Vector(queries, MADE)).flat
    assert together.shape == (5, 2)
    np.testing.assert_allclose(together, [fitted.compare(Vector(query, MADE)).flat for query in queries], atol=1e-4)


def test_a_place_is_on_the_map_or_at_its_edge(fitted):
    queries = np.random.default_rng(2).normal(size=(50, 192)).astype(np.float32)
    places = fitted.compare(Vector(queries, MADE)).flat
    assert (places >= fitted.coordinates.min(axis=0) - 0.1 * fitted.span).all()
    assert (places <= fitted.coordinates.max(axis=0) + 0.1 * fitted.span).all()


def test_the_seed_makes_fits_repeatable(fitted):
    np.testing.assert_array_equal(fit_map(fitted.vectors), fitted.coordinates)


def test_map_quality_is_scikit_learns(fitted):
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import NearestNeighbors

    quality = map_quality(fitted.unit, fitted.coordinates)
    assert quality is not None
    assert quality.trustworthiness == pytest.approx(
        trustworthiness(fitted.unit, fitted.coordinates, n_neighbors=10, metric="cosine"), abs=1e-9
    )
    true = NearestNeighbors(n_neighbors=10, metric="cosine").fit(fitted.unit).kneighbors(return_distance=False)
    near = NearestNeighbors(n_neighbors=10).fit(fitted.coordinates).kneighbors(return_distance=False)
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(true, near, strict=True)]
    assert quality.recall == pytest.approx(np.mean(shared))


def test_large_sets_are_measured_on_a_sample_of_them(monkeypatch):
    from vjepa_demo.references import comparison as module

    vectors = clusters(labels=20, each=20, spread=0.9)
    references = make_set(vectors, vectors[:, :2])
    whole = map_quality(references.unit, references.coordinates)
    monkeypatch.setattr(module, "MEASURED", 200)
    sampled = map_quality(references.unit, references.coordinates)
    assert whole is not None
    assert sampled is not None
    assert whole != sampled
    assert sampled.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.03)
    assert sampled.recall == pytest.approx(whole.recall, abs=0.03)
    again = make_set(vectors, vectors[:, :2])
    assert again.far_threshold == pytest.approx(make_set(vectors).far_threshold)
    monkeypatch.undo()
    assert again.far_threshold == pytest.approx(references.far_threshold, abs=0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_small_sets_are_laid_out_too(count):
    vectors = clusters()[::10][:count]
    coordinates = fit_map(vectors)
    assert coordinates.shape == (count, 2)
    assert np.isfinite(coordinates).all()
    assert len(np.unique(coordinates.round(4), axis=0)) == count


def test_align_is_scipys_procrustes_and_undoes_a_turned_map():
    from scipy.spatial import procrustes

    rng = np.random.default_rng(4)
    old = rng.normal(size=(30, 2)).astype(np.float32)
    turned = (old * 3 @ np.array([[0, 1], [1, 0]]) + 7).astype(np.float32)
    rows = np.arange(30)
    np.testing.assert_allclose(align(turned, old, rows, rows), old, atol=1e-5)
    noisy = turned + rng.normal(size=turned.shape).astype(np.float32)
    aligned = align(noisy, old, rows, rows)
    _, _, disparity = procrustes(old, noisy)
    share = ((aligned - old) ** 2).sum() / ((old - old.mean(axis=0)) ** 2).sum()
    assert share == pytest.approx(disparity, rel=1e-4)


# --- folders and stored vectors ---


class Colours:
    """Stands in for an embedder where only the bookkeeping is tested: a clip's vector is its mean colour."""

    at_once = 1

    def __init__(self, revision: str = "1", sampling: Sampling | None = None, fit: str = "crop") -> None:
        self.calls: list[int] = []
        self.revision, self.sampling, self.fit = revision, sampling or Sampling(), fit

    def kind(self, pooling="mean"):
        sampling = f"{self.sampling.mode}-{self.sampling.frames}"
        return Kind(Fingerprint("colours", self.revision, "fp32", sampling, self.fit), pooling)

    def read(self, path):
        return read_clip(path, self.sampling)

    def embed(self, clip):
        self.calls.append(len(clip.frames))
        self.mean = clip.frames.astype(np.float32).mean(axis=(0, 2, 3))
        return self

    def vector(self, embedding, pooling):
        return Vector(embedding.mean, self.kind(pooling))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of eight pictures in two labels."""
    from PIL import Image

    rng = np.random.default_rng(0)
    clips = []
    for number in range(8):
        colour = rng.integers(0, 255, 3)
        Image.new("RGB", (16, 16), tuple(int(c) for c in colour)).save(tmp_path / f"{number}.png")
        clips.append(ReferenceClip(f"{number}.png", "ab"[number % 2], "a colour", "CC0"))
    write_csv(tmp_path, clips)
    return tmp_path


@pytest.fixture(autouse=True)
def _nothing_in_memory():
    preparing._sets.clear()


def test_a_written_csv_is_read_back(folder):
    clips = read_folder(folder)
    assert clips[0] == ReferenceClip("0.png", "a", "a colour", "CC0")
    assert len(clips) == 8


def test_labels_and_splits_come_from_sub_folders(tmp_path):
    for name in ("train/archery/1.mp4", "val/archery/2.MP4", "dive/3.webm", "dive/notes.txt", "loose.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_folder(tmp_path) == [
        ReferenceClip("dive/3.webm", "dive"),
        ReferenceClip("train/archery/1.mp4", "archery", split="train"),
        ReferenceClip("val/archery/2.MP4", "archery", split="val"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "no reference clips"),
        ("file,label\na.mp4,\n", "Line 2"),
        ("name,label\na.mp4,x\n", "columns file and label"),
        ("file,label\n../a.mp4,x\n", "outside"),
        ("file,label\n/etc/passwd,x\n", "outside"),
        ("file,label\na.mp4,x\na.mp4,y\n", "more than once"),
        (b"file,label\n\xff.mp4,x\n", "UTF-8"),
    ],
)
def test_a_faulty_csv_gets_one_sentence(tmp_path, text, message):
    (tmp_path / "clips.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ReferencesError, match=message):
        read_folder(tmp_path)


def test_missing_and_empty_folders_get_one_sentence(tmp_path):
    with pytest.raises(ReferencesError, match="no such folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ReferencesError, match="no reference clips"):
        read_folder(tmp_path)


def test_a_second_run_embeds_nothing_and_gives_the_same(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    encoder = Colours()
    heard = []
    first = prepare(folder, encoder, progress=lambda *said: heard.append(said), store=store)
    assert [done for done, _, _ in heard[:8]] == list(range(1, 9))
    assert len(encoder.calls) == 8
    assert prepare(folder, encoder, store=store) is first
    preparing._sets.clear()
    second = prepare(folder, encoder, store=store)
    assert len(encoder.calls) == 8
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.coordinates, second.coordinates)
    assert first.clips == second.clips


def test_a_changed_clip_costs_one_pass_and_moves_no_other_point(folder, tmp_path_factory):
    from PIL import Image

    store = tmp_path_factory.mktemp("store")
    encoder = Colours()
    before = prepare(folder, encoder, store=store)
    Image.new("RGB", (16, 16), (1, 2, 3)).save(folder / "2.png")
    after = prepare(folder, encoder, store=store)
    assert len(encoder.calls) == 9
    same = [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(before.vectors[same], after.vectors[same])
    np.testing.assert_array_equal(before.coordinates[same], after.coordinates[same])
    assert after.vectors[2].tolist() == [1, 2, 3]
    np.testing.assert_allclose(after.coordinates[2], after.compare(Vector(after.vectors[2], after.kind)).flat, atol=2)


def test_an_added_clip_moves_nothing_until_a_new_fit(folder, tmp_path_factory):
    from PIL import Image

    store = tmp_path_factory.mktemp("store")
    encoder = Colours()
    before = prepare(folder, encoder, store=store)
    Image.new("RGB", (16, 16), (250, 0, 250)).save(folder / "new.png")
    write_csv(folder, [ReferenceClip("new.png", "c"), *read_folder(folder)])
    after = prepare(folder, encoder, store=store)
    assert len(encoder.calls) == 9
    np.testing.assert_array_equal(before.coordinates, after.coordinates[1:])
    again = prepare(folder, encoder, store=store, refit=True)
    assert len(encoder.calls) == 9
    assert not np.array_equal(again.coordinates, after.coordinates)
    # The new fit is turned to the old one: its points are nearer to their old places than to one another.
    moved = np.linalg.norm(again.coordinates - after.coordinates, axis=1)
    assert np.median(moved) < 0.25 * after.span


def test_every_clip_gets_a_thumbnail(folder, tmp_path_factory):
    from PIL import Image

    store = tmp_path_factory.mktemp("store")
    references = prepare(folder, Colours(), store=store)
    with Image.open(store / "thumbnails" / f"{references.hashes[0]}.jpg") as thumbnail:
        assert thumbnail.size == (128, 96)
        np.testing.assert_allclose(np.asarray(thumbnail).mean(axis=(0, 1)), references.vectors[0], atol=4)


def test_another_checkpoint_or_sampling_is_embedded_anew(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    encoder, other = Colours(), Colours(revision="2")
    prepare(folder, encoder, store=store)
    longer, padded = Colours(sampling=Sampling(frames=32)), Colours(fit="pad")
    for each in (longer, padded, other):
        prepare(folder, each, store=store)
    assert [len(each.calls) for each in (encoder, longer, padded, other)] == [8] * 4
    assert len(list(store.glob("*.safetensors"))) == 4


@pytest.mark.parametrize("fault", ["cut", "empty", "nan", "short", "foreign"])
def test_damaged_vectors_are_made_again(folder, tmp_path_factory, monkeypatch, fault):
    store = tmp_path_factory.mktemp("store")
    encoder = Colours()
    first = prepare(folder, encoder, store=store)
    path = store / f"{first.kind.key}.safetensors"
    stored = Stored.load(path, first.kind)
    assert stored is not None
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "nan":
        with monkeypatch.context() as somebody_else:
            somebody_else.setattr(np, "isfinite", lambda array: np.ones(1, bool))
            replace(stored, vectors=stored.vectors * np.float32("nan")).save(path, first.kind)
    elif fault == "short":
        replace(stored, coordinates=stored.coordinates[:-1]).save(path, first.kind)
    else:
        stored.save(path, replace(first.kind, fingerprint=replace(first.kind.fingerprint, revision="other")))
    assert Stored.load(path, first.kind) is None
    preparing._sets.clear()
    second = prepare(folder, encoder, store=store)
    assert len(encoder.calls) == 16
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert Stored.load(path, first.kind) is not None


def test_an_interrupted_run_goes_on_where_it_stopped(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")

    def stop(done, total, message):
        if done == 5:
            raise KeyboardInterrupt

    encoder = Colours()
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, encoder, progress=stop, store=store)
    assert len(encoder.calls) == 5
    resumed = prepare(folder, encoder, store=store)
    assert len(encoder.calls) == 8
    assert not list(store.glob("*.parts"))
    unbroken = prepare(folder, Colours(), store=tmp_path_factory.mktemp("other"))
    np.testing.assert_array_equal(resumed.vectors, unbroken.vectors)
    np.testing.assert_array_equal(resumed.coordinates, unbroken.coordinates)


def test_half_written_parts_are_ignored(tmp_path):
    parts = Parts(tmp_path / "x.safetensors")
    parts.add("good", np.ones(3, np.float32))
    (parts.folder / "cut.npy").write_bytes((parts.folder / "good.npy").read_bytes()[:-4])
    (parts.folder / "nan.npy").write_bytes(b"")
    assert list(parts.read()) == ["good"]


def test_files_that_cannot_be_embedded_are_reported_and_left_out(folder, tmp_path_factory):
    (folder / "3.png").write_bytes(b"")
    (folder / "4.png").unlink()
    references = prepare(folder, Colours(), store=tmp_path_factory.mktemp("store"))
    assert [name for name, _ in references.failures] == ["3.png", "4.png"]
    assert "empty" in references.failures[0][1]
    assert "missing" in references.failures[1][1]
    assert [clip.file for clip in references.clips] == ["0.png", "1.png", "2.png", "5.png", "6.png", "7.png"]


def test_a_folder_without_one_good_clip_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    write_csv(tmp_path, [ReferenceClip("bad.mp4", "a")])
    with pytest.raises(ReferencesError, match="neither a video nor an image"):
        prepare(tmp_path, Colours(), store=tmp_path / "store")


def test_vectors_in_the_folder_are_used_and_never_written_to(folder, tmp_path_factory):
    shipped = prepare(folder, Colours(), store=folder / "vectors")
    moved = Path(shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere") / "set"))
    before = {path: path.read_bytes() for path in (moved / "vectors").rglob("*.*")}
    encoder, store = Colours(), tmp_path_factory.mktemp("store")
    found = prepare(moved, encoder, store=store)
    assert encoder.calls == []
    assert not list(store.iterdir())
    np.testing.assert_array_equal(found.coordinates, shipped.coordinates)
    picture = next(path for path in moved.rglob("*.png"))
    Image.fromarray(np.full((16, 16, 3), 77, np.uint8)).save(picture)  # now something has to be embedded and stored
    assert len(prepare(moved, encoder, store=store)) == len(shipped)
    assert len(encoder.calls) == 1
    assert list(store.glob("*.safetensors"))
    assert {path: path.read_bytes() for path in (moved / "vectors").rglob("*.*")} == before


def test_a_folder_that_carries_its_vectors_gets_new_ones_but_never_the_shipped_one(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(preparing, "cache_of", lambda folder: tmp_path / "cache")
    prepare(folder, Colours())
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    prepare(folder, Colours(), store=folder / "vectors")
    prepare(folder, Colours(revision="2"))
    assert len(list((folder / "vectors").glob("*.safetensors"))) == 2
    monkeypatch.setattr(preparing, "SHIPPED", folder)
    prepare(folder, Colours(revision="3"))
    assert len(list((folder / "vectors").glob("*.safetensors"))) == 2
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2


def test_stored_vectors_say_how_they_were_made(folder, tmp_path_factory):
    from safetensors import safe_open

    store = tmp_path_factory.mktemp("store")
    references = prepare(folder, Colours(), store=store)
    with safe_open(store / f"{references.kind.key}.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert Kind.parse(json.loads(metadata["fingerprint"])) == references.kind
    assert json.loads(metadata["map"])["method"] == "umap"


def test_clips_that_go_through_the_model_together_become_the_same_vectors(folder, tmp_path_factory):
    """Where one of them is refused, the others of its batch are embedded one by one."""

    class Together(Colours):
        at_once = 3

        def __init__(self) -> None:
            super().__init__()
            self.batches: list[int] = []

        def embed(self, clip):
            made = Colours().embed(clip)
            if np.allclose(made.mean, odd):
                raise RequestError("This one is refused.")
            return made

        def embed_many(self, clips):
            self.batches.append(len(clips))
            return [self.embed(clip) for clip in clips]

    odd = np.array([-1, -1, -1], np.float32)
    stores = [tmp_path_factory.mktemp("store") for _ in range(3)]
    told: list[tuple[int, int]] = []
    together = Together()
    made = prepare(folder, together, store=stores[0], progress=lambda done, total, _: told.append((done, total)))
    one_by_one = prepare(folder, Colours(), store=stores[1])
    np.testing.assert_array_equal(made.vectors, one_by_one.vectors)
    assert together.batches == [3, 3, 2]
    assert told[:3] == [(3, 8), (6, 8), (8, 8)]
    odd = one_by_one.vectors[4]
    left = prepare(folder, Together(), store=stores[2])
    assert [name for name, _ in left.failures] == ["4.png"]
    assert len(left) == 7


def test_errors_of_the_encoder_are_not_swallowed(folder, tmp_path_factory):
    class Broken(Colours):
        def embed(self, clip):
            raise MemoryError

    with pytest.raises(MemoryError):
        prepare(folder, Broken(), store=tmp_path_factory.mktemp("store"))
