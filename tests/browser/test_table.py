"""A table of clips as the references of the page: asked by its index, however few its clips are here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from clip_tables import write_table
from demo import running_demo
from playwright.sync_api import Page, expect

from vjepa_demo.embedding import Kind, Vector
from vjepa_demo.options import Options
from vjepa_demo.references.comparison import ReferenceSet
from vjepa_demo.references.preparing import SHIPPED, stored_set
from vjepa_demo.ui import examples, packed

pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")

WAIT_MS = 240_000
ROW = 5  # of the clip that is dropped
SPAN = (0.5, 1.5)
# A point of the map that is none of these, and over which no name stands: its row, and where it is on the screen.
FREE = """(near) => {
  const plot = document.querySelector(".rm-plot"), box = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  for (const { meta, customdata, x, y } of plot.data) {
    if (meta !== "references") continue;
    for (const [i, row] of [...customdata].entries()) {
      const at = [box.x + xaxis.d2p(x[i]), box.y + yaxis.d2p(y[i])];
      const over = document.elementFromPoint(...at)?.closest(".rm-on-map, .modebar-container");
      if (!near.includes(row) && !over && at[1] < innerHeight - 20) return [row, ...at];
    }
  }
  return null;
}"""


@dataclass
class Given:
    """The table, what it was made of, and the rows that are nearest to the clip that is dropped."""

    url: str
    labels: list[str]
    near: list[int]
    clip: Path
    references: ReferenceSet


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """The shipped references as a table with an index; the second nearest clip is not on this machine."""
    from vjepa_demo.scale import large
    from vjepa_demo.ui.serving import thumbnail_of

    shipped = packed.load(examples.files()[0], Options("nano", frames=16, fit="whole"))
    assert shipped
    kind = Kind(shipped.embedded.embedding.fingerprint, "mean")
    references = stored_set(SHIPPED, kind)
    assert references
    near = [each.index for each in references.compare(Vector(references.vectors[ROW], kind)).neighbours(10)]
    files = [str(SHIPPED / clip.file) for clip in references.clips]
    files[near[1]] = "s3://bucket/elsewhere.mp4"
    pictures = [thumbnail_of(references, sha) for sha in references.hashes]
    count = len(files)
    path = tmp_path_factory.mktemp("table") / "clips.lance"
    labels = [clip.label for clip in references.clips]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "PARTITION", 32)
        more = {"start": [SPAN[0]] * count, "end": [SPAN[1]] * count, "label": labels}
        more |= {"thumbnail": [picture and picture.read_bytes() for picture in pictures]}
        more |= {axis: references.coordinates[:, i].tolist() for i, axis in enumerate("xy")}
        write_table(path, references.vectors, references.hashes, faulty=3, kind=kind, uri=files, **more)
        large.index(str(path))
    clip = tmp_path_factory.mktemp("clip") / "dropped.mp4"
    clip.write_bytes(Path(files[ROW]).read_bytes())
    with running_demo(tmp_path_factory.mktemp("cache"), VJEPA_DEMO_REFERENCES=str(path)) as url:
        yield Given(url, labels, near, clip, references)


def drop(page: Page, given: Given) -> None:
    page.set_default_timeout(WAIT_MS)
    page.goto(given.url)
    region = page.get_by_role("region", name="Reference map")
    expect(region).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    page.get_by_label("Video or image").set_input_files(given.clip)
    expect(page.get_by_text("Done.").first).to_be_visible(timeout=WAIT_MS)
    expect(region).to_have_attribute("data-state", "ready", timeout=WAIT_MS)


def test_a_clip_finds_its_nearest_in_a_table(open_page, given: Given, console_errors, left_localhost) -> None:
    page = open_page()
    drop(page, given)
    listed = page.get_by_role("list", name="Nearest references").get_by_role("button")
    expect(listed).to_have_count(10)
    expect(listed.first).to_have_accessible_name(
        re.compile(rf"^Play {re.escape(given.labels[ROW])}, .*[.]mp4, 0[.]5–1[.]5 s, cosine (1[.]000|0[.]99\d)$")
    )
    assert [name.split(",")[0] for name in listed.evaluate_all("all => all.map((one) => one.ariaLabel)")] == [
        f"Play {given.labels[row]}" for row in given.near
    ]
    expect(listed.first.locator("img")).to_have_js_property("complete", True)
    assert listed.first.locator("img").evaluate("image => image.naturalWidth") > 0
    expect(page.get_by_role("heading", name="Map of 128 clips")).to_be_visible()
    expect(page.get_by_role("button", name="Your own references")).to_have_count(0)
    expect(page.get_by_text("Compare by", exact=True)).to_have_count(0)
    more = page.locator(".rm-more")
    more.locator("summary").click()
    expect(more).to_contain_text("The index finds")
    more.locator("summary").click()

    listed.first.click()
    video = page.locator(".rm-player video")
    expect(video).to_have_attribute("src", re.compile(rf"/{ROW}#t=0[.]5,1[.]5$"))
    page.wait_for_function("() => document.querySelector('.rm-player video').currentTime >= 0.5")
    video.evaluate("film => { film.currentTime = 1.6; }")
    page.wait_for_function("() => { const at = document.querySelector('.rm-player video').currentTime;"
                           " return at >= 0.4 && at < 1.4; }")  # fmt: skip
    listed.nth(1).click()
    expect(page.get_by_text("This clip's file is not on this machine.")).to_be_visible()
    assert page.locator(".rm-player img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.get_by_role("button", name="Close the player").click()

    row, x, y = page.evaluate(FREE, given.near)
    page.mouse.move(x, y)
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text(given.labels[row])
    expect(tip).to_contain_text("0.5–1.5 s")
    expect(tip).not_to_contain_text("cosine")
    page.mouse.move(5, 5)

    points = page.get_by_role("application", name="Points of the map")
    points.focus()
    points.press("Home")
    points.press("PageDown")
    said = page.get_by_role("status", name="Point of the map")
    expect(said).to_contain_text(f"{given.labels[given.near[1]]}, 2 of 10 by similarity")
    points.press("End")
    expect(said).to_contain_text("10 of 10 by similarity")
    assert not console_errors
    assert not left_localhost


def test_a_clip_of_another_kind_is_led_to_the_tables(open_page, given: Given, console_errors) -> None:
    page = open_page()
    drop(page, given)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("crop", exact=True).check()
    told = (
        "The references are embedded in another way, so there is no map. Choose nano, 16 frames, spread evenly, whole"
    )
    expect(page.get_by_text(told)).to_be_visible()
    page.get_by_role("button", name="Or show the clip as 16 frames, spread evenly, whole").click()
    expect(page.get_by_text("Done.").first).to_be_visible()
    expect(page.get_by_role("list", name="Nearest references").get_by_role("button")).to_have_count(10)
    assert not console_errors


def test_what_is_within_the_table_is_listed(open_page, given: Given, console_errors, left_localhost) -> None:
    """Held against all pairs of cosines of the exact set."""
    page = open_page()
    drop(page, given)
    page.get_by_role("button", name="Within these clips").click()
    cosines = given.references.unit @ given.references.unit.T
    np.fill_diagonal(cosines, -1)
    above = np.floor(np.sort(cosines, axis=None)[-10] * 1000) / 1000  # about five pairs: in the matrix each is twice
    pairs = np.argwhere(np.triu(cosines >= above))
    most = max(pairs, key=lambda pair: cosines[tuple(pair)])

    field = page.get_by_label("Near-duplicates: cosine from")
    field.fill(f"{above:g}")
    page.get_by_role("button", name="Near-duplicates").click()
    found = page.get_by_role("region", name="Near-duplicates")
    expect(found).to_contain_text(f"{len(pairs)} pairs of 128 clips have a cosine of {above:g} or more.")
    first = found.get_by_role("listitem").first
    assert float(first.locator(".wi-cosine").inner_text()) == pytest.approx(cosines[tuple(most)], abs=6e-4)
    assert first.locator("img").evaluate_all("all => all.map((one) => new URL(one.src).pathname.split('/').pop())") == [
        f"{row}.jpg" for row in most
    ]
    first.get_by_role("button").first.click()
    expect(page.locator(".rm-player video")).to_have_attribute("src", re.compile(rf"/{most[0]}#t=0[.]5,1[.]5$"))

    page.get_by_role("button", name="Odd ones").click()
    found = page.get_by_role("region", name="Odd ones")
    told = re.search(r"(\d+) of 128 clips have no other with a cosine of ([\d.]+)", found.inner_text())
    odd = np.sort(cosines.max(axis=1))[: int(told[1])]  # the threshold is told to a hundredth
    assert odd.max() < float(told[2]) + 0.005 < np.sort(cosines.max(axis=1))[len(odd)] + 0.01
    assert [float(text) for text in found.locator(".wi-cosine").all_inner_texts()] == pytest.approx(odd, abs=6e-4)

    page.get_by_label("Clusters (0: as many as there are)").fill("5")
    page.get_by_role("button", name="Clusters", exact=True).click()
    found = page.get_by_role("region", name="Clusters")
    expect(found).to_contain_text("5 clusters of 128 clips.")
    sizes = [int(text.split()[0]) for text in found.locator(".wi-said").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 128

    page.get_by_role("button", name="Like the pinned patch").click()
    expect(page.get_by_text("No patch of this clip is pinned")).to_be_visible()
    expect(found).to_be_visible()
    page.get_by_role("application", name=re.compile("Frame of step")).first.click()
    alike = page.get_by_role("region", name="Like a patch of dropped.mp4")
    for _ in range(20):  # the server hears of a pin a moment later
        page.get_by_role("button", name="Like the pinned patch").click()
        page.wait_for_timeout(500)
        if alike.is_visible():
            break
    expect(alike.get_by_role("listitem")).to_have_count(50)
    page.get_by_role("group", name="Examples").get_by_role("button").nth(1).click()
    expect(alike).to_have_count(0)  # it was of the clip before
    expect(page.get_by_role("figure", name="cradle.mp4")).to_be_visible()
    page.get_by_role("button", name="Like the pinned patch").click()
    expect(page.get_by_text("No patch of this clip is pinned")).to_be_visible()

    field.fill("-1")
    page.get_by_role("button", name="Near-duplicates").click()
    expect(page.get_by_role("region", name="Near-duplicates")).to_contain_text("8,128 pairs")
    expect(page.get_by_role("region", name="Near-duplicates").get_by_role("listitem")).to_have_count(50)
    assert not console_errors
    assert not left_localhost
