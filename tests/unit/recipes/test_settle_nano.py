"""Teaching the predictor to forecast: the encoder rests, contexts do not see the future, and the error falls."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import copying_predictor
import nano
import numpy as np
import pytest
import settle_nano
import torch
import torch.nn.functional as F
from recipes import TINY, save_shard
from transformers import AutoModel, VJEPA2Model
from views import Films, as_input, draw_views

WIDE = {**TINY, "hidden_size": 64, "pred_hidden_size": 64, "pred_num_attention_heads": 2}  # heads of 32 channels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    save_shard(folder)
    return folder


@pytest.fixture
def given() -> VJEPA2Model:
    """A checkpoint whose predictor has another shape than the one that it is to get."""
    return nano.new_nano(1, nano.nano_config(**{**WIDE, "pred_num_hidden_layers": 2}))


@pytest.fixture
def settler(folder, given) -> settle_nano.Settler:
    config, views = nano.nano_config(**WIDE), partial(draw_views, Films(folder), None)
    return settle_nano.Settler(given, views, config=config, batch=2, parts=1, targets=64, bf16=False)


def test_the_encoder_is_the_one_that_was_given(settler, given):
    made = settler.model.encoder.parameters()
    assert all(torch.equal(a, b) for a, b in zip(made, given.encoder.parameters(), strict=True))
    assert len(settler.model.predictor.layer) == 1


def test_a_view_is_encoded_as_the_evaluation_does(settler, folder):
    views = draw_views(Films(folder), None, np.random.default_rng(0), 1, nano.STEPS)
    settler.views = lambda *arguments: views
    view = settler.encode(3)
    pixels, seen = as_input(views.frames), len(view.context) // 256
    with torch.no_grad():
        whole = settler.model.get_vision_features(pixels)[0]
        context = settler.model.get_vision_features(pixels[:, : 2 * seen])[0]
    torch.testing.assert_close(view.context.float(), context, atol=5e-3, rtol=0)
    target = F.layer_norm(whole, whole.shape[-1:])[256 * seen :]
    torch.testing.assert_close(view.future.float(), target, atol=5e-3, rtol=0)


def test_only_the_predictor_learns_and_its_error_falls(settler):
    before = {name: value.clone() for name, value in settler.model.named_parameters()}
    views = [settler.encode(number) for number in range(3)]
    optimizer = torch.optim.AdamW(settler.learning, lr=3e-3)
    errors = [settler.step(views, optimizer, side=8) for _ in range(25)]
    assert np.mean(errors[-5:]) < np.mean(errors[:5])
    settled = settler.settle()
    same = {name: torch.equal(before[name], value) for name, value in settled.named_parameters()}
    assert all(kept for name, kept in same.items() if name.startswith("encoder."))
    assert not same["predictor.proj.weight"]


def test_the_error_of_a_whole_view_is_that_of_transformers(settler):
    view = settler.encode(0)
    n = len(view.context)
    settler.targets = nano.TOKENS
    at = torch.arange(nano.TOKENS)[None]
    with torch.no_grad():
        told = settler.model.predictor(
            encoder_hidden_states=view.context.float()[None], context_mask=[at[:, :n]], target_mask=[at[:, n:]]
        ).last_hidden_state[0]
        error = settler._error(np.random.default_rng(0), view, nano.GRID)
    assert float(error) == pytest.approx(float((told - view.future.float()).abs().mean()), abs=1e-4)


@pytest.mark.parametrize("seen", [1, 4, 7])
def test_a_new_predictor_copies_what_was_seen_last(settler, seen):
    settler.begin([settler.encode(number) for number in range(3)])
    model = settler.model
    generator = torch.Generator().manual_seed(0)
    pixels = F.interpolate(torch.rand(16, 3, 32, 32, generator=generator), size=128, mode="bilinear")[None]
    at = torch.arange(nano.TOKENS)[None]
    with torch.no_grad():
        context = model.get_vision_features(pixels)[:, : 256 * seen]
        told = model.predictor(
            encoder_hidden_states=context, context_mask=[at[:, : 256 * seen]], target_mask=[at[:, 256 * seen :]]
        ).last_hidden_state[0]
    known = F.layer_norm(context[0, -256:], (64,))
    error = (told[:256] - known).abs().mean()
    other = (told[:256] - known.roll(5, dims=0)).abs().mean()
    assert error < 0.5 * other


def test_a_copying_predictor_is_for_nano_s_heads_and_as_wide_as_the_tokens():
    for changes, message in (({"pred_hidden_size": 24}, "32 channels"), ({"pred_hidden_size": 32}, "tokens' 48")):
        model = nano.new_nano(0, nano.nano_config(**{**TINY, **changes}))
        with pytest.raises(ValueError, match=message):
            copying_predictor.begin_as_copy(model, torch.randn(48))


def test_one_command_settles_a_checkpoint(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(settle_nano, "Settler", partial(settle_nano.Settler, config=nano.nano_config(**WIDE)))
    nano.save_nano(nano.new_nano(0, nano.nano_config(**WIDE)), tmp_path / "nano")
    arguments = ["--nano", str(tmp_path / "nano"), "--clips", str(folder), "--out", str(tmp_path / "out")]
    assert settle_nano.main([*arguments, "--minutes", "0.02", "--batch", "2", "--parts", "1", "--fp32"]) == 0
    assert AutoModel.from_pretrained(tmp_path / "out/nano").config.hidden_size == 64
    with (tmp_path / "out/log.csv").open(newline="") as file:
        assert all(float(row["error"]) > 0 for row in csv.DictReader(file))


def test_views_behind_screens_are_whole_clips_and_none_like_another():
    views = settle_nano.draw_screens(np.random.default_rng(0), 2, nano.STEPS)
    assert views.frames.shape == (2, 2 * nano.STEPS, 3, 256, 256)
    assert as_input(views.frames).shape[-2:] == (128, 128)
    assert views.positions.tolist() == [list(range(nano.STEPS * 256))] * 2
    assert 0 <= views.frames.min() < views.frames.max() <= 1
    assert not torch.equal(views.frames[0], views.frames[1])
    assert (views.frames[:, 0] != views.frames[:, 7]).any(), "something passes"
