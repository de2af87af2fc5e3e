"""The windows of a film in Chromium: where it changes, what is like a patch, and a click that shows a window."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import MakeVideo
from first_load import WAIT_MS, ready
from playwright.sync_api import Locator, Page, expect


@pytest.fixture
def film(make_video: MakeVideo) -> Path:
    """Four seconds of bars, then four of a moving pattern."""
    scenes = "smptebars=s=128x128:r=8:d=4[a];testsrc2=s=128x128:r=8:d=4[b];[a][b]concat=n=2"
    return make_video("film.mp4", source=scenes, frames=64)


def cut_up(page: Page) -> Locator:
    page.get_by_role("button", name=re.compile("^Windows of the whole film")).click()
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    return page.get_by_role("region", name="Windows of the film")


def test_a_film_is_cut_and_a_click_shows_a_window(app: Page, film: Path, console_errors, left_localhost):
    app.get_by_label("Video or image").set_input_files(film)
    expect(app.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    app.get_by_text("Layer, second clip, time").click()
    region = cut_up(app)
    windows = region.get_by_role("group", name="Windows").get_by_role("button")
    expect(windows).to_have_count(15)
    expect(region).to_contain_text("15 windows of 1 s, embedded by nano, 16 frames each")
    names = [window.get_attribute("aria-label") for window in windows.all()]
    scenes = [name for name in names if name.startswith("Scene")]
    assert len(scenes) == 2
    assert 3 <= float(re.search(r"([\d.]+) to", scenes[1])[1]) <= 4
    # One of them is shown: the film's windows stay, and the pinned patch is looked for in all.
    windows.nth(10).click()
    facts = app.get_by_text(re.compile("frames sampled, 5.0"))
    expect(facts).to_be_visible(timeout=WAIT_MS)
    ready(app)
    expect(windows).to_have_count(15)
    expect(windows.nth(10)).to_have_attribute("aria-pressed", "true")
    app.get_by_label("Patch viewer", exact=True).get_by_role("application").first.click(position={"x": 80, "y": 80})
    app.wait_for_timeout(500)  # the page's handlers learn of it once the pointer rests
    region = cut_up(app)
    expect(region).to_contain_text(
        re.compile(r"Up: how like the patch at \d+\.\d\d s, row \d+, column \d+, at most 1.00")
    )
    best = region.locator("[data-best]")
    assert "5.00 to 6.00 s, like 1.00" in best.get_attribute("aria-label")
    # Another clip has none of them.
    app.get_by_role("button", name=re.compile("cradle")).first.click()
    expect(region).to_be_hidden()
    assert not console_errors
    assert not left_localhost
