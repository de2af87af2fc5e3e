"""What an owner's folder and list say, and that they keep what only their owner knows."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from vjepa_demo.errors import ReferencesError
from vjepa_demo.references import listing
from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import Passed, Table, as_exported, clip_name, read_folder, told, write_csv

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
            "a/clips.csv~",
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


# --- lists as spreadsheets, pandas and R write them ---

TWO = [ReferenceClip("clips/0.mp4", "a, b"), ReferenceClip("clips/1.mp4", "c")]
PLAIN = 'file,label\nclips/0.mp4,"a, b"\nclips/1.mp4,c\n'
WRITTEN = {
    "Excel, UTF-8": b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(),
    "Excel, half of Europe": b"\xef\xbb\xbffile;label\r\nclips/0.mp4;a, b\r\nclips/1.mp4;c\r\n",
    "Excel, Unicode text": "file\tlabel\r\nclips/0.mp4\ta, b\r\nclips/1.mp4\tc\r\n".encode("utf-16"),
    "Excel, Unicode text, the other bytes first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "Excel, line ends of old Macs": PLAIN.replace("\n", "\r").encode(),
    "sep": ("sep=;\r\n" + "file;label\r\nclips/0.mp4;a, b\r\nclips/1.mp4;c\r\n").encode(),
    "sep in a file with a mark": b"\xef\xbb\xbfSEP=,\n" + PLAIN.encode(),
    "blank lines above": b"\n\n" + PLAIN.encode(),
    "Numbers, with the table's title": ("Tabelle 1,\r\n" + PLAIN.replace("\n", "\r\n")).encode(),
    "pandas, with its index": b',file,label\n0,clips/0.mp4,"a, b"\n1,clips/1.mp4,c\n',
    "pandas, read and written again": b'Unnamed: 0,file,label\n0,clips/0.mp4,"a, b"\n1,clips/1.mp4,c\n',
    "R, write.csv": b'"","file","label"\n"1","clips/0.mp4","a, b"\n"2","clips/1.mp4","c"\n',
    "R, write.table": b'"file","label"\n"1","clips/0.mp4","a, b"\n"7","clips/1.mp4","c"\n',
    "R, write.table as it is": b'"file" "label"\n"1" "clips/0.mp4" "a, b"\n"2" "clips/1.mp4" "c"\n',
    "bars": b"file|label\nclips/0.mp4|a, b\nclips/1.mp4|c\n",
    "capitals": PLAIN.replace("file,label", " FILE ,Label").encode(),
    "blanks behind separators": b'file, label\nclips/0.mp4, "a, b"\nclips/1.mp4, c\n',
    "empty rows": (PLAIN.replace("\nclips/1", "\n\n,\n ,\nclips/1") + ",\n,\n").encode(),
    "columns that nobody filled": b'file,label,,\nclips/0.mp4,"a, b",,\nclips/1.mp4,c,,,,\n',
    "backslashes": PLAIN.replace("/", "\\").encode(),
    "from ./": PLAIN.replace("clips/", "./clips/").encode(),
    "capitals of another disk": PLAIN.replace("clips/0.mp4", "Clips\\0.MP4").encode(),
    "whole paths": PLAIN.replace("clips/", "{folder}/clips/").encode(),
    "whole paths, with the quotation marks that Windows copies": PLAIN.replace(
        "clips/1.mp4", '"""{folder}/clips/1.mp4"""'
    ).encode(),
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_lists_are_read_and_added_to_as_their_programs_write_them(tmp_path, data):
    folder = clips_in(tmp_path / "set", "clips/0.mp4", "clips/1.mp4", "clips/2.mp4")
    data = data.replace(b"{folder}", str(folder).encode())
    (folder / "clips.csv").write_bytes(data)
    assert read_folder(folder) == TWO
    write_csv(folder, [*TWO, ReferenceClip("clips/2.mp4", "d")])
    assert read_folder(folder) == [*TWO, ReferenceClip("clips/2.mp4", "d")]
    written = Table.read(folder / "clips.csv")
    assert written.encode().startswith(Table.parse(data).mark)
    assert (written.encoding, written.newline) == (Table.parse(data).encoding, Table.parse(data).newline)
    # In another place, too, all of it is found.
    moved = clips_in(tmp_path / "moved", "clips/0.mp4", "clips/1.mp4")
    (moved / "clips.csv").write_bytes(as_exported(folder))
    assert read_folder(moved, exported=True)[:2] == TWO


FAULTY = {
    "no header": (b"clips/0.mp4,run\n", ["Line 1", "file and label", "commas", "'clips/0.mp4', 'run'"]),
    "other columns": (b"\n\nname;class\n0.mp4;a\n", ["Line 3", "file and label", "semicolons", "'name', 'class'"]),
    "one column": (b"file\n0.mp4\n", ["Line 1", "file and label", "'file'"]),
    "nothing": (b"\xef\xbb\xbf\r\n", ["is empty", "file and label"]),
    "no label after blank lines": (b"file,label\n0.mp4,a\n\n\n1.mp4,\n", ["Line 5", "no label"]),
    "no file": (b"sep=,\nfile,label\n0.mp4,a\n,b\n", ["Line 4", "no file"]),
    "neither": (b"file,label,description\n0.mp4,a,\n,,text\n", ["Line 3", "no file and no label"]),
    "after a row of three lines": (b'file,label,description\n0.mp4,a,"1\n2\n3"\n1.mp4,,\n', ["Line 5", "no label"]),
    "within a row of two lines": (b'file,label,description\n0.mp4,a,\n1.mp4,,"x\ny"\n', ["Line 3", "no label"]),
    "line ends of old Macs": (b"file,label\r0.mp4,a\r1.mp4,\r", ["Line 3", "no label"]),
    "a comma in a label": (b"file,label\n0.mp4,a\n1.mp4,b, c\n", ["Line 3", "more cells", "commas", "quotation marks"]),
    "a mark that is not closed": (b'file,label\n0.mp4,a\n1.mp4,"b\n2.mp4,c\n', ["line 3", "quotation mark"]),
    "a mark within": (b'file,label\n0.mp4,"a"b\n', ["line 2", "quotation mark"]),
    "Excel's own letters": ("file,label\n0.mp4,a\n1.mp4,L\xe4ufer\n".encode("cp1252"), ["Line 3", "not UTF-8"]),
    "half of UTF-16": ("file,label\n0.mp4,a\n".encode("utf-16")[:-1], ["not UTF-8"]),
    "a byte that is no text": (b"file,label\n0.mp4,a\n1\0.mp4,b\n", ["Line 3", "byte"]),
    "twice": (b"file,label\n0.mp4,a\n\n./0.mp4,b\n", ["more than once", "lines 2 and 4"]),
    "outside": (b"file,label\n0.mp4,a\n../1.mp4,b\n", ["Line 3", "outside its folder", "clips/1.mp4"]),
    "another whole path": (b"file,label\nC:\\clips\\1.mp4,b\n", ["Line 2", "outside its folder"]),
}


@pytest.mark.parametrize(("data", "words"), FAULTY.values(), ids=FAULTY)
def test_what_is_wrong_with_a_list_is_told_with_its_line_as_editors_count_them(tmp_path, data, words):
    (tmp_path / "clips.csv").write_bytes(data)
    with pytest.raises(ReferencesError) as told:
        read_folder(tmp_path)
    assert not [word for word in words if word not in str(told.value)], str(told.value)


def test_a_file_is_not_taken_for_one_of_another_line_that_is_there(tmp_path):
    """Where a clip is missing for a moment, one that differs in case alone is not it."""
    clips_in(tmp_path, "A.mp4", "b.mp4", "B.mp4")
    (tmp_path / "clips.csv").write_text("file,label\na.mp4,x\nA.mp4,y\nb.MP4,z\n")
    assert [clip.file for clip in read_folder(tmp_path)] == ["a.mp4", "A.mp4", "b.MP4"]


# --- folders as their owners mean them ---


def test_links_to_folders_are_followed_as_torchvision_follows_them(tmp_path):
    from torchvision.datasets import DatasetFolder

    folder = clips_in(tmp_path / "set", "run/0.mp4")
    clips_in(tmp_path / "elsewhere", "1.mp4", "deep/2.mp4")
    (folder / "walk").symlink_to("../elsewhere")
    (folder / "jog").symlink_to("run")  # one folder under two names: both are labels
    right = DatasetFolder(str(folder), loader=str, extensions=(".mp4",)).samples
    assert {clip.file for clip in read_folder(folder)} == {str(Path(path).relative_to(folder)) for path, _ in right}
    assert {clip.label for clip in read_folder(folder)} == {"run", "jog", "walk", "deep"}


@pytest.mark.parametrize("target", [".", "..", "../..", "../walk", "/"])
def test_links_that_lead_back_are_noticed_and_told(tmp_path, target):
    folder = clips_in(tmp_path / "above" / "set", "walk/0.mp4", "walk/deep/1.mp4")
    (folder / "walk" / "back").symlink_to(target)
    passed = Passed()
    assert [clip.file for clip in read_folder(folder, passed=passed)] == ["walk/0.mp4", "walk/deep/1.mp4"]
    assert told(passed) == "holds 1 link that leads back to a folder around it: passed over"


def test_two_folders_with_links_to_each_other_end(tmp_path):
    folder = clips_in(tmp_path / "set", "a/0.mp4", "b/1.mp4")
    (folder / "a" / "to_b").symlink_to("../b")
    (folder / "b" / "to_a").symlink_to("../a")
    found = [clip.file for clip in read_folder(folder)]
    assert found == ["a/0.mp4", "a/to_b/1.mp4", "b/1.mp4", "b/to_a/0.mp4"]


def test_whether_a_listed_file_is_inside_is_told_by_its_name_and_not_by_where_a_link_leads(tmp_path):
    """The links of a folder are its owner's: a Hub's cache and git-annex consist of them.

    Strangers bring zips and files: of a zip no link is unpacked (`zips.unpack`), an upload is a plain file, and the
    list of a zip is read beside what was unpacked of it alone. So no name that they write leads out of their folder.
    """
    folder = tmp_path / "set"
    folder.mkdir()
    clips_in(tmp_path / "annex", "objects/x1")
    (folder / "clips").symlink_to("../annex")
    (folder / "1.mp4").symlink_to("../annex/objects/x1")
    (folder / "clips.csv").write_text(f"file,label\n1.mp4,a\nclips/objects/x1,b\n{folder}/2.mp4,c\n")
    assert [clip.file for clip in read_folder(folder)] == ["1.mp4", "clips/objects/x1", "2.mp4"]
    for name in ("../annex/objects/x1", "clips/../../annex/objects/x1", str(tmp_path / "annex" / "objects" / "x1")):
        (folder / "clips.csv").write_text(f"file,label\n{name},a\n")
        with pytest.raises(ReferencesError, match="outside its folder"):
            read_folder(folder)


def test_what_is_passed_over_is_told_in_one_line_with_counts(tmp_path):
    hidden = (".Trash-1000/files/0.mp4", ".ipynb_checkpoints/f.png", "run/.thumbnails/1.jpg", "walk/@eaDir/0.mp4/s.jpg")
    systems = ("#recycle/0.mp4", "$RECYCLE.BIN/0.mp4", "System Volume Information/0.mp4", "lost+found/0.mp4")
    more = ("@Recently-Snapshot/0.mp4", "FOUND.000/0.mp4", "Network Trash Folder/0.mp4")
    files = ("walk/._0.mp4", "run/._1.mp4", "walk/Thumbs.db", "walk/desktop.ini", "loose.mp4", " lead/1.mp4")
    clips_in(tmp_path, *hidden, *systems, *more, *files, "walk/0.mp4", "run/1.mp4")
    (tmp_path / "run" / "gone.mp4").symlink_to("../.git/annex/objects/gone")
    passed = Passed()
    assert [clip.file for clip in read_folder(tmp_path, passed=passed)] == ["run/1.mp4", "walk/0.mp4"]
    assert told(passed) == (
        "holds 1 clip beside the folders of the labels, 1 file that clips.csv could not name, 2 hidden files, "
        "11 hidden or system folders, 1 link that leads to no file: passed over"
    )


def test_a_folder_of_nothing_but_what_is_passed_over_says_so(tmp_path):
    clips_in(tmp_path, "0.mp4", "1.mp4", ".Trash-1000/2.mp4")
    with pytest.raises(ReferencesError, match="It holds 2 clips beside the folders of the labels, 1 hidden or system"):
        read_folder(tmp_path)


def test_folders_that_lead_into_each_other_without_end_get_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MOST_CLIPS", 500)
    clips_in(tmp_path, "9/0.mp4")
    for level in range(9):
        (tmp_path / str(level)).mkdir()
        for name in "xyz":
            (tmp_path / str(level) / name).symlink_to(f"../{level + 1}")
    with pytest.raises(ReferencesError, match="more than 500 folders"):
        read_folder(tmp_path)


def test_folders_that_may_not_be_read_are_told(tmp_path, monkeypatch):
    clips_in(tmp_path, "run/0.mp4", "theirs/1.mp4")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("theirs"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    passed = Passed()
    assert [clip.file for clip in read_folder(tmp_path, passed=passed)] == ["run/0.mp4"]
    assert told(passed) == "holds 1 folder that may not be read: passed over"
