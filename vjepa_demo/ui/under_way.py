"""The work that is under way for each page: Cancel ends it, and what is newer ends what it makes stale."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from vjepa_demo.jobs import Job, Visitor

_lock = threading.Lock()
_work: dict[Visitor, list[tuple[str, Job]]] = {}


@contextlib.contextmanager
def working(job: Job, kind: str) -> Iterator[None]:
    """Within this context the job is under way for the page of its visitor; one without a session has none."""
    page, entry = job.visitor, (kind, job)
    if not page.session:
        yield
        return
    with _lock:
        _work.setdefault(page, []).append(entry)
    try:
        yield
    finally:
        with _lock:
            _work[page].remove(entry)
            if not _work[page]:
                del _work[page]


def end(page: Visitor, kind: str | None = None, before: Job | None = None) -> set[str]:
    """End the work of a page, or what there is of one kind, or of that what is older than a job, without a word to the
    page. Returns its kinds."""
    with _lock:
        work = list(_work.get(page, []))
        # Threads start in any order: one that is late must not end what was asked for after it.
        older = next((i for i, (_, job) in enumerate(work) if job is before), len(work))
        found = [(of, job) for of, job in work[:older] if kind in (None, of)]
    for _, job in found:
        job.stop(quietly=True)
    return {of for of, _ in found}


def busy(page: Visitor, kind: str) -> bool:
    """Whether work of a kind is under way for a page."""
    with _lock:
        return any(of == kind for of, _ in _work.get(page, ()))
