"""The page: what is where, and which handler each control calls."""

from __future__ import annotations

import logging
import os
from typing import Any

import gradio as gr

from vjepa_demo.media.formats import MEDIA_TYPES
from vjepa_demo.model import checkpoints
from vjepa_demo.references.listing import read_folder
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.ui import api, guard, handlers, own_references, sessions, shown, theme, unheard
from vjepa_demo.ui.gate import GatedBlocks, admit
from vjepa_demo.ui.outcome import RUN
from vjepa_demo.ui.patch_viewer import patch_viewer
from vjepa_demo.ui.reference_map import reference_map

TITLE = "V-JEPA 2 Explorer"

log = logging.getLogger(__name__)


def build() -> gr.Blocks:
    """The page, with the first example embedded already.

    Raises:
        ReferencesError: the folder of references that the app was started with holds none.
    """
    if settings.references:
        read_folder(settings.references)
    handlers.first_view()
    with GatedBlocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        demo.space_id = None  # by it the page would fetch fonts and a header from other hosts
        result_id = gr.State(None)
        own_id = gr.State(None, delete_callback=sessions.own.end)  # the visitor's own references
        with gr.Row(elem_classes="page-head", equal_height=True):
            gr.HTML(
                f'<div class="page-title"><h1>{TITLE}</h1>'
                "<p>Touch a patch of a video and see what the model holds to be alike.</p></div>",
                js_on_load=None,
                scale=5,
                min_width=280,
            )
            checkpoint = _checkpoint()
            gr.HTML('<button type="button" class="theme-switch">Dark</button>', js_on_load=None, scale=0, min_width=80)
        with gr.Row():
            with gr.Column(scale=1, min_width=290, elem_classes="controls"):
                upload = _upload()
                controls = [*_controls(), checkpoint, own_id]
                with gr.Row():
                    button = gr.Button("Embed", variant="primary", min_width=120)
                    cancel = gr.Button("Cancel", min_width=80)
            with gr.Column(scale=4, min_width=320, elem_classes="results"):
                status = gr.HTML(elem_classes="status", js_on_load=None)
                summary = gr.HTML(elem_classes="summary", js_on_load=None)
                viewer = patch_viewer()
                more = _more()
                pooling = gr.Radio(
                    [("as suits", handlers.AUTO), ("what they show", "mean"), ("how they move", "motion")],
                    value=handlers.AUTO,
                    label="The map compares clips by",
                    elem_classes="pooling",
                )
                offer = gr.Button(visible=False, size="sm", elem_classes="offer")
                space = reference_map()
                own = own_references.panel()
        outputs = [status, summary, viewer, space, result_id, more["layer"], offer]
        api.endpoints()  # first, so that their names are free
        _wire(upload, [*controls, pooling], button, outputs)
        offer.click(handlers.compare_anyway, [result_id, own_id], outputs, **RUN)
        outputs_of_pooling = [status, space, result_id, offer]
        pooling.input(shown.change_pooling, [result_id, pooling, own_id], outputs_of_pooling, **RUN)
        _wire_more(more, status, viewer, result_id)
        cancel.click(handlers.cancel, [result_id, own_id], [status, own["said"], offer], **RUN)
        own_references.wire(own, own_id, result_id, space, demo)
        demo.load(handlers.first_paint, None, outputs, **RUN)
    # Whose work is next is decided in jobs.py, which knows visitors; here only floods are turned away.
    demo.queue(max_size=4 * settings.most_waiting, default_concurrency_limit=None, api_open=False)
    unheard.bound(demo)
    return demo


def _path_of(payload: Any) -> str | None:
    return admit(payload.path) if payload and payload.path else None


def _upload() -> dict[str, Any]:
    """Where a file comes in: two tabs, and the examples below them."""
    with gr.Tabs() as tabs:
        with gr.Tab("Video", id="video"):
            video = gr.Video(label="Video", sources=["upload", "webcam"], height=220)
        with gr.Tab("Image", id="image"):
            image = gr.Image(label="Image", sources=["upload", "webcam", "clipboard"], type="filepath", height=220)
            # Handed on as it was uploaded: Gradio would decode it before its size has been checked.
            image.preprocess = _path_of  # type: ignore[method-assign]
    examples = gr.Dataset(
        components=[gr.Video(visible=False)],
        samples=[[str(path)] for path in handlers.examples()],
        label="Examples",
        samples_per_page=12,
        elem_classes="examples",
    )
    return {"tabs": tabs, "video": video, "image": image, "examples": examples, "kind": gr.State("video")}


def _checkpoint() -> gr.Dropdown:
    return gr.Dropdown(
        [(known.title, known.id) for known in checkpoints.KNOWN],
        value=settings.checkpoint,
        label="Checkpoint" if settings.public else "Checkpoint, or the path of a folder",
        allow_custom_value=not settings.public,
        scale=2,
        min_width=260,
    )


def _controls() -> list[Any]:
    """The controls of a request, in the order of `handlers.make_request`, less the checkpoint."""
    trained_on = checkpoints.find(settings.checkpoint).frames
    frames = gr.Radio(sorted({16, 32, 64, trained_on}), value=trained_on, label="Frames (an image is repeated to 16)")
    with gr.Row():
        start = gr.Number(label="From (s)", value=0, min_width=90)
        end = gr.Number(label="To (0: the end)", value=0, min_width=90)
    sampling = gr.Radio([("even", "even"), ("4 per second", "fps")], value="even", label="Sampling")
    fit = gr.Radio(["crop", "squash", "pad"], value="crop", label="Fit to the model's square")
    return [frames, start, end, sampling, fit]


def _more() -> dict[str, Any]:
    """What can be done with the clip that is shown."""
    with gr.Accordion("Layer, second clip, taking it home", open=False), gr.Row():
        with gr.Column(min_width=240):
            layer = gr.Dropdown([("last, normalised", handlers.LAST_LAYER)], label="Layer of the encoder")
            second = gr.File(
                label="Compare with a second clip", file_types=["video", "image", *MEDIA_TYPES], height=120
            )
        with gr.Column(min_width=240):
            with gr.Row():
                npz = gr.Button("Embedding (.npz)", size="sm", min_width=120)
                video = gr.Button("Heatmap (.mp4)", size="sm", min_width=120)
                code = gr.Button("Snippet", size="sm", min_width=120)
            file = gr.File(label="File to save", interactive=False, height=100)
            text = gr.Code(label="Snippet", language="python", interactive=False, max_lines=16)
    return {"layer": layer, "second": second, "npz": npz, "video": video, "code": code, "file": file, "text": text}


def _wire(upload: dict[str, Any], controls: list[Any], button: gr.Button, outputs: list[Any]) -> None:
    """What embeds a file. A newer event ends those before it, which is why each is sent at once."""
    video, image, kind, examples = (upload[name] for name in ("video", "image", "kind", "examples"))
    at_once: dict[str, Any] = {**RUN, "trigger_mode": "multiple"}

    for component, name in ((video, "video"), (image, "image")):
        for event in (component.upload, component.stop_recording if name == "video" else component.input):
            event(lambda name=name: name, None, kind, **RUN)
        component.upload(handlers.embed, [component, *controls], outputs, **at_once)
    video.stop_recording(handlers.embed, [video, *controls], outputs, **at_once)
    button.click(handlers.embed_chosen, [kind, video, image, *controls], outputs, **at_once)
    examples.click(lambda sample: (sample[0], "video"), examples, [video, kind], **RUN)
    examples.click(handlers.embed_example, [examples, *controls], outputs, **at_once)


def _wire_more(more: dict[str, Any], status: gr.HTML, viewer: gr.HTML, result_id: gr.State) -> None:
    """What is done with the clip that is shown."""
    query = gr.State(None)
    viewer.query(shown.remember_query, None, query, **RUN)
    more["code"].click(shown.take_snippet, [result_id, query], [status, more["text"]], **RUN)
    more["npz"].click(shown.take_embedding, result_id, [status, more["file"]], **RUN)
    more["video"].click(shown.take_video, [result_id, query], [status, more["file"]], **RUN)
    more["layer"].input(shown.change_layer, [result_id, more["layer"]], [status, viewer, result_id], **RUN)
    for event in (more["second"].upload, more["second"].clear):
        event(shown.compare, [result_id, more["second"]], [status, viewer], **RUN)


def launch_options() -> dict[str, Any]:
    """Everything `launch` is told: local by default, nothing from other hosts, uploads bounded, the guard around it."""
    log.warning(
        "%s: bound to %s; VJEPA_DEMO_PUBLIC=%d says otherwise",
        "public, no folder of this machine can be named" if settings.public else "not public",
        settings.server_name,
        not settings.public,
    )
    return {
        "server_name": settings.server_name,
        "server_port": int(os.environ.get("VJEPA_DEMO_PORT", os.environ.get("GRADIO_SERVER_PORT", "7860"))),
        "ssr_mode": False,
        "max_file_size": settings.max_bytes,
        "max_threads": 4 * settings.most_waiting,
        "state_session_capacity": 1000,  # a fifth of a megabyte each
        "allowed_paths": [str(ASSETS / "examples")],  # to be copied from there; it serves copies alone
        "footer_links": ["api"],
        "run_history": False,
        "app_kwargs": guard.app_kwargs(),
        "theme": theme.theme(),
        "css": theme.stylesheet(),
        "js": theme.script(),
        "show_error": False,
        "enable_monitoring": False,
        "share": False,
    }
