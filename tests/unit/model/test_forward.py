"""The forward pass against transformers' own, however it is computed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

from vjepa_demo.embedder import Embedder
from vjepa_demo.model.forward import (
    FUSED,
    Attention,
    Packed,
    Rope,
    encode,
    fuse,
    pack,
    patchify,
    predict,
    reference,
    rotate,
)
from vjepa_demo.options import Options
from vjepa_demo.settings import ASSETS

WAYS = [FUSED, Attention(100), Attention(48, by_head=True), Attention(10_000)]


def has_packed(dtype: torch.dtype) -> bool:
    """Whether this machine can multiply with weights that are laid out for it."""
    try:
        Packed(torch.ones(32, 32, dtype=dtype), torch.ones(32, dtype=dtype))(torch.ones(1, 32, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


@pytest.fixture(scope="module", params=["small", "nano"])
def model(request: pytest.FixtureRequest, small_checkpoint: Path):
    """Random weights whose heads do not divide by three, and weights that were trained."""
    folder = small_checkpoint if request.param == "small" else ASSETS / "nano"
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


def pixels_of(model, frames: int, rows: int, cols: int) -> torch.Tensor:
    patch = model.config.patch_size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, frames, 3, rows * patch, cols * patch, generator=generator)


def tokens_of(model, pixels: torch.Tensor, dtype: torch.dtype = torch.float32, **options) -> torch.Tensor:
    config = model.config
    grid = pixels.shape[-2] // config.patch_size, pixels.shape[-1] // config.patch_size
    head = config.hidden_size // config.num_attention_heads
    rope = Rope(config, head, grid=grid, steps=pixels.shape[1] // config.tubelet_size)
    with torch.inference_mode():
        return encode(model, patchify(pixels, config), None, rope, dtype, **options)


def worst_cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).min().item()


@pytest.mark.parametrize(
    ("image", "attend", "packed"),
    [(True, FUSED, False), *((False, attend, packed) for attend in WAYS for packed in (False, True))],
)
def test_every_layer_in_both_precisions_is_transformers_own(
    model, attend: Attention, image: bool, packed: bool
) -> None:
    side = model.config.crop_size // model.config.patch_size
    pixels = pixels_of(model, 1 if image else 4, side, side).expand(1, 16 if image else 4, -1, -1, -1)
    with torch.inference_mode():
        states = model(pixels, skip_predictor=True, output_hidden_states=True).hidden_states[1:]
        expected = {None: model.get_vision_features(pixels), **dict(enumerate(states))}
    for dtype in (torch.float32, torch.bfloat16):
        if packed and not has_packed(dtype):
            continue
        own = copy.deepcopy(model)
        fuse(own, dtype)
        if packed:
            pack(own)
        for layer, tokens in expected.items():
            if (packed or attend != FUSED) and layer not in (None, 1):
                continue  # how products are computed is the same in all layers
            found = tokens_of(own, pixels, dtype, layer=layer, attend=attend)
            assert found.dtype == torch.float32
            if dtype == torch.float32:
                assert (found - tokens).abs().max() < 1e-4, layer
            assert worst_cosine(found, tokens) > (0.999 if dtype == torch.bfloat16 else 0.999999), layer
    assert worst_cosine(tokens_of(model, pixels.roll(1, 1)), expected[None]) < 0.999 or image, "a difference would show"


@pytest.mark.parametrize("layer", [None, 0, 2])
@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (3, 7), (6, 2)])
def test_the_reference_places_the_tokens_of_any_grid(model, rows: int, cols: int, layer: int | None) -> None:
    """transformers' own maths with other numbers of rows and columns; on its square it is not touched."""
    pixels = pixels_of(model, 4, rows, cols)
    with torch.inference_mode():
        found = reference(model, pixels, layer=layer)
        theirs = model(pixels, skip_predictor=True, output_hidden_states=True)
    expected = theirs.last_hidden_state if layer is None else theirs.hidden_states[layer + 1]
    square = rows == cols == model.config.crop_size // model.config.patch_size
    assert torch.equal(found, expected) == square
    assert (tokens_of(model, pixels, layer=layer) - found).abs().max() < 1e-4
    assert not any("get_position_ids" in vars(block.attention) for block in model.encoder.layer), "it is as it was"


@pytest.mark.parametrize("fused", [False, True])
def test_the_predictor_is_transformers_own(model, fused: bool) -> None:
    config = model.config
    side, steps = config.crop_size // config.patch_size, config.frames_per_clip // config.tubelet_size
    count = steps * side * side
    context_at, target_at = torch.arange(0, count, 3)[None], torch.arange(1, count, 3)[None]
    context = torch.randn(1, context_at.shape[1], config.hidden_size, generator=torch.Generator().manual_seed(1))
    whole = torch.zeros(1, count, config.hidden_size)
    whole[:, context_at[0]] = context
    own = copy.deepcopy(model)
    if fused:
        fuse(own, torch.float32)
    rope = Rope(config, config.pred_hidden_size // config.pred_num_attention_heads)
    with torch.inference_mode():
        theirs = model.predictor(
            encoder_hidden_states=whole, context_mask=[context_at], target_mask=[target_at]
        ).last_hidden_state
        found = predict(own, context, context_at, target_at, rope)[:, context_at.shape[1] :]
    assert (found - theirs).abs().max() < 1e-4
    assert theirs.std() > 1e-3


@pytest.mark.parametrize("head_dim", [6, 8, 16, 20, 22, 24, 32, 48, 64, 80, 88])
@pytest.mark.parametrize(("steps", "side"), [(1, 1), (2, 3), (8, 4), (32, 2)])
def test_rotation_turns_as_transformers_does(head_dim: int, steps: int, side: int) -> None:
    heads, patch = 2, 16
    config = VJEPA2Config(hidden_size=heads * head_dim, num_attention_heads=heads, crop_size=side * patch)
    attention = VJEPA2RopeAttention(config, heads * head_dim, heads)
    qk = torch.randn(1, heads, steps * side * side, head_dim, generator=torch.Generator().manual_seed(head_dim))
    positions = attention.get_position_ids(torch.empty(1, steps * side * side, heads * head_dim))
    expected = attention.apply_rotary_embeddings(qk, positions)
    found = rotate(qk, *Rope(config, head_dim, steps=steps).at(None, qk.dtype))
    assert found.dtype == qk.dtype
    assert (found - expected).abs().max() < 2e-5
    rest = head_dim - 3 * attention.d_dim
    assert rest == 0 or torch.equal(found[..., -rest:], qk[..., -rest:])
    if steps * side > 1:
        assert (found - qk).abs().max() > 0.1


def test_a_fused_model_takes_no_second_copy_and_is_still_transformers_own(model) -> None:
    own = copy.deepcopy(model)
    fuse(own, torch.float32)
    for block in own.encoder.layer:
        joined = block.attention.qkv
        for number, part in enumerate((block.attention.query, block.attention.key, block.attention.value)):
            assert part.weight.data_ptr() == joined.weight.chunk(3)[number].data_ptr()
    pixels = pixels_of(model, 4, 4, 4)
    with torch.inference_mode():
        assert torch.equal(own.get_vision_features(pixels), model.get_vision_features(pixels))


def test_norms_and_the_patch_embedding_stay_in_fp32(model) -> None:
    own = copy.deepcopy(model)
    fuse(own, torch.bfloat16)
    kinds = {name: weights.dtype for name, weights in own.named_parameters()}
    exact = {name for name in kinds if "norm" in name or "patch_embeddings" in name}
    assert {kinds[name] for name in exact} == {torch.float32}
    assert {kinds[name] for name in kinds if name not in exact} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["cloth", "cradle"])
def test_bf16_on_films_that_hardly_change(name: str) -> None:
    """Where large parts look nearly the same, what is rounded at the beginning is most of what is left of them."""
    path = ASSETS / "examples" / f"{name}.mp4"
    exact, half = (Embedder.open(Options("nano", precision=precision)) for precision in ("fp32", "bf16"))
    clip = exact.read(path)
    tokens = [torch.from_numpy(used.embed(clip).tokens).flatten(0, 2) for used in (exact, half)]
    assert worst_cosine(*tokens) > 0.9995
