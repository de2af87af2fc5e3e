"""The reference map in Chromium, on a set whose every place and cosine is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
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
        css=theme.stylesheet(),
        ssr_mode=False,
        app_kwargs={"routes": list(serving.ROUTES)},
    )
    yield demo.local_url
    demo.close()


def show(page: Page, url: str, name: str = "near") -> Locator:
    """Open the page and show one of the clips."""
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    page.get_by_role("button", name=name, exact=True).click()
    region = page.get_by_role("region", name="Reference map")
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


def test_a_legend_click_isolates_a_label(page, url):
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
