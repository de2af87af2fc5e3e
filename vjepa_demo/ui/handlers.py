"""What happens when something is pressed. Every function here ends in a result or in one clear sentence."""

from __future__ import annotations

import contextlib
import csv
import functools
import html
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import checkpoints, pipeline
from vjepa_demo.dense import pack
from vjepa_demo.encoder import device_name, get_encoder
from vjepa_demo.errors import RequestError, UserError
from vjepa_demo.pipeline import Request, Result
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.store import Store
from vjepa_demo.ui import sessions
from vjepa_demo.ui.narrate import narrate
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.reference_map import map_value

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on our side; the last result is still here. Try again, or choose another file."
SCRATCH = tempfile.TemporaryDirectory(prefix="vjepa-demo-")

AUTO = "auto"

results: Store[Result] = Store()


def safe(text: str) -> str:
    """Text for an HTML component, whose content is also searched for template marks."""
    return html.escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def status(message: str, kind: str = "") -> str:
    """A line for the status; kind is "", "busy" or "error"."""
    role = "alert" if kind == "error" else "status"
    return f'<div role="{role}" class="{kind}">{safe(message)}</div>'


def summary(result: Result) -> str:
    """The embedding's shape, what its parts mean, and what took how long."""
    embedding = result.embedding
    assert embedding is not None
    batch, count, channels = embedding.shape
    steps, rows, cols = embedding.grid
    made, times = embedding.fingerprint, embedding.timings_ms
    seen = "one image, repeated" if result.clip.is_image else f"{len(embedding.timestamps)} frames"
    facts = " · ".join(
        [
            *(f"{name} {times[name]:,.0f} ms" for name in ("decode", "preprocess", "encode") if name in times),
            f"{made.precision} on {device_name(embedding.device)}",
            f"{result.clip.source.width} × {result.clip.source.height} px {result.clip.source.codec}",
        ]
    )
    notes = "".join(f'<div class="note">{safe(note)}</div>' for note in embedding.notes)
    return (
        f'<span class="shape">[{batch}, {count}, {channels}]</span> '
        f'<span class="parts">= {steps} time steps × {rows} × {cols} patches × {channels} channels '
        f"({safe(seen)}, {safe(made.fit)})</span>"
        f'<div class="facts">{safe(facts)}</div>{notes}'
    )


def make_request(
    frames: float | None,
    start: float | None,
    end: float | None,
    sampling: str,
    fit: str,
    checkpoint: str,
    own_id: str | None = None,
    pooling: str = AUTO,
) -> Request:
    """A request from the controls; an empty field means its default."""
    return Request(
        checkpoint=allowed(checkpoint),
        frames=None if frames is None else int(frames),
        start=start or 0.0,
        end=end or None,
        sampling=sampling,  # type: ignore[arg-type]
        fit=fit,
        references=sessions.folder_of(own_id),
        pooling=pooling_asked(pooling),
    )


def pooling_asked(choice: str) -> Any:
    """The control's choice as a request takes it: None leaves it to the clip and the checkpoint."""
    return None if choice == AUTO else choice


def allowed(checkpoint: str) -> str:
    """The checkpoint's name; strangers on a public Space may not point at folders. Raises RequestError."""
    if settings.public and checkpoint not in {known.id for known in checkpoints.KNOWN}:
        raise RequestError("On this Space only the checkpoints of the list can be used: choose one of them.")
    return checkpoint


# --- the page --------------------------------------------------------------------------------------------------------

LAST_LAYER = -1
# What an embedding changes on the page, in this order.
OUTPUTS = ("status", "summary", "viewer", "map", "result", "layer")


def update(**changes: Any) -> tuple[Any, ...]:
    """An update of OUTPUTS: what is not named stays as it is."""
    assert set(changes) <= set(OUTPUTS)
    return tuple(changes.get(name, gr.skip()) for name in OUTPUTS)


def embed(file: str | None, *controls: Any) -> Iterator[tuple[Any, ...]]:
    """Embed a file: yields updates of OUTPUTS, stage by stage.

    Where it fails, the status says why and everything else stays as it was.
    """
    try:
        if not file:
            raise RequestError("There is nothing to embed yet: drop a video or an image, or choose an example.")
        request = make_request(*controls)
        with scratch() as folder:
            for result in narrate(lambda progress: pipeline.run(file, request, progress=progress)):
                if isinstance(result, str):
                    yield update(status=status(f"{result} …", "busy"))
                elif result.place is not None:
                    yield update(status=status("Done."), map=show_map(result, folder))
                elif result.embedding is not None:
                    yield update(**show(result, folder))
    except UserError as error:
        yield update(status=status(str(error), "error"))
    except Exception:
        log.exception("embedding failed")
        yield update(status=status(OUR_FAULT, "error"))


def show(result: Result, folder: Path) -> dict[str, Any]:
    """Everything but the map: the summary, the patches, the choice of layers, and the id under which it is kept."""
    assert result.embedding is not None
    layers = get_encoder(
        result.embedding.fingerprint.checkpoint, precision=result.embedding.fingerprint.precision
    ).layers
    choices = [("last, normalised", LAST_LAYER), *((f"{layer}", layer) for layer in range(layers))]
    return {
        "summary": summary(result),
        "viewer": show_patches(result, folder),
        "result": results.put(result, result.nbytes),
        "layer": gr.update(choices=choices, value=LAST_LAYER),
    }


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files on their way to the browser: Gradio has copied them by the time the next event is yielded."""
    with tempfile.TemporaryDirectory(dir=SCRATCH.name) as folder:
        yield Path(folder)


def show_patches(result: Result, folder: Path, second: Result | None = None) -> dict[str, Any]:
    """What the patch viewer gets: one clip, or two beside each other."""
    paths = []
    for number, clip in enumerate((result, second)):
        if clip is not None:
            assert clip.embedding is not None
            paths.append(folder / f"clip{number}.bin")
            paths[-1].write_bytes(pack(clip.embedding, clip.clip))
    return viewer_value(*paths, name=result.name, compare_name=second.name if second else "")


def show_map(result: Result, folder: Path) -> dict[str, Any]:
    assert result.references is not None
    return map_value(result.references, result.embedding)


@functools.lru_cache(maxsize=1)
def first_result() -> Result | None:
    """The example that the page opens with, embedded once; None where it cannot be, which the log explains."""
    try:
        for _ in range(2):  # the first pass loads libraries and weights, and its times would say nothing of the clip
            *_, result = pipeline.run(examples()[0], Request(checkpoint="nano"))
    except Exception:
        log.exception("the first example could not be embedded")
        return None
    return result


@functools.lru_cache(maxsize=1)
def first_view() -> dict[str, Any]:
    """All that shows the first example, made once: every visitor sees the same, and it counts once in the store."""
    result = first_result()
    if result is None:
        return {"status": status(OUR_FAULT, "error")}
    folder = Path(SCRATCH.name) / "first"
    folder.mkdir(exist_ok=True)
    words = "This is an example. Move the pointer over it, or drop in a video of your own."
    return {**show(result, folder), "status": status(words), "map": show_map(result, folder)}


def first_paint() -> Iterator[tuple[Any, ...]]:
    """What a visitor sees before they have done anything: a finished example."""
    view, result = first_view(), first_result()
    if result is not None and results.get(view["result"]) is None:
        view["result"] = results.put(result, result.nbytes)  # it had to make room for others
    yield update(**view)


def examples() -> list[Path]:
    """What a newcomer can click, in the order of `examples.csv`; the page opens with the first."""
    with (ASSETS / "examples" / "examples.csv").open(encoding="utf-8", newline="") as table:
        return [ASSETS / "examples" / row["file"] for row in csv.DictReader(table)]
