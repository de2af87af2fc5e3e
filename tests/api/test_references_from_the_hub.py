"""References that are a dataset on the Hub: fetched and embedded while the app runs, and nobody waits for them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo import running_demo
from gradio_client import Client, handle_file
from hub import Hub

from vjepa_demo.references.preparing import SHIPPED

WAIT_S = 900  # to be embedded beside whatever else the machine does


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A dataset of some films in two folders, which are their labels."""
    films = sorted(SHIPPED.glob("*.mp4"))[:12]
    for number, film in enumerate(films):
        target = tmp_path / "dataset" / "val" / ("eating" if number % 2 else "falling") / film.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film, target)
    (tmp_path / "dataset" / "README.md").write_text("not a clip")
    with Hub("somebody/kinetics", tmp_path / "dataset", kind="datasets").running() as running:
        yield running


def labels(client: Client, video: Path) -> set[str]:
    answer = client.predict(handle_file(video), k=5, fit="whole", api_name="/neighbours")
    return {near["label"] for near in answer["neighbours"]}


def test_it_is_fetched_and_serves_once_it_is_embedded(hub, video, tmp_path):
    environment = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"}
    with running_demo(tmp_path, VJEPA_DEMO_REFERENCES="hf://datasets/somebody/kinetics", **environment) as address:
        client = Client(address, verbose=False)
        deadline = time.monotonic() + WAIT_S
        seen = [labels(client, video)]
        while seen[-1] - {"eating", "falling"}:
            assert time.monotonic() < deadline, (tmp_path / "app.log").read_text()
            time.sleep(5)  # what is asked goes before what is embedded in the background
            seen.append(labels(client, video))
    assert len(hub.files) == 13
    assert not any(path.endswith("README.md") for method, path, _ in hub.asked if method == "GET")


def test_where_it_cannot_be_had_the_shipped_ones_serve_and_the_log_says_why(video, tmp_path):
    environment = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with running_demo(tmp_path, VJEPA_DEMO_REFERENCES="hf://datasets/somebody/kinetics", **environment) as address:
        assert not labels(Client(address, verbose=False), video) & {"eating", "falling"}
    log = (tmp_path / "app.log").read_text()
    assert "The dataset cannot be had, the mirror in HF_ENDPOINT cannot be reached" in log
