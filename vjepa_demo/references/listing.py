"""What a folder of reference clips holds, as its owner wrote it: `clips.csv`, or sub-folders named after labels."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from vjepa_demo.errors import ReferencesError, cut
from vjepa_demo.files import replace_file
from vjepa_demo.logs import named
from vjepa_demo.media.formats import is_clip, is_named_clip
from vjepa_demo.references.comparison import ReferenceClip

log = logging.getLogger(__name__)

CSV_NAME = "clips.csv"
BACKUP = "clips.csv~"  # the owner's file as it was before the first change
CSV_LOCK = f".{CSV_NAME}.lock"
STORED = "vectors"  # the folder beside clips.csv in which a set carries its vectors along
SPLITS = {"train", "training", "val", "valid", "validation", "test"}
# Folders that systems make for themselves; like names that begin with a dot, nobody means them by "my clips".
SYSTEM_FOLDERS = {
    *("__macosx", "network trash folder", "temporary items"),  # Finder, and Macs on a network
    *("$recycle.bin", "system volume information", "found.000"),  # Windows
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "~snapshot"),  # Synology, QNAP, NetApp
    "lost+found",  # Linux
    *("desktop.ini", "thumbs.db"),  # files of Windows
}
# What is passed over where clips are looked for: how one is called, and several.
HIDDEN_FOLDER = "hidden or system folder", "hidden or system folders"
HIDDEN_FILE = "hidden file", "hidden files"
OTHER = "file that is neither a video nor an image", "files that are neither videos nor images"
LOOSE = "clip beside the folders of the labels", "clips beside the folders of the labels"
LOOP = "link that leads back to a folder around it", "links that lead back to folders around them"
DANGLING = "link that leads to no file", "links that lead to no file"
UNSEEN = "name with letters that cannot be seen", "names with letters that cannot be seen"
LINK = "link", "links"
UNREADABLE = "folder that may not be read", "folders that may not be read"
UNLISTED = "file that clips.csv could not name", "files that clips.csv could not name"
OUTSIDE = "name that leads out of it", "names that lead out of it"
Passed = Counter[tuple[str, str]]

MOST_CLIPS = 200_000  # of a folder in the shell
MOST_FILES = 5000  # of what is uploaded at a time
MOST_CSV_BYTES = 5 * 2**20  # of a clips.csv that is uploaded: a thousand letters a clip
NAME_BYTES = 255  # of one part of a path, as most file systems have it
LABEL_LENGTH = 60
LENGTHS = {"label": LABEL_LENGTH, "description": 1000, "licence": 200, "split": 20}
NO_CSV = "The file clips.csv cannot be opened: check that it may be read."
# What may stand between the cells, with the marks of encodings that spreadsheets write.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
HEADER_WITHIN = 10  # lines: above it may stand a title, as Numbers exports one, or `sep=`, as Excel reads it
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
COLUMNS = [column.name for column in fields(ReferenceClip)]
# A cell that a spreadsheet would run, with the apostrophes that keep it from doing so.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def read_folder(
    folder: str | Path, most: int = MOST_CLIPS, *, exported: bool = False, passed: Passed | None = None
) -> list[ReferenceClip]:
    """The reference clips of a folder: the rows of its `clips.csv`, else every video and image in its sub-folders.

    `clips.csv` has the columns file and label, and may have description, licence and split, which are cut to LENGTHS,
    and any others. Without it a clip's label is the name of the folder it lies in, and its split that of the first
    folder if it is called train, val or test; hidden and system folders are passed over. Links are followed: a clip is
    in the folder if its name is, wherever its bytes are.

    Args:
        folder: where to look.
        most: how many clips there may be.
        exported: the `clips.csv` is an exported one, in which formulas begin with an apostrophe (see `as_exported`).
        passed: is told what was passed over, for `told`.

    Raises:
        ReferencesError: there is no such folder, no clip in it, or its `clips.csv` is faulty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReferencesError("There is no such folder of reference clips: check the path.")
    passed = Counter() if passed is None else passed
    clips = clips_of(folder, most, exported=exported, passed=passed)
    if not clips:
        raise ReferencesError(
            "The folder holds no reference clips: put a clips.csv with the columns file and label into it, or one "
            "sub-folder of clips for each label." + (f" It {told(passed)}." if passed else "")
        )
    return clips


def clips_of(
    folder: Path, most: int = MOST_CLIPS, *, exported: bool = False, passed: Passed | None = None
) -> list[ReferenceClip]:
    """As `read_folder`, of a folder that may be empty or not there yet."""
    path = folder / CSV_NAME
    if not path.is_file():
        return _read_tree(folder, most, Counter() if passed is None else passed) if folder.is_dir() else []
    return [clip for clip, _ in Table.read(path, most, exported=exported).clips(folder)]


def write_csv(folder: Path, clips: Iterable[ReferenceClip]) -> None:
    """Make `clips.csv` list these clips in this order, all of it or nothing.

    Of clips that stand in it already everything is kept that is not said otherwise here: the header's spelling, columns
    that are not known, texts that are longer than LENGTHS. The file as it was before the first change stays beside it.

    Raises:
        ReferencesError: what stands there is faulty, or what would stand there could not be read again.
    """
    path = folder / CSV_NAME
    table = Table.read(path) if path.is_file() else Table()
    rows = {clip.file: (clip, cells) for clip, cells in table.clips(folder)}
    wanted = list(clips)
    for column in COLUMNS:
        if table.column(column) is None and any(getattr(clip, column) for clip in wanted):
            table.head.append(column)
    table.rows = [(0, table.merged(clip, *rows.get(clip.file, (None, [])))) for clip in wanted]
    new = table.encode()
    if [clip.file for clip, _ in Table.parse(new).clips(folder)] != [clip.file for clip in wanted]:
        raise ReferencesError("A clip's name would not come back from clips.csv as it is: give the file a plain name.")
    if path.is_file():
        if path.read_bytes() == new:
            return
        _back_up(path)
    replace_file(path, lambda target: target.write_bytes(new))


def as_exported(folder: Path) -> bytes:
    """The set's `clips.csv`, with an apostrophe before what a spreadsheet would run as a formula."""
    path = folder / CSV_NAME
    table = Table.read(path) if path.is_file() else Table()
    if not path.is_file():
        table.rows = [(0, table.merged(clip, None, [])) for clip in clips_of(folder)]
    table.first, table.head = "", [_defused(cell) for cell in table.head]
    table.rows = [(0, [_defused(cell) for cell in cells]) for _, cells in table.clips(folder)]
    return table.encode()


def as_moved(folder: Path) -> bytes:
    """The folder's `clips.csv` as it can stand in another folder: byte by byte, unless it names whole paths."""
    data = (folder / CSV_NAME).read_bytes()
    table = Table.parse(data)
    moved = [(line, cells) for (line, _), (_, cells) in zip(table.rows, table.clips(folder), strict=True)]
    if moved == table.rows:
        return data
    table.rows = moved
    return table.encode()


def told(passed: Passed) -> str:
    """What was passed over, as the end of a sentence that begins with where it is."""
    parts = [f"{count:,} {words[count > 1]}" for words, count in sorted(passed.items())]
    return f"holds {', '.join(parts)}: passed over"


def composed(name: str) -> str:
    """A name in the form of Unicode in which names are compared: an umlaut in one letter is that in two."""
    return unicodedata.normalize("NFC", name)


def name_within(name: str) -> str | None:
    """A name with forward slashes and without `./`; None where it is absolute, or may lead out of its folder."""
    name = name.strip().replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    absolute = name.startswith("/") or re.match(r"[A-Za-z]:", name)
    return None if absolute or not parts or ".." in parts or "\0" in name else "/".join(parts)


def clip_name(name: str) -> str | None:
    """The name of a clip that is brought in from elsewhere, in Unicode's composed form, or None for what is none."""
    return None if fault_of(name) else name_within(composed(name))


def fault_of(name: str) -> str:
    """Why a name cannot be that of a clip that is brought in from elsewhere, as a sentence; "" where it can."""
    inside = name_within(composed(name))
    if inside is None:
        return "The name leads out of the folder: move the file inside."
    if not inside.isprintable():
        return "The name has letters that cannot be seen, or are not UTF-8: rename it."
    parts = inside.split("/")
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_BYTES for part in parts) or len(inside) > 1000:
        return "The name is too long for a file: shorten it."
    if any(map(is_hidden, parts)):
        return "The file is hidden, or in a hidden or system folder: rename or move it."
    if parts[0].lower() == STORED:
        return f"The folder {STORED} is for vectors alone: move the clip."
    if parts[-1].lower() in (CSV_NAME, BACKUP):
        return "The name is that of the list of clips: rename the file."
    return ""


def is_hidden(part: str) -> bool:
    """Whether a part of a path belongs to a system, or is hidden, rather than being a label or a clip."""
    return part.startswith(".") or part.lower() in SYSTEM_FOLDERS


def one_line(text: str, length: int) -> str:
    """Text without line breaks and other characters that cannot be seen, cut to a length."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(seen.split())[:length].strip()


@dataclass
class Table:
    """A `clips.csv` in its owner's own way of writing: encoding, separator, line ends, header and columns.

    Attributes:
        head: names of the columns.
        rows: (line in the file, cells), without empty ones.
        delimiter, newline, mark, encoding, first: separator, line end, the bytes that say the encoding, its codec, and
            what stands above the header.
    """

    head: list[str] = field(default_factory=lambda: list(COLUMNS))
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    delimiter: str = ","
    newline: str = "\n"
    mark: bytes = b""
    encoding: str = "utf-8"
    first: str = ""

    @classmethod
    def read(cls, path: Path, most: int = MOST_CLIPS, *, exported: bool = False) -> Table:
        """As `parse`. Raises ReferencesError where it cannot be read."""
        try:
            with path.open("rb") as file:
                data = file.read(_most_bytes(most) + 1)
        except OSError as error:
            raise ReferencesError(NO_CSV) from error
        return cls.parse(data, most, exported=exported)

    @classmethod
    def parse(cls, data: bytes, most: int = MOST_CLIPS, *, exported: bool = False) -> Table:
        """Read what spreadsheets, pandas and R write.

        Raises:
            ReferencesError: it is no table in Unicode, lacks a column, or has more than `most` rows; what is wrong is
                told with its line, as an editor counts lines.
        """
        if len(data) > _most_bytes(most):
            raise ReferencesError("The file clips.csv is too large to be a list of clips: shorten its texts.")
        mark, encoding, text = _decoded(data)
        start, delimiter = _header(text)
        table = cls(delimiter=delimiter, mark=mark, encoding=encoding, first=text[:start])
        ends = re.search(r"\r\n|\r|\n", text[start:])
        table.newline = ends[0] if ends else "\n"
        above = len(re.findall(r"\r\n|\r|\n", table.first))
        # Whoever writes a blank after each separator writes it before quotation marks, too.
        blanks = delimiter != " " and bool(re.search(rf'{re.escape(delimiter)} +"', text))
        reader = csv.reader(
            io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=blanks, strict=True
        )
        line = above + 1
        try:
            table.head = next(reader)
            line = above + reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if exported:
                        cells = [cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell for cell in cells]
                    table.rows.append((line, cells))
                if len(table.rows) > most:
                    raise ReferencesError(f"The file clips.csv lists more than {most:,} clips: take fewer at a time.")
                line = above + reader.line_num + 1
        except csv.Error as error:
            raise ReferencesError(
                f"The text that begins in line {line} of clips.csv does not end as it should: close each quotation "
                "mark, and write two where one is meant."
            ) from error
        table._fit_head()
        return table

    def _fit_head(self) -> None:
        """R numbers rows in a column that its header leaves out; other cells beyond the header are a mistake."""
        wide = [(line, cells) for line, cells in self.rows if any(cell.strip() for cell in cells[len(self.head) :])]
        if not wide:
            return
        if len(wide) == len(self.rows) and all(
            len(cells) == len(self.head) + 1 and cells[0].isdigit() for _, cells in wide
        ):
            self.head.insert(0, "")
            return
        raise ReferencesError(
            f"Line {wide[0][0]} of clips.csv has more cells than the header, with {SEPARATORS[self.delimiter]} between "
            "them: put texts that hold one into quotation marks."
        )

    def column(self, name: str) -> int | None:
        """Where a column is, however its name is written."""
        names = _column_names(self.head)
        return names.index(name) if name in names else None

    def clips(self, folder: Path) -> Iterator[tuple[ReferenceClip, list[str]]]:
        """Each row as a clip, with its cells, in which names are those within the folder.

        Raises:
            ReferencesError: one is faulty or there twice.
        """
        places = {name: at for name in COLUMNS if (at := self.column(name)) is not None}
        disk, found, rows = _Disk(folder), list[str](), list[tuple[dict[str, str], list[str]]]()
        for line, cells in self.rows:
            values = {name: cells[at].strip() if at < len(cells) else "" for name, at in places.items()}
            lacking = [name for name in ("file", "label") if not one_line(values[name], LABEL_LENGTH)]
            if lacking:
                raise ReferencesError(
                    f"Line {line} of clips.csv has no {' and no '.join(lacking)}: fill in what is missing, or take the "
                    "line out."
                )
            file = values["file"]
            if len(file) > 2 and file[0] == file[-1] == '"':  # as Windows copies a path
                file = file[1:-1]
            name = name_within(file)
            if name is None:
                name = disk.within(file)
                cells = [*cells[: places["file"]], name or "", *cells[places["file"] + 1 :]]
            if name is None:
                raise ReferencesError(
                    f"Line {line} of clips.csv names a file outside its folder: move it inside, and name it as seen "
                    "from there, such as clips/1.mp4."
                )
            found.append(name)
            rows.append((values, cells))
        lines: dict[str, int] = {}
        listed = set(map(composed, found))
        for (line, _), name, (values, cells) in zip(self.rows, found, rows, strict=True):
            own = disk.spelling(name)
            key = composed(own)
            if own != name and key != composed(name) and key in listed:
                own, key = name, composed(name)  # the other is that of another line
            first = lines.setdefault(key, line)
            if first != line:
                raise ReferencesError(
                    f"A file stands in clips.csv more than once, in lines {first} and {line}: keep one line for each."
                )
            texts = {key: one_line(values.get(key, ""), length) for key, length in LENGTHS.items()}
            yield ReferenceClip(own, **texts), cells

    def merged(self, clip: ReferenceClip, old: ReferenceClip | None, cells: list[str]) -> list[str]:
        """A clip's cells: those it had, but for what has changed."""
        if clip == old:
            return cells
        cells = cells + [""] * (len(self.head) - len(cells))
        for name in COLUMNS:
            at = self.column(name)
            if at is not None and (old is None or getattr(clip, name) != getattr(old, name)):
                cells[at] = getattr(clip, name)
        return cells

    def encode(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.newline)
        writer.writerows([self.head, *(cells for _, cells in self.rows)])
        return self.mark + (self.first + text.getvalue()).encode(self.encoding)


def _decoded(data: bytes) -> tuple[bytes, str, str]:
    """The mark of the encoding, the encoding, and the text of a `clips.csv`."""
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    # Without a mark, the other byte of every plain letter tells UTF-16.
    encoding = MARKS.get(mark) or {b"\0": "utf-16-le"}.get(data[1:2]) or {b"\0": "utf-16-be"}.get(data[:1]) or "utf-8"
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        before = data[len(mark) :][: error.start].decode(encoding, "replace")
        raise ReferencesError(
            f"Line {_line_of(before)} of clips.csv has letters that are not UTF-8: save it as CSV in UTF-8."
        ) from error
    if "\0" in text:
        raise ReferencesError(
            f"Line {_line_of(text[: text.index(chr(0))])} of clips.csv has a byte that no text has: save it as CSV in "
            "UTF-8."
        )
    return mark, encoding, text


def _line_of(before: str) -> int:
    return 1 + len(re.findall(r"\r\n|\r|\n", before))


def _header(text: str) -> tuple[int, str]:
    """Where the line that names the columns begins, and what stands between them."""
    separators, seen = list(SEPARATORS), list[tuple[int, str]]()
    for number, found in enumerate(LINE.finditer(text), start=1):
        line = found[0].rstrip("\r\n")
        if line[:4].lower() == "sep=" and line[4:5] in SEPARATORS:
            separators = list(dict.fromkeys((line[4], *SEPARATORS)))
            continue
        for separator in separators:
            names = _column_names(_cells(line, separator))
            if "file" in names and "label" in names:
                return found.start(), separator
        if line.strip():
            seen.append((number, line))
        if number == HEADER_WITHIN:
            break
    if not seen:
        raise ReferencesError("The file clips.csv is empty: it must name the columns file and label, and list clips.")
    number, line = seen[0]
    separator = max(separators, key=line.count)
    columns = [cut(name) for name in _cells(line, separator)]
    shown = ", ".join(columns[:5]) + (" …" if len(columns) > 5 else "")
    raise ReferencesError(
        f"Line {number} of clips.csv must name the columns file and label; read with {SEPARATORS[separator]} between "
        f"them it names {shown}."
    )


def _cells(line: str, separator: str) -> list[str]:
    with contextlib.suppress(csv.Error):
        return next(csv.reader([line], delimiter=separator, skipinitialspace=separator != " "), [])
    return []


def _column_names(cells: Iterable[str]) -> list[str]:
    return [re.sub(r"^license$", "licence", cell.strip().lower()) for cell in cells]


def _most_bytes(most: int) -> int:
    """How long a `clips.csv` of so many clips may be."""
    return MOST_CSV_BYTES * max(1, most // MOST_FILES)


def _defused(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


class _Disk:
    """The names of a folder as they are on its disk: systems differ in how they take letters, and in how they write
    umlauts."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.fspath(folder)
        self.roots = [Path(os.path.abspath(folder)), Path(os.path.realpath(folder))]
        self._listed: dict[str, dict[str, str]] = {}

    def within(self, path: str) -> str | None:
        """The name of a file whose whole path is in the folder. What is in it is told by the names alone: where links
        lead is the owner's affair."""
        for root in self.roots:
            with contextlib.suppress(ValueError):
                return name_within(Path(path).relative_to(root).as_posix())
        return None

    def spelling(self, name: str) -> str:
        """The name as the disk has it, where it differs in form or case alone, and from one file alone."""
        if os.path.lexists(os.path.join(self.folder, name)):
            return name
        way = ""
        for part in name.split("/"):
            found = self._names(way).get(composed(part).casefold())
            if not found:
                return name
            way = f"{way}/{found}" if way else found
        return way

    def _names(self, way: str) -> dict[str, str]:
        if way not in self._listed:
            self._listed[way] = names = {}
            with contextlib.suppress(OSError):
                for name in os.listdir(os.path.join(self.folder, way)):
                    key = composed(name).casefold()
                    names[key] = "" if key in names else name
        return self._listed[way]


def directories(folder: Path) -> list[Path]:
    """The folder and those in it in which clips are looked for."""
    return [place for place, _ in _walk(folder, Counter())]


def _walk(folder: Path, passed: Passed) -> Iterator[tuple[Path, list[str]]]:
    """Each directory in which clips are looked for, with the names of its files; links are followed, but not back."""
    ways = {os.fspath(folder): frozenset(map(_identity, (folder.resolve(), *folder.resolve().parents)))}
    walk = os.walk(folder, onerror=lambda _: passed.update([UNREADABLE]), followlinks=True)
    for number, (place, folders, names) in enumerate(walk):
        if number > MOST_CLIPS:
            raise ReferencesError(f"There are more than {MOST_CLIPS:,} folders in the folder: take fewer at a time.")
        above, inside = ways.pop(place), []
        for name in folders:
            path = os.path.join(place, name)
            identity = _identity(path)
            if is_hidden(name):
                passed[HIDDEN_FOLDER] += 1
            elif identity in above:
                passed[LOOP] += 1
            elif identity and (Path(place) != folder or name != STORED):
                ways[path] = above | {identity}
                inside.append(name)
        folders[:] = inside
        yield Path(place), names


def _identity(path: str | Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


def _read_tree(folder: Path, most: int, passed: Passed) -> list[ReferenceClip]:
    clips, seen = [], set[str]()
    for place, names in _walk(folder, passed):
        inside = place.relative_to(folder).parts
        for name in names:
            parts = (*inside, name)
            path = Path(place, name)
            if is_hidden(name):
                passed[HIDDEN_FILE] += is_named_clip(name)
            elif not path.is_file():
                passed[DANGLING] += path.is_symlink()
            elif not is_clip(path):
                passed[OTHER] += not (name in (CSV_NAME, BACKUP) or path.suffix == ".safetensors")  # a set's own
            elif not inside:
                passed[LOOSE] += 1
            elif not _can_be_listed("/".join(parts), seen):
                passed[UNLISTED] += 1
            else:
                split = parts[0].lower() if len(parts) > 2 and parts[0].lower() in SPLITS else ""
                clips.append((parts, ReferenceClip("/".join(parts), one_line(parts[-2], LABEL_LENGTH), split=split)))
        if len(clips) > most:
            raise ReferencesError(f"The folder holds more than {most:,} clips: take fewer at a time.")
    for words in [words for words, count in passed.items() if not count]:
        del passed[words]
    return [clip if clip.label else replace(clip, label="clips") for _, clip in sorted(clips, key=lambda item: item[0])]


def _can_be_listed(name: str, seen: set[str]) -> bool:
    """Whether `clips.csv` can hold a name beside those that were `seen`, so that the clip is found by it again."""
    why = None
    try:
        name.encode()
    except UnicodeEncodeError:  # in another system's bytes
        why = "is not a name in UTF-8"
    else:
        if name_within(name) != name:
            why = "begins or ends with a space, begins like a drive, or has a backslash in it"
        elif composed(name) in seen:
            why = "is there twice, in two forms of Unicode"
    if why:
        log.warning("passed over: %s %s: rename it", named(name), why)
    seen.add(composed(name))
    return why is None


def _back_up(path: Path) -> None:
    backup = path.with_name(BACKUP)
    if os.path.lexists(backup):
        return
    with contextlib.suppress(OSError):
        os.link(path, backup)  # the file is replaced, never written into: the link keeps it as it was
        return
    shutil.copy2(path, backup)
