"""The one way in: a button, the whole window as a drop zone, the clipboard, the camera.

What comes in is uploaded and handed on.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from vjepa_demo.errors import RequestError
from vjepa_demo.media.formats import MEDIA_TYPES
from vjepa_demo.settings import settings
from vjepa_demo.ui.gate import NO_VALUES
from vjepa_demo.ui.widget import widget


def intake(**kwargs: Any) -> gr.HTML:
    """The component. Its value is the file that came in last, its event `chosen` tells that there is a new one."""
    return widget(
        "intake",
        events=("chosen",),
        accept=",".join(["video/*", "image/*", *MEDIA_TYPES]),
        most_bytes=settings.max_bytes,
        **kwargs,
    )


def file_of(value: Any) -> str:
    """The path of the file that came in, which the gate has admitted. Raises RequestError."""
    if value is None:
        raise RequestError("There is nothing to embed yet: drop a video or an image, or choose an example.")
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        raise RequestError(NO_VALUES)
    return value["path"]
