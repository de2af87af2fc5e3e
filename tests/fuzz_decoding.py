"""Mutated files against all that reads them: sniffing, the header parsers, Pillow and torchcodec.

    pip install atheris        # into an environment of its own, beside this one's packages
    python tests/fuzz_decoding.py FOLDER -max_total_time=1200 -timeout=30 -rss_limit_mb=6000

FOLDER is filled with seeds on the first run (see hostile/make.py), and with what reaches new code later on. Reading
runs in this process, not in the child that the app uses: a crash of FFmpeg's or Pillow's own code ends the run with
libFuzzer's report and a stack in C, which the child turns into a sentence; an exception in Python that is no
`UserError`, or was not foreseen, is ours, and ends it with a trace. `--seeded N` mutates N times without atheris.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hostile.make import make

from vjepa_demo.errors import UserError
from vjepa_demo.options import Sampling
from vjepa_demo.settings import MIB, settings

LARGEST_SEED = 20_000  # bytes: small files are mutated and read fast
LIMITS = replace(settings, max_image_pixels=4_000_000, max_frame_pixels=4_000_000, max_clip_bytes=16 * MIB)
LIMITS = replace(LIMITS, max_animation_pixels=20_000_000, max_video_frames=5_000)

outcomes: Counter[str] = Counter()
target = Path(tempfile.mkdtemp()) / "file"


def read(data: bytes) -> None:
    """Read one file. Raises what is no `UserError`."""
    from vjepa_demo.media import reader

    target.write_bytes(data)
    try:
        clip = reader.read_clip(target, Sampling(frames=2), LIMITS)
    except UserError as error:
        outcomes["sentences"] += 1
        # What `media` did not foresee, it tells in this sentence and writes to the log.
        unforeseen = error.__cause__ if str(error).startswith("The file cannot be read:") else None
    else:
        outcomes["clips"] += 1
        unforeseen = None
        if not (len(clip.frames) == len(clip.timestamps) and clip.frames.shape[1] == 3 and clip.frames.size):
            raise AssertionError(f"no clip: {clip.frames.shape}, {clip.timestamps}")
    if unforeseen is not None:
        raise unforeseen


def fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return
    with tempfile.TemporaryDirectory() as work:
        for kind, paths in make(Path(work) / "seeds").items():
            for path in paths:
                if path.is_file() and 0 < path.stat().st_size <= LARGEST_SEED:
                    (folder / f"{kind.replace(' ', '_')}_{path.name}").write_bytes(path.read_bytes())


def seeded(folder: Path, count: int) -> None:
    """Mutate without atheris: bytes changed, cut out, doubled, or taken from another file."""
    dice = random.Random(0)
    seeds = [path.read_bytes() for path in sorted(folder.iterdir())]
    started = time.monotonic()
    for number in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 2, 8, 64))):
            at, size = dice.randrange(len(data) or 1), dice.choice((1, 2, 4, 16))
            match dice.randrange(4):
                case 0:
                    data[at : at + size] = dice.randbytes(size)
                case 1:
                    del data[at : at + size]
                case 2:
                    data[at:at] = data[at : at + size]
                case _:
                    other = dice.choice(seeds)
                    data[at : at + size] = other[at : at + size]
        try:
            read(bytes(data))
        except Exception as error:
            outcomes[f"{type(error).__name__}: {str(error)[:80]}"] += 1
            (folder.parent / f"found-{number}").write_bytes(data)
        if number % 1000 == 999:
            print(number + 1, round(time.monotonic() - started), dict(outcomes), flush=True)


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    fill(folder)
    if "--seeded" in sys.argv:
        seeded(folder, int(sys.argv[sys.argv.index("--seeded") + 1]))
        return
    import atheris

    with atheris.instrument_imports(include=["vjepa_demo"]):
        from vjepa_demo.media import pictures  # noqa: F401
    atheris.Setup([sys.argv[0], str(folder), *sys.argv[2:]], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
