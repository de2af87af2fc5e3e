"""What an import, a build or a failure must never do to what was there before, and what is never believed."""

from __future__ import annotations

import builtins
import logging
import shutil
import threading
import unicodedata
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import colours
import numpy as np
import pytest
from colours import MADE, Colours
from PIL import Image

from vjepa_demo import files, jobs
from vjepa_demo.errors import BusyError, ReferencesError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.references import preparing, sources
from vjepa_demo.references.change import add, bring_back, copy_set, export, remove, rename, take, unpack
from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import read_folder
from vjepa_demo.references.preparing import prepare
from vjepa_demo.references.sources import Addition, build, settle
from vjepa_demo.references.store import Stored


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(seed).integers(0, 255, 3)
    Image.new("RGB", (16, 16), tuple(int(c) for c in colour)).save(path)
    return path


def pack(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files but the vectors, which are the program's own."""
    found = (path for path in folder.rglob("*") if path.is_file() and "vectors" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(autouse=True)
def _nothing_in_memory():
    preparing._sets.clear()


@pytest.fixture
def owners(tmp_path) -> Path:
    """An owner's folder: five clips on a list with a column of their own, and files that are no clips."""
    folder = tmp_path / "owners"
    rows = "".join(f"box/{i}.png,box,precious notes,CC-BY,shelf {i}\n" for i in range(5))
    for i in range(5):
        picture(folder / "box" / f"{i}.png", i)
    (folder / "clips.csv").write_text("file,label,description,licence,shelf\n" + rows)
    (folder / "notes.txt").write_text("do not lose")
    (folder / ".env").write_text("SECRET=1")
    (folder / "private").mkdir()
    picture(folder / "private" / "p.png", 77)
    settle(folder, Colours())
    return folder


@pytest.mark.parametrize(
    ("name", "is_faulty"),
    [
        *((name, False) for name in ("clips.csv", "notes.txt", ".env", "private/p.png", "vectors/x.png")),
        *((name, True) for name in ("box/../notes.txt", "private/../box/3.png", "C:/x.png", "/etc/x.png")),
    ],
)
def test_a_list_in_a_zip_that_names_the_owners_files_touches_none_of_them(owners, tmp_path, name, is_faulty):
    before, good = bytes_of(owners), picture(tmp_path / "n.png", 50).read_bytes()
    archive = pack(tmp_path / "a.zip", {"clips.csv": f"file,label\n{name},n\nnew.png,n\n".encode(), "new.png": good})
    if is_faulty:
        with pytest.raises(ReferencesError, match="Line 2 of"):
            take(owners, [(archive, "a.zip")], "", Colours())
        assert bytes_of(owners) == before
        return
    report = take(owners, [(archive, "a.zip")], "", Colours())
    assert report.added == 1
    after = bytes_of(owners)
    assert after.pop("clips.csv") == before["clips.csv"] + b"new.png,n,,,\n"
    assert after.pop("clips.csv~") == before.pop("clips.csv")
    assert after == {**before, "new.png": good}


def test_a_clip_of_a_taken_name_gets_another_and_is_told(owners, tmp_path):
    data = picture(tmp_path / "n.png", 50).read_bytes()
    archive = pack(tmp_path / "a.zip", {"box/3.png": data, "box/4.png": (owners / "box" / "4.png").read_bytes()})
    before = bytes_of(owners)
    report = take(owners, [(archive, "a.zip")], "", Colours())
    assert report.added == 1
    assert report.notes[0] == ("box/3.png", "was there already with other content: added as box/3-2.png")
    assert (owners / "box" / "3.png").read_bytes() == before["box/3.png"]
    assert (owners / "box" / "3-2.png").read_bytes() == data
    assert {clip.description for clip in read_folder(owners)} == {"precious notes", ""}
    assert take(owners, [(archive, "a.zip")], "", Colours()).added == 0  # both are there now


def failing(meanwhile) -> type[Colours]:
    """Embedders that fail, after something else has happened in the folder."""

    class Failing(Colours):
        def embed(self, clip):
            meanwhile()
            raise Stopped("Stopped.")

    return Failing


@pytest.mark.parametrize("lists", [True, False])
def test_a_list_that_somebody_wrote_meanwhile_outlives_an_addition_that_fails(tmp_path, lists):
    folder, new = tmp_path / "owners", picture(tmp_path / "new.png", 1)
    theirs = "file,label\ntheirs.png,box\n"

    def meanwhile():
        picture(folder / "theirs.png", 2)
        if lists:
            (folder / "clips.csv").write_text(theirs)

    with pytest.raises(Stopped):
        take(folder, [(new, "new.png")], "a", failing(meanwhile)())
    assert (folder / "clips.csv").exists() is lists
    assert not lists or (folder / "clips.csv").read_text() == theirs
    assert [path.name for path in folder.rglob("*.png")] == ["theirs.png"]


@pytest.mark.parametrize("there", [0, 2])
def test_two_additions_at_once_to_a_folder_without_a_list_both_survive(tmp_path, there):
    folder = tmp_path / "owners"
    for number in range(there):
        picture(folder / "box" / f"{number}.png", number)
    begun, go = threading.Event(), threading.Event()

    class Slow(Colours):
        def embed(self, clip):
            begun.set()
            assert go.wait(20)
            return super().embed(clip)

    first = threading.Thread(target=take, args=(folder, [(picture(tmp_path / "a.png", 11), "a.png")], "first", Slow()))
    first.start()
    assert begun.wait(20)
    add(folder, [(picture(tmp_path / "b.png", 12), "b.png", "second")])
    go.set()
    first.join(20)
    labels = [clip.label for clip in read_folder(folder)]
    assert sorted(labels) == sorted(["box"] * there + ["first", "second"])


@pytest.mark.parametrize("there", [0, 2])
def test_an_addition_that_fails_leaves_no_rows_in_a_folder_without_a_list(tmp_path, there):
    folder = tmp_path / "owners"
    for number in range(there):
        picture(folder / "box" / f"{number}.png", number)
    new = picture(tmp_path / "n.png", 9)
    with pytest.raises(Stopped):
        take(folder, [(new, "n.png")], "a", failing(lambda: add(folder, [(new, "m.png", "b")]))())
    assert sorted(clip.label for clip in read_folder(folder)) == sorted(["box"] * there + ["b"])


def test_a_name_that_is_taken_gets_a_number_within_what_file_systems_take(owners, tmp_path):
    name = "own/a/" + "ä" * 125 + ".png"
    for number in range(3):
        addition = Addition(owners)
        addition.bring(picture(tmp_path / f"{number}.png", 50 + number), ReferenceClip(name, "a"))
        assert (owners / addition.clips[0].file).is_file()
    assert len(list((owners / "own" / "a").iterdir())) == 3


def test_a_label_in_either_form_of_unicode_is_one_label(owners, tmp_path):
    forms = [unicodedata.normalize(form, "한글") for form in ("NFC", "NFD", "NFC")]
    for number, label in enumerate(forms):
        clip = picture(tmp_path / str(number) / "fall_1.png", 100 + number)
        report = take(owners, [(clip, "fall_1.png")], label, Colours())
        assert report.added == 1
    clips = read_folder(owners)
    assert [clip.label for clip in clips].count(forms[0]) == 3
    assert len({clip.file for clip in clips}) == 8
    assert all((owners / clip.file).is_file() for clip in clips)


def test_a_clip_whose_name_the_owner_has_in_two_letters_gets_another(tmp_path):
    folder = tmp_path / "owners"
    theirs = picture(folder / "own" / "a" / unicodedata.normalize("NFD", "Läufer.png"), 1)
    before = theirs.read_bytes()
    (folder / "clips.csv").write_text(f"file,label\nown/a/{theirs.name},a\n", encoding="utf-8")
    report = take(folder, [(picture(tmp_path / "Läufer.png", 2), "Läufer.png")], "a", Colours())
    assert report.added == 1
    assert report.notes[0][1].endswith("Läufer-2.png")
    assert theirs.read_bytes() == before
    assert len(read_folder(folder)) == 2


def test_two_sources_with_equal_names_both_survive_and_a_third_run_adds_nothing(tmp_path):
    for number, camera in enumerate(("cam1", "cam2")):
        picture(tmp_path / camera / "walk" / "clip1.png", number)
    out, encoder = tmp_path / "out", Colours()
    build(str(tmp_path / "cam1"), out, encoder)
    made = build(str(tmp_path / "cam2"), out, encoder)
    assert [clip.file for clip in made.clips] == ["walk/clip1.png", "walk/clip1-2.png"]
    assert [clip.label for clip in made.clips] == ["walk", "walk"]
    assert made.notes == (("walk/clip1.png", "was there already with other content: added as walk/clip1-2.png"),)
    before = bytes_of(out)
    for camera in ("cam1", "cam2", "cam1"):
        assert len(build(str(tmp_path / camera), out, encoder)) == 2
    assert bytes_of(out) == before
    assert encoder.calls == 2


def test_a_clip_that_was_changed_in_its_source_is_added_beside_the_one_before(tmp_path):
    """Which folder a clip came from is not recorded: folders move, disks have other names elsewhere, and two cameras
    may have one name. So other content is another clip, and its owner, who is told, takes out the one not wanted."""
    source, out = tmp_path / "cam", tmp_path / "out"
    before = picture(source / "walk" / "clip1.png", 1).read_bytes()
    build(str(source), out, Colours())
    (source / "walk" / "clip1.png").unlink()  # written anew, as editors do
    after = picture(source / "walk" / "clip1.png", 2).read_bytes()
    made = build(str(source), out, Colours())
    assert made.notes == (("walk/clip1.png", "was there already with other content: added as walk/clip1-2.png"),)
    assert [(out / clip.file).read_bytes() for clip in made.clips] == [before, after]
    remove(out, ["walk/clip1.png"])
    assert [clip.file for clip in read_folder(out)] == ["walk/clip1-2.png"]


def test_zips_of_two_cameras_at_once_keep_all_clips(tmp_path):
    clips = [picture(tmp_path / f"{number}.png", number).read_bytes() for number in range(2)]
    zips = [(pack(tmp_path / f"{n}.zip", {"walk/clip1.png": data}), f"{n}.zip") for n, data in enumerate(clips)]
    report = take(tmp_path / "set", [*zips, zips[0]], "", Colours())
    assert report.added == 2
    assert report.notes == (("walk/clip1.png", "was there already with other content: added as walk/clip1-2.png"),)
    assert [(tmp_path / "set" / clip.file).read_bytes() for clip in report.references.clips] == clips


def test_equal_bytes_under_two_names_are_two_clips_that_are_embedded_once(tmp_path):
    for camera in ("cam1", "cam2"):
        picture(tmp_path / camera / camera / "clip1.png", 1)
        build(str(tmp_path / camera), tmp_path / "out", encoder := Colours())
    assert [clip.label for clip in read_folder(tmp_path / "out")] == ["cam1", "cam2"]
    assert encoder.calls == 0


def test_what_a_killed_build_left_is_the_sources_again(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for number in range(3):
        picture(source / "a" / f"{number}.png", number)
    (source / "a" / "bad.png").write_text("no picture")
    addition = sources.Addition(out)
    addition.begin_list()
    addition.collect(source, read_folder(source))  # and then the power went
    made = build(str(source), out, Colours())
    assert len(made) == len(read_folder(out)) == 3
    assert not (out / "a" / "bad.png").exists()
    assert (source / "a" / "bad.png").exists()
    (source / "a" / "bad.png").unlink()
    picture(source / "a" / "bad.png", 9)
    assert [clip.file for clip in build(str(source), out, Colours()).clips][-1] == "a/bad.png"


def test_a_clip_that_is_missing_for_a_moment_keeps_its_row(owners, tmp_path):
    before = (owners / "clips.csv").read_text()
    (owners / "box" / "4.png").rename(tmp_path / "away.png")
    made = settle(owners, Colours(), refit=True)
    assert [name for name, _ in made.failures] == ["box/4.png"]
    assert (owners / "clips.csv").read_text() == before
    take(owners, [(picture(tmp_path / "n.png", 50), "n.png")], "mine", Colours())
    rename(owners, ["box/0.png"], "other")
    remove(owners, ["box/1.png"])
    (tmp_path / "away.png").rename(owners / "box" / "4.png")
    assert len(settle(owners, Colours())) == 5
    lines = before.splitlines()
    kept = [lines[0], lines[1].replace(",box,", ",other,"), *lines[3:], "own/mine/n.png,mine,,,"]
    assert (owners / "clips.csv").read_text().splitlines() == kept
    assert (owners / "clips.csv~").read_text() == before


class Odd(Colours):
    """An encoder that fails at its third clip, in a way of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def embed(self, clip):
        if self.calls == 2:
            raise self.error
        return super().embed(clip)


@pytest.mark.parametrize("error", [Stopped("Stopped."), KeyboardInterrupt(), MemoryError(), RuntimeError("CUDA")])
def test_an_addition_that_fails_or_is_stopped_is_undone_whole(owners, tmp_path, error):
    before = bytes_of(owners)
    uploads = [(picture(tmp_path / f"n{i}.png", 50 + i), f"n{i}.png") for i in range(4)]
    archive = pack(tmp_path / "a.zip", {"walk/9.png": picture(tmp_path / "n.png", 60).read_bytes()})
    with pytest.raises(type(error)):
        take(owners, [*uploads, (archive, "a.zip")], "mine", Odd(error))
    assert bytes_of(owners) == before
    assert not (owners / "own").exists()
    encoder = Colours()
    assert take(owners, uploads, "mine", encoder).added == 4
    assert encoder.calls == 3  # one had been embedded before, beside that of the zip


def test_a_full_disk_undoes_an_addition_with_a_sentence(owners, tmp_path, monkeypatch):
    before, copied = bytes_of(owners), shutil.copy2

    def full(source, target):
        if Path(source).name == "n2.png":
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return copied(source, target)

    monkeypatch.setattr(files.shutil, "copy2", full)
    uploads = [(picture(tmp_path / f"n{i}.png", 50 + i), f"n{i}.png") for i in range(4)]
    with pytest.raises(ReferencesError, match="disk is full"):
        take(owners, uploads, "mine", Colours())
    assert bytes_of(owners) == before


def test_one_odd_clip_is_its_own_failure(tmp_path, monkeypatch, caplog):
    import struct

    for number in range(4):
        picture(tmp_path / "set" / "a" / f"{number}.png", number)
    read, words = colours.read_clip, "EXIF of private" + "_name.png"

    def odd(path, sampling):
        if path.name in {"1.png", "2.png"}:
            raise struct.error(words)
        return read(path, sampling)

    monkeypatch.setattr(colours, "read_clip", odd)
    monkeypatch.setattr(preparing, "settings", replace(preparing.settings, public=True))
    with caplog.at_level(logging.INFO):
        made = prepare(tmp_path / "set", Colours(), store=tmp_path / "store")
    assert [name for name, _ in made.failures] == ["a/1.png", "a/2.png"]
    assert "not as it should be" in made.failures[0][1]
    assert caplog.text.count("Traceback") + caplog.text.count('File "') >= 1
    assert "private_name" not in caplog.text  # a visitor's, on an app that strangers share
    assert "1.png" not in caplog.text
    assert len(caplog.records) == 2


def test_a_decoder_that_cannot_be_had_is_no_fault_of_the_clips(tmp_path, monkeypatch):
    for number in range(3):
        picture(tmp_path / "set" / "a" / f"{number}.png", number)
    read, busy = colours.read_clip, [True]

    def sometimes(path, sampling):
        if path.name == "1.png" and busy:
            raise BusyError("No file can be read here at the moment.")
        return read(path, sampling)

    monkeypatch.setattr(colours, "read_clip", sometimes)
    with pytest.raises(BusyError):
        prepare(tmp_path / "set", Colours(), store=tmp_path / "store")
    busy.clear()
    made = prepare(tmp_path / "set", Colours(), store=tmp_path / "store")
    assert len(made) == 3
    assert not made.failures


def test_thousands_of_failures_are_one_line_of_the_log(tmp_path, caplog):
    (tmp_path / "clips.csv").write_text("file,label\n" + "".join(f"no\u2028pe{i}.png,a\n" for i in range(3000)))
    picture(tmp_path / "1.png", 1)
    with (tmp_path / "clips.csv").open("a") as file:
        file.write("1.png,a\n")
    with caplog.at_level(logging.INFO):
        assert len(prepare(tmp_path, Colours(), store=tmp_path / "store")) == 1
    assert len(caplog.text) < 500
    assert "\u2028" not in caplog.text


def test_a_disk_that_takes_no_vectors_costs_time_and_nothing_else(tmp_path, monkeypatch, caplog):
    for number in range(4):
        picture(tmp_path / "set" / "a" / f"{number}.png", number)
    (tmp_path / "store").write_text("a file where a folder should be")
    encoder = Colours()
    with caplog.at_level(logging.WARNING):
        made = prepare(tmp_path / "set", encoder, store=tmp_path / "store" / "deep")
    assert len(made) == encoder.calls == 4
    assert caplog.text.count("stay in memory") == 1
    picture(tmp_path / "set" / "a" / "new.png", 9)
    again = prepare(tmp_path / "set", encoder, store=tmp_path / "store" / "deep")
    assert encoder.calls == 5  # the others are in memory
    np.testing.assert_array_equal(again.coordinates[:4], made.coordinates)


@pytest.mark.parametrize("lie", ["noise", "swapped", "width", "scaled"])
def test_vectors_that_came_with_clips_are_proven_on_a_sample(tmp_path, lie):
    for number in range(10):
        picture(tmp_path / "source" / "a" / f"{number}.png", number)
    right = build(str(tmp_path / "source"), tmp_path / "right", Colours())
    (path,) = (tmp_path / "right" / "vectors").glob("*.safetensors")
    stored = Stored.load(path, MADE)
    assert stored is not None
    rng = np.random.default_rng(0)
    vectors = {
        "noise": rng.uniform(0, 255, stored.vectors.shape),
        "swapped": np.roll(stored.vectors, 1, axis=0),
        "width": rng.uniform(0, 255, (10, 7)),
        "scaled": stored.vectors * 2,
    }[lie]
    replace(stored, vectors=vectors.astype(np.float32)).save(path, MADE)
    export(tmp_path / "right", tmp_path / "set.zip")
    encoder = Colours()
    report = take(tmp_path / "fresh", [(tmp_path / "set.zip", "set.zip")], "", encoder)
    assert encoder.calls == 10
    np.testing.assert_array_equal(report.references.vectors, right.vectors)
    assert not report.failures


def test_small_imports_are_embedded_anew_where_strangers_share_the_app(tmp_path, monkeypatch):
    for number in range(5):
        picture(tmp_path / "source" / "a" / f"{number}.png", number)
    build(str(tmp_path / "source"), tmp_path / "out", Colours())
    export(tmp_path / "out", tmp_path / "set.zip")
    monkeypatch.setattr(preparing, "settings", replace(preparing.settings, public=True))
    encoder = Colours()
    take(tmp_path / "fresh", [(tmp_path / "set.zip", "set.zip")], "", encoder)
    assert encoder.calls == 5


def test_a_set_that_is_ready_does_not_wait_for_another(tmp_path):
    for name in ("ready", "slow"):
        picture(tmp_path / name / "a" / "1.png", len(name))
    ready = prepare(tmp_path / "ready", Colours(), store=tmp_path / "1")
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Colours):
        def embed(self, clip):
            inside.set()
            assert go_on.wait(30)
            return super().embed(clip)

    slow, made = Slow(), []
    threads = [
        threading.Thread(target=lambda: made.append(prepare(tmp_path / "slow", slow, store=tmp_path / "2")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    try:
        assert prepare(tmp_path / "ready", Colours(), store=tmp_path / "1") is ready
        # Another set is made meanwhile, and who waits for the slow one may leave.
        assert len(prepare(tmp_path / "ready", Colours(), store=tmp_path / "3")) == 1
        with jobs.Job(gone=lambda: True).running(), pytest.raises(Stopped):
            prepare(tmp_path / "slow", slow, store=tmp_path / "2")
    finally:
        go_on.set()
        for thread in threads:
            thread.join(30)
    assert len(made) == 3
    assert slow.calls == 1  # once for all who waited
    assert not list(tmp_path.rglob("*.lock"))


def test_others_have_the_machines_turn_between_two_clips(tmp_path):
    for number in range(3):
        picture(tmp_path / "set" / "a" / f"{number}.png", number)
    job, held = jobs.Job(), []

    class Watching(Colours):
        def embed(self, clip):
            held.append(job.holds_turn)
            return super().embed(clip)

    with job.running():
        prepare(
            tmp_path / "set", Watching(), store=tmp_path / "store", progress=lambda *said: held.append(job.holds_turn)
        )
    assert held == [True, False] * 3 + [False]


def test_equal_clips_have_finite_places(tmp_path):
    for number in range(12):
        picture(tmp_path / "set" / "a" / f"{number}.png", 1)
    encoder = Colours()
    made = prepare(tmp_path / "set", encoder, store=tmp_path / "store")
    assert np.isfinite(made.coordinates).all()
    preparing._sets.clear()
    prepare(tmp_path / "set", encoder, store=tmp_path / "store")
    assert encoder.calls == 1


def test_a_copied_set_keeps_what_only_the_owner_knows(owners, tmp_path):
    copy_set(owners, tmp_path / "mine")
    assert (tmp_path / "mine" / "clips.csv").read_text() == (owners / "clips.csv").read_text()
    assert not (tmp_path / "mine" / ".env").exists()
    encoder = Colours()
    assert len(settle(tmp_path / "mine", encoder)) == 5
    assert encoder.calls == 0


# --- zips ---


def test_a_clip_below_a_file_of_the_set_is_refused_and_not_tried_for_ever(owners, tmp_path):
    data = picture(tmp_path / "n.png", 60).read_bytes()
    rows = b"file,label\nbox/0.png/9.png,n\ngood.png,n\n"
    archive = pack(tmp_path / "a.zip", {"clips.csv": rows, "box/0.png/9.png": data, "good.png": data})
    with Job(seconds=20).running():
        report = take(owners, [(archive, "a.zip")], "", Colours())
    assert report.added == 1
    ((name, words),) = report.failures
    assert name == "box/0.png/9.png in a.zip"
    assert "whose name a file of the set has" in words
    assert (owners / "box" / "0.png").is_file()


def test_a_file_that_is_no_zip_but_is_called_one_is_told_so(owners, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ReferencesError, match="The zip is damaged"):
        take(owners, [(tmp_path / "a.zip", "a.zip")], "n", Colours())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 300 + ".png", "too long"),
        ("a/" * 501 + "1.png", "too long"),
        ("ä" * 130 + ".png", "too long"),
        (".cache/1.png", "hidden"),
        ("run/1.txt", "missing"),
        ("clips.csv", "list of clips"),
        ("vectors/1.png", "for vectors alone"),
        ("1\u200b.png", "cannot be seen"),
    ],
)
def test_names_that_no_clip_of_a_set_can_have_are_told_with_their_reason(tmp_path, name, words):
    source = tmp_path / "source"
    picture(source / "good.png", 1)
    (source / "clips.csv").write_text(f"file,label\ngood.png,a\n{name},a\n", encoding="utf-8")
    made = build(str(source), tmp_path / "out", Colours())
    assert [clip.file for clip in made.clips] == ["good.png"]
    ((told, sentence),) = made.failures
    assert told == name
    assert words in sentence
    # In its own folder, too, one name does not end the others.
    assert len(prepare(source, Colours(), store=tmp_path / "store")) == 1


FAULTY_LISTS = [
    "file,label\nwalk/0.png,a\n../1.png,b\n",
    "file;label\nwalk/0.png\n",
    "walk/0.png,a\n",
    "file,label\n/elsewhere/walk/0.png,a\n",
    "file,label\nwalk/gone.png,a\n",
    'file,label\nwalk/0.png,"a\n',
]


@pytest.mark.parametrize("listed", FAULTY_LISTS)
def test_a_source_that_failed_leaves_nothing_in_the_way_of_the_corrected_one(tmp_path, listed):
    source, out = tmp_path / "source", tmp_path / "out"
    picture(source / "walk" / "0.png", 1)
    (source / "clips.csv").write_text(listed)
    with pytest.raises(ReferencesError):
        build(str(source), out, Colours())
    assert bytes_of(out) == {}
    (source / "clips.csv").write_text("file,label\nwalk/0.png,right\n")
    made = build(str(source), out, Colours())
    assert [(clip.file, clip.label) for clip in made.clips] == [("walk/0.png", "right")]


def test_whole_paths_of_a_list_are_names_in_whatever_is_made_of_it(owners, tmp_path):
    listed = (owners / "clips.csv").read_text().replace("box/", f"{owners}/box/")
    (owners / "clips.csv").write_text(listed)
    copy_set(owners, tmp_path / "mine")
    export(owners, tmp_path / "a.zip")
    take(tmp_path / "other", [(tmp_path / "a.zip", "a.zip")], "", Colours())
    build(str(owners), tmp_path / "out", Colours())
    remove(owners, ["box/1.png"])
    assert bring_back(owners) == 1
    owners = owners.rename(tmp_path / "gone")
    for folder in (tmp_path / "mine", tmp_path / "other", tmp_path / "out"):
        assert [clip.file for clip in read_folder(folder)] == [f"box/{i}.png" for i in range(5)]
        assert "owners" not in (folder / "clips.csv").read_text()


def test_a_set_made_within_its_source_is_no_source_the_next_time(tmp_path):
    for number in range(2):
        picture(tmp_path / "walk" / f"{number}.png", number)
    for _ in range(2):
        made = build(str(tmp_path), tmp_path / "my set", Colours())
        assert [clip.file for clip in made.clips] == ["walk/0.png", "walk/1.png"]
        assert not made.notes


def test_what_a_build_passes_over_is_told_beside_its_clips(tmp_path, capsys):
    source = tmp_path / "source"
    for name in ("walk/0.png", "walk/@eaDir/0.png", ".Trash-1000/files/1.png", "walk/._0.png"):
        picture(source / name, 1)
    for out in (tmp_path / "out", source):
        made = build(str(source), out, Colours())
        assert made.notes == ((str(source), "holds 1 hidden file, 2 hidden or system folders: passed over"),)
        assert not made.failures


def test_a_list_in_a_zip_is_bounded(tmp_path):
    data = picture(tmp_path / "1.png", 1).read_bytes()
    rows = "".join(f"{i}.png,a\n" for i in range(6000))
    for csv, words in ((rows, "more than 5,000"), ("1.png," + "x" * 6_000_000, "too large")):
        archive = pack(tmp_path / "a.zip", {"1.png": data, "clips.csv": f"file,label\n{csv}".encode()})
        with pytest.raises(ReferencesError, match=words):
            take(tmp_path / "set", [(archive, "a.zip")], "x", Colours())
    assert bytes_of(tmp_path / "set") == {}


def test_rows_without_a_file_in_the_zip_are_told_and_not_taken(owners, tmp_path):
    data = picture(tmp_path / "1.png", 1).read_bytes()
    archive = pack(tmp_path / "a.zip", {"n.png": data, "clips.csv": b"file,label\nn.png,a\nprivate/p.png,a\n"})
    report = take(owners, [(archive, "a.zip")], "", Colours())
    assert report.added == 1
    assert [name for name, _ in report.failures] == ["private/p.png in a.zip"]


def test_names_of_macs_are_utf8_though_they_do_not_say_so(tmp_path):
    data = picture(tmp_path / "1.png", 1).read_bytes()
    path = pack(tmp_path / "a.zip", {"Qxxufer/1.png": data, "plain/2.png": data})
    path.write_bytes(path.read_bytes().replace(b"Qxxufer", "Läufe".encode() + b"r"))
    unpack(path, tmp_path / "inside")
    assert sorted(p.name for p in (tmp_path / "inside").iterdir()) == ["Läufer", "plain"]


@pytest.mark.parametrize(
    "names",
    [
        ["x" * 300 + ".png"],
        ["a.png", "a.png/b.png"],
        ["a.png", "a.png"],
        ["a/" * 2500 + "a.png"],
        ["a.png/b.png", "a.png"],
    ],
    ids=["long", "file and folder", "twice", "deep", "folder and file"],
)
def test_entries_that_no_file_system_takes_are_told_one_by_one(tmp_path, names):
    data = picture(tmp_path / "1.png", 1).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("good.png", *names):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that is there twice
                archive.writestr(name, data)
    refused = unpack(tmp_path / "a.zip", tmp_path / "inside")
    assert len(refused) == 1
    assert (tmp_path / "inside" / "good.png").read_bytes() == data


@pytest.mark.parametrize("method", [8, 9, 12, 14, 99])  # Deflate64, which Windows writes above 2 GB, is 9
def test_streams_that_are_no_streams_get_one_sentence(tmp_path, method):
    path = pack(tmp_path / "a.zip", {"1.png": bytes(2000)})
    data = bytearray(path.read_bytes())
    head, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    data[head + 8 : head + 10] = data[central + 10 : central + 12] = method.to_bytes(2, "little")
    start = head + 30 + len("1.png")
    data[start : start + 6] = b"\xff" * 6
    path.write_bytes(data)
    with pytest.raises(
        ReferencesError, match="damaged" if method in (8, 12, 14) else "not known here: pack it with Deflate"
    ):
        unpack(path, tmp_path / "inside")


def test_links_devices_and_encrypted_entries_are_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, mode in (("link.png", 0o120777), ("dir/l.png", 0o120777)):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, mode << 16
            archive.writestr(entry, "/etc/passwd")
        archive.writestr("inner.zip", b"PK")
    unpack(tmp_path / "a.zip", tmp_path / "inside")
    assert not (tmp_path / "inside").exists()
    path = pack(tmp_path / "b.zip", {"1.png": b"x" * 50})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ReferencesError, match="encrypted: pack it again without a password"):
        unpack(path, tmp_path / "inside")


def test_more_files_than_are_taken_at_a_time_get_one_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(5001):
            archive.writestr(f"{number}.png", b"")
    with pytest.raises(ReferencesError, match="more than 5000"):
        unpack(tmp_path / "a.zip", tmp_path / "inside")


def test_a_full_disk_while_unpacking_is_said(tmp_path, monkeypatch):
    path = pack(tmp_path / "a.zip", {"1.png": b"x"})
    opened = builtins.open

    def full(self, mode="r", *arguments, **options):
        if "x" in mode:
            raise OSError(28, "No space left on device")
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ReferencesError, match="disk is full"):
        unpack(path, tmp_path / "inside")


def test_an_exported_set_brings_formulas_back_as_they_were(owners, tmp_path):
    rename(owners, ["box/0.png"], "=1+1")
    export(owners, tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert b",'=1+1," in archive.read("clips.csv")
    report = take(tmp_path / "fresh", [(tmp_path / "set.zip", "set.zip")], "", Colours())
    assert report.references.clips == settle(owners, Colours()).clips
    assert not report.notes


def test_clips_are_added_to_sub_folders_under_their_labels(tmp_path):
    """A folder without a list gets one, in which the old clips and the new ones have the labels they should."""
    for number in range(3):
        picture(tmp_path / "set" / "a" / f"{number}.png", number)
    (tmp_path / "bad.png").write_text("no picture")
    uploads = [(picture(tmp_path / "n.png", 50), "n.png"), (tmp_path / "bad.png", "bad.png")]
    report = take(tmp_path / "set", uploads, "my own label", Colours())
    assert [clip.label for clip in report.references.clips] == ["a", "a", "a", "my own label"]
    assert [clip.label for clip in read_folder(tmp_path / "set")] == ["a", "a", "a", "my own label"]
