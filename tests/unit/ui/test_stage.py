"""The scenes of a talk: made once for all who ask, one by one, whatever becomes of one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vjepa_demo import explore, scratch
from vjepa_demo.errors import MediaError, Stopped
from vjepa_demo.model import checkpoints
from vjepa_demo.ui import examples, stage
from vjepa_demo.ui.stage.scenes import Scene


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions of the scenes that were made, of four; one called "broken" cannot be, until it is mended."""
    made: list[str] = []
    known = tuple(Scene(Path("clip.mp4"), caption) for caption in ("one", "two", "broken", "four"))

    def show(scene: Scene, clips: Any) -> dict[str, Any]:
        if scene.caption == "broken":
            raise MediaError("This file cannot be read as a video.")
        made.append(scene.caption)
        return {"caption": scene.caption}

    monkeypatch.setattr(stage, "known_scenes", lambda: known)
    monkeypatch.setattr(stage, "_made", {})
    monkeypatch.setattr(stage, "_Clips", lambda say: None)
    monkeypatch.setattr(stage, "_show", show)
    return made


def test_one_that_fails_is_named_and_the_others_are_there(shown, caplog):
    *steps, last = stage.make_all()
    assert steps == [{"done": number, "of": 4} for number in range(4)]
    assert last["scenes"] == [{"caption": "one"}, {"caption": "two"}, None, {"caption": "four"}]
    assert last["missing"] == ["Scene 3 is missing. This file cannot be read as a video."]
    assert "Scene 3 is missing" in caplog.text


def test_what_is_made_is_made_once_and_what_failed_is_tried_again(shown, monkeypatch):
    list(stage.make_all())
    *steps, last = stage.make_all()
    assert shown == ["one", "two", "four"]
    assert steps == [{"done": 2, "of": 4}]
    assert [scene and scene["caption"] for scene in last["scenes"]] == ["one", "two", None, "four"]


def test_who_leaves_leaves_what_is_made_to_the_next(shown, monkeypatch):
    show = stage._show

    def stops(scene: Scene, clips: Any) -> dict[str, Any]:
        if scene.caption == "two":
            raise Stopped("Stopped.")
        return show(scene, clips)

    monkeypatch.setattr(stage, "_show", stops)
    with pytest.raises(Stopped):
        list(stage.make_all())
    monkeypatch.setattr(stage, "_show", show)
    list(stage.make_all())
    assert shown == ["one", "two", "four"]


def test_the_files_of_scenes_stay_whatever_their_age():
    file = stage._folder() / "scene.bin"
    file.write_bytes(b"scene")
    scratch.sweep(scratch.UPLOADS, 0.0, 0)
    assert file.is_file()
    file.unlink()


def test_a_scene_gets_its_map_once_the_references_are_embedded(shown, monkeypatch):
    """Who opens the stage before that and once more after it has the map, and the scenes are not made again."""
    rest = {"count": 128}
    monkeypatch.setattr(stage, "_unplaced", {Path("clip.mp4"): "kind"})
    monkeypatch.setattr(stage, "missing_references", lambda folder, kind: rest["count"])
    monkeypatch.setattr(stage, "_place", lambda scene, clips: f"map of {scene.clip}")
    list(stage.make_all())
    assert not any("map" in scene for scene in list(stage.make_all())[-1]["scenes"] if scene)
    rest["count"] = 0
    assert {scene["map"] for scene in list(stage.make_all())[-1]["scenes"] if scene} == {"map of clip.mp4"}
    assert shown == ["one", "two", "four"]


# --- the next start --------------------------------------------------------------------------------------------------

CLIP = examples.files()[0]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., stage._Clips]:
    """Clips of scenes as a start of the app has them, which may be one that must not embed anything."""
    monkeypatch.setattr(stage, "settings", replace(stage.settings, cache_dir=str(tmp_path / "cache")))
    embed = explore.embed

    def clips(*, idle: bool = False) -> stage._Clips:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("it has been embedded in an earlier start")

        monkeypatch.setattr(explore, "embed", refuse if idle else embed)
        return stage._Clips(explore.say_nothing)

    return clips


@pytest.mark.parametrize("layer", [None, 3])
def test_the_next_start_shows_the_same_and_embeds_nothing(start, layer):
    made, found = start().get(CLIP, layer), start(idle=True).get(CLIP, layer)
    assert found.viewer == made.viewer
    assert found.embedded.embedding.layer == made.embedded.embedding.layer == layer
    assert found.embedded.embedding.grid == made.embedded.embedding.grid
    np.testing.assert_array_equal(found.vector.array, made.vector.array)
    assert found.vector.kind == made.vector.kind


def test_the_next_start_places_a_clip_among_references_that_are_there(start):
    start().get(CLIP)
    assert stage._place(Scene(CLIP, "one"), start(idle=True))


def test_other_weights_another_file_or_a_damaged_one_are_embedded_anew(start, tmp_path, monkeypatch):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(CLIP.read_bytes())
    start().get(clip)
    (kept,) = (tmp_path / "cache" / "talk").iterdir()
    start(idle=True).get(clip)
    with monkeypatch.context() as other:
        other.setattr(checkpoints, "revision_of", lambda checkpoint, folder: "another")
        with pytest.raises(AssertionError, match="earlier start"):
            start(idle=True).get(clip)
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(AssertionError, match="earlier start"):
        start(idle=True).get(clip)
    start().get(clip)
    start(idle=True).get(clip)
    clip.write_bytes(examples.files()[1].read_bytes())
    with pytest.raises(AssertionError, match="earlier start"):
        start(idle=True).get(clip)


def test_where_nothing_can_be_kept_scenes_are_made_each_time(start, tmp_path, caplog):
    (tmp_path / "cache").write_bytes(b"in its place")
    assert start().get(CLIP).viewer == start().get(CLIP).viewer
    assert "not kept for the next start" in caplog.text
