"""What a clip is among files, by name and by content, and how a browser is told so. None of these can hold a script."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from vjepa_demo.errors import MediaError
from vjepa_demo.media.containers import HEAD, Container, holds_pictures, sniff

VIDEO_TYPES = {
    ".3g2": "video/3gpp2",
    ".3gp": "video/3gpp",
    ".asf": "video/x-ms-asf",
    ".avi": "video/x-msvideo",
    ".dv": "video/dv",
    ".f4v": "video/mp4",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".m2t": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".m2v": "video/mpeg",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mod": "video/mpeg",  # of camcorders, as .tod
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".mxf": "application/mxf",
    ".ogv": "video/ogg",
    ".qt": "video/quicktime",
    ".tod": "video/mp2t",
    ".ts": "video/mp2t",
    ".vob": "video/mpeg",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
    ".y4m": "video/x-yuv4mpeg",
}
IMAGE_TYPES = {
    ".avif": "image/avif",
    ".heic": "image/heic",  # as .heif, told that it is not read
    ".heif": "image/heif",
    ".jfif": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
MEDIA_TYPES = {**VIDEO_TYPES, **IMAGE_TYPES}
AMBIGUOUS = {".mod", ".ts"}  # also music, and TypeScript: what is inside decides
# What a clip is told by its content alone; its name is to say it as well, for those who go by names.
ENDINGS: dict[Container, str] = {
    "image": ".png",
    "gif": ".gif",
    "indexed": ".mp4",
    "avi": ".avi",
    "mpeg": ".mpg",
    "mpegts": ".ts",
    "yuv4mpegpipe": ".y4m",
}


def is_named_clip(name: str) -> bool:
    """Whether a name says that a file is a clip."""
    return PurePosixPath(name).suffix.lower() in MEDIA_TYPES.keys() - AMBIGUOUS


def is_clip(path: Path) -> bool:
    """Whether a file is a clip: by its name, or, where that says something else or nothing, by how it begins."""
    return is_named_clip(path.name) or begins_as_clip(path)


def begins_as_clip(path: Path) -> bool:
    """The same whatever it is called: for what is handed out to others."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return holds_pictures(file.read(HEAD), path.stat().st_size)
    return False


def media_type(path: Path) -> str | None:
    """What a browser is told that a clip is; None for what is none."""
    suffix = path.suffix.lower()
    if suffix not in MEDIA_TYPES:
        with contextlib.suppress(MediaError):
            suffix = ENDINGS[sniff(path)]
    return MEDIA_TYPES.get(suffix)
