"""The shell: one JSON object on standard output, one sentence for a mistake, and the exit code that a script reads."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from conftest import MakeVideo, ffmpeg
from PIL import Image

from vjepa_demo import cli, embedder
from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.encoder import get_encoder
from vjepa_demo.options import Sampling
from vjepa_demo.references import preparing

ROOT = Path(__file__).parents[3]
META = {
    *("shape", "grid", "checkpoint", "revision", "precision", "speed", "sampling", "fit", "pooling", "device", "layer"),
    *("timings_ms", "kept", "crop", "window", "source_size", "notes"),
}

Run = Callable[..., dict]


@pytest.fixture
def run(small_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs one command with --json, which must work, and returns the object it printed."""

    def run(*arguments: object, checkpoint: Path = small_checkpoint) -> dict:
        options = ["--checkpoint", checkpoint, "--precision", "fp32", "--json"]
        code = cli.main([str(part) for part in (*arguments, *options)])
        said = capsys.readouterr()
        assert code == 0, said.err
        assert said.out.endswith("}\n")
        assert said.out.count("\n") == 1
        return json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    return run


@pytest.fixture
def refused(small_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a command which must fail as a user's mistake, and returns its sentence."""

    def refused(*arguments: object, checkpoint: str | Path | None = small_checkpoint) -> str:
        options = [] if checkpoint is None else ["--checkpoint", checkpoint]
        code = cli.main([str(part) for part in (*arguments, *options)])
        said = capsys.readouterr()
        assert code == 2, said
        assert said.out == ""
        assert "Traceback" not in said.err
        sentence = said.err.rstrip("\n").rsplit("\n", 1)[-1]
        assert sentence.endswith(".")
        return sentence

    return refused


# --- embed -----------------------------------------------------------------------------------------------------------


def test_embed(make_video: MakeVideo, run: Run, small_checkpoint: Path, tmp_path: Path) -> None:
    path, out = make_video(size="160x96", fps=25, frames=50), tmp_path / "clip.npz"
    told = run("embed", path, "--frames", 8, "--start", 0.5, "--end", 1.5, "--out", out)
    assert set(told) == META | {"timestamps"}
    assert told["shape"] == [1, 64, 88]
    assert told["grid"] == [4, 4, 4]
    assert told["checkpoint"] == str(small_checkpoint)
    assert told["precision"] == "fp32"
    assert told["device"] in {"cpu", "cuda", "mps"}
    assert set(told["timings_ms"]) == {"decode", "preprocess", "encode"}
    assert min(told["timings_ms"].values()) > 0
    left, top, right, bottom = told["crop"]
    # 64 of the 73 pixels that the short side of 96 is scaled to, in the middle of 160 × 96.
    assert right - left == pytest.approx(64 / 73 * 96, abs=1)
    assert bottom - top == pytest.approx(64 / 73 * 96, abs=1)
    assert (left + right) / 2 == pytest.approx(80, abs=1)
    assert (top + bottom) / 2 == pytest.approx(48, abs=1)

    with np.load(out, allow_pickle=False) as file:
        assert set(file) == {"tokens", "pooled", "timestamps", "meta"}
        assert file["tokens"].dtype == np.float32
        assert file["tokens"].shape == (4, 4, 4, 88)
        assert file["pooled"].shape == (88,)
        clip = read_clip(path, Sampling(8, start=0.5, end=1.5))
        assert np.array_equal(file["timestamps"], clip.timestamps)
        np.testing.assert_allclose(told["timestamps"], clip.timestamps, atol=1e-6)
        expected = get_encoder(str(small_checkpoint), precision="fp32").encode(clip)
        assert np.abs(file["tokens"] - expected.tokens).max() < 1e-5
        np.testing.assert_allclose(file["pooled"], file["tokens"].mean(axis=(0, 1, 2)), atol=1e-5)
        meta = json.loads(str(file["meta"]))
    assert meta == {name: value for name, value in told.items() if name != "timestamps"}


def test_options_reach_the_clip(make_video: MakeVideo, run: Run) -> None:
    path = make_video(size="160x96", fps=25, frames=100)
    assert run("embed", path)["grid"][0] == 8, "16 frames, as the checkpoint was trained"
    rate = run("embed", path, "--sampling", "fps", "--frames", 4, "--start", 1)
    np.testing.assert_allclose(rate["timestamps"], [1.0, 1.24, 1.48, 1.72], atol=0.021)
    assert rate["sampling"] == "fps-4"
    assert run("embed", path, "--fit", "squash")["crop"] == [0, 0, 160, 96]
    padded = run("embed", path, "--fit", "pad")
    assert padded["crop"] == [0, 0, 160, 96]
    assert padded["window"] == [0, -32, 160, 128]
    whole = run("embed", path, "--fit", "whole")
    assert (whole["grid"], whole["shape"]) == ([8, 4, 7], [1, 224, 88])
    assert whole["crop"] == whole["window"] == [0, 0, 160, 96]
    assert run("embed", path, "--start", 3.9, "--frames", 64)["notes"]


def test_an_image(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (200, 30, 10)).save(tmp_path / "photo.jpg")
    told = run("embed", tmp_path / "photo.jpg")
    assert told["shape"] == [1, 128, 88]
    assert told["timestamps"] == [0.0] * 16
    assert told["source_size"] == [50, 40]


def test_without_json_a_person_reads_it(make_video: MakeVideo, small_checkpoint: Path, capsys) -> None:
    assert cli.main(["embed", str(make_video()), "--checkpoint", str(small_checkpoint)]) == 0
    assert capsys.readouterr().out == "[1, 128, 88]: 8 time steps × 4 × 4 patches × 88 channels\n"


# --- similarity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
def test_similarity(make_video: MakeVideo, run: Run, tmp_path: Path, raw: bool) -> None:
    path, out, tokens = make_video(size="160x96"), tmp_path / "map.npz", tmp_path / "tokens.npz"
    told = run("similarity", path, "--at", "2,1,3", "--out", out, *(["--raw"] if raw else []))
    run("embed", path, "--out", tokens)
    with np.load(tokens, allow_pickle=False) as file:
        flat = file["tokens"].reshape(-1, 88).astype(np.float64)
    flat = flat if raw else flat - flat.mean(axis=0)
    query = flat[2 * 16 + 1 * 4 + 3]
    expected = [np.dot(query, token) / np.linalg.norm(query) / np.linalg.norm(token) for token in flat]
    with np.load(out, allow_pickle=False) as file:
        scores = file["scores"]
    assert scores.dtype == np.float32
    assert scores.shape == (8, 4, 4)
    np.testing.assert_allclose(scores.reshape(-1), expected, atol=1e-5)
    assert scores[2, 1, 3] == pytest.approx(1.0)
    np.testing.assert_allclose(told["scores"], scores, atol=1e-6)
    assert set(told) == META | {"timestamps", "at", "centred", "scores"}
    assert told["at"] == [2, 1, 3]
    assert told["centred"] is not raw


def test_similarity_under_padding(make_video: MakeVideo, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "map.npz"
    told = run("similarity", make_video(size="160x64"), "--at", "0,1,1", "--fit", "pad", "--out", out)
    with np.load(out, allow_pickle=False) as file:
        nothing = np.isnan(file["scores"])
    assert nothing.any()
    assert not nothing.all()
    assert [[[x is None for x in row] for row in step] for step in told["scores"]] == nothing.tolist()


def test_similarity_as_a_picture(make_video: MakeVideo, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    run("similarity", make_video(size="160x96"), "--at", "0,0,0", "--out", out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture).std() > 5


# --- neighbours ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def references(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small clips of two labels, and a cache of their own."""
    folder = tmp_path_factory.mktemp("references")
    pictures = {"stripes": ("", "hue=h=90"), "noise": ("noise=alls=90:allf=t", "noise=alls=90:allf=t,hflip")}
    for label, filters in pictures.items():
        (folder / label).mkdir()
        for number, graph in enumerate(filters):
            ffmpeg("-i", make_video(), "-vf", graph or "null", folder / label / f"{number}.mp4")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of references are kept in a folder that the test throws away."""
    from vjepa_demo.references import preparing

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(preparing, "cache_of", lambda references: folder)


def test_neighbours(references: Path, run: Run) -> None:
    query = references / "noise" / "1.mp4"
    told = run("neighbours", query, "--references", references, "-k", 3)
    assert META | {"timestamps", "neighbours", "position", "far"} == set(told)
    assert [set(near) for near in told["neighbours"]] == [{"file", "label", "cosine"}] * 3
    cosines = [near["cosine"] for near in told["neighbours"]]
    assert cosines == sorted(cosines, reverse=True)
    assert told["neighbours"][0]["file"] == "noise/1.mp4"
    assert cosines[0] == pytest.approx(1.0, abs=1e-4)
    assert told["neighbours"][0]["label"] == told["neighbours"][1]["label"] == "noise"
    assert [type(x) for x in told["position"]] == [float, float]
    assert told["far"] is False
    assert len(run("neighbours", query, "--references", references, "-k", 99)["neighbours"]) == 4


def test_neighbours_of_a_patch(references: Path, run: Run, refused) -> None:
    query, options = references / "stripes" / "0.mp4", ("--references", references)
    told = run("neighbours", query, *options, "--at", "1,2,0")
    assert (told["at"], told["far"]) == ([1, 2, 0], None)
    assert 1 <= told["patches"] < np.prod(told["grid"])
    assert told["neighbours"] != run("neighbours", query, *options)["neighbours"]
    assert "outside the grid" in refused("neighbours", query, *options, "--at", "0,0,99")
    assert "pooling mean" in refused("neighbours", query, *options, "--at", "0,0,0", "--pooling", "motion")


def test_neighbours_by_motion(references: Path, run: Run, tmp_path: Path) -> None:
    """A film of the same motion in other colours is the nearest by motion; a clip is compared as it is asked for."""
    query = tmp_path / "inverted.mp4"
    ffmpeg("-i", references / "stripes" / "0.mp4", "-vf", "negate", query)
    by_motion = run("neighbours", query, "--references", references, "--pooling", "motion")
    assert by_motion["pooling"] == "motion"
    assert by_motion["neighbours"][0]["label"] == "stripes"
    assert run("neighbours", query, "--references", references)["pooling"] == "mean"
    assert run("references", "build", references, "--out", tmp_path / "set", "--pooling", "motion")["clips"] == 4
    stored = run("neighbours", query, "--references", tmp_path / "set", "--pooling", "motion")
    assert stored["neighbours"] == by_motion["neighbours"]


def test_references_are_embedded_before_anybody_asks(references: Path, run: Run, tmp_path: Path) -> None:
    """For both ways of comparing, with the fit of the page, and once; what is copied is what a Space can ship."""
    options = ("--references", references, "--out", tmp_path / "vectors")
    told = run("references", "warm", *options)
    assert told["embedded"] == 4
    assert told["fingerprint"]["fit"] == "crop", "as the page takes a folder of its owner's"
    assert told["fingerprint"]["sampling"] == "even-16"
    assert len(list((tmp_path / "vectors").glob("*.safetensors"))) == 2
    again = run("references", "warm", *options)
    assert again["embedded"] == 0
    shutil.copytree(references, tmp_path / "set")
    shutil.copytree(tmp_path / "vectors", tmp_path / "set" / "vectors")
    from vjepa_demo.references import preparing

    preparing.cache_of(references).rename(tmp_path / "gone")
    assert run("references", "warm", "--references", tmp_path / "set")["embedded"] == 0
    assert run("references", "warm", "--references", tmp_path / "set", "--frames", 4)["embedded"] == 4


def test_a_single_time_step_has_no_motion(references: Path, refused) -> None:
    query = references / "noise" / "1.mp4"
    options = ("--references", references, "--frames", 2, "--pooling", "motion")
    assert "4 frames" in refused("neighbours", query, *options)


def test_references_that_are_not_there(make_video: MakeVideo, refused, tmp_path: Path) -> None:
    refused("neighbours", make_video(), "--references", tmp_path / "nothing")
    refused("neighbours", make_video(), "--references", tmp_path)


# --- a user's mistakes -----------------------------------------------------------------------------------------------


def test_bad_files(make_video: MakeVideo, refused, tmp_path: Path) -> None:
    """Each kind of damage is tested in test_media.py; here, that the shell says so."""
    text, empty, sound = tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "sound.mp4"
    text.write_text("not a video\n" * 99)
    empty.touch()
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", sound)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(make_video().read_bytes()[:1500])
    narrow = tmp_path / "narrow.png"
    Image.new("RGB", (1, 4000)).save(narrow)
    sentences = [
        refused("embed", path) for path in (tmp_path / "missing.mp4", tmp_path, text, empty, sound, cut, narrow)
    ]
    assert len(set(sentences)) == len(sentences), "each says what is wrong with it"
    assert not any(str(tmp_path) in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--frames", "7"], "even"),
        (["--frames", "0"], "even"),
        (["--frames", "-2"], "even"),
        (["--frames", "1000"], "At most"),
        (["--frames", "abc"], "frames"),
        (["--start", "50"], "lasts"),
        (["--start", "-1"], "start"),
        (["--start", "nan"], "start"),
        (["--start", "inf"], "start"),
        (["--end", "nan"], "end"),
        (["--start", "1", "--end", "0.5"], "later"),
        (["--sampling", "random"], "sampling"),
        (["--fit", "stretch"], "fit"),
        (["--precision", "int8"], "precision"),
        (["--out", "somewhere.txt"], ".npz"),
        (["--out", "no/such/folder/x.npz"], "folder"),
        (["--out", "/dev/null/x.npz"], "folder"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_options(make_video: MakeVideo, refused, options: list[str], says: str) -> None:
    assert says in refused("embed", make_video(), *options)


@pytest.mark.parametrize("at", ["8,0,0", "0,4,0", "0,0,4", "0,-1,0", "1,2", "1,2,3,4", "a,b,c", "", "0.5,0,0"])
def test_bad_positions(make_video: MakeVideo, refused, at: str) -> None:
    sentence = refused("similarity", make_video(), f"--at={at}")
    assert "STEP,ROW,COL" in sentence or "step 0 to 7, row 0 to 3, column 0 to 3" in sentence


def test_a_patch_of_padding(make_video: MakeVideo, refused) -> None:
    assert "padding" in refused("similarity", make_video(size="160x64"), "--at", "0,0,0", "--fit", "pad")


def test_no_command_and_missing_arguments(make_video: MakeVideo, refused) -> None:
    refused(checkpoint=None)
    refused("explode", checkpoint=None)
    refused("embed", checkpoint=None)
    assert "--at" in refused("similarity", make_video())
    assert "at least 1" in refused("neighbours", make_video(), "-k", 0)


def test_checkpoints_that_cannot_be_had(make_video, refused, small_checkpoint, tmp_path, monkeypatch) -> None:
    assert "no checkpoint" in refused("embed", make_video(), checkpoint="facebook/vjepa3")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in small_checkpoint.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    assert "damaged" in refused("embed", make_video(), checkpoint=damaged)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub = "facebook/vjepa2-vitl-fpc64-256"
    assert "cannot be reached" in refused("embed", make_video(), "--frames", 2, checkpoint=hub)


def test_a_full_disk(make_video: MakeVideo, refused, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert "No space left" in refused("embed", make_video(), "--out", tmp_path / "x.npz")


# --- our own failures ------------------------------------------------------------------------------------------------


def test_our_own_failure(make_video: MakeVideo, small_checkpoint: Path, capsys, caplog, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(embedder, "read_clip", broken)
    assert cli.main(["embed", str(make_video()), "--checkpoint", str(small_checkpoint), "--json"]) == 1
    assert capsys.readouterr().out == ""
    record = caplog.records[-1]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert "failure of the program" in record.getMessage()


# --- as a program ----------------------------------------------------------------------------------------------------


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vjepa_demo", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment)


def test_as_a_program(make_video: MakeVideo, small_checkpoint: Path) -> None:
    done = program("embed", make_video(), "--checkpoint", small_checkpoint, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shape"] == [1, 128, 88], "loading a model prints nothing on standard output"
    assert "Traceback" not in done.stderr


def test_as_a_program_with_a_damaged_checkpoint(make_video: MakeVideo, small_checkpoint: Path, tmp_path: Path) -> None:
    for file in small_checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    done = program("embed", make_video(), "--checkpoint", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.rstrip("\n").rsplit("\n", 1)[-1].startswith("The checkpoint's files are damaged")


def test_help_is_quick_and_needs_no_model() -> None:
    code = (
        "import sys\nfrom vjepa_demo import cli\ntry: cli.main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'torch', 'transformers', 'umap', 'gradio'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "embed" in done.stdout


# --- where it prints to, and what it is given ------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_letters_that_the_terminal_lacks(make_video, small_checkpoint, monkeypatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert cli.main(["embed", str(make_video()), "--checkpoint", str(small_checkpoint)]) == 0
    words = written.getvalue().decode(encoding)
    assert words.startswith("[1, 128, 88]: 8 time steps ")
    assert ("×" in words) == (encoding != "cp437" and encoding != "ascii"), "what it lacks is escaped"


def printing(monkeypatch: pytest.MonkeyPatch, count: int, target: object) -> None:
    """Let `embed` print so many letters to a target."""
    monkeypatch.setattr(cli, "run_embed", lambda given: print("x" * count) or 0)
    monkeypatch.setattr(sys, "stdout", target)


@pytest.mark.parametrize("count", [10, 100_000], ids=["little", "much"])
def test_a_reader_that_has_enough(monkeypatch, capfd, count: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        printing(monkeypatch, count, pipe)
        assert cli.main(["embed", "x.mp4"]) == 141, "as a program does that a closed pipe ends"
    assert capfd.readouterr().err == "", "nothing more is tried when it is closed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("count", [10, 100_000], ids=["little", "much"])
def test_an_output_that_takes_nothing(monkeypatch, capfd, count: int) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        printing(monkeypatch, count, full)
        assert cli.main(["embed", "x.mp4"]) == 2
    assert capfd.readouterr().err.startswith("The disk here is full")


def test_no_output_at_all(monkeypatch) -> None:
    printing(monkeypatch, 10, None)  # as `>&-` leaves it
    assert cli.main(["embed", "x.mp4"]) == 0


def test_a_name_that_is_no_text(make_video: MakeVideo, run: Run, tmp_path: Path, small_checkpoint, capsys) -> None:
    """As an old disk holds it: a name in Latin-1, where names are UTF-8."""
    name = os.fsdecode(b"L\xe4ufer")
    (tmp_path / "source" / name).mkdir(parents=True)
    shutil.copy(make_video(), tmp_path / "source" / name / f"{name}.mp4")
    (tmp_path / "source" / "b").mkdir()
    shutil.copy(make_video(fps=10), tmp_path / "source" / "b" / "b.mp4")
    clip = tmp_path / "source" / name / f"{name}.mp4"
    assert run("embed", clip, "--out", tmp_path / f"{name}.npz")["shape"] == [1, 128, 88]
    assert (tmp_path / f"{name}.npz").is_file()
    source, out = str(tmp_path / "source"), str(tmp_path / "out")
    assert cli.main(["references", "build", source, "--out", out, "--checkpoint", str(small_checkpoint)]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_pipe_is_told_apart_from_a_file_that_is_missing(refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused("embed", tmp_path / "pipe").startswith("This is a pipe or a device")
    assert refused("embed", "/dev/null").startswith("This is a pipe or a device")


@pytest.mark.parametrize(("level", "code"), [("LOUD", 2), ("debug", 0), ("10", 0), ("", 0)])
def test_the_level_of_the_log(level: str, code: int) -> None:
    program = "from vjepa_demo import cli\ncli.run_embed = lambda given: 0\nraise SystemExit(cli.main(['embed', 'x']))"
    environment = {**os.environ, "VJEPA_DEMO_LOG": level}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("VJEPA_DEMO_LOG must be DEBUG" if code else "")
    assert done.stderr.count("\n") == bool(code)


@pytest.fixture
def source(make_video: MakeVideo, tmp_path: Path) -> Path:
    """A folder of one clip, beside a file that is none."""
    (tmp_path / "source" / "a").mkdir(parents=True)
    shutil.copy(make_video(), tmp_path / "source" / "a" / "0.mp4")
    (tmp_path / "file").write_text("a text")
    return tmp_path / "source"


@pytest.mark.parametrize("out", ["file", "file/set"])
def test_a_set_where_a_file_is_in_the_way(source: Path, refused, tmp_path: Path, out: str) -> None:
    assert "cannot be written to" in refused("references", "build", source, "--out", tmp_path / out)
    assert (tmp_path / "file").read_text() == "a text"


def test_a_set_in_folders_that_are_not_there_yet(source: Path, run: Run, tmp_path: Path) -> None:
    assert run("references", "build", source, "--out", tmp_path / "a" / "b" / "c")["clips"] == 1


def test_a_cache_that_is_no_folder(make_video: MakeVideo, source: Path, run: Run, tmp_path: Path, monkeypatch) -> None:
    """What is embedded stays in memory then: the answer comes, and nothing is stored."""
    known = dataclasses.replace(preparing.settings, cache_dir=str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(preparing, "settings", known)
    found = run("neighbours", make_video(), "--references", source)
    assert found["neighbours"][0]["cosine"] > 0.99
