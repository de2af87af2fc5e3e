"""The same bytes embedded in the same way are not computed twice; whatever differs is. Nano, real files."""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo, save_checkpoint

from vjepa_demo import explore
from vjepa_demo.embedder import Embedder
from vjepa_demo.errors import MediaError
from vjepa_demo.explore import Embedded
from vjepa_demo.jobs import Job, Visitor
from vjepa_demo.media.reader import read_clip
from vjepa_demo.memo import Memo
from vjepa_demo.options import Options
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.ui.result import seconds_of, summary
from vjepa_demo.views.similarity import pack

ALL = ("decode", "preprocess", "encode")


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often was decoded and encoded."""
    calls: Counter[str] = Counter()
    read, encode = explore.read_timed, Embedder.embed

    def counting_read(*arguments):
        calls["decoded"] += 1
        return read(*arguments)

    def counting_encode(*arguments):
        calls["encoded"] += 1
        return encode(*arguments)

    monkeypatch.setattr(explore, "read_timed", counting_read)
    monkeypatch.setattr(Embedder, "embed", counting_encode)
    return calls


@pytest.fixture
def options(small_checkpoint: Path) -> Options:
    return Options(str(small_checkpoint), frames=4, precision="fp32")


def same(found: Embedded, path: Path) -> None:
    """It is what is computed of the file without anything that is kept."""
    embedder = Embedder.open(found.options)
    clip = read_clip(path, embedder.sampling)
    expected = embedder.encoder.encode(clip, embedder.fit, found.embedding.layer)
    # Not to the last bit: by how many threads a product was shared depends on what else the process did then.
    np.testing.assert_allclose(found.embedding.tokens, expected.tokens, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.embedding.timestamps, expected.timestamps)
    np.testing.assert_array_equal(found.clip.frames, clip.frames)
    assert found.embedding.fingerprint == expected.fingerprint


def test_the_same_bytes_are_embedded_once_whatever_the_files_name(
    options: Options, video: Path, tmp_path: Path, calls
) -> None:
    first = explore.embed(video, options, pooling="mean")
    other = Path(shutil.copy(video, tmp_path / "other name.mov"))
    again = explore.embed(other, options, pooling="motion")
    assert calls == {"decoded": 1, "encoded": 1}
    same(again, video)
    assert again.embedding.tokens is first.embedding.tokens
    assert again.clip.frames is first.clip.frames
    assert again.parts == first.parts, "the page counts their bytes once"
    assert (first.name, again.name, again.path) == (video.name, "other name.mov", str(other))
    assert (first.pooling, again.pooling, again.auto) == ("mean", "motion", False)


def test_the_times_are_those_of_the_computation_and_it_is_told_which_are_of_before(
    options: Options, video: Path
) -> None:
    first = explore.embed(video, options)
    again = explore.embed(video, options)
    squashed = explore.embed(video, replace(options, fit="squash"))
    assert (first.embedding.kept, again.embedding.kept, squashed.embedding.kept) == ((), ALL, ("decode",))
    assert again.embedding.timings_ms == first.embedding.timings_ms
    assert again.embedding.meta()["kept"] == list(ALL)
    assert seconds_of(again) == seconds_of(first) > 0, "what another clip would cost is still known"
    assert summary(first).count("(kept)") == 0
    assert summary(again).count("(kept)") == 3


def test_a_change_of_fit_or_layer_back_and_forth_is_computed_once(options: Options, video: Path, calls) -> None:
    squash = replace(options, fit="squash")
    for way in (options, squash, options, squash):
        same(explore.embed(video, way), video)
    assert calls == {"decoded": 1, "encoded": 2}
    shown = explore.embed(video, options)
    for layer in (2, None, 2):
        shown = explore.at_layer(shown, layer)
        same(shown, video)
    assert calls == {"decoded": 1, "encoded": 3}
    assert shown.embedding.kept == ALL
    same(explore.alike(video, shown), video)
    assert calls == {"decoded": 1, "encoded": 3}


def test_another_span_is_another_clip_although_its_fingerprint_is_the_same(
    options: Options, video: Path, calls
) -> None:
    late = replace(options, start=1.0)
    first, second = explore.embed(video, options), explore.embed(video, late)
    assert first.embedding.fingerprint == second.embedding.fingerprint
    same(second, video)
    assert calls == {"decoded": 2, "encoded": 2}
    same(explore.at_layer(second, 1), video)
    same(explore.at_layer(first, 1), video)
    assert calls["encoded"] == 4


def test_another_precision_or_revision_is_embedded_anew(options: Options, video: Path, tmp_path: Path, calls) -> None:
    half = replace(options, precision="bf16")
    for way in (options, half, options):
        same(explore.embed(video, way), video)
    assert calls == {"decoded": 1, "encoded": 2}
    own = replace(options, checkpoint=str(tmp_path / "own"))
    for seed in (0, 1):
        save_checkpoint(tmp_path / "own", seed=seed)
        forget_encoders()
        same(explore.embed(video, own), video)
        assert calls == {"decoded": 1, "encoded": 3 + seed}


def forget_encoders() -> None:
    from vjepa_demo.model import encoder

    encoder._kept.clear()
    encoder._all.clear()


def test_changed_bytes_under_the_same_name_size_and_time_are_embedded_anew(
    options: Options, make_video: MakeVideo, tmp_path: Path
):
    path = tmp_path / "clip.mp4"
    for number in range(2):
        source = make_video("b.mp4", filters=("negate",) * number, options=("-movflags", "+faststart"))
        data = source.read_bytes()
        path.write_bytes(data + bytes(20_000 - len(data)))
        os.utime(path, (1e9, 1e9))
        same(explore.embed(path, options), path)


def test_a_file_that_changed_while_it_was_read_is_not_kept(
    options: Options, video: Path, photo: Path, tmp_path: Path, calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "clip", video.read_bytes()
    path.write_bytes(data)
    read = explore.read_timed

    def changing(*arguments):
        path.write_bytes(photo.read_bytes())
        return read(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(explore, "read_timed", changing)
        assert explore.embed(path, options).clip.is_image
    path.write_bytes(data)
    same(explore.embed(path, options), video)
    assert calls == {"decoded": 2, "encoded": 2}


def test_what_fails_is_not_kept(options: Options, tmp_path: Path, video: Path, calls) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:3000])
    for _ in range(2):
        with pytest.raises(MediaError):
            explore.embed(cut, options)
    assert calls == {"decoded": 2}
    assert explore.kept.bytes_held == 0
    with pytest.raises(MediaError, match="no such file"):
        explore.embed(tmp_path / "missing.mp4", options)


def test_nobody_can_write_to_what_is_shared(options: Options, video: Path) -> None:
    found = explore.embed(video, options)
    for array in (found.clip.frames, found.clip.timestamps, found.embedding.tokens, found.embedding.timestamps):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert explore.embed(video, replace(options, fit="pad")).embedding.kept == ("decode",)
        assert pack(found.embedding, found.clip)


def test_the_bytes_that_are_kept_are_bounded(
    options: Options, video: Path, calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = explore.embed(video, options)
    size = explore.kept.bytes_held
    assert size == sum(
        array.nbytes
        for array in (once.clip.frames, once.clip.timestamps, once.embedding.tokens, once.embedding.timestamps)
    )
    monkeypatch.setattr(explore, "kept", Memo(explore.kept._seal, max_bytes=2 * size))
    for start in (0.0, 0.1, 0.2, 0.3, 0.4):
        explore.embed(video, replace(options, start=start))
        assert explore.kept.bytes_held <= 2 * size
    calls.clear()
    for start, count in ((0.4, 0), (0.3, 0), (0.0, 1)):
        explore.embed(video, replace(options, start=start))
        assert calls["encoded"] == count
    monkeypatch.setattr(explore, "settings", replace(settings, memo_bytes=0))
    calls.clear()
    assert explore.embed(video, options).content is None
    explore.embed(video, options)
    assert calls == {"decoded": 2, "encoded": 2}


def test_two_who_ask_for_the_same_at_the_same_time_wait_for_one_computation(
    options: Options, video: Path, calls
) -> None:
    begin = threading.Barrier(4)
    found: list[Embedded] = []

    def ask(number: int) -> None:
        with Job(Visitor(f"10.0.0.{number}", "s")).running():
            begin.wait(10)
            found.append(explore.embed(video, options if number % 2 else replace(options, fit="squash")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4, "and nobody waits for ever"
    assert calls == {"decoded": 1, "encoded": 2}
    for result in found:
        same(result, video)


def test_strangers_share_nothing_but_what_is_shipped(
    options: Options, video: Path, calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore, "settings", replace(settings, public=True))
    example = ASSETS / "examples" / "cradle.mp4"
    for path, encoded in ((video, 2), (example, 3)):
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
            with Job(Visitor(address, "s")).running():
                explore.embed(path, options)
        assert calls == {"decoded": encoded, "encoded": encoded}
