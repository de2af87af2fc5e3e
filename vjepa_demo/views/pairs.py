"""How often the impossible one of two clips that begin alike surprises more, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
Z = 1.96  # of the normal distribution, for 95 %
RIVALS = {"difference": "the mere change of pixels", "random": "random weights"}


def interval(right: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` cases (Wilson 1927)."""
    middle = (right + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * (right * (1 - right) / count + Z * Z / (4 * count * count)) ** 0.5
    return middle - half, middle + half


def figures(rows: Mapping[str, Row], name: str) -> str:
    """What `assets/recipes/pairs.py --json` measured of a checkpoint, as a sentence or two.

    A clip's surprise is the mean over its time steps, as is customary for pairs (arXiv 2502.11831); what its highest
    step says of pairs out of sight is told after that, where it was measured. These are matched and stand together; in
    plain sight every kind is another question. Where its interval is below chance, or another judge, it is said to be
    worse, and where that lies within, to be no better.

    Args:
        rows: by the kind of pair. `pairs` is their number, `out_of_sight` whether nothing can be seen to go wrong in
            any single frame, and "checkpoint mean", "difference mean" and, where that was measured, "random mean" are
            lists that begin with the share in which that judge finds the impossible clip more surprising.
        name: the checkpoint's.

    Raises:
        KeyError, TypeError, ValueError, ZeroDivisionError: the rows are not of this form.
    """
    hidden = [row for row in rows.values() if row["out_of_sight"]]
    told = [f"out of sight in {_share(hidden, 'mean')}"] if hidden else []
    told += [f"where {row['what']}, in {_share([row], 'mean')}" for row in rows.values() if not row["out_of_sight"]]
    if not told:
        raise ValueError("no rows")
    count = sum(int(row["pairs"]) for row in rows.values())
    words = f"{name}, measured on {count} such pairs: the impossible clip surprises more {'; '.join(told)}."
    if hidden and all("checkpoint maximum" in row for row in hidden):
        words += f" By its highest step instead of the mean: out of sight in {_share(hidden, 'maximum')}."
    return words


def _share(group: list[Row], how: str) -> str:
    """The checkpoint's share of a group of kinds, its interval, and what it is worse than, or no better."""
    count = sum(int(row["pairs"]) for row in group)

    def of(judge: str) -> float:
        return sum(float(row[f"{judge} {how}"][0]) * int(row["pairs"]) for row in group) / count

    right = of("checkpoint")
    low, high = interval(right, count)
    others = {words: of(judge) for judge, words in RIVALS.items() if all(f"{judge} {how}" in row for row in group)}
    others = {"chance": 0.5, **others}
    worse = [f"{words} ({_per_cent(other)})" for words, other in others.items() if other > high]
    alike = [f"{words} ({_per_cent(other)})" for words, other in others.items() if low <= other <= high]
    told = [f"worse than {' and '.join(worse)}"] if worse else []
    told += [f"no better than {' or '.join(alike)}"] if alike else []
    share = f"{_per_cent(right)} ({_per_cent(low)} to {_per_cent(high)})"
    return f"{share}, which is {' and '.join(told)}" if told else share


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
