"""What the shell says of tables of clips, as one JSON object and in sentences."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clip_tables import KIND, clustered, write_table

from vjepa_demo import cli
from vjepa_demo.cli import scale
from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Kind
from vjepa_demo.options import Options
from vjepa_demo.scale import large, tables, within

lance = pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")
pa = pytest.importorskip("pyarrow")

OPTIONS = Options("nano", frames=4, fit="squash", precision="fp32")
Run = Callable[..., dict]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command twice, in words and with --json; returns the object, with the words as "words"."""

    def run(*arguments: object) -> dict:
        given = [str(part) for part in arguments]
        once = given[:2] == ["references", "import"]  # there is one then
        words = ""
        if not once:
            assert cli.main(given) == 0
            words = capsys.readouterr().out
        code = cli.main([*given, "--json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return {**json.loads(said.out, parse_constant=lambda name: pytest.fail(name)), "words": words}

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refused(*arguments: object) -> str:
        assert cli.main([str(part) for part in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        sentence = said.err.rstrip("\n").rsplit("\n", 1)[-1]
        assert sentence.endswith(".")
        return sentence

    return refused


@pytest.fixture(scope="module")
def kind() -> Kind:
    return Kind(Embedder.open(OPTIONS).fingerprint)


@pytest.fixture
def table(kind: Kind, video: Path, tmp_path: Path) -> Path:
    """Clips about four centres, and one that is a video of the tests."""
    vectors, labels = clustered(1200, 192, 4, seed=1)
    vectors[17] = Embedder.open(OPTIONS).embed(video).pooled()
    vectors[18] = vectors[19]
    write_table(tmp_path / "clips.lance", vectors, labels, kind=kind)
    return tmp_path / "clips.lance"


@pytest.fixture
def indexed(table: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module, name, value in [(large, "EXACT", 500), (large, "PARTITION", 100), (tables, "LAID_OUT", 200)]:
        monkeypatch.setattr(module, name, value)
    return table


def test_a_clip_is_embedded_as_the_table_was_and_found_in_it(run: Run, table: Path, video: Path) -> None:
    told = run("neighbours", video, "--references", table, "-k", 3)
    assert (told["neighbours"][0]["file"], told["neighbours"][0]["cosine"]) == ("/17.mp4#t=0,4", pytest.approx(1))
    assert (told["fit"], told["sampling"]) == ("squash", "even-4")
    assert told["references"] == {
        **{"clips": 1200, "exact": True, "recall": 1.0, "not_indexed": 0, "stale": False},
        "fingerprint": {**KIND.fields, **told["references"]["fingerprint"]},
    }
    assert told["position"] is None


def test_a_large_table_is_searched_by_its_index(
    run: Run, refused: Callable[..., str], indexed: Path, video: Path
) -> None:
    assert "references index" in refused("neighbours", video, "--references", indexed)
    assert run("references", "index", indexed)["words"].startswith("1,200 clips can be searched.")
    told = run("neighbours", video, "--references", indexed)
    assert told["neighbours"][0]["file"] == "/17.mp4#t=0,4"
    assert told["references"]["exact"] is False
    assert 0.9 <= told["references"]["recall"] <= 1
    assert len(told["position"]) == 2
    assert "of the ten nearest" in told["words"]


def test_the_region_of_a_patch_is_searched(run: Run, refused: Callable[..., str], table: Path, video: Path) -> None:
    told = run("neighbours", video, "--references", table, "--at", "1,3,4")
    assert told["at"] == [1, 3, 4]
    assert told["far"] is None
    embedding = Embedder.open(OPTIONS).embed(video)
    centred = embedding.tokens - embedding.pooled()
    units = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    alike = units @ units[1, 3, 4] >= 0.5
    assert told["patches"] == alike.sum()
    found = large.opened(str(table))
    query = embedding.tokens[alike].mean(axis=0) - found.mean
    cosines = found.unit @ (query / np.linalg.norm(query))  # type: ignore[union-attr]
    assert told["neighbours"][0]["cosine"] == pytest.approx(cosines.max(), abs=1e-4)
    assert "outside the grid" in refused("neighbours", video, "--references", table, "--at", "9,0,0")
    assert "STEP,ROW,COL" in refused("neighbours", video, "--references", table, "--at", "9")


def test_other_options_than_the_tables_are_refused(refused: Callable[..., str], table: Path, video: Path) -> None:
    assert "fit (squash / pad)" in refused("neighbours", video, "--references", table, "--fit", "pad")
    assert "pooling" in refused("neighbours", video, "--references", table, "--pooling", "motion")


@pytest.mark.parametrize("big", [False, True])
def test_what_there_is_in_a_table(run: Run, request: pytest.FixtureRequest, big: bool, tmp_path: Path) -> None:
    path = request.getfixturevalue("indexed" if big else "table")
    if big:
        run("references", "index", path)
    listed = tmp_path / "found.csv"
    told = run("references", "duplicates", path, "--above", 0.99999, "--to", listed)
    with listed.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["clip_a"], row["clip_b"]) == ("/18.mp4#t=0,4", "/19.mp4#t=0,4")
    assert (told["pairs"], told["first"][0]["clip_a"]) == (1, "/18.mp4#t=0,4")
    told = run("references", "odd", path, "--to", listed)
    with listed.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["odd"] > 0
    assert told["first"][0]["clip"] == rows[0]["clip"] == "/17.mp4#t=0,4"
    told = run("references", "cluster", path, "--clusters", 5, "--to", listed)
    assert [cluster["cluster"] for cluster in told["clusters"]] == list(range(5))
    with listed.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1200
    assert sum(row["cluster"] == "0" for row in rows) == told["clusters"][0]["clips"]
    told = run("references", "evaluate", path, "--sample", 100)
    assert told["queries"] == (100 if big else 1200)
    assert told["centred"]["recall@1"] > 0.95


def test_a_foreign_table_is_imported_and_nobody_knows_its_vectors(
    run: Run, refused: Callable[..., str], tmp_path: Path, video: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors, labels = clustered(40, 192, 4, seed=1)
    pq.write_table(pa.table({"file": ["x"] * 40, "label": labels, "e": vectors.tolist()}), tmp_path / "set.parquet")
    told = run("references", "import", tmp_path / "set.parquet", "--out", tmp_path / "set.lance")
    assert (told["clips"], told["fingerprint"], told["known"], told["vector"]) == (40, None, False, "e")
    assert "Nobody knows" in refused("neighbours", video, "--references", tmp_path / "set.lance")
    assert "Nobody knows" in run("references", "duplicates", tmp_path / "set.lance")["words"]
    out = tmp_path / "known.lance"
    assert "--checkpoint" in refused("references", "import", tmp_path / "set.parquet", "--out", out, "--fit", "pad")
    options = ("--checkpoint", "nano", "--frames", 4, "--precision", "fp32")
    told = run("references", "import", tmp_path / "set.parquet", "--out", out, *options)
    assert (told["proven"], told["fingerprint"]["sampling"]) == (0, "even-4")
    assert run("neighbours", video, "--references", out)["sampling"] == "even-4"


def test_mistakes_are_sentences(refused: Callable[..., str], table: Path, tmp_path: Path, monkeypatch) -> None:
    assert "check the path" in refused("references", "odd", tmp_path / "none.lance")
    assert ".csv" in refused("references", "duplicates", table, "--to", tmp_path / "x.txt")
    assert "no folder" in refused("references", "odd", table, "--to", tmp_path / "no" / "x.csv")
    assert "between -1 and 1" in refused("references", "duplicates", table, "--above", 2)
    assert "clusters must be" in refused("references", "cluster", table, "--clusters", 0)
    monkeypatch.setattr(within, "MOST_PAIRS", 10)
    assert "larger cosine" in refused("references", "duplicates", table, "--above", 0)
    monkeypatch.setattr(scale, "find_spec", lambda name: None)
    for name in ("duplicates", "odd", "cluster", "index"):
        assert refused("references", name, table) == scale.EXTRA
    assert refused("references", "import", "x.parquet", "--out", tmp_path / "x.lance") == scale.EXTRA
    assert refused("neighbours", "x.mp4", "--references", table) == scale.EXTRA
    assert "lance" in sys.modules


def test_what_is_no_table_is_a_sentence(refused: Callable[..., str], table: Path, tmp_path: Path) -> None:
    plain, damaged = tmp_path / "file.lance", tmp_path / "damaged.lance"
    plain.write_text("no table")
    shutil.copytree(table, damaged)
    for data in (damaged / "data").iterdir():
        data.unlink()
    for name in ("odd", "index", "duplicates"):
        assert "cannot be read" in refused("references", name, plain)
        assert "cannot be read" in refused("references", name, damaged)
    typed = tmp_path / "typed.lance"
    held = lance.dataset(str(table)).to_table()
    texts = held.set_column(held.schema.get_field_index("start"), "start", pa.array(["0"] * len(held)))
    lance.write_dataset(texts, str(typed))
    assert "made by something else" in refused("references", "odd", typed)


def test_vectors_that_are_no_numbers_are_told(refused: Callable[..., str], tmp_path: Path, monkeypatch) -> None:
    vectors, labels = clustered(60, 192, 4, seed=1)
    vectors[7, 3] = np.nan
    write_table(tmp_path / "nan.lance", vectors, labels)
    assert "no numbers" in refused("references", "odd", tmp_path / "nan.lance")
    monkeypatch.setattr(large, "EXACT", 10)
    monkeypatch.setattr(tables, "LAID_OUT", 20)
    assert "no numbers" in refused("references", "index", tmp_path / "nan.lance")


def test_sources_and_places_of_a_job_that_make_no_sense_are_told(
    refused: Callable[..., str], table: Path, video: Path, tmp_path: Path
) -> None:
    pytest.importorskip("daft")
    out = ["--engine", "daft", "--out", tmp_path / "out.lance", "--frames", 4]
    for name, content in (("empty.csv", b""), ("bytes.csv", b"\0\1\2" * 99), ("no.parquet", b"PAR1 and no more")):
        (tmp_path / name).write_bytes(content)
        assert "The source cannot be read" in refused("references", "build", tmp_path / name, *out)
    (tmp_path / "numbers.csv").write_text("path,label\n7,a\n")
    (tmp_path / "two.csv").write_text(f"path,label\n{video},a\n{video},b\n")
    assert "listed twice" in refused("references", "build", tmp_path / "two.csv", *out)
    assert "longer than 0" in refused("references", "build", tmp_path / "two.csv", *out, "--window", 0)
    assert "longer than 0" in refused("references", "build", tmp_path / "two.csv", *out, "--window", 1, "--stride", 0)
    assert "no folder" in refused("references", "export", table, "--to", tmp_path / "no" / "x.parquet")
    assert not (tmp_path / "out.lance").exists()


def test_somebody_elses_text_does_nothing_in_a_spreadsheet_or_a_terminal(run: Run, tmp_path: Path) -> None:
    vectors, _ = clustered(30, 192, 4, seed=1)
    vectors[1] = vectors[0]
    hostile = ["=cmd|'/C calc'!A0", "\x1b[31m@SUM(1)\u202e" + "A" * 999]
    write_table(tmp_path / "set.lance", vectors, np.zeros(30, int), label=[*hostile, *["usual"] * 28])
    told = run("references", "duplicates", tmp_path / "set.lance", "--above", 0.99999, "--to", tmp_path / "pairs.csv")
    with (tmp_path / "pairs.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["label_a"] == f"'{hostile[0]}"
    assert row["label_b"].startswith("[31m@SUM(1)A")
    assert told["first"][0]["label_b"] == hostile[1], "JSON is what it is"
    strays = scale.plain(hostile[1])
    assert strays.startswith("·[31m@SUM(1)·AAA")
    assert len(strays) < 400
