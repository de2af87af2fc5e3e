"""Files on their way to the browser."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from vjepa_demo import scratch as folders

SAVE = "saveMade"  # the function of page.js that saves a file that has just been made
NAME_LENGTH = 80

# Gradio has copied what is in such a folder by the time the next event is yielded.
scratch = folders.temporary


@contextlib.contextmanager
def to_be_saved(name: str) -> Iterator[Path]:
    """Where to make a large file for a visitor, whom Gradio serves it from there; it goes where the context fails."""
    folder = folders.folder(folders.UPLOADS) / secrets.token_hex(16)
    folder.mkdir()
    try:
        with folders.using(folder):
            yield folder / name
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def named_after(clip: str, ending: str) -> str:
    """A file's name that says of which clip it is, in letters that every system takes."""
    return (re.sub(r"[^\w.-]+", "_", Path(clip).stem).strip("._")[:NAME_LENGTH] or "clip") + ending
