"""What a checkpoint's classifier calls a clip, how sure it is, and at which patches it looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vjepa_demo.media.clip import Clip
from vjepa_demo.model.checkpoints import Checkpoint
from vjepa_demo.options import IMAGE_FRAMES, Fit
from vjepa_demo.views.similarity import Section, section

if TYPE_CHECKING:
    from vjepa_demo.model.encoder import Classification

ONE_VIEW = "One clip, one view; published scores average several views."
LOOKED = "Where it looked is the last attention alone: before it, layers have mixed what the patches show."
DIVING48 = 48  # labels of that set, by which a folder of any name is known
# `out_layers` in github.com/facebookresearch/vjepa2, configs/inference/*/diving48.yaml; ssv2.yaml there has none.
ONE_LAYER = (
    "The published Diving48 probe read four layers of the encoder; the Hub's class reads only the last: expect less "
    "than the published score."
)


class Label(NamedTuple):
    """A label, which is the text of whoever made the checkpoint, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class Labels:
    """What a clip is called.

    Attributes:
        likeliest: the labels that are told, the likeliest first.
        attention: float32 `[T', H', W']`, how much of the pooler's attention went to each patch; its sum is 1.
        pooled: float32 `[D]`, the vector that the labels are read off.
        cautions: sentences for whoever reads them.
    """

    likeliest: tuple[Label, ...]
    attention: np.ndarray
    pooled: np.ndarray
    cautions: tuple[str, ...] = ()

    def most(self, mask: np.ndarray) -> tuple[tuple[int, int, int], float]:
        """(step, row, column) of the patch that it looked at most, and how many times as much as at a patch on the
        average.

        Args:
            mask: bool `[H', W']`, False for patches that show padding, which nobody sees.
        """
        seen = np.where(mask, self.attention, -1)
        step, row, col = np.unravel_index(seen.argmax(), seen.shape)
        return (int(step), int(row), int(col)), float(seen.max() * self.attention.size)

    def json(self) -> dict[str, Any]:
        """All but the vector, ready for JSON."""
        return {
            "labels": [{"label": name, "probability": round(share, 6)} for name, share in self.likeliest],
            "attention": np.round(self.attention.astype(np.float64), 9).tolist(),
            "cautions": list(self.cautions),
        }


def labels(found: Classification, names: tuple[str, ...]) -> Labels:
    """All labels of a classifier, the likeliest first: the softmax of its logits."""
    powers = np.exp(found.logits.astype(np.float64) - found.logits.max())
    shares = powers / powers.sum()
    order = np.argsort(-shares, kind="stable")
    return Labels(tuple(Label(names[i], float(shares[i])) for i in order), found.attention, found.pooled)


def cautions(checkpoint: Checkpoint, count: int, clip: Clip, fit: Fit) -> tuple[str, ...]:
    """What is to be known of labels.

    Args:
        checkpoint: whose classifier gave them.
        count: how many it knows.
        clip: of what.
        fit: how the clip became the model's input.
    """
    told = [f"It knows {count} labels, and can only answer with these, whatever is shown.", ONE_VIEW, LOOKED]
    if count == DIVING48:
        told.append(ONE_LAYER)
    frames = IMAGE_FRAMES if clip.is_image else len(clip.frames)
    if (frames, fit) != (checkpoint.frames, "crop"):
        told.append(
            f"It was trained on {checkpoint.frames} frames cut to a square (crop); here it was given {frames} ({fit})."
        )
    return tuple(told)


def packed(found: Labels) -> dict[str, Section]:
    """What the patch viewer shows of it, as a further section of `similarity.pack`; N is T'·H'·W'.

    attention  float32 [N]  in multiples of the average: 1 where it looked as much as at a patch on the average
    """
    return {"attention": section(found.attention.reshape(-1) * found.attention.size, "float32")}
