"""What is kept for visitors goes when it has not been used for some hours: the sentence in the README is kept here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gradio as gr

from vjepa_demo import explore, scratch
from vjepa_demo.scratch import UPLOADS, Janitor
from vjepa_demo.settings import settings
from vjepa_demo.ui import sessions
from vjepa_demo.ui.result import results
from vjepa_demo.ui.unheard import Unheard

EVERY_S = 60.0  # how long a thing may outlive its hours


@contextlib.contextmanager
def clearing_up(demo: gr.Blocks) -> Iterator[None]:
    """Within this context the old goes, again and again; what the page itself is made of stays."""
    seconds, own = settings.keep_hours * 3600, scratch.files_in(UPLOADS)
    janitor = Janitor(
        lambda: scratch.sweep(UPLOADS, seconds, settings.upload_bytes, own),
        lambda: scratch.sweep(scratch.WORK, seconds),
        results.drop_old,
        explore.kept.drop_old,
        sessions.own.drop_old,
        Unheard(demo._queue).drop,
        every=min(EVERY_S, max(seconds / 4, 0.1)),
    )
    try:
        yield
    finally:
        janitor.stop()
