"""What a query of stored references costs: exact neighbours, place and far rule, against 10,000 random vectors.

python bench/references.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vjepa_demo.embedding import Fingerprint, Kind, Vector
from vjepa_demo.references.comparison import Comparison, ReferenceClip, ReferenceSet

COUNT = 10_000
WIDTHS = (192, 1024)
QUERIES = 30
MADE = Kind(Fingerprint("bench", "1", "fp32", "even-16", "crop"))


def main() -> None:
    """Print one line for each width."""
    rng = np.random.default_rng(0)
    for width in WIDTHS:
        references = ReferenceSet(
            kind=MADE,
            clips=tuple(ReferenceClip(f"{i}.mp4", f"label {i % 100}") for i in range(COUNT)),
            vectors=rng.normal(size=(COUNT, width)).astype(np.float32),
            coordinates=rng.normal(size=(COUNT, 2)).astype(np.float32),
        )

        def compare(query: np.ndarray, references: ReferenceSet = references) -> Comparison:
            return references.compare(Vector(query, MADE))

        started = time.perf_counter()
        _ = references.unit, references.far_threshold
        once = time.perf_counter() - started
        asks: dict[str, Callable[[np.ndarray], Any]] = {
            "neighbours": lambda query: compare(query).neighbours(10),
            "place": lambda query: compare(query).flat,
            "far": lambda query: compare(query).far,
        }
        times: dict[str, list[float]] = {name: [] for name in asks}
        for query in rng.normal(size=(QUERIES, width)).astype(np.float32):
            for name, ask in asks.items():
                started = time.perf_counter()
                ask(query)
                times[name].append((time.perf_counter() - started) * 1e3)
        medians = " · ".join(f"{name} {statistics.median(values):.1f} ms" for name, values in times.items())
        print(f"{COUNT:,} references × {width}: {medians} (median of {QUERIES}; prepared once in {once:.1f} s)")


if __name__ == "__main__":
    main()
