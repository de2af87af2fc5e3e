"""V-JEPA 2 for a notebook; each name is loaded when it is first used.

from vjepa_demo import Embedder, Options, similarity

embedder = Embedder.open(Options(checkpoint="nano"))
embedding = embedder.embed("clip.mp4")          # embedding.tokens: float32 [T', H', W', D]
heat = similarity(embedding, at=(0, 8, 8))      # float32 [T', H', W']

references = prepare("my_clips", embedder)      # a ReferenceSet
references.compare(embedding.vector()).neighbours(5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vjepa_demo.embedder import Embedder
    from vjepa_demo.embedding import Embedding, Vector
    from vjepa_demo.errors import UserError
    from vjepa_demo.media.clip import Clip
    from vjepa_demo.options import Options
    from vjepa_demo.references.comparison import Comparison, ReferenceSet
    from vjepa_demo.references.preparing import prepare
    from vjepa_demo.views.similarity import similarity

_WHERE = {
    "Clip": "media.clip",
    "Comparison": "references.comparison",
    "Embedder": "embedder",
    "Embedding": "embedding",
    "Options": "options",
    "ReferenceSet": "references.comparison",
    "UserError": "errors",
    "Vector": "embedding",
    "prepare": "references.preparing",
    "similarity": "views.similarity",
}
__all__ = [
    "Clip",
    "Comparison",
    "Embedder",
    "Embedding",
    "Options",
    "ReferenceSet",
    "UserError",
    "Vector",
    "prepare",
    "similarity",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"vjepa_demo.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
