"""Mutates the corpus of hostile files through everything that reads a file, in one process, guided by coverage.

pip install atheris, then: python tests/fuzz_decoding.py --minutes 20 --keep FOLDER

What is looked for: anything but a clip that holds what it promises, or one sentence. libFuzzer ends a process at its
first find; the files are kept by kind and the next process goes on:

    ours      an exception that was not foreseen, or a clip or a sentence that is none: to be mended here
    decoder   a crash in the code of FFmpeg, torchcodec or Pillow: the app's child ends in a sentence, the app goes on
    slow      more than 20 s, which the app's deadline ends
    memory    more than 3 GB, which the app's child is not given
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "hostile")]

LARGEST_SEED = 40_000  # bytes
KINDS = {"Uncaught Python exception": "ours", "deadly signal": "decoder", "ABORTING": "decoder"}
KINDS.update({"timeout after": "slow", "out-of-memory": "memory"})


def run_once(seeds: str, keep: str, seconds: str, seed: str) -> None:
    """Mutate until something is found or the time is up. Never returns."""
    import atheris

    with atheris.instrument_imports(include=["vjepa_demo", "PIL"]):
        from vjepa_demo import media, pictures  # noqa: F401
    import numpy as np
    import torchcodec.decoders
    import torchcodec.transforms  # noqa: F401

    from vjepa_demo.errors import MediaError, RequestError
    from vjepa_demo.settings import settings

    logging.disable()
    os.environ["PATH"] = ""  # without the ffmpeg program: torchcodec gets the file as it is
    small = {"max_image_pixels": 2_000_000, "max_frame_pixels": 2_000_000, "max_animation_pixels": 20_000_000}
    limits = dataclasses.replace(settings, **small, max_decoded_pixels=200_000_000, max_video_frames=5_000)
    sampling = media.Sampling(frames=4)
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
    folder = tempfile.TemporaryDirectory(dir=place)
    path = Path(folder.name) / "file"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        said = None
        try:
            clip = media.read_clip(path, sampling, limits)
        except (MediaError, RequestError) as error:
            said = error
        if said is not None:
            if str(said).startswith("The file cannot be read:"):
                raise said.__cause__ or said  # what the app writes to its log and calls unforeseen
            assert re.fullmatch(r"[A-Z][^\n]{20,300}\.", str(said)), str(said)
            return
        assert clip.frames.dtype == np.uint8, clip.frames.dtype
        assert clip.frames.shape[1] == 3, clip.frames.shape
        assert len(clip.frames) == len(clip.timestamps) == (1 if clip.is_image else 4), clip.frames.shape
        assert np.isfinite(clip.timestamps).all(), clip.timestamps
        assert (np.diff(clip.timestamps) >= 0).all(), clip.timestamps
        assert np.isfinite([clip.source.fps, clip.source.duration]).all(), clip.source

    options = [f"-artifact_prefix={keep}/", f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=20"]
    options += ["-rss_limit_mb=3000", "-max_len=65536", "-len_control=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, seeds], read)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where finds and seeds are kept")
    options = parser.parse_args()
    import make

    with tempfile.TemporaryDirectory() as folder:
        seeds = options.keep / "seeds"
        seeds.mkdir(parents=True, exist_ok=True)
        for path in make.write(Path(folder)):
            if path.is_file() and 0 < path.stat().st_size <= LARGEST_SEED:
                (seeds / path.name).write_bytes(path.read_bytes())
    until, executed, found, seed = time.monotonic() + 60 * options.minutes, 0, collections.Counter[str](), 0
    while (left := until - time.monotonic()) > 5:
        seed += 1
        command = [sys.executable, __file__, "--run", str(seeds), str(options.keep), str(int(left)), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=left + 120)
        said = done.stdout + done.stderr
        executed += max(
            map(int, re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", said, re.MULTILINE)), default=0
        )
        if done.returncode:
            kind = next((kind for words, kind in KINDS.items() if words in said), "unknown")
            found[kind] += 1
            (options.keep / f"{kind}-{seed}.txt").write_text(said[-20_000:])
            finds = {path.read_bytes() for path in options.keep.iterdir() if path.is_file() and path.suffix != ".txt"}
            for path in seeds.iterdir():  # what was found once would end the next process as well
                if path.read_bytes() in finds:
                    path.unlink()
    print(f"{executed:,} files in {options.minutes:g} min, {seed} processes; found: {dict(found) or 'nothing'}")
    return 1 if found["ours"] or found["unknown"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_once(*sys.argv[2:6])
    raise SystemExit(main())
