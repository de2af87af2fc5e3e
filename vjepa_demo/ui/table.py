"""A table of clips as the references that everybody sees, where the app was started with one (`docs/scale.md`).

Nobody adds to it here, and nothing of it is embedded: a clip is compared with it where it was embedded as the table's
were, and pooled as they were.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_demo import explore
from vjepa_demo.errors import FingerprintMismatch, ReferencesError, SettingsError
from vjepa_demo.explore import Compared, Embedded, Progress
from vjepa_demo.model.checkpoints import Choice, find
from vjepa_demo.options import Options
from vjepa_demo.settings import AUTO, settings
from vjepa_demo.views.similarity import Position

if TYPE_CHECKING:
    from vjepa_demo.scale.large import LargeSet, SmallSet

ELSEWHERE = "The page shows a table that lies on this machine: copy it here, and let VJEPA_DEMO_REFERENCES name that."
NO_MAP = "Clips of this table have no place on its map: make one with `references index`."
ALONE = "Here clips are compared by the mean of their tokens alone: leave the pooling at auto."


@functools.lru_cache(maxsize=1)
def table() -> SmallSet | LargeSet | None:
    """The table; None where the references are a folder, as they mostly are. Raises UserError where the one that is
    named cannot be shown."""
    if not settings.table:
        return None
    if "://" in settings.references:
        raise SettingsError(ELSEWHERE)
    from vjepa_demo.cli import scale
    from vjepa_demo.scale.drawn import DRAWN

    found = scale.opened(str(Path(settings.references)))
    if len(found.points.numbers) < min(len(found), DRAWN):
        raise ReferencesError(NO_MAP)
    made = found.kind.fingerprint.checkpoint
    if settings.checkpoint not in (AUTO, made):
        raise SettingsError(
            f"The table's clips were embedded with {made}: leave VJEPA_DEMO_CHECKPOINT unset, or name another table."
        )
    return found


def options() -> Options | None:
    """What embeds clips as the table's were; None without a table."""
    found = table()
    return found.kind.fingerprint.options if found else None


def choice() -> Choice | None:
    """The checkpoint that the page opens with because of the table. Raises CheckpointError where there is none of this
    name."""
    made = options()
    return Choice(find(made.checkpoint), "as the references are embedded") if made else None


def like(asked: dict[str, Any]) -> dict[str, Any]:
    """Options as they were asked for, by their names, with the checkpoint and the precision of the table where these
    are left to the app."""
    made = options()
    if made and asked["checkpoint"] in (AUTO, made.checkpoint):
        precision = made.precision if asked["precision"] == AUTO else asked["precision"]
        return {**asked, "checkpoint": made.checkpoint, "precision": precision}
    return asked


def compare(result: Embedded, folder: Path, say: Progress, at: Position | None = None) -> Compared:
    """A clip among the references of a folder, as `explore.compare`; among those of the table where there is one.
    Raises UserError."""
    found = table()
    if found is None:
        return explore.compare(result, folder, say, at)
    result = explore.at_layer(replace(result, pooling=found.kind.pooling, auto=False), None, say)
    try:
        return explore.compare_with(result, found, at)
    except FingerprintMismatch as error:
        mine, theirs = result.embedding.fingerprint, found.kind.fingerprint
        if replace(mine, revision=theirs.revision) == theirs:
            words = "The checkpoint is another one by now: build the table anew."
        else:
            words = f"Choose {theirs.checkpoint}, {describe_way(theirs.options)} under Settings."
        raise FingerprintMismatch(f"The references are embedded in another way, so there is no map. {words}") from error


def describe_way(way: Options) -> str:
    """For a person: "16 frames, 4 per second, crop"."""
    return f"{way.frames} frames, {'spread evenly' if way.sampling == 'even' else '4 per second'}, {way.fit}"
