"""A file becomes a Clip: what it is, whether it is within the limits, which frames are taken."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from vjepa_demo.errors import MediaError, RequestError
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# V-JEPA 2 was pretrained on clips sampled at 4 frames a second (arXiv 2506.09985, section 2).
PRETRAINING_FPS = 4.0
# Transparent pixels are laid on mid-grey: close to the mean that the processor subtracts, so they carry little signal.
NEUTRAL_GROUND = (128, 128, 128)
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")

SamplingMode = Literal["even", "fps"]
T = TypeVar("T")


@dataclass(frozen=True)
class Sampling:
    """Which moments of a video are taken.

    Attributes:
        frames: how many, an even number of at least 2 (a tubelet holds two frames).
        mode: "even" spreads them over the span; "fps" takes PRETRAINING_FPS a second from the start of the span.
        start, end: the span in seconds from the first frame; None means the end of the video.
    """

    frames: int = 16
    mode: SamplingMode = "even"
    start: float = 0.0
    end: float | None = None

    def check(self, limits: Settings = settings) -> None:
        """Raises RequestError where the numbers cannot be met by any video."""
        if self.frames < 2 or self.frames % 2:
            raise RequestError(
                f"The number of frames must be even and at least 2, not {self.frames}: "
                "the model reads frames in pairs (tubelets)."
            )
        if self.frames > limits.max_frames:
            raise RequestError(f"At most {limits.max_frames} frames can be sampled, not {self.frames}: ask for fewer.")
        if self.mode not in ("even", "fps"):
            raise RequestError(f"The sampling must be 'even' or 'fps', not {self.mode!r}.")
        if not math.isfinite(self.start) or self.start < 0:
            raise RequestError(f"The start of the span must be 0 seconds or later, not {self.start:g}.")
        if self.end is not None and not self.end > self.start:
            raise RequestError(f"The end of the span ({self.end:g} s) must be later than its start ({self.start:g} s).")

    def moments(self, duration: float) -> np.ndarray:
        """The moments to show, float64 `[frames]`, in seconds from the first frame of a video of this duration.

        "even" takes the middle of each of `frames` equal parts of the span, so that a span of exactly `frames` frames
        gives each of them once.

        Raises:
            RequestError: the span starts after the video has ended.
        """
        if self.start >= duration:
            raise RequestError(
                f"The span starts at {self.start:g} s, but the video lasts {duration:.2f} s: start it earlier."
            )
        end = duration if self.end is None else min(self.end, duration)
        if self.mode == "fps":
            return self.start + np.arange(self.frames) / PRETRAINING_FPS
        return self.start + (np.arange(self.frames) + 0.5) * (end - self.start) / self.frames


@dataclass(frozen=True)
class Source:
    """What the file was. Sizes are of the upright picture with square pixels."""

    kind: Literal["video", "image"]
    width: int
    height: int
    codec: str
    duration: float = 0.0
    fps: float = 0.0
    frame_count: int = 1
    rotation: float = 0.0


@dataclass(frozen=True)
class Clip:
    """Frames as they were sampled, upright, with square pixels.

    Attributes:
        frames: uint8 `[T, 3, H, W]`; an image is a clip of one frame.
        timestamps: float64 `[T]`, seconds from the first frame of the video, of the frames that were really shown.
        source: what the file was.
        sampling: how the frames were chosen.
        notes: sentences about what had to be done differently from what was asked.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    source: Source
    sampling: Sampling
    notes: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        return self.source.kind == "image"


def read_clip(path: str | Path, sampling: Sampling | None = None, limits: Settings = settings) -> Clip:
    """Read an image, or sample frames from a video.

    Raises:
        MediaError: the file is missing, empty, damaged, of an unknown kind, or over a limit.
        RequestError: the sampling cannot be met.
    """
    sampling = sampling or Sampling()
    sampling.check(limits)
    path = Path(path)
    if sniff(path, limits) == "image":
        return _read_image(path, sampling, limits)
    return _read_video(path, sampling, limits)


def sniff(path: Path, limits: Settings = settings) -> Literal["video", "image"]:
    """Tell a video from an image by its first bytes, never by its name.

    Raises:
        MediaError: the file is missing, empty, too large, or neither a video nor an image that is known here.
    """
    if not path.is_file():
        raise MediaError("There is no such file: check the path, or upload the file again.")
    size = path.stat().st_size
    if size == 0:
        raise MediaError("The file is empty (0 bytes): export or copy it again.")
    if size > limits.max_bytes:
        raise MediaError(
            f"The file has {size / 2**20:,.0f} MB and at most {limits.max_bytes / 2**20:,.0f} MB are taken: "
            "cut or compress it first."
        )
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head[4:8] == b"ftyp" and head[8:12] in {b"avif", b"avis", b"mif1"}:
        return "image"
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"hevc", b"msf1"}:
        raise MediaError("HEIC images are not read here: convert the picture to JPEG or PNG.")
    if head[:4] == b"GIF8":
        return "video" if _is_animated(path) else "image"
    if head[:3] == b"ID3" or head[:4] in {b"fLaC", b"OggS"} or (head[:4] == b"RIFF" and head[8:12] == b"WAVE"):
        if head[:4] == b"OggS" and b"theora" in head:
            return "video"
        raise MediaError("The file holds sound and no pictures: choose a video or an image.")
    is_video = (
        head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}  # MP4, MOV
        or head[:4] == b"\x1a\x45\xdf\xa3"  # Matroska, WebM
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[:4] in {b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01"}  # MPEG-PS, MPEG video, FLV
        or (head[:1] == b"\x47" and head[188:189] == b"\x47")  # MPEG-TS packets of 188 bytes
    )
    if not is_video:
        raise MediaError(
            "The file is neither a video nor an image that can be read here, whatever its name says: "
            "choose MP4, MOV, MKV, WebM, AVI, GIF, JPEG, PNG, WebP or AVIF."
        )
    return "video"


# --- images ----------------------------------------------------------------------------------------------------------


def _is_animated(path: Path) -> bool:
    from PIL import Image

    with _pillow_errors(), Image.open(path, formats=("GIF",)) as image:
        return getattr(image, "n_frames", 1) > 1


@contextlib.contextmanager
def _pillow_errors():
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Our own limit on pixels is checked from the header, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Image.DecompressionBombError:
        raise MediaError("The image has far too many pixels: scale it down first.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        log.warning("image not read: %s", error)
        raise MediaError("The image is damaged or cut short and cannot be read: save or copy it again.") from error


def _read_image(path: Path, sampling: Sampling, limits: Settings) -> Clip:
    from PIL import Image, ImageOps

    with _pillow_errors(), Image.open(path, formats=IMAGE_FORMATS) as image:
        if image.width * image.height > limits.max_image_pixels:
            raise MediaError(
                f"The image has {image.width:,} × {image.height:,} pixels and at most "
                f"{limits.max_image_pixels / 1e6:,.0f} million are taken: scale it down first."
            )
        codec = image.format or ""
        notes = []
        if getattr(image, "n_frames", 1) > 1:
            notes.append("Only the first picture of this animation is used; save it as GIF or video to use them all.")
        orientation = image.getexif().get(0x0112, 1)
        frame = _to_rgb(ImageOps.exif_transpose(image))
    pixels = np.ascontiguousarray(np.asarray(frame).transpose(2, 0, 1))[None]
    source = Source(
        kind="image",
        width=frame.width,
        height=frame.height,
        codec=codec,
        rotation=float({3: 180, 6: 270, 8: 90}.get(orientation, 0)),
    )
    return Clip(pixels, np.zeros(1), source, sampling, tuple(notes))


def _to_rgb(image: Any) -> Any:
    """Eight bits, RGB; 16-bit greys are scaled down, transparency is laid on the neutral ground."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image, dtype=np.float64)
        full = 65535.0 if grey.max(initial=0) > 255 or image.mode.startswith("I;16") else 255.0
        return Image.fromarray(np.round(np.clip(grey / full, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*NEUTRAL_GROUND, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    return image.convert("RGB")


# --- videos ----------------------------------------------------------------------------------------------------------


def _read_video(path: Path, sampling: Sampling, limits: Settings) -> Clip:
    # torchcodec loads FFmpeg's libraries when it is imported: where they are missing, images still work.
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        log.exception("torchcodec could not be imported")
        raise MediaError(
            "Videos cannot be read because FFmpeg's libraries are missing: install FFmpeg (apt-get install ffmpeg)."
        ) from error
    from torchcodec.transforms import Resize

    def decode(seek_mode: Literal["exact", "approximate"]) -> Clip:
        # 0 lets FFmpeg use all cores: a long stretch between key frames has to be decoded as a whole.
        options: dict[str, Any] = {"seek_mode": seek_mode, "num_ffmpeg_threads": 0}
        decoder = VideoDecoder(path, **options)
        meta = decoder.metadata
        source, notes = _describe(meta, limits), []
        size = _size_within(source, sampling.frames, limits.max_clip_bytes)
        if size != (meta.height, meta.width):
            decoder = VideoDecoder(path, transforms=[Resize(size)], **options)
            if size != (source.height, source.width):
                notes.append(f"The frames were decoded at {size[1]} × {size[0]} pixels to fit in memory.")
        begin = float(meta.begin_stream_seconds or 0.0)
        moments = sampling.moments(source.duration)
        # Half a millisecond keeps a moment that falls on a frame's start from being rounded to the frame before it.
        shown = np.clip(moments + 5e-4, 0.0, source.duration - 1e-6) + begin
        batch = decoder.get_frames_played_at(shown.tolist())
        stamps = batch.pts_seconds.double().numpy() - begin
        distinct = len(np.unique(stamps))
        if distinct < sampling.frames:
            notes.append(
                f"The span holds {distinct} of the {sampling.frames} frames asked for: the nearest ones are repeated."
            )
        return Clip(batch.data.numpy(), stamps, source, sampling, tuple(notes))

    return _video_errors(decode)


def _video_errors(decode: Callable[[Literal["exact", "approximate"]], T]) -> T:
    """Decode exactly; MPEG program streams fail so and are read by their header's times instead."""
    try:
        return decode("exact")
    except (RuntimeError, ValueError, IndexError) as error:
        log.warning("decoding failed: %s", error)
        if "no more frames left to decode" in str(error):
            with contextlib.suppress(RuntimeError, ValueError, IndexError):
                return decode("approximate")
        if "best video stream is unknown" in str(error) or "No valid stream found" in str(error):
            raise MediaError("The file has sound but no pictures: choose a video or an image.") from error
        if "Could not open input file" in str(error):
            raise MediaError(
                "The video cannot be opened: it is damaged, or cut short before its index. Export or copy it again."
            ) from error
        raise MediaError(
            "The video breaks off or is damaged where frames were to be read: copy it again, or choose an earlier end."
        ) from error


def _describe(meta: Any, limits: Settings) -> Source:
    if not meta.num_frames or not meta.width or not meta.height:
        raise MediaError("The video holds no frames (it lasts 0 seconds): export it again.")
    if meta.width * meta.height > limits.max_frame_pixels:
        raise MediaError(
            f"The frames have {meta.width:,} × {meta.height:,} pixels and at most "
            f"{limits.max_frame_pixels / 1e6:,.0f} million are taken: scale the video down first."
        )
    duration = float(meta.end_stream_seconds or 0.0) - float(meta.begin_stream_seconds or 0.0)
    if not duration > 0:
        raise MediaError("The video lasts 0 seconds: export it again.")
    if duration > limits.max_seconds:
        raise MediaError(
            f"The video lasts {duration:,.0f} s and at most {limits.max_seconds:,.0f} s are taken: cut it first."
        )
    # torchcodec turns frames upright but ignores the shape of their pixels; 0 means that the file does not say.
    aspect = float(meta.pixel_aspect_ratio or 0) or 1.0
    return Source(
        kind="video",
        width=max(1, round(meta.width * aspect)),
        height=meta.height,
        codec=meta.codec or "",
        duration=duration,
        fps=float(meta.average_fps or 0.0),
        frame_count=int(meta.num_frames),
        rotation=float(meta.rotation or 0.0),
    )


def _size_within(source: Source, frames: int, max_bytes: int) -> tuple[int, int]:
    """The (height, width) at which `frames` frames of this source take at most `max_bytes`."""
    share = max_bytes / (frames * 3 * source.width * source.height)
    if share >= 1:
        return source.height, source.width
    return max(1, int(source.height * share**0.5)), max(1, int(source.width * share**0.5))
