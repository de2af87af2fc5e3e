"""What is told of how a checkpoint fares with pairs of possible and impossible clips."""

from __future__ import annotations

from typing import Any

import pytest

from vjepa_demo.views.pairs import figures, interval


def row(hidden: bool, checkpoint: float, difference: float, pairs: int = 100, **more: float) -> dict[str, Any]:
    judges = {"checkpoint": checkpoint, "difference": difference, **more}
    shares = {f"{name} mean": [share, 0.0, 1.0] for name, share in judges.items()}
    return {"pairs": pairs, "what": "it …", "out_of_sight": hidden, **shares}


def test_the_interval_is_wilsons() -> None:
    low, high = interval(0.5, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert interval(1.0, 10)[0] == pytest.approx(0.722, abs=1e-3)


def test_kinds_count_by_their_pairs() -> None:
    rows = {"gone": row(True, 0.9, 0.5, 300), "late": row(True, 0.5, 0.5), "hang": row(False, 0.9, 0.5)}
    told = figures(rows, "nano")
    assert told.startswith(
        "nano, measured on 500 such pairs: the impossible clip surprises more out of sight in 80 % ("
    )
    assert told.endswith("; where it …, in 90 % (83 % to 94 %).")
    highest = {kind: {**each, "checkpoint maximum": [0.6], "difference maximum": [0.7]} for kind, each in rows.items()}
    assert figures(highest, "nano").startswith(told)
    assert "By its highest step instead of the mean: out of sight in 60 % (" in figures(highest, "nano")
    assert figures(highest, "nano").count("60 %") == 1, "in plain sight the mean alone is told"


@pytest.mark.parametrize(
    ("share", "random", "words"),
    [
        (0.58, None, "58 % (48 % to 67 %), which is no better than chance (50 %) or the mere change of pixels (55 %)"),
        (0.44, None, "which is worse than the mere change of pixels (55 %) and no better than chance (50 %)"),
        (0.00, None, "0 % (0 % to 4 %), which is worse than chance (50 %) and the mere change of pixels (55 %)."),
        (0.62, None, "62 % (52 % to 71 %), which is no better than the mere change of pixels (55 %)."),
        (0.70, 0.66, "70 % (60 % to 78 %), which is no better than random weights (66 %)."),
        (0.90, 0.66, "out of sight in 90 % (83 % to 94 %)."),
    ],
)
def test_what_it_does_not_beat_is_said(share: float, random: float | None, words: str) -> None:
    more = {} if random is None else {"random": random}
    assert words in figures({"gone": row(True, share, 0.55, **more)}, "mine")
    assert "where it" not in figures({"gone": row(True, share, 0.55)}, "mine")


@pytest.mark.parametrize(
    "rows", [{}, {"gone": {}}, {"gone": {"pairs": 0, "out_of_sight": True, "checkpoint mean": [1]}}]
)
def test_what_is_of_another_form_is_no_figure(rows: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ZeroDivisionError, ValueError)):
        figures(rows, "mine")
