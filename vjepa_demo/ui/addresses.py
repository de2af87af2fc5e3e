"""Addresses of this app's own that stand for files: what was uploaded here, and the examples. None is ever fetched."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from vjepa_demo.settings import ASSETS, settings

EXAMPLES = ASSETS / "examples"
FOLDER = "/examples/v-jepa-2-explorer/"  # that nobody else has
EXAMPLE = f"{FOLDER}(?P<example>[a-z]{{1,40}}[.]mp4)"
# Under whatever name the app is known to whoever asks.
OURS = re.compile(f"https?://[^/?#]+(/[^?#]*)?({EXAMPLE}|/gradio_api/file=(?P<upload>.+))", re.DOTALL)


def port() -> int:
    """The port that the app listens at."""
    return int(os.environ.get("VJEPA_DEMO_PORT", os.environ.get("GRADIO_SERVER_PORT", "7860")))


def of_example(name: str) -> str:
    """Where an example can be had, as far as the app knows where it is itself."""
    if host := os.environ.get("SPACE_HOST"):
        return f"https://{host}{FOLDER}{name}"
    names = settings.hosts.replace(",", " ").split()
    return f"http://{names[0] if names else 'localhost'}:{port()}{FOLDER}{name}"


def told(value: Any) -> Any:
    """A file object that names such an address as one that names the file, to be admitted by the gate like any other;
    everything else as it is."""
    path = value.get("path") if isinstance(value, dict) else None
    found = OURS.fullmatch(path) if isinstance(path, str) else None
    if found is None:
        return value
    if found["upload"] is not None:
        return {"path": unquote(found["upload"]), "meta": {"_type": "gradio.FileData"}}
    example = EXAMPLES / found["example"]
    if not example.is_file():
        return value
    return {"path": save_file_to_cache(example, get_upload_folder()), "meta": {"_type": "gradio.FileData"}}
