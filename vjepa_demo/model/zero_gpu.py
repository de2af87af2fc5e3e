"""ZeroGPU: a Space's GPU is attached only while a decorated function runs, in a worker; elsewhere nothing changes.

The worker is forked at the first call and then reused. Arguments and results are pickled. Of an exception that is not
Gradio's own only the class's name comes back, and the worker is given up after one.
"""

from __future__ import annotations

import contextvars
import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from vjepa_demo.errors import GpuError
from vjepa_demo.model.checkpoints import Size
from vjepa_demo.settings import ZERO_GPU

F = TypeVar("F", bound=Callable[..., Any])

# Milliseconds a TFLOP on all of an NVIDIA H200: ViT-L on 64 frames, 11.5 TFLOP, in 104 ms and 384 ms (bench/README.md).
MS_PER_TFLOP = {"bf16": 9.0, "fp32": 33.3}
# A ZeroGPU Space gets 60 of the card's 132 multiprocessors. On its other kind of card the platform adds half itself.
SLICE = 132 / 60
MARGIN = 2.0
# Not measured: a new worker opens CUDA, loads its libraries, and moves the weights from the disk, a gigabyte a second.
START_S, BYTES_A_SECOND = 4.0, 1e9


def seconds(size: Size, frames: int, patches: int, batch: int = 1, precision: str = "bf16") -> int:
    """How long a GPU is asked for: what is measured, scaled by the work there is, with a margin, and a worker's start.

    Args:
        size: of the checkpoint.
        frames: of a clip, an even number.
        patches: of a frame, rows times columns.
        batch: how many clips.
        precision: "bf16" or "fp32".
    """
    forward = size.teraflops(frames // 2 * patches) * batch * MS_PER_TFLOP[precision] / 1e3
    start = START_S + size.parameters * (2 if precision == "bf16" else 4) / BYTES_A_SECOND
    return math.ceil(forward * SLICE * MARGIN + start)


def on_zero_gpu(duration: Callable[..., int]) -> Callable[[F], F]:
    """Let a function run where the GPU is, for as long as `duration` of its arguments says.

    What the platform says is raised as its own `gr.Error`, in its words: a quota that is used up, no GPU to be had.

    Raises:
        GpuError: the worker's GPU fails.
        RuntimeError: anything else that was raised in the worker, whose log has the trace.
    """

    def decorate(function: F) -> F:
        if not ZERO_GPU:
            return function
        import spaces

        @functools.wraps(function)
        def work(*arguments: Any) -> Any:
            # The worker was forked in the midst of somebody's job, which is not that of those it works for later.
            return contextvars.Context().run(function, *arguments)

        attached = spaces.GPU(duration=duration)(work)

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            try:
                return attached(*arguments)
            except Exception as error:
                name = str(getattr(error, "message", ""))
                if name == GpuError.__name__:
                    raise GpuError from error
                if name.isidentifier():
                    raise RuntimeError(f"the GPU's worker raised {name}") from error
                raise

        return call  # type: ignore[return-value]

    return decorate
