"""The forward pass of V-JEPA 2 on any subset of a clip's tokens, encoder and predictor, and its rotary positions.

`encode` and `predict` are the maths of transformers' `VJEPA2Model`. What differs is only cost: rotary angles come from
one fp32 table instead of being rebuilt in every layer, and the heavy products may run in bfloat16. And the grid need
not be square: by itself transformers numbers the tokens of any grid as in the checkpoint's square.
"""

from __future__ import annotations

import threading
import types
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=12)  # the largest, of 36,864 tokens, has 26 MB
def rotation_table(
    steps: int, rows: int, cols: int, axis_dim: int, head_dim: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, fp32 `[steps·rows·cols, head_dim]`, by which V-JEPA 2 turns queries and keys.

    The head's channels are three runs of `axis_dim` for time, row and column, and a rest that is not turned. The
    frequencies `10000^(-2i/axis_dim)` are tiled (0 1 2 .. 0 1 2 ..) although neighbouring channels are rotated as
    pairs: so the weights were trained (transformers' `rotate_queries_or_keys`).
    """
    ids = torch.arange(steps * rows * cols)
    omega = 10000.0 ** -(torch.arange(axis_dim // 2, dtype=torch.float64) / (axis_dim / 2.0))
    axes = (ids // (rows * cols), ids % (rows * cols) // cols, ids % cols)
    angles = [(positions[:, None] * omega).repeat(1, 2) for positions in axes]
    rest = torch.zeros(len(ids), head_dim - 3 * axis_dim, dtype=torch.float64)
    angle = torch.cat([*angles, rest], dim=1)
    return angle.cos().float().to(device), angle.sin().float().to(device)


class Grid(threading.local):
    """The rows and columns of patches of the clip that this thread lets a model encode; it says so before."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols


def use_rotation_table(model: Any) -> Grid:
    """Let every layer of the encoder share one table, instead of computing sines for q, k and each axis again.

    In bf16 it is also more exact: there transformers computes the angles themselves in bf16, which is off by up to
    0.034 rad at position 31.

    Returns:
        The grid by which tokens are placed from now on: the checkpoint's square, until it is set to another one.
    """
    side = model.encoder.layer[0].attention.grid_size
    grid = Grid(side, side)

    def apply_rotary_embeddings(self: Any, qk: torch.Tensor, pos_ids: Any) -> torch.Tensor:
        steps = qk.shape[-2] // (grid.rows * grid.cols)
        head = self.d_dim, self.attention_head_size
        cos, sin = rotation_table(steps, grid.rows, grid.cols, *head, str(qk.device))
        turned = torch.stack((-qk[..., 1::2], qk[..., ::2]), dim=-1).flatten(-2)
        return (qk * cos + turned * sin).to(qk.dtype)

    def get_position_ids(self: Any, x: torch.Tensor, masks: Any = None) -> None:
        """The table knows the positions of a whole grid."""

    for block in model.encoder.layer:
        attention = block.attention
        attention.apply_rotary_embeddings = types.MethodType(apply_rotary_embeddings, attention)
        attention.get_position_ids = types.MethodType(get_position_ids, attention)
    return grid


class Rope:
    """The rotation table of a whole grid, for any of its tokens: `grid` (rows, columns), or the checkpoint's square.

    The sign of the rotation's "swap" is folded into sin, so that applying it is one flip of each pair and two products.
    """

    def __init__(
        self, config: Any, head_size: int, device: torch.device | str = "cpu", grid: tuple[int, int] | None = None
    ):
        steps, side = config.frames_per_clip // config.tubelet_size, config.crop_size // config.patch_size
        rows, cols = grid or (side, side)
        self.cos, sin = rotation_table(steps, rows, cols, 2 * ((head_size // 3) // 2), head_size, str(device))
        self.sin = sin.clone()
        self.sin[:, 0::2] *= -1

    def at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin `[B, 1, N, head]` for token numbers `[B, N]`."""
        return self.cos[positions].to(dtype)[:, None], self.sin[positions].to(dtype)[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys `[B, heads, N, head]`."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return x * cos + swapped * sin


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    # On a CPU the fused kernel's backward pass costs several times the plain products of a short sequence.
    if q.device.type == "cpu" and torch.is_grad_enabled() and q.shape[-2] <= 448:
        return ((q * scale) @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def _linear(x: Tensor, *layers: torch.nn.Linear) -> Tensor:
    """Several linear layers of one input as one product, in the input's precision."""
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else layers[0].weight
    bias = torch.cat([layer.bias for layer in layers]) if len(layers) > 1 else layers[0].bias
    return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


def run_layers(layers: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The residual stack on tokens `[B, N, D]`. The stream stays in float32, the branches compute in `cos`'s dtype."""
    for layer in layers:
        attention = layer.attention
        qkv = _linear(layer.norm1(x).to(cos.dtype), attention.query, attention.key, attention.value)
        q, k, v = qkv.unflatten(-1, (3, attention.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
        out = _attend(rotate(q, cos, sin), rotate(k, cos, sin), v, attention.scaling)
        x = x + _linear(out.transpose(1, 2).flatten(2), attention.proj)
        x = x + _linear(F.gelu(_linear(layer.norm2(x).to(cos.dtype), layer.mlp.fc1)), layer.mlp.fc2)
    return x


def patchify(pixels: Tensor, config: Any) -> Tensor:
    """Normalised pixels `[B, T, 3, H, W]` to the patch embedding's input, `[B, N, 3 * tubelet * patch * patch]`."""
    b, t, c, h, w = pixels.shape
    s, p = config.tubelet_size, config.patch_size
    x = pixels.view(b, t // s, s, c, h // p, p, w // p, p)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(b, -1, c * s * p * p)


def take(x: Tensor, ids: Tensor) -> Tensor:
    """Rows `ids` `[B, n]` of `x` `[B, N, D]`."""
    return x.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))


def encode(model: Any, patches: Tensor, positions: Tensor, rope: Rope, dtype: torch.dtype = torch.float32) -> Tensor:
    """Encode patches `[B, n, P]` that stand at token numbers `positions` `[B, n]` of the rope's grid: `[B, n, D]`."""
    proj = model.encoder.embeddings.patch_embeddings.proj
    x = F.linear(patches.to(dtype), proj.weight.flatten(1).to(dtype), proj.bias.to(dtype)).float()
    return model.encoder.layernorm(run_layers(model.encoder.layer, x, *rope.at(positions, dtype)))


def predict(
    model: Any,
    context: Tensor,
    context_at: Tensor,
    target_at: Tensor,
    rope: Rope,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Predict the tokens at numbers `target_at` `[B, m]` from a context `[B, n, D]` at `context_at` `[B, n]`: `[B, n +
    m, D]`.

    The first n rows are the predictor's output where the context stands, which only a dense loss uses.
    """
    predictor = model.predictor
    # transformers' predictor always takes the mask token of index 1, modulo their number
    mask = predictor.embeddings.mask_tokens[1 % len(predictor.embeddings.mask_tokens)]
    visible = _linear(context.to(dtype), predictor.embeddings.predictor_embeddings).float()
    x = torch.cat([visible, mask.expand(*target_at.shape, -1)], dim=1)
    x = run_layers(predictor.layer, x, *rope.at(torch.cat([context_at, target_at], dim=1), dtype))
    return _linear(predictor.layernorm(x).to(dtype), predictor.proj).float()


def future(steps: int, side: int, seen: int) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers of a grid of `steps` × `side` × `side`: those before time step `seen` `[n]`, and the rest `[m]`."""
    first = seen * side * side
    return np.arange(first), np.arange(first, steps * side * side)
