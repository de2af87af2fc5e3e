"""A clip in a file, as it is shown: what the page shows of the first example, and the stage of its scenes, before the
model is loaded.

`assets/recipes/pack_first.py` makes the first example's, `tests/unit/ui/test_packed.py` holds it against what the model
makes. Those of scenes are written when they are made.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_demo.embedding import Embedding, Kind, Vector
from vjepa_demo.explore import Compared, Embedded
from vjepa_demo.files import file_hash, replace_file
from vjepa_demo.media.clip import Clip, Source
from vjepa_demo.model import checkpoints
from vjepa_demo.options import Options, Sampling
from vjepa_demo.references.preparing import stored_set
from vjepa_demo.settings import ASSETS
from vjepa_demo.views.similarity import pack, unpack

FILE = ASSETS / "examples" / "first.safetensors"


@dataclass(frozen=True, eq=False)
class Packed:
    """A clip that need not be embedded to be shown.

    Attributes:
        embedded: it, to be shown and never computed with: tokens and frames are those of the viewer's file.
        vector: by which it is compared with references, as it came from the model.
        viewer: the viewer's file, as `similarity.pack` gave it.
    """

    embedded: Embedded
    vector: Vector
    viewer: bytes

    @classmethod
    def of(cls, made: Embedded) -> Packed:
        """Raises RequestError for a clip that is too short to be compared."""
        return cls(made, made.vector, pack(made.embedding, made.clip))

    def place(self, folder: Path) -> Compared | None:
        """Its place among references; None where these are not embedded in its way."""
        references = stored_set(folder, self.vector.kind)
        return Compared(self.embedded, references.compare(self.vector)) if references else None


def save(made: Embedded, path: Path = FILE) -> Packed:
    """Write what `load` reads: the viewer's file and the vector, and as metadata (JSON strings) what kind of vector it
    is, of which clip, and the SHA-256 of the clip's file. Raises UserError, OSError."""
    from safetensors.numpy import save_file

    clip, found = made.clip, Packed.of(made)
    metadata = {
        "kind": json.dumps(found.vector.kind.fields, sort_keys=True),
        "clip": json.dumps(
            {**asdict(clip.source), "timestamps": clip.timestamps.tolist(), "notes": clip.notes}, allow_nan=False
        ),
        "sha256": file_hash(Path(made.path)),
    }
    tensors = {"viewer": np.frombuffer(found.viewer, np.uint8), "vector": found.vector.array}
    replace_file(path, lambda target: save_file(tensors, target, metadata))
    return found


def load(file: Path, options: Options, path: Path = FILE, layer: int | None = None) -> Packed | None:
    """A clip, embedded with these options and seen at a layer; None where what is at `path` is of another file, of
    other options, or of other weights than those that are here. Raises UserError where these cannot be had."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as stored:
            metadata = stored.metadata()
            kind = Kind.parse(json.loads(metadata["kind"]))
            made, checkpoint = kind.fingerprint, checkpoints.find(options.checkpoint)
            told = json.loads(metadata["clip"])
            frames = made.options.frames if told["kind"] == "image" else options.frames  # a photo has its own
            if replace(made.options, precision=options.precision) != replace(options, frames=frames):
                return None
            if made.revision != checkpoints.revision_of(checkpoint, checkpoints.files_of(checkpoint)):
                return None
            if made.layer != layer:
                return None
            if metadata["sha256"] != file_hash(file):
                return None
            viewer, vector = stored.get_tensor("viewer").tobytes(), stored.get_tensor("vector")
    except (OSError, SafetensorError):
        return None
    clip, embedding = _unpacked(viewer, told, kind)
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
