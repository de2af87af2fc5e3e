"""Videos and a checkpoint that the tests make for themselves: small, seeded, and known in every frame."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo import running_demo

# Each worker, and the apps that it starts, have their share of the cores: of more threads than there are cores, each
# product of a model waits for one that waits for a core. It is read when torch is imported. Not in the process that
# starts the workers: they would take over what it set for itself.
if WORKERS := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // WORKERS))

# Eight stripes, black or white, spell the frame's number in binary: it survives every codec, size and rotation by 180°.
STRIPES = "geq=lum='255*mod(floor(N/pow(2,floor(8*X/W))),2)':cb=128:cr=128"
# Left half red, right half blue, the top quarter of both white: tells every rotation and reflection apart.
CORNERS = (
    "geq=r='if(lt(Y,H/4),255,if(lt(X,W/2),255,0))':g='if(lt(Y,H/4),255,0)':b='if(lt(Y,H/4),255,if(lt(X,W/2),0,255))'"
)

MakeVideo = Callable[..., Path]


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """No test finds what another one has embedded."""
    if explore := sys.modules.get("vjepa_demo.explore"):
        explore.kept.clear()


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg binary and fail with what it said."""
    assert shutil.which("ffmpeg"), "ffmpeg is missing: run `make test`, or install it (apt-get install ffmpeg)."
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> MakeVideo:
    """A function that makes a video with ffmpeg, once for each set of arguments.

    Its arguments: `name` (the ending chooses the container), `codec`, `size`, `fps`, `frames`, `picture` (a lavfi
    filter that paints each frame; by default the frame's number, see `frame_numbers`), `filters` after it, `options`
    for the encoder, `source` instead of all of these.
    """
    folder = tmp_path_factory.mktemp("videos")
    made: dict[Any, Path] = {}

    def make(
        name: str = "clip.mp4",
        codec: str = "libx264",
        *,
        size: str = "64x64",
        fps: float = 8,
        frames: int = 16,
        picture: str = STRIPES,
        filters: tuple[str, ...] = (),
        pixels: str = "yuv420p",
        options: tuple[str, ...] = (),
        source: str | None = None,
    ) -> Path:
        key = (name, codec, size, fps, frames, picture, filters, pixels, options, source)
        if key not in made:
            target = folder / str(len(made)) / name
            target.parent.mkdir(exist_ok=True)  # one that could not be made is tried again
            graph = source or ",".join([f"color=black:s={size}:r={fps}", "format=yuv444p", picture, *filters])
            encoder = ("-c:v", codec, "-pix_fmt", pixels)
            ffmpeg("-f", "lavfi", "-i", graph, "-frames:v", str(frames), *encoder, *options, target)
            made[key] = target
        return made[key]

    return make


def frame_numbers(frames: np.ndarray) -> list[int]:
    """The numbers that `STRIPES` painted into frames `[T, 3, H, W]`."""
    width = frames.shape[-1]
    middles = ((np.arange(8) + 0.5) * width / 8).astype(int)
    bits = frames[:, 1, frames.shape[2] // 2, :][:, middles] > 127
    return (bits * 2 ** np.arange(8)).sum(axis=1).tolist()


def save_checkpoint(folder: Path, *, seed: int = 0, crop: int = 64, **config: Any) -> Path:
    """A random V-JEPA 2 saved as the Hub's are: config.json, model.safetensors, video_preprocessor_config.json."""
    import torch
    from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

    options = {
        "patch_size": 16,
        "crop_size": crop,
        "frames_per_clip": 16,
        "hidden_size": 88,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pred_hidden_size": 48,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "initializer_range": 0.2,  # large enough that a wrong position or layer shows
    }
    torch.manual_seed(seed)
    model = VJEPA2Model(VJEPA2Config(**{**options, **config})).eval()
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=crop).save_pretrained(folder)
    return folder


LABELS = (
    "Pushing [something] from left to right",
    "<b>Rolling</b> & ${falling}",
    "two\nlines \x1b[31m",
    "four",
    "five",
    "6",
)


def save_classifier(folder: Path, *, seed: int = 0, crop: int = 64, **config: Any) -> Path:
    """As `save_checkpoint`, a `VJEPA2ForVideoClassification` with LABELS."""
    import torch
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2VideoProcessor

    options = {
        **{"patch_size": 16, "crop_size": crop, "frames_per_clip": 16, "initializer_range": 0.2},
        **{"hidden_size": 88, "num_attention_heads": 4, "num_hidden_layers": 2, "num_pooler_layers": 2},
        **{"pred_hidden_size": 48, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
        "id2label": dict(enumerate(LABELS)),
    }
    torch.manual_seed(seed)
    model = VJEPA2ForVideoClassification(VJEPA2Config(**{**options, **config})).eval()
    with torch.no_grad():
        for weights in (*model.pooler.parameters(), *model.classifier.parameters()):
            weights += 0.1 * torch.randn(weights.shape)  # no bias is zero, no norm is plain
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=crop).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random V-JEPA 2 that has a classifier: 64 px, 16 frames, 2 layers and 2 of its pooler."""
    return save_classifier(tmp_path_factory.mktemp("checkpoints") / "labels")


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random V-JEPA 2: patch 16 at 64 px, 16 frames, 3 layers, 4 heads of 22 channels.

    22 channels are three axes of 6 and a rest of 4 that is not rotated.
    """
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


# --- for the tests that talk to the running app ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real app, running in a process of its own for all tests of this session."""
    with running_demo(tmp_path_factory.mktemp("demo")) as address:
        yield address


@pytest.fixture(scope="session")
def space_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app as on a Space, which is open to everybody."""
    folder = tmp_path_factory.mktemp("space")
    space = {"SPACE_ID": "somebody/explorer", "SYSTEM": "spaces", "GRADIO_SERVER_NAME": "127.0.0.1"}
    space["VJEPA_DEMO_PAGES_EACH"] = "100000"  # all tests come from one address
    with running_demo(folder, **space) as address:
        yield address


@pytest.fixture(scope="session")
def video(make_video: MakeVideo) -> Path:
    """Two seconds of something that moves, 16:9."""
    return make_video("moving.mp4", source="testsrc2=s=320x180:r=24:d=2", frames=48)


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still picture with some structure in it."""
    from PIL import Image

    y, x = np.mgrid[:240, :320]
    picture = np.stack([x % 256, y, (x // 20 + y // 20) % 2 * 255], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture(scope="session")
def huge_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30,000 × 30,000 pixels in a file of a few kilobytes: black, one bit a pixel, packed row by row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 30_000
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path = tmp_path_factory.mktemp("huge") / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path
