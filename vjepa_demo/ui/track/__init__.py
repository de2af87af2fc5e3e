"""The windows of a film as a Gradio component: a bar each, and a click shows that window."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vjepa_demo.ui.widget import widget
from vjepa_demo.windows import Tracked


def track(**kwargs: Any) -> gr.HTML:
    """The component; its value comes from `track_value`. Its event `window` has the `start` and `end` of the window
    that was chosen, in seconds."""
    return widget("track", events=("window",), **kwargs)


def track_value(found: Tracked, what: str) -> dict[str, Any]:
    """What it shows of a film.

    Args:
        found: its windows, compared with a clip.
        what: that clip, or the patch of it which was looked for, in words that stay true when another part is shown.
    """
    told, (start, end) = found.track.json(), found.track.spans[0]
    made, count = found.first.embedding.fingerprint, len(told["windows"])
    words = f"{count} windows of {end - start:g} s, embedded by {made.checkpoint}, {made.options.frames} frames each"
    if found.failures:
        words += f"; {len(found.failures)} cannot be read"
    return {**{name: told[name] for name in ("windows", "change", "scenes", "like")}, "what": what, "words": words}
