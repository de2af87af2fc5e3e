"""The panel for a visitor's own references: add, rename, remove, a new fit, and the set as one file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import pipeline
from vjepa_demo.embedding import Pooling
from vjepa_demo.encoder import get_encoder
from vjepa_demo.errors import ReferencesError, UserError
from vjepa_demo.media import Sampling
from vjepa_demo.reference_build import settle
from vjepa_demo.reference_edit import OWN, export, remove, rename, take
from vjepa_demo.reference_sets import Progress, cache_of, read_folder
from vjepa_demo.references import ReferenceSet
from vjepa_demo.settings import settings
from vjepa_demo.ui.handlers import OUR_FAULT, results, scratch, status
from vjepa_demo.ui.narrate import narrate
from vjepa_demo.ui.reference_map import map_value
from vjepa_demo.ui.sessions import SESSION_BYTES, are_kept, folder_of, open_folder

log = logging.getLogger(__name__)

SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Way:
    """How references are embedded: like the clip that is shown."""

    encoder: Any
    sampling: Sampling
    fit: str
    pooling: Pooling

    def settle(self, folder: Path, progress: Progress, refit: bool = False) -> ReferenceSet:
        more = [cache_of(folder)]
        return settle(
            folder, self.encoder, self.sampling, self.fit, self.pooling, more=more, progress=progress, refit=refit
        )


# Does something to the folder of references: returns what to say, and the set as it is then.
Work = Callable[[Path, Way, Progress], tuple[str, ReferenceSet]]


def panel() -> dict[str, Any]:
    """The controls, folded away; `wire` makes them do something."""
    with gr.Accordion("Your own references", open=False):
        where = "are kept in your folder" if are_kept() else "live with this page; nobody else sees them"
        gr.Markdown(f"Clips that you add {where}. Old points stay where they are until you ask for a new fit.")
        with gr.Row():
            with gr.Column(min_width=240):
                files = gr.File(
                    label="Clips, or zips of clips or of a saved set",
                    file_count="multiple",
                    file_types=["video", "image", ".zip"],
                    height=140,
                )
                folder = gr.File(label="or a folder of clips", file_count="directory", height=120)
                label = gr.Textbox(label="Label of the new clips", max_lines=1, max_length=60)
                add = gr.Button("Add to the map", variant="primary")
            with gr.Column(min_width=240):
                chosen = gr.Dropdown([], label="Clips of the set", multiselect=True)
                new_label = gr.Textbox(label="New label", max_lines=1, max_length=60)
                with gr.Row():
                    rename_button = gr.Button("Rename", min_width=80)
                    remove_button = gr.Button("Remove", min_width=80)
                with gr.Row():
                    refit = gr.Button("New fit", min_width=80)
                    save = gr.Button("Save the set", min_width=80)
                saved = gr.File(label="Saved set", interactive=False, visible=False)
        said = gr.HTML(elem_classes="status", js_on_load=None)
    return {
        **{
            "files": files,
            "folder": folder,
            "label": label,
            "add": add,
            "chosen": chosen,
            "new_label": new_label,
            "refit": refit,
        },
        **{"rename": rename_button, "remove": remove_button, "save": save, "saved": saved, "said": said},
    }


def wire(parts: dict[str, Any], own_id: gr.State, result_id: gr.State, space: gr.HTML, demo: gr.Blocks) -> None:
    """Connect the panel with the map; call it inside the `Blocks`.

    Args:
        parts: what `panel` made.
        own_id: the id of the visitor's session, to be handed to `sessions.folder_of` by whatever embeds a clip.
        result_id: the id of the result that is shown.
        space: the reference map.
        demo: the page, to list the clips when it opens.
    """
    outputs = [parts["said"], space, own_id, parts["chosen"], parts["saved"], parts["files"]]
    run: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_id": "encoder"}
    at_once: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    ids = [own_id, result_id]

    def add_all(own_id: str | None, result_id: str | None, files: Any, folder: Any, label: str) -> Iterator[Any]:
        yield from add_clips(own_id, result_id, [*(files or []), *(folder or [])], label)

    added = parts["add"].click(add_all, [*ids, *(parts[name] for name in ("files", "folder", "label"))], outputs, **run)
    added.then(lambda: None, None, parts["folder"], **at_once)
    parts["rename"].click(rename_clips, [*ids, parts["chosen"], parts["new_label"]], outputs, **run)
    parts["remove"].click(remove_clips, [*ids, parts["chosen"]], outputs, **run)
    parts["refit"].click(fit_again, ids, outputs, **run)
    parts["save"].click(save_set, ids, outputs, **run)
    demo.load(list_clips, own_id, parts["chosen"], **at_once)


def add_clips(own_id: str | None, result_id: str | None, files: list[str] | None, label: str) -> Iterator[Any]:
    def work(folder: Path, way: Way, progress: Progress) -> tuple[str, ReferenceSet]:
        if not files:
            raise ReferencesError("There is nothing to add yet: drop videos, images or a zip first.")
        uploads = [(Path(file), Path(file).name) for file in files]
        if settings.public and size_of(folder / OWN) + sum(path.stat().st_size for path, _ in uploads) > SESSION_BYTES:
            raise ReferencesError(
                f"Your references may take {SESSION_BYTES / 2**20:,.0f} MB here: remove some, or add fewer."
            )
        report = take(folder, uploads, label, way.encoder, way.sampling, way.fit, way.pooling, progress=progress)
        words = f"{report.added} clip{'s' * (report.added != 1)} added."
        for name, sentence in report.failures[:SHOWN_FAILURES]:
            words += f" {Path(name).name}: {sentence}"
        if len(report.failures) > SHOWN_FAILURES:
            words += f" And {len(report.failures) - SHOWN_FAILURES} more failed."
        return words, report.references

    yield from change(own_id, result_id, work, clear=True)


def rename_clips(own_id: str | None, result_id: str | None, chosen: list[str], label: str) -> Iterator[Any]:
    def work(folder: Path, way: Way, progress: Progress) -> tuple[str, ReferenceSet]:
        rename(folder, chosen or [], label)
        return "Renamed.", way.settle(folder, progress)

    yield from change(own_id, result_id, work)


def remove_clips(own_id: str | None, result_id: str | None, chosen: list[str]) -> Iterator[Any]:
    def work(folder: Path, way: Way, progress: Progress) -> tuple[str, ReferenceSet]:
        remove(folder, chosen or [])
        return "Removed. The other points stay where they were.", way.settle(folder, progress)

    yield from change(own_id, result_id, work)


def fit_again(own_id: str | None, result_id: str | None) -> Iterator[Any]:
    def work(folder: Path, way: Way, progress: Progress) -> tuple[str, ReferenceSet]:
        return "A new fit, turned to lie near the old one.", way.settle(folder, progress, refit=True)

    yield from change(own_id, result_id, work)


def save_set(own_id: str | None, result_id: str | None) -> Iterator[Any]:
    def work(folder: Path, way: Way, progress: Progress) -> tuple[str, ReferenceSet]:
        return "", way.settle(folder, progress)

    try:
        for update in change(own_id, result_id, work):
            yield update
        own_id, folder = open_folder(update[2] if isinstance(update[2], str) else own_id)
        with scratch() as place:
            export(folder, place / "references.zip")
            words = "The set as one file: clips, clips.csv, vectors and thumbnails. Drop it above to bring it back."
            saved = gr.update(value=str(place / "references.zip"), visible=True)
            yield status(words), gr.skip(), own_id, gr.skip(), saved, gr.skip()
    except UserError as error:
        yield failed(str(error))
    except Exception:
        log.exception("saving the set failed")
        yield failed(OUR_FAULT)


def change(own_id: str | None, result_id: str | None, work: Work, clear: bool = False) -> Iterator[Any]:
    """Change the visitor's references: yields (message, map, session id, clips to choose, saved file, uploads).

    Where it fails, the message says why and the map stays as it was; `clear` takes the uploads away where it works.
    """
    try:
        result = results.get(result_id)
        if result is not None and result.embedding is not None and result.embedding.layer is not None:
            result = pipeline.at_layer(result, None)
        embedding = result.embedding if result else None
        pooling = result.pooling if result else None
        own_id, folder = open_folder(own_id)

        def steps(say: Callable[[str], None]) -> Iterator[tuple[str, ReferenceSet]]:
            def progress(done: int, total: int, message: str) -> None:
                say(f"{message}: {done} of {total}")

            yield work(folder, way_of(embedding, pooling), progress)

        for item in narrate(steps):
            if isinstance(item, str):
                yield status(f"{item} …", "busy"), gr.skip(), own_id, gr.skip(), gr.skip(), gr.skip()
                continue
            words, references = item
            saved = gr.update(value=None, visible=False)
            shown = map_value(references, embedding)
            yield status(words), shown, own_id, choices(folder), saved, None if clear else gr.skip()
    except UserError as error:
        yield failed(str(error), own_id)
    except Exception:
        log.exception("changing the references failed")
        yield failed(OUR_FAULT, own_id)


def failed(sentence: str, own_id: str | None = None) -> tuple[Any, ...]:
    keep = gr.skip()
    return status(sentence, "error"), keep, own_id or keep, keep, keep, keep


def way_of(embedding: Any, pooling: Pooling | None) -> Way:
    """How the clip that is shown was embedded and compared; as a new request would be, where none is shown."""
    if embedding is None:
        request = pipeline.Request()
        encoder, sampling, fit = get_encoder(request.checkpoint), request.check(), request.fit
    else:
        made = embedding.fingerprint
        mode, frames = made.sampling.split("-")
        encoder = get_encoder(made.checkpoint, precision=made.precision)
        sampling, fit = Sampling(int(frames), mode), made.fit
    return Way(encoder, sampling, fit, pooling or encoder.checkpoint.pooling)


def list_clips(own_id: str | None) -> Any:
    """The clips to choose from, as the page opens."""
    try:
        return choices(Path(folder_of(own_id) or pipeline.Request().reference_folder))
    except ReferencesError:
        return gr.skip()


def choices(folder: Path) -> Any:
    """Clips to choose from, those that were added by hand first."""
    clips = sorted(read_folder(folder), key=lambda clip: (not clip.file.startswith(f"{OWN}/"), clip.label, clip.file))
    return gr.update(choices=[(f"{clip.label} · {Path(clip.file).name}", clip.file) for clip in clips], value=[])


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
