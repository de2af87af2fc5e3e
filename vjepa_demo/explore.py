"""One upload, stage by stage: embedded, then compared. The page, the shell and the API all come through here."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, get_args

import numpy as np

from vjepa_demo import jobs
from vjepa_demo.embedder import DEFAULTS, Embedder, read_timed, sampling_of
from vjepa_demo.embedding import Embedding, Kind, Pooling, Vector
from vjepa_demo.errors import RequestError, cut
from vjepa_demo.files import known_hash, look_of
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.containers import sniff
from vjepa_demo.media.worker import warm
from vjepa_demo.memo import Memo
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options, Sampling
from vjepa_demo.references.background import prepared
from vjepa_demo.references.comparison import Comparison, FoundT, References
from vjepa_demo.settings import ASSETS, settings
from vjepa_demo.views.labels import Labels, cautions, labels
from vjepa_demo.views.orders import WORDS as ORDER_WORDS
from vjepa_demo.views.orders import TimeTest, time_tests
from vjepa_demo.views.similarity import Position, region, similarity
from vjepa_demo.views.surprise import TUBELET, Expected, Forecaster, Surprise, Windows, expected, surprise

if TYPE_CHECKING:
    from vjepa_demo.model.encoder import Forecast

T = TypeVar("T")
Progress = Callable[[str], None]


def say_nothing(message: str) -> None:
    """The progress of a caller who does not want to hear of it."""


class Content(NamedTuple):
    """What a file holds: the SHA-256 of its bytes, and for whom that is kept: a visitor's address, or "" for all."""

    sha256: str
    owner: str


WINDOWS = Windows()
MOST_AMOUNTS = 7  # of a clip that is shown to the predictor
Read = tuple[Clip, float]  # a file's clip, and how many milliseconds it took to read it
ENCODED = ("preprocess", "encode")


def _seal(value: Read | Embedding | Surprise | Expected | Labels) -> int:
    """The bytes of what is kept, to which nobody may write any more: many share it."""
    arrays: tuple[np.ndarray, ...]
    if isinstance(value, Embedding):
        arrays = value.tokens, value.timestamps
    elif isinstance(value, Surprise):
        arrays = value.per_patch, value.per_context, value.timestamps
    elif isinstance(value, Expected):
        arrays = value.nearest, value.cosine
    elif isinstance(value, Labels):
        arrays = value.attention, value.pooled
    else:
        arrays = value[0].frames, value[0].timestamps
    for array in arrays:
        array.setflags(write=False)
    return sum(array.nbytes for array in arrays)


# Clips by their content and sampling, embeddings by these, how they were made, and where.
kept: Memo[Any] = Memo(_seal)


class _File:
    """A file that is embedded, read once. Raises MediaError where its first bytes are of no file that can be."""

    def __init__(self, path: str | Path, sampling: Sampling) -> None:
        sniff(Path(path))
        self._path, self._sampling = Path(path), sampling
        self.content: Content | None = None
        if settings.memo_bytes:
            with contextlib.suppress(OSError):
                self._look, self.content = look_of(self._path.stat()), self._content()
        self._clip: Clip | None = None
        self.decode_ms, self.kept = 0.0, False

    def read(self, turn: contextlib.ExitStack, progress: Progress) -> Clip:
        """Its clip; where that has to be read, in a turn that lasts as long as the context. Raises UserError."""

        def read() -> Read:
            turn.enter_context(jobs.turn(progress))
            progress("Reading the file")
            return read_timed(self._path, self._sampling)

        if self._clip is None:
            key = self.content and (self.content, self._sampling)
            (self._clip, self.decode_ms), self.kept = kept.get(key, read, self.unchanged)
        return self._clip

    def unchanged(self) -> bool:
        """Whether it still holds what it did at first, when it is kept."""
        with contextlib.suppress(OSError):
            return look_of(self._path.stat()) == self._look or self._content() == self.content
        return False

    def _content(self) -> Content:
        # Strangers do not share: by the time that it takes, one would learn that another had embedded the same file.
        job = jobs.current()
        shared = not settings.public or self._path.resolve().is_relative_to(ASSETS)
        return Content(known_hash(self._path), "" if shared or job is None else job.visitor.address)


def _way(content: Content | None, sampling: Sampling, embedder: Embedder, layer: int | None) -> tuple[Any, ...] | None:
    """By what an embedding is kept: all that it depends on."""
    encoder = embedder.encoder
    fingerprint = encoder.fingerprint(sampling, embedder.fit, layer)
    return content and (content, sampling, fingerprint, encoder.device)


@dataclass(frozen=True, eq=False)
class Embedded:
    """A clip with its embedding.

    `pooling` is how it is compared with references, `auto` whether nobody asked for that; `path` is the file, whose
    name is the user's own text; `options` is what was asked for; `content` is what the file held, if that is known.
    """

    clip: Clip
    embedding: Embedding
    pooling: Pooling = "mean"
    path: str = ""
    auto: bool = False
    options: Options = DEFAULTS
    content: Content | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name

    @property
    def vector(self) -> Vector:
        """The vector that is compared with references. Raises UserError where there is none, as of a clip that is too
        short for it."""
        if self.pooling == "probe":
            return Vector(_judged(self, say_nothing).pooled, self.kind)
        return self.embedding.vector(self.pooling)

    @property
    def kind(self) -> Kind:
        """The kind of vector that is compared with references: of the last layer, whichever is shown."""
        return Kind(replace(self.embedding.fingerprint, layer=None), self.pooling)

    @property
    def parts(self) -> dict[int, int]:
        """Bytes of the arrays that it holds, by the identity of each: another layer of a clip has the same frames."""
        return {id(array): array.nbytes for array in (self.clip.frames, self.embedding.tokens)}


@dataclass(frozen=True, eq=False)
class Compared(Generic[FoundT]):
    """A clip with its place among references; its embedding is that of the last layer.

    Where a patch was asked for, `at` is that, and `patches` are how many are like it: their mean is what was compared.
    """

    embedded: Embedded
    comparison: FoundT
    at: Position | None = None
    patches: int = 0


def embed(
    path: str | Path,
    options: Options = DEFAULTS,
    *,
    pooling: Pooling | None = None,
    layer: int | None = None,
    progress: Progress = say_nothing,
) -> Embedded:
    """Embed a file.

    Args:
        path: a video or an image.
        options: how.
        pooling: how the clip becomes the vector that is compared with references; see `pooling_of`.
        layer: the encoder layer whose tokens are wanted; None for the last, normalised.
        progress: told what is being done.

    Raises:
        UserError: the file or an option is at fault.
    """
    check_pooling(pooling)
    sampling = sampling_of(options)
    warm()  # the child that decodes imports its libraries while this process imports the encoder's
    file = _File(path, sampling)
    with contextlib.ExitStack() as turn:
        if not Embedder.is_open(options):
            file.read(turn, progress)
            turn.close()  # a download can take minutes, and needs no turn
        embedder = Embedder.open(options, progress)

        def encode() -> Embedding:
            clip = file.read(turn, progress)
            turn.enter_context(jobs.turn(progress))
            what = "the image" if clip.is_image else f"{len(clip.frames)} frames"
            progress(f"Encoding {what} on {embedder.encoder.device}")
            return embedder.embed(clip, layer)

        embedding, encoded = kept.get(_way(file.content, sampling, embedder, layer), encode, file.unchanged)
        clip = file.read(turn, progress)
    embedding = replace(
        embedding,
        timings_ms={"decode": file.decode_ms, **embedding.timings_ms},
        kept=("decode",) * file.kept + ENCODED * encoded,
    )
    pooled = pooling_of(pooling, options.checkpoint, clip)
    return Embedded(clip, embedding, pooled, str(path), pooling is None, options, file.content)


def at_layer(shown: Embedded, layer: int | None, progress: Progress = say_nothing) -> Embedded:
    """The same clip, embedded in the same way, seen at another layer of the encoder. Raises UserError."""
    if layer == shown.embedding.layer:
        return shown
    embedder = Embedder.open(shown.embedding.fingerprint.options, progress)

    def encode() -> Embedding:
        with jobs.turn(progress):
            return embedder.embed(shown.clip, layer)

    embedding, encoded = kept.get(_way(shown.content, shown.clip.sampling, embedder, layer), encode)
    times = {**shown.embedding.timings_ms, **embedding.timings_ms}
    return replace(shown, embedding=replace(embedding, timings_ms=times, kept=("decode",) + ENCODED * encoded))


def alike(path: str | Path, first: Embedded, progress: Progress = say_nothing) -> Embedded:
    """A second clip, embedded as the first one was. Raises UserError."""
    made = first.embedding.fingerprint
    options = replace(made.options, hdr=first.options.hdr)
    return embed(path, options, layer=made.layer, progress=progress)


def surprise_of(
    shown: Embedded,
    windows: Windows = WINDOWS,
    progress: Progress = say_nothing,
    forecast: Forecaster | None = None,
) -> Surprise:
    """How surprising each time step of a clip is to the predictor of the checkpoint that embedded it.

    Args:
        shown: the clip.
        windows: how forecasts are made of it.
        progress: told how far it is.
        forecast: what gives them, where that is not the predictor itself.

    Raises:
        UserError: it is no video, the windows do not fit it, or the checkpoint has no predictor.
    """
    embedder = _predictor(shown, progress)
    windows.check(len(shown.clip.frames))

    def expect() -> Surprise:
        return surprise(
            embedder.input_of(shown.clip),
            shown.clip.timestamps,
            shown.embedding.patch_mask,
            forecast or embedder.forecast,
            windows,
            at_once=embedder.encoder.at_once(windows.window),
            progress=progress,
        )

    return _once(shown, embedder, windows, expect, progress)


def expected_of(shown: Embedded, progress: Progress = say_nothing, forecast: Forecaster | None = None) -> Expected:
    """What the predictor expects of a clip, the more of its time steps are shown. Arguments and errors as those of
    `surprise_of`."""
    embedder, amounts = _predictor(shown, progress), _amounts(shown)

    def expect() -> Expected:
        progress("Drawing what is expected")
        pixels = embedder.input_of(shown.clip)
        return expected(pixels, shown.embedding.patch_mask, forecast or embedder.forecast, amounts)

    return _once(shown, embedder, "expected", expect, progress)


def foreseen_of(shown: Embedded, progress: Progress = say_nothing) -> tuple[Surprise, Expected]:
    """Both, the surprise by the usual windows; a clip of a single window is forecast once for the two. Raises as
    `surprise_of`."""
    embedder, amounts, count = _predictor(shown, progress), _amounts(shown), len(shown.clip.frames)
    windows, forecast = Windows.fitting(count), None
    if windows.window == count:
        told: list[Forecast] = []

        def forecast(frames: np.ndarray, _: Sequence[int]) -> Forecast:
            if not told:
                told.append(embedder.forecast(frames, sorted({*windows.steps, *amounts})))
            return told[0]

    return surprise_of(shown, windows, progress, forecast), expected_of(shown, progress, forecast)


def _amounts(shown: Embedded) -> list[int]:
    """How many time steps are shown, for each of the forecasts that are drawn. Raises RequestError."""
    steps = len(shown.clip.frames) // TUBELET
    if steps < 2:
        raise RequestError("A clip of 2 frames has nothing to come: take 4 frames or more.")
    return np.unique(np.linspace(1, steps - 1, min(steps - 1, MOST_AMOUNTS)).round().astype(int)).tolist()


def labels_of(shown: Embedded, k: int = 5, progress: Progress = say_nothing) -> Labels:
    """The k labels that the classifier of the checkpoint finds likeliest, and where it looked.

    Raises:
        UserError: k is no number of labels, or the checkpoint has no classifier.
    """
    made = shown.embedding.fingerprint
    check_labels(k, made.options)
    found = _judged(shown, progress)
    told = cautions(checkpoints.find(made.checkpoint), len(found.likeliest), shown.clip, made.options.fit)
    return replace(found, likeliest=found.likeliest[:k], cautions=told)


def _judged(shown: Embedded, progress: Progress) -> Labels:
    """What the checkpoint's classifier makes of a clip, computed once. Raises UserError."""
    embedder = Embedder.open(shown.embedding.fingerprint.options, progress)
    names = embedder.labels
    shown = at_layer(shown, None, progress)

    def judge() -> Labels:
        progress("Naming what happens")
        return labels(embedder.classify(shown.embedding), names)

    return _once(shown, embedder, "labels", judge, progress)


def time_tests_of(shown: Embedded, progress: Progress = say_nothing) -> list[TimeTest]:
    """How like a clip its frames are in other orders. Raises UserError where it is no video, or too short."""
    shown = at_layer(shown, None, progress)
    embedder = Embedder.open(shown.embedding.fingerprint.options, progress)

    def embed_in_order(clip: Clip) -> Embedding:
        progress(f"Embedding it again: {ORDER_WORDS[clip.sampling.order]}" if clip.sampling.order else "Embedding it")
        return embedder.embed(clip)

    with jobs.turn(progress):
        return time_tests(shown.clip, shown.embedding, embed_in_order)


def _once(shown: Embedded, embedder: Embedder, what: Hashable, compute: Callable[[], T], progress: Progress) -> T:
    """What is computed of a clip in a turn of its own, or was before; `what` tells it from all else of the clip."""

    def work() -> T:
        with jobs.turn(progress):
            return compute()

    way = _way(shown.content, shown.clip.sampling, embedder, None)
    return kept.get(way and (*way, what), work)[0]


def _predictor(shown: Embedded, progress: Progress) -> Embedder:
    if shown.clip.is_image:
        raise RequestError("A picture has no future to be surprised by: choose a video.")
    embedder = Embedder.open(shown.embedding.fingerprint.options, progress)
    embedder.require_predictor()
    return embedder


def save_scores(
    found: Embedded, at: tuple[int, int, int], scores: np.ndarray, path: Path, *, centred: bool = True
) -> None:
    """Write what resembles a patch: as `.npz` with `scores`, `at` and `meta`, a JSON string, else as a picture of all
    time steps, whose scale says whether they are centred. Raises OSError."""
    if path.suffix == ".npz":
        np.savez(path, scores=scores, at=np.array(at), meta=np.array(json.dumps(found.embedding.meta())))
        return
    from vjepa_demo.views.heatmap import heatmap_image

    heatmap_image(found.clip, found.embedding, scores, path, centred=centred)


def compare(
    shown: Embedded, folder: Path, progress: Progress = say_nothing, at: Position | None = None
) -> Compared[Comparison]:
    """A clip, or the region of a patch of it, among a folder of references, which are embedded like it once for all who
    wait. Raises UserError."""
    shown = at_layer(shown, None, progress)
    progress("Placing the clip among the references")
    embedder = Embedder.open(shown.embedding.fingerprint.options, progress)
    references = prepared(folder, embedder, shown.pooling, progress=progress)
    return compare_with(shown, references, at)


def compare_with(shown: Embedded, references: References[FoundT], at: Position | None = None) -> Compared[FoundT]:
    """A clip, seen at its last layer, or the region of one of its patches, among references that are embedded like it.
    Raises UserError."""
    if at is None:
        return Compared(shown, references.compare(shown.vector))
    if shown.pooling != "mean":
        raise RequestError("A part of a clip is compared by what it shows alone: take the pooling mean.")
    alike = region(shown.embedding, at)
    mean = shown.embedding.tokens[alike].mean(axis=0, dtype=np.float64).astype(np.float32)
    return Compared(shown, references.compare(Vector(mean, shown.kind)), at, int(alike.sum()))


def pooling_of(pooling: Pooling | None, checkpoint: str, clip: Clip) -> Pooling:
    """How a clip is compared: as asked for, else by the mean where nothing moves, else as suits the checkpoint. Raises
    RequestError where the checkpoint has no classifier that is asked for."""
    if pooling == "probe":
        checkpoints.find(checkpoint).require_head()
    if pooling is not None:
        return pooling
    return "mean" if clip.is_image else checkpoints.find(checkpoint).pooling


def check_labels(k: int, options: Options) -> None:
    """Raises RequestError or CheckpointError where it is known beforehand that k labels cannot be had."""
    check_count(k, "labels")
    checkpoints.find(options.checkpoint).require_head()


def check_pooling(pooling: str | None) -> None:
    """Raises RequestError where there is no such pooling."""
    if pooling not in (None, *get_args(Pooling)):
        raise RequestError(f"The pooling must be mean, motion or probe, not {cut(pooling)}.")


def check_count(k: int, what: str = "neighbours") -> None:
    """Raises RequestError where k of them cannot be asked for."""
    if k < 1:
        raise RequestError(f"The number of {what} must be at least 1, not {cut(k)}.")


# --- what the shell prints and the API returns ----------------------------------------------------------------------


def embedding_json(embedding: Embedding) -> dict[str, Any]:
    """The embedding without its tokens."""
    return {**embedding.meta(), "timestamps": [round(float(t), 6) for t in embedding.timestamps]}


def similarity_json(
    embedding: Embedding, at: tuple[int, int, int], centred: bool, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """Scores `[T', H', W']` of one patch against all, computed where none are given; None where there is padding."""
    scores = similarity(embedding, at, centred=centred) if scores is None else scores
    return {**embedding_json(embedding), "at": list(at), "centred": centred, "scores": to_lists(scores)}


def neighbours_json(compared: Compared, k: int = 5) -> dict[str, Any]:
    """The k nearest references, the place on the map (None where they have no map), and whether all are far (None for a
    part of a clip: the references tell what is usual of whole ones)."""
    found, part = compared.comparison, compared.at is not None
    flat = found.flat
    return {
        "neighbours": [
            {"file": near.file, "label": near.label, "cosine": round(float(near.cosine), 6)}
            for near in found.neighbours(k)
        ],
        "position": [round(float(x), 6) for x in flat] if np.isfinite(flat).all() else None,
        "far": None if part else found.far,
        **({"at": list(compared.at or ()), "patches": compared.patches} if part else {}),
        **embedding_json(compared.embedded.embedding),
        "pooling": found.references.kind.pooling,
    }


def surprise_json(embedding: Embedding, found: Surprise) -> dict[str, Any]:
    """How surprising each time step is; `timestamps` are those of the steps, as many as there are."""
    return {**embedding_json(embedding), **found.json()}


def classify_json(embedding: Embedding, found: Labels) -> dict[str, Any]:
    """The likeliest labels, the attention to each patch, and how the clip was embedded."""
    return {**embedding_json(embedding), **found.json()}


def order_json(embedding: Embedding, tests: list[TimeTest]) -> dict[str, Any]:
    """The time tests, and how the clip was embedded."""
    return {**embedding_json(embedding), "orders": [test.json() for test in tests]}


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
