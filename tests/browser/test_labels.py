"""What a checkpoint's classifier calls the clip, on the page: a list, and a colouring of where it looked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import LABELS
from demo import running_demo
from playwright.sync_api import Page, expect

from vjepa_demo import explore
from vjepa_demo.options import Options
from vjepa_demo.views.similarity import unpack

WAIT_MS = 60_000


@pytest.fixture(scope="module")
def labels_url(small_classifier, tmp_path_factory) -> Iterator[str]:
    """The address of an app whose checkpoint has a classifier."""
    folder = tmp_path_factory.mktemp("labels")
    with running_demo(folder, VJEPA_DEMO_CHECKPOINT=str(small_classifier), VJEPA_DEMO_DEVICE="cpu") as address:
        yield address


def ready(page: Page) -> None:
    expect(page.get_by_label("Patch viewer", exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def test_labels_are_listed_as_text_and_the_attention_is_painted(
    page: Page, labels_url: str, video, small_classifier, console_errors, left_localhost
):
    page.set_default_timeout(WAIT_MS)
    page.goto(labels_url)
    ready(page)
    rows = page.locator(".summary .labels li")
    expect(rows).to_have_count(5)  # of the example that the page opens with
    with page.expect_response(lambda answer: answer.url.endswith("/clip0.bin")) as fetched:
        page.get_by_label("Video or image").set_input_files(video)
        ready(page)
    _, sections = unpack(fetched.value.body())
    shown = explore.embed(video, Options(str(small_classifier), fit="whole"))
    found = explore.labels_of(shown)
    np.testing.assert_allclose(sections["attention"], found.attention.reshape(-1) * found.attention.size, rtol=0.05)
    expect(rows).to_have_text([re.compile(re.escape(label) + "$") for label, _ in found.likeliest])
    shares = [float(text.split()[0]) for text in rows.all_inner_texts()]
    # The app may have chosen another precision.
    assert shares == pytest.approx([share for _, share in found.likeliest], abs=0.05)
    assert rows.locator("b").count() == 5, "a label's markup is text"
    assert LABELS[1] in page.locator(".summary .labels").inner_text()
    expect(page.locator(".summary .cautions")).to_contain_text("One clip, one view")
    expect(page.locator(".summary .cautions")).to_contain_text("given 16 (whole)")

    attention = page.get_by_role("radio", name="Attention", exact=True)
    page.locator(".pv-stage").first.hover()
    before = page.locator(".pv-stage canvas").nth(1).screenshot()
    attention.click()
    assert page.locator(".pv-stage canvas").nth(1).screenshot() != before
    (step, row, col), times = found.most(shown.embedding.patch_mask)
    page.get_by_role("button", name=re.compile(f"^Step {step},")).click()
    stage, (_, rows_there, cols) = page.locator(".pv-stage").first, shown.embedding.grid
    box = stage.bounding_box()
    page.mouse.move(box["x"] + (col + 0.5) / cols * box["width"], box["y"] + (row + 0.5) / rows_there * box["height"])
    readout = page.get_by_label("Readout")
    expect(readout).to_contain_text(f"row {row}, column {col}")
    number = float(readout.locator(".pv-number").inner_text().split()[0])
    assert number == pytest.approx(times, rel=0.06)
    share = 100 * found.attention[step].sum()
    told = int(re.search(r"(\d+) % of all is in this step", readout.inner_text())[1])
    assert told == pytest.approx(share, abs=1.5)
    expect(page).to_have_url(re.compile("map=attention"))
    page.locator("summary", has_text="More").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the figure as SVG").click()
    figure = saved.value.path().read_text(encoding="utf-8")
    assert "attention of the classifier, in multiples of the average" in figure
    assert not console_errors
    assert not left_localhost


def test_it_stays_at_another_layer_and_with_what_was_expected(page: Page, labels_url: str, console_errors):
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{labels_url}/?map=attention")
    attention = page.get_by_role("radio", name="Attention", exact=True)
    expect(attention).to_have_attribute("aria-checked", "true", timeout=WAIT_MS)
    page.get_by_role("radio", name="Surprise", exact=True).click()
    expect(page.get_by_role("slider", name="Expected after")).to_be_visible()
    attention.click()
    expect(page.get_by_label("Readout")).to_contain_text("the average attention")
    page.get_by_role("button", name="Layer, second clip, time").click()
    expect(page.get_by_label("number input for Layer")).to_be_hidden()  # the classifier reads the last one
    page.get_by_role("radio", name="Similar", exact=True).click()
    page.get_by_label("number input for Layer").fill("0")
    page.get_by_label("number input for Layer").blur()
    expect(page.get_by_text("Layer 0; the map stays with the last one.")).to_be_visible()
    ready(page)
    attention.click()
    expect(page.get_by_label("Readout")).to_contain_text("the average attention")
    assert not console_errors


def test_clips_are_compared_by_what_the_labels_are_read_off(page: Page, labels_url: str, console_errors):
    page.set_default_timeout(WAIT_MS)
    page.goto(labels_url)
    ready(page)
    way = page.get_by_role("radio", name="Classifier", exact=True)
    way.click()
    expect(page.get_by_text("Clips are compared by what the classifier makes of them.")).to_be_visible(timeout=240_000)
    expect(page.locator(".rm-way")).to_contain_text("by classifier")
    expect(page.locator(".rm-neighbours li").first).to_be_visible()
    field = page.locator(".page-checkpoint input")
    field.click()
    field.fill("nano")
    field.press("Enter")
    expect(page.locator(".summary").first).to_contain_text("192 channels", timeout=240_000)
    expect(way).to_be_hidden()
    expect(page.get_by_role("radio", name="Auto", exact=True)).to_be_checked()
    assert not console_errors


def test_without_a_classifier_there_is_neither(page: Page, demo_url: str):
    page.set_default_timeout(WAIT_MS)
    page.goto(demo_url)
    ready(page)
    expect(page.get_by_role("radio", name="Attention", exact=True)).to_be_hidden()
    expect(page.get_by_role("radio", name="Classifier", exact=True)).to_be_hidden()
    expect(page.locator(".summary .labels")).to_have_count(0)
