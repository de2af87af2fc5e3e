"""The stage as a Gradio component: scenes for a speaker with a projector, a clicker and no network.

Each scene is embedded once for all visitors, and its files stay where they are for as long as the app runs; the page
fetches all of them before it says that it is ready, and asks for nothing after that. The clips of scenes are also kept
for the next start, which has to be quick when the machine went down in the middle of a talk: it waits for no model.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import explore, jobs, scratch
from vjepa_demo.embedding import Kind
from vjepa_demo.errors import Stopped, UserError
from vjepa_demo.explore import Embedded, Progress
from vjepa_demo.files import file_hash, known_hash
from vjepa_demo.model import checkpoints
from vjepa_demo.references import current
from vjepa_demo.references.preparing import missing as missing_references
from vjepa_demo.settings import settings
from vjepa_demo.ui import packed, table
from vjepa_demo.ui.opening import first_options
from vjepa_demo.ui.outcome import Update, event, sentence
from vjepa_demo.ui.packed import Packed
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.result import AT_ONCE_S, price, show_map
from vjepa_demo.ui.stage.scenes import SHIPPED, Scene, read
from vjepa_demo.ui.widget import widget
from vjepa_demo.views import similarity

log = logging.getLogger(__name__)


def stage(**kwargs: Any) -> gr.HTML:
    """The component; its value comes from `make`, which its event `opened` asks for.

    In the page it opens where the address has `talk`, with the key T and at the event `showtalk` of the document; it
    sends `talkchange` there when it opens, closes or goes to another scene. The detail of both is {on, scene}, a number
    from 1 or null.
    """
    return widget("stage", events=("opened",), **kwargs)


@functools.cache
def known_scenes() -> tuple[Scene, ...]:
    """Those of the owner's file, or the shipped ones. Raises ScenesError."""
    return tuple(read(Path(settings.scenes) if settings.scenes else SHIPPED))


_made: dict[int, dict[str, Any]] = {}
_making = threading.Lock()
_stays = contextlib.ExitStack()  # a context that nothing refers to would end at once


@functools.cache
def _folder() -> Path:
    """Where the scenes' files are served from: they stay, whatever their age."""
    folder = scratch.folder(scratch.UPLOADS) / "talk"
    folder.mkdir(exist_ok=True)
    _stays.enter_context(scratch.using(folder))
    return folder


def make_all(say: Progress = explore.say_nothing) -> Iterator[dict[str, Any]]:
    """Make what is not made yet. Yields values of the component: how far it is, then all scenes, each as `_show` gives
    it, with a sentence for each that cannot be shown. Raises Stopped."""
    known, missing, clips = known_scenes(), [], _Clips(say)
    for number, scene in enumerate(known):
        if number in _made:
            _place_late(number, scene, clips)
            continue
        yield {"done": number, "of": len(known)}
        try:
            with jobs.locked(_making):
                if number not in _made:
                    _made[number] = _show(scene, clips)
        except Stopped:
            raise
        except Exception as error:
            missing.append(f"Scene {number + 1} is missing. {sentence(error)}")
            log.warning("%s", missing[-1])
    yield {"scenes": [_made.get(number) for number in range(len(known))], "missing": missing, "of": len(known)}


@event("status", "talk", kind="talk", says_in=())
def make(say: Progress, folder: Path) -> Iterator[Update]:
    """The scenes, for whoever opens the stage."""
    for value in make_all(say):
        yield {"talk": value}


class _Clips:
    """The clips of scenes, had once for all scenes that one piece of work makes."""

    def __init__(self, say: Progress) -> None:
        self.say = say
        self.options = first_options()
        self._embedded: dict[Path, Embedded] = {}
        self._seen: dict[tuple[Path, int | None], Packed] = {}

    def get(self, path: Path, layer: int | None = None) -> Packed:
        """A clip, seen at a layer: as an earlier start has left it, else made now and left to the next. Raises
        UserError."""
        key = path.resolve(), layer
        if key not in self._seen:
            kept = self._kept(path, layer)
            found = packed.load(path, self.options, kept, layer)
            if found is None:
                made = explore.at_layer(self.embedded(path), layer, self.say)
                try:
                    found = packed.save(made, kept)
                except OSError as error:
                    log.warning("a scene is not kept for the next start: %s", error)
                    found = Packed.of(made)
            self._seen[key] = found
        return self._seen[key]

    def embedded(self, path: Path) -> Embedded:
        """A clip, embedded now. Raises UserError."""
        path = path.resolve()
        if path not in self._embedded:
            self._embedded[path] = explore.embed(path, self.options, progress=self.say)
        return self._embedded[path]

    def file(self, path: Path, layer: int | None) -> Path:
        """Where it is served from, in the form that the viewer reads."""
        file = _folder() / f"{_name(path.resolve(), layer)}.bin"
        if not file.exists():
            file.write_bytes(self.get(path, layer).viewer)
        return file

    def _kept(self, path: Path, layer: int | None) -> Path:
        """Where it is for the next start: of this content, and as the code that is here would write it."""
        name = _name(known_hash(path), layer, self.options, file_hash(Path(similarity.__file__)))
        return Path(settings.cache_dir) / "talk" / f"{name}.safetensors"


def _name(*told: Any) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def _show(scene: Scene, clips: _Clips) -> dict[str, Any]:
    """A scene for the page: its caption, what it begins with, and all that can be shown of it.

    `layers` are the last one and a lower one, each with the clip alone (`one`) and beside the other one (`both`, or
    None); `begin` is the index of the one that is shown first.
    """
    clip = clips.get(scene.clip).embedded
    count = checkpoints.find(clips.options.checkpoint).size.layers
    lower = scene.layer if scene.layer not in (None, count) else count // 2
    layers = []
    for layer, words in ((None, f"Layer {count} of {count}"), (lower, f"Layer {lower} of {count}")):
        one = viewer_value(clips.file(scene.clip, layer), name=clip.name)
        both = None
        if scene.second:
            second = clips.file(scene.second, layer)
            both = viewer_value(clips.file(scene.clip, layer), second, name=clip.name, compare_name=scene.second.name)
        layers.append({"words": words, "one": one, "both": both})
    return {
        "caption": scene.caption,
        "state": scene.state(clip.embedding.grid),
        "begin": 0 if scene.layer in (None, count) else 1,
        "layers": layers,
        "map": _place(scene, clips),
    }


_unplaced: dict[Path, Kind] = {}  # clips of scenes whose references were not embedded in their way at first


def _place_late(number: int, scene: Scene, clips: _Clips) -> None:
    """Put a scene on the map that has none, if its references have been embedded since it was made."""
    kind = _unplaced.get(scene.clip)
    if kind and _made[number].get("map") is None and not missing_references(current.folder(), kind):
        with jobs.locked(_making), contextlib.suppress(UserError):
            _made[number] = {**_made[number], "map": _place(scene, clips)}


def _place(scene: Scene, clips: _Clips) -> dict[str, Any] | None:
    """The clip on the map, where the references are embedded in its way or soon are. A scene can do without."""
    folder, clip = current.folder(), clips.get(scene.clip)
    try:
        if not table.table() and (placed := clip.place(folder)):
            return show_map(placed)
        whole = clips.embedded(scene.clip)
        if price(whole, folder)[1] <= AT_ONCE_S:
            return show_map(table.compare(whole, folder, clips.say))
    except Stopped:
        raise
    except UserError as error:
        log.warning("no map for a scene: %s", error)
    if not table.table():
        _unplaced[scene.clip] = clip.vector.kind
    return None
