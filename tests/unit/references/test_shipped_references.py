"""The shipped references: what is stored is what nano makes of the clips, and the map is what UMAP makes of that."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Embedding, Vector, unit_vectors
from vjepa_demo.files import file_hash
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references.change import copy_set
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.listing import STORED, read_folder, write_csv
from vjepa_demo.references.map import UMAP_LOCK, align, fit_map, map_quality
from vjepa_demo.references.preparing import SHIPPED, missing, prepare
from vjepa_demo.references.store import THUMBNAILS, Stored

FITS = {
    Sampling(16): ("crop", "squash", "pad"),
    Sampling(16, "fps"): ("crop", "squash"),
    **dict.fromkeys([Sampling(32), Sampling(32, "fps"), Sampling(64)], ("squash",)),
}
WAYS = [(fit, precision, sampling) for sampling, fits in FITS.items() for fit in fits for precision in ("fp32", "bf16")]
POOLINGS = ("mean", "motion")
SIXTEEN = Sampling(16)


def embedder(fit: str = "crop", precision: str = "fp32", sampling: Sampling = SIXTEEN) -> Embedder:
    return Embedder(get_encoder("nano", device="cpu", precision=precision), sampling, fit)


@pytest.fixture(scope="module", params=POOLINGS)
def shipped(request, tmp_path_factory) -> ReferenceSet:
    """As the app opens them; nothing may have to be embedded for it."""
    store = tmp_path_factory.mktemp("store")

    def progress(done: int, total: int, message: str) -> None:
        raise AssertionError("the shipped vectors do not fit the clips: run assets/recipes/embed_references.py")

    return prepare(SHIPPED, embedder(), request.param, progress=progress, store=store)


def test_there_are_enough_of_them():
    clips = read_folder(SHIPPED)
    counts = {label: sum(clip.label == label for clip in clips) for label in {clip.label for clip in clips}}
    assert len(counts) >= 12
    assert min(counts.values()) >= 8
    assert all(clip.description and clip.licence for clip in clips)


def test_vectors_are_stored_for_every_way_of_embedding_and_for_nothing_else():
    hashes = tuple(file_hash(SHIPPED / clip.file) for clip in read_folder(SHIPPED))
    names = set()
    for way, pooling in itertools.product(WAYS, POOLINGS):
        kind = embedder(*way).kind(pooling)
        path = SHIPPED / STORED / f"{kind.key}.safetensors"
        stored = Stored.load(path, kind)
        assert stored is not None, f"{kind}: run assets/recipes/embed_references.py"
        assert stored.hashes == hashes
        names.add(path.name)
    assert {path.name for path in (SHIPPED / STORED).glob("*.safetensors")} == names
    assert {path.stem for path in (SHIPPED / STORED / THUMBNAILS).iterdir()} == set(hashes)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_whole_of_the_clips_is_what_squash_makes_of_them(pooling, tmp_path):
    """They are square, so one set of vectors serves both: nothing is embedded, and what is stored is right."""

    def progress(done: int, total: int, message: str) -> None:
        raise AssertionError(f"{message}: nothing may have to be embedded")

    whole = embedder("whole")
    known = prepare(SHIPPED, whole, pooling, progress=progress, store=tmp_path)
    assert known.kind == whole.kind(pooling)
    made = embedder("squash").kind(pooling)
    stored = Stored.load(SHIPPED / STORED / f"{made.key}.safetensors", made)
    assert stored is not None
    np.testing.assert_array_equal(known.vectors, stored.vectors)
    clip = whole.read(SHIPPED / known.clips[5].file)
    np.testing.assert_array_equal(whole.embed(clip).tokens, embedder("squash").embed(clip).tokens)
    assert missing(SHIPPED, whole.kind(pooling)) == 0


def test_in_a_visitors_own_set_the_shipped_clips_are_not_embedded_again(tmp_path):
    """Under the fit of the page, too; a clip of another shape is, whatever is stored of it under squash."""
    own = tmp_path / "own"
    copy_set(SHIPPED, own)
    square, whole = embedder("squash").kind("motion"), embedder("whole").kind("motion")
    assert missing(own, whole) == 0
    path = own / STORED / f"{square.key}.safetensors"
    stored = Stored.load(path, square)
    assert stored is not None
    (own / "new.mp4").write_bytes((SHIPPED.parent / "examples" / "dominoes.mp4").read_bytes())
    sha = file_hash(own / "new.mp4")
    more = np.concatenate([stored.vectors, stored.vectors[:1]]), np.concatenate([stored.coordinates, [[0, 0]]])
    Stored((*stored.hashes, sha), more[0], more[1].astype(np.float32)).save(path, square)
    write_csv(own, [*read_folder(own), ReferenceClip("new.mp4", "new")])
    assert missing(own, square) == 0
    assert missing(own, whole) == 1


@pytest.mark.parametrize("way", [way for way in WAYS if way[1] == "fp32"], ids=str)
def test_vectors_are_those_of_the_clips(way):
    clips = read_folder(SHIPPED)
    # Of the long samplings one: that no row is another one's is seen of the short ones.
    rows = (0, len(clips) // 2, len(clips) - 1) if way[2].frames == 16 else (len(clips) // 2,)
    embeddings = [embedder(*way).embed(SHIPPED / clips[row].file) for row in rows]
    for pooling in POOLINGS:
        kinds = embedder(*way).kind(pooling), embedder(way[0], "bf16", way[2]).kind(pooling)
        stored, rounded = (Stored.load(SHIPPED / STORED / f"{made.key}.safetensors", made) for made in kinds)
        assert stored is not None
        assert rounded is not None
        for row, embedding in zip(rows, embeddings, strict=True):
            vector = embedding.vector(pooling).array
            # Other CPUs add up in another order; a wrong clip, fit or sampling is off by far more.
            np.testing.assert_allclose(stored.vectors[row], vector, atol=2e-3 * np.abs(vector).max())
            nearest = unit_vectors(rounded.vectors - rounded.vectors.mean(axis=0)) @ unit_vectors(
                vector - stored.vectors.mean(axis=0)
            )
            assert int(np.argmax(nearest)) == row


def test_the_map_is_umaps(shipped):
    again = fit_map(shipped.vectors)
    rows = np.arange(len(shipped))
    moved = np.linalg.norm(align(again, shipped.coordinates, rows, rows) - shipped.coordinates, axis=1) / shipped.span
    # Other threads and CPUs round differently, and UMAP lets points go elsewhere for it; unrelated maps are 0.3 apart.
    assert np.median(moved) < 0.2
    new, old = map_quality(shipped.unit, again), map_quality(shipped.unit, shipped.coordinates)
    assert new is not None
    assert old is not None
    assert new.trustworthiness == pytest.approx(old.trustworthiness, abs=0.03)
    assert new.recall == pytest.approx(old.recall, abs=0.1)


def test_the_map_can_be_trusted_as_far_as_it_says(shipped):
    quality = map_quality(shipped.unit, shipped.coordinates)
    assert quality is not None
    assert quality.trustworthiness > 0.85
    assert quality.recall > 0.4


def test_clips_are_placed_where_umap_transform_puts_them(shipped):
    """Every third one left out by itself, placed by us and by `transform` on the map of the others; all of them in
    `bench/placement.py`."""
    import umap

    shares = []
    for row in range(0, len(shipped), 3):
        rest = np.delete(shipped.vectors, row, axis=0)
        mean = rest.mean(axis=0)
        with UMAP_LOCK:
            mapper = umap.UMAP(n_neighbors=15, metric="cosine", init="pca", random_state=2506, n_jobs=1)
            mapper.fit(unit_vectors(rest - mean))
            theirs = mapper.transform(unit_vectors(shipped.vectors[row] - mean)[None])[0]
        clips = shipped.clips[:row] + shipped.clips[row + 1 :]
        others = ReferenceSet(shipped.kind, clips, rest, np.asarray(mapper.embedding_, np.float32))
        ours = others.compare(Vector(shipped.vectors[row], shipped.kind)).flat
        shares.append(float(np.linalg.norm(ours - theirs)) / others.span)
    # Clips lie in many small groups, and `transform` itself throws one in twenty across the map.
    assert np.median(shares) < 0.08


@pytest.fixture(scope="module")
def examples() -> list[Embedding]:
    """The examples show what the references show, from other seeds."""
    paths = sorted((SHIPPED.parent / "examples").glob("*.mp4"))
    assert len(paths) >= 6
    return [embedder().embed(path) for path in paths]


def test_clips_of_the_same_kind_are_not_far(shipped, examples):
    far = [shipped.compare(example.vector(shipped.kind.pooling)).far for example in examples]
    assert sum(far) <= 1
