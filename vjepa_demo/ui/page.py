"""The page: what is where, and which handler each control calls."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo.embedder import Embedder
from vjepa_demo.options import Options
from vjepa_demo.references import current
from vjepa_demo.references.listing import read_folder
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.ui import (
    addresses,
    agents,
    api,
    examples,
    files,
    following,
    guard,
    handlers,
    intake,
    opening,
    outcome,
    own_references,
    pairs,
    result,
    sessions,
    shown,
    stage,
    table,
    theme,
    unheard,
    within,
)
from vjepa_demo.ui.accounts import read as read_accounts
from vjepa_demo.ui.card import TITLE
from vjepa_demo.ui.drawer import drawer
from vjepa_demo.ui.gate import GatedBlocks
from vjepa_demo.ui.link import NAMES, link, made_of, remember_wanted
from vjepa_demo.ui.outcome import AT_ONCE, RUN, Update
from vjepa_demo.ui.patch_viewer import patch_viewer
from vjepa_demo.ui.reference_map import reference_map
from vjepa_demo.ui.track import track
from vjepa_demo.views import loop

TITLE_HTML = f'<div class="page-title"><h1>{TITLE}</h1></div>'
THEME_HTML = '<button type="button" class="theme-switch" tabindex="-1" aria-label="Dark" title="Dark"></button>'
WATCH_S = 3.0
LAYER_TOLD = "<p>Surprise and Attention are read off the last layer: for the others choose Similar or Colours.</p>"
ABOUT = Path(__file__).parent / "about.html"

log = logging.getLogger(__name__)


def build() -> gr.Blocks:
    """The page, with the first example to be shown at once.

    Raises:
        UserError: the folder of references that the app was started with holds none, or the table cannot be shown.
        ScenesError: the scenes of a talk are not written as they have to be.
    """
    of_table = table.options()
    if not of_table:
        read_folder(current.folder())
    stage.known_scenes()
    opening.first_updates()
    current.begin(_reference_options)
    examples.posters()
    if settings.talk:
        list(stage.make_all())
    with GatedBlocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        demo.space_id = None  # by it the page would fetch fonts and a header from other hosts
        source, made, result_id, watched = gr.State(None), gr.State(None), gr.State(None), gr.State(None)
        watch = gr.Timer(WATCH_S, active=False)  # while references are embedded in the background
        own_id = gr.State(None, delete_callback=sessions.own.end)  # the visitor's own references
        with gr.Row(elem_classes="page-head", equal_height=True):
            with gr.Row(elem_classes="page-bar"):
                gr.HTML(TITLE_HTML, js_on_load=None, min_width=100, elem_classes="page-name")
                opened = intake.intake(min_width=100, elem_classes="page-open")
                here = link(usual_address(), min_width=86, elem_classes="page-link")
                gr.HTML(THEME_HTML, js_on_load=None, min_width=40, elem_classes="page-theme")
            with gr.Row(elem_classes="state"):
                status = gr.HTML(elem_classes="status", js_on_load=None, scale=1)
                cancel = gr.Button("Cancel", size="sm", scale=0, min_width=80, elem_classes="cancel")
            with gr.Column(min_width=180, elem_classes="page-choice"):
                checkpoint = _checkpoint()
                with gr.Row(elem_classes="page-why"):
                    told, other = opening.choice_told(opening.opening().choice.checkpoint.id)
                    why = gr.HTML(told, js_on_load=None, min_width=60)
                    swap = gr.Button(other, visible=bool(other), size="sm", scale=0, min_width=60, elem_classes="link")
        with gr.Row(elem_classes="page-body"):
            with gr.Column(scale=7, min_width=320, elem_classes="stage"):
                viewer = patch_viewer(elem_id="viewer", elem_classes="viewer")
                film = track(elem_classes="film")
                with gr.Column(elem_classes="expects"):  # beside the surprise alone
                    twins = pairs.pairs()
                    measured = gr.HTML(js_on_load=None, elem_classes="measured")
                    gr.HTML(pairs.ABOUT.read_text(encoding="utf-8"), js_on_load=None)
                strip = examples.examples(elem_classes="examples")
                summary = gr.HTML(elem_classes="summary", js_on_load=None)
                with gr.Row(elem_classes="drawers"):
                    controls = _settings()
                    more = _more()
            with gr.Column(scale=3, min_width=300, elem_classes="beside"):
                offer = gr.Button(visible=False, size="sm", elem_classes="offer")
                with gr.Row(elem_classes="offer-state"):
                    offer_said = gr.HTML(elem_classes="status", js_on_load=None, scale=1)
                    offer_cancel = gr.Button("Cancel", size="sm", scale=0, min_width=80)
                ready = gr.Button(visible=False, size="sm", elem_classes="other-way")
                space = reference_map(elem_classes="map")
                pooling = gr.Radio(
                    [("Auto", handlers.AUTO), ("Motion", "motion"), ("Appearance", "mean"), ("Classifier", "probe")],
                    value=handlers.AUTO,
                    label="Compare by",
                    elem_classes=handlers.ways_offered(opening.opening().choice.checkpoint.id),
                    visible=not of_table,
                )
                inside = within.panel() if of_table else None
        talk = stage.stage(elem_classes="talk")
        talk.opened(stage.make, None, [status, talk], **RUN)
        own = {"said": gr.HTML(visible=False)} if of_table else own_references.panel()
        gr.HTML(ABOUT.read_text(encoding="utf-8"), js_on_load=None, elem_classes="about")
        parts = {
            **{"status": status, "summary": summary, "viewer": viewer, "map": space, "result": result_id},
            "link": here,
            **{
                **{"offer": offer, "ready": ready, "watched": watched, "watch": watch},
                **{"source": source, "made": made, "track": film},
                "start": controls["start"],
                "end": controls["end"],
                **more,
            },
        }
        outputs = [parts[name] for name in result.OUTPUTS]
        api.endpoints()  # first, so that their names are free
        asked = [controls[name] for name in ("frames", "start", "end", "sampling", "fit")]
        asked = [*asked, checkpoint, own_id, pooling, controls["hdr"]]
        again = [source, made, result_id, *asked]
        _wire(opened, strip, {**controls, "checkpoint": checkpoint}, [source, *asked], again, outputs)
        twins.chosen(handlers.embed_pair, [twins, source, *asked], [*outputs, controls["frames"]], **AT_ONCE)
        for chosen in (viewer.span, film.window):
            chosen(shown.remember_span, None, [controls["start"], controls["end"]], **AT_ONCE).then(
                handlers.embed_again, again, outputs, **AT_ONCE
            )
        wanted, shown_as = gr.State(None), ("frames", "sampling", "fit", "hdr")
        here.go(remember_wanted, None, wanted, **AT_ONCE).then(
            following.follow,
            [wanted, own_id],
            [*outputs, *(controls[name] for name in shown_as), checkpoint, pooling],
            **AT_ONCE,
        )
        swap.click(opening.choose_other, checkpoint, [checkpoint, controls["frames"], status], **AT_ONCE).then(
            handlers.embed_again, again, outputs, **AT_ONCE
        )
        checkpoint.change(opening.choice_told, checkpoint, [why, swap], **RUN)
        checkpoint.change(handlers.offer_ways, [checkpoint, pooling], pooling, **RUN)
        offer.click(handlers.compare_anyway, [result_id, own_id], [*outputs, offer_said], **RUN)
        ready.click(
            handlers.take_ready, [result_id, own_id], [controls[name] for name in ("frames", "sampling", "fit")], **RUN
        ).then(handlers.embed_again, again, outputs, **AT_ONCE)
        watch.tick(handlers.fill_in, [watched, own_id], [space, watched, watch], **RUN)
        outputs_of_pooling = [status, space, result_id, here, offer, ready, watched, watch]
        pooling.input(
            shown.change_pooling, [result_id, pooling, own_id], outputs_of_pooling, trigger_mode="always_last", **RUN
        )
        query = _wire_more(more, status, viewer, result_id, here, film)
        if inside:
            within.wire(inside, viewer, made, result_id, query)
        viewer.expect(shown.expect, [result_id, more["second"]], [status, viewer, measured], **AT_ONCE)
        for button in (cancel, offer_cancel):
            button.click(handlers.cancel, [result_id, own_id], [status, own["said"], offer, here], **RUN)
        if not of_table:
            own_references.wire(own, own_id, result_id, space, demo)
        demo.load(first_paint, None, outputs, **RUN)
    # Whose work is next is decided in jobs.py, which knows visitors; here only floods are turned away.
    demo.queue(max_size=4 * settings.most_waiting, default_concurrency_limit=None, api_open=False)
    unheard.bound(demo)
    agents.begin()
    return demo


def first_paint(request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """What a page shows that has only just opened; nothing where its address asks for something, which follows."""
    waits: Update = {"status": outcome.status("Opening the link …", "busy")}
    asked = set(request.query_params) & set(NAMES)
    for view in [waits, {}] if asked else opening.first_paint():  # what comes last is sent once more at the end
        yield tuple(view.get(name, gr.skip()) for name in result.OUTPUTS)


def _reference_options() -> Options:
    """How references that are fetched are to be embedded: as the page's first example is."""
    opening.opening().coming.get()
    return Embedder.open(opening.first_options()).fingerprint.options


def usual_address() -> dict[str, Any]:
    """How the clip is embedded and compared that the page opens with."""
    return made_of(examples.files()[0], opening.first_options())


def _checkpoint() -> gr.Dropdown:
    return gr.Dropdown(
        [(known.title, known.id) for known in opening.listed_checkpoints()],
        value=opening.first_options().checkpoint,
        label="Checkpoint, or the path of a folder" if handlers.any_folder() else "Checkpoint",
        allow_custom_value=handlers.any_folder(),
        container=False,
        min_width=180,
        elem_classes="page-checkpoint",
    )


def _settings() -> dict[str, Any]:
    """How a clip is embedded. A change applies to the clip that is shown."""
    trained_on, first = opening.opening().choice.checkpoint.frames, opening.first_options()
    with drawer("Settings"):
        frames = gr.Radio(result.frames_offered(trained_on), value=first.frames, label="Frames (a photo: always 16)")
        samplings = [("spread evenly", "even"), ("4 per second", "fps")]
        sampling = gr.Radio(samplings, value=first.sampling, label="Sampling")
        fit = gr.Radio(
            ["whole", "crop", "squash", "pad"],
            value=first.fit,
            label="Fit to the model's input",
            info="V-JEPA 2 was trained on squares. Whole shows it all of the picture, on a wider or higher grid; crop, "
            "the model card's way, shows it the middle alone.",
        )
        with gr.Row():
            start = gr.Number(label="From (s), then Enter", value=0, min_width=90)
            end = gr.Number(label="To (0: the end), then Enter", value=0, min_width=90)
        hdr = gr.Radio(
            [("as stored", "stored"), ("tone-mapped", "toned")],
            value="stored",
            label="Videos of high dynamic range (HDR)",
            info="As stored is the model card's way: such a video looks dull to the model.",
        )
    return {"frames": frames, "start": start, "end": end, "sampling": sampling, "fit": fit, "hdr": hdr}


def _more() -> dict[str, Any]:
    """What can be done with the clip that is shown."""
    with drawer("Layer, second clip, time"):
        layer = gr.Slider(
            0,
            1,
            value=1,
            step=1,
            label="Layer of the encoder (the right end: the last, normalised)",
            elem_classes="layer",
        )
        gr.HTML(LAYER_TOLD, js_on_load=None, elem_classes="layer-told")
        second = gr.File(
            label="Compare with a second clip",
            height=170,
            elem_classes="own-drop",
        )
        order = gr.Button("Time tests: backwards, shuffled, frozen, twice as fast", size="sm")
        tests = gr.HTML(js_on_load=None, elem_classes="tests")
        windows = gr.Button("Windows of the whole film: where it changes, what is like this", size="sm")
    with drawer("Export"):
        with gr.Row():
            npz = gr.Button("Embedding (.npz)", size="sm", min_width=120)
            code = gr.Button("Code", size="sm", min_width=120)
            video = gr.Button("Heatmap (.mp4)", size="sm", min_width=120)
            loops = {ending: gr.Button(f"4 s loop ({ending})", size="sm", min_width=120) for ending in loop.FORMATS}
        file = gr.File(label="Saved file", interactive=False, height=100)
        text = gr.Code(label="Code", language="python", interactive=False, max_lines=16)
    made = {"npz": npz, "video": video, "code": code, "file": file, "text": text, **loops}
    return {"layer": layer, "second": second, "order": order, "tests": tests, "windows": windows, **made}


def _wire(
    opened: gr.HTML,
    strip: gr.HTML,
    controls: dict[str, Any],
    asked: list[Any],
    again: list[Any],
    outputs: list[Any],
) -> None:
    """What embeds a clip."""
    opened.chosen(handlers.embed, [opened, *asked], outputs, **AT_ONCE)
    strip.chosen(handlers.embed_example, [strip, *asked], outputs, **AT_ONCE)
    changes = [controls[name].input for name in ("frames", "sampling", "fit", "hdr", "checkpoint")]
    for change in [*changes, controls["start"].submit, controls["end"].submit]:
        change(handlers.embed_again, again, outputs, **AT_ONCE)


def _wire_more(
    more: dict[str, Any], status: gr.HTML, viewer: gr.HTML, result_id: gr.State, here: gr.HTML, film: gr.HTML
) -> gr.State:
    """What is done with the clip that is shown. Returns what holds the patches that are pinned in it."""
    query = gr.State(None)
    viewer.query(shown.remember_query, None, query, **RUN)
    more["code"].click(shown.take_snippet, [result_id, query], [status, more["text"]], **RUN)
    more["npz"].click(shown.take_embedding, result_id, [status, more["file"]], **RUN)
    more["video"].click(shown.take_video, [result_id, query], [status, more["file"]], **RUN)
    for ending in loop.FORMATS:
        more[ending].click(shown.take_loop(ending), [result_id, query], [status, more["file"]], **RUN)
    more["file"].change(None, more["file"], js=files.SAVE, **RUN)
    more["layer"].input(
        shown.change_layer,
        [result_id, more["layer"]],
        [status, viewer, result_id, here, more["second"]],
        trigger_mode="always_last",
        **RUN,
    )
    more["order"].click(shown.try_orders, result_id, [status, more["tests"]], **RUN)
    more["windows"].click(shown.cut_up, [result_id, query], [status, film], **RUN)
    for event in (more["second"].upload, more["second"].clear):
        event(shown.compare, [result_id, more["second"]], [status, viewer], **RUN)
    return query


def launch_options() -> dict[str, Any]:
    """Everything `launch` is told: local by default, nothing from other hosts, uploads bounded, the guard around it."""
    log.warning(
        "%s: bound to %s; VJEPA_DEMO_PUBLIC=%d says otherwise",
        "public, no folder of this machine can be named" if settings.public else "not public",
        settings.server_name,
        not settings.public,
    )
    name = settings.server_name
    return {
        "server_name": f"[{name}]" if ":" in name and not name.startswith("[") else name,  # as it stands in an address
        "server_port": addresses.port(),
        "ssr_mode": False,
        "max_file_size": settings.max_bytes,
        "max_threads": 4 * settings.most_waiting,
        "state_session_capacity": 1000,  # a fifth of a megabyte each
        "allowed_paths": [str(ASSETS / "examples")],  # to be copied from there; it serves copies alone
        "footer_links": ["api"],
        "favicon_path": str(ASSETS / "icon.svg"),
        "mcp_server": True,
        "run_history": False,
        "app_kwargs": guard.app_kwargs(),
        "theme": theme.theme(),
        "css": theme.stylesheet(),
        "js": theme.script(),
        "show_error": False,
        "enable_monitoring": False,
        "share": False,
        "auth": read_accounts(settings.auth),
        "auth_message": f"{TITLE}. {settings.logins_each} wrong passwords, and none is taken for an hour.",
    }
