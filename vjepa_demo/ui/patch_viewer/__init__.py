"""The patch viewer as a Gradio component: hover a patch, and every place of the clip that is alike lights up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from vjepa_demo.ui.widget import widget


def patch_viewer(**kwargs: Any) -> gr.HTML:
    """The component; its value comes from `viewer_value`.

    Its event `query` tells which patches are pinned, shortly after that has changed: `viewer.query(handler)` calls
    `handler(event: gr.EventData)` with `pinned` (bool), `add` and `subtract` (lists of `{"clip": 0 or 1, "at": [step,
    row, column]}`), `centred` (bool) and `range` (the ends of the scale) as attributes of the event. Its event `span`
    has `start` and `end` in seconds, the ends of the span that was chosen on the line of moments; an end of 0 is that
    of the video. Its event `expect` asks for the files with what was expected of the clips (`surprise.packed`).

    In the page it sends the bubbling event `statechange`, its state as `state.js` describes it with the `view` of the
    value, once that has come to rest. It hears two events of the document: `showstate` with such a state, and
    `showclip` with a value of its own; one with `held` stays until `showclip` with null leads back to the component's
    value.
    """
    return widget("patch_viewer", events=("query", "span", "expect"), **kwargs)


def viewer_value(
    primary: str | Path,
    compare: str | Path | None = None,
    *,
    name: str = "",
    compare_name: str = "",
    state: dict[str, Any] | None = None,
    view: int | None = None,
) -> dict[str, Any]:
    """What the patch viewer shows: one or two files written from `similarity.pack`, and their names.

    The names are the user's text; they are shown as text, never as markup.

    Args:
        primary, compare: the files.
        name, compare_name: what stands above them.
        state: which patches are pinned, which colours are chosen and the like, as `state.js` describes it; what does
            not fit the clips is left out there. None leaves all that as it is.
        view: a number of what is shown, for those who hear of its state.
    """
    return {
        "primary": FileData(path=str(primary), mime_type="application/octet-stream").model_dump(),
        "compare": FileData(path=str(compare), mime_type="application/octet-stream").model_dump() if compare else None,
        "name": name,
        "compare_name": compare_name,
        "state": state,
        "view": view,
    }
