"""The endpoints for `gradio_client`: what the shell prints, as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from vjepa_demo import explore
from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Request
from vjepa_demo.settings import settings
from vjepa_demo.ui.files import scratch
from vjepa_demo.ui.handlers import make_request, number, pooling_asked, require_references
from vjepa_demo.ui.outcome import finished

NO_FILE = "There is nothing to embed: give a video or an image as the file."


def full_request(
    file: str | None,
    checkpoint: str,
    frames: float | None,
    start: float,
    end: float | None,
    sampling: str,
    fit: str,
    precision: str,
) -> Request:
    if file is None:
        raise RequestError(NO_FILE)
    request = make_request(frames, start, end, sampling, fit, checkpoint)
    if settings.public and precision != "auto":  # every precision is a checkpoint more in memory
        raise RequestError("On this Space the precision is chosen by the app: leave it at auto.")
    return replace(request, precision=precision)


async def embed(
    file: str,
    checkpoint: str = settings.checkpoint,
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Embed a file: the summary that `embed --json` prints, and the `.npz` that `embed --out` writes."""

    with scratch() as folder:
        path = folder / "embedding.npz"

        def work() -> dict[str, Any]:
            request = full_request(file, checkpoint, frames, start, end, sampling, fit, precision)
            _, embedding = explore.embed(file, request)
            embedding.save(path)
            return explore.embedding_json(embedding)

        yield await finished(work, file), str(path)


async def similarity(
    file: str,
    at: str = "0,0,0",
    raw: bool = False,
    checkpoint: str = settings.checkpoint,
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
) -> dict[str, Any]:
    """Cosine of the patch `at` ("step,row,column") to all the others, as `similarity --json` prints it."""

    def work() -> dict[str, Any]:
        position = explore.parse_position(at)
        request = full_request(file, checkpoint, frames, start, end, sampling, fit, precision)
        _, embedding = explore.embed(file, request)
        return explore.similarity_json(embedding, position, centred=not raw)

    return await finished(work, file)


async def neighbours(
    file: str,
    k: float = 5,
    checkpoint: str = settings.checkpoint,
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
    pooling: str = "mean",
) -> dict[str, Any]:
    """The nearest reference clips and the place on the map, as `neighbours --json` prints them."""

    def work() -> dict[str, Any]:
        request = full_request(file, checkpoint, frames, start, end, sampling, fit, precision)
        request = replace(request, pooling=pooling_asked(pooling))
        count = int(number(k, "number of neighbours"))
        explore.check_count(count)
        *_, result = explore.run(file, request, with_references=False)
        require_references(result)
        result = explore.among(result, None, result.pooling, k=count)
        assert result.embedding is not None
        assert result.place is not None
        return explore.neighbours_json(result.embedding, result.place)

    return await finished(work, file)


def endpoints() -> None:
    """The endpoints for `gradio_client`: hidden components, so that uploads are checked as on the page."""

    def options() -> list[Any]:
        return [
            gr.Textbox(settings.checkpoint, visible=False, label="checkpoint"),
            gr.Number(None, visible=False, label="frames"),
            gr.Number(0, visible=False, label="start"),
            gr.Number(None, visible=False, label="end"),
            gr.Textbox("even", visible=False, label="sampling"),
            gr.Textbox("crop", visible=False, label="fit"),
            gr.Textbox("auto", visible=False, label="precision"),
        ]

    def endpoint(name: str, function: Any, inputs: list[Any], outputs: list[Any], last: Sequence[Any] = ()) -> None:
        file = gr.File(visible=False, label="file")
        trigger = gr.Button(visible=False)
        inputs = [file, *inputs, *options(), *last]
        trigger.click(function, inputs, outputs, api_name=name)

    def json_out() -> gr.JSON:
        return gr.JSON(visible=False)

    pooling = gr.Textbox("mean", visible=False, label="pooling")
    endpoint("embed", embed, [], [json_out(), gr.File(visible=False)])
    endpoint(
        "similarity",
        similarity,
        [gr.Textbox("0,0,0", visible=False, label="at"), gr.Checkbox(False, visible=False, label="raw")],
        [json_out()],
    )
    endpoint("neighbours", neighbours, [gr.Number(5, visible=False, label="k")], [json_out()], [pooling])
