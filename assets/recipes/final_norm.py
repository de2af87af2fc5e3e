"""The encoder's final LayerNorm, set so that smooth directions of the tokens count more than rough ones.

What an encoder makes of patches is dominated by two or three directions, whatever else is in it, and so is every
cosine. The scale of the final LayerNorm could change that, were its channels the directions that matter. So the
residual stream is rotated until they are, which changes no token by itself, and the scale is set. Nothing is learnt
and no label is used: the directions and their scales come from how tokens vary over training clips, and how much of
that is between neighbours.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import helmert
from torch import Tensor
from transformers import VJEPA2Model

# Of the mean variance, added to that between neighbours: directions with next to no variance must not count most.
FLOOR = 1.0


def smoothness(grids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal directions and their weights, from normalised tokens `[T', H', W', D]` of some clips.

    With C the covariance of tokens around their clip's mean and N that of the difference of tokens next to each other
    in time, row or column, the weighted square length of a token x is x' N⁻¹ C N⁻¹ x. That is its length in the
    factors of greatest autocorrelation (Switzer and Green, "Min/max autocorrelation factors", 1984), in units of the
    difference of neighbours, where a factor counts the more, the more of its variance neighbours have in common.

    Returns:
        float64 `[D, D]` with a direction in each column: first the D / 2 with most variance over all clips when each is
        multiplied with its factor, then the others, those of most variance first; and float64 `[D / 2]`, the factors.
    """
    size = grids[0].shape[-1]

    def covariance(parts: list[np.ndarray]) -> np.ndarray:
        rows = np.concatenate([part.reshape(-1, size) for part in parts]).astype(np.float64)
        return rows.T @ rows / len(rows)

    whole = covariance([grid - grid.mean(axis=(0, 1, 2)) for grid in grids])
    near = covariance([np.diff(grid, axis=axis) for grid in grids for axis in (0, 1, 2)])
    near += FLOOR * np.trace(whole) / size * np.eye(size)
    inverse = np.linalg.inv(near)
    squares, directions = np.linalg.eigh(inverse @ whole @ inverse)
    squares = squares.clip(min=0)
    mean = np.mean([grid.mean(axis=(0, 1, 2)) for grid in grids], axis=0)
    variances = np.einsum("dk,de,ek->k", directions, covariance([grid - mean for grid in grids]), directions)
    order = np.argsort(-squares * variances)
    kept, others = order[: size // 2], order[size // 2 :]
    others = others[np.argsort(-variances[others])]
    return directions[:, np.concatenate([kept, others])], np.sqrt(squares[kept])


def rotate_stream(model: VJEPA2Model, turn: Tensor) -> None:
    """Rotate the encoder's residual stream by an orthogonal `turn` `[D, D]` that keeps the vector of ones.

    Every LayerNorm then gives the rotated tokens, and what reads from or writes to the stream is rotated along: before
    the final one, tokens x become `turn` x. The affine part of a layer's norms moves into the weights that follow.
    """
    turn = turn.double()

    def write(linear: torch.nn.Module) -> None:
        weight = linear.weight
        weight.copy_((turn @ weight.double().flatten(1)).view_as(weight))
        linear.bias.copy_(turn @ linear.bias.double())

    def read(norm: torch.nn.LayerNorm, *linears: torch.nn.Linear) -> None:
        for linear in linears:
            linear.bias.add_((linear.weight.double() @ norm.bias.double()).float())
            linear.weight.copy_(linear.weight.double() * norm.weight.double() @ turn.T)
        norm.weight.fill_(1)
        norm.bias.fill_(0)

    with torch.no_grad():
        write(model.encoder.embeddings.patch_embeddings.proj)
        for layer in model.encoder.layer:
            attention = layer.attention
            read(layer.norm1, attention.query, attention.key, attention.value)
            write(attention.proj)
            read(layer.norm2, layer.mlp.fc1)
            write(layer.mlp.fc2)


def pairs_of_channels(directions: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The rotation `[D, D]` that makes direction k the difference of channels 2k and 2k + 1, and keeps the ones.

    A LayerNorm takes out the mean of its channels, so that no single channel can be a direction of its own; the
    difference of two can. The second half of the directions goes to the sums of two, less their mean: the first of them
    where factors are smallest.

    Args:
        directions, factors: what `smoothness` returns.
    """
    half = len(factors)
    pairs = np.zeros((2, 2 * half, half))  # differences and sums, a pair in each column
    pairs[:, 0::2] = np.eye(half) / 2**0.5
    pairs[:, 1::2] = np.array([-1, 1])[:, None, None] * np.eye(half) / 2**0.5
    differences, sums = pairs[0], pairs[1][:, np.argsort(factors)]
    # Each of these is mostly one sum, and has nothing of those with larger factors. The first row, the ones, goes last:
    # it is the direction of no variance at all.
    sums = sums @ np.roll(helmert(half, full=True), -1, axis=0).T
    return np.concatenate([differences, sums], axis=1) @ directions.T


def set_final_norm(model: VJEPA2Model, grids: list[np.ndarray]) -> None:
    """Let the final LayerNorm weigh directions by their smoothness, and have the mean token of `grids` at zero.

    The predictor, which knows the old tokens, is left as it was.

    Args:
        grids: tokens `[T', H', W', D]` of the model, before the affine part of its final norm.
    """
    directions, factors = smoothness(grids)
    turn = pairs_of_channels(directions, factors)
    turned = np.concatenate([grid.reshape(-1, len(turn)) for grid in grids]) @ turn.T
    scale = np.repeat(factors, 2)
    scale /= ((turned - turned.mean(axis=0)) * scale).std()
    rotate_stream(model, torch.from_numpy(turn))
    norm = model.encoder.layernorm
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(scale))
        norm.bias.copy_(torch.from_numpy(-scale * turned.mean(axis=0)))
