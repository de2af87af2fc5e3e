"""The figures of nano's card, for nano and for what needs no learning, on held-out clips.

    python assets/recipes/evaluate.py --checkpoint assets/nano --clips build/heldout --references assets/references
    --json

Three questions, each with a 95 % interval over resamples of the clips:
- Object AUC: do the patches of an object resemble its patches at later times more than the rest of the clip?
- Label accuracy: is the nearest other clip (k = 1), or most of the nearest five, of the same kind?
- Forecast: from the first half alone, is the predictor nearer to what the encoder makes of the rest than copying the
last step?
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from baselines import colour_histogram, motion_energy, patch_colour, patch_pixels
from measures import bootstrap, knn_votes, object_auc
from nano import GRID, MEAN, STD, STEPS, new_nano
from seer import SIDE, Seer
from transformers import AutoModel, VJEPA2Model

from vjepa_demo.embedding import motion
from vjepa_demo.model.forward import Rope, encode, patchify

# How the app makes one vector of a clip's tokens `[8, 16, 16, D]`.
POOLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda tokens: tokens.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32),
    "motion": motion,
}
SEEN = STEPS // 2  # time steps that the forecast starts from
PATCHES = GRID * GRID


@dataclass(frozen=True)
class HeldOut:
    """A clip with `frames` uint8 `[16, 128, 128, 3]` and object ids `masks` `[16, 128, 128]` (0: background)."""

    name: str
    label: str
    frames: np.ndarray
    masks: np.ndarray


def read_heldout(folder: Path, limit: int | None = None) -> list[HeldOut]:
    """All `.npz` clips of a folder, or `limit` of them spread over it. The label of a free scene is empty."""
    paths = sorted(folder.glob("*.npz"))
    if limit and limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).round().astype(int)]
    clips = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            clips.append(HeldOut(path.stem, str(file["label"]), file["frames"], file["masks"]))
    return clips


def read_references(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Frames uint8 `[16, 128, 128, 3]` and labels of the shipped references: 16 frames over all of each, at 128 px."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    frames, labels = [], []
    with (folder / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            decoder = VideoDecoder(str(folder / row["file"]), transforms=[Resize((128, 128))])
            indices = np.linspace(0, len(decoder) - 1, 2 * STEPS).round().astype(int).tolist()
            frames.append(decoder.get_frames_at(indices).data.permute(0, 2, 3, 1).numpy())
            labels.append(row["label"])
    return frames, labels


def pixel_values(frames: np.ndarray) -> torch.Tensor:
    """The model's input `[1, 16, 3, 128, 128]` from uint8 frames that already have its size."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    return ((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def seer_grids(clips: list[np.ndarray]) -> list[np.ndarray]:
    """What nano's seer says of clips of frames `[16, 128, 128, 3]`, on nano's grid: `[8, 16, 16, 272]` for each.

    It sees the mean of the two frames of a time step at 256 px; each layer is centred and scaled over all clips.
    """
    seer = Seer("cpu", torch.float32)
    told = []
    for frames in clips:
        pairs = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255).unflatten(0, (STEPS, 2)).mean(1)
        told.append(seer.layers(F.interpolate(pairs, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)))
    for layer in range(len(told[0])):
        centre = torch.stack([grids[layer].mean(dim=(0, 1, 2)) for grids in told]).mean(0)
        spread = torch.stack([(grids[layer] - centre).square().sum(-1).mean() for grids in told]).mean().sqrt()
        for grids in told:
            grids[layer] = (grids[layer] - centre) / spread
    return [torch.cat(grids, dim=-1).numpy() for grids in told]


class Nano:
    """A checkpoint as it is evaluated: in float32, by the fast forward that equals transformers' own."""

    def __init__(self, model: VJEPA2Model):
        self.model = model.eval()
        self.rope = Rope(model.config, model.config.hidden_size // model.config.num_attention_heads)

    @torch.no_grad()
    def tokens(self, frames: np.ndarray) -> torch.Tensor:
        """Tokens `[N, D]` of uint8 frames `[T, 128, 128, 3]`."""
        patches = patchify(pixel_values(frames), self.model.config)
        return encode(self.model, patches, torch.arange(patches.shape[1])[None], self.rope)[0]

    def grid(self, frames: np.ndarray) -> np.ndarray:
        """Tokens on their grid, `[8, 16, 16, D]`."""
        return self.tokens(frames).view(STEPS, GRID, GRID, -1).numpy()

    @torch.no_grad()
    def forecast(self, frames: np.ndarray, whole: torch.Tensor) -> np.ndarray:
        """L1 errors `[3, 4]` against the layer-normed encoding of the whole clip, 1 to 4 steps after the first half.

        Rows: the predictor, which is given the first half encoded alone; the last seen step's tokens; the seen tokens'
        mean. Both copies are of layer-normed tokens, like the target.
        """
        seen, size = SEEN * PATCHES, whole.shape[-1]
        target = F.layer_norm(whole, (size,))[seen:].view(-1, PATCHES, size)
        context = self.tokens(frames[: 2 * SEEN])
        at = torch.arange(STEPS * PATCHES)[None]
        told = self.model.predictor(
            encoder_hidden_states=context[None], context_mask=[at[:, :seen]], target_mask=[at[:, seen:]]
        ).last_hidden_state[0]
        known = F.layer_norm(context, (size,))
        guesses = (told.view_as(target), known[-PATCHES:].expand_as(target), known.mean(0).expand_as(target))
        return np.stack([(guess - target).abs().mean(dim=(1, 2)).numpy() for guess in guesses])


def auc_figures(clips: list[HeldOut], tokens: list[np.ndarray], queries: int, seed: int) -> np.ndarray:
    """Rows (sum over objects, number of objects) of object AUC, one a clip, so that clips can be resampled."""
    rows = []
    for i, (clip, grid) in enumerate(zip(clips, tokens, strict=True)):
        figures = object_auc(grid, clip.masks, queries, np.random.default_rng([seed, i]))
        rows.append((sum(figures), len(figures)))
    return np.array(rows)


def mean_over_objects(rows: np.ndarray) -> float:
    return rows[:, 0].sum() / rows[:, 1].sum()


def label_figures(vectors: np.ndarray, labels: np.ndarray, references: tuple[np.ndarray, np.ndarray] | None) -> dict:
    """kNN accuracies: held-out clips among themselves, and references against them, centred by the held-out mean."""
    centre = vectors.mean(axis=0)
    figures = {}
    for k in (1, 5):
        votes = knn_votes(vectors - centre, vectors - centre, labels, k, leave_one_out=True)
        figures[f"heldout_k{k}"] = bootstrap((votes == labels).astype(float), np.mean)
        if references is not None:
            votes = knn_votes(references[0] - centre, vectors - centre, labels, k)
            figures[f"references_k{k}"] = bootstrap((votes == references[1]).astype(float), np.mean)
    return figures


def forecast_figures(errors: np.ndarray) -> dict:
    """Errors `[n, 3, 4]` as means, and the predictor's over those of copying and of the mean token, step by step."""
    figures: dict = {}
    for step in range(errors.shape[2]):
        for row, name in enumerate(("predictor", "copy", "mean_token")):
            figures[f"{name}_{step + 1}"] = bootstrap(errors[:, row, step], np.mean)
        for row, name in ((1, "over_copy"), (2, "over_mean_token")):
            pair = errors[:, [0, row], step]
            figures[f"{name}_{step + 1}"] = bootstrap(pair, lambda rows: rows[:, 0].mean() / rows[:, 1].mean())
    return figures


def each(function: Callable, *lists: list) -> list:
    """`function` of every clip, on as many threads as there are CPUs."""
    with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, *lists))


def evaluate(
    models: dict[str, VJEPA2Model],
    clips: list[HeldOut],
    references: tuple[list[np.ndarray], list[str]] | None = None,
    *,
    queries: int = 16,
    seed: int = 0,
    seer: bool = False,
) -> dict:
    """All figures by name: `{"object_auc": {who: ...}, "labels": {who: ...}, "forecast": {model: ...}}`."""
    named = np.array([i for i, clip in enumerate(clips) if clip.label], dtype=int)
    labels = np.array([clips[i].label for i in named])
    figures: dict = {"object_auc": {}, "labels": {}, "forecast": {}}

    def judge(who: str, tokens: list[np.ndarray]) -> None:
        rows = auc_figures(clips, tokens, queries, seed)
        if rows[:, 1].sum():
            figures["object_auc"][who] = {**bootstrap(rows, mean_over_objects), "objects": int(rows[:, 1].sum())}

    def compare(
        who: str, describe: Callable[[np.ndarray], np.ndarray], own: list[np.ndarray], known: list[np.ndarray] | None
    ) -> None:
        """Labels by `describe` of what is known of each clip and of each reference: its frames, or its tokens."""
        if len(named) < 2:
            return
        vectors = np.stack([describe(own[i]) for i in named])
        pair = None
        if references is not None and known is not None:
            pair = np.stack([describe(one) for one in known]), np.array(references[1])
        figures["labels"][who] = label_figures(vectors, labels, pair)

    for who, patches in (("patch colour", patch_colour), ("patch pixels", patch_pixels)):
        judge(who, [patches(clip.frames) for clip in clips])
    for who, describe in (("colour histogram", colour_histogram), ("motion energy", motion_energy)):
        compare(who, describe, [clip.frames for clip in clips], references[0] if references else None)
    if seer:
        frames = [clip.frames for clip in clips] + (references[0] if references else [])
        told = seer_grids(frames)
        judge("the seer", told[: len(clips)])
        for pooling, pool in POOLINGS.items():
            compare(f"the seer, {pooling}", pool, told[: len(clips)], told[len(clips) :] if references else None)
    for who, model in models.items():
        nano = Nano(model)
        whole = each(nano.tokens, [clip.frames for clip in clips])
        grids = [tokens.view(STEPS, GRID, GRID, -1).numpy() for tokens in whole]
        judge(who, grids)
        known = each(nano.grid, references[0]) if references and len(named) > 1 else None
        for pooling, pool in POOLINGS.items():
            compare(f"{who}, {pooling}", pool, grids, known)
        errors = np.stack(each(nano.forecast, [clip.frames for clip in clips], whole))
        figures["forecast"][who] = forecast_figures(errors)
    if len(named):
        figures["labels"]["chance"] = {"heldout_k1": {"value": float(np.mean([np.mean(labels == x) for x in labels]))}}
    return figures


def table(figures: dict) -> str:
    """The figures as Markdown tables."""

    def cell(figure: dict | None) -> str:
        if figure is None:
            return "–"
        interval = f" ({figure['low']:.3f} … {figure['high']:.3f})" if "low" in figure else ""
        return f"{figure['value']:.3f}{interval}"

    def rows(part: str, columns: dict[str, str]) -> list[str]:
        head = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        body = [
            f"| {who} | {' | '.join(cell(f.get(key)) for key in columns.values())} |"
            for who, f in figures[part].items()
        ]
        return [*head, *body, ""]

    auc = ["| object AUC | |", "|---|---|", *(f"| {who} | {cell(f)} |" for who, f in figures["object_auc"].items()), ""]
    columns = {
        "k = 1": "heldout_k1",
        "k = 5": "heldout_k5",
        "references, k = 1": "references_k1",
        "k = 5 ": "references_k5",
    }
    ahead = {f"{step} ahead": f"over_copy_{step}" for step in range(1, STEPS - SEEN + 1)}
    return "\n".join(
        [*auc, *rows("labels", columns), "Forecast error over that of copying:", "", *rows("forecast", ahead)]
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of nano")
    parser.add_argument("--clips", type=Path, required=True, help="folder of held-out clips, .npz")
    parser.add_argument("--references", type=Path, help="folder of the shipped references, with clips.csv")
    parser.add_argument("--seed", type=int, default=0, help="of the queries and the random checkpoints")
    parser.add_argument(
        "--random", type=int, default=1, help="number of randomly initialised checkpoints to compare with"
    )
    parser.add_argument("--queries", type=int, default=16, help="query patches an object")
    parser.add_argument("--limit", type=int, help="use only so many clips")
    parser.add_argument("--seer", action="store_true", help="a row for the network that nano learnt from")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(arguments)
    clips = read_heldout(args.clips, args.limit)
    if not clips:
        parser.error(f"no .npz clips in {args.clips}: render them first (render_clips.py heldout)")
    trained = AutoModel.from_pretrained(args.checkpoint)
    models = {"nano": trained}
    models |= {f"random nano, seed {s}": new_nano(s, trained.config) for s in range(args.seed, args.seed + args.random)}
    references = read_references(args.references) if args.references else None
    figures = evaluate(models, clips, references, queries=args.queries, seed=args.seed, seer=args.seer)
    figures["about"] = {"clips": len(clips), "seed": args.seed, "queries": args.queries, "intervals": "95 % bootstrap"}
    print(json.dumps(figures, indent=1) if args.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
