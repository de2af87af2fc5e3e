"""Addresses that stand for files of this app: which they are, and that the gate has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjepa_demo.errors import RequestError
from vjepa_demo.settings import ASSETS
from vjepa_demo.ui import addresses, examples
from vjepa_demo.ui.gate import admit

META = {"_type": "gradio.FileData"}


def test_every_example_has_an_address_that_stands_for_a_copy_of_it():
    for path in examples.files():
        told = addresses.told(
            {"path": addresses.of_example(path.name), "url": "http://elsewhere.example/", "meta": META}
        )
        assert set(told) == {"path", "meta"}
        assert Path(admit(told["path"])).read_bytes() == path.read_bytes()
        assert ASSETS not in Path(told["path"]).parents


@pytest.mark.parametrize("address", ["http://localhost:7860", "https://a.hf.space/sub"])
def test_the_address_of_an_upload_stands_for_its_path_which_the_gate_admits_or_not(address):
    told = addresses.told({"path": f"{address}/gradio_api/file=/elsewhere/a%20b/c.mp4"})
    assert told["path"] == "/elsewhere/a b/c.mp4"
    with pytest.raises(RequestError):
        admit(told["path"])


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "http://localhost/examples/v-jepa-2-explorer/dominoes.mp4", {"path": None}, {"path": ["x"]}, {},
        {"path": "http://localhost/examples/v-jepa-2-explorer/nothing.mp4"},
        {"path": "http://localhost/examples/v-jepa-2-explorer/../examples.csv"},
        {"path": "http://localhost/examples/v-jepa-2-explorer/examples.csv"},
        {"path": "http://localhost/examples/dominoes.mp4"}, {"path": "http://localhost/x.mp4"},
        {"path": "file:///examples/v-jepa-2-explorer/dominoes.mp4"}, {"path": "/gradio_api/file=/etc/passwd"},
        {"path": "http://localhost/?/gradio_api/file=/etc/passwd"},
    ],
)  # fmt: skip
def test_everything_else_stays_as_it_is(value):
    assert addresses.told(value) is value


def test_the_address_of_an_example_is_where_the_app_is(monkeypatch):
    monkeypatch.delenv("SPACE_HOST", raising=False)
    monkeypatch.setenv("VJEPA_DEMO_PORT", "7999")
    assert addresses.of_example("arm.mp4") == "http://localhost:7999/examples/v-jepa-2-explorer/arm.mp4"
    monkeypatch.setenv("SPACE_HOST", "somebody-explorer.hf.space")
    assert addresses.of_example("arm.mp4") == "https://somebody-explorer.hf.space/examples/v-jepa-2-explorer/arm.mp4"
