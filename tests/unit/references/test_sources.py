"""Sets made from folders and from the Hub, interrupted and gone on with, and measured."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import MADE, Colours
from safetensors import safe_open

from vjepa_demo import cli
from vjepa_demo.embedding import Kind
from vjepa_demo.errors import ReferencesError
from vjepa_demo.references import preparing
from vjepa_demo.references.comparison import ReferenceClip, ReferenceSet
from vjepa_demo.references.evaluation import evaluate
from vjepa_demo.references.listing import read_folder
from vjepa_demo.references.map import FEWEST_FOR_UMAP
from vjepa_demo.references.sources import build, fetch

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def source(tmp_path) -> Path:
    """Twelve pictures in three labels, by sub-folder, and two broken files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    folder = tmp_path / "source"
    for number in range(12):
        path = folder / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), tuple(int(c) for c in rng.integers(0, 255, 3))).save(path)
    (folder / "a" / "empty.mp4").touch()
    (folder / "b" / "text.mp4").write_text("this is not a video, whatever its name says")
    return folder


def test_a_built_set_stands_alone(source, tmp_path):
    encoder, out = Colours(), tmp_path / "out"
    made = build(str(source), out, encoder)
    assert encoder.calls == len(made) == 12
    assert [name for name, _ in made.failures] == ["a/empty.mp4", "b/text.mp4"]
    shutil.rmtree(source)
    moved = out.rename(tmp_path / "elsewhere")
    preparing._sets.clear()
    again = Colours()
    found = preparing.prepare(moved, again, store=tmp_path / "store")
    assert again.calls == 0
    np.testing.assert_array_equal(found.vectors, made.vectors)
    np.testing.assert_array_equal(found.coordinates, made.coordinates)
    assert [clip.label for clip in found.clips] == [clip.label for clip in made.clips]
    assert not found.failures
    assert all((moved / clip.file).is_file() for clip in found.clips)


def test_building_again_embeds_only_what_is_new_and_keeps_the_rest(source, tmp_path):
    from PIL import Image

    encoder, out = Colours(), tmp_path / "out"
    before = build(str(source), out, encoder)
    other = tmp_path / "other"
    (other / "d").mkdir(parents=True)
    Image.new("RGB", (16, 16), (9, 9, 99)).save(other / "d" / "new.png")
    after = build(str(other), out, encoder)
    assert encoder.calls == 13
    assert {clip.label for clip in after.clips} == set("abcd")
    old = [after.clips.index(clip) for clip in before.clips]
    np.testing.assert_array_equal(after.coordinates[old], before.coordinates)


def test_a_file_mended_in_the_source_is_taken_the_next_time(source, tmp_path):
    encoder, out = Colours(), tmp_path / "out"
    build(str(source), out, encoder)
    shutil.copy(source / "a" / "0.png", source / "a" / "empty.mp4")
    made = build(str(source), out, encoder)
    assert [name for name, _ in made.failures] == ["b/text.mp4"]
    assert "a/empty.mp4" in [clip.file for clip in made.clips]
    assert encoder.calls == 12  # the same picture has been embedded under its other name


def test_a_set_can_be_built_in_its_own_folder(source):
    encoder = Colours()
    made = build(str(source), source, encoder)
    assert len(made) == 12
    assert len(read_folder(source)) == 12


@pytest.mark.parametrize(
    "address", ["hf://models/a/b", "hf://datasets/kinetics", "hf://datasets/a/b@x@y", "hf://datasets/a/../b c"]
)
def test_a_faulty_address_gets_one_sentence(address):
    with pytest.raises(ReferencesError, match="hf://datasets/OWNER/NAME"):
        fetch(address)


def test_a_dataset_is_taken_from_the_hub(source, tmp_path, monkeypatch):
    asked = {}

    def download(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(source.parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    made = build("hf://datasets/nateraw/kinetics-mini@main/source", tmp_path / "out", Colours())
    assert len(made) == 12
    assert asked["repo_id"] == "nateraw/kinetics-mini"
    assert (asked["repo_type"], asked["revision"]) == ("dataset", "main")
    assert any(fnmatch.fnmatchcase("source/run/1.MP4", pattern) for pattern in asked["allow_patterns"])
    assert not any(fnmatch.fnmatchcase("other/1.mp4", pattern) for pattern in asked["allow_patterns"])
    assert fetch("hf://datasets/nateraw/kinetics-mini") == source.parent


@pytest.mark.parametrize("lists", [True, False])
def test_a_dataset_in_the_hubs_cache_is_all_links_and_is_taken_whole(source, tmp_path, monkeypatch, lists):
    """As huggingface_hub lays it out: snapshots/REVISION/FILE is a link to ../../blobs/HASH."""
    (source / "a" / "empty.mp4").unlink()
    (source / "b" / "text.mp4").unlink()
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.png")}
    if lists:
        files["clips.csv"] = ("file,label\n" + "".join(f"{name},{name[0]}\n" for name in sorted(files))).encode()
    cache = tmp_path / "datasets--o--ds"
    snapshot = cache / "snapshots" / "0123abcd"
    (cache / "blobs").mkdir(parents=True)
    for number, (name, data) in enumerate(files.items()):
        (cache / "blobs" / f"{number:040x}").write_bytes(data)
        path = snapshot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(cache / "blobs" / f"{number:040x}", path.parent))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo_id, **options: str(snapshot))
    made = build("hf://datasets/o/ds", tmp_path / "out", Colours())
    plain = build(str(source), tmp_path / "plain", Colours())
    assert [(clip.file, clip.label) for clip in made.clips] == [(clip.file, clip.label) for clip in plain.clips]
    assert (made.failures, made.notes) == ((), ())
    shutil.rmtree(cache)  # what was made stands alone
    assert all((tmp_path / "out" / clip.file).read_bytes() == files[clip.file] for clip in made.clips)


def test_an_unreachable_hub_gets_one_sentence(tmp_path, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(repo_id, **options):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ReferencesError, match="Hub"):
        build("hf://datasets/nateraw/kinetics-mini", tmp_path / "out", Colours())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as the process that is killed has: with others sums are rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_killed_half_way_and_started_again_it_gives_the_same(
    make_video, small_checkpoint, tmp_path, one_thread, monkeypatch, capsys
):
    """SIGKILL in the middle, then again: the vectors of an unbroken run, and no clip embedded twice.

    Of as many clips as are laid out without UMAP, which each process would compile anew.
    """
    count = FEWEST_FOR_UMAP - 1
    for number in range(count):
        video = make_video(f"{number}.mp4", picture=f"geq=lum='16*{number}+X':cb=128:cr=2*Y")
        target = tmp_path / "source" / "ab"[number % 2] / f"{number}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    broken = tmp_path / "source" / "a" / "cut.mp4"
    broken.write_bytes((tmp_path / "source" / "a" / "0.mp4").read_bytes()[:200])

    def command(out: str) -> list[str]:
        options = ["--checkpoint", str(small_checkpoint), "--precision", "fp32", "--json"]
        return ["references", "build", str(tmp_path / "source"), "--out", str(tmp_path / out), *options]

    def run_here(out: str) -> dict[str, Any]:
        assert cli.main(command(out)) == 0
        return json.loads(capsys.readouterr().out)

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VJEPA_DEMO_CACHE_DIR": str(tmp_path / "cache")}
    program = [sys.executable, "-m", "vjepa_demo", *command("out")]
    first = subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment, text=True
    )
    vectors = tmp_path / "out" / "vectors"
    end = time.monotonic() + 120
    while len(list(vectors.glob("*.parts/*.npy"))) < 3:
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(list(vectors.glob("*.parts/*.npy")))
    assert 3 <= done < count

    monkeypatch.setattr(preparing, "cache_of", lambda folder: tmp_path / "cache")
    report = run_here("out")
    assert report["clips"] == count
    assert report["embedded"] == count - done
    assert [failure["file"] for failure in report["failures"]] == ["a/cut.mp4"]
    assert run_here("whole")["embedded"] == count
    name = f"{Kind.parse(report['fingerprint']).key}.safetensors"
    # Not byte by byte: safetensors writes its metadata in no fixed order.
    assert _content(vectors / name) == _content(tmp_path / "whole" / "vectors" / name)


# --- measuring ---


def labelled(split: bool = False, seed: int = 0) -> ReferenceSet:
    """60 vectors of 5 labels that overlap, so that no measure is 0 or 1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, 16))
    labels = rng.integers(0, 5, 60)
    vectors = (3 + centres[labels] + 0.9 * rng.normal(size=(60, 16))).astype(np.float32)
    splits = rng.choice(["train", "test"], 60) if split else [""] * 60
    clips = tuple(
        ReferenceClip(f"{i}.mp4", f"label {label}", split=str(part))
        for i, (label, part) in enumerate(zip(labels, splits, strict=True))
    )
    return ReferenceSet(MADE, clips, vectors, np.zeros((60, 2), np.float32))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("kind", ["raw", "centred"])
def test_measures_are_scikit_learns(kind, split):
    from sklearn.metrics import average_precision_score
    from sklearn.metrics.pairwise import cosine_similarity
    from sklearn.neighbors import KNeighborsClassifier

    references = labelled(split)
    labels = np.array([clip.label for clip in references.clips])
    train = np.array([clip.split != "test" for clip in references.clips])
    precisions, hits, right = [], {1: [], 5: [], 10: []}, []
    for row in range(60):
        if split and train[row]:
            continue
        rest = train.copy() if split else np.arange(60) != row
        mean = references.vectors[rest].mean(axis=0) if kind == "centred" else 0
        cosines = cosine_similarity((references.vectors[row] - mean)[None], references.vectors[rest] - mean)[0]
        same = labels[rest] == labels[row]
        precisions.append(average_precision_score(same, cosines))
        for k, found in hits.items():
            found.append(same[np.argsort(-cosines)[:k]].any())
        nearest = KNeighborsClassifier(10, metric="cosine").fit(references.vectors[rest] - mean, labels[rest])
        shares = nearest.predict_proba((references.vectors[row] - mean)[None])[0]
        tied = nearest.classes_[shares == shares.max()]
        order = np.argsort(-cosines)[:10]
        sums = [cosines[order][labels[rest][order] == label].sum() for label in tied]
        right.append(tied[int(np.argmax(sums))] == labels[row])
    measured = evaluate(references)
    assert measured["protocol"] == ("train/test" if split else "leave-one-out")
    assert measured["queries"] == len(right)
    assert measured[kind]["map"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert measured[kind]["knn_accuracy"] == pytest.approx(np.mean(right))
    for k, found in hits.items():
        assert measured[kind][f"recall@{k}"] == pytest.approx(np.mean(found))
    assert 0.3 < measured[kind]["knn_accuracy"] < 1


def test_evaluate_from_the_shell(make_video, small_checkpoint, tmp_path, capsys, monkeypatch):
    for number in range(4):
        video = make_video(f"{number}.mp4", picture=f"geq=lum='40*{number}+X':cb=128:cr=128")
        target = tmp_path / "ab"[number // 2] / f"{number}.mp4"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(video, target)
    monkeypatch.setattr(preparing, "cache_of", lambda folder: tmp_path / "cache")
    arguments = ["references", "evaluate", str(tmp_path), "--checkpoint", str(small_checkpoint), "--precision", "fp32"]
    assert cli.main([*arguments, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["clips"], measured["labels"], measured["protocol"]) == (4, 2, "leave-one-out")
    assert cli.main(arguments) == 0
    assert "recall@5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["references", "build", "nowhere", "--out", "{tmp}/out"], "no such folder"),
        (["references", "build", "{tmp}", "--out", "{tmp}/out"], "no reference clips"),
        (["references", "evaluate", "{tmp}/nowhere"], "no such folder"),
        (["references", "build", "{tmp}", "--out", "{tmp}/out", "--start", "1"], "whole"),
        (["references", "build", "hf://datasets/x", "--out", "{tmp}/out"], "hf://datasets/OWNER/NAME"),
        (["references"], "ACTION"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_code_2(arguments, message, small_checkpoint, tmp_path, capsys):
    options = ["--checkpoint", str(small_checkpoint)] if len(arguments) > 1 else []
    words = [argument.format(tmp=tmp_path) for argument in arguments]
    assert cli.main([*words, *options]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_one_clip_cannot_be_evaluated():
    references = labelled()
    one = ReferenceSet(MADE, references.clips[:1], references.vectors[:1], references.coordinates[:1])
    with pytest.raises(ReferencesError, match="one clip"):
        evaluate(one)


def _content(path):
    """Metadata, and names, shapes, types and bytes of the tensors of a safetensors file."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        return file.metadata(), {name: (x.shape, x.dtype, x.tobytes()) for name, x in tensors.items()}
