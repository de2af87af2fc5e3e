"""The checkpoints known here, what each expects, and how one is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_demo import jobs, scratch
from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import CheckpointError, cut
from vjepa_demo.settings import ASSETS

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be named.

    Attributes:
        id: what the user types: "nano", a Hub id, or a folder.
        title: what the page shows.
        frames: frames of the clips it was trained on; what is sampled unless the user says otherwise.
        folder: where its files are, for one that is not on the Hub.
        pooling: how its clips are compared unless the user says otherwise. The mean is what is customary; motion where
            that was measured to be better.
    """

    id: str
    title: str
    frames: int
    folder: Path | None = None
    pooling: Pooling = "mean"


NANO = Checkpoint("nano", "nano · 192 channels, 128 px (embedded)", 16, ASSETS / "nano", "motion")

# https://huggingface.co/collections/facebook/v-jepa-2-6841bad8413014e185b497a6
HUB = tuple(
    Checkpoint(f"facebook/vjepa2-{name}", title, frames)
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


def find(name: str) -> Checkpoint:
    """The checkpoint of this name: "nano", one of the eight on the Hub, or a local folder in transformers' format.

    Raises:
        CheckpointError: there is none of this name.
    """
    for checkpoint in KNOWN:
        if name == checkpoint.id:
            return checkpoint
    folder = Path(os.path.expanduser(name))
    if name and os.path.isdir(folder):  # unlike Path's, these take any text
        config = _read_config(folder)
        return Checkpoint(str(folder.resolve()), f"{folder.name} (local folder)", int(config.frames_per_clip), folder)
    raise CheckpointError(
        f"There is no checkpoint {cut(name)}: choose nano, a folder with a config.json, or one of "
        f"{', '.join(checkpoint.id for checkpoint in HUB)}."
    )


def _read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise CheckpointError("The checkpoint's folder has no config.json: choose a folder saved by transformers.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
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
        model: `VJEPA2Model`, fp32, in evaluation mode, on the CPU.
        processor: `VJEPA2VideoProcessor`.
    """

    checkpoint: Checkpoint
    revision: str
    model: Any
    processor: Any


def files_of(checkpoint: Checkpoint, progress: Progress = lambda message: None) -> Path:
    """The folder of a checkpoint's files, downloaded where they are not here yet; to wait for that is no work.

    Raises:
        CheckpointError: the Hub cannot be reached.
        DiskError: there is no room for it.
        Stopped: nobody waits for it any more; what has arrived is used the next time.
    """
    if checkpoint.folder:
        return checkpoint.folder
    with jobs.waiting():
        return _download(checkpoint.id, progress)


def load(checkpoint: Checkpoint, progress: Progress = lambda message: None, folder: Path | None = None) -> Loaded:
    """Load a checkpoint as its model card does, with `AutoModel` and `AutoVideoProcessor`.

    Args:
        checkpoint: which.
        progress: told what is being done.
        folder: where its files are, as `files_of` gives it, which is asked when None.

    Raises:
        CheckpointError: the Hub cannot be reached, or the files do not hold a V-JEPA 2 that can be used.
        DiskError, Stopped: see `files_of`.
    """
    import torch
    from transformers import AutoModel, AutoVideoProcessor
    from transformers.utils import logging as transformers_logging

    # Bars and hints of the library would mix with our own messages.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()

    folder = folder or files_of(checkpoint, progress)
    config = _read_config(folder)
    progress(f"Loading {checkpoint.id}")
    try:
        # Position ids come from config.crop_size (not from the input), and weights may be stored in half precision.
        model, found = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="sdpa",
            dtype=torch.float32,
            output_loading_info=True,
        )
        missing = [name for name in found["missing_keys"] if name.startswith("encoder.")]
        if missing:  # transformers leaves these at random values
            raise ValueError(f"{len(missing)} weights of the encoder are missing, e.g. {min(missing)}")
        processor = AutoVideoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        log.warning("checkpoint not loaded", exc_info=True)
        raise CheckpointError(
            "The checkpoint's files are damaged or incomplete: download or save them again (safetensors, and "
            "video_preprocessor_config.json beside them)."
        ) from error
    if processor.crop_size["height"] != config.crop_size or processor.crop_size["width"] != config.crop_size:
        raise CheckpointError(
            f"The checkpoint's processor cuts to {processor.crop_size['height']} px but its positions are made for "
            f"{config.crop_size} px: set both to the same size."
        )
    model.eval().requires_grad_(False)
    return Loaded(checkpoint, _revision(checkpoint, folder), model, processor)


def _revision(checkpoint: Checkpoint, folder: Path) -> str:
    if checkpoint.folder is None:
        return folder.name  # a snapshot's folder is named after its commit
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", *folder.glob("*preprocessor*.json")]):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]


def _download(repo_id: str, progress: Progress) -> Path:
    """The folder of the newest snapshot of a Hub checkpoint; the one on disk where the Hub cannot be reached."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from tqdm.auto import tqdm

    job, cache = jobs.current(), _existing(Path(constants.HF_HUB_CACHE))

    class Bar(tqdm):
        """Tells `progress` how much has arrived, and ends the download where it is of no use; in any thread."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _Nowhere()})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if job:
                job.check()
            if self.unit == "B" and self.total:
                scratch.check_room(int(self.total - self.n), cache)
                progress(f"Downloading {repo_id}: {self.n / 1e6:,.0f} of {self.total / 1e6:,.0f} MB")
            return shown

    files = ["*.json", "*.safetensors"]
    with contextlib.suppress(LocalEntryNotFoundError):
        folder = Path(snapshot_download(repo_id, allow_patterns=files, local_files_only=True))
        if any(folder.glob("*.safetensors")):  # an interrupted download leaves only the small files
            return folder
    progress(f"Downloading {repo_id} from the Hugging Face Hub")
    try:
        return Path(snapshot_download(repo_id, allow_patterns=files, etag_timeout=10, tqdm_class=Bar))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        log.warning("hub: %s", cut(str(error), 200))
        raise CheckpointError(
            f"{repo_id} is not on this machine and the Hugging Face Hub cannot be reached: connect to the network and "
            "try again, or use the checkpoint nano, which needs none."
        ) from error


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


class _Nowhere:
    """A file for tqdm to write its bar to, since the message goes to `progress`."""

    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...
