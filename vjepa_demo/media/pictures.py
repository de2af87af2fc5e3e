"""Images and animations, read by Pillow: upright, 8 bits, sRGB, transparency on a neutral ground."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.errors import MediaError, UserError, cut
from vjepa_demo.media.animations import Header, read_header
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# Transparent pixels are laid on mid-grey: close to the mean that the processor subtracts, so they carry little signal.
NEUTRAL_GROUND = (128, 128, 128)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
# Browsers and FFmpeg show a frame for a tenth of a second when the file asks for (almost) none.
SHORTEST_SECONDS, DEFAULT_SECONDS = 0.02, 0.1
ORIENTATION = 0x0112  # the EXIF tag
ROTATIONS = {3: 180.0, 6: 270.0, 8: 90.0}
# What turns the stored picture upright, as Pillow's ImageOps.exif_transpose does.
TRANSPOSES = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# By the kind of colours that a profile describes: the mode in which pixels are handed to it.
PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# What light and which colours values stand for, by their numbers in ITU-T H.273, as FFmpeg names them; where an AVIF
# tells them (ISO/IEC 23000-22) and a PNG does (W3C, third edition).
TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 9: "bt2020", 12: "smpte432"}
TOLD = re.compile(rb"colrnclx\x00(?P<avif>.\x00.)|cICP(?P<png>..)", re.DOTALL)
TOLD_WITHIN = 2**20  # bytes
ROUNDED = 2  # levels by which a profile may differ from sRGB that means the same
STRIP = 256  # rows of a picture that are converted at a time: the memory is that of the picture, not a multiple
# A frame costs some time however small it is, about as much as this many pixels.
LEAST_PIXELS = 10_000


class DamagedPicture(MediaError):
    """Something in the file, which may be nothing of its pixels, cannot be read."""


@dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        width, height: of the upright picture, in pixels.
        codec: Pillow's name of the format.
        orientation: how it is turned upright, as EXIF counts (1 to 8).
        starts: float64 `[n]`, seconds at which the n frames of an animation begin; `[0.]` for a still image.
        duration: seconds; 0 for a still image.
        transfer, primaries: what its values stand for where that is HDR, as FFmpeg names it; "" where it is not.
    """

    path: Path
    width: int
    height: int
    codec: str
    orientation: int
    starts: np.ndarray
    duration: float
    transfer: str = ""
    primaries: str = ""

    @property
    def is_animated(self) -> bool:
        return len(self.starts) > 1

    @property
    def rotation(self) -> float:
        """Degrees, counter-clockwise, by which it is turned upright."""
        return ROTATIONS.get(self.orientation, 0.0)

    def frames(self, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """uint8 `[T, 3, H, W]`: the frames of these ascending indices, scaled to size (H, W). Raises MediaError."""
        from PIL import Image

        height, width = size
        out = np.empty((len(indices), 3, height, width), dtype=np.uint8)
        with _pillow_errors(), Image.open(self.path, formats=FORMATS) as image:
            for row, index in enumerate(indices):
                if row and index == indices[row - 1]:
                    out[row] = out[row - 1]
                    continue
                if self.is_animated:
                    image.seek(int(index))
                frame = _rgb(image)
                if method := TRANSPOSES.get(self.orientation):
                    frame = frame.transpose(Image.Transpose[method])
                out[row] = np.asarray(
                    frame if frame.size == (width, height) else frame.resize((width, height))
                ).transpose(2, 0, 1)
        return out


def open_picture(path: Path, limits: Settings = settings) -> Picture:
    """Read the header, and the times of an animation's frames.

    Raises:
        MediaError: the file is damaged, or has more pixels or seconds than are taken.
    """
    from PIL import Image

    header = read_header(path)
    if header:
        _check_size(header, limits)  # before Pillow makes room for it
    with _pillow_errors(), Image.open(path, formats=FORMATS) as image:
        codec = image.format or ""
        if header is None:
            header = Header(*image.size, (0.0,) * getattr(image, "n_frames", 1))
            _check_size(header, limits)
            durations = _decoded_durations(image, limits)
        else:
            durations = header.durations
        orientation = _orientation(image)
        width, height = image.size[::-1] if orientation in {5, 6, 7, 8} else image.size
        light = ("", "") if image.info.get("icc_profile") else _light(path)
    if len(durations) < 2:
        return Picture(path, width, height, codec, orientation, np.zeros(1), 0.0, *light)
    seconds = np.array(durations) / 1e3
    ends = np.cumsum(np.where(seconds >= SHORTEST_SECONDS, seconds, DEFAULT_SECONDS))
    _check_duration(ends[-1], limits)
    return Picture(path, width, height, codec, orientation, np.concatenate([[0.0], ends[:-1]]), float(ends[-1]), *light)


def _light(path: Path) -> tuple[str, str]:
    """Transfer and primaries of an HDR picture, as FFmpeg names them; "", "" for all others."""
    with path.open("rb") as file:
        found = TOLD.search(file.read(TOLD_WITHIN).partition(b"IDAT")[0])
    if found is None:
        return "", ""
    primaries, transfer = found["png"] or found["avif"][::2]
    return (TRANSFERS[transfer], PRIMARIES.get(primaries, "bt2020")) if transfer in TRANSFERS else ("", "")


def _check_size(header: Header, limits: Settings) -> None:
    """Raises MediaError where there are too many pixels, in one frame or in all that have to be decoded."""
    pixels, count = header.width * header.height, len(header.durations)
    if pixels > limits.max_image_pixels:
        raise MediaError(
            f"The image has {header.width:,} × {header.height:,} pixels and at most "
            f"{limits.max_image_pixels / 1e6:,.0f} million are taken: scale it down first."
        )
    if count > 1 and count * max(pixels, LEAST_PIXELS) > limits.max_animation_pixels:
        raise MediaError(
            f"The animation has {count:,} frames of {header.width:,} × {header.height:,} pixels, more than can be "
            "decoded here: scale it down or cut it first."
        )


def _check_duration(seconds: float, limits: Settings) -> None:
    if seconds > limits.max_seconds:
        raise MediaError(f"The animation lasts more than {limits.max_seconds:,.0f} s: cut it first.")


def _decoded_durations(image: Any, limits: Settings) -> tuple[float, ...]:
    """Milliseconds of each frame of an AVIF sequence, which are known only once it is decoded."""
    count = getattr(image, "n_frames", 1)
    if image.format != "AVIF" or count < 2:
        return ()
    durations: list[float] = []
    for index in range(count):
        image.seek(index)
        image.load()
        durations.append(float(image.info.get("duration", 0)))
        _check_duration(sum(durations) / 1e3, limits)
    return tuple(durations)


def _orientation(image: Any) -> int:
    """How EXIF says the picture is turned; 1, upright, where what it says cannot be read."""
    try:
        turned = image.getexif().get(ORIENTATION, 1)
    except Exception as error:  # a library's, of any kind, on a note beside the picture
        log.warning("EXIF not read: %s", type(error).__name__)
        return 1
    return turned if isinstance(turned, int) and 1 <= turned <= 8 else 1


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Of many pixels: our own limit was checked from the header. Of damage: it is met, or told as an error.
            warnings.simplefilter("ignore")
            yield
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise MediaError(
            f"The image has more than {settings.max_image_pixels / 1e6:,.0f} million pixels: scale it down first."
        ) from None
    except Exception as error:  # damaged files reach every kind of error, struct.error and KeyError among them
        log.warning("image not read: %s", cut(str(error), 200))
        raise DamagedPicture("The image is damaged or cut short and cannot be read: save or copy it again.") from error


def _rgb(image: Any) -> Any:
    """The picture in eight bits, sRGB, converted strip by strip."""
    from PIL import Image

    image.load()
    whole, to_srgb = Image.new("RGB", image.size), _to_srgb(image)
    for top in range(0, image.height, STRIP):
        bottom = min(top + STRIP, image.height)
        whole.paste(_strip(image.crop((0, top, image.width, bottom)), to_srgb), (0, top))
    return whole


def _strip(image: Any, to_srgb: Callable[[Any], Any]) -> Any:
    """16-bit greys are scaled down, transparency is laid on the neutral ground."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey PNG; 16-bit colour arrives as 8
        image = Image.fromarray(np.round(np.asarray(image, dtype=np.float64) * (255 / 65535)).astype(np.uint8))
    if not image.has_transparency_data:
        return to_srgb(image)
    rgba = image.convert("RGBA")
    opacity, colours = rgba.getchannel("A"), to_srgb(rgba.convert("RGB"))
    colours.putalpha(opacity)
    ground = Image.new("RGBA", rgba.size, (*NEUTRAL_GROUND, 255))
    return Image.alpha_composite(ground, colours).convert("RGB")


def _to_srgb(image: Any) -> Callable[[Any], Any]:
    """What makes a picture of this one's kind RGB as screens show it, as its profile says what its colours are."""
    from PIL import Image, ImageCms

    def plain(part: Any) -> Any:
        return part.convert("RGB")

    profile = image.info.get("icc_profile")
    if not profile:
        return plain
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILED[source.profile.xcolor_space.strip()]
        if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode[0] not in "1LI"):
            return plain
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except Exception as error:  # a library's, of any kind, on a note beside the picture
        log.warning("profile not read: %s", type(error).__name__)
        return plain

    def profiled(part: Any) -> Any:
        return ImageCms.applyTransform(part if part.mode == mode else part.convert(mode), transform)

    # Most say that they are sRGB, and are to stay to the bit what they are.
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3))
    if mode == "CMYK":
        return profiled
    probe = cube.convert(mode)
    change = np.asarray(profiled(probe)).astype(int) - np.asarray(plain(probe))
    return profiled if np.abs(change).max() > ROUNDED else plain
