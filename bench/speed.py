"""How long V-JEPA 2 takes on this machine, here and as its model card says to run it, and what else a user waits for.

    python bench/speed.py                           # all of it: the table, bench.json and BENCHMARKS.md
    python bench/speed.py --only nano --pairs 1     # a part, quickly; BENCHMARKS.md stays as it is

What is compared, and how, is told where it is published, at the head of BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loading import resident
from PIL import Image
from pipeline import make_clip
from torch.utils.flop_counter import FlopCounterMode
from torchcodec.decoders import VideoDecoder
from transformers import AutoConfig, AutoModel, AutoVideoProcessor, VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor
from transformers.image_utils import load_image

from vjepa_demo.embedder import Embedder
from vjepa_demo.files import replace_file
from vjepa_demo.media import worker
from vjepa_demo.media.clip import Clip
from vjepa_demo.model.checkpoints import HUB, LARGE, NANO, Checkpoint, Size
from vjepa_demo.model.device import DTYPES, choose_device, cpu_name
from vjepa_demo.model.encoder import Encoder, get_encoder
from vjepa_demo.options import IMAGE_FRAMES, Options, Precision, Sampling
from vjepa_demo.settings import settings
from vjepa_demo.views.surprise import Windows, surprise

ROOT = Path(__file__).resolve().parents[1]

CASES = ("forward nano 16", "whole nano 16", "whole nano image", "forward vitl 16", "whole vitl 16", "forward vitl 64")
# What ends the names of their rows: nothing where the precision is left to "auto".
PRECISIONS: dict[str, Precision] = {"": "auto", " fp32": "fp32"}
NAMES = (*(case + ending for case in CASES for ending in PRECISIONS), "start")
# Where the ratio is how many times as long ours takes; elsewhere it is how many times as fast it is.
TIMES_AS_LONG = ("start", "first clip of one's own", "surprise")
PAIRS, PAIRS_VITL, PAIRS_START = 11, 3, 7
SURPRISE_FRAMES = (16, 40)  # of a clip of 10 s: as many as nano takes, and four a second
BATCHES = (1, 2, 4, 8)
# What a processor may have for products in few bits, the strongest first, and what a person calls it.
FLAGS = {
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx2": "AVX2",
}
MIB = 1024 * 1024
WAIT_MS = 120_000


# --- pairs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Two ways of doing the same: medians in milliseconds, and the median, least and greatest ratio of the pairs."""

    name: str
    ours_ms: float
    card_ms: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, name: str, pairs: Sequence[tuple[float, float]]) -> Row:
        """Of pairs (ours, the card's), in milliseconds. The ratio is how many times as fast ours is, or of those in
        TIMES_AS_LONG how many times as long ours takes."""
        ratios = [ours / card if name in TIMES_AS_LONG else card / ours for ours, card in pairs]
        ours_ms, card_ms = (statistics.median(times) for times in zip(*pairs, strict=True))
        return cls(name, ours_ms, card_ms, statistics.median(ratios), min(ratios), max(ratios))


def alternate(
    ways: Mapping[str, Callable[..., Any]], rounds: int, given: Callable[[], tuple[Any, ...]] = tuple, warm: int = 1
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Time all ways in turn, every other round the other way round, so that what else the machine does falls on all.

    Args:
        ways: what is timed, by name.
        rounds: how many rounds count.
        given: makes the arguments of one call, before its time begins.
        warm: how many rounds go before and do not count.

    Returns:
        Of each round the milliseconds by name, and what each way returned last.
    """
    times: list[dict[str, float]] = []
    found: dict[str, Any] = {}
    for number in range(warm + rounds):
        took = {}
        for name in list(ways)[:: -1 if number % 2 else 1]:
            found.pop(name, None)  # the tokens of 64 frames are large
            arguments = given()
            started = time.perf_counter()
            found[name] = ways[name](*arguments)
            took[name] = (time.perf_counter() - started) * 1e3
        times.append(took)
    return times[warm:], found


# --- what is run -----------------------------------------------------------------------------------------------------


class Card:
    """What V-JEPA 2's model card says to run (https://huggingface.co/facebook/vjepa2-vitl-fpc64-256), in float32."""

    def __init__(self, folder: Path, device: str) -> None:
        self.processor = AutoVideoProcessor.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device)

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels `[B, T, 3, H, W]` -> tokens `[B, N, D]` in the machine's memory."""
        with torch.no_grad():
            return self.model.get_vision_features(pixels.to(self.model.device)).cpu()

    def video(self, path: Path, indices: list[int]) -> np.ndarray:
        frames = VideoDecoder(path).get_frames_at(indices=indices).data
        return self.tokens(self.processor(frames, return_tensors="pt")["pixel_values_videos"]).numpy()

    def image(self, path: Path) -> np.ndarray:
        pixels = self.processor(load_image(str(path)), return_tensors="pt")["pixel_values_videos"]
        return self.tokens(pixels.repeat(1, IMAGE_FRAMES, 1, 1, 1)).numpy()

    def normalised(self, frames: torch.Tensor) -> torch.Tensor:
        """Pixels `[1, T, 3, H, W]` of frames that already have the model's size."""
        return self.processor(frames, return_tensors="pt", do_resize=False, do_center_crop=False)["pixel_values_videos"]


def open_embedder(folder: Path, frames: int, precision: Precision) -> Embedder:
    name = NANO.id if folder == NANO.folder else str(folder)
    return Embedder.open(Options(name, frames, precision=precision))


def make_checkpoint(folder: Path, size: Size, device: str = "cpu") -> Path:
    """A V-JEPA 2 of this size with random weights, made on the device and saved in float32, as the Hub's are. What it
    costs does not depend on what it has learnt."""
    config = VJEPA2Config(
        crop_size=size.side,
        patch_size=size.patch,
        hidden_size=size.channels,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        mlp_ratio=size.inside / size.channels,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = VJEPA2Model(config)
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=size.side).save_pretrained(folder)
    return folder


def make_photo(folder: Path, width: int = 1920, height: int = 1280) -> Path:
    """Noise whose spectrum falls as a photograph's does, as a JPEG."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.rfftfreq(width, 1 / width), np.fft.fftfreq(height, 1 / height)[:, None])
    grey, *colours = (
        np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(frequency, 1), s=(height, width))
        for _ in range(4)
    )
    picture = np.stack([grey + 0.3 * colour for colour in colours], axis=-1)
    path = folder / "photo.jpg"
    Image.fromarray(np.clip(128 + 50 * picture / picture.std(), 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def copy_of(path: Path, folder: Path) -> Path:
    """The same pictures in a file that has its bytes alone: nothing that the app keeps of a file can be of this one."""
    data, sign = path.read_bytes(), os.urandom(16)
    if path.suffix == ".jpg":
        data = data[:2] + struct.pack(">HH", 0xFFFE, 2 + len(sign)) + sign + data[2:]  # a comment
    else:
        data += struct.pack(">I4s", 8 + len(sign), b"free") + sign  # a box without a meaning
    copy = folder / f"{sign.hex()}{path.suffix}"
    copy.write_bytes(data)
    return copy


def frames_taken(clip: Clip) -> list[int]:
    """The numbers of a clip's frames in its video, whose rate is even."""
    return np.rint(clip.timestamps * clip.source.fps).astype(int).tolist()


def worst_cosine(ours: Any, card: Any) -> float:
    """The least cosine between a token `[.., D]` of one and the same token of the other."""
    ours, card = (torch.as_tensor(tokens).double().flatten(0, -2) for tokens in (ours, card))
    return torch.nn.functional.cosine_similarity(ours, card, dim=-1).min().item()


# --- what the machine can do -----------------------------------------------------------------------------------------


def flops(folder: Path, shape: Sequence[int]) -> int:
    """What torch counts in transformers' forward pass over pixels `[B, T, 3, H, W]`: two for each multiplication of
    its products, with weights and in attention, however these are computed in the end."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager")
        pixels = torch.empty(*shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.get_vision_features(pixels)
    return counter.get_total_flops()


def best_product(device: str, precision: str, sides: Iterable[int] | None = None) -> float:
    """FLOP/s of the fastest product of two large square matrices in this precision."""
    best = math.inf
    for side in sides or ((4096, 8192, 16384) if device == "cuda" else (2048, 4096)):
        one, other = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
        for _ in range(6):
            started = time.perf_counter()
            product = one @ other
            product[0, 0].item()  # a GPU works on while Python does
            best = min(best, (time.perf_counter() - started) / (2 * side**3))
    return 1 / best


def processor() -> tuple[str, list[str]]:
    """The CPU's name, and what it has of FLAGS, the strongest first."""
    has: set[str] = set()
    with contextlib.suppress(OSError):
        found = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        has = set(found[1].split() if found else ())
    return re.sub(r"\((R|TM)\)", "", cpu_name()), [words for flag, words in FLAGS.items() if flag in has]


def machine(device: str) -> str:
    """The name under which BENCHMARKS.md has it."""
    name, units = processor()
    cpu = " with ".join([name, *units[:1]]) + f", {torch.get_num_threads()} cores"
    if device == "cuda":
        return torch.cuda.get_device_name()
    return cpu if device == "cpu" else f"{cpu}, {device.upper()}"


def description(device: str) -> list[str]:
    """What was measured with what, one fact a line."""
    name, units = processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "torchcodec"))
    lines = [
        f"{name} ({', '.join(units) or 'of unknown units'}), {torch.get_num_threads()} threads on {os.cpu_count()} "
        f"cores, {memory:.0f} GiB of memory",
        f"{platform.system()}, Python {platform.python_version()}, {libraries}",
    ]
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        lines.insert(0, f"{gpu.name}, {gpu.total_memory / 1024**3:.0f} GiB of memory, CUDA {torch.version.cuda}")
    return lines


# --- one run ---------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """A line of the main table, as it is shown."""

    name: str
    precision: str
    ours: str
    card: str
    ratio: str = ""
    spread: str = ""
    cosine: str = ""
    share: str = ""


HEAD = Line("", "precision", "here", "model card", "ratio", "lowest – highest", "worst cosine", "share of the peak")


@dataclass
class Bench:
    """What is asked for, and what was found so far. `tables` are those beside the main one, by their titles, and
    `chosen` is the precision that "auto" took, with the reason, by the checkpoint's name."""

    folder: Path
    out: Path
    pairs: int | None = None
    only: Sequence[str] = ()
    device: str = "cpu"
    clip: Path = Path()
    photo: Path = Path()
    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return not self.only or any(word in name for word in self.only)

    def add(self, row: Row, line: Line) -> None:
        """Keep a row, with all before it in the file, and show it."""
        self.rows.append(row)
        text = json.dumps([asdict(each) for each in self.rows], indent=1) + "\n"
        replace_file(self.out, lambda path: path.write_text(text, encoding="utf-8"))
        ours, card, ratio, spread = shown(row)
        self.say(replace(line, ours=ours, card=card, ratio=ratio, spread=spread))

    def say(self, line: Line) -> None:
        self.lines.append(line)
        print(" · ".join(filter(None, asdict(line).values())), flush=True)

    def share(self, work: float, took_ms: float, precision: str) -> str:
        """What part of the machine's best, in percent, measured when it is first asked for."""
        if precision not in DTYPES:
            return "–"
        if precision not in self.peaks:
            self.peaks[precision] = best_product(self.device, precision)
        return f"{100 * work / (took_ms / 1e3) / self.peaks[precision]:.0f} %"


def ms(number: float) -> str:
    return f"{number:,.0f} ms" if number >= 100 else f"{number:.1f} ms"


def shown(row: Row) -> list[str]:
    return [ms(row.ours_ms), ms(row.card_ms), f"{row.ratio:.2f}", f"{row.low:.2f} – {row.high:.2f}"]


def measure(bench: Bench, case: str, folder: Path, card: Card) -> None:
    """Both rows of a case, of the same rounds. What "auto" takes is measured once, and is both rows, where it is fp32.

    The card's way stands between the two of ours, so that each of them has it beside itself.
    """
    stage, name, taken = case.split()
    frames, path = (IMAGE_FRAMES, bench.photo) if taken == "image" else (int(taken), bench.clip)
    ours = {ending: open_embedder(folder, frames, precision) for ending, precision in PRECISIONS.items()}
    own = {ending: embedder for ending, embedder in ours.items() if not ending or embedder.encoder != ours[""].encoder}
    taken_by_auto = ours[""].encoder
    bench.chosen[name] = ": ".join(filter(None, (taken_by_auto.precision, taken_by_auto.speed)))
    clip = ours[""].read(path)
    ways: dict[str, Callable[..., Any]]
    work, given = 0, tuple
    if stage == "forward":
        pictures = torch.from_numpy(ours[""].encoder.preprocess(clip)[0])
        pixels = card.normalised(pictures)
        work = flops(folder, pixels.shape)
        ways = {end: lambda by=embedder.encoder: by.forward(pictures[None]) for end, embedder in own.items()}
        theirs: Callable[..., Any] = lambda: card.tokens(pixels)  # noqa: E731
    else:
        indices = frames_taken(clip)
        ways = {end: lambda file, by=embedder: by.embed(file).tokens for end, embedder in own.items()}
        theirs = card.image if clip.is_image else lambda file: card.video(file, indices)
        given = lambda: (copy_of(path, bench.folder),)  # noqa: E731
    first, *rest = ways
    ways = {first: ways[first], "card": theirs, **{end: ways[end] for end in rest}}
    rounds = bench.pairs or (PAIRS_VITL if name == "vitl" else PAIRS)
    # On a CPU 64 frames take a minute, beside which nothing counts that is done once.
    times, found = alternate(ways, rounds, given, warm=int(frames < 64 or bench.device != "cpu"))
    for ending, embedder in ours.items():
        way, precision = ending if ending in ways else "", embedder.encoder.precision
        row = Row.of(case + ending, [(took[way], took["card"]) for took in times])
        share = ""
        if work:
            here, there = bench.share(work, row.ours_ms, precision), bench.share(work, row.card_ms, "fp32")
            share = f"{here} (model card {there})"
        cosine = worst_cosine(found[way], found["card"])
        bench.add(row, Line(row.name, precision, "", "", cosine=f"{cosine:.6f}", share=share))


def measure_checkpoint(bench: Bench, name: str, folder: Callable[[], Path], cases: Iterable[str] = CASES) -> None:
    """The cases of a checkpoint that are wanted."""
    wanted = [case for case in cases if case.split()[1] == name and any(bench.wants(case + end) for end in PRECISIONS)]
    if wanted:
        where = folder()
        card = Card(where, bench.device)
        for case in wanted:
            measure(bench, case, where, card)


def measure_surprise(bench: Bench) -> None:
    """What nano's surprise at a clip costs, beside one forward pass of a window of it."""
    rows = [["frames", "windows", "surprise", "forward pass of one window", "ratio", "lowest – highest"]]
    for frames in SURPRISE_FRAMES:
        embedder = open_embedder(NANO.folder or Path(), frames, "auto")
        clip, windows = embedder.read(bench.clip), Windows.fitting(frames)
        pixels = embedder.input_of(clip)
        window = torch.from_numpy(pixels[None, : windows.window])
        mask = np.ones([side // embedder.encoder.config.patch_size for side in pixels.shape[-2:]], bool)
        ways: dict[str, Callable[..., Any]] = {
            "ours": lambda: surprise(pixels, clip.timestamps, mask, embedder.forecast, windows),  # noqa: B023
            "card": lambda: embedder.encoder.forward(window),  # noqa: B023
        }
        times, _ = alternate(ways, bench.pairs or PAIRS)
        row = Row.of("surprise", [(took["ours"], took["card"]) for took in times])
        count = (len(pixels) - windows.window) // windows.stride + 1
        rows.append([str(len(pixels)), str(count), *shown(row)])
        print(f"surprise · {' · '.join(rows[-1])}", flush=True)
    bench.tables["Surprise of nano at a clip of 10 s"] = rows


def measure_memory(bench: Bench, name: str, folder: Path) -> None:
    """Each way in a process of its own, from one file, the loading of the checkpoint with it."""
    taken = {}
    for way in ("ours", "card"):
        command = [sys.executable, __file__, "--memory", way, str(folder), str(bench.clip)]
        taken[way] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    for what, ours in taken["ours"].items():
        theirs = taken["card"][what]
        ratio = f"{ours / theirs:.2f}"
        bench.say(Line(f"{what}, {name}", "", f"{ours / MIB:,.0f} MiB", f"{theirs / MIB:,.0f} MiB", ratio))


def take_memory(way: str, folder: Path, path: Path) -> dict[str, int]:
    """Bytes at the peak of one way less those before, of this process and the one that reads files for it."""
    import transformers.models.vjepa2.modeling_vjepa2  # noqa: F401

    device = choose_device(settings.device)
    torch.zeros(1, device=device)  # CUDA's own memory is neither's
    indices = frames_taken(worker.read_clip(path, Sampling(16)))
    VideoDecoder(path).get_frames_at(indices=[0])  # FFmpeg's libraries are loaded
    processes = [os.getpid(), *children(os.getpid())]
    for process in processes:
        Path(f"/proc/{process}/clear_refs").write_text("5")  # the largest size is from now on
    before = sum(resident("VmRSS", process) for process in processes)
    if way == "ours":
        open_embedder(folder, 16, "auto").embed(path)
    else:
        Card(folder, device).video(path, indices)
    taken = {"peak memory": sum(resident("VmHWM", process) for process in processes) - before}
    return taken | ({"peak memory of the GPU": torch.cuda.max_memory_allocated()} if device == "cuda" else {})


def children(process: int) -> list[int]:
    """The processes that one has started, and those that they have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that has ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    own = [child for child, parent in parents.items() if parent == process]
    return [*own, *(below for child in own for below in children(child))]


# --- the page --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium that runs, or None where there is none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if not path:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def measure_page(bench: Bench) -> None:
    """From `python app.py` to the first heat that is painted, and what a browser that has kept nothing is sent."""
    sys.path.append(str(ROOT / "tests"))  # the app in a process of its own, and all that a page asks for
    from demo import demo_process
    from first_load import Load, ready

    size = {"viewport": {"width": 1280, "height": 720}}
    cache = bench.folder / "cache"
    cache.mkdir()
    with chromium() as browser:
        if browser is None:
            print("the page: left out, Chromium or Playwright is not here", flush=True)
            return
        if bench.wants("start") or bench.wants("first clip"):
            times = start(lambda: browser.new_page(**size), cache, bench.pairs or PAIRS_START, bench.clip)
            bench.add(Row.of("start", [(took["ours"], took["card"]) for took in times]), Line("start", "", "", ""))
            own = Row.of("first clip of one's own", [(took["own"], took["card"]) for took in times])
            bench.say(Line(own.name, "", *shown(own)))
        if bench.wants("first load"):
            with demo_process(cache) as (address, _):
                page = browser.new_page(**size)
                load = Load(page, address)
                ready(page)
                page.wait_for_timeout(1000)  # for the ends of what was begun
                for what, asked in ("until the first heat", load.until_heat()), ("in all", load.requests.values()):
                    sent = f"{sum(request['bytes'] for request in asked) / 1000:,.0f} kB, {len(asked)} requests"
                    bench.say(Line(f"first load, {what}", "", sent, ""))


def start(new_page: Callable[[], Any], cache: Path, rounds: int, clip: Path) -> list[dict[str, float]]:
    """Times of the app until its first heat is painted, of the imports that no such app can do without, and from that
    heat until the viewer shows a clip that is chosen at that moment, while the model is still being loaded."""
    from demo import app_process, free_port, listens
    from first_load import HEARD

    pages: list[Any] = []
    own: list[float] = []
    with contextlib.ExitStack() as running:

        def choose_clip(page: Any) -> None:
            started = time.perf_counter()
            page.locator("input[type=file]").first.set_input_files(clip)
            page.get_by_label("Patch viewer", exact=True).get_by_text(clip.name).first.wait_for()
            own.append((time.perf_counter() - started) * 1e3)

        def prepare() -> tuple[Any, int]:
            while pages:
                choose_clip(pages.pop())
            running.close()  # the app of the round before, whose end is not timed
            page = new_page()
            page.set_default_timeout(WAIT_MS)
            page.add_init_script(HEARD)
            running.callback(page.close)
            return page, free_port()

        def ours(page: Any, port: int) -> None:
            process = running.enter_context(app_process(port, cache))
            while not listens(port):
                assert process.poll() is None, (cache / "app.log").read_text(errors="replace")
                time.sleep(0.01)
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_function("window.firstHeat")
            pages.append(page)

        def card(page: Any, port: int) -> None:
            subprocess.run([sys.executable, "-c", "import gradio, torch"], check=True)

        times = alternate({"ours": ours, "card": card}, rounds, prepare)[0]
        prepare()
    return [{**took, "own": each} for took, each in zip(times, own[-rounds:], strict=True)]


# --- on a GPU --------------------------------------------------------------------------------------------------------


def random_frames(size: Size, frames: int) -> torch.Tensor:
    """uint8 `[1, T, 3, H, W]`, of the model's size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, 3, size.side, size.side), dtype=torch.uint8, generator=generator)


def measure_batches(bench: Bench, title: str, encoder: Encoder, frames: torch.Tensor, work: float) -> None:
    """Milliseconds a clip where several go through the model at once, and the GPU's memory that they take."""
    head = ["", "precision", "clips", "a clip", "share of the peak", "memory beside the weights"]
    table = bench.tables.setdefault("Several clips at once", [head])
    for count in BATCHES:
        many = frames.expand(count, -1, -1, -1, -1)
        if on_gpu := bench.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if on_gpu else 0
        times, _ = alternate({"": lambda many=many: encoder.forward(many)}, bench.pairs or PAIRS, warm=2)
        took = statistics.median(time[""] for time in times) / count
        memory = f"{(torch.cuda.max_memory_allocated() - before) / MIB:,.0f} MiB" if on_gpu else "–"
        table.append(
            [title, encoder.precision, str(count), ms(took), bench.share(work, took, encoder.precision), memory]
        )
        print(" · ".join(table[-1]), flush=True)


def measure_shapes(bench: Bench, known: Sequence[Checkpoint] = HUB) -> None:
    """The forward pass of all checkpoints of the Hub, each on a clip of its own length and size, beside the card's."""
    head = ["", "frames", "tokens", "TFLOP", "precision", "here", "model card", "ratio", "lowest – highest", "share"]
    table = bench.tables.setdefault("All checkpoints of the Hub", [head])
    for size in dict.fromkeys(checkpoint.size for checkpoint in known):
        alike = {checkpoint.id.partition("/")[2]: checkpoint.frames for checkpoint in known if checkpoint.size == size}
        with tempfile.TemporaryDirectory(dir=bench.folder) as name:
            folder = make_checkpoint(Path(name), size, bench.device)
            cells = {count: measure_shape(bench, size, count, folder) for count in dict.fromkeys(alike.values())}
        for name, count in alike.items():
            table.append([f"`{name}`", *cells[count]])
            print(" · ".join(table[-1]), flush=True)


def measure_shape(bench: Bench, size: Size, count: int, folder: Path) -> list[str]:
    """One clip of `count` frames; of ViT-L, several at once, too."""
    card, encoder = Card(folder, bench.device), get_encoder(str(folder), device=bench.device)
    frames = random_frames(size, count)
    pixels = card.normalised(frames[0]).to(bench.device)
    ways = {"ours": lambda: encoder.forward(frames), "card": lambda: card.tokens(pixels)}
    times, _ = alternate(ways, bench.pairs or PAIRS_VITL, warm=2)
    row, work = Row.of("", [(took["ours"], took["card"]) for took in times]), flops(folder, pixels.shape)
    if size == LARGE.size:
        measure_batches(bench, f"ViT-L, {count} frames", encoder, frames, work)
    tokens = count // 2 * (size.side // size.patch) ** 2
    share = bench.share(work, row.ours_ms, encoder.precision)
    return [str(count), f"{tokens:,}", f"{work / 1e12:.1f}", encoder.precision, *shown(row), share]


# --- what is told ----------------------------------------------------------------------------------------------------


def render(table: Sequence[Sequence[str]]) -> str:
    """A table of Markdown that can be read as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    head, *rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows])


def main_table(bench: Bench) -> str:
    return render([list(asdict(line).values()) for line in (HEAD, *bench.lines)])


def section(bench: Bench, day: datetime.date) -> str:
    """What BENCHMARKS.md says of this machine."""
    peaks = ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in sorted(bench.peaks.items()))
    chosen = "; ".join(f"{words} ({name})" for name, words in bench.chosen.items())
    facts = [*description(bench.device), f"`auto` takes {chosen}", f"Best product of two large matrices: {peaks}"]
    facts.append(f"Measured on {day:%-d %B %Y}")
    parts = [f"## On {machine(bench.device)}", "\n".join(f"- {fact}" for fact in facts), main_table(bench)]
    parts += [f"### {title}\n\n{render(table)}" for title, table in bench.tables.items()]
    return "\n\n".join(parts) + "\n"


def publish(path: Path, part: str) -> None:
    """Put a machine's section into the file: in the place of what the same machine had there, or at the end."""
    head, *sections = re.split(r"^(?=## On )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    title = part.partition("\n")[0]
    at = next((at for at, old in enumerate(sections) if old.partition("\n")[0] == title), len(sections))
    sections[at : at + 1] = [part]
    text = "\n\n".join(piece.strip() for piece in (head, *sections)) + "\n"
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def run(bench: Bench) -> None:
    """All that is wanted, the longest last."""
    vitl = bench.folder / "vitl"

    def large() -> Path:
        return vitl if vitl.exists() else make_checkpoint(vitl, LARGE.size)

    measure_checkpoint(bench, "nano", lambda: NANO.folder or Path())
    if bench.wants("start") or bench.wants("first clip") or bench.wants("first load"):
        measure_page(bench)
    if bench.wants("surprise"):
        measure_surprise(bench)
    measure_checkpoint(bench, "vitl", large, [case for case in CASES if not case.endswith(" 64")])
    if bench.wants("memory vitl 16"):
        measure_memory(bench, "whole vitl 16", large())
    measure_checkpoint(bench, "vitl", large, [case for case in CASES if case.endswith(" 64")])
    if bench.device == "cuda" and bench.wants("hub"):
        measure_shapes(bench)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, help=f"instead of {PAIRS}, and {PAIRS_VITL} of ViT-L")
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD", help="what has one of these in its name")
    parser.add_argument("--clip", type=Path, help="an MP4 of an even frame rate instead of the one that is made")
    parser.add_argument("--json", type=Path, default=ROOT / "bench.json", help="where the rows go")
    parser.add_argument("--publish", type=Path, help="where the tables go (BENCHMARKS.md, where all is measured)")
    parser.add_argument("--memory", nargs=3, metavar=("WAY", "FOLDER", "CLIP"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory:
        way, folder, clip = options.memory
        print(json.dumps(take_memory(way, Path(folder), Path(clip))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.json, options.pairs, options.only, choose_device(settings.device))
        bench.clip, bench.photo = options.clip or make_clip(bench.folder), make_photo(bench.folder)
        run(bench)
    print(f"\n{machine(bench.device)}\n\n{main_table(bench)}")
    target = options.publish or (None if options.pairs or options.only or options.clip else ROOT / "BENCHMARKS.md")
    if target:
        publish(target, section(bench, datetime.date.today()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
