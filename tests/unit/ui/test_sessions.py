"""Visitors' own references: who gets how much room, whose go first, and that nothing goes under a running job."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vjepa_demo import scratch
from vjepa_demo.errors import DiskError, ReferencesError
from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.settings import settings
from vjepa_demo.ui import sessions
from vjepa_demo.ui.own_references import size_when_added
from vjepa_demo.ui.sessions import IDLE_S, Sessions

BASE = 100  # bytes of a session in which nothing has been added


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path, monkeypatch, clock):
    """A function that makes the sessions of an app with these limits; a set is one file of BASE bytes."""
    monkeypatch.setattr(scratch, "settings", replace(settings, scratch_dir=str(tmp_path), free_bytes=0))
    monkeypatch.setattr(scratch, "_run", None)

    def copy(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "clips.csv").write_bytes(bytes(BASE))

    monkeypatch.setattr(sessions, "copy_set", copy)
    monkeypatch.setattr(sessions, "_shipped", frozenset)
    monkeypatch.setattr(sessions, "LEAST_BYTES", 0)
    monkeypatch.setattr(scratch, "on_disk", lambda size: size)
    monkeypatch.setattr(scratch, "BLOCK", 0)

    def made(**limits: Any) -> Sessions:
        roomy = {"public": True, "own_bytes": 1000, "own_bytes_each": 10_000, "own_bytes_all": 10_000}
        return Sessions(replace(settings, **{**roomy, **limits}), clock)

    yield made
    scratch.end()


def add(all_of_them: Sessions, own_id: str | None, size: int, visitor: Visitor | None = None, name: str = "a") -> str:
    with Job(visitor).running(), all_of_them.change(own_id) as changed:
        (changed.folder / name).write_bytes(bytes(size))
    return changed.id


def fill(all_of_them: Sessions, count: int, clock: Clock, size: int = 400) -> list[str]:
    """One session each for visitors at addresses of their own, one after the other, all idle at the end."""
    made = []
    for number in range(count):
        made.append(add(all_of_them, None, size, Visitor(f"10.0.0.{number}", f"s{number}")))
        clock.now += 1
    clock.now += IDLE_S + 1
    return made


def folders(all_of_them: Sessions, ids: list[str]) -> list[bool]:
    return [all_of_them.folder_of(own_id) is not None for own_id in ids]


def test_work_that_fails_begins_no_session_and_drives_nobody_out(make, clock):
    found = make(own_bytes_all=1200)
    victim = fill(found, 1, clock)
    for _ in range(33):
        with pytest.raises(ReferencesError, match="nothing to add"), found.change(None):
            raise ReferencesError("nothing to add")
    assert len(found) == 1
    assert Path(found.folder_of(victim[0]), "a").stat().st_size == 400
    assert len(list(scratch.folder("own").iterdir())) == 1


def test_a_change_that_fails_is_undone_whole(make):
    found = make()
    own_id = add(found, None, 10)
    folder = Path(found.folder_of(own_id))

    def fail() -> None:
        with found.change(own_id) as changed:
            (changed.folder / "a").unlink()
            (changed.folder / "b").write_text("new")
            raise ReferencesError("no")

    with pytest.raises(ReferencesError):
        fail()
    now = Path(found.folder_of(own_id))
    assert sorted(path.name for path in now.iterdir()) == ["a", "clips.csv"]
    assert list(folder.parent.iterdir()) == [now]


def test_a_copy_that_cannot_be_made_leaves_the_set_alone(make, monkeypatch):
    found = make()
    own_id = add(found, None, 10)
    add(found, own_id, 10, name="b")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sessions, "_link", full)
    with pytest.raises(OSError, match="No space"):
        add(found, own_id, 10, name="c")
    folder = Path(found.folder_of(own_id))
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "clips.csv"]
    assert list(folder.parent.iterdir()) == [folder]


def test_going_back_does_not_mind_who_still_writes_into_the_folder(make, monkeypatch):
    found = make()
    own_id = add(found, None, 10)
    remove = sessions.shutil.rmtree

    def remove_while_somebody_writes(path: Path, ignore_errors: bool = False) -> None:
        remove(path, ignore_errors=ignore_errors)
        (Path(path) / "vectors" / "x.parts").mkdir(parents=True)  # as one who makes a map does

    monkeypatch.setattr(sessions.shutil, "rmtree", remove_while_somebody_writes)

    def fail() -> None:
        with found.change(own_id) as changed:
            (changed.folder / "a").unlink()
            raise ReferencesError("no")

    with pytest.raises(ReferencesError):
        fail()
    assert sorted(path.name for path in Path(found.folder_of(own_id)).iterdir()) == ["a", "clips.csv"]


def test_all_bytes_on_disk_count_and_what_is_too_much_is_undone(make):
    found = make()
    own_id = add(found, None, 500)
    with pytest.raises(ReferencesError, match="may take"):
        add(found, own_id, 500, name="b")  # with the 500 and the set's own
    assert sorted(path.name for path in Path(found.folder_of(own_id)).iterdir()) == ["a", "clips.csv"]
    add(found, own_id, 300, name="b")
    with pytest.raises(ReferencesError, match="may take"), found.change(own_id, needed=200):
        pytest.fail("what is known to be too much must not begin")
    with pytest.raises(ReferencesError, match="may take"):
        add(found, None, 1000)
    assert len(found) == 1


def test_on_ones_own_machine_only_the_disk_is_the_limit(make):
    found = make(public=False)
    add(found, None, 5000)
    with pytest.raises(ReferencesError, match="no room"):
        add(found, None, 20_000)


def test_a_padded_clip_in_a_small_zip_counts_with_what_it_unpacks_to(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lab/padded.mp4", bytes(20_000_000))
        archive.writestr("notes.txt", bytes(5))
        archive.writestr("there.mp4", bytes(30))
    (tmp_path / "set" / "lab").mkdir(parents=True)
    (tmp_path / "set" / "lab" / "there.mp4").write_bytes(bytes(30))
    assert (tmp_path / "small.zip").stat().st_size < 50_000
    assert size_when_added(tmp_path / "small.zip", tmp_path / "set") == 20_000_000


def test_the_longest_unused_make_room(make, clock):
    found = make(own_bytes_all=1600)
    ids = fill(found, 3, clock)
    with found.held(ids[0]):
        clock.now += IDLE_S
    clock.now += IDLE_S + 1
    add(found, None, 400, Visitor("10.9.9.9"))
    assert folders(found, ids) == [True, False, True]


def test_what_was_used_lately_and_what_is_in_use_stays(make, clock):
    found = make(own_bytes_all=1600)
    ids = fill(found, 3, clock)
    with found.held(ids[0]), found.held(ids[1]) as folder, found.held(ids[2]):
        with pytest.raises(ReferencesError, match="no room"):
            add(found, None, 400, Visitor("10.9.9.9"))
        found.end(ids[1])
        clock.now += 100 * 3600
        found.drop_old()
        assert folders(found, ids) == [True, True, True]
        assert Path(folder, "a").exists()
    assert folders(found, ids) == [True, False, True]  # its page was closed in the meantime
    with pytest.raises(ReferencesError, match="no room"):
        add(found, None, 800, Visitor("10.9.9.9"))  # the others were used a moment ago
    assert folders(found, ids) == [True, False, True]


def test_an_address_makes_room_with_its_own(make, clock):
    found = make(own_bytes_each=1100)
    others = fill(found, 3, clock)
    pages = [Visitor("10.1.1.1", name) for name in ("one", "two", "three")]
    mine = [add(found, None, 400, page) for page in pages[:2]]
    with pytest.raises(ReferencesError, match="your network"):
        add(found, None, 400, pages[2])
    clock.now += IDLE_S + 1
    add(found, None, 400, pages[2])
    assert sum(folders(found, mine)) == 1
    assert folders(found, others) == [True] * 3


def test_owners_are_told_once_why_their_references_are_gone(make, clock):
    found = make(keep_hours=2.0)
    owner = Visitor("10.1.1.1", "page")
    own_id = add(found, None, 10, owner)
    clock.now += 2 * 3600 + 1
    found.drop_old()
    assert found.folder_of(own_id) is None
    with pytest.raises(ReferencesError, match="2 hours without use"), found.change(own_id, may_begin=False):
        pass
    assert found.parting(own_id) == ""
    with Job(owner).running():
        assert found.parting(None) == ""


def test_who_adds_again_is_told_with_what_was_added(make, clock):
    found = make()
    owner = Visitor("10.1.1.1", "page")
    own_id = add(found, None, 10, owner)
    clock.now += 100 * 3600
    found.drop_old()
    with Job(owner).running():  # by the session of the page, where its state is gone
        with pytest.raises(ReferencesError, match="no"), found.change(None):
            raise ReferencesError("no")
        with found.change(None) as changed:
            assert "without use" in changed.told
        assert changed.id != own_id
        assert found.parting(None) == ""


def test_a_saved_set_counts_and_the_one_before_it_goes(make, tmp_path):
    found = make(own_bytes_each=1200)
    own_id = add(found, None, 500)

    def save(size: int) -> Path:
        path = scratch.folder("uploads") / str(size) / "references.zip"
        path.parent.mkdir()
        path.write_bytes(bytes(size))
        found.saved(own_id, path)
        return path

    first, second = save(300), save(500)
    assert not first.exists()
    assert second.exists()
    with pytest.raises(ReferencesError, match="your network"):
        add(found, own_id, 300, name="b")
    with pytest.raises(ReferencesError, match="your network"):
        save(900)
    assert not (scratch.folder("uploads") / "900").exists()
    found.end(own_id)
    assert not list(scratch.folder("own").iterdir())


def test_a_full_disk_refuses_and_leaves_everything_as_it_was(make, monkeypatch):
    found = make()
    own_id = add(found, None, 10)
    monkeypatch.setattr(scratch, "settings", replace(scratch.settings, free_bytes=1 << 60))
    with pytest.raises(DiskError, match="nearly full"):
        add(found, own_id, 10, name="b")
    assert sorted(path.name for path in Path(found.folder_of(own_id)).iterdir()) == ["a", "clips.csv"]


def test_a_copy_of_the_shipped_set_takes_little(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "settings", replace(settings, scratch_dir=str(tmp_path), free_bytes=0))
    monkeypatch.setattr(scratch, "_run", None)
    found = Sessions(replace(settings, public=True))
    with found.change(None) as changed:
        assert (changed.folder / "clips.csv").is_file()
    assert found._all[changed.id].bytes < 16 * 2**20
    scratch.end()


def test_many_sessions_of_next_to_nothing_are_not_free(make, clock, monkeypatch):
    monkeypatch.setattr(sessions, "LEAST_BYTES", 600)
    all_of_them = make(own_bytes_each=2000)
    for number in range(3):
        add(all_of_them, None, 1, Visitor("10.0.0.1", f"s{number}"))
    with pytest.raises(ReferencesError, match="from your network"):
        add(all_of_them, None, 1, Visitor("10.0.0.1", "s3"))


def test_a_folder_that_is_no_sessions_goes_with_age(make, clock):
    all_of_them = make()
    kept = add(all_of_them, None, 1)
    for name, age in (("old", 10 * settings.keep_hours * 3600), ("new", 0)):
        path = scratch.folder("own") / name
        path.mkdir()
        (path / "late.safetensors").write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    os.utime(all_of_them.folder_of(kept), (0, 0))
    all_of_them.drop_old()
    assert {path.name for path in scratch.folder("own").iterdir()} == {"new", Path(all_of_them.folder_of(kept)).name}


def test_a_page_whose_state_was_dropped_finds_its_references_again(make, clock):
    all_of_them, mine = make(), Visitor("10.0.0.1", "page")
    own_id = add(all_of_them, None, 1, mine)
    with Job(mine).running():
        assert all_of_them.folder_of(None) == all_of_them.folder_of(own_id)
    for stranger in (Visitor("10.0.0.1", "other"), Visitor("10.0.0.2", "page"), Visitor("10.0.0.1", "")):
        with Job(stranger).running():
            assert all_of_them.folder_of(None) is None
    assert add(all_of_them, None, 1, mine, "b") == own_id


def test_what_several_additions_will_take_counts_while_they_are_made(make, clock):
    all_of_them = make(own_bytes_each=1500)
    first = Visitor("10.0.0.1", "a")
    with Job(first).running(), all_of_them.change(None, 900) as changed:
        with (
            Job(Visitor("10.0.0.1", "b")).running(),
            pytest.raises(ReferencesError, match="from your network"),
            all_of_them.change(None, 900),
        ):
            pytest.fail("there is no room for both")
        (changed.folder / "a").write_bytes(bytes(10))
    add(all_of_them, None, 500, Visitor("10.0.0.1", "b"))
