"""The patch viewer's query in Chromium: pointer, pins, keys, touch; its numbers are those of views/similarity.py."""

from __future__ import annotations

import json
import re

import pytest
from browser.viewer_page import EMBEDDINGS, agree
from playwright.sync_api import expect

from vjepa_demo.views.similarity import score_range, similarity

# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
def test_scores_of_a_hovered_patch_are_those_of_dense(viewer, centred):
    if not centred:
        viewer.control("switch", "Subtract mean").click()
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
    viewer.control("switch", "Subtract mean").click()
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
    assert 2 <= answer["row"] < 14
    assert 2 <= answer["col"] < 14
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
    viewer.page.keyboard.press("]")
    viewer.hover(2, 12)
    viewer.page.wait_for_timeout(200)
    assert len(viewer.queries()) == count
    assert legend.get_attribute("aria-label") == before
    # The number is now the cosine of the patch under the pointer.
    expected = similarity(EMBEDDINGS["crop"], (0, 5, 5))[1, 2, 12]
    shown = viewer.root.get_by_role("complementary", name="Readout").inner_text().split()[0]
    assert float(shown) == pytest.approx(expected, abs=0.016)


@pytest.mark.parametrize("centred", [True, False])
def test_added_and_subtracted_patches(viewer, centred):
    if not centred:
        viewer.control("switch", "Subtract mean").click()
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
    heat = viewer.control("slider", "Heat")
    before = float(heat.input_value())
    press("-")
    assert float(heat.input_value()) == pytest.approx(before - 0.1)
    press("+")
    assert float(heat.input_value()) == pytest.approx(before)


def test_arrows_reach_the_ends_of_a_wide_grid(open_viewer):
    viewer = open_viewer("whole")
    viewer.click(14, 25, fit="whole")
    viewer.forget()
    ways = [("Right", 14, 26), ("Right", 14, 27), ("Down", 15, 27), ("Right", 15, 27), ("Down", 15, 27), ("Up", 14, 27)]
    for count, (way, row, col) in enumerate(ways, start=1):
        viewer.page.keyboard.press(f"Arrow{way}")
        agree(viewer.answers(count), similarity(EMBEDDINGS["whole"], (0, row, col)))


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
    viewer.control("button", "Pause").tap()
    viewer.control("button", "Clear the query").tap()
    expect(viewer.root).to_have_attribute("data-pinned", "false")


def test_without_webassembly_the_numbers_are_the_same(open_viewer):
    viewer = open_viewer(without="WebAssembly")
    assert viewer.page.evaluate("typeof WebAssembly") == "undefined"
    agree(viewer.click(5, 5), similarity(EMBEDDINGS["crop"], (0, 5, 5)))


def test_a_moment_on_the_reference_map_is_shown(viewer):
    viewer.page.evaluate("() => document.dispatchEvent(new CustomEvent('stepfocus', { detail: { step: 5 } }))")
    cell = viewer.root.get_by_role("button", name="Step 5, ")
    assert cell.get_attribute("aria-current") == "true"
