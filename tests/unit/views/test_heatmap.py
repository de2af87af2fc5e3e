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
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.settings import Settings
from vjepa_demo.views import snippet as code_module
from vjepa_demo.views.heatmap import FOOT, PADDING, heatmap_image, heatmap_video
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


def slow_pixel(score: float, scale: tuple[float, float]) -> np.ndarray:
    """What lies over a grey pixel: the darkened picture, and the colour where the score is high."""
    level = min(1.0, max(0.0, (score - scale[0]) / (scale[1] - scale[0])))
    table, place = colour_table().astype(float), level * (len(colour_table()) - 1)
    i = min(int(place), len(table) - 2)
    colour = table[i] + (place - i) * (table[i + 1] - table[i])
    alpha = 0.6 * min(1.0, max(0.0, (level - 0.4) / 0.35))
    return (1 - alpha) * (1 - 0.35 * 0.6) * GREY + alpha * colour


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
    heatmap_video(clip, embedding, flat, tmp_path / "map.mp4", [(1, 4, 4)])
    frames = VideoDecoder(tmp_path / "map.mp4").get_frames_in_range(0, 8).data.numpy().astype(float).mean(axis=1)
    around = frames[:, 90:112, 160:200]  # patch 4, 4 is 22.5 pixels high and 40 wide
    assert (around.max(axis=(1, 2)) > 220).tolist() == [False, False, True, True, False, False, False, False]


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
    assert np.abs(made["tokens"].numpy() - embedding.tokens).max() < 1e-4
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
    assert np.abs(made["tokens"].numpy() - embedding.tokens).max() < 1e-4
    assert "scores" not in made


def test_the_code_reads_pixels_that_are_not_square(small_checkpoint, make_video):
    video = make_video("wide.mp4", source="testsrc2=s=160x120:r=8:d=2,setsar=3/2", frames=16)
    clip = read_clip(video, Sampling(4))
    assert clip.frames.shape[-2:] == (120, 240)
    embedding = get_encoder(str(small_checkpoint), "cpu", "fp32").encode(clip)
    made = run(snippet(embedding, clip), video, small_checkpoint)
    assert np.abs(made["tokens"].numpy() - embedding.tokens).max() < 1e-4


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
