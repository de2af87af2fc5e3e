"""The panel for a visitor's own references: add, rename, remove, undo that, a new fit, and the set as one file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vjepa_demo import explore
from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import ReferencesError
from vjepa_demo.references.change import (
    OWN,
    bring_back,
    clean_label,
    export,
    forget_removed,
    remove,
    rename,
    take,
)
from vjepa_demo.references.comparison import ReferenceSet
from vjepa_demo.references.listing import one_line, read_folder
from vjepa_demo.references.preparing import Progress
from vjepa_demo.references.sources import settle
from vjepa_demo.references.zips import unpacked_size
from vjepa_demo.scratch import check_room, size_of, using
from vjepa_demo.settings import settings
from vjepa_demo.ui import handlers, sessions, under_way, visits
from vjepa_demo.ui.drawer import drawer
from vjepa_demo.ui.files import NAME_LENGTH, SAVE, to_be_saved
from vjepa_demo.ui.outcome import RUN, Update, event, status
from vjepa_demo.ui.reference_map import describe_clip, map_value
from vjepa_demo.ui.result import AT_ONCE_S, awaited, price
from vjepa_demo.ui.sessions import are_kept, folder_of

SHOWN_FAILURES = 5
NOT_BUSY = status("No change of your references is under way.")

# What a change of the references changes on the page.
OUTPUTS = ("status", "map", "own", "chosen", "saved", "files", "folder", "undo")

Say = Callable[[str], None]


class Partly(str):
    """Words about something that went well only in part."""


# Does something to the folder of references, whose clips it embeds: returns what to say, and the set as it is then.
Work = Callable[[Path, Embedder, Pooling, Progress], tuple[str, ReferenceSet]]


def panel() -> dict[str, Any]:
    """The controls, folded away; `wire` makes them do something."""
    with drawer("Your own references"):
        where = "are kept in your folder" if are_kept() else "live with this page; nobody else sees them"
        gr.Markdown(f"Clips that you add {where}. Old points stay where they are until you ask for a new fit.")
        with gr.Row():
            with gr.Column(min_width=240):
                files = gr.File(
                    label="Clips, or zips of clips or of a saved set",
                    file_count="multiple",
                    height=140,
                    elem_classes="own-drop",
                )
                folder = gr.File(
                    label="or a folder of clips", file_count="directory", height=120, elem_classes="own-drop"
                )
                label = gr.Textbox(label="Label of the new clips", max_lines=1, max_length=60, elem_classes="own-label")
                add = gr.Button("Add to the map", variant="primary")
                said = gr.HTML(elem_classes="status", js_on_load=None)
                undo = gr.Button("Undo", size="sm", visible=False)
            with gr.Column(min_width=240):
                chosen = gr.Dropdown([], label="Clips of the set", multiselect=True)
                new_label = gr.Textbox(label="New label", max_lines=1, max_length=60)
                with gr.Row():
                    rename_button = gr.Button("Rename", min_width=80)
                    remove_button = gr.Button("Remove", min_width=80)
                with gr.Row():
                    refit = gr.Button("New fit", min_width=80)
                    save = gr.Button("Save the set", min_width=80)
                    cancel = gr.Button("Cancel", min_width=80)
                saved = gr.File(label="Saved set", interactive=False, visible=False)
    return {
        **{"files": files, "folder": folder, "label": label, "add": add, "chosen": chosen, "new_label": new_label},
        **{"rename": rename_button, "remove": remove_button, "refit": refit, "save": save, "cancel": cancel},
        **{"saved": saved, "said": said, "undo": undo},
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
    chosen_by = {**parts, "status": parts["said"], "map": space, "own": own_id}
    outputs = [chosen_by[name] for name in OUTPUTS]
    ids = [own_id, result_id]
    given = [parts[name] for name in ("files", "folder", "label")]
    parts["add"].click(add_clips, [*ids, *given], outputs, **RUN)
    parts["rename"].click(rename_clips, [*ids, parts["chosen"], parts["new_label"]], outputs, **RUN)
    parts["remove"].click(remove_clips, [*ids, parts["chosen"]], outputs, **RUN)
    parts["undo"].click(undo_removal, ids, outputs, **RUN)
    parts["refit"].click(fit_again, ids, outputs, **RUN)
    parts["save"].click(save_set, ids, outputs, **RUN)
    parts["saved"].change(None, parts["saved"], js=SAVE, **RUN)
    parts["cancel"].click(cancel, None, parts["said"], **RUN)
    demo.load(list_clips, own_id, parts["chosen"], **RUN)


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def add_clips(
    say: Say,
    scratch: Path,
    own_id: str | None,
    result_id: str | None,
    files: list[str] | None,
    inside: list[str] | None,
    label: str,
) -> Iterator[Update]:
    """Add uploads, and the files of an uploaded folder, under a label."""
    uploads = [(Path(file), Path(file).name) for file in [*(files or []), *(inside or [])]]
    if not uploads:
        raise ReferencesError("There is nothing to add yet: drop videos, images or a zip first.")
    if not all(name.lower().endswith(".zip") for _, name in uploads):
        clean_label(label)

    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        report = take(folder, uploads, label, embedder, pooling, progress=progress)
        notes = "".join(f" {shown_name(name)} {told}." for name, told in report.notes[:SHOWN_FAILURES])
        failed = report.failures[: report.tried - report.added]
        told = " ".join(f"{shown_name(name)}: {sentence}" for name, sentence in failed[:SHOWN_FAILURES])
        if len(failed) > SHOWN_FAILURES:
            told += f" And {len(failed) - SHOWN_FAILURES} more."
        if failed and not report.added:
            raise ReferencesError(f"Nothing was added. {told}")
        if failed:
            words = f"Only {report.added} of {report.tried} added; {len(failed)} could not be: {told}{notes}"
            return Partly(words), report.references
        words = f"{count(report.added)} added." if report.added else "Nothing was added: the set has all of it already."
        return words + notes, report.references

    with using(*(path for path, _ in uploads)):
        needed = sum(size_when_added(path, folder_of(own_id)) for path, _ in uploads)
        update = change(say, own_id, result_id, work, needed=needed, may_begin=True)
    yield {**update, "files": None, "folder": None}


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def rename_clips(
    say: Say, scratch: Path, own_id: str | None, result_id: str | None, chosen: list[str], label: str
) -> Iterator[Update]:
    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        rename(folder, [*dict.fromkeys(chosen or [])], label)
        return "Renamed.", settle(folder, embedder, pooling, progress=progress)

    yield change(say, own_id, result_id, work)


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def remove_clips(
    say: Say, scratch: Path, own_id: str | None, result_id: str | None, chosen: list[str]
) -> Iterator[Update]:
    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        remove(folder, chosen)
        words = f"{count(len(chosen))} removed. The other points stay where they were."
        return words, settle(folder, embedder, pooling, progress=progress)

    chosen = [*dict.fromkeys(chosen or [])]
    update = change(say, own_id, result_id, work, can_be_undone=True)
    yield {**update, "undo": gr.update(visible=True)}


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def undo_removal(say: Say, scratch: Path, own_id: str | None, result_id: str | None) -> Iterator[Update]:
    """Bring back what was removed last."""

    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        words = f"{count(bring_back(folder))} brought back."
        return words, settle(folder, embedder, pooling, progress=progress)

    yield change(say, own_id, result_id, work)


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def fit_again(say: Say, scratch: Path, own_id: str | None, result_id: str | None) -> Iterator[Update]:
    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        return "A new fit, turned to lie near the old one.", settle(
            folder, embedder, pooling, progress=progress, refit=True
        )

    yield change(say, own_id, result_id, work)


@event(*OUTPUTS, kind="own", seconds=settings.build_seconds)
def save_set(say: Say, scratch: Path, own_id: str | None, result_id: str | None) -> Iterator[Update]:
    def work(folder: Path, embedder: Embedder, pooling: Pooling, progress: Progress) -> tuple[str, ReferenceSet]:
        made = settle(folder, embedder, pooling, progress=progress)
        check_room(size_of(folder))
        export(folder, path)
        return "The set as one file: clips, clips.csv, vectors and thumbnails. Drop it above to bring it back.", made

    with to_be_saved("references.zip") as path:
        update = change(say, own_id, result_id, work)
        sessions.own.saved(update["own"], path)
        yield {**update, "saved": gr.update(value=str(path), visible=True)}


def cancel() -> Any:
    """End what is under way for the references of the page."""
    return handlers.OWN_CANCELLED if under_way.end(visits.visitor(), "own") else NOT_BUSY


def shown_name(name: str) -> str:
    """A file's name in a sentence, without its folders: short, and without letters that turn the line around."""
    name, half = one_line(Path(name).name, len(name)), NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"


def count(clips: int) -> str:
    return f"{clips} clip{'s' * (clips != 1)}"


def change(
    say: Say,
    own_id: str | None,
    result_id: str | None,
    work: Work,
    *,
    needed: int = 0,
    may_begin: bool = False,
    can_be_undone: bool = False,
) -> Update:
    """Change the visitor's references, and show the set as it is then; `needed`, `may_begin`: see `Sessions.change`.

    What an earlier change removed is gone for good with this one, unless it `can_be_undone` itself.

    Raises:
        UserError: it fails. A visitor's own references are as they were then; in a folder that is kept, clips that are
            new are taken back, and what was renamed or removed already stays so.
    """
    result = awaited(result_id, say)
    if result is not None:
        result = explore.at_layer(result, None)
    if result and price(result, folder_of(own_id))[1] > AT_ONCE_S:
        raise ReferencesError(
            "The reference clips are not embedded yet in the way in which the clip is: press the button above the map "
            "first, or embed the clip in another way."
        )
    with sessions.change(own_id, needed, may_begin=may_begin) as changed:
        embedder = Embedder.open(result.embedding.fingerprint.options) if result else Embedder.open()
        words, references = work(
            changed.folder,
            embedder,
            result.pooling if result else embedder.pooling,
            lambda done, total, message: say(f"{message}: {done} of {total}"),
        )
        if not can_be_undone:
            forget_removed(changed.folder)
        clip = None
        if result:
            found = references.compare(result.vector)
            clip = describe_clip(result.embedding, found, name=result.name, auto=result.auto)
        return {
            "status": status(f"{words} {changed.told}".strip(), "partly" if isinstance(words, Partly) else ""),
            "map": map_value(references, clip),
            "own": changed.id,
            "chosen": choices(changed.folder),
            "saved": gr.update(value=None, visible=False),
            "undo": gr.update(visible=False),
        }


def list_clips(own_id: str | None) -> Any:
    """The clips to choose from, as the page opens."""
    try:
        return choices(folder_of(own_id))
    except ReferencesError:
        return gr.skip()


def choices(folder: Path) -> Any:
    """Clips to choose from, those that were added by hand first."""
    clips = sorted(read_folder(folder), key=lambda clip: (not clip.file.startswith(f"{OWN}/"), clip.label, clip.file))
    return gr.update(choices=[(f"{clip.label} · {Path(clip.file).name}", clip.file) for clip in clips], value=[])


def size_when_added(path: Path, folder: Path) -> int:
    """Bytes that an upload will take in a set: those of a zip unpacked, less what is in the set already.

    None of a zip that cannot be read, which is told when it is taken.
    """
    if path.suffix.lower() != ".zip":
        return path.stat().st_size
    files = folder.rglob("*")
    with contextlib.suppress(ReferencesError):
        return unpacked_size(path, {(file.name, file.stat().st_size) for file in files if file.is_file()})
    return 0
