"""The forward pass of V-JEPA 2 on any subset of a clip's tokens, encoder and predictor, and its rotary positions.

`encode` and `predict` are the maths of transformers' `VJEPA2Model` on its own weights. What differs is only cost: the
patch embedding is one product, queries, keys and values are one, rotary angles come from one fp32 table instead of
being rebuilt in every layer, and the heavy products may run in bfloat16 while the patch embedding, the residual
stream, norms and softmax stay in fp32. And the grid need not be square: by itself transformers numbers the tokens of
any grid as in the checkpoint's square. `reference` is transformers' own pass, the oracle of all this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Attention:
    """A way to compute attention: torch's fused kernel, or plain products of blocks of queries with all keys.

    On CPUs none of them is the quickest everywhere, and they differ several times over: `device.measured` chooses.

    Attributes:
        block: how many queries at a time; None for the fused kernel.
        by_head: one head at a time, instead of all at once.
    """

    block: int | None = None
    by_head: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """softmax(q·kᵀ·scale)·v of `[B, heads, N, head]`, in the precision of q; the softmax is computed in fp32."""
        if torch.is_grad_enabled():
            return _attend_for_training(q, k, v, scale)
        if self.block is None:
            return F.scaled_dot_product_attention(q, k, v, scale=scale)
        out = q.new_empty(q.transpose(1, 2).shape).transpose(1, 2)  # heads side by side: the next product reads it so
        keys = k.transpose(-1, -2)
        heads = [slice(head, head + 1) for head in range(q.shape[1])] if self.by_head else [slice(None)]
        for own in heads:
            for first in range(0, q.shape[2], self.block):
                rows = slice(first, first + self.block)
                weights = ((q[:, own, rows] * scale) @ keys[:, own]).softmax(-1)
                out[:, own, rows] = weights @ v[:, own]
        return out


FUSED = Attention()


def _attend_for_training(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    # On a CPU the fused kernel's backward pass costs several times the plain products of a short sequence.
    if q.device.type == "cpu" and q.shape[-2] <= 448:
        return ((q * scale) @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


@lru_cache(maxsize=12)  # the largest, of 36,864 tokens, has 26 MB
def rotation_table(steps: int, rows: int, cols: int, head_dim: int, device: str) -> tuple[Tensor, Tensor]:
    """cos and sin, fp32 `[steps·rows·cols, head_dim]`, by which V-JEPA 2 turns queries and keys (`rotate`).

    The head's channels are three runs of a third each, rounded down to an even number, for time, row and column, and a
    rest that is not turned. The frequencies `10000^(-2i/third)` are tiled (0 1 2 .. 0 1 2 ..) although neighbouring
    channels are rotated as pairs: so the weights were trained (transformers' `rotate_queries_or_keys`). The sign of the
    rotation's swap is in sin, so that applying it is one flip of each pair and two products.
    """
    third = 2 * ((head_dim // 3) // 2)
    ids = torch.arange(steps * rows * cols)
    omega = 10000.0 ** -(torch.arange(third // 2, dtype=torch.float64) / (third / 2.0))
    axes = (ids // (rows * cols), ids % (rows * cols) // cols, ids % cols)
    angles = [(positions[:, None] * omega).repeat(1, 2) for positions in axes]
    rest = torch.zeros(len(ids), head_dim - 3 * third, dtype=torch.float64)
    angle = torch.cat([*angles, rest], dim=1)
    sin = angle.sin()
    sin[:, 0::2] *= -1
    return angle.cos().float().to(device), sin.float().to(device)


class Rope:
    """The rotation table of a whole grid, for any of its tokens.

    Args:
        config: of the model.
        head_size: channels of an attention head.
        device: where the model is.
        grid: (rows, columns); the checkpoint's square when None.
        steps: time steps; those of the checkpoint's own clip when None.
    """

    def __init__(
        self,
        config: Any,
        head_size: int,
        device: torch.device | str = "cpu",
        grid: tuple[int, int] | None = None,
        steps: int | None = None,
    ):
        side = config.crop_size // config.patch_size
        rows, cols = grid or (side, side)
        steps = steps or config.frames_per_clip // config.tubelet_size
        self.cos, self.sin = rotation_table(steps, rows, cols, head_size, str(device))

    def at(self, positions: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin `[B, 1, N, head]` for token numbers `[B, N]`; of all tokens, with B = 1, when None."""
        at = slice(None) if positions is None else positions
        cos, sin = self.cos[at].to(dtype), self.sin[at].to(dtype)
        return (cos[None, None], sin[None, None]) if positions is None else (cos[:, None], sin[:, None])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys `[B, heads, N, head]`."""
    # In place and in two halves: on a CPU half of the time that a copy with its channels exchanged takes.
    out = x * cos
    out[..., 0::2].addcmul_(x[..., 1::2], sin[..., 0::2])
    out[..., 1::2].addcmul_(x[..., 0::2], sin[..., 1::2])
    return out


class Packed(torch.nn.Module):
    """A linear layer of a CPU whose weights lie as oneDNN's products read them, and not as they are stored.

    They are laid out once instead of at every call: the operators are those that torch's own compiler would choose.

    Args:
        weight, bias: of the layer, in the precision it computes in.

    Raises:
        AttributeError, RuntimeError: this torch, or this machine, has no such products.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._weight, self._bias = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()), bias

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        after: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, *after)


def fuse(model: Any, dtype: torch.dtype) -> None:
    """Make a model ready to be used over and over: its products in `dtype`, its norms and patch embedding in float32.

    The weights of queries, keys and values of each layer lie in one piece from then on, of which the model's own are
    views.
    """
    for name, weights in model.named_parameters():
        weights.data = weights.data.to(precision_of(name, dtype))
    for layer in _layers(model):
        attention = layer.attention
        attention.qkv = joined = _joined(attention)
        for name, whole in joined._asdict().items():
            if whole is not None:
                for part, own in zip((attention.query, attention.key, attention.value), whole.chunk(3), strict=True):
                    getattr(part, name).data = own


def pack(model: Any) -> None:
    """Lay the weights of a fused model out for a CPU's products (`Packed`), one after the other. It no longer has those
    that transformers' own pass would need."""
    for layer in _layers(model):
        attention, mlp = layer.attention, layer.mlp
        del attention.query, attention.key, attention.value
        attention.qkv, attention.proj = Packed(*attention.qkv), Packed(attention.proj.weight, attention.proj.bias)
        mlp.fc1, mlp.fc2 = (Packed(part.weight, part.bias) for part in (mlp.fc1, mlp.fc2))


def _layers(model: Any) -> list[Any]:
    """All layers of the encoder, and those of the predictor where there is one."""
    return [*model.encoder.layer, *(model.predictor.layer if model.predictor is not None else ())]


def precision_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """What a model's parameter of this name is kept in, where its products are computed in `dtype`."""
    return torch.float32 if "norm" in name or "patch_embeddings" in name else dtype


class Joined(NamedTuple):
    """The weights `[3·D, D]` and biases `[3·D]` of queries, keys and values."""

    weight: Tensor
    bias: Tensor | None


def _joined(attention: Any) -> Joined:
    parts = attention.query, attention.key, attention.value
    bias = torch.cat([part.bias for part in parts]) if parts[0].bias is not None else None
    return Joined(torch.cat([part.weight for part in parts]), bias)


def _linear(x: Tensor, layer: Any) -> Tensor:
    """A linear layer in the input's precision."""
    if isinstance(layer, Packed):
        return layer(x)
    return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def _qkv(attention: Any, x: Tensor) -> Tensor:
    """Queries, keys and values `[B, N, 3·D]` as one product; of weights that are being learned they are joined here."""
    return _linear(x, attention.qkv if hasattr(attention, "qkv") else _joined(attention))


def _mlp(layer: Any, x: Tensor) -> Tensor:
    mlp = layer.mlp
    if isinstance(mlp.fc1, Packed) and layer.config.hidden_act == "gelu":
        return _linear(mlp.fc1(x, gelu=True), mlp.fc2)
    return _linear(mlp.activation(_linear(x, mlp.fc1)), mlp.fc2)


def run_layers(
    layers: Any,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    attend: Attention = FUSED,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """The residual stack on tokens `[B, N, D]`. The stream stays in float32, the branches compute in `cos`'s dtype.

    Args:
        layers: of the encoder or the predictor.
        x: tokens, float32.
        cos, sin: of their positions, as `Rope.at` gives them.
        attend: how attention is computed.
        between: called before each layer; what it raises ends the pass.
    """
    for layer in layers:
        between()
        attention = layer.attention
        qkv = _qkv(attention, layer.norm1(x).to(cos.dtype))
        q, k, v = qkv.unflatten(-1, (3, attention.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
        # Each head's numbers side by side: for a CPU's attention over thousands of tokens a fifth of the time.
        q, k, v = rotate(q.contiguous(), cos, sin), rotate(k.contiguous(), cos, sin), v.contiguous()
        out = attend(q, k, v, attention.scaling)
        x = x + _linear(out.transpose(1, 2).flatten(2), attention.proj)
        x = x + _mlp(layer, layer.norm2(x).to(cos.dtype))
    return x


def patchify(pixels: Tensor, config: Any) -> Tensor:
    """Normalised pixels `[B, T, 3, H, W]` to the patch embedding's input, `[B, N, 3 * tubelet * patch * patch]`."""
    b, t, c, h, w = pixels.shape
    s, p = config.tubelet_size, config.patch_size
    x = pixels.reshape(b, t // s, s, c, h // p, p, w // p, p)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(b, -1, c * s * p * p)


def take(x: Tensor, ids: Tensor) -> Tensor:
    """Rows `ids` `[B, n]` of `x` `[B, N, D]`."""
    return x.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))


def encode(
    model: Any,
    patches: Tensor,
    positions: Tensor | None,
    rope: Rope,
    dtype: torch.dtype = torch.float32,
    *,
    layer: int | None = None,
    attend: Attention = FUSED,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Encode patches `[B, n, P]` that stand at token numbers `positions` `[B, n]` of the rope's grid: `[B, n, D]`.

    Args:
        model: transformers' `VJEPA2Model`, or `embedded.Model`, its norms in float32.
        patches: what `patchify` gives.
        positions: None for all of the grid.
        rope: of the grid.
        dtype: of the products in the layers.
        layer: the layer whose output is wanted, before the last norm; None for the last, normalised.
        attend, between: see `run_layers`.
    """
    proj = model.encoder.embeddings.patch_embeddings.proj
    # In fp32: rounded to bf16, pixels that differ little become equal, which costs more than all else that is rounded.
    x = F.linear(patches.float(), proj.weight.flatten(1).float(), proj.bias.float())
    layers = model.encoder.layer if layer is None else model.encoder.layer[: layer + 1]
    x = run_layers(layers, x, *rope.at(positions, dtype), attend, between)
    return model.encoder.layernorm(x) if layer is None else x


def predict(
    model: Any,
    context: Tensor,
    context_at: Tensor,
    target_at: Tensor,
    rope: Rope,
    dtype: torch.dtype = torch.float32,
    *,
    attend: Attention = FUSED,
    between: Callable[[], None] = lambda: None,
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
    positions = torch.cat([context_at, target_at], dim=1)
    x = run_layers(predictor.layer, x, *rope.at(positions, dtype), attend, between)
    return _linear(predictor.layernorm(x).to(dtype), predictor.proj).float()


def reference(
    model: Any,
    pixels: Tensor,
    *,
    layer: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """transformers' own forward pass: normalised pixels `[B, T, 3, H, W]` to tokens `[B, N, D]`.

    What is given to it are the numbers of rows and columns, which it takes from the checkpoint's square: of a grid that
    is none, it would place the tokens wrongly without a word.
    """
    rows, cols = (n // model.config.patch_size for n in pixels.shape[-2:])

    def position_ids(x: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.arange(x.shape[1], device=x.device)
        return ids // (rows * cols), ids % (rows * cols) // cols, ids % cols

    x = model.encoder.embeddings(pixels)
    for block in model.encoder.layer if layer is None else model.encoder.layer[: layer + 1]:
        between()
        block.attention.get_position_ids = position_ids
        try:
            x = block(x, None)[0]
        finally:
            del block.attention.get_position_ids
    return model.encoder.layernorm(x) if layer is None else x


def future(steps: int, patches: int, seen: int) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers of `steps` of so many patches: those before time step `seen` `[n]`, and the rest `[m]`."""
    first = seen * patches
    return np.arange(first), np.arange(first, steps * patches)
