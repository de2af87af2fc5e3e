"""Renders the clips of this project with MuJoCo: references, examples, training and held-out clips.

    python assets/recipes/render_clips.py references|examples|training|heldout
                                          [--out DIR] [--count N] [--start N] [--photos DIR] [--workers N] [--wide]

A clip is determined by its product, its label and its number alone, so a run can stop and resume or be
split over machines: a file that exists is skipped. Without a display MuJoCo needs EGL (README.md says how).

    references  --count clips of each label from number --start on: LABEL_N.mp4 and clips.csv
    examples    the clips of `EXAMPLES`, of seeds that no reference has: LABEL.mp4 and examples.csv
    training    --count shards of 100 clips from shard --start on: train_NNN.npy, uint8 [100, 16, 128, 128, 3]
    heldout     --count clips of each label and eight times as many free scenes: LABEL_N.npz and free_N.npz with
                frames uint8 [16, 128, 128, 3], masks int16 [16, 128, 128] (object ids, 0 is what cannot move), label;
                with --wide 252 x 448 pixels, for `fits.py`
"""

import argparse
import csv
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scenes import FAMILIES, film, photos, textures
from scenes.free import free
from scenes.stage import Look, Scene, Stage

HERE = Path(__file__).resolve().parent
Array = np.ndarray
PRODUCTS = {"training": 1, "heldout": 2, "references": 3, "examples": 4}
FRAMES, SIDE = 16, 128  # of a training or held-out clip: what the embedded checkpoint takes
WIDE = {"size": 252, "width": 448, "oversample": 1}  # 16:9; it is averaged down when it is embedded
SHARD = 100  # training clips in one file
FPS = 24
LIMIT = 110_000  # bytes of one committed clip
SHOWN = Look(
    size=288,
    shadow_lights=1,
    shadow_size=2048,
    shadow_reach=13,
    texture=512,
    reflection=0.4,
    patterns=tuple(textures.PATTERNS),
)
# References whose own seed gives a poor picture (the event out of the frame, colours too alike) take another seed.
RETAKES = {
    ("bounce", 4): 10,
    ("topple", 4): 10,
    ("pendulum", 6): 8,
    ("cradle", 4): 10,
    ("cradle", 6): 9,
    ("rope", 2): 8,
    ("pour", 0): 9,
    ("arm", 7): 9,
    ("fall", 4): 9,
    ("orbit", 7): 9,
}
EXAMPLES = {
    "dominoes": (3, "Dominoes"),
    "cradle": (0, "Newton's cradle"),
    "cloth": (2, "A cloth swings"),
    "topple": (2, "A tower topples"),
    "walk": (3, "Walking figure"),
    "arm": (0, "Robot arm"),
    "pour": (3, "Pouring grains"),
    "orbit": (0, "Around a still life"),
}


class Clip(NamedTuple):
    """A scene on its stage, ready to be filmed for some seconds."""

    stage: Stage
    scene: Scene
    seconds: float


def generator(product: str, label: str, number: int) -> np.random.Generator:
    """The generator that determines a clip."""
    return np.random.default_rng([PRODUCTS[product], zlib.crc32(label.encode()), number])


def prepare(product: str, label: str, number: int, look: Look) -> Clip:
    """Builds the clip's scene, without simulating or rendering it. No label: a free scene."""
    rng = generator(product, label, number)
    if not look.shadow_lights:
        look = replace(look, shadow_lights=int(rng.random() < 0.3))
    stage = Stage(rng, look)
    scene = FAMILIES[label](stage) if label else free(stage)
    return Clip(stage, scene, float(rng.uniform(3.0, 4.0)))


# -- training ---------------------------------------------------------------------------------------------------------


def training_clip(number: int, paths: Sequence[Path]) -> Array:
    """One training clip, uint8 `[16, 128, 128, 3]`: of ten, five of a label's family, three free, two photographs.

    Its frames span 2 to 3.5 seconds: V-JEPA 2 was pretrained on 16 frames in 4, and happenings here are quick.
    """
    rng = generator("training", "", number)
    if number % 10 >= 8 and paths:
        return photos.pan(rng, paths, FRAMES, SIDE)
    stage = Stage(rng, Look(photos=paths, shadow_lights=int(rng.random() < 0.3)))
    scene = FAMILIES[str(rng.choice(list(FAMILIES)))](stage) if number % 10 < 5 else free(stage)
    begin, span = rng.uniform(0, 0.5), rng.uniform(2, 3.5)
    return film.shoot(stage, scene, begin + np.linspace(0, span, FRAMES))[0]


def training_shard(shard: int, out: Path, paths: Sequence[Path], clips: int = SHARD) -> Path:
    """Writes shard `shard`, clips `100 * shard` and following."""
    path = out / f"train_{shard:03d}.npy"
    if not path.exists():
        array = np.stack([training_clip(shard * SHARD + i, paths) for i in range(clips)])
        write(path, lambda passing: np.save(passing, array, allow_pickle=False))
    return path


# -- held out ---------------------------------------------------------------------------------------------------------


def heldout_clip(task: tuple[str, int], out: Path, look: Look) -> Path:
    """Writes clip `number` of a label (or of the free scenes, label ''), with masks.

    Patterns and photographs are of the sets that no training clip takes from.
    """
    label, number = task
    path = out / f"{label or 'free'}_{number:03d}.npz"
    if not path.exists():
        clip = prepare("heldout", label, number, look)
        times = np.linspace(0, clip.seconds - 1 / FPS, FRAMES)
        frames, masks = film.shoot(clip.stage, clip.scene, times, masks=True)
        arrays = {"frames": frames, "masks": masks, "label": np.array(label)}
        write(path, lambda passing: np.savez_compressed(passing, **arrays))
    return path


# -- references and examples ------------------------------------------------------------------------------------------


def shown_clip(product: str, label: str, number: int, look: Look = SHOWN) -> Clip:
    """The scene of a committed clip."""
    seed = RETAKES.get((label, number), number) if product == "references" else number
    return prepare(product, label, seed, look)


def film_shown(product: str, label: str, number: int) -> Array:
    """The frames of a committed clip, uint8 `[T, 288, 288, 3]` at 24 a second."""
    clip = shown_clip(product, label, number)
    return film.shoot(clip.stage, clip.scene, np.arange(round(clip.seconds * FPS)) / FPS)[0]


def video(task: tuple[str, str, int, str], out: Path) -> Path:
    """Films and encodes one committed clip."""
    product, label, number, name = task
    path = out / name
    if not path.exists():
        frames = film_shown(product, label, number)
        write(path, partial(encode, frames))
    return path


def encode(frames: Array, path: Path) -> None:
    """Writes frames uint8 `[T, H, W, 3]` as H.264 yuv420p that streams, in at most `LIMIT` bytes."""
    height, width = frames.shape[1:3]
    for crf in range(20, 45, 2):
        command = [
            *("ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
            *("-r", str(FPS), "-i", "-", "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-c:v", "libx264"),
            *("-preset", "slow", "-crf", str(crf), "-pix_fmt", "yuv420p", "-colorspace", "bt709"),
            *("-color_primaries", "bt709", "-color_trc", "bt709", "-movflags", "+faststart", "-fflags", "+bitexact"),
            *("-flags:v", "+bitexact", "-threads", "1", str(path)),
        ]
        subprocess.run(command, input=frames.tobytes(), check=True)
        if path.stat().st_size <= LIMIT:
            return
    raise RuntimeError(f"{path.name} does not fit into {LIMIT} bytes")


def table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)

    def save(passing: Path) -> None:
        with passing.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write(path, save)


# -- all --------------------------------------------------------------------------------------------------------------


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Saves under a passing name first, so that whoever reads the folder meets whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        save(passing)
        passing.replace(path)
    finally:
        passing.unlink(missing_ok=True)


def run(work: Callable[[Any], Path], tasks: Sequence[Any], workers: int) -> None:
    """Does the tasks in order, in this process or in several, and says what is finished."""
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for path in pool.map(work, tasks):
                print(path, flush=True)
        return
    for task in tasks:
        print(work(task), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("product", choices=list(PRODUCTS))
    parser.add_argument("--out", type=Path, help="default: assets/references, assets/examples, cache/PRODUCT")
    parser.add_argument("--count", type=int, help="clips of a label (default 8), or shards (default 40)")
    parser.add_argument(
        "--start", type=int, default=0, help="number of the first clip of a label, or of the first shard"
    )
    parser.add_argument("--photos", type=Path, help="folder with photographs, searched below (training, heldout)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--wide", action="store_true", help="pictures of 16:9 (heldout)")
    args = parser.parse_args(arguments)
    product = args.product
    committed = product in ("references", "examples")
    out = args.out or (HERE.parent / product if committed else HERE.parents[1] / "cache" / product)
    training, held_out = photos.find(args.photos) if args.photos else ([], [])
    if args.photos and not training:
        parser.error(f"no photographs below {args.photos}")
    numbers = range(args.start, args.start + (args.count or (40 if product == "training" else 8)))
    if product == "training":
        run(partial(training_shard, out=out, paths=training), numbers, args.workers)
    elif product == "heldout":
        tasks = [(label, n) for n in numbers for label in FAMILIES] + [
            ("", 8 * n + i) for n in numbers for i in range(8)
        ]
        look = Look(patterns=textures.HELD_OUT, photos=held_out)
        run(partial(heldout_clip, out=out, look=replace(look, **WIDE) if args.wide else look), tasks, args.workers)
    elif product == "references":
        clips = [("references", label, n, f"{label}_{n}.mp4") for label in FAMILIES for n in numbers]
        run(partial(video, out=out), clips, args.workers)
        coarse = replace(SHOWN, texture=16)  # the same scenes: what is drawn at random does not depend on the size
        rows = (
            {
                "file": name,
                "label": label,
                "description": shown_clip(product, label, number, coarse).scene.description,
                "licence": "MIT; figure from dm_control (Apache-2.0)" if label in ("walk", "fall") else "MIT",
            }
            for product, label, number, name in clips
        )
        table(out / "clips.csv", rows)
    else:
        clips = [("examples", label, seed, f"{label}.mp4") for label, (seed, _) in EXAMPLES.items()]
        run(partial(video, out=out), clips, args.workers)
        table(out / "examples.csv", ({"file": name, "title": EXAMPLES[label][1]} for _, label, _, name in clips))
    return 0


if __name__ == "__main__":
    sys.exit(main())
