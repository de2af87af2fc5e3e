"""Rules of the house: which room may use which, what none of them does, and what is not loaded before it is needed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vjepa_demo

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vjepa_demo"

# The way of the data: a room imports only from those before it, and a folder is one room.
ROOMS = (
    *("errors", "settings", "jobs", "memo", "files", "scratch", "logs", "options", "embedding"),
    *("media", "model", "embedder", "views", "references", "explore", "windows", "scale", "cli", "__main__", "ui"),
)
# What a first visitor or `--help` waits for may not take seconds to import; these may.
HEAVY = (
    *("model/device.py", "model/embedded.py", "model/encoder.py", "model/forward.py", "model/heads.py"),
    *("views/heatmap.py", "__main__.py", "ui/"),
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The room of a module."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, at its head or inside a function; not what only types need."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(full_name: str) -> str | None:
    """The room of ours from which is imported, or None."""
    parts = full_name.split(".")
    return parts[1] if parts[0] == "vjepa_demo" and len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_those_above_it(path: Path) -> None:
    name = name_of(path)
    if name == "__init__":
        assert not list(filter(None, map(own, imports(path)))), "what is public is loaded when it is used"
        return
    assert name in ROOMS, f"{name} is no room"
    for imported in filter(None, map(own, imports(path))):
        assert imported in ROOMS, f"{name} imports {imported}, which is no room"
        assert ROOMS.index(imported) <= ROOMS.index(name), f"{name} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_gradio_stays_in_ui_and_nothing_is_pickled(path: Path) -> None:
    roots = {full_name.split(".")[0] for full_name in imports(path)}
    assert name_of(path) == "ui" or not roots & {"gradio", "gradio_client", "plotly"}
    assert not roots & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"allow_pickle\s*=\s*True|weights_only\s*=\s*False|torch\.load\(|trust_remote_code", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_javascript_or_css_in_python(path: Path) -> None:
    script = re.compile(
        r"addEventListener|querySelector|getElementById|=>\s*\{|\bdocument\.[a-z]+[A-Z(]|\bwindow\.[a-z]+\("
    )
    style = re.compile(r"\{\s*[a-z-]+\s*:[^{}]*;[^{}]*\}")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not script.search(node.value), node.value
            assert not style.search(node.value), node.value


def test_what_is_light_does_not_load_what_is_heavy() -> None:
    paths = [str(path.relative_to(ROOT)) for path in MODULES if path.name != "__init__.py"]
    light = [path for path in paths if not path.removeprefix("vjepa_demo/").startswith(HEAVY)]
    names = ["vjepa_demo.cli", *(path.removesuffix(".py").replace("/", ".") for path in light)]
    code = (
        f"import sys, importlib\nfor name in {names!r}:\n    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'umap', 'numba', 'gradio', 'torchcodec'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} loads {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_embedded_checkpoint_needs_neither_transformers_nor_torchvision() -> None:
    """To import them takes longer than torch, and longer than nano takes for a clip."""
    code = (
        "import sys\nimport vjepa_demo.explore\nfrom vjepa_demo import Embedder\n"
        "embedder = Embedder.open()\nclip = embedder.read('assets/examples/dominoes.mp4')\nembedder.embed(clip)\n"
        "embedder.forecast(embedder.input_of(clip)[None], [4])\n"
        "heavy = {'transformers', 'torchvision', 'umap', 'numba', 'gradio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_public_face() -> None:
    """What a notebook can rely on. Whoever takes a name away breaks somebody's."""
    names = ["Clip", "Comparison", "Embedder", "Embedding", "Options", "ReferenceSet", "UserError", "Vector"]
    assert vjepa_demo.__all__ == [*names, "prepare", "similarity"]
    assert all(getattr(vjepa_demo, name).__name__ == name for name in vjepa_demo.__all__)
    assert set(vjepa_demo.__all__) <= set(dir(vjepa_demo))
    with pytest.raises(AttributeError, match="no attribute 'Engine'"):
        vjepa_demo.Engine  # noqa: B018
    code = "import sys, vjepa_demo\nassert not {'torch', 'numpy', 'gradio'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_installed_is_what_is_pinned() -> None:
    """The dependencies of the package are read from `requirements.txt`, those of its extra from another file; the
    Space's Gradio is the pinned one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["dependencies", "optional-dependencies"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]
    extras = project["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    assert extras == {"scale": {"file": ["requirements-scale.txt"]}}
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M))
    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert re.search(r"^sdk_version: (.+)$", front, re.M)[1] == pinned["gradio"]
    (backend,) = project["build-system"]["requires"]
    assert f"{backend} " in (ROOT / "requirements.lock").read_text(encoding="utf-8"), "it is what make installs, too"


def test_the_front_matter_tells_a_space_what_the_app_needs_at_its_start() -> None:
    from vjepa_demo.model.checkpoints import LARGE

    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    (preloaded,) = re.findall(r"^preload_from_hub:\n  - (\S+) (\S+)$", front, re.M)
    assert preloaded == (LARGE.id, "config.json,model.safetensors,video_preprocessor_config.json")
    assert f"models:\n  - {LARGE.id}\n" in front
    assert (ROOT / re.search(r"^thumbnail: (\S+)$", front, re.M)[1]).is_file()
    assert re.search(r"^tags:\n(  - [\w-]+\n){3,}", front, re.M)


def test_settings_come_from_the_environment() -> None:
    code = (
        "from vjepa_demo.settings import settings\n"
        "print(settings.max_frames, settings.max_seconds, settings.public, settings.cache_dir)\n"
    )

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, **{f"VJEPA_DEMO_{name}": value for name, value in environment.items()}}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=variables)

    done = run(MAX_FRAMES="8", MAX_SECONDS="1.5", PUBLIC="yes", CACHE_DIR="/tmp/x")  # noqa: S108
    assert done.stdout.split() == ["8", "1.5", "True", "/tmp/x"], done.stderr  # noqa: S108
    wrong = run(MAX_FRAMES="many")
    assert wrong.returncode != 0
    assert "VJEPA_DEMO_MAX_FRAMES must be a whole number, 0 or more, not 'many'" in wrong.stderr


def test_requirements_are_pinned_exactly() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"#.*|-r [\w.-]+|[\w\[\]-]+==[\w.]+( *;.*)?( *#.*)?|", line.strip()), line


@pytest.mark.parametrize(
    ("asked", "locked"),
    [
        ("requirements.txt", ("requirements.lock",)),
        ("requirements-dev.txt", ("requirements.lock", "requirements-dev.lock")),
        (
            "assets/recipes/requirements.txt",
            ("requirements.lock", "requirements-dev.lock", "assets/recipes/requirements.lock"),
        ),
    ],
)
def test_what_is_pinned_is_locked_at_the_same_version_with_hashes(asked: str, locked: tuple[str, ...]) -> None:
    pin = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in locked)
    versions = {(name.lower().replace("_", "-"), version) for name, version in pin.findall(text)}
    for name, version in pin.findall((ROOT / asked).read_text(encoding="utf-8")):
        assert (name.lower().replace("_", "-"), version) in versions, f"{name}=={version}: run make lock"
    for entry in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert not re.search(r"://|--(extra-)?index", text), "no address of a registry stands in a lock file"
