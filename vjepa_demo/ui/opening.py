"""What the page opens with: a checkpoint, and an example that is finished already."""

from __future__ import annotations

import copy
import functools
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vjepa_demo import explore, scratch
from vjepa_demo.errors import out_of_memory
from vjepa_demo.explore import Compared, Embedded, Progress
from vjepa_demo.model import checkpoints
from vjepa_demo.model.checkpoints import Checkpoint, Choice
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Options, page_fit
from vjepa_demo.references import current
from vjepa_demo.settings import ZERO_GPU
from vjepa_demo.ui import examples
from vjepa_demo.ui.outcome import Update, safe, sentence, status
from vjepa_demo.ui.reference_map import WAITING
from vjepa_demo.ui.result import (
    AT_ONCE_S,
    NO_OFFER,
    OUTPUTS,
    compare_or_offer,
    kept_as,
    price,
    show,
    show_map,
    watching,
)

log = logging.getLogger(__name__)

POINT = "Point at any patch to see what is similar."
LITTLE_MEMORY = "There is too little memory for it here: name a smaller checkpoint in VJEPA_DEMO_CHECKPOINT."
TELL_EVERY_S = 5.0


@dataclass(frozen=True, eq=False)
class Opening:
    """What the page opens with.

    Attributes:
        choice: the checkpoint that is chosen in the control, loaded, and why it is that one.
        example: an example, embedded; a sentence where it cannot be, which the log explains.
        failure: why it is not the checkpoint that it would have been; else empty.
    """

    choice: Choice
    example: Embedded | str
    failure: str = ""

    @property
    def said(self) -> str:
        """A line for those who come."""
        if isinstance(self.example, str):
            return status(self.example, "error")
        if self.failure:
            return status(self.failure, "partly")
        words = POINT
        checkpoint = self.choice.checkpoint
        if self.example.embedding.fingerprint.checkpoint != checkpoint.id:
            words += f" This example is nano's; {checkpoint.name} embeds what you choose."
        return status(words)


@functools.lru_cache(maxsize=1)
def opening() -> Opening:
    """What the page opens with, made once, when the app starts. Raises CheckpointError: there is no such default."""
    choice, failure = checkpoints.default(), ""
    if choice.checkpoint is not checkpoints.NANO:
        log.warning("%s: %s", choice.checkpoint.id, choice.why)
        try:
            # On ZeroGPU a GPU is given to a visitor's request alone: there nano embeds the example.
            get_encoder(choice.checkpoint.id, progress=_tell_terminal())
            return Opening(choice, _embed_example("nano" if ZERO_GPU else choice.checkpoint.id))
        except Exception as error:
            failed = choice.checkpoint
            reason = LITTLE_MEMORY if out_of_memory(error) else sentence(error)
            failure = f"{failed.name} could not be loaded, so this is nano. {reason}"
            log.warning("%s", failure)
            choice = checkpoints.fall_back(failed)
    try:
        return Opening(choice, _embed_example("nano"), failure)
    except Exception as error:
        return Opening(choice, sentence(error), failure)


def _embed_example(checkpoint: str) -> Embedded:
    for _ in range(2):  # the first pass loads libraries and weights, and its times would say nothing of the clip
        explore.kept.clear()
        frames = checkpoints.find(checkpoint).frames
        embedded = explore.embed(examples.files()[0], Options(checkpoint, frames=frames, fit=page_fit()))
    return embedded


def _tell_terminal() -> Progress:
    """Tells those who start the app what it waits for, not more often than every few seconds."""
    told = -TELL_EVERY_S

    def tell(message: str) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            log.warning("%s", message)

    return tell


def first_options() -> Options:
    """The options that the page's controls show at first."""
    checkpoint = opening().choice.checkpoint
    return Options(checkpoint.id, frames=checkpoint.frames, fit=page_fit())


def listed_checkpoints() -> list[Checkpoint]:
    """Those that the page's control offers: also the one that it opens with."""
    return list(dict.fromkeys([*checkpoints.offered(), opening().choice.checkpoint]))


def choice_told(chosen: str) -> tuple[str, str]:
    """The line beside the control: which checkpoint the page opened with and why, and the words of the button for the
    other one; no words where that is not offered.

    Args:
        chosen: what is chosen in the control.
    """
    choice = opening().choice
    if chosen == choice.checkpoint.id:
        other = f"{choice.other.name} ›" if choice.other in listed_checkpoints() else ""
        return safe(f"{choice.checkpoint.name}: {choice.why}"), other
    return "", f"‹ {choice.checkpoint.name}"


def choose_other(chosen: str) -> tuple[str, int, str]:
    """The checkpoint that the button beside the control offers, and its frames; pressed again, it leads back.

    Without a GPU the larger one gets no more frames than nano has: it would take minutes.
    """
    choice = opening().choice
    other = choice.other if chosen == choice.checkpoint.id else choice.checkpoint
    return other.id, min(other.frames, choice.checkpoint.frames), status(POINT)


@functools.lru_cache(maxsize=1)
def first_view() -> Update:
    """All that shows the first example but its place on the map, made once: every visitor sees the same."""
    first = opening()
    if isinstance(first.example, str):
        return {"status": first.said}
    folder = scratch.folder(scratch.UPLOADS) / "first"  # from where it is served, for as long as the app runs
    folder.mkdir(exist_ok=True)
    made = first.example.embedding.fingerprint.options.checkpoint
    other = {} if made == first.choice.checkpoint.id else {"made": (str(examples.files()[0]), Options(made))}
    return {**show(first.example, folder), "status": first.said, **other}


_placed: Compared | None = None


def first_place(example: Embedded) -> Update:
    """The first example's place on the map, where the references are embedded in its way, or soon are; else no map."""
    global _placed
    if _placed is None or _placed.comparison.references.folder != current.folder().resolve():
        if price(example, current.folder())[1] > AT_ONCE_S:
            return {"map": None, **NO_OFFER}
        _placed = explore.compare(example, current.folder())
    return {"map": show_map(_placed), **NO_OFFER, **watching(example, current.folder())}


_first = threading.Lock()


def first_updates() -> Update:
    """What a visitor sees before they have done anything: a finished example."""
    example = opening().example
    with _first:
        view = first_view()
        if not isinstance(example, str):
            try:
                view = view | first_place(example)
            except Exception as error:
                view = view | {"status": status(sentence(error), "error")}
        return copy.deepcopy(view)  # Gradio takes updates apart when it sends them


def opening_place(example: Embedded) -> Update:
    """The first example among references that are embedded in its way from now on, or what that would cost."""
    update = compare_or_offer(example, current.folder(), explore.say_nothing)
    del update["status"]
    return update


def first_paint() -> tuple[Any, ...]:
    """The first updates of a visitor's page; references that are not embedded in its way are from now on."""
    view, example = first_updates(), opening().example
    if not isinstance(example, str):
        view |= kept_as(example)
        if view.get("map", WAITING) is None:
            view |= opening_place(example)
    return tuple(view.get(name, gr.skip()) for name in OUTPUTS)
