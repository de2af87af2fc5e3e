"""A large folder is not looked at for every upload, and nothing that is added, removed or listed is overlooked."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vjepa_demo.references import looking
from vjepa_demo.references.listing import read_folder
from vjepa_demo.references.looking import look


@pytest.fixture(params=["labels", "splits", "list"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two labels of two clips, written a minute ago; beside them an empty label."""
    below = "train/" if request.param == "splits" else ""
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        path = tmp_path / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / below / "empty").mkdir()
    if request.param == "list":
        (tmp_path / "clips.csv").write_text("file,label\na/1.mp4,x\nb/3.mp4,y\n")
    before = time.time() - 60
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.utime(path, (before, before))
    return tmp_path


class Clock:
    """A clock by which each reading of a folder takes a second, and when there was one."""

    def __init__(self) -> None:
        self.now, self.reads = 0.0, list[float]()

    def read(self, folder: Path) -> list:
        self.reads.append(self.now)
        self.now += 1
        return read_folder(folder)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(looking, "read_folder", clock.read)
    monkeypatch.setattr(looking.time, "monotonic", lambda: clock.now)
    looking._kept.clear()
    return clock


def first_clip(folder: Path) -> Path:
    return folder / look(folder).clips[0].file


def test_a_large_folder_is_read_once(folder, clock):
    first = look(folder)
    clock.now += looking.GOOD_FOR - 2
    assert look(folder) is first
    assert clock.reads == [0.0]


@pytest.mark.parametrize("change", ["add", "into an empty label", "a new label", "remove", "rename"])
def test_what_is_added_or_removed_is_seen_at_once(folder, clock, change):
    first = look(folder)
    clip = first_clip(folder)
    listed = (folder / "clips.csv").is_file()
    if change == "add":
        clip.with_name("9.mp4").write_bytes(b"9")
    elif change == "into an empty label":
        (clip.parent.parent / "empty" / "9.mp4").write_bytes(b"9")
    elif change == "a new label":
        (clip.parent.parent / "c").mkdir()
        (clip.parent.parent / "c" / "9.mp4").write_bytes(b"9")
    elif change == "remove":
        clip.unlink()
    else:
        clip.rename(clip.with_name("9.mp4"))
    assert (look(folder) == first) == listed  # what is not listed is no clip


def test_another_list_is_seen_at_once(folder, clock):
    first = look(folder)
    (folder / "clips.csv").write_text("file,label\na/1.mp4,other\nb/3.mp4,y\n")
    assert look(folder) != first


def test_a_clip_that_is_written_over_is_seen_after_a_while(folder, clock):
    first = look(folder)
    first_clip(folder).write_bytes(b"other bytes")
    clock.now += looking.GOOD_FOR
    assert look(folder) != first


def test_a_small_folder_is_looked_at_every_time(folder, monkeypatch):
    monkeypatch.setattr(looking, "A_WINK", float("inf"))
    first = look(folder)
    first_clip(folder).write_bytes(b"other bytes")
    assert look(folder) != first


@pytest.mark.parametrize("what", ["directory", "clip"])
def test_what_was_just_written_is_looked_at_again(folder, clock, what):
    clip = first_clip(folder)
    looking._kept.clear()
    clock.reads.clear()
    os.utime(clip if what == "clip" or (folder / "clips.csv").is_file() else clip.parent)
    look(folder)
    look(folder)
    assert len(clock.reads) == 2
