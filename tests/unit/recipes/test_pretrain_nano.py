"""The pretraining recipe: its forward is transformers', its masks hide what they say, a stopped run goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import nano
import numpy as np
import pretrain_nano
import pytest
import torch
import torch.nn.functional as F
from masks import LONG, SHORT, block_mask, block_tokens, draw_horizon, future_tokens
from recipes import TINY, save_shard
from training_clips import WEIGHTS, Shards, sample_views, window_positions
from transformers import AutoModel, AutoVideoProcessor

from vjepa_demo.model import forward


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("clips")
    save_shard(folder)
    return Shards(folder)


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


def test_small_views_stand_in_the_model_s_grid(clips):
    rng = np.random.default_rng(0)
    for _ in range(20):
        spread = window_positions(rng, 8, 4, spread=True).reshape(4, 8, 8)
        close = window_positions(rng, 8, 4, spread=False).reshape(4, 8, 8)
        assert (np.diff(spread, axis=2) == 2).all()
        assert (np.diff(spread, axis=1) == 32).all()
        assert (np.diff(close, axis=2) == 1).all()
        assert (np.diff(close, axis=1) == 16).all()
        for places in (spread, close):
            assert (np.diff(places, axis=0) == 256).all()
            assert (places[0] // 16 % 16 == places[0, :, :1] // 16 % 16).all(), "a row does not wrap around"
            assert 0 <= places.min() <= places.max() < nano.TOKENS
    views = sample_views(rng, clips, 3, 8, 4)
    assert views.pixels.shape == (3, 8, 3, 64, 64)
    assert views.positions.shape == (3, 256)
    assert torch.isfinite(views.pixels).all()
    whole = sample_views(rng, clips, 1, 16, 8)
    assert torch.equal(whole.positions, torch.arange(nano.TOKENS)[None])


def test_new_shards_are_taken_up(tmp_path):
    np.save(tmp_path / "train_000.npy", np.zeros((2, 16, 8, 8, 3), np.uint8))
    shards = Shards(tmp_path)
    assert len(shards) == 2
    np.save(tmp_path / "train_001.npy", np.ones((3, 16, 8, 8, 3), np.uint8))
    (tmp_path / "train_002.npy").write_bytes(b"\x93NUMPY")  # still being written
    assert shards.rescan() == 5
    assert shards[4].max() == 1


def test_clips_are_drawn_as_often_as_their_kind_says(tmp_path):
    np.save(tmp_path / "train_000.npy", np.zeros((20, 16, 8, 8, 3), np.uint8))
    drawn = Shards(tmp_path).draw(np.random.default_rng(0), 40_000)
    shares = np.bincount(drawn, minlength=20) / 40_000
    np.testing.assert_allclose(shares, np.tile(WEIGHTS, 2) / (2 * sum(WEIGHTS)), atol=0.005)


def settings(**changes) -> pretrain_nano.Settings:
    values = {"batch": 4, "large_batch": 2, "targets": 32, "large_targets": 64, "warmup": 5, "large_from": 0.9}
    return pretrain_nano.Settings(**{**values, **changes})


def trainer() -> pretrain_nano.Trainer:
    return pretrain_nano.Trainer(settings(), nano.nano_config(**TINY))


def run(trainer: pretrain_nano.Trainer, clips: Shards, out: Path, stop_at: int | None = None) -> list[dict]:
    pretrain_nano.train(trainer, clips, out, progress=lambda step, seconds: step / 20, stop_at=stop_at)
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_twenty_steps_learn_and_a_stopped_run_goes_on_as_if_it_had_not(clips, tmp_path):
    once = trainer()
    start = {name: value.clone() for name, value in once.teacher.named_parameters()}
    rows = run(once, clips, tmp_path / "once")
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    losses = np.array([float(row["loss"]) for row in rows])
    assert np.isfinite(losses).all()
    assert losses[-5:].mean() < losses[:5].mean()
    assert all(float(row["target_std"]) > 0 for row in rows)
    assert any(not torch.equal(start[name], value) for name, value in once.teacher.named_parameters())

    run(trainer(), clips, tmp_path / "twice", stop_at=11)
    second = trainer()
    second.load(tmp_path / "twice/state.safetensors")
    assert second.done == 11
    again = run(second, clips, tmp_path / "twice")
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    for model, other in ((once.student, second.student), (once.teacher, second.teacher)):
        for (name, value), copy in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(value, copy), name
    assert AutoModel.from_pretrained(tmp_path / "twice/nano").config.hidden_size == TINY["hidden_size"]


def test_a_share_of_the_steps_may_hide_the_future(clips):
    run = pretrain_nano.Trainer(settings(future_share=1.0), nano.nano_config(**TINY))
    row = run.step(clips, 0.5)
    assert np.isfinite(row["future_loss"])
    assert np.isnan(row["block_loss"])


def test_the_effective_rank_counts_directions():
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(4000, 3, generator=generator) @ torch.linalg.qr(torch.randn(12, 3, generator=generator)).Q.T
    assert pretrain_nano.effective_rank(few + 5) == pytest.approx(3, rel=0.05)
    assert pretrain_nano.effective_rank(torch.randn(2, 2000, 12, generator=generator)) == pytest.approx(12, rel=0.05)


def test_the_learning_rate_warms_up_stays_and_cools_down():
    plan = settings(warmup=10, lr=1e-3, cooldown_from=0.8)
    rates = [pretrain_nano.schedule(plan, step, step / 100)[0] for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[10] == rates[80] == pytest.approx(1e-3)
    assert rates[90] == pytest.approx(5e-4)
    assert rates[100] == 0
    momenta = [pretrain_nano.schedule(plan, step, step / 100)[1] for step in (0, 100)]
    assert momenta == pytest.approx(list(plan.ema))
