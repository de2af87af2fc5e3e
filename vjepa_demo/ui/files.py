"""Files on their way to the browser."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

SCRATCH = tempfile.TemporaryDirectory(prefix="vjepa-demo-")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files on their way to the browser: Gradio has copied them by the time the next event is yielded."""
    with tempfile.TemporaryDirectory(dir=SCRATCH.name) as folder:
        yield Path(folder)
