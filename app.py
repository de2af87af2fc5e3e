"""A Space's entry: build the page and launch it. Run locally, `--references DIR` names a set of reference clips."""

import argparse
import os

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="V-JEPA 2 Explorer")
    parser.add_argument("--references", metavar="DIR", help="your own set; clips added on the page are kept in it")
    if folder := parser.parse_args().references:
        os.environ["VJEPA_DEMO_REFERENCES"] = folder  # before the settings are read

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  # must come before torch, which it patches

from vjepa_demo.ui.layout import build, launch_options

demo = build()

if __name__ == "__main__":
    demo.launch(**launch_options())
