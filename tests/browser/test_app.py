"""A visitor's way through the real page: example, upload, heatmap, map, mistakes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

WAIT_MS = 60_000


@pytest.fixture
def app(page: Page, demo_url: str) -> Page:
    """The page, once the example that it opens with has been painted."""
    page.set_default_timeout(WAIT_MS)
    page.goto(demo_url)
    ready(page)
    return page


def ready(page: Page) -> None:
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def upload(page: Page, tab: str, path) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    page.get_by_role("tabpanel").filter(visible=True).first.locator("input[type=file]").first.set_input_files(path)


def done(page: Page) -> None:
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(page)


def test_the_first_paint_is_a_finished_example(app: Page, console_errors, left_localhost):
    expect(app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first).to_be_visible()
    expect(app.get_by_text("This is an example.")).to_be_visible()
    assert not left_localhost
    assert not console_errors


def test_a_video_gives_shape_heatmap_and_a_place_on_the_map(app: Page, video, console_errors, left_localhost):
    upload(app, "Video", video)
    done(app)
    expect(app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first).to_be_visible()
    expect(app.get_by_text(re.compile(r"8 time steps × 16 × 16 patches × 192 channels")).first).to_be_visible()
    scores = app.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("patchquery", (event) => resolve([...event.detail.scores]), { once: true });
            const frame = document.querySelector('[aria-label="Patch viewer"] canvas');
            const box = frame.getBoundingClientRect();
            const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
            frame.dispatchEvent(new PointerEvent("pointermove", at));
        })"""
    )
    assert len(scores) == 2048
    assert max(scores) == pytest.approx(1.0, abs=0.01)
    assert not left_localhost
    assert not console_errors


def test_an_image_is_repeated_and_placed(app: Page, photo, console_errors, left_localhost):
    upload(app, "Image", photo)
    done(app)
    expect(app.get_by_text(re.compile("one image, repeated")).first).to_be_visible()
    assert not left_localhost
    assert not console_errors


def test_the_map_compares_what_clips_show_or_how_they_move(app: Page, video, photo, console_errors, left_localhost):
    space = app.get_by_label("Reference map", exact=True)

    def nearest() -> list[str]:
        return space.get_by_label("Nearest references").get_by_role("button").all_inner_texts()

    upload(app, "Video", video)
    done(app)
    expect(space.get_by_text("compared by how they move")).to_be_visible()
    by_motion = nearest()
    app.get_by_role("radio", name="what they show").check()
    expect(app.get_by_text("Clips are compared by what they show.")).to_be_visible(timeout=WAIT_MS)
    ready(app)
    expect(space.get_by_text("Clips are compared by what they show:")).to_be_visible()
    assert nearest() != by_motion
    app.get_by_role("radio", name="as suits").check()
    expect(app.get_by_text("Clips are compared by how they move.", exact=True)).to_be_visible(timeout=WAIT_MS)
    ready(app)
    assert nearest() == by_motion
    upload(app, "Image", photo)
    done(app)
    expect(space.get_by_text("Clips are compared by what they show:")).to_be_visible()
    assert not left_localhost
    assert not console_errors


def test_an_example_can_be_clicked(app: Page, console_errors):
    app.locator(".examples").get_by_role("button").nth(1).click()
    done(app)
    assert not console_errors


def test_a_mistake_is_told_and_the_last_result_stays(app: Page, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    before = app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first.inner_text()
    upload(app, "Video", text)
    expect(app.get_by_role("alert").filter(has_text="neither a video nor an image")).to_be_visible(timeout=WAIT_MS)
    assert app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first.inner_text() == before
    ready(app)


def test_a_huge_image_is_refused_before_it_is_decoded(app: Page, huge_png):
    upload(app, "Image", huge_png)
    expect(app.get_by_role("alert").filter(has_text="scale it down")).to_be_visible(timeout=WAIT_MS)
    ready(app)


def test_an_unreachable_hub_is_told(app: Page, video):
    upload(app, "Video", video)
    done(app)
    app.get_by_label("Checkpoint").click()
    app.get_by_role("option", name=re.compile("ViT-L · 1024")).click()
    app.get_by_role("button", name="Embed").click()
    expect(app.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible(timeout=WAIT_MS)
    ready(app)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_off_the_side(page: Page, demo_url: str, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(demo_url)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
