"""What the model's predictor did not expect, on the page: a colouring, a curve, a mosaic, an address."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from demo import running_demo
from first_load import WAIT_MS, ready
from PIL import Image
from playwright.sync_api import Page, expect

from vjepa_demo import explore
from vjepa_demo.options import Options
from vjepa_demo.ui import pairs
from vjepa_demo.views.similarity import unpack
from vjepa_demo.views.surprise import Windows


def surprised(page: Page) -> None:
    """Ask for it, and wait until it is there."""
    page.get_by_role("radio", name="Surprise", exact=True).click()
    expect(page.get_by_role("slider", name="Expected after")).to_be_visible(timeout=WAIT_MS)


def test_the_numbers_are_those_of_the_view(app: Page, video, console_errors, left_localhost):
    app.get_by_label("Video or image").set_input_files(video)
    expect(app.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(app)
    with app.expect_response(lambda answer: answer.url.endswith("/clip0.bin")) as fetched:
        surprised(app)
    header, sections = unpack(fetched.value.body())
    shown = explore.embed(video, Options("nano", 16, fit="whole", precision=header.get("precision", "auto")))
    found = explore.surprise_of(shown, Windows())
    np.testing.assert_allclose(sections["curve"][0], found.surprise, rtol=0.02)
    np.testing.assert_allclose(sections["errors"].reshape(found.per_patch.shape), found.per_patch, rtol=0.2)
    assert header["expected"] == [1, 2, 3, 4, 5, 6, 7]
    drawn = explore.expected_of(shown)
    assert (sections["nearest"].reshape(drawn.nearest.shape) == drawn.nearest).mean() > 0.9
    readout = app.get_by_label("Readout")
    app.get_by_role("button", name=re.compile("^Step 3,")).click()
    app.locator(".pv-stage").first.hover()
    expect(readout).to_contain_text("surprise of this patch")
    expect(readout).to_contain_text(f"{found.surprise[3]:.2f} in its step")
    assert not console_errors
    assert not left_localhost


def test_what_was_expected_is_drawn_beside_what_came(app: Page, console_errors):
    stage = app.locator(".pv-stage").first
    surprised(app)
    whole = stage.bounding_box()
    app.get_by_role("slider", name="Expected after").fill("2")
    expect(app.get_by_text("what was expected after 2 steps")).to_be_visible()
    both = stage.bounding_box()
    assert both["width"] / both["height"] == pytest.approx(2 * whole["width"] / whole["height"], rel=0.03)
    app.get_by_role("slider", name="Heat").fill("0")
    app.get_by_role("button", name=re.compile("^Step 1,")).click()  # one that was seen
    seen = halves(stage.screenshot())
    assert np.abs(seen[0] - seen[1]).mean() < 6, "what was seen is shown as it is"
    app.get_by_role("button", name=re.compile("^Step 6,")).click()
    guessed = halves(stage.screenshot())
    assert np.abs(guessed[0] - guessed[1]).mean() > 6
    app.get_by_role("slider", name="Expected after").fill("0")
    assert stage.bounding_box()["width"] / stage.bounding_box()["height"] == pytest.approx(
        whole["width"] / whole["height"], rel=0.03
    )
    assert not console_errors


def halves(picture: bytes) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), float)
    half = image.shape[1] // 2
    return image[8:-8, 8 : half - 8], image[8:-8, half + 8 : 2 * half - 8]


def test_the_square_is_on_what_came_and_on_what_was_expected(app: Page):
    surprised(app)
    app.get_by_role("slider", name="Expected after").fill("2")
    app.get_by_role("slider", name="Heat").fill("0")
    stage = app.locator(".pv-stage").first
    box = stage.bounding_box()
    for half in (0.1, 0.6):  # the square is where the pointer is, and at the same place of the other half
        stage.hover(position={"x": half * box["width"], "y": 0.3 * box["height"]})
        expect(app.get_by_label("Readout")).to_contain_text("column")
        halves_marked = app.locator(".pv-stage canvas").nth(1).evaluate(MARKED)
        assert halves_marked[0] > 50
        assert halves_marked == [halves_marked[0]] * 2


# How many pixels of each half of a canvas are white, as the line of a square is.
MARKED = """(canvas) => {
    const { width, height } = canvas, half = width >> 1, context = canvas.getContext("2d");
    return [0, half].map((x) => {
        const { data } = context.getImageData(x, 0, half, height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i] > 250 && data[i + 3] > 250) count++;
        return count;
    });
}"""


def current_step(page: Page) -> str | None:
    return page.locator(".pv-cells button[aria-current=true]").first.get_attribute("data-step")


def test_a_click_on_the_strip_or_the_curve_goes_to_its_step_and_pins_nothing(app: Page):
    surprised(app)
    viewer = app.get_by_label("Patch viewer", exact=True)
    app.get_by_role("button", name=re.compile("^Step 3,")).click()
    assert current_step(app) == "3"
    under = app.get_by_role("button", name=re.compile("^Step 6,")).bounding_box()
    app.mouse.click(under["x"] + under["width"] / 2 + 3, under["y"] + under["height"] + 16)
    assert current_step(app) == "6"
    under = app.get_by_role("button", name=re.compile("^Step 2,")).bounding_box()
    app.mouse.move(under["x"] + under["width"] / 2, under["y"] + under["height"] + 20)
    expect(app.locator(".pv-cells button[aria-current=true]").first).to_have_attribute("data-step", "2")
    expect(viewer).to_have_attribute("data-pinned", "false")
    expect(app.get_by_label("Readout")).to_contain_text("surprise of this step")
    app.get_by_role("radio", name="Similar", exact=True).click()
    app.get_by_role("button", name=re.compile("^Step 2,")).click()
    expect(viewer).to_have_attribute("data-pinned", "true")


def test_a_pair_is_one_click_and_an_address(app: Page, open_page, console_errors, left_localhost):
    surprised(app)
    chosen = next(pair for pair in pairs.known() if pair.out_of_sight)
    app.get_by_role("button", name=chosen.title).click()
    expect(app.get_by_text("Both curves on one axis")).to_be_visible(timeout=WAIT_MS)
    told = app.locator(".pv-axis").inner_text()
    means = [float(number) for number in re.search(r"Mean surprise ([\d.]+) and ([\d.]+)", told).groups()]
    options = Options("nano", pairs.FRAMES, fit="whole")
    wanted = [explore.surprise_of(explore.embed(path, options)).json()["mean"] for path in chosen[:2]]
    assert means == pytest.approx(wanted, rel=0.02)
    assert ("the second surprises more" in told) == (means[1] > means[0])
    assert app.locator(".pv-name").all_inner_texts() == [path.name for path in chosen[:2]]
    expect(app).to_have_url(re.compile(f"clip={chosen.possible.stem}&.*map=surprise"))
    other = open_page()
    other.set_default_timeout(WAIT_MS)
    other.goto(app.url)
    expect(other.get_by_text("Both curves on one axis")).to_be_visible(timeout=WAIT_MS)
    assert other.locator(".pv-name").all_inner_texts() == [path.name for path in chosen[:2]]
    assert not console_errors
    assert not left_localhost


def test_what_belongs_to_surprise_is_seen_with_it(app: Page):
    together = app.get_by_role("region", name="Possible and impossible")
    app.get_by_role("button", name="Layer, second clip, time").click()
    layer, told = app.get_by_label("number input for Layer"), app.get_by_text("read off the last layer")
    expect(layer).to_be_visible()
    expect(together).to_be_hidden()
    expect(told).to_be_hidden()
    surprised(app)
    expect(together).to_be_visible()
    expect(layer).to_be_hidden()
    expect(told).to_be_visible()


def test_the_tools_stand_in_one_row(app: Page):
    app.set_viewport_size({"width": 1280, "height": 720})
    app.locator(".pv-stage").first.click()  # what can be done with a pin shows
    parts = [app.locator(".pv-tools > :visible").first, app.locator(".pv-more")]
    for name in ("Similar", "Surprise"):
        app.get_by_role("radio", name=name, exact=True).click()
        if name == "Surprise":
            expect(app.get_by_role("slider", name="Expected after")).to_be_visible(timeout=WAIT_MS)
        first, last = (part.bounding_box() for part in parts)
        assert last["y"] < first["y"] + first["height"], name


def test_surprise_is_not_forgotten_over_a_photo(app: Page, photo, video):
    surprised(app)
    app.get_by_label("Video or image").set_input_files(photo)
    expect(app.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(app)
    expect(app.get_by_role("radio", name="Similar", exact=True)).to_have_attribute("aria-checked", "true")
    app.get_by_label("Video or image").set_input_files(video)
    expect(app.get_by_role("slider", name="Expected after")).to_be_visible(timeout=WAIT_MS)
    expect(app.get_by_role("radio", name="Surprise", exact=True)).to_have_attribute("aria-checked", "true")


def test_an_address_brings_it_back(app: Page, open_page, demo_url: str, console_errors):
    surprised(app)
    app.get_by_role("slider", name="Expected after").fill("3")
    app.get_by_role("button", name=re.compile("^Step 5,")).click()
    expect(app).to_have_url(re.compile(r"map=surprise.*seen=3|seen=3.*map=surprise"))
    other = open_page()
    other.set_default_timeout(WAIT_MS)
    other.goto(app.url)
    expect(other.get_by_text("what was expected after 3 steps")).to_be_visible(timeout=WAIT_MS)
    expect(other.get_by_role("radio", name="Surprise", exact=True)).to_have_attribute("aria-checked", "true")
    assert not console_errors


def test_a_picture_has_none(app: Page, photo):
    app.get_by_label("Video or image").set_input_files(photo)
    expect(app.get_by_text("Done.")).to_be_visible(timeout=WAIT_MS)
    ready(app)
    expect(app.get_by_role("radio", name="Surprise", exact=True)).to_be_hidden()


def test_a_checkpoint_without_predictor_says_so_and_the_map_stays(page: Page, small_checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    bare = tmp_path / "bare"
    bare.mkdir()
    for path in small_checkpoint.iterdir():
        (bare / path.name).write_bytes(path.read_bytes())
    weights = load_file(bare / "model.safetensors")
    save_file({name: one for name, one in weights.items() if "predictor" not in name}, bare / "model.safetensors")
    page.set_default_timeout(WAIT_MS)
    with running_demo(tmp_path, VJEPA_DEMO_CHECKPOINT=str(bare), VJEPA_DEMO_DEVICE="cpu") as address:
        page.goto(address)
        viewer = page.get_by_label("Patch viewer", exact=True)
        expect(viewer).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
        page.get_by_role("radio", name="Surprise", exact=True).click()
        expect(page.get_by_text("This checkpoint has no predictor")).to_be_visible(timeout=WAIT_MS)
        similar = page.get_by_role("radio", name="Similar", exact=True)
        expect(similar).to_have_attribute("aria-checked", "true", timeout=WAIT_MS)


def test_time_tests_are_a_table(app: Page, demo_url: str):
    app.get_by_role("button", name="Layer, second clip, time").click()
    app.get_by_role("button", name=re.compile("Time tests")).click()
    table = app.locator(".tests table")
    expect(table.get_by_role("row")).to_have_count(5, timeout=WAIT_MS)
    expect(table).to_contain_text("backwards")
    cells = json.loads(json.dumps(table.locator("td").all_inner_texts()))[2:]
    assert all(text == "–" or -1 <= float(text) <= 1 for text in cells)
