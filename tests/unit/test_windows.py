"""A video window by window: as embedding each span by itself, and what a clip or a patch finds again in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo

from vjepa_demo import explore, windows
from vjepa_demo.cli import main
from vjepa_demo.errors import MediaError, RequestError
from vjepa_demo.options import Cut, Options

OPTIONS = Options("nano", frames=4, precision="fp32")
CUT = Cut(1.0, 0.5)


@pytest.fixture
def video(make_video: MakeVideo) -> Path:
    """Two seconds of bars, then two of a moving pattern."""
    scenes = "smptebars=s=64x64:r=8:d=2[a];testsrc2=s=64x64:r=8:d=2[b];[a][b]concat=n=2"
    return make_video("scenes.mp4", source=scenes, frames=32)


def test_each_window_is_its_span_and_the_cut_is_found(video: Path) -> None:
    said: list[str] = []
    found = windows.track(video, OPTIONS, CUT, progress=said.append)
    track = found.track
    assert track.spans.tolist() == [[begin / 2, begin / 2 + 1] for begin in range(7)]
    for (start, end), vector in zip(track.spans, track.vectors.array, strict=True):
        alone = explore.embed(video, Options("nano", 4, start, end, precision="fp32")).embedding.pooled()
        assert np.array_equal(vector, alone)
    assert len(track.scenes) == 2
    assert track.begins(track.scenes[1]) == pytest.approx(2, abs=CUT.stride)
    assert said[0] == "Window 1 of 7, at 0 s"
    assert found.json()["checkpoint"] == "nano"


def test_a_span_finds_itself_and_so_does_a_patch_of_it(video: Path) -> None:
    asked = windows.named(f"{video}#t=2.5,3.5", OPTIONS)
    of_clip = windows.track(video, OPTIONS, CUT, asked=asked).track
    assert np.argmax(of_clip.like) == 5
    assert of_clip.like[5] == pytest.approx(1, abs=1e-5)
    of_patch = windows.track(video, OPTIONS, CUT, asked=asked, at=(1, 3, 4)).track
    assert np.argmax(of_patch.like) == 5
    assert of_patch.best[5] == (1, 3, 4)
    assert of_patch.like[5] == pytest.approx(1, abs=1e-5)


def test_only_the_span_that_is_asked_for_is_cut(video: Path) -> None:
    found = windows.track(video, Options("nano", 4, start=1, end=3, precision="fp32"), CUT)
    assert found.track.spans.tolist() == [[1, 2], [1.5, 2.5], [2, 3]]


def test_a_part_that_cannot_be_read_is_left_out_and_told(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(path, options, **given):
        if options.start == 1:
            raise MediaError("The video breaks off.")
        return explore.embed(path, options, **given)

    monkeypatch.setattr(windows, "embed", embed)
    found = windows.track(video, OPTIONS, CUT)
    assert found.failures == ((1.0, "The video breaks off."),)
    assert [1.0, 2.0] not in found.track.spans.tolist()
    assert len(found.track.vectors.array) == len(found.track.spans) == 6
    monkeypatch.setattr(windows, "embed", lambda *given, **named: embed(video, Options(start=1)))
    with pytest.raises(MediaError, match="breaks off"):
        windows.track(video, OPTIONS, CUT)


def test_what_cannot_be_asked_is_told(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cut, words in ((Cut(4, 2), "4.00 s are a single window: take shorter ones"), (Cut(0, 2), "longer than 0 s")):
        with pytest.raises(RequestError, match=words):
            windows.track(video, OPTIONS, cut)
    with pytest.raises(RequestError, match="outside the grid"):
        windows.track(video, OPTIONS, CUT, asked=windows.named(f"{video}#t=0,1", OPTIONS), at=(9, 0, 0))
    with pytest.raises(RequestError, match="FILE#t=START,END"):
        windows.named(f"{video}#t=1.2.3,4", OPTIONS)
    assert main(["windows", str(video), "--checkpoint", "nano", "--at", "0,0,0"]) == 2
    assert "say of which one with --like" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "length"), [(3, 1), (10, 1.25), (32, 4), (200, 4), (3600, 60)])
def test_a_film_of_any_length_becomes_windows_that_can_be_looked_at(seconds: float, length: float) -> None:
    cut = windows.fitting(seconds)
    assert (cut.length, cut.stride) == (length, length / 2)
    assert 5 <= len(cut.spans(0, seconds)) <= 120


def test_a_picture_has_no_windows(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(RequestError, match="choose a video"):
        windows.track(tmp_path / "a.png", OPTIONS, CUT)


def test_in_the_shell(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["windows", str(video), "--checkpoint", "nano", "--frames", "4", "--precision", "fp32", "--window", "1"]
    assert main([*given, "--like", f"{video}#t=2.5,3.5", "--at", "1,3,4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scene 1, from about 0 s"
    assert sum(line.startswith("scene") for line in lines) == 2
    assert next(line for line in lines if "2.50 to" in line).endswith("like  1.000 at 1,3,4")
    assert main([*given, "--json", "--out", str(tmp_path / "w.npz")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["windows"]) == len(told["change"]) == 7
    assert told["failures"] == []
    with np.load(tmp_path / "w.npz") as saved:
        assert saved["vectors"].shape == (7, 192)
