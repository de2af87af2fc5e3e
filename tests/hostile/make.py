"""A corpus of hostile and odd files, made from nothing but a seed: what strangers, cameras and accidents upload.

    python tests/hostile/make.py FOLDER

Each file is small, or sparse where only its length matters. `FAMILIES` makes one kind each; `make` returns them all by
kind, so that a test can say which kind fails.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Files = dict[str, bytes]
# A playlist that FFmpeg knows by its words, wherever in the beginning they are.
DASH = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static" '
    'mediaPresentationDuration="PT2S" minBufferTime="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation '
    'id="1" bandwidth="1" width="64" height="48" codecs="avc1.4d400c"><BaseURL>/etc/passwd.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
SEED = 2026
# container: (encoder, its options), of what the ffmpeg program of any distribution can write
VIDEOS = {
    "h264.mp4": ("libx264", ["-pix_fmt", "yuv420p", "-bf", "2"]),
    "h264.mov": ("libx264", ["-pix_fmt", "yuv420p"]),
    "h264.mkv": ("libx264", ["-pix_fmt", "yuv420p"]),
    "h264.ts": ("libx264", ["-pix_fmt", "yuv420p"]),
    "h264.flv": ("libx264", ["-pix_fmt", "yuv420p"]),
    "mpeg4.avi": ("mpeg4", ["-bf", "2"]),
    "mpeg2.mpg": ("mpeg2video", []),
    "vp8.webm": ("libvpx", ["-deadline", "realtime"]),
    "vp9.webm": ("libvpx-vp9", ["-deadline", "realtime", "-cpu-used", "8"]),
    "theora.ogv": ("libtheora", []),
    "frag.mp4": ("libx264", ["-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov"]),
    "tail.mp4": ("libx264", ["-pix_fmt", "yuv420p", "-movflags", "-faststart"]),
}
ODD_VIDEOS = {
    "yuv444.mp4": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "libx264", "-pix_fmt", "yuv444p"]),
    "ten_bits.mp4": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"]),
    "grey.mkv": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "ffv1", "-pix_fmt", "gray16le"]),
    "rgb.mkv": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "ffv1", "-pix_fmt", "bgra"]),
    "mono.mkv": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "rawvideo", "-pix_fmt", "monob"]),
    "mjpeg.avi": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
    "prores.mov": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "prores_ks"]),
    "huffyuv.avi": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "huffyuv"]),
    "png.mov": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "png"]),
    "tiny.mp4": ("testsrc2=s=16x16:r=8:d=1", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "one_pixel.mkv": ("color=red:s=1x1:r=8:d=1", ["-c:v", "ffv1"]),
    "odd_size.mkv": ("testsrc2=s=33x17:r=8:d=1", ["-c:v", "ffv1"]),
    "narrow.mkv": ("color=red:s=2x4000:r=8:d=1", ["-c:v", "ffv1"]),
    "wide.mkv": ("color=red:s=8000x2:r=8:d=1", ["-c:v", "ffv1"]),
    "one_frame.mp4": ("testsrc2=s=64x48:r=8:d=0.125", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "two_frames.mp4": ("testsrc2=s=64x48:r=8:d=0.25", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "slow.mp4": ("testsrc2=s=64x48:r=1/60:d=300", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "fast.mkv": ("testsrc2=s=64x48:r=1000:d=0.2", ["-c:v", "ffv1"]),
    "hours.mkv": ("color=red:s=16x16:r=1/100:d=7200", ["-c:v", "ffv1"]),
    "pixels.mkv": ("testsrc2=s=64x48:r=8:d=1,setsar=1000/1", ["-c:v", "ffv1"]),
    "one_group.mp4": ("testsrc2=s=320x180:r=30:d=20", ["-c:v", "libx264", "-g", "9999", "-pix_fmt", "yuv420p"]),
    "alpha.webm": ("testsrc2=s=64x48:r=8:d=1", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-cpu-used", "8"]),
    "negative.mkv": ("testsrc2=s=64x48:r=8:d=1,setpts=PTS-100/TB", ["-c:v", "ffv1", "-avoid_negative_ts", "disabled"]),
    "backwards.avi": ("testsrc2=s=64x48:r=8:d=1,reverse", ["-c:v", "mpeg4"]),
    "changing.mkv": ("testsrc2=s=64x48:r=8:d=1,setpts='if(lt(N,4),PTS,PTS*100)'", ["-c:v", "ffv1"]),
}


def ffmpeg(source: str, path: Path, *options: str) -> bytes:
    """What the ffmpeg program writes of a picture source; nothing where this build cannot write it."""
    command = ["ffmpeg", "-v", "error", "-y", "-nostdin", "-threads", "1", "-f", "lavfi", "-i", source, *options]
    done = subprocess.run([*command, str(path)], capture_output=True, timeout=120)
    return path.read_bytes() if done.returncode == 0 and path.is_file() else b""


def sound_videos(folder: Path) -> Files:
    """One short clip for each container."""
    return {
        name: ffmpeg("testsrc2=s=64x48:r=8:d=2", folder / name, "-c:v", encoder, *options)
        for name, (encoder, options) in VIDEOS.items()
    }


def sound_pictures(folder: Path) -> Files:
    """One small picture, still or moving, for each format that Pillow reads and writes here."""
    rng = np.random.default_rng(SEED)
    frames = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(4)]
    files = {}
    for name, options in {
        "still.png": {},
        "still.jpg": {},
        "still.webp": {},
        "still.gif": {},
        "still.avif": {},
        "moving.png": {"save_all": True, "append_images": frames[1:], "duration": 100},
        "moving.gif": {"save_all": True, "append_images": frames[1:], "duration": 100},
        "moving.webp": {"save_all": True, "append_images": frames[1:], "duration": 100},
        "moving.avif": {"save_all": True, "append_images": frames[1:], "duration": 100},
    }.items():
        out = io.BytesIO()
        try:
            frames[0].save(out, Path(name).suffix[1:].upper().replace("JPG", "JPEG"), **options)
        except (KeyError, OSError):  # a build of Pillow without this format
            continue
        files[name] = out.getvalue()
    return files


def truncated(sound: Files) -> Files:
    """Broken off near the beginning, in the middle, and before the end."""
    return {
        f"{share}_{name}": data[: max(1, len(data) * share // 100)]
        for name, data in sound.items()
        for share in (2, 50, 98)
    }


def flipped(sound: Files) -> Files:
    """Some bytes changed: in the headers, and all over."""
    dice, files = random.Random(SEED), {}
    for name, data in sound.items():
        for kind, end, count in (("head", 600, 8), ("all", len(data), 40)):
            broken = bytearray(data)
            for _ in range(count):
                broken[dice.randrange(12, max(13, min(end, len(data))))] = dice.randrange(256)
            files[f"{kind}_{name}"] = bytes(broken)
    return files


def spliced(sound: Files) -> Files:
    """The beginning of one with the end of another, and one after the other."""
    names, files = sorted(sound), {}
    for one, other in zip(names, names[1:] + names[:1], strict=True):
        files[f"half_{other}_{one}"] = sound[one][: len(sound[one]) // 2] + sound[other][len(sound[other]) // 2 :]
    files["twice.mp4"] = sound["h264.mp4"] * 2
    files["zip_behind.png"] = sound["still.png"] + zip_of("a.txt", b"x")
    files["video_behind.jpg"] = sound["still.jpg"] + sound["h264.mp4"]
    files["html_before.mp4"] = b"<html>" + sound["h264.mp4"]
    return files


def zip_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def named_wrongly(sound: Files) -> Files:
    """Videos and pictures whose names say something else, and other things that are called videos."""
    files = {
        "video.png": sound["h264.mp4"],
        "picture.mp4": sound["still.png"],
        "moving.jpg": sound["moving.gif"],
        "no_ending": sound["h264.mp4"],
        "empty.mp4": b"",
        "one_byte.mp4": b"\0",
        "zeros.mp4": bytes(5000),
        "noise.mp4": random.Random(SEED).randbytes(5000),
        "text.mp4": b"this is no video\n" * 50,
        "page.png": b"<!DOCTYPE html><script>alert(1)</script>",
        "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
        "archive.mp4": zip_of("a.mp4", sound["h264.mp4"]),
        "script.mp4": b"#!/bin/sh\nrm -rf /\n",
        "elf.mp4": b"\x7fELF" + bytes(200),
        "pdf.mp4": b"%PDF-1.7\n" + bytes(200),
        "sound.wav": b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28),
        "sound.mp3": b"ID3\x04" + bytes(300),
        "heic.jpg": struct.pack(">I", 24) + b"ftypheic" + bytes(12) + bytes(300),
    }
    # Lists of other files: FFmpeg reads some of them whatever they are called.
    lists = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "hls_file": "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "hls_http": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n",
        "concat": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "dash_as_mp4": f"<!--free-->{DASH}",
        "dash_root_as_mp4": f"<aaafree>{DASH}</aaafree>",
        "dash_in_space": f"    free{DASH}",
        "dash_as_avi": f"RIFF....AVI {DASH}",
        "dash_as_ts": f"G<!--{'x' * 183}G-->{DASH}",
        "dash_as_ogg": f"OggS{DASH}",
        "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>/etc/passwd</BaseURL></MPD>",
        "ssa": "[Script Info]\nScriptType: v4.00+\n",
        "srt": "1\n00:00:00,000 --> 00:00:01,000\n<b>x</b>\n",
        "image2": "P6\n100000 100000\n255\n",
        "asx": "<asx version='3.0'><entry><ref href='/etc/passwd'/></entry></asx>",
    }
    for name, text in lists.items():
        for ending in ("mp4", "png"):
            files[f"{name}.{ending}"] = text.encode()
    return files


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def apng(side: int, count: int) -> bytes:
    """An animation of `count` frames that change one pixel of a canvas."""
    packed = zlib.compress(b"\0" + bytes(4))
    parts = [chunk(b"acTL", struct.pack(">II", count, 0))]
    for number in range(1, count):
        control = struct.pack(">IIIIIHHBB", 2 * number - 1, 1, 1, 0, 0, 1, 100, 0, 1)
        parts += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">I", 2 * number) + packed)]
    row = zlib.compressobj(9)
    body = b"".join(row.compress(bytes(1 + 4 * side)) for _ in range(side)) + row.flush()
    whole = png(side, side, body, colour=6)
    at = whole.index(b"IDAT") - 4
    first = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, side, side, 0, 0, 1, 100, 0, 0))
    end = whole.index(b"IEND") - 4
    return whole[:at] + parts[0] + first + whole[at:end] + b"".join(parts[1:]) + whole[end:]


def gif(side: int, count: int, delay: int = 10) -> bytes:
    """`count` frames of one pixel on a canvas: 23 bytes each."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\0" + struct.pack("<H", delay) + b"\0\0"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + (control + frame) * count + b"\x3b"


def webp(side: int, count: int) -> bytes:
    """An animation whose canvas is large and whose frames are one pixel."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "WEBP", lossless=True)
    image = out.getvalue()[12:]

    def part(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def three(number: int) -> bytes:
        return struct.pack("<I", number)[:3]

    head = part(b"VP8X", b"\x02\0\0\0" + three(side - 1) * 2) + part(b"ANIM", bytes(6))
    frame = part(b"ANMF", three(0) * 2 + three(0) * 2 + three(100) + b"\0" + image)
    body = b"WEBP" + head + frame * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bombs(folder: Path) -> Files:
    """Little on disk, much in memory or in time."""
    rows = zlib.compressobj(9)
    black = b"".join(rows.compress(bytes(1 + 30_000 // 8)) for _ in range(30_000)) + rows.flush()
    large = zlib.compress(bytes(40_000_000), 9)
    return {
        "canvas.gif": gif(10_000, 200),
        "canvas_max.gif": gif(65_535, 2),
        "many_frames.gif": gif(16, 100_000, 2),
        "hours.gif": gif(16, 200, 65_535),
        "canvas.webp": webp(10_000, 20),
        "canvas_max.webp": webp(16_383, 3),
        "many_frames.webp": webp(16, 20_000),
        "canvas_apng.png": apng(5000, 150),
        "many_frames_apng.png": apng(16, 20_000),
        "pixels.png": png(30_000, 30_000, black, depth=1, colour=0),
        "declared.png": png(2**31 - 1, 2**31 - 1, b""),
        "no_size.png": png(0, 0, b""),
        "text.png": png(1, 1, zlib.compress(bytes(4)), chunk(b"zTXt", b"a\0\0" + large)),
        "profile.png": png(1, 1, zlib.compress(bytes(4)), chunk(b"iCCP", b"a\0\0" + large)),
        "many_texts.png": png(1, 1, zlib.compress(bytes(4)), *[chunk(b"tEXt", b"a\0b")] * 20_000),
        "wide.jpg": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65_000, 65_000) + b"\3\1\x11\0\2\x11\1\3\x11\1",
        "scans.jpg": _jpeg(progressive=True),
        "boxes.mp4": _nested(2000),
        "long_group.mp4": ffmpeg(
            "color=red:s=640x360:r=30:d=120", folder / "b.mp4", "-c:v", "libx264", "-g", "99999", "-preset", "ultrafast"
        ),
        "many_frames.mkv": ffmpeg("color=red:s=32x32:r=1000:d=20", folder / "b.mkv", "-c:v", "mpeg4"),
    }


def _jpeg(**options: bool) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def _nested(depth: int) -> bytes:
    """Boxes in boxes, each of which says that it holds all that follows."""
    boxes = b"".join(struct.pack(">I", 8 * (depth - level) + 8) + b"moov" for level in range(depth))
    return struct.pack(">I", 16) + b"ftypisom" + bytes(4) + boxes + struct.pack(">I", 8) + b"free"


def odd_metadata(sound: Files) -> Files:
    """Pictures that are sound but for what is said about them; videos whose boxes say what cannot be."""
    files: Files = {}
    for orientation in range(1, 9):
        files[f"turned_{orientation}.jpg"] = _with_exif({0x0112: orientation})
    files["turned_by_much.jpg"] = _with_exif({0x0112: 65_535})
    # A rational that cannot be written back (-1/0), beside an orientation that makes Pillow write it.
    tags = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x9204, 10, 1, 38)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + tags + bytes(4) + struct.pack("<ii", -1, 0)
    files["no_rational.jpg"] = _with_exif(b"Exif\0\0" + tiff)
    files["loop.jpg"] = _with_exif(b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 8))
    files["much.jpg"] = _with_exif(b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65_535) + bytes(60_000))
    video = sound["h264.mp4"]
    for box, at, value in (
        (b"mvhd", 16, struct.pack(">I", 0)),  # no timescale
        (b"mdhd", 16, struct.pack(">I", 0)),
        (b"mdhd", 20, struct.pack(">I", 2**32 - 1)),  # years
        (b"tkhd", 44, struct.pack(">i", -65536)),  # mirrored
        (b"tkhd", 44, bytes(36)),  # no matrix
        (b"tkhd", 80, struct.pack(">II", 2**31, 2**31)),  # a size for giants
        (b"stts", 8, struct.pack(">I", 2**31)),
        (b"stsz", 8, struct.pack(">I", 2**31)),
        (b"stco", 8, struct.pack(">I", 2**31 - 1)),
        (b"stsc", 8, struct.pack(">I", 2**32 - 1)),
        (b"ctts", 8, struct.pack(">I", 2**32 - 1)),
        (b"elst", 8, struct.pack(">I", 2**32 - 1)),
        (b"avc1", 28, struct.pack(">HH", 65_535, 65_535)),
        (b"avc1", 0, b"brxq"),  # no such codec
        (b"avc1", 0, b"encv"),  # encrypted
        (b"avcC", 4, b"\xff" * 8),
        (b"trak", 0, b"free"),
        (b"moov", 0, b"free"),
        (b"ftyp", 4, b"XXXX"),
    ):
        if box in video:
            place = video.index(box) + (0 if at == 0 else at)
            name = f"{box.decode()}_{at}_{value[:4].hex()}.mp4"
            files[name] = video[:place] + value + video[place + len(value) :]
    return files


def _with_exif(exif: dict[int, int] | bytes) -> bytes:
    image, out = Image.effect_noise((32, 24), 90).convert("RGB"), io.BytesIO()
    if isinstance(exif, dict):
        tags = Image.Exif()
        tags.update(exif)
        exif = tags.tobytes()
    image.save(out, "JPEG", exif=exif)
    return out.getvalue()


def odd_pictures() -> Files:
    """Modes and sizes that cameras and programs make, and few expect."""
    files = {}
    for name, image in {
        "bit.png": Image.new("1", (20, 10)),
        "grey.png": Image.new("L", (20, 10), 90),
        "grey16.png": Image.new("I;16", (20, 10), 40_000),
        "grey_alpha.png": Image.new("LA", (20, 10), (90, 40)),
        "palette.png": Image.new("P", (20, 10)),
        "alpha.png": Image.new("RGBA", (20, 10), (9, 9, 9, 0)),
        "one_pixel.png": Image.new("RGB", (1, 1)),
        "one_row.png": Image.new("RGB", (20_000, 1)),
        "one_column.png": Image.new("RGB", (1, 20_000)),
        "cmyk.jpg": Image.new("CMYK", (20, 10)),
        "grey.jpg": Image.new("L", (20, 10)),
        "alpha.webp": Image.new("RGBA", (20, 10), (9, 9, 9, 40)),
    }.items():
        out = io.BytesIO()
        image.save(out, Path(name).suffix[1:].upper().replace("JPG", "JPEG"))
        files[name] = out.getvalue()
    return files


def make(folder: Path) -> dict[str, list[Path]]:
    """Write the corpus below a folder. Returns the files of each kind."""
    work = folder / "work"
    work.mkdir(parents=True)
    videos, pictures = sound_videos(work), sound_pictures(work)
    sound = {name: data for name, data in {**videos, **pictures}.items() if data}
    odd = {name: ffmpeg(source, work / f"odd_{name}", *options) for name, (source, options) in ODD_VIDEOS.items()}
    kinds: dict[str, Callable[[], Files]] = {
        "sound": lambda: sound,
        "truncated": lambda: truncated(sound),
        "flipped": lambda: flipped(sound),
        "spliced": lambda: spliced(sound),
        "named wrongly": lambda: named_wrongly(sound),
        "bombs": lambda: bombs(work),
        "odd metadata": lambda: odd_metadata(sound),
        "odd pictures": odd_pictures,
        "odd videos": lambda: {name: data for name, data in odd.items() if data},
    }
    made: dict[str, list[Path]] = {}
    for kind, files in kinds.items():
        below = folder / kind.replace(" ", "_")
        below.mkdir()
        made[kind] = []
        for name, data in files().items():
            path = below / name
            path.write_bytes(data)
            made[kind].append(path)
    made["sparse"] = []
    for name, head in {
        "mdat.mp4": struct.pack(">I", 16) + b"ftypisom" + bytes(4) + struct.pack(">I", 0) + b"mdat",
        "moov.mp4": struct.pack(">I", 16) + b"ftypisom" + bytes(4) + struct.pack(">I", 400_000_000) + b"moov",
        "ebml.mkv": b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 7,
        "riff.avi": b"RIFF\xff\xff\xff\x7fAVI LIST\xff\xff\xff\x7fhdrl",
        "zeros.mpg": b"\0\0\1\xba",
        "flv.flv": b"FLV\x01\x05\0\0\0\x09",
        "ogg.ogv": b"OggS",
        "too_large.mp4": sound["h264.mp4"],
    }.items():
        path = folder / f"sparse_{name}"
        path.write_bytes(head)
        with path.open("r+b") as file:
            file.truncate(600 * 2**20 if name == "too_large.mp4" else 400_000_000)
        made["sparse"].append(path)
    made["no file"] = [folder, folder / "missing.mp4", folder / "missing" / "\0.mp4"]
    return made


if __name__ == "__main__":
    print({kind: len(paths) for kind, paths in make(Path(sys.argv[1])).items()})
