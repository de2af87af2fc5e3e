"""Teach nano's predictor to forecast, with an encoder that has come to rest.

What the encoder makes of a clip is computed once: a context of the first few time steps encoded alone, as the predictor
will meet it, and the layer-normed tokens of the whole clip. A new predictor, which begins as a copier
(copying_predictor.py), goes over these many times at little cost; while the encoder learns, a predictor runs after a
target that moves.

    python assets/recipes/settle_nano.py --nano build/run/nano --clips build/train --photos build/photos/photos
        --out build/settled --minutes 20

writes the checkpoint with its new predictor to `OUT/nano` and the error to `OUT/log.csv`. Half of the time goes into
encoding clips, half into learning.

    python assets/recipes/settle_nano.py --nano assets/nano --screens --keep --out build/screened --minutes 30

lets a predictor learn on from things that pass behind a screen (pairs.py), and from nothing else.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from copying_predictor import begin_as_copy
from masks import draw_horizon
from nano import GRID, STEPS, new_nano, save_nano
from pairs import possible
from torch import Tensor
from transformers import AutoModel, VJEPA2Config, VJEPA2Model
from views import Films, Photographs, Source, Views, as_input, draw_views

from vjepa_demo.model.forward import Rope, encode, patchify, predict

AVERAGING = 0.99  # momentum of the published predictor, a moving average of the one that learns
LOG_EVERY = 10  # steps
# Most of a forecast is near by: windows of the grid cost a fifth of the whole of it, which comes last.
WINDOW = 8  # patches a side


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A view as the encoder sees it, float16: `context` `[seen · 256, D]`, its first steps encoded alone, and `future`
    `[(8 - seen) · 256, D]`, the layer-normed tokens of the whole view at the later steps."""

    context: Tensor
    future: Tensor


class Settler:
    """Teaches a new predictor what the encoder of `model` makes of clips."""

    def __init__(
        self,
        model: VJEPA2Model,
        views: Source,
        *,
        config: VJEPA2Config | None = None,
        seed: int = 0,
        batch: int = 8,
        parts: int = 2,
        targets: int = 256,
        bf16: bool = True,
    ):
        self.model = new_nano(seed, config).requires_grad_(False)
        self.model.encoder.load_state_dict(model.encoder.state_dict())
        self.views = views
        self.seed, self.batch, self.parts, self.targets = seed, batch, parts, targets
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        config = self.model.config
        self.ropes = [
            Rope(config, config.hidden_size // config.num_attention_heads),
            Rope(config, config.pred_hidden_size // config.pred_num_attention_heads),
        ]
        self.pool = ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(1,))
        self.learning = list(self.model.predictor.requires_grad_(True).parameters())
        self.average = [parameter.detach().clone() for parameter in self.learning]
        self.done = 0

    @torch.no_grad()
    def begin(self, views: list[Encoded]) -> None:
        """Let the predictor be a copier of what the encoder makes of `views`."""
        tokens = torch.cat([view.context for view in views[:64]]).double()
        begin_as_copy(self.model, torch.linalg.eigh(tokens.T @ tokens).eigenvectors[:, 0].float())
        self.average = [parameter.detach().clone() for parameter in self.learning]

    @torch.no_grad()
    def keep(self, model: VJEPA2Model) -> None:
        """Let the predictor be that of `model`."""
        self.model.predictor.load_state_dict(model.predictor.state_dict())
        self.average = [parameter.detach().clone() for parameter in self.learning]

    @torch.no_grad()
    def encode(self, number: int) -> Encoded:
        """View `number`: determined by the seed and this number."""
        rng = np.random.default_rng([self.seed, 1, number])
        views = self.views(rng, 1, STEPS)
        patches, at = patchify(as_input(views.frames), self.model.config), views.positions
        n = draw_horizon(rng, STEPS) * GRID * GRID
        whole = encode(self.model, patches, at, self.ropes[0], self.dtype)[0, n:]
        context = encode(self.model, patches[:, :n], at[:, :n], self.ropes[0], self.dtype)[0]
        return Encoded(context.half(), F.layer_norm(whole, whole.shape[-1:]).half())

    def encode_for(self, seconds: float) -> list[Encoded]:
        """As many views as can be encoded in this time, at least one for each part of a batch."""
        end, made = time.monotonic() + seconds, []
        while time.monotonic() < end or len(made) < self.parts:
            numbers = range(len(made), len(made) + 4 * self.parts)
            made.extend(self.pool.map(self.encode, numbers))
        return made

    def step(self, views: list[Encoded], optimizer: torch.optim.Optimizer, side: int = GRID) -> float:
        """One update on random windows of `side` x `side` patches; returns the error."""
        rng = np.random.default_rng([self.seed, 2, self.done])
        drawn = rng.integers(len(views), size=self.batch)
        seeds = rng.integers(2**32, size=self.parts)
        parts = list(self.pool.map(partial(self._part, views, side), np.array_split(drawn, self.parts), seeds))
        with torch.no_grad():
            for i, parameter in enumerate(self.learning):
                parameter.grad = torch.stack([grads[i] for grads, _ in parts]).sum(0) / self.batch
            torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
            optimizer.step()
            torch._foreach_lerp_(self.average, self.learning, 1 - AVERAGING)
        self.done += 1
        return sum(error for _, error in parts) / self.batch

    def _part(
        self, views: list[Encoded], side: int, numbers: np.ndarray, seed: int
    ) -> tuple[tuple[Tensor, ...], float]:
        """Gradients and error, summed over some of a batch's views."""
        rng = np.random.default_rng(seed)
        with torch.enable_grad():
            error = torch.stack([self._error(rng, views[int(number)], side) for number in numbers]).sum()
            return torch.autograd.grad(error, self.learning), float(error.detach())

    def _error(self, rng: np.random.Generator, view: Encoded, side: int) -> Tensor:
        y, x = rng.integers(GRID - side + 1, size=2)
        places = ((y + np.arange(side))[:, None] * GRID + x + np.arange(side)).ravel()
        tokens = (np.arange(STEPS)[:, None] * GRID * GRID + places).ravel()
        n = len(view.context)
        seen, later = tokens[tokens < n], tokens[tokens >= n]
        asked = np.sort(rng.permutation(later)[: self.targets])
        context_at, asked_at = torch.from_numpy(seen), torch.from_numpy(asked)
        context = view.context[context_at].float()[None]
        told = predict(self.model, context, context_at[None], asked_at[None], self.ropes[1], self.dtype)
        return (told[0, len(seen) :] - view.future[asked_at - n].float()).abs().mean()

    def learn(
        self, views: list[Encoded], seconds: float, lr: float, whole_from: float = 0.7
    ) -> Iterator[tuple[int, float]]:
        """Step for some time, warming up over 100 steps and cooling down to zero, and yield (step, error).

        Windows come first, and after the share `whole_from` of the time whole views.
        """
        optimizer = torch.optim.AdamW(self.learning, lr=lr, weight_decay=0.0, fused=True)
        started = time.monotonic()
        while (share := (time.monotonic() - started) / seconds) < 1:
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (self.done + 1) / 100) * min(1.0, 2 * (1 - share))
            yield self.done + 1, self.step(views, optimizer, WINDOW if share < whole_from else GRID)

    def settle(self) -> VJEPA2Model:
        """The model with the averaged predictor."""
        with torch.no_grad():
            for parameter, value in zip(self.learning, self.average, strict=True):
                parameter.copy_(value)
        return self.model


def draw_screens(rng: np.random.Generator, batch: int, steps: int) -> Views:
    """`batch` views of things that pass behind a screen, whole: a `Source`."""
    frames = torch.from_numpy(np.stack([possible(rng) for _ in range(batch)])).permute(0, 1, 4, 2, 3).float() / 255
    positions = torch.arange(steps * GRID * GRID).expand(batch, -1)
    twice = frames.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)  # as large as views are
    return Views(twice[:, : 2 * steps], positions)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nano", type=Path, required=True, help="checkpoint that is to get a new predictor")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--clips", type=Path, help="folder of uint8 shards [n, 16, 128, 128, 3], .npy")
    source.add_argument("--screens", action="store_true", help="things behind screens instead")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--cutouts", type=Path, help="folder of pictures with transparency, .webp")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", action="store_true", help="the checkpoint's own predictor learns on, no new one")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--encode-share", type=float, default=0.5, help="share of the time that goes into encoding")
    parser.add_argument(
        "--whole-from", type=float, default=0.7, help="share of the learning after which views are whole"
    )
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--parts", type=int, default=2, help="threads that share the work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        films = Films(args.clips) if args.clips else None
        photographs = Photographs(args.photos, args.cutouts) if args.photos else None
    except FileNotFoundError as error:
        parser.error(str(error))
    model = AutoModel.from_pretrained(args.nano)
    views: Source = partial(draw_views, films, photographs) if films else draw_screens
    settler = Settler(model, views, seed=args.seed, batch=args.batch, parts=args.parts, bf16=not args.fp32)
    seconds = 60 * args.minutes
    encoded = settler.encode_for(seconds * args.encode_share)
    if args.keep:
        settler.keep(model)
    else:
        settler.begin(encoded)
    args.out.mkdir(parents=True, exist_ok=True)
    errors: list[float] = []
    with (args.out / "log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(("step", "error", "views"))
        for step, error in settler.learn(encoded, seconds * (1 - args.encode_share), args.lr, args.whole_from):
            errors.append(error)
            if step % LOG_EVERY == 0:
                log.writerow((step, f"{np.mean(errors[-LOG_EVERY:]):.4f}", len(encoded)))
                file.flush()
    save_nano(settler.settle(), args.out / "nano")
    return 0


if __name__ == "__main__":
    sys.exit(main())
