"""References embedded in the background, whether anybody waits or not: once for all visitors, behind all their clips.

What is there can be compared with from the first clips on, and is kept on disk as it comes: a process that ends goes on
where it was when it is asked again.
"""

from __future__ import annotations

import contextvars
import logging
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path

from vjepa_demo.embedder import Embedder
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import UserError
from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.options import Options
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.preparing import EMBEDDING, divide, has_map, prepare

log = logging.getLogger(__name__)

STEP = 8  # clips between two looks at what else is to be done
FIRST_MAP = 32  # clips of which the first map is laid out; below that UMAP has little to go by
AGAIN_S = 60.0  # what failed is tried again when it is asked for after so long
FAILED = "The reference clips cannot be embedded in this way; the log says why."


class Filling:
    """The references of a folder on their way to be embedded with some options.

    Attributes:
        sets: by pooling, those embedded so far, at most STEP behind. From FIRST_MAP on no point moves: later clips are
            placed on the map of the first. Where there was no map before, all are laid out anew in the end, for those
            who look after that.
        done, total: clips.
        seconds: how long one clip took so far, its waiting for visitors included; 0 until one was embedded.
        over: whether no more will come.
        failure: why not, as a sentence; "" where all went well.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder, self.options = folder, options
        self.sets: dict[Pooling, ReferenceSet] = {}
        self.poolings: tuple[Pooling, ...] = ()  # all that the checkpoint has, once it is loaded
        self.done = self.total = 0
        self.seconds = 0.0
        self.over, self.failure = False, ""
        self._ended, self._tried, self._made = 0.0, 0, 0
        self._new_maps: set[Pooling] = set()
        self._order: list[ReferenceClip] = []  # those that have vectors already, then one of each label in turn

    @property
    def left(self) -> float:
        """Seconds until all are there at that pace; 0 while that is unknown."""
        return (self.total - self.done) * self.seconds

    @property
    def mapped(self) -> bool:
        """Whether there is a map of those that are there."""
        return bool(self.sets) and len(self.sets) == len(self.poolings) and self._tried >= min(FIRST_MAP, self.total)

    @property
    def past(self) -> bool:
        """Whether it says nothing any more to who finds clips missing: it has ended, and did not fail just now."""
        return self.over and not (self.failure and self.ended_s < AGAIN_S)

    @property
    def ended_s(self) -> float:
        """Seconds since it was over."""
        return time.monotonic() - self._ended

    def step(self) -> None:
        """Embed the next clips. What goes wrong is told by `failure`, and ends it."""
        try:
            with Job(Visitor("", "references"), math.inf, low=True).running():
                self._step()
        except Exception as error:
            self.failure = (str(error) if isinstance(error, UserError) else "") or FAILED
            self._ended, self.over = time.monotonic(), True
            log.warning("references not embedded in the background", exc_info=error)

    def _step(self) -> None:
        embedder = Embedder.open(self.options)
        self.poolings = embedder.poolings
        kinds = {pooling: embedder.kind(pooling) for pooling in self.poolings}
        if not self._order:
            divided = [divide(self.folder, kind) for kind in kinds.values()]
            missing = {clip.file: clip for _, rest in divided for clip in rest}
            there = [clip for clip in divided[0][0] if clip.file not in missing]
            self._order = [*in_turn(there), *in_turn(list(missing.values()))]
            self._new_maps = {pooling for pooling, kind in kinds.items() if not has_map(self.folder, kind)}
            self.total, self._tried = len(self._order), max(0, len(there) - STEP)
        count = min(self._tried + STEP, self.total)

        def progress(done: int, total: int, message: str) -> None:
            if message == EMBEDDING:
                self.done, self._made = count - total + done, made + done
                self.seconds = (spent + time.monotonic() - began) / self._made

        began, spent, made = time.monotonic(), self._made * self.seconds, self._made
        for pooling in self.poolings:
            self.sets[pooling] = prepare(
                self.folder,
                embedder,
                pooling,
                clips=self._order[:count],
                progress=progress,
                refit=pooling in self._new_maps and count <= FIRST_MAP,
                also=self.poolings,
                partly=True,
                before=self.sets.get(pooling),
            )
        self._tried = self.done = count
        if count == self.total:
            for pooling in self.poolings:
                prepare(self.folder, embedder, pooling, refit=pooling in self._new_maps)
            self._ended, self.over = time.monotonic(), True


def in_turn(clips: Sequence[ReferenceClip]) -> list[ReferenceClip]:
    """One clip of each label, then the next of each: what is there first stands for all labels."""
    seen: Counter[str] = Counter()
    numbers = []
    for clip in clips:
        numbers.append(seen[clip.label])
        seen[clip.label] += 1
    order = sorted(range(len(clips)), key=lambda row: numbers[row])
    return [clips[row] for row in order]


_lock = threading.Lock()
# The one last asked for is last, and next; then it takes turns with the others.
_fillings: OrderedDict[tuple[Path, Options], Filling] = OrderedDict()
_thread: threading.Thread | None = None


def fill(folder: Path, options: Options) -> Filling:
    """Embed the references of a folder, some of which are not embedded with these options yet, in the background."""
    global _thread  # one for all: checkpoints are not to be in memory side by side
    key = folder.resolve(), options
    with _lock:
        found = _fillings.get(key)
        for other in [other for other, known in _fillings.items() if known.over and known.ended_s > AGAIN_S]:
            del _fillings[other]  # who looked on has seen the end
        if found is None or found.past:
            found = _fillings[key] = Filling(folder, options)
            _fillings.move_to_end(key)
        if _thread is None and not found.over:
            # A context of its own: the request of the one who came first must not be taken for its own.
            _thread = threading.Thread(target=contextvars.Context().run, args=(_fill_all,), daemon=True)
            _thread.start()
    return found


def on_its_way(folder: Path, options: Options) -> Filling | None:
    """How far `fill` is, or was when it ended; None where it was not asked."""
    return _fillings.get((folder.resolve(), options))


def _fill_all() -> None:
    global _thread
    while True:
        with _lock:
            following = next((key for key in reversed(_fillings) if not _fillings[key].over), None)
            if following is None:
                _thread = None
                return
            _fillings.move_to_end(following, last=False)
            filling = _fillings[following]
        filling.step()
