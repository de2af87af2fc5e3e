"""On an NVIDIA GPU: the encoder against the model card's snippet, from frames in memory to tokens in memory.

ViT-L's shape with random weights, so that nothing has to be downloaded; what it costs does not depend on the weights.
The card's snippet loads the model in float32 and calls `get_vision_features`; the encoder picks its precision itself.
Both are timed in turn in one process. Cosines are against the card's tokens in float32, the worst token of the clip.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoVideoProcessor, VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.settings import ASSETS

RUNS = 9


def make_checkpoint(folder: Path) -> Path:
    torch.manual_seed(0)
    VJEPA2Model(VJEPA2Config()).save_pretrained(folder)  # the defaults are ViT-L at 256 px
    VJEPA2VideoProcessor(crop_size=256).save_pretrained(folder)
    return folder


def make_clip(count: int) -> Clip:
    """Frames of smooth noise at 256 px, so that resizing costs both ways the same."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 12, 12)).astype(np.float32))
    frames = torch.nn.functional.interpolate(coarse, size=(256, 342), mode="bicubic").clamp(0, 255).byte().numpy()
    return Clip(frames, np.arange(count) / 4, Source("video", 342, 256, "raw", frame_count=count), Sampling(count))


def milliseconds(function: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def compare(name: str, folder: Path, count: int) -> None:
    clip = make_clip(count)
    processor = AutoVideoProcessor.from_pretrained(folder)
    card = AutoModel.from_pretrained(folder).cuda().eval()

    def snippet() -> torch.Tensor:
        video = processor(torch.from_numpy(clip.frames), return_tensors="pt").to("cuda")
        with torch.no_grad():
            return card.get_vision_features(**video).cpu()

    truth = snippet()[0].double()
    for precision in ("fp32", "bf16"):
        encoder = get_encoder(str(folder), device="cuda", precision=precision)
        tokens = torch.from_numpy(encoder.encode(clip).tokens).flatten(0, 2).double()
        cosine = torch.nn.functional.cosine_similarity(tokens, truth, dim=-1).min()
        theirs, ours = [], []
        for run in range(RUNS + 2):
            pair = milliseconds(snippet), milliseconds(lambda encoder=encoder: encoder.encode(clip))
            if run >= 2:
                theirs.append(pair[0])
                ours.append(pair[1])
        ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
        print(
            f"{name}, {count} frames, {precision}: card {statistics.median(theirs):.0f} ms, "
            f"ours {statistics.median(ours):.0f} ms, ratio {ratio:.2f}; worst cosine {cosine:.6f}",
            flush=True,
        )


def together(name: str, folder: Path, count: int, clips: int) -> None:
    """Several clips at once against one by one, and what that takes of the GPU's memory beside the weights."""
    encoder = get_encoder(str(folder), device="cuda", precision="bf16")
    batch = [make_clip(count)] * clips
    alone, at_once = [], []
    for run in range(RUNS + 2):
        pair = (
            milliseconds(lambda: [encoder.encode(clip) for clip in batch]),
            milliseconds(lambda: encoder.encode_many(batch)),
        )
        if run >= 2:
            alone.append(pair[0] / clips)
            at_once.append(pair[1] / clips)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    encoder.encode_many(batch)
    taken = (torch.cuda.max_memory_allocated() - before) / 2**20
    ratio = statistics.median(a / b for a, b in zip(alone, at_once, strict=True))
    print(
        f"{name}, {clips} clips of {count} frames, bf16: one by one {statistics.median(alone):.1f} ms a clip, "
        f"together {statistics.median(at_once):.1f} ms, ratio {ratio:.2f}; {taken:,.0f} MiB beside the weights",
        flush=True,
    )


def main() -> int:
    if not torch.cuda.is_available():
        print("there is no CUDA device: nothing is measured")
        return 0
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    with tempfile.TemporaryDirectory() as folder:
        vitl = make_checkpoint(Path(folder))
        for count in (16, 64):
            compare("ViT-L", vitl, count)
        for count, clips in ((16, 16), (64, 4)):
            together("ViT-L", vitl, count, clips)
    compare("nano", ASSETS / "nano", 16)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
