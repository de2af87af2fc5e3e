"""Clip -> Embedding: device, precision, preprocessing, and the forward pass."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch

from vjepa_demo import jobs
from vjepa_demo.embedding import MOST_SIDES, Embedding, Fingerprint
from vjepa_demo.errors import CheckpointError, RequestError, cut
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.pictures import NEUTRAL_GROUND
from vjepa_demo.model import checkpoints
from vjepa_demo.model.forward import use_rotation_table
from vjepa_demo.options import FITS, IMAGE_FRAMES, Fit, Sampling
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)


# The processor scales the short side to the crop's size first: a longer picture than this would fill the memory.
MAX_ASPECT = 20.0
ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
GPU_SECONDS = 15  # declared to ZeroGPU
FULL_MEMORY = re.compile("out of memory|allocate memory")


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


def choose_precision(wanted: str, device: str) -> str:
    """ "fp32" or "bf16": bf16 where it is faster, that is on CUDA from Ampere on and on CPUs with AMX.

    Raises:
        RequestError: the precision is unknown.
    """
    if wanted not in ("auto", "fp32", "bf16"):
        raise RequestError(f"The precision must be auto, fp32 or bf16, not {cut(wanted)}.")
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    # avx512_bf16 without AMX is slower than fp32.
    return "bf16" if device == "cpu" and torch.cpu._is_amx_tile_supported() else "fp32"


def device_name(device: str) -> str:
    """What to show a person, e.g. "NVIDIA H200" or "CPU"."""
    return torch.cuda.get_device_name() if device == "cuda" else device.upper()


class Encoder:
    """A checkpoint on a device, ready to embed clips. Make it with `get_encoder`, which keeps it."""

    def __init__(self, loaded: checkpoints.Loaded, device: str, precision: str) -> None:
        self.checkpoint = loaded.checkpoint
        self.revision = loaded.revision
        self.processor = loaded.processor
        self.device = device
        self.precision = precision
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model = loaded.model.to(device=device, dtype=dtype)
        self.config: Any = self.model.config
        self._grid = use_rotation_table(self.model)
        for layer in self.model.encoder.layer:  # between two layers a forward pass can be given up, or rest
            layer.register_forward_pre_hook(lambda *_: jobs.give_way())

    @property
    def layers(self) -> int:
        """How many layers the encoder has."""
        return self.config.num_hidden_layers

    def fingerprint(self, sampling: Sampling, fit: Fit = "crop", layer: int | None = None) -> Fingerprint:
        """How clips are embedded with these options; an image counts as a clip sampled with the same options."""
        return Fingerprint(
            checkpoint=self.checkpoint.id,
            revision=self.revision,
            precision=self.precision,
            sampling=sampling.name,
            fit=fit,
            layer=layer,
        )

    def preprocess(self, clip: Clip, fit: Fit = "crop") -> tuple[torch.Tensor, tuple[float, float, float, float]]:
        """Frames as the model takes them.

        Returns:
            float32 `[1, T, 3, H, W]`, where H and W are the checkpoint's crop size unless the fit is "whole", and the
            window: the rectangle (left, top, right, bottom) of the upright source that it shows, in pixels.

        Raises:
            RequestError: the fit is unknown, or the picture is too long and narrow.
        """
        height, width = clip.frames.shape[-2:]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise RequestError(
                f"The picture is {width} × {height} pixels, more than {MAX_ASPECT:g} times as long as it is wide: "
                "cut a less narrow part out of it."
            )
        frames = torch.from_numpy(clip.frames)
        side = self.config.crop_size
        options: dict[str, Any] = {}
        if fit == "crop":
            short = self.processor.size["shortest_edge"]
            # The processor rounds the long side down, then cuts from the middle, again rounding down.
            scaled = [
                short if n == min(height, width) else int(short * n / min(height, width)) for n in (width, height)
            ]
            corner = [int((n - side) / 2) for n in scaled]
            left, top = (c * n / s for c, n, s in zip(corner, (width, height), scaled, strict=True))
            right, bottom = ((c + side) * n / s for c, n, s in zip(corner, (width, height), scaled, strict=True))
        elif fit in ("whole", "squash", "pad"):
            patch = self.config.patch_size
            rows, cols = whole_grid(width, height, side // patch) if fit == "whole" else (side // patch, side // patch)
            options = {"do_center_crop": False, "size": {"height": rows * patch, "width": cols * patch}}
            left, top, right, bottom = 0.0, 0.0, float(width), float(height)
            if fit == "pad":
                frames, left, top = _pad_to_square(frames)
                right, bottom = left + max(width, height), top + max(width, height)
        else:
            raise RequestError(f"The fit must be {FITS}, not {cut(fit)}.")
        pixels = self.processor(frames, return_tensors="pt", **options)["pixel_values_videos"]
        if clip.is_image:
            pixels = pixels.repeat(1, IMAGE_FRAMES, 1, 1, 1)
        x, y = clip.source.width / width, clip.source.height / height
        return pixels, (left * x, top * y, right * x, bottom * y)

    def encode(self, clip: Clip, fit: Fit = "crop", layer: int | None = None) -> Embedding:
        """Embed a clip; equal to the model card's `get_vision_features` on the same frames.

        Args:
            clip: what to embed. An image is repeated to 16 frames.
            fit: "crop" scales the short side and cuts the middle out, as the checkpoint's processor does; "whole"
                scales all of it to a grid of its own shape (`whole_grid`), although the model was trained on squares;
                "squash" scales to a square; "pad" adds neutral borders to a square.
            layer: 0 to `layers - 1` for the output of that layer; None for the last one, normalised.

        Raises:
            RequestError: the fit or the layer is unknown.
            CheckpointError: the device has too little memory.
        """
        if layer is not None and not 0 <= layer < self.layers:
            raise RequestError(f"The layer must be 0 to {self.layers - 1}, not {cut(layer)}.")
        started = time.perf_counter()
        pixels, window = self.preprocess(clip, fit)
        ready = time.perf_counter()
        run = _forward_on_gpu if self.device == "cuda" else _forward
        tokens = run(self.key, pixels, layer)
        encoded = time.perf_counter()
        rows, cols = (n // self.config.patch_size for n in pixels.shape[-2:])
        return Embedding(
            tokens=tokens.reshape(-1, rows, cols, tokens.shape[-1]),
            timestamps=np.zeros(IMAGE_FRAMES) if clip.is_image else clip.timestamps,
            fingerprint=self.fingerprint(clip.sampling, fit, layer),
            device=self.device,
            window=window,
            source_size=(clip.source.width, clip.source.height),
            timings_ms={"preprocess": (ready - started) * 1e3, "encode": (encoded - ready) * 1e3},
            notes=clip.notes,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(weights.nbytes for weights in self.model.parameters())

    @property
    def key(self) -> Key:
        return self.checkpoint.id, self.device, self.precision

    def forward(self, pixels: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """`[1, T, 3, H, W]` -> float32 tokens `[1, N, D]` on the CPU."""
        with torch.inference_mode():
            self._grid.rows, self._grid.cols = (n // self.config.patch_size for n in pixels.shape[-2:])
            pixels = pixels.to(self.device, self.model.dtype)
            if layer is None:
                tokens = self.model.get_vision_features(pixels)
            else:
                tokens = self.model.encoder.embeddings(pixels)
                for block in self.model.encoder.layer[: layer + 1]:
                    tokens = block(tokens, None)[0]
            return tokens.float().cpu()


def whole_grid(width: int, height: int, side: int) -> tuple[int, int]:
    """(rows, columns) of patches for all of a picture: `side` along the short edge, and along the long one as many as
    keep the aspect ratio, to half a patch. A picture beyond MOST_SIDES : 1 has so many along the long edge and fewer
    along the short one; none of it is cut off."""
    long = min(MOST_SIDES * side, round(side * max(width, height) / min(width, height)))
    short = min(side, max(1, round(MOST_SIDES * side * min(width, height) / max(width, height))))
    return (short, long) if width >= height else (long, short)


def _pad_to_square(frames: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Frames in the middle of a neutral square, and where the square's corner lies in the frames' pixels."""
    count, channels, height, width = frames.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = torch.empty(count, channels, side, side, dtype=frames.dtype)
    square[:] = torch.tensor(NEUTRAL_GROUND, dtype=frames.dtype)[None, :, None, None]
    square[:, :, top : top + height, left : left + width] = frames
    return square, float(-left), float(-top)


Key = tuple[str, str, str]  # checkpoint, device, precision

# Every encoder that anybody holds, and those that are kept although nobody may: the longest unused goes first.
_all: weakref.WeakValueDictionary[Key, Encoder] = weakref.WeakValueDictionary()
_kept: OrderedDict[Key, Encoder] = OrderedDict()
_guard = threading.Lock()
_fetching: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
_loading = threading.Lock()  # one at a time: while it is loaded, a checkpoint takes its memory twice


def get_encoder(
    name: str = settings.checkpoint,
    device: str = "auto",
    precision: str = "auto",
    progress: checkpoints.Progress = lambda message: None,
) -> Encoder:
    """The encoder of a checkpoint, loaded once for each device and precision; others do not wait for its download.

    At most `settings.encoder_bytes` of them are kept when nobody uses them.

    Raises:
        CheckpointError: the checkpoint is unknown or cannot be loaded.
        RequestError: the device or the precision is not to be had.
        DiskError: there is no room for its files.
        Stopped: nobody waits for it any more.
    """
    checkpoint, key = _chosen(name, device, precision)
    found = _use(key)
    if found is None:
        with jobs.locked(_fetching[key]):
            found = _use(key)
            if found is None:
                folder = checkpoints.files_of(checkpoint, progress)
                with jobs.locked(_loading):
                    found = Encoder(checkpoints.load(checkpoint, progress, folder), key[1], key[2])
                _keep(found)
    return found


def _use(key: Key) -> Encoder | None:
    if found := _all.get(key):
        _keep(found)
    return found


def _keep(encoder: Encoder) -> None:
    with _guard:
        _all[encoder.key] = _kept[encoder.key] = encoder
        _kept.move_to_end(encoder.key)
        while len(_kept) > 1 and sum(kept.nbytes for kept in _kept.values()) > settings.encoder_bytes:
            key, _ = _kept.popitem(last=False)
            log.info("%s on %s in %s makes room for another checkpoint", *key)


def is_loaded(name: str, device: str = "auto", precision: str = "auto") -> bool:
    """Whether `get_encoder` would answer at once. Raises as it does."""
    return _chosen(name, device, precision)[1] in _all


def _chosen(name: str, device: str, precision: str) -> tuple[checkpoints.Checkpoint, Key]:
    checkpoint = checkpoints.find(name)
    wanted = settings.device if device == "auto" else device
    if wanted == "auto" and ZERO_GPU and checkpoint is checkpoints.NANO:
        wanted = "cpu"  # nano takes less time there than it takes to be given a GPU, and costs visitors no quota
    chosen = choose_device(wanted)
    return checkpoint, (checkpoint.id, chosen, choose_precision(precision, chosen))


def _forward(key: Key, pixels: torch.Tensor, layer: int | None) -> np.ndarray:
    """The only function that needs the GPU: CPU tensor `[1, T, 3, H, W]` in, float32 `[N, D]` out."""
    try:
        return _all[key].forward(pixels, layer)[0].numpy()
    except (MemoryError, RuntimeError) as error:
        # torch tells of full memory by an error of its own on a GPU, and by a RuntimeError on a CPU.
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or FULL_MEMORY.search(str(error)):
            log.warning("out of memory", exc_info=True)
            raise CheckpointError(
                "There is too little memory for this: take fewer frames, or a smaller checkpoint."
            ) from error
        if "CUDA error" in str(error):  # after such an error a process can often use the GPU no more
            log.exception("the GPU failed")
            raise CheckpointError(
                "The graphics card fails: try again; if that does not help, the app has to be started again."
            ) from error
        raise


def _on_zero_gpu(function: Any) -> Any:
    """On a ZeroGPU Space, a GPU is attached only while a decorated function runs; elsewhere nothing changes."""
    if not ZERO_GPU:
        return function
    import spaces

    return spaces.GPU(duration=GPU_SECONDS)(function)


_forward_on_gpu = _on_zero_gpu(_forward)
