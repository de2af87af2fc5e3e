"""What the page opens with: at once as it is shipped, and as it is embedded here from when the model is there."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo import free_port

from vjepa_demo import explore, jobs
from vjepa_demo.errors import CheckpointError, MediaError
from vjepa_demo.explore import Embedded
from vjepa_demo.jobs import Door, Job, Later, Visitor
from vjepa_demo.model import checkpoints
from vjepa_demo.settings import Settings
from vjepa_demo.ui import opening, result
from vjepa_demo.ui.link import view_of
from vjepa_demo.ui.opening import Opening

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "torchvision", "torchcodec", "transformers", "numba", "umap", "scipy", "sklearn")
START = f"""if 1:
    import sys, urllib.request
    from vjepa_demo.ui import opening
    from vjepa_demo.ui.page import build, launch_options
    demo = build()
    demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    for name in ("", "examples.jpg", "health"):
        assert urllib.request.urlopen(f"http://127.0.0.1:{{demo.server_port}}/{{name}}").status == 200
    view = next(opening.first_paint())
    heavy = set({HEAVY!r}) & set(sys.modules)
    assert not heavy, heavy
    assert view["map"]["clip"]["neighbours"] and view["result"], view
    assert not opening.opening().coming.over
    opening.load_soon()
    assert opening.opening().coming.wait(200)
    assert {{"torch"}} == {{"torch", "torchvision", "transformers"}} & set(sys.modules)
    assert opening.opening().example.embedding.timings_ms
    demo.close()
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opening]:
    """As on a machine without a GPU, before the model is loaded."""
    monkeypatch.setattr(opening, "settings", Settings(device="cpu"))
    opened = opening.opening.__wrapped__()
    monkeypatch.setattr(opening, "opening", lambda: opened)
    opening.first_view.cache_clear()
    monkeypatch.setattr(opening, "_placed", None)
    yield opened
    opening.first_view.cache_clear()


def test_nothing_heavy_is_loaded_before_the_page_is_answered(tmp_path: Path) -> None:
    env = {"VJEPA_DEMO_DEVICE": "cpu", "VJEPA_DEMO_CACHE_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    env |= {"VJEPA_DEMO_SCRATCH_DIR": str(tmp_path), "VJEPA_DEMO_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_page_shows_what_is_shipped_and_computes_with_what_is_embedded(fresh: Opening) -> None:
    assert fresh.packed
    view = next(opening.first_paint())
    assert not fresh.coming.over, "nobody waited for it"
    assert "embedded beforehand" in view["summary"]
    assert "[1, 2048, 192]" in view["summary"]
    said: list[str] = []
    found = result.shown(view["result"], said.append)
    assert said == ["Loading the model"]
    assert found is fresh.example
    assert found.embedding.timings_ms
    assert view_of(found) == view["link"]["view"] == view["viewer"]["view"], "it is the clip that the page shows"
    assert (found.path, found.options) == (fresh.packed.embedded.path, fresh.packed.embedded.options)
    assert result.there(view["result"]) is found
    again = next(opening.first_paint())
    assert {name: again[name] for name in ("summary", "map", "result")} == {
        name: view[name] for name in ("summary", "map", "result")
    }, "and looks as it did"


def test_what_is_still_coming_is_not_there(fresh: Opening) -> None:
    view = next(opening.first_paint())
    assert result.there(view["result"]) is None
    assert not fresh.coming.over


def test_a_model_that_cannot_be_loaded_is_told(fresh: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Embedded:
        raise MediaError("There is no such clip.")

    monkeypatch.setattr(opening, "_embed_example", fails)
    views = opening.first_paint()
    first = next(views)
    assert "Point at any patch" in first["status"]
    fresh.coming.begin()
    (after,) = views
    assert "There is no such clip." in after["status"]
    assert "alert" in after["status"]
    with pytest.raises(CheckpointError, match="no such clip"):
        result.shown(first["result"], explore.say_nothing)
    later = next(opening.first_paint())
    assert "There is no such clip." in later["status"]
    assert later["viewer"] == first["viewer"], "what needs no model is there"


def test_a_page_hears_nothing_more_where_the_model_is_loaded(fresh: Opening) -> None:
    fresh.coming.get()
    _, *rest = opening.first_paint()
    assert rest == [{}]


@pytest.mark.parametrize(
    ("limits", "gpu"),
    [(Settings(device="cuda"), False), (Settings(device="mps"), False), (Settings(), True)],
    ids=["cuda", "mps", "perhaps a GPU"],
)
def test_where_another_device_may_be_used_the_example_is_embedded_first(limits, gpu, monkeypatch) -> None:
    monkeypatch.setattr(opening, "settings", limits)
    monkeypatch.setattr(checkpoints, "may_have_gpu", lambda: gpu)
    assert opening._packed() is None


def test_what_may_be_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoints.sys, "platform", "linux")
    monkeypatch.setattr(checkpoints, "GPU_SIGNS", (str(tmp_path / "nvidia*"),))
    monkeypatch.setattr(checkpoints, "PCI", str(tmp_path / "*/vendor"))
    assert not checkpoints.may_have_gpu()
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "vendor").write_text("0x8086\n")
    assert not checkpoints.may_have_gpu()
    (tmp_path / "card" / "vendor").write_text("0x10de\n")
    assert checkpoints.may_have_gpu(), "its driver is not loaded yet"
    (tmp_path / "card" / "vendor").unlink()
    (tmp_path / "nvidia3").touch()
    assert checkpoints.may_have_gpu()
    (tmp_path / "nvidia3").unlink()
    monkeypatch.setattr(checkpoints.sys, "platform", "darwin")
    assert checkpoints.may_have_gpu()


def test_the_model_is_loaded_when_a_page_is_answered_or_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, usual = threading.Event(), sys.getswitchinterval()
    monkeypatch.setattr(jobs, "door", Door())
    monkeypatch.setattr(opening, "opening", lambda: Opening(checkpoints.default(), Later(begun.set)))
    monkeypatch.setattr(opening, "_answered", threading.Event())
    monkeypatch.setattr(opening, "SOON_S", 0.3)
    monkeypatch.setattr(opening, "QUIET_S", 0.1)
    opening.load_soon().join(5)
    assert begun.is_set()
    begun.clear()
    monkeypatch.setattr(opening, "SOON_S", 60.0)
    thread = opening.load_soon()
    assert not begun.wait(0.5), "a page may be on its way"
    opening._answered.set()
    thread.join(5)
    assert begun.is_set()
    assert gc.isenabled()
    assert sys.getswitchinterval() == usual


def test_the_example_lets_what_a_visitor_asked_for_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "door", Door())
    loaded, begun = threading.Event(), threading.Event()
    first = Opening(checkpoints.default(), Later(begun.set), loading=Later(loaded.set))
    monkeypatch.setattr(opening, "opening", lambda: first)
    monkeypatch.setattr(opening, "SOON_S", 0.0)
    monkeypatch.setattr(opening, "QUIET_S", 0.3)
    with jobs.door.entered(Job(Visitor("somewhere", "here"), 60)):
        thread = opening.load_soon()
        assert loaded.wait(5), "which all wait for"
        assert not begun.wait(0.5)
    thread.join(5)
    assert begun.is_set()


def test_a_model_that_fails_is_told_whoever_waits_for_something(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise CheckpointError("It is damaged.")

    monkeypatch.setattr(jobs, "door", Door())
    begun = threading.Event()
    first = Opening(checkpoints.default(), Later(begun.set), loading=Later(fails))
    monkeypatch.setattr(opening, "opening", lambda: first)
    monkeypatch.setattr(opening, "SOON_S", 0.0)
    with jobs.door.entered(Job(Visitor("somewhere", "here"), 60)):
        opening.load_soon().join(5)
        assert begun.wait(1), "which tells it"
