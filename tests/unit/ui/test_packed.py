"""What is shipped of the first example: what nano makes of it, and nothing that is not."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vjepa_demo import explore
from vjepa_demo.explore import Embedded
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options
from vjepa_demo.references.preparing import SHIPPED, stored_set
from vjepa_demo.ui import examples, packed
from vjepa_demo.ui.packed import Packed
from vjepa_demo.views.similarity import pack, unpack

FIRST = examples.files()[0]
OPTIONS = Options("nano", frames=16, fit="whole")
AGAIN = "run assets/recipes/pack_first.py"


@pytest.fixture(scope="module")
def shipped() -> Packed:
    found = packed.load(FIRST, OPTIONS)
    assert found, AGAIN
    return found


@pytest.fixture(scope="module")
def fresh() -> Embedded:
    return explore.embed(FIRST, replace(OPTIONS, precision="fp32"))


def test_the_viewers_file_is_what_is_made_anew(shipped: Packed, fresh: Embedded) -> None:
    header, sections = unpack(shipped.viewer)
    new_header, new = unpack(pack(fresh.embedding, fresh.clip))
    for told in (header, new_header):
        told.pop("sections")
    assert header == new_header, AGAIN
    tokens, again = (part["tokens"].astype(float) for part in (sections, new))
    cosines = (tokens * again).sum(axis=1) / (np.linalg.norm(tokens, axis=1) * np.linalg.norm(again, axis=1))
    assert cosines.min() > 0.999, AGAIN  # another CPU adds up in another order, and then rounds
    # A token that happens to be near the mean has a length that is the difference of two numbers much larger.
    np.testing.assert_allclose(sections["scalars"], new["scalars"], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(sections["mean"], new["mean"], atol=2e-3)
    np.testing.assert_array_equal(sections["mask"], new["mask"])
    assert np.abs(sections["pca"].astype(int) - new["pca"]).mean() < 2
    assert difference(sections["sheet"].tobytes(), new["sheet"].tobytes()) < 1


def test_it_is_compared_by_the_vector_that_is_made_anew(shipped: Packed, fresh: Embedded) -> None:
    assert shipped.vector.kind == fresh.kind
    new = fresh.vector.array
    np.testing.assert_allclose(shipped.vector.array, new, atol=2e-3 * np.abs(new).max())
    references = stored_set(SHIPPED, shipped.vector.kind)
    assert references is not None
    found, expected = references.compare(shipped.vector), explore.compare(fresh, SHIPPED).comparison
    assert [near.file for near in found.neighbours(5)] == [near.file for near in expected.neighbours(5)]
    np.testing.assert_allclose(found.cosines, expected.cosines, atol=2e-3)
    assert np.linalg.norm(found.flat - expected.flat) < 0.01 * references.span


def test_what_is_shown_of_it_is_the_clip_and_its_tokens(shipped: Packed, fresh: Embedded) -> None:
    shown = shipped.embedded
    assert (shown.path, shown.options, shown.auto, shown.pooling) == (str(FIRST), OPTIONS, True, fresh.pooling)
    assert shown.embedding.fingerprint == fresh.embedding.fingerprint
    assert shown.clip.source == fresh.clip.source
    assert np.abs(shown.clip.frames.astype(int) - fresh.clip.frames).mean() < 3
    np.testing.assert_array_equal(shown.embedding.timestamps, fresh.embedding.timestamps)
    steps = np.abs(fresh.embedding.tokens - fresh.embedding.pooled()).max(axis=-1, keepdims=True) / 127
    assert (np.abs(shown.embedding.tokens - fresh.embedding.tokens) < 0.6 * steps + 2e-3).all()


@pytest.mark.parametrize("change", [{"fit": "crop"}, {"frames": 32}, {"sampling": "fps"}, {"end": 2.0}])
def test_it_is_not_taken_for_another_way_of_embedding(change: dict) -> None:
    assert packed.load(FIRST, replace(OPTIONS, **change)) is None


def test_it_is_not_taken_for_another_clip_or_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed.load(examples.files()[1], OPTIONS) is None
    monkeypatch.setattr(checkpoints, "revision_of", lambda checkpoint, folder: "another")
    assert packed.load(FIRST, OPTIONS) is None


@pytest.mark.parametrize("bytes_left", [None, 0, 100, -1])
def test_a_file_that_is_missing_or_cut_is_not_used(bytes_left: int | None, tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    if bytes_left is not None:
        path.write_bytes(packed.FILE.read_bytes()[:bytes_left])
    assert packed.load(FIRST, OPTIONS, path) is None


def test_what_is_saved_is_loaded(fresh: Embedded, tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    packed.save(fresh, path)
    found = packed.load(FIRST, OPTIONS, path)
    assert found
    assert found.viewer == pack(fresh.embedding, fresh.clip)
    np.testing.assert_array_equal(found.vector.array, fresh.vector.array)
    assert packed.FILE.stat().st_size < 700_000


def test_the_posters_are_those_of_the_examples() -> None:
    shipped = examples.posters.__wrapped__()
    assert shipped == examples.POSTERS.read_bytes(), AGAIN
    assert difference(shipped, examples.draw_posters()) < 1


def test_posters_of_other_examples_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    files = examples.files()[2:0:-1]
    monkeypatch.setattr(examples, "files", lambda: files)
    drawn = Image.open(io.BytesIO(examples.posters.__wrapped__()))
    assert drawn.height == len(files) * examples.POSTER_SIZE[1]


def difference(one: bytes, other: bytes) -> float:
    """The mean difference of two pictures' pixels, in levels of 256."""
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in (one, other))
    return float(np.abs(a - b).mean())
