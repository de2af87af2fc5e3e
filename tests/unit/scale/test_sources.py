"""What a job finds in a source, and the sentences for what it cannot read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vjepa_demo.errors import ReferencesError
from vjepa_demo.scale.sources import items

CLIPS = ("walk/a.mp4", "walk/b.webm", "fall/deep/c.mp4", "d.mp4", ".hidden/e.mp4", "walk/notes.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in CLIPS:
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path / "clips"


def test_a_folder_holds_what_a_set_of_references_would_and_what_has_no_label(folder: Path) -> None:
    found = {Path(item.uri).relative_to(folder).as_posix(): item for item in items(str(folder))}
    assert {name: item.label for name, item in found.items()} == {
        "walk/a.mp4": "walk",
        "walk/b.webm": "walk",
        "fall/deep/c.mp4": "deep",
        "d.mp4": "",
    }
    assert found["d.mp4"].size == 5
    assert found["d.mp4"].modified == os.stat(folder / "d.mp4").st_mtime


def test_a_folder_with_a_list_holds_what_is_listed(folder: Path) -> None:
    (folder / "clips.csv").write_text("file,label,split\nwalk/a.mp4,goes,test\n")
    (found,) = items(str(folder))
    assert (Path(found.uri), found.label, found.split) == (folder / "walk/a.mp4", "goes", "test")


def test_a_pattern_names_files(folder: Path) -> None:
    assert [Path(item.uri).name for item in items(f"{folder}/**/*.mp4")] == ["d.mp4", "c.mp4", "a.mp4"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_lists_spans_of_files(folder: Path, ending: str) -> None:
    pytest.importorskip("pyarrow", reason="the extra for jobs is not installed: make scale")
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    columns = {"Path": ["walk/a.mp4", str(folder / "d.mp4"), "s3://bucket/z.mp4"], "start": [None, 2.5, 0.0]}
    table = pyarrow.table({**columns, "end": [1.0, None, 4.0], "label": ["x", "y", None], "other": [1, 2, 3]})
    path = folder / f"list.{ending}"
    if ending == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    found = items(str(path))
    assert [item.uri for item in found] == [str(folder / "walk/a.mp4"), str(folder / "d.mp4"), "s3://bucket/z.mp4"]
    assert [(item.start, item.end, item.label) for item in found] == [(0, 1, "x"), (2.5, None, "y"), (0, 4, "")]
    assert found[0].size == len("walk/a.mp4")


def test_an_address_is_listed_with_its_first_folders_as_labels(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra for jobs is not installed: make scale")
    found = {item.uri.removeprefix(f"file://{folder}/"): item.label for item in items(f"file://{folder}")}
    assert found == {"walk/a.mp4": "walk", "walk/b.webm": "walk", "fall/deep/c.mp4": "fall", "d.mp4": ""}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.csv", None, "cannot be read"),
        ("empty.csv", "path,label\n", "holds no clip"),
        ("other.csv", "name,label\na.mp4,x\n", "no column `path`"),
        ("blank.csv", "path,label\na.mp4,x\n,y\n", "Row 3 .* names no file"),
        ("late.csv", "path,start\na.mp4,1.5\nb.mp4,late\n", "Row 3 .* seconds"),
        ("nothing", None, "no such folder"),
    ],
)
def test_what_cannot_be_read_is_said(folder: Path, name: str, text: str | None, words: str) -> None:
    pytest.importorskip("pyarrow", reason="the extra for jobs is not installed: make scale")
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(ReferencesError, match=words):
        items(str(folder / name))
