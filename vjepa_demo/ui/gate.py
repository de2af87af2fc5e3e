"""The one gate: no path reaches a handler but that of a regular file that was uploaded here.

Whoever can send a request can write any path into it, in any field. Gradio checks only what looks like one of its own
file objects, and a component's `preprocess` may be anything; so all that comes in is searched before a component sees
it, and all that components make of it is searched again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.routes import App
from gradio.utils import get_upload_folder

from vjepa_demo.errors import RequestError
from vjepa_demo.ui import addresses

log = logging.getLogger(__name__)

NO_VALUES = "These are no values that this page sends: load it again."
# One sentence for all: who asks for a path learns nothing of whether it exists.
MOST_INTEGER = 2**53  # what a browser's numbers can say exactly
MOST_TEXT = 300  # of what Gradio says, which may repeat what was sent
REFUSED = "This file is not kept here, or no longer: choose it again."


def admit(path: Any) -> str:
    """The path of an uploaded file, with no links in it.

    Uploads lie one folder deep, in one named by their content: what lies beside these folders is still being written.
    The path has to be written as the server told it, without `..`, `.` and the like.

    Raises:
        RequestError: it is anything else: a file elsewhere, a link, a folder, a device, nothing at all.
    """
    try:
        given = os.path.abspath(path)
        folder = os.path.abspath(get_upload_folder())
        real_folder = os.path.realpath(folder)
        base = next(base for base in (folder, real_folder) if given.startswith(base + os.sep))
        inside = os.path.relpath(given, base)
        real = os.path.join(real_folder, inside)
        # What was sent is opened later: `x/../y` may lead through a link that `y` does not.
        plain = given == os.fspath(path) and os.sep in inside
        if plain and os.path.realpath(given) == real and stat.S_ISREG(os.lstat(real).st_mode):
            return real
    except (OSError, ValueError, TypeError, StopIteration):  # missing; a NUL; a dict or bytes; elsewhere
        pass
    raise RequestError(REFUSED)


def check(value: Any, *, texts_are_paths: bool) -> None:
    """Admit every path in a value: of file objects at any depth and, where texts are paths, of all other texts.

    Raises:
        RequestError: one of them is not admitted.
    """
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if item.get("path") is not None:
                admit(item["path"])
            left += [part for name, part in item.items() if name != "path" and not isinstance(part, (str, bytes))]
        elif isinstance(item, (list, tuple)):
            left += item
        elif isinstance(item, Path) or (texts_are_paths and isinstance(item, (str, bytes))):
            admit(item)


def takes_files(component: Any) -> bool:
    """Whether a component's value is one or more files, as far as its data model tells."""
    model = getattr(component, "data_model", None)
    return model is not None and _names_a_path(model)


@functools.cache
def _names_a_path(model: Any) -> bool:
    return '"path"' in json.dumps(model.model_json_schema())


class GatedBlocks(gr.Blocks):
    """A page all of whose handlers are behind the gate, those that are added later too."""

    def __exit__(self, *raised: Any) -> None:
        with _without_server():
            super().__exit__(*raised)

    def queue(self, *args: Any, **kwargs: Any) -> Any:
        with _without_server():
            return super().queue(*args, **kwargs)

    def close(self, verbose: bool = True) -> None:
        if self.mcp_server_obj:
            self.mcp_server_obj.end()  # type: ignore[attr-defined]
        super().close(verbose)

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if event := kwargs.get("event_data"):
            _gate(event._data, None)
            if not isinstance(event._data, dict):
                event._data = {}
        return await super().process_api(*args, **kwargs)

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        inputs = [addresses.told(value) for value in inputs]
        for value, component in zip(inputs, block_fn.inputs, strict=False):
            _gate(value, component)
        try:
            values = await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error as error:
            short = len(str(error.message)) <= MOST_TEXT
            raise gr.Error(error.message if short else NO_VALUES, print_exception=False) from None
        except Exception as error:  # too few, or of another kind: a trace for each request would fill the log
            log.warning("values for %s refused: %s", block_fn.name, type(error).__name__)
            raise gr.Error(NO_VALUES, print_exception=False) from None
        for value, component in zip(values, block_fn.inputs, strict=True):
            if not component.stateful:  # what a state holds never left the server
                _gate(value, component)
        return [_usual(value, component) for value, component in zip(values, block_fn.inputs, strict=True)]


@contextlib.contextmanager
def _without_server() -> Iterator[None]:
    """Gradio makes a server at each step of making a page, a tenth of a second each, beside the one that `launch` makes
    and uses."""
    make = App.__dict__["create_app"]
    App.create_app = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        App.create_app = make  # type: ignore[method-assign]


def _usual(value: Any, component: Any) -> Any:
    """A component's value as the page sends it, where Gradio lets others through. Raises gr.Error for what is none."""
    if isinstance(component, gr.Textbox) and value is None:
        return ""
    chosen = isinstance(component, gr.Radio) or (isinstance(component, gr.Dropdown) and not component.multiselect)
    nothing = value is None and (chosen or isinstance(component, gr.Dataset))
    if nothing or (isinstance(value, int) and abs(value) > MOST_INTEGER):
        raise gr.Error(NO_VALUES, print_exception=False)
    return value


def _gate(value: Any, component: Any) -> None:
    try:
        check(value, texts_are_paths=takes_files(component))
    except RequestError as error:
        raise gr.Error(str(error), print_exception=False) from None
