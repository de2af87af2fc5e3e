"""What is chosen for this machine: by what was measured, once, and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from vjepa_demo.errors import RequestError
from vjepa_demo.model import device
from vjepa_demo.model.checkpoints import Size
from vjepa_demo.model.device import FUSED, Attention, Measured, Way, quickest

SIZE = Size(88, 4, 3, 352, 64)
BLOCKED = Attention(256, by_head=True)


class Times:
    """Stands for a machine on which a layer takes so many milliseconds in each precision."""

    def __init__(self, fp32: float, bf16: float) -> None:
        self.found = {torch.float32: Way(FUSED, False, fp32), torch.bfloat16: Way(BLOCKED, True, bf16)}
        self.asked: list[tuple[int, int, int, torch.dtype]] = []

    def __call__(self, channels: int, heads: int, inside: int, dtype: torch.dtype) -> Way:
        self.asked.append((channels, heads, inside, dtype))
        return self.found[dtype]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Times]:
    """Pretend to be started anew on a machine with these times, with the cache of this test."""
    monkeypatch.setattr(device, "settings", replace(device.settings, cache_dir=str(tmp_path / "cache")))

    def start(fp32: float = 30.0, bf16: float = 10.0, cpu: str = "A CPU") -> Times:
        device._measured.cache_clear()
        times = Times(fp32, bf16)
        monkeypatch.setattr(device, "measure", times)
        monkeypatch.setattr(device, "cost_of_bf16", lambda *_: 1.0)
        monkeypatch.setattr(device, "cpu_name", lambda: cpu)
        return times

    monkeypatch.setattr(device, "_measured", device.functools.cache(device._measured.__wrapped__))
    return start


@pytest.mark.parametrize(("fp32", "bf16", "chosen"), [(30, 10, "bf16"), (10, 30, "fp32"), (10.5, 10, "fp32")])
def test_auto_is_the_quicker_precision(machine, fp32: float, bf16: float, chosen: str) -> None:
    machine(fp32, bf16)
    assert device.choose_precision("auto", "cpu", SIZE) == chosen
    for asked in ("fp32", "bf16"):
        assert device.choose_precision(asked, "cpu", SIZE) == asked


def test_a_width_is_measured_once_and_then_known_also_to_the_next_start(machine, tmp_path: Path) -> None:
    times = machine()
    first = device.measured(SIZE)
    assert device.measured(SIZE) is first
    assert times.asked == [(88, 4, 352, torch.float32), (88, 4, 352, torch.bfloat16)]
    assert first == Measured(Way(FUSED, False, 30.0), Way(BLOCKED, True, 10.0))
    later = machine(fp32=1.0)
    assert device.measured(SIZE) == first
    assert device.measured(replace(SIZE, layers=7, side=32)) == first, "neither counts for the time of one layer"
    assert later.asked == []
    assert device.measured(replace(SIZE, channels=96)).fp32.milliseconds == 1.0
    assert device.measured(SIZE) == first, "the other width has not taken its place"
    assert len(json.loads((tmp_path / "cache" / "speed.json").read_text())) == 2


def test_a_cpu_without_products_in_bf16_is_not_kept_busy_with_them(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    times = machine(fp32=10.0)
    monkeypatch.setattr(device, "cost_of_bf16", lambda *_: 40.0)
    assert device.choose_precision("auto", "cpu", SIZE) == "fp32"
    assert times.asked == [(88, 4, 352, torch.float32)]
    assert device.measured(SIZE).words("fp32") == "bf16 measured 0.03 × as fast here"


def test_another_cpu_is_measured_anew(machine) -> None:
    machine(cpu="A CPU")
    assert device.measured(SIZE).gain == 3.0
    machine(fp32=10.0, cpu="Another CPU")
    assert device.measured(SIZE).gain == 1.0
    machine(fp32=1.0, cpu="A CPU")
    assert device.measured(SIZE).gain == 3.0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"x": 1}', '{"x": {"fp32": {}, "bf16": {"attention": {"rows": 1}}}}', "\0"]
)
def test_a_file_of_measurements_that_is_damaged_is_measured_again(machine, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cache" / "speed.json"
    path.parent.mkdir()
    path.write_text(text)
    machine()
    assert device.measured(SIZE).gain == 3.0
    assert machine(fp32=1.0).asked == []
    assert device.measured(SIZE).gain == 3.0, "and was written anew"


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(machine, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    times = machine()
    assert device.measured(SIZE).gain == device.measured(SIZE).gain == 3.0
    assert len(times.asked) == 2


def test_words_tell_what_was_measured(machine) -> None:
    machine(30.0, 10.0)
    assert device.measured(SIZE).words("bf16") == "measured 3.0 × fp32 here"
    machine(10.0, 40.0, cpu="Another CPU")
    assert device.measured(SIZE).words("fp32") == "bf16 measured 0.25 × as fast here"


class Work:
    """Takes the seconds that are said, the last of these from then on."""

    def __init__(self, now: list[float], *seconds: float) -> None:
        self.now, self.left, self.runs = now, list(seconds), 0

    def __call__(self, *_: object) -> None:
        self.runs += 1
        self.now[0] += self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Work]:
    """Makes works of a clock that nothing else moves."""
    now = [0.0]
    monkeypatch.setattr(device.time, "perf_counter", lambda: now[0])
    return partial(Work, now)


def test_the_quickest_way_is_found_and_hopeless_ones_are_not_repeated(clock) -> None:
    ways = {"warms up": clock(1.2, 0.5), "steady": clock(0.7), "slow": clock(9.0)}
    assert quickest(ways) == ("warms up", pytest.approx(500))
    assert ways["slow"].runs == 1
    assert ways["steady"].runs > 1


def test_a_busy_moment_decides_nothing(clock) -> None:
    """A time counts once it was seen twice."""
    ways = {"disturbed": clock(0.5, 0.2, 0.18, 0.1, 0.05), "steady": clock(0.08)}
    assert quickest(ways) == ("steady", pytest.approx(80)), "one that is far behind once is not tried again"
    ways = {"disturbed": clock(0.2, 0.14, 0.07, 0.11, 0.05), "steady": clock(0.08)}
    assert quickest(ways) == ("disturbed", pytest.approx(50))


@pytest.mark.parametrize(("bf16", "cost"), [((9.0, 9.0, 9.0, 0.01), 1.0), ((0.4,), 40.0)])
def test_whether_bf16_is_hopeless_is_not_asked_once(clock, monkeypatch: pytest.MonkeyPatch, bf16, cost: float) -> None:
    monkeypatch.setattr(device, "PROBE_S", 100.0)
    works = {torch.float32: clock(0.01), torch.bfloat16: clock(*bf16)}
    monkeypatch.setattr(device.F, "linear", lambda x, weight: works[x.dtype]())
    assert device.cost_of_bf16(8, 16) == pytest.approx(cost)


def test_this_machine_is_measured_truly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that waits is never chosen, and what is told is what a layer takes."""
    monkeypatch.setattr(device, "TOKENS", 128)
    monkeypatch.setattr(device, "LEAST_QUERIES", 64)
    for dtype in (torch.float32, torch.bfloat16):
        found = device.measure(64, 4, 256, dtype)
        assert found.attention in (FUSED, *device.BLOCKS)
        assert 0 < found.milliseconds < 10_000


def test_gpus_are_told_by_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert device.choose_precision("auto", "cuda", SIZE) == expected
    assert device.choose_precision("auto", "mps", SIZE) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.choose_device() == "mps"


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="precision"):
        device.choose_precision("fp16", "cpu", SIZE)
    with pytest.raises(RequestError, match="device"):
        device.choose_device("tpu")
