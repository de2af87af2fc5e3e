"""The embedded checkpoint: its shape, how it is written to a folder, and a forward that is fast enough to train on.

`encode` and `predict` are the maths of transformers' `VJEPA2Model`, on any subset of the tokens. What differs is only
cost: rotary angles come from one fp32 table instead of being rebuilt in every layer, and the heavy products may run in
bfloat16.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

GRID = 16  # patches a side: 128 px / 8 px
STEPS = 8  # time steps: 16 frames / tubelet of 2
TOKENS = STEPS * GRID * GRID
SHARD_SIZE = "9MB"
GAIN = 0.02 * 1024**0.5  # of a linear layer at the start: that of V-JEPA 2, see `new_nano`

# ImageNet statistics, those of the hub checkpoints' processor.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def nano_config(**changes: object) -> VJEPA2Config:
    """The configuration of nano; `changes` are for tests, which want something smaller still."""
    values: dict = {
        "patch_size": 8,
        "crop_size": 128,
        "frames_per_clip": 16,
        "tubelet_size": 2,
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "mlp_ratio": 4.0,
        "pred_hidden_size": 96,
        "pred_num_hidden_layers": 6,
        "pred_num_attention_heads": 3,
        "pred_num_mask_tokens": 1,
        "pred_zero_init_mask_tokens": False,
        "attn_implementation": "sdpa",
    }
    return VJEPA2Config(**{**values, **changes})


def new_nano(seed: int, config: VJEPA2Config | None = None) -> VJEPA2Model:
    """A randomly initialised nano (float32, eval mode).

    V-JEPA 2 draws every weight with a deviation of 0.02, which suits its width of 1024: each layer then adds about as
    much as comes in. At a width of 192 such layers add next to nothing, and what is learnt stays in the patch
    embedding. So a layer's deviation is `GAIN` over the square root of the number of its inputs, which is 0.02 for
    1024. As in V-JEPA 2's code (and not in transformers' port), the weight that closes a residual branch is divided by
    sqrt(2·layer), so that the branches of a deep stack add up to the same variance at the start.
    """
    torch.manual_seed(seed)
    model = VJEPA2Model(config or nano_config())
    predictor = model.predictor
    with torch.no_grad():
        for stack in (model.encoder.layer, predictor.layer):
            for number, layer in enumerate(stack, start=1):
                for module in layer.modules():
                    if isinstance(module, torch.nn.Linear):
                        module.weight.normal_(std=GAIN / module.in_features**0.5)
                layer.attention.proj.weight.div_((2 * number) ** 0.5)
                layer.mlp.fc2.weight.div_((2 * number) ** 0.5)
        for module in (predictor.embeddings.predictor_embeddings, predictor.proj):
            module.weight.normal_(std=GAIN / module.in_features**0.5)
    return model.eval()


def save_nano(model: VJEPA2Model, folder: Path) -> None:
    """Write `config.json`, fp16 safetensors in shards and the processor's settings, so that Auto classes load the
    folder.

    The configuration says float32: the half precision on disk only saves space, and a model loaded from it computes in
    float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    half = VJEPA2Model(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder, max_shard_size=SHARD_SIZE)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    crop = model.config.crop_size
    VJEPA2VideoProcessor(crop_size={"height": crop, "width": crop}).save_pretrained(folder)


class Rope:
    """sin and cos for every token of a grid, made once in float32.

    The tables keep V-JEPA 2's slip (frequencies tiled, neighbouring channels rotated), which is baked into its weights.
    The sign of the rotation's "swap" is folded into sin, so that applying it is one flip of each pair and two products.
    """

    def __init__(self, config: VJEPA2Config, head_size: int, device: torch.device | str = "cpu"):
        axis = 2 * ((head_size // 3) // 2)
        grid = config.crop_size // config.patch_size
        ids = torch.arange(config.frames_per_clip // config.tubelet_size * grid * grid)
        omega = 1.0 / 10000 ** (torch.arange(axis // 2, dtype=torch.float32) / (axis / 2))
        angles = [
            (pos.float()[:, None] * omega).repeat(1, 2) for pos in (ids // grid**2, ids // grid % grid, ids % grid)
        ]
        rest = torch.zeros(len(ids), head_size - 3 * axis)  # the last channels are not rotated
        angle = torch.cat([*angles, rest], dim=1)
        self.cos = angle.cos().to(device)
        self.sin = angle.sin().to(device)
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


def run_layers(layers: torch.nn.ModuleList, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The residual stack on tokens `[B, N, D]`. The stream stays in float32, the branches compute in `cos`'s dtype."""
    for layer in layers:
        attention = layer.attention
        qkv = _linear(layer.norm1(x).to(cos.dtype), attention.query, attention.key, attention.value)
        q, k, v = qkv.unflatten(-1, (3, attention.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
        out = _attend(rotate(q, cos, sin), rotate(k, cos, sin), v, attention.scaling)
        x = x + _linear(out.transpose(1, 2).flatten(2), attention.proj)
        x = x + _linear(F.gelu(_linear(layer.norm2(x).to(cos.dtype), layer.mlp.fc1)), layer.mlp.fc2)
    return x


def patchify(pixels: Tensor, config: VJEPA2Config) -> Tensor:
    """Normalised pixels `[B, T, 3, H, W]` to the patch embedding's input, `[B, N, 3 * tubelet * patch * patch]`."""
    b, t, c, h, w = pixels.shape
    s, p = config.tubelet_size, config.patch_size
    x = pixels.view(b, t // s, s, c, h // p, p, w // p, p)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(b, -1, c * s * p * p)


def take(x: Tensor, ids: Tensor) -> Tensor:
    """Rows `ids` `[B, n]` of `x` `[B, N, D]`."""
    return x.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))


def encode(
    model: VJEPA2Model, patches: Tensor, positions: Tensor, rope: Rope, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Encode patches `[B, n, P]` that stand at token numbers `positions` `[B, n]` of the model's grid: `[B, n, D]`."""
    proj = model.encoder.embeddings.patch_embeddings.proj
    x = F.linear(patches.to(dtype), proj.weight.flatten(1).to(dtype), proj.bias.to(dtype)).float()
    return model.encoder.layernorm(run_layers(model.encoder.layer, x, *rope.at(positions, dtype)))


def predict(
    model: VJEPA2Model,
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
