"""The reference map in Chromium, on a set whose every place and cosine is known."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from vjepa_demo.embedding import Embedding, Fingerprint, Kind, Vector
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.evaluation import evaluate
from vjepa_demo.references.store import save_thumbnail

MADE = Kind(Fingerprint("test", "1", "fp32", "even-16", "crop"))
LABELS = ("roll", "fall", "swing", "<b>spin</b>${1+1}")
EACH = 6
WIDTH = 32
NASTY = "${document.title='broken'}<img src=x onerror=alert(1)>{{value}}`"
FILE = "my clip.v2.mp4"
WAIT_MS = 30_000


def make_references(folder: Path, video: Path) -> ReferenceSet:
    """Four labels at the corners of a square, six clips each; all of them play the same video."""
    rng = np.random.default_rng(0)
    clips, vectors, places = [], [], []
    centres = rng.normal(size=(len(LABELS), WIDTH))
    for number, label in enumerate(LABELS):
        for i in range(EACH):
            name = f"{number}_{i}.mp4" if (number, i) != (3, 0) else f"{NASTY.replace('/', '')}.mp4"
            (folder / name).write_bytes(video.read_bytes())
            clips.append(ReferenceClip(name, label, f"clip {i} of {label}", "CC0"))
            vectors.append(centres[number] + 0.2 * rng.normal(size=WIDTH))
            places.append([10 * (number % 2) + np.cos(i), 10 * (number // 2) + np.sin(i)])
    hashes = tuple(f"{number:064x}" for number in range(len(clips)))
    for number, sha in enumerate(hashes):
        save_thumbnail(np.full((3, 48, 64), 10 * number, np.uint8), folder / "thumbnails" / f"{sha}.jpg")
    return ReferenceSet(
        kind=MADE,
        clips=tuple(clips),
        vectors=np.array(vectors, np.float32),
        coordinates=np.array(places, np.float32),
        hashes=hashes,
        folder=folder,
        thumbnails=(folder / "thumbnails",),
    )


def make_embedding(steps: np.ndarray, seconds: np.ndarray) -> Embedding:
    """A clip whose tokens at each time step are `steps` `[T', D]`."""
    tokens = np.repeat(steps, 4, axis=0).reshape(len(steps), 2, 2, -1).astype(np.float32)
    return Embedding(tokens, seconds, MADE.fingerprint, "cpu", (0, 0, 64, 64), (64, 64))


@pytest.fixture(scope="module")
def references(make_video, tmp_path_factory) -> ReferenceSet:
    return make_references(tmp_path_factory.mktemp("references"), make_video("clip.mp4"))


@pytest.fixture(scope="module")
def clips(references) -> dict[str, Embedding | None]:
    """What the buttons of the test page show: a clip from "roll" to "fall", one far from all, an image, and none."""
    roll, fall = references.vectors[:EACH].mean(axis=0), references.vectors[EACH : 2 * EACH].mean(axis=0)
    share = np.linspace(0, 0.4, 4)[:, None]
    noise = references.vectors.mean(axis=0) + np.random.default_rng(9).normal(size=(4, WIDTH))
    return {
        "near": make_embedding((1 - share) * roll + share * fall, np.arange(8) / 4),
        "far": make_embedding(noise, np.arange(8) / 4),
        "image": make_embedding(np.repeat(fall[None], 4, axis=0), np.zeros(8)),
        "none": None,
    }


@pytest.fixture(scope="module")
def url(references, clips) -> Iterator[str]:
    """A page with the map alone, and a button for each clip."""
    import gradio as gr

    from vjepa_demo.ui import serving, theme
    from vjepa_demo.ui.reference_map import describe_clip, map_value, reference_map

    with gr.Blocks(analytics_enabled=False) as demo:
        widget = reference_map()
        for name, clip in clips.items():
            described = clip and describe_clip(clip, references.compare(clip.vector()), name=FILE)
            gr.Button(name).click(lambda described=described: map_value(references, described), None, widget)
        gr.Button("nothing").click(lambda: None, None, widget)
    demo.launch(
        prevent_thread_lock=True,
        quiet=True,
        theme=theme.theme(),
        ssr_mode=False,
        app_kwargs={"routes": list(serving.ROUTES)},
    )
    yield demo.local_url
    demo.close()


def show(page: Page, url: str, name: str = "near") -> Locator:
    """Open the page and show one of the clips."""
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    region = page.get_by_role("region", name="Reference map")
    expect(region).to_be_attached()  # all else of the page hears clicks by then
    page.get_by_role("button", name=name, exact=True).click()
    expect(region).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    return region


def pixel(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the map is on the screen."""
    found = page.evaluate(
        """([x, y]) => {
            const plot = document.querySelector(".rm-plot"), { xaxis, yaxis } = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)];
        }""",
        [float(x), float(y)],
    )
    return found[0], found[1]


def test_it_is_empty_until_there_is_something_to_show(page, url, console_errors):
    page.goto(url)
    region = page.get_by_role("region", name="Reference map")
    expect(region).to_have_attribute("data-state", "empty", timeout=WAIT_MS)
    expect(region).to_contain_text("appears here")
    show(page, url)
    page.get_by_role("button", name="nothing").click()
    expect(region).to_have_attribute("data-state", "empty")
    assert not console_errors


def test_neighbours_and_vote_are_those_of_the_set(page, url, references, clips, console_errors, left_localhost):
    region = show(page, url)
    pooled = clips["near"].pooled()
    expected = references.compare(Vector(pooled, MADE)).neighbours(10)
    rows = region.get_by_role("list", name="Nearest references").get_by_role("listitem")
    expect(rows).to_have_count(10)
    for row, near in zip(rows.all(), expected, strict=True):
        expect(row).to_contain_text(near.file)
        assert float(row.inner_text().split()[-1]) == pytest.approx(near.cosine, abs=1e-3)
    expect(region).to_contain_text("roll · 6 of 10 nearest")
    expect(region.get_by_role("note")).to_be_hidden()
    expect(region.get_by_role("figure", name="Map of 24 reference clips in 4 labels")).to_be_visible()
    expect(region).to_contain_text("recall@10")
    right = round(100 * evaluate(references)["centred"]["knn_accuracy"])
    expect(region).to_contain_text(
        f"names the right label for {right} % of them (always naming the commonest label: 25 %)"
    )
    assert not console_errors
    assert not left_localhost


def test_the_star_is_where_the_clip_was_placed(page, url, references, clips):
    show(page, url)
    place = references.compare(Vector(clips["near"].pooled(), MADE)).flat
    star = page.evaluate("""() => {
        const trace = document.querySelector(".rm-plot").data.find((trace) => trace.meta === "clip");
        return [trace.x[0], trace.y[0]];
    }""")
    assert star == pytest.approx(place.tolist(), abs=1e-3)


def test_hovering_a_point_shows_its_thumbnail(page, url, references):
    region = show(page, url)
    page.mouse.move(*pixel(page, *references.coordinates[8]))
    tip = region.get_by_role("tooltip")
    expect(tip).to_contain_text("fall")
    expect(tip).to_contain_text("1_2.mp4")
    expect(tip).to_contain_text("cosine")
    assert tip.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 128
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()


def fetched(page: Page) -> list[str]:
    """The references whose clips the page asks for, from now on."""
    rows: list[str] = []
    clip = re.compile(r"/references/[^/]+/(\d+)$")
    page.on("request", lambda request: rows.extend(clip.findall(request.url)))
    return rows


SHIFTS = """window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((entry) => entry.value)))
        .observe({ type: "layout-shift" });"""


def test_a_point_under_the_pointer_plays_in_place(page, url, references, console_errors):
    rows = fetched(page)
    region = show(page, url)
    page.wait_for_timeout(500)
    assert rows == [], "nothing is fetched before a point is pointed at"
    before = region.get_by_role("figure").bounding_box()
    page.evaluate(SHIFTS)
    page.mouse.move(*pixel(page, *references.coordinates[8]))
    tip = region.get_by_role("tooltip")
    expect(tip).to_be_visible()
    at_first = tip.bounding_box()
    film = "document.querySelector('.rm-film video')"
    page.wait_for_function(f"() => {film} && {film}.currentTime > 0.2", timeout=WAIT_MS)
    assert page.evaluate(f"[{film}.muted, {film}.loop]") == [True, True]
    assert set(rows) == {"8"}
    assert tip.bounding_box() == at_first
    assert region.get_by_role("figure").bounding_box() == before
    assert page.evaluate("shifts") == []
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
    assert not console_errors


def test_a_pointer_that_passes_over_points_fetches_none(page, url, references):
    rows = fetched(page)
    region = show(page, url)
    page.mouse.move(*pixel(page, *references.coordinates[8]))
    expect(region.get_by_role("tooltip")).to_be_visible()
    page.mouse.move(2, 2)
    page.wait_for_timeout(400)
    assert rows == []


def test_who_wants_no_motion_sees_a_picture(open_page, url, references):
    page = open_page(reduced_motion="reduce")
    rows = fetched(page)
    region = show(page, url)
    page.mouse.move(*pixel(page, *references.coordinates[8]))
    expect(region.get_by_role("tooltip").locator("img")).to_be_visible()
    page.wait_for_timeout(400)
    assert rows == []
    page.mouse.click(*pixel(page, *references.coordinates[8]))
    expect(region.get_by_label("Reference clip: fall")).to_be_visible()
    page.wait_for_timeout(400)
    assert page.evaluate("document.querySelector('.rm-screen').paused")


def names_on(region: Locator) -> dict[str, dict[str, float]]:
    """Where each name is that is seen on the map, and that it lies within it."""
    names = {}
    box = region.get_by_role("figure").bounding_box()
    for name in region.get_by_role("group", name="Labels").get_by_role("button").all():
        if name.is_visible():
            own = names[name.inner_text()] = name.bounding_box()
            for side, size in (("x", "width"), ("y", "height")):
                assert box[side] <= own[side] <= box[side] + box[size] - own[size]
    return names


def apart(names: dict[str, dict[str, float]]) -> bool:
    return not any(
        a["x"] < b["x"] + b["width"]
        and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"]
        and b["y"] < a["y"] + a["height"]
        for a, b in itertools.combinations(names.values(), 2)
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_names_stand_on_the_map_by_their_points(page, url, references, width):
    page.set_viewport_size({"width": width, "height": 900})
    region = show(page, url)
    names = names_on(region)
    assert list(names) == list(LABELS)
    assert apart(names)
    for number, (label, box) in enumerate(names.items()):
        middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
        places = [references.coordinates[EACH * i : EACH * (i + 1)] for i in range(len(LABELS))]
        gaps = [np.linalg.norm(np.array(pixel(page, *np.median(place, axis=0))) - middle) for place in places]
        assert np.argmin(gaps) == number, label
    # They go with the points when the map is moved.
    page.evaluate("""() => {
        const plot = document.querySelector(".rm-plot"), [left, right] = plot._fullLayout.xaxis.range;
        return Plotly.relayout(plot, { "xaxis.range": [5, 5 + right - left] });
    }""")
    page.wait_for_function("() => document.querySelectorAll('.rm-away').length === 2")
    assert set(names_on(region)) == {LABELS[1], LABELS[3]}


def test_the_keyboard_reaches_every_point_and_tells_which(page, url, references, clips):
    region = show(page, url)
    region.get_by_label("Nearest references").get_by_role("button").last.focus()
    page.keyboard.press("Tab")
    points = region.get_by_role("application", name="Points of the map")
    expect(points).to_be_focused()
    assert points.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
    said = region.get_by_role("status", name="Point of the map")
    ranked = references.compare(Vector(clips["near"].pooled(), MADE)).neighbours(len(references))
    page.keyboard.press("ArrowDown")  # to the nearest reference at first
    for rank, near in enumerate(ranked, start=1):
        expect(said).to_have_text(f"{near.label}, {rank} of 24 by similarity, cosine {near.cosine:.2f}, {near.file}")
        page.keyboard.press("PageDown")
    page.keyboard.press("Home")
    expect(said).to_contain_text(", 1 of 24")
    expect(region.get_by_role("tooltip")).to_contain_text(ranked[0].file)
    ring = page.evaluate("""() => {
        const trace = document.querySelector(".rm-plot").data.find((trace) => trace.meta === "focus");
        return [trace.x[0], trace.y[0]];
    }""")
    assert ring == pytest.approx(references.coordinates[ranked[0].index].tolist(), abs=1e-3)
    page.keyboard.press("Enter")
    video = region.get_by_label(f"Reference clip: {ranked[0].label}")
    expect(video).to_be_visible()
    page.keyboard.press("Escape")
    expect(video).to_be_hidden()


def test_arrows_go_to_a_point_in_their_direction_and_l_shows_a_label_alone(page, url, references):
    region = show(page, url, "none")
    said = region.get_by_role("status", name="Point of the map")
    region.get_by_role("application", name="Points of the map").focus()
    page.keyboard.press("Home")
    expect(said).to_have_text("roll, 0_0.mp4")  # without a clip, in the order of the set
    where = {
        f"{clip.label}, {clip.file}": place
        for clip, place in zip(references.clips, references.coordinates, strict=True)
    }
    for key, way in {"ArrowUp": (0, 1), "ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowDown": (0, -1)}.items():
        before = said.inner_text()
        page.keyboard.press(key)
        expect(said).not_to_have_text(before)
        assert (where[said.inner_text()] - where[before]) @ way > 0, key
    label = said.inner_text().split(",")[0]
    page.keyboard.press("l")
    name = region.get_by_role("group", name="Labels").get_by_role("button", name=label)
    expect(name).to_have_attribute("aria-pressed", "true")
    for _ in range(EACH):
        page.keyboard.press("PageDown")
        expect(said).to_contain_text(label)


def test_the_map_is_saved_under_the_clips_name_with_a_legend(page, url, tmp_path, console_errors):
    region = show(page, url)
    saved = {}
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            region.get_by_role("button", name=f"Save the map as {kind}").click()
        assert download.value.suggested_filename == f"my clip.v2-map.{kind.lower()}"
        saved[kind] = tmp_path / kind
        download.value.save_as(saved[kind])
    legend = ElementTree.parse(saved["SVG"]).find(".//{*}g[@class='legend']")  # noqa: S314, our own
    assert ["".join(text.itertext()) for text in legend.iter("{http://www.w3.org/2000/svg}text")] == [
        *LABELS,
        "its path over time",
        FILE,
    ]
    with Image.open(saved["PNG"]) as picture:
        assert picture.size == (2400, 1600)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 22)}
    assert {(255, 255, 255), (0, 114, 178), (230, 159, 0), (0, 158, 115)} <= colours
    page.get_by_role("button", name="none", exact=True).click()
    expect(region.get_by_role("listitem")).to_have_count(0)
    with page.expect_download() as download:
        region.get_by_role("button", name="Save the map as PNG").click()
    assert download.value.suggested_filename == "reference-map.png"
    assert not console_errors


def test_clicking_a_point_plays_its_clip(page, url, references, console_errors):
    region = show(page, url)
    page.mouse.click(*pixel(page, *references.coordinates[8]))
    video = region.get_by_label("Reference clip: fall")
    expect(video).to_be_visible()
    page.wait_for_function("() => document.querySelector('.rm-screen').currentTime > 0.2", timeout=WAIT_MS)
    expect(region.get_by_role("group", name="Player")).to_contain_text("1_2.mp4 · CC0")
    assert not console_errors


def test_a_neighbour_is_played_by_keyboard(page, url):
    region = show(page, url)
    first = region.get_by_role("list", name="Nearest references").get_by_role("button").first
    first.focus()
    page.keyboard.press("Enter")
    expect(region.get_by_label("Reference clip: roll")).to_be_visible()


def test_a_click_on_a_name_shows_its_label_alone(page, url):
    region = show(page, url)
    opacities = """() => document.querySelector(".rm-plot").data.filter((trace) => trace.meta === "references")
        .map((trace) => trace.opacity)"""
    chip = region.get_by_role("group", name="Labels").get_by_role("button", name="roll")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    assert sorted(page.evaluate(opacities)) == [0.1, 0.1, 0.1, 1]
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(opacities) == [1, 1, 1, 1]


def test_names_are_where_they_were_after_one_was_clicked(page, url):
    region = show(page, url)
    before = names_on(region)
    region.get_by_role("group", name="Labels").get_by_role("button", name="fall").click()
    expect(region.get_by_role("button", name="fall", pressed=True)).to_be_visible()
    assert names_on(region) == before


def test_the_path_tells_the_step_under_the_pointer(page, url, references, clips):
    region = show(page, url)
    page.evaluate(
        "() => { window.steps = []; document.addEventListener('stepfocus', (e) => steps.push(e.detail.step)); }"
    )
    path = references.compare(Vector(clips["near"].tokens.mean(axis=(1, 2)), MADE)).flat
    # The step that stands most apart, so that no other point is nearer to the pointer.
    others = np.concatenate(
        [path, references.coordinates, references.compare(Vector(clips["near"].pooled(), MADE)).flat[None]]
    )
    apart = np.sort(np.linalg.norm(path[:, None] - others[None], axis=2), axis=1)[:, 1]
    step = int(np.argmax(apart))
    page.mouse.move(*pixel(page, *path[step]))
    expect(region.get_by_role("tooltip")).to_contain_text(f"time step {step} of 4")
    page.mouse.move(2, 2)
    page.wait_for_function(f"() => steps.includes({step}) && steps.at(-1) === null")


def test_a_step_queried_elsewhere_is_marked_on_the_path(page, url, references, clips):
    region = show(page, url)
    page.evaluate("() => document.dispatchEvent(new CustomEvent('patchquery', { detail: { step: 2 } }))")
    expect(region).to_have_attribute("data-step", "2")
    ring = page.evaluate("""() => {
        const trace = document.querySelector(".rm-plot").data.find((trace) => trace.meta === "step");
        return [trace.x[0], trace.y[0]];
    }""")
    steps = clips["near"].tokens.mean(axis=(1, 2))
    assert ring == pytest.approx(references.compare(Vector(steps, MADE)).flat[2].tolist(), abs=1e-3)


def test_a_clip_far_from_all_says_so(page, url, references, clips):
    assert references.compare(Vector(clips["far"].pooled(), MADE)).far
    region = show(page, url, "far")
    expect(region.get_by_role("note")).to_contain_text("Far from all references")
    page.get_by_role("button", name="near", exact=True).click()
    expect(region.get_by_role("note")).to_be_hidden()


def test_an_image_has_no_path_and_the_map_is_drawn_without_a_clip_too(page, url):
    region = show(page, url, "image")
    path = region.get_by_role("switch", name="Path over time")
    expect(path).to_be_hidden()
    page.get_by_role("button", name="none", exact=True).click()
    expect(region.get_by_role("listitem")).to_have_count(0)
    expect(region.get_by_role("group", name="Labels").get_by_role("button")).to_have_count(4)


def test_switches_take_path_and_lines_away(page, url):
    region = show(page, url)
    traces = "() => document.querySelector('.rm-plot').data.map((trace) => trace.meta)"
    assert {"path", "lines"} <= set(page.evaluate(traces))
    for name in ("Path over time", "Lines to the nearest"):
        region.get_by_role("switch", name=name).click()
        expect(region.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "false")
    assert not {"path", "lines"} & set(page.evaluate(traces))


def test_names_are_shown_as_text_and_never_run(page, url, references, console_errors):
    region = show(page, url)
    title_before = page.title()
    page.mouse.click(*pixel(page, *references.coordinates[18]))
    player = region.get_by_role("group", name="Player")
    expect(player).to_contain_text(NASTY)
    expect(player).to_contain_text("<b>spin</b>${1+1}")
    page.wait_for_function("() => document.querySelector('.rm-screen').readyState > 0", timeout=WAIT_MS)
    assert page.title() == title_before
    assert not console_errors


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page, url):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    region = show(page, url)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    region.get_by_role("list", name="Nearest references").get_by_role("button").first.tap()
    expect(region.get_by_label("Reference clip: roll")).to_be_visible()


def test_another_theme_recolours_the_figure(open_page, url):
    page = open_page(color_scheme="light")
    show(page, url)
    ink = "() => document.querySelector('.rm-plot').layout.font.color"
    before = page.evaluate(ink)
    page.evaluate("() => document.body.classList.toggle('dark')")
    page.wait_for_function(f"(before) => ({ink})() !== before", arg=before)
