"""Images and animations, read by Pillow: upright, 8 bits, transparency on a neutral ground."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.errors import MediaError
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# Transparent pixels are laid on mid-grey: close to the mean that the processor subtracts, so they carry little signal.
NEUTRAL_GROUND = (128, 128, 128)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
ANIMATED_FORMATS = ("PNG", "WEBP", "AVIF", "GIF")
# Browsers and FFmpeg show a frame for a tenth of a second when the file asks for (almost) none.
SHORTEST_SECONDS, DEFAULT_SECONDS = 0.02, 0.1
ORIENTATION = 0x0112  # the EXIF tag
ROTATIONS = {3: 180.0, 6: 270.0, 8: 90.0}


@dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        width, height: of the upright picture, in pixels.
        codec: Pillow's name of the format.
        rotation: degrees, counter-clockwise, by which it was turned upright.
        starts: float64 `[n]`, seconds at which the n frames of an animation begin; `[0.]` for a still image.
        duration: seconds; 0 for a still image.
    """

    path: Path
    width: int
    height: int
    codec: str
    rotation: float
    starts: np.ndarray
    duration: float

    @property
    def is_animated(self) -> bool:
        return len(self.starts) > 1

    def frames(self, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """uint8 `[T, 3, H, W]`: the frames of these ascending indices, scaled to size (H, W). Raises MediaError."""
        from PIL import Image

        height, width = size
        out = np.empty((len(indices), height, width, 3), dtype=np.uint8)
        with _pillow_errors(), Image.open(self.path, formats=FORMATS) as image:
            for row, index in enumerate(indices):
                if row and index == indices[row - 1]:
                    out[row] = out[row - 1]
                    continue
                if self.is_animated:
                    image.seek(int(index))
                out[row] = _upright_rgb(image, width, height)
        return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def open_picture(path: Path, limits: Settings = settings) -> Picture:
    """Read the header, and the times of an animation's frames.

    Raises:
        MediaError: the file is damaged, or has more pixels or seconds than are taken.
    """
    from PIL import Image

    with _pillow_errors(), Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > limits.max_image_pixels:
            raise MediaError(
                f"The image has {image.width:,} × {image.height:,} pixels and at most "
                f"{limits.max_image_pixels / 1e6:,.0f} million are taken: scale it down first."
            )
        codec = image.format or ""
        orientation = image.getexif().get(ORIENTATION, 1)
        width, height = image.size[::-1] if orientation in {5, 6, 7, 8} else image.size
        times = [0.0]
        count = getattr(image, "n_frames", 1) if codec in ANIMATED_FORMATS else 1
        if count > 1:
            for index in range(count):
                image.seek(index)
                if codec in {"WEBP", "AVIF"}:  # these know a frame's duration only once it is decoded
                    image.load()
                seconds = image.info.get("duration", 0) / 1e3
                times.append(times[-1] + (seconds if seconds >= SHORTEST_SECONDS else DEFAULT_SECONDS))
                if times[-1] > limits.max_seconds:
                    raise MediaError(f"The animation lasts more than {limits.max_seconds:,.0f} s: cut it first.")
        starts = np.array(times[:-1] or times)
        return Picture(path, width, height, codec, ROTATIONS.get(orientation, 0.0), starts, times[-1])


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Our own limit on pixels is checked from the header, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Image.DecompressionBombError:
        raise MediaError(
            f"The image has more than {settings.max_image_pixels / 1e6:,.0f} million pixels: scale it down first."
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        log.warning("image not read: %s", error)
        raise MediaError("The image is damaged or cut short and cannot be read: save or copy it again.") from error


def _upright_rgb(image: Any, width: int, height: int) -> Any:
    """Eight bits, RGB; 16-bit greys are scaled down, transparency is laid on the neutral ground."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey PNG; 16-bit colour arrives as 8
        image = Image.fromarray(np.round(np.asarray(image, dtype=np.float64) * (255 / 65535)).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*NEUTRAL_GROUND, 255))
        image = Image.alpha_composite(ground, rgba)
    image = image.convert("RGB")
    return image if image.size == (width, height) else image.resize((width, height))
