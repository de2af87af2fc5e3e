"""The endings of files that are clips, and how a browser is told what they are. None of these can hold a script."""

from __future__ import annotations

from vjepa_demo.media.containers import Container

VIDEO_TYPES = {
    ".3gp": "video/3gpp",
    ".asf": "video/x-ms-asf",
    ".avi": "video/x-msvideo",
    ".dv": "video/dv",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".m2ts": "video/mp2t",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".mxf": "application/mxf",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".vob": "video/mpeg",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
    ".y4m": "video/x-yuv4mpeg",
}
IMAGE_TYPES = {
    ".avif": "image/avif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
MEDIA_TYPES = {**VIDEO_TYPES, **IMAGE_TYPES}
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
