"""Clip -> Embedding: device, precision, preprocessing, and the forward pass."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from vjepa_demo import jobs
from vjepa_demo.embedding import MOST_SIDES, Embedding, Fingerprint
from vjepa_demo.errors import CheckpointError, GpuError, RequestError, UserError, cut, out_of_memory
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.pictures import NEUTRAL_GROUND
from vjepa_demo.model import checkpoints, zero_gpu
from vjepa_demo.model.device import DTYPES, Way, choose_device, choose_precision, measured
from vjepa_demo.model.forward import Rope, encode, fuse, future, pack, patchify, predict, reference
from vjepa_demo.options import FITS, IMAGE_FRAMES, Fit, Sampling
from vjepa_demo.settings import ZERO_GPU, settings

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_PREDICTOR = (
    "This checkpoint has no predictor, so nothing can be expected with it: choose nano, or one of V-JEPA 2's four that "
    "were pretrained."
)

# The processor scales the short side to the crop's size first: a longer picture than this would fill the memory.
MAX_ASPECT = 20.0
# Most tokens that go through a model on a GPU at a time, four clips of ViT-L's own length: with ViT-g in bf16 what is
# in between takes 1 to 2 GB (estimated: 40 KB a token, and the pixels).
BATCH_TOKENS = 32_768


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the predictor expects of clips of which it was shown the first steps alone, float32.

    Attributes:
        target: `[B, T', H', W', D]`, the tokens of the whole clips, each layer-normed without weights: what the
            predictor was trained to tell.
        seen: by the number of steps that were shown, the tokens of those steps encoded alone, layer-normed as well,
            `[B, steps, H', W', D]`.
        expected: by the same, what is expected of the other steps, `[B, T' - steps, H', W', D]`.
    """

    target: np.ndarray
    seen: dict[int, np.ndarray]
    expected: dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Classification:
    """What a checkpoint's classifier makes of a clip, float32.

    Attributes:
        logits: `[L]`, one for each label that it knows.
        pooled: `[D]`, the vector that they are read off.
        attention: `[T', H', W']`, how much the pooler's query attends to each patch, the mean over heads; its sum is 1.
    """

    logits: np.ndarray
    pooled: np.ndarray
    attention: np.ndarray


class Encoder:
    """A checkpoint on a device, ready to embed clips. Make it with `get_encoder`, which keeps it."""

    def __init__(self, loaded: checkpoints.Loaded, device: str, precision: str) -> None:
        self.checkpoint = loaded.checkpoint
        self.revision = loaded.revision
        self.processor = loaded.processor
        self.device = device
        self.precision = precision
        self.dtype = DTYPES[precision]
        self.model = loaded.model.to(device)
        self.head = loaded.head and loaded.head.to(device)
        self.config: Any = self.model.config
        found = measured(loaded.checkpoint.size) if device == "cpu" else None
        # How the precision does on this machine, in words; none where that was not measured.
        self.speed = found.words(precision) if found else ""
        way = found.way(precision) if found else Way()
        self._attend = way.attention
        self._reference = settings.forward == "reference"
        if self._reference:
            self.model.encoder.to(self.dtype)  # the predictor is our own's, whose norms stay in float32
        else:
            fuse(self.model, self.dtype)
        # Bytes of its weights; on ZeroGPU they can only be counted before the page is launched.
        parts = [self.model, self.head] if self.head else [self.model]
        self.nbytes = sum(weights.nbytes for part in parts for weights in part.parameters())
        if way.packed and not self._reference:
            pack(self.model)

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

    def preprocess(self, clip: Clip, fit: Fit = "crop") -> tuple[np.ndarray, tuple[float, float, float, float]]:
        """Frames scaled and cut to the model's input; `normalise` makes of them what the model takes.

        Returns:
            uint8 `[T, 3, H, W]`, one frame for an image, where H and W are the checkpoint's crop size unless the fit is
            "whole", and the window: the rectangle (left, top, right, bottom) of the upright source that it shows, in
            pixels.

        Raises:
            RequestError: the fit is unknown, or the picture is too long and narrow.
        """
        height, width = clip.frames.shape[-2:]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise RequestError(
                f"The picture is {width} × {height} pixels, more than {MAX_ASPECT:g} times as long as it is wide: "
                "cut a less narrow part out of it."
            )
        frames = torch.from_dlpack(clip.frames)  # which takes an array that nobody may write to, without a word
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
        options |= {"do_rescale": False, "do_normalize": False}
        # Asked for tensors, it would copy what it has made, which takes three times as long as the scaling.
        (scaled_frames,) = self.processor(frames, **options)["pixel_values_videos"]
        x, y = clip.source.width / width, clip.source.height / height
        return scaled_frames.numpy(), (left * x, top * y, right * x, bottom * y)

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """What the model takes, float32 `[B, T, 3, H, W]`, of uint8 frames, as the checkpoint's processor makes it.

        One frame is an image, and repeated to 16.
        """
        own = self.processor
        mean, std = tuple(own.image_mean), tuple(own.image_std)
        pixels = own.rescale_and_normalize(frames, own.do_rescale, own.rescale_factor, own.do_normalize, mean, std)
        return pixels.repeat(1, IMAGE_FRAMES, 1, 1, 1) if pixels.shape[1] == 1 else pixels

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
        return self.encode_many([clip], fit, layer)[0]

    def encode_many(self, clips: Sequence[Clip], fit: Fit = "crop", layer: int | None = None) -> list[Embedding]:
        """Embed clips as `encode` embeds each. On a GPU those of one shape go through the model together.

        Of the times, a clip's is its share of its batch's.

        Raises:
            RequestError, CheckpointError: as `encode`; a clip that cannot be embedded ends all of it.
        """
        if layer is not None and not 0 <= layer < self.layers:
            raise RequestError(f"The layer must be 0 to {self.layers - 1}, not {cut(layer)}.")
        inputs = []
        for clip in clips:
            started = time.perf_counter()
            frames, window = self.preprocess(clip, fit)
            inputs.append((clip, frames, window, (time.perf_counter() - started) * 1e3))
        found: dict[int, Embedding] = {}
        for batch in self._batches([frames.shape for _, frames, _, _ in inputs]):
            jobs.check()
            started = time.perf_counter()
            tokens = self._run("forward", np.stack([inputs[number][1] for number in batch]), layer)
            arrays = [tokens[0]] if len(batch) == 1 else [own.copy() for own in tokens]  # none holds the others' memory
            share = (time.perf_counter() - started) * 1e3 / len(batch)
            for number, array in zip(batch, arrays, strict=True):
                clip, frames, window, preprocessed = inputs[number]
                rows, cols = (n // self.config.patch_size for n in frames.shape[-2:])
                found[number] = Embedding(
                    tokens=array.reshape(-1, rows, cols, array.shape[-1]),
                    timestamps=np.zeros(IMAGE_FRAMES) if clip.is_image else clip.timestamps,
                    fingerprint=self.fingerprint(clip.sampling, fit, layer),
                    device=self.device,
                    window=window,
                    source_size=(clip.source.width, clip.source.height),
                    timings_ms={"preprocess": preprocessed, "encode": share},
                    notes=clip.notes,
                    speed=self.speed,
                )
        return [found[number] for number in range(len(inputs))]

    def require_predictor(self) -> None:
        """Raises RequestError where the checkpoint's files hold no predictor."""
        if self.model.predictor is None:
            raise RequestError(NO_PREDICTOR)

    def forecast(self, frames: np.ndarray, steps: Sequence[int]) -> Forecast:
        """What the predictor expects where only the first time steps of clips are shown to the encoder.

        transformers takes the context out of an encoding of the whole clip, whose attention has seen what comes. Here
        the context is encoded alone.

        Args:
            frames: of `preprocess`, uint8 `[B, T, 3, H, W]`.
            steps: how many time steps of two frames are shown, each 1 to T/2 - 1: one forecast for each number.

        Raises:
            RequestError: the checkpoint has no predictor.
            CheckpointError, GpuError: as `encode`.
        """
        self.require_predictor()
        return self._run("foresee", frames, tuple(steps))

    def require_head(self) -> None:
        """Raises RequestError where the checkpoint's files hold no classifier."""
        if self.head is None:
            raise RequestError(checkpoints.NO_HEAD)

    @property
    def labels(self) -> tuple[str, ...]:
        """All that the checkpoint's classifier can name. Raises RequestError where it has none."""
        self.require_head()
        return self.head.labels

    def classify(self, tokens: np.ndarray) -> Classification:
        """What the checkpoint's classifier makes of a clip; equal to `VJEPA2ForVideoClassification` on its tokens.

        Args:
            tokens: of `encode`, of the last layer, on a grid of any shape, padding and all.

        Raises:
            RequestError: the checkpoint has no classifier.
            CheckpointError, GpuError: as `encode`.
        """
        self.require_head()
        logits, pooled, attention = self._run("judge", tokens.reshape(1, -1, tokens.shape[-1]).copy(), None)
        return Classification(logits[0], pooled[0], attention.reshape(tokens.shape[:-1]))

    def _run(self, method: str, frames: np.ndarray, argument: Any) -> Any:
        """What one of the methods below gives, on the device. Raises what it returns as an error."""
        found = (_work_on_gpu if self.device == "cuda" else _work)(self.key, method, frames, argument)
        if isinstance(found, UserError):
            raise found
        return found

    @property
    def batch_tokens(self) -> int:
        """Most tokens that go through the model at a time where they are of several clips: none on a CPU."""
        return 0 if self.device == "cpu" else BATCH_TOKENS

    def at_once(self, frames: int) -> int:
        """How many clips of so many frames, in the checkpoint's square, go through the model together."""
        side = self.config.crop_size
        return max(1, self.batch_tokens // self._tokens((frames, 3, side, side)))

    def _batches(self, shapes: list[tuple[int, ...]]) -> Iterator[list[int]]:
        """The numbers of clips that go through the model together: of one shape, and alone on a CPU."""
        alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, shape in enumerate(shapes):
            alike[shape].append(number)
        for shape, numbers in alike.items():
            most = max(1, self.batch_tokens // self._tokens(shape))
            yield from (numbers[first : first + most] for first in range(0, len(numbers), most))

    def _tokens(self, shape: tuple[int, ...]) -> int:
        """How many tokens a clip of frames `[T, 3, H, W]` has."""
        frames = IMAGE_FRAMES if shape[0] == 1 else shape[0]
        return (
            frames
            // self.config.tubelet_size
            * (shape[2] // self.config.patch_size)
            * (shape[3] // self.config.patch_size)
        )

    @property
    def key(self) -> Key:
        return self.checkpoint.id, self.device, self.precision

    def forward(self, frames: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """Frames of `preprocess`, uint8 `[B, T, 3, H, W]` -> tokens, float32 `[B, N, D]`, on the CPU."""
        with torch.inference_mode():
            return self._encode(self.normalise(frames.to(self.device)), layer).cpu()

    def _encode(self, pixels: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """Pixels of `normalise` -> tokens, float32 `[B, N, D]`, on the device."""
        # Between two layers a forward pass can be given up, or rest.
        if self._reference:
            return reference(self.model, pixels.to(self.dtype), layer=layer, between=jobs.give_way).float()
        rope = self._rope(self._grid(pixels), self.config.hidden_size // self.config.num_attention_heads)
        options: dict[str, Any] = {"layer": layer, "attend": self._attend, "between": jobs.give_way}
        return encode(self.model, patchify(pixels, self.config), None, rope, self.dtype, **options)

    def foresee(self, frames: torch.Tensor, steps: Sequence[int]) -> Forecast:
        """What `forecast` gives."""
        with torch.inference_mode():
            pixels = self.normalise(frames.to(self.device))
            grid = self._grid(pixels)
            rope = self._rope(grid, self.config.pred_hidden_size // self.config.pred_num_attention_heads)
            found = Forecast(self._arrange(_layer_norm(self._encode(pixels)), grid), {}, {})
            for count in steps:
                context = self._encode(pixels[:, : count * self.config.tubelet_size])
                numbers = future(grid[0], grid[1] * grid[2], count)
                at, asked = (torch.from_numpy(ids).to(self.device).expand(len(pixels), -1) for ids in numbers)
                options: dict[str, Any] = {"attend": self._attend, "between": jobs.give_way}
                told = predict(self.model, context, at, asked, rope, self.dtype, **options)
                found.seen[count] = self._arrange(_layer_norm(context), grid)
                found.expected[count] = self._arrange(told[:, context.shape[1] :], grid)
            return found

    def judge(self, tokens: torch.Tensor, _: None) -> tuple[np.ndarray, ...]:
        """What the head gives of tokens `[B, N, D]`: see `heads.Head`."""
        with torch.inference_mode():
            return tuple(found.cpu().numpy() for found in self.head(tokens.to(self.device), jobs.give_way))

    def _grid(self, pixels: torch.Tensor) -> tuple[int, int, int]:
        """Time steps, rows and columns of the tokens of pixels `[B, T, 3, H, W]`."""
        _, frames, _, height, width = pixels.shape
        patch = self.config.patch_size
        return frames // self.config.tubelet_size, height // patch, width // patch

    def _rope(self, grid: tuple[int, int, int], head: int) -> Rope:
        return Rope(self.config, head, self.device, grid[1:], grid[0])

    @staticmethod
    def _arrange(tokens: torch.Tensor, grid: tuple[int, int, int]) -> np.ndarray:
        """Tokens `[B, n, D]` on their grid, however many of its steps they are."""
        return tokens.float().cpu().numpy().reshape(len(tokens), -1, *grid[1:], tokens.shape[-1])


def _layer_norm(tokens: torch.Tensor) -> torch.Tensor:
    """Without weights, as the targets of V-JEPA 2's training were normed."""
    return torch.nn.functional.layer_norm(tokens, tokens.shape[-1:])


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
_prepared: dict[Key, Encoder] = {}  # those that ZeroGPU's workers begin with
_guard = threading.Lock()
_fetching: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
_loading = threading.Lock()  # one at a time: until an older one has made room for it, memory is taken twice


def _renew_locks() -> None:
    """A forked worker has no threads that would ever let go of the locks they held."""
    global _guard, _loading
    _guard, _loading = threading.Lock(), threading.Lock()
    _fetching.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def get_encoder(
    name: str = settings.checkpoint,
    device: str = "auto",
    precision: str = "auto",
    progress: checkpoints.Progress = lambda message: None,
) -> Encoder:
    """The encoder of a checkpoint, loaded once for each device and precision; others do not wait for its download.

    At most `settings.encoder_bytes` of them are kept when nobody uses them.

    Raises:
        CheckpointError: the checkpoint is unknown, cannot be loaded, or is not offered on this Space.
        RequestError: the device or the precision is not to be had.
        DiskError: there is no room for its files.
        Stopped: nobody waits for it any more.
    """
    checkpoint, key = _chosen(name, device, precision)
    if ZERO_GPU and key[1] == "cuda" and key not in _prepared:  # in a visitor's thread nothing can be put on the GPU
        choice = ", ".join(known.id for known in checkpoints.offered())
        raise CheckpointError(f"This Space does not offer {cut(name)} in this precision: choose one of {choice}.")
    return _get(checkpoint, key, progress)


def prepare() -> None:
    """On ZeroGPU, load what is offered there and the default; elsewhere nothing.

    It is called by the main thread before the page is launched: only there and then does the platform take weights for
    a GPU's. What cannot be loaded is offered no more, and the log says why.
    """
    wanted = {*checkpoints.offered(), checkpoints.default().checkpoint} if ZERO_GPU else ()
    for checkpoint in wanted:
        _, key = _chosen(checkpoint.id, "auto", "auto")
        if key[1] != "cuda":
            continue
        try:
            _prepared[key] = _get(checkpoint, key)
        except UserError as error:
            log.error("%s is not offered: %s", checkpoint.id, error)
            checkpoints.withdrawn.add(checkpoint.id)


def _get(
    checkpoint: checkpoints.Checkpoint, key: Key, progress: checkpoints.Progress = lambda message: None
) -> Encoder:
    found = _use(key)
    if found is None:
        with jobs.locked(_fetching[key]):
            found = _use(key)
            if found is None:
                folder = checkpoints.files_of(checkpoint, progress)
                # Of weights on the CPU ZeroGPU's `to("cuda")` makes no copy.
                device = "cpu" if ZERO_GPU else key[1]
                with jobs.locked(_loading):
                    found = _with_room(
                        lambda: Encoder(checkpoints.load(checkpoint, progress, folder, device, key[2]), *key[1:]), key
                    )
                    _keep(found)
    return found


def _use(key: Key) -> Encoder | None:
    if found := _all.get(key):
        _keep(found)
    return found


def _keep(encoder: Encoder) -> None:
    gone = []
    with _guard:
        _all[encoder.key] = _kept[encoder.key] = encoder
        _kept.move_to_end(encoder.key)
        while len(_kept) > 1 and sum(kept.nbytes for kept in _kept.values()) > settings.encoder_bytes:
            gone.append(_kept.popitem(last=False)[0])
    if gone:
        _give_back(gone)


def _give_back(gone: list[Key]) -> None:
    """Give back the memory of encoders that are no longer kept, unless somebody uses them."""
    for key in gone:
        log.info("%s on %s in %s makes room for another checkpoint", *key)
    gc.collect()  # a model is full of cycles
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _with_room(work: Callable[[], T], key: Key) -> T:
    """What some work for an encoder makes: where memory is full, again when no other one of its device is kept.

    Raises:
        CheckpointError: there is still too little.
    """
    try:
        return work()
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("out of memory, what is not used makes room: %s", cut(str(error), 200))
    # Only now is what the failed work had made out of reach.
    with _guard:
        gone = [other for other in _kept if other != key and other[1] == key[1]]
        for other in gone:
            del _kept[other]
    _give_back(gone)
    try:
        return work()
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("out of memory", exc_info=True)
        raise CheckpointError(
            "There is too little memory for this: take fewer frames, or a smaller checkpoint."
        ) from error


def is_loaded(name: str, device: str = "auto", precision: str = "auto") -> bool:
    """Whether `get_encoder` would answer at once. Raises as it does."""
    return _chosen(name, device, precision)[1] in _all


def _chosen(name: str, device: str, precision: str) -> tuple[checkpoints.Checkpoint, Key]:
    checkpoint = checkpoints.find(name)
    wanted = settings.device if device == "auto" else device
    if wanted == "auto" and ZERO_GPU and checkpoint is checkpoints.NANO:
        wanted = "cpu"  # nano takes less time there than it takes to be given a GPU, and costs visitors no quota
    chosen = choose_device(wanted)
    return checkpoint, (checkpoint.id, chosen, choose_precision(precision, chosen, checkpoint.size))


def _work(key: Key, method: str, frames: np.ndarray, argument: Any) -> Any:
    """The only function that needs the GPU, which may be in another process than the one that calls it.

    Args:
        key: the encoder, which is loaded where this process has none of it.
        method: "forward", "foresee" or "judge" of it.
        frames: uint8 `[B, T, 3, H, W]`, as `preprocess` makes them; for "judge" tokens, float32 `[B, N, D]`.
        argument: the method's other one.

    Returns:
        What the method gives: arrays go through the pipe between processes, tensors through shared memory, of
        which a container may have little. Or the error to raise, whose words would otherwise be lost on the way.

    Raises:
        GpuError: the GPU fails.
    """
    try:
        encoder = _use(key) or _get(checkpoints.find(key[0]), key)
        found = _with_room(lambda: getattr(encoder, method)(torch.from_numpy(frames), argument), key)
        return found.numpy() if isinstance(found, torch.Tensor) else found
    except UserError as error:
        return error
    except RuntimeError as error:
        if "CUDA error" not in str(error):
            raise
        log.exception("the GPU failed")
        raise GpuError from error


def _gpu_seconds(key: Key, method: str, frames: np.ndarray, argument: Any) -> int:
    """How long ZeroGPU is asked for its GPU, for these arguments of `_work`."""
    size = checkpoints.find(key[0]).size
    if method == "judge":  # the head has a few layers, in float32: less than the encoder's pass of as many tokens
        return zero_gpu.seconds(size, 2, frames.shape[1], len(frames), key[2])
    batch, count, _, height, width = frames.shape
    patches = (height // size.patch) * (width // size.patch)
    # A forecast encodes the clip and its beginning, and predicts about as many tokens with a smaller model.
    passes = 1 + 2 * len(argument) if method == "foresee" else 1
    return zero_gpu.seconds(size, IMAGE_FRAMES if count == 1 else count, patches, batch * passes, key[2])


_work_on_gpu = zero_gpu.on_zero_gpu(_gpu_seconds)(_work)
