"""How smooth the map is: when it is first painted, and frames a second in Chromium while it is panned and hovered.

python bench/reference_map.py                     # 2,000 references in memory
python bench/reference_map.py --rows 100000       # a table of so many drawn rows (`bench/large_sets.py`)
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from playwright.sync_api import Page, sync_playwright

from vjepa_demo.embedding import Embedding, Fingerprint, Kind, Vector
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.ui import serving
from vjepa_demo.ui.reference_map import describe_clip, map_value, reference_map

COUNT, LABELS, WIDTH = 2000, 16, 64
MOVES = 120
MADE = Kind(Fingerprint("bench", "1", "fp32", "even-16", "crop"))

# A part of the map over which no name stands.
FREE = """() => { const { x, y, width, height } = document.querySelector(".rm-plot").getBoundingClientRect();
    for (let i = 3; i < 18; i += 1) for (let j = 4; j < 17; j += 1) {
      const at = [x + (width * i) / 20, y + (height * j) / 20];
      if (!document.elementFromPoint(...at).closest(".rm-on-map")) return at;
    } }"""
FRAMES = """() => { window.frames_ = []; const tick = (t) => { frames_.push(t); requestAnimationFrame(tick); };
    requestAnimationFrame(tick); }"""


ALL_TIMES = "performance.setResourceTimingBufferSize(10_000)"  # of a page that fetches more than the usual 250 files
# From the first request for the set until now, in ms; Plotly's library is fetched and read in between.
PAINTED = """() => {
    const asked = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("set.json")).startTime;
    const next = () => new Promise(requestAnimationFrame);
    return next().then(next).then(() => performance.now() - asked);
}"""


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
    x, y = page.evaluate(FREE)
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


def table(folder: Path, rows: int) -> Any:
    """A table of so many rows with labels of clusters, as a set, and the vectors of eight of them."""
    import large_sets

    from vjepa_demo.scale import large

    place = str(folder / "clips.lance")
    large_sets.write(place, WIDTH, rows)
    large.settle(place)
    return large.opened(place), next(large_sets.rows(WIDTH, 8, seed=2))[0], large_sets.MADE


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, help="of a table; 2,000 references in memory without it")
    given = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as scratch:
        if given.rows:
            references, steps, made = table(Path(scratch), given.rows)
        else:
            references, made = random_set(Path(scratch)), MADE
            steps = references.vectors[:8]
        tokens = np.repeat(steps, 4, axis=0).reshape(8, 2, 2, WIDTH)
        clip = Embedding(tokens, np.arange(16) / 4, made.fingerprint, "cpu", (0, 0, 64, 64), (64, 64))
        described = describe_clip(clip, references.compare(Vector(steps[0], made)))
        with gr.Blocks(analytics_enabled=False) as demo:
            widget = reference_map()
            demo.load(lambda: map_value(references, described), None, widget)
        demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs={"routes": list(serving.ROUTES)})
        with sync_playwright() as playwright:
            # WebGL by software; with --disable-gpu what lies under the tip is not always painted again.
            drawing = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *drawing])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(ALL_TIMES)
            page.goto(demo.local_url)
            page.wait_for_selector(".rm-root[data-state=ready]", timeout=120_000)
            painted = page.evaluate(PAINTED)
            page.wait_for_timeout(1000)
            rates = " · ".join(rate(page, name, press) for name, press in (("pan", True), ("hover", False)))
            print(f"{len(references):,} references: painted {painted:,.0f} ms after they were asked for · {rates}")
            browser.close()
        demo.close()


if __name__ == "__main__":
    main()
