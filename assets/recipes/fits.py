"""What each way of fitting a clip of 16:9 into the model's input finds again of its objects, and how long it takes.

    python assets/recipes/render_clips.py heldout --wide --start 500 --count 4 --out build/wide
    python assets/recipes/fits.py --clips build/wide

`whole` is measured with the positions of its columns as they are, 0 to 27, and scaled into the 0 to 15 that were
trained. The figures are object AUC (`measures.auc_of_objects`):

- own grid: of the objects that the fit shows, each on the fit's own patches;
- common: of the objects that all fits show, on the same points of the picture, those that the crop shows;
- all: of the objects that any fit shows; an object that a fit does not show counts 0.5, as a guess does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from evaluate import HeldOut, each, mean_over_objects, read_heldout
from measures import TUBELET, auc_of_objects, bootstrap, roc_auc, unit

from vjepa_demo.embedding import Embedding
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model.encoder import Encoder, get_encoder
from vjepa_demo.model.forward import Rope, encode, patchify
from vjepa_demo.options import Sampling

FITS = ("crop", "squash", "pad", "whole", "whole, scaled")
POINTS = 8  # a side, at which a patch is asked what it shows
GUESS = 0.5
FIGURES = ("own grid", "common", "all")


class Found(NamedTuple):
    """What a fit finds of a clip: its grid, the seconds of the forward pass, and AUC by object id."""

    grid: tuple[int, int, int]
    seconds: float
    own: dict[int, float]  # on the fit's own patches
    points: dict[int, float]  # at the points that the crop shows


def rope_of(config: Any, grid: tuple[int, int], *, scaled: bool) -> Rope:
    """The rotary positions of a grid of patches; with `scaled` the columns are spread over those of the square."""
    head = config.hidden_size // config.num_attention_heads
    rope = Rope(config, head, grid=grid)
    if scaled:
        rope.cos, rope.sin = rope.cos.clone(), rope.sin.clone()  # they are everybody's
        cols, side = grid[1], config.crop_size // config.patch_size
        columns = torch.arange(len(rope.cos)) % cols * min(1.0, (side - 1) / (cols - 1))
        axis = 2 * (head // 3 // 2)  # channels that one axis turns; the columns' are the third
        omega = 10000.0 ** -(torch.arange(axis // 2, dtype=torch.float64) / (axis / 2))
        angle = (columns[:, None] * omega).repeat(1, 2)
        sign = torch.tensor([-1.0, 1.0]).repeat(axis // 2)
        rope.cos[:, 2 * axis : 3 * axis], rope.sin[:, 2 * axis : 3 * axis] = angle.cos(), angle.sin() * sign
    return rope


def embed(encoder: Encoder, frames: np.ndarray, fit: str) -> tuple[Embedding, float]:
    """Frames uint8 `[16, H, W, 3]` as they are embedded by the app, and the seconds of the forward pass."""
    count, height, width, _ = frames.shape
    clip = Clip(
        frames=np.ascontiguousarray(frames.transpose(0, 3, 1, 2)),
        timestamps=np.arange(count) / 4.0,
        source=Source("video", width, height, "h264"),
        sampling=Sampling(count),
    )
    name = fit.split(",")[0]
    scaled_frames, window = encoder.preprocess(clip, name)
    pixels = encoder.normalise(torch.from_numpy(scaled_frames)[None])
    rows, cols = (n // encoder.config.patch_size for n in pixels.shape[-2:])
    rope = rope_of(encoder.config, (rows, cols), scaled=fit.endswith("scaled"))
    patches = patchify(pixels, encoder.config)
    started = time.perf_counter()
    with torch.inference_mode():
        tokens = encode(encoder.model, patches, torch.arange(patches.shape[1])[None], rope)[0].numpy()
    return Embedding(
        tokens=tokens.reshape(-1, rows, cols, tokens.shape[-1]),
        timestamps=clip.timestamps,
        fingerprint=encoder.fingerprint(clip.sampling, name),
        device="cpu",
        window=window,
        source_size=(width, height),
    ), time.perf_counter() - started


def grid_masks(masks: np.ndarray, embedding: Embedding) -> np.ndarray:
    """Object ids `[T, H, W]` of the source at POINTS x POINTS points of each patch; 0 outside of it."""
    _, rows, cols = embedding.grid
    left, top, right, bottom = embedding.window
    y = np.floor(top + (np.arange(rows * POINTS) + 0.5) * (bottom - top) / (rows * POINTS)).astype(int)
    x = np.floor(left + (np.arange(cols * POINTS) + 0.5) * (right - left) / (cols * POINTS)).astype(int)
    _, height, width = masks.shape
    shown = masks[:, y.clip(0, height - 1)][:, :, x.clip(0, width - 1)]
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None]
    return shown * inside


def auc_at_points(
    embedding: Embedding, masks: np.ndarray, area: tuple[float, ...], queries: int, rng: np.random.Generator
) -> dict[int, float]:
    """Object AUC as `measures.auc_of_objects`, judged at every second pixel of an area (left, top, right, bottom) of
    the source, each with the score of its patch: so that fits of coarser and finer grids are asked the same."""
    _, rows, cols = embedding.grid
    left, top, right, bottom = embedding.window
    y, x = np.arange(round(area[1]), round(area[3]), 2), np.arange(round(area[0]), round(area[2]), 2)
    row = ((y + 0.5 - top) / (bottom - top) * rows).astype(int).clip(0, rows - 1)
    col = ((x + 0.5 - left) / (right - left) * cols).astype(int).clip(0, cols - 1)
    tokens = unit(embedding.tokens - embedding.pooled())
    cover = grid_masks(masks, embedding).reshape(len(masks), rows, POINTS, cols, POINTS)[:TUBELET]
    points = masks[:, y][:, :, x].reshape(-1, TUBELET, len(y), len(x))[1:]
    figures = {}
    for object_id in np.unique(masks[masks != 0]):
        asked = np.argwhere((cover == object_id).mean(axis=(0, 2, 4)) > 0.5)
        here = points == object_id
        judged = here.all(axis=1) | ~here.any(axis=1)
        truth = here.all(axis=1)[judged]
        if not len(asked) or truth.all() or not truth.any():
            continue
        asked = rng.permutation(asked)[:queries]
        scores = np.einsum("qd,thwd->qthw", tokens[0, asked[:, 0], asked[:, 1]], tokens[1:])
        scores = scores[:, :, row][:, :, :, col]
        figures[int(object_id)] = float(roc_auc(scores[:, judged], truth).mean())
    return figures


def measure_clip(encoder: Encoder, clip: HeldOut, queries: int, seed: int) -> dict[str, Found]:
    """What each fit finds of one clip."""
    found, area = {}, None
    for fit in FITS:
        embedding, seconds = embed(encoder, clip.frames, fit)
        area = area or embedding.crop  # the crop comes first, and shows least
        rng = np.random.default_rng([seed, zlib.crc32(clip.name.encode())])
        shown = grid_masks(clip.masks, embedding)
        own = auc_of_objects(embedding.tokens, shown, queries, rng, embedding.patch_mask)
        points = auc_at_points(embedding, clip.masks, area, queries, rng)
        found[fit] = Found(embedding.grid, seconds, own, points)
    print(clip.name, *(f"{np.mean(list(f.own.values())) if f.own else np.nan:.3f}" for f in found.values()))
    return found


def measure(
    checkpoint: str, folder: Path, queries: int = 16, seed: int = 0, limit: int | None = None
) -> dict[str, Any]:
    """All figures of each fit, with 95 % intervals over resampled clips."""
    encoder = get_encoder(checkpoint, device="cpu", precision="fp32")
    clips = read_heldout(folder, limit)
    with contextlib.redirect_stdout(sys.stderr):
        measured = each(lambda clip: measure_clip(encoder, clip, queries, seed), clips)
    sums: dict[str, dict[str, list[tuple[float, int]]]] = {fit: {name: [] for name in FIGURES} for fit in FITS}
    for found in measured:
        by_any = sorted(set().union(*(f.own for f in found.values())))
        by_all = sorted(set.intersection(*(set(f.points) for f in found.values())))
        for fit, f in found.items():
            parts = {
                "own grid": list(f.own.values()),
                "common": [f.points[k] for k in by_all],
                "all": [f.own.get(k, GUESS) for k in by_any],
            }
            for name, part in parts.items():
                sums[fit][name].append((sum(part), len(part)))
    figures: dict[str, Any] = {}
    for fit in FITS:
        seconds = float(np.median([found[fit].seconds for found in measured]))
        figures[fit] = {"grid": measured[0][fit].grid, "seconds": round(seconds, 3)}
        for name in FIGURES:
            rows = np.array(sums[fit][name])
            figures[fit][name] = {**bootstrap(rows, mean_over_objects), "objects": int(rows[:, 1].sum())}
            if name != "own grid":  # the same objects: what the fit is better by than the crop
                pairs = np.concatenate([rows, sums["crop"][name]], axis=1)
                figures[fit][f"{name}, over crop"] = bootstrap(pairs, difference)
    return figures


def difference(pairs: np.ndarray) -> float:
    """How much the mean over objects of the first two columns is above that of the others."""
    return mean_over_objects(pairs[:, :2]) - mean_over_objects(pairs[:, 2:])


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = [f"| | grid | s | {' | '.join(FIGURES)} |", "|---|---|---|" + "---|" * len(FIGURES)]
    for fit, found in figures.items():
        cells = [
            f"{found[name]['value']:.3f} ({found[name]['low']:.3f} … {found[name]['high']:.3f}), "
            f"{found[name]['objects']} objects"
            for name in FIGURES
        ]
        grid = " × ".join(map(str, found["grid"]))
        lines.append(f"| {fit} | {grid} | {found['seconds']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="nano", help="nano, or a folder in transformers' format")
    parser.add_argument("--clips", type=Path, required=True, help="what `render_clips.py heldout --wide` wrote")
    parser.add_argument("--limit", type=int, help="so many clips, spread over the folder")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, with differences to the crop")
    args = parser.parse_args(arguments)
    figures = measure(args.checkpoint, args.clips, limit=args.limit)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
