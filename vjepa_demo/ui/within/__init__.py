"""What there is to see within the table that everybody sees (`table.py`): near-duplicates, odd clips, clusters, and
what a pinned patch is like; a list beside the map, on which a click plays a clip."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import jobs
from vjepa_demo.errors import RequestError
from vjepa_demo.explore import Progress
from vjepa_demo.memo import Memo
from vjepa_demo.references import current
from vjepa_demo.references.comparison import ReferenceSet
from vjepa_demo.settings import settings
from vjepa_demo.ui import table
from vjepa_demo.ui.drawer import drawer
from vjepa_demo.ui.handlers import NOT_BUSY, end, number
from vjepa_demo.ui.outcome import AT_ONCE, RUN, Update, event, status
from vjepa_demo.ui.reference_map import key_of
from vjepa_demo.ui.result import shown
from vjepa_demo.ui.shown import query_places, where
from vjepa_demo.ui.widget import widget

if TYPE_CHECKING:
    from vjepa_demo.scale.large import LargeSet, SmallSet

SHOWN = 50  # of each list; the shell writes all of it
ABOVE = 0.98  # the cosine of near-duplicates, as in the shell
DECIMALS = 3  # of that cosine: another list for each of them is enough
MOST_CLUSTERS = 200  # more take minutes in which nobody can stop them
KEPT_BYTES = 2**20  # of lists; one of pairs has some 20 kB
NOT_PINNED = "No patch of this clip is pinned: click on one first, then clips like it can be found."
MANY_CLUSTERS = f"The number of clusters must be 1 to {MOST_CLUSTERS}, or 0 for as many as there are."
WAITS = "Waiting for another list"
CANCELLED = status("Cancelled. The list is as it was.")

_making = threading.Lock()  # one list is made at a time: of a million clips that takes minutes of all processors
_lists: Memo[dict[str, Any]] = Memo(lambda found: len(json.dumps(found)), KEPT_BYTES)


def panel() -> dict[str, Any]:
    """The drawer with its controls; to be called inside a `Blocks`."""
    with drawer("Within these clips"):
        with gr.Row():
            above = gr.Number(label="Near-duplicates: cosine from", value=ABOVE, min_width=120)
            count = gr.Number(label="Clusters (0: as many as there are)", value=0, precision=0, min_width=120)
        with gr.Row():
            buttons = {
                "duplicates": gr.Button("Near-duplicates", size="sm", min_width=130),
                "odd": gr.Button("Odd ones", size="sm", min_width=130),
                "clusters": gr.Button("Clusters", size="sm", min_width=130),
                "alike": gr.Button("Like the pinned patch", size="sm", min_width=130),
            }
        with gr.Row(elem_classes="state"):
            said = gr.HTML(elem_classes="status", js_on_load=None, scale=1)
            cancel = gr.Button("Cancel", size="sm", scale=0, min_width=80, elem_classes="cancel")
        shown_list = widget("within")
    return {**buttons, "above": above, "count": count, "said": said, "cancel": cancel, "list": shown_list}


def wire(parts: dict[str, Any], viewer: gr.HTML, made: gr.State, result_id: gr.State, query: gr.State) -> None:
    """Connect the panel; `made` changes with every clip that is shown, `query` is what `shown.remember_query` gives."""
    outputs, pinned_in = [parts["said"], parts["list"]], gr.State(None)
    viewer.query(lambda made: made, made, pinned_in, **RUN)  # a pin is of the clip that was shown then
    parts["duplicates"].click(show_duplicates, parts["above"], outputs, **AT_ONCE)
    parts["odd"].click(show_odd, None, outputs, **AT_ONCE)
    parts["clusters"].click(show_clusters, parts["count"], outputs, **AT_ONCE)
    parts["alike"].click(show_alike, [result_id, query, pinned_in, made], outputs, **AT_ONCE)
    parts["cancel"].click(cancel_list, None, parts["said"], **AT_ONCE)
    # What is of the clip before goes with it.
    made.change(None, parts["list"], parts["list"], js="(list) => (list?.of_clip ? null : list)", **AT_ONCE)


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
        "words": words,
        "path": f"references/{key_of(found)}",
        "entries": [
            {"rows": [int(one) for one in some], "cosine": round(float(cosine), 4), "words": said}
            for some, cosine, said in entries
        ],
        "known": found.of_table.known(numbers),
    }


def first(count: int, command: str) -> str:
    """What is said where not all are shown."""
    if count <= SHOWN:
        return ""
    return f" Shown are the first {SHOWN}: vjepa-demo references {command} writes all."


def duplicates(above: float) -> dict[str, Any]:
    """The pairs that are most alike. Raises RequestError where there are too many."""
    from vjepa_demo.scale import within

    found = _table()
    pairs, cosines = within.duplicates(found, above)
    words = f"{len(pairs):,} pairs of {len(found):,} clips have a cosine of {above:g} or more."
    if not isinstance(found, ReferenceSet):
        words += f" Compared are clips within {within.PROBES} partitions of the index."
    if not len(pairs):
        words += " Choose a lower cosine."
    entries = [(pair, cosine, "") for pair, cosine in zip(pairs[:SHOWN], cosines, strict=False)]
    return listed("Near-duplicates", words + first(len(pairs), "duplicates"), entries)


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


def clusters(count: int | None) -> dict[str, Any]:
    """Clusters by their most central clips. Raises RequestError where there are fewer clips than clusters."""
    from vjepa_demo.scale import within

    found = _table()
    own, every = within.clusters(found, count)
    loose = int((own < 0).sum())
    words = f"{len(every):,} clusters of {len(found):,} clips{f', {loose:,} in none' if loose else ''}."
    if every:
        words += " Each is shown by the clip most like its mean; beside it, how like that all are on average."
    else:
        words += " Say how many you want."
    entries = [
        ([one.central], one.cosine, f"{one.clips:,} clips, {one.share:.0%} of them {one.label or 'without a label'}")
        for one in every[:SHOWN]
    ]
    return listed("Clusters", words + first(len(every), "cluster"), entries)


def _made(say: Progress, make: Callable[..., dict[str, Any]], *asked: Any) -> dict[str, Any]:
    """A list, made once for all who ask for it while it is kept."""
    end("within")

    def compute() -> dict[str, Any]:
        with jobs.locked(_making), jobs.turn(say):
            say("Going through the clips")
            return make(*asked)

    say(WAITS)
    return _lists.get((make, *asked), compute)[0]


def cancel_list() -> Any:
    """End what is under way for the list of the page."""
    return CANCELLED if end("within") | end("alike") else NOT_BUSY


@event("status", "list", kind="within", seconds=settings.build_seconds, low=True)
def show_duplicates(say: Progress, folder: Path, above: float | None) -> Iterator[Update]:
    """List pairs of clips that are very much alike."""
    cosine = round(float(number(above, "cosine")), DECIMALS)
    yield {"list": _made(say, duplicates, cosine), "status": status("Done.")}


@event("status", "list", kind="within", seconds=settings.build_seconds, low=True)
def show_odd(say: Progress, folder: Path) -> Iterator[Update]:
    """List the clips that are far from all others."""
    yield {"list": _made(say, odd), "status": status("Done.")}


@event("status", "list", kind="within", seconds=settings.build_seconds, low=True)
def show_clusters(say: Progress, folder: Path, count: float | None) -> Iterator[Update]:
    """List clusters by their most central clips."""
    wanted = int(number(count or 0, "number of clusters"))
    if not 0 <= wanted <= MOST_CLUSTERS:
        raise RequestError(MANY_CLUSTERS)
    yield {"list": _made(say, clusters, wanted or None), "status": status("Done.")}


@event("status", "list", kind="alike")
def show_alike(
    say: Progress, folder: Path, result_id: str | None, query: Any, pinned_in: Any, made: Any
) -> Iterator[Update]:
    """List the clips that are like the region around the patch that is pinned."""
    end("alike")
    result, at = shown(result_id, say), query_places(query, "add")
    if not at or pinned_in != made:
        raise RequestError(NOT_PINNED)
    near = table.compare(result, current.folder(), say, at=at[0]).comparison.neighbours(SHOWN)
    words = " ".join([f"The patch {where(result, at[0])}.", *_table().of_table.remarks])
    found = listed(f"Like a patch of {result.name}", words, [([one.index], one.cosine, "") for one in near])
    yield {"list": {**found, "of_clip": True}, "status": status("Done.")}
