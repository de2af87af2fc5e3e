"""The stage in Chromium: what a speaker has with a projector, a clicker and no network."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from demo import demo_process
from playwright.sync_api import Browser, Locator, Page, expect

from vjepa_demo.ui.stage.scenes import SHIPPED, read

WAIT_MS = 60_000
SCENES = read(SHIPPED)
SIZES = [(1280, 720), (1920, 1080)]
LEAST_TYPE, LEAST_PICTURE = 28, 0.58

# What canvases are asked to write, in pixels of the page.
WRITTEN = """
window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
    const across = this.canvas.getBoundingClientRect().width / this.canvas.width || 0;
    window.written.push(parseFloat(this.font) * this.getTransform().a * across);
    return write.call(this, text, ...rest);
};
window.told = [];
document.addEventListener("talkchange", ({ detail }) => window.told.push(detail));
document.addEventListener("statechange", ({ detail }) => { window.state = JSON.stringify(detail); });
"""
# All text that is seen, with the size of its type.
TEXTS = """() => {
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const { parentElement: node, textContent: text } = walker.currentNode;
        const box = node.getBoundingClientRect(), style = getComputedStyle(node);
        if (!text.trim() || !node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
        if (box.width < 2 || box.height < 2 || box.right < 0 || box.left > innerWidth) continue;
        if (box.bottom < 0 || box.top > innerHeight) continue;
        found.push([text, parseFloat(style.fontSize)]);
    }
    return found;
}"""
SHARE = """() => [...document.querySelectorAll(".pv-matte")].filter((node) => node.offsetWidth)
    .map((node) => node.getBoundingClientRect())
    .reduce((sum, box) => sum + box.width * box.height, 0) / innerWidth / innerHeight"""
ASKED = """() => {
    window.asked = [];
    document.addEventListener("patchquery", ({ detail }) => window.asked.push([detail.row, detail.col]));
}"""
# Only what is asked of the scene that the next key leads to: one before it may be on its way still.
ASKED_BY_KEY = """() => {
    const forget = () => { window.asked = []; };
    forget();
    window.addEventListener("keydown", forget, { capture: true, once: true });
    document.addEventListener("patchquery", ({ target, detail }) => {
        if (!target.hasAttribute("aria-busy")) window.asked.push([detail.row, detail.col]);
    });
}"""
PIXELS = """() => [...document.querySelectorAll(".pv-stage canvas")].filter((node) => node.checkVisibility())
    .map((node) => node.toDataURL()).join()"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """The app as `make talk` starts it: its address and its process."""
    with demo_process(tmp_path_factory.mktemp("talk"), "--talk") as found:
        yield found


class Talk:
    """The stage as a speaker meets it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(WRITTEN)
        page.goto(address)

    @property
    def root(self) -> Locator:
        return self.page.locator(".st-root")

    @property
    def viewer(self) -> Locator:
        return self.page.locator(".pv-root")

    def ready(self) -> Talk:
        expect(self.root).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
        return self

    def press(self, *keys: str) -> Talk:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def go(self, key: str, number: int) -> str:
        """Go to a scene by a key; returns the picture's pixels, once they stand."""
        self.page.evaluate(ASKED_BY_KEY)
        self.press(key)
        self.shows(number)
        self.page.wait_for_function("window.asked.length")
        return self.page.evaluate(PIXELS)

    def shows(self, number: int) -> None:
        expect(self.root.locator(".st-caption")).to_have_text(SCENES[number - 1].caption)

    def send(self, **detail: Any) -> None:
        self.page.evaluate("(detail) => document.dispatchEvent(new CustomEvent('showtalk', { detail }))", detail)

    def texts(self) -> dict[str, float]:
        return dict(self.page.evaluate(TEXTS))


@pytest.fixture(scope="module")
def opened(browser: Browser, app: tuple[str, Any]) -> Iterator[Talk]:
    """One page with all scenes, for the tests that leave it as it can be left."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    yield Talk(context.new_page(), f"{app[0]}/?talk=1").ready()
    context.close()


@pytest.fixture
def talk(opened: Talk) -> Talk:
    """The stage, opened anew at its first scene."""
    opened.send(on=False, scene=None)
    opened.page.mouse.move(1, 1)
    opened.page.evaluate("window.told = []; window.asked = []")
    opened.send(on=True, scene=1)
    opened.shows(1)
    return opened


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_scene_is_seen_from_ten_metres(open_page, app, size, console_errors, left_localhost):
    page = open_page(viewport={"width": size[0], "height": size[1]})
    talk = Talk(page, f"{app[0]}/?talk=1").ready()
    page.evaluate("window.written = []")
    for number in range(1, len(SCENES) + 1):
        talk.go(str(number), number)
        for over in ("", "m") if number in (1, len(SCENES)) else ("",):
            if over:
                talk.press("m")
                expect(page.locator(".rm-root")).to_have_attribute("data-state", "ready")
                page.wait_for_timeout(300)
            else:
                assert page.evaluate(SHARE) >= LEAST_PICTURE
            texts = talk.texts()
            assert SCENES[number - 1].caption in texts
            small = {text: px for text, px in texts.items() if px < LEAST_TYPE}
            assert not small, f"scene {number} {over}: {small}"
        talk.page.evaluate("delete document.body.dataset.over")
    assert not [px for px in page.evaluate("window.written") if px < LEAST_TYPE]
    assert not console_errors
    assert not left_localhost


def test_a_wide_clip_fills_the_screen_and_its_steps_lie_below_it(open_page, tmp_path, make_video, app):
    """Of a clip of 16:9 the picture itself has 58 %, and no step is cut off."""
    page = open_page(viewport={"width": 1280, "height": 720})
    Talk(page, f"{app[0]}").page.get_by_label("Video or image").set_input_files(
        make_video("moving.mp4", source="testsrc2=s=320x180:r=24:d=2", frames=48)
    )
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    page.evaluate("document.body.classList.add('talk')")
    page.wait_for_timeout(300)
    box = page.locator(".pv-stage").first.bounding_box()
    assert box["width"] * box["height"] / (1280 * 720) >= LEAST_PICTURE
    cells = [cell.bounding_box() for cell in page.locator(".pv-cells button").all()]
    assert len(cells) == 8
    assert all(149 <= cell["width"] <= 155 and cell["y"] + cell["height"] <= 720 for cell in cells)


def test_digits_and_the_clicker_lead_from_scene_to_scene(talk: Talk):
    pictures = [talk.go(str(number), number) for number in range(1, len(SCENES) + 1)]
    assert len(set(pictures)) == len(SCENES)
    talk.go("PageUp", len(SCENES) - 1)
    talk.go("1", 1)
    for number in range(2, len(SCENES) + 1):
        assert talk.go("PageDown", number) == pictures[number - 1]
    talk.press("PageDown")
    talk.shows(len(SCENES))
    told = talk.page.evaluate("window.told")
    assert told[0] == {"on": True, "scene": 1}
    assert told[-1] == {"on": True, "scene": len(SCENES)}


def test_the_address_names_a_scene_and_back_leads_through_them(open_page, app):
    talk = Talk(open_page(), f"{app[0]}/?talk=1&scene=3").ready()
    talk.shows(3)
    talk.press("2")
    talk.shows(2)
    assert "scene=2" in talk.page.url
    talk.page.go_back()
    talk.shows(3)
    talk.page.go_forward()
    talk.shows(2)
    talk.press("Escape")
    expect(talk.root).to_be_hidden()
    assert talk.page.evaluate("window.told.at(-1)") == {"on": False, "scene": None}
    assert "talk" not in talk.page.url
    talk.page.go_back()
    talk.shows(2)


def pinned(open_page, app) -> tuple[Page, Talk, Locator]:
    """The page with a patch that was clicked, the stage that is not open yet, and the viewer."""
    page = open_page(viewport={"width": 1280, "height": 720})
    talk = Talk(page, app[0])
    viewer = page.get_by_label("Patch viewer", exact=True)
    expect(viewer).to_have_attribute("data-state", "ready")
    viewer.get_by_role("application").first.click(position={"x": 150, "y": 200})
    return page, talk, viewer


def test_back_out_of_a_talk_leads_to_what_the_address_says(open_page, app):
    """Also where that is not what the page showed last."""
    page, talk, viewer = pinned(open_page, app)
    page.wait_for_function("location.search.includes('patches')")
    talk.press("t").ready()
    talk.go("4", 4)
    length = page.evaluate("history.length")
    page.evaluate("history.go(-3)")
    expect(talk.root).to_be_hidden()
    page.wait_for_timeout(1000)  # the viewer has told its state
    expect(viewer.get_by_role("figure").first).to_have_attribute("aria-label", "dominoes.mp4")
    expect(viewer).to_have_attribute("data-pinned", "false")
    assert page.evaluate("[location.search, history.length]") == ["", length]


def test_colours_heat_layer_and_second_clip_come_and_go(talk: Talk):
    page, shown = talk.page, lambda: talk.page.evaluate(PIXELS)

    def changed(key: str, before: str) -> str:
        talk.press(key)
        page.wait_for_function(f"(before) => ({PIXELS})() !== before", arg=before)
        page.wait_for_timeout(150)
        return shown()

    first = talk.go("1", 1)
    colours = changed("p", first)
    assert talk.viewer.locator(".pv-legend").get_attribute("data-map") == "pca"
    assert changed("p", colours) == first
    plain = changed("h", first)
    assert changed("h", plain) == first
    lower = changed("l", first)
    expect(talk.root.locator(".st-note")).to_have_text("Layer 6 of 12")
    assert changed("l", lower) == first
    expect(talk.root.locator(".st-note")).to_have_text("Layer 12 of 12")
    talk.press("c")
    expect(talk.root.get_by_text("This scene has one clip.")).to_be_visible()
    both = next(number for number, scene in enumerate(SCENES, 1) if scene.second)
    talk.go(str(both), both)
    expect(page.locator(".pv-stage:visible")).to_have_count(2)
    talk.press("c")
    expect(page.locator(".pv-stage:visible")).to_have_count(1)
    talk.press("C")
    expect(page.locator(".pv-stage:visible")).to_have_count(2)


def test_space_plays_and_does_not_scroll(talk: Talk):
    talk.go("1", 1)
    talk.press("Space")
    expect(talk.viewer).to_have_attribute("data-playing", "true")
    before = talk.page.evaluate(PIXELS)
    talk.page.wait_for_function(f"(before) => ({PIXELS})() !== before", arg=before)
    talk.press("Space")
    expect(talk.viewer).to_have_attribute("data-playing", "false")
    assert talk.page.evaluate("scrollY") == 0


def test_escape_closes_what_lies_over_the_picture_then_the_stage(talk: Talk):
    page = talk.page
    talk.press("m")
    expect(page.locator(".rm-neighbours")).to_be_visible()
    expect(page.locator(".rm-names")).to_be_visible()
    talk.press("?")
    expect(talk.root.get_by_text("second clip")).to_be_visible()
    assert min(talk.texts().values()) >= LEAST_TYPE
    last = talk.root.locator(".st-help dd").last.bounding_box()
    assert last["y"] + last["height"] <= 720, "the help is one screen"
    talk.press("b")
    expect(talk.root.locator(".st-black")).to_be_visible()
    for part in (".st-black", ".st-help", ".rm-neighbours"):
        expect(page.locator(part)).to_be_visible()
        talk.press("Escape")
        expect(page.locator(part)).to_be_hidden()
    talk.shows(1)
    talk.press("Escape")
    expect(talk.root).to_be_hidden()
    expect(page.get_by_role("heading", name="V-JEPA 2 Explorer")).to_be_visible()
    expect(page.locator(".pv-root").get_by_role("figure").first).to_have_attribute("aria-label", "dominoes.mp4")


def test_the_page_comes_back_as_it_was(open_page, app):
    page, talk, viewer = pinned(open_page, app)
    expect(viewer).to_have_attribute("data-pinned", "true")
    page.wait_for_function("JSON.parse(window.state ?? '{}').patches?.length")
    before, address = page.evaluate("window.state"), page.evaluate("location.search")
    talk.press("t").ready()
    talk.go("4", 4)
    talk.press("m", "Escape", "Escape")
    expect(talk.root).to_be_hidden()
    expect(viewer).to_have_attribute("data-pinned", "true")
    page.wait_for_function("(before) => window.state === before", arg=before)
    assert page.evaluate("location.search") == address
    space = page.get_by_label("Reference map", exact=True)
    expect(space).to_have_attribute("data-state", "ready")
    assert "dominoes" in space.locator(".rm-vote").inner_text()


def test_t_is_a_letter_where_one_types_and_a_button_opens_the_stage_too(open_page, app):
    page = open_page(viewport={"width": 1280, "height": 720})
    talk = Talk(page, app[0])
    expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "ready")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("From (s), then Enter").press("t")
    page.locator(".page-checkpoint input").press("t")
    expect(talk.root).to_be_hidden()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Stage (T): for a projector").click()
    talk.ready()
    talk.shows(1)


def test_tab_reaches_nothing_that_is_hidden(talk: Talk):
    at = "document.activeElement"
    seen = (
        f"{at}.matches('body') || ({at}.matches('.pv-root *') && {at}.checkVisibility({{ visibilityProperty: true }}))"
    )
    # Gradio lets buttons go in a fifth of a second.
    talk.page.wait_for_function("getComputedStyle(document.querySelector('.in-open')).visibility === 'hidden'")
    for _ in range(14):
        talk.press("Tab")
        assert talk.page.evaluate(seen), talk.page.evaluate(f"{at}.outerHTML.slice(0, 300)")


def test_the_heat_follows_the_pointer_which_hides_when_it_rests(talk: Talk):
    talk.go("2", 2)
    box = talk.viewer.get_by_role("application").first.bounding_box()
    talk.page.evaluate(ASKED)
    for row, col in ((2, 3), (12, 4)):
        talk.page.mouse.move(box["x"] + (col + 0.5) / 16 * box["width"], box["y"] + (row + 0.5) / 16 * box["height"])
        talk.page.wait_for_function("([row, col]) => String(window.asked.at(-1)) === `${row},${col}`", arg=[row, col])
    assert talk.page.evaluate("getComputedStyle(document.querySelector('.pv-stage')).cursor") == "crosshair"
    talk.page.wait_for_function("getComputedStyle(document.querySelector('.pv-stage')).cursor === 'none'", timeout=5000)


def test_the_first_key_fills_the_screen_and_f_goes_back(open_page, app, console_errors):
    talk = Talk(open_page(viewport={"width": 1280, "height": 720}), f"{app[0]}/?talk=1").ready()
    full = "Boolean(document.fullscreenElement)"
    talk.press("2")
    talk.page.wait_for_function(full)
    talk.press("f")
    talk.page.wait_for_function(f"!{full}")
    talk.press("3")
    talk.page.wait_for_timeout(300)
    assert not talk.page.evaluate(full), "what the speaker has left stays left"
    talk.press("f")
    talk.page.wait_for_function(full)
    talk.press("Escape")
    talk.page.wait_for_function(f"!{full}")
    assert not console_errors


def test_scenes_are_made_when_somebody_first_opens_the_stage(page: Page, demo_url: str, console_errors):
    talk = Talk(page, demo_url)
    expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "ready")
    talk.press("t")
    expect(talk.root.get_by_text(re.compile(r"\d of 8 scenes")).first).to_be_visible()
    talk.ready()
    talk.go("2", 2)
    assert not console_errors


def walk(talk: Talk) -> None:
    """Through all that a talk may show. Nothing of what went wrong beside it is to be seen."""
    pictures = []
    for number in range(1, len(SCENES) + 1):
        pictures.append(talk.go(str(number), number))
        talk.press("l")
        talk.page.wait_for_timeout(200)
        talk.press("m")
        expect(talk.page.locator(".rm-root")).to_have_attribute("data-state", "ready")
        expect(talk.page.locator(".rm-thumb:visible")).to_have_count(4)
        talk.page.wait_for_function(
            "[...document.querySelectorAll('.rm-thumb')].slice(0, 4).every(({ naturalWidth }) => naturalWidth)"
        )
        wrong = [text for text in talk.texts() if re.search("onnection|rror|could not|reload", text)]
        assert not wrong
        talk.press("Escape")
    assert len(set(pictures)) == len(SCENES)


def test_a_talk_needs_no_network(talk: Talk):
    talk.page.context.set_offline(True)
    walk(talk)


def test_a_talk_goes_on_without_its_server(talk: Talk, app: tuple[str, Any]):
    """The last test of this file: it ends the app."""
    talk.go("2", 2)
    app[1].send_signal(signal.SIGKILL)
    app[1].wait()
    walk(talk)
    said = talk.page.get_by_text("Connection to the server was lost")  # by Gradio, where the stage hides it
    expect(said).to_have_count(1)
    expect(said).to_be_hidden()
