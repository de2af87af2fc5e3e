"""The first example as it is shipped: what the page shows of it before the model is loaded.

`assets/recipes/pack_first.py` makes the file, `tests/unit/ui/test_packed.py` holds it against what the model makes.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Embedding, Kind, Vector
from vjepa_demo.explore import Embedded
from vjepa_demo.files import file_hash, replace_file
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options, Sampling
from vjepa_demo.settings import ASSETS
from vjepa_demo.views.similarity import pack, unpack

FILE = ASSETS / "examples" / "first.safetensors"


@dataclass(frozen=True, eq=False)
class Packed:
    """An example that need not be embedded to be shown.

    Attributes:
        embedded: it, to be shown and never computed with: tokens and frames are those of the viewer's file.
        vector: by which it is compared with references, as it came from the model.
        viewer: the viewer's file, as `similarity.pack` gave it.
    """

    embedded: Embedded
    vector: Vector
    viewer: bytes


def save(made: Embedded, path: Path = FILE) -> None:
    """Write what `load` reads: the viewer's file and the vector, and as metadata (JSON strings) what kind of vector it
    is, of which clip, and the SHA-256 of the clip's file. Raises UserError, OSError."""
    from safetensors.numpy import save_file

    clip = made.clip
    metadata = {
        "kind": json.dumps(made.kind.fields, sort_keys=True),
        "clip": json.dumps(
            {**asdict(clip.source), "timestamps": clip.timestamps.tolist(), "notes": clip.notes}, allow_nan=False
        ),
        "sha256": file_hash(Path(made.path)),
    }
    viewer = np.frombuffer(pack(made.embedding, clip), np.uint8)
    tensors: dict[str, np.ndarray] = {"viewer": viewer, "vector": made.vector.array}
    replace_file(path, lambda target: save_file(tensors, target, metadata))


def load(file: Path, options: Options, path: Path = FILE) -> Packed | None:
    """A clip, embedded with these options; None where what is shipped is of another file, of other options, or of
    other weights than those that are here."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata()
            kind = Kind.parse(json.loads(metadata["kind"]))
            made, checkpoint = kind.fingerprint, checkpoints.find(options.checkpoint)
            if replace(made.options, precision=options.precision) != options or checkpoint.folder is None:
                return None
            if made.revision != checkpoints.revision_of(checkpoint, checkpoint.folder):
                return None
            if metadata["sha256"] != file_hash(file):
                return None
            viewer, vector = stored.get_tensor("viewer").tobytes(), stored.get_tensor("vector")
    except (OSError, SafetensorError):
        return None
    clip, embedding = _unpacked(viewer, json.loads(metadata["clip"]), kind)
    embedded = Embedded(clip, embedding, kind.pooling, str(file), auto=True, options=options)
    return Packed(embedded, Vector(vector, kind), viewer)


def _unpacked(viewer: bytes, told: dict[str, Any], kind: Kind) -> tuple[Clip, Embedding]:
    from PIL import Image

    header, sections = unpack(viewer)
    timestamps, notes = np.array(told.pop("timestamps")), tuple(told.pop("notes"))
    layout = header["sheet"]
    count, columns, height, width = (layout[name] for name in ("frames", "columns", "height", "width"))
    sheet = np.asarray(Image.open(io.BytesIO(sections["sheet"].tobytes())).convert("RGB"))
    cells = sheet.reshape(-1, height, columns, width, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, height, width)
    made = kind.fingerprint.options
    clip = Clip(cells[:count], timestamps, Source(**told), Sampling(made.frames or count, made.sampling), notes)
    tokens = sections["tokens"] * sections["scalars"][0][:, None] + sections["mean"]
    embedding = Embedding(
        tokens=tokens.reshape(*header["grid"], header["dim"]),
        timestamps=timestamps,
        fingerprint=kind.fingerprint,
        device="cpu",
        window=tuple(header["window"]),
        source_size=tuple(header["source_size"]),
        notes=notes,
    )
    return clip, embedding
