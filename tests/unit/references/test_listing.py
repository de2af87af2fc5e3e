"""What an owner's folder and list say, and that they keep what only their owner knows."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from vjepa_demo.errors import ReferencesError
from vjepa_demo.references import listing
from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import as_exported, clip_name, read_folder, write_csv

OWNERS = 'Label,note,File,Licence\r\nb,"mine, all",./2.mp4,CC0\r\n,,,\r\na,x,1.mp4,\r\n'


def test_a_list_keeps_its_header_its_order_and_what_is_not_known(tmp_path):
    (tmp_path / "clips.csv").write_bytes(b"\xef\xbb\xbf" + OWNERS.encode())
    clips = read_folder(tmp_path)
    assert clips == [ReferenceClip("2.mp4", "b", licence="CC0"), ReferenceClip("1.mp4", "a")]
    write_csv(tmp_path, [*clips[:1], ReferenceClip("1.mp4", "c"), ReferenceClip("3.mp4", "n", "new")])
    assert (tmp_path / "clips.csv").read_bytes().decode("utf-8-sig").splitlines() == [
        "Label,note,File,Licence,description",
        'b,"mine, all",./2.mp4,CC0',
        "c,x,1.mp4,,",
        "n,,3.mp4,,new",
    ]
    assert b"\r\n" in (tmp_path / "clips.csv").read_bytes()
    write_csv(tmp_path, clips)
    # The backup is the file before the first change.
    assert (tmp_path / "clips.csv~").read_bytes() == b"\xef\xbb\xbf" + OWNERS.encode()


@pytest.mark.parametrize("text", ["file;label\n1.mp4;a\n", "file\tlabel\n1.mp4\ta\n", "sep=;\nfile;label\n1.mp4;a\n"])
def test_lists_of_spreadsheets_are_read_and_written_in_their_own_way(tmp_path, text):
    (tmp_path / "clips.csv").write_text(text)
    assert read_folder(tmp_path) == [ReferenceClip("1.mp4", "a")]
    write_csv(tmp_path, [*read_folder(tmp_path), ReferenceClip("2.mp4", "b")])
    assert (tmp_path / "clips.csv").read_text() == text + "2.mp4{}b\n".format("\t" if "\t" in text else ";")


def test_the_line_that_is_named_is_the_line_in_the_file(tmp_path):
    (tmp_path / "clips.csv").write_text("file,label\n1.mp4,a\n\n,\n2.mp4,\n")
    with pytest.raises(ReferencesError, match="Line 5"):
        read_folder(tmp_path)


def test_labels_and_texts_are_cut_wherever_they_come_from(tmp_path):
    (tmp_path / "clips.csv").write_text(f"file,label,description\n1.mp4,{'x' * 999},{'y' * 9999}\n")
    (clip,) = read_folder(tmp_path)
    assert (len(clip.label), len(clip.description)) == (60, 1000)
    tree = tmp_path / "tree" / ("z" * 200)
    tree.mkdir(parents=True)
    (tree / "1.mp4").touch()
    assert read_folder(tmp_path / "tree")[0].label == "z" * 60
    # A cut that is only for the page does not reach the owner's file.
    write_csv(tmp_path, [clip, ReferenceClip("2.mp4", "b")])
    assert "x" * 999 in (tmp_path / "clips.csv").read_text()


def test_rows_and_clips_are_bounded(tmp_path):
    (tmp_path / "clips.csv").write_text("file,label\n" + "".join(f"{i}.mp4,a\n" for i in range(11)))
    with pytest.raises(ReferencesError, match="more than 10 clips"):
        read_folder(tmp_path, 10)
    (tmp_path / "clips.csv").unlink()
    (tmp_path / "a").mkdir()
    for i in range(11):
        (tmp_path / "a" / f"{i}.mp4").touch()
    with pytest.raises(ReferencesError, match="more than 10 clips"):
        read_folder(tmp_path, 10)
    assert len(read_folder(tmp_path, 11)) == 11


@pytest.mark.parametrize("name", [".Trash-1000/files", ".ipynb_checkpoints", "@eaDir/0.mp4", "__MACOSX/a", "vectors/a"])
def test_hidden_and_system_folders_hold_no_clips(tmp_path, name):
    for place in (name, f"walk/{name}" if name != "vectors/a" else name, "walk"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "1.mp4").touch()
    (tmp_path / "walk" / "._1.mp4").touch()
    assert [clip.file for clip in read_folder(tmp_path)] == ["walk/1.mp4"]


@pytest.mark.parametrize(
    "name",
    [
        *("../a.mp4", "a/../b.mp4", "/a.mp4", "C:\\a.mp4", "..\\a.mp4", "", ".", "a/..", "a\0.mp4", "a\nb.mp4"),
        *(
            "clips.csv",
            "notes.txt",
            ".env",
            ".x.mp4",
            "a/.git/1.mp4",
            "vectors/1.png",
            "Vectors/t/1.jpg",
            "./vectors/1.png",
        ),
        *("__MACOSX/1.mp4", "x" * 300 + ".mp4", "@eaDir/1.jpg"),
    ],
)
def test_names_that_are_no_clips_names(name):
    assert clip_name(name) is None


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("./a//b.MP4", "a/b.MP4"),
        ("a\\b.mp4", "a/b.mp4"),
        (unicodedata.normalize("NFD", "Läufer/ü.mp4"), "Läufer/ü.mp4"),
    ],
)
def test_names_are_written_in_one_way(name, right):
    assert clip_name(name) == right


def test_a_file_is_found_in_whichever_form_of_unicode_it_is_named(tmp_path):
    on_disk = unicodedata.normalize("NFD", "Läufer.mp4")
    (tmp_path / on_disk).touch()
    (tmp_path / "clips.csv").write_text("file,label\nLäufer.mp4,a\n", encoding="utf-8")
    assert read_folder(tmp_path)[0].file == on_disk


def test_one_file_under_two_spellings_is_told(tmp_path):
    (tmp_path / "clips.csv").write_text("file,label\n./a.mp4,x\na.mp4,y\n")
    with pytest.raises(ReferencesError, match="more than once"):
        read_folder(tmp_path)


def clips_in(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_a_folder_holds_without_a_list_is_what_its_list_says_then(tmp_path, caplog):
    in_two = unicodedata.normalize("NFD", "ä/Läufer.mp4")
    good = ["box/1.mp4", "box/ 2.mp4", "box/3 .mp4", "box/a,b.mp4", 'box/"4".mp4', "box/'5.mp4", "=box/6.mp4", in_two]
    good += ["box/x:y.mp4", "box/line\nbreak.mp4", "box/[7] %d*.mp4", "train/box/8.mp4"]
    bad = ["a:b/1.mp4", " lead/1.mp4", "box/x\\y.mp4"]
    clips_in(tmp_path, *good, *bad)
    found = read_folder(tmp_path)
    assert {clip.file for clip in found} == set(good)
    assert caplog.text.count("passed over") == len(bad)
    write_csv(tmp_path, found)
    assert read_folder(tmp_path) == found


def test_of_one_name_in_two_forms_of_unicode_one_clip_is_taken(tmp_path, caplog):
    names = [unicodedata.normalize(form, "한글/1.mp4") for form in ("NFC", "NFD")]
    clips_in(tmp_path, *names)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes both for one name")
    found = read_folder(tmp_path)
    assert len(found) == 1
    assert "two forms" in caplog.text
    write_csv(tmp_path, found)
    assert read_folder(tmp_path) == found


@pytest.mark.parametrize(
    "names",
    [["box/1.mp4", "box/1.mp4"], ["ä.mp4", "a\u0308.mp4"], [" 1.mp4"], ["a:b/1.mp4"], ["x\\y.mp4"], ["../1.mp4"]],
)
def test_nothing_is_written_that_could_not_be_read_again(tmp_path, names):
    write_csv(tmp_path, [ReferenceClip("box/0.mp4", "box")])
    before = (tmp_path / "clips.csv").read_bytes()
    with pytest.raises(ReferencesError):
        write_csv(tmp_path, [ReferenceClip("box/0.mp4", "box"), *(ReferenceClip(name, "box") for name in names)])
    assert (tmp_path / "clips.csv").read_bytes() == before


def test_links_in_the_folder_are_its_clips(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"x")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.mp4").symlink_to("../blobs/1")
    (tmp_path / "set" / "clips.csv").write_text("file,label\n1.mp4,a\n")
    assert [clip.file for clip in read_folder(tmp_path / "set")] == ["1.mp4"]


FORMULAS = ["=cmd|x", "@SUM(A1)", "+1-2", "-1", "'=quoted", "plain", "it's"]


def test_formulas_are_defused_on_the_way_out_and_come_back_as_they_were(tmp_path):
    clips = [ReferenceClip(f"{i}.mp4", text, text, text) for i, text in enumerate(FORMULAS)]
    write_csv(tmp_path, [*clips, ReferenceClip("-1.mp4", "a")])
    out = tmp_path / "out"
    out.mkdir()
    (out / "clips.csv").write_bytes(as_exported(tmp_path))
    cells = [cell for line in (out / "clips.csv").read_text().splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell[:1] in {"=", "@", "+", "-"}]
    assert read_folder(out, exported=True) == read_folder(tmp_path)


def test_a_failed_write_leaves_the_list_as_it_was(tmp_path, monkeypatch):
    write_csv(tmp_path, [ReferenceClip("1.mp4", "a")])
    before = (tmp_path / "clips.csv").read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(listing, "replace_file", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(tmp_path, [ReferenceClip("1.mp4", "b")])
    assert (tmp_path / "clips.csv").read_bytes() == before
