"""What the patch viewer shows in Chromium: fits, PCA, playing, comparing, saving, failures, themes, widths."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from browser.viewer_page import EMBEDDINGS, SIZE, agree, grid_of
from PIL import Image
from playwright.sync_api import expect

from vjepa_demo.views.similarity import pca_colours, score_range, similarity

EVIL = ("${alert(1)}.mp4", "<img src=x onerror=alert(1)>.mp4")


# --- what the model saw ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
def test_each_fit_is_drawn_where_its_patches_are(open_viewer, fit):
    viewer = open_viewer(fit)
    for row, col in ((8, 2), (5, 14)):
        answer = viewer.click(row, col, fit=fit)
        assert (answer["row"], answer["col"]) == (row, col)
        agree(answer, similarity(EMBEDDINGS[fit], (0, row, col)))
    words = {
        "crop": "180 × 180 seen (56 %)",
        "whole": "all seen",
        "squash": "all seen, squashed",
        "pad": "padding (hatched) left out",
    }
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
    viewer.stages.first.press("Escape")
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
    viewer.control("radio", "Colours").click()
    expect(viewer.control("radio", "Colours")).to_have_attribute("aria-checked", "true")
    viewer.control("slider", "Heat").fill("1")
    viewer.stages.first.press("Escape")
    image = np.asarray(Image.open(io.BytesIO(viewer.stages.first.screenshot())).convert("RGB"))
    box = viewer.stages.first.bounding_box()
    for row, col in ((2, 3), (9, 12), (14, 7)):
        x, y = viewer.place("crop", row, col)
        pixel = image[int(y - box["y"]), int(x - box["x"])]
        np.testing.assert_allclose(pixel, pca_colours(EMBEDDINGS["crop"])[0, row, col], atol=3)


def test_without_pca_colours_there_is_no_choice_of_them(open_viewer):
    viewer = open_viewer("large")
    expect(viewer.root.get_by_role("radio", name="Colours")).to_be_hidden()


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
        viewer.control("switch", "Subtract mean").click()
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


def test_clips_of_different_grids_beside_each_other(open_viewer):
    viewer = open_viewer("whole|second")
    first, second = EMBEDDINGS["whole"], EMBEDDINGS["second"]
    answer = viewer.click(5, 24, fit="whole")
    assert (answer["row"], answer["col"]) == (5, 24)
    agree(answer, similarity(first, (0, 5, 24)), key=0)
    agree(answer, similarity(first, (0, 5, 24), other=second), key=1)
    answer = viewer.click(9, 3, stage=1)
    agree(answer, similarity(second, (0, 9, 3), other=first), key=0)
    agree(answer, similarity(second, (0, 9, 3)), key=1)


def test_another_layer_keeps_what_is_pinned(viewer):
    viewer.click(5, 5)
    viewer.forget()
    viewer.show("layer")
    agree(viewer.answers(1), similarity(EMBEDDINGS["layer"], (0, 5, 5)))
    expect(viewer.root).to_have_attribute("data-pinned", "true")


def test_a_second_clip_keeps_the_query_and_is_searched_for_its_best_match(viewer):
    viewer.click(5, 5)
    viewer.page.keyboard.press("]")
    viewer.forget()
    viewer.show("crop|second")
    expect(viewer.root.get_by_role("button", name="Step 1, ").first).to_have_attribute("aria-current", "true")
    answer = viewer.answers(1)
    theirs = similarity(EMBEDDINGS["crop"], (0, 5, 5), other=EMBEDDINGS["second"])
    agree(answer, similarity(EMBEDDINGS["crop"], (0, 5, 5)))
    agree(answer, theirs, key=1)
    expect(viewer.root).to_have_attribute("data-pinned", "true")
    viewer.page.mouse.move(0, 0)
    expect(viewer.root.get_by_label("Readout")).to_contain_text(f"{theirs.max():.2f}best match elsewhere")
    expect(viewer.root.get_by_label("Readout")).to_contain_text("in the other clip at")
    # Without the second clip, what was asked of the first is still asked.
    viewer.forget()
    viewer.show("crop")
    agree(viewer.answers(1), similarity(EMBEDDINGS["crop"], (0, 5, 5)))
    expect(viewer.root).to_have_attribute("data-pinned", "true")


def test_a_query_that_is_not_pinned_stays_when_a_second_clip_comes(viewer):
    viewer.hover(7, 3)
    viewer.answers(2)
    viewer.page.mouse.move(0, 0)
    viewer.forget()
    viewer.show("crop|second")
    agree(viewer.answers(1), similarity(EMBEDDINGS["crop"], (0, 7, 3)))
    expect(viewer.root).to_have_attribute("data-pinned", "false")


def test_clips_of_different_layers_are_not_compared(viewer):
    viewer.show("crop|layer", state="error")
    expect(viewer.root.get_by_role("alert")).to_contain_text("different checkpoints or layers")


# --- the figure ------------------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def figure(viewer, folder, kind: str):
    """The figure in a file, which has the name that the browser was given."""
    with viewer.page.expect_download() as download:
        viewer.control("button", f"Save the figure as {kind}").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def parsed(path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_bytes())  # noqa: S314, our own


def group(root: ElementTree.Element, kind: str) -> ElementTree.Element:
    (found,) = root.iterfind(f".//{SVG}*[@class='{kind}']")
    return found


def words(root: ElementTree.Element) -> str:
    return " | ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))


def embedded(root: ElementTree.Element, kind: str) -> Image.Image:
    """A picture that an SVG holds."""
    data = group(root, kind).get("{http://www.w3.org/1999/xlink}href")
    head, _, data = data.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def chunk(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    body = data[at + 4 : at + 4 + length]
    assert struct.unpack(">I", data[at + 4 + length : at + 8 + length])[0] == zlib.crc32(kind + body)
    return body


@pytest.mark.parametrize(
    "name", ["my clip.v2.mp4", "a<b>&\"c'].mp4", "\x01\x0b\u202e${x}.mp4", "x" * 300 + ".mp4"], ids=range(4)
)
def test_a_figure_says_what_it_shows_and_prints_at_300_dpi(open_viewer, tmp_path, name):
    viewer = open_viewer(None)
    viewer.show(f"crop||{name}")
    scores = grid_of(viewer.click(5, 5), EMBEDDINGS["crop"])
    viewer.page.mouse.move(0, 0)
    viewer.page.keyboard.press("]")
    stem = re.sub(r"[^\w.-]+", "_", name.removesuffix(".mp4")).strip("._")[:80]
    png, svg = figure(viewer, tmp_path, "PNG"), figure(viewer, tmp_path, "SVG")
    assert [png.name, svg.name] == [f"{stem}-step-1.png", f"{stem}-step-1.svg"]

    root = parsed(svg)
    assert root.get("width") == "170mm"
    _, _, width, height = map(float, root.get("viewBox").split())
    assert (width, root.get("height")) == (170, f"{height:g}mm")
    said = words(root)
    printable = re.sub(r"[\x00-\x1f\u202e]", "\ufffd", name)
    assert said.startswith(printable if len(name) < 100 else "x" * 40)
    assert "step 1, 0.63–0.88 s" in said
    low, high = (end.replace("-", "−") for end in viewer.root.locator(".pv-legend span").all_inner_texts())
    assert f"{low} | {high}  centred cosine | query: step 0, row 5, column 5" in said
    assert "V-JEPA 2 Explorer · nano · 16 frames · fit: crop · last layer" in said
    assert "<" not in re.sub(r"<(/?[\w:]+|\?xml)(\s[^<>]*)?>", "", svg.read_text(encoding="utf-8")), "names are text"

    # The mark stands at its patch, faint since it belongs to another step; the heat is what the page computed.
    (mark,) = root.iterfind(f".//{SVG}g[@class='mark']")
    assert mark.get("opacity") == "0.6"
    scale = 170 / SIZE[0]
    for rect in mark.iter(f"{SVG}rect"):
        at = [float(rect.get(key)) for key in ("x", "y", "width", "height")]
        assert at == pytest.approx([scale * n for n in (70 + 5 * 11.25, 5 * 11.25, 11.25, 11.25)], abs=0.01)
    heat = np.asarray(embedded(root, "heat").convert("RGBA"), float)
    low, high = score_range(scores)
    for row, col in ((2, 3), (8, 8), (12, 14)):
        level = (scores[1, row, col] - low) / (high - low)
        pixel = heat[int((row + 0.5) / 16 * heat.shape[0]), int((70 + (col + 0.5) * 11.25) / 320 * heat.shape[1])]
        alpha = 0.6 * min(1, max(0, (level - 0.4) / 0.35))
        assert pixel[3] / 255 == pytest.approx(alpha + (1 - alpha) * 0.21, abs=0.03), (row, col)
    assert heat[:, : int(60 / 320 * heat.shape[1]), 3].max() == 0, "none where the model saw nothing"
    assert embedded(root, "frame").size[0] >= 2 * SIZE[0]

    data = png.read_bytes()
    assert struct.unpack(">IIB", chunk(data, b"pHYs")) == (11811, 11811, 1)
    image = Image.open(png)
    image.load()
    assert image.size == (2008, round(height / 25.4 * 300))
    assert np.abs(np.array(image.info["dpi"]) - 300).max() < 0.1
    assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert len(image.getcolors(maxcolors=1 << 24)) > 500

    # The SVG is the same picture in a browser.
    page = viewer.page.context.browser.new_page()
    page.set_viewport_size({"width": 700, "height": 600})
    page.goto(svg.as_uri())
    shot = Image.open(
        io.BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 642, "height": int(height / 25.4 * 96)}))
    )
    ours = np.asarray(image.convert("RGB").resize(shot.size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(shot.convert("RGB"), float) - ours).mean() < 4
    page.close()


def test_a_figure_shows_all_that_the_viewer_does(viewer, tmp_path):
    viewer.click(5, 5)
    viewer.click(9, 9, key="Shift")
    viewer.click(3, 12, key="Alt")
    viewer.control("switch", "Patch borders").click()
    viewer.control("slider", "Outline above").fill("0.2")
    viewer.control("switch", "Subtract mean").click()
    viewer.page.wait_for_timeout(300)
    root = parsed(figure(viewer, tmp_path, "SVG"))
    signs = [len(list(mark.iter(f"{SVG}path"))) for mark in root.iterfind(f".//{SVG}g[@class='mark']")]
    assert signs == [2, 2, 2], "a sign of two lines on each"
    strokes = [mark.find(f"{SVG}path").get("d").count("M") for mark in root.iterfind(f".//{SVG}g[@class='mark']")]
    assert strokes == [2, 2, 1], "plus, plus, minus"
    for kind in ("borders", "outline", "seen"):
        group(root, kind)
    assert " cosine | query: 3 patches" in words(root)
    assert "centred" not in words(root)
    viewer.control("radio", "Colours").click()
    said = words(parsed(figure(viewer, tmp_path, "SVG")))
    assert "first three principal components" in said
    assert "cosine" not in said


def test_a_figure_that_a_browser_cannot_make_is_told(viewer):
    viewer.page.evaluate("() => { Image.prototype.decode = () => Promise.reject(new Error('no')); }")
    viewer.control("button", "Save the figure as PNG").click()
    expect(viewer.root.get_by_role("alert")).to_contain_text("save it as SVG")


def test_a_figure_of_two_clips_or_a_photo(viewer, tmp_path):
    viewer.show("crop|second|one.mp4")
    viewer.click(5, 5)
    root = parsed(figure(viewer, tmp_path, "SVG"))
    assert len(list(root.iterfind(f".//{SVG}g[@class='picture']"))) == 2
    assert words(root).startswith("one.mp4  step 0, 0.13–0.38 s | second  step 0")
    assert root.get("width") == "170mm"
    viewer.show("image||cat.png")
    path = figure(viewer, tmp_path, "SVG")
    assert path.name == "cat-patches.svg"
    assert words(parsed(path)).startswith("cat.png | ")
    assert "an image as 16 frames" in words(parsed(path))
    viewer.stages.first.press("Escape")
    assert "cosine" not in words(parsed(figure(viewer, tmp_path, "SVG"))), "no heat, no scale"


def test_the_figure_of_a_clip_that_plays_is_named_after_the_step_that_it_shows(viewer, tmp_path):
    viewer.page.evaluate(
        """() => {
            const made = URL.createObjectURL, decode = HTMLImageElement.prototype.decode;
            URL.createObjectURL = (blob) => {
                if (blob.type === "image/svg+xml") window.drawn = blob.text();
                return made(blob);
            };
            HTMLImageElement.prototype.decode = async function () { // long enough for other steps to be shown
                await new Promise((resolve) => setTimeout(resolve, 1500));
                return decode.call(this);
            };
        }"""
    )
    viewer.click(5, 5)
    viewer.control("button", "Play").click()
    path = figure(viewer, tmp_path, "PNG")
    (step,) = re.findall(r"  step ([0-9]+),", viewer.page.evaluate("() => window.drawn"))
    assert path.stem.endswith(f"-step-{step}")


def test_a_clip_that_comes_while_another_is_held_is_shown_as_was_chosen_before(viewer):
    viewer.show("crop||one.mp4")
    heat = viewer.control("slider", "Heat")
    before = heat.input_value()
    hold = """(state) => {
        const { name: url } = performance.getEntriesByType("resource").findLast(({ name }) => name.includes(".bin"));
        const detail = state && { primary: { url }, name: "held.mp4", held: true, state };
        document.dispatchEvent(new CustomEvent("showclip", { detail }));
    }"""
    viewer.page.evaluate(hold, {"heat": 0.85, "step": 3, "patches": [{"at": [3, 4, 4]}]})
    expect(viewer.page.get_by_text("held.mp4")).to_be_visible()
    expect(heat).not_to_have_value(before)
    field = viewer.page.get_by_label("Which clip")
    field.fill("crop||two.mp4")
    field.press("Enter")
    viewer.page.wait_for_timeout(3000)  # it waits
    viewer.page.evaluate(hold, None)
    expect(viewer.page.get_by_text("two.mp4")).to_be_visible()
    expect(heat).to_have_value(before)


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
    for text in ("row", "under the pointer", "Heat", "16 of 100 frames sampled"):
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
    for role, name in (("button", "Play"), ("switch", "Subtract mean"), ("radio", "Subtract"), ("slider", "Heat")):
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
    viewer.more()
    for words in ("Shift + click", "Alt + click", "Space", "Esc"):
        expect(viewer.root.get_by_text(words, exact=True)).to_be_visible()
    viewer.root.get_by_text("More", exact=True).click()
    expect(viewer.root.get_by_text("Space", exact=True)).to_be_hidden()
