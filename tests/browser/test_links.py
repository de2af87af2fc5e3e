"""What is shown is in the address, and an address shows it again: in another browser, after Back, after a reload."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from demo import demo_process
from playwright.sync_api import Browser, Page, expect

WAIT_MS = 60_000
TOLD = "window.told = null; document.addEventListener('statechange', ({ detail }) => { window.told = detail; });"
LINK = (
    "?clip=walk&fit=squash&frames=32&sampling=fps&from=0.5&to=2.5&layer=3&by=mean&label=rope&map=colours&step=4"
    "&patches=3.5.7_-2.1.4&heat=0.8&outline=0.25&raw=1&smooth=1&borders=1"
)


def ready(page: Page) -> None:
    expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def opened(page: Page, address: str) -> Page:
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(TOLD)
    page.goto(address)
    ready(page)
    return page


def said(page: Page) -> dict[str, str]:
    """What the address says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def says(page: Page, **parts: str | None) -> None:
    """Wait until the address says this of these parts; None: nothing."""
    try:
        page.wait_for_function(
            """(parts) => Object.entries(parts).every(([name, value]) =>
                new URLSearchParams(location.search).get(name) === value)""",
            arg=parts,
            timeout=15_000,
        )
    except Exception:
        pytest.fail(f"the address says {said(page)}, not {parts}")


def name_shown(page: Page, name: str) -> None:
    expect(page.locator(".pv-name").first).to_have_text(name, timeout=WAIT_MS)


def point(page: Page, x: float, y: float) -> None:
    """Click on the picture, at shares of its size."""
    stage = page.locator(".pv-stage").first
    box = stage.bounding_box()
    stage.click(position={"x": box["width"] * x, "y": box["height"] * y})


@pytest.fixture(scope="module")
def restored(browser: Browser, demo_url: str) -> Iterator[Page]:
    """A second browser in which a link was opened that says something of every part."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = opened(context.new_page(), f"{demo_url}/{LINK}")
    name_shown(page, "walk.mp4")
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_label("Reference map", exact=True)).to_have_attribute(
        "data-state", re.compile("ready|filling|empty"), timeout=WAIT_MS
    )
    page.wait_for_function("window.told !== null && window.told.patches.length === 2")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Layer, second clip").click()
    yield page
    context.close()


def radio(page: Page, option: str) -> None:
    expect(page.get_by_role("radio", name=option, exact=True).first).to_be_checked()


PARTS: dict[str, Callable[[Page], Any]] = {
    "clip": lambda page: name_shown(page, "walk.mp4"),
    "fit": lambda page: expect(page.locator(".summary").first).to_contain_text("squash"),
    "the control of the fit": lambda page: radio(page, "squash"),
    "frames": lambda page: expect(page.locator(".summary").first).to_contain_text("16 time steps"),
    "the control of the frames": lambda page: radio(page, "32"),
    "sampling": lambda page: radio(page, "4 per second"),
    "span": lambda page: expect(page.get_by_label("Start of the span").first).to_have_attribute(
        "aria-valuenow", "0.50"
    ),
    "the controls of the span": lambda page: expect(page.get_by_label("From (s), then Enter")).to_have_value("0.5"),
    "layer": lambda page: expect(page.get_by_label(re.compile("number input for Layer"))).to_have_value("3"),
    "by": lambda page: radio(page, "Appearance"),
    "label": lambda page: expect(page.locator(".rm-on-map[aria-pressed=true]")).to_contain_text("rope"),
    "map": lambda page: radio(page, "Colours"),
    "step": lambda page: expect(page.locator(".pv-cells [aria-current=true]")).to_have_attribute(
        "aria-label", re.compile("Step 4,")
    ),
}
STATE = {
    "patches": [{"clip": 0, "at": [3, 5, 7], "sign": 1}, {"clip": 0, "at": [2, 1, 4], "sign": -1}],
    "step": 4,
    "map": "pca",
    "heat": 0.8,
    "threshold": 0.25,
    "centred": False,
    "smooth": True,
    "borders": True,
}


@pytest.mark.parametrize("part", PARTS)
def test_a_link_restores(restored: Page, part: str) -> None:
    PARTS[part](restored)


@pytest.mark.parametrize("part", STATE)
def test_a_link_restores_of_the_viewer(restored: Page, part: str) -> None:
    assert restored.evaluate("window.told")[part] == STATE[part]


def test_a_link_that_was_followed_says_the_same(restored: Page) -> None:
    asked = {name: values[0] for name, values in parse_qs(LINK[1:]).items()}
    assert said(restored) == asked


def test_back_and_forward(page: Page, demo_url: str, console_errors: list[str]) -> None:
    opened(page, demo_url)
    assert said(page) == {}
    point(page, 0.4, 0.6)
    page.wait_for_function("location.search.includes('patches')")
    first = said(page)["patches"]
    page.get_by_role("radio", name="Colours").click()
    says(page, map="colours")
    page.get_by_role("group", name="Examples").get_by_role("button", name="cloth").click()
    name_shown(page, "cloth.mp4")
    says(page, clip="cloth", patches=None)
    page.get_by_role("radio", name="Appearance").click()
    says(page, clip="cloth", by="mean")

    page.go_back()
    says(page, clip="cloth", by=None)
    expect(page.get_by_role("radio", name="Auto")).to_be_checked()
    page.go_back()
    name_shown(page, "dominoes.mp4")
    says(page, clip=None, patches=first)
    page.wait_for_function("document.querySelector('.pv-root').dataset.pinned === 'true'")
    page.go_back()
    page.wait_for_function("document.querySelector('.pv-root').dataset.pinned === 'false'")
    says(page, patches=None)
    page.go_forward()
    page.wait_for_function("document.querySelector('.pv-root').dataset.pinned === 'true'")
    page.go_forward()
    name_shown(page, "cloth.mp4")
    page.go_forward()
    expect(page.get_by_role("radio", name="Appearance")).to_be_checked()
    says(page, clip="cloth", by="mean")
    assert not console_errors


# Two steps through the history, the second before the server has answered the first.
QUICKLY = """([first, second]) => new Promise((done) => {
    addEventListener("popstate", () => {
        addEventListener("popstate", done, { once: true });
        history.go(second);
    }, { once: true });
    history.go(first);
})"""


@pytest.mark.parametrize(("steps", "name"), [((-1, 1), "walk.mp4"), ((-1, -1), "dominoes.mp4")], ids=str)
def test_of_two_quick_steps_the_last_one_is_shown(
    page: Page, demo_url: str, steps: tuple[int, int], name: str, console_errors: list[str]
) -> None:
    opened(page, demo_url)
    for clip in ("cloth", "walk"):
        page.get_by_role("group", name="Examples").get_by_role("button", name=clip).click()
        name_shown(page, f"{clip}.mp4")
        says(page, clip=clip)
    length = page.evaluate("history.length")
    page.evaluate(QUICKLY, list(steps))
    page.wait_for_timeout(4000)  # whatever may still come has come
    name_shown(page, name)
    says(page, clip=None if name == "dominoes.mp4" else "walk")
    assert page.evaluate("history.length") == length, "no step is added to those that were there"
    assert not console_errors


def test_what_does_not_fit_the_clip_goes_from_the_address_without_a_step(page: Page, demo_url: str) -> None:
    page.add_init_script("window.began ??= history.length")
    opened(page, f"{demo_url}/?clip=cloth&patches=99.99.99")
    says(page, clip="cloth", patches=None)
    assert page.evaluate("history.length === window.began"), "Back leads away, not here again"


def test_a_label_that_is_shown_alone_stays_when_clips_are_compared_in_another_way(page: Page, demo_url: str) -> None:
    opened(page, demo_url)
    expect(page.get_by_label("Reference map", exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    alone = page.locator(".rm-on-map[aria-pressed=true]")
    page.locator(".rm-on-map", has_text="rope").click()
    expect(alone).to_contain_text("rope")
    says(page, label="rope")
    page.get_by_role("radio", name="Appearance").click()
    expect(page.locator(".rm-way")).to_have_text("by appearance")
    expect(alone).to_contain_text("rope")
    says(page, label="rope", by="mean")


def test_a_reload_brings_the_own_clip_back(page: Page, demo_url: str, video: Any) -> None:
    opened(page, demo_url)
    page.get_by_label("Video or image").set_input_files(video)
    name_shown(page, video.name)
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    says(page, clip="own")
    assert video.stem not in page.url, "an address does not tell what somebody's file is called"
    point(page, 0.5, 0.5)
    page.wait_for_function("location.search.includes('patches')")
    pinned = said(page)["patches"]
    page.reload()
    name_shown(page, video.name)
    says(page, clip="own", patches=pinned)
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("radio", name="pad", exact=True).click()  # its file is still known, too
    expect(page.locator(".summary").first).to_contain_text("pad")
    says(page, clip="own", fit="pad")


def test_in_another_browser_the_own_clip_is_not_shown(
    open_page: Callable[..., Page], demo_url: str, video: Any
) -> None:
    page = opened(open_page(), demo_url)
    page.get_by_label("Video or image").set_input_files(video)
    name_shown(page, video.name)
    says(page, clip="own")
    other = opened(open_page(), page.url)
    expect(other.get_by_text("open its file again")).to_be_visible()
    name_shown(other, "dominoes.mp4")
    assert said(other) == {}, "the address says what is shown"


def test_an_own_clip_that_a_new_server_does_not_have(
    open_page: Callable[..., Page], video: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = open_page()
    cache = tmp_path_factory.mktemp("restarted")
    with demo_process(cache) as (address, _):
        opened(page, address)
        page.get_by_label("Video or image").set_input_files(video)
        name_shown(page, video.name)
        says(page, clip="own")
        port = str(urlsplit(address).port)
    with demo_process(cache, VJEPA_DEMO_PORT=port):
        page.reload()
        expect(page.get_by_text("open its file again")).to_be_visible(timeout=WAIT_MS)
        name_shown(page, "dominoes.mp4")


@pytest.mark.parametrize(
    "query",
    [
        "?clip=../../etc/passwd&patches=a.b.c_9.9.9&step=999&heat=7&frames=17&map=xyz&layer=-3",
        "?clip=%00%ff<script>alert(1)</script>&label=<img src=x onerror=alert(1)>",
        "?checkpoint=somebody/theirs&clip=cloth",
        "?patches=" + "999.999.999_" * 400,
        "?clip=cloth&patches=99.99.99_-1.1.1&step=77&label=nothing",
    ],
    ids=["paths", "markup", "checkpoint", "long", "beyond the clip"],
)
def test_a_link_with_nonsense_is_harmless(page: Page, demo_url: str, query: str, console_errors: list[str]) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    opened(page, f"{demo_url}/{query}")
    expect(page.locator(".pv-name").first).to_have_text(re.compile("dominoes|cloth"))
    point(page, 0.5, 0.5)
    page.wait_for_function("document.querySelector('.pv-root').dataset.pinned === 'true'")
    says(page, heat=None, label=None)
    assert not console_errors


def test_share_copies_the_link(open_page: Callable[..., Page], demo_url: str) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    opened(page, f"{demo_url}/?clip=cloth&patches=0.5.5")
    name_shown(page, "cloth.mp4")
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_text("Link copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert said(page) == {"clip": "cloth", "patches": "0.5.5"}


def test_without_a_clipboard_the_address_is_told(page: Page, demo_url: str) -> None:
    opened(page, demo_url)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_text(f"Copy the address of this page: {demo_url}")).to_be_visible()
