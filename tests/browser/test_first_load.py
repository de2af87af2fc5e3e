"""What a first visit costs, up to the first picture with its heat: nothing kept by the browser, 1280 × 720 pixels."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from demo import running_demo
from first_load import WAIT_MS, Load, ready
from playwright.sync_api import Page, expect

MOST_BYTES, MOST_REQUESTS = 1_200_000, 70


@pytest.fixture
def first_page(open_page: Callable[..., Page]) -> Page:
    return open_page(viewport={"width": 1280, "height": 720})


def test_the_first_heat_costs_little(first_page: Page, demo_url: str, console_errors: list[str]):
    load = Load(first_page, demo_url)
    first_page.wait_for_timeout(1000)  # for the ends of what was begun
    asked = load.until_heat()
    assert sum(request["bytes"] for request in asked) < MOST_BYTES, asked[:10]
    assert len(asked) < MOST_REQUESTS, [request["path"] for request in asked]
    assert any(request["path"].endswith("/clip0.bin") for request in asked)
    assert not console_errors


def test_nothing_is_asked_for_twice(first_page: Page, demo_url: str):
    load = Load(first_page, demo_url)
    ready(first_page)
    first_page.wait_for_timeout(1000)
    # What is asked again and again later on, of the server whether it is there, is no part of it; nor are answers, for
    # which a page listens anew whenever it asks for something after all that it had asked for was answered.
    listens = "/queue/data?"
    asked = [request["asked"] for request in load.requests.values() if request["asked"][0] == "GET"]
    asked = [one for one in asked if listens not in one[1]]
    asked += [request["asked"] for request in load.until_heat() if request["asked"][0] != "GET"]
    assert len(set(asked)) == len(asked), [one for one in asked if asked.count(one) > 1]


def test_a_clip_that_comes_while_the_model_is_loaded_is_shown_when_it_is(
    first_page: Page, video, tmp_path, console_errors
):
    """And what is asked of the first example waits for it, too: from a page that had it as it is shipped."""
    first_page.set_default_timeout(WAIT_MS)
    with running_demo(tmp_path, VJEPA_DEMO_DEVICE="cpu") as address:
        other = first_page.context.new_page()
        for page in (first_page, other):
            page.goto(address)
            expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute(
                "data-state", "ready", timeout=WAIT_MS
            )
        first_page.get_by_label("Video or image").set_input_files(video)
        other.get_by_role("radio", name="Appearance").check()
        expect(first_page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
        expect(first_page.locator(".pv-name").first).to_have_text(video.name)
        expect(other.get_by_text("Clips are compared by what they show.")).to_be_visible(timeout=WAIT_MS)
        ready(other)
        other.get_by_role("application").first.click()
        expect(other).to_have_url(re.compile("patches="))  # it is the clip that the viewer shows
    assert not console_errors


def test_the_map_comes_after_the_first_heat(first_page: Page, demo_url: str):
    load = Load(first_page, demo_url)
    ready(first_page)
    maps = [r for r in load.requests.values() if "/references/" in r["path"] or "plotly" in r["path"]]
    assert {"/plotly.min.js"} < {request["path"] for request in maps}
    assert min(request["at"] for request in maps) >= load.heat


def test_a_map_waits_no_longer_than_some_seconds_for_a_heat_that_does_not_come(first_page: Page, demo_url: str):
    first_page.set_default_timeout(WAIT_MS)
    first_page.route("**/clip0.bin", lambda route: route.abort())
    first_page.goto(demo_url)
    expect(first_page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "error")
    expect(first_page.get_by_label("Reference map", exact=True)).to_have_attribute(
        "data-state", "ready", timeout=WAIT_MS
    )


def test_pointing_asks_for_nothing(first_page: Page, demo_url: str):
    load = Load(first_page, demo_url)
    ready(first_page)
    first_page.wait_for_timeout(500)
    before = len(load.requests)
    first_page.evaluate("() => { window.heard = 0; document.addEventListener('patchquery', () => window.heard++); }")
    box = first_page.get_by_role("application").first.bounding_box()
    assert box
    for share in (0.42, 0.5, 0.58):
        first_page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.6 * box["height"])
        first_page.wait_for_timeout(100)
    first_page.wait_for_function("window.heard > 0")
    assert load.paths()[before:] == []


def test_what_is_in_a_drawer_is_fetched_when_it_is_opened_and_holds_what_it_was_told(first_page: Page, demo_url: str):
    load = Load(first_page, demo_url)
    ready(first_page)
    before = len(load.requests)
    first_page.get_by_role("button", name="Layer, second clip").click()
    layer = first_page.get_by_role("slider", name="range slider for Layer of the encoder")
    expect(layer).to_have_value("12")  # told while the drawer was closed
    assert any(path.startswith("/assets/") for path in load.paths()[before:])
    for name in ("Settings", "Export", "Your own references"):
        first_page.get_by_role("button", name=name).click()
    for label in ("From (s), then Enter", "Label of the new clips"):
        expect(first_page.get_by_label(label)).to_be_visible()
    expect(first_page.get_by_role("button", name="Undo")).to_be_hidden()


def test_a_second_visit_asks_for_no_chunk_again(first_page: Page, demo_url: str):
    first_page.set_default_timeout(WAIT_MS)
    first_page.goto(demo_url)
    ready(first_page)
    chunks = """() => performance.getEntriesByType("resource").filter((entry) => /assets|widgets/.test(entry.name))
        .map((entry) => entry.transferSize)"""
    assert min(first_page.evaluate(chunks)) > 0
    first_page.goto("about:blank")
    first_page.goto(demo_url)
    ready(first_page)
    again = first_page.evaluate(chunks)
    assert len(again) > 20
    assert max(again) == 0
