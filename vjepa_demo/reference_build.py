"""Reference sets from elsewhere: a folder or a dataset on the Hub becomes a folder that carries its vectors along."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjepa_demo.embedding import Pooling
from vjepa_demo.errors import ReferencesError
from vjepa_demo.media import Sampling
from vjepa_demo.reference_sets import (
    CSV_NAME,
    IMAGE_SUFFIXES,
    STORED,
    VIDEO_SUFFIXES,
    Progress,
    cache_of,
    prepare,
    read_folder,
    write_csv,
)
from vjepa_demo.reference_store import THUMBNAILS
from vjepa_demo.references import ReferenceSet

log = logging.getLogger(__name__)

# hf://datasets/OWNER/NAME[@REVISION][/FOLDER], as huggingface_hub's file system writes it.
HUB_SOURCE = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>.+?))?/*")


def build(
    source: str,
    out: str | Path,
    encoder: Any,
    sampling: Sampling | None = None,
    fit: str = "crop",
    pooling: Pooling = "mean",
    *,
    progress: Progress | None = None,
    refit: bool = False,
) -> ReferenceSet:
    """Make `out` a folder of reference clips with their vectors, which can be used, copied and moved as it is.

    Clips already in `out` stay. Each new one is linked into it (copied, where it is on another disk) and embedded;
    what has been embedded is kept at once, so that an interrupted run goes on where it stopped. Files that cannot be
    embedded are left out of `out` and named in the set's `failures`.

    Args:
        source: a folder (`reference_sets.read_folder`) or `hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`.
        out: the folder to make or to add to.
        encoder, sampling, fit, pooling, progress, refit: as for `reference_sets.prepare`.

    Raises:
        ReferencesError: the source cannot be reached or holds no clip that can be embedded.
    """
    folder, out = fetch(source), Path(out)
    collect(folder, out, progress)
    more = (folder / STORED, cache_of(folder))
    made = settle(out, encoder, sampling, fit, pooling, more=more, progress=progress, refit=refit)
    if folder.resolve() != out.resolve():
        for name, _ in made.failures:
            (out / name).unlink(missing_ok=True)
    return made


def collect(folder: Path, out: Path, progress: Progress | None = None) -> None:
    """Add a folder's clips to a set, as links where that is possible; they are embedded when it is settled.

    Raises:
        ReferencesError: the folder holds no clip.
    """
    clips = {clip.file: clip for clip in read_folder(folder)}
    if (out / CSV_NAME).is_file():
        clips = {**{clip.file: clip for clip in read_folder(out)}, **clips}
    for number, name in enumerate(clips, start=1):
        if (folder / name).is_file():
            link(folder / name, out / name)
        if progress and number % 100 == 0:
            progress(number, len(clips), "Collecting clips")
    write_csv(out, clips.values())


def settle(
    folder: Path,
    encoder: Any,
    sampling: Sampling | None = None,
    fit: str = "crop",
    pooling: Pooling = "mean",
    *,
    more: Sequence[Path] = (),
    progress: Progress | None = None,
    refit: bool = False,
) -> ReferenceSet:
    """Embed what is new in a set, store it there, and take what cannot be embedded off its list (see `failures`).

    Arguments and errors are those of `reference_sets.prepare`.
    """
    store = folder / STORED
    made = prepare(folder, encoder, sampling, fit, pooling, store=store, more=more, progress=progress, refit=refit)
    for source in more:
        for sha in made.hashes:
            path = source / THUMBNAILS / f"{sha}.jpg"
            if path.is_file():
                link(path, store / THUMBNAILS / path.name)
    if made.failures:
        write_csv(folder, made.clips)
    return made


def link(path: Path, target: Path) -> None:
    """Put a file at `target`, as a hard link where that is possible; a file that is there already is replaced."""
    if target.exists() and os.path.samefile(path, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # The Hub's cache holds links to its blobs: it is the blob that is wanted.
        os.link(path.resolve(), target)
        return
    shutil.copy2(path, target)


def fetch(source: str) -> Path:
    """The folder that a source names; a dataset on the Hub is downloaded, its videos, images and CSV files alone.

    Raises:
        ReferencesError: the address is faulty, the dataset does not exist, or the Hub cannot be reached.
    """
    if not source.startswith("hf://"):
        return Path(source).expanduser()
    address = HUB_SOURCE.fullmatch(source)
    if not address or ".." in source:
        raise ReferencesError("The address of a dataset must be like hf://datasets/OWNER/NAME: correct it.")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    within = f"{address['folder']}/" if address["folder"] else ""
    suffixes = sorted({".csv", *VIDEO_SUFFIXES, *IMAGE_SUFFIXES})
    try:
        folder = snapshot_download(
            address["repo"],
            repo_type="dataset",
            revision=address["revision"],
            allow_patterns=[f"{within}**{suffix}" for suffix in suffixes],
            etag_timeout=10,
        )
    except HFValidationError as error:
        raise ReferencesError("The Hub knows no dataset of such a name: correct the address.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        log.warning("hub: %s", error)
        raise ReferencesError(
            "The dataset cannot be had from the Hugging Face Hub: check its name and the network, or give a folder."
        ) from error
    return Path(folder) / within
