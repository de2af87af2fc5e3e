"""A drawer of the page, folded away: what is in it is fetched when it is opened first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block, BlockContext

from vjepa_demo.ui.outcome import RUN


@contextlib.contextmanager
def drawer(label: str) -> Iterator[gr.Accordion]:
    """An accordion, closed at first.

    Gradio fetches the scripts and styles of all components that are not hidden, those of closed accordions too. So
    what is in a drawer is hidden until it is opened; values reach it nevertheless.
    """
    with gr.Accordion(label, open=False) as folded:
        yield folded
    parts = [part for part in _inside(folded) if part.visible is True]
    for part in parts:
        part.visible = False
    folded.expand(
        None, None, parts, js=f"() => Array({len(parts)}).fill({{ __type__: 'update', visible: true }})", **RUN
    )


def _inside(context: BlockContext) -> Iterator[Block]:
    """The components in a context at any depth, without those that only lay them out."""
    for part in context.children:
        if isinstance(part, BlockContext):
            yield from _inside(part)
        else:
            yield part
