"""What there is to see within the table that everybody sees (`table.py`): near-duplicates, odd clips, clusters, and
what a pinned patch is like; a list beside the map, on which a click plays a clip."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import jobs
from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Progress
from vjepa_demo.references import current
from vjepa_demo.settings import settings
from vjepa_demo.ui import table
from vjepa_demo.ui.drawer import drawer
from vjepa_demo.ui.handlers import end, number
from vjepa_demo.ui.outcome import RUN, Update, event, status
from vjepa_demo.ui.reference_map import key_of
from vjepa_demo.ui.result import shown
from vjepa_demo.ui.shown import query_places
from vjepa_demo.ui.widget import widget

if TYPE_CHECKING:
    from vjepa_demo.scale.large import LargeSet, SmallSet

SHOWN = 50  # of each list; the shell writes all of it
ABOVE = 0.98  # the cosine of near-duplicates, as in the shell
KEPT = 32  # lists
NOT_PINNED = "No patch of this clip is pinned: click on one first, then clips like it can be found."

_turn = threading.Lock()  # one list is made at a time: of a million clips that takes minutes of all processors


def panel() -> dict[str, Any]:
    """The drawer with its controls; to be called inside a `Blocks`."""
    with drawer("Within these clips"):
        with gr.Row():
            above = gr.Number(label="Near-duplicates: cosine from", value=ABOVE, minimum=-1, maximum=1, min_width=120)
            count = gr.Number(label="Clusters (0: as many as there are)", value=0, precision=0, min_width=120)
        with gr.Row():
            twins = gr.Button("Near-duplicates", size="sm", min_width=100)
            odd = gr.Button("Odd ones", size="sm", min_width=80)
            clusters = gr.Button("Clusters", size="sm", min_width=80)
            like = gr.Button("Like the pinned patch", size="sm", min_width=120)
        found = widget("within")
    return {
        "above": above,
        "count": count,
        "twins": twins,
        "odd": odd,
        "clusters": clusters,
        "like": like,
        "list": found,
    }


def wire(parts: dict[str, Any], status: gr.HTML, result_id: gr.State, query: gr.State) -> None:
    """Connect the panel; `query` is what `shown.remember_query` gives."""
    outputs = [status, parts["list"]]
    parts["twins"].click(show_duplicates, parts["above"], outputs, **RUN)
    parts["odd"].click(show_odd, None, outputs, **RUN)
    parts["clusters"].click(show_clusters, parts["count"], outputs, **RUN)
    parts["like"].click(show_alike, [result_id, query], outputs, **RUN)


def _table() -> SmallSet | LargeSet:
    found = table.table()
    assert found, "there is a panel only beside a table"
    return found


def listed(title: str, words: str, entries: Sequence[tuple[Sequence[int], float, str]]) -> dict[str, Any]:
    """What the list shows.

    Args:
        title: what it is of.
        words: how many there are of them, and what the cosines are.
        entries: numbers of clips that stand together, a cosine, and what is said of them.
    """
    found = _table()
    numbers = sorted({int(one) for some, _, _ in entries for one in some})
    return {
        "title": title,
        "words": " ".join([words, *found.of_table.remarks]),
        "path": f"references/{key_of(found)}",
        "entries": [
            {"rows": [int(one) for one in some], "cosine": round(float(cosine), 4), "words": said}
            for some, cosine, said in entries
        ],
        "known": dict(zip(map(str, numbers), found.of_table.about(numbers), strict=True)),
    }


def first(count: int, command: str) -> str:
    """What is said where not all are shown."""
    if count <= SHOWN:
        return ""
    return f" Shown are the first {SHOWN}: vjepa-demo references {command} writes all."


@functools.lru_cache(maxsize=KEPT)
def duplicates(above: float) -> dict[str, Any]:
    """The pairs that are most alike. Raises RequestError where there are too many."""
    from vjepa_demo.scale import within

    found = _table()
    pairs, cosines = within.duplicates(found, above)
    words = f"{len(pairs):,} pairs of {len(found):,} clips have a cosine of {above:g} or more."
    entries = [(pair, cosine, "") for pair, cosine in zip(pairs[:SHOWN], cosines, strict=False)]
    return listed("Near-duplicates", words + first(len(pairs), "duplicates"), entries)


@functools.lru_cache(maxsize=KEPT)
def odd() -> dict[str, Any]:
    """The clips that are far from all others."""
    from vjepa_demo.scale import within

    found = _table()
    numbers, cosines = within.odd(found)
    words = (
        f"{len(numbers):,} of {len(found):,} clips have no other with a cosine of {found.far_threshold:.2f}, as 97.5 % "
        f"have; beside each, its largest.{first(len(numbers), 'odd')}"
    )
    return listed("Odd ones", words, [([n], c, "") for n, c in zip(numbers[:SHOWN], cosines, strict=False)])


@functools.lru_cache(maxsize=KEPT)
def clusters(count: int | None) -> dict[str, Any]:
    """Clusters by their most central clips. Raises RequestError where there are fewer clips than clusters."""
    from vjepa_demo.scale import within

    found = _table()
    own, every = within.clusters(found, count)
    loose = int((own < 0).sum())
    words = (
        f"{len(every):,} clusters of {len(found):,} clips{f', {loose:,} in none' if loose else ''}. Each is shown by "
        f"the clip that is most like its mean; beside it, how like the mean its clips are on the average."
    )
    entries = [
        ([one.central], one.cosine, f"{one.clips:,} clips, {one.share:.0%} of them {one.label or 'without a label'}")
        for one in every[:SHOWN]
    ]
    return listed("Clusters", words + first(len(every), "cluster"), entries)


def _made(say: Progress, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    end("within")
    say("Going through the clips")
    with jobs.locked(_turn):
        return make()


@event("status", "list", kind="within", seconds=settings.build_seconds)
def show_duplicates(say: Progress, folder: Path, above: float | None) -> Iterator[Update]:
    """List pairs of clips that are very much alike."""
    cosine = float(number(above, "cosine"))
    yield {"list": _made(say, lambda: duplicates(cosine)), "status": status("Done.")}


@event("status", "list", kind="within", seconds=settings.build_seconds)
def show_odd(say: Progress, folder: Path) -> Iterator[Update]:
    """List the clips that are far from all others."""
    yield {"list": _made(say, odd), "status": status("Done.")}


@event("status", "list", kind="within", seconds=settings.build_seconds)
def show_clusters(say: Progress, folder: Path, count: float | None) -> Iterator[Update]:
    """List clusters by their most central clips."""
    wanted = int(number(count or 0, "number of clusters"))
    yield {"list": _made(say, lambda: clusters(wanted or None)), "status": status("Done.")}


@event("status", "list", kind="within")
def show_alike(say: Progress, folder: Path, result_id: str | None, query: Any) -> Iterator[Update]:
    """List the clips that are like the region around the patch that is pinned."""
    end("within")
    result, at = shown(result_id, say), query_places(query, "add")
    if not at:
        raise RequestError(NOT_PINNED)
    step, row, column = at[0]
    near = table.compare(result, current.folder(), say, at=at[0]).comparison.neighbours(SHOWN)
    seconds = result.embedding.timestamps.reshape(len(result.embedding.tokens), -1).mean(axis=1)[step]
    title = f"Like a patch of {result.name}"
    words = (
        f"The patch at {seconds:.2f} s, row {row}, column {column}, and those around it; beside each clip, its cosine."
    )
    yield {"list": listed(title, words, [([one.index], one.cosine, "") for one in near]), "status": status("Done.")}
