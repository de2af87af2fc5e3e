"""Tables made elsewhere become tables of clips, ours come back as they were, and what is wrong with one is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_tables import KIND, clustered

from vjepa_demo.embedder import Embedder
from vjepa_demo.errors import ReferencesError, RequestError
from vjepa_demo.options import Options
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.scale import importing, large, tables

lance = pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")
pa = pytest.importorskip("pyarrow")

VECTORS, LABELS = clustered(30, 24, 3, seed=1)


def write(path: Path, columns: dict[str, Any]) -> Path:
    import pyarrow.parquet as pq

    if path.suffix == ".lance":
        lance.write_dataset(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def rows_of(out: Path) -> list[dict[str, Any]]:
    return lance.dataset(str(out)).to_table().to_pylist()


@pytest.mark.parametrize("ending", ["parquet", "lance"])
def test_what_was_exported_comes_back_equal(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = tuple(ReferenceClip(f"{n}.mp4", f"label {label}", split="train") for n, label in enumerate(LABELS))
    places = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    references = ReferenceSet(KIND, clips, VECTORS, places, folder=Path("/clips"))
    exported, out = tmp_path / f"set.{ending}", tmp_path / "back.lance"
    tables.write(tables.of_set(references), str(exported))
    monkeypatch.setattr(importing, "BLOCK", 7)
    read = importing.read_in(str(exported), str(out))
    assert (read.vector, read.left_out, read.known) == ("vector", ["neighbors"], True)
    found = large.opened(str(out))
    assert isinstance(found, ReferenceSet)
    assert found.kind == KIND
    np.testing.assert_array_equal(found.vectors, VECTORS)
    np.testing.assert_array_equal(found.coordinates, places)
    assert [clip.file for clip in found.clips] == [f"/clips/{n}.mp4" for n in range(30)]
    assert [(clip.label, clip.split) for clip in found.clips] == [(clip.label, "train") for clip in clips]
    before = tables.of_set(references).drop_columns(["neighbors"]).to_pylist()
    after = [{name: value for name, value in row.items() if name != "neighbors"} for row in rows_of(out)]
    assert after == before


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 24), pa.large_list(pa.float32()), pa.list_(pa.float16())]
)
def test_a_foreign_table_becomes_one_of_ours_whose_making_nobody_knows(tmp_path: Path, kind: Any) -> None:
    vectors = pa.array([[np.float16(x) for x in v] for v in VECTORS.tolist()], kind)
    columns = {"Path": [f"{n}.mp4" for n in range(30)], "embedding": vectors, "class": LABELS, "other": LABELS}
    out = tmp_path / "set.lance"
    read = importing.read_in(str(write(tmp_path / "set.parquet", columns)), str(out))
    assert (read.vector, read.columns, read.left_out) == ("embedding", {"uri": "Path", "label": "class"}, ["other"])
    assert not read.known
    large.settle(str(out))
    found = large.opened(str(out))
    assert isinstance(found, ReferenceSet)
    assert found.kind == large.UNKNOWN
    np.testing.assert_allclose(found.vectors, VECTORS, atol=2e-3)
    assert (found.clips[3].file, found.clips[3].label) == ("3.mp4", str(LABELS[3]))
    assert np.isfinite(found.coordinates).all()
    assert len({row["clip_id"] for row in rows_of(out)}) == 30


def test_rows_without_a_whole_vector_become_failures(tmp_path: Path) -> None:
    vectors: list[Any] = VECTORS.tolist()
    vectors[4], vectors[6][2], vectors[7][0] = None, float("nan"), 1e300
    write(tmp_path / "set.parquet", {"uri": ["x"] * 30, "v": pa.array(vectors, pa.list_(pa.float64()))})
    importing.read_in(str(tmp_path / "set.parquet"), str(tmp_path / "set.lance"))
    rows = rows_of(tmp_path / "set.lance")
    assert [n for n, row in enumerate(rows) if row["error"]] == [4, 6, 7]
    assert all(row["error"].endswith(".") and row["vector"] is None for row in (rows[4], rows[6], rows[7]))
    assert len(large.opened(str(tmp_path / "set.lance"))) == 27


@pytest.mark.parametrize(
    ("columns", "vector", "words"),
    [
        ({"a": [1, 2]}, None, "no vectors"),
        ({"a": [[1.0, 2.0]], "b": [[1.0]]}, None, "--vector, 'a' or 'b'"),
        ({"a": [[1.0, 2.0]]}, "b", "no column 'b' of lists"),
        ({"a": [[1.0, 2.0], [1.0]]}, None, "different lengths: 2 and 1"),
        ({"a": pa.array([None], pa.list_(pa.float32()))}, None, "no vectors"),
        ({"a": pa.array([], pa.list_(pa.float32()))}, None, "no rows"),
        ({"a": [[1.0, 2.0]], "start": ["late"]}, None, "`start`"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, columns: dict, vector: str | None, words: str) -> None:
    path, out = write(tmp_path / "set.parquet", columns), tmp_path / "set.lance"
    with pytest.raises((ReferencesError, RequestError), match=words) as raised:
        importing.read_in(str(path), str(out), vector=vector)
    assert str(raised.value).endswith(".")
    assert not out.exists()


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing")
    for name, words in [
        ("broken.parquet", "is Parquet"),
        ("none.parquet", "it is there"),
        ("none.lance", "no such table"),
    ]:
        with pytest.raises(ReferencesError, match=words):
            importing.read_in(str(tmp_path / name), str(tmp_path / "set.lance"))
    with pytest.raises(RequestError, match=r"\.parquet or \.lance"):
        importing.read_in(str(tmp_path / "set.csv"), str(tmp_path / "set.lance"))
    write(tmp_path / "good.parquet", {"v": VECTORS.tolist()})
    importing.read_in(str(tmp_path / "good.parquet"), str(tmp_path / "set.lance"))
    with pytest.raises(ReferencesError, match="already"):
        importing.read_in(str(tmp_path / "good.parquet"), str(tmp_path / "set.lance"))


def test_how_vectors_were_made_is_proven_where_the_clips_are_at_hand(tmp_path: Path, video: Path) -> None:
    options = Options("nano", frames=4, precision="fp32")
    true = Embedder.open(options).embed(video).pooled().tolist()
    (tmp_path / "clip.mp4").write_bytes(video.read_bytes())
    source = write(tmp_path / "set.parquet", {"path": ["gone.mp4", "clip.mp4"], "v": [true[::-1], true]})
    read = importing.read_in(str(source), str(tmp_path / "a.lance"), options=options)
    assert (read.proven, read.known) == (1, True)
    found = large.opened(str(tmp_path / "a.lance"))
    assert found.kind.fingerprint == Embedder.open(options).fingerprint
    wrong = write(tmp_path / "wrong.parquet", {"path": ["clip.mp4"], "v": [true[::-1]]})
    with pytest.raises(ReferencesError, match="not those that this checkpoint makes"):
        importing.read_in(str(wrong), str(tmp_path / "b.lance"), options=options)
    short = write(tmp_path / "short.parquet", {"path": ["clip.mp4"], "v": [true[:24]]})
    with pytest.raises(ReferencesError, match="24 numbers, those of this checkpoint 192"):
        importing.read_in(str(short), str(tmp_path / "b.lance"), options=options)
    with pytest.raises(RequestError, match="says itself"):
        importing.read_in(str(tmp_path / "a.lance"), str(tmp_path / "b.lance"), options=options)


def test_what_is_not_the_mean_of_the_tokens_is_not_taken_for_it(tmp_path: Path) -> None:
    clips = tuple(ReferenceClip(f"{n}.mp4", "a") for n in range(30))
    by_motion = ReferenceSet(replace(KIND, pooling="motion"), clips, VECTORS, np.zeros((30, 2), np.float32))
    tables.write(tables.of_set(by_motion), str(tmp_path / "set.parquet"))
    read = importing.read_in(str(tmp_path / "set.parquet"), str(tmp_path / "set.lance"))
    assert (read.vector, read.known) == ("motion", False)
    assert large.opened(str(tmp_path / "set.lance")).kind == large.UNKNOWN


def test_names_and_errors_of_others_are_not_ours(tmp_path: Path) -> None:
    columns = {"v": VECTORS.tolist(), "error": [""] * 30, "item": ["O'Brien"] * 30, "clip_id": ["one"] * 30}
    read = importing.read_in(str(write(tmp_path / "set.parquet", columns)), str(tmp_path / "set.lance"))
    assert sorted(read.left_out) == ["clip_id", "error", "item"]
    assert len(large.opened(str(tmp_path / "set.lance"))) == 30
    assert len({row["clip_id"] for row in rows_of(tmp_path / "set.lance")}) == 30
