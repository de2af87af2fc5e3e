"""Clip -> Embedding: equal to the model card's snippet, and true about what the model saw."""

from __future__ import annotations

import shutil
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeVideo, save_checkpoint
from PIL import Image
from transformers import AutoModel, AutoVideoProcessor, VJEPA2Config

from vjepa_demo import jobs
from vjepa_demo.embedding import Kind
from vjepa_demo.errors import CheckpointError, RequestError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model import checkpoints, encoder
from vjepa_demo.model.forward import Rope, encode, patchify
from vjepa_demo.options import Sampling

NATURAL = "mandelbrot=size=160x120:rate=25,format=yuv420p"


@pytest.fixture(scope="module")
def small(small_checkpoint: Path) -> encoder.Encoder:
    return encoder.get_encoder(str(small_checkpoint), device="cpu", precision="fp32")


def card_model(folder: Path, dtype: torch.dtype = torch.float32):
    """The model as its card loads it, untouched by us."""
    return AutoModel.from_pretrained(folder, dtype=dtype).eval()


def make_clip(frames: np.ndarray, *, image: bool = False) -> Clip:
    """A clip of frames `[T, 3, H, W]` as media/ would make it."""
    source = Source("image" if image else "video", frames.shape[3], frames.shape[2], "raw", frame_count=len(frames))
    return Clip(frames, np.arange(len(frames)) / 4, source, Sampling(max(len(frames), 2)))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pixels_of(used: encoder.Encoder, clip: Clip, fit: str = "crop") -> torch.Tensor:
    """What the model takes of a clip, float32 `[1, T, 3, H, W]`."""
    return used.normalise(torch.from_numpy(used.preprocess(clip, fit)[0])[None])


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """The mean cosine of two sets of tokens."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).mean().item()


# --- the same as the model card --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 16, 32])
def test_video_equals_the_model_card(make_video: MakeVideo, small, small_checkpoint: Path, count: int) -> None:
    from torchcodec.decoders import VideoDecoder

    path = make_video(source=NATURAL, frames=count)
    video = VideoDecoder(path).get_frames_at(indices=np.arange(count).tolist()).data
    inputs = AutoVideoProcessor.from_pretrained(small_checkpoint)(video, return_tensors="pt")
    with torch.no_grad():
        expected = card_model(small_checkpoint).get_vision_features(**inputs)
    embedding = small.encode(read_clip(path, Sampling(count)))
    assert embedding.shape == tuple(expected.shape)
    assert embedding.grid == (count // 2, 4, 4)
    assert embedding.tokens.dtype == np.float32
    found = embedding.tokens.reshape(expected.shape)
    assert np.abs(found - expected.numpy()).max() < 1e-4
    assert expected.std() > 0.1
    assert np.abs(found - np.roll(found, 1, axis=1)).max() > 1, "the order of the tokens would show"


def test_image_equals_the_model_card(small, small_checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(90, 120, 3)).resize((240, 180)).save(tmp_path / "photo.png")
    image = Image.open(tmp_path / "photo.png").convert("RGB")
    pixels = AutoVideoProcessor.from_pretrained(small_checkpoint)(image, return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        expected = card_model(small_checkpoint).get_vision_features(pixels.repeat(1, 16, 1, 1, 1))
    embedding = small.encode(read_clip(tmp_path / "photo.png"))
    assert embedding.shape == tuple(expected.shape) == (1, 8 * 4 * 4, 88)
    assert np.abs(embedding.tokens.reshape(expected.shape) - expected.numpy()).max() < 1e-4
    assert embedding.timestamps.tolist() == [0.0] * 16


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layers_equal_the_hidden_states(small, small_checkpoint: Path, layer: int) -> None:
    clip = make_clip(noise(16, 3, 80, 100))
    pixels = pixels_of(small, clip)
    model = card_model(small_checkpoint)
    with torch.no_grad():
        states = model(pixels, skip_predictor=True, output_hidden_states=True).hidden_states
        tokens = model.encoder.embeddings(pixels)
        for block in model.encoder.layer[: layer + 1]:
            tokens = block(tokens)[0]
    embedding = small.encode(clip, layer=layer)
    assert embedding.layer == layer
    found = embedding.tokens.reshape(tokens.shape)
    assert np.abs(found - tokens.numpy()).max() < 1e-4
    assert np.abs(found - states[layer + 1].numpy()).max() < 1e-4


def test_the_last_layer_is_not_yet_normalised(small) -> None:
    clip = make_clip(noise(16, 3, 64, 64))
    last, final = small.encode(clip, layer=2).tokens, small.encode(clip).tokens
    assert np.abs(last - final).max() > 0.1
    norm = small.model.encoder.layernorm
    with torch.inference_mode():
        assert np.abs(norm(torch.from_numpy(last)).numpy() - final).max() < 1e-5


# --- several clips ---------------------------------------------------------------------------------------------------


def mixed() -> list[Clip]:
    """Two shapes of videos among each other, and two photos."""
    wide, high = [make_clip(noise(4, 3, 90, 160, seed=n)) for n in range(3)], make_clip(noise(4, 3, 160, 90))
    photos = [make_clip(noise(1, 3, 90, 160, seed=n), image=True) for n in (7, 8)]
    return [wide[0], high, photos[0], wide[1], photos[1], wide[2]]


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
def test_several_clips_are_embedded_as_each_of_them(
    small, monkeypatch: pytest.MonkeyPatch, fit: str, layer: int | None
) -> None:
    """Together, as on a GPU; the tokens of a batch differ from those of its clips by what fp32 rounds."""
    clips = mixed()
    alone = [small.encode(clip, fit, layer) for clip in clips]
    passes: list[int] = []
    forward = encoder.Encoder.forward
    monkeypatch.setattr(
        encoder.Encoder,
        "forward",
        lambda self, frames, *rest: passes.append(len(frames)) or forward(self, frames, *rest),
    )
    assert [made.tokens.shape for made in small.encode_many(clips, fit, layer)] == [made.tokens.shape for made in alone]
    assert passes == [1] * len(clips), "a CPU takes them one at a time"
    passes.clear()
    monkeypatch.setattr(encoder.Encoder, "batch_tokens", encoder.BATCH_TOKENS)
    together = small.encode_many(clips, fit, layer)
    assert sorted(passes) == ([1, 2, 3] if fit == "whole" else [2, 4])
    for made, expected in zip(together, alone, strict=True):
        assert np.abs(made.tokens - expected.tokens).max() < 1e-4
        assert made.tokens.base is None or made.tokens.base.nbytes == made.tokens.nbytes, (
            "none holds the others' memory"
        )
        assert (made.fingerprint, made.window) == (expected.fingerprint, expected.window)
        assert np.array_equal(made.timestamps, expected.timestamps)


def test_a_batch_on_a_gpu_is_bounded_in_tokens(small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "device", "cuda")
    frames = [(16, 3, 64, 64)] * 5  # 8 x 4 x 4 tokens each
    for most, sizes in ((2 * 128, [2, 2, 1]), (3 * 128 - 1, [2, 2, 1]), (5 * 128, [5]), (1, [1] * 5)):
        monkeypatch.setattr(encoder, "BATCH_TOKENS", most)
        assert [len(batch) for batch in small._batches(frames)] == sizes
    monkeypatch.setattr(encoder, "BATCH_TOKENS", 2 * 128)
    assert list(small._batches([(1, 3, 64, 64), (2, 3, 64, 64), (1, 3, 64, 64)])) == [[0, 2], [1]], (
        "photos are 16 frames"
    )


def test_no_clips_are_no_embeddings(small) -> None:
    assert small.encode_many([]) == []


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
@pytest.mark.parametrize(("width", "height"), [(320, 180), (97, 251), (64, 64), (40, 30)])
def test_uint8_frames_become_what_the_processor_makes_at_once(
    small, small_checkpoint: Path, fit: str, image: bool, width: int, height: int
) -> None:
    """Scaling and cutting here, rescaling and normalising where the model is: not a bit differs."""
    clip = make_clip(noise(1 if image else 4, 3, height, width), image=image)
    frames = torch.from_numpy(clip.frames)
    options = {}
    if fit == "pad":
        frames = encoder._pad_to_square(frames)[0]
    if fit != "crop":
        rows, cols = encoder.whole_grid(width, height, 4) if fit == "whole" else (4, 4)
        options = {"do_center_crop": False, "size": {"height": 16 * rows, "width": 16 * cols}}
    processor = AutoVideoProcessor.from_pretrained(small_checkpoint)
    expected = processor(frames, return_tensors="pt", **options)["pixel_values_videos"]
    expected = expected.repeat(1, 16, 1, 1, 1) if image else expected
    given = small.preprocess(clip, fit)[0]
    assert (given.dtype, len(given)) == (np.uint8, len(clip.frames)), "an image goes as one frame"
    assert torch.equal(pixels_of(small, clip, fit), expected)


# --- rotary positions ------------------------------------------------------------------------------------------------


def test_bf16_is_close_to_fp32_and_closer_than_transformers(small_checkpoint: Path) -> None:
    """A long clip, where transformers' own angles in bf16 are off most."""
    clip = make_clip(noise(64, 3, 64, 64))
    exact = encoder.Encoder(checkpoints.load(checkpoints.find(str(small_checkpoint))), "cpu", "fp32")
    half = encoder.Encoder(checkpoints.load(checkpoints.find(str(small_checkpoint))), "cpu", "bf16")
    frames = torch.from_numpy(exact.preprocess(clip)[0])[None]
    pixels = exact.normalise(frames)
    with torch.no_grad():
        theirs = card_model(small_checkpoint, torch.bfloat16).get_vision_features(pixels.bfloat16()).float()
    reference, ours = exact.forward(frames), half.forward(frames)
    assert cosine(ours, reference) > 0.99
    assert (ours - reference).abs().mean() < (theirs - reference).abs().mean()


# --- the real shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "tokens"), [(64, 8192), (16, 2048)])
def test_shapes_of_the_real_vit_l(frames: int, tokens: int) -> None:
    """The configuration of facebook/vjepa2-vitl-fpc64-256, which is transformers' default, on the meta device."""
    config = VJEPA2Config()
    assert (config.hidden_size, config.num_hidden_layers, config.patch_size, config.crop_size) == (1024, 24, 16, 256)
    with torch.device("meta"):
        model = AutoModel.from_config(config).eval()
    assert tuple(model.get_vision_features(torch.empty(1, frames, 3, 256, 256, device="meta")).shape) == (
        1,
        tokens,
        1024,
    )
    patches = patchify(torch.empty(1, frames, 3, 256, 256, device="meta"), config)
    rope = Rope(config, 64, "meta", steps=frames // 2)
    assert tuple(encode(model, patches, None, rope).shape) == (1, tokens, 1024)


# --- what the model saw ----------------------------------------------------------------------------------------------


def position_picture(width: int, height: int) -> np.ndarray:
    """`[1, 3, H, W]`: red tells x, green tells y, over the whole range of each; blue is 0."""
    x = (np.arange(width) + 0.5) / width * 255
    y = (np.arange(height) + 0.5) / height * 255
    frame = np.zeros((3, height, width))
    frame[0], frame[1] = x[None, :], y[:, None]
    return np.round(frame).astype(np.uint8)[None]


SIZES = [(320, 180), (180, 320), (100, 100), (301, 173), (97, 251), (1280, 720), (64, 64), (40, 30), (33, 500)]


@pytest.mark.parametrize("fit", ["crop", "whole", "squash", "pad"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_window_is_what_the_model_saw(small, fit: str, width: int, height: int) -> None:
    clip = make_clip(position_picture(width, height), image=True)
    window, pixels = small.preprocess(clip, fit)[1], pixels_of(small, clip, fit)
    seen = pixels[0, 0] * torch.tensor(small.processor.image_std)[:, None, None]
    seen = (seen + torch.tensor(small.processor.image_mean)[:, None, None]).numpy() * 255
    left, top, right, bottom = window
    rows, cols = encoder.whole_grid(width, height, 4) if fit == "whole" else (4, 4)
    assert pixels.shape == (1, 16, 3, 16 * rows, 16 * cols)
    # The centre of every pixel of the input, in pixels of the source.
    x = left + (np.arange(16 * cols) + 0.5) * (right - left) / (16 * cols)
    y = top + (np.arange(16 * rows) + 0.5) * (bottom - top) / (16 * rows)
    step = max((right - left) / (16 * cols), (bottom - top) / (16 * rows)) + 1
    inside = ((y > step) & (y < height - step))[:, None] & ((x > step) & (x < width - step))[None, :]
    assert inside.mean() > 0.03
    found_x, found_y = seen[0] / 255 * width, seen[1] / 255 * height
    # Half a source pixel, and what rounding the colours to 8 bits (twice) costs.
    assert np.abs(found_x - x[None, :])[inside].max() < 0.5 + 1.5 * width / 255
    assert np.abs(found_y - y[:, None])[inside].max() < 0.5 + 1.5 * height / 255
    # On average, nothing of that is left: a window off by half a pixel would show.
    assert abs((found_x - x[None, :])[inside].mean()) < 0.1 + width / 1000
    assert abs((found_y - y[:, None])[inside].mean()) < 0.1 + height / 1000
    outside = ((y < -step) | (y > height + step))[:, None] | ((x < -step) | (x > width + step))[None, :]
    if outside.any():
        assert fit == "pad"
        assert np.abs(seen[:, outside] - 128).max() <= 1


WHOLE = {
    # 16:9 and a phone's 9:16, with the 16 patches of nano's square and the 24 of a 384 px checkpoint's
    (1920, 1080, 16): (16, 28),
    (1080, 1920, 16): (28, 16),
    (1920, 1080, 24): (24, 43),
    (640, 480, 16): (16, 21),
    (500, 500, 16): (16, 16),
    (512, 500, 16): (16, 16),
    # 2:1 is the longest; beyond it the short side has fewer patches
    (2000, 1000, 16): (16, 32),
    (2390, 1000, 16): (13, 32),
    (1000, 3000, 16): (32, 11),
    (2000, 100, 16): (2, 32),
    (2000, 100, 4): (1, 8),
}


@pytest.mark.parametrize(("picture", "grid"), WHOLE.items())
def test_the_whole_picture_has_a_grid_of_its_shape(picture, grid) -> None:
    assert encoder.whole_grid(*picture) == grid
    width, height, side = picture
    rows, cols = grid
    assert max(rows, cols) <= 2 * side
    assert rows * cols <= 2 * side**2
    if min(rows, cols) > 1:  # the aspect ratio is kept to half a patch
        assert abs(rows - cols * height / width) <= 0.5 or abs(cols - rows * width / height) <= 0.5


def test_the_whole_of_a_square_is_that_of_squash(small) -> None:
    clip = make_clip(noise(4, 3, 90, 90))
    frames, window = small.preprocess(clip, "whole")
    assert np.array_equal(frames, small.preprocess(clip, "squash")[0])
    assert window == (0, 0, 90, 90)
    assert np.array_equal(small.encode(clip, "whole").tokens, small.encode(clip, "squash").tokens)


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize(("width", "height"), [(160, 90), (90, 160), (240, 80)])
def test_a_grid_that_is_not_square_equals_transformers_told_the_places(
    small, small_checkpoint: Path, width: int, height: int, layer: int | None
) -> None:
    clip = make_clip(noise(4, 3, height, width))
    pixels = pixels_of(small, clip, "whole")
    rows, cols = (n // 16 for n in pixels.shape[-2:])
    places = [(t, y, x) for t in range(2) for y in range(rows) for x in range(cols)]
    model = card_model(small_checkpoint)
    for block in model.encoder.layer:
        block.attention.get_position_ids = lambda *_, **__: torch.tensor(places).T
    with torch.no_grad():
        output = model(pixels, skip_predictor=True, output_hidden_states=True)
    expected = output.last_hidden_state if layer is None else output.hidden_states[layer + 1]
    embedding = small.encode(clip, "whole", layer)
    assert embedding.grid == (2, rows, cols)
    assert embedding.shape == tuple(expected.shape)
    assert np.abs(embedding.tokens.reshape(expected.shape) - expected.numpy()).max() < 1e-4
    with torch.no_grad():
        wrong = card_model(small_checkpoint)(pixels, skip_predictor=True).last_hidden_state
    assert layer is not None or np.abs(embedding.tokens.reshape(expected.shape) - wrong.numpy()).max() > 1e-2


def test_a_subset_of_an_oblong_grid_is_encoded_in_its_places(small) -> None:
    clip = make_clip(noise(16, 3, 90, 160))
    pixels = pixels_of(small, clip, "whole")
    config = small.config
    rope = Rope(config, config.hidden_size // config.num_attention_heads, grid=(4, 7))
    patches = patchify(pixels, config)
    with torch.inference_mode():
        tokens = encode(small.model, patches, torch.arange(patches.shape[1])[None], rope)[0]
    assert np.abs(small.encode(clip, "whole").tokens.reshape(tokens.shape) - tokens.numpy()).max() < 1e-4


def test_a_clip_of_low_priority_rests_in_the_middle_while_a_visitors_of_another_shape_is_encoded(small) -> None:
    wide, square = make_clip(noise(4, 3, 90, 160)), make_clip(noise(4, 3, 90, 90))
    expected = small.encode(wide, "whole").tokens
    order: list[str] = []

    def visit() -> None:
        with Job().running(), jobs.turn():
            order.append("visitor")
            small.encode(square, "whole")

    visitor = threading.Thread(target=visit)

    def begin(*_: object) -> None:  # in the first layer of the clip that has the turn
        if not visitor.ident:
            visitor.start()
            while not jobs.turns._waiting:
                time.sleep(0.01)

    hook = small.model.encoder.layer[0].norm1.register_forward_pre_hook(begin)
    with Job(low=True).running(), jobs.turn():
        tokens = small.encode(wide, "whole").tokens
        order.append("low")
    hook.remove()
    visitor.join()
    assert order == ["visitor", "low"]
    assert np.array_equal(tokens, expected)


def test_clips_of_all_shapes_one_after_another(small) -> None:
    """The grid of one clip is not that of the next."""
    wide, square = make_clip(noise(4, 3, 90, 160)), make_clip(noise(4, 3, 90, 90))
    first = small.encode(square, "whole").tokens
    oblong = small.encode(wide, "whole").tokens
    assert np.array_equal(small.encode(square, "whole").tokens, first)
    assert np.array_equal(small.encode(wide, "whole").tokens, oblong)
    assert small.encode(wide).grid == (2, 4, 4)


@pytest.mark.parametrize("fit", ["crop", "whole", "squash"])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (900, 300)])
def test_a_coloured_patch_of_the_source_is_the_token_that_changes(small, fit: str, width: int, height: int) -> None:
    plain = np.full((2, 3, height, width), 120, np.uint8)
    before = small.encode(make_clip(plain), fit)
    _, rows, cols = before.grid
    left, top, right, bottom = before.window
    for row, col in {(0, 0), (rows // 2, cols - 1), (rows - 1, cols // 2)}:
        x, y = (np.array((n, n + 1)) for n in (col, row))
        x, y = left + x * (right - left) / cols, top + y * (bottom - top) / rows
        margin = 2 * max((right - left) / cols, (bottom - top) / rows) / 16  # what the resampling spreads
        block = plain.copy()
        block[:, 0, round(y[0] + margin) : round(y[1] - margin), round(x[0] + margin) : round(x[1] - margin)] = 250
        changed = patchify(pixels_of(small, make_clip(block), fit), small.config) != patchify(
            pixels_of(small, make_clip(plain), fit), small.config
        )
        assert np.flatnonzero(changed[0].any(1)).tolist() == [row * cols + col]
        after = small.encode(make_clip(block), fit).tokens
        moved = np.linalg.norm(after - before.tokens, axis=-1)[0]
        assert np.unravel_index(moved.argmax(), moved.shape) == (row, col)


def test_the_window_counts_pixels_of_the_source(small) -> None:
    """Frames that were decoded at half the size show the same window."""
    full, half = make_clip(noise(2, 3, 120, 200)), make_clip(noise(2, 3, 60, 100))
    half = Clip(half.frames, half.timestamps, full.source, half.sampling)
    for fit in ("crop", "whole", "squash", "pad"):
        np.testing.assert_allclose(small.preprocess(full, fit)[1], small.preprocess(half, fit)[1], atol=1.5)


def test_crop_is_the_processors_own(small, small_checkpoint: Path) -> None:
    clip = make_clip(noise(4, 3, 90, 161))
    expected = AutoVideoProcessor.from_pretrained(small_checkpoint)(torch.from_numpy(clip.frames), return_tensors="pt")
    assert torch.equal(pixels_of(small, clip), expected["pixel_values_videos"])


@pytest.mark.parametrize(("width", "height"), [(128, 64), (64, 128), (128, 40)])
def test_padding_is_left_out_of_the_mean(small, width: int, height: int) -> None:
    embedding = small.encode(make_clip(noise(2, 3, height, width)), "pad")
    mask = embedding.patch_mask
    # Four rows and columns of patches on a square as long as the longer side.
    side = max(width, height)
    middle = (np.arange(4) + 0.5) * side / 4
    rows = np.abs(middle - side / 2) <= height / 2
    columns = np.abs(middle - side / 2) <= width / 2
    assert np.array_equal(mask, rows[:, None] & columns[None, :])
    kept = [embedding.tokens[t, r, c] for t in range(1) for r in range(4) for c in range(4) if rows[r] and columns[c]]
    np.testing.assert_allclose(embedding.pooled(), np.mean(kept, axis=0), atol=1e-5)
    assert np.abs(embedding.pooled() - embedding.tokens.mean(axis=(0, 1, 2))).max() > 1e-3


# --- what cannot be done ---------------------------------------------------------------------------------------------


def test_options_that_are_refused(small, small_checkpoint: Path) -> None:
    clip = make_clip(noise(2, 3, 64, 64))
    for wrong in ({"fit": "stretch"}, {"layer": 3}, {"layer": -1}):
        with pytest.raises(RequestError):
            small.encode(clip, **wrong)
    with pytest.raises(RequestError, match="narrow"):
        small.encode(make_clip(noise(1, 3, 4000, 1), image=True))
    with pytest.raises(RequestError, match="precision"):
        encoder.get_encoder(str(small_checkpoint), precision="fp16")
    with pytest.raises(RequestError, match="device"):
        encoder.get_encoder(str(small_checkpoint), device="tpu")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "fewer frames"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "fewer frames"),
        (MemoryError(), "fewer frames"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "graphics card"),
    ],
)
def test_a_device_that_fails_or_is_full_is_a_sentence(
    small, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(encoder, "encode", fails)
    with pytest.raises(CheckpointError, match=words):
        small.encode(make_clip(noise(2, 3, 64, 64)))


def full_once(*failures: bool):
    """A function that says that the GPU's memory is full as often as asked, and how often it was called."""
    left, calls = list(failures), []

    def work(*given: object, **_: object):
        calls.append(given)
        if left and left.pop(0):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.zeros(1, 16, 88)

    return work, calls


def test_where_memory_is_full_checkpoints_that_nobody_uses_make_room_and_it_is_tried_again(
    small, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_kept", OrderedDict())
    names = ["idle", "used"]
    for name in names:
        shutil.copytree(small_checkpoint, tmp_path / name)
    used = encoder.get_encoder(str(tmp_path / "used"), "cpu", "fp32")
    encoder.get_encoder(str(tmp_path / "idle"), "cpu", "fp32")
    idle = weakref.ref(encoder.get_encoder(str(tmp_path / "idle"), "cpu", "fp32").model)
    assert encoder.get_encoder(str(small_checkpoint), "cpu", "fp32") is small
    work, calls = full_once(True)
    monkeypatch.setattr(encoder, "encode", work)
    assert small.encode(make_clip(noise(2, 3, 64, 64))).tokens.shape == (1, 4, 4, 88)
    assert len(calls) == 2
    assert idle() is None, "its memory is given back at once"
    assert [key[0] for key in encoder._kept] == [str(small_checkpoint)]
    assert used.model is not None
    work, calls = full_once(True, True)
    monkeypatch.setattr(encoder, "encode", work)
    with pytest.raises(CheckpointError, match="too little memory"):
        small.encode(make_clip(noise(2, 3, 64, 64)))
    assert len(calls) == 2


def test_where_a_checkpoint_does_not_fit_others_make_room_for_it(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_kept", OrderedDict())
    for name in ("first", "second"):
        shutil.copytree(small_checkpoint, tmp_path / name)
    encoder.get_encoder(str(tmp_path / "first"), "cpu", "fp32")
    fill, tries = checkpoints._fill, []

    def filling(*given: object) -> None:
        tries.append(given)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        fill(*given)

    monkeypatch.setattr(checkpoints, "_fill", filling)
    encoder.get_encoder(str(tmp_path / "second"), "cpu", "fp32")
    assert [key[0] for key in encoder._kept] == [str(tmp_path / "second")]
    assert len(tries) == 2


def test_checkpoints_make_room_for_one_another_but_not_while_somebody_holds_them(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_kept", OrderedDict())
    first = encoder.get_encoder(str(small_checkpoint), "cpu", "bf16")
    monkeypatch.setattr(encoder, "settings", replace(encoder.settings, encoder_bytes=first.nbytes))
    shutil.copytree(small_checkpoint, tmp_path / "second")
    encoder.get_encoder(str(tmp_path / "second"), "cpu", "bf16")
    assert encoder.get_encoder(str(small_checkpoint), "cpu", "bf16") is first, "it is held, and not loaded twice"
    assert [key[0] for key in encoder._kept] == [str(small_checkpoint)]
    assert not encoder.is_loaded(str(tmp_path / "second"), "cpu", "bf16")
    assert first.encode(make_clip(noise(2, 3, 64, 64))).tokens.shape == (1, 4, 4, 88)


def test_who_waits_for_a_checkpoint_that_another_fetches_can_leave(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_checkpoint, tmp_path / "slow")
    arriving, arrived, job = threading.Event(), threading.Event(), Job()

    def slow(*_: object) -> None:
        arriving.set()
        assert arrived.wait(10)

    monkeypatch.setattr(checkpoints, "files_of", slow)
    other = threading.Thread(target=encoder.get_encoder, args=(str(tmp_path / "slow"), "cpu", "fp32"))
    other.start()
    arriving.wait(10)
    threading.Timer(0.2, job.stop).start()
    with job.running(), pytest.raises(Stopped):
        encoder.get_encoder(str(tmp_path / "slow"), "cpu", "fp32")
    monkeypatch.undo()
    arrived.set()
    other.join(20)


def test_other_failures_of_the_model_are_not_called_memory(small, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(encoder, "encode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        small.encode(make_clip(noise(2, 3, 64, 64)))


def test_a_forward_pass_is_given_up_between_two_layers(small) -> None:
    job, reached = Job(), []

    def after(*_: object) -> None:
        reached.append("a layer")
        job.stop()

    hooks = [block.norm2.register_forward_hook(after) for block in small.model.encoder.layer]
    try:
        with job.running(), pytest.raises(Stopped):
            small.encode(make_clip(noise(2, 3, 64, 64)))
    finally:
        for hook in hooks:
            hook.remove()
    assert reached == ["a layer"]
    assert small.encode(make_clip(noise(2, 3, 64, 64))).tokens.shape == (1, 4, 4, 88)


def test_one_encoder_for_each_checkpoint_and_precision(small, small_checkpoint: Path) -> None:
    assert encoder.get_encoder(str(small_checkpoint), device="cpu", precision="fp32") is small
    other = encoder.get_encoder(str(small_checkpoint), device="cpu", precision="bf16")
    assert other is not small
    assert (other.dtype, small.dtype) == (torch.bfloat16, torch.float32)
    assert other.model.predictor.embeddings.predictor_embeddings.weight.dtype == torch.bfloat16


def test_fingerprints_tell_options_apart(small, small_checkpoint: Path, tmp_path: Path) -> None:
    base = small.fingerprint(Sampling(16))
    assert base == small.fingerprint(Sampling(16, start=1.0)), "where a clip begins does not change how it is made"
    others = [
        small.fingerprint(Sampling(8)),
        small.fingerprint(Sampling(16, "fps")),
        small.fingerprint(Sampling(16), "pad"),
        small.fingerprint(Sampling(16), layer=0),
    ]
    retrained = encoder.get_encoder(str(save_checkpoint(tmp_path / "small", seed=1)), device="cpu", precision="fp32")
    others.append(retrained.fingerprint(Sampling(16)))
    assert len({Kind(made).key for made in (base, *others)}) == 6
