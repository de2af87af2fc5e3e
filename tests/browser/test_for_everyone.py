"""The page can be used by everyone: axe-core finds nothing, the keyboard reaches all, little moves by itself."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

WAIT_MS = 60_000


def opened(page: Page, url: str, theme: str = "light") -> Page:
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}/?__theme={theme}")
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("open_parts", [False, True], ids=["first view", "all opened"])
def test_axe_finds_nothing(page: Page, demo_url: str, theme: str, open_parts: bool):
    opened(page, demo_url, theme)
    if open_parts:
        for name in ("Settings", "Layer, second clip", "Export", "Your own references"):
            page.get_by_role("button", name=name).click()
        for details in page.locator("details").all():
            details.evaluate("(node) => { node.open = true; }")
        page.wait_for_timeout(500)
    # Of the boxes that Gradio opens, what is in them is Gradio's.
    ours = {"include": [[part] for part in (".page-head", ".state", ".viewer", ".examples", ".map", ".about")]}
    found = Axe().run(page, context=ours if open_parts else None).response["violations"]
    told = [(fault["id"], node["target"], node["html"][:150]) for fault in found for node in fault["nodes"]]
    assert not told, told


def test_the_first_tab_stop_leads_past_the_head(page: Page, demo_url: str):
    opened(page, demo_url)
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the viewer")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    assert link.evaluate("(node) => getComputedStyle(node).color !== getComputedStyle(node).backgroundColor")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Patch viewer", exact=True).get_by_role("application").first).to_be_focused()
    expect(link).not_to_be_in_viewport()


def test_the_viewer_is_reached_within_five_tabs(page: Page, demo_url: str):
    opened(page, demo_url)
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('[aria-label=\"Patch viewer\"]') !== null"):
            return
    pytest.fail("five Tabs do not reach the patch viewer")


@pytest.mark.parametrize("size", [(390, 844), (800, 900), (1440, 900)], ids=str)
def test_little_moves_while_the_page_opens(page: Page, demo_url: str, size: tuple[int, int]):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.add_init_script(
        """window.shifts = [];
        const where = ({ y, height }) => `${y}+${height}`;
        const named = ({ node, previousRect: a, currentRect: b }) => [node?.className, where(a), where(b)];
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shifts.push([entry.value, ...entry.sources.map(named)]);
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    opened(page, demo_url)
    page.wait_for_timeout(500)
    shifts = page.evaluate("window.shifts")
    assert sum(shift[0] for shift in shifts) < 0.05, shifts


@pytest.mark.parametrize(("size", "least"), [((1440, 900), 0.40), ((1280, 720), 0.30), ((1920, 1080), 0.40)], ids=str)
def test_the_picture_comes_first(page: Page, demo_url: str, size: tuple[int, int], least: float):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    opened(page, demo_url)
    share = page.evaluate(
        """() => [".pv-matte", ".pv-cells button"].flatMap((query) => [...document.querySelectorAll(query)])
            .map((node) => node.getBoundingClientRect())
            .map((box) => box.width * Math.max(0, Math.min(box.bottom, innerHeight) - box.top))
            .reduce((a, b) => a + b, 0) / (innerWidth * innerHeight)"""
    )
    assert share > least
