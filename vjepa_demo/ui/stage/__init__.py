"""The stage as a Gradio component: scenes for a speaker with a projector, a clicker and no network.

Each scene is embedded once for all visitors, and its files stay where they are for as long as the app runs; the page
fetches all of them before it says that it is ready, and asks for nothing after that.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import explore, jobs, scratch
from vjepa_demo.embedder import Embedder
from vjepa_demo.errors import Stopped
from vjepa_demo.explore import Embedded, Progress
from vjepa_demo.references import current
from vjepa_demo.settings import settings
from vjepa_demo.ui import handlers
from vjepa_demo.ui.outcome import Update, event, sentence
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.stage.scenes import SHIPPED, Scene, read
from vjepa_demo.ui.widget import widget
from vjepa_demo.views.similarity import pack

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


@functools.cache
def _folder() -> Path:
    """Where the scenes' files are served from: they stay, whatever their age."""
    folder = scratch.folder(scratch.UPLOADS) / "talk"
    folder.mkdir(exist_ok=True)
    scratch.using(folder).__enter__()
    return folder


def make_all(say: Progress = explore.say_nothing) -> Iterator[dict[str, Any]]:
    """Make what is not made yet. Yields values of the component: how far it is, then all scenes, each as `_show` gives
    it, with a sentence for each that cannot be shown. Raises Stopped."""
    known, missing = known_scenes(), []
    for number, scene in enumerate(known):
        if number in _made:
            continue
        yield {"done": number, "of": len(known)}
        try:
            with jobs.locked(_making):
                if number not in _made:
                    _made[number] = _show(number, scene, say)
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


def _show(number: int, scene: Scene, say: Progress) -> dict[str, Any]:
    """A scene for the page: its caption, what it begins with, and all that can be shown of it.

    `layers` are the last one and a lower one, each with the clip alone (`one`) and beside the other one (`both`, or
    None); `begin` is the index of the one that is shown first.
    """
    options = handlers.first_options()
    last = explore.embed(scene.clip, options, progress=say)
    second = explore.alike(scene.second, last, say) if scene.second else None
    count = Embedder.open(options).layers
    lower = scene.layer if scene.layer not in (None, count) else count // 2
    layers = []
    for layer, words in ((None, f"Layer {count} of {count}"), (lower, f"Layer {lower} of {count}")):
        seen = [explore.at_layer(clip, layer, say) for clip in (last, second) if clip]
        files = []
        for which, clip in enumerate(seen):
            files.append(_folder() / f"scene{number}-{'last' if layer is None else 'lower'}-{which}.bin")
            files[-1].write_bytes(pack(clip.embedding, clip.clip))
        both = viewer_value(*files, name=last.name, compare_name=second.name) if second else None
        layers.append({"words": words, "one": viewer_value(files[0], name=last.name), "both": both})
    return {
        "caption": scene.caption,
        "state": scene.state(last.embedding.grid),
        "begin": 0 if scene.layer in (None, count) else 1,
        "layers": layers,
        "map": _place(last, say),
    }


def _place(clip: Embedded, say: Progress) -> dict[str, Any] | None:
    """The clip on the map, where the references are embedded in its way or soon are."""
    folder = current.folder()
    if handlers.price(clip, folder)[1] > handlers.AT_ONCE_S:
        return None
    return handlers.show_map(explore.compare(clip, folder, say))
