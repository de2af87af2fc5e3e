"""Vectors of reference clips on disk, as safetensors.

Beside each vector stands the SHA-256 of the file it was made from, so that a changed or added clip costs one forward
pass, a renamed one none, and a damaged file costs time but never gives a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Fingerprint
from vjepa_demo.reference_layout import MIN_DIST, SEED

log = logging.getLogger(__name__)

FORMAT = "1"
THUMBNAILS = "thumbnails"  # the folder of one small JPEG a clip, named by the SHA-256 of its file
THUMBNAIL_SIZE = (128, 96)


@dataclass(frozen=True, eq=False)
class Stored:
    """Vectors `[R, D]`, places `[R, 2]` and `[R, 3]`, all float32, of the files with these SHA-256 hashes."""

    hashes: tuple[str, ...]
    vectors: np.ndarray
    coordinates: np.ndarray
    space: np.ndarray

    def save(self, path: Path, fingerprint: Fingerprint) -> None:
        """Write the arrays, and as metadata (JSON strings) the fingerprint, the hashes and the map's settings."""
        from safetensors.numpy import save_file

        metadata = {
            "format": FORMAT,
            "fingerprint": json.dumps(asdict(fingerprint), sort_keys=True),
            "sha256": json.dumps(self.hashes),
            "map": json.dumps({"method": "umap", "metric": "cosine", "min_dist": MIN_DIST, "seed": SEED}),
        }
        arrays = {"vectors": self.vectors, "coordinates": self.coordinates, "space": self.space}
        tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        replace_file(path, lambda target: save_file(tensors, target, metadata))

    @classmethod
    def load(cls, path: Path, fingerprint: Fingerprint) -> Stored | None:
        """What `save` wrote; None where the file is missing, damaged, or was made in another way."""
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if metadata["format"] != FORMAT or json.loads(metadata["fingerprint"]) != asdict(fingerprint):
                    return None
                hashes = tuple(json.loads(metadata["sha256"]))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
                stored = cls(hashes, **arrays)
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            log.warning("stored vectors not used: %s", error)
            return None
        sound = (
            stored.vectors.shape == (len(hashes), stored.vectors.shape[-1])
            and stored.coordinates.shape == (len(hashes), 2)
            and stored.space.shape == (len(hashes), 3)
            and all(array.dtype == np.float32 and bool(np.isfinite(array).all()) for array in arrays.values())
        )
        if not sound:
            log.warning("stored vectors not used: shapes or values are wrong")
        return stored if sound else None


class Parts:
    """The vectors of an unfinished run, one small file each, named by the clip's SHA-256: none is made twice."""

    def __init__(self, target: Path) -> None:
        """`target` is where all of them will be stored together."""
        self.folder = target.with_suffix(".parts")

    def add(self, sha: str, vector: np.ndarray) -> None:
        """Keep float32 `[D]`; once this returns, the end of the process does not lose it."""

        def write(target: Path) -> None:
            with target.open("wb") as file:
                np.save(file, vector, allow_pickle=False)

        replace_file(self.folder / f"{sha}.npy", write)

    def read(self) -> dict[str, np.ndarray]:
        """All that are whole, by SHA-256."""
        vectors = {}
        for path in self.folder.glob("*.npy"):
            vector = _read_vector(path)
            if vector is not None:
                vectors[path.stem] = vector
        return vectors

    def clear(self) -> None:
        """Remove them, when they are stored together."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)
            self.folder.rmdir()


def save_thumbnail(frame: np.ndarray, path: Path) -> None:
    """Write uint8 `[3, H, W]` as a small JPEG, cut to the thumbnail's shape."""
    from PIL import Image, ImageOps

    picture = ImageOps.fit(Image.fromarray(frame.transpose(1, 2, 0)), THUMBNAIL_SIZE, Image.Resampling.BILINEAR)
    replace_file(path, lambda target: picture.save(target, "JPEG", quality=70))


def _read_vector(path: Path) -> np.ndarray | None:
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vector if vector.dtype == np.float32 and vector.ndim == 1 and np.isfinite(vector).all() else None


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file that takes `path`'s place in one step, so that a reader never finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
