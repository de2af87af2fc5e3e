"""Files written whole, names that are never taken over, and locks between threads and processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vjepa_demo import files, jobs
from vjepa_demo.errors import ReferencesError, Stopped

ROOT = Path(__file__).parents[2]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old")

    def half(path: Path) -> None:
        path.write_text("ne")
        raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room"):
        files.replace_file(tmp_path / "a", half)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    files.replace_file(tmp_path / "a", lambda path: path.write_text("new"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_threads_that_replace_one_file_do_not_meet(tmp_path):
    failures = []

    def work(letter: str) -> None:
        try:
            for _ in range(20):
                files.replace_file(tmp_path / "a", lambda path: path.write_text(letter * 1000))
                assert len(set((tmp_path / "a").read_text())) == 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, read = tmp_path / "a", []
    whole = files.file_hash
    monkeypatch.setattr(files, "file_hash", lambda path: read.append(path) or whole(path))
    path.write_text("one")
    first = files.known_hash(path), files.known_hash(path)
    assert len(read) == 2, "it may still be written to without a new time"
    monkeypatch.setattr(files, "SETTLED_S", 0.0)
    assert {files.known_hash(path), files.known_hash(path), *first} == {whole(path)}
    assert len(read) == 3
    status = path.stat()
    time.sleep(0.05)
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.known_hash(path) == whole(path) != first[0], "the same size and time, but not the same content"


def test_what_may_never_end_has_no_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "no regular file"), ("", "no regular file"), ("gone", "No such file")):
        with pytest.raises(OSError, match=words):
            files.known_hash(tmp_path / name)


@pytest.mark.parametrize("copy", [False, True])
def test_a_name_that_is_taken_stays_anothers(tmp_path, copy):
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    for name in ("a", "b"):
        with pytest.raises(FileExistsError):
            files.put(Path(__file__), tmp_path / name, copy=copy)
    files.put(Path(__file__), tmp_path / "deep" / "c", copy=copy)
    assert (tmp_path / "deep" / "c").samefile(__file__) is not copy
    assert (tmp_path / "deep" / "c").read_bytes() == Path(__file__).read_bytes()
    assert (tmp_path / "a").read_text() == "mine"


def test_what_killed_writers_left_is_swept_when_it_is_old(tmp_path):
    import os

    for name, age in ((".old.1-1.tmp", 7200), (".new.1-1.tmp", 0), ("old.tmp", 7200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".new.1-1.tmp", "old.tmp"}


HOLD = """
import sys, time
from pathlib import Path
from vjepa_demo.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_another_process_out_until_it_is_killed(tmp_path):
    path = tmp_path / "a.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        started = time.monotonic()
        impatient = jobs.Job(gone=lambda: time.monotonic() - started > 0.3)
        with impatient.running(), pytest.raises(Stopped), files.lock(path):
            pass
    finally:
        other.kill()
        other.wait(10)
    assert path.exists()  # what it left does not count
    with files.lock(path):
        pass
    assert not path.exists()
    assert files._locks == {}


def test_a_lock_keeps_threads_apart_where_no_file_can_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with files.lock(tmp_path / "a.lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written")])
def test_a_disk_that_takes_nothing_gets_one_sentence(number, words):
    with pytest.raises(ReferencesError, match=words), files.disk_errors():
        raise OSError(number, "no")
