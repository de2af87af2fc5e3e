"""The patch viewer on a page of its own, with clips made up here: no model is needed. Fixtures for the tests of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from vjepa_demo.embedding import Embedding, Fingerprint
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.options import Sampling
from vjepa_demo.ui import serving
from vjepa_demo.ui.patch_viewer import patch_viewer, viewer_value
from vjepa_demo.views.similarity import pack

SIZE = (320, 180)
WINDOWS = {
    "crop": (70.0, 0.0, 250.0, 180.0),
    "whole": (0.0, 0.0, 320.0, 180.0),
    "squash": (0.0, 0.0, 320.0, 180.0),
    "pad": (0.0, -70.0, 320.0, 250.0),
}
FOLDED = (
    "Subtract mean",
    "Smooth",
    "Patch borders",
    "Outline above",
    "Save the figure as PNG",
    "Save the figure as SVG",
)
COLLECT = """
window.queries = [];
document.addEventListener("patchquery", ({ detail }) => window.queries.push(
    { ...detail, scores: Array.from(detail.scores), all: detail.all.map((scores) => Array.from(scores)) }));
"""


def make_embedding(grid=(8, 16, 16), dim=192, *, fit="crop", seed=0, layer=None) -> Embedding:
    """Tokens with a few directions that vary smoothly over the frame, some noise, and a mean that dominates."""
    rng = np.random.default_rng(seed)
    steps, rows, cols = grid
    t, y, x = np.meshgrid(np.arange(steps) / steps, np.arange(rows) / rows, np.arange(cols) / cols, indexing="ij")
    waves = np.stack([np.sin(a * 6 * x + b * 6 * y + c * 3 * t) for a, b, c in rng.uniform(-1, 1, (12, 3))], axis=-1)
    tokens = waves @ rng.standard_normal((12, dim)) + 0.5 * rng.standard_normal((*grid, dim))
    tokens = (tokens + 4 * rng.standard_normal(dim)).astype(np.float32)
    times = (np.arange(2 * steps) + 0.5) * 4 / (2 * steps)
    made = Fingerprint("nano", "r", "fp32", f"even-{2 * steps}", fit, layer)
    return Embedding(tokens, times, made, "cpu", WINDOWS[fit], SIZE)


def make_clip(embedding: Embedding, *, still: bool = False) -> Clip:
    """A square moves over a shaded ground."""
    count = 1 if still else len(embedding.timestamps)
    width, height = SIZE
    frames = np.empty((count, 3, height, width), dtype=np.uint8)
    frames[:] = np.linspace(40, 200, width).astype(np.uint8)
    for i, frame in enumerate(frames):
        left = 80 + 150 * i // count
        frame[:, 70:110, left : left + 40] = np.array([230, 120, 30], dtype=np.uint8)[:, None, None]
    source = Source("image" if still else "video", width, height, "h264", 0.0 if still else 4.0, 25.0, 100)
    return Clip(frames, embedding.timestamps[:count], source, Sampling(count if count > 1 else 16))


EMBEDDINGS = {
    "crop": make_embedding(),
    "whole": make_embedding((8, 16, 28), fit="whole"),
    "squash": make_embedding(fit="squash"),
    "pad": make_embedding(fit="pad"),
    "second": make_embedding(seed=1),
    "layer": make_embedding(seed=2, layer=5),
}


@pytest.fixture(scope="session")
def large() -> Embedding:
    """As many random tokens as ViT-L makes of 64 frames."""
    rng = np.random.default_rng(3)
    tokens = (rng.standard_normal((32, 16, 16, 1024)) + rng.standard_normal(1024)).astype(np.float32)
    small = make_embedding((32, 16, 16), 4)
    return Embedding(tokens, small.timestamps, small.fingerprint, "cpu", small.window, SIZE)


@pytest.fixture(scope="session")
def viewer_url(tmp_path_factory: pytest.TempPathFactory, large: Embedding) -> Iterator[str]:
    """A page that holds only the viewer, and a text field that says which clip it shows."""
    folder = tmp_path_factory.mktemp("packed")
    for name, embedding in EMBEDDINGS.items():
        (folder / f"{name}.bin").write_bytes(pack(embedding, make_clip(embedding)))
    (folder / "image.bin").write_bytes(pack(EMBEDDINGS["crop"], make_clip(EMBEDDINGS["crop"], still=True)))
    (folder / "large.bin").write_bytes(pack(large, make_clip(large), pca=False))
    (folder / "damaged.bin").write_bytes(b"VJPV")

    def choose(text: str) -> dict:
        primary, compare, name = (*text.split("|"), "", "")[:3]
        second = folder / f"{compare}.bin" if compare else None
        return viewer_value(folder / f"{primary}.bin", second, name=name, compare_name=compare)

    def told(event: gr.EventData) -> str:
        return json.dumps({key: getattr(event, key) for key in ("pinned", "add", "subtract", "centred")})

    with gr.Blocks(analytics_enabled=False) as demo:
        viewer = patch_viewer()
        which, pinned = gr.Textbox(label="Which clip"), gr.Textbox(label="Told to the server")
        which.submit(choose, which, viewer)
        viewer.query(told, None, pinned)
    routes = {"routes": list(serving.ROUTES)}
    _, url, _ = demo.launch(
        prevent_thread_lock=True, ssr_mode=False, quiet=True, allowed_paths=[str(folder)], app_kwargs=routes
    )
    yield url
    demo.close()


@dataclass
class Viewer:
    """The widget as a visitor meets it: by role and name."""

    page: Page

    @property
    def root(self) -> Locator:
        return self.page.get_by_role("region", name="Patch viewer")

    @property
    def stages(self) -> Locator:
        return self.root.get_by_role("application")

    def control(self, role: str, name: str) -> Locator:
        """A control, with the panel opened in which those are that are needed less often."""
        if name in FOLDED:
            self.more()
        return self.root.get_by_role(role, name=name, exact=True)

    def more(self) -> None:
        self.root.locator("details").evaluate("(node) => { node.open = true; }")

    def state(self, state: str) -> None:
        expect(self.root).to_have_attribute("data-state", state, timeout=15_000)

    def show(self, what: str, state: str = "ready") -> None:
        """Show "clip", "clip|second clip" or "clip|second clip|name"."""
        self.page.evaluate("window.shown = false")
        field = self.page.get_by_label("Which clip")
        field.fill(what)
        self.page.evaluate(
            """() => new MutationObserver((_, observer) => { window.shown = true; observer.disconnect(); })
                .observe(document.querySelector("[data-state]"), { attributeFilter: ["data-state"] })"""
        )
        field.press("Enter")
        self.page.wait_for_function("window.shown")
        self.state(state)
        if state == "ready":
            self.answers(1)

    def place(self, fit: str, row: float, col: float, stage: int = 0) -> tuple[float, float]:
        """The page's coordinates of the middle of a patch of the large frame."""
        left, top, right, bottom = WINDOWS[fit]
        x0, y0, x1, y1 = min(0, left), min(0, top), max(SIZE[0], right), max(SIZE[1], bottom)
        _, rows, cols = EMBEDDINGS[fit].grid
        x, y = left + (col + 0.5) * (right - left) / cols, top + (row + 0.5) * (bottom - top) / rows
        box = self.stages.nth(stage).bounding_box()
        assert box
        return box["x"] + (x - x0) / (x1 - x0) * box["width"], box["y"] + (y - y0) / (y1 - y0) * box["height"]

    def hover(self, row: float, col: float, *, fit: str = "crop", stage: int = 0) -> None:
        self.page.mouse.move(*self.place(fit, row, col, stage))

    def click(self, row: float, col: float, *, fit: str = "crop", stage: int = 0, key: str | None = None) -> dict:
        """Click a patch with a modifier key held down, and return the query that was painted for it."""
        self.hover(row, col, fit=fit, stage=stage)
        self.page.wait_for_timeout(80)
        before = len(self.queries())
        if key:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self.place(fit, row, col, stage))
        if key:
            self.page.keyboard.up(key)
        return self.answers(before + 1)

    def queries(self) -> list[dict]:
        return self.page.evaluate("window.queries.map(({ step, row, col }) => ({ step, row, col }))")

    def answers(self, count: int) -> dict:
        """Wait for so many painted queries, and return the last one."""
        self.page.wait_for_function("(count) => window.queries.length >= count", arg=count)
        return self.page.evaluate("window.queries[window.queries.length - 1]")

    def forget(self) -> None:
        self.page.evaluate("window.queries = []")


@pytest.fixture
def open_viewer(
    page: Page,
    open_page: Callable[..., Page],
    viewer_url: str,
    console_errors: list[str],
    left_localhost: list[str],
) -> Iterator[Callable[..., Viewer]]:
    """A function that opens the page and shows clips; what it is given beside goes to a context of its own.

    At the end of the test nothing must have been written to the console as an error, or asked of another host.
    """

    def opened(
        what: str | None = "crop", *, reduced_motion="reduce", theme: str = "light", without: str = "", **options
    ) -> Viewer:
        shown = open_page(**options) if options else page
        shown.emulate_media(reduced_motion=reduced_motion)
        shown.add_init_script(COLLECT)
        if without:
            shown.add_init_script(f"delete window.{without}")
        shown.goto(f"{viewer_url}?__theme={theme}")
        viewer = Viewer(shown)
        viewer.state("empty")
        if what:
            viewer.show(what)
        return viewer

    yield opened
    assert console_errors == []
    assert left_localhost == []


@pytest.fixture
def viewer(open_viewer: Callable[..., Viewer]) -> Viewer:
    return open_viewer()


def grid_of(answer: dict, embedding: Embedding) -> np.ndarray:
    return np.array(answer["scores"], dtype=np.float32).reshape(embedding.grid)


def agree(answer: dict, expected: np.ndarray, *, key: int | None = None) -> None:
    scores = answer["scores"] if key is None else answer["all"][key]
    np.testing.assert_allclose(np.array(scores, dtype=float).reshape(expected.shape), expected, atol=0.01)
