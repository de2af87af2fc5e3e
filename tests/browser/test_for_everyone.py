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
    expect(page.locator(".state .busy")).to_have_count(0)  # while something is done, Cancel is one more
    expect(page.locator(".state .cancel")).to_be_hidden()
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('[aria-label=\"Patch viewer\"]') !== null"):
            return
        stops.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
    pytest.fail(f"five Tabs do not reach the patch viewer: {stops}")


@pytest.mark.parametrize("size", [(390, 844), (800, 900), (1440, 900)], ids=str)
def test_little_moves_while_the_page_opens(page: Page, demo_url: str, size: tuple[int, int]):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})  # no quick machine hides it
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
    assert sum(shift[0] for shift in shifts) < 0.02, shifts
    assert page.get_by_role("heading", name="V-JEPA 2 Explorer").is_visible()  # not because nothing is shown


# Of the first screen: how much of it is the picture, and how much of it the clip alone; what can be pressed, and words.
FIRST_SCREEN = r"""() => {
    const seen = (node) => {
        if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
        let { top, bottom, left, right } = node.getBoundingClientRect();
        for (let one = node.parentElement; one; one = one.parentElement) {
            if (getComputedStyle(one).overflowY === "visible") continue;
            const box = one.getBoundingClientRect();
            [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
        }
        return bottom - top > 1 && right - left > 1 && top < innerHeight && bottom > 0;
    };
    const share = (query) => [...document.querySelectorAll(query)].filter(seen)
        .map((node) => node.getBoundingClientRect())
        .reduce((sum, box) => sum + box.width * (Math.min(box.bottom, innerHeight) - box.top), 0)
        / (innerWidth * innerHeight);
    const controls = "button, input, select, textarea, a[href], summary, [role=radio], [role=switch], [role=slider]";
    const words = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const { parentElement: node, textContent: text } = walker.currentNode;
        if (seen(node)) words.push(...text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)));
    }
    return {
        picture: share(".pv-matte"), clip: share(".pv-stage"), words,
        controls: [...document.querySelectorAll(controls)].filter(seen)
            .map((node) => node.getAttribute("aria-label") || node.textContent),
    };
}"""


@pytest.mark.parametrize(("size", "least"), [((1440, 900), 0.45), ((1280, 720), 0.39), ((1920, 1080), 0.45)], ids=str)
def test_the_picture_comes_first(page: Page, demo_url: str, size: tuple[int, int], least: float):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    opened(page, demo_url)
    assert page.evaluate(FIRST_SCREEN)["picture"] >= least


def test_a_wide_clip_fills_the_picture(page: Page, demo_url: str, video):
    page.set_viewport_size({"width": 1440, "height": 900})
    opened(page, demo_url)
    page.get_by_label("Video or image").set_input_files(video)
    expect(page.get_by_role("heading", name=video.name).or_(page.get_by_text(video.name)).first).to_be_visible(
        timeout=WAIT_MS
    )
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    page.wait_for_function(f"({FIRST_SCREEN})().clip >= 0.45", timeout=WAIT_MS)
    line = page.locator(".pv-moments").first.bounding_box()
    assert line["y"] + line["height"] <= 900, "the whole timeline is on the first screen"


def test_the_first_screen_asks_for_little(page: Page, demo_url: str):
    page.set_viewport_size({"width": 1280, "height": 720})
    opened(page, demo_url)
    first = page.evaluate(FIRST_SCREEN)
    assert 12 < len(first["controls"]) < 35, first["controls"]
    assert 30 < len(first["words"]) < 80, first["words"]
    for part in (".pv-moments", ".rm-plot"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 720, part
    few = page.get_by_role("group", name="Labels").get_by_role("button")
    assert few.count() == 5
    page.locator(".rm-plot").hover(position={"x": 8, "y": 8})  # where no name stands
    assert few.count() == 16, "all names stand on the map while the pointer is on it"


def test_on_a_phone_all_is_within_reach(page: Page, demo_url: str):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, demo_url)
    examples = page.get_by_role("group", name="Examples").bounding_box()
    assert examples["y"] + examples["height"] <= 844
    checkpoint, drawers = (page.locator(part).bounding_box() for part in (".page-checkpoint", ".drawers"))
    assert checkpoint["width"] == drawers["width"], "as wide as the page: no name is cut off"
    assert examples["y"] < checkpoint["y"] < drawers["y"]
    for name in ("Open a clip", "Record", "Dark"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["x"] + box["width"] <= 390 - 10, name
    # All of the name is seen: its letters end before the first button.
    ends = page.evaluate(
        "() => { const name = document.createRange(); name.selectNodeContents(document.querySelector('h1'));"
        "return name.getBoundingClientRect().right; }"
    )
    assert ends <= page.get_by_role("button", name="Open a clip").bounding_box()["x"]


def test_the_theme_switches_where_storage_is_blocked(page: Page, demo_url: str):
    """As in a frame of a browser that takes no cookies of third parties: there even the name of the storage throws."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"])
             Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });"""
    )
    opened(page, demo_url, "dark")
    switch = page.locator(".theme-switch")
    expect(switch).to_have_attribute("title", "Light")
    switch.click()
    expect(switch).to_have_attribute("title", "Dark")
    assert page.evaluate("document.body.classList.contains('dark')") is False
    assert not [error for error in errors if "denied" in error], errors
