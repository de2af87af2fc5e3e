"""One upload -> every view, stage by stage. The page, the shell and the API all come through here."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from vjepa_demo import jobs
from vjepa_demo.embedding import Embedding, Pooling
from vjepa_demo.errors import RequestError, cut
from vjepa_demo.media.reader import Clip, Sampling, SamplingMode
from vjepa_demo.media.worker import read_clip, warm
from vjepa_demo.model import checkpoints
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.views.similarity import similarity

if TYPE_CHECKING:
    from vjepa_demo.references.comparison import Neighbour, ReferenceSet

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def say_nothing(message: str) -> None:
    """The progress of a caller who does not want to hear of it."""


@dataclass(frozen=True)
class Request:
    """What is to be done with a file.

    Attributes:
        frames: how many frames; None for as many as the checkpoint was trained on.
        start, end: the span, in seconds from the first frame; None means the end.
        pooling: how the clip becomes the vector that is compared with the references; None for the checkpoint's own
            way, and for the mean where the file is an image.
        layer: the encoder layer whose tokens are wanted; None for the last, normalised.
        references: folder of reference clips; None for the one in the settings, or the shipped ones.
    """

    checkpoint: str = settings.checkpoint
    frames: int | None = None
    start: float = 0.0
    end: float | None = None
    sampling: SamplingMode = "even"
    fit: str = "crop"
    precision: str = "auto"
    pooling: Pooling | None = None
    layer: int | None = None
    references: str | None = None

    def check(self) -> Sampling:
        """The sampling asked for, once everything that can be told without the file has been checked.

        Raises:
            CheckpointError, RequestError: an option cannot be met.
        """
        from vjepa_demo.model.encoder import Fit

        if self.pooling not in (None, *get_args(Pooling)):
            raise RequestError(f"The pooling must be mean or motion, not {cut(self.pooling)}.")
        if self.fit not in get_args(Fit):
            raise RequestError(f"The fit must be crop, squash or pad, not {cut(self.fit)}.")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise RequestError(f"The precision must be auto, fp32 or bf16, not {cut(self.precision)}.")
        frames = checkpoints.find(self.checkpoint).frames if self.frames is None else self.frames
        sampling = Sampling(frames, self.sampling, self.start, self.end)
        sampling.check()
        return sampling

    @property
    def reference_folder(self) -> Path:
        return Path(self.references or settings.references or ASSETS / "references")


@dataclass(frozen=True)
class Place:
    """Where an embedding lies among the reference clips.

    Attributes:
        neighbours: the nearest references, by cosine, nearest first.
        position: (x, y) on the references' map.
        far: whether the clip is far from all references.
        pooling: how the compared vectors were made.
    """

    neighbours: list[Neighbour]
    position: tuple[float, float]
    far: bool
    pooling: Pooling = "mean"


@dataclass(frozen=True)
class Result:
    """What is known so far of one file; later stages fill in the rest.

    `pooling` is how it is compared with the references; `name` is the file's, the user's own text.
    """

    clip: Clip
    embedding: Embedding | None = None
    references: ReferenceSet | None = None
    place: Place | None = None
    pooling: Pooling = "mean"
    name: str = ""

    @property
    def parts(self) -> dict[int, int]:
        """Bytes of the arrays that it holds, by the identity of each: another layer of a clip has the same frames."""
        arrays = [self.clip.frames, *([self.embedding.tokens] if self.embedding else [])]
        return {id(array): array.nbytes for array in arrays}


def run(
    path: str | Path, request: Request, *, k: int = 5, with_references: bool = True, progress: Progress = say_nothing
) -> Iterator[Result]:
    """Yield the result as it grows: after decoding, after encoding, and with its place among the references.

    Raises:
        UserError: the file or an option is at fault.
    """
    warm()  # the child that decodes imports its libraries while this process imports the encoder's
    from vjepa_demo.model.encoder import get_encoder, is_loaded

    sampling = request.check()
    check_count(k)
    with contextlib.ExitStack() as turn:
        turn.enter_context(jobs.turn(progress))
        progress("Reading the file")
        started = time.perf_counter()
        clip = read_clip(path, sampling)
        decode_ms = (time.perf_counter() - started) * 1e3
        result = Result(clip, pooling=pooling_of(request, clip), name=Path(path).name)
        yield result

        if not is_loaded(request.checkpoint, precision=request.precision):
            turn.close()  # a download can take minutes, and needs no turn
        encoder = get_encoder(request.checkpoint, precision=request.precision, progress=progress)
        turn.enter_context(jobs.turn(progress))
        progress(f"Encoding {'the image' if clip.is_image else f'{len(clip.frames)} frames'} on {encoder.device}")
        embedding = encoder.encode(clip, request.fit, request.layer)  # type: ignore[arg-type]
    embedding = replace(embedding, timings_ms={"decode": decode_ms, **embedding.timings_ms})
    result = replace(result, embedding=embedding)
    yield result

    if with_references and request.layer is None:
        progress("Placing the clip among the references")
        references = reference_set(replace(request, pooling=result.pooling), progress)
        yield replace(result, references=references, place=place(embedding, references, k))


def at_layer(result: Result, layer: int | None, progress: Progress = say_nothing) -> Result:
    """The same clip, embedded in the same way, seen at another layer of the encoder. Raises UserError."""
    from vjepa_demo.model.encoder import get_encoder

    assert result.embedding is not None
    made = result.embedding.fingerprint
    encoder = get_encoder(made.checkpoint, precision=made.precision)
    with jobs.turn(progress):
        embedding = encoder.encode(result.clip, made.fit, layer)  # type: ignore[arg-type]
    times = {**result.embedding.timings_ms, **embedding.timings_ms}
    return replace(result, embedding=replace(embedding, timings_ms=times))


def alike(path: str | Path, result: Result, progress: Progress = say_nothing) -> Result:
    """A second clip, embedded as the first one was. Raises UserError."""
    *_, result = run(path, as_embedded(result), with_references=False, progress=progress)
    return result


def as_embedded(result: Result, pooling: Pooling | None = None) -> Request:
    """The request that embeds another clip as this one was embedded; `pooling` is that of `Request`."""
    assert result.embedding is not None
    made, sampling = result.embedding.fingerprint, result.clip.sampling
    return Request(
        checkpoint=made.checkpoint,
        frames=sampling.frames,
        sampling=sampling.mode,
        fit=made.fit,
        precision=made.precision,
        pooling=pooling,
        layer=result.embedding.layer,
    )


def embed(path: str | Path, request: Request, progress: Progress = say_nothing) -> tuple[Clip, Embedding]:
    """The clip and its embedding. Raises UserError."""
    *_, result = run(path, request, with_references=False, progress=progress)
    assert result.embedding is not None
    return result.clip, result.embedding


def pooling_of(request: Request, clip: Clip) -> Pooling:
    """How the clip is compared: as asked for, else by the mean where nothing moves, else as suits the checkpoint."""
    if request.pooling is not None:
        return request.pooling
    return "mean" if clip.is_image else checkpoints.find(request.checkpoint).pooling


def among(
    result: Result, references: str | None, pooling: Pooling, progress: Progress = say_nothing, *, k: int = 5
) -> Result:
    """The same embedding, compared with a folder of references by a pooling. Raises UserError."""
    if result.embedding is not None and result.embedding.layer is not None:
        result = at_layer(result, None, progress)
    assert result.embedding is not None
    progress("Placing the clip among the references")
    found = reference_set(replace(as_embedded(result, pooling), references=references), progress)
    return replace(result, references=found, place=place(result.embedding, found, k), pooling=pooling)


def references_missing(result: Result, references: str | None) -> int:
    """How many of a folder's references would have to be embedded before this clip can be compared with them."""
    from vjepa_demo.model.encoder import get_encoder
    from vjepa_demo.references.preparing import missing

    request = replace(as_embedded(result, result.pooling), references=references)
    encoder = get_encoder(request.checkpoint, precision=request.precision)
    return missing(request.reference_folder, encoder, request.check(), request.fit, result.pooling)


def reference_set(request: Request, progress: Progress = say_nothing) -> ReferenceSet:
    """The references, embedded in the way this request asks for, once for all who wait. Raises UserError."""
    from vjepa_demo.model.encoder import get_encoder
    from vjepa_demo.references.background import prepared

    sampling = replace(request.check(), start=0.0, end=None)
    return prepared(
        request.reference_folder,
        get_encoder(request.checkpoint, precision=request.precision, progress=progress),
        sampling,
        request.fit,
        request.pooling or checkpoints.find(request.checkpoint).pooling,
        progress=progress,
    )


def check_count(k: int) -> None:
    """Raises RequestError where k neighbours cannot be asked for."""
    if k < 1:
        raise RequestError(f"The number of neighbours must be at least 1, not {cut(k)}.")


def place(embedding: Embedding, references: ReferenceSet, k: int = 5) -> Place:
    """Where the embedding lies among the references.

    Raises:
        FingerprintMismatch: they were made in another way.
        RequestError: k is not positive, or the clip is too short for the references' pooling.
    """
    check_count(k)
    pooling = references.fingerprint.pooling
    vector, made = embedding.vector(pooling), embedding.made(pooling)
    x, y = references.place(vector, made)
    far = bool(references.is_far(vector, made))
    return Place(references.neighbours(vector, made, k), (float(x), float(y)), far, pooling)


# --- what the shell prints and the API returns ----------------------------------------------------------------------


def embedding_json(embedding: Embedding) -> dict[str, Any]:
    """The embedding without its tokens."""
    return {**embedding.meta(), "timestamps": [round(float(t), 6) for t in embedding.timestamps]}


def similarity_json(embedding: Embedding, at: tuple[int, int, int], centred: bool) -> dict[str, Any]:
    """Scores `[T', H', W']` of one patch against all; None where there is only padding."""
    scores = similarity(embedding, at, centred=centred)
    return {**embedding_json(embedding), "at": list(at), "centred": centred, "scores": to_lists(scores)}


def neighbours_json(embedding: Embedding, found: Place) -> dict[str, Any]:
    """The nearest references, the place on the map, and whether all are far."""
    return {
        "neighbours": [
            {"file": near.file, "label": near.label, "cosine": round(float(near.cosine), 6)}
            for near in found.neighbours
        ],
        "position": [round(x, 6) for x in found.position],
        "far": found.far,
        **embedding_json(embedding),
        "pooling": found.pooling,
    }


def to_lists(scores: np.ndarray) -> list[Any]:
    """Nested lists of rounded floats; NaN, which JSON does not know, becomes None."""
    if scores.ndim > 1:
        return [to_lists(part) for part in scores]
    return [None if math.isnan(x) else round(float(x), 6) for x in scores]


def parse_position(text: str) -> tuple[int, int, int]:
    """ "STEP,ROW,COL" -> three indices. Raises RequestError."""
    parts = text.split(",")
    try:
        step, row, col = (int(part) for part in parts)
    except ValueError:
        raise RequestError(f"The patch must be given as STEP,ROW,COL, e.g. 0,8,8, not {cut(text)}.") from None
    return step, row, col
