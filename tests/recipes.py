"""What the tests of the recipes share: a tiny nano, and training clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pred_hidden_size": 32,
    "pred_num_hidden_layers": 1,
    "pred_num_attention_heads": 1,
}


def save_shard(folder: Path) -> None:
    """Write a shard of six clips of a bright square that crosses a patterned ground."""
    rng = np.random.default_rng(0)
    shard = np.empty((6, 16, 128, 128, 3), dtype=np.uint8)
    for clip in shard:
        clip[:] = rng.integers(0, 120, (8, 8, 3)).repeat(16, 0).repeat(16, 1)
        y, colour = rng.integers(0, 96), rng.integers(150, 255, 3)
        for t, frame in enumerate(clip):
            frame[y : y + 32, 4 * t : 4 * t + 32] = colour
    np.save(folder / "train_000.npy", shard)
