"""A Space's entry: build the page and launch it."""

import os

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  # must come before torch, which it patches

from vjepa_demo.ui.layout import build, launch_options

demo = build()

if __name__ == "__main__":
    demo.launch(**launch_options())
