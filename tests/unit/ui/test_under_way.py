"""What is newer ends what is older, in whatever order their threads come to it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.ui import under_way

PAGE = Visitor("1.2.3.4", "page")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_last_one_wins_whichever_thread_comes_first(order):
    jobs = [Job(PAGE) for _ in range(3)]
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(under_way.working(job, "clip"))
        for number in order:
            under_way.end(PAGE, "clip", before=jobs[number])
    assert [job.quiet for job in jobs] == [True, True, False]


def test_another_kind_and_another_page_stay():
    job, other, elsewhere = Job(PAGE), Job(PAGE), Job(Visitor("1.2.3.4", "another page"))
    with ExitStack() as stack:
        for each, kind in ((other, "own"), (elsewhere, "clip"), (job, "clip")):
            stack.enter_context(under_way.working(each, kind))
        assert under_way.end(PAGE, "clip", before=job) == set()
        assert under_way.end(PAGE) == {"own", "clip"}
    assert [each.quiet for each in (job, other, elsewhere)] == [True, True, False]
