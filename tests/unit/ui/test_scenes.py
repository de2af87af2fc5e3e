"""The file of scenes: what is read from it, and one clear sentence for what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vjepa_demo.errors import ScenesError
from vjepa_demo.settings import ASSETS
from vjepa_demo.ui.stage import scenes
from vjepa_demo.ui.stage.scenes import SHIPPED, read

SCENE = {"clip": "dominoes", "caption": "What looks like this patch?"}


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "scenes.json"
    path.write_text(json.dumps(lines), encoding="utf-8")
    return path


def test_the_shipped_scenes_are_eight_and_use_all_that_a_scene_may_have():
    found = read(SHIPPED)
    assert len(found) == 8
    assert all(scene.clip.is_file() and scene.caption and scene.patches for scene in found)
    assert any(scene.second for scene in found)
    assert any(scene.layer for scene in found)
    assert {scene.map for scene in found} == {"similarity", "pca"}
    assert len({scene.caption for scene in found}) == 8
    text = SHIPPED.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 8 + 2, "one line each"


def test_a_clip_is_a_file_beside_the_scenes_or_an_example(tmp_path):
    (tmp_path / "own.mp4").write_bytes(b"")
    first, second = read(write(tmp_path, SCENE, {**SCENE, "clip": "own.mp4", "second": "cloth"}))
    assert first.clip == ASSETS / "examples" / "dominoes.mp4"
    assert (second.clip, second.second) == (tmp_path / "own.mp4", ASSETS / "examples" / "cloth.mp4")


def test_a_scene_becomes_a_state_of_the_viewer(tmp_path):
    line = {**SCENE, "patches": [[0, 8, 3], [1, 2, 3, -1]], "map": "pca", "heat": 0.5, "step": 2}
    state = read(write(tmp_path, line))[0].state((8, 16, 16))
    assert state["patches"] == [{"at": [0, 8, 3]}, {"at": [1, 2, 3], "sign": -1}]
    assert (state["map"], state["heat"], state["step"]) == ("pca", 0.5, 2)
    (scene,) = read(write(tmp_path, {**SCENE, "patches": [[3, 1, 1]]}))
    assert scene.state((8, 16, 16))["step"] == 3, "the step of the query is shown where none is named"


def test_patches_hold_for_another_grid(tmp_path):
    (scene,) = read(write(tmp_path, {**SCENE, "grid": [8, 16, 16], "patches": [[7, 0, 15]], "step": 4}))
    assert scene.state((8, 16, 16))["patches"] == [{"at": [7, 0, 15]}]
    assert scene.state((32, 24, 24))["patches"] == [{"at": [30, 0, 23]}]
    assert scene.state((32, 24, 24))["step"] == 18
    assert scene.state((1, 2, 2))["patches"] == [{"at": [0, 0, 1]}]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "a list of 1 to"),
        ([SCENE] * (scenes.MOST_SCENES + 1), "a list of 1 to"),
        ([SCENE, "dominoes"], "Scene 2 .* an object"),
        ([{"clip": "dominoes"}], 'Scene 1 .*"caption" is missing'),
        ([{"caption": "x"}], 'Scene 1 .*"clip" is missing'),
        ([SCENE, {**SCENE, "clip": "nobody.mp4"}], "Scene 2 .*no file beside it is called 'nobody.mp4'"),
        ([{**SCENE, "second": "nobody.mp4"}], "no file beside it"),
        ([{**SCENE, "clip": 3}], '"clip" has to be the name'),
        ([{**SCENE, "patch": [0, 0, 0]}], "there is no 'patch', but clip"),
        ([{**SCENE, "patches": [[0, 1]]}], '"patches" has to be a list of'),
        ([{**SCENE, "patches": [[0, 1, -1]]}], '"patches" has to be a list of'),
        ([{**SCENE, "patches": [[0, 1, 1, 2]]}], '"patches" has to be a list of'),
        ([{**SCENE, "patches": [[0, 1, 1, -1]]}], "not subtracted"),
        ([{**SCENE, "patches": [[0, 1, 16]], "grid": [8, 16, 16]}], 'outside its "grid"'),
        ([{**SCENE, "grid": [8, 0, 16]}], '"grid" has to be'),
        ([{**SCENE, "heat": 1.5}], '"heat" has to be a number from 0 to 1, not .1.5'),
        ([{**SCENE, "heat": True}], '"heat" has to be'),
        ([{**SCENE, "map": "surprise"}], '"map" has to be "similarity" or "pca"'),
        ([{**SCENE, "step": -1}], '"step" has to be'),
        ([{**SCENE, "layer": "last"}], '"layer" has to be'),
        ([{**SCENE, "caption": "x" * 121}], '"caption" has to be at most 120 characters'),
    ],
)
def test_what_is_wrong_is_said_with_its_scene(tmp_path, lines, words):
    with pytest.raises(ScenesError, match=words) as error:
        read(write(tmp_path, *lines))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[\n{"clip": "dominoes"\n"caption": "x"}]', "no JSON: line 3"),
        (b"\xff\xfe[]", "no JSON in UTF-8"),
        (b"[" * 50_000, "no JSON"),
        (b'{"clip": "dominoes"}', "a list of"),
        (b" " * (scenes.MOST_BYTES + 1), "longer than"),
    ],
)
def test_a_file_that_is_none_is_said(tmp_path, data, words):
    path = tmp_path / "scenes.json"
    path.write_bytes(data)
    with pytest.raises(ScenesError, match=words):
        read(path)


def test_a_missing_file_is_said(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ScenesError, match="cannot be read"):
            read(path)
