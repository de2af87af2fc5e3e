"""One Chromium for the browser tests, which never leaves localhost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from browser.viewer_page import large, open_viewer, viewer, viewer_url  # noqa: F401 - fixtures of the patch viewer's tests
from first_load import WAIT_MS, ready
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

LOCAL = {"localhost", "127.0.0.1", "::1"}
expect.set_options(timeout=WAIT_MS)  # what is to come may take long on a machine that has other work


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; `CHROMIUM` in the environment names another one."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: run `make test`, or install it (apt-get install chromium)."
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-fake-device-for-media-stream"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def console_errors() -> list[str]:
    """Errors written to the console, and exceptions nobody caught, of all pages of this test."""
    return []


@pytest.fixture
def left_localhost() -> list[str]:
    """Addresses on other hosts that a page of this test asked for; the requests were aborted."""
    return []


@pytest.fixture
def open_page(browser: Browser, console_errors: list[str], left_localhost: list[str]) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a fresh context; its arguments are those of `Browser.new_context`."""
    contexts = []

    def guard(route: Route) -> None:
        if urlsplit(route.request.url).hostname in LOCAL:
            route.continue_()
        else:
            left_localhost.append(route.request.url)
            route.abort()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            console_errors.append(message.text)

    def opened(**options) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", guard)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """A page in a fresh context, 1280 × 900."""
    return open_page()


@pytest.fixture
def app(page: Page, demo_url: str) -> Page:
    """The page, once the example that it opens with has been painted."""
    page.set_default_timeout(WAIT_MS)
    page.goto(demo_url)
    ready(page)
    return page
