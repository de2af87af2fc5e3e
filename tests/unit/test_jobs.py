"""Work stops when it should, and turns are fair."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable

import pytest

from vjepa_demo import jobs
from vjepa_demo.errors import RequestError, Stopped
from vjepa_demo.jobs import Door, Job, Later, Turns, Visitor


def test_outside_a_job_nothing_stops_and_nothing_waits():
    jobs.check()
    with jobs.turn():
        assert jobs.current() is None


def test_a_stopped_job_ends_at_its_next_check():
    job = Job()
    with job.running():
        jobs.check()
        job.stop()
        with pytest.raises(Stopped, match="last result is still here"):
            jobs.check()
    jobs.check()


def test_a_job_ends_when_nobody_waits_for_it():
    gone = threading.Event()
    job = Job(gone=gone.is_set)
    job.check()
    gone.set()
    time.sleep(2 * jobs.POLL_S)
    with pytest.raises(Stopped):
        job.check()


def test_a_job_ends_when_its_time_is_up_and_waiting_does_not_count():
    with pytest.raises(Stopped, match="fewer frames"):
        Job(seconds=-1).check()
    job = Job(seconds=0.2)
    with job.waiting():
        time.sleep(0.3)
        job.check()
    job.check()
    time.sleep(0.25)
    with pytest.raises(Stopped):
        job.check()


def test_a_job_may_wait_longer_for_its_turn_than_it_may_work():
    turns, job = Turns(), Job(seconds=0.3)
    with turns.take(Job()):
        had: list[bool] = []
        waiter = threading.Thread(target=lambda: had.append(has_its_turn(turns, job)))
        waiter.start()
        time.sleep(0.6)
    waiter.join(10)
    assert had == [True]


def has_its_turn(turns: Turns, job: Job) -> bool:
    try:
        with turns.take(job):
            return True
    except Stopped:
        return False


def test_work_that_has_begun_is_not_turned_away_half_way():
    crowd = Crowd(Turns(most=2))
    job = Job(Visitor("1"))
    with crowd.turns.take(job):
        pass
    crowd.arrive("held", Visitor("2"))
    for number in range(2):
        crowd.arrive(f"b{number}", Visitor(f"3{number}"))
    threading.Timer(0.2, crowd.release.set).start()
    with crowd.turns.take(job):
        pass
    crowd.served()


def test_a_job_goes_along_into_a_thread_that_copies_its_context():
    seen: list[Job | None] = []
    with Job().running() as job:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(jobs.current()),))
        thread.start()
        thread.join()
    assert seen == [job]


class Crowd:
    """Jobs that line up for the same turn in a known order, and the order in which they had it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.threads: list[threading.Thread] = []
        self.release = threading.Event()

    def arrive(self, name: str, visitor: Visitor, **options: bool) -> None:
        waiting = len(self.turns._waiting)
        held = self.turns._busy

        def work() -> None:
            with self.turns.take(Job(visitor, **options)):
                self.order.append(name)
                self.release.wait(10)

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        wait_until(lambda: len(self.turns._waiting) == waiting + 1 if held else self.turns._busy)

    def served(self) -> list[str]:
        self.release.set()
        for thread in self.threads:
            thread.join(20)
        return self.order


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_ten_uploads_of_one_visitor_do_not_hold_the_first_of_the_next():
    crowd = Crowd(Turns())
    for number in range(10):
        crowd.arrive(f"a{number}", Visitor("1", "a"))
    crowd.arrive("b0", Visitor("1", "b"))
    crowd.arrive("b1", Visitor("1", "b"))
    order = crowd.served()
    assert order[:3] == ["a0", "b0", "a1"]
    assert [name for name in order if name[0] == "a"] == [f"a{number}" for number in range(10)]


def test_an_address_with_many_sessions_counts_as_one():
    crowd = Crowd(Turns())
    for number in range(8):
        crowd.arrive(f"a{number}", Visitor("1", f"forged {number}"))
    crowd.arrive("b", Visitor("2", "b"))
    assert crowd.served().index("b") == 1


def test_who_was_served_already_waits_for_the_first_of_those_who_are_there():
    crowd = Crowd(Turns())
    crowd.arrive("a0", Visitor("1"))
    crowd.arrive("b", Visitor("2"))
    crowd.arrive("a1", Visitor("1"))
    crowd.arrive("c", Visitor("3"))
    assert crowd.served() == ["a0", "b", "c", "a1"]


def test_those_who_come_later_do_not_overtake_for_ever():
    turns = Turns()
    with turns.take(Job(Visitor("1"))):
        pass
    crowd = Crowd(turns)
    crowd.arrive("held", Visitor("2"))
    crowd.arrive("a1", Visitor("1"))
    crowd.arrive("newcomer", Visitor("3"))
    assert crowd.served() == ["held", "a1", "newcomer"]


def test_low_priority_goes_last():
    crowd = Crowd(Turns())
    crowd.arrive("a", Visitor("1"))
    crowd.arrive("build", Visitor("", "build"), low=True)
    crowd.arrive("b", Visitor("2"))
    crowd.arrive("c", Visitor("3"))
    assert crowd.served() == ["a", "b", "c", "build"]


def test_work_of_low_priority_rests_while_others_have_a_turn():
    turns, low = Turns(), Job(low=True)
    order: list[str] = []

    def visit() -> None:
        with turns.take(Job(Visitor("1"))):
            order.append("visitor")

    with turns.take(low):
        turns.give_way(low)  # nobody waits: it goes on
        visitor = threading.Thread(target=visit)
        visitor.start()
        wait_until(lambda: bool(turns._waiting))
        order.append("before")
        turns.give_way(low)
        order.append("after")
        assert turns._busy
        visitor.join()
    assert order == ["before", "visitor", "after"]
    assert not turns._busy


def test_work_that_is_stopped_while_it_rests_leaves_the_turn_to_whom_it_belongs():
    turns, low, leave = Turns(), Job(low=True), threading.Event()

    def visit() -> None:
        with turns.take(Job(Visitor("1"))):
            low.stop()
            leave.wait()

    def rest() -> None:
        with turns.take(low):
            visitor.start()
            wait_until(lambda: bool(turns._waiting))
            turns.give_way(low)

    visitor = threading.Thread(target=visit)
    with pytest.raises(Stopped):
        rest()
    assert turns._busy
    leave.set()
    visitor.join()
    assert not turns._busy


def test_a_job_that_stops_while_it_waits_gives_its_place_up():
    turns, job = Turns(), Job()
    with turns.take(Job()):
        said: list[str] = []
        threading.Timer(0.3, job.stop).start()
        with pytest.raises(Stopped), turns.take(job, said.append):
            pass
        assert said == ["Waiting for 1 other"]
        assert not turns._waiting
    with turns.take(Job()):
        pass


def test_a_turn_within_a_turn_is_the_same_turn():
    turns, job = Turns(), Job()
    with turns.take(job), turns.take(job):
        assert turns._busy
    assert not turns._busy


def test_a_crowd_is_told_to_come_back_later():
    crowd = Crowd(Turns(most=3))
    for number in range(4):
        crowd.arrive(f"a{number}", Visitor("1"))
    with pytest.raises(RequestError, match="try again in a minute"), crowd.turns.take(Job(Visitor("3"))):
        pass
    assert len(crowd.served()) == 4


def test_one_address_has_only_so_much_work_here_whatever_it_waits_for():
    door = Door(most_each=2)
    with door.entered(Job(Visitor("1", "a"))):
        with door.entered(Job(Visitor("1", "b"))):
            with pytest.raises(RequestError, match="2 pieces of work from your network"):
                door.entered(Job(Visitor("1", "c"))).__enter__()
            with door.entered(Job(Visitor("2"))):
                pass
        with door.entered(Job(Visitor("1", "c"))):
            pass
    assert not door._here


def test_work_in_the_background_waits_until_nothing_has_been_here_for_a_while():
    door, done = Door(), threading.Event()
    with door.entered(Job()):
        waiter = threading.Thread(target=lambda: (door.wait_quiet(0.4, 60), done.set()))
        waiter.start()
        assert not done.wait(0.6)
    with door.entered(Job()):  # before the while is over
        assert not done.wait(0.6)
    waiter.join(10)
    assert done.is_set()
    began = time.monotonic()
    with door.entered(Job()):
        door.wait_quiet(0.1, 0.3)
    assert time.monotonic() - began >= 0.3
    door.wait_quiet(60, 0.3)  # nothing is here, and yet it does not wait for so long
    assert time.monotonic() - began < 30


def test_who_waits_for_a_lock_leaves_when_stopped_and_their_time_stands_still():
    lock, job = threading.Lock(), Job(seconds=0.2)
    lock.acquire()
    threading.Timer(0.5, lock.release).start()
    with job.running(), jobs.locked(lock):
        jobs.check()
        threading.Timer(0.2, job.stop).start()
        with pytest.raises(Stopped), jobs.locked(lock):
            pass
    assert not lock.locked()


# --- what is made in the background ---------------------------------------------------------------------------------


def test_what_comes_later_is_made_once_for_all_who_wait():
    made, release = [], threading.Event()

    def make() -> int:
        release.wait(10)
        made.append(jobs.current())
        return 5

    later, found = Later(make), []
    assert not later.wait(0.05), "nobody has begun it"
    waiting = [threading.Thread(target=lambda: found.append(later.get())) for _ in range(3)]
    with Job().running():  # whose request it is not
        later.begin()
    for thread in waiting:
        thread.start()
    assert not later.over
    release.set()
    for thread in waiting:
        thread.join(10)
    assert (found, made, later.over, later.get()) == ([5] * 3, [None], True, 5)


def test_who_is_stopped_waits_no_longer_and_the_others_do():
    release = threading.Event()
    later = Later(lambda: release.wait(10))
    job = Job(seconds=0.3)
    with job.running():
        threading.Timer(0.5, job.stop).start()
        with pytest.raises(Stopped, match="last result"):  # its time stands still while it waits
            later.get()
    assert not later.over
    release.set()
    assert later.get() is True


def test_what_fails_later_fails_for_all():
    later: Later[None] = Later(lambda: [][0])
    for _ in range(2):
        with pytest.raises(IndexError):
            later.get()
    assert later.over


def test_what_is_there_needs_no_thread():
    later = Later.of("there")
    later.begin()
    assert (later.over, later.get()) == (True, "there")
