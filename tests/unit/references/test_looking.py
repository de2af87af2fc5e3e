"""A large folder is not looked at for every upload, and nothing that changes in it is overlooked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vjepa_demo.references import looking
from vjepa_demo.references.listing import read_folder
from vjepa_demo.references.looking import look


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two labels of two clips, and a clock by which looking takes a second."""
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    now = time.time_ns() + 10**9
    monkeypatch.setattr(looking.time, "time_ns", lambda: now)
    return tmp_path


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the folder was read; each reading takes a second of the clock."""
    clock, seen = [0.0], []

    def read(folder: Path) -> list:
        seen.append(clock[0])
        clock[0] += 1
        return read_folder(folder)

    monkeypatch.setattr(looking, "read_folder", read)
    monkeypatch.setattr(looking.time, "monotonic", lambda: clock[0])
    seen.append(-1.0)
    looking._kept.clear()
    return seen


def test_a_large_folder_is_read_once(folder, looks):
    first = look(folder)
    assert look(folder) is first
    assert len(looks) == 2


@pytest.mark.parametrize("change", ["add", "remove", "rename", "label", "list"])
def test_what_is_added_removed_or_listed_is_seen_at_once(folder, looks, change):
    first = look(folder)
    time.sleep(0.02)  # file systems keep time in ticks
    match change:
        case "add":
            (folder / "b/5.mp4").write_bytes(b"5")
        case "remove":
            (folder / "a/1.mp4").unlink()
        case "rename":
            (folder / "a/1.mp4").rename(folder / "a/9.mp4")
        case "label":
            (folder / "c").mkdir()
            (folder / "c/6.mp4").write_bytes(b"6")
        case "list":
            (folder / "clips.csv").write_text("file,label\na/1.mp4,x\n")
    assert look(folder) != first


def test_a_clip_that_is_written_over_is_seen_after_a_while(folder, looks, monkeypatch):
    first = look(folder)
    (folder / "a/1.mp4").write_bytes(b"other bytes")
    monkeypatch.setattr(looking.time, "monotonic", lambda: 2.0 + looking.GOOD_FOR)
    assert look(folder) != first


def test_a_small_folder_is_looked_at_every_time(folder):
    first = look(folder)
    (folder / "a/1.mp4").write_bytes(b"other bytes")
    assert look(folder) != first


def test_a_change_while_it_is_looked_at_is_not_overlooked(folder, looks, monkeypatch):
    monkeypatch.setattr(looking.time, "time_ns", lambda: 0)
    look(folder)
    look(folder)
    assert len(looks) == 3
