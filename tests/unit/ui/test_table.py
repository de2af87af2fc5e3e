"""A table as the references of the page: what it begins with, what is refused, and what its addresses lead to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_tables import KIND, clustered, write_table
from starlette.applications import Starlette
from starlette.testclient import TestClient

from vjepa_demo.embedding import Embedding
from vjepa_demo.errors import FingerprintMismatch, UserError
from vjepa_demo.explore import Embedded, say_nothing
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.options import Options, Sampling
from vjepa_demo.scale import large
from vjepa_demo.settings import Settings
from vjepa_demo.ui import serving, table
from vjepa_demo.ui.reference_map import key_of

pytest.importorskip("lance", reason="the extra for jobs is not installed: make scale")

VECTORS, LABELS = clustered(40, 8, 4, seed=1)
JPEG = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the settings that the app would have been started with."""

    def given(references: str | Path, **more: str) -> None:
        monkeypatch.setattr(table, "settings", Settings(references=str(references), **more))
        table.table.cache_clear()

    yield given
    table.table.cache_clear()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42, and in a.mp4")
    (tmp_path / "secret.txt").write_bytes(b"what nobody may see")
    path = tmp_path / "clips.lance"
    uris = ["a.mp4", "secret.txt", "s3://bucket/b.mp4", None, *[f"gone{n}.mp4" for n in range(36)]]
    write_table(path, VECTORS, LABELS, uri=uris, thumbnail=[JPEG, None, b"<script>", *[None] * 37])
    large.settle(str(path))
    return path


def test_a_folder_of_clips_is_no_table(given, tmp_path: Path) -> None:
    for references in ("", tmp_path, "hf://datasets/a/b"):
        given(references)
        assert table.table() is None
        assert table.options() is None
        assert table.choice() is None
        asked = {"checkpoint": "auto", "precision": "auto"}
        assert table.like(asked) == asked


def test_what_cannot_be_shown_is_refused_in_a_sentence(given, written: Path, tmp_path: Path, monkeypatch) -> None:
    def refused(words: str, references: str | Path = written, **more: str) -> None:
        given(references, **more)
        with pytest.raises(UserError, match=words):
            table.table()

    refused("check the path", tmp_path / "none.lance")
    refused("lies on this machine", "s3://bucket/clips.lance")
    refused("embedded with nano: leave VJEPA_DEMO_CHECKPOINT unset", checkpoint="facebook/vjepa2-vitl-fpc64-256")
    (tmp_path / "other" / "_versions").mkdir(parents=True)
    refused("check the path", tmp_path / "other")
    write_table(tmp_path / "bare.lance", VECTORS, LABELS)
    refused("no place on its map.*references index", tmp_path / "bare.lance")
    write_table(tmp_path / "unknown.lance", VECTORS, LABELS, kind=None)
    refused("Nobody knows how", tmp_path / "unknown.lance")
    monkeypatch.setattr(large, "EXACT", 30)
    refused("no index: make one with `references index`", tmp_path / "bare.lance")
    monkeypatch.setattr("vjepa_demo.cli.scale.find_spec", lambda name: None)
    refused(r"pip install -r requirements-scale\.txt")


def test_clips_are_embedded_as_the_table_was(given, written: Path) -> None:
    given(written)
    assert table.options() == Options("nano", 16, sampling="even", fit="whole", precision="fp32")
    chosen = table.choice()
    assert chosen
    assert chosen.checkpoint.id == "nano"
    assert table.like({"checkpoint": "auto", "precision": "auto"}) == {"checkpoint": "nano", "precision": "fp32"}
    assert table.like({"checkpoint": "nano", "precision": "bf16"}) == {"checkpoint": "nano", "precision": "bf16"}
    other = {"checkpoint": "facebook/vjepa2-vitl-fpc64-256", "precision": "auto"}
    assert table.like(other) == other


def embedded(vector: np.ndarray, **made: str) -> Embedded:
    """A clip all of whose tokens are one vector, embedded as the table's, but for some ways."""
    tokens = np.tile(vector, (8, 2, 2, 1)).astype(np.float32)
    times = np.arange(16) / 4
    embedding = Embedding(tokens, times, replace(KIND.fingerprint, **made), "cpu", (0, 0, 64, 64), (64, 64))
    source = Source("video", 64, 64, "h264", 4.0)
    return Embedded(
        Clip(np.zeros((16, 3, 64, 64), np.uint8), times, source, Sampling(16)), embedding, "motion", "a.mp4"
    )


def test_a_clip_is_compared_by_the_mean_whichever_way_its_checkpoint_has(given, written: Path) -> None:
    given(written)
    found = table.compare(embedded(VECTORS[9]), written, say_nothing)
    assert found.comparison.neighbours(1)[0].index == 9
    assert (found.embedded.pooling, found.embedded.auto) == ("mean", False)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"fit": "crop"}, "Choose nano, 16 frames, spread evenly, whole under Settings"),
        ({"sampling": "fps-32"}, "Choose nano, 16 frames"),
        ({"revision": "2"}, "build the table anew"),
    ],
)
def test_a_clip_of_another_kind_is_told_what_to_do(given, written: Path, made: dict[str, str], words: str) -> None:
    given(written)
    with pytest.raises(FingerprintMismatch, match=words):
        table.compare(embedded(VECTORS[9], **made), written, say_nothing)


def test_only_what_the_table_names_has_an_address(given, written: Path) -> None:
    given(written)
    found = table.table()
    assert found
    key = key_of(found)
    assert key == key_of(large.opened(str(written))), "browsers keep what they have"
    client = TestClient(Starlette(routes=serving.ROUTES))

    def get(name: str, **headers: str) -> tuple[int, bytes]:
        answer = client.get(f"/references/{key}/{name}", headers=headers)
        return answer.status_code, answer.content

    told = client.get(f"/references/{key}/set.json").json()
    assert (told["count"], told["points"], sorted(told["labels"])) == (40, 40, sorted(found.points.labels))
    assert get("points.bin") == (200, found.points.packed())
    assert client.get(f"/references/{key}/0.json").json() == found.about([0])[0]
    assert get("0", Range="bytes=21-25") == (206, b"a.mp4")
    assert client.get(f"/references/{key}/0").headers["content-type"] == "video/mp4"
    assert get("0.jpg") == (200, JPEG)
    for answer in (client.get(f"/references/{key}/{name}") for name in ("0", "0.jpg", "points.bin")):
        assert "sandbox" in answer.headers["content-security-policy"]
    gone = ("1", "2", "3", "4", "40", "40.json", "40.jpg", "-1", "1.jpg", "2.jpg", "3.jpg", "0.mp4", "0.json.json", "²")
    for name in (*gone, "", "a.mp4", "..%2fsecret.txt", "%2e%2e%2fsecret.txt", "points.json", "99999999999.json"):
        assert get(name)[0] == 404, name


def test_the_app_without_a_table_does_not_load_what_tables_need() -> None:
    code = "import sys, vjepa_demo.ui.page\nassert not {'lance', 'vjepa_demo.scale.large'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
