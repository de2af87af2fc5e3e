"""The classifier of a checkpoint that has one: an attentive pooler over a clip's tokens, and one linear layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Head(torch.nn.Module):
    """What `VJEPA2ForVideoClassification` has beside its encoder, under the same names of weights, in float32.

    The modules are transformers' own. Its pooler mixes the tokens in a few layers of self-attention, then one learned
    query attends to all of them. A token's place is in the token: any grid can be given.

    Args:
        config: of the checkpoint. Its labels are somebody's text.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

        super().__init__()
        fused, plain = copy.copy(config), copy.copy(config)
        fused._attn_implementation, plain._attn_implementation = "sdpa", "eager"
        self.pooler = VJEPA2AttentivePooler(fused)
        self.pooler.cross_attention_layer.cross_attn.config = plain  # the only way that tells the weights of attention
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.labels = tuple(one_line(config.id2label.get(number, number)) for number in range(config.num_labels))

    def forward(self, tokens: Tensor, between: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the encoder's last layer, normalised, float32 `[B, N, D]` -> logits `[B, L]`, the vector that they
        are read off `[B, D]`, and the attention to each token, the mean over heads, `[B, N]`, whose sum is 1.

        `between` is called before each layer; what it raises ends the pass.
        """
        for layer in self.pooler.self_attention_layers:
            between()
            tokens = layer(tokens, None)[0]
        between()
        query = self.pooler.query_tokens.expand(len(tokens), -1, -1)
        pooled, attention = self.pooler.cross_attention_layer(query, tokens)
        pooled = pooled.squeeze(1)
        return self.classifier(pooled), pooled, attention.mean(dim=1).squeeze(1)


def one_line(label: object) -> str:
    """A label as one line of text that prints."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(label)).split())
