"""Zips of other systems: their names are those that their owners see there."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest
from colours import Colours

from vjepa_demo.errors import ReferencesError
from vjepa_demo.references.change import take
from vjepa_demo.references.codepages import guess
from vjepa_demo.references.zips import unpack, unpacked_size

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0c"
    b"IDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"
)


def packed(path: Path, names: list[bytes], extra: list[bytes] | None = None) -> Path:
    """A zip whose names are these bytes, without the flag that says UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo(f"{number:02d}".ljust(len(name), "Q"))
            entry.extra = extra[number] if extra else b""
            archive.writestr(entry, PNG)
    data = path.read_bytes()
    for number, name in enumerate(names):
        data = data.replace(f"{number:02d}".ljust(len(name), "Q").encode(), name)
    path.write_bytes(data)
    return path


def unpacked(path: Path, target: Path) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    assert unpack(path, target, notes=notes) == []
    return sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()), notes


@pytest.mark.parametrize(
    ("labels", "codec", "language"),
    [
        (["Läufer", "Sprünge"], "utf-8", None),
        (["走る人", "跳ぶ人"], "utf-8", None),
        (["走る人", "跳ぶ人"], "cp932", "Japanese"),
        (["表示", "ソフト", "犬"], "cp932", "Japanese"),  # a byte of three of these letters is a backslash
        (["ダンス_1", "サッカー"], "cp932", "Japanese"),
        (["跑步的人", "跳高的人"], "gbk", "Chinese"),
        (["跑步"], "gbk", "Chinese"),  # each letter is a Korean one, too
        (["做饭", "骑自行车"], "gbk", "Chinese"),
        (["跑步", "開門"], "cp950", "traditional Chinese"),
        (["걷기", "달리기"], "cp949", "Korean"),
        (["Läufer", "Sprünge"], "cp850", "Western European"),
        (["Läufer", "Sprünge"], "cp437", "Western European"),
        (["École", "Français à pied", "São João"], "cp850", "Western European"),
        (["été"], "cp850", "Western European"),
    ],
)
def test_names_are_those_of_the_system_that_packed_them(tmp_path, labels, codec, language):
    names = [f"{label}/{number}.png" for number, label in enumerate(labels)]
    found, notes = unpacked(packed(tmp_path / "a.zip", [name.encode(codec) for name in names]), tmp_path / "in")
    assert found == sorted(names)
    # What was guessed is told, since it may be wrong.
    assert notes == ([f"has names in an old code page, read as {language}"] if language else [])


def test_names_of_a_finder_in_two_letters_become_one(tmp_path):
    name = unicodedata.normalize("NFD", "Läufer/ü.png").encode()
    assert unpacked(packed(tmp_path / "a.zip", [name]), tmp_path / "in")[0] == ["Läufer/ü.png"]


def test_backslashes_of_windows_are_folders_and_halves_of_letters_are_none(tmp_path):
    names = ["set\\走る\\ソ.png".encode("cp932"), "set\\跳ぶ\\能.png".encode("cp932")]
    found, _ = unpacked(packed(tmp_path / "a.zip", names), tmp_path / "in")
    assert found == ["set/走る/ソ.png", "set/跳ぶ/能.png"]


def field(old: bytes, name: bytes) -> bytes:
    body = b"\1" + struct.pack("<I", zlib.crc32(old)) + name
    return struct.pack("<HH", 0x7075, len(body)) + body


@pytest.mark.parametrize(
    ("made_for", "right"),
    [(None, "Ελληνικά/0.png"), (b"another name", "L\xe4ufer/0.png"), (b"", "L\xe4ufer/0.png")],
    ids=["of this name", "of a name before", "cut short"],
)
def test_the_field_for_a_name_in_unicode_counts_while_it_is_of_this_name(tmp_path, made_for, right):
    old = "Läufer/0.png".encode("cp850")
    extra = field(old if made_for is None else made_for, "Ελληνικά/0.png".encode())
    if made_for == b"":
        extra = extra[:4] + b"\1"
        extra = extra[:2] + struct.pack("<H", 1) + b"\1"
    path = packed(tmp_path / "a.zip", [old], [extra])
    found, notes = unpacked(path, tmp_path / "in")
    assert found == [unicodedata.normalize("NFC", right)]
    assert bool(notes) is (made_for is not None)


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("تشغيل", "cp720"),
        ("бег", "cp866"),
        ("τρέξιμο", "cp737"),
        ("ריצה", "cp862"),
        ("koşu", "cp857"),
        ("Łódź", "cp852"),
    ],
)
def test_names_that_no_code_page_makes_words_of_get_one_sentence(tmp_path, label, codec):
    other = packed(tmp_path / "a.zip", [f"{label}/0.png".encode(codec), b"plain/1.png"])
    for ask in (lambda: unpack(other, tmp_path / "in"), lambda: unpacked_size(other)):
        with pytest.raises(ReferencesError, match="with names in UTF-8"):
            ask()
    assert not (tmp_path / "in").exists()


def test_files_that_are_not_taken_do_not_have_to_be_readable_names(tmp_path):
    path = packed(tmp_path / "a.zip", [b"run/0.png"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes Ö²▒╒.txt".encode("cp437").decode("latin-1"), "of yesterday")
    found, notes = unpacked(path, tmp_path / "in")
    assert found == ["run/0.png"]
    assert notes == []


def test_labels_of_a_foreign_zip_reach_the_set_and_the_guess_is_told(tmp_path):
    names = [f"{label}/{number}.png".encode("cp932") for number, label in enumerate(["走る人", "跳ぶ人"])]
    report = take(tmp_path / "set", [(packed(tmp_path / "a.zip", names), "a.zip")], "", Colours())
    assert {clip.label for clip in report.references.clips} == {"走る人", "跳ぶ人"}
    assert report.notes == (("a.zip", "has names in an old code page, read as Japanese"),)


def test_hidden_files_of_a_zip_and_names_that_lead_out_are_counted(tmp_path):
    names = [b"run/0.png", b"__MACOSX/run/._0.png", b"run/@eaDir/0.png", b"run/._1.png", b"../2.png", b"C:\\3.png"]
    found, notes = unpacked(packed(tmp_path / "a.zip", names), tmp_path / "in")
    assert found == ["run/0.png"]
    assert notes == ["holds 3 hidden files, 2 names that lead out of it: passed over"]


def test_a_zip_of_nothing_but_hidden_files_says_so(tmp_path):
    path = packed(tmp_path / "a.zip", [b"__MACOSX/run/._0.png", b".Trash-1000/files/1.png"])
    with pytest.raises(ReferencesError, match=r"no videos or images.* It holds 2 hidden files: passed over\."):
        take(tmp_path / "set", [(path, "a.zip")], "x", Colours())


def test_very_many_names_are_guessed_from_some_of_them():
    names = ["走る人".encode("cp932")] * 3000
    assert guess([*names, b"\xff\xff\xff" * 1000]) == ("cp932", "Japanese")
