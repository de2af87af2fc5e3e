"""A predictor that begins by copying: what it tells of a place is what was seen there last.

Over a second or two most of a clip stands still, so that copying is hard to beat, and a predictor with random weights
spends its training on learning to copy. Here attention starts as a look at the same place at the latest visible time,
by rotary position alone, and everything else starts at nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import VJEPA2Model

NEAR = 9.0  # of queries and keys along rows and columns: a neighbour gets next to nothing of the place's own weight
RECENT = 20.0  # along time: the second last step before the target gets a twentieth of the last one's weight
AVOID = 3.0  # keeps the look away from mask tokens, which know nothing
MASK = 0.1  # size of a mask token; all that matters is its direction


def begin_as_copy(model: VJEPA2Model, quiet: Tensor) -> None:
    """Give `model.predictor` the weights of a copier.

    Args:
        quiet: the direction `[D]` of which the model's tokens have least; mask tokens are known by it.

    Raises:
        ValueError: the predictor is not as wide as the tokens, or its heads have not nano's 32 channels, for which the
            angles below are chosen.
    """
    config, predictor = model.config, model.predictor
    width, heads = config.pred_hidden_size, config.pred_num_attention_heads
    head = width // heads
    if head != 32:
        raise ValueError(f"a copying predictor needs heads of 32 channels, not {head}")
    if width != config.hidden_size:
        raise ValueError(f"a copying predictor needs the tokens' {config.hidden_size} channels, not {width}")
    quiet = quiet - quiet.mean()  # LayerNorms take the mean out
    quiet = quiet / quiet.norm()
    axis = 10  # channels of a head for time; then as many for rows, as many for columns, and two that are not rotated

    # The angles of V-JEPA 2's slip (see `forward.rotation_table`) do not belong in pairs: the product of two rotated
    # unit vectors in channel 0 is cos·cos of frequency 0 and sin·sin of frequency 1. Channels 0, 4 and 6 together give
    # the cosine of the distance at frequencies 0 and 1; channels 1 and 7 without 4 that at frequency 1. The rest is
    # nearly constant.
    query, key = torch.zeros(head), torch.zeros(head)
    for start in (axis, 2 * axis):
        for channel in (0, 4, 6):
            query[start + channel] = key[start + channel] = NEAR
    query[[1, 4, 7]] = RECENT
    key[[1, 4, 7]] = torch.tensor([RECENT, -RECENT, RECENT])

    with torch.no_grad():
        for linear in (predictor.embeddings.predictor_embeddings, predictor.proj):
            linear.weight.copy_(torch.eye(width))
            linear.bias.zero_()
        for token in predictor.embeddings.mask_tokens:
            token.copy_(MASK * quiet.expand_as(token))
        for layer in predictor.layer:
            for closing in (layer.attention.proj, layer.mlp.fc2):
                closing.weight.zero_()
                closing.bias.zero_()
        first = predictor.layer[0].attention
        for linear, bias in ((first.query, query), (first.key, key)):
            linear.weight.zero_()
            linear.bias.copy_(bias.repeat(heads))
        first.query.bias.view(heads, head)[:, -1] = AVOID
        first.key.weight.view(heads, head, width)[:, -1] = -AVOID * quiet
        for linear in (first.value, first.proj):
            linear.weight.copy_(torch.eye(width))
            linear.bias.zero_()
