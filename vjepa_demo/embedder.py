"""The Embedder: options bound to a loaded checkpoint. Whoever embeds holds one of these, never its parts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from vjepa_demo import jobs
from vjepa_demo.embedding import Embedding, Fingerprint, Kind, Pooling, Vector
from vjepa_demo.errors import RequestError
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.worker import read_clip
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Fit, Options, Sampling

if TYPE_CHECKING:
    import numpy as np

    from vjepa_demo.model.encoder import Classification, Encoder, Forecast

DEFAULTS = Options()
ENCODER = "vjepa_demo.model.encoder"  # to import it takes seconds

_importing = threading.Lock()  # of two threads that import one module, one may see it half made


def sampling_of(options: Options) -> Sampling:
    """Which frames these options take, once all has been checked that can be told without a file.

    Raises:
        CheckpointError, RequestError: an option cannot be met.
    """
    options.check()
    frames = checkpoints.find(options.checkpoint).frames if options.frames is None else options.frames
    sampling = Sampling(frames, options.sampling, options.start, options.end, options.hdr)
    sampling.check()
    return sampling


def read_timed(path: str | Path, sampling: Sampling) -> tuple[Clip, float]:
    """A file's clip, and how many milliseconds it took to read it. Raises UserError."""
    started = time.perf_counter()
    clip = read_clip(path, sampling)
    return clip, (time.perf_counter() - started) * 1e3


@dataclass(frozen=True, eq=False)
class Embedder:
    """Embeds clips, all in one way. Make it with `Embedder.open`.

    Attributes:
        encoder: the loaded checkpoint.
        sampling: which frames of a video it takes.
        fit: how a picture becomes the model's input.
    """

    encoder: Encoder
    sampling: Sampling
    fit: Fit = "crop"

    @classmethod
    def open(cls, options: Options = DEFAULTS, progress: Callable[[str], None] = lambda message: None) -> Embedder:
        """Load the checkpoint, once for all who use it, and bind it to the options.

        Raises:
            CheckpointError, RequestError: an option cannot be met, or the checkpoint cannot be loaded.
            DiskError: there is no room for its files.
            Stopped: nobody waits for it any more.
        """
        sampling = sampling_of(options)
        if not cls.is_open(options):
            progress("Loading the model")
        with jobs.locked(_importing):
            from vjepa_demo.model.encoder import get_encoder
        encoder = get_encoder(options.checkpoint, precision=options.precision, progress=progress)
        return cls(encoder, sampling, options.fit)

    @staticmethod
    def is_open(options: Options) -> bool:
        """Whether `open` would answer at once. Raises as it does."""
        if ENCODER not in sys.modules or _importing.locked():
            return False
        from vjepa_demo.model.encoder import is_loaded

        return is_loaded(options.checkpoint, precision=options.precision)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """How it embeds clips."""
        return self.encoder.fingerprint(self.sampling, self.fit)

    def kind(self, pooling: Pooling = "mean") -> Kind:
        """What kind of vectors its clips become. Raises RequestError where the checkpoint gives none."""
        if pooling == "probe":
            self.encoder.require_head()
        return Kind(self.fingerprint, pooling)

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """How its clips can be compared."""
        return tuple(one for one in get_args(Pooling) if one != "probe" or self.encoder.head is not None)

    def vector(self, embedding: Embedding, pooling: Pooling) -> Vector:
        """A clip that was embedded so, as one vector: as `Embedding.vector` gives it, or the one that the checkpoint's
        classifier reads its labels off (`heads.Head`). Raises UserError."""
        if pooling != "probe":
            return embedding.vector(pooling)
        return Vector(self.classify(embedding).pooled, Kind(embedding.fingerprint, pooling))

    @property
    def pooling(self) -> Pooling:
        """How its clips are compared unless somebody says otherwise."""
        return self.encoder.checkpoint.pooling

    @property
    def layers(self) -> int:
        """How many layers the encoder has."""
        return self.encoder.layers

    @property
    def at_once(self) -> int:
        """How many clips go through the model together."""
        return self.encoder.at_once(self.sampling.frames)

    def read(self, path: str | Path) -> Clip:
        """The frames of a video, or an image, in a process of its own (`worker.read_clip`). Raises UserError."""
        return read_clip(path, self.sampling)

    def embed(self, clip: Clip | str | Path, layer: int | None = None) -> Embedding:
        """Embed a clip, or a file; see `Encoder.encode`. Raises UserError."""
        if isinstance(clip, Clip):
            return self.encoder.encode(clip, self.fit, layer)
        read, decode_ms = read_timed(clip, self.sampling)
        embedding = self.encoder.encode(read, self.fit, layer)
        return replace(embedding, timings_ms={"decode": decode_ms, **embedding.timings_ms})

    def require_predictor(self) -> None:
        """Raises RequestError where the checkpoint has no predictor, which `forecast` needs."""
        self.encoder.require_predictor()

    def input_of(self, clip: Clip) -> np.ndarray:
        """A clip's frames as the model takes them, uint8 `[T, 3, H, W]`. Raises RequestError."""
        return self.encoder.preprocess(clip, self.fit)[0]

    def forecast(self, frames: np.ndarray, steps: Sequence[int]) -> Forecast:
        """What the predictor expects of clips `[B, T, 3, H, W]` of which so many time steps are shown; see
        `Encoder.forecast`. Raises UserError."""
        return self.encoder.forecast(frames, steps)

    @property
    def labels(self) -> tuple[str, ...]:
        """All that the checkpoint's classifier can name. Raises RequestError where it has none."""
        return self.encoder.labels

    def classify(self, embedding: Embedding) -> Classification:
        """What the checkpoint's classifier makes of a clip that was embedded so; see `Encoder.classify`.

        Raises:
            RequestError: the checkpoint has no classifier, or the tokens are not those of the last layer.
            UserError: as `Encoder.classify`.
        """
        if embedding.layer is not None:
            raise RequestError("The classifier reads the last layer's tokens: embed the clip at that.")
        return self.encoder.classify(embedding.tokens)

    def embed_many(self, clips: Sequence[Clip], layer: int | None = None) -> list[Embedding]:
        """Embed clips as `embed` does each, on a GPU several at a time; see `Encoder.encode_many`. Raises UserError."""
        return self.encoder.encode_many(clips, self.fit, layer)
