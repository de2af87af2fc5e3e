"""The embedded checkpoint without transformers, whose import takes longer than torch's and all that nano computes.

Its modules have the names and the maths of transformers', its processor the pixels: they are held equal to what
`AutoModel` and `AutoVideoProcessor` make of the same files (`tests/unit/model/test_embedded.py`). Every other
checkpoint is loaded by transformers (`checkpoints.load`), and so is this one for transformers' own forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Model(nn.Module):
    """An encoder and a predictor, as `forward.encode` and `forward.predict` take them; their names are those of the
    weights of a `VJEPA2Model`.

    Args:
        config: all of a `VJEPA2Config`.
    """

    base_model_prefix = "vjepa2"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.predictor = _Encoder(config), _Predictor(config)


class _Encoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.embeddings = nn.Module()
        self.embeddings.patch_embeddings = nn.Module()
        self.embeddings.patch_embeddings.proj = nn.Conv3d(config.in_chans, config.hidden_size, kernel, kernel)
        self.layer = _layers(
            config, config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.mlp_ratio
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class _Predictor(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.pred_hidden_size
        self.embeddings = nn.Module()
        self.embeddings.predictor_embeddings = nn.Linear(config.hidden_size, size)
        self.embeddings.mask_tokens = nn.Parameter(torch.zeros(config.pred_num_mask_tokens, 1, 1, size))
        self.layer = _layers(
            config, config.pred_num_hidden_layers, size, config.pred_num_attention_heads, config.pred_mlp_ratio
        )
        self.layernorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.proj = nn.Linear(size, config.hidden_size)


class _Layer(nn.Module):
    def __init__(self, config: Any, size: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.config = config
        self.norm1, self.norm2 = (nn.LayerNorm(size, eps=config.layer_norm_eps) for _ in range(2))
        self.attention = _Attention(config, size, heads)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(size, int(size * mlp_ratio)), nn.Linear(int(size * mlp_ratio), size)
        self.mlp.activation = nn.GELU()


class _Attention(nn.Module):
    def __init__(self, config: Any, size: int, heads: int) -> None:
        super().__init__()
        self.num_attention_heads, self.scaling = heads, (size // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(size, size, bias=config.qkv_bias) for _ in range(3))
        self.proj = nn.Linear(size, size)


def _layers(config: Any, count: int, *size: Any) -> nn.ModuleList:
    return nn.ModuleList(_Layer(config, *size) for _ in range(count))


class Processor:
    """The pixels that a `VJEPA2VideoProcessor` makes of a video, step by step.

    Args:
        settings: of `video_preprocessor_config.json`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.size: dict[str, int] = settings["size"]
        self.crop_size: dict[str, int] = settings["crop_size"]
        self.image_mean: list[float] = settings["image_mean"]
        self.image_std: list[float] = settings["image_std"]
        self.rescale_factor: float = settings["rescale_factor"]
        self.do_rescale = self.do_normalize = True

    def __call__(
        self,
        frames: Tensor,
        *,
        do_rescale: bool,
        do_normalize: bool,
        do_center_crop: bool = True,
        size: dict[str, int] | None = None,
    ) -> dict[str, list[Tensor]]:
        """Frames uint8 `[T, 3, H, W]`, scaled to a size, or by their short side and then cut out of the middle.

        Raises:
            ValueError: they are to be normalised, too: `rescale_and_normalize` does that.
        """
        if do_rescale or do_normalize:
            raise ValueError("frames are scaled and cut here, and no more")
        frames = scale(frames, self._sides(frames.shape[-2:], size or self.size))
        if do_center_crop:
            sides = self.crop_size["height"], self.crop_size["width"]
            top, left = (int((whole - part) / 2) for whole, part in zip(frames.shape[-2:], sides, strict=True))
            frames = frames[..., top : top + sides[0], left : left + sides[1]]
        return {"pixel_values_videos": [frames]}

    @staticmethod
    def _sides(sides: Sequence[int], wanted: dict[str, int]) -> tuple[int, int]:
        if "height" in wanted:
            return wanted["height"], wanted["width"]
        short = wanted["shortest_edge"]
        height, width = (short if side == min(sides) else int(short * side / min(sides)) for side in sides)
        return height, width

    @staticmethod
    def rescale_and_normalize(
        frames: Tensor,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Sequence[float],
        image_std: Sequence[float],
    ) -> Tensor:
        """Float32 pixels of frames uint8 `[..., 3, H, W]`; both flags are the embedded checkpoint's own, True."""
        mean, std = (
            torch.tensor(numbers, device=frames.device).mul(1 / rescale_factor).view(-1, 1, 1)
            for numbers in (image_mean, image_std)
        )
        return frames.to(torch.float32).sub_(mean).div_(std)


def scale(frames: Tensor, sides: tuple[int, int]) -> Tensor:
    """Frames uint8 `[T, 3, H, W]` of another height and width, bilinear with antialiasing, as torchvision makes them:
    of uint8 where torch has code for that which is quick, else of float32, rounded."""
    if tuple(frames.shape[-2:]) == sides:
        return frames
    bytes_do = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    scaled = F.interpolate(frames if bytes_do else frames.float(), sides, mode="bilinear", antialias=True)
    return scaled if bytes_do else scaled.round_().to(torch.uint8)


def load(folder: Path) -> tuple[Model, Processor]:
    """The embedded checkpoint's model, its weights still on the meta device, and its processor. Raises
    OSError, and ValueError or LookupError where they are no such files."""
    config = SimpleNamespace(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    with torch.device("meta"):
        model = Model(config)
    return model, Processor(json.loads((folder / "video_preprocessor_config.json").read_text(encoding="utf-8")))
