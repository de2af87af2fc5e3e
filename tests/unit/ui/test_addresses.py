"""Addresses that stand for files of this app, over which the gate has the last word; and its port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vjepa_demo.errors import PortError, RequestError
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


# --- the port --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _gradios_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set where a port is settled; after each test it is what it was."""
    monkeypatch.setenv("GRADIO_SERVER_PORT", "")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of a port on which another program listens, which the app is told to take."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        monkeypatch.setenv("VJEPA_DEMO_PORT", str(number))
        yield number


def test_the_next_free_port_is_taken_and_told(taken: int, caplog: pytest.LogCaptureFixture) -> None:
    addresses.settle_port()
    found = addresses.port()
    assert taken < found < taken + addresses.MOST_TRIED
    assert f"port {taken}: this app takes {found}" in caplog.text
    assert f":{found}/" in addresses.of_example("cradle.mp4")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", found))


def test_an_app_that_others_look_for_does_not_move(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "settings", replace(addresses.settings, server_name="0.0.0.0"))  # noqa: S104
    with pytest.raises(PortError, match=rf"port {taken}: .*VJEPA_DEMO_PORT"):
        addresses.settle_port()


@pytest.mark.parametrize("variable", ["VJEPA_DEMO_PORT", "GRADIO_SERVER_PORT"])
@pytest.mark.parametrize("text", ["http", "99999", "-1", "7860.5", "9" * 30])
def test_what_is_no_port_is_a_sentence(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJEPA_DEMO_PORT", "")  # not set, as Compose files write it
    monkeypatch.setenv(variable, text)
    with pytest.raises(PortError, match=f"{variable} .* 1 to 65535"):
        addresses.settle_port()


@pytest.mark.parametrize("name", ["nowhere.invalid", "192.0.2.1"])  # RFC 2606, RFC 5737: nobody has them
@pytest.mark.parametrize("variable", addresses.HOSTS)
def test_an_address_of_another_machine_is_told(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "settings", replace(addresses.settings, server_name=name))
    for known in addresses.HOSTS:
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(variable, name)
    with pytest.raises(PortError, match=f"{variable} must be an address of this machine, not '{name}'"):
        addresses.settle_port()


@pytest.mark.parametrize("name", ["", "0.0.0.0", "127.0.0.1", "localhost", "[::1]"])  # noqa: S104
def test_addresses_of_this_machine_are_bound_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    monkeypatch.setattr(addresses, "settings", replace(addresses.settings, server_name=name))
    monkeypatch.setenv("VJEPA_DEMO_PORT", "47860")
    addresses.settle_port()


def test_a_free_port_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    monkeypatch.setenv("VJEPA_DEMO_PORT", str(number))
    addresses.settle_port()
    assert addresses.port() == number
