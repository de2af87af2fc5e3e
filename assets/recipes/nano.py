"""The embedded checkpoint: its shape, how it begins, and how it is written to a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
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
        "pred_hidden_size": 192,  # as wide as the tokens: a narrower one cannot even copy them
        "pred_num_hidden_layers": 3,
        "pred_num_attention_heads": 6,
        "pred_mlp_ratio": 2.0,
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
