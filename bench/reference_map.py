"""How smooth the map is with 2,000 references: frames a second in Chromium while it is panned and while it is hovered.

python bench/reference_map.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import gradio as gr
import numpy as np
from playwright.sync_api import Page, sync_playwright

from vjepa_demo.embedding import Embedding, Fingerprint, Kind
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.ui import serving
from vjepa_demo.ui.reference_map import describe_clip, map_value, reference_map

COUNT, LABELS, WIDTH = 2000, 16, 64
MOVES = 120
MADE = Kind(Fingerprint("bench", "1", "fp32", "even-16", "crop"))

FRAMES = """() => { window.frames_ = []; const tick = (t) => { frames_.push(t); requestAnimationFrame(tick); };
    requestAnimationFrame(tick); }"""


def random_set(folder: Path) -> ReferenceSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, LABELS, COUNT)
    centres = rng.normal(size=(LABELS, WIDTH)) * 2
    places = (centres[labels, :2] * 4 + rng.normal(size=(COUNT, 2))).astype(np.float32)
    return ReferenceSet(
        kind=MADE,
        clips=tuple(ReferenceClip(f"{i}.mp4", f"label {label}") for i, label in enumerate(labels)),
        vectors=(centres[labels] + rng.normal(size=(COUNT, WIDTH))).astype(np.float32),
        coordinates=places,
        hashes=tuple(f"{i:064x}" for i in range(COUNT)),
        folder=folder,
    )


def rate(page: Page, name: str, press: bool) -> str:
    """Move over the map and say how many frames a second were drawn meanwhile."""
    box = page.locator(".rm-plot").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    if press:
        page.mouse.down()
    page.evaluate(FRAMES)
    for i in range(MOVES):
        page.mouse.move(x + 120 * np.sin(i / 10), y + 80 * np.cos(i / 7))
        page.wait_for_timeout(10)
    stamps = np.array(page.evaluate("() => frames_"))
    if press:
        page.mouse.up()
    gaps = np.diff(stamps)
    return f"{name} {1000 / gaps.mean():.0f} frames/s (95 % of frames within {np.percentile(gaps, 95):.0f} ms)"


def main() -> None:
    """Print one line."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as scratch:
        references = random_set(Path(scratch))
        tokens = np.repeat(references.vectors[:8], 4, axis=0).reshape(8, 2, 2, WIDTH)
        clip = Embedding(tokens, np.arange(16) / 4, MADE.fingerprint, "cpu", (0, 0, 64, 64), (64, 64))
        described = describe_clip(clip, references.compare(clip.vector()))
        with gr.Blocks(analytics_enabled=False) as demo:
            widget = reference_map()
            demo.load(lambda: map_value(references, described), None, widget)
        demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs={"routes": list(serving.ROUTES)})
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(demo.local_url)
            page.wait_for_selector(".rm-root[data-state=ready]", timeout=120_000)
            rates = " · ".join(rate(page, name, press) for name, press in (("pan", True), ("hover", False)))
            print(f"{COUNT:,} references: {rates}")
            browser.close()
        demo.close()


if __name__ == "__main__":
    main()
