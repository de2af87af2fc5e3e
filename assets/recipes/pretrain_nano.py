"""Pretrain nano, the embedded V-JEPA 2: V-JEPA 2's own objective, and what a network that knows photographs sees.

A student encodes only the visible tokens of a view, a predictor tells the hidden ones, and the target is what an
exponential moving average of the student makes of the whole view, layer-normed. The error is L1. Masks are V-JEPA 2's
blocks, or hide the future. Beside it, the student's tokens learn what a seer (seer.py) says of the same patches: by a
linear head, and by being alike where it finds patches alike, which is what a heatmap shows and needs no head later.

    python assets/recipes/pretrain_nano.py --clips build/train --photos build/photos/photos --out run --until 11:35
    python assets/recipes/pretrain_nano.py --clips build/train --photos build/photos/photos --out run --steps 20000

A run stops at its number of steps or at its time, whichever is given, and goes on where it stopped when it is called
again. `OUT` then holds `log.csv`, `state.safetensors` (to go on) and `nano/` (to use).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import json
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from masks import LONG, SHORT, block_tokens, draw_horizon, future_tokens
from nano import GRID, new_nano, save_nano
from safetensors import safe_open
from safetensors.torch import save_file
from seer import SIZE, Seer, likeness
from torch import Tensor
from transformers import AutoModel, VJEPA2Config, VJEPA2Model
from views import Films, Photographs, Source, as_input, draw_views

from vjepa_demo.model.forward import Rope, encode, patchify, predict, take

KINDS = ("whole", "blocks", "future")
LOG = ("step", "kind", "loss", "hidden", "head", "inside", "across", "target_rank", "lr", "ema", "seconds")
PATCHES = GRID * GRID
TOLD = 2  # time steps of a view about which the seer is asked
CALIBRATED = 128  # views of a batch by which the seer's directions are set
ACROSS = 16  # patches of each view that are compared with those of other views


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run does. Shares are of the whole run, whether it is measured in steps or in time."""

    seed: int = 0
    tokens: int = 49152  # of a step's views together
    whole_share: float = 0.5  # of the steps: views without a mask, for the seer alone
    future_share: float = 0.25  # of the steps hide the future, the others blocks
    targets: int = 256  # hidden tokens asked for in each mask
    hidden: float = 1.0  # weight of V-JEPA 2's loss
    head: float = 1.0  # of the linear head's
    inside: float = 4.0  # of likeness within a view
    across: float = 4.0  # of likeness among views
    lr: float = 2e-3
    warmup: int = 200  # steps
    cooldown_from: float = 0.6
    weight_decay: float = 0.04
    ema: tuple[float, float] = (0.996, 0.998)


def schedule(settings: Settings, step: int, progress: float) -> tuple[float, float]:
    """Learning rate and the teacher's momentum: warm-up, constant, and a linear cooldown to zero."""
    rise = min(1.0, (step + 1) / settings.warmup)
    fall = min(1.0, (1 - progress) / (1 - settings.cooldown_from))
    start, end = settings.ema
    return settings.lr * rise * max(fall, 0.0), start + (end - start) * progress


def effective_rank(tokens: Tensor) -> Tensor:
    """Over how many directions the variance of tokens `[..., D]` is spread: the participation ratio, 1 to D."""
    centred = tokens.flatten(0, -2) - tokens.flatten(0, -2).mean(dim=0)
    covariance = centred.T @ centred
    return covariance.trace() ** 2 / covariance.square().sum()


class Asked(Protocol):
    """What tells of frames `[B, 3, 256, 256]` in 0..1 what is in each patch: `[B, 256, E]`."""

    def __call__(self, frames: Tensor) -> Tensor: ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a step does, random only by the seed and the step's number: `shown` and `hidden` are its masks."""

    kind: str
    batch: int  # views
    steps: int  # of each view
    seen: int  # steps that a mask leaves something of
    asked: np.ndarray  # time steps about which the seer is asked
    masks: list[tuple[Tensor, Tensor]]
    rng: np.random.Generator


class Trainer:
    """Student, teacher and optimiser; `step` makes one update."""

    def __init__(
        self,
        settings: Settings,
        views: Source,
        seer: Asked,
        start: VJEPA2Model | None = None,
        *,
        config: VJEPA2Config | None = None,
        device: str = "cpu",
        bf16: bool = True,
    ):
        self.settings, self.views, self.seer = settings, views, seer
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.student = new_nano(settings.seed, config).to(self.device)
        if start is not None:
            self.student.load_state_dict(start.state_dict())
        self.teacher = new_nano(settings.seed, config).to(self.device).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        config = self.student.config
        torch.manual_seed(settings.seed)
        self.head = torch.nn.Linear(config.hidden_size, SIZE).to(self.device)
        self.ropes = [
            Rope(config, config.hidden_size // config.num_attention_heads, self.device),
            Rope(config, config.pred_hidden_size // config.pred_num_attention_heads, self.device),
        ]
        self.learning = {f"student.{name}": value for name, value in self.student.named_parameters()}
        self.learning |= {f"head.{name}": value for name, value in self.head.named_parameters()}
        parameters = list(self.learning.values())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)
        self.pool = ThreadPoolExecutor(2)
        self.plans: dict[int, Future[Plan]] = {}
        self.done = 0
        self.seconds = 0.0  # of training, over all calls

    def plan(self, number: int) -> Plan:
        """Kind, length and masks of step `number`."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, number])
        drawn = rng.random()
        if drawn < settings.whole_share:
            kind, steps = "whole", int(rng.choice((2, 4, 8), p=(0.25, 0.35, 0.4)))
        elif drawn < settings.whole_share + settings.future_share:
            kind, steps = "future", int(rng.choice((4, 8), p=(0.3, 0.7)))
        else:
            kind, steps = "blocks", int(rng.choice((4, 8), p=(0.6, 0.4)))
        batch = max(1, settings.tokens // (steps * PATCHES))
        seen = draw_horizon(rng, steps) if kind == "future" else steps
        masks = []
        if kind == "future":
            masks = [future_tokens(rng, batch, steps, GRID, seen, settings.targets)]
        elif kind == "blocks":
            masks = [block_tokens(rng, batch, steps, GRID, of, settings.targets) for of in (LONG, SHORT)]
        asked = np.sort(rng.permutation(seen)[:TOLD])
        pairs = [(torch.from_numpy(shown), torch.from_numpy(hidden)) for shown, hidden in masks]
        return Plan(kind, batch, steps, seen, asked, pairs, rng)

    def step(self, progress: float) -> dict[str, Tensor | float | str]:
        """One update at `progress` (0 to 1) of the run; returns the row of the log."""
        settings = self.settings
        lr, momentum = schedule(settings, self.done, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for number in range(self.done, self.done + 4):  # masks are drawn on the CPU, beside the work
            if number not in self.plans:
                self.plans[number] = self.pool.submit(self.plan, number)
        plan = self.plans.pop(self.done).result()
        loss, figures = self._loss(plan)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learning.values(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)
        self.done += 1
        return {"step": self.done, "kind": plan.kind, "loss": loss.detach(), **figures, "lr": lr, "ema": momentum}

    def _loss(self, plan: Plan) -> tuple[Tensor, dict[str, Tensor]]:
        settings, device = self.settings, self.device
        views = self.views(plan.rng, plan.batch, plan.steps)
        config = self.student.config
        patches, positions = patchify(as_input(views.frames, config.crop_size), config), views.positions
        asked = torch.from_numpy(plan.asked).to(device)
        pairs = views.frames.unflatten(1, (plan.steps, 2))[:, asked].mean(2)
        told = self.seer(pairs.flatten(0, 1)).unflatten(0, (plan.batch, -1))  # [B, asked, 256, E]

        if not plan.masks:
            tokens = encode(self.student, patches, positions, self.ropes[0], self.dtype)
            seen = tokens.unflatten(1, (plan.steps, PATCHES))[:, asked]
            return self._alike(seen.flatten(1, 2), told.flatten(1, 2), plan.rng)

        with torch.no_grad():
            target = encode(self.teacher, patches, positions, self.ropes[0], self.dtype)
            rank = effective_rank(target)
            target = F.layer_norm(target, target.shape[-1:])
        losses, errors, figures = [], [], {}
        for shown, hidden in plan.masks:
            shown, hidden = shown.to(device), hidden.to(device)
            at, wanted = positions.gather(1, shown), positions.gather(1, hidden)
            context = encode(self.student, take(patches, shown), at, self.ropes[0], self.dtype)
            guess = predict(self.student, context, at, wanted, self.ropes[1], self.dtype)[:, shown.shape[1] :]
            errors.append((guess - take(target, hidden)).abs().mean())
            # a mask shows the same patches at each time step, and all that come before a future
            seen = context.unflatten(1, (plan.seen, -1))[:, asked]
            places = (shown % PATCHES).unflatten(1, (plan.seen, -1))[:, asked]
            there = told.gather(2, places[..., None].expand(-1, -1, -1, told.shape[-1]))
            loss, figures = self._alike(seen.flatten(1, 2), there.flatten(1, 2), plan.rng)
            losses.append(loss)
        error = torch.stack(errors).mean()
        figures |= {"hidden": error.detach(), "target_rank": rank}
        return torch.stack(losses).mean() + settings.hidden * error, figures

    def _alike(self, tokens: Tensor, told: Tensor, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of tokens `[B, n, D]` against what the seer told `[B, n, E]`."""
        settings = self.settings
        some = torch.from_numpy(rng.integers(tokens.shape[1], size=(len(tokens), ACROSS))).to(self.device)
        head = 1 - F.cosine_similarity(self.head(tokens), told, dim=-1).mean()
        inside = likeness(tokens, told)
        across = likeness(take(tokens, some).flatten(0, 1), take(told, some).flatten(0, 1))
        figures = {"head": head.detach(), "inside": inside.detach(), "across": across.detach()}
        return settings.head * head + settings.inside * inside + settings.across * across, figures

    def published(self) -> VJEPA2Model:
        """What is used after training: the teacher, whose predictor is averaged along with its encoder."""
        return self.teacher

    def save(self, path: Path) -> None:
        """Write everything that a later call needs to go on as if it had not stopped."""
        tensors: dict[str, Tensor] = {}
        for name, value in self.learning.items():
            tensors[name] = value.detach()
            for key, moment in self.optimizer.state[value].items():
                tensors[f"optimizer.{key}.{name}"] = moment
        tensors |= {f"teacher.{name}": value.detach() for name, value in self.teacher.named_parameters()}
        about = {"done": self.done, "seconds": self.seconds, "settings": dataclasses.asdict(self.settings)}
        part = path.with_suffix(".part")
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part, {"run": json.dumps(about)})
        part.replace(path)

    def load(self, path: Path) -> None:
        """Take up a saved run."""
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            about = json.loads(file.metadata()["run"])
            with torch.no_grad():
                for name, value in self.learning.items():
                    value.copy_(file.get_tensor(name))
                for name, value in self.teacher.named_parameters():
                    value.copy_(file.get_tensor(f"teacher.{name}"))
            moments = {name for name in file.keys() if name.startswith("optimizer.")}  # noqa: SIM118 (not a dict)
            for name, value in self.learning.items():
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"optimizer.{key}.{name}" in moments]
                self.optimizer.state[value] = {key: file.get_tensor(f"optimizer.{key}.{name}") for key in keys}
        self.done, self.seconds = about["done"], about["seconds"]


def train(
    trainer: Trainer,
    out: Path,
    *,
    progress: Callable[[int, float], float],
    stopped: Callable[[], bool] = lambda: False,
    save_seconds: float = 300,
) -> None:
    """Step until `progress(step, seconds of training)` reaches 1."""
    out.mkdir(parents=True, exist_ok=True)
    state = out / "state.safetensors"
    saved = started = time.monotonic()
    before = trainer.seconds
    rows = []
    if (out / "log.csv").exists():  # steps after the state that the run goes on from were lost
        with (out / "log.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= trainer.done]
    with (out / "log.csv").open("w", newline="") as file:
        log = csv.DictWriter(file, LOG)
        log.writeheader()
        log.writerows(rows)
        waiting: list[dict] = []

        def write() -> None:  # figures are asked of the device at times only: it works ahead
            for row in waiting:
                log.writerow(
                    {key: value if isinstance(value, str) else f"{float(value):.5g}" for key, value in row.items()}
                )
            waiting.clear()
            file.flush()

        while (share := progress(trainer.done, trainer.seconds)) < 1 and not stopped():
            row = trainer.step(share)
            trainer.seconds = before + time.monotonic() - started
            waiting.append({**row, "seconds": trainer.seconds})
            if trainer.done % 10 == 0:
                write()
            if time.monotonic() - saved > save_seconds:
                trainer.save(state)
                save_nano(trainer.published(), out / "nano")
                saved = time.monotonic()
        write()
    trainer.save(state)
    save_nano(trainer.published(), out / "nano")


def _until(clock: str) -> Callable[[int, float], float]:
    """Progress towards a time of day, HH:MM in UTC, from the first step on."""
    now = datetime.datetime.now(datetime.timezone.utc)
    hour, minute = (int(part) for part in clock.split(":"))
    end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if end <= now:
        end += datetime.timedelta(days=1)
    left, start = (end - now).total_seconds(), time.monotonic()
    first: list[float] = []

    def share(step: int, seconds: float) -> float:
        first.append(seconds) if not first else None
        return (first[0] + time.monotonic() - start) / (first[0] + left)

    return share


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of uint8 shards [n, 16, 128, 128, 3], .npy")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--cutouts", type=Path, help="folder of pictures with transparency, .webp")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an earlier run there goes on")
    parser.add_argument("--start", type=Path, help="checkpoint to begin from, instead of random weights")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="the run's length in steps")
    length.add_argument("--minutes", type=float, help="the run's length in minutes of training")
    length.add_argument("--until", help="the run's end as a time of day in UTC, HH:MM")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 (it pays on a GPU, and on a CPU that has AMX)")
    for field in dataclasses.fields(Settings):
        if field.name != "ema":
            kind = int if isinstance(field.default, int) else float
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    args = parser.parse_args(arguments)
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "ema"]
    settings = Settings(**{name: getattr(args, name) for name in names})
    torch.backends.cudnn.benchmark = True  # views come in few shapes
    torch.backends.cuda.enable_cudnn_sdp(False)  # plans anew for each length of a mask: 0.2 s a step on an H200
    torch.set_float32_matmul_precision("high")
    dtype = torch.float32 if args.fp32 else torch.bfloat16
    try:
        films = Films(args.clips, args.device)
        photographs = Photographs(args.photos, args.cutouts, args.device) if args.photos else None
    except FileNotFoundError as error:
        parser.error(str(error))
    views = partial(draw_views, films, photographs)
    seer = Seer(args.device, dtype)
    rng = np.random.default_rng([settings.seed, 0, 0])
    seer.calibrate([views(rng, CALIBRATED, 1).frames.mean(1) for _ in range(4)])
    start = AutoModel.from_pretrained(args.start) if args.start else None
    trainer = Trainer(settings, views, seer, start, device=args.device, bf16=not args.fp32)
    if (args.out / "state.safetensors").exists():
        trainer.load(args.out / "state.safetensors")
    if args.steps:
        progress = lambda step, seconds: step / args.steps  # noqa: E731
    elif args.minutes:
        progress = lambda step, seconds: seconds / 60 / args.minutes  # noqa: E731
    else:
        progress = _until(args.until)
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):  # stop after the step in hand, with its state
        signal.signal(number, lambda number, frame: stops.append(number))
    train(trainer, args.out, progress=progress, stopped=lambda: bool(stops))
    return 0


if __name__ == "__main__":
    sys.exit(main())
