"""Limits and switches, one frozen object, read once from the environment.

Every field can be set as `VJEPA_DEMO_<FIELD>` in upper case, e.g. `VJEPA_DEMO_MAX_SECONDS=120`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

MIB = 1024 * 1024
ASSETS = Path(__file__).resolve().parent.parent / "assets"


def _default_cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "vjepa-demo")


@dataclass(frozen=True)
class Settings:
    """What the app accepts and how much it keeps.

    Attributes:
        max_bytes: largest file, in bytes.
        max_frame_pixels: largest video frame, in pixels (8K UHD is 33.2 million).
        max_image_pixels: largest still image, in pixels.
        max_seconds: longest video, in seconds.
        max_frames: most frames sampled from one clip.
        max_clip_bytes: most bytes of decoded frames held for one clip; larger frames are decoded at a reduced size.
        job_seconds: longest time that one visitor's piece of work may take, in seconds, the waiting left out.
        build_seconds: longest time for embedding one set of references, in seconds.
        most_waiting, most_waiting_each: most pieces of work that wait for their turn, in all and of one address.
        store_bytes: most bytes of results kept between events for all visitors together.
        keep_hours: how long an upload, a result or a visitor's own references are kept after their last use, in hours.
        own_bytes, own_bytes_each, own_bytes_all: most bytes of disk that the references of one visitor on a public app
            may take, those of one address, and those of all visitors together.
        upload_bytes: most bytes of uploads and of files made for visitors; beyond it the oldest go before their time.
        free_bytes: what is left free of the disk, in bytes.
        scratch_dir: where the folder for all of these is made; the system's place for temporary files when empty.
        cache_dir: folder for vectors and maps of reference clips.
        checkpoint: the checkpoint that is used when none is named.
        references: folder of reference clips; the shipped ones when empty.
        device: "auto", "cuda", "mps" or "cpu".
        proxies: how many proxies in front of the app are trusted to say whom they were asked by; one on a Space.
        public: True on a Space that strangers share; then nothing a visitor adds is kept on disk.
    """

    max_bytes: int = 512 * MIB
    max_frame_pixels: int = 36_000_000
    max_image_pixels: int = 100_000_000
    max_seconds: float = 3600.0
    max_frames: int = 64
    max_clip_bytes: int = 512 * MIB
    job_seconds: float = 600.0
    build_seconds: float = 4 * 3600.0
    most_waiting: int = 64
    most_waiting_each: int = 24
    store_bytes: int = 1024 * MIB
    keep_hours: float = 6.0
    own_bytes: int = 256 * MIB
    own_bytes_each: int = 1024 * MIB
    own_bytes_all: int = 8 * 1024 * MIB
    upload_bytes: int = 16 * 1024 * MIB
    free_bytes: int = 512 * MIB
    scratch_dir: str = ""
    cache_dir: str = ""
    checkpoint: str = "nano"
    references: str = ""
    device: str = "auto"
    proxies: int = 0
    public: bool = False

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the fields from the environment.

        Raises:
            ValueError: a variable is set to something that its field cannot hold.
        """
        on_space = bool(os.environ.get("SPACE_ID"))
        values: dict[str, object] = {"cache_dir": _default_cache(), "public": on_space, "proxies": int(on_space)}
        for field in fields(cls):
            text = os.environ.get(f"VJEPA_DEMO_{field.name.upper()}")
            if text is None:
                continue
            kind = type(getattr(cls, field.name))
            try:
                values[field.name] = text.lower() in {"1", "true", "yes"} if kind is bool else kind(text)
            except ValueError:
                raise ValueError(f"VJEPA_DEMO_{field.name.upper()}={text!r} is not a {kind.__name__}") from None
        return cls(**values)  # type: ignore[arg-type]


settings = Settings.from_environment()
