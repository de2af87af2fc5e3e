"""What the page may fetch as a file: uploads, the clips of a set that it shows, its modules, and the map's library.

No folder is served. A set gets a key, and its clips and thumbnails are asked for by key and row; what is not listed in
the set has no address.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vjepa_demo.errors import ReferencesError
from vjepa_demo.media.formats import media_type
from vjepa_demo.references.comparison import ReferenceSet
from vjepa_demo.settings import MIB
from vjepa_demo.ui import addresses, examples, widget

if TYPE_CHECKING:
    from vjepa_demo.scale.drawn import OfTable

# A file that is opened by itself runs nothing, loads nothing and is of no origin.
FILE_POLICY = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox"
# Sets whose clips can be fetched, those of visitors and those that are the same for all: in each kind, the longest
# unused go first. A visitor has two: a change may still fail, and then the one before it stays on the page.
MOST_SETS, MOST_EACH = 512, 2
# Of the descriptions of each kind, in memory. Beyond it the longest go first, and none that is within its share.
MOST_BYTES = 128 * MIB
FOR_GOOD = "public, max-age=31536000, immutable"
FOR_A_VISITOR = "private, max-age=3600"
HEALTH = "/health"


def file_answer(path: str | Path, cache: str = FOR_A_VISITOR) -> FileResponse:
    """A file for the browser, in parts where it asks for a range: shown in place if it is a picture or a video, else
    only ever saved."""
    name = Path(path).name
    media = media_type(Path(path))
    headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": cache}
    if media is None:
        headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(name, safe='')}"
    return FileResponse(path, media_type=media or "application/octet-stream", headers=headers)


@dataclass(frozen=True)
class Shown:
    """A set as the page fetches it: its description as JSON, a file for each clip, a picture for some.

    `owner` is the folder of a visitor's own set, None for one that is the same for all.
    """

    owner: Path | None
    text: str
    clips: tuple[Path, ...]
    thumbnails: tuple[Path | None, ...]
    cache: str

    def answer(self, name: str) -> Response | None:
        """`<row>`, a clip, or `<row>.jpg`, its picture; None where there is none."""
        row, dot, ending = name.partition(".")
        files = {"": self.clips, ".jpg": self.thumbnails}.get(dot + ending, ())
        path = files[int(row)] if is_row(row, len(files)) else None
        # A name in a set is the owner's or a visitor's text: what is no clip is not handed out.
        if path is None or not path.is_file() or media_type(path) is None:
            return None
        return file_answer(path, self.cache)


@dataclass(frozen=True)
class ShownTable:
    """The same of a table: `points` are those of its map, packed, and all else is asked of the table by the row."""

    text: str
    points: bytes
    table: OfTable
    owner: Path | None = None
    cache: str = FOR_GOOD

    def answer(self, name: str) -> Response | None:
        """`points.bin`; `<row>` and `<row>.jpg` as above, and `<row>.json`, what is told of it. None where there is
        none."""
        headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": self.cache}
        if name == "points.bin":
            return Response(self.points, media_type="application/octet-stream", headers=headers)
        row, dot, ending = name.partition(".")
        if not is_row(row, len(self.table.rows)):
            return None
        if dot + ending == ".json":
            return JSONResponse(self.table.about([int(row)])[0], headers={"Cache-Control": FOR_A_VISITOR})
        if dot + ending == ".jpg" and (picture := self.table.thumbnail(int(row))):
            return Response(picture, media_type="image/jpeg", headers=headers)
        path = None if dot else self.table.file(int(row))
        return file_answer(path, FOR_A_VISITOR) if path else None


def is_row(text: str, count: int) -> bool:
    """Whether a text is the number of one of so many rows."""
    return text.isascii() and text.isdigit() and len(text) < 9 and int(text) < count


def thumbnail_of(references: ReferenceSet, sha: str) -> Path | None:
    """The small picture of the clip with this hash, or None where there is none."""
    return next((path for path in (folder / f"{sha}.jpg" for folder in references.thumbnails) if path.is_file()), None)


class Shelf:
    """The sets whose clips can be fetched at present, by their keys."""

    def __init__(self, most: int = MOST_SETS, most_bytes: int = MOST_BYTES) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._sets: OrderedDict[str, Shown | ShownTable] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, references: ReferenceSet, text: str, *, secret: bool) -> str:
        """Let the page fetch a set. Returns its key.

        Args:
            references: the set.
            text: its description for the page.
            secret: whether only those who are told may find it: the key is then 128 random bits. Otherwise it is a
                hash of all that can be fetched, so that browsers keep what they have.
        """
        content = "\n".join([text, *references.hashes]).encode()
        key = secrets.token_urlsafe(16) if secret else hashlib.sha256(content).hexdigest()[:32]
        owner = references.folder if secret else None
        shown = Shown(
            owner,
            text,
            tuple(references.folder / clip.file for clip in references.clips),
            tuple(thumbnail_of(references, sha) for sha in references.hashes),
            FOR_A_VISITOR if secret else FOR_GOOD,
        )
        return self._put(key, shown)

    def put_table(self, table: OfTable, text: str) -> str:
        """The same of a table, which all see. Its key is a hash of what is drawn, and of which version of which table
        that is."""
        points = table.points.packed()
        told = f"{table.folder}\n{table.table.version}\n{text}\n".encode()
        key = hashlib.sha256(told + points).hexdigest()[:32]
        return self._put(key, ShownTable(text, points, table))

    def _put(self, key: str, shown: Shown | ShownTable) -> str:
        owner = shown.owner
        with self._lock:
            self._sets[key] = shown
            self._sets.move_to_end(key)
            alike = [name for name, other in self._sets.items() if (other.owner is None) == (owner is None)]
            own = [name for name in alike if owner and self._sets[name].owner == owner]
            for old in {*alike[: -self.most], *own[:-MOST_EACH]}:
                del self._sets[old]
            left = {name: len(self._sets[name].text) for name in alike if name in self._sets}
            long = sorted((size, name) for name, size in left.items() if size * self.most > self.most_bytes)
            held = sum(left.values())
            for size, name in reversed(long):
                if held > self.most_bytes and name != key:
                    del self._sets[name]
                    held -= size
        return key

    def get(self, key: str) -> Shown | ShownTable | None:
        """The set of this key, or None where there is none any more."""
        with self._lock:
            if key in self._sets:
                self._sets.move_to_end(key)
            return self._sets.get(key)


shelf = Shelf()


def reference(request: Request) -> Response:
    """`references/<key>/set.json`, and what else has an address of a set: see `Shown.answer`, `ShownTable.answer`."""
    shown = shelf.get(request.path_params["key"])
    name = request.path_params["name"]
    if shown is None:
        return Response(status_code=404)
    if name == "set.json":
        return Response(shown.text, media_type="application/json", headers={"Cache-Control": shown.cache})
    try:
        answer = shown.answer(name)
    except ReferencesError:  # the table is gone, which the log tells
        answer = None
    return answer or Response(status_code=404)


def library(request: Request) -> Response:
    """Plotly's script, as the installed package ships it."""
    import plotly

    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(script, media_type="text/javascript", headers={"Cache-Control": FOR_GOOD})


def module(request: Request) -> Response:
    """The module of the widgets, of this version."""
    if request.path_params["version"] != widget.VERSION:
        return Response(status_code=404)
    return Response(widget.BUNDLE, media_type="text/javascript", headers={"Cache-Control": FOR_GOOD})


def pictures(request: Request) -> Response:
    """The pictures of all examples, as one."""
    return Response(examples.posters(), media_type="image/jpeg", headers={"Cache-Control": "public, max-age=3600"})


def card(request: Request) -> Response:
    """The picture that others show of a link."""
    from vjepa_demo.ui.card import picture  # which knows what the page shows

    return Response(picture(), media_type="image/jpeg", headers={"Cache-Control": "public, max-age=3600"})


def example(request: Request) -> Response:
    """An example's clip, for whoever tries the API."""
    path = addresses.EXAMPLES / request.path_params["name"]
    if path not in examples.files():
        return Response(status_code=404)
    return file_answer(path, "public, max-age=3600")


def health(request: Request) -> Response:
    """That the app answers, for whoever watches over it."""
    return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})


ROUTES = [
    Route(HEALTH, health, methods=["GET"]),
    Route("/card.jpg", card, methods=["GET"]),
    Route("/examples.jpg", pictures, methods=["GET"]),
    Route(f"{addresses.FOLDER}{{name}}", example, methods=["GET"]),
    Route("/widgets/{version}/shared/widgets.js", module, methods=["GET"]),
    Route("/references/{key}/{name}", reference, methods=["GET"]),
    Route("/plotly.min.js", library, methods=["GET"]),
]
