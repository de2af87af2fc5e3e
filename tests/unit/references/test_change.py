"""A visitor's own references: added, renamed, removed, taken along and brought back."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colours import Colours
from PIL import Image

from vjepa_demo.errors import ReferencesError
from vjepa_demo.references import preparing, zips
from vjepa_demo.references.change import add, bring_back, copy_set, export, forget_removed, remove, rename, take, unpack
from vjepa_demo.references.listing import read_folder
from vjepa_demo.references.sources import build, settle
from vjepa_demo.settings import settings


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(seed).integers(0, 255, 3)
    Image.new("RGB", (16, 16), tuple(int(c) for c in colour)).save(path)
    return path


@pytest.fixture
def base(tmp_path) -> Path:
    """A built set of twelve pictures in three labels."""
    for number in range(12):
        picture(tmp_path / "source" / "abc"[number % 3] / f"{number}.png", number)
    build(str(tmp_path / "source"), tmp_path / "base", Colours())
    return tmp_path / "base"


def by_file(references) -> dict[str, tuple[float, ...]]:
    return {clip.file: tuple(row) for clip, row in zip(references.clips, references.coordinates.tolist(), strict=True)}


def test_a_copied_set_costs_no_pass_and_goes_its_own_way(base, tmp_path):
    mine, encoder = tmp_path / "mine", Colours()
    copy_set(base, mine)
    report = take(mine, [(picture(tmp_path / "new.png", 99), "holiday ${x}.png")], "  my\nlabel ", encoder)
    assert (encoder.calls, report.added, report.failures) == (1, 1, ())
    clip = report.references.clips[-1]
    assert (clip.file, clip.label) == ("own/my_label/holiday_x.png", "my label")
    assert len(read_folder(base)) == 12
    places, shipped = by_file(report.references), by_file(settle(base, encoder))
    assert {name: places[name] for name in shipped} == shipped
    assert encoder.calls == 1


def test_names_that_are_taken_are_numbered(base, tmp_path):
    files = [(picture(tmp_path / f"{i}.png", 50 + i), "same.png") for i in range(3)]
    added = add(base, [(path, name, "x") for path, name in files])
    assert added == ["own/x/same.png", "own/x/same-2.png", "own/x/same-3.png"]


@pytest.mark.parametrize("name", ["../../etc/passwd.png", "..", "a/b\\c.png", "\0.png", "con:.png", ".hidden.png"])
def test_no_name_leaves_the_folder(base, tmp_path, name):
    (file,) = add(base, [(picture(tmp_path / "new.png", 5), name, "../up")])
    assert (base / file).resolve().is_relative_to(base.resolve() / "own")
    assert file in {clip.file for clip in read_folder(base)}


def test_renaming_and_removing_move_no_other_point(base):
    encoder = Colours()
    before = settle(base, encoder)
    chosen = [before.clips[0].file, before.clips[5].file]
    rename(base, chosen, "other")
    renamed = settle(base, encoder)
    assert [clip.label for clip in renamed.clips].count("other") == 2
    remove(base, chosen)
    after = settle(base, encoder)
    assert len(after) == 10
    assert by_file(after).items() <= by_file(before).items()
    assert all((base / file).exists() for file in chosen)  # what was not added by hand is not deleted
    assert encoder.calls == 0


def test_a_removed_clip_that_was_added_by_hand_is_deleted(base, tmp_path):
    (file,) = add(base, [(picture(tmp_path / "new.png", 5), "new.png", "x")])
    settle(base, Colours())
    remove(base, [file])
    assert not (base / file).exists()


def test_a_removal_can_be_undone_whole_until_the_next_change(base, tmp_path):
    (file,) = add(base, [(picture(tmp_path / "new.png", 5), "new.png", "x")])
    encoder = Colours()
    before, rows = settle(base, encoder), (base / "clips.csv").read_bytes()
    calls = encoder.calls
    remove(base, [file, before.clips[0].file])
    assert len(settle(base, encoder)) == 11
    assert bring_back(base) == 2
    after = settle(base, encoder)
    assert by_file(after) == by_file(before)
    assert (base / "clips.csv").read_bytes() == rows
    assert encoder.calls == calls, "nothing is embedded again"
    with pytest.raises(ReferencesError, match="nothing to bring back"):
        bring_back(base)
    remove(base, [file])
    add(base, [(picture(tmp_path / "newer.png", 6), "newer.png", "x")])  # by somebody else, who forgot nothing
    assert bring_back(base) == 1
    assert {"own/x/new.png", "own/x/newer.png"} <= {clip.file for clip in read_folder(base)}
    remove(base, [file])
    forget_removed(base)
    with pytest.raises(ReferencesError, match="nothing to bring back"):
        bring_back(base)


def test_mistakes_get_one_sentence(base, tmp_path):
    with pytest.raises(ReferencesError, match="label"):
        take(base, [(picture(tmp_path / "new.png", 5), "new.png")], " ", Colours())
    with pytest.raises(ReferencesError, match="No clip is chosen"):
        rename(base, [], "x")
    with pytest.raises(ReferencesError, match="no longer"):
        remove(base, ["gone.png"])
    with pytest.raises(ReferencesError, match="at least one"):
        remove(base, [clip.file for clip in read_folder(base)])
    assert len(read_folder(base)) == 12


def test_files_that_fail_are_reported_and_not_kept(base, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    report = take(base, [(bad, "bad.mp4"), (picture(tmp_path / "new.png", 7), "new.png")], "x", Colours())
    assert report.added == 1
    ((name, sentence),) = report.failures
    assert name == "own/x/bad.mp4"
    assert "neither a video nor an image" in sentence
    assert not (base / name).exists()


def test_an_exported_set_comes_back_at_the_cost_of_a_sample(base, tmp_path):
    take(base, [(picture(tmp_path / "new.png", 7), "new.png")], "x", Colours())
    before = settle(base, Colours())
    export(base, tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        kinds = {Path(name).suffix for name in archive.namelist()}
    assert kinds == {".csv", ".safetensors", ".jpg", ".png"}
    encoder = Colours()
    report = take(tmp_path / "fresh", [(tmp_path / "set.zip", "set.zip")], "", encoder)
    assert encoder.calls == 2
    assert report.added == 13
    assert by_file(report.references) == by_file(before)
    assert report.references.clips == before.clips
    thumbnails = tmp_path / "fresh" / "vectors" / "thumbnails"
    assert {path.stem for path in thumbnails.glob("*.jpg")} == set(before.hashes)


def test_an_import_does_not_move_the_map_it_comes_to(base, tmp_path):
    for number in range(5):
        picture(tmp_path / "elsewhere" / "z" / f"z{number}.png", 70 + number)
    build(str(tmp_path / "elsewhere"), tmp_path / "other", Colours())
    export(tmp_path / "other", tmp_path / "other.zip")
    before, encoder = settle(base, Colours()), Colours()
    after = take(base, [(tmp_path / "other.zip", "other.zip")], "", encoder).references
    assert encoder.calls == 2
    assert by_file(before).items() <= by_file(after).items()
    assert len(after) == 17


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_zips_of_clips_take_labels_from_sub_folders(base, tmp_path):
    data = [picture(tmp_path / f"{i}.png", 30 + i).read_bytes() for i in range(3)]
    files = {"my clips/dive/1.png": data[0], "my clips/jump/2.png": data[1], "my clips/jump/read me.txt": b"x"}
    report = take(base, [(pack(tmp_path / "a.zip", files), "a.zip")], "", Colours())
    assert {clip.label for clip in report.references.clips} == {*"abc", "dive", "jump"}
    loose = take(base, [(pack(tmp_path / "b.zip", {"3.png": data[2]}), "b.zip")], "loose", Colours())
    assert [clip.label for clip in loose.references.clips].count("loose") == 1


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "..\\out.png", "c:\\out.png"])
def test_a_zip_writes_nothing_outside_its_folder(tmp_path, name):
    inside = tmp_path / "deep" / "inside"
    unpack(pack(tmp_path / "evil.zip", {name: b"x", "good/1.png": b"x"}), inside)
    assert [path.name for path in (tmp_path / "deep").rglob("*.png")] == ["1.png"]
    assert not list(tmp_path.glob("*.png"))


def test_a_zip_bomb_is_stopped_by_what_it_unpacks_to(tmp_path):
    bomb = pack(tmp_path / "bomb.zip", {"1.png": bytes(3 * 2**20)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(ReferencesError, match="2 MB"):
        unpack(bomb, tmp_path / "inside", replace(settings, max_bytes=2 * 2**20))


def test_a_zip_makes_no_more_folders_than_clips_may_lie_in(tmp_path):
    deep, fine = ("/".join("d" * count) + "/a.png" for count in (21, 20))
    refused = unpack(pack(tmp_path / "a.zip", {deep: b"x", fine: b"y"}), tmp_path / "out")
    assert refused == [(deep, "It lies in more than 20 folders: move it up.")]
    assert (tmp_path / "out" / fine).is_file()
    assert sum(path.is_dir() for path in (tmp_path / "out").rglob("*")) == 20


def test_a_damaged_zip_gets_one_sentence(tmp_path):
    whole = pack(tmp_path / "whole.zip", {"1.png": np.random.default_rng(0).bytes(5000)})
    (tmp_path / "flipped.zip").write_bytes(whole.read_bytes()[:2000] + b"\0" * 100 + whole.read_bytes()[2100:])
    for name, data in {"cut.zip": whole.read_bytes()[:900], "text.zip": b"hello"}.items():
        (tmp_path / name).write_bytes(data)
    for name in ("cut.zip", "text.zip", "flipped.zip"):
        with pytest.raises(ReferencesError, match="damaged"):
            unpack(tmp_path / name, tmp_path / name.removesuffix(".zip"))


@pytest.mark.parametrize("zip64", [False, True])
def test_a_zip_that_lists_very_many_entries_is_not_read(base, tmp_path, monkeypatch, zip64):
    """The list alone would take gigabytes of memory, whatever is taken of it."""
    monkeypatch.setattr(zips, "MOST_LIST_BYTES", 2**16)
    if zip64:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    path = pack(tmp_path / "many.zip", {f"{i}.txt": b"" for i in range(2000)})
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *_: pytest.fail("an entry was read"))
    for ask in (lambda: unpack(path, tmp_path / "inside"), lambda: zips.unpacked_size(path)):
        with pytest.raises(ReferencesError, match="more than 5000 files"):
            ask()
    with pytest.raises(ReferencesError, match="more than 5000 files"):
        take(base, [(path, "many.zip")], "x", Colours())


def test_what_a_zip_will_take_is_told_before_it_is_unpacked(tmp_path):
    files = {"a/1.png": bytes(1000), "vectors/2.safetensors": bytes(500), "3.txt": bytes(9), "../4.png": b"x"}
    path = pack(tmp_path / "a.zip", files)
    assert zips.unpacked_size(path) == 1500
    assert zips.unpacked_size(path, {("1.png", 1000)}) == 500


def test_of_several_zips_the_bad_ones_are_named_and_the_good_ones_taken(base, tmp_path):
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    data = picture(tmp_path / "1.png", 90).read_bytes()
    good = pack(tmp_path / "good.zip", {"x/1.png": data, "x/bad.png": b"no picture"})
    report = take(base, [(tmp_path / "torn.zip", "torn.zip"), (good, "good.zip")], "x", Colours())
    assert (report.added, report.tried) == (1, 3)
    assert [name for name, _ in report.failures] == ["torn.zip", "x/bad.png in good.zip"]
    with pytest.raises(ReferencesError, match=r"torn\.zip: The zip is damaged"):
        take(base, [(tmp_path / "torn.zip", "torn.zip")], "x", Colours())


def test_an_empty_zip_gets_one_sentence(base, tmp_path):
    with pytest.raises(ReferencesError, match="no videos or images"):
        take(base, [(pack(tmp_path / "empty.zip", {"readme.txt": b"x"}), "empty.zip")], "x", Colours())


@pytest.fixture(autouse=True)
def _nothing_in_memory():
    preparing._sets.clear()
