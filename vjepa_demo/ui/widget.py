"""A widget of the page: a folder with a module that mounts it and its style sheet, as one Gradio component.

Gradio runs text that it is given as the body of a function; that text imports the module, so that the rest are ordinary
ES modules with a linter and tests under node. The page gets them as one, at an address that changes when any of them
does.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import gradio as gr

UI = Path(__file__).parent
LOAD = (UI / "shared" / "load.js").read_text(encoding="utf-8")
BASE = (UI / "shared" / "base.css").read_text(encoding="utf-8")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "([\w./]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|class|(?:async )?function) (\w+))", re.MULTILINE)


def bundle(folder: Path) -> str:
    """All modules in the folders of a folder as one: a page asks once for what it would ask for twenty times.

    Each becomes a function that returns what the module exports, in an order in which no module is needed before its
    own. The bundle exports `mounts`, by the name of a widget's folder.

    Raises:
        ValueError: a module imports or exports in a way that is not known here: whole objects, on several lines, in a
            circle.
    """
    done: dict[Path, str] = {}
    parts: list[str] = []

    def add(path: Path, inside: tuple[Path, ...] = ()) -> str:
        if path in inside:
            raise ValueError(f"{path} imports itself")
        if path not in done:
            text = path.read_text(encoding="utf-8")

            def wanted(match: re.Match[str]) -> str:
                return f"const {{ {match[1]} }} = {add((path.parent / match[2]).resolve(), (*inside, path))};"

            exports = ", ".join(EXPORT.findall(text))
            text = EXPORT.sub("", IMPORT.sub(wanted, text))
            if re.search(r"^(import|export)\b", text, re.MULTILINE):
                raise ValueError(f"{path} imports or exports in a way that is not known here")
            done[path] = f"{path.parent.name}_{path.stem}"
            parts.append(f"const {done[path]} = (function () {{\n{text}return {{ {exports} }};\n}})();\n")
        return done[path]

    folder = folder.resolve()
    widgets = [path.parent for path in sorted(folder.glob("*/*.js")) if path.stem == path.parent.name]
    mounts = ", ".join(f"{path.name}: {add(path / f'{path.name}.js')}.mount" for path in widgets)
    return "".join(parts) + f"export const mounts = {{ {mounts} }};\n"


# As it was when the app started: what a browser keeps under a version is what that version was. At this depth, since
# `shared/dom.js` counts folders up to the app's root.
BUNDLE = bundle(UI).encode()
VERSION = hashlib.sha256(BUNDLE).hexdigest()[:16]
MODULE = f"widgets/{VERSION}/shared/widgets.js"


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
        module=MODULE,
        folder=folder,
        apply_default_css=False,
        **kwargs,
    )
