"""Pretrain nano, the embedded V-JEPA 2, with V-JEPA 2's own objective.

A student encodes only the visible tokens of a clip, a predictor tells the hidden ones, and the target is what an
exponential moving average of the student (the teacher) makes of the whole clip, layer-normed. The error is L1. Most
masks are V-JEPA 2's blocks; a share of the batches hides the future instead. Views are small and cheap: 64 px,
close-ups and whole clips, at places of the 128 px grid. Some of 128 px may come at the end. Forecasting is learnt
afterwards, by settle_nano.py, from an encoder that holds still.

    python assets/recipes/pretrain_nano.py --clips build/train --out build/run --until 11:35
    python assets/recipes/pretrain_nano.py --clips build/train --out build/run --steps 20000

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from masks import LONG, SHORT, block_tokens, draw_horizon, future_tokens
from nano import STEPS, new_nano, save_nano
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from training_clips import Shards, Views, sample_views
from transformers import VJEPA2Config, VJEPA2Model

from vjepa_demo.model.forward import Rope, encode, patchify, predict, take

LOG = (
    "step",
    "side",
    "loss",
    "block_loss",
    "future_loss",
    "target_std",
    "target_rank",
    "lr",
    "ema",
    "clips",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run does. Shares are of the whole run, whether it is measured in steps or in time."""

    seed: int = 0
    batch: int = 16  # clips a step while views are small
    large_batch: int = 4  # clips a step at 128 px
    parts: int = 2  # threads that share a step's clips (1 on a GPU)
    side: int = 8  # patches a side of the small views
    short_steps: int = 4  # time steps of most small views: half a clip, of every frame or of every second one
    whole_share: float = 0.3  # of the steps with a future mask or at full size that have all eight time steps
    large_from: float = 1.0  # share of the run after which views may fill the model's grid; 1: they never do
    large_share: float = 0.3  # of the steps after that do
    future_share: float = 0.35  # of the steps that hide the future instead of blocks
    targets: int = 128  # hidden tokens asked for in each mask of a small view
    large_targets: int = 512
    dense: float = 0.0  # weight of a loss on visible tokens too (V-JEPA 2.1)
    lr: float = 1e-3
    warmup: int = 200  # steps
    cooldown_from: float = 0.8
    weight_decay: float = 0.04
    ema: tuple[float, float] = (0.998, 0.999)


def schedule(settings: Settings, step: int, progress: float) -> tuple[float, float]:
    """Learning rate and the teacher's momentum: warm-up, constant, and a linear cooldown to zero."""
    rise = min(1.0, (step + 1) / settings.warmup)
    fall = min(1.0, (1 - progress) / (1 - settings.cooldown_from))
    start, end = settings.ema
    return settings.lr * rise * max(fall, 0.0), start + (end - start) * progress


def effective_rank(tokens: Tensor) -> float:
    """Over how many directions the variance of tokens `[..., D]` is spread: the participation ratio, 1 to D."""
    centred = tokens.flatten(0, -2) - tokens.flatten(0, -2).mean(dim=0)
    covariance = centred.T @ centred
    return float(covariance.trace() ** 2 / covariance.square().sum())


class Trainer:
    """Student, teacher and optimiser; `step` makes one update, random only by the seed and the step's number."""

    def __init__(self, settings: Settings, config: VJEPA2Config | None = None, device: str = "cpu", bf16: bool = True):
        self.settings = settings
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.student = new_nano(settings.seed, config).to(self.device)
        self.teacher = new_nano(settings.seed, config).to(self.device).requires_grad_(False)
        config = self.student.config
        self.ropes = [
            Rope(config, config.hidden_size // config.num_attention_heads, self.device),
            Rope(config, config.pred_hidden_size // config.pred_num_attention_heads, self.device),
        ]
        parameters = list(self.student.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, fused=True)
        self.grid = config.crop_size // config.patch_size
        self.pool = ThreadPoolExecutor(settings.parts, initializer=torch.set_num_threads, initargs=(1,))
        self.done = 0
        self.seconds = 0.0  # of training, over all calls

    def step(self, clips: Shards, progress: float) -> dict[str, float]:
        """One update at `progress` (0 to 1) of the run; returns the row of the log."""
        settings = self.settings
        lr, momentum = schedule(settings, self.done, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        rng = np.random.default_rng([settings.seed, self.done])
        large = progress >= settings.large_from and rng.random() < settings.large_share
        future = rng.random() < settings.future_share
        steps = STEPS if (future or large) and rng.random() < settings.whole_share else settings.short_steps
        seen = draw_horizon(rng, steps) if future else 0
        seeds = rng.integers(2**32, size=settings.parts)
        # Each part is a thread of its own with one compute thread. Threads inside every operation would wait for one
        # another thousands of times a step, which on a busy CPU costs far more than the work itself.
        parts = list(self.pool.map(lambda seed: self._part(int(seed), clips, large, steps, seen), seeds))
        with torch.no_grad():
            self.optimizer.zero_grad(set_to_none=True)
            for i, parameter in enumerate(self.student.parameters()):
                parameter.grad = torch.stack([grads[i] for grads, _ in parts]).mean(0)
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
            self.optimizer.step()
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)
        self.done += 1
        mean = {name: float(np.mean([values[name] for _, values in parts])) for name in parts[0][1]}
        blocks = [mean[name] for name in ("long", "short") if name in mean]
        return {
            "step": self.done,
            "side": self.grid if large else settings.side,
            "loss": mean["loss"],
            "block_loss": float(np.mean(blocks)) if blocks else float("nan"),
            "future_loss": mean.get("future", float("nan")),
            "target_std": mean["std"],
            "target_rank": mean["rank"],
            "lr": lr,
            "ema": momentum,
            "clips": len(clips),
        }

    def _part(
        self, seed: int, clips: Shards, large: bool, steps: int, seen: int
    ) -> tuple[tuple[Tensor, ...], dict[str, float]]:
        """Gradients and figures for part of the batch. `seen`: steps before the future, 0: none."""
        settings = self.settings
        rng = np.random.default_rng(seed)
        batch = (settings.large_batch if large else settings.batch) // settings.parts
        side = self.grid if large else settings.side
        targets = settings.large_targets if large else settings.targets
        with torch.enable_grad():
            views = sample_views(rng, clips, batch, side, steps)
            loss, figures = self._loss(views, self._masks(rng, (batch, steps, side), targets, seen))
            grads = torch.autograd.grad(loss, list(self.student.parameters()))
        return grads, {"loss": float(loss.detach()), **figures}

    def _masks(
        self, rng: np.random.Generator, shape: tuple[int, int, int], targets: int, seen: int
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The future alone, or long and short blocks, which then share the teacher's work."""
        if seen:
            drawn = {"future": future_tokens(rng, *shape, seen, targets)}
        else:
            drawn = {
                name: block_tokens(rng, *shape, kind, targets) for name, kind in (("long", LONG), ("short", SHORT))
            }
        return {
            name: (torch.from_numpy(shown).to(self.device), torch.from_numpy(hidden).to(self.device))
            for name, (shown, hidden) in drawn.items()
        }

    def _loss(self, views: Views, tokens: dict[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its figures: the error on hidden tokens for each mask; the targets' deviation and rank."""
        settings = self.settings
        patches = patchify(views.pixels.to(self.device), self.student.config)
        positions = views.positions.to(self.device)
        with torch.no_grad():
            target = encode(self.teacher, patches, positions, self.ropes[0], self.dtype)
            figures = {"std": float(target.std(dim=(0, 1)).mean()), "rank": effective_rank(target)}
            target = F.layer_norm(target, target.shape[-1:])
        losses = []
        for name, (shown, hidden) in tokens.items():
            at, wanted = positions.gather(1, shown), positions.gather(1, hidden)
            context = encode(self.student, take(patches, shown), at, self.ropes[0], self.dtype)
            told = predict(self.student, context, at, wanted, self.ropes[1], self.dtype)
            n = shown.shape[1]
            error = (told[:, n:] - take(target, hidden)).abs().mean()
            figures[name] = float(error.detach())
            if settings.dense:
                error = error + settings.dense * (told[:, :n] - take(target, shown)).abs().mean()
            losses.append(error)
        return torch.stack(losses).mean(), figures

    def published(self) -> VJEPA2Model:
        """What is used after training: the teacher, whose predictor is averaged along with its encoder."""
        return self.teacher

    def save(self, path: Path) -> None:
        """Write everything that a later call needs to go on as if it had not stopped."""
        tensors: dict[str, Tensor] = {}
        for name, value in self.student.named_parameters():
            tensors[f"student.{name}"] = value.detach()
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
                for model, prefix in ((self.student, "student"), (self.teacher, "teacher")):
                    for name, value in model.named_parameters():
                        value.copy_(file.get_tensor(f"{prefix}.{name}"))
            moments = {name for name in file.keys() if name.startswith("optimizer.")}  # noqa: SIM118 (not a dict)
            for name, value in self.student.named_parameters():
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"optimizer.{key}.{name}" in moments]
                self.optimizer.state[value] = {key: file.get_tensor(f"optimizer.{key}.{name}") for key in keys}
        self.done, self.seconds = about["done"], about["seconds"]


def train(
    trainer: Trainer,
    clips: Shards,
    out: Path,
    *,
    progress: Callable[[int, float], float],
    stopped: Callable[[], bool] = lambda: False,
    save_seconds: float = 300,
    stop_at: int | None = None,
) -> None:
    """Step until `progress(step, seconds of training)` reaches 1 (or `stop_at` steps are done)."""
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
        while (share := progress(trainer.done, trainer.seconds)) < 1 and trainer.done != stop_at and not stopped():
            if trainer.done % 50 == 0:
                clips.rescan()
            row = trainer.step(clips, share)
            trainer.seconds = before + time.monotonic() - started
            log.writerow({**{k: f"{v:.6g}" for k, v in row.items()}, "seconds": f"{trainer.seconds:.1f}"})
            file.flush()
            if time.monotonic() - saved > save_seconds:
                trainer.save(state)
                save_nano(trainer.published(), out / "nano")
                saved = time.monotonic()
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
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an earlier run there goes on")
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
    torch.set_num_threads(1)  # see Trainer.step
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "ema"]
    trainer = Trainer(Settings(**{name: getattr(args, name) for name in names}), device=args.device, bf16=not args.fp32)
    if (args.out / "state.safetensors").exists():
        trainer.load(args.out / "state.safetensors")
    clips = Shards(args.clips)
    if not len(clips):
        parser.error(f"no clips in {args.clips}: render them first (render_clips.py training)")
    if args.steps:
        progress = lambda step, seconds: step / args.steps  # noqa: E731
    elif args.minutes:
        progress = lambda step, seconds: seconds / 60 / args.minutes  # noqa: E731
    else:
        progress = _until(args.until)
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):  # stop after the step in hand, with its state
        signal.signal(number, lambda number, frame: stops.append(number))
    train(trainer, clips, args.out, progress=progress, stopped=lambda: bool(stops))
    return 0


if __name__ == "__main__":
    sys.exit(main())
