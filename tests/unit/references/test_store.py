"""Stored vectors: damage is found, whatever it is, and what others sent is not believed for its checksum alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colours import MADE
from safetensors import safe_open
from safetensors.numpy import save_file

from vjepa_demo.references import store
from vjepa_demo.references.listing import STORED
from vjepa_demo.references.preparing import SHIPPED
from vjepa_demo.references.store import Parts, Stored, copy_stored, take_thumbnail

HASHES = ("a" * 64, "b" * 64, "c" * 64)


def stored() -> Stored:
    rng = np.random.default_rng(0)
    return Stored(HASHES, *(rng.normal(size=(3, n)).astype(np.float32) for n in (8, 2)))


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "x.safetensors"
    stored().save(path, MADE)
    whole = path.read_bytes()
    assert Stored.load(path, MADE) is not None
    rng = np.random.default_rng(0)
    for at in [*range(len(whole) - 3 * 10 * 4, len(whole), 7), *rng.integers(0, len(whole), 60)]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        found = Stored.load(path, MADE)
        # In the header a bit may be one of those that say nothing, such as a blank.
        assert found is None or (found.hashes == HASHES and np.array_equal(found.vectors, stored().vectors))


@pytest.mark.parametrize("name", ["vectors", "coordinates"])
def test_what_is_no_number_is_not_written(tmp_path, name):
    good = stored()
    getattr(good, name)[1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        good.save(tmp_path / "x.safetensors", MADE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["zeros", "low bits", "swapped hashes", "swapped rows"])
def test_what_was_changed_behind_the_checksum_is_not_believed(tmp_path, fault):
    good, path = stored(), tmp_path / "x.safetensors"
    good.save(path, MADE)
    head = int.from_bytes(path.read_bytes()[:8], "little")
    data = bytearray(path.read_bytes())
    if fault == "zeros":
        data[8 + head :] = bytes(len(data) - 8 - head)
    elif fault == "low bits":
        data[8 + head] ^= 1
    elif fault == "swapped hashes":
        data = bytearray(bytes(data).replace(b"a" * 64, b"x").replace(b"b" * 64, b"a" * 64).replace(b"x", b"b" * 64, 1))
    else:
        rows = slice(8 + head, 8 + head + 64)
        data[rows] = data[rows][32:] + data[rows][:32]
    path.write_bytes(data)
    assert Stored.load(path, MADE) is None


def test_a_file_of_an_earlier_version_with_a_map_in_three_dimensions_is_read(tmp_path):
    good, path = stored(), tmp_path / "x.safetensors"
    good.save(path, MADE)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    tensors["space"] = np.zeros((3, 3), np.float32)
    metadata["checksum"] = store._checksum(metadata, tensors)
    save_file(tensors, path, metadata)
    found = Stored.load(path, MADE)
    assert found is not None
    np.testing.assert_array_equal(found.coordinates, good.coordinates)


def forged(path: Path, **changes) -> None:
    good = stored()
    arrays = {"vectors": good.vectors, "coordinates": good.coordinates}
    metadata = {"format": "2", "fingerprint": json.dumps(MADE.fields, sort_keys=True), "map": "{}"}
    metadata["sha256"] = json.dumps(HASHES)
    metadata["checksum"] = "0" * 64
    for name, value in changes.items():
        (arrays if isinstance(value, np.ndarray) else metadata)[name] = value
    save_file(arrays, path, metadata)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": json.dumps([["a" * 64]] * 3)},
        {"sha256": "[" * 100_000},
        {"fingerprint": "[" * 100_000},
        {"fingerprint": json.dumps({"checkpoint": "x"})},
        {"fingerprint": json.dumps({**MADE.fields, "pooling": "motion"})},
        {"sha256": "{}"},
        {"format": "1"},
        {"extra": np.zeros(3, np.float32)},
        {"vectors": np.zeros((3, 0), np.float32)},
        {"vectors": np.zeros((3, 4), np.float64)},
    ],
    ids=str,
)
def test_forged_files_are_not_believed_and_raise_nothing(tmp_path, changes):
    forged(tmp_path / "x.safetensors", **changes)
    assert Stored.load(tmp_path / "x.safetensors", MADE) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": np.full((3, 8), 3e38, np.float32)},
        {"vectors": np.full((3, 8), np.nan, np.float32)},
        {"coordinates": np.full((3, 2), np.inf, np.float32)},
        {"vectors": np.zeros((3, 0), np.float32)},
        {"vectors": np.zeros(3, np.float32)},
        {"hashes": ("a" * 64, "../../x", "c" * 64)},
    ],
    ids=str,
)
def test_values_that_no_encoder_makes_are_not_believed_with_a_right_checksum_either(tmp_path, changes, monkeypatch):
    with monkeypatch.context() as somebody_else:
        somebody_else.setattr(np, "isfinite", lambda array: np.ones(1, bool))
        replace(stored(), **changes).save(tmp_path / "x.safetensors", MADE)
    assert Stored.load(tmp_path / "x.safetensors", MADE) is None


def test_a_copy_of_the_shipped_files_is_whole_and_a_damaged_one_is_not_copied(tmp_path):
    shipped = next((SHIPPED / STORED).glob("*.safetensors"))
    copy_stored(shipped, tmp_path / "whole" / shipped.name)
    copy_stored(tmp_path / "whole" / shipped.name, tmp_path / "again" / shipped.name)
    assert (tmp_path / "again" / shipped.name).exists()
    data = bytearray(shipped.read_bytes())
    data[-1] ^= 1
    (tmp_path / shipped.name).write_bytes(data)
    copy_stored(tmp_path / shipped.name, tmp_path / "damaged" / shipped.name)
    assert not (tmp_path / "damaged" / shipped.name).exists()


def test_a_damaged_part_is_dropped_and_the_others_are_used(tmp_path):
    parts = Parts(tmp_path / "x.safetensors")
    for sha in "abcd":
        parts.add(sha, np.full(3, ord(sha), np.float32))
    flipped = bytearray((parts.folder / "a.npy").read_bytes())
    flipped[-40] ^= 1
    (parts.folder / "a.npy").write_bytes(flipped)
    (parts.folder / "b.npy").rename(parts.folder / "e.npy")  # another clip's
    np.save(parts.folder / "f.npy", np.zeros(7, np.float32))  # of another length, from elsewhere
    assert sorted(parts.read()) == ["c", "d"]
    assert sorted(path.stem for path in parts.folder.iterdir()) == ["c", "d"]


def test_parts_are_cleared_beside_others(tmp_path):
    parts = Parts(tmp_path / "x.safetensors")
    parts.clear()
    parts.add("a", np.zeros(3, np.float32))
    (parts.folder / "folder").mkdir()
    parts.clear()
    assert [path.name for path in parts.folder.iterdir()] == ["folder"]
    parts.add("b", np.zeros(3, np.float32))
    assert list(parts.read()) == ["b"]


def test_a_thumbnail_from_elsewhere_is_drawn_anew_or_not_taken(tmp_path):
    from PIL import Image

    Image.new("RGB", (128, 96), (200, 30, 30)).save(tmp_path / "good.jpg", comment=b"<script>")
    take_thumbnail(tmp_path / "good.jpg", tmp_path / "a.jpg")
    assert b"<script>" not in (tmp_path / "a.jpg").read_bytes()
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_allclose(np.asarray(image).mean(axis=(0, 1)), (200, 30, 30), atol=3)
    (tmp_path / "bad.jpg").write_text("<html>")
    Image.new("RGB", (5000, 10)).save(tmp_path / "large.jpg")
    for name in ("bad.jpg", "large.jpg"):
        take_thumbnail(tmp_path / name, tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()
