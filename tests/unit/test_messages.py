"""Every sentence for a user says what to do. Each stands where its cause is found, whose figures it tells; here all are
listed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeVideo
from PIL import Image

from vjepa_demo import errors
from vjepa_demo.embedding import Embedding, Fingerprint
from vjepa_demo.explore import parse_position
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.references.sources import fetch
from vjepa_demo.settings import settings

PACKAGE = Path(errors.__file__).parent
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.UserError)}
# What says what to do, or what can be.
TELLS = (": ", " must ", " has to ", " have to ")
# There is nothing to be done; or the rest of the sentence comes from elsewhere.
ALONE = {"Stopped. The last result is still here.", "The app has been stopped.", "… (see … --help)."}


def text_of(node: ast.AST, names: dict[str, str]) -> str:
    """A sentence as it is written, with an ellipsis for what is only known when it is raised; "" for no sentence."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left, names) + text_of(node.right, names)
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def sentences() -> list[tuple[str, str]]:
    """(module, sentence) for every sentence that is raised as it stands in the source."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id: text_of(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        said = [text_of(call.args[0], names) for call in calls if call.func.id in KINDS and call.args]
        found += [(path.relative_to(PACKAGE).as_posix(), text) for text in said if any(map(str.isalpha, text))]
    return found


SENTENCES = sentences()


def test_there_are_many() -> None:
    assert len(SENTENCES) > 120
    assert len({module for module, _ in SENTENCES}) > 25


@pytest.mark.parametrize(("module", "sentence"), SENTENCES)
def test_it_says_what_to_do(module: str, sentence: str) -> None:
    assert sentence[0].isupper() or sentence.startswith(("…", "--")), sentence
    assert sentence in ALONE or sentence.endswith("…") or any(words in sentence for words in TELLS), sentence
    assert sentence.endswith((".", "…")), sentence
    assert "\n" not in sentence


# --- those that no other test quotes ---------------------------------------------------------------------------------


def an_empty_file(folder: Path, _: MakeVideo) -> None:
    (folder / "clip.mp4").touch()
    read_clip(folder / "clip.mp4")


def a_movie_without_its_index(folder: Path, make_video: MakeVideo) -> None:
    whole = make_video().read_bytes()
    assert whole.index(b"mdat") < whole.index(b"moov")
    (folder / "clip.mp4").write_bytes(whole[: whole.index(b"moov") - 4])
    read_clip(folder / "clip.mp4")


def a_long_animation(folder: Path, _: MakeVideo) -> None:
    first, *others = (Image.new("L", (8, 8), level) for level in (0, 90, 180))
    first.save(folder / "clip.gif", save_all=True, append_images=others, duration=4000)
    read_clip(folder / "clip.gif", limits=replace(settings, max_seconds=10))


def too_many_frames(folder: Path, make_video: MakeVideo) -> None:
    read_clip(make_video(), Sampling(settings.max_frames + 2))


def motion_of_one_step(folder: Path, _: MakeVideo) -> None:
    made = Fingerprint("test", "1", "fp32", "even-2", "crop")
    tokens, times = np.ones((1, 2, 2, 4), np.float32), np.zeros(2)
    Embedding(tokens, times, made, "cpu", (0.0, 0.0, 32.0, 32.0), (32, 32)).vector("motion")


def a_patch_in_words(folder: Path, _: MakeVideo) -> None:
    parse_position("the middle")


def a_dataset_of_no_possible_name(folder: Path, _: MakeVideo) -> None:
    fetch("hf://datasets/owner/a--b")


REACHED: list[tuple[Callable[[Path, MakeVideo], Any], str]] = [
    (an_empty_file, "The file is empty (0 bytes): export or copy it again."),
    (a_movie_without_its_index, "The video cannot be opened (it is damaged, cut short before its index, or holds no"),
    (a_long_animation, "The animation lasts more than 10 s: cut it first."),
    (too_many_frames, "At most 64 frames can be sampled, not 66: ask for fewer."),
    (motion_of_one_step, "Clips of 2 frames cannot be compared by their motion: take 4 frames or more."),
    (a_patch_in_words, "The patch must be given as STEP,ROW,COL, e.g. 0,8,8, not 'the middle'."),
    (a_dataset_of_no_possible_name, "The Hub knows no dataset of such a name: correct the address."),
]


@pytest.mark.parametrize(("situation", "words"), REACHED, ids=[situation.__name__ for situation, _ in REACHED])
def test_a_situation_and_its_sentence(
    tmp_path: Path, make_video: MakeVideo, situation: Callable[[Path, MakeVideo], Any], words: str
) -> None:
    with pytest.raises(errors.UserError) as caught:
        situation(tmp_path, make_video)
    assert str(caught.value).startswith(words)
