"""ZeroGPU's package `spaces` as its 0.51 behaves, on a machine without a GPU: the worker's "cuda" is the CPU.

It is found by a process that has `tests/zero_gpu` on its path and SPACES_ZERO_GPU set.

- The worker is forked from the thread of the first call, and reused; it is given up after anything but an answer.
- Arguments and results are pickled. Of what a task raises, only Gradio's own errors come back as they are.
- The scheduler refuses where the file STANDIN_REFUSES names what it says; its words are the real one's.
- A worker that takes longer than was declared is killed, which the platform may do.
- In the parent the card seems to be there, but only the main thread can move a model to it, and nobody can run one.

The file STANDIN_LOG gets one line of JSON for each call.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.context import LocalContext

PARENT = os.getpid()
REFUSALS = {
    "quota": "You have exceeded your free ZeroGPU quota (6s requested vs. 3s left). Try again in 1:00:00. ",
    "busy": "No GPU was available",
}
_fork = multiprocessing.get_context("fork")


def _in_parent() -> bool:
    return os.getpid() == PARENT


def _is_cuda(value: Any) -> bool:
    return str(value).split(":")[0] == "cuda" if isinstance(value, (str, torch.device)) else False


def _moved(original: Callable[..., Any]) -> Callable[..., Any]:
    """`to` that knows the card: it is the CPU, and in the parent nothing runs there."""

    @functools.wraps(original)
    def to(self: Any, *given: Any, **named: Any) -> Any:
        if not any(map(_is_cuda, (*given, *named.values()))):
            return original(self, *given, **named)
        if _in_parent():
            if threading.current_thread() is not threading.main_thread():
                raise RuntimeError("Low-level CUDA init reached: this is not the main thread")
            if isinstance(self, torch.nn.Module):
                for module in self.modules():
                    module.register_forward_pre_hook(_refuse)
        given = tuple("cpu" if _is_cuda(value) else value for value in given)
        return original(self, *given, **{name: "cpu" if _is_cuda(value) else value for name, value in named.items()})

    return to


def _refuse(*_: Any) -> None:
    if _in_parent():
        raise RuntimeError("Low-level CUDA init reached: there is no GPU in the parent")


torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda *_, **__: (9, 0)
torch.cuda.get_device_name = lambda *_, **__: "NVIDIA H200 MIG 3g.71gb"
torch.Tensor.to = _moved(torch.Tensor.to)  # type: ignore[method-assign]
torch.nn.Module.to = _moved(torch.nn.Module.to)  # type: ignore[method-assign]


def _log(**facts: Any) -> None:
    if path := os.environ.get("STANDIN_LOG"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def _error(title: str, message: str) -> gr.Error:
    return gr.Error(message, title=title, print_exception=False)


class _Worker:
    def __init__(self, task: Callable[..., Any]) -> None:
        self._task = task
        self._given, self.calls = _fork.Pipe(duplex=False)
        self.answers, self._made = _fork.Pipe(duplex=False)
        self.process = _fork.Process(target=self._work, daemon=True)
        self.process.start()
        self._made.close()  # so that a worker that ends is seen to

    def _work(self) -> None:
        torch.set_num_threads(1)  # the parent's threads are not here
        self.calls.close()
        while True:
            try:
                given = pickle.loads(self._given.recv_bytes())  # noqa: S301
            except EOFError:
                return

            def run(given: tuple[Any, ...] = given) -> tuple[str, Any]:
                try:
                    return "ok", self._task(*given)
                except gr.Error as error:
                    return "words", error.message
                except Exception as error:
                    return "class", type(error).__name__

            context = copy_context()
            with ThreadPoolExecutor(1) as threads:
                self._made.send_bytes(pickle.dumps(threads.submit(context.run, run).result()))


def GPU(task: Any = None, *, duration: Any = 60, size: str | None = None) -> Any:
    """The decorator."""
    if task is None:
        return functools.partial(GPU, duration=duration, size=size)
    workers: list[_Worker] = []

    @functools.wraps(task)
    def call(*given: Any) -> Any:
        request = LocalContext.request.get(None)  # by it the platform knows whose quota it is
        asked = duration(*given) if callable(duration) else duration
        path = os.environ.get("STANDIN_REFUSES")
        refusal = Path(path).read_text().strip() if path and os.path.exists(path) else ""
        if refusal:
            raise _error("ZeroGPU client error", REFUSALS[refusal])
        worker = workers.pop() if workers else None
        if worker is None or not worker.process.is_alive():
            worker = _Worker(task)
        sent, began = pickle.dumps(given), time.monotonic()
        worker.calls.send_bytes(sent)
        received, kind, value = b"", "aborted", None
        if worker.answers.poll(asked):
            try:
                received = worker.answers.recv_bytes()
                kind, value = pickle.loads(received)  # noqa: S301
            except EOFError:
                pass
        if kind == "ok":
            workers.append(worker)
        else:
            worker.process.kill()
        _log(
            asked=asked,
            took=time.monotonic() - began,
            sent=len(sent),
            received=len(received),
            kind=kind,
            worker=worker.process.pid,
            whose=request.headers.get("x-ip-token") if request else None,
        )
        if kind == "ok":
            return value
        raise _error("ZeroGPU worker error", "GPU task aborted" if kind == "aborted" else value)

    return call


def gradio_auto_wrap(task: Any) -> Any:
    """What Gradio does to every handler of a Space; off, unless it is asked for."""
    return task
