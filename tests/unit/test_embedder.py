"""Options bound to a checkpoint: the same tokens as the encoder gives, and another one like it from a fingerprint."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from colours import MADE

from vjepa_demo import Embedder, Options, prepare, similarity
from vjepa_demo.embedder import _importing, sampling_of
from vjepa_demo.embedding import Embedding, Kind, Vector
from vjepa_demo.errors import CheckpointError, RequestError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.settings import ASSETS

UNUSUAL = Options("nano", frames=4, start=0.25, end=1.5, sampling="fps", fit="pad", precision="fp32")


def test_it_embeds_as_the_encoder_does(video: Path) -> None:
    embedder = Embedder.open(UNUSUAL)
    sampling = Sampling(4, "fps", 0.25, 1.5)
    expected = get_encoder("nano", precision="fp32").encode(read_clip(video, sampling), "pad", layer=3)
    found = embedder.embed(video, layer=3)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(embedder.embed(embedder.read(video), layer=3).tokens, expected.tokens)
    (made,) = embedder.embed_many([embedder.read(video)], layer=3)
    np.testing.assert_array_equal(made.tokens, expected.tokens)
    assert set(found.timings_ms) == {"decode", "preprocess", "encode"}
    assert found.fingerprint == expected.fingerprint == replace(embedder.fingerprint, layer=3)
    assert embedder.kind("motion") == Kind(embedder.fingerprint, "motion")


def test_a_fingerprint_says_how_to_embed_another_clip_like_it(video: Path) -> None:
    first = Embedder.open(UNUSUAL)
    again = Embedder.open(first.embed(video, layer=2).fingerprint.options)
    assert again.fingerprint == first.fingerprint
    assert again.encoder is first.encoder
    assert (again.sampling.start, again.sampling.end) == (0.0, None), "the span is the first clip's own"


def test_the_four_lines_of_the_readme() -> None:
    embedder = Embedder.open(Options(checkpoint="nano"))
    embedding = embedder.embed(ASSETS / "examples" / "cradle.mp4")
    heat = similarity(embedding, at=(0, 8, 8))
    assert (embedding.tokens.shape, heat.shape) == ((8, 16, 16, 192), (8, 16, 16))
    references = prepare(ASSETS / "references", embedder)
    assert len(references.compare(embedding.vector()).neighbours(5)) == 5
    for thing in (embedder.read(ASSETS / "examples" / "cradle.mp4"), embedding, embedding.vector(), references):
        assert repr(thing).startswith(type(thing).__name__)
        assert len(repr(thing)) < 120, "shapes, not pixels"
        assert thing == thing
        assert thing != references.compare(embedding.vector())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"checkpoint": "none"}, CheckpointError, "no checkpoint"),
        ({"frames": 3}, RequestError, "even"),
        ({"frames": 10**400}, RequestError, "At most"),
        ({"start": -1.0}, RequestError, "0 seconds or later"),
        ({"start": 2.0, "end": 1.0}, RequestError, "later than its start"),
        ({"sampling": "odd"}, RequestError, "'even' or 'fps'"),
        ({"fit": "stretch"}, RequestError, "crop, whole, squash or pad"),
        ({"precision": "fp8"}, RequestError, "auto, fp32 or bf16"),
        ({"hdr": "bright"}, RequestError, "'stored' or 'toned'"),
    ],
)
def test_options_that_cannot_be_met(change: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sampling_of(replace(Options("nano"), **change))  # type: ignore[arg-type]


def test_as_many_frames_as_the_checkpoint_was_trained_on() -> None:
    assert sampling_of(Options("nano")).frames == 16
    assert sampling_of(Options("facebook/vjepa2-vitl-fpc64-256")).frames == 64
    assert {option.name for option in fields(Options)} == {
        *("checkpoint", "frames", "start", "end", "sampling", "fit", "precision", "hdr")
    }


@pytest.mark.parametrize(
    ("frames", "times"),
    [
        (np.zeros((2, 3, 4, 4)), np.zeros(2)),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2)),
        (np.zeros((2, 3, 4), np.uint8), np.zeros(2)),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3)),
    ],
)
def test_a_clip_is_what_it_promises(frames: np.ndarray, times: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames"):
        Clip(frames, times, Source("video", 4, 4, "h264"), Sampling(2))


@pytest.mark.parametrize(
    ("tokens", "times"),
    [
        (np.zeros((2, 4, 4, 8)), np.zeros(4)),
        (np.zeros((2, 16, 8), np.float32), np.zeros(4)),
        (np.zeros((2, 4, 4, 8), np.float32), np.zeros(5)),
        (np.zeros((2, 4, 4, 8), np.float32), np.zeros((2, 2))),
    ],
)
def test_an_embedding_is_what_it_promises(tokens: np.ndarray, times: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"tokens|time steps"):
        Embedding(tokens, times, MADE.fingerprint, "cpu", (0, 0, 1, 1), (1, 1))


def test_the_path_is_each_time_steps_mean_without_padding() -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 4, 4, 5)).astype(np.float32)
    embedding = Embedding(tokens, np.zeros(6), MADE.fingerprint, "cpu", (0, -25, 100, 75), (100, 50))
    path = embedding.path()
    assert isinstance(path, Vector)
    assert path.kind == Kind(MADE.fingerprint, "mean")
    np.testing.assert_allclose(path.array, tokens[:, 1:3].mean(axis=(1, 2)), atol=1e-6)


def test_while_another_thread_imports_the_encoder_one_waits_with_a_word_and_can_leave() -> None:
    said: list[str] = []
    job = Job()
    with _importing, job.running():
        assert not Embedder.is_open(UNUSUAL)
        threading.Timer(0.3, job.stop).start()
        with pytest.raises(Stopped):
            Embedder.open(UNUSUAL, said.append)
    assert said == ["Loading the model"]
    Embedder.open(UNUSUAL, said.append)
    assert Embedder.is_open(UNUSUAL)
