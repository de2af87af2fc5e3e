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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from vjepa_demo.errors import ReferencesError, named
from vjepa_demo.files import replace_file
from vjepa_demo.media.formats import MEDIA_TYPES
from vjepa_demo.references.comparison import ReferenceClip

log = logging.getLogger(__name__)

CSV_NAME = "clips.csv"
BACKUP = "clips.csv~"  # the owner's file as it was before the first change
CSV_LOCK = f".{CSV_NAME}.lock"
STORED = "vectors"  # the folder beside clips.csv in which a set carries its vectors along
SPLITS = {"train", "training", "val", "valid", "validation", "test"}
# Folders that systems make for themselves; like names that begin with a dot, nobody means them by "my clips".
SYSTEM_FOLDERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}

MOST_CLIPS = 200_000  # of a folder in the shell
MOST_FILES = 5000  # of what is uploaded at a time
MOST_CSV_BYTES = 5 * 2**20  # of a clips.csv that is uploaded: a thousand letters a clip
NAME_BYTES = 255  # of one part of a path, as most file systems have it
LABEL_LENGTH = 60
LENGTHS = {"label": LABEL_LENGTH, "description": 1000, "licence": 200, "split": 20}
NO_CSV = "The file clips.csv cannot be read: save it as CSV in UTF-8."
COLUMNS = [column.name for column in fields(ReferenceClip)]
# A cell that a spreadsheet would run, with the apostrophes that keep it from doing so.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def read_folder(folder: str | Path, most: int = MOST_CLIPS, *, exported: bool = False) -> list[ReferenceClip]:
    """The reference clips of a folder: the rows of its `clips.csv`, else every video and image in its sub-folders.

    `clips.csv` has the columns file and label, and may have description, licence and split, which are cut to LENGTHS,
    and any others. Without it a clip's label is the name of the folder it lies in, and its split that of the first
    folder if it is called train, val or test; hidden and system folders are passed over.

    Args:
        folder: where to look.
        most: how many clips there may be.
        exported: the `clips.csv` is an exported one, in which formulas begin with an apostrophe (see `as_exported`).

    Raises:
        ReferencesError: there is no such folder, no clip in it, or its `clips.csv` is faulty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReferencesError("There is no such folder of reference clips: check the path.")
    clips = clips_of(folder, most, exported=exported)
    if not clips:
        raise ReferencesError(
            "The folder holds no reference clips: put a clips.csv with the columns file and label into it, or one "
            "sub-folder of clips for each label."
        )
    return clips


def clips_of(folder: Path, most: int = MOST_CLIPS, *, exported: bool = False) -> list[ReferenceClip]:
    """As `read_folder`, of a folder that may be empty or not there yet."""
    path = folder / CSV_NAME
    if not path.is_file():
        return _read_tree(folder, most) if folder.is_dir() else []
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
    table.rows = [(line, [_defused(cell) for cell in cells]) for line, cells in table.rows]
    return table.encode()


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
    """The name of a clip that is brought in from elsewhere, in Unicode's composed form, or None for what is none.

    None of a clip are names that lead out of the folder, hidden and system files, other endings than those of videos
    and images, what lies below `vectors/`, parts longer than file systems take, and what cannot be printed.
    """
    inside = name_within(composed(name))
    if inside is None or not inside.isprintable():
        return None
    parts = inside.split("/")
    fits = all(len(part.encode("utf-8", "surrogateescape")) <= NAME_BYTES for part in parts) and len(inside) <= 1000
    media = Path(inside).suffix.lower() in MEDIA_TYPES
    return inside if fits and media and not any(map(is_hidden, parts)) and parts[0].lower() != STORED else None


def is_hidden(part: str) -> bool:
    """Whether a part of a path belongs to a system, or is hidden, rather than being a label or a clip."""
    return part.startswith(".") or part.lower() in SYSTEM_FOLDERS


def one_line(text: str, length: int) -> str:
    """Text without line breaks and other characters that cannot be seen, cut to a length."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(seen.split())[:length].strip()


@dataclass
class Table:
    """A `clips.csv` in its owner's own way of writing: separator, line ends, header and columns.

    Attributes:
        head: names of the columns.
        rows: (line in the file, cells), without empty ones.
        delimiter, newline, mark, first: separator, line end, the bytes that say UTF-8, a line `sep=` before all.
    """

    head: list[str] = field(default_factory=lambda: list(COLUMNS))
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    delimiter: str = ","
    newline: str = "\n"
    mark: bytes = b""
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
        """Raises ReferencesError: it is no CSV in UTF-8, lacks a column, or has more than `most` rows."""
        try:
            if len(data) > _most_bytes(most):
                raise ReferencesError("The file clips.csv is too large to be a list of clips: shorten its texts.")
            text = data.decode("utf-8-sig")
            table = cls(mark=b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b"")
            line, _, rest = text.partition("\n")
            table.newline = "\r\n" if line.endswith("\r") else "\n"
            if line[:4].lower() == "sep=" and len(line.rstrip("\r")) == 5:
                table.first, table.delimiter = f"{line[:5]}{table.newline}", line[4]
                text = rest
            else:
                table.delimiter = max(",;\t", key=line.count)
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=table.delimiter)
            table.head = next(reader, [])
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if exported:
                        cells = [cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell for cell in cells]
                    table.rows.append((reader.line_num + bool(table.first), cells))
                if len(table.rows) > most:
                    raise ReferencesError(f"The file clips.csv lists more than {most:,} clips: take fewer at a time.")
        except (UnicodeDecodeError, csv.Error) as error:
            raise ReferencesError(NO_CSV) from error
        if table.column("file") is None or table.column("label") is None:
            raise ReferencesError(
                "Line 1 of clips.csv must name the columns file and label, with commas, semicolons or tabs between."
            )
        return table

    def column(self, name: str) -> int | None:
        """Where a column is, however its name is written."""
        names = [re.sub(r"^license$", "licence", cell.strip().lower()) for cell in self.head]
        return names.index(name) if name in names else None

    def clips(self, folder: Path) -> Iterator[tuple[ReferenceClip, list[str]]]:
        """Each row as a clip, with its cells. Raises ReferencesError where one is faulty or there twice."""
        places, seen = {name: self.column(name) for name in COLUMNS}, set()
        for line, cells in self.rows:
            values = {
                name: cells[at].strip() if at is not None and at < len(cells) else "" for name, at in places.items()
            }
            short = {name: one_line(values[name], length) for name, length in LENGTHS.items()}
            if not values["file"] or not short["label"]:
                raise ReferencesError(f"Line {line} of clips.csv lacks a file or a label: fill both columns.")
            name = name_within(values["file"])
            if name is None:
                raise ReferencesError(f"Line {line} of clips.csv names a file outside its folder: move it inside.")
            name = _as_on_disk(folder, name)
            if composed(name) in seen:
                raise ReferencesError("A file stands in clips.csv more than once: keep one line for each.")
            seen.add(composed(name))
            yield ReferenceClip(name, **short), cells

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
        return self.mark + (self.first + text.getvalue()).encode()


def _most_bytes(most: int) -> int:
    """How long a `clips.csv` of so many clips may be."""
    return MOST_CSV_BYTES * max(1, most // MOST_FILES)


def _defused(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


def _as_on_disk(folder: Path, name: str) -> str:
    """The same name in the form of Unicode in which the file has it: systems differ in how they write an umlaut."""
    if name.isascii() or os.path.lexists(folder / name):
        return name
    others = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((other for other in others if os.path.lexists(folder / other)), name)


def directories(folder: Path) -> list[Path]:
    """The folder and those in it in which clips are looked for."""
    return [place for place, _ in _walk(folder)]


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each directory in which clips are looked for, with the names of its files."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name) and (Path(place) != folder or name != STORED)]
        yield Path(place), names


def _read_tree(folder: Path, most: int) -> list[ReferenceClip]:
    clips, seen = [], set[str]()
    for place, names in _walk(folder):
        inside = place.relative_to(folder).parts
        for name in names:
            parts = (*inside, name)
            path = Path(place, name)
            if path.suffix.lower() in MEDIA_TYPES and inside and not is_hidden(name):
                if not path.is_file() or not _can_be_listed("/".join(parts), seen):
                    continue
                split = parts[0].lower() if len(parts) > 2 and parts[0].lower() in SPLITS else ""
                clips.append((parts, ReferenceClip("/".join(parts), one_line(parts[-2], LABEL_LENGTH), split=split)))
        if len(clips) > most:
            raise ReferencesError(f"The folder holds more than {most:,} clips: take fewer at a time.")
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
