"""A widget of the page: a folder with a module that mounts it and its style sheet, as one Gradio component.

Gradio runs text that it is given as the body of a function; that text imports the module, so that the rest are ordinary
ES modules with a linter, tests under node and one address each, which changes when any of them does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gradio as gr

UI = Path(__file__).parent
LOAD = (UI / "shared" / "load.js").read_text(encoding="utf-8")
BASE = (UI / "shared" / "base.css").read_text(encoding="utf-8")
# The modules by their addresses below `widgets/<version>/`, as they were when the app started: what a browser keeps
# under a version is what that version was.
MODULES = {
    path.relative_to(UI).as_posix(): path.read_bytes() for path in sorted(UI.glob("*/*.js")) if path.name != "load.js"
}
VERSION = hashlib.sha256(b"".join(MODULES.values())).hexdigest()[:16]


def widget(folder: str, events: tuple[str, ...] = (), **kwargs: Any) -> gr.HTML:
    """The widget in a folder beside this file, which holds a module and a style sheet of its name.

    The module exports `mount(element, gradio)`: it fills the element, and `gradio` holds `props` (its `value` above
    all), `watch("value", callback)`, `trigger(event, data)` and `upload(file)`.

    Args:
        folder: its name.
        events: what the module triggers, each a method of the component that takes a handler. Gradio looks for their
            names in the text that it runs.
        **kwargs: what `gr.HTML` takes.
    """
    return gr.HTML(
        html_template="<div></div>",
        css_template=BASE + (UI / folder / f"{folder}.css").read_text(encoding="utf-8"),
        js_on_load=f"{LOAD}// {json.dumps(events)}\n",
        module=f"widgets/{VERSION}/{folder}/{folder}.js",
        apply_default_css=False,
        **kwargs,
    )
