"""What this machine computes on, and how: which precision, products and attention are the quickest here is measured.

No flag of a CPU tells. One with AMX computes bfloat16 three times as fast as float32, one with avx512_bf16 alone four
times or half as fast; of the ways to compute attention, the best on one machine is several times slower on another.
"""

from __future__ import annotations

import functools
import json
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vjepa_demo import files
from vjepa_demo.errors import RequestError, cut
from vjepa_demo.model.checkpoints import Size
from vjepa_demo.model.forward import FUSED, Attention, Packed
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

# A layer is timed on the tokens of 16 frames, of which attention asks as many as make about the same work of any width.
TOKENS, LEAST_QUERIES = 2048, 512
PROBE = 16  # rows of the product by which it is told whether bf16 is worth a try
PROBES, PROBE_S = 20, 0.5  # so often, and so long, at most: one product is so short that another process hides it
RUNS, MOST_RUNS = 2, 7  # the quickest counts, once it is seen twice: what else the machine does only ever takes time
HOPELESS = 3.0  # a way that takes so many times the best one's time is not tried again; a first run may be slow
CLEARLY = 1.08  # less is what a busy moment does to a measurement
ALIKE = 1.1  # two runs that both were not disturbed
LONGEST_S = 5.0  # after which the quickest counts as it is
BLOCKS = (Attention(128), Attention(256), Attention(256, by_head=True), Attention(512, by_head=True))
GAIN = 1.1  # what bf16 must save to be taken: it is less exact, and timings differ by a few hundredths
FORMAT = 3


def choose_device(wanted: str = "auto") -> str:
    """ "cuda", "mps" or "cpu": the first that is there, or the one that is wanted.

    Raises:
        RequestError: the wanted device is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, there in present.items() if there)
    if not present.get(wanted, False):
        raise RequestError(f"There is no device {cut(wanted)} on this machine: use auto.")
    return wanted


def choose_precision(wanted: str, device: str, size: Size) -> str:
    """ "fp32" or "bf16": the quicker one here for an encoder of this size, unless one is asked for.

    On a CPU that is measured; CUDA has products of bf16 from Ampere on, which are then several times as fast.

    Raises:
        RequestError: the precision is unknown.
    """
    if wanted not in ("auto", *DTYPES):
        raise RequestError(f"The precision must be auto, fp32 or bf16, not {cut(wanted)}.")
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    return "bf16" if device == "cpu" and measured(size).gain >= GAIN else "fp32"


@dataclass(frozen=True)
class Way:
    """How layers are computed on a CPU in one precision, and how many milliseconds one took so."""

    attention: Attention = FUSED
    packed: bool = False
    milliseconds: float = float("inf")


@dataclass(frozen=True)
class Measured:
    """The quickest way found on this machine in each precision, for encoders of one width."""

    fp32: Way
    bf16: Way

    @property
    def gain(self) -> float:
        """How many times as fast as fp32 bf16 is."""
        return self.fp32.milliseconds / self.bf16.milliseconds

    def way(self, precision: str) -> Way:
        return self.bf16 if precision == "bf16" else self.fp32

    def words(self, precision: str) -> str:
        """What was measured, for a person."""
        if precision == "bf16":
            return f"measured {self.gain:.1f} × fp32 here"
        return f"bf16 measured {self.gain:.2f} × as fast here"


_guard = threading.Lock()


def measured(size: Size) -> Measured:
    """What was measured for encoders of this width on this machine, once: it is kept in the folder of the cache, by the
    CPU's name, torch's version and the number of threads."""
    with _guard:
        return _measured(size.channels, size.heads, size.inside)


@functools.cache
def _measured(channels: int, heads: int, inside: int) -> Measured:
    machine = f"{cpu_name()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    key = f"{FORMAT}: {channels} channels, {heads} heads, {inside} inside; {machine}"
    path = Path(settings.cache_dir) / "speed.json"
    if found := _known(path).get(key):
        return found
    started = time.perf_counter()
    fp32, cost = measure(channels, heads, inside, torch.float32), cost_of_bf16(channels, inside)
    if cost > HOPELESS:  # a CPU without any such products: all of a layer would take it minutes
        bf16 = Way(milliseconds=cost * fp32.milliseconds)
    else:
        bf16 = measure(channels, heads, inside, torch.bfloat16)
    found = Measured(fp32, bf16)
    log.info("%s: %s, after %.1f s", key, found, time.perf_counter() - started)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.lock(path.with_suffix(".lock")):
            known = {**{name: asdict(one) for name, one in _known(path).items()}, key: asdict(found)}
            files.replace_file(path, lambda target: target.write_text(json.dumps(known, indent=1), encoding="utf-8"))
    except OSError as error:
        log.warning("what was measured is not kept: %s", error)
    return found


def _known(path: Path) -> dict[str, Measured]:
    """What is written in a file of measurements; nothing where it cannot be read."""
    try:
        return {
            key: Measured(*(Way(**{**one[name], "attention": Attention(**one[name]["attention"])}) for name in DTYPES))
            for key, one in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        log.warning("%s cannot be read: it is measured again", path.name, exc_info=True)
        return {}


def cost_of_bf16(channels: int, inside: int) -> float:
    """How many times as long as in float32 a small product takes in bfloat16, by the quickest of several tries."""
    best: dict[torch.dtype, float] = {}
    started = time.perf_counter()
    with torch.inference_mode():
        layers = {
            dtype: (torch.ones(PROBE, channels, dtype=dtype), torch.ones(inside, channels, dtype=dtype))
            for dtype in DTYPES.values()
        }
        for _ in range(PROBES):
            for dtype, layer in layers.items():
                began = time.perf_counter()
                F.linear(*layer)
                best[dtype] = min(best.get(dtype, float("inf")), time.perf_counter() - began)
            if time.perf_counter() - started > PROBE_S:
                break
    return best[torch.bfloat16] / best[torch.float32]


def measure(channels: int, heads: int, inside: int, dtype: torch.dtype) -> Way:
    """Time what a layer of this width is made of, on random numbers. Raises what is no way's own failure."""
    random = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(dtype)

    with torch.inference_mode():
        shapes = ((3 * channels, channels), (channels, channels), (inside, channels), (channels, inside))
        weights = [(numbers(*shape) / shape[1] ** 0.5, numbers(shape[0])) for shape in shapes]
        queries = min(TOKENS, max(LEAST_QUERIES, 4 * TOKENS // heads))
        inputs = [numbers(1, queries, weight.shape[1]) for weight, _ in weights]

        def products(layers: list[Callable[[torch.Tensor], Any]]) -> Callable[[], Any]:
            return lambda: [layer(x) for layer, x in zip(layers, inputs, strict=True)]

        linear = {False: products([functools.partial(F.linear, weight=weight, bias=bias) for weight, bias in weights])}
        try:
            packed = products([Packed(weight, bias) for weight, bias in weights])
            packed()
            linear[True] = packed
        except (AttributeError, RuntimeError):  # no oneDNN, or none of its products for this machine
            pass
        q, (k, v) = numbers(1, heads, queries, channels // heads), numbers(2, 1, heads, TOKENS, channels // heads)
        ways: dict[Any, Callable[[], Any]] = {
            way: functools.partial(way, q, k, v, (channels // heads) ** -0.5) for way in (FUSED, *BLOCKS)
        }
        best, products_ms = quickest(linear)
        attention, attention_ms = quickest(ways)
    return Way(attention, best, (products_ms + attention_ms) * TOKENS / queries)


def quickest(ways: dict[Any, Callable[[], Any]]) -> tuple[Any, float]:
    """Which of these takes the least time, and how many milliseconds: the first, where no other is quicker by CLEARLY.
    Ways that are far behind are tried but once."""
    runs: dict[Any, list[float]] = {way: [] for way in ways}
    best: dict[Any, float] = {}
    begun = time.perf_counter()
    for number in range(MOST_RUNS + 1):  # in turn, so that a busy moment does not meet one of them alone
        for way, work in ways.items():
            if best.get(way, 0.0) <= HOPELESS * min(best.values(), default=0.0):
                started = time.perf_counter()
                work()
                runs[way].append((time.perf_counter() - started) * 1e3)
                best[way] = min(runs[way])
        usual, way = next(iter(ways)), min(best, key=lambda name: best[name])
        way = way if best[usual] >= CLEARLY * best[way] else usual
        late = time.perf_counter() - begun > LONGEST_S
        if number >= RUNS and (late or sorted(runs[way])[1] <= ALIKE * best[way]):  # the first fills caches
            break
    return way, best[way]


@functools.cache
def cpu_name() -> str:
    """The CPU as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
