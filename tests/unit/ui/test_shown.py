"""What is done with the clip that is shown, through the page's own handlers: nano, real files, values read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import finish

from vjepa_demo import explore
from vjepa_demo.embedder import Embedder
from vjepa_demo.explore import Embedded
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Options
from vjepa_demo.ui import shown
from vjepa_demo.ui.result import keep, results
from vjepa_demo.views.heatmap import Mark
from vjepa_demo.views.loop import heat_loop
from vjepa_demo.views.similarity import first_patch, pack, similarity
from vjepa_demo.views.snippet import snippet

QUERY = {"pinned": True, "add": [{"clip": 0, "at": [1, 4, 7]}], "subtract": [], "centred": True, "range": [-0.2, 0.6]}


@pytest.fixture(scope="module")
def result(video: Path) -> Embedded:
    """The clip, embedded in an unusual way, so that a default in its place would show."""
    return explore.embed(video, Options("nano", frames=4, start=0.25, end=1.5, fit="squash"))


@pytest.fixture
def result_id(result: Embedded) -> str:
    return keep(result)


def last(handler: Callable[..., Any], *inputs: Any, read: Callable[[Any], Any] = lambda value: value) -> Any:
    """What the last update holds, read while the files that it names are there."""

    async def listen() -> Any:
        value = None
        async for update in handler(*inputs):
            value = [read(item) for item in update]
        return value

    return finish(listen())


def content(value: Any) -> Any:
    """The bytes of the files that an update names, by their part in the viewer; other values as they are."""
    if isinstance(value, str) and Path(value).is_file():
        return Path(value).read_bytes()
    if not isinstance(value, dict) or "primary" not in value:
        return value
    return {part: value[part] and Path(value[part]["path"]).read_bytes() for part in ("primary", "compare")}


def test_another_layer_is_shown_of_the_same_clip_and_kept(result: Embedded, result_id: str) -> None:
    status, viewer, kept, link, _ = last(shown.change_layer, result_id, 5, read=content)
    assert link["made"]["layer"] == 5
    assert "Layer 5" in status
    other = results.get(kept)
    assert other is not None
    assert other.clip is result.clip
    assert other.embedding.layer == 5
    expected = get_encoder("nano", precision=result.embedding.fingerprint.precision).encode(
        result.clip, "squash", layer=5
    )
    np.testing.assert_allclose(other.embedding.tokens, expected.tokens, atol=1e-5)
    assert viewer["primary"] == pack(other.embedding, other.clip)
    assert viewer["primary"] != pack(result.embedding, result.clip)
    status, viewer, kept, _, second = last(
        shown.change_layer, kept, Embedder.open(Options("nano")).layers, read=content
    )
    assert "The last layer" in status
    assert second is None
    assert viewer["primary"] == pack(result.embedding, result.clip)


def test_a_second_clip_is_embedded_as_the_first_was_and_leaves_again(
    result: Embedded, result_id: str, photo: Path, make_video: Any
) -> None:
    second = make_video("second.mp4", size="96x64", frames=20)
    status, viewer = last(shown.compare, result_id, str(second), read=content)
    assert "looked for in both" in status
    alike = explore.alike(second, result)
    assert alike.embedding.fingerprint == result.embedding.fingerprint
    assert viewer == {
        "primary": pack(result.embedding, result.clip),
        "compare": pack(alike.embedding, read_clip(second, alike.clip.sampling)),
    }
    assert last(shown.compare, result_id, str(photo), read=content)[1]["compare"], "and a photo beside a film"
    _, viewer = last(shown.compare, result_id, None, read=content)
    assert viewer["compare"] is None


def test_a_second_clip_that_is_none_leaves_the_first(result_id: str, tmp_path: Path) -> None:
    (tmp_path / "second.mp4").write_text("no clip")
    status, viewer = last(shown.compare, result_id, str(tmp_path / "second.mp4"))
    assert "neither a video nor an image" in status
    assert "primary" not in viewer


def test_the_embedding_is_taken_home(result: Embedded, result_id: str, tmp_path: Path) -> None:
    _, data = last(shown.take_embedding, result_id, read=content)
    (tmp_path / "embedding.npz").write_bytes(data)
    with np.load(tmp_path / "embedding.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["tokens"], result.embedding.tokens)
        np.testing.assert_array_equal(file["timestamps"], result.clip.timestamps)


def test_the_film_shows_the_pinned_patch(result: Embedded, result_id: str, tmp_path: Path) -> None:
    for query in (None, {**QUERY, "pinned": False}):
        assert "click on one first" in last(shown.take_video, result_id, query)[0]
    _, data = last(shown.take_video, result_id, QUERY, read=content)
    (tmp_path / "film.mp4").write_bytes(data)
    film = read_clip(tmp_path / "film.mp4")
    assert film.source.kind == "video"
    scores = shown.pinned_scores(result, QUERY)
    np.testing.assert_array_equal(scores, similarity(result.embedding, (1, 4, 7), centred=True))
    assert scores[1, 4, 7] == pytest.approx(1, abs=1e-5)


MINUS = {"clip": 0, "at": [0, 2, 2]}
ELSEWHERE = {**QUERY, "add": [{"clip": 1, "at": [0, 0, 0]}]}


@pytest.mark.parametrize(
    ("ending", "query", "centred", "ends", "marks"),
    [
        (".gif", QUERY, True, (-0.2, 0.6), [Mark(1, 4, 7)]),
        (".webp", {**QUERY, "centred": False}, False, (-0.2, 0.6), [Mark(1, 4, 7)]),
        (".mp4", {**QUERY, "subtract": [MINUS]}, True, (-0.2, 0.6), [Mark(1, 4, 7, 1), Mark(0, 2, 2, -1)]),
        (".webp", None, True, None, None),
        (".gif", {**QUERY, "pinned": False, "centred": False}, False, None, None),
        (".gif", ELSEWHERE, True, None, None),
    ],
    ids=["pinned", "raw", "subtracted", "untouched", "not pinned", "in the second clip"],
)
def test_the_loop_is_what_the_viewer_shows(
    result: Embedded, result_id: str, tmp_path: Path, ending: str, query: Any, centred: bool, ends: Any, marks: Any
) -> None:
    embedding = result.embedding
    first = divmod(first_patch(embedding, result.clip), embedding.grid[2])
    at = marks[0][:3] if marks else (0, *first)
    subtract = [mark[:3] for mark in marks or () if mark.sign < 0]
    scores = similarity(embedding, at, subtract=subtract, centred=centred)
    expected = tmp_path / f"expected{ending}"
    heat_loop(result.clip, embedding, scores, expected, marks or [Mark(*at)], centred=centred, ends=ends)

    def read(value: Any) -> Any:
        return (Path(value).name, Path(value).read_bytes()) if str(value).endswith(ending) else value

    said, (name, data) = last(shown.take_loop(ending), result_id, query, read=read)
    assert name == f"moving-loop{ending}"
    assert data == expected.read_bytes()
    assert (f"row {first[0]}, column {first[1]}" in said) == (marks is None), "whose heat it is that nobody chose"


def test_the_snippet_is_about_this_clip_and_the_pinned_patch(result: Embedded, result_id: str) -> None:
    for query, at in ((QUERY, (1, 4, 7)), (None, None)):
        assert last(shown.take_snippet, result_id, query)[1] == snippet(result.embedding, result.clip, at, result.name)
    assert 'FILE = "moving.mp4"' in snippet(result.embedding, result.clip, None, result.name)
