"""Teaching the predictor to forecast: the encoder rests, contexts do not see the future, and the error falls."""

from __future__ import annotations

import csv

import nano
import numpy as np
import pytest
import settle_nano
import torch
import torch.nn.functional as F
from recipes import TINY, save_shard
from training_clips import Shards
from transformers import AutoModel


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("clips")
    save_shard(folder)
    return Shards(folder)


@pytest.fixture
def settler() -> settle_nano.Settler:
    return settle_nano.Settler(nano.new_nano(0, nano.nano_config(**TINY)), batch=2, parts=1, targets=64, bf16=False)


def test_a_view_is_encoded_as_the_evaluation_does(settler, clips, monkeypatch):
    views = settle_nano.sample_views(np.random.default_rng(0), clips, 1, nano.GRID, nano.STEPS)
    monkeypatch.setattr(settle_nano, "sample_views", lambda *arguments: views)
    view = settler.encode(clips, 3)
    pixels, seen = views.pixels, len(view.context) // 256
    with torch.no_grad():
        whole = settler.model.get_vision_features(pixels)[0]
        context = settler.model.get_vision_features(pixels[:, : 2 * seen])[0]
    torch.testing.assert_close(view.context.float(), context, atol=5e-3, rtol=0)
    target = F.layer_norm(whole, whole.shape[-1:])[256 * seen :]
    torch.testing.assert_close(view.future.float(), target, atol=5e-3, rtol=0)


def test_only_the_predictor_learns_and_its_error_falls(settler, clips):
    before = {name: value.clone() for name, value in settler.model.named_parameters()}
    views = [settler.encode(clips, number) for number in range(3)]
    optimizer = torch.optim.AdamW(settler.learning, lr=3e-3)
    errors = [settler.step(views, optimizer, side=8) for _ in range(25)]
    assert np.mean(errors[-5:]) < np.mean(errors[:5])
    settled = settler.settle()
    same = {name: torch.equal(before[name], value) for name, value in settled.named_parameters()}
    assert all(kept for name, kept in same.items() if name.startswith("encoder."))
    assert not same["predictor.proj.weight"]


def test_the_error_of_a_whole_view_is_that_of_transformers(settler, clips):
    view = settler.encode(clips, 0)
    n = len(view.context)
    settler.targets = nano.TOKENS
    at = torch.arange(nano.TOKENS)[None]
    with torch.no_grad():
        told = settler.model.predictor(
            encoder_hidden_states=view.context.float()[None], context_mask=[at[:, :n]], target_mask=[at[:, n:]]
        ).last_hidden_state[0]
        error = settler._error(np.random.default_rng(0), view, nano.GRID)
    assert float(error) == pytest.approx(float((told - view.future.float()).abs().mean()), abs=1e-4)


def test_one_command_settles_a_checkpoint(clips, tmp_path):
    nano.save_nano(nano.new_nano(0, nano.nano_config(**TINY)), tmp_path / "nano")
    arguments = ["--nano", str(tmp_path / "nano"), "--clips", str(clips.folder), "--out", str(tmp_path / "out")]
    assert settle_nano.main([*arguments, "--minutes", "0.1", "--batch", "2", "--parts", "1", "--fp32"]) == 0
    assert AutoModel.from_pretrained(tmp_path / "out/nano").config.hidden_size == TINY["hidden_size"]
    with (tmp_path / "out/log.csv").open(newline="") as file:
        assert all(float(row["error"]) > 0 for row in csv.DictReader(file))
