"""A file becomes a Clip: what it is, whether it is within the limits, which frames are taken."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from vjepa_demo.errors import DiskError, MediaError, RequestError, UserError, cut
from vjepa_demo.media.bare import bare
from vjepa_demo.media.boxes import Track, picture_tracks
from vjepa_demo.media.clip import HDR_TOLD, Clip, Source
from vjepa_demo.media.containers import (
    ALPHA_MODE,
    Container,
    is_locked,
    is_out_of_order,
    is_scrambled,
    no_decoder,
    says,
    searchable,
    sniff,
    unread,
)
from vjepa_demo.media.inorder import NEAR, ON_GROUND, TONED, TOO_LONG, InOrder, toned
from vjepa_demo.media.pictures import NEUTRAL_GROUND, DamagedPicture, open_picture
from vjepa_demo.options import ROUNDING, Sampling
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# A video frame costs some time however small it is, about as much as this many pixels.
LEAST_PIXELS = 50_000

LEAST_HALF = 0.02  # seconds that a frame may be off where the file tells no frame rate; else half of a frame's time

# FFmpeg's names of formats with transparency, and its decoders that read that of VP8 and VP9.
ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya\d")
VPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}  # as FFmpeg names what light a value stands for
AS_STORED = f"The {{}} {HDR_TOLD} ({{}}): as on the model card it is not tone-mapped, and looks dull."
TONE_MAPPED = f"The {{}} {HDR_TOLD} ({{}}): it was tone-mapped."
NOT_TONED = f"The {{}} {HDR_TOLD} ({{}}) and could not be tone-mapped here: it is as it is stored."
NO_BASE = 5  # the profile of Dolby Vision whose frames mean colours of its own (IPT), of which FFmpeg knows nothing
FALSE_COLOURS = (
    f"The video is Dolby Vision (profile {NO_BASE}), whose colours cannot be read here and come out false: export it "
    "as HDR10 or as SDR."
)
ENCRYPTED = "The video is encrypted: export it again without protection, or choose another one."
NO_PICTURES = (
    "The file has sound but no pictures, or pictures in a codec that cannot be read here: choose a video or an image, "
    "or export it as H.264."
)
EMPTY = "The video holds no frames (it lasts 0 seconds): export it again."
DAMAGED = (
    "The video breaks off or is damaged where frames were to be read: copy it again, or choose another part of it."
)
TOO_MUCH_MEMORY = "Reading the file takes more memory than there is for one file: scale it down or cut it first."

T = TypeVar("T")


class NoPictures(MediaError):
    """None of the file's streams can be decoded as pictures."""


def read_clip(path: str | Path, sampling: Sampling | None = None, limits: Settings = settings) -> Clip:
    """Read an image, or sample frames from a video.

    Raises:
        MediaError: the file is missing, empty, damaged, of an unknown kind, or over a limit.
        RequestError: the sampling cannot be met.
    """
    sampling = sampling or Sampling()
    sampling.check(limits)
    path = Path(path)
    container = sniff(path, limits)
    try:
        if container in ("image", "gif"):
            return _read_picture(path, sampling, limits)
        if is_locked(path, container):
            raise MediaError(ENCRYPTED)
        in_order = container == "avi" and is_out_of_order(path)
        with searchable(path, "indexed" if in_order else container) as file:
            try:
                return _read_video(file, container, sampling, limits, in_order=in_order)
            except MediaError as error:
                if container == "mpegts" and is_scrambled(path):
                    raise MediaError(ENCRYPTED) from error
                if isinstance(error, NoPictures) and (why := unread(path, file, container)):
                    raise MediaError(why) from error
                raise
    except UserError:
        raise
    except MemoryError as error:
        raise MediaError(TOO_MUCH_MEMORY) from error
    except Exception as error:  # whatever a file makes a library do, the visitor can only choose another file
        log.exception("not foreseen while reading a file")
        raise MediaError("The file cannot be read: save or export it again, or choose another one.") from error


def _read_picture(path: Path, sampling: Sampling, limits: Settings) -> Clip:
    """What a file says beside its pixels keeps nobody from reading these."""
    try:
        return _picture_clip(path, sampling, limits)
    except DamagedPicture:
        for direction in (True, False):
            with contextlib.suppress(DamagedPicture), bare(path, direction=direction) as copy:
                if copy:
                    return _picture_clip(copy, sampling, limits)
        raise


def _picture_clip(path: Path, sampling: Sampling, limits: Settings) -> Clip:
    picture = open_picture(path, limits)
    source = Source(
        kind="video" if picture.is_animated else "image",
        width=picture.width,
        height=picture.height,
        codec=picture.codec.lower(),
        duration=picture.duration,
        fps=len(picture.starts) / picture.duration if picture.duration else 0.0,
        frame_count=len(picture.starts),
        rotation=picture.rotation,
    )
    indices: np.ndarray = np.zeros(1, dtype=int)
    count = 1
    if picture.is_animated:
        moments, count = sampling.moments(picture.duration), sampling.frames
        indices = np.searchsorted(picture.starts, moments + ROUNDING, side="right") - 1
    size = _size_within(source, count, limits.max_clip_bytes)
    frames, notes = picture.frames(indices, size), _notes(source, size, picture.starts[indices], count)
    if picture.transfer:
        note = AS_STORED
        if sampling.hdr == "toned":
            shown = toned(frames, picture.transfer, picture.primaries, limits)
            frames, note = (frames, NOT_TONED) if shown is None else (shown, TONE_MAPPED)
        notes = (*notes, note.format("picture", HDR[picture.transfer]))
    return Clip(frames, picture.starts[indices], source, sampling, notes)


def _notes(source: Source, size: tuple[int, int], stamps: np.ndarray, wanted: int) -> tuple[str, ...]:
    """What was done differently from what was asked."""
    notes = []
    if size != (source.height, source.width):
        notes.append(f"The frames were decoded at {size[1]} × {size[0]} pixels to fit in memory.")
    distinct = len(np.unique(stamps))
    if distinct < wanted:
        notes.append(f"The span holds {distinct} of the {wanted} frames asked for: the nearest ones are repeated.")
    return tuple(notes)


# --- videos ----------------------------------------------------------------------------------------------------------


def _read_video(path: Path, container: Container, sampling: Sampling, limits: Settings, *, in_order: bool) -> Clip:
    # torchcodec loads FFmpeg's libraries when it is imported: where they are missing, images still work.
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        log.warning("torchcodec could not be imported", exc_info=True)
        raise MediaError(
            "Videos cannot be read because FFmpeg's libraries are missing: install FFmpeg (apt-get install ffmpeg)."
        ) from error
    from torchcodec.transforms import Resize

    tracks = {track.stream: track for track in picture_tracks(path)}
    chosen = _Chosen()

    def decode(seek_mode: Literal["exact", "approximate"], *, as_stored: bool = False) -> Clip:
        # 0 lets FFmpeg use all cores: a long stretch between key frames has to be decoded as a whole.
        options: dict[str, Any] = {"seek_mode": seek_mode, "num_ffmpeg_threads": 0}
        decoder = VideoDecoder(path, **options)
        meta = decoder.metadata
        chosen.stream, chosen.codec = f"0:{meta.stream_index}", meta.codec or ""
        track = chosen.track = tracks.get(meta.stream_index)
        if track and track.encrypted:
            raise MediaError(ENCRYPTED)
        begin = float(meta.begin_stream_seconds or 0.0)
        duration = float(meta.end_stream_seconds or 0.0) - begin
        source = _describe(meta, limits, duration, meta.num_frames, float(meta.average_fps or 0.0))
        if in_order:
            raise _Lost("it does not tell when they are shown")
        if chosen.codec.startswith("h263"):  # FFmpeg takes each of its frames for a key frame
            raise _Lost("it does not tell which are key frames")
        if not as_stored and (other := _other_light(meta, path, sampling)):
            raise other
        size = _size_within(source, sampling.frames, limits.max_clip_bytes)
        if size != (meta.height, meta.width):
            decoder = VideoDecoder(path, transforms=[Resize(size)], **options)
        shown = _shown(sampling, duration)
        if seek_mode == "exact":
            _check_work(decoder, shown / duration, meta, limits)
        batch = decoder.get_frames_played_at((shown + begin).tolist())
        frames, stamps = batch.data.numpy(), batch.pts_seconds.double().numpy() - begin
        if container == "avi":
            # It has a fixed frame rate, and holds no display times of frames out of order.
            stamps = np.floor(shown * source.fps) / source.fps
        half = 0.5 / source.fps if source.fps else LEAST_HALF
        ends = stamps + batch.duration_seconds.double().numpy()
        if not np.isfinite(stamps).all() or (np.diff(stamps) < 0).any() or (stamps > shown + half).any():
            raise _Lost("the times of its frames run backwards")
        if track and track.cuts > 1 and (ends < shown - half).any():
            raise _Lost("its pieces do not begin where its frames can be found")
        if track and track.mirrored:
            # torchcodec has turned the frames by the angle of the matrix; what is left of it is one mirror.
            on_its_side = round(source.rotation / 90) % 2 == 1
            frames = np.ascontiguousarray(np.flip(frames, axis=3 if on_its_side else 2))
        notes = (*_notes(source, size, stamps, sampling.frames), *_colour_notes(meta, track))
        return Clip(frames, stamps, source, sampling, notes)

    def decode_in_order(filters: str, named: str) -> Clip:
        video = InOrder(path, limits, stream=chosen.stream, decoder=named)
        times = video.times()
        shown = _shown(sampling, times.duration)
        places = np.maximum(np.searchsorted(times.starts, shown, side="right") - 1, 0)
        wanted, rows = np.unique(times.starts[places], return_inverse=True)
        with video.frames((times.begin + wanted).tolist(), filters) as copy:
            decoder = VideoDecoder(copy)
            meta = decoder.metadata
            fps = len(times.starts) / times.duration
            source = replace(_describe(meta, limits, times.duration, len(times.starts), fps), codec=chosen.codec)
            size = _size_within(source, sampling.frames, limits.max_clip_bytes)
            if size != (meta.height, meta.width):
                decoder = VideoDecoder(copy, transforms=[Resize(size)])
            kept = decoder.get_frames_at(list(range(meta.num_frames or 0)))
        if len(kept.data) != len(wanted):  # of frames at one time the first is taken, of none the one that is near
            found = kept.pts_seconds.double().numpy()
            rows = np.searchsorted(found, times.begin + wanted - NEAR).clip(max=len(found) - 1)[rows]
        stamps = times.starts[places]
        notes = (*_notes(source, size, stamps, sampling.frames), *_colour_notes(meta, chosen.track))
        return Clip(kept.data.numpy()[rows], stamps, source, sampling, notes)

    try:
        return _video_errors(decode, list(tracks.values()))
    except _Other as other:
        log.warning("%s: %s", path.name, other)
        try:
            clip = decode_in_order(other.filters, other.decoder)
        except (DiskError, RequestError):
            raise
        except (MediaError, RuntimeError, ValueError, IndexError) as error:
            log.warning("not decoded in order: %s", cut(str(error), 200))
            if isinstance(other, _Lost):
                raise MediaError(TOO_LONG if str(error) == TOO_LONG else other.otherwise) from error
            clip = _video_errors(lambda seek_mode: decode(seek_mode, as_stored=True), list(tracks.values()))
            return replace(clip, notes=(*clip.notes, other.otherwise))
        return replace(clip, notes=(*clip.notes, other.note))


@dataclass
class _Chosen:
    """What is known of the stream that torchcodec chose, as FFmpeg names it, when it cannot give its frames."""

    stream: str = "0:V:0"
    codec: str = ""
    track: Track | None = None


def _shown(sampling: Sampling, duration: float) -> np.ndarray:
    """The moments at which frames are taken, float64 `[T]`, within a video of this duration."""
    return np.clip(sampling.moments(duration) + ROUNDING, 0.0, duration - 1e-6)


def _colour_notes(meta: Any, track: Track | None) -> tuple[str, ...]:
    """What is to be told of the colours of frames that are taken as they are stored."""
    light = HDR.get(str(meta.color_transfer_characteristic))
    return (
        *((AS_STORED.format("video", light),) if light else ()),
        *((FALSE_COLOURS,) if track and track.dolby == NO_BASE else ()),
    )


class _Other(Exception):
    """Frames are to be had in another way than one by one: from the beginning, by FFmpeg's program.

    Args:
        note: what to tell where that is done.
        otherwise: what to tell where it cannot be done.
        filters, decoder: as for `InOrder`.
    """

    def __init__(self, note: str, otherwise: str, filters: str = "", decoder: str = "") -> None:
        super().__init__(note)
        self.note, self.otherwise, self.filters, self.decoder = note, otherwise, filters, decoder


class _Lost(_Other):
    """Frames cannot be had one by one.

    Args:
        why: the reason, as a part of a sentence.
        otherwise: what to tell where they cannot be had in order either.
    """

    def __init__(self, why: str, otherwise: str = DAMAGED) -> None:
        super().__init__(
            f"Single frames of this video cannot be found ({why}), so all were decoded in their order.", otherwise
        )


def _other_light(meta: Any, path: Path, sampling: Sampling) -> _Other | None:
    """What is to be done to the light of frames before they are taken: where they are partly transparent, or HDR that
    is to be tone-mapped."""
    light = HDR.get(str(meta.color_transfer_characteristic))
    if light and sampling.hdr == "toned":
        return _Other(TONE_MAPPED.format("video", light), NOT_TONED.format("video", light), TONED)
    # FFmpeg's own decoders of VP8 and VP9 leave out what their file says of transparency.
    hidden = VPX.get(meta.codec or "") if says(path, ALPHA_MODE) else None
    if hidden or ALPHA.match(meta.pixel_format or ""):
        return _Other(
            "The video can be transparent: where it is, it lies on neutral grey.",
            "The video can be transparent: what lies under it is as it is stored.",
            ON_GROUND.format(*NEUTRAL_GROUND),
            hidden or "",
        )
    return None


def _video_errors(decode: Callable[[Literal["exact", "approximate"]], T], tracks: Sequence[Track] = ()) -> T:
    """Decode exactly; MPEG program streams fail so and are read by their header's times instead.

    Raises:
        MediaError: what a person can know of why it cannot be read.
        _Lost: decoding it from its beginning might do.
    """
    try:
        return decode("exact")
    except (RuntimeError, ValueError, IndexError) as error:
        log.warning("decoding failed: %s", cut(str(error), 200))
        if "no more frames left to decode" in str(error):
            with contextlib.suppress(RuntimeError, ValueError, IndexError):
                return decode("approximate")
        if any(words in str(error) for words in ("allocate memory", "bad_alloc", "Resource temporarily unavailable")):
            raise MediaError(TOO_MUCH_MEMORY) from error
        if any(track.encrypted for track in tracks):
            raise MediaError(ENCRYPTED) from error
        if "best video stream is unknown" in str(error) or "No valid stream found" in str(error):
            raise NoPictures(no_decoder(tracks[0].tag) if tracks else NO_PICTURES) from error
        if "Could not open input file" in str(error):
            raise MediaError(
                "The video cannot be opened (it is damaged, cut short before its index, or holds no frames): "
                "export or copy it again."
            ) from error
        if "Could not seek file to pts=0" in str(error):
            raise _Lost("they have no times", EMPTY) from error
        size = "pre-allocated tensor" in str(error)
        raise _Lost("their size changes" if size else "some are damaged or missing") from error


def _describe(meta: Any, limits: Settings, duration: float, count: int | None, fps: float) -> Source:
    if not count or not duration > 0:
        raise _Lost("it does not tell how many there are", EMPTY)
    if not meta.width or not meta.height:
        raise MediaError(EMPTY)
    if meta.width * meta.height > limits.max_frame_pixels:
        raise MediaError(
            f"The frames have {meta.width:,} × {meta.height:,} pixels and at most "
            f"{limits.max_frame_pixels / 1e6:,.0f} million are taken: scale the video down first."
        )
    if count > limits.max_video_frames:
        raise MediaError(
            f"The video holds {count:,} frames and at most {limits.max_video_frames:,} are taken: cut it first."
        )
    if duration > limits.max_seconds:
        raise MediaError(
            f"The video lasts {duration:,.0f} s and at most {limits.max_seconds:,.0f} s are taken: cut it first."
        )
    # torchcodec turns frames upright but ignores the shape of their pixels, which is that of the frames as they are
    # stored; 0 means that the file does not say. Players stretch the width.
    aspect, rotation = float(meta.pixel_aspect_ratio or 0) or 1.0, float(meta.rotation or 0.0)
    on_its_side = round(rotation / 90) % 2 == 1
    return Source(
        kind="video",
        width=meta.width if on_its_side else max(1, round(meta.width * aspect)),
        height=max(1, round(meta.height * aspect)) if on_its_side else meta.height,
        codec=meta.codec or "",
        duration=duration,
        fps=fps,
        frame_count=int(count),
        rotation=rotation,
    )


def _check_work(decoder: Any, shown: np.ndarray, meta: Any, limits: Settings) -> None:
    """Raises MediaError where more has to be decoded than a deadline could be met with: to see a frame, every frame
    since the last key frame.

    Args:
        shown: where the frames lie, ascending, as shares of the duration: the frame rate is taken as even.
    """
    try:
        keys = np.asarray(decoder._get_key_frame_indices())  # torchcodec has no public name for them
    except (AttributeError, RuntimeError):
        return
    wanted = np.minimum(shown * meta.num_frames, meta.num_frames - 1).astype(int)
    begin = np.concatenate([[0], keys])[np.searchsorted(keys, wanted, side="right")]
    last = dict(zip(begin.tolist(), wanted.tolist(), strict=True))
    frames = sum(index - first + 1 for first, index in last.items())
    if frames * max(meta.width * meta.height, LEAST_PIXELS) > limits.max_decoded_pixels:
        raise MediaError(
            f"To reach the frames, {frames:,} of {meta.width:,} × {meta.height:,} pixels would have to be decoded, "
            "more than can be done here: cut the video, scale it down, or re-encode it with more key frames."
        )


def _size_within(source: Source, frames: int, max_bytes: int) -> tuple[int, int]:
    """The (height, width) at which `frames` frames of this source take at most `max_bytes`."""
    share = max_bytes / (frames * 3 * source.width * source.height)
    if share >= 1:
        return source.height, source.width
    return max(1, int(source.height * share**0.5)), max(1, int(source.width * share**0.5))
