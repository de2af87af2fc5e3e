"""The app as strangers on the open internet meet it, and files on its machine that are none of their business."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def stranger(space_url: str) -> Iterator[httpx.Client]:
    """Somebody who sends what they like, below the app's address."""
    with httpx.Client(base_url=space_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture on the server's disk that nobody has uploaded."""
    pixels = np.random.default_rng(4711).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("private") / "secret.png"
    Image.fromarray(pixels).save(path)
    return path


def upload(client: httpx.Client, path: Path) -> str:
    """Upload a file as the page does. Returns the path that the server gives it."""
    answer = client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]
