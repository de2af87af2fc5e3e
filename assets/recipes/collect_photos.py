"""Photographs and cut-outs for training, from unpacked packages (README.md says which).

    python assets/recipes/collect_photos.py --wallpapers cache/photos --more cache/more --out build/photos

The wallpapers are those that training clips may show, no held-out ones. Of the other packages `photographs.csv` lists
the pictures that are photographs, and those with transparency that show a thing: chosen by eye. A large photograph
gives its whole and some of its parts, each at most 640 px: near by there is as much to see as in other photographs
(Asano and others, "Extrapolating from a single image to a thousand classes", 2021).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scenes import photos
from views import CUTOUT, PHOTO

with contextlib.suppress(ImportError):  # for the .jxl files of budgie-backgrounds; the others do without
    import pillow_jxl  # noqa: F401

LARGE = 1400  # pixels of the long side: from here on a photograph gives parts as well
PARTS = 5
QUALITY = 75
BITS_A_PIXEL = 0.5  # a JPEG with fewer shows a plain sky or a drawn pattern: there is nothing to tell apart


def collect(path: Path, name: str, out: Path) -> int:
    """Write a photograph and parts of it as `NAME_0.jpg`, `NAME_1.jpg` ..., but for plain ones; returns how many."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    pieces = [picture]
    if max(picture.size) >= LARGE:
        for _ in range(PARTS):
            width = int(rng.uniform(0.3, 0.6) * picture.width)
            height = int(rng.uniform(0.3, 0.6) * picture.height)
            left, top = rng.integers(picture.width - width), rng.integers(picture.height - height)
            pieces.append(picture.crop((left, top, left + width, top + height)))
    written = 0
    for number, piece in enumerate(pieces):
        piece.thumbnail((PHOTO, PHOTO), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        piece.save(file, "JPEG", quality=QUALITY)
        if file.tell() > BITS_A_PIXEL * piece.width * piece.height / 8:
            (out / f"{name}_{number}.jpg").write_bytes(file.getvalue())
            written += 1
    return written


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--wallpapers", type=Path, required=True, help="folder that render_clips.py takes photographs of"
    )
    parser.add_argument("--more", type=Path, required=True, help="folder with the packages of photographs.csv unpacked")
    parser.add_argument("--out", type=Path, required=True, help="photographs go to OUT/photos, cut-outs to OUT/cutouts")
    args = parser.parse_args(arguments)
    for kind in ("photos", "cutouts"):
        (args.out / kind).mkdir(parents=True, exist_ok=True)
    with Path(__file__).with_name("photographs.csv").open(newline="") as file:
        listed = [(row["kind"], args.more / row["path"]) for row in csv.DictReader(file)]
    photographs = photos.find(args.wallpapers)[0] + [path for kind, path in listed if kind == "photo"]
    cutouts = [path for kind, path in listed if kind == "cutout"]
    count = sum(collect(path, f"{i:04d}", args.out / "photos") for i, path in enumerate(photographs))
    for i, path in enumerate(cutouts):
        with Image.open(path) as image:
            picture = image.convert("RGBA")
        picture.thumbnail((CUTOUT, CUTOUT), Image.Resampling.LANCZOS)
        picture.save(args.out / "cutouts" / f"{i:04d}.webp", quality=QUALITY)
    print(f"{len(photographs)} photographs and parts of them: {count} pictures; {len(cutouts)} cut-outs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
