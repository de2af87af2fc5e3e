"""The final norm and the copying predictor: what is turned stays the same, what is weighed is weighed as it says."""

from __future__ import annotations

import copying_predictor
import final_norm
import nano
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipes import TINY


@pytest.fixture
def model():
    model = nano.new_nano(0, nano.nano_config(**TINY))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # biases and norms as training leaves them
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def tokens(model, seed: int) -> torch.Tensor:
    """Tokens `[8, 16, 16, D]` of a clip of smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 8, 8, generator=generator)
    pixels = F.interpolate(coarse, size=(16, 128, 128), mode="trilinear").transpose(1, 2)
    with torch.no_grad():
        return model.get_vision_features(pixels)[0].view(8, 16, 16, -1)


def normalised(model, seed: int) -> np.ndarray:
    norm = model.encoder.layernorm
    with torch.no_grad():
        return ((tokens(model, seed) - norm.bias) / norm.weight).double().numpy()


def turn_for(seed: int) -> np.ndarray:
    """A random rotation of 48 channels that keeps the ones."""
    rng = np.random.default_rng(seed)
    ones = np.full((48, 1), 48**-0.5)
    bases = [np.linalg.qr(np.concatenate([ones, rng.normal(size=(48, 47))], axis=1))[0] for _ in range(2)]
    bases = [basis * np.sign(basis[0, 0]) for basis in bases]
    return bases[0] @ bases[1].T


def test_a_rotated_stream_gives_rotated_tokens(model):
    before, turn = normalised(model, 0), turn_for(0)
    final_norm.rotate_stream(model, torch.from_numpy(turn))
    np.testing.assert_allclose(normalised(model, 0), before @ turn.T, atol=2e-3)


def test_directions_become_differences_of_two_channels():
    rng = np.random.default_rng(2)
    grids = [np.cumsum(rng.normal(size=(4, 5, 6, 48)), axis=1) @ rng.normal(size=(48, 48)) for _ in range(3)]
    grids = [grid - grid.mean(axis=-1, keepdims=True) for grid in grids]
    directions, factors = final_norm.smoothness(grids)
    turn = final_norm.pairs_of_channels(directions, factors)
    np.testing.assert_allclose(turn @ turn.T, np.eye(48), atol=1e-9)
    np.testing.assert_allclose(turn @ np.ones(48), np.ones(48), atol=1e-6)
    for k in range(24):
        expected = np.zeros(48)
        expected[[2 * k, 2 * k + 1]] = 0.5**0.5, -(0.5**0.5)
        np.testing.assert_allclose(turn @ directions[:, k], expected, atol=1e-6)


def test_smooth_directions_count_more_than_rough_ones():
    """Of two independent directions of one variance, the one that neighbours share has the greater factor."""
    rng = np.random.default_rng(3)
    smooth = np.add.outer(np.add.outer(np.sin(np.arange(8)), np.sin(np.arange(16))), np.sin(np.arange(16) / 3))
    grids = []
    for _ in range(4):
        values = np.stack(
            [np.roll(smooth, rng.integers(16), axis=2), rng.permuted(smooth.ravel()).reshape(smooth.shape)]
        )
        axes = np.zeros((2, 48))
        axes[0, :2], axes[1, 2:4] = (1, -1), (1, -1)
        grids.append(np.einsum("ktyx,kd->tyxd", values, axes) + 1e-3 * rng.normal(size=(8, 16, 16, 48)))
    directions, factors = final_norm.smoothness(grids)
    weights = [np.abs(directions[2 * k]).argmax() for k in range(2)]
    assert weights == [0, 1], "the two come first, the smooth one before the rough one"
    assert factors[0] > 1.5 * factors[1]


def test_a_set_norm_weighs_tokens_as_it_says(model):
    """Centred products of the new tokens are those of the old ones by N⁻¹ C N⁻¹, written out slowly."""
    grids = [normalised(model, seed) for seed in range(4)]
    centred = np.concatenate([(grid - grid.mean(axis=(0, 1, 2))).reshape(-1, 48) for grid in grids])
    whole = centred.T @ centred / len(centred)
    near = np.concatenate([np.diff(grid, axis=axis).reshape(-1, 48) for grid in grids for axis in (0, 1, 2)])
    near = near.T @ near / len(near) + final_norm.FLOOR * np.trace(whole) / 48 * np.eye(48)
    metric = np.linalg.inv(near) @ whole @ np.linalg.inv(near)
    final_norm.set_final_norm(model, grids)
    for seed in range(4):
        old, new = grids[seed].reshape(-1, 48)[::16], tokens(model, seed).reshape(-1, 48)[::16].numpy()
        old, new = old - old.mean(axis=0), new - new.mean(axis=0)
        products = new @ new.T
        wanted = old @ metric @ old.T
        np.testing.assert_allclose(products / np.trace(products), wanted / np.trace(wanted), atol=2e-4)
    everything = np.concatenate([tokens(model, seed).reshape(-1, 48).numpy() for seed in range(4)])
    assert np.abs(everything.mean(axis=0)).max() < 1e-2
    assert abs(everything.std() - 1) < 0.1


@pytest.mark.parametrize("seen", [1, 4, 7])
def test_a_new_predictor_copies_what_was_seen_last(model, seen):
    final_norm.set_final_norm(model, [normalised(model, seed) for seed in range(4)])
    copying_predictor.begin_as_copy(model)
    context = tokens(model, 5).reshape(1, -1, 48)[:, : 256 * seen]
    at = torch.arange(nano.TOKENS)[None]
    with torch.no_grad():
        told = model.predictor(
            encoder_hidden_states=context, context_mask=[at[:, : 256 * seen]], target_mask=[at[:, 256 * seen :]]
        ).last_hidden_state[0]
    known = F.layer_norm(context[0, -256:], (48,))
    one_ahead = told[:256]
    error = (one_ahead - known).abs().mean()
    other = (one_ahead - known.roll(5, dims=0)).abs().mean()
    assert error < 0.4 * other


def test_a_copying_predictor_is_for_nano_s_heads(model):
    wide = nano.new_nano(0, nano.nano_config(**{**TINY, "pred_hidden_size": 24}))
    with pytest.raises(ValueError, match="32 channels"):
        copying_predictor.begin_as_copy(wide)
