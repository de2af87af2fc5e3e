"""The app as a ZeroGPU Space: what it offers, embeds on the GPU, and says where the platform gives it none."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api.test_agents import call
from demo import ROOT, running_demo
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from security.conftest import upload

FRAMES = 4


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zero_gpu")


@pytest.fixture(scope="module")
def zero_url(log: Path, small_checkpoint: Path) -> Iterator[str]:
    environment = {
        **{"SPACES_ZERO_GPU": "true", "SPACE_ID": "somebody/explorer", "SYSTEM": "spaces"},
        **{
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "VJEPA_DEMO_OFFERED": f"{small_checkpoint} facebook/vjepa2-vitl-fpc64-256",
        },
        **{"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "zero_gpu"), os.environ.get("PYTHONPATH", "")])},
        **{"STANDIN_LOG": str(log / "calls"), "STANDIN_REFUSES": str(log / "refuses"), "VJEPA_DEMO_MEMO_BYTES": "0"},
    }
    with running_demo(log, **environment) as address:
        yield address


def test_it_offers_what_it_has_prepared_and_embeds_on_the_gpu(
    zero_url: str, log: Path, small_checkpoint: Path, video: Path
) -> None:
    with urllib.request.urlopen(f"{zero_url}/config") as answer:  # noqa: S310
        components = json.load(answer)["components"]
    (choices,) = [part["props"]["choices"] for part in components if part["props"].get("label") == "Checkpoint"]
    assert [value for _, value in choices] == ["nano", str(small_checkpoint)]
    client = Client(zero_url, verbose=False, headers={"X-IP-Token": "a visitor's"})
    for _ in range(2):
        summary, _ = client.predict(
            handle_file(video), checkpoint=str(small_checkpoint), frames=FRAMES, fit="whole", api_name="/embed"
        )
        assert (summary["device"], summary["precision"]) == ("cuda", "bf16")
    summary, _ = client.predict(handle_file(video), checkpoint="nano", frames=FRAMES, api_name="/embed")
    assert summary["device"] == "cpu", "nano costs nobody's quota"
    calls = [json.loads(line) for line in (log / "calls").read_text().splitlines()]
    assert [call["kind"] for call in calls] == ["ok", "ok"]
    assert calls[0]["worker"] == calls[1]["worker"]
    assert {call["whose"] for call in calls} == {"a visitor's"}, "the quota is that of who asks"
    with httpx.Client(base_url=zero_url, timeout=60) as curl:
        file = upload(curl, video)
    options = {"checkpoint": str(small_checkpoint), "frames": FRAMES}
    assert not call(zero_url, "explorer_embed", {"X-IP-Token": "an agent's"}, file=file, **options).isError
    assert json.loads((log / "calls").read_text().splitlines()[-1])["whose"] == "an agent's"
    for name in ("facebook/vjepa2-vitl-fpc64-256", "facebook/vjepa2-vitg-fpc64-384", "/etc"):
        with pytest.raises(AppError, match="only the checkpoints of the list"):
            client.predict(handle_file(video), checkpoint=name, api_name="/embed")


@pytest.mark.parametrize(("refusal", "words"), [("quota", "exceeded your free ZeroGPU quota"), ("busy", "No GPU was")])
def test_refusals_reach_the_client_in_the_platforms_words(
    zero_url: str, log: Path, small_checkpoint: Path, video: Path, refusal: str, words: str
) -> None:
    (log / "refuses").write_text(refusal)
    try:
        with pytest.raises(AppError, match=words):
            Client(zero_url, verbose=False).predict(
                handle_file(video), checkpoint=str(small_checkpoint), frames=FRAMES, api_name="/embed"
            )
    finally:
        (log / "refuses").unlink()
