"""Similarity, colours and the packed form, against slow and obvious versions."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from vjepa_demo.embedding import Embedding, Fingerprint
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.options import Sampling
from vjepa_demo.views.similarity import colour_table, first_patch, pack, pca_colours, score_range, similarity

GRID, DIM = (4, 6, 8), 24


def make(grid=GRID, dim=DIM, *, seed=0, window=(20.0, 0.0, 140.0, 90.0), size=(160, 90), checkpoint="a", layer=None):
    rng = np.random.default_rng(seed)
    tokens = (rng.standard_normal((*grid, dim)) * rng.uniform(0.2, 3, dim) + 2 * rng.standard_normal(dim)).astype("f4")
    times = np.arange(2 * grid[0]) / 4
    made = Fingerprint(checkpoint, "r", "fp32", "even-8", "crop", layer)
    return Embedding(tokens, times, made, "cpu", window, size)


@pytest.fixture
def embedding() -> Embedding:
    return make()


@pytest.fixture
def padded() -> Embedding:
    """The window is higher than the picture: the first and the last of six rows show only padding."""
    return make(window=(0.0, -35.0, 160.0, 125.0))


def make_clip(embedding: Embedding, frames: int | None = None) -> Clip:
    width, height = embedding.source_size
    count = len(embedding.timestamps) if frames is None else frames
    # Every frame has a grey of its own, so that its place on the sheet can be told.
    pixels = np.empty((count, 3, height, width), dtype=np.uint8)
    pixels[:] = (20 + 25 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    kind = "image" if count == 1 else "video"
    source = Source(kind, width, height, "h264", duration=3.0, fps=25.0, frame_count=75)
    return Clip(pixels, embedding.timestamps[:count], source, Sampling(8))


def slow_cosine(tokens: np.ndarray, query: np.ndarray) -> np.ndarray:
    out = np.empty(tokens.shape[:3])
    for place in np.ndindex(*out.shape):
        token = tokens[place].astype(np.float64)
        out[place] = token @ query / (np.linalg.norm(token) * np.linalg.norm(query))
    return out


def slow_mean(embedding: Embedding) -> np.ndarray:
    seen = [embedding.tokens[:, r, c] for r, c in zip(*np.nonzero(embedding.patch_mask), strict=True)]
    return np.mean(np.concatenate(seen).astype(np.float64), axis=0)


# --- similarity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
def test_similarity_is_the_cosine(embedding, centred):
    tokens = embedding.tokens - slow_mean(embedding) * centred
    scores = similarity(embedding, (2, 3, 5), centred=centred)
    assert scores.dtype == np.float32
    assert scores.shape == GRID
    assert scores[2, 3, 5] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(scores, slow_cosine(tokens, tokens[2, 3, 5]), atol=2e-6)


def test_centring_matters(embedding):
    assert similarity(embedding, (0, 0, 0), centred=False).mean() > similarity(embedding, (0, 0, 0)).mean() + 0.2


def test_padding_is_nan_and_outside_the_mean(padded):
    assert padded.patch_mask.sum() == 4 * 8
    scores = similarity(padded, (1, 2, 2))
    assert np.isnan(scores[:, [0, 5]]).all()
    tokens = padded.tokens - slow_mean(padded)
    np.testing.assert_allclose(scores[:, 1:5], slow_cosine(tokens, tokens[1, 2, 2])[:, 1:5], atol=2e-6)
    padded.tokens[:, [0, 5]] = 1e6
    np.testing.assert_array_equal(scores, similarity(padded, (1, 2, 2)))


@pytest.mark.parametrize("centred", [True, False])
def test_added_and_subtracted_patches(embedding, centred):
    at, add, subtract = (0, 1, 1), [(1, 2, 2), (3, 0, 0)], [(2, 5, 7), (0, 0, 0)]
    tokens = embedding.tokens - slow_mean(embedding) * centred
    query = np.mean([tokens[p] for p in [at, *add]], axis=0) - np.mean([tokens[p] for p in subtract], axis=0)
    scores = similarity(embedding, at, add=add, subtract=subtract, centred=centred)
    np.testing.assert_allclose(scores, slow_cosine(tokens, query), atol=2e-6)


@pytest.mark.parametrize("centred", [True, False])
def test_another_clip_is_centred_by_its_own_mean(embedding, centred):
    other = make((2, 6, 8), seed=1)
    query = (embedding.tokens - slow_mean(embedding) * centred)[1, 1, 1]
    expected = slow_cosine(other.tokens - slow_mean(other) * centred, query)
    np.testing.assert_allclose(similarity(embedding, (1, 1, 1), other=other, centred=centred), expected, atol=2e-6)


def test_clips_of_different_checkpoints_or_layers_are_refused(embedding):
    for other in (make(checkpoint="b"), make(layer=3)):
        with pytest.raises(RequestError, match="different checkpoints or layers"):
            similarity(embedding, (0, 0, 0), other=other)


def test_a_token_without_direction_scores_zero():
    embedding = make()
    embedding.tokens[1, 2, 3] = 0
    assert similarity(embedding, (0, 0, 0), centred=False)[1, 2, 3] == 0
    assert not similarity(embedding, (1, 2, 3), centred=False).any()
    embedding.tokens[:] = embedding.tokens[0, 0, 0]
    assert not similarity(embedding, (0, 0, 0)).any()
    assert not similarity(make(), (0, 0, 0), subtract=[(0, 0, 0)]).any()


@pytest.mark.parametrize("at", [(4, 0, 0), (0, 6, 0), (0, 0, 8), (-1, 0, 0)])
def test_a_patch_outside_the_grid_is_refused(embedding, at):
    with pytest.raises(RequestError, match="outside the grid"):
        similarity(embedding, at)
    with pytest.raises(RequestError, match="outside the grid"):
        similarity(embedding, (0, 0, 0), add=[at])


def test_a_patch_of_padding_is_refused(padded):
    with pytest.raises(RequestError, match="padding"):
        similarity(padded, (0, 0, 3))


def test_score_range_spans_most_scores(embedding):
    scores = similarity(embedding, (0, 0, 0))
    scores[0, 0, 1] = np.nan
    low, high = score_range(scores)
    assert np.mean(scores[~np.isnan(scores)] < low) == pytest.approx(0.05, abs=0.01)
    assert np.mean(scores[~np.isnan(scores)] > high) <= 0.006
    assert score_range(np.zeros(GRID)) == (0.0, 0.05)


# --- PCA -------------------------------------------------------------------------------------------------------------


def slow_colours(embedding: Embedding) -> np.ndarray:
    """With scikit-learn; signs by the same rule: the largest weight of a component is positive."""
    seen = embedding.tokens[:, embedding.patch_mask].reshape(-1, embedding.tokens.shape[-1])
    pca = PCA(3, svd_solver="full").fit(seen.astype(np.float64))
    signs = np.sign([row[np.abs(row).argmax()] for row in pca.components_])
    parts = pca.transform(embedding.tokens.reshape(-1, embedding.tokens.shape[-1]).astype(np.float64)) * signs
    parts = parts.reshape(*embedding.grid, 3)
    low, high = np.percentile(parts[:, embedding.patch_mask].reshape(-1, 3), [1, 99], axis=0)
    return np.clip((parts - low) / (high - low), 0, 1) * 255


@pytest.mark.parametrize("name", ["embedding", "padded"])
def test_pca_colours_agree_with_sklearn(name, request):
    embedding = request.getfixturevalue(name)
    colours = pca_colours(embedding)
    assert colours.dtype == np.uint8
    seen = embedding.patch_mask
    difference = np.abs(colours[:, seen].astype(float) - slow_colours(embedding)[:, seen])
    assert difference.max() <= 1.0
    assert (colours[:, ~seen] == 128).all()


def test_one_basis_for_the_whole_clip(embedding):
    embedding.tokens[3] = embedding.tokens[0]
    colours = pca_colours(embedding)
    np.testing.assert_array_equal(colours[3], colours[0])
    assert (pca_colours(embedding) == colours).all()


def test_equal_tokens_are_grey(embedding):
    embedding.tokens[:] = embedding.tokens[0, 0, 0]
    assert (pca_colours(embedding) == 128).all()


# --- colours ---------------------------------------------------------------------------------------------------------


def test_the_colour_table_gets_lighter_in_even_steps():
    srgb = colour_table() / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert steps.std() < 0.5 * steps.mean()
    assert lightness[0] < 10
    assert lightness[-1] > 90


# --- the packed form -------------------------------------------------------------------------------------------------


def unpack(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    assert data[:4] == b"VJPV"
    (length,) = struct.unpack("<I", data[4:8])
    header = json.loads(data[8 : 8 + length])
    sections = {}
    for name, entry in header["sections"].items():
        start = 8 + length + entry["offset"]
        assert start % 4 == 0
        dtype = np.dtype({"jpeg": "u1"}.get(entry["dtype"], entry["dtype"])).newbyteorder("<")
        sections[name] = np.frombuffer(data[start : start + entry["bytes"]], dtype).reshape(entry["shape"])
    return header, sections


def test_header_says_what_was_seen(padded):
    header, _ = unpack(pack(padded, make_clip(padded)))
    assert header["grid"] == list(GRID)
    assert header["dim"] == DIM
    assert header["window"] == list(padded.window)
    assert header["source_size"] == [160, 90]
    assert header["timestamps"] == padded.timestamps.tolist()
    assert header["duration"] == 3.0
    assert (header["kind"], header["checkpoint"], header["layer"]) == ("video", "a", None)


@pytest.mark.parametrize("name", ["embedding", "padded"])
def test_tokens_come_back_to_half_a_step(name, request):
    embedding = request.getfixturevalue(name)
    _, sections = unpack(pack(embedding, make_clip(embedding)))
    scale, norms, products, raw = sections["scalars"]
    seen = np.broadcast_to(embedding.patch_mask, GRID).reshape(-1)
    tokens, mean = embedding.tokens.reshape(-1, DIM), slow_mean(embedding)
    restored = sections["tokens"] * scale[:, None] + sections["mean"]
    assert (np.abs(restored - tokens)[seen] <= 0.5001 * scale[seen, None]).all()
    np.testing.assert_allclose(sections["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(norms[seen], np.linalg.norm(tokens - mean, axis=1)[seen], rtol=1e-5)
    np.testing.assert_allclose(products[seen], ((tokens - mean) @ mean)[seen], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(raw[seen], np.linalg.norm(tokens, axis=1)[seen], rtol=1e-5)
    assert not sections["tokens"][~seen].any()
    np.testing.assert_array_equal(sections["mask"], embedding.patch_mask)
    np.testing.assert_array_equal(sections["pca"].reshape(*GRID, 3), pca_colours(embedding))


def test_rounded_tokens_give_the_cosine_within_a_hundredth():
    embedding = make((8, 8, 8), 192)
    embedding.tokens[..., :2] *= 60  # two channels that outweigh the others, as real encoders have
    _, sections = unpack(pack(embedding, make_clip(embedding)))
    scale, norms, _, _ = sections["scalars"]
    tokens = sections["tokens"] * scale[:, None]
    exact = np.stack([similarity(embedding, place).reshape(-1) for place in np.ndindex(8, 8, 8)])
    assert np.abs(tokens @ tokens.T / np.outer(norms, norms) - exact).max() < 0.01


def test_every_frame_is_on_the_sheet_in_its_place(embedding):
    header, sections = unpack(pack(embedding, make_clip(embedding)))
    layout = header["sheet"]
    assert (layout["frames"], layout["width"], layout["height"]) == (8, 160, 90)
    sheet = np.asarray(Image.open(io.BytesIO(sections["sheet"].tobytes())))
    for i in range(8):
        row, column = divmod(i, layout["columns"])
        cell = sheet[row * 90 : row * 90 + 90, column * 160 : column * 160 + 160]
        assert np.abs(cell.astype(int) - (20 + 25 * i)).mean() < 2


def test_an_image_is_sent_once(embedding):
    header, _ = unpack(pack(embedding, make_clip(embedding, 1)))
    assert header["sheet"]["frames"] == 1
    assert header["kind"] == "image"


def test_optional_sections(embedding):
    _, sections = unpack(pack(embedding, make_clip(embedding), pca=False))
    assert "pca" not in sections


@pytest.mark.parametrize(("grid", "dim", "limit"), [((8, 16, 16), 192, 1e6), ((32, 16, 16), 1024, 12e6)])
def test_bytes_sent_even_for_noise(grid, dim, limit):
    """The worst case of a JPEG: every pixel of every frame at random."""
    embedding = make(grid, dim, size=(512, 288), window=(0, 0, 512, 288))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2 * grid[0], 3, 288, 512), dtype=np.uint8)
    clip = Clip(frames, embedding.timestamps, Source("video", 512, 288, "h264", 4.0, 25.0, 100), Sampling(2 * grid[0]))
    assert len(pack(embedding, clip, pca=False)) + 3 * np.prod(grid) < limit


# --- the patch to begin with -----------------------------------------------------------------------------------------


def stage(moving: tuple[int, int] | None, standing: tuple[int, int], fit: str = "crop") -> int:
    """The first patch of a clip of 16 × 16 patches in which one thing moves, and one as odd stands still."""
    tokens = np.full((4, 16, 16, 8), 0.01, dtype=np.float32)
    frames = np.full((8, 3, 128, 128), 90, dtype=np.uint8)
    tokens[:, standing[0], standing[1], 0] = 9
    frames[:, :, 8 * standing[0] : 8 * standing[0] + 8, 8 * standing[1] : 8 * standing[1] + 8] = 250
    if moving:
        tokens[:, moving[0], moving[1], 1] = 9
        for i, frame in enumerate(frames):
            frame[:, 8 * moving[0] : 8 * moving[0] + 8, 8 * moving[1] : 8 * moving[1] + 8] = 40 + 20 * i
    times = np.arange(8) * 0.25
    made = Fingerprint("nano", "r", "fp32", "even-8", fit, None)
    clip = Clip(frames, times, Source("video", 128, 128, "h264", 2.0, 4.0, 8), Sampling(8))
    embedding = Embedding(tokens, times, made, "cpu", (0.0, 0.0, 128.0, 128.0), (128, 128))
    return first_patch(embedding, clip)


def test_what_moves_is_chosen_before_what_only_stands_out():
    assert stage(moving=(6, 9), standing=(8, 8)) == 6 * 16 + 9


def test_what_stands_out_is_chosen_where_nothing_moves():
    assert stage(moving=None, standing=(5, 10)) == 5 * 16 + 10


def test_the_border_is_chosen_last():
    assert stage(moving=(0, 8), standing=(11, 11)) == 11 * 16 + 11
