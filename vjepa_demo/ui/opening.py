"""What the page opens with: a checkpoint, and an example that is finished already."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vjepa_demo import explore, jobs, scratch
from vjepa_demo.embedder import Embedder
from vjepa_demo.errors import out_of_memory
from vjepa_demo.explore import Compared, Embedded, Progress
from vjepa_demo.jobs import Job, Later, Visitor
from vjepa_demo.model import checkpoints
from vjepa_demo.model.checkpoints import Checkpoint, Choice
from vjepa_demo.options import Options, page_fit
from vjepa_demo.references import current
from vjepa_demo.settings import AUTO, ZERO_GPU, settings
from vjepa_demo.ui import examples, table
from vjepa_demo.ui.link import show_as, view_of
from vjepa_demo.ui.outcome import Update, safe, sentence, status
from vjepa_demo.ui.packed import Packed, load
from vjepa_demo.ui.patch_viewer import viewer_value
from vjepa_demo.ui.reference_map import WAITING
from vjepa_demo.ui.result import (
    AT_ONCE_S,
    NO_OFFER,
    Kept,
    compare_or_offer,
    describe,
    kept_as,
    price,
    show_map,
    viewer_bytes,
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
        choice: the checkpoint that is chosen in the control, and why it is that one.
        coming: an example, embedded; a sentence where it cannot be, which the log explains. Where it is `packed` it
            begins when nobody waits for anything, or when it is asked for.
        packed: the same as it is shipped, which is shown while the model is loaded, and from then on; None where the
            example is embedded before the page opens.
        failure: why it is not the checkpoint that it would have been; else empty.
        loading: the model, where it is loaded after the page has opened.
    """

    choice: Choice
    coming: Later[Embedded | str]
    packed: Packed | None = None
    failure: str = ""
    loading: Later[Any] = field(default_factory=lambda: Later.of(None))

    @property
    def example(self) -> Embedded | str:
        """What is `coming`, once it is there."""
        return self.coming.get()

    @property
    def shown(self) -> Embedded | None:
        """The example as the page shows it; None where there is nothing to show."""
        if self.packed:
            return self.packed.embedded
        return None if isinstance(self.example, str) else self.example

    @property
    def kept(self) -> Kept | None:
        """What a page gets to keep of the example that it shows."""
        return self.coming if self.packed else self.shown

    @property
    def said(self) -> str:
        """A line for those who come."""
        if self.coming.over and isinstance(self.example, str):
            return status(self.example, "error")
        if self.failure:
            return status(self.failure, "partly")
        words = POINT
        checkpoint = self.choice.checkpoint
        if self.shown and self.shown.embedding.fingerprint.checkpoint != checkpoint.id:
            words += f" This example is nano's; {checkpoint.name} embeds what you choose."
        return status(words, "opening")


@functools.lru_cache(maxsize=1)
def opening() -> Opening:
    """What the page opens with, made once, when the app starts. Raises CheckpointError: there is no such default."""
    choice, failure = table.choice() or checkpoints.default(), ""
    if choice.checkpoint is not checkpoints.NANO:
        log.warning("%s: %s", choice.checkpoint.id, choice.why)
        try:
            Embedder.open(_options(choice.checkpoint.id), _tell_terminal())
            # On ZeroGPU a GPU is given to a visitor's request alone: there nano embeds the example.
            return Opening(choice, Later.of(_embed_example("nano" if ZERO_GPU else choice.checkpoint.id)))
        except Exception as error:
            failed = choice.checkpoint
            reason = LITTLE_MEMORY if out_of_memory(error) else sentence(error)
            failure = f"{failed.name} could not be loaded, so this is nano. {reason}"
            log.warning("%s", failure)
            choice = checkpoints.fall_back(failed)
    elif packed := _packed():
        return Opening(choice, Later(functools.partial(_nanos_example, packed)), packed, loading=Later(_load_nano))
    return Opening(choice, Later.of(_nanos_example()), failure=failure)


def _load_nano() -> None:
    """What the first clip of a visitor would wait for."""
    Embedder.open(_options("nano"))


def _packed() -> Packed | None:
    """The first example as it is shipped, where nano will surely run on the CPU, as it did for that, and is compared
    in the way in which it was packed."""
    elsewhere = settings.device not in (AUTO, "cpu") or (settings.device == AUTO and checkpoints.may_have_gpu())
    if ZERO_GPU or elsewhere or table.options():
        return None
    return load(examples.files()[0], _options("nano"))


def _nanos_example(packed: Packed | None = None) -> Embedded | str:
    """Nano's first example, behind all visitors' clips; a sentence where there is none."""
    try:
        with Job(Visitor("", "opening"), math.inf, low=True).running():
            embedded = _embed_example("nano")
    except Exception as error:
        return sentence(error)
    if packed:
        show_as(embedded, packed.embedded)
    return embedded


def _embed_example(checkpoint: str) -> Embedded:
    file, options = examples.files()[0], _options(checkpoint)
    embedder = Embedder.open(options)
    clip = embedder.read(file)
    with jobs.turn():  # the first pass loads libraries, and its times would say nothing of the clip
        embedder.embed(clip)
    return explore.embed(file, options)


def _options(checkpoint: str) -> Options:
    made = table.options()
    if made and made.checkpoint == checkpoint:
        return made
    return Options(checkpoint, frames=checkpoints.find(checkpoint).frames, fit=page_fit())


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
    return _options(opening().choice.checkpoint.id)


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
    first, example = opening(), opening().shown
    if example is None:
        return {}
    folder = scratch.folder(scratch.UPLOADS) / "first"  # from where it is served, for as long as the app runs
    folder.mkdir(exist_ok=True)
    file = folder / "clip0.bin"
    file.write_bytes(first.packed.viewer if first.packed else viewer_bytes(example))
    made = example.embedding.fingerprint.checkpoint
    other = {} if made == first.choice.checkpoint.id else {"made": (str(examples.files()[0]), Options(made))}
    return {**describe(example), "viewer": viewer_value(file, name=example.name, view=view_of(example)), **other}


_placed: Compared | None = None


def first_place() -> Update:
    """The first example's place on the map, where the references are embedded in its way, or soon are; else no map."""
    global _placed
    first, folder = opening(), current.folder()
    if _placed is None or _placed.comparison.references.folder != folder.resolve():
        _placed = _place(first, folder)
    if _placed is None or first.kept is None:
        return {"map": None, **NO_OFFER}
    return {"map": show_map(_placed), **NO_OFFER, **watching(first.kept, folder)}


def _place(first: Opening, folder: Path) -> Compared | None:
    if first.packed and (placed := first.packed.place(folder)):
        return placed
    example = first.example
    if isinstance(example, str) or price(example, folder)[1] > AT_ONCE_S:
        return None
    return table.compare(example, folder, explore.say_nothing)


_first = threading.Lock()


def first_updates() -> Update:
    """What a visitor sees before they have done anything: a finished example."""
    first = opening()
    with _first:
        view = {**first_view(), "status": first.said}
        if first.shown:
            try:
                view |= first_place()
            except Exception as error:
                view["status"] = status(sentence(error), "error")
        return copy.deepcopy(view)  # Gradio takes updates apart when it sends them


def opening_place(example: Embedded) -> Update:
    """The first example among references that are embedded in its way from now on, or what that would cost."""
    update = compare_or_offer(example, current.folder(), explore.say_nothing)
    del update["status"]
    return update


def first_paint() -> Iterator[Update]:
    """The first updates of a visitor's page, where references that are not embedded in its way are from now on; then
    what is to be told if the model cannot be loaded."""
    first, view = opening(), first_updates()
    if first.shown:
        view |= kept_as(first.shown, of=first.kept)
        if view.get("map", WAITING) is None and isinstance(first.example, Embedded):
            view |= opening_place(first.example)
    _answered.set()
    yield view
    failed = first.coming.wait(LOADED_WITHIN_S) and isinstance(first.example, str)
    yield {"status": first.said} if failed else {}


# Imports hold up all other threads: the first page is to be answered before, or there is none to be seen so soon.
# LOADED_WITHIN_S is also how long the example lets others go first.
SOON_S, LOADED_WITHIN_S = 1.5, 60.0
QUIET_S = 2.0  # as long as a browser takes to draw what it was sent
SWITCH_S = 0.001  # after so long an import gives way; 5 ms, as is usual, add up to a second for a page
_answered = threading.Event()


def load_soon() -> threading.Thread:
    """Load the model in the background once a page has been told what it shows, or soon where none is opened. The
    example is embedded when nobody waits for anything: it is shown already, and must not hold them up. Returns the
    thread that sees to it."""

    def load() -> None:
        _answered.wait(SOON_S)
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        first = opening()
        first.loading.begin()
        first.loading.wait(LOADED_WITHIN_S)
        sys.setswitchinterval(usual)
        gc.enable()
        if not first.loading.failed:  # which it would tell
            jobs.door.wait_quiet(QUIET_S, LOADED_WITHIN_S)
        first.coming.begin()

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread
