"""One Chromium for the browser tests, which never leaves localhost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from browser.viewer_page import large, open_viewer, viewer, viewer_url  # noqa: F401 - fixtures of the patch viewer's tests
from first_load import WAIT_MS, ready
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
LOCAL = ("localhost", "127.0.0.1")
expect.set_options(timeout=WAIT_MS)  # what is to come may take long on a machine that has other work


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, for which there are no other hosts; `CHROMIUM` in the environment names another one."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: run `make test`, or install it (apt-get install chromium)."
    rules = ", ".join(["MAP * ~NOTFOUND", *(f"EXCLUDE {host}" for host in LOCAL)])
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=[
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-fake-device-for-media-stream"),
                f"--host-resolver-rules={rules}",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A context that keeps the scripts of the pages, compiled: from the second page on they come in half the time."""
    context = browser.new_context(viewport=VIEWPORT)
    context.new_page()  # with its last page the window would go
    yield context
    context.close()


@pytest.fixture
def console_errors() -> list[str]:
    """Errors written to the console, and exceptions nobody caught, of all pages of this test."""
    return []


@pytest.fixture
def left_localhost() -> list[str]:
    """Addresses on other hosts that a page of this test asked for; for the browser there are none."""
    return []


@pytest.fixture
def listen(console_errors: list[str], left_localhost: list[str]) -> Callable[[Page], Page]:
    """A function that has a page's errors, and its requests to other hosts, noted."""

    def guard(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname not in LOCAL:
            left_localhost.append(request.url)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            console_errors.append(message.text)

    def listen(page: Page) -> Page:
        page.on("request", guard)
        page.on("console", note)
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        return page

    return listen


@pytest.fixture
def open_page(browser: Browser, listen: Callable[[Page], Page]) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a fresh context, as a first visitor's; its arguments are those of
    `Browser.new_context`."""
    contexts = []

    def opened(**options) -> Page:
        contexts.append(browser.new_context(**{"viewport": VIEWPORT, **options}))
        return listen(contexts[-1].new_page())

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def page(window: BrowserContext, listen: Callable[[Page], Page]) -> Iterator[Page]:
    """A page, 1280 × 900, of a browser that has been here before, but knows nothing of it."""
    page = listen(window.new_page())
    visited: set[str] = set()
    page.on("framenavigated", lambda frame: visited.add("{0.scheme}://{0.netloc}".format(urlsplit(frame.url))))
    yield page
    window.set_offline(False)
    window.clear_cookies()
    session = window.new_cdp_session(page)
    for origin in visited:
        if origin.startswith("http"):
            session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    page.close()


@pytest.fixture
def app(page: Page, demo_url: str) -> Page:
    """The page, once the example that it opens with has been painted."""
    page.set_default_timeout(WAIT_MS)
    page.goto(demo_url)
    ready(page)
    return page
