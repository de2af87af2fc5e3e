"""The endpoints for `gradio_client`: what the shell prints, as JSON."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from vjepa_demo import pipeline
from vjepa_demo.errors import UserError
from vjepa_demo.pipeline import Request
from vjepa_demo.ui.handlers import OUR_FAULT, make_request, pooling_asked, scratch

log = logging.getLogger(__name__)


@contextlib.contextmanager
def for_clients() -> Iterator[None]:
    """Turn the user's mistakes into messages for `gradio_client`; anything else is ours, and goes to the log."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except Exception as error:
        log.exception("API call failed")
        raise gr.Error(OUR_FAULT, print_exception=False) from error


def full_request(
    checkpoint: str, frames: float | None, start: float, end: float | None, sampling: str, fit: str, precision: str
) -> Request:
    request = make_request(frames, start, end, sampling, fit, checkpoint)
    return replace(request, precision=precision)


def embed(
    file: str,
    checkpoint: str = "nano",
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
) -> Iterator[tuple[dict[str, Any], str]]:
    """Embed a file: the summary that `embed --json` prints, and the `.npz` that `embed --out` writes."""
    with for_clients(), scratch() as folder:
        _, embedding = pipeline.embed(file, full_request(checkpoint, frames, start, end, sampling, fit, precision))
        embedding.save(folder / "embedding.npz")
        yield pipeline.embedding_json(embedding), str(folder / "embedding.npz")


def similarity(
    file: str,
    at: str = "0,0,0",
    raw: bool = False,
    checkpoint: str = "nano",
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
) -> dict[str, Any]:
    """Cosine of the patch `at` ("step,row,column") to all the others, as `similarity --json` prints it."""
    with for_clients():
        position = pipeline.parse_position(at)
        _, embedding = pipeline.embed(file, full_request(checkpoint, frames, start, end, sampling, fit, precision))
        return pipeline.similarity_json(embedding, position, centred=not raw)


def neighbours(
    file: str,
    k: float = 5,
    checkpoint: str = "nano",
    frames: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    sampling: str = "even",
    fit: str = "crop",
    precision: str = "auto",
    pooling: str = "mean",
) -> dict[str, Any]:
    """The nearest reference clips and the place on the map, as `neighbours --json` prints them."""
    with for_clients():
        request = full_request(checkpoint, frames, start, end, sampling, fit, precision)
        request = replace(request, pooling=pooling_asked(pooling))
        *_, result = pipeline.run(file, request, k=int(k))
        assert result.embedding is not None
        assert result.place is not None
        return pipeline.neighbours_json(result.embedding, result.place)


def endpoints() -> None:
    """The endpoints for `gradio_client`: hidden components, so that uploads are checked as on the page."""

    def options() -> list[Any]:
        return [
            gr.Textbox("nano", visible=False, label="checkpoint"),
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
        trigger.click(function, inputs, outputs, api_name=name, concurrency_id="encoder", concurrency_limit=1)

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
