"""Pairs of possible and impossible clips on the page: which there are, and how a checkpoint fares with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vjepa_demo.errors import RequestError
from vjepa_demo.model import checkpoints
from vjepa_demo.ui import link, pairs


def test_few_and_small_ones_are_shipped() -> None:
    files = [path for pair in pairs.known() for path in (pair.possible, pair.impossible)]
    assert sorted(files) == sorted(pairs.FOLDER.glob("*.mp4"))
    assert sum(path.stat().st_size for path in files) < 400_000
    assert [pair.out_of_sight for pair in pairs.known()].count(True) == 2


def test_a_pair_is_found_by_its_button_and_by_its_address() -> None:
    for number, pair in enumerate(pairs.known()):
        assert pairs.file_of({"pair": number}) == str(pair.possible)
        assert pairs.twin_of(pair.possible) == str(pair.impossible)
        assert pairs.twin_of(pair.impossible) is None
        assert link.example_of(link.name_of(pair.possible)) == str(pair.possible)
        assert link.name_of(pair.impossible) == link.OWN
    assert pairs.twin_of("/etc/passwd") is None


@pytest.mark.parametrize("sent", [None, {}, {"pair": -1}, {"pair": 99}, {"pair": "0"}, {"pair": True}, [0]])
def test_what_is_no_pair_is_told(sent: Any) -> None:
    with pytest.raises(RequestError):
        pairs.file_of(sent)


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A result of a checkpoint whose folder is `tmp_path`, named to be escaped."""
    mine = replace(checkpoints.NANO, id="mine", title="<b>mine</b> · small", folder=tmp_path)
    monkeypatch.setattr(checkpoints, "KNOWN", (mine,))
    return SimpleNamespace(embedding=SimpleNamespace(fingerprint=SimpleNamespace(checkpoint="mine")))


def test_what_was_measured_of_the_checkpoint_is_told(result: Any, tmp_path: Path) -> None:
    assert pairs.measured(result) == ""
    row = {"pairs": 10, "what": "", "out_of_sight": True, "checkpoint mean": [0.5, 0.2, 0.8], "difference mean": [0.5]}
    (tmp_path / pairs.MEASURED).write_text(json.dumps({"gone": row}))
    told = pairs.measured(result)
    assert "&lt;b&gt;mine&lt;/b&gt;, measured on 10 such pairs" in told
    assert "50 % (24 % to 76 %), which is no better than chance" in told


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"gone": 1}', '{"gone": {"pairs": "x"}}'])
def test_a_file_of_another_form_is_passed_over(result: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / pairs.MEASURED).write_text(text)
    assert pairs.measured(result) == ""


def test_what_was_measured_of_nano_can_be_read() -> None:
    nano: Any = SimpleNamespace(embedding=SimpleNamespace(fingerprint=SimpleNamespace(checkpoint="nano")))
    assert pairs.measured(nano).startswith("nano, measured on ")
