"""Work that belongs to somebody: it ends when its time is up or nobody waits for it any more, and takes its turn.

Whoever serves several people begins a `Job` for each piece of work (`Job.running`). The work itself only calls `check`
where it can stop, and takes the machine's one `turn` for what keeps all cores busy; outside a job, as in a shell, both
do nothing. The job travels in a context variable: a new thread gets it with `contextvars.copy_context()`.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from vjepa_demo.errors import RequestError, Stopped
from vjepa_demo.settings import settings

POLL_S = 0.1  # how often it is asked whether somebody still waits: work stops within a second of a visitor's leaving
REMEMBERED = 4096  # visitors of whom it is known when they last had a turn

T = TypeVar("T")

_current: contextvars.ContextVar[Job | None] = contextvars.ContextVar("job", default=None)


@dataclass(frozen=True)
class Visitor:
    """Who waits for a piece of work: turns are shared among addresses first, then among the sessions of each."""

    address: str = ""
    session: str = ""


class Job:
    """One piece of work and who waits for it.

    Args:
        visitor: who is served.
        seconds: how long it may work; time spent waiting for a turn does not count.
        gone: tells that nobody waits for it any more; asked every POLL_S.
        low: lets all others go first.
    """

    def __init__(
        self,
        visitor: Visitor | None = None,
        seconds: float = settings.job_seconds,
        gone: Callable[[], bool] = lambda: False,
        *,
        low: bool = False,
    ) -> None:
        self.visitor = visitor or Visitor()
        self.seconds = seconds
        self.low = low
        self.holds_turn = False
        self.admitted = False
        self.quiet = False
        self._gone = gone
        self._deadline = time.monotonic() + seconds
        self._asked = 0.0
        self._stopped = threading.Event()

    def stop(self, *, quietly: bool = False) -> None:
        """Let the work end at its next `check`; `quietly` if nothing is to be said of it, nor shown from now on."""
        self.quiet = self.quiet or quietly
        self._stopped.set()

    def check(self) -> None:
        """Raises Stopped when the work is to end."""
        now = time.monotonic()
        if now - self._asked >= POLL_S:
            self._asked = now
            if self._gone():
                self._stopped.set()
        if self._stopped.is_set():
            raise Stopped("Stopped. The last result is still here.")
        if now > self._deadline:
            raise Stopped(
                f"This took longer than the {self.seconds:,.0f} s that one piece of work may take here: choose fewer "
                "frames, a shorter span, or a smaller checkpoint."
            )

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this context the job waits for others: the deadline stands still."""
        began, left = time.monotonic(), self._deadline - time.monotonic()
        self._deadline = math.inf
        try:
            yield
        finally:
            self._deadline = began + left + (time.monotonic() - began)

    @contextlib.contextmanager
    def running(self) -> Iterator[Job]:
        """Within this context, `check` and `turn` are about this job."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


def current() -> Job | None:
    """The job that is being worked on, or None outside of one."""
    return _current.get()


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Within this context the current job waits for others: its time stands still. Nothing outside a job."""
    job = current()
    with job.waiting() if job else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def locked(lock: threading.Lock | threading.RLock) -> Iterator[None]:
    """Wait for a lock as long as somebody waits for the work, and have it until the context ends. Raises Stopped."""
    with waiting():
        while not lock.acquire(timeout=POLL_S):
            check()
    try:
        yield
    finally:
        lock.release()


def check() -> None:
    """Raises Stopped when the work that is being done is to end; does nothing outside a job."""
    if job := current():
        job.check()


def give_way() -> None:
    """What work of many seconds calls instead of `check`: of low priority, it lets others have its turn first."""
    if job := current():
        job.check()
        turns.give_way(job)


class Door:
    """Counts what is here of each address, also what only waits for others, as for a set of references in the making.

    Args:
        most_each: how many pieces of work of one address may be here at a time.
    """

    def __init__(self, most_each: int = settings.most_each) -> None:
        self.most_each = most_each
        self._here: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def entered(self, job: Job) -> Iterator[None]:
        """Within this context the job is here. Raises RequestError where too many of its address are."""
        address = job.visitor.address
        with self._changed:
            if self._here[address] >= self.most_each:
                raise RequestError(
                    f"{self.most_each} pieces of work from your network are here already: let some of them finish."
                )
            self._here[address] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._here[address] -= 1
                self._here += Counter()  # drops those at zero
                self._changed.notify_all()

    def wait_quiet(self, quiet_s: float, at_most_s: float) -> None:
        """Wait until nothing has been here for `quiet_s` seconds, at most `at_most_s`.

        A file that is on its way is not here yet.
        """
        until = time.monotonic() + at_most_s
        with self._changed:
            while self._changed.wait_for(lambda: not self._here, until - time.monotonic()):
                if not self._changed.wait_for(lambda: bool(self._here), min(quiet_s, until - time.monotonic())):
                    return


door = Door()


@dataclass
class _Ticket:
    job: Job
    number: int
    arrived: float


class Turns:
    """One job at a time. The one whose visitor had the last turn longest ago is next, so nobody waits for another's
    second upload before their first; jobs of low priority have their turn when nobody else waits.

    Args:
        most: how many may wait.
    """

    def __init__(self, most: int = settings.most_waiting) -> None:
        self.most = most
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._busy = False
        self._numbers = itertools.count()
        self._served: OrderedDict[tuple[str, ...], float] = OrderedDict()

    @contextlib.contextmanager
    def take(self, job: Job, say: Callable[[str], None] = lambda message: None) -> Iterator[None]:
        """Wait for a turn, and have it until the context ends. A job that has the turn already keeps it.

        Args:
            job: whose turn it is to be.
            say: told how many are before it, when that changes.

        Raises:
            Stopped: the job is to end.
            RequestError: too many are waiting.
        """
        if job.holds_turn:
            yield
            return
        with job.waiting():
            self._wait(job, say)
        job.holds_turn = True
        try:
            yield
        finally:
            self._let_go(job)

    def give_way(self, job: Job) -> None:
        """Where a job of low priority has the turn and others wait, it waits for another one. Raises Stopped."""
        with self._changed:
            if not (job.low and job.holds_turn and any(not ticket.job.low for ticket in self._waiting)):
                return
        self._let_go(job)
        with job.waiting():
            self._wait(job, lambda message: None)
        job.holds_turn = True

    def _let_go(self, job: Job) -> None:
        """A job that was stopped while it gave way has no turn."""
        with self._changed:
            if job.holds_turn:
                job.holds_turn = self._busy = False
                self._remember(job.visitor)
                self._changed.notify_all()

    def _wait(self, job: Job, say: Callable[[str], None]) -> None:
        ticket = _Ticket(job, next(self._numbers), time.monotonic())
        with self._changed:
            # Work that has begun is not turned away half-way.
            if not (job.low or job.admitted) and len(self._waiting) >= self.most:
                raise RequestError("Too many people are using this at the moment: try again in a minute.")
            job.admitted = True
            self._waiting.append(ticket)
        told = 0
        try:
            while True:
                job.check()
                with self._changed:
                    place = self._order().index(ticket) + self._busy
                    if place == 0:
                        self._busy = True
                        return
                if place != told:
                    told = place
                    say(f"Waiting for {place} other{'s' * (place > 1)}")
                with self._changed:
                    self._changed.wait(POLL_S)
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _order(self) -> list[_Ticket]:
        """Those who wait, next first. A visitor counts from their last turn, or from the arrival of what they wait
        for where that is later: so nobody overtakes those who came and were served before."""
        oldest: dict[tuple[str, ...], float] = {}
        for ticket in self._waiting:
            for key in _keys(ticket.job.visitor):
                oldest[key] = min(oldest.get(key, ticket.arrived), ticket.arrived)

        def rank(ticket: _Ticket) -> tuple[bool, float, float, int]:
            address, session = (max(oldest[key], self._served.get(key, 0.0)) for key in _keys(ticket.job.visitor))
            return ticket.job.low, address, session, ticket.number

        return sorted(self._waiting, key=rank)

    def _remember(self, visitor: Visitor) -> None:
        for key in _keys(visitor):
            self._served[key] = time.monotonic()
            self._served.move_to_end(key)
        while len(self._served) > REMEMBERED:
            self._served.popitem(last=False)


def _keys(visitor: Visitor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (visitor.address,), (visitor.address, visitor.session)


turns = Turns()


@contextlib.contextmanager
def turn(say: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """Wait for the machine's one turn and have it until the context ends; does nothing outside a job.

    Raises:
        Stopped: the job is to end.
        RequestError: too many are waiting.
    """
    job = current()
    if job is None:
        yield
        return
    with turns.take(job, say):
        yield


class Later(Generic[T]):
    """What a thread of its own makes in the background, once, and anybody may wait for.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._made: list[T] = []
        self._error: BaseException | None = None

    @classmethod
    def of(cls, made: T) -> Later[T]:
        """What is made already."""
        later = cls(lambda: made)
        later._run()
        return later

    @property
    def over(self) -> bool:
        """Whether `get` would answer at once."""
        return self._over.is_set()

    @property
    def failed(self) -> bool:
        """Whether `get` would raise at once."""
        return self.over and self._error is not None

    def begin(self) -> None:
        """Begin, unless that was done before."""
        with self._lock:
            if self._thread is None and not self.over:
                # A context of its own: the request of the one who came first must not be taken for that of the others.
                context = contextvars.Context()
                self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for it, whoever begins it. Returns whether it is over."""
        return self._over.wait(seconds)

    def get(self) -> T:
        """What was made, begun now at the latest; a job must not have the machine's turn while it waits for it.

        Raises:
            Stopped: the job that waits is to end.
            BaseException: what making it raised.
        """
        self.begin()
        with waiting():
            while not self._over.wait(POLL_S):
                check()
        if self._error is not None:
            raise self._error
        return self._made[0]

    def _run(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as error:  # raised where it is awaited
            self._error = error
        finally:
            self._over.set()
