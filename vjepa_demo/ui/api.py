"""The endpoints for `gradio_client`: what the shell prints, as JSON."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from typing import Any

import gradio as gr

from vjepa_demo import explore
from vjepa_demo.errors import RequestError
from vjepa_demo.options import Options
from vjepa_demo.references import current
from vjepa_demo.settings import settings
from vjepa_demo.ui.files import scratch
from vjepa_demo.ui.handlers import make_options, number, pooling_asked, require_references
from vjepa_demo.ui.outcome import finished

# What a client sent, by the names of the inputs.
Given = dict[str, Any]


async def embed(given: Given) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Embed a file: the summary that `embed --json` prints, and the `.npz` that `embed --out` writes."""
    with scratch() as folder:
        path = folder / "embedding.npz"

        def work() -> dict[str, Any]:
            embedding = explore.embed(file_of(given), options_of(given)).embedding
            embedding.save(path)
            return explore.embedding_json(embedding)

        yield await finished(work, given["file"]), str(path)


async def similarity(given: Given) -> dict[str, Any]:
    """Cosine of the patch `at` ("step,row,column") to all the others, as `similarity --json` prints it."""

    def work() -> dict[str, Any]:
        position = explore.parse_position(given["at"])
        embedding = explore.embed(file_of(given), options_of(given)).embedding
        return explore.similarity_json(embedding, position, centred=not given["raw"])

    return await finished(work, given["file"])


async def neighbours(given: Given) -> dict[str, Any]:
    """The nearest reference clips and the place on the map, as `neighbours --json` prints them."""

    def work() -> dict[str, Any]:
        options, pooling = options_of(given), pooling_asked(given["pooling"])
        count = int(number(given["k"], "number of neighbours"))
        explore.check_count(count)
        embedded = explore.embed(file_of(given), options, pooling=pooling)
        require_references(embedded)
        return explore.neighbours_json(explore.compare(embedded, current.folder()), count)

    return await finished(work, given["file"])


def file_of(given: Given) -> str:
    """Raises RequestError where none was sent."""
    if given["file"] is None:
        raise RequestError("There is nothing to embed: give a video or an image as the file.")
    return given["file"]


def options_of(given: Given) -> Options:
    """Raises RequestError where one of them is not to be had."""
    options = make_options(**{option.name: given[option.name] for option in fields(Options)})
    if settings.public and options.precision != "auto":  # every precision is a checkpoint more in memory
        raise RequestError("On this Space the precision is chosen by the app: leave it at auto.")
    return options


def endpoints() -> None:
    """The endpoints for `gradio_client`: hidden components, so that uploads are checked as on the page."""

    def hidden(name: str, value: Any) -> Any:
        kind = {str: gr.Textbox, bool: gr.Checkbox}.get(type(value), gr.Number)
        return kind(value, visible=False, label=name)

    def endpoint(function: Callable[[Given], Any], outputs: list[Any], **own: Any) -> None:
        pooling = {"pooling": own.pop("pooling")} if "pooling" in own else {}  # after the options
        values = {**own, **{option.name: option.default for option in fields(Options)}, **pooling}
        inputs = {"file": gr.File(visible=False, label="file"), **{name: hidden(name, values[name]) for name in values}}
        trigger = gr.Button(visible=False)
        trigger.click(named(function, values), list(inputs.values()), outputs, api_name=function.__name__)

    def json_out() -> gr.JSON:
        return gr.JSON(visible=False)

    endpoint(embed, [json_out(), gr.File(visible=False)])
    endpoint(similarity, [json_out()], at="0,0,0", raw=False)
    endpoint(neighbours, [json_out()], k=5, pooling="mean")


def named(function: Callable[[Given], Any], values: dict[str, Any]) -> Callable[..., Any]:
    """A function of a dictionary as one of a file and of parameters with these defaults, which clients are told."""
    names = ["file", *values]

    async def call(*given: Any) -> Any:
        return await function(dict(zip(names, given, strict=True)))

    async def generate(*given: Any) -> AsyncIterator[Any]:
        async for answer in function(dict(zip(names, given, strict=True))):
            yield answer

    called: Any = generate if inspect.isasyncgenfunction(function) else call
    called.__name__, called.__doc__ = function.__name__, function.__doc__
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, default=values[name]) for name in values]
    called.__signature__ = inspect.Signature([inspect.Parameter("file", kind), *parameters])
    return called
