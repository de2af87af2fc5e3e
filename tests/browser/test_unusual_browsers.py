"""The page where a browser is not as usual: in another language, translated by it, in a frame that may do little, or
with its history kept from the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from demo import running_demo
from playwright.sync_api import FrameLocator, Page, expect

WAIT_MS = 90_000
NO_HISTORY = """for (const name of ["pushState", "replaceState"])
  history[name] = () => { throw new DOMException("kept from the page", "SecurityError"); };"""
# As Chromium's own translation does it: each text goes into elements of its making, and the language changes.
TRANSLATE = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
  const shown = (text) => text.data.trim() && !text.parentElement.closest("script, style");
  while (walker.nextNode()) if (shown(walker.currentNode)) texts.push(walker.currentNode);
  for (const text of texts) {
    const [outer, inner] = [document.createElement("font"), document.createElement("font")];
    inner.textContent = `»${text.data}«`;
    outer.append(inner);
    text.replaceWith(outer);
  }
  document.documentElement.lang = "de";
}"""


def ready(page: Page | FrameLocator) -> None:
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def embed(page: Page | FrameLocator, video: Path) -> None:
    page.get_by_label("Video or image").set_input_files(str(video))
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(page)


def test_a_decimal_comma_is_one_where_the_browser_speaks_english(
    page: Page, demo_url: str, video: Path, console_errors
):
    page.goto(demo_url)
    ready(page)
    embed(page, video)
    field = page.get_by_label("From (s), then Enter")
    if not field.is_visible():
        page.get_by_role("button", name="Settings").click()
    field.click()
    field.press("Control+a")
    page.keyboard.type("0,5")
    assert field.evaluate("(input) => input.valueAsNumber") == 0.5
    field.press("Enter")
    start = page.get_by_label("Start of the span").first
    expect(start).to_have_attribute("aria-valuenow", "0.50", timeout=WAIT_MS)
    assert not console_errors


def test_an_address_that_cannot_be_written_ends_nothing(page: Page, demo_url: str, video: Path, console_errors):
    page.add_init_script(NO_HISTORY)
    page.goto(demo_url)
    ready(page)
    embed(page, video)
    page.get_by_role("group", name="Examples").get_by_role("button").nth(1).click()
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(page)
    assert not console_errors


def test_a_page_that_the_browser_translates_goes_on(page: Page, demo_url: str, video: Path, console_errors):
    page.goto(demo_url)
    ready(page)
    page.evaluate(TRANSLATE)
    page.locator("input[type=file]").first.set_input_files(str(video))
    expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(page.get_by_text(re.compile("8 time steps × 16 × 28 patches")).first).to_be_visible(timeout=WAIT_MS)
    assert not console_errors


@pytest.fixture
def framed(tmp_path: Path) -> Iterator[str]:
    """The address of a page that has the app in a frame, which may run scripts and be who it is, and nothing else."""
    parent = tmp_path / "parent"
    parent.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(parent)))
    address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    with running_demo(tmp_path, VJEPA_DEMO_FRAME_ANCESTORS=address) as app:
        (parent / "index.html").write_text(
            f'<iframe src="{app}" sandbox="allow-scripts allow-same-origin" width="1200" height="850"></iframe>'
        )
        yield address
    server.shutdown()
    server.server_close()


def test_in_a_frame_that_may_do_little(page: Page, framed: str, video: Path, console_errors):
    page.goto(framed)
    frame = page.frame_locator("iframe")
    ready(frame)
    embed(frame, video)
    frame.locator(".theme-switch").click()
    assert not [error for error in console_errors if "favicon" not in error and "404" not in error]
