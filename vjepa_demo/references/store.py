"""Vectors of reference clips on disk, as safetensors.

Beside each vector stands the SHA-256 of the file it was made from, and beside all of them one of their own, so that a
changed or added clip costs one forward pass, a renamed one none, and a damaged file costs time but never gives a wrong
answer. A checksum tells damage, not lies: vectors from elsewhere are proven by whoever takes them in.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vjepa_demo.embedding import Kind
from vjepa_demo.files import replace_file
from vjepa_demo.references.map import MIN_DIST, SEED

log = logging.getLogger(__name__)

FORMAT = "2"
HASH = re.compile(r"[0-9a-f]{64}")
LARGEST = 1e6  # no encoder gives values, and no map has places, that come near it
THUMBNAILS = "thumbnails"  # the folder of one small JPEG a clip, named by the SHA-256 of its file
THUMBNAIL_SIZE = (128, 96)


@dataclass(frozen=True, eq=False)
class Stored:
    """Vectors `[R, D]` and places `[R, 2]`, both float32, of the files with these SHA-256 hashes."""

    hashes: tuple[str, ...]
    vectors: np.ndarray
    coordinates: np.ndarray

    def save(self, path: Path, kind: Kind, *, half: bool = False) -> None:
        """Write the arrays, and as metadata (JSON strings) the kind of vector, the hashes, the map's settings, and the
        SHA-256 of all that. With `half` the vectors are rounded to float16, by less than another CPU's sums differ.

        Raises:
            ValueError: a number is none; nobody could read the file.
            OSError: it cannot be written.
        """
        from safetensors.numpy import save_file

        if not (np.isfinite(self.vectors).all() and np.isfinite(self.coordinates).all()):
            raise ValueError("vectors or places that are not finite")
        metadata = {
            "format": FORMAT,
            "fingerprint": json.dumps(kind.fields, sort_keys=True),
            "sha256": json.dumps(self.hashes),
            "map": json.dumps({"method": "umap", "metric": "cosine", "min_dist": MIN_DIST, "seed": SEED}),
        }
        arrays = {"vectors": self.vectors.astype(np.float16 if half else np.float32), "coordinates": self.coordinates}
        tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata["checksum"] = _checksum(metadata, tensors)
        replace_file(path, lambda target: save_file(tensors, target, metadata))

    @classmethod
    def load(cls, path: Path, kind: Kind) -> Stored | None:
        """What `save` wrote; None where the file is missing, damaged, or was made in another way."""
        found, stored = _read(path) if path.is_file() else (None, None)
        return stored if found == kind else None

    def by_hash(self) -> dict[str, np.ndarray]:
        """float32 `[D]` by SHA-256."""
        return dict(zip(self.hashes, self.vectors, strict=True))

    def only(self, wanted: Container[str]) -> Stored | None:
        """Those of some files; None where there are none of them."""
        rows = [row for row, sha in enumerate(self.hashes) if sha in wanted]
        if len(rows) == len(self.hashes):
            return self
        return (
            Stored(tuple(self.hashes[row] for row in rows), self.vectors[rows], self.coordinates[rows])
            if rows
            else None
        )

    def sound(self) -> bool:
        """Whether shapes, types and values can be those of vectors and their places."""
        count = len(self.hashes)
        return (
            all(isinstance(sha, str) and HASH.fullmatch(sha) for sha in self.hashes)
            and self.vectors.ndim == 2
            and self.vectors.shape[0] == count > 0
            and self.vectors.shape[1] > 0
            and self.coordinates.shape == (count, 2)
            and _sane(self.vectors)
            and _sane(self.coordinates)
        )


def copy_stored(path: Path, target: Path) -> None:
    """Copy a file of stored vectors to another name; nothing, where it is damaged."""
    kind, stored = _read(path)
    if kind and stored:
        stored.save(target, kind)


def _read(path: Path) -> tuple[Kind, Stored] | tuple[None, None]:
    from safetensors import safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        intact = metadata["format"] == FORMAT and metadata.get("checksum") == _checksum(metadata, tensors)
        tensors.pop("space", None)  # a map in three dimensions, which files of earlier versions have
        kind = Kind.parse(json.loads(metadata["fingerprint"]))
        if tensors["vectors"].dtype == np.float16:
            tensors["vectors"] = tensors["vectors"].astype(np.float32)
        stored = Stored(tuple(json.loads(metadata["sha256"])), **tensors)
        if intact and stored.sound():
            return kind, stored
        log.warning("stored vectors not used: %s", "shapes or values are wrong" if intact else "the checksum is wrong")
    except Exception as error:  # whatever a damaged or foreign file makes of its readers, it is not believed
        log.warning("stored vectors not used: %s: %.200s", type(error).__name__, error)
    return None, None


def _checksum(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(
        json.dumps([metadata[name] for name in ("format", "fingerprint", "sha256", "map")]).encode()
    )
    for name, array in sorted(tensors.items()):
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _sane(array: np.ndarray) -> bool:
    # Written so that NaN fails.
    return array.dtype == np.float32 and bool((np.abs(array) <= LARGEST).all())


class Parts:
    """The vectors of an unfinished run, one small file each, named by the clip's SHA-256: none is made twice.

    A file is an array as numpy writes it and 32 bytes more: the SHA-256 of the clip's name and of all that.
    """

    def __init__(self, target: Path) -> None:
        """`target` is where all of them will be stored together."""
        self.folder = target.with_suffix(".parts")

    def add(self, sha: str, vector: np.ndarray) -> None:
        """Keep float32 `[D]`; once this returns, the end of the process, or of the machine, does not lose it."""
        buffer = io.BytesIO()
        np.save(buffer, vector, allow_pickle=False)
        data = buffer.getvalue()
        whole = data + hashlib.sha256(sha.encode() + data).digest()
        replace_file(self.folder / f"{sha}.npy", lambda target: target.write_bytes(whole))

    def names(self) -> set[str]:
        """The SHA-256 of all that are there; one of them may be damaged."""
        return {path.stem for path in self.folder.glob("*.npy")}

    def read(self, known: Container[str] = ()) -> dict[str, np.ndarray]:
        """All that are whole and not known yet, by SHA-256; what is not whole is removed."""
        vectors = {}
        for path in self.folder.glob("*.npy"):
            if path.stem in known:
                continue
            vector = _read_part(path)
            if vector is not None:
                vectors[path.stem] = vector
            else:
                log.warning("a part of an unfinished run is damaged and is made again")
                with contextlib.suppress(OSError):
                    path.unlink()
        return vectors

    def clear(self) -> None:
        """Remove them, when they are stored together; somebody else may be doing the same."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    path.unlink()
            self.folder.rmdir()


def _read_part(path: Path) -> np.ndarray | None:
    try:
        whole = path.read_bytes()
        data, digest = whole[:-32], whole[-32:]
        if hashlib.sha256(path.stem.encode() + data).digest() != digest:
            return None
        vector = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vector if vector.ndim == 1 and len(vector) and _sane(vector) else None


def draw_thumbnail(frame: np.ndarray) -> bytes:
    """uint8 `[3, H, W]` as a small JPEG, cut to the thumbnail's shape."""
    from PIL import Image, ImageOps

    picture = ImageOps.fit(Image.fromarray(frame.transpose(1, 2, 0)), THUMBNAIL_SIZE, Image.Resampling.BILINEAR)
    picture.save(jpeg := io.BytesIO(), "JPEG", quality=70)
    return jpeg.getvalue()


def save_thumbnail(frame: np.ndarray, path: Path) -> None:
    """Write what `draw_thumbnail` gives."""
    drawn = draw_thumbnail(frame)
    replace_file(path, lambda target: target.write_bytes(drawn), durable=False)


def take_thumbnail(path: Path, target: Path) -> None:
    """Take over a thumbnail from elsewhere, drawn anew from its pixels; nothing, where it is none."""
    from PIL import Image

    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.size != THUMBNAIL_SIZE:
                return
            frame = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        save_thumbnail(frame, target)
    except Exception as error:  # a picture that is no picture, or a disk that takes none: the map does without
        log.warning("thumbnail not taken: %s", type(error).__name__)
