"""The checkpoints known here, what each expects, and how one is loaded."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_demo import jobs
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import CheckpointError, RequestError, cut, out_of_memory
from vjepa_demo.model import hub
from vjepa_demo.settings import ASSETS, AUTO, ZERO_GPU, settings

log = logging.getLogger(__name__)

Progress = Callable[[str], None]

CLASSIFIER = "VJEPA2ForVideoClassification"
NO_HEAD = (
    "This checkpoint has no classifier, so it names nothing: choose one that was tuned on Something-Something v2 or "
    "Diving48, e.g. facebook/vjepa2-vitl-fpc16-256-ssv2, or a folder with another VJEPA2ForVideoClassification."
)


@dataclass(frozen=True)
class Size:
    """How large an encoder is: channels, attention heads, layers, channels inside an MLP, and the pixels of its square
    and patch."""

    channels: int
    heads: int
    layers: int
    inside: int
    side: int
    patch: int = 16

    def teraflops(self, tokens: int) -> float:
        """What one forward pass of a clip costs: its products with weights, and those of attention."""
        weights = self.channels * (8 * self.channels + 4 * self.inside)
        return self.layers * tokens * (weights + 4 * tokens * self.channels) / 1e12

    @property
    def parameters(self) -> int:
        """How many, to 2 %: the encoder's layers and its predictor."""
        return self.layers * self.channels * (4 * self.channels + 2 * self.inside) + 22_000_000

    @classmethod
    def of(cls, config: Any) -> Size:
        channels = config.hidden_size
        return cls(
            channels,
            config.num_attention_heads,
            config.num_hidden_layers,
            int(channels * config.mlp_ratio),
            config.crop_size,
            config.patch_size,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be named.

    Attributes:
        id: what the user types: "nano", a Hub id, or a folder.
        title: what the page shows.
        frames: frames of the clips it was trained on; what is sampled unless the user says otherwise.
        size: how large it is.
        folder: where its files are, for one that is not on the Hub.
        pooling: how its clips are compared unless the user says otherwise. The mean is what is customary; motion where
            that was measured to be better.
        has_head: whether it has a classifier beside its encoder.
    """

    id: str
    title: str
    frames: int
    size: Size
    folder: Path | None = None
    pooling: Pooling = "mean"
    has_head: bool = False

    def require_head(self) -> None:
        """Raises RequestError where it has no classifier."""
        if not self.has_head:
            raise RequestError(NO_HEAD)

    @property
    def name(self) -> str:
        """Its title's first words, e.g. "ViT-L"."""
        return self.title.split(" ·")[0]


NANO = Checkpoint(
    "nano", "nano · 192 channels, 128 px (embedded)", 16, Size(192, 3, 12, 768, 128, 8), ASSETS / "nano", "motion"
)

SIZES = {"vitl": (1024, 16, 24, 4096), "vith": (1280, 16, 32, 5120), "vitg": (1408, 22, 40, 6144)}

# https://huggingface.co/collections/facebook/v-jepa-2-6841bad8413014e185b497a6
HUB = tuple(
    Checkpoint(
        f"facebook/vjepa2-{name}",
        title,
        frames,
        Size(*SIZES[name[:4]], 384 if "-384" in name else 256),
        has_head=name.endswith(("-ssv2", "-diving48")),
    )
    for name, title, frames in (
        ("vitl-fpc64-256", "ViT-L · 1024 channels, 256 px", 64),
        ("vith-fpc64-256", "ViT-H · 1280 channels, 256 px", 64),
        ("vitg-fpc64-256", "ViT-g · 1408 channels, 256 px", 64),
        ("vitg-fpc64-384", "ViT-g · 1408 channels, 384 px", 64),
        ("vitl-fpc16-256-ssv2", "ViT-L · tuned on Something-Something v2", 16),
        ("vitg-fpc64-384-ssv2", "ViT-g 384 px · tuned on Something-Something v2", 64),
        ("vitl-fpc32-256-diving48", "ViT-L · tuned on Diving48", 32),
        ("vitg-fpc32-384-diving48", "ViT-g 384 px · tuned on Diving48", 32),
    )
)
KNOWN = (NANO, *HUB)
LARGE = HUB[0]  # what one comes for where there is a GPU

withdrawn: set[str] = set()  # ids of those that were to be offered, but could not be loaded


def offered() -> tuple[Checkpoint, ...]:
    """Those that the page and the API offer (`settings.offered`), nano first. Raises CheckpointError as `find` does."""
    named = [find(name) for name in settings.offered.split()] or ([LARGE] if ZERO_GPU else HUB)
    return NANO, *(checkpoint for checkpoint in named if checkpoint is not NANO and checkpoint.id not in withdrawn)


@dataclass(frozen=True)
class Choice:
    """A checkpoint that was chosen for somebody, and why, in a few words for the page."""

    checkpoint: Checkpoint
    why: str

    @property
    def other(self) -> Checkpoint:
        """The one that might have been chosen instead."""
        return LARGE if self.checkpoint is NANO else NANO


def choose(*, gpu: bool) -> Choice:
    """What "auto" stands for, with a GPU or without: ViT-L where its files are here or can be had, else nano."""
    if not gpu:
        return Choice(NANO, "no GPU")
    if LARGE.id in withdrawn or (settings.offered and LARGE.id not in settings.offered.split()):
        return Choice(NANO, f"{LARGE.name} is not offered")
    if not hub.cached(LARGE.id) and (refusal := hub.refusal(LARGE.id)):
        return Choice(NANO, refusal.why)
    return Choice(LARGE, "on a GPU")


# What shows of a GPU that torch could use, before torch is loaded: device files of NVIDIA's driver, also on Jetson and
# under Windows' Linux, and of AMD's; the driver, whose device files may be made by whoever first asks for them.
GPU_SIGNS = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg", "/dev/kfd", "/proc/driver/nvidia")
PCI, NVIDIA = "/sys/bus/pci/devices/*/vendor", "0x10de"  # for a driver that is not loaded yet


def may_have_gpu() -> bool:
    """Whether torch, which takes a second to load, has to be asked for a GPU: False only where there surely is none."""
    if sys.platform != "linux" or any(map(glob.glob, GPU_SIGNS)):
        return True
    try:
        return any(Path(vendor).read_text().strip() == NVIDIA for vendor in glob.glob(PCI))
    except OSError:
        return True


def _has_gpu() -> bool:
    if settings.device not in (AUTO, "cuda") or not may_have_gpu():
        return False
    from vjepa_demo.model.device import choose_device

    return choose_device(AUTO) == "cuda"


_guard = threading.Lock()
_importing = threading.Lock()  # of two threads that import one module, one may see it half made
_automatic: Choice | None = None


def automatic() -> Choice:
    """What "auto" stands for in this process, found out when it is first asked for."""
    global _automatic
    with _guard:
        _automatic = _automatic or choose(gpu=_has_gpu())
        return _automatic


def default() -> Choice:
    """The checkpoint that the settings name. Raises CheckpointError where there is none of this name."""
    if settings.checkpoint == AUTO:
        return automatic()
    try:
        return Choice(find(settings.checkpoint), "as it was set up here")
    except CheckpointError as error:
        raise CheckpointError(f"VJEPA_DEMO_CHECKPOINT cannot be met. {error}") from error


def fall_back(failed: Checkpoint) -> Choice:
    """Nano instead of a default that cannot be loaded; where that was chosen automatically, "auto" is nano from now."""
    global _automatic
    choice = Choice(NANO, f"{failed.name} could not be loaded")
    with _guard:
        if _automatic and _automatic.checkpoint is failed:
            _automatic = choice
    return choice


def find(name: str) -> Checkpoint:
    """The checkpoint of this name: "auto", "nano", one of the eight on the Hub, or a folder in transformers' format.

    Raises:
        CheckpointError: there is none of this name.
    """
    if name == AUTO:
        return automatic().checkpoint
    for checkpoint in KNOWN:
        if name == checkpoint.id:
            return checkpoint
    folder = Path(os.path.expanduser(name))
    if name and os.path.isdir(folder):  # unlike Path's, these take any text
        config = _read_config(folder)
        title, frames = f"{folder.name} (local folder)", int(config.frames_per_clip)
        return Checkpoint(str(folder.resolve()), title, frames, Size.of(config), folder, has_head=_has_head(config))
    raise CheckpointError(
        f"There is no checkpoint {cut(name)}: choose auto, nano, a folder with a config.json, or one of "
        f"{', '.join(checkpoint.id for checkpoint in HUB)}."
    )


def _has_head(config: Any) -> bool:
    return CLASSIFIER in (config.architectures or ())


def _transformers() -> Any:
    """The library, which is loaded for all checkpoints but the embedded one."""
    with _importing:
        import transformers
        from transformers import AutoConfig, AutoModel, AutoVideoProcessor  # noqa: F401  # made when they are asked for
        from transformers.utils import logging as transformers_logging

        # Bars and hints of the library would mix with our own messages.
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        return transformers


def _read_config(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise CheckpointError("The checkpoint's folder has no config.json: choose a folder saved by transformers.")
    try:
        config = _transformers().AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        log.warning("config not read", exc_info=True)
        raise CheckpointError("The checkpoint's config.json cannot be read: save the checkpoint again.") from error
    if config.model_type != "vjepa2":
        raise CheckpointError(f"The checkpoint is a {config.model_type} model: choose a V-JEPA 2 checkpoint.")
    return config


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    Attributes:
        checkpoint: what was asked for.
        revision: the Hub's commit, or the SHA-256 of a local checkpoint's files (12 digits).
        model: `VJEPA2Model`, or the embedded checkpoint's `embedded.Model`, in evaluation mode. Its predictor is None
            where the files hold none, or only a part of it.
        processor: `VJEPA2VideoProcessor`, or the embedded checkpoint's `embedded.Processor`.
        head: `heads.Head` in evaluation mode and float32. None where the files hold none, or only a part of it.
    """

    checkpoint: Checkpoint
    revision: str
    model: Any
    processor: Any
    head: Any = None


def files_of(checkpoint: Checkpoint, progress: Progress = lambda message: None) -> Path:
    """The folder of a checkpoint's files, downloaded where they are not here yet; to wait for that is no work.

    Raises:
        CheckpointError: the Hub does not give them.
        DiskError: there is no room for them.
        Stopped: nobody waits for it any more; what has arrived is used the next time.
    """
    if checkpoint.folder:
        return checkpoint.folder
    with jobs.waiting():
        return hub.fetch(checkpoint.id, progress)


def load(
    checkpoint: Checkpoint,
    progress: Progress = lambda message: None,
    folder: Path | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> Loaded:
    """Load a checkpoint as its model card does, with `AutoModel` and `AutoVideoProcessor`; the embedded one without
    transformers (`model/embedded.py`), unless it is to run as there.

    Weights go to the device and the precision one by one: no more of memory is taken than they need there, and one
    weight as it is stored (`bench/loading.py`).

    Args:
        checkpoint: which.
        progress: told what is being done.
        folder: where its files are, as `files_of` gives it, which is asked when None.
        device, precision: "cpu", "cuda" or "mps"; "fp32", or "bf16" for all but the norms and the patch
            embedding.

    Raises:
        CheckpointError: the Hub does not give the files, or they do not hold a V-JEPA 2 that can be used.
        DiskError, Stopped: see `files_of`.
        MemoryError, RuntimeError: the device has too little memory (`errors.out_of_memory`).
    """
    import torch

    folder = folder or files_of(checkpoint, progress)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    without = checkpoint is NANO and settings.forward == "fast"
    config = None if without else _read_config(folder)
    progress(f"Loading {checkpoint.id}")
    try:
        model, processor = _embedded(folder) if without else _of_transformers(folder, config)
        _fill(model, _weights(folder), device, dtype)
        head = _head(config, _weights(folder), device) if config and _has_head(config) else None
    except Exception as error:
        if out_of_memory(error):
            raise
        log.warning("checkpoint not loaded", exc_info=True)
        raise CheckpointError(
            "The checkpoint's files are damaged or incomplete: download or save them again (safetensors, and "
            "video_preprocessor_config.json beside them)."
        ) from error
    cut_to, made_for = processor.crop_size, model.config.crop_size
    if cut_to["height"] != made_for or cut_to["width"] != made_for:
        raise CheckpointError(
            f"The checkpoint's processor cuts to {cut_to['height']} px but its positions are made for {made_for} px: "
            "set both to the same size."
        )
    model.eval().requires_grad_(False)
    return Loaded(checkpoint, revision_of(checkpoint, folder), model, processor, head)


def _embedded(folder: Path) -> tuple[Any, Any]:
    """A model on the meta device, and its processor, without transformers. Raises many errors."""
    from vjepa_demo.model import embedded

    return embedded.load(folder)


def _of_transformers(folder: Path, config: Any) -> tuple[Any, Any]:
    """The same of any checkpoint. Raises many errors."""
    import torch

    library = _transformers()
    with torch.device("meta"):
        model = library.AutoModel.from_config(config, attn_implementation="sdpa")
    return model, library.AutoVideoProcessor.from_pretrained(folder, local_files_only=True)


def _weights(folder: Path) -> list[Path]:
    """The files of weights, as transformers names them. Raises FileNotFoundError."""
    found = [folder / "model.safetensors"] if (folder / "model.safetensors").exists() else []
    found = found or sorted(folder.glob("model-?????-of-?????.safetensors"))
    if not found:
        raise FileNotFoundError(f"no safetensors in {folder}")
    return found


def _fill(model: Any, files: list[Path], device: str, dtype: Any) -> None:
    """Give a model on the meta device its weights. Raises ValueError or RuntimeError where they are not its own."""
    from vjepa_demo.model.forward import precision_of

    wanted = set(model.state_dict())
    prefix = f"{model.base_model_prefix}."  # a classifier keeps its encoder under that
    weights = _read(files, wanted, device, lambda name: precision_of(name, dtype), prefix)
    missing = wanted - set(weights)
    if of_encoder := [name for name in missing if name.startswith("encoder.")]:
        raise ValueError(f"{len(of_encoder)} weights of the encoder are missing, e.g. {min(of_encoder)}")
    if missing:  # what is left has no values
        model.predictor = None
        weights = {name: weight for name, weight in weights.items() if name.startswith("encoder.")}
    model.load_state_dict(weights, assign=True)


def _head(config: Any, files: list[Path], device: str) -> Any:
    """See `Loaded.head`. Raises RuntimeError where the weights are of another shape."""
    import torch

    from vjepa_demo.model.heads import Head

    with torch.device("meta"):
        head = Head(config)
    wanted = set(head.state_dict())
    weights = _read(files, wanted, device, lambda name: torch.float32)
    if wanted - set(weights):
        return None
    head.load_state_dict(weights, assign=True)
    return head.eval().requires_grad_(False)


def _read(
    files: list[Path], wanted: set[str], device: str, dtype_of: Callable[[str], Any], prefix: str = ""
) -> dict[str, Any]:
    """Those weights that are wanted, by their names without a prefix, on the device and each in its own precision."""
    from safetensors import safe_open

    weights = {}
    for path in files:
        # Read, not mapped: the pages of a mapped file count as this process's memory.
        with safe_open(path, framework="pt", backend="pread") as file:
            for name in file.keys():  # noqa: SIM118  # it is no dictionary
                own = name.removeprefix(prefix)
                if own in wanted:
                    weights[own] = file.get_tensor(name).to(device=device, dtype=dtype_of(own))
    return weights


def revision_of(checkpoint: Checkpoint, folder: Path) -> str:
    """Which one of its name a checkpoint is whose files lie in a folder, see `Loaded`. Raises OSError."""
    if checkpoint.folder is None:
        return folder.name  # a snapshot's folder is named after its commit
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", *folder.glob("*preprocessor*.json")]):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]
