"""Maps over all patches of a clip: cosine similarity to a chosen patch, PCA colours, and the form the browser gets."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip

Position = tuple[int, int, int]
# Part of the file that the browser gets: its type, shape and bytes.
Section = tuple[str, list[int], bytes]
Sections = Mapping[str, Section]

# A token this much shorter than the longest is rounding error: it has no direction, and its cosine is taken as 0.
ZERO_NORM = 1e-6
PADDING_GREY = 128
# Percentiles that the PCA colours span. What lies beyond is clipped, so that a few odd tokens do not grey all others.
PCA_SPAN = (1.0, 99.0)
FEW_CHANNELS = 512  # of which all eigenvectors take less than the import of what finds a few

# Percentiles of all scores that the colours of a heatmap span. The few above, the query itself among them, share the
# top colour, so that a noisy map does not look empty.
SCORE_SPAN = (5.0, 99.7)
SCORE_SPAN_LEAST = 0.05

# A change of this many levels of 256 is seen; a clip in which nothing changes more has no motion to choose by.
LEAST_CHANGE = 8.0

# A patch whose centred cosine with another one is at least this is of the same region.
LEAST_ALIKE = 0.5

MAGIC = b"VJPV"
FORMAT = 1
SHEET_SIDE = 512
SHEET_BYTES_PER_FRAME = 32_000
JPEG_QUALITIES = (88, 80, 70, 60, 45, 30, 15)


def similarity(
    embedding: Embedding,
    at: Position,
    *,
    centred: bool = True,
    add: Sequence[Position] = (),
    subtract: Sequence[Position] = (),
    other: Embedding | None = None,
) -> np.ndarray:
    """Cosine similarity of a query to every patch token.

    The query is the mean of the tokens at `at` and `add`, less the mean of those at `subtract`. Centring takes the
    mean token of the clip away first: it is what all patches share, and without it every cosine is high.

    Args:
        embedding: where the query's tokens are.
        at: (step, row, column) of the query patch.
        centred: subtract the clip's mean token (padding left out) from each token; from each clip its own.
        add, subtract: further patches of the query.
        other: score the tokens of this clip instead; it must come from the same checkpoint and layer.

    Returns:
        float32 `[T', H', W']` in [-1, 1]; NaN where the patch shows only padding; 0 for a token without direction.

    Raises:
        RequestError: a position lies outside the grid or in the padding, or the two clips were embedded differently.
    """
    for position in (at, *add, *subtract):
        _check_query(embedding, position)
    target = embedding if other is None else other
    if other is not None and not _alike(embedding, other):
        raise RequestError("The two clips come from different checkpoints or layers: embed both in the same way.")
    tokens = _directions(embedding, centred)
    query = _mean(tokens, (at, *add)) - (_mean(tokens, subtract) if subtract else 0.0)
    if other is not None:
        tokens = _directions(other, centred)
    norms = _norms(tokens)
    length = float(np.linalg.norm(query))
    floor = ZERO_NORM * _longest(target)
    scores: np.ndarray = np.zeros(target.grid)
    if length > ZERO_NORM * _longest(embedding):
        np.divide(tokens @ (query / length).astype(np.float32), norms, out=scores, where=norms > floor)
    scores = np.clip(scores, -1.0, 1.0).astype(np.float32)
    scores[:, ~target.patch_mask] = np.nan
    return scores


def region(embedding: Embedding, at: Position) -> np.ndarray:
    """The patches of a clip that are like one of them (LEAST_ALIKE), and that one: bool `[T', H', W']`. Raises
    RequestError as `similarity`."""
    alike = similarity(embedding, at) >= LEAST_ALIKE  # NaN is not
    alike[at] = True
    return alike


def pca_colours(embedding: Embedding) -> np.ndarray:
    """The first three principal components of a clip's tokens, as colours.

    One basis serves the whole clip, so a thing keeps its colour while the clip plays. A component's sign is free:
    here its largest weight is positive. Red, green and blue span the 1st to 99th percentile of each component.

    Returns:
        uint8 `[T', H', W', 3]`; mid-grey where the patch shows only padding, and where a component has no extent.
    """
    centred = _directions(embedding, centred=True)
    seen = centred[:, embedding.patch_mask].reshape(-1, centred.shape[-1])
    dim = seen.shape[-1]
    count = min(3, dim - 1)
    # A little on the diagonal changes no direction, and lets equal tokens have one.
    scatter = (seen.T @ seen).astype(np.float64) + 1e-30 * np.eye(dim)
    basis = _last_eigenvectors(scatter, count)[:, ::-1]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(count)])
    parts = seen @ basis.astype(np.float32)
    low, high = np.percentile(parts, PCA_SPAN, axis=0)
    flat = (high - low) <= ZERO_NORM * _longest(embedding)
    levels = np.clip((parts - low) / np.where(flat, 1.0, high - low), 0.0, 1.0) * 255.0
    colours = np.full((*embedding.grid, 3), PADDING_GREY, dtype=np.uint8)
    seen_colours = np.full((len(seen), 3), PADDING_GREY, dtype=np.uint8)
    seen_colours[:, :count] = np.where(flat, PADDING_GREY, np.round(levels))
    colours[:, embedding.patch_mask] = seen_colours.reshape(embedding.grid[0], -1, 3)
    return colours


def _last_eigenvectors(matrix: np.ndarray, count: int) -> np.ndarray:
    """Those of the largest eigenvalues of a symmetric matrix `[D, D]`, ascending: `[D, count]`."""
    if len(matrix) <= FEW_CHANNELS:
        return np.linalg.eigh(matrix)[1][:, -count:]
    from scipy.sparse.linalg import eigsh  # Lanczos iterations take milliseconds where all 1024 would take a second

    start = np.random.default_rng(0).standard_normal(len(matrix))  # fixed: the same tokens give the same colours
    return eigsh(matrix, k=count, v0=start, tol=1e-8)[1]


def score_range(scores: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest score that the colours of a heatmap of these scores tell apart; NaN does not count."""
    low, high = np.nanpercentile(scores, SCORE_SPAN)
    return float(low), float(max(high, low + SCORE_SPAN_LEAST))


def colour_table() -> np.ndarray:
    """The colours of a heatmap, uint8 `[33, 3]`, evenly spaced from its lowest to its highest value.

    A path through OKLab (Björn Ottosson, 2020) from a dark violet over red and orange to a pale yellow: lightness
    rises evenly, so that equal steps of the score look equal and the order survives every colour blindness and print.
    """
    t = np.linspace(0.0, 1.0, 33)
    lightness = 0.16 + 0.81 * t
    hue = np.radians(-75.0 + 180.0 * t)
    chroma = 0.02 + 0.19 * np.sin(np.pi * np.clip(0.06 + 0.86 * t, 0, 1)) ** 0.9
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    to_lms = np.array(
        [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255.0).astype(np.uint8)


def pack(
    embedding: Embedding,
    clip: Clip,
    *,
    pca: bool = True,
    sheet_side: int = SHEET_SIDE,
    more: Sections | None = None,
    told: Mapping[str, Any] | None = None,
) -> bytes:
    """One clip for the patch viewer: frames, tokens and colours in one compact binary.

    Layout, little-endian: `b"VJPV"`, uint32 length of the header, the header (UTF-8 JSON, filled up with spaces), then
    the sections, each at a multiple of 4 bytes. `header["sections"][name]` has `offset` (from the first section),
    `bytes`, `dtype` and `shape`; N is T'·H'·W':

        sheet    jpeg              all frames, whole and upright, `header["sheet"]` says how they are laid out
        tokens   int8 [N, D]       the centred tokens, each divided by its scale and rounded
        scalars  float32 [4, N]    a token's scale, |centred|, centred · mean, |raw|
        mean     float32 [D]       the clip's mean token, which was subtracted
        mask     uint8 [H', W']    0 where the patch shows only padding
        pca      uint8 [N, 3]      `pca_colours`

    Only the direction of a token is rounded; lengths and products with the mean are exact, so that raw cosines,
    which the mean dominates, are as good as centred ones.

    Args:
        embedding, clip: what is shown.
        pca: whether its colours can be chosen.
        sheet_side: the longest side of a frame on the sheet, in pixels.
        more: further sections, as `section` makes them.
        told: what the header says of these.
    """
    tokens = embedding.tokens.reshape(-1, embedding.tokens.shape[-1])
    mean = embedding.pooled()
    seen = np.broadcast_to(embedding.patch_mask, embedding.grid).reshape(-1)
    centred = np.where(seen[:, None], tokens - mean, np.float32(0))
    scale = np.abs(centred).max(axis=1) / 127.0
    levels = np.rint(centred / np.where(scale > 0, scale, 1.0)[:, None]).astype(np.int8)
    norms = _norms(centred)
    norms[norms <= ZERO_NORM * _longest(embedding)] = 0.0
    raw_norms = np.where(seen, _norms(tokens), 0.0)
    scalars = np.stack([scale, norms, centred.astype(np.float64) @ mean.astype(np.float64), raw_norms])

    sheet, layout = _sheet(clip.frames, sheet_side)
    sections: dict[str, Section] = {
        "sheet": ("jpeg", [len(sheet)], sheet),
        "tokens": section(levels, "int8"),
        "scalars": section(scalars, "float32"),
        "mean": section(mean, "float32"),
        "mask": section(embedding.patch_mask, "uint8"),
    }
    if pca:
        sections["pca"] = section(pca_colours(embedding).reshape(-1, 3), "uint8")
    sections |= more or {}
    header = {
        **(told or {}),
        "format": FORMAT,
        "kind": clip.source.kind,
        "grid": list(embedding.grid),
        "dim": int(tokens.shape[1]),
        "timestamps": [round(float(t), 4) for t in embedding.timestamps],
        "duration": round(float(clip.source.duration), 4),
        "span": [round(float(clip.sampling.start), 4), round(float(_end_of(clip)), 4)],
        "frame_count": clip.source.frame_count,
        "first": first_patch(embedding, clip),
        "window": [float(x) for x in embedding.window],
        "source_size": list(embedding.source_size),
        "fit": embedding.fingerprint.fit,
        "checkpoint": embedding.fingerprint.checkpoint,
        "layer": embedding.layer,
        "sheet": layout,
        "colours": colour_table().tolist(),
    }
    return _assemble(header, sections)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of what `pack` gave, and its sections by name, in their shapes; a sheet is uint8 `[bytes]`."""
    start = len(MAGIC) + 4
    begin = start + struct.unpack("<I", data[start - 4 : start])[0]
    header = json.loads(data[start:begin])
    sections = {}
    for name, told in header["sections"].items():
        dtype = np.dtype("uint8" if told["dtype"] == "jpeg" else told["dtype"]).newbyteorder("<")
        at = begin + told["offset"]
        sections[name] = np.frombuffer(data[at : at + told["bytes"]], dtype).reshape(told["shape"])
    return header, sections


def first_patch(embedding: Embedding, clip: Clip) -> int:
    """The patch of the first step to begin with: on a thing that moves, rather than on the floor or a wall.

    It is chosen among those away from the border, near the middle before others, by how far its token is from the
    clip's mean, how few patches of the step are like it, and how much its pixels change in the next frames.

    Returns:
        Its index in the grid of the first step, row by row.
    """
    _, rows, cols = embedding.grid
    centred = embedding.tokens - embedding.pooled()
    norms = np.linalg.norm(centred[0], axis=-1)
    units = centred[0] / np.maximum(norms, 1e-12)[..., None]
    flat = units.reshape(rows * cols, -1)
    alike = ((flat @ flat.T) > 0.5).mean(axis=1).reshape(rows, cols)
    change = _change(embedding, clip)
    moves = np.sqrt(change / max(float(change.max()), LEAST_CHANGE))
    y, x = np.mgrid[:rows, :cols]
    middle = np.exp(-((((y + 0.5) / rows - 0.5) ** 2 + ((x + 0.5) / cols - 0.5) ** 2) / (2 * 0.3**2)))
    inner = (np.minimum(y, rows - 1 - y) >= rows // 6) & (np.minimum(x, cols - 1 - x) >= cols // 6)
    stands = norms * (1 - alike) ** 2 * (0.15 + moves) * middle
    return int(np.argmax(np.where(embedding.patch_mask, stands + 1e-9 * middle, -1.0) * np.where(inner, 1.0, 1e-6)))


def first_position(embedding: Embedding, clip: Clip) -> Position:
    """The (step, row, column) of `first_patch`."""
    row, col = divmod(first_patch(embedding, clip), embedding.grid[2])
    return 0, row, col


def _change(embedding: Embedding, clip: Clip) -> np.ndarray:
    """float `[H', W']`: how much the pixels of each patch change from the first frame to the second, fourth and eighth
    after it, in levels of 256, on a few points of each; 0 for an image."""
    _, rows, cols = embedding.grid
    height, width = clip.frames.shape[2:]
    left, top, right, bottom = embedding.window
    points = 4  # across a patch
    y = top + (np.arange(rows * points) + 0.5) * (bottom - top) / (rows * points)
    x = left + (np.arange(cols * points) + 0.5) * (right - left) / (cols * points)
    y = np.clip(y / embedding.source_size[1] * height, 0, height - 1).astype(int)
    x = np.clip(x / embedding.source_size[0] * width, 0, width - 1).astype(int)
    grey = clip.frames[:9][:, :, y][:, :, :, x].mean(axis=1)
    later = [np.abs(grey[k] - grey[0]) for k in (2, 4, 8) if k < len(grey)]
    mean = np.mean(later, axis=0) if later else np.zeros_like(grey[0])
    return mean.reshape(rows, points, cols, points).mean(axis=(1, 3))


def _end_of(clip: Clip) -> float:
    """Where the span that was sampled ends, in seconds."""
    duration, end = clip.source.duration, clip.sampling.end
    return duration if end is None else min(end, duration)


def _assemble(header: Mapping[str, Any], sections: Sections) -> bytes:
    table, offset = {}, 0
    for name, (dtype, shape, data) in sections.items():
        table[name] = {"offset": offset, "bytes": len(data), "dtype": dtype, "shape": shape}
        offset += math.ceil(len(data) / 4) * 4
    head = json.dumps({**header, "sections": table}, separators=(",", ":"), allow_nan=False).encode()
    head += b" " * (-len(head) % 4)
    out = io.BytesIO()
    out.write(MAGIC + struct.pack("<I", len(head)) + head)
    for _, _, data in sections.values():
        out.write(data + b"\0" * (-len(data) % 4))
    return out.getvalue()


def section(array: np.ndarray, dtype: str) -> Section:
    """An array as a section of `pack`: "int8", "uint8", "int32" or "float32"."""
    return dtype, list(array.shape), np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


def _sheet(frames: np.ndarray, side: int) -> tuple[bytes, dict[str, Any]]:
    """All frames `[T, 3, H, W]` on one JPEG, in reading order, at the best quality within the bytes allowed."""
    import torch
    from PIL import Image

    count, _, height, width = frames.shape
    shrink = min(1.0, side / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    small = torch.nn.functional.interpolate(torch.from_dlpack(frames), (height, width), mode="bilinear", antialias=True)
    columns = math.ceil(math.sqrt(count * height / width))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows * columns, height, width, 3), dtype=np.uint8)
    canvas[:count] = small.permute(0, 2, 3, 1).numpy()
    canvas = canvas.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    sheet = Image.fromarray(canvas.reshape(rows * height, columns * width, 3))
    # The first frame tells where to begin: writing the whole sheet at each quality would cost more than the rest of it.
    first = Image.fromarray(np.ascontiguousarray(canvas[0, :, 0]))
    begin = next((i for i, q in enumerate(JPEG_QUALITIES) if len(_jpeg(first, q)) <= SHEET_BYTES_PER_FRAME), 0)
    for quality in JPEG_QUALITIES[begin:]:
        data = _jpeg(sheet, quality)
        if len(data) <= SHEET_BYTES_PER_FRAME * max(count, 4):
            break
    return data, {"frames": count, "columns": columns, "width": width, "height": height}


def _jpeg(picture: Any, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _check_query(embedding: Embedding, at: Position) -> None:
    embedding.check_position(at)
    if not embedding.patch_mask[at[1], at[2]]:
        raise RequestError(
            f"The patch {','.join(map(str, at))} shows only padding: choose one on the picture, or another fit."
        )


def _alike(a: Embedding, b: Embedding) -> bool:
    def made(e: Embedding) -> tuple:
        return e.fingerprint.checkpoint, e.fingerprint.revision, e.layer, e.tokens.shape[-1]

    return made(a) == made(b)


def _directions(embedding: Embedding, centred: bool) -> np.ndarray:
    return embedding.tokens - embedding.pooled() if centred else embedding.tokens


def _mean(tokens: np.ndarray, positions: Sequence[Position]) -> np.ndarray:
    """float64 `[D]`: the mean of the tokens at these positions."""
    return np.asarray([tokens[position] for position in positions], dtype=np.float64).mean(axis=0)


def _norms(tokens: np.ndarray) -> np.ndarray:
    """float64, the lengths along the last axis."""
    return np.sqrt(np.einsum("...d,...d->...", tokens, tokens).astype(np.float64))


def _longest(embedding: Embedding) -> float:
    return float(_norms(embedding.tokens)[:, embedding.patch_mask].max(initial=0.0))
