"""What numbers mean as colours: of photos by their profile, as browsers show them, of videos by matrix and range."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo
from PIL import Image, ImageCms

from vjepa_demo.media.pictures import NEUTRAL_GROUND
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling

# Colorants under D50, columns red, green, blue: sRGB's by IEC 61966-2-1, Display P3's by Apple's profile, Adobe RGB's
# by its specification.
SRGB = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
ADOBE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
SWAPPED = SRGB[:, [1, 2, 0]]  # a profile that gives each colour to another channel shows at once who applies it


def profile(colorants: np.ndarray | None, gamma: float) -> bytes:
    """An ICC profile, version 2, of a screen with these colorants and this gamma; of greys where there are none."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {}
    if colorants is None:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip(b"rgb", colorants.T, strict=True):
            tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*column)
            tags[bytes([name]) + b"TRC"] = curve
    return icc(tags, b"mntr", b"GRAY" if colorants is None else b"RGB ", b"XYZ ")


def icc(tags: dict[bytes, bytes], device: bytes, space: bytes, between: bytes) -> bytes:
    """A profile of these tags, and those that each one has: of a kind of device, from its space to the one between."""
    text, white = b"a profile\0", struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": b"XYZ " + bytes(4) + white,
        **tags,
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = bytes(8) + struct.pack(">I", 0x02100000) + device + space + between + bytes(12) + b"acsp" + bytes(28)
    head = (head + white).ljust(128, b"\0")
    return struct.pack(">I", len(head) + len(table) + len(data)) + head[4:] + table + data


def as_srgb(pixels: np.ndarray, colorants: np.ndarray, gamma: float) -> np.ndarray:
    """The definition: light by the gamma, through XYZ into sRGB's primaries, cut to what it can show, and encoded."""
    light = np.clip((pixels / 255.0) ** gamma @ colorants.T @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def shown(path: Path) -> np.ndarray:
    return read_clip(path).frames[0].transpose(1, 2, 0).astype(float)


COLOURS = np.random.default_rng(0).integers(30, 226, (40, 300, 3), np.uint8)


@pytest.mark.parametrize("ending", ["png", "webp"])
@pytest.mark.parametrize("colorants", [P3, ADOBE, SWAPPED], ids=["Display P3", "Adobe RGB", "swapped"])
def test_colours_are_those_of_the_profile(tmp_path: Path, colorants: np.ndarray, ending: str) -> None:
    path, said = tmp_path / f"photo.{ending}", profile(colorants, 2.2)
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(COLOURS).save(path, icc_profile=said, **options)
    expected = as_srgb(COLOURS, colorants, 2.2)
    difference = np.abs(shown(path) - expected)
    assert difference.mean() < 1
    assert np.percentile(difference, 99) < 4
    assert np.abs(COLOURS - expected).mean() > 3, "a profile that is not applied would show"


def test_a_photo_of_a_phone(tmp_path: Path) -> None:
    """A JPEG in Display P3: what is fully red there is beyond sRGB's red, and a middle one is redder than it says."""
    for colour, least in (((255, 0, 0), 250), ((200, 80, 80), 206)):
        path = tmp_path / "photo.jpg"
        Image.new("RGB", (64, 48), colour).save(path, quality=100, icc_profile=profile(P3, 2.2))
        red, green, blue = shown(path).mean(axis=(0, 1))
        assert red >= least
        assert max(green, blue) <= max(colour[1:])


def test_srgb_stays_to_the_bit_what_it_is(tmp_path: Path) -> None:
    said = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "photo.png", icc_profile=said)
    np.testing.assert_array_equal(shown(tmp_path / "photo.png"), COLOURS)


def test_greys_of_another_gamma(tmp_path: Path) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(greys).save(tmp_path / "grey.png", icc_profile=profile(None, 1.8))
    expected = as_srgb(greys[..., None].repeat(3, axis=-1), SRGB, 1.8)
    assert np.abs(shown(tmp_path / "grey.png") - expected).max() < 4


def test_transparency_and_colours_together(tmp_path: Path) -> None:
    rgba = np.dstack([COLOURS, np.full(COLOURS.shape[:2], 255, np.uint8)])
    rgba[:, :150, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "photo.png", icc_profile=profile(SWAPPED, 2.2))
    found = shown(tmp_path / "photo.png")
    assert np.abs(found[:, :150] - NEUTRAL_GROUND).max() == 0
    assert np.abs(found[:, 150:] - as_srgb(COLOURS[:, 150:], SWAPPED, 2.2)).mean() < 1


def ink_profile() -> bytes:
    """An ICC profile of a printer: a table (lut8Type) from the corners of CMYK to Lab, of inks that are not pure."""
    white, inks = np.array([95.0, 1.0, -2.0]), np.array([[-40, -37, -48], [-46, 72, -5], [-8, -6, 90], [-78, -1, 3]])
    corners = np.array(list(itertools.product((0, 1), repeat=4)))
    lab = white + corners @ inks
    lab[:, 0] = np.clip(lab[:, 0], 8, 100)
    grid = np.clip(np.round(np.column_stack([lab[:, 0] * 2.55, lab[:, 1:] + 128])), 0, 255).astype(np.uint8)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + grid.tobytes() + 3 * ramp
    return icc({b"A2B0": table}, b"prtr", b"CMYK", b"Lab ")


def test_inks_are_those_of_their_profile(tmp_path: Path) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (6, 38, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    picture = Image.fromarray(inks, "CMYK")
    picture.save(tmp_path / "photo.jpg", quality=100, subsampling=0, icc_profile=ink_profile())
    with Image.open(tmp_path / "photo.jpg") as image:
        image.load()
        pillows = np.asarray(
            ImageCms.profileToProfile(
                image,
                io.BytesIO(image.info["icc_profile"]),
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        )
        plain = np.asarray(image.convert("RGB")).astype(int)
    found = shown(tmp_path / "photo.jpg")
    np.testing.assert_array_equal(found, pillows)
    assert np.abs(found - plain).mean() > 20, "a profile that is not applied would show"


@pytest.mark.parametrize("said", [b"", b"no profile", profile(P3, 2.2)], ids=["none", "broken", "of a screen"])
def test_inks_without_a_profile_of_theirs(tmp_path: Path, said: bytes) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (6, 38, 4), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    Image.fromarray(inks, "CMYK").save(tmp_path / "photo.jpg", quality=100, subsampling=0, icc_profile=said)
    with Image.open(tmp_path / "photo.jpg") as image:
        np.testing.assert_array_equal(shown(tmp_path / "photo.jpg"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("said", [b"no profile", profile(P3, 2.2)[:200], profile(None, 1.0)], ids=str)
def test_a_profile_that_is_none_or_of_other_pictures_changes_nothing(tmp_path: Path, said: bytes) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "photo.png", icc_profile=said)
    np.testing.assert_array_equal(shown(tmp_path / "photo.png"), COLOURS)


# --- videos ----------------------------------------------------------------------------------------------------------

# The shares of red and blue in luma: ITU-R BT.601, BT.709, BT.2020.
MATRICES = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593), "": (0.299, 0.114)}


def rgb_of(y: float, cb: float, cr: float, matrix: str, *, full: bool) -> list[float]:
    """The definition, for 8 bits."""
    red, blue = MATRICES[matrix]
    luma, scale = (y / 255, 255) if full else ((y - 16) / 219, 224)
    r = luma + 2 * (1 - red) * (cr - 128) / scale
    b = luma + 2 * (1 - blue) * (cb - 128) / scale
    return [255 * r, 255 * (luma - red * r - blue * b) / (1 - red - blue), 255 * b]


@pytest.mark.parametrize("span", ["tv", "pc"])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])  # one by one, and in order
def test_colours_of_videos_are_those_of_their_matrix_and_range(make_video: MakeVideo, name, matrix, span) -> None:
    said = f"setparams=range={span}" + (f":colorspace={matrix}" if matrix else "")
    picture = "geq=lum='if(lt(X,W/2),150,90)':cb='if(lt(X,W/2),90,140)':cr='if(lt(X,W/2),160,110)'"
    options = ("-bf", "2", "-qp", "1", "-color_range", span, *(("-colorspace", matrix) if matrix else ()))
    path = make_video(name, picture=picture, filters=(said,), pixels="yuv444p", options=options)
    clip = read_clip(path, Sampling(4))
    for x, samples in ((16, (150, 90, 160)), (48, (90, 140, 110))):
        expected = rgb_of(*samples, matrix, full=span == "pc")
        assert min(expected) > 0
        assert max(expected) < 255
        assert np.abs(clip.frames[:, :, 32, x] - np.array(expected)).max() <= 3, (clip.frames[0, :, 32, x], expected)
