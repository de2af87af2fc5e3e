"""Memory that loading a checkpoint takes at its peak: a ViT-g of random weights, stored in fp32 as on the Hub.

Each load is measured in a process of its own, on Linux: its largest resident size less that before the load, with all
libraries imported, against the bytes of the weights in the precision asked for. On the CPU that is all of them;
of those on a GPU, only what passes through the machine's memory counts.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BAR = 1.2
MIB = 1024 * 1024


GIANT = {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11}


def make_checkpoint(folder: Path, shape: dict[str, Any] = GIANT) -> Path:
    import torch
    from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

    with torch.device("meta"):
        model = VJEPA2Model(VJEPA2Config(**shape))
    weights = {name: torch.randn(weight.shape) * 0.02 for name, weight in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=256).save_pretrained(folder)
    return folder


def resident(name: str, process: int | str = "self") -> int:
    """A process's size in bytes: now (VmRSS) or at its most (VmHWM); `ru_maxrss` begins with its parent's."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


def load(folder: Path, device: str, precision: str) -> int:
    """Load it, and print how much that took. Returns 1 where it is too much."""
    import torch
    import transformers.models.vjepa2.modeling_vjepa2  # noqa: F401
    from transformers import AutoModel, AutoVideoProcessor  # noqa: F401

    from vjepa_demo.model import checkpoints

    if device == "cuda":
        torch.zeros(1, device=device)  # CUDA's own memory is not the weights'
    Path("/proc/self/clear_refs").write_text("5")  # the largest size is from now on
    before = resident("VmRSS")
    model = checkpoints.load(checkpoints.find(str(folder)), device=device, precision=precision).model
    taken, weights = resident("VmHWM") - before, sum(weight.nbytes for weight in model.parameters())
    ratio = taken / weights
    kept = "met" if ratio <= BAR else "MISSED"
    print(
        f"{device}, {precision}: weights {weights / MIB:,.0f} MiB, peak {taken / MIB:,.0f} MiB, "
        f"ratio {ratio:.2f} (at most {BAR:g}): {kept}"
    )
    return int(ratio > BAR)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", nargs=3, metavar=("FOLDER", "DEVICE", "PRECISION"), help="measure this alone, here")
    options = parser.parse_args()
    if options.load:
        return load(Path(options.load[0]), *options.load[1:])
    import torch

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            [sys.executable, "-c", f"import loading, pathlib; loading.make_checkpoint(pathlib.Path({folder!r}))"],
            cwd=Path(__file__).parent,
        )
        if made.returncode:
            return made.returncode
        runs = [(device, precision) for device in devices for precision in ("bf16", "fp32")]
        return max(subprocess.run([sys.executable, __file__, "--load", folder, *run]).returncode for run in runs)


if __name__ == "__main__":
    raise SystemExit(main())
