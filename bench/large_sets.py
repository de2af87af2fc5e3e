"""What a table of many clips costs: to lay out, to index, to ask, to add to, and to look through.

python bench/large_sets.py --rows 1000000 --width 192
python bench/large_sets.py --rows 200000 --width 1024

The rows are drawn: CLUSTERS of unequal size, in each of them clips that differ in LATENT directions and a little noise.
Each step runs in a process of its own; told are its seconds, by the clock and of all its threads, and its largest
resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Fingerprint, Kind, Vector, unit_vectors

MADE = Kind(Fingerprint("bench", "1", "fp32", "even-16", "crop"))
CLUSTERS, LATENT, NOISE = 2000, 24, 0.1
BLOCK = 20_000
QUERIES = 300
NEW = 10_000
NEAREST = 10
STEPS = ("write", "map", "index", "ask", "add", "duplicates", "odd", "cluster")


def rows(width: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors float32 `[n, D]` and the cluster of each; clusters and directions are the same for every seed."""
    fixed = np.random.default_rng(0)
    common = 3 * fixed.normal(size=width)
    centres = fixed.normal(size=(CLUSTERS, width))
    latent = fixed.normal(size=(CLUSTERS // 20, LATENT, width)) / np.sqrt(LATENT)
    shares = fixed.pareto(1.5, CLUSTERS) + 0.1
    rng = np.random.default_rng(seed)
    for begins in range(0, count, BLOCK):
        n = min(BLOCK, count - begins)
        cluster = np.sort(rng.choice(CLUSTERS, n, p=shares / shares.sum()))
        found = common + centres[cluster] + NOISE * rng.normal(size=(n, width))
        spread = rng.normal(size=(n, LATENT))
        for family in range(len(latent)):
            of_it = cluster % len(latent) == family
            found[of_it] += spread[of_it] @ latent[family]
        order = rng.permutation(n)
        yield found[order].astype(np.float32), cluster[order]


def write(table: str, width: int, count: int, seed: int = 1, name: str = "clip") -> None:
    """Write such rows, or add them."""
    import lance
    import pyarrow as pa

    from vjepa_demo.scale.tables import Table, schema
    from vjepa_demo.scale.work import made_of

    form, made = schema(width, 1), made_of(MADE.fingerprint)

    def batches() -> Iterator[pa.RecordBatch]:
        row = 0
        for vectors, cluster in rows(width, count, seed):
            n = len(vectors)
            ids = [f"{name}{row + i:015d}" for i in range(n)]
            columns: dict[str, Any] = {
                "clip_id": ids,
                "item": ids,
                "uri": [f"/clips/{each}.mp4" for each in ids],
                "label": [f"label {c}" for c in cluster],
                "split": [""] * n,
                **{column: [value] * n for column, value in made.items()},
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
            }
            yield pa.record_batch([columns.get(field.name, pa.nulls(n, field.type)) for field in form], schema=form)
            row += n

    mode = "create" if Table(table).open() is None else "append"
    lance.write_dataset(pa.RecordBatchReader.from_batches(form, batches()), table, mode=mode)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(step: str, table: str, width: int, count: int) -> dict[str, Any]:
    """One step, and what is told of it."""
    from vjepa_demo.scale import large, within
    from vjepa_demo.scale.tables import Table

    began = time.perf_counter()
    told: dict[str, Any] = {}
    if step == "write":
        write(table, width, count)
        told["bytes"] = size(Path(table))
    elif step == "map":
        Table(table).lay_out()
        told["bytes"] = size(Path(table))
    elif step == "index":
        facts = large.index(table)
        told |= {"recall": facts.recall, "probes": facts.probes, "partitions": facts.partitions, "far": facts.far}
        told["bytes"] = size(Path(table) / "_references")
    elif step == "ask":
        return ask(table, width)
    elif step == "add":
        write(table, width, NEW, seed=3, name="new")
        began = time.perf_counter()
        Table(table).lay_out()
        told["clips a minute"] = round(60 * NEW / (time.perf_counter() - began))
    else:
        found = large.opened(table)
        if step == "duplicates":
            told["pairs"] = len(within.duplicates(found, 0.98)[0])
        elif step == "odd":
            told["odd"] = len(within.odd(found)[0])
        else:
            told["clusters"] = len(within.clusters(found, 100)[1])
    return {**told, "seconds": round(time.perf_counter() - began, 1)}


def ask(table: str, width: int) -> dict[str, Any]:
    """Clips that are not in the table, one after the other: nearest clips with their names, far rule and place."""
    from vjepa_demo.scale import large, within

    began = time.perf_counter()
    references = large.opened(table)
    opening = time.perf_counter() - began
    (queries, _), *_ = rows(width, QUERIES, seed=2)
    times, found = [], []
    for query in queries:
        began = time.perf_counter()
        compared = references.compare(Vector(query, MADE))
        found.append([near.index for near in compared.neighbours(NEAREST)])
        _ = compared.far, compared.flat
        times.append((time.perf_counter() - began) * 1e3)
    resident = peak()
    true, _ = large.exact(within.blocks(references), unit_vectors(queries - references.mean), NEAREST)
    return {
        "opening_ms": round(opening * 1e3),
        "first_ms": round(times[0], 1),
        "median_ms": round(statistics.median(times[1:]), 1),
        "p95_ms": round(float(np.percentile(times[1:], 95)), 1),
        "recall": round(
            float(np.mean([len(set(a) & set(b)) for a, b in zip(found, true.tolist(), strict=True)])) / NEAREST, 4
        ),
        "resident_mb": resident,
    }


def peak() -> int:
    """The largest resident size of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Print one line for each step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--folder", help="where the table is made, and stays (default: a temporary folder)")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = Path(given.folder or tempfile.mkdtemp(prefix="vjepa-demo-bench-"))
    table = str(folder / f"{given.rows}x{given.width}.lance")
    if given.step:
        told = run(given.step, table, given.width, given.rows)
        print(json.dumps({**told, "cpu_s": round(time.process_time(), 1), "peak_mb": peak()}))
        return
    for step in given.steps.split(","):
        command = [sys.executable, __file__, "--rows", str(given.rows), "--width", str(given.width)]
        done = subprocess.run(
            [*command, "--folder", str(folder), "--step", step], stdout=subprocess.PIPE, text=True, check=True
        )
        print(f"{given.rows:,} × {given.width} {step}: {done.stdout.strip()}", flush=True)
    if not given.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
