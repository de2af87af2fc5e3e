"""Which tokens of a clip the encoder sees and which ones the predictor must tell: V-JEPA 2's blocks, and the future."""

from __future__ import annotations

import numpy as np

from vjepa_demo.model.forward import future

# (number of blocks, area of one as a share of the frame), from V-JEPA 2's pretraining configuration
SHORT = (8, 0.15)
LONG = (2, 0.7)
ASPECT = (0.75, 1.5)

# Time steps that stay visible under a future mask, and how often. Four is what the evaluation asks for.
HORIZONS = (2, 3, 4, 5, 6)
HORIZON_SHARES = (0.15, 0.15, 0.4, 0.15, 0.15)

LEAST_VISIBLE = 0.08  # masks that leave less of the frame than this are drawn again


def block_mask(rng: np.random.Generator, side: int, blocks: int, area: float) -> np.ndarray:
    """Hidden patches `[side, side]`, bool: the union of rectangles of one drawn aspect ratio at random places."""
    while True:
        hidden = np.zeros((side, side), dtype=bool)
        aspect = rng.uniform(*ASPECT)
        height = min(side, max(1, round((area * side * side * aspect) ** 0.5)))
        width = min(side, max(1, round((area * side * side / aspect) ** 0.5)))
        for _ in range(blocks):
            y, x = rng.integers(side - height + 1), rng.integers(side - width + 1)
            hidden[y : y + height, x : x + width] = True
        if 1 - hidden.mean() >= LEAST_VISIBLE:
            return hidden


def block_tokens(
    rng: np.random.Generator, batch: int, steps: int, side: int, kind: tuple[int, float], targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Visible `[batch, n]` and target `[batch, m]` token numbers of block masks that last over all time steps.

    As in V-JEPA 2, a batch is cut to its smallest mask so that it stacks; here by leaving out patches at random. At
    most `targets` of the hidden tokens are asked for, drawn at random: the predictor's cost grows with them, the
    encoder's does not.
    """
    masks = [block_mask(rng, side, *kind).ravel() for _ in range(batch)]
    shown = min(int((~mask).sum()) for mask in masks)
    wanted = min(targets, min(int(mask.sum()) for mask in masks) * steps)
    visible, target = [], []
    for mask in masks:
        patches = np.sort(rng.permutation(np.flatnonzero(~mask))[:shown])
        visible.append((np.arange(steps)[:, None] * side * side + patches).ravel())
        hidden = (np.arange(steps)[:, None] * side * side + np.flatnonzero(mask)).ravel()
        target.append(np.sort(rng.permutation(hidden)[:wanted]))
    return np.stack(visible), np.stack(target)


def future_tokens(
    rng: np.random.Generator, batch: int, steps: int, side: int, seen: int, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """All before time step `seen` is visible `[batch, n]`; at most `targets` of the rest are asked for `[batch, m]`."""
    visible, hidden = future(steps, side * side, seen)
    target = np.stack([np.sort(rng.permutation(hidden)[:targets]) for _ in range(batch)])
    return np.tile(visible, (batch, 1)), target


def draw_horizon(rng: np.random.Generator, steps: int) -> int:
    """How many of `steps` time steps stay visible: of eight as `HORIZON_SHARES` says, of fewer any number."""
    return int(rng.choice(HORIZONS, p=HORIZON_SHARES)) if steps > max(HORIZONS) else int(rng.integers(1, steps))
