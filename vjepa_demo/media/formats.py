"""The endings of files that are clips, and how a browser is told what they are. None of these can hold a script."""

from __future__ import annotations

from vjepa_demo.media.containers import Container

VIDEO_TYPES = {
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".ts": "video/mp2t",
    ".webm": "video/webm",
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
}
