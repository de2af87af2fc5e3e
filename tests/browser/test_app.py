"""A visitor's way through the real page: example, upload, heatmap, map, mistakes."""

from __future__ import annotations

import base64
import io
import itertools
import re

import numpy as np
import pytest
from first_load import HEARD, WAIT_MS, ready
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from vjepa_demo.views.loop import FORMATS, MOST_BYTES


def upload(page: Page, path) -> None:
    page.get_by_label("Video or image").set_input_files(path)


def done(page: Page) -> None:
    expect(page.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(page)


def test_the_first_paint_is_a_finished_example(app: Page, console_errors, left_localhost):
    expect(app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first).to_be_visible()
    expect(app.get_by_text("Point at any patch to see what is similar.")).to_be_visible()
    assert not left_localhost
    assert not console_errors


def test_a_page_whose_parts_cannot_be_loaded_says_so(page: Page, demo_url: str):
    page.route("**/widgets/**", lambda route: route.abort())
    page.goto(demo_url)
    expect(page.get_by_text("This part of the page could not be loaded").first).to_be_visible(timeout=WAIT_MS)


def test_a_video_gives_shape_heatmap_and_a_place_on_the_map(app: Page, video, console_errors, left_localhost):
    upload(app, video)
    done(app)
    expect(app.get_by_text(re.compile(r"\[1, 3584, 192\]")).first).to_be_visible()
    expect(app.get_by_text(re.compile(r"8 time steps × 16 × 28 patches × 192 channels")).first).to_be_visible()
    scores = app.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("patchquery", (event) => resolve([...event.detail.scores]), { once: true });
            const frame = document.querySelector('[aria-label="Patch viewer"] canvas');
            const box = frame.getBoundingClientRect();
            const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
            frame.dispatchEvent(new PointerEvent("pointermove", at));
        })"""
    )
    assert len(scores) == 3584
    assert max(scores) == pytest.approx(1.0, abs=0.01)
    assert not left_localhost
    assert not console_errors


def test_an_image_is_repeated_and_placed(app: Page, photo, console_errors, left_localhost):
    upload(app, photo)
    done(app)
    expect(app.get_by_text(re.compile("one image, repeated")).first).to_be_visible()
    assert not left_localhost
    assert not console_errors


def test_the_map_compares_what_clips_show_or_how_they_move(app: Page, video, photo, console_errors, left_localhost):
    space = app.get_by_label("Reference map", exact=True)

    def nearest() -> list[str]:
        return space.get_by_label("Nearest references").get_by_role("button").all_inner_texts()

    upload(app, video)
    done(app)
    space.get_by_text("How far to trust this").click()
    expect(space.get_by_text("compared by how they move")).to_be_visible()
    expect(space.get_by_text("Auto: by motion")).to_be_visible()
    by_motion = nearest()
    app.get_by_role("radio", name="Appearance").check()
    expect(app.get_by_text("Clips are compared by what they show.")).to_be_visible(timeout=WAIT_MS)
    ready(app)
    expect(space.get_by_text("Clips are compared by what they show:")).to_be_visible()
    expect(space.get_by_text("by appearance", exact=True)).to_be_visible()
    assert nearest() != by_motion
    app.get_by_role("radio", name="Auto").check()
    expect(app.get_by_text("Clips are compared by how they move.", exact=True)).to_be_visible(timeout=WAIT_MS)
    ready(app)
    assert nearest() == by_motion
    upload(app, photo)
    done(app)
    expect(space.get_by_text("Clips are compared by what they show:")).to_be_visible()
    expect(space.get_by_text("Auto: by appearance")).to_be_visible()
    assert not left_localhost
    assert not console_errors


@pytest.mark.parametrize("width", [390, 1280])
def test_all_sixteen_names_stand_on_the_map(page: Page, demo_url: str, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(demo_url)
    ready(page)
    names = page.get_by_role("group", name="Labels").get_by_role("button")
    boxes = [name.bounding_box() for name in names.all() if name.is_visible()]
    assert len(boxes) == 16
    for a, b in itertools.combinations(boxes, 2):
        across = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
        down = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
        assert min(across, down) < 0.5


def test_the_page_says_which_checkpoint_it_is_and_offers_the_other(app: Page, console_errors, left_localhost):
    """There is no GPU here, and the Hub is switched off: the other one cannot be had, which is told."""
    line = app.locator(".page-why")
    control = app.locator(".page-checkpoint input")
    expect(line.get_by_text("nano: no GPU")).to_be_visible()
    line.get_by_role("button", name="ViT-L").click()
    expect(app.locator(".state .error")).to_contain_text("is not on this machine", timeout=WAIT_MS)
    expect(control).to_have_value(re.compile("^ViT-L"))
    expect(line.get_by_text("no GPU")).to_be_hidden()
    expect(app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first).to_be_visible()
    line.get_by_role("button", name="nano").click()
    expect(control).to_have_value(re.compile("^nano"))
    expect(line.get_by_text("nano: no GPU")).to_be_visible()
    expect(app.locator(".state .error")).to_have_count(0)
    assert not left_localhost
    assert not console_errors


def example(page: Page, number: int):
    return page.get_by_role("group", name="Examples").get_by_role("button").nth(number)


def shown(page: Page) -> str:
    return page.get_by_label("Patch viewer", exact=True).get_by_role("figure").first.get_attribute("aria-label") or ""


def test_an_example_can_be_clicked(app: Page, console_errors):
    example(app, 1).click()
    done(app)
    assert shown(app) == "cradle.mp4"
    assert not console_errors


def test_of_three_quick_clicks_the_last_wins_everywhere(app: Page, console_errors):
    for number in (1, 2, 3):
        example(app, number).click()
    last = app.get_by_label("Patch viewer", exact=True).get_by_role("figure", name="topple.mp4")
    expect(last).to_be_visible(timeout=WAIT_MS)
    done(app)
    app.wait_for_timeout(1500)  # for whatever might come late
    assert shown(app) == "topple.mp4"
    app.get_by_role("button", name="Export").click()
    app.get_by_role("button", name="Code").click()
    expect(app.get_by_text("topple.mp4").last).to_be_visible(timeout=WAIT_MS)
    first = app.get_by_label("Nearest references").get_by_role("button").first.inner_text()
    example(app, 3).click()
    done(app)
    assert app.get_by_label("Nearest references").get_by_role("button").first.inner_text() == first
    assert not console_errors


def drop(page: Page, path, target: str) -> None:
    """Drop a file on an element, as a browser does when it is let go there."""
    data = page.evaluate_handle(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
            return data;
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.locator(target).first.dispatch_event(event, {"dataTransfer": data})


@pytest.mark.parametrize("target", [".pv-stage", ".page-title", ".rm-plot"])
def test_a_file_can_be_dropped_anywhere(app: Page, video, target, console_errors):
    drop(app, video, target)
    done(app)
    assert shown(app) == video.name
    expect(app.locator(".in-veil")).to_be_hidden()
    assert not console_errors


def test_a_picture_can_be_pasted(app: Page, photo):
    app.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            const file = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
            data.items.add(new File([file], "pasted.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        base64.b64encode(photo.read_bytes()).decode(),
    )
    done(app)
    assert shown(app) == "pasted.png"


# Each word lasts a second: seen from within the page, since a busy machine looks from outside more seldom.
FILMED = """() => {
    const camera = document.querySelector(".in-camera"), video = camera.querySelector("video");
    window.filmed = { said: [], width: 0 };
    new MutationObserver(() => {
        window.filmed.said.push(camera.querySelector(".in-left").textContent);
        window.filmed.width = Math.max(window.filmed.width, video.videoWidth);
    }).observe(camera, { subtree: true, childList: true, characterData: true });
}"""


def test_four_seconds_from_the_camera_are_a_clip(open_page, demo_url: str, console_errors, left_localhost):
    page = open_page(permissions=["camera"])
    page.set_default_timeout(WAIT_MS)
    page.goto(demo_url)
    ready(page)
    page.evaluate(FILMED)
    page.get_by_role("button", name="Open a clip").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    camera = page.get_by_role("dialog", name="Record from the camera")
    expect(camera).to_be_visible()
    done(page)
    filmed = page.evaluate("window.filmed")
    words = [f"Recording begins in {left} s" for left in (2, 1)] + [f"Recording: {left} s" for left in (4, 3, 2, 1)]
    assert filmed["said"] == words
    assert filmed["width"] > 0, "what it sees is shown"
    expect(camera).to_be_hidden()
    assert re.fullmatch(r"camera\.(webm|mp4)", shown(page))
    seconds = re.search(r"of ([\d.]+) s", page.get_by_text(re.compile("frames sampled")).inner_text())
    assert 1 < float(seconds[1]) < 8  # a busy machine drops frames, and stops late
    assert not left_localhost
    assert not console_errors


def test_a_recording_can_be_cancelled(open_page, demo_url: str):
    page = open_page(permissions=["camera"])
    page.goto(demo_url)
    ready(page)
    page.get_by_role("button", name="Record").click()
    camera = page.get_by_role("dialog", name="Record from the camera")
    expect(camera).to_contain_text("Recording: ", timeout=WAIT_MS)
    page.keyboard.press("Escape")
    expect(camera).to_be_hidden()
    expect(page.get_by_role("button", name="Record")).to_be_focused()
    page.wait_for_timeout(5000)
    assert shown(page) == "dominoes.mp4"


def test_a_camera_that_is_not_allowed_is_told(app: Page):
    app.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
        }"""
    )
    app.get_by_role("button", name="Record").click()
    expect(app.get_by_text("The camera is not allowed for this page: allow it in the browser")).to_be_visible()
    expect(app.get_by_role("dialog", name="Record from the camera")).to_be_hidden()


def test_without_a_camera_api_there_is_no_button_for_it(page: Page, demo_url: str):
    page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.goto(demo_url)
    ready(page)
    expect(page.get_by_role("button", name="Open a clip")).to_be_visible()
    expect(page.get_by_role("button", name="Record")).to_be_hidden()


def test_in_a_frame_there_is_neither_head_nor_foot(page: Page, demo_url: str):
    page.goto(f"{demo_url}/?embed=1")
    ready(page)
    for name in ("h1", ".page-open", ".page-checkpoint", ".page-why", ".theme-switch", ".about", "footer"):
        expect(page.locator(name).first).to_be_hidden()
    expect(page.locator(".pv-stage").first).to_be_visible()
    expect(page.get_by_text("Point at any patch")).to_be_visible()


def test_a_setting_applies_by_itself_to_what_is_shown(app: Page, video):
    upload(app, video)
    done(app)
    app.get_by_role("button", name="Settings").click()
    app.get_by_role("radio", name="squash").check()
    expect(app.get_by_text("(16 frames, squash)")).to_be_visible(timeout=WAIT_MS)
    assert shown(app) == video.name


def test_the_page_begins_with_the_whole_picture_and_says_that_squares_were_trained(app: Page, video):
    upload(app, video)
    done(app)
    expect(app.get_by_text("16 × 28 patches × 192 channels (16 frames, whole)")).to_be_visible()
    app.get_by_role("button", name="Settings").click()
    expect(app.get_by_role("radio", name="whole")).to_be_checked()
    expect(app.get_by_text("V-JEPA 2 was trained on squares.")).to_be_visible()
    app.get_by_role("radio", name="crop").check()
    expect(app.get_by_text("16 × 16 patches × 192 channels (16 frames, crop)")).to_be_visible(timeout=WAIT_MS)


def test_a_setting_applies_to_the_example_that_the_page_opens_with(app: Page):
    app.get_by_role("button", name="Settings").click()
    app.get_by_role("radio", name="pad").check()
    expect(app.get_by_text("(16 frames, pad)")).to_be_visible(timeout=WAIT_MS)
    assert shown(app) == "dominoes.mp4"


def test_a_clip_on_its_way_is_told_of_and_goes_before_the_map(page: Page, demo_url: str, video):
    """Chosen with the first heat, while the server does not speak yet."""
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(HEARD)
    libraries: list[str] = []
    held: list[Route] = []
    page.on("request", lambda request: libraries.append(request.url) if "plotly" in request.url else None)
    page.route("**/set.json*", lambda route: held.append(route))  # what comes before the library
    page.goto(demo_url)
    page.wait_for_function("window.firstHeat")
    page.route("**/queue/join*", lambda route: None)  # held
    upload(page, video)
    told = page.get_by_text(f"Opening {video.name} …")
    expect(told).to_be_visible()
    page.unroute("**/set.json*")
    page.wait_for_timeout(3000)
    assert not libraries
    page.unroute("**/queue/join*")  # which lets go what was held
    expect(told).to_be_hidden()
    done(page)
    expect(page.get_by_role("region", name="Reference map")).to_have_attribute("data-state", "ready")
    assert len(libraries) == 1


def test_a_control_that_is_left_as_it_was_embeds_nothing(app: Page, video):
    words = app.locator(".state .prose.status")
    begins = words.inner_text()

    def leave_the_checkpoint() -> None:
        app.get_by_label("Checkpoint").focus()
        app.keyboard.press("Tab")
        app.wait_for_timeout(1500)

    shape = app.locator(".prose.summary").inner_text()
    leave_the_checkpoint()
    assert (words.inner_text(), app.locator(".prose.summary").inner_text()) == (begins, shape)
    assert app.get_by_label("Patch viewer", exact=True).get_attribute("data-state") == "ready"
    upload(app, video)
    done(app)
    facts = app.locator(".prose.summary .facts").inner_text()  # what took how long, another time for each embedding
    leave_the_checkpoint()
    assert app.locator(".prose.summary .facts").inner_text() == facts
    app.get_by_role("button", name="Settings").click()
    app.get_by_role("radio", name="crop").check()
    expect(app.locator(".prose.summary")).to_contain_text("16 × 16 patches", timeout=WAIT_MS)


def test_the_span_is_two_handles(app: Page):
    start = app.get_by_role("slider", name="Start of the span")
    start.scroll_into_view_if_needed()
    box, line = start.bounding_box(), app.locator(".pv-moments").first.bounding_box()
    app.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    app.mouse.down()
    app.mouse.move(line["x"] + line["width"] / 2, box["y"] + 8, steps=4)
    app.mouse.up()
    done(app)
    moments = app.get_by_text(re.compile("16 of 80 frames sampled")).inner_text()
    assert float(re.search(r"sampled, ([\d.]+) s", moments)[1]) == pytest.approx(3.33 / 2, abs=0.15)
    expect(start).to_have_attribute("aria-valuetext", re.compile(r"1\.6|1\.7"))
    # Another clip is seen whole.
    example(app, 1).click()
    done(app)
    expect(start).to_have_attribute("aria-valuetext", "0.00 s")


def test_nothing_of_the_clip_before_stays_beside_a_new_one(app: Page, video):
    """Whenever the new clip is on the stage, the map and the list are its own or none."""
    app.evaluate(
        """() => {
            window.stale = [];
            const viewer = document.querySelector('[aria-label="Patch viewer"]');
            const map = document.querySelector('[aria-label="Reference map"]');
            const before = map.querySelector("ol").innerText;
            const name = () => viewer.querySelector("figure").getAttribute("aria-label");
            const old = name();
            const look = () => {
                const list = map.querySelector("ol"), seen = getComputedStyle(list).visibility === "visible";
                if (name() !== old && seen && list.innerText === before) window.stale.push(map.dataset.state);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    upload(app, video)
    done(app)
    assert shown(app) == video.name
    # The one frame between two messages of the server is not seen by anyone.
    assert len(app.evaluate("window.stale")) <= 3


def test_cancel_is_there_while_something_is_under_way_and_ends_it(app: Page, make_video):
    long = make_video("long.mp4", source="testsrc2=s=1280x720:r=30:d=20", frames=600, options=("-preset", "ultrafast"))
    cancel = app.locator(".cancel")
    expect(cancel).to_be_hidden()
    upload(app, long)
    cancel.click()
    expect(app.get_by_text("Cancelled. The last result is still here.")).to_be_visible(timeout=5000)
    app.wait_for_timeout(3000)
    assert shown(app) == "dominoes.mp4"
    expect(cancel).to_be_hidden()


def test_a_photo_is_no_film(app: Page, photo):
    upload(app, photo)
    done(app)
    viewer = app.get_by_label("Patch viewer", exact=True)
    expect(viewer.get_by_role("button", name="Play")).to_be_hidden()
    expect(viewer.get_by_role("group", name="Time steps")).to_be_hidden()
    expect(viewer.get_by_role("slider", name="Start of the span")).to_be_hidden()
    # What is on the stage is the photo, not what was there before it.
    viewer.get_by_role("application").press("Escape")
    stage = Image.open(io.BytesIO(viewer.get_by_role("application").screenshot())).convert("RGB")
    picture = Image.open(photo).convert("RGB").resize(stage.size)
    seen = slice(stage.height // 8, -stage.height // 8), slice(stage.width // 4, -stage.width // 4)
    apart = np.abs(np.asarray(stage, float)[seen] - np.asarray(picture, float)[seen]).mean()
    assert apart < 12


def test_a_mistake_is_told_and_the_last_result_stays(app: Page, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    before = app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first.inner_text()
    upload(app, text)
    expect(app.get_by_role("alert").filter(has_text="neither a video nor an image")).to_be_visible(timeout=WAIT_MS)
    assert app.get_by_text(re.compile(r"\[1, 2048, 192\]")).first.inner_text() == before
    ready(app)


def test_what_went_wrong_stands_above_the_page_and_hides_nothing(app: Page, tmp_path):
    app.set_viewport_size({"width": 1280, "height": 720})
    (broken := tmp_path / "broken.mp4").write_bytes(b"no video" * 50)
    upload(app, broken)
    error = app.get_by_role("alert").filter(has_text="neither a video nor an image")
    expect(error).to_be_visible(timeout=WAIT_MS)
    box, picture = error.bounding_box(), app.locator(".pv-matte").first.bounding_box()
    assert box["width"] > 900
    assert box["y"] + box["height"] < picture["y"]


def test_a_huge_image_is_refused_before_it_is_decoded(app: Page, huge_png):
    upload(app, huge_png)
    expect(app.get_by_role("alert").filter(has_text="scale it down")).to_be_visible(timeout=WAIT_MS)
    ready(app)


def test_an_unreachable_hub_is_told(app: Page, video):
    upload(app, video)
    done(app)
    app.get_by_label("Checkpoint").click()
    app.get_by_role("option", name=re.compile("ViT-L · 1024")).click()
    expect(app.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible(timeout=WAIT_MS)
    ready(app)


def test_progress_and_cancel_stand_beside_the_offer_to_embed_the_references(app: Page, console_errors):
    app.get_by_role("button", name="Settings").click()
    app.get_by_role("radio", name="pad").check()
    done(app)
    app.get_by_role("radio", name="32").check()
    offer = app.get_by_role("button", name=re.compile(r"Embed the \d+ reference clips in this way too \(about "))
    expect(offer).to_be_enabled(timeout=WAIT_MS)
    beside = app.locator(".offer-state")
    expect(beside).to_be_hidden()
    offer.click()
    expect(beside).to_contain_text(re.compile(r"Embedding reference clips: \d+ of \d+"), timeout=WAIT_MS)
    expect(offer).to_be_disabled()
    assert beside.bounding_box()["y"] - offer.bounding_box()["y"] < 80
    beside.get_by_role("button", name="Cancel").click()
    expect(offer).to_be_enabled(timeout=WAIT_MS)
    expect(beside).to_be_hidden()
    app.get_by_role("button", name="Or show the clip as 16 frames, spread evenly, pad: its map is ready").click()
    expect(app.get_by_role("heading", name="Map of 128 clips")).to_be_visible(timeout=WAIT_MS)
    expect(offer).to_be_hidden()
    expect(app.get_by_role("radio", name="16")).to_be_checked()
    assert not console_errors


def test_one_press_makes_and_saves_a_file_that_is_named_after_the_clip(app: Page, console_errors):
    saved = []
    app.on("download", lambda download: saved.append(download.suggested_filename))
    app.get_by_role("button", name="Export").click()
    for _ in range(2):  # the same once more
        with app.expect_download(timeout=WAIT_MS) as download:
            app.get_by_role("button", name="Embedding (.npz)").click()
        assert "tokens" in np.load(download.value.path(), allow_pickle=False)
        app.wait_for_timeout(1500)
    assert saved == ["dominoes.npz"] * 2
    app.get_by_role("application").first.click()
    app.wait_for_timeout(600)
    with app.expect_download(timeout=WAIT_MS) as download:
        app.get_by_role("button", name="Heatmap (.mp4)").click()
    assert download.value.suggested_filename == "dominoes-heatmap.mp4"
    assert download.value.path().stat().st_size > 10_000
    app.wait_for_timeout(500)
    assert len(saved) == 3
    for ending in FORMATS:
        with app.expect_download(timeout=WAIT_MS) as download:
            app.get_by_role("button", name=f"4 s loop ({ending})").click()
        assert download.value.suggested_filename == f"dominoes-loop{ending}"
        assert 10_000 < download.value.path().stat().st_size < MOST_BYTES
    assert not console_errors


def test_a_loop_of_what_nobody_pinned_says_so_and_is_told_the_scale_that_is_shown(app: Page):
    told = []

    def note(request: Request) -> None:
        data = request.post_data_json if request.method == "POST" and "queue/join" in request.url else {}
        told.extend([data["event_data"]] if "centred" in (data.get("event_data") or {}) else [])

    app.on("request", note)
    app.get_by_role("button", name="Export").click()
    with app.expect_download(timeout=WAIT_MS):
        app.get_by_role("button", name="4 s loop (.webp)").click()
    words = re.compile(r"No patch of this clip is pinned: the loop is about row \d+, column \d+")
    expect(app.get_by_text(words)).to_be_visible()
    app.locator(".pv-more summary").click()
    app.get_by_role("switch", name="Subtract mean").click()
    app.wait_for_timeout(800)
    assert (told[-1]["pinned"], told[-1]["centred"]) == (False, False)
    app.locator(".pv-more summary").click()
    app.get_by_role("application").first.click()
    app.wait_for_timeout(800)
    assert (told[-1]["pinned"], told[-1]["centred"]) == (True, False)
    low, high = told[-1]["range"]
    expect(app.locator(".pv-legend")).to_have_text(f"{low:.2f}{high:.2f}")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_off_the_side(page: Page, demo_url: str, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(demo_url)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
