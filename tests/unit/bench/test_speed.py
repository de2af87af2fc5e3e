"""The bench's own arithmetic, what it writes, and that the two ways that it compares do the same."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import speed
import torch
from conftest import MakeVideo
from PIL import Image

from vjepa_demo.media.reader import read_clip
from vjepa_demo.model.checkpoints import LARGE, Checkpoint, Size
from vjepa_demo.options import Sampling

ROOT = Path(__file__).parents[3]
TINY = Size(48, 4, 2, 96, 32)


# --- arithmetic ---


def test_a_ratio_is_the_median_of_the_pairs_not_the_ratio_of_medians() -> None:
    pairs = [(10.0, 40.0), (20.0, 30.0), (30.0, 240.0)]
    row = speed.Row.of("whole nano 16", pairs)
    assert (row.ours_ms, row.card_ms) == (20.0, 40.0)
    assert (row.ratio, row.low, row.high) == (4.0, 1.5, 8.0)
    assert row.ratio != row.card_ms / row.ours_ms


def test_of_the_start_the_ratio_is_ours_over_the_imports() -> None:
    row = speed.Row.of("start", [(6.0, 4.0), (9.0, 3.0), (4.0, 4.0)])
    assert (row.ratio, row.low, row.high) == (1.5, 1.0, 3.0)


def test_the_order_changes_with_every_round_and_each_call_has_arguments_of_its_own() -> None:
    calls: list[tuple[str, int]] = []
    given = iter(range(100))
    ways = {name: lambda number, name=name: calls.append((name, number)) or name for name in "abc"}
    times, found = speed.alternate(ways, 3, lambda: (next(given),), warm=1)
    assert "".join(name for name, _ in calls) == "abccbaabccba"
    assert [number for _, number in calls] == list(range(12))
    assert len(times) == 3, "what warms up does not count"
    assert all(set(took) == set("abc") for took in times)
    assert found == {name: name for name in "abc"}


def test_what_comes_before_a_call_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def pass_by(seconds: float) -> tuple[()]:
        clock[0] += seconds
        return ()

    ways = {"one": lambda: pass_by(0.25), "two": lambda: pass_by(0.5)}
    times, _ = speed.alternate(ways, 2, lambda: pass_by(100.0))
    assert times == [{"one": 250.0, "two": 500.0}] * 2


def test_names_are_those_that_others_read() -> None:
    cases = ["forward nano 16", "whole nano 16", "whole nano image", "forward vitl 16", "whole vitl 16"]
    cases.append("forward vitl 64")
    assert set(speed.NAMES) == {*cases, *(f"{case} fp32" for case in cases), "start"}


# --- what is compared ---


def test_a_copy_has_bytes_of_its_own_and_the_same_pictures(make_video: MakeVideo, tmp_path: Path) -> None:
    files = [make_video(), speed.make_photo(tmp_path, 64, 48)]
    for path in files:
        one, other = speed.copy_of(path, tmp_path), speed.copy_of(path, tmp_path)
        assert len({file.read_bytes() for file in (path, one, other)}) == 3
        clips = [read_clip(file, Sampling(8)) for file in (path, one, other)]
        assert all(np.array_equal(clip.frames, clips[0].frames) for clip in clips)


def test_the_photo_looks_like_one(tmp_path: Path) -> None:
    """Neighbouring pixels are much alike, far ones are not, and it is coloured."""
    pixels = np.asarray(Image.open(speed.make_photo(tmp_path, 240, 160)), dtype=np.float64)
    assert pixels.shape == (160, 240, 3)

    def alike(step: int) -> float:
        return np.corrcoef(pixels[:, step:, 0].ravel(), pixels[:, :-step, 0].ravel())[0, 1]

    assert alike(1) > 0.75 > 0.5 > alike(80)
    assert pixels.std(axis=2).mean() > 3


@pytest.mark.parametrize("frames", [4, 16])
def test_operations_are_those_of_the_encoders_formula(small_checkpoint: Path, frames: int) -> None:
    """`Size.teraflops` leaves the patch embedding out."""
    tokens = frames // 2 * 4 * 4
    counted = speed.flops(small_checkpoint, (1, frames, 3, 64, 64))
    embedding = 2 * tokens * 88 * 3 * 2 * 16 * 16
    assert counted == pytest.approx(Size(88, 4, 3, 352, 64).teraflops(tokens) * 1e12 + embedding, rel=1e-6)


def test_random_checkpoints_have_the_shape_that_is_asked_for(tmp_path: Path) -> None:
    assert Size.of(speed.VJEPA2Config()) == LARGE.size
    assert Size.of(speed.AutoConfig.from_pretrained(speed.make_checkpoint(tmp_path, TINY))) == TINY


def test_the_best_product_is_a_speed() -> None:
    assert 1e6 < speed.best_product("cpu", "fp32", [64, 128]) < 1e16


# --- what is written ---


@pytest.fixture(scope="module")
def small(small_checkpoint: Path) -> Iterator[Path]:
    """A small checkpoint in nano's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "NANO", replace(speed.NANO, id=str(small_checkpoint), folder=small_checkpoint))
        yield small_checkpoint


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo, small: Path) -> speed.Bench:
    """A run of everything about it, three rounds each."""
    folder = tmp_path_factory.mktemp("bench")
    run = speed.Bench(folder, folder / "bench.json", pairs=3, only=["nano"], peaks={"fp32": 2e11, "bf16": 2e12})
    run.clip = make_video("wide.mp4", source="testsrc2=s=320x180:r=24:d=1", frames=24)
    run.photo = speed.make_photo(folder, 320, 240)
    speed.run(run)
    return run


def test_rows_are_written_with_the_fields_that_others_read(bench: speed.Bench) -> None:
    rows = json.loads(bench.out.read_text())
    assert [row["name"] for row in rows] == [name for name in speed.NAMES if "nano" in name]
    assert all(set(row) == {"name", "ours_ms", "card_ms", "ratio", "low", "high"} for row in rows)
    for row in rows:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert min(row["ours_ms"], row["card_ms"]) > 0.1


def test_both_ways_come_to_the_same_tokens(bench: speed.Bench) -> None:
    for line in bench.lines:
        assert float(line.cosine) > (0.9999 if line.precision == "fp32" else 0.98), line
    assert {line.precision for line in bench.lines if line.name.endswith("fp32")} == {"fp32"}


def test_the_share_of_the_peak_is_told_of_the_forward_pass(bench: speed.Bench) -> None:
    for line in bench.lines:
        assert bool(re.fullmatch(r"\d+ % \(model card \d+ %\)", line.share)) == line.name.startswith("forward"), line


def test_the_whole_way_is_run_anew_for_a_file_that_was_seen_before(
    small: Path, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round through the model, whatever the app keeps."""
    encoder = speed.open_embedder(small, 16, "fp32").encoder
    passes, forward = [], type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda *args, **named: passes.append(1) or forward(*args, **named))
    run = speed.Bench(tmp_path, tmp_path / "bench.json", pairs=2, clip=make_video())
    speed.measure(run, "whole nano 16", small, speed.Card(small, "cpu"))
    precisions = {line.precision for line in run.lines}
    assert len(passes) == 3 * len(precisions)


def test_what_was_measured_stays_when_the_rest_is_not(tmp_path: Path) -> None:
    run = speed.Bench(tmp_path, tmp_path / "bench.json")
    for number in (1.0, 2.0):
        run.add(speed.Row.of(f"row {number:g}", [(number, 4.0)]), speed.Line(f"row {number:g}", "fp32", "", ""))
        rows = json.loads(run.out.read_text())
        assert [row["ours_ms"] for row in rows] == [1.0, 2.0][: int(number)]
    assert rows == [asdict(row) for row in run.rows]


def test_a_machine_measured_again_takes_its_own_place(bench: speed.Bench, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "BENCHMARKS.md"
    other = "## On a machine of old\n\n| | here |\n|---|---|\n| forward | 1 ms |\n\n### Several\n\nmore\n"
    path.write_text(f"# How fast\n\nThe method.\n\n{other}")
    part = speed.section(bench, datetime.date(2026, 5, 4))
    speed.publish(path, part)
    once = path.read_text()
    assert once == f"# How fast\n\nThe method.\n\n{other}\n{part}"
    assert "4 May 2026" in once
    assert re.search(r"`auto` takes (fp32|bf16).* \(nano\)", once)
    speed.publish(path, part.replace("4 May 2026", "5 May 2026"))
    assert path.read_text() == once.replace("4 May 2026", "5 May 2026")
    monkeypatch.setattr(speed, "processor", lambda: ("Another CPU", ["AVX2"]))
    speed.publish(path, speed.section(bench, datetime.date(2026, 5, 6)))
    titles = re.findall(r"^## (.*)", path.read_text(), re.MULTILINE)
    assert titles[0] == "On a machine of old"
    assert titles[2] == f"On Another CPU with AVX2, {torch.get_num_threads()} cores"
    assert path.read_text().startswith(once.replace("4 May 2026", "5 May 2026").rstrip())


def test_a_table_is_read_as_markdown_and_as_it_is() -> None:
    lines = speed.render([["", "here"], ["forward", "1.0 ms"], ["x", "20 ms"]]).splitlines()
    assert lines == ["|         | here   |", "|---------|--------|", "| forward | 1.0 ms |", "| x       | 20 ms  |"]


def test_a_part_leaves_the_published_tables_alone(
    small, make_video: MakeVideo, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(speed, "publish", lambda *_: pytest.fail("a part was published"))
    options = ["--pairs", "1", "--only", "nano image", "--clip", str(make_video()), "--json", str(tmp_path / "b.json")]
    assert speed.main(options) == 0
    said = capsys.readouterr().out
    assert said.rstrip().splitlines()[-2].startswith("| whole nano image ")
    assert len(json.loads((tmp_path / "b.json").read_text())) == 2


def test_surprise_is_measured_beside_the_forward_pass_of_a_window(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nano itself: the small checkpoint has no predictor that is quick to tell from its encoder."""
    monkeypatch.setattr(speed, "SURPRISE_FRAMES", (16, 20))
    run = speed.Bench(tmp_path, tmp_path / "bench.json", pairs=1, only=["surprise"])
    run.clip = make_video(frames=24)
    speed.run(run)
    (head, *rows) = run.tables["Surprise of nano at a clip of 10 s"]
    assert [row[:2] for row in rows] == [["16", "1"], ["20", "3"]]
    assert len(head) == len(rows[0])
    assert float(rows[1][4]) > float(rows[0][4]) > 1, "it encodes a window, its beginnings, and predicts the rest"


# --- on a GPU, and of the whole machine ---


def test_the_hubs_shapes_are_measured_as_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here on a CPU: two checkpoints of one size and one of another, and several clips at once of ViT-L's size."""
    wide = Size(64, 4, 1, 128, 32)
    known = [
        Checkpoint("facebook/vjepa2-tiny-fpc4-32", "", 4, TINY),
        Checkpoint("facebook/vjepa2-tiny-fpc2-32-tuned", "", 2, TINY),
        Checkpoint("facebook/vjepa2-wide-fpc4-32", "", 4, wide),
    ]
    monkeypatch.setattr(speed, "LARGE", known[0])
    run = speed.Bench(tmp_path, tmp_path / "bench.json", pairs=1, peaks={"fp32": 1e9, "bf16": 1e9})
    speed.measure_shapes(run, known)
    shapes, together = run.tables["All checkpoints of the Hub"], run.tables["Several clips at once"]
    assert [(row[0], row[1], row[2]) for row in shapes[1:]] == [
        ("`vjepa2-tiny-fpc4-32`", "4", "8"),
        ("`vjepa2-tiny-fpc2-32-tuned`", "2", "4"),
        ("`vjepa2-wide-fpc4-32`", "4", "8"),
    ]
    assert [row[:1] + row[2:3] for row in together[1:]] == [
        [f"ViT-L, {frames} frames", str(count)] for frames in (4, 2) for count in (1, 2, 4, 8)
    ]
    assert all(len(row) == len(table[0]) for table in (shapes, together) for row in table)


def test_the_processes_of_a_process_are_known() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in speed.children(os.getpid())
        child.kill()


def test_peak_memory_counts_what_is_loaded(make_video: MakeVideo, tmp_path: Path) -> None:
    """26 million weights of the encoder; a video of no size to speak of."""
    folder = speed.make_checkpoint(tmp_path, Size(512, 8, 8, 2048, 64))
    command = [sys.executable, "bench/speed.py", "--memory", "ours", str(folder), str(make_video())]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert 2 * 26e6 < json.loads(done.stdout)["peak memory"] < 1e9
