"""What kind of file it is, told by its first bytes; containers that cannot be searched are copied into one that can."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from vjepa_demo.errors import DiskError, MediaError, cut
from vjepa_demo.settings import Settings, settings

log = logging.getLogger(__name__)

# "indexed" containers have times for all frames; the others are named as FFmpeg names their demuxers.
Container = Literal["image", "gif", "indexed", "avi", "mpeg", "mpegts", "yuv4mpegpipe"]
# What is known, too, and not read here: what to do about it.
NOT_READ = {
    "heic": "HEIC images are not read here: convert the picture to JPEG or PNG.",
    "sound": "The file holds sound and no pictures: choose a video or an image.",
}
COPIED = {"avi", "mpeg", "mpegts", "yuv4mpegpipe"}

HEAD = 4096  # bytes that are looked at
# Packets of a transport stream: alone, after the 4 bytes of a time (AVCHD, Blu-ray), before 16 of error correction.
PACKETS = (188, 192, 204)
# Of an MP4 or MOV.
FIRST_BOXES = frozenset(
    b"ftyp moov mdat free skip wide uuid styp sidx pnot emsg prft moof udta meta PICT pdin bloc".split()
)
# Of Matroska and WebM: the element before which all is told of the tracks, and two that tell it, both of value 1.
EBML, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75"
ALPHA_MODE, ENCRYPTION = b"\x53\xc0\x81\x01", b"\x50\x33\x81\x01"
# Of a packet of pictures in a program stream (ISO/IEC 13818-1, 2.4.3.6): the byte with its bits of scrambling. On a DVD
# about half of them are scrambled, and the first ones may not be.
PES, SCRAMBLED = re.compile(rb"\x00\x00\x01[\xe0-\xef]..([\x80-\xbf])", re.DOTALL), 0x30
MOST_PACKETS = 2**24  # bytes that are looked at
BEGINNINGS = (
    *(EBML, b"FLV\x01", b"OggS"),  # Matroska and WebM, Flash, Ogg
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, as WMV is
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02",  # MXF
    *(b".RMF\0", b"DKIF\0", b"nut/multimedia container\0", b"\x1f\x07\x00"),  # RealMedia, IVF, NUT, DV
)
RAW = re.compile(b"\0?\0\0\1[^\0]")  # H.264, H.265 and MPEG-4 without a container; with a zero it is an icon
# What FFmpeg takes for playlists, wherever in a text it stands; a text is what comes before the first zero.
PLAYLISTS = (b"<mpd", b"<compositionplaylist", b"#extm3u", b"c=in ip", b"ffconcat", b"<smoothstreamingmedia")
MOST_TEXT = 2**20 + 32  # bytes that FFmpeg looks at to tell what a file is

COPY_SECONDS = 120  # far more than it takes to copy max_bytes


def sniff(path: Path, limits: Settings = settings) -> Container:
    """Tell a video from an image by its first bytes, never by its name.

    Raises:
        MediaError: the file is missing, empty, too large, or neither a video nor an image that is known here.
    """
    if os.path.isdir(path):  # unlike Path's, these take any text
        raise MediaError("This is a folder, not a file: choose one video or image in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise MediaError("This is a pipe or a device, not a file: save what comes from it in a file first.")
    if not os.path.isfile(path):
        raise MediaError("There is no such file: check the path, or upload the file again.")
    size = path.stat().st_size
    if size == 0:
        raise MediaError("The file is empty (0 bytes): export or copy it again.")
    if size > limits.max_bytes:
        raise MediaError(
            f"The file has {size / 2**20:,.1f} MB and at most {limits.max_bytes / 2**20:,.1f} MB are taken: "
            "cut or compress it first."
        )
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            kind = _kind(head, size)
            text = head if kind is None or b"\0" in head else head + file.read(MOST_TEXT)
        text = text.partition(b"\0")[0].lower()
    except OSError as error:
        raise MediaError("The file cannot be opened: check that you may read it.") from error
    if kind in NOT_READ:
        raise MediaError(NOT_READ[kind])
    if kind is None or (kind not in ("image", "gif") and any(word in text for word in PLAYLISTS)):
        raise MediaError(
            "The file is neither a video nor an image that can be read here, whatever its name says: "
            "choose MP4, MOV, MKV, WebM, AVI, WMV, MPEG, GIF, JPEG, PNG, WebP or AVIF."
        )
    return cast(Container, kind)


def holds_pictures(head: bytes, size: int) -> bool:
    """Whether a file of this size that begins with these HEAD bytes is a video or an image, which may still be one that
    is not read here."""
    return _kind(head, size) not in (None, "sound")


def _kind(head: bytes, size: int) -> str | None:
    """The Container that begins with these bytes, of a file of this size, or what is NOT_READ; None for all else.

    FFmpeg decides for itself what a file is, and its playlists (DASH, HLS, IMF, concat) are texts that name other files
    on this machine, which it then reads. So nothing that could be one of them may pass, whatever else it looks like.
    """
    if head.lstrip(b" \t\r\n\v\f\xef\xbb\xbf").startswith((b"<", b"#", b"ffconcat")):
        return None
    riff = head[8:12] if head[:4] == b"RIFF" else b""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    still = brand in {b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc"}
    if still and b"avif" not in head[8:64] and brand != b"avis":
        return "heic"
    if head[:3] == b"ID3" or head[:4] == b"fLaC" or riff == b"WAVE" or brand == b"M4A ":
        return "sound"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or riff == b"WEBP" or still:
        return "image"
    if head[:4] == b"GIF8":
        return "gif"
    if riff == b"AVI ":
        return "avi"
    if head[:4] in {b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"}:  # MPEG program stream, MPEG video
        return "mpeg" if head[3] == 0xBA else "indexed"
    if head.startswith(BEGINNINGS) or RAW.match(head):
        return "indexed"
    if head.startswith(b"YUV4MPEG2 "):
        return "yuv4mpegpipe"
    if head[4:8] in FIRST_BOXES:  # MP4, MOV
        # The length of this first part: 1 where it follows in 64 bits, 0 where it goes to the end. Letters in its place
        # (`<!--free`) mean more than there is.
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size
        return "indexed" if 8 <= length <= size else None
    return "mpegts" if _has_packets(head) else None


def _has_packets(head: bytes) -> bool:
    """Whether packets of a transport stream follow one another; a recording may begin in the midst of one."""
    for length in PACKETS:
        for begin in range(min(length, len(head))):
            places = range(begin, len(head), length)
            if len(places) > 1 and all(head[place] == 0x47 for place in places):
                return True
    return False


def is_out_of_order(path: Path) -> bool:
    """Whether an AVI, which has no display times, holds frames that are not shown in the order in which they lie. The
    copy in Matroska then has wrong ones, but for the older codecs, whose frames say themselves when they are shown."""
    streams = _probe(path, "avi", "V:0")
    return any(
        stream.get("codec_name") in {"h264", "hevc"} and stream.get("has_b_frames", 0) != 0 for stream in streams or ()
    )


def unread(path: Path, link: Path, container: Container) -> str | None:
    """Why none of the streams of a file can be read as pictures, as a sentence; None where that cannot be told.

    Args:
        path, container: the file, and what it is.
        link: a name of ours for it, under which FFmpeg may find out what it is.
    """
    streams = _probe(path, container) if container in COPIED else _probe(link, None)
    if not streams:
        return None
    # FFmpeg does not tell what kind of stream it is that it knows nothing of.
    pictures = [stream for stream in streams if stream.get("codec_type") == "video"] or [
        stream for stream in streams if stream.get("codec_name", "unknown") == "unknown"
    ]
    if not pictures:
        return NOT_READ["sound"] if any(stream.get("codec_type") == "audio" for stream in streams) else None
    names = (pictures[0].get("codec_name", "unknown"), pictures[0].get("codec_tag_string", ""))
    return no_decoder(next((name for name in names if name != "unknown" and "[0]" not in name), ""))


def no_decoder(codec: str) -> str:
    """The sentence for a video whose codec, if it has a name, is not known here."""
    name = "".join(letter for letter in codec if letter.isprintable())
    named = f" ({cut(name)})" if name else ""
    return f"The video's pictures are in a codec that cannot be read here{named}: export it as H.264."


def says(path: Path, element: bytes) -> bool:
    """Whether a Matroska or WebM has this element among what it tells of its tracks."""
    with path.open("rb") as file:
        return file.read(len(EBML)) == EBML and element in file.read(MOST_TEXT).partition(CLUSTER)[0]


def is_locked(path: Path, container: Container) -> bool:
    """Whether the pictures of a Matroska, WebM or DVD are encrypted, which FFmpeg decodes all the same."""
    if container == "mpeg":
        with path.open("rb") as file:
            flags = PES.findall(file.read(MOST_PACKETS))
        return 10 * sum(flag[0] & SCRAMBLED > 0 for flag in flags) > len(flags)
    return container == "indexed" and says(path, ENCRYPTION)


def is_scrambled(path: Path) -> bool:
    """Whether most packets of a transport stream that has been found are scrambled, as pay television is."""
    with path.open("rb") as file:
        head = file.read(MOST_TEXT)
    for length in PACKETS:
        for begin in range(length):
            flags = head[begin + 3 :: length]
            if set(head[begin::length]) == {0x47} and flags:
                return 2 * sum(flag & 0xC0 > 0 for flag in flags) > len(flags)
    return False


def _probe(path: Path, container: str | None, streams: str = "") -> list[dict[str, Any]] | None:
    """What FFmpeg's program tells of a file's streams; None where it is missing, or fails."""
    program = shutil.which("ffprobe")
    if program is None:
        return None
    entries = "stream=codec_type,codec_name,codec_tag_string,has_b_frames"
    chosen = ["-select_streams", streams] if streams else []
    known = ["-f", container] if container else []
    command = [program, "-v", "error", "-protocol_whitelist", "file", *chosen, "-show_entries", entries, "-of", "json"]
    try:
        done = subprocess.run(
            [*command, *known, f"file:{os.path.abspath(path)}"], check=True, capture_output=True, timeout=COPY_SECONDS
        )
        return json.loads(done.stdout)["streams"]
    except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
        log.warning("not probed: %s", error)
        return None


def check_room(said: bytes) -> None:
    """Raises DiskError where FFmpeg's program has said that there is no room for what it writes."""
    if re.search(b"No space left on device|quota exceeded", said):
        raise DiskError.of(OSError(errno.ENOSPC, "of FFmpeg"))


@contextlib.contextmanager
def searchable(path: Path, container: Container) -> Iterator[Path]:
    """A link to the file under a name of ours, or a copy in Matroska of its video stream, for as long as the context.

    FFmpeg cannot search transport and program streams reliably, and AVI has no display times: with frames out of order
    (B-frames) torchcodec gives frames of other moments without an error. The packets are copied, nothing is coded anew.
    Where the ffmpeg program is missing, or fails, the file is used as it is.
    """
    program = shutil.which("ffmpeg")
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-") as folder:
        # FFmpeg never sees the sender's name: one like `%*/x.png` is a pattern to it, and it reads what that fits.
        link = Path(folder) / "clip"
        try:
            link.symlink_to(path.resolve())
        except OSError:  # Windows lets not everybody make links
            shutil.copyfile(path, link)
        if container not in COPIED or program is None:
            yield link
            return
        copy = Path(folder) / "copy.mkv"
        source = ["-protocol_whitelist", "file", "-fflags", "+genpts", "-f", container, "-i", f"file:{path.resolve()}"]
        command = [program, "-v", "error", "-nostdin", *source, "-map", "0:v:0", "-c", "copy", str(copy)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COPY_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            check_room(getattr(error, "stderr", None) or b"")
            log.warning("not copied to Matroska: %s", error)
            copy = link
        yield copy
