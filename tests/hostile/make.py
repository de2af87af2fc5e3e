"""Writes the corpus of hostile and odd files: small, the same each time, none of them taken from anywhere.

python tests/hostile/make.py FOLDER
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

# name: arguments of ffmpeg for a healthy file of that kind, from which damaged ones are made
VIDEOS = {
    "h264.mp4": "-c:v libx264 -g 8",
    "fast.mp4": "-c:v libx264 -g 8 -movflags +faststart",
    "fragments.mp4": "-c:v libx264 -g 8 -movflags +frag_keyframe+empty_moov",
    "hevc.mp4": "-c:v libx265 -x265-params log-level=none",
    "qt.mov": "-c:v qtrle -pix_fmt argb",
    "h264.mkv": "-c:v libx264 -bf 3",
    "vp9.webm": "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime",
    "av1.webm": "-c:v libaom-av1 -cpu-used 8",
    "mpeg4.avi": "-c:v mpeg4 -bf 2",
    "mpeg2.mpg": "-c:v mpeg2video",
    "h264.ts": "-c:v libx264",
    "flv1.flv": "-c:v flv1",
    "theora.ogg": "-c:v libtheora",
}
# healthy, but unusual: each must be read, or refused in a sentence
ODD = {
    "ten_bits.mkv": "-c:v libx264 -pix_fmt yuv444p10le",
    "grey.mkv": "-c:v ffv1 -pix_fmt gray",
    "grey16.mkv": "-c:v ffv1 -pix_fmt gray16le",
    "monochrome.avi": "-c:v rawvideo -pix_fmt monow",
    "rgba.mov": "-c:v png -pix_fmt rgba",
    "palette.avi": "-c:v rawvideo -pix_fmt pal8",
    "yuv410.mkv": "-c:v ffv1 -pix_fmt yuv410p",
    "two_by_two.mp4": "-vf scale=2:2 -c:v libx264",
    "one_by_one.mkv": "-vf scale=1:1 -c:v ffv1",
    "odd_size.mkv": "-vf scale=33:7 -c:v ffv1",
    "column.mkv": "-vf scale=2:8192 -c:v ffv1",
    "row.mkv": "-vf scale=8192:2 -c:v ffv1",
    "wide_pixels.mp4": "-vf setsar=1000/1 -c:v libx264",
    "high_pixels.mp4": "-vf setsar=1/1000 -c:v libx264",
    "one_frame.mp4": "-c:v libx264 -frames:v 1",
    "no_frame.mp4": "-c:v libx264 -t 0",
    "no_frame.mkv": "-c:v libx264 -t 0",
    "slow.mkv": "-c:v libx264 -vf setpts=N*30/TB -fps_mode passthrough",
    "late.mkv": "-c:v libx264 -output_ts_offset 1000000",
    "before_zero.mkv": "-c:v libx264 -output_ts_offset -5",
    "same_times.mkv": "-c:v libx264 -vf settb=1/1000,setpts=floor(N/8) -fps_mode passthrough",
    "too_long.mkv": "-c:v libx264 -vf setpts=N*400/TB -fps_mode passthrough",
    "interlaced.mpg": "-c:v mpeg2video -flags +ildct+ilme",
    "motion_jpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "raw.avi": "-c:v rawvideo -pix_fmt bgr24",
    "two_pictures.mkv": "-c:v libx264 -map 0:v -map 0:v",
    "title.mp4": "-c:v libx264 -metadata title=" + "x" * 60_000,
}
SOUND = ("sound.mp4", "sound.mkv", "sound.avi", "sound.ts", "sound.mpg", "sound.webm", "sound.flv", "sound.ogg")
PICTURES = ("still.png", "still.jpg", "still.webp", "still.gif", "moving.gif", "moving.webp", "moving.png")


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "fatal", "-nostdin", "-y", "-threads", "1", *arguments], check=True, timeout=60)


def healthy(folder: Path) -> dict[str, bytes]:
    """A small file of each kind, by name."""
    for name, options in {**VIDEOS, **ODD}.items():
        given = options.split(" ")
        source = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=16:d=1.5"]
        pixels = [] if "-pix_fmt" in given else ["-pix_fmt", "yuv420p"]
        ffmpeg(*source, *pixels, *given, str(folder / name))
    for name in SOUND:
        ffmpeg("-f", "lavfi", "-i", "sine=d=0.3", str(folder / name))
    save_pictures(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def save_pictures(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 24, 32, 3), dtype=np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    for name in PICTURES:
        more = {"save_all": True, "append_images": frames[1:], "duration": 90} if name.startswith("moving") else {}
        frames[0].save(folder / name, **more)
    if "AVIF" in Image.SAVE or Image.registered_extensions().get(".avif") == "AVIF":
        frames[0].save(folder / "still.avif")
        frames[0].save(folder / "moving.avif", save_all=True, append_images=frames[1:], duration=90)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        picture = frames[0].convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        picture.save(folder / f"mode_{mode.replace(';', '')}.png")
    frames[0].convert("CMYK").save(folder / "cmyk.jpg")
    for name, size in {"dot": (1, 1), "column": (1, 20_000), "row": (20_000, 1)}.items():
        Image.new("RGB", size).save(folder / f"{name}.png")


# --- damage ----------------------------------------------------------------------------------------------------------


def damaged(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Cut, flipped, zeroed, spliced and repeated variants of every kind."""
    rng = random.Random(0)
    kinds = [name for name in files if name in VIDEOS or name in PICTURES or name.endswith("avif")]
    for name in kinds:
        data = files[name]
        for share in (0.05, 0.5, 0.97):
            yield f"cut_{share}_{name}", data[: max(16, int(len(data) * share))]
        for times in (3, 60):
            flipped = bytearray(data)
            for _ in range(times):
                flipped[rng.randrange(12, len(data))] ^= 1 << rng.randrange(8)
            yield f"flipped_{times}_{name}", bytes(flipped)
        head = bytearray(data)
        for _ in range(12):
            head[rng.randrange(12, min(len(data), 400))] = rng.choice((0, 0x7F, 0x80, 0xFF))
        yield f"head_{name}", bytes(head)
        other = files[rng.choice(kinds)]
        at = rng.randrange(12, len(data))
        yield f"spliced_{name}", data[:at] + other[rng.randrange(len(other)) :]
        a, b = sorted(rng.randrange(12, len(data)) for _ in range(2))
        yield f"hole_{name}", data[:a] + bytes(b - a) + data[b:]
    yield "twice.mp4", files["fast.mp4"] * 2
    yield "sound_in_pictures.mp4", files["fast.mp4"][:200] + files["sound.mp4"]


# --- bombs and boxes -------------------------------------------------------------------------------------------------


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (header, *chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gif(width: int, height: int, frames: int, frame: tuple[int, int] = (1, 1)) -> bytes:
    one = b"\x21\xf9\x04\0\x0a\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + one * frames + b";"


def webp(width: int, height: int, frames: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "WEBP", lossless=True)
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    one = bytes(12) + b"\x64\0\0\0" + buffer.getvalue()[12:]
    body += (b"ANMF" + struct.pack("<I", len(one)) + one) * frames
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def apng(width: int, height: int, frames: int) -> bytes:
    pixel = zlib.compress(b"\0" * 4)
    chunks = [(b"acTL", struct.pack(">II", frames, 0))]
    for index in range(frames):
        control = struct.pack(">IIIIIHHBB", max(0, 2 * index - 1), 1, 1, 0, 0, 1, 10, 1, 0)
        chunks.append((b"fcTL", control))
        # The first picture fills the canvas, as it must.
        first = zlib.compress(b"\0" * (height * (1 + 3 * width)), 1) if width * height < 10**6 else pixel
        chunks.append((b"IDAT", first) if index == 0 else (b"fdAT", struct.pack(">I", 2 * index) + pixel))
    return png(width, height, *chunks)


def exif(entries: list[tuple[int, int, int, int]]) -> bytes:
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    return b"Exif\0\0" + body + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)


def bombs(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much."""
    yield "canvas.gif", gif(10_000, 10_000, 200)
    yield "many.gif", gif(16, 16, 60_000)
    yield "too_many.gif", gif(16, 16, 300_000)
    yield "large_frames.gif", gif(1, 1, 50, (65_535, 65_535))
    yield "medium.gif", gif(5000, 5000, 90)
    yield "blocks.gif", gif(16, 16, 2)[:-1] + b"\x21\xfe" + b"\xff" * (256 * 4000)
    yield "canvas.webp", webp(10_000, 10_000, 20)
    yield "sheet.webp", webp(16_383, 16_383, 1)
    yield "many.webp", webp(16, 16, 30_000)
    yield "canvas.apng.png", apng(10_000, 10_000, 20)
    yield "many.apng.png", apng(16, 16, 5_000)
    yield "promises.apng.png", apng(16, 16, 3).replace(struct.pack(">II", 3, 0), struct.pack(">II", 2**31 - 1, 0), 1)
    zeros = zlib.compress(bytes(6_200 * (1 + 3 * 6_200)), 9)
    yield "forty_million.png", png(6_200, 6_200, (b"IDAT", zeros))
    yield "declared.png", png(30_000, 30_000, (b"IDAT", zeros[:1000]))
    yield "largest.png", png(2**31 - 1, 2**31 - 1, (b"IDAT", zeros[:1000]))
    yield "nothing.png", png(0, 0, (b"IDAT", b""))
    spaces = zlib.compress(b" " * 50_000_000, 9)
    yield "text.png", png(1, 1, (b"zTXt", b"a\0\0" + spaces), (b"IDAT", zlib.compress(bytes(4))))
    yield "texts.png", png(1, 1, *[(b"tEXt", b"a\0" + b"x" * 50_000)] * 100, (b"IDAT", zlib.compress(bytes(4))))
    yield "profile.png", png(1, 1, (b"iCCP", b"a\0\0" + spaces), (b"IDAT", zlib.compress(bytes(4))))
    yield "chunks.png", png(1, 1, *[(b"juNk", b"")] * 50_000, (b"IDAT", zlib.compress(bytes(4))))
    jpeg = files["still.jpg"]
    for name, block in {
        "loop": exif([(0x0112, 3, 1, 6), (0x8769, 4, 1, 8), (0x014A, 4, 1, 8)]),
        "counts": exif([(0x0112, 3, 1, 6), *((tag, 2, 2**31 - 1, 8) for tag in range(0x0300, 0x0800))]),
        "types": exif([(0x0112, kind, 1, 6) for kind in range(200)]),
        "rational": exif([(0x0112, 3, 1, 6), (0x011A, 10, 1, 0xFFFFFFF0)]),
    }.items():
        yield f"exif_{name}.jpg", jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
    large = bytearray(jpeg)
    at = large.find(b"\xff\xc0")
    large[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    yield "declared.jpg", bytes(large)
    large[at + 5 : at + 9] = struct.pack(">HH", 6_000, 6_000)
    yield "promised.jpg", bytes(large)
    scans = jpeg.rfind(b"\xff\xda")
    yield "scans.jpg", jpeg[:-2] + jpeg[scans:-2] * 2000 + jpeg[-2:]
    yield from boxes(files)


def boxes(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """MP4 and Matroska whose structure says what cannot be."""
    head = box(b"ftyp", b"isom\0\0\2\0isomavc1")
    nested = b""
    for _ in range(3_000):
        nested = box(b"moov", nested)
    yield "nested.mp4", head + nested
    yield "empty_moov.mp4", head + box(b"moov") + box(b"mdat")
    yield "largest_box.mp4", head + box(b"moov", size=0xFFFFFFFF)
    yield "larger_box.mp4", head + struct.pack(">I4sQ", 1, b"moov", 2**63 - 1)
    yield "box_of_one.mp4", head + box(b"moov", bytes(100), size=1)
    yield "many_boxes.mp4", head + box(b"free") * 100_000
    fast = files["fast.mp4"]
    fields = {"stts": (8, 12, 16), "stsz": (8, 12, 16), "stco": (8, 12), "stsc": (8, 12, 16), "mdhd": (16, 20)}
    fields.update(tkhd=(24, 84, 88), elst=(8, 12, 16), mvhd=(16, 20), hdlr=(12,), stsd=(8, 16, 40), ctts=(8, 16))
    for kind, places in fields.items():
        at = fast.find(kind.encode())
        for place in places if at > 0 else ():
            for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
                data = bytearray(fast)
                data[at + place : at + place + 4] = struct.pack(">I", value)
                yield f"{kind}_{place}_{value:x}.mp4", bytes(data)
    at = fast.find(b"tkhd") + 44
    for name, matrix in {"zero": [0] * 9, "flip": [-65536, 0, 0, 0, 65536, 0, 0, 0, 2**30], "odd": [77777] * 9}.items():
        data = bytearray(fast)
        data[at : at + 36] = struct.pack(">9i", *matrix)
        yield f"matrix_{name}.mp4", bytes(data)
    yield "master.mkv", b"\x1a\x45\xdf\xa3" + (b"\x01\xff\xff\xff\xff\xff\xff\xff" + b"\x18\x53\x80\x67") * 3_000
    yield "length.mkv", b"\x1a\x45\xdf\xa3\x01" + bytes(6) + b"\x10" + bytes(3000)


# --- other files under these names -----------------------------------------------------------------------------------


def strangers(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Text, playlists, archives and mixtures."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.mp4", files["h264.mp4"])
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"
    yield "empty.mp4", b""
    yield "text.mp4", b"This is not a video.\n" * 100
    yield "byte.png", b"\x89"
    yield "page.html.mp4", b"<!DOCTYPE html><script>alert(1)</script>"
    yield "drawing.svg.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "archive.mp4", packed.getvalue()
    yield "hls_file.mp4", hls + b"h264.ts\n#EXT-X-ENDLIST\n"
    yield "hls_net.mp4", hls + b"http://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    yield "hls.ts", b"G" + bytes(187) + b"G" + hls + b"h264.ts\n#EXT-X-ENDLIST\n"
    yield "concat.mp4", b"ffconcat version 1.0\nfile h264.mp4\n"
    yield "session.mp4", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\n"
    yield "dash.mp4", b'<?xml version="1.0"?><MPD><Period><AdaptationSet/></Period></MPD>'
    yield "list.m3u.mkv", b"\xef\xbb\xbf" + hls + b"h264.mkv\n"
    yield "metadata.mp4", b";FFMETADATA1\ntitle=x\n"
    yield "subtitles.mp4", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"
    yield "box_then_list.mp4", box(b"ftyp", b"isom\0\0\2\0") + hls + b"h264.ts\n#EXT-X-ENDLIST\n"
    yield "gif_then_video.mp4", files["moving.gif"] + files["h264.mp4"]
    yield "picture_then_archive.png", files["still.png"] + packed.getvalue()
    yield "video_then_picture.mp4", files["fast.mp4"] + files["still.jpg"]
    yield "picture_in_box.mp4", box(b"ftyp", b"isom\0\0\2\0") + files["still.jpg"]
    yield "null_packets.ts", (b"\x47\x1f\xff\x10" + bytes(184)) * 20_000
    yield "random.ts", b"\x47" + random.Random(1).randbytes(187) + b"\x47" + random.Random(2).randbytes(200_000)
    for name, magic in MAGIC.items():
        yield f"noise_{name}", magic + random.Random(name).randbytes(4000)


MAGIC = {
    "a.mp4": b"\0\0\0\x18ftypisom",
    "a.mkv": b"\x1a\x45\xdf\xa3",
    "a.avi": b"RIFF\xff\xff\xff\x7fAVI LIST",
    "a.mpg": b"\0\0\1\xba",
    "a.m2v": b"\0\0\1\xb3",
    "a.flv": b"FLV\1",
    "a.ogg": b"OggS",
    "a.gif": b"GIF89a",
    "a.png": b"\x89PNG\r\n\x1a\n",
    "a.jpg": b"\xff\xd8\xff",
    "a.webp": b"RIFF\0\0\1\0WEBPVP8L",
    "a.avif": b"\0\0\0\x18ftypavif",
}


def sparse(folder: Path) -> None:
    """400 MB that take no room: a head, and zeros for as long as somebody reads."""
    for name, magic in MAGIC.items():
        with (folder / f"sparse_{name}").open("wb") as file:
            file.write(magic)
            file.truncate(400 * 2**20)
    with (folder / "sparse_mdat.mp4").open("wb") as file:
        file.write(box(b"ftyp", b"isom\0\0\2\0") + box(b"mdat", size=399 * 2**20))
        file.truncate(400 * 2**20)


def many_frames(folder: Path) -> None:
    """Long videos in small files: one key frame, more frames than anybody needs, and a size that nobody has."""
    long = ("-f", "lavfi", "-i", "color=s=640x360:r=60:d=60")
    ffmpeg(*long, "-c:v", "libx264", "-preset", "ultrafast", "-g", "99999", str(folder / "one_key.mp4"))
    tiny = ("-f", "lavfi", "-i", "color=s=16x16:r=1000:d=60")
    ffmpeg(*tiny, "-c:v", "libx264", "-preset", "ultrafast", "-g", "99999", str(folder / "tiny_frames.mkv"))
    wide = ("-f", "lavfi", "-i", "color=s=8192x4096:r=10:d=0.3")
    ffmpeg(*wide, "-c:v", "libx264", "-preset", "ultrafast", str(folder / "wide.mp4"))


def paths(folder: Path) -> None:
    """What is no file."""
    (folder / "a_folder.mp4").mkdir()
    os.mkfifo(folder / "a_pipe.mp4")
    (folder / "a_loop.mp4").symlink_to("a_loop.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")


def write(folder: Path) -> list[Path]:
    """Write all of them into an empty folder. Returns their paths."""
    files = healthy(folder)
    for make in (damaged, bombs, strangers):
        for name, data in make(files):
            assert not (folder / name).exists(), name
            (folder / name).write_bytes(data)
    sparse(folder)
    many_frames(folder)
    paths(folder)
    return sorted(folder.iterdir())


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    print(len(write(target)), "files")
