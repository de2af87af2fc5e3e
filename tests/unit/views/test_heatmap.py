"""Pictures and films of a heatmap, and the code that makes the tokens again."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vjepa_demo.embedding import Embedding, Fingerprint
from vjepa_demo.errors import RequestError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.settings import Settings
from vjepa_demo.views import snippet as code_module
from vjepa_demo.views.heatmap import FOOT, PADDING, Mark, heatmap_image, heatmap_video
from vjepa_demo.views.loop import FORMATS, MOST_BYTES, SIDE, heat_loop, shots
from vjepa_demo.views.similarity import colour_table, score_range, similarity
from vjepa_demo.views.snippet import snippet

GREY = 160
WINDOWS = {
    "crop": (70.0, 0.0, 250.0, 180.0),
    "whole": (0.0, 0.0, 320.0, 180.0),
    "squash": (0.0, 0.0, 320.0, 180.0),
    "pad": (0.0, -70.0, 320.0, 250.0),
}


def make(fit: str, frames: int = 8) -> tuple[Clip, Embedding]:
    """A grey clip on a grid of 4 × 8 × 8, or × 14 with "whole"."""
    rng = np.random.default_rng(0)
    times = np.arange(8) * 0.25 + 0.1
    tokens = rng.standard_normal((4, 8, 14 if fit == "whole" else 8, 16)).astype(np.float32)
    made = Fingerprint("nano", "r", "fp32", "even-8", fit)
    embedding = Embedding(tokens, times, made, "cpu", WINDOWS[fit], (320, 180))
    kind = "image" if frames == 1 else "video"
    source = Source(kind, 320, 180, "h264", duration=2.0, fps=25.0, frame_count=50)
    return Clip(np.full((frames, 3, 180, 320), GREY, np.uint8), times[:frames], source, Sampling(8)), embedding


def slow_pixel(score: float, scale: tuple[float, float], grey: float = GREY, heat: float = 1) -> np.ndarray:
    """What lies over a grey pixel: the darkened picture, and the colour where the score is high."""
    level = min(1.0, max(0.0, (score - scale[0]) / (scale[1] - scale[0])))
    table, place = colour_table().astype(float), level * (len(colour_table()) - 1)
    i = min(int(place), len(table) - 2)
    colour = table[i] + (place - i) * (table[i + 1] - table[i])
    alpha = heat * 0.6 * min(1.0, max(0.0, (level - 0.4) / 0.35))
    return (1 - alpha) * (1 - 0.35 * 0.6 * heat) * grey + alpha * colour


@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
def test_every_patch_has_its_colour_in_its_place(fit, tmp_path):
    clip, embedding = make(fit)
    scores = similarity(embedding, (1, 4, 4))
    heatmap_image(clip, embedding, scores, tmp_path / "map.png")
    sheet = np.asarray(Image.open(tmp_path / "map.png")).astype(float)
    left, top, right, bottom = embedding.window
    height = round(max(bottom, 180) - min(top, 0))
    columns, cols = sheet.shape[1] // 324, embedding.grid[2]
    for step, row, col in [(0, 3, 0), (1, 4, 4), (2, 5, 7), (3, 2, cols - 2)]:
        x = left + (col + 0.5) * (right - left) / cols + step % columns * 324
        y = top + (row + 0.5) * (bottom - top) / 8 - min(top, 0) + step // columns * (height + 4)
        np.testing.assert_allclose(
            sheet[int(y), int(x)], slow_pixel(scores[step, row, col], score_range(scores)), atol=2
        )
    if fit == "pad":
        assert (sheet[20, 20] == PADDING).all()
    if fit == "crop":
        np.testing.assert_allclose(sheet[90, 20], GREY * 0.28, atol=2)


@pytest.mark.parametrize("fit", ["whole", "squash"])
def test_the_film_keeps_the_pace_and_the_map(fit, tmp_path):
    from torchcodec.decoders import VideoDecoder

    clip, embedding = make(fit)
    scores = similarity(embedding, (1, 4, 4))
    heatmap_video(clip, embedding, scores, tmp_path / "map.mp4")
    decoder = VideoDecoder(tmp_path / "map.mp4")
    assert decoder.metadata.codec == "h264"
    assert decoder.metadata.average_fps == pytest.approx(4.0)
    frames = decoder.get_frames_in_range(0, len(decoder)).data.numpy().astype(float)
    assert frames.shape == (8, 3, 180 + FOOT, 320)
    scale = score_range(scores)
    for frame, row, col in [(0, 1, 1), (3, 4, 4), (7, 6, 2)]:
        y, x = int((row + 0.5) * 180 / 8), int((col + 0.5) * 320 / embedding.grid[2])
        np.testing.assert_allclose(frames[frame, :, y, x], slow_pixel(scores[frame // 2, row, col], scale), atol=12)


def test_the_film_marks_the_query_in_its_step(tmp_path):
    from torchcodec.decoders import VideoDecoder

    clip, embedding = make("squash")
    flat = np.zeros(embedding.grid)
    heatmap_video(clip, embedding, flat, tmp_path / "map.mp4", [Mark(1, 4, 4)])
    frames = VideoDecoder(tmp_path / "map.mp4").get_frames_in_range(0, 8).data.numpy().astype(float).mean(axis=1)
    around = frames[:, 90:112, 160:200]  # patch 4, 4 is 22.5 pixels high and 40 wide
    assert (around.max(axis=(1, 2)) > 220).tolist() == [False, False, True, True, False, False, False, False]
    assert (around.min(axis=(1, 2)) < 80).all(), "a faint square in the other steps"


def test_a_film_that_nobody_waits_for_ends(tmp_path):
    clip, embedding = make("crop")
    job = Job()
    with job.running():
        job.stop()
        for write in (heatmap_video, heat_loop):
            with pytest.raises(Stopped):
                write(clip, embedding, embedding.tokens[..., 0], tmp_path / "film.mp4", [Mark(0, 1, 1)])


def test_an_image_becomes_a_film_of_its_steps(tmp_path):
    from torchcodec.decoders import VideoDecoder

    clip, embedding = make("crop", frames=1)
    embedding.timestamps[:] = 0
    heatmap_video(clip, embedding, similarity(embedding, (0, 0, 0)), tmp_path / "map.mp4")
    assert len(VideoDecoder(tmp_path / "map.mp4")) == 8


def test_scores_of_another_grid_are_refused(tmp_path):
    clip, embedding = make("crop")
    with pytest.raises(ValueError, match="grid"):
        heatmap_image(clip, embedding, np.zeros((4, 8, 9)), tmp_path / "map.png")


# --- the loop --------------------------------------------------------------------------------------------------------

TICK = 0.04  # seconds
GREYS = 60 + 15 * np.arange(8)  # of the frames of a clip that gets brighter, so that none looks like another


def brighter(fit: str) -> tuple[Clip, Embedding]:
    clip, embedding = make(fit)
    clip.frames[:] = GREYS[:, None, None, None].astype(np.uint8)
    return clip, embedding


def played(path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `[N, height, width, 3]` of a loop, as other programs decode it, and the seconds that each lasts."""
    if path.suffix == ".mp4":
        from torchcodec.decoders import VideoDecoder

        frames = VideoDecoder(path).get_frames_in_range(0, len(VideoDecoder(path)))
        return frames.data.numpy().transpose(0, 2, 3, 1).astype(float), frames.duration_seconds.numpy()
    pictures, seconds = [], []
    with Image.open(path) as file:
        assert file.info["loop"] == 0, "for ever"
        for number in range(file.n_frames):
            file.seek(number)
            pictures.append(np.asarray(file.convert("RGB"), dtype=float))
            seconds.append(file.info["duration"] / 1000)
    return np.stack(pictures), np.array(seconds)


def at_time(pictures: np.ndarray, seconds: np.ndarray, moment: float) -> np.ndarray:
    return pictures[np.searchsorted(np.cumsum(seconds), moment, side="right")]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("fit", ["crop", "whole", "pad"])
def test_a_loop_marks_the_patch_and_runs_its_heat_through_all_steps(ending, fit, tmp_path):
    clip, embedding = brighter(fit)
    cols = embedding.grid[2]
    scores = similarity(embedding, (1, 4, 4))
    ends = (-0.1, 0.5)
    heat_loop(clip, embedding, scores, tmp_path / f"l{ending}", [Mark(1, 4, 4)], ends=ends)
    pictures, seconds = played(tmp_path / f"l{ending}")
    assert seconds.sum() == pytest.approx(4, abs=TICK)
    assert len(pictures) == (100 if ending == ".mp4" else len(shots(8, 2, still=False)))
    assert max(pictures.shape[1:3]) <= SIDE
    left, top, right, bottom = embedding.window
    x0, y0 = min(left, 0), min(top, 0)
    scale = pictures.shape[2] / (max(right, 320) - x0)

    def around(picture, row, col):
        y = (top + (row + 0.5) * (bottom - top) / 8 - y0) * scale
        x = (left + (col + 0.5) * (right - left) / cols - x0) * scale
        return picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean(axis=(0, 1)), (int(y), int(x))

    # First the frame without heat, and the square.
    still = at_time(pictures, seconds, 0.3)
    for row, col in ((2, 2), (4, 4), (5, cols - 1)):
        np.testing.assert_allclose(around(still, row, col)[0], GREYS[2], atol=8)
    y, x = around(still, 4, 4)[1]
    side = int((bottom - top) / 8 * scale)
    assert still[y - side // 2 - 2 : y, x].max() > 235, "its edge above"
    assert still[y, x : x + int((right - left) / cols * scale) // 2 + 3].max() > 235, "and at its right"
    # Then every frame with its heat, from the marked one to the last and on with the first.
    each = 61 / 8
    for place, frame in enumerate((2, 3, 4, 5, 6, 7, 0, 1)):
        moment = TICK * (15 + 8 + each * (place + 0.5) + (8 if frame < 2 else 0))
        picture = at_time(pictures, seconds, moment)
        for row, col in ((2, 2), (3, 5), (5, cols - 1)):
            expected = slow_pixel(scores[frame // 2, row, col], ends, GREYS[frame])
            np.testing.assert_allclose(around(picture, row, col)[0], expected, atol=16 if ending == ".gif" else 10)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_heat_of_a_photo_comes_and_goes(ending, tmp_path):
    clip, embedding = make("squash", frames=1)
    scores = np.zeros(embedding.grid)
    scores[:, 2, 2] = 1
    heat_loop(clip, embedding, scores, tmp_path / f"l{ending}", [Mark(0, 4, 4)], ends=(0, 1))
    pictures, seconds = played(tmp_path / f"l{ending}")
    assert seconds.sum() == pytest.approx(4, abs=TICK)
    moments = np.arange(0.02, 4, 0.08)
    y, x = (int(2.5 * n / 8) for n in (pictures.shape[1] - FOOT, pictures.shape[2]))
    green = np.array([at_time(pictures, seconds, moment)[y, x, 1] for moment in moments])
    cold, hot = GREY, slow_pixel(1, (0, 1))[1]
    assert green[0] == pytest.approx(cold, abs=8)
    assert green[len(green) // 2] == pytest.approx(hot, abs=8)
    peak = len(green) // 2
    assert (np.diff(green[:peak]) * np.sign(hot - cold) > -4).all(), "it comes"
    assert (np.diff(green[peak:]) * np.sign(cold - hot) > -4).all(), "and goes"
    assert abs(green[-1] - green[0]) < 0.4 * abs(hot - cold)


@pytest.mark.parametrize("count", [2, 8, 16, 34, 48, 64])
@pytest.mark.parametrize("still", [False, True])
def test_a_loop_never_jumps_and_leaves_no_step_out(count, still):
    for first in range(0, count, 2):
        plan = shots(count, first, still=still)
        assert sum(shot.ticks for shot in plan) == 100
        assert all(shot.ticks >= 1 for shot in plan)
        assert (plan[0].frame, plan[0].heat) == (first, 0)
        hot = [shot for shot in plan if shot.heat == 1 and not shot.share]
        if still:
            assert {shot.frame for shot in plan} == {first}
        else:
            assert {shot.frame // 2 for shot in hot} == set(range(count // 2)), "every step"
        stride = 2 if count > 32 else 1
        for one, two in zip(plan, [*plan[1:], plan[0]], strict=True):
            assert abs(one.heat - two.heat) <= 0.21, (count, first, one, two)
            if (one.share, two.share, one.frame + stride) == (0, 0, two.frame):
                continue  # as the clip itself goes on
            shares = np.zeros((2, count))
            for row, shot in zip(shares, (one, two), strict=True):
                row[shot.frame] += 1 - shot.share
                row[shot.other] += shot.share
            assert np.abs(shares[0] - shares[1]).max() <= 0.21, (count, first, one, two)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_loop_of_noise_is_made_smaller_until_it_can_be_shared(ending, tmp_path):
    clip, embedding = make("whole")
    noise = np.random.default_rng(0).integers(0, 256, (8, 3, 360, 640), dtype=np.uint8)
    clip = Clip(noise, clip.timestamps, Source("video", 640, 360, "h264", duration=2.0), clip.sampling)
    embedding = Embedding(
        np.repeat(embedding.tokens, 2, axis=0)[:4], embedding.timestamps, embedding.fingerprint, "cpu",
        (0.0, 0.0, 640.0, 360.0), (640, 360),
    )  # fmt: skip
    heat_loop(clip, embedding, similarity(embedding, (0, 4, 4)), tmp_path / f"l{ending}", [Mark(0, 4, 4)])
    assert (tmp_path / f"l{ending}").stat().st_size <= MOST_BYTES
    pictures, seconds = played(tmp_path / f"l{ending}")
    assert seconds.sum() == pytest.approx(4, abs=TICK)
    assert max(pictures.shape[1:3]) >= 256


def test_a_gif_has_one_palette(tmp_path):
    clip, embedding = brighter("crop")
    heat_loop(clip, embedding, similarity(embedding, (1, 4, 4)), tmp_path / "l.gif", [Mark(1, 4, 4)])
    data = (tmp_path / "l.gif").read_bytes()
    assert data[10] & 0x80, "for all pictures"
    at, own = 13 + (3 << (data[10] & 7) + 1), []
    while data[at : at + 1] != b";":
        if data[at : at + 1] == b",":
            own.append(data[at + 9] & 0x80)
            at += 11
        else:
            at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    assert len(own) > 10
    assert not any(own)


@pytest.mark.parametrize("size", [(4, 4), (30, 20), (300, 900)])
def test_a_loop_of_any_size(size, tmp_path):
    width, height = size
    clip, embedding = make("squash")
    source = Source("video", width, height, "h264", duration=2.0)
    clip = Clip(np.full((8, 3, height, width), GREY, np.uint8), clip.timestamps, source, clip.sampling)
    made = Embedding(
        embedding.tokens, embedding.timestamps, embedding.fingerprint, "cpu", (0.0, 0.0, width, height), size
    )
    for ending in FORMATS:
        heat_loop(clip, made, similarity(made, (0, 4, 4)), tmp_path / f"l{ending}", [Mark(0, 4, 4, -1)])
        pictures, _ = played(tmp_path / f"l{ending}")
        assert max(pictures.shape[1:3]) <= SIDE


# --- the code --------------------------------------------------------------------------------------------------------


def run(code: str, file, checkpoint) -> dict:
    """Run a snippet on a file; the two names at its top are the user's to change."""
    code = re.sub(r"^FILE = .*$", lambda _: f"FILE = {str(file)!r}", code, flags=re.M)
    code = re.sub(r"^CHECKPOINT = .*$", lambda _: f"CHECKPOINT = {str(checkpoint)!r}", code, flags=re.M)
    names: dict = {}
    exec(code, names)  # noqa: S102
    return names


@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
@pytest.mark.parametrize("layer", [None, 1])
def test_the_code_makes_the_same_tokens_of_a_video(small_checkpoint, video, fit, layer):
    clip = read_clip(video, Sampling(8, start=0.3))
    embedding = get_encoder(str(small_checkpoint), "cpu", "fp32").encode(clip, fit, layer)
    made = run(snippet(embedding, clip, (1, 2, 1)), video, small_checkpoint)
    assert tuple(made["tokens"].shape) == embedding.tokens.shape
    np.testing.assert_allclose(made["tokens"].numpy(), embedding.tokens, rtol=1e-4, atol=2e-4)  # up to 18 in size
    expected = similarity(embedding, (1, 2, 1))
    seen = ~np.isnan(expected)
    np.testing.assert_allclose(made["scores"].numpy()[seen], expected[seen], atol=1e-4)


def test_the_code_runs_as_it_is_beside_the_clip_and_outside_the_repository(video, tmp_path):
    clip = read_clip(video, Sampling(4))
    embedding = get_encoder("nano", "cpu", "fp32").encode(clip)
    shutil.copy(video, tmp_path / 'my "own" clip.mp4')
    code = snippet(embedding, clip, name='my "own" clip.mp4') + "\nnp.save('tokens.npy', tokens.numpy())"
    subprocess.run([sys.executable, "-I", "-c", f"import numpy as np\n{code}"], cwd=tmp_path, check=True, timeout=120)
    assert np.abs(np.load(tmp_path / "tokens.npy") - embedding.tokens).max() < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "🎬.mp4",
        'a"; import os #.mp4',
        "a\\",
        "a\nimport os\r\u2028\x0c\x85.mp4",
        "\u202egpm.exe\u2066.mp4",
        "\udcff.mp4",
        "{{ 1 }}",
    ],
)
def test_a_name_stays_a_text_of_one_line_that_is_read_as_it_is_seen(name):
    clip, embedding = make("crop")
    code = snippet(embedding, clip, name=name)
    assert code.replace("\n", "").isprintable()
    assigned = next(node for node in ast.parse(code).body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assigned.value) == name
    assert code.count("\n") == snippet(embedding, clip).count("\n")


def test_who_is_elsewhere_is_told_where_nano_is(monkeypatch):
    clip, embedding = make("crop")
    monkeypatch.setattr(code_module, "settings", Settings(public=True))
    assert 'CHECKPOINT = "assets/nano"  # nano comes with the app: the path of this folder' in snippet(embedding, clip)
    monkeypatch.setattr(code_module, "settings", Settings(public=True, space="somebody/explorer"))
    code = snippet(embedding, clip)
    compile(code, "snippet", "exec")
    assert 'snapshot_download("somebody/explorer", repo_type="space", allow_patterns="assets/nano/*")' in code


@pytest.mark.parametrize("fit", ["crop", "whole", "pad"])
def test_the_code_makes_the_same_tokens_of_an_image(small_checkpoint, photo, fit):
    clip = read_clip(photo)
    embedding = get_encoder(str(small_checkpoint), "cpu", "fp32").encode(clip, fit)
    made = run(snippet(embedding, clip), photo, small_checkpoint)
    np.testing.assert_allclose(made["tokens"].numpy(), embedding.tokens, rtol=1e-4, atol=2e-4)  # up to 18 in size
    assert "scores" not in made


def test_the_code_reads_pixels_that_are_not_square(small_checkpoint, make_video):
    video = make_video("wide.mp4", source="testsrc2=s=160x120:r=8:d=2,setsar=3/2", frames=16)
    clip = read_clip(video, Sampling(4))
    assert clip.frames.shape[-2:] == (120, 240)
    embedding = get_encoder(str(small_checkpoint), "cpu", "fp32").encode(clip)
    made = run(snippet(embedding, clip), video, small_checkpoint)
    np.testing.assert_allclose(made["tokens"].numpy(), embedding.tokens, rtol=1e-4, atol=2e-4)  # up to 18 in size


def test_the_code_names_the_commit_of_a_hub_checkpoint():
    clip, embedding = make("crop")
    object.__setattr__(embedding, "fingerprint", Fingerprint("facebook/vjepa2-x", "abc", "bf16", "even-8", "crop"))
    code = snippet(embedding, clip)
    assert 'CHECKPOINT = "facebook/vjepa2-x"' in code
    assert code.count('revision="abc"') == 2
    assert "bf16" in code
    compile(code, "snippet", "exec")


def test_no_code_for_a_patch_outside_or_an_animated_picture():
    clip, embedding = make("crop")
    with pytest.raises(RequestError, match="outside the grid"):
        snippet(embedding, clip, (4, 0, 0))
    animated = Clip(clip.frames, clip.timestamps, Source("video", 320, 180, "gif"), clip.sampling)
    with pytest.raises(RequestError, match="animated"):
        snippet(embedding, animated)


def test_the_code_uses_nothing_of_ours():
    clip, embedding = make("pad")
    assert "import vjepa_demo" not in snippet(embedding, clip)
    assert "from vjepa_demo" not in snippet(embedding, clip)
