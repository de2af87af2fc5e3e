"""Embed the first example with nano, and ship it as the page shows it: a page that opens waits for no model.

    python assets/recipes/pack_first.py

writes `assets/examples/first.safetensors` and `assets/examples/posters.jpg`. It takes some seconds. Run it whenever the
examples, nano, or the viewer's file (`similarity.pack`) have changed; `tests/unit/ui/test_packed.py` holds the result.
"""

from __future__ import annotations

from vjepa_demo import explore
from vjepa_demo.model.checkpoints import NANO
from vjepa_demo.options import Options, page_fit
from vjepa_demo.ui import examples, packed


def main() -> None:
    options = Options(NANO.id, frames=NANO.frames, fit=page_fit(""), precision="fp32")
    made = explore.embed(examples.files()[0], options)
    packed.save(made)
    examples.POSTERS.write_bytes(examples.draw_posters())
    for path in (packed.FILE, examples.POSTERS):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
