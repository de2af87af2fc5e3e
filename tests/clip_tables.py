"""Tables of clips that tests write: vectors about a few centres, with labels, and rows that could not be embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vjepa_demo.embedding import Fingerprint, Kind

KIND = Kind(Fingerprint("nano", "1", "fp32", "even-16", "whole"))


def clustered(count: int, width: int, centres: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """float32 `[count, width]` about centres that are the same for every seed, and the centre of each."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    middles, latent = fixed.normal(size=(centres, width)), fixed.normal(size=(6, width))
    labels = rng.integers(centres, size=count)
    vectors = 2.0 + middles[labels] + 0.3 * spread * rng.normal(size=(count, 6)) @ latent
    return (vectors + 0.05 * rng.normal(size=vectors.shape)).astype(np.float32), labels


def write_table(
    path: Path, vectors: np.ndarray, labels: np.ndarray, *, faulty: int = 0, kind: Kind | None = KIND, **more: list[Any]
) -> None:
    """Write clips as a Lance table, or add them; `faulty` rows without a vector come first. Places are null."""
    import lance
    import pyarrow as pa

    from vjepa_demo.scale.tables import Table, schema
    from vjepa_demo.scale.work import made_of

    made = made_of(kind.fingerprint) if kind else {}
    begins = lance.dataset(str(path)).count_rows() if Table(path).open() is not None else 0
    rows = [{"clip_id": f"x{begins + n}", "uri": f"/x{begins + n}.mp4", **made, "error": "No."} for n in range(faulty)]
    for number, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        named = {"clip_id": f"{begins + number}", "uri": f"/{begins + number}.mp4", "start": 0.0, "end": 4.0}
        rows.append({**named, "label": f"label {label}", **made, "vector": vector})
        rows[-1] |= {name: values[number] for name, values in more.items()}
    table = pa.Table.from_pylist(rows, schema(vectors.shape[1], 1))
    lance.write_dataset(table, str(path), mode="append" if begins else "create")


def write_indexed(
    path: Path, vectors: np.ndarray, labels: np.ndarray, sizes: list[tuple[Any, str, int]], **more: Any
) -> None:
    """The same with an index, made as of a large table: with (module, name, value) of sizes that a test can afford."""
    from vjepa_demo.scale import large

    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in sizes:
            patch.setattr(module, name, value)
        write_table(path, vectors, labels, **more)
        large.index(str(path))


def units_of(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """float64, centred and of length 1."""
    rest = vectors.astype(np.float64) - mean
    return rest / np.linalg.norm(rest, axis=1, keepdims=True)
