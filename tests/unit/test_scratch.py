"""One folder for all that is written for visitors: it goes with its process, what is old goes before, nothing else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo import logs, scratch
from vjepa_demo.errors import NO_TEMPORARY, DiskError, RequestError, cut, of_disk
from vjepa_demo.settings import settings

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A place for the folders of all processes, of this test's own."""
    monkeypatch.setattr(scratch, "settings", replace(settings, scratch_dir=str(tmp_path), free_bytes=0))
    monkeypatch.setattr(scratch, "_run", None)
    yield tmp_path / f"vjepa-demo-{scratch.UID}"
    scratch.end()


def other_process(place: Path, code: str) -> subprocess.Popen:
    """A process with a folder in the same place, which has said where that is and waits."""
    program = f"from vjepa_demo import scratch\nprint(scratch.folder('own'), flush=True)\n{code}\ninput()"
    environment = {**os.environ, "VJEPA_DEMO_SCRATCH_DIR": str(place.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, **pipes)


def make_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def later(monkeypatch, seconds: float) -> None:
    """The clock is set forward: when a file was last changed, the system does not let itself be told."""
    now = scratch.time.time()
    monkeypatch.setattr(scratch.time, "time", lambda: now + seconds)


def test_only_the_user_may_look_into_it(place):
    run = scratch.begin()
    assert run.parent == place
    assert [path.stat().st_mode & 0o777 for path in (place, run, scratch.folder("own"))] == [0o700] * 3


def test_it_goes_with_the_process(place):
    (scratch.folder("own") / "clip.mp4").write_text("private")
    run = scratch.begin()
    scratch.end()
    assert not run.exists()


def test_what_a_killed_process_left_goes_and_that_of_a_living_one_stays(place):
    with other_process(place, "") as dead, other_process(place, "") as alive:
        theirs, kept = (Path(process.stdout.readline().strip()) for process in (dead, alive))
        dead.send_signal(signal.SIGKILL)
        dead.wait(timeout=10)
        assert theirs.is_dir()
        scratch.begin()
        assert not theirs.parent.exists()
        assert kept.is_dir()
        alive.communicate("\n", timeout=10)
        assert not kept.parent.exists()


def test_nothing_that_is_not_ours_is_swept_and_no_link_is_followed(place, tmp_path):
    place.mkdir(mode=0o700)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (place / "run-1-link").symlink_to(outside)
    (place / "notes").mkdir()
    (place / "run-2-dead").mkdir()
    (place / "run-2-dead" / "inside").symlink_to(outside)
    scratch.begin()
    assert not (place / "run-2-dead").exists()
    assert (outside / "precious").exists()
    assert (place / "notes").exists()
    assert (place / "run-1-link").is_symlink()


def test_a_place_that_others_prepared_is_refused(place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    with pytest.raises(DiskError, match="belongs to somebody else"):
        scratch.begin()
    place.unlink()
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(DiskError, match="others may write"):
        scratch.begin()


def test_a_fork_leaves_the_folder_alone(place):
    run = scratch.begin()
    if (child := os.fork()) == 0:
        scratch.end()
        os._exit(0)
    os.waitpid(child, 0)
    assert run.is_dir()


def test_old_files_go_and_young_and_kept_ones_stay(place, monkeypatch):
    root = scratch.folder("uploads")
    kept, old, broken = (make_file(root / name) for name in ("a/example.mp4", "b/mine.mp4", "tmp1x2y"))
    (root / "link").symlink_to(place)
    later(monkeypatch, 5 * HOUR)
    scratch.sweep("uploads", 6 * HOUR, kept=frozenset({kept}))
    assert old.exists()
    later(monkeypatch, 2 * HOUR)
    scratch.sweep("uploads", 6 * HOUR, kept=frozenset({kept}))
    assert kept.exists()
    assert not old.exists()
    assert not broken.exists()
    assert not old.parent.exists()
    assert place.exists()


def test_what_is_used_stays_and_its_age_counts_from_the_end(place, monkeypatch):
    file = make_file(scratch.folder("uploads") / "a" / "mine.mp4")
    os.utime(file, (0, 0))
    with scratch.using(file), scratch.temporary() as work:
        inside = make_file(work / "copy.mkv")
        scratch.sweep("uploads", -1)
        scratch.sweep(scratch.WORK, -1)
        assert file.exists()
        assert inside.exists()
    assert not work.exists()
    assert scratch.time.time() - file.stat().st_mtime < 60
    scratch.sweep("uploads", -1)
    assert not file.exists()


def test_beyond_the_bound_the_oldest_go_first(place):
    root = scratch.folder("uploads")
    files = [root / name for name in "abc"]
    for number, file in enumerate(files):
        file.write_bytes(bytes(100))
        os.utime(file, (2e9 + number, 2e9 + number))  # in the future: later than the time of their last change
    scratch.sweep("uploads", HOUR, most_bytes=3 * scratch.BLOCK)
    assert [file.exists() for file in files] == [False, False, True]


def test_bytes_count_once_and_links_to_the_shipped_set_do_not(place, tmp_path):
    shipped, mine = tmp_path / "shipped", tmp_path / "mine"
    shipped.mkdir()
    mine.mkdir()
    (shipped / "a").write_bytes(bytes(1000))
    os.link(shipped / "a", mine / "a")
    (mine / "b").write_bytes(bytes(10))
    os.link(mine / "b", mine / "c")
    (mine / "d").symlink_to(shipped / "a")
    assert scratch.size_of(mine, scratch.inodes_of(shipped)) == scratch.on_disk(10)
    assert scratch.size_of(mine) == scratch.on_disk(10) + scratch.on_disk(1000)


def test_many_small_files_count_with_the_disk_that_they_take(place):
    root = scratch.folder("uploads")
    for number in range(100):
        make_file(root / str(number) / "a")
    taken = sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))
    assert taken <= scratch.size_of(root) <= 100 * 3 * scratch.BLOCK
    scratch.sweep("uploads", HOUR, most_bytes=50 * 2 * scratch.BLOCK)
    assert len(scratch.files_in("uploads")) == 50


def test_folders_count_too(place):
    root = scratch.folder("own")
    (root / "/".join("abcdefghij")).mkdir(parents=True)
    assert scratch.size_of(root) == 10 * scratch.BLOCK


def test_a_nearly_full_disk_is_told_before_it_is_full(place, monkeypatch):
    scratch.check_room(0)
    with pytest.raises(DiskError, match="nearly full"):
        scratch.check_room(1 << 60)


def test_the_janitor_goes_on_after_a_failure():
    done = threading.Event()
    calls = []

    def fails() -> None:
        calls.append(1)
        raise OSError("once more")

    janitor = scratch.Janitor(fails, lambda: len(calls) > 2 and done.set(), every=0.01)
    assert done.wait(10)
    janitor.stop()


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "only be read")]
)
def test_trouble_with_the_disk_gets_a_sentence(number, word):
    error = OSError(number, os.strerror(number), "/somewhere/private.mp4")
    assert of_disk(error)
    assert word in str(DiskError.of(error))
    assert "private" not in str(DiskError.of(error))


@pytest.mark.parametrize("run", ["run_path('app.py'", "run_module('vjepa_demo'"])
def test_where_nothing_can_be_written_one_sentence_says_what_to_do(run, photo):
    """As in a container whose disk can only be read, with no folder for temporary files."""
    program = (
        f"import runpy, tempfile; tempfile._candidate_tempdir_list = lambda: []; runpy.{run}, run_name='__main__')"
    )
    arguments = ["embed", str(photo)] if "module" in run else []
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1] == str(DiskError.of(FileNotFoundError(errno.ENOENT, NO_TEMPORARY)))
    assert "Traceback" not in done.stderr


def test_trouble_with_the_disk_is_found_behind_other_errors():
    error = RuntimeError("not saved")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert of_disk(error)
    assert not of_disk(OSError(errno.ENOENT, "missing"))
    assert not of_disk(RequestError("an option"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_known_from_what_libraries_say_of_it():
    with pytest.raises(OSError, match=r"written|No space") as caught, Path("/dev/full").open("wb") as file:
        np.save(file, np.zeros(100_000))
    assert of_disk(caught.value)
    # The words of safetensors, which raises an error of its own.
    assert of_disk(ValueError("Error while serializing: I/O error: No space left on device (os error 28)"))


def test_texts_of_others_are_short_and_in_one_line(monkeypatch):
    assert cut("mean") == "'mean'"
    assert len(cut("x" * 100_000)) == 62
    assert cut("a\nWARNING root: b\u202e") == "'a\\nWARNING root: b\\u202e'"
    monkeypatch.setattr(logs, "settings", replace(settings, public=True))
    assert "holiday" not in logs.named("holiday.mp4")
    monkeypatch.setattr(logs, "settings", replace(settings, public=False))
    assert logs.named("holiday.mp4") == "'holiday.mp4'"
