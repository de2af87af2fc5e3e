"""Only what a set lists has an address."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from vjepa_demo.ui import examples, serving, widget


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "x.html", ".env", "notes.txt", "unlisted.mp4"):
        (tmp_path / name).write_bytes(f"what is in {name}".encode())
    return tmp_path


def put(folder: Path, *, secret: bool, text: str = "{}", shelf: serving.Shelf = serving.shelf) -> str:
    clips = tuple(SimpleNamespace(file=name) for name in ("a.mp4", "x.html", ".env"))
    references = SimpleNamespace(folder=folder, clips=clips, hashes=("1", "2", "3"), thumbnails=())
    return shelf.put(references, text, secret=secret)


def test_a_listed_clip_is_served_in_parts_and_nothing_else_of_its_folder_is(folder):
    client = TestClient(Starlette(routes=serving.ROUTES))
    key = put(folder, secret=False)
    part = client.get(f"/references/{key}/0", headers={"Range": "bytes=11-15"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"a.mp4", "video/mp4")
    assert "sandbox" in part.headers["content-security-policy"]
    for name in ("1", "2", "3", "-1", "0.mp4", "0.jpg", "a.mp4", "x.html", ".env", "notes.txt", "..%2f.env", "²"):
        assert client.get(f"/references/{key}/{name}").status_code == 404, name


def test_the_key_of_a_visitors_set_follows_from_nothing(folder):
    assert put(folder, secret=False) == put(folder, secret=False)
    keys = {put(folder, secret=True) for _ in range(8)}
    assert len(keys) == 8
    assert min(map(len, keys)) >= 22  # 128 bits in base64


def test_visitors_sets_drive_out_neither_the_common_ones_nor_more_than_their_own(tmp_path):
    shelf = serving.Shelf(most=4)
    common = put(tmp_path, secret=False, shelf=shelf)
    own = [put(tmp_path / "own", secret=True, shelf=shelf) for _ in range(3)]
    assert [shelf.get(key) is None for key in own] == [True, False, False]
    others = [put(tmp_path / f"{number}", secret=True, shelf=shelf) for number in range(4)]
    assert [shelf.get(key) is None for key in own] == [True, True, True]
    for number in range(4):
        put(tmp_path, secret=False, text=f"[{number}]", shelf=shelf)
    assert shelf.get(common) is None
    assert all(shelf.get(key) for key in others)


def test_long_descriptions_make_room_for_one_another_and_drive_out_no_short_ones(tmp_path):
    shelf = serving.Shelf(most=10, most_bytes=250)
    common, short = (put(tmp_path / "a", secret=secret, text="x" * 10, shelf=shelf) for secret in (False, True))
    long = [put(tmp_path / f"{number}", secret=True, text="x" * 100, shelf=shelf) for number in range(4)]
    assert [shelf.get(key) is None for key in long].count(True) == 2
    assert all(shelf.get(key) for key in (common, short, long[-1]))
    last = put(tmp_path / "last", secret=True, text="x" * 300, shelf=shelf)
    assert [bool(shelf.get(key)) for key in (last, short, *long)] == [True, True, *[False] * 4], "the newest is there"


def test_the_examples_have_their_pictures_below_each_other_in_one():
    client = TestClient(Starlette(routes=serving.ROUTES))
    picture = Image.open(io.BytesIO(client.get("/examples.jpg").content))
    assert picture.format == "JPEG"
    assert picture.size == (128, 80 * len(examples.files()))
    assert client.get("/examples/0.jpg").status_code == 404


def test_the_widgets_are_served_as_one_module_and_no_other_file_is():
    client = TestClient(Starlette(routes=serving.ROUTES))
    answer = client.get(f"/{widget.MODULE}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    for name in ("shared/dom.js", "shared/base.css", "widget.py", "%2e%2e/settings.py", "shared/%2e%2e/widget.py", ""):
        assert client.get(f"/widgets/{widget.VERSION}/{name}").status_code == 404, name
    assert client.get("/widgets/old/shared/widgets.js").status_code == 404
