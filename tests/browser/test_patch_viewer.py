"""The patch viewer in Chromium, on a page of its own with clips made up here: no model is needed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from vjepa_demo.dense import pack, score_range, similarity
from vjepa_demo.embedding import Embedding, Fingerprint
from vjepa_demo.media import Clip, Sampling, Source
from vjepa_demo.ui.patch_viewer import patch_viewer, viewer_value

SIZE = (320, 180)
WINDOWS = {"crop": (70.0, 0.0, 250.0, 180.0), "squash": (0.0, 0.0, 320.0, 180.0), "pad": (0.0, -70.0, 320.0, 250.0)}
EVIL = ("${alert(1)}.mp4", "<img src=x onerror=alert(1)>.mp4")
COLLECT = """
window.queries = [];
document.addEventListener("patchquery", ({ detail }) => window.queries.push(
    { ...detail, scores: Array.from(detail.scores), all: detail.all.map((scores) => Array.from(scores)) }));
"""


def make_embedding(grid=(8, 16, 16), dim=192, *, fit="crop", seed=0, layer=None) -> Embedding:
    """Tokens with a few directions that vary smoothly over the frame, some noise, and a mean that dominates."""
    rng = np.random.default_rng(seed)
    steps, rows, cols = grid
    t, y, x = np.meshgrid(np.arange(steps) / steps, np.arange(rows) / rows, np.arange(cols) / cols, indexing="ij")
    waves = np.stack([np.sin(a * 6 * x + b * 6 * y + c * 3 * t) for a, b, c in rng.uniform(-1, 1, (12, 3))], axis=-1)
    tokens = waves @ rng.standard_normal((12, dim)) + 0.5 * rng.standard_normal((*grid, dim))
    tokens = (tokens + 4 * rng.standard_normal(dim)).astype(np.float32)
    times = (np.arange(2 * steps) + 0.5) * 4 / (2 * steps)
    made = Fingerprint("nano", "r", "fp32", f"even-{2 * steps}", fit)
    return Embedding(tokens, times, made, "cpu", WINDOWS[fit], SIZE, layer=layer)


def make_clip(embedding: Embedding, *, still: bool = False) -> Clip:
    """A square moves over a shaded ground."""
    count = 1 if still else len(embedding.timestamps)
    width, height = SIZE
    frames = np.empty((count, 3, height, width), dtype=np.uint8)
    frames[:] = np.linspace(40, 200, width).astype(np.uint8)
    for i, frame in enumerate(frames):
        left = 80 + 150 * i // count
        frame[:, 70:110, left : left + 40] = np.array([230, 120, 30], dtype=np.uint8)[:, None, None]
    source = Source("image" if still else "video", width, height, "h264", 0.0 if still else 4.0, 25.0, 100)
    return Clip(frames, embedding.timestamps[:count], source, Sampling(count if count > 1 else 16))


EMBEDDINGS = {
    "crop": make_embedding(),
    "squash": make_embedding(fit="squash"),
    "pad": make_embedding(fit="pad"),
    "second": make_embedding(seed=1),
    "layer": make_embedding(seed=2, layer=5),
}


@pytest.fixture(scope="module")
def large() -> Embedding:
    """As many random tokens as ViT-L makes of 64 frames."""
    rng = np.random.default_rng(3)
    tokens = (rng.standard_normal((32, 16, 16, 1024)) + rng.standard_normal(1024)).astype(np.float32)
    small = make_embedding((32, 16, 16), 4)
    return Embedding(tokens, small.timestamps, small.fingerprint, "cpu", small.window, SIZE)


@pytest.fixture(scope="module")
def viewer_url(tmp_path_factory: pytest.TempPathFactory, large: Embedding) -> Iterator[str]:
    """A page that holds only the viewer, and a text field that says which clip it shows."""
    folder = tmp_path_factory.mktemp("packed")
    for name, embedding in EMBEDDINGS.items():
        (folder / f"{name}.bin").write_bytes(pack(embedding, make_clip(embedding)))
    (folder / "image.bin").write_bytes(pack(EMBEDDINGS["crop"], make_clip(EMBEDDINGS["crop"], still=True)))
    (folder / "large.bin").write_bytes(pack(large, make_clip(large), pca=False))
    (folder / "damaged.bin").write_bytes(b"VJPV")

    def choose(text: str) -> dict:
        primary, compare, name = (*text.split("|"), "", "")[:3]
        second = folder / f"{compare}.bin" if compare else None
        return viewer_value(folder / f"{primary}.bin", second, name=name, compare_name=compare)

    def told(event: gr.EventData) -> str:
        return json.dumps({key: getattr(event, key) for key in ("pinned", "add", "subtract", "centred")})

    with gr.Blocks(analytics_enabled=False) as demo:
        viewer = patch_viewer()
        which, pinned = gr.Textbox(label="Which clip"), gr.Textbox(label="Told to the server")
        which.submit(choose, which, viewer)
        viewer.query(told, None, pinned)
    _, url, _ = demo.launch(prevent_thread_lock=True, ssr_mode=False, quiet=True, allowed_paths=[str(folder)])
    yield url
    demo.close()


@dataclass
class Viewer:
    """The widget as a visitor meets it: by role and name."""

    page: Page

    @property
    def root(self) -> Locator:
        return self.page.get_by_role("region", name="Patch viewer")

    @property
    def stages(self) -> Locator:
        return self.root.get_by_role("application")

    def control(self, role: str, name: str) -> Locator:
        return self.root.get_by_role(role, name=name, exact=True)

    def state(self, state: str) -> None:
        expect(self.root).to_have_attribute("data-state", state, timeout=15_000)

    def show(self, what: str, state: str = "ready") -> None:
        """Show "clip", "clip|second clip" or "clip|second clip|name"."""
        self.page.evaluate("window.shown = false")
        field = self.page.get_by_label("Which clip")
        field.fill(what)
        self.page.evaluate(
            """() => new MutationObserver((_, observer) => { window.shown = true; observer.disconnect(); })
                .observe(document.querySelector("[data-state]"), { attributeFilter: ["data-state"] })"""
        )
        field.press("Enter")
        self.page.wait_for_function("window.shown")
        self.state(state)
        if state == "ready":
            self.answers(1)

    def place(self, fit: str, row: float, col: float, stage: int = 0) -> tuple[float, float]:
        """The page's coordinates of the middle of a patch of the large frame."""
        left, top, right, bottom = WINDOWS[fit]
        x0, y0, x1, y1 = min(0, left), min(0, top), max(SIZE[0], right), max(SIZE[1], bottom)
        x, y = left + (col + 0.5) * (right - left) / 16, top + (row + 0.5) * (bottom - top) / 16
        box = self.stages.nth(stage).bounding_box()
        assert box
        return box["x"] + (x - x0) / (x1 - x0) * box["width"], box["y"] + (y - y0) / (y1 - y0) * box["height"]

    def hover(self, row: float, col: float, *, fit: str = "crop", stage: int = 0) -> None:
        self.page.mouse.move(*self.place(fit, row, col, stage))

    def click(self, row: float, col: float, *, fit: str = "crop", stage: int = 0, key: str | None = None) -> dict:
        """Click a patch with a modifier key held down, and return the query that was painted for it."""
        self.hover(row, col, fit=fit, stage=stage)
        self.page.wait_for_timeout(80)
        before = len(self.queries())
        if key:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self.place(fit, row, col, stage))
        if key:
            self.page.keyboard.up(key)
        return self.answers(before + 1)

    def queries(self) -> list[dict]:
        return self.page.evaluate("window.queries.map(({ step, row, col }) => ({ step, row, col }))")

    def answers(self, count: int) -> dict:
        """Wait for so many painted queries, and return the last one."""
        self.page.wait_for_function("(count) => window.queries.length >= count", arg=count)
        return self.page.evaluate("window.queries[window.queries.length - 1]")

    def forget(self) -> None:
        self.page.evaluate("window.queries = []")


@pytest.fixture
def open_viewer(open_page: Callable[..., Page], viewer_url: str) -> Callable[..., Viewer]:
    """A function that opens the page and shows clips; what it is given beside goes to the browser's context."""

    def opened(what: str | None = "crop", *, reduced_motion="reduce", theme: str = "light", **options) -> Viewer:
        page = open_page(reduced_motion=reduced_motion, **options)
        page.add_init_script(COLLECT)
        page.goto(f"{viewer_url}?__theme={theme}")
        viewer = Viewer(page)
        viewer.state("empty")
        if what:
            viewer.show(what)
        return viewer

    return opened


@pytest.fixture
def viewer(open_viewer: Callable[..., Viewer]) -> Viewer:
    return open_viewer()


@pytest.fixture(autouse=True)
def nothing_went_wrong(console_errors: list[str], left_localhost: list[str]) -> Iterator[None]:
    yield
    assert console_errors == []
    assert left_localhost == []


def grid_of(answer: dict, embedding: Embedding) -> np.ndarray:
    return np.array(answer["scores"], dtype=np.float32).reshape(embedding.grid)


def agree(answer: dict, expected: np.ndarray, *, key: int | None = None) -> None:
    scores = answer["scores"] if key is None else answer["all"][key]
    np.testing.assert_allclose(np.array(scores, dtype=float).reshape(expected.shape), expected, atol=0.01)


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
def test_scores_of_a_hovered_patch_are_those_of_dense(viewer, centred):
    if not centred:
        viewer.control("switch", "Centred").click()
    for row, col in ((3, 4), (12, 9), (0, 15)):
        viewer.forget()
        viewer.hover(row, col)
        answer = viewer.answers(1)
        assert (answer["step"], answer["row"], answer["col"]) == (0, row, col)
        agree(answer, similarity(EMBEDDINGS["crop"], (0, row, col), centred=centred))


def test_scores_of_a_large_clip_are_those_of_dense(open_viewer, large):
    viewer = open_viewer("large")
    agree(viewer.click(7, 7), similarity(large, (0, 7, 7)))
    viewer.forget()
    viewer.control("switch", "Centred").click()
    agree(viewer.answers(1), similarity(large, (0, 7, 7), centred=False))


def test_a_patch_of_the_strip_is_a_query_too(viewer):
    cell = viewer.root.get_by_role("button", name="Step 5, ").bounding_box()
    viewer.forget()
    # The middle of the cell is the corner of four patches; a little to the right and below is patch 8, 8.
    viewer.page.mouse.move(cell["x"] + cell["width"] / 2 + 1, cell["y"] + cell["height"] / 2 + 1)
    answer = viewer.answers(1)
    assert (answer["step"], answer["row"], answer["col"]) == (5, 8, 8)
    agree(answer, similarity(EMBEDDINGS["crop"], (5, 8, 8)))


def test_a_query_is_shown_before_the_pointer_has_come(open_viewer):
    viewer = open_viewer()
    answer = viewer.answers(1)
    assert answer["step"] == 0
    assert 4 <= answer["row"] < 12
    assert 4 <= answer["col"] < 12
    agree(answer, similarity(EMBEDDINGS["crop"], (0, answer["row"], answer["col"])))


def test_the_scale_spans_what_dense_says(viewer):
    viewer.click(5, 5)
    low, high = score_range(similarity(EMBEDDINGS["crop"], (0, 5, 5)))
    label = viewer.root.get_by_role("img", name="Colour scale").get_attribute("aria-label")
    shown = [float(word) for word in label.replace(",", " ").split() if word.lstrip("-").replace(".", "").isdigit()]
    assert shown == pytest.approx([low, high], abs=0.02)


# --- pinning ---------------------------------------------------------------------------------------------------------


def test_a_pinned_patch_and_its_scale_stay(viewer):
    viewer.click(5, 5)
    legend = viewer.root.get_by_role("img", name="Colour scale")
    before, count = legend.get_attribute("aria-label"), len(viewer.queries())
    assert "held while pinned" in before
    viewer.hover(10, 10)
    viewer.control("button", "Step on").click()
    viewer.hover(2, 12)
    viewer.page.wait_for_timeout(200)
    assert len(viewer.queries()) == count
    assert legend.get_attribute("aria-label") == before
    # The number is now the cosine of the patch under the pointer.
    expected = similarity(EMBEDDINGS["crop"], (0, 5, 5))[1, 2, 12]
    shown = viewer.root.get_by_role("complementary", name="Readout and controls").inner_text().split()[0]
    assert float(shown) == pytest.approx(expected, abs=0.016)


@pytest.mark.parametrize("centred", [True, False])
def test_added_and_subtracted_patches(viewer, centred):
    if not centred:
        viewer.control("switch", "Centred").click()
    embedding = EMBEDDINGS["crop"]
    viewer.click(5, 5)
    agree(viewer.click(6, 9, key="Shift"), similarity(embedding, (0, 5, 5), add=[(0, 6, 9)], centred=centred))
    answer = viewer.click(1, 2, key="Alt")
    agree(answer, similarity(embedding, (0, 5, 5), add=[(0, 6, 9)], subtract=[(0, 1, 2)], centred=centred))


def test_the_server_learns_what_is_pinned(viewer):
    told = viewer.page.get_by_label("Told to the server")
    viewer.click(5, 5)
    viewer.click(6, 9, key="Shift")
    viewer.click(1, 2, key="Alt")
    add = [{"clip": 0, "at": [0, 5, 5]}, {"clip": 0, "at": [0, 6, 9]}]
    subtract = [{"clip": 0, "at": [0, 1, 2]}]
    expect(told).to_have_value(json.dumps({"pinned": True, "add": add, "subtract": subtract, "centred": True}))
    viewer.page.keyboard.press("Escape")
    expect(told).to_have_value(json.dumps({"pinned": False, "add": [], "subtract": [], "centred": True}))


def test_escape_clears_and_hovering_begins_anew(viewer):
    viewer.click(5, 5)
    viewer.page.keyboard.press("Escape")
    expect(viewer.root).to_have_attribute("data-pinned", "false")
    viewer.forget()
    viewer.hover(9, 9)
    agree(viewer.answers(1), similarity(EMBEDDINGS["crop"], (0, 9, 9)))


# --- keys and touch --------------------------------------------------------------------------------------------------


def test_keys(viewer):
    embedding, press = EMBEDDINGS["crop"], viewer.page.keyboard.press
    viewer.click(5, 5)
    viewer.forget()
    press("ArrowRight")
    agree(viewer.answers(1), similarity(embedding, (0, 5, 6)))
    press("ArrowDown")
    agree(viewer.answers(2), similarity(embedding, (0, 6, 6)))
    press("Shift+ArrowDown")
    press("Shift+ArrowDown")
    press("Shift+Enter")
    agree(viewer.answers(3), similarity(embedding, (0, 6, 6), add=[(0, 8, 6)]))
    press("]")
    expect(viewer.root.get_by_role("button", name="Step 1, ")).to_have_attribute("aria-current", "true")
    press("[")
    press("[")
    expect(viewer.root.get_by_role("button", name="Step 7, ")).to_have_attribute("aria-current", "true")
    opacity = viewer.control("slider", "Opacity")
    before = float(opacity.input_value())
    press("-")
    assert float(opacity.input_value()) == pytest.approx(before - 0.1)
    press("+")
    assert float(opacity.input_value()) == pytest.approx(before)


def test_everything_is_reached_with_the_keyboard_alone(open_viewer):
    viewer = open_viewer()
    page, embedding = viewer.page, EMBEDDINGS["crop"]
    start = viewer.answers(1)
    at = [start["step"], start["row"], start["col"]]
    viewer.stages.first.focus()
    page.keyboard.press("ArrowRight")
    viewer.answers(2)
    page.keyboard.press("Enter")
    agree(viewer.answers(3), similarity(embedding, (at[0], at[1], at[2] + 1)))
    expect(viewer.root).to_have_attribute("data-pinned", "true")
    # A step is chosen with its button; keys of a slider belong to the slider.
    viewer.root.get_by_role("button", name="Step 3, ").focus()
    page.keyboard.press("Enter")
    expect(viewer.stages.first).to_have_accessible_name(re.compile("^Frame of step 3, "))
    threshold = viewer.control("slider", "Outline above")
    threshold.focus()
    count = len(viewer.queries())
    page.keyboard.press("ArrowLeft")
    expect(threshold).to_have_attribute("aria-valuetext", "0.99")
    assert len(viewer.queries()) == count


def test_touch(open_viewer):
    viewer = open_viewer(has_touch=True, viewport={"width": 390, "height": 844})
    embedding = EMBEDDINGS["crop"]

    def tap(row: int, col: int) -> dict:
        viewer.forget()
        viewer.page.touchscreen.tap(*viewer.place("crop", row, col))
        return viewer.answers(1)

    agree(tap(5, 5), similarity(embedding, (0, 5, 5)))
    expect(viewer.root).to_have_attribute("data-pinned", "true")
    viewer.control("radio", "Add").tap()
    agree(tap(6, 9), similarity(embedding, (0, 5, 5), add=[(0, 6, 9)]))
    viewer.control("radio", "Subtract").tap()
    agree(tap(1, 2), similarity(embedding, (0, 5, 5), add=[(0, 6, 9)], subtract=[(0, 1, 2)]))
    viewer.control("button", "Step on").tap()
    expect(viewer.root.get_by_role("button", name="Step 1, ")).to_have_attribute("aria-current", "true")
    viewer.control("button", "Play").tap()
    expect(viewer.root).to_have_attribute("data-playing", "true")
    viewer.control("button", "Stop").tap()
    viewer.control("button", "Clear the query").tap()
    expect(viewer.root).to_have_attribute("data-pinned", "false")


# --- what the model saw ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_each_fit_is_drawn_where_its_patches_are(open_viewer, fit):
    viewer = open_viewer(fit)
    for row, col in ((8, 2), (5, 14)):
        answer = viewer.click(row, col, fit=fit)
        assert (answer["row"], answer["col"]) == (row, col)
        agree(answer, similarity(EMBEDDINGS[fit], (0, row, col)))
    words = {"crop": "180 × 180 seen (56 %)", "squash": "all seen, squashed", "pad": "padding (hatched) left out"}
    expect(viewer.root.get_by_text(words[fit])).to_be_visible()


def test_padding_is_no_query(open_viewer):
    viewer = open_viewer("pad")
    viewer.forget()
    viewer.hover(1, 8, fit="pad")
    viewer.page.mouse.click(*viewer.place("pad", 1, 8))
    viewer.page.wait_for_timeout(200)
    assert viewer.queries() == []
    assert np.isnan(grid_of(viewer.click(8, 8, fit="pad"), EMBEDDINGS["pad"])[:, [0, 1, 14, 15]]).all()


def test_outside_the_crop_is_no_query(viewer):
    viewer.forget()
    viewer.hover(8, -3)
    viewer.hover(8, 18)
    viewer.page.wait_for_timeout(200)
    assert viewer.queries() == []


def test_the_picture_is_bright_where_the_model_saw_it(viewer):
    viewer.page.keyboard.press("Escape")
    viewer.control("button", "Clear the query").click()
    picture = viewer.stages.first.screenshot()
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=float)
    height, width = image.shape
    ground = np.linspace(40, 200, SIZE[0])
    inside = image[height // 8, round(0.7 * width)] / ground[round(0.7 * SIZE[0])]
    outside = image[height // 8, round(0.9 * width)] / ground[round(0.9 * SIZE[0])]
    assert inside == pytest.approx(1.0, abs=0.1)
    assert outside < 0.5


def test_the_moments_that_were_sampled(viewer):
    line = viewer.root.get_by_role("img", name="16 of 100 frames sampled")
    expect(line).to_have_attribute("aria-label", "16 of 100 frames sampled, 0.13 s to 3.88 s of 4.00 s; two to a step.")
    expect(viewer.root.get_by_role("button", name="Step 2, 1.13–1.38 s")).to_be_visible()


def test_an_image(open_viewer):
    viewer = open_viewer("image")
    expect(viewer.root.get_by_text("One image, shown to the model 16 times.")).to_be_visible()
    agree(viewer.click(4, 4), similarity(EMBEDDINGS["crop"], (0, 4, 4)))


# --- PCA, playing, comparing, layers, saving -------------------------------------------------------------------------


def test_pca_colours_are_painted_on_their_patches(viewer):
    viewer.control("radio", "PCA").click()
    expect(viewer.control("radio", "PCA")).to_have_attribute("aria-checked", "true")
    viewer.control("slider", "Opacity").fill("1")
    viewer.control("button", "Clear the query").click()
    from vjepa_demo.dense import pca_colours

    image = np.asarray(Image.open(io.BytesIO(viewer.stages.first.screenshot())).convert("RGB"))
    box = viewer.stages.first.bounding_box()
    for row, col in ((2, 3), (9, 12), (14, 7)):
        x, y = viewer.place("crop", row, col)
        pixel = image[int(y - box["y"]), int(x - box["x"])]
        np.testing.assert_allclose(pixel, pca_colours(EMBEDDINGS["crop"])[0, row, col], atol=3)


def test_without_pca_colours_there_is_no_choice_of_them(open_viewer):
    viewer = open_viewer("large")
    expect(viewer.root.get_by_role("radio", name="PCA")).to_be_hidden()


def test_space_plays_and_stops(viewer):
    viewer.click(5, 5)
    viewer.page.keyboard.press("Space")
    expect(viewer.root.get_by_role("button", name="Step 2, ")).to_have_attribute("aria-current", "true", timeout=10_000)
    viewer.page.keyboard.press("Space")
    expect(viewer.root).to_have_attribute("data-playing", "false")
    expect(viewer.control("button", "Play")).to_be_visible()


def test_it_plays_by_itself_until_it_is_touched(open_viewer):
    viewer = open_viewer(reduced_motion="no-preference")
    expect(viewer.root).to_have_attribute("data-playing", "true")
    viewer.hover(4, 4)
    expect(viewer.root).to_have_attribute("data-playing", "false")


@pytest.mark.parametrize("centred", [True, False])
def test_a_query_in_one_clip_colours_both(open_viewer, centred):
    viewer = open_viewer("crop|second")
    first, second = EMBEDDINGS["crop"], EMBEDDINGS["second"]
    if not centred:
        viewer.control("switch", "Centred").click()
    expect(viewer.stages).to_have_count(2)
    answer = viewer.click(5, 5)
    ours = similarity(first, (0, 5, 5), centred=centred)
    theirs = similarity(first, (0, 5, 5), other=second, centred=centred)
    agree(answer, ours, key=0)
    agree(answer, theirs, key=1)
    low, high = score_range(np.stack([ours, theirs]))
    legend = viewer.root.get_by_role("img", name="Colour scale").get_attribute("aria-label")
    assert f"from {low:.1f}"[:-1] in legend
    answer = viewer.click(9, 3, stage=1)
    agree(answer, similarity(second, (0, 9, 3), other=first, centred=centred), key=0)
    agree(answer, similarity(second, (0, 9, 3), centred=centred), key=1)
    assert high <= 1.0


def test_another_layer_keeps_what_is_pinned(viewer):
    viewer.click(5, 5)
    viewer.forget()
    viewer.show("layer")
    agree(viewer.answers(1), similarity(EMBEDDINGS["layer"], (0, 5, 5)))
    expect(viewer.root).to_have_attribute("data-pinned", "true")


def test_clips_of_different_layers_are_not_compared(viewer):
    viewer.show("crop|layer", state="error")
    expect(viewer.root.get_by_role("alert")).to_contain_text("different checkpoints or layers")


def test_the_frame_is_saved_as_png(viewer, tmp_path):
    viewer.click(5, 5)
    with viewer.page.expect_download() as download:
        viewer.control("button", "Save the frame as PNG").click()
    assert download.value.suggested_filename == "patches-step-0.png"
    download.value.save_as(tmp_path / "frame.png")
    image = Image.open(tmp_path / "frame.png")
    assert image.size == (1280, 764)
    assert len(image.getcolors(maxcolors=1 << 24)) > 500


# --- failures, names, themes, widths ---------------------------------------------------------------------------------


def test_what_cannot_be_read_leaves_the_last_picture(viewer):
    viewer.click(5, 5)
    viewer.show("damaged", state="error")
    expect(viewer.root.get_by_role("alert")).to_contain_text("embed the clip again")
    viewer.forget()
    agree(viewer.click(6, 6), similarity(EMBEDDINGS["crop"], (0, 6, 6)))


def test_what_cannot_be_fetched_leaves_the_last_picture(viewer, console_errors):
    viewer.page.route("**/second.bin", lambda route: route.abort())
    viewer.show("second", state="error")
    expect(viewer.root.get_by_role("alert")).to_contain_text("could not be fetched")
    agree(viewer.click(6, 6), similarity(EMBEDDINGS["crop"], (0, 6, 6)))
    assert all("Failed to load resource" in error for error in console_errors)
    console_errors.clear()


@pytest.mark.parametrize("name", EVIL)
def test_a_file_name_is_text(open_viewer, name):
    viewer = open_viewer(None)
    dialogs = []
    viewer.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    viewer.show(f"crop||{name}")
    expect(viewer.root.get_by_text(name, exact=True)).to_be_visible()
    expect(viewer.root.locator("img")).to_have_count(0)
    assert dialogs == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read(open_viewer, theme):
    viewer = open_viewer(theme=theme)
    viewer.click(5, 5)
    for text in ("row", "centred cosine, scale held", "Patch borders", "16 of 100 frames sampled"):
        found = viewer.root.get_by_text(text).first
        ratio = found.evaluate(
            """(node) => {
                const light = (css) => {
                    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
                    canvas.fillStyle = css;
                    canvas.fillRect(0, 0, 1, 1);
                    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
                        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
                };
                const a = light(getComputedStyle(node).color);
                let ground = node;
                while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
                const b = light(getComputedStyle(ground).backgroundColor);
                return Math.max(a, b) / Math.min(a, b);
            }"""
        )
        assert ratio > 4.5, text


def test_a_phone_shows_all_without_scrolling_sideways(open_viewer):
    viewer = open_viewer("crop|second", viewport={"width": 390, "height": 844}, has_touch=True)
    width = viewer.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    for role, name in (("button", "Play"), ("switch", "Centred"), ("radio", "Subtract"), ("slider", "Opacity")):
        box = viewer.control(role, name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_the_readout_is_announced(viewer):
    status = viewer.root.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    viewer.click(5, 7)
    expect(status).to_contain_text("row 5, column 7")
    expect(status).to_contain_text("1.00")


def test_the_keys_are_listed(viewer):
    for words in ("Shift + click", "Alt + click", "Space", "Esc"):
        expect(viewer.root.get_by_text(words, exact=True)).to_be_visible()
    viewer.root.get_by_text("Keys", exact=True).click()
    expect(viewer.root.get_by_text("Space", exact=True)).to_be_hidden()
