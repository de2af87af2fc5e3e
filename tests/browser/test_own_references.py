"""A visitor's own references on the real page: added, seen by nobody else, renamed, removed, saved and brought back."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo import running_demo
from playwright.sync_api import Locator, Page, expect

from vjepa_demo.references.comparison import ReferenceClip
from vjepa_demo.references.listing import write_csv

WAIT_MS = 120_000


@pytest.fixture(scope="module")
def base(make_video, tmp_path_factory) -> Path:
    """A small set, so that the app starts soon: six clips in two labels."""
    folder = tmp_path_factory.mktemp("base")
    clips = []
    for number in range(6):
        label = ("bars", "squares")[number % 2]
        picture = f"geq=lum='mod({'X' if number % 2 else 'Y'}*{number + 2},255)':cb=128:cr=128"
        shutil.copy(make_video(f"{label}{number}.mp4", picture=picture), folder)
        clips.append(ReferenceClip(f"{label}{number}.mp4", label))
    write_csv(folder, clips)
    return folder


@pytest.fixture(scope="module")
def url(base, tmp_path_factory) -> Iterator[str]:
    """The app as on a public Space: what is added lives with the page."""
    with running_demo(
        tmp_path_factory.mktemp("demo"),
        VJEPA_DEMO_REFERENCES=str(base),
        VJEPA_DEMO_PUBLIC="1",
        GRADIO_SERVER_NAME="127.0.0.1",
        OMP_NUM_THREADS="1",
    ) as address:
        yield address


@pytest.fixture(scope="module")
def uploads(make_video, tmp_path_factory) -> list[Path]:
    """A good clip, and a file that is none."""
    folder = tmp_path_factory.mktemp("uploads")
    shutil.copy(make_video("mine.mp4", picture="geq=lum='mod(X+8*N,255)':cb=128:cr=128"), folder / "mine.mp4")
    (folder / "broken.mp4").write_text("not a video")
    return [folder / "mine.mp4", folder / "broken.mp4"]


def open_map(page: Page, url: str) -> Locator:
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    region = page.get_by_role("region", name="Reference map")
    expect(region).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    page.get_by_role("button", name="Your own references").click()
    return region


def labels(region: Locator) -> Locator:
    return region.get_by_role("group", name="Labels").get_by_role("button")


def upload(page: Page, files: list[Path], label: str) -> None:
    page.locator("input[type=file][multiple]").set_input_files(files)
    for file in files:
        expect(page.locator(".own-drop").get_by_text(file.stem, exact=False).first).to_be_visible()
    page.get_by_label("Label of the new clips").fill(label)
    page.get_by_role("button", name="Add to the map").click()


def choose(page: Page, name: str) -> None:
    box = page.get_by_label("Clips of the set")
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name).first.click()
    page.keyboard.press("Escape")


def places(page: Page) -> dict[int, tuple[float, float]]:
    """Where the first six references are on the map."""
    return page.evaluate("""() => {
        const found = {};
        for (const trace of document.querySelector(".rm-plot").data) {
            if (trace.meta !== "references") continue;
            trace.customdata.forEach((row, i) => { if (row < 6) found[row] = [trace.x[i], trace.y[i]]; });
        }
        return found;
    }""")


def test_own_clips_are_added_seen_by_nobody_else_and_come_back(open_page, url, uploads, tmp_path, console_errors):
    mine, other = open_page(), open_page()
    region, foreign = open_map(mine, url), open_map(other, url)
    before = places(mine)

    upload(mine, uploads, "holidays")
    told = mine.get_by_role("alert").filter(has_text="Only 1 of 2 added; 1 could not be: broken.mp4: ")
    expect(told).to_contain_text("neither a video nor an image", timeout=WAIT_MS)
    expect(labels(region)).to_have_count(3)
    assert places(mine) == before

    # Another visitor's next clip is placed among the shipped references alone.
    other.reload()
    expect(foreign).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(labels(foreign)).to_have_count(2)
    expect(foreign).not_to_contain_text("holidays")

    with mine.expect_download(timeout=WAIT_MS) as download:
        mine.get_by_role("button", name="Save the set").click()
    download.value.save_as(tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert "clips.csv" in archive.namelist()
        assert any(name.startswith("own/holidays/mine") for name in archive.namelist())

    choose(mine, "mine.mp4")
    mine.get_by_label("New label").fill("at home")
    mine.get_by_role("button", name="Rename", exact=True).click()
    expect(labels(region).filter(has_text="at home")).to_be_visible(timeout=WAIT_MS)
    assert places(mine) == before

    choose(mine, "mine.mp4")
    mine.get_by_role("button", name="Remove", exact=True).click()
    expect(labels(region)).to_have_count(2, timeout=WAIT_MS)
    assert places(mine) == before
    expect(mine.get_by_text("1 clip removed.")).to_be_visible()
    mine.get_by_role("button", name="Undo").click()
    expect(mine.get_by_text("1 clip brought back.")).to_be_visible(timeout=WAIT_MS)
    expect(labels(region).filter(has_text="at home")).to_be_visible()
    assert places(mine) == before
    expect(mine.get_by_role("button", name="Undo")).to_be_hidden()

    other.get_by_role("button", name="Your own references").click()
    other.locator("input[type=file][multiple]").set_input_files(tmp_path / "set.zip")
    expect(other.get_by_text("set", exact=False).first).to_be_visible()
    other.get_by_role("button", name="Add to the map").click()
    expect(other.get_by_text("1 clip added.")).to_be_visible(timeout=WAIT_MS)
    expect(labels(foreign)).to_have_count(3)
    assert not console_errors


def test_a_mistake_leaves_the_map_as_it_is(page, url, uploads):
    region = open_map(page, url)
    page.get_by_role("button", name="Add to the map").click()
    expect(page.get_by_role("alert").filter(has_text="nothing to add")).to_be_visible(timeout=WAIT_MS)
    upload(page, uploads[:1], " ")
    expect(page.get_by_role("alert").filter(has_text="need a label")).to_be_visible(timeout=WAIT_MS)
    expect(labels(region)).to_have_count(2)


def test_an_addition_can_be_cancelled_and_leaves_nothing(page, url, uploads, tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(100):  # the same clip with another tail, so that each is one of its own
            archive.writestr(f"{number}.mp4", uploads[0].read_bytes() + bytes([number]) * 8)
    region = open_map(page, url)
    upload(page, [tmp_path / "many.zip"], "many")
    panel = page.locator(".status").last
    expect(panel).to_contain_text("Embedding reference clips", timeout=WAIT_MS)
    page.get_by_role("button", name="Cancel").last.click()
    expect(panel).to_have_text("Cancelled. The references are as they were.", timeout=5000)
    page.wait_for_timeout(2000)
    expect(panel).to_have_text("Cancelled. The references are as they were.")
    expect(labels(region)).to_have_count(2)


def test_a_folder_gives_its_name_as_the_label(page, url, uploads, tmp_path):
    (tmp_path / "walks in the rain").mkdir()
    shutil.copy(uploads[0], tmp_path / "walks in the rain" / "one.mp4")
    region = open_map(page, url)
    page.locator("input[type=file][webkitdirectory]").set_input_files(tmp_path / "walks in the rain")
    expect(page.locator(".own-drop").get_by_text("one", exact=False).first).to_be_visible()
    expect(page.get_by_label("Label of the new clips")).to_have_value("walks in the rain")
    page.get_by_role("button", name="Add to the map").click()
    expect(labels(region).filter(has_text="walks in the rain")).to_be_visible(timeout=WAIT_MS)


def test_a_damaged_zip_is_named(page, url, tmp_path):
    (tmp_path / "torn.zip").write_bytes(b"PK and no more")
    open_map(page, url)
    upload(page, [tmp_path / "torn.zip"], "x")
    expect(page.get_by_role("alert").filter(has_text="torn.zip: The zip is damaged")).to_be_visible(timeout=WAIT_MS)
