"""A job of many files on Daft: on this machine's processes, or on a Ray cluster.

The engine spreads files over workers and hands back rows in whatever order they are made; here they are added to the
table, some at a time, each time in one step. What is in the table is not done again, so a job that was killed goes on
where it stopped, and so does this one when a worker is killed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vjepa_demo.embedder import sampling_of
from vjepa_demo.embedding import Fingerprint, Kind
from vjepa_demo.errors import ReferencesError, UserError
from vjepa_demo.errors import cut as shown
from vjepa_demo.options import Cut, Options
from vjepa_demo.scale.tables import Table, schema
from vjepa_demo.scale.work import Item, Row, Worker, key

if TYPE_CHECKING:
    import pyarrow as pa

# Before the engines are imported: they would tell their makers of each run.
os.environ["DAFT_ANALYTICS_ENABLED"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")  # the job tells its own

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
ADD_ROWS, ADD_S = 512, 30.0  # a killed job loses at most so many rows, and so many seconds
MOST_PARTS = 10_000  # of what a cluster is given at a time
TRIES = 3  # in a row without a single item done


@dataclass(frozen=True)
class Plan:
    """How a job is run.

    Attributes:
        ray: address of a Ray cluster, or "local" for one on this machine; None: in this process, where one worker is
            enough, else "local". Daft's own processes would be waited for without end where one is killed.
        concurrency: workers; each holds the model.
        batch: files that a worker takes at a time.
        readers: files that a worker reads at a time.
        gpus: graphics cards of a worker.
    """

    ray: str | None = None
    concurrency: int = 1
    batch: int = 8
    readers: int = 1
    gpus: float = 0


def run(
    items: Sequence[Item],
    out: str,
    options: Options,
    plan: Plan = Plan(),
    cut: Cut | None = None,
    *,
    retry: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[Table, int]:
    """Embed what is not in the table at `out` yet, and add it, alone on this machine: a second job for the same table
    waits for the first. Returns the table and how many items were added.

    Args:
        retry: forget what could not be embedded, so that it is tried again.
        progress: told of how many items of how many are done.

    Raises:
        ReferencesError: the table is of another kind, or the engine fails again and again.
        UserError: an option cannot be met.
    """
    if cut:
        cut.check()
    sampling_of(options)  # what cannot be met is known before any worker is started
    engine = _Engine(options, cut, plan)
    table = Table(out)
    with table.changing():
        return table, _fill(table, items, engine, cut, retry=retry, progress=progress)


def _fill(
    table: Table, items: Sequence[Item], engine: _Engine, cut: Cut | None, *, retry: bool, progress: Progress
) -> int:
    """What `run` does of a table that nobody else changes. Returns how many items were added."""
    kind, form = Kind(engine.fingerprint), schema(*engine.widths)
    if retry:
        table.done(kind.fingerprint)  # one of another kind is refused before anything of it is dropped
        table.drop_failures()
    wanted = {key(item, cut, kind): item for item in items}
    addresses = {item.uri for item in items}
    spans = Counter((item.uri, item.start, item.end) for item in wanted.values())
    if twice := [uri for (uri, _, _), times in spans.items() if times > 1]:
        raise ReferencesError(
            f"{shown(twice[0])} is listed twice, with two labels or splits: take one of the rows out."
        )
    tries = added = 0
    while True:
        done = table.done(kind.fingerprint)
        # A file that has changed since, or is cut otherwise now, takes the place of what it was.
        table.drop([old for old, uri in done.items() if old not in wanted and uri in addresses])
        rest = [item for name, item in wanted.items() if name not in done]
        progress(len(wanted) - len(rest), len(wanted))
        if not rest:
            return added
        before = added
        try:
            for number, rows in _added(engine.rows(rest, form)):
                table.append(rows, form)
                added += number
                progress(len(wanted) - len(rest) + added - before, len(wanted))
        except UserError:
            raise
        except Exception as error:  # a worker that was killed, a machine that went
            log.warning("the engine stopped, and is started again: %s: %.300s", type(error).__name__, error)
            tries = 0 if added > before else tries + 1
            if tries == TRIES:
                raise ReferencesError(
                    f"The engine fails again and again ({type(error).__name__}): what is done is in the table. See the "
                    "log, and try it with fewer workers."
                ) from error


def has_gpu() -> int:
    """1 where a worker on this machine has a graphics card, else 0."""
    import torch

    return int(torch.cuda.is_available())


class _Engine:
    """Daft, and what its workers are to do. They are told by value: only what they call has to be installed there."""

    def __init__(self, options: Options, cut: Cut | None, plan: Plan) -> None:
        import daft

        address = plan.ray or ("local" if plan.concurrency > 1 else None)
        self.plan, self.on_ray = plan, address is not None
        if address:
            daft.set_runner_ray(None if address == "local" else address, noop_if_initialized=True)
        self.fingerprint, self.widths = self._asked(options) if address else described(options)
        # All of them alike: on another machine `auto` might take another precision.
        self.options, self.cut = replace(options, precision=self.fingerprint.precision), cut  # type: ignore[arg-type]

    def rows(self, items: Sequence[Item], form: pa.Schema) -> Iterator[list[Row]]:
        """The rows of each item, in whatever order they are made."""
        import daft
        import pyarrow as pa

        options, cut, readers = self.options, self.cut, self.plan.readers
        made = pa.list_(pa.struct(list(form)))

        class Embed:
            def __init__(self) -> None:
                self.worker = Worker(options, cut, readers)

            @daft.method.batch(return_dtype=daft.DataType.from_arrow_type(made), batch_size=self.plan.batch)
            def rows(self, *columns: Any) -> pa.Array:
                rows = zip(*(column.to_pylist() for column in columns), strict=True)
                return pa.array(self.worker.rows([Item(*row) for row in rows]), made)

        embed, frame = self._workers(Embed), daft.from_arrow(pa.Table.from_pylist([asdict(item) for item in items]))
        if self.on_ray:  # rows come back when all of a part are made
            frame = frame.into_partitions(min(MOST_PARTS, math.ceil(len(items) / self.plan.batch)))
        frame = frame.select(embed.rows(*(frame[field.name] for field in fields(Item))).alias("made"))
        for batch in frame.to_arrow_iter(results_buffer_size=1):
            yield from batch["made"].to_pylist()

    def _asked(self, options: Options) -> tuple[Fingerprint, tuple[int, int]]:
        """What `described` gives where the workers are."""
        import daft

        class Describe:
            @daft.method(return_dtype=daft.DataType.string())
            def told(self, checkpoint: str) -> str:
                fingerprint, widths = described(replace(options, checkpoint=checkpoint))
                return json.dumps([asdict(fingerprint), widths])

        frame = daft.from_pydict({"checkpoint": [options.checkpoint]})
        told = frame.select(self._workers(Describe).told(frame["checkpoint"]).alias("told")).to_pydict()["told"][0]
        fields, widths = json.loads(told)
        return Fingerprint(**fields), tuple(widths)

    def _workers(self, kind: type) -> Any:
        import daft

        # Of a bounded number, even of one, Daft makes processes.
        where = (
            {"max_concurrency": self.plan.concurrency, "gpus": self.plan.gpus}
            if self.on_ray
            else {"use_process": False}
        )
        return daft.cls(kind, **where)()


def described(options: Options) -> tuple[Fingerprint, tuple[int, int]]:
    """How a worker embeds, and how many numbers its vectors have."""
    worker = Worker(options)
    return worker.embedder.fingerprint, worker.widths


def _added(made: Iterator[list[Row]]) -> Iterator[tuple[int, list[Row]]]:
    """Items' rows, gathered to what is worth a step: how many items, and their rows."""
    items, rows, since = 0, [], time.monotonic()
    for of_item in made:
        items += 1
        rows += of_item
        if len(rows) >= ADD_ROWS or time.monotonic() - since > ADD_S:
            yield items, rows
            items, rows, since = 0, [], time.monotonic()
    if items:
        yield items, rows
