"""The clips' recipe: what it renders, and that the committed clips are what it renders."""

import csv
import importlib.util
import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
REFERENCES, EXAMPLES = ROOT / "assets/references", ROOT / "assets/examples"


@pytest.fixture(scope="module")
def recipe():
    """The recipe's module, or a skip where nothing can be rendered."""
    for name in ("mujoco", "dm_control"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (pip install -r assets/recipes/requirements.txt)")
    import render_clips

    try:
        render_clips.film._context()
    except Exception as error:
        pytest.skip(f"no OpenGL context for MuJoCo (apt-get install libegl1 libgl1-mesa-dri): {error}")
    return render_clips


def decode(path: Path) -> np.ndarray:
    """All frames of a video, uint8 `[T, H, W, 3]`, by the ffmpeg program."""
    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    stream = json.loads(subprocess.run(probe, capture_output=True, check=True).stdout)["streams"][0]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=in_color_matrix=bt709:in_range=tv"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, stream["height"], stream["width"], 3)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- the committed clips ----------------------------------------------------------------------------------------------


def test_the_table_lists_every_reference_and_only_these():
    table = rows(REFERENCES / "clips.csv")
    assert sorted(row["file"] for row in table) == sorted(path.name for path in REFERENCES.glob("*.mp4"))
    counts = Counter(row["label"] for row in table)
    assert len(counts) >= 12
    assert min(counts.values()) >= 8
    assert all(row["licence"] and row["description"] for row in table)


@pytest.mark.parametrize("folder", [REFERENCES, EXAMPLES], ids=["references", "examples"])
def test_committed_clips_are_small_h264_that_browsers_play(folder):
    paths = sorted(folder.glob("*.mp4"))
    assert paths
    for path in paths:
        assert path.stat().st_size < 120_000, path.name
    for path in paths[:: max(len(paths) // 4, 1)]:
        probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
        stream = json.loads(subprocess.run(probe, capture_output=True, check=True).stdout)["streams"][0]
        assert (stream["codec_name"], stream["pix_fmt"], stream["r_frame_rate"]) == ("h264", "yuv420p", "24/1")
        assert min(stream["width"], stream["height"]) >= 256
        assert 3.0 <= float(stream["duration"]) <= 4.01
        head = path.read_bytes()
        assert head.index(b"moov") < head.index(b"mdat")  # plays while it loads


def test_examples_are_no_references():
    for row in rows(EXAMPLES / "examples.csv"):
        example = (EXAMPLES / row["file"]).read_bytes()
        assert row["title"]
        assert all(example != path.read_bytes() for path in REFERENCES.glob("*.mp4"))


@pytest.mark.parametrize(("label", "number"), [("pendulum", 1), ("slide", 3)])
def test_the_recipe_remakes_a_committed_reference(recipe, label, number):
    """Peak signal-to-noise over 30 dB: the codec's loss, and nothing else, lies between them."""
    clip = recipe.shown_clip("references", label, number)
    committed = decode(REFERENCES / f"{label}_{number}.mp4")
    last = round(clip.seconds * recipe.FPS) - 1
    assert len(committed) == last + 1
    at = np.array([0, last // 2, last])
    frames, _ = recipe.film.shoot(clip.stage, clip.scene, at / recipe.FPS)
    for frame, other in zip(frames, committed[at], strict=True):
        error = np.mean((frame.astype(float) - other) ** 2)
        assert 10 * np.log10(255**2 / error) > 30
    wrong = np.mean((frames[0].astype(float) - committed[last]) ** 2)  # the measure would notice another moment
    assert wrong > 1.5 * np.mean((frames[0].astype(float) - committed[0]) ** 2)
    table = {row["file"]: row["description"] for row in rows(REFERENCES / "clips.csv")}
    assert table[f"{label}_{number}.mp4"] == clip.scene.description


# -- what the recipe renders ------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_frames(recipe):
    def frames(number: int) -> np.ndarray:
        clip = recipe.prepare("heldout", "collide", number, recipe.Look(size=64))
        return recipe.film.shoot(clip.stage, clip.scene, np.linspace(0, 1, 4))[0]

    first = frames(5)
    np.testing.assert_array_equal(first, frames(5))
    assert np.abs(first.astype(int) - frames(6)).mean() > 5


def test_masks_show_where_a_body_is(recipe):
    """A red and a blue ball over a grey floor: the simulator's masks against their colours."""
    stage = recipe.Stage(np.random.default_rng(0), recipe.Look(size=128, oversample=1, reflection=0))
    for pixels in stage.pixels.values():
        pixels[:] = 128
    for x, colour in ((-0.7, "1 0 0 1"), (0.7, "0 0 1 1")):
        stage.body(f"ball{x}", (x, 0, 1), f'<geom type="sphere" size="0.4" rgba="{colour}"/>')
    scene = recipe.Scene(label="", description="", elevation=(-50, -50), wander=0)
    frames, masks = recipe.film.shoot(stage, scene, [0.0, 0.4], masks=True)
    red, green, blue = (frames[..., i].astype(int) for i in range(3))
    for number, seen in ((1, red > 2 * green + 10), (2, blue > 2 * green + 10)):
        mask = masks == number
        assert mask.any(axis=(1, 2)).all()
        assert (mask & seen).sum() / (mask | seen).sum() > 0.97
    assert set(np.unique(masks)) == {0, 1, 2}


@pytest.mark.parametrize("label", ["walk", "cloth", "dominoes"])
def test_something_moves_in_a_family(recipe, label):
    clip = recipe.prepare("heldout", label, 0, recipe.Look(size=64, oversample=1))
    frames, masks = recipe.film.shoot(clip.stage, clip.scene, [0.0, 1.5], masks=True)
    assert (masks > 0).mean() > 0.005
    moved = np.abs(frames[0].astype(int) - frames[1]).max(axis=-1) > 30
    assert moved.mean() > 0.005


def test_the_stage_does_not_tell_the_label(recipe):
    """With one seed, floor and walls are the same whatever happens on them."""
    rooms = []
    for family in recipe.FAMILIES.values():
        stage = recipe.Stage(np.random.default_rng(4), recipe.Look())
        room = {name: pixels.copy() for name, pixels in stage.pixels.items()}
        family(stage)
        assert all((stage.pixels[name] == pixels).all() for name, pixels in room.items())
        rooms.append(room)
    assert all((a["paint0"] == rooms[0]["paint0"]).all() for a in rooms)


def test_patterns_tile_without_a_seam(recipe):
    for kind, draw in recipe.textures.PATTERNS.items():
        image = draw(np.random.default_rng(3), 256)
        for axis in (0, 1):
            steps = np.abs(np.diff(image, axis=axis, append=np.take(image, [0], axis=axis)))
            steps = steps.mean(axis=1 - axis)
            assert steps[-1] <= 1.5 * steps[:-1].max() + 1e-9, (kind, axis)
    assert set(recipe.textures.TRAINING) & set(recipe.textures.HELD_OUT) == {"plain"}


@pytest.fixture
def pictures(tmp_path):
    """A folder of photographs, one of them in three versions."""
    rng = np.random.default_rng(0)
    names = [f"photo{i}.jpg" for i in range(12)] + [f"Hill/contents/images/{n}.png" for n in ("64x64", "96x96")]
    for name in [*names, "Hill/contents/screenshot.png"]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)).resize((480, 320)).save(path)
    return tmp_path / "photos"


def test_photographs_are_split_by_name(recipe, pictures):
    training, held_out = recipe.photos.find(pictures)
    assert len(training) + len(held_out) == 13  # the screenshot and the second size are left out
    assert training
    assert held_out
    assert not set(training) & set(held_out)


def test_a_small_training_product(recipe, pictures, tmp_path):
    training, _ = recipe.photos.find(pictures)
    path = recipe.training_shard(0, tmp_path / "out", training, clips=2)
    clips = np.load(path, allow_pickle=False)
    assert (clips.shape, clips.dtype) == ((2, 16, 128, 128, 3), np.uint8)
    np.testing.assert_array_equal(clips[1], recipe.training_clip(1, training))
    assert [p.name for p in path.parent.iterdir()] == ["train_000.npy"]  # nothing half-written is left
    pan = recipe.training_clip(8, training)
    assert pan.shape == (16, 128, 128, 3)
    assert np.abs(pan[0].astype(int) - pan[-1]).mean() > 2


def test_a_held_out_clip_is_written_once(recipe, tmp_path):
    look = recipe.Look(patterns=recipe.textures.HELD_OUT)
    path = recipe.heldout_clip(("spin", 0), tmp_path, look)
    with np.load(path, allow_pickle=False) as clip:
        assert clip["frames"].shape == (16, 128, 128, 3)
        assert clip["masks"].shape == (16, 128, 128)
        assert str(clip["label"]) == "spin"
    before = path.stat().st_mtime_ns
    assert recipe.heldout_clip(("spin", 0), tmp_path, look) == path
    assert path.stat().st_mtime_ns == before


def test_a_wide_clip_shows_what_happens_from_end_to_end(recipe, tmp_path):
    look = recipe.replace(recipe.Look(patterns=recipe.textures.HELD_OUT), **recipe.WIDE)
    middles = []
    for number in range(3):
        with np.load(recipe.heldout_clip(("spin", number), tmp_path, look), allow_pickle=False) as clip:
            assert clip["frames"].shape == (16, 252, 448, 3)
            assert clip["masks"].shape == (16, 252, 448)
            middles.append(np.nonzero(clip["masks"][0])[1].mean())
    assert np.ptp(middles) > 40, "what happens is not always in the middle"
