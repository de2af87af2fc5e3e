"""A checkpoint without stored vectors: the patches at once, the references as they come, and no point that moves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import save_checkpoint
from demo import demo_process
from playwright.sync_api import Page, expect

from vjepa_demo.references.filling import in_turn
from vjepa_demo.references.listing import STORED, read_folder, write_csv
from vjepa_demo.references.preparing import SHIPPED

WAIT_MS = 240_000
COUNT = 64  # references: twice as many as the first map is laid out of
PLACES = """() => {
  const plot = document.querySelector(".rm-plot"), found = {};
  for (const trace of plot.data ?? [])
    if (trace.meta === "references") trace.customdata.forEach((row, i) => { found[row] = [trace.x[i], trace.y[i]]; });
  return found;
}"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random, and slow enough that a set of references is not embedded at once."""
    folder = tmp_path_factory.mktemp("checkpoints") / "slow"
    return save_checkpoint(folder, crop=128, hidden_size=176, num_attention_heads=8, num_hidden_layers=18)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the shipped clips of each label, with nano's vectors of them."""
    folder = tmp_path_factory.mktemp("references") / "set"
    shutil.copytree(SHIPPED / STORED, folder / STORED)
    clips = in_turn(read_folder(SHIPPED))[:COUNT]
    for clip in clips:
        shutil.copy(SHIPPED / clip.file, folder)
    write_csv(folder, clips)
    return folder


def choose(page: Page, address: str, checkpoint: Path) -> None:
    """Open the page and choose the checkpoint; its picture of the example is there."""
    page.goto(address)
    expect(page.get_by_role("region", name="Reference map")).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    field = page.locator(".page-checkpoint input")
    field.click()
    field.fill(str(checkpoint))
    field.press("Enter")
    expect(page.locator(".summary").first).to_contain_text("176 channels", timeout=WAIT_MS)


def test_the_map_grows_without_a_reload_and_without_a_jump(open_page, checkpoint, references, tmp_path, console_errors):
    with demo_process(tmp_path, VJEPA_DEMO_REFERENCES=str(references)) as (address, process):
        page = open_page()
        choose(page, address, checkpoint)
        told = page.locator(".rm-filling")
        expect(told).to_contain_text(re.compile(rf"\d+ of {COUNT} reference clips are embedded"), timeout=WAIT_MS)
        root = page.get_by_role("region", name="Reference map")
        expect(root).to_have_attribute("data-mapped", "no")
        expect(page.locator(".rm-neighbours li").first).to_be_visible(timeout=WAIT_MS)
        expect(root).to_have_attribute("data-mapped", "no")  # neighbours come before the map
        # At another layer, and compared in another way: the references are those of the last one still.
        page.get_by_role("button", name="Layer, second clip").click()
        layer = page.get_by_role("slider", name=re.compile("Layer of the encoder"))
        layer.focus()
        layer.press("ArrowLeft")
        expect(page.get_by_text("the map stays with the last one")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("radio", name="Motion").check()
        expect(page.locator(".rm-way")).to_contain_text("by motion", timeout=WAIT_MS)
        expect(page.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_have_count(0)
        page.wait_for_function("document.querySelector('.rm-plot').data", timeout=WAIT_MS)
        expect(root).to_have_attribute("data-mapped", "yes", timeout=WAIT_MS)
        page.wait_for_function(f"Object.keys(({PLACES})()).length >= 32", timeout=WAIT_MS)
        first = page.evaluate(PLACES)
        assert not console_errors
        page.context.close()
        process.kill()
        process.wait()
    with demo_process(tmp_path, VJEPA_DEMO_REFERENCES=str(references)) as (address, _):
        page = open_page()
        choose(page, address, checkpoint)
        told = page.locator(".rm-filling")
        expect(told).to_contain_text(re.compile(rf"\d+ of {COUNT} reference clips are embedded"), timeout=WAIT_MS)
        count = int(re.match(r"\d+", told.inner_text())[0])
        assert count >= len(first) - 8, "what was embedded before the app was killed is embedded"
        page.wait_for_function(
            f"Object.keys(({PLACES})()).length >= 32 && !document.querySelector('[data-mapped=no]')", timeout=WAIT_MS
        )
        first = page.evaluate(PLACES)
        expect(told).to_be_hidden(timeout=WAIT_MS)
        expect(page.get_by_role("heading", name=f"Map of {COUNT} clips")).to_be_visible()
        page.wait_for_function(f"Object.keys(({PLACES})()).length === {COUNT}", timeout=WAIT_MS)
        last = page.evaluate(PLACES)
        span = np.linalg.norm(np.ptp(np.array(list(last.values())), axis=0))
        moved = [np.linalg.norm(np.subtract(last[row], place)) / span for row, place in first.items()]
        assert max(moved) < 0.05
        assert not console_errors
