"""What happens when something is pressed. Every function here ends in a result or in one clear sentence."""

from __future__ import annotations

import contextlib
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
from vjepa_demo.encoder import device_name
from vjepa_demo.errors import RequestError, UserError
from vjepa_demo.pipeline import Request, Result
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.store import Store
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.reference_map import map_value

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on our side; the last result is still here. Try again, or choose another file."
SCRATCH = tempfile.TemporaryDirectory(prefix="vjepa-demo-")

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
    frames: float | None, start: float | None, end: float | None, sampling: str, fit: str, checkpoint: str
) -> Request:
    """A request from the controls; an empty field means its default."""
    return Request(
        checkpoint=allowed(checkpoint),
        frames=None if frames is None else int(frames),
        start=start or 0.0,
        end=end or None,
        sampling=sampling,  # type: ignore[arg-type]
        fit=fit,
    )


def allowed(checkpoint: str) -> str:
    """The checkpoint's name; strangers on a public Space may not point at folders. Raises RequestError."""
    if settings.public and checkpoint not in {known.id for known in checkpoints.KNOWN}:
        raise RequestError("On this Space only the checkpoints of the list can be used: choose one of them.")
    return checkpoint


# --- the page --------------------------------------------------------------------------------------------------------

Update = tuple[Any, Any, Any, Any, Any]


def embed(file: str | None, *controls: Any) -> Iterator[Update]:
    """Embed a file stage by stage: yields updates of (status, summary, patch viewer, reference map, result's id).

    Where it fails, the status says why and everything else stays as it was.
    """
    keep = gr.skip()
    try:
        if not file:
            raise RequestError("There is nothing to embed yet: drop a video or an image, or choose an example.")
        request = make_request(*controls)
        yield status("Reading the file …", "busy"), keep, keep, keep, keep
        with scratch() as folder:
            for result in pipeline.run(file, request):
                if result.embedding is None:
                    count = 1 if result.clip.is_image else len(result.clip.frames)
                    yield status(f"Encoding {count} frame{'s' * (count > 1)} …", "busy"), keep, keep, keep, keep
                elif result.place is None:
                    yield (
                        status("Placing the clip among the references …", "busy"),
                        summary(result),
                        show_patches(result, folder, Path(file).name),
                        keep,
                        results.put(result, result.nbytes),
                    )
                else:
                    yield status("Done."), keep, keep, show_map(result, folder), keep
    except UserError as error:
        yield status(str(error), "error"), keep, keep, keep, keep
    except Exception:
        log.exception("embedding failed")
        yield status(OUR_FAULT, "error"), keep, keep, keep, keep


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files on their way to the browser: Gradio has copied them by the time the next event is yielded."""
    with tempfile.TemporaryDirectory(dir=SCRATCH.name) as folder:
        yield Path(folder)


def show_patches(result: Result, folder: Path, name: str) -> dict[str, Any]:
    assert result.embedding is not None
    packed = folder / "clip.bin"
    packed.write_bytes(pack(result.embedding, result.clip))
    return viewer_value(packed, name=name)


def show_map(result: Result, folder: Path) -> dict[str, Any]:
    assert result.references is not None
    return map_value(result.references, result.embedding, folder)


@functools.lru_cache(maxsize=1)
def first_result() -> Result | None:
    """The example that the page opens with, embedded once; None where it cannot be, which the log explains."""
    try:
        *_, result = pipeline.run(examples()[0], Request(checkpoint="nano"))
    except Exception:
        log.exception("the first example could not be embedded")
        return None
    return result


def first_paint() -> Iterator[Update]:
    """What a visitor sees before they have done anything: a finished example."""
    result = first_result()
    if result is None:
        yield status(OUR_FAULT, "error"), gr.skip(), gr.skip(), gr.skip(), None
        return
    words = "This is an example. Move the pointer over it, or drop in a video of your own."
    with scratch() as folder:
        patches, places = show_patches(result, folder, examples()[0].name), show_map(result, folder)
        yield status(words), summary(result), patches, places, results.put(result, result.nbytes)


def examples() -> list[Path]:
    """What a newcomer can click."""
    return sorted((ASSETS / "examples").glob("*.mp4"))
