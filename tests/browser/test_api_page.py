"""The page that describes the API opens by its address, and shows what programs and agents need."""

from __future__ import annotations

from playwright.sync_api import Page, expect

WAIT_MS = 60_000
MISSING = "the server responded with a status of 404"  # what Gradio asks for to show figures that are not kept here


def test_the_api_page_opens_at_its_address_and_tells_agents_and_programs_how(
    page: Page, demo_url, console_errors, left_localhost
):
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{demo_url}/?view=api")
    docs = page.locator(".api-docs")
    expect(docs).to_contain_text("7 Available MCP Tools", timeout=WAIT_MS)
    expect(docs).to_contain_text(f"{demo_url}/gradio_api/mcp/")
    docs.get_by_text("Python", exact=True).click()
    expect(docs).to_contain_text("examples/v-jepa-2-explorer/dominoes.mp4", timeout=WAIT_MS)
    expect(docs).to_contain_text("how many frames, an even number")
    expect(docs).to_contain_text("cosines from -1 to 1")
    assert page.url.startswith(f"{demo_url}/?view=api")
    docs.locator(".backdrop").click(position={"x": 5, "y": 5})
    expect(docs).to_have_count(0)
    expect(page.get_by_label("Patch viewer", exact=True)).to_be_visible(timeout=WAIT_MS)
    assert not [error for error in console_errors if MISSING not in error]
    assert not left_localhost
