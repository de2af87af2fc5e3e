"""Videos that are partly transparent, and those of high dynamic range: what of them is embedded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import CORNERS, MakeVideo, ffmpeg, frame_numbers
from PIL import Image

from vjepa_demo.errors import RequestError
from vjepa_demo.media import inorder
from vjepa_demo.media.pictures import NEUTRAL_GROUND
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling

# The right half has no opacity, and is green below it; the left half holds the frame's number.
HALF = (
    "format=rgba,geq=r='if(lt(X,W/2),255*mod(floor(N/pow(2,floor(16*X/W))),2),0)'"
    ":g='if(lt(X,W/2),255*mod(floor(N/pow(2,floor(16*X/W))),2),255)'"
    ":b='if(lt(X,W/2),255*mod(floor(N/pow(2,floor(16*X/W))),2),0)':a='if(lt(X,W/2),255,0)'"
)
TRANSPARENT = [
    ("clip.mov", "prores_ks", "yuva444p10le", ()),
    ("clip.mov", "qtrle", "argb", ()),
    ("clip.mov", "png", "rgba", ()),
    ("clip.webm", "libvpx-vp9", "yuva420p", ("-g", "12", "-cpu-used", "8", "-auto-alt-ref", "0")),
    ("clip.webm", "libvpx", "yuva420p", ("-g", "12", "-auto-alt-ref", "0")),
    ("clip.mkv", "ffv1", "yuva420p", ()),
    ("clip.avi", "utvideo", "gbrap", ()),
]


@pytest.mark.parametrize(("name", "codec", "pixels", "options"), TRANSPARENT, ids=[case[1] for case in TRANSPARENT])
def test_what_is_transparent_lies_on_the_ground_of_pictures(
    make_video: MakeVideo, name: str, codec: str, pixels: str, options: tuple[str, ...]
) -> None:
    path = make_video(name, codec, size="128x64", picture=HALF, pixels=pixels, options=options)
    clip = read_clip(path, Sampling(8))
    assert any("lies on neutral grey" in note for note in clip.notes)
    ground = clip.frames[:, :, 8:-8, 72:-8].transpose(0, 2, 3, 1).reshape(-1, 3).astype(int)
    assert np.abs(ground - NEUTRAL_GROUND).max() <= 4
    assert frame_numbers(clip.frames[..., :64]) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert clip.source.codec != "ffv1" or codec == "ffv1", "its own codec is told, not that of what was made of it"


def test_of_several_streams_it_is_the_one_that_is_shown(make_video: MakeVideo, tmp_path: Path) -> None:
    first = make_video(picture=CORNERS, size="96x64")
    second = make_video("clip.mkv", "ffv1", size="128x64", picture=HALF, pixels="yuva420p")
    default = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    ffmpeg("-i", first, "-i", second, "-map", "0", "-map", "1", "-c", "copy", *default, tmp_path / "both.mkv")
    clip = read_clip(tmp_path / "both.mkv", Sampling(16))
    assert frame_numbers(clip.frames[..., :64]) == list(range(16))
    assert "lies on neutral grey" in clip.notes[-1]


def test_without_ffmpegs_program_it_is_told(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video("clip.mov", "qtrle", size="128x64", picture=HALF, pixels="argb")
    monkeypatch.setattr(inorder.shutil, "which", lambda program: None)
    clip = read_clip(path, Sampling(8))
    assert any("as it is stored" in note for note in clip.notes)
    assert clip.source.codec == "qtrle"


def test_an_opaque_video_is_decoded_as_ever(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("vjepa_demo.media.reader.InOrder", fails)
    assert read_clip(make_video("clip.webm", "libvpx-vp9"), Sampling(8)).notes == ()


# Signals of 10 bits, of full range, on greys: diffuse white is 203 cd/m² (BT.2408): 58 % of PQ, 75 % of HLG.
LIGHTS = {"smpte2084": 0.58, "arib-std-b67": 0.75}


def grey(make_video: MakeVideo, transfer: str, level: float) -> Path:
    colours = f"log-level=none:lossless=1:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    value = round(64 + 876 * level)
    return make_video(
        f"grey{value}.mp4",
        "libx265",
        picture="null",
        pixels="yuv420p10le",
        filters=("format=yuv420p10le", f"geq=lum={value}:cb=512:cr=512"),
        options=("-x265-params", colours),
    )


@pytest.mark.parametrize("transfer", LIGHTS)
def test_diffuse_white_is_nearly_white_where_hdr_is_tone_mapped(make_video: MakeVideo, transfer: str) -> None:
    shown = []
    for level in (0.0, 0.3, LIGHTS[transfer], 0.9):
        path = grey(make_video, transfer, level)
        stored, toned = (read_clip(path, Sampling(2, hdr=hdr)) for hdr in ("stored", "toned"))
        assert any("not tone-mapped" in note for note in stored.notes)
        assert any("was tone-mapped" in note for note in toned.notes)
        assert stored.is_hdr
        assert toned.is_hdr
        assert np.ptp(toned.frames.astype(int), axis=1).max() <= 2, "grey stays grey"
        shown.append(float(toned.frames.mean()))
    assert 217 <= shown[2] <= 250
    assert shown[0] <= 4
    assert shown == sorted(shown)
    assert shown[3] > shown[2] + 2, "what is brighter than white is still to be told from it"


def test_a_video_of_usual_light_is_the_same_either_way(make_video: MakeVideo) -> None:
    first, second = (read_clip(make_video(), Sampling(8, hdr=hdr)) for hdr in ("stored", "toned"))
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.notes == second.notes == ()
    assert not second.is_hdr


def test_another_wish_is_refused() -> None:
    with pytest.raises(RequestError, match="'stored' or 'toned'"):
        Sampling(hdr="bright").check()  # type: ignore[arg-type]


# --- pictures --------------------------------------------------------------------------------------------------------

CODES = {"smpte2084": 16, "arib-std-b67": 18, "iec61966-2-1": 13}  # ITU-T H.273
NAMES = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


def hdr_picture(path: Path, levels: Sequence[float], transfer: str) -> Path:
    """A picture of grey stripes in BT.2020's colours: values as HDR pictures hold them, and what says so."""
    pixels = np.repeat(np.round(255 * np.array(levels)).astype(np.uint8), 16)
    Image.fromarray(np.tile(pixels[None, :, None], (32, 1, 3))).save(path, quality=100, subsampling="4:4:4")
    data = path.read_bytes()
    if path.suffix == ".png":
        chunk = b"cICP" + bytes([9, CODES[transfer], 0, 1])
        at = data.index(b"IDAT") - 4
        data = data[:at] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]
    else:
        at = data.index(b"colrnclx") + 8
        data = data[:at] + struct.pack(">HH", 9, CODES[transfer]) + data[at + 4 :]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["photo.avif", "photo.png"])
@pytest.mark.parametrize("transfer", CODES)
def test_pictures_of_hdr_are_told_and_toned_as_videos_are(tmp_path: Path, name: str, transfer: str) -> None:
    levels = (0.0, 0.3, LIGHTS.get(transfer, 0.8), 0.9)
    path = hdr_picture(tmp_path / name, levels, transfer)
    stored, shown = (read_clip(path, Sampling(2, hdr=hdr)) for hdr in ("stored", "toned"))
    stripes, toned = (clip.frames[0, :, 16, 8::16].astype(int) for clip in (stored, shown))
    assert np.abs(stripes - np.round(255 * np.array(levels))).max() <= 2, "as it is stored"
    if transfer not in NAMES:
        np.testing.assert_array_equal(toned, stripes)
        assert stored.notes == shown.notes == ()
        return
    assert f"HDR ({NAMES[transfer]})" in stored.notes[-1]
    assert "was tone-mapped" in shown.notes[-1]
    assert np.ptp(toned, axis=0).max() <= 1, "grey stays grey"
    black, dark, white, brighter = toned[0]
    assert black <= 4 < dark < white < brighter
    assert 217 <= white <= 250


def test_a_picture_of_hdr_where_nothing_can_tone_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hdr_picture(tmp_path / "photo.avif", (0.1, 0.5), "smpte2084")
    monkeypatch.setattr(inorder.shutil, "which", lambda program: None)
    assert "could not be tone-mapped here" in read_clip(path, Sampling(2, hdr="toned")).notes[-1]
