"""Files on their way to the browser."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from vjepa_demo import scratch as folders

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
