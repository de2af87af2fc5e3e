"""The references that everybody sees: the owner's folder, a dataset on the Hub once it is here, or the shipped ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vjepa_demo.errors import UserError
from vjepa_demo.options import Options
from vjepa_demo.references.filling import fill
from vjepa_demo.references.preparing import SHIPPED
from vjepa_demo.references.sources import fetch
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)

AGAIN_S = 600.0  # what could not be fetched is tried again after so long
POLL_S = 0.5
UNTIL = "until then these are the clips that come with the app."


class _Hub:
    """A dataset on its way, in a thread of its own; the shipped references serve until enough of it is embedded."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.words = ""

    def run(self, source: str, options: Callable[[], Options]) -> None:
        while not self.folder:
            self.words = f"Other references are being fetched; {UNTIL}"
            try:
                self._take(fetch(source), source, options())
            except Exception as error:
                told = isinstance(error, UserError)
                log.warning("%s: %s", source, error if told else type(error).__name__, exc_info=None if told else error)
                self.words = f"Other references cannot be had; {UNTIL}"
                time.sleep(AGAIN_S)

    def _take(self, folder: Path, source: str, options: Options) -> None:
        filling = fill(folder, options)
        while not (filling.mapped or filling.over):
            if filling.total:
                self.words = f"{filling.done} of {filling.total} other references are embedded; {UNTIL}"
            time.sleep(POLL_S)
        if filling.failure:
            raise UserError(filling.failure)
        self.folder, self.words = folder, ""
        log.warning("the references are those of %s now", source)


_hub = _Hub()


def folder() -> Path:
    """Where the references are that everybody sees now."""
    if settings.own_folder:
        return Path(settings.references)
    return _hub.folder or SHIPPED


def words(shown: Path) -> str:
    """A sentence about references that are to come in the place of those of a folder; "" where none are."""
    return _hub.words if shown.resolve() == folder().resolve() else ""


def begin(options: Callable[[], Options]) -> None:
    """Fetch the dataset that the settings name, if they do, and embed it with these options, in the background."""
    if settings.references and not settings.own_folder:
        threading.Thread(target=_hub.run, args=(settings.references, options), daemon=True).start()
