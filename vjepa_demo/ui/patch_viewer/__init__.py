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
    of the video.
    """
    return widget("patch_viewer", events=("query", "span"), **kwargs)


def viewer_value(
    primary: str | Path, compare: str | Path | None = None, *, name: str = "", compare_name: str = ""
) -> dict[str, Any]:
    """What the patch viewer shows: one or two files written from `similarity.pack`, and their names.

    The names are the user's text; they are shown as text, never as markup.
    """
    return {
        "primary": FileData(path=str(primary), mime_type="application/octet-stream").model_dump(),
        "compare": FileData(path=str(compare), mime_type="application/octet-stream").model_dump() if compare else None,
        "name": name,
        "compare_name": compare_name,
    }
