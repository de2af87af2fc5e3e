"""A checkpoint's files from the Hugging Face Hub: found in its cache, or downloaded, or a sentence on why they are not;
also why a dataset is not.

The weights are downloaded here and not by `snapshot_download`, which throws away what has arrived of a file when the
connection is lost or nobody waits any more: of a checkpoint that is one file of gigabytes, all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vjepa_demo import jobs
from vjepa_demo.errors import CheckpointError, DiskError, UserError, causes, cut, duration, of_disk
from vjepa_demo.files import lock
from vjepa_demo.settings import settings

log = logging.getLogger(__name__)

Progress = Callable[[str], None]

WEIGHTS = ".safetensors"
FILES = ["*.json", f"*{WEIGHTS}"]
TIMEOUT_S = 10.0  # without an answer, or without a byte of one
TRIES = 3  # to go on with a file of which nothing more arrives
CHUNK = 1 << 20
SHA256_DIGITS = 64
ETAG = re.compile("[0-9a-f]{40,64}")  # it becomes the name of a file
# Errors of a connection that was there, by their names: the Hub's client speaks through a library of its own choice.
BROKEN_OFF = {"RemoteProtocolError", "ReadError", "ReadTimeout", "IncompleteRead", "ChunkedEncodingError"}
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's words, in whatever error: what lies between may speak for the Hub
PARTIAL_CONTENT, TOO_MANY, SERVER_ERROR = 206, 429, 500


@dataclass(frozen=True)
class Refusal:
    """Why the Hub does not give something, as the middle of a sentence, and what can be done about it."""

    why: str
    advice: str


def cached(repo_id: str) -> Path | None:
    """The folder of a checkpoint that is whole in the cache; the network is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, allow_patterns=FILES, local_files_only=True))
    except IncompleteSnapshotError as error:
        folder = Path(error.snapshot_path)  # what is missing may be a file that is not needed
    except LocalEntryNotFoundError:
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Whether the model's configuration, its processor's, and all of its weights are there."""
    weights = {path.name for path in folder.glob(f"*{WEIGHTS}") if path.is_file()}  # not links to what is gone
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no index: the weights are one file
        parts = json.loads((folder / f"model{WEIGHTS}.index.json").read_text(encoding="utf-8"))["weight_map"].values()
        weights = weights if set(parts) <= weights else set()
    return bool(weights) and (folder / "config.json").is_file() and any(folder.glob("*preprocessor*.json"))


def in_part(repo_id: str) -> bool:
    """Whether something of a checkpoint is in the cache."""
    blobs = _blobs(repo_id)
    return blobs.is_dir() and any(blobs.iterdir())


def refusal(repo_id: str, seconds: float = 3.0) -> Refusal | None:
    """Why a checkpoint cannot be had from the Hub, asked in at most so many seconds; None where it can."""
    found: list[Refusal | None] = []

    def ask() -> None:
        try:
            _info(repo_id, seconds)
            found.append(None)
        except Exception as error:
            log.info("hub: %s", cut(str(error), 200))
            found.append(refusal_of(error))

    # In a thread: to look a name up can take longer than any limit that the request has.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else _unreachable()


def fetch(repo_id: str, progress: Progress) -> Path:
    """The folder of a checkpoint's files in the cache, downloaded where they are not there; what is there is kept.

    Raises:
        CheckpointError: the Hub does not give them; one sentence says why, and what to do.
        DiskError: there is no room for them.
        Stopped: nobody waits for them any more.
    """
    if folder := cached(repo_id):
        return folder
    progress(f"Downloading {repo_id} from {_hub()}")
    try:
        return _download(repo_id, progress)
    except UserError:
        raise
    except Exception as error:
        log.warning("hub: %s: %s", type(error).__name__, cut(str(error), 200), exc_info=log.isEnabledFor(logging.DEBUG))
        check_disk(error)
        found, where = refusal_of(error), "only in part" if in_part(repo_id) else "not"
        raise CheckpointError(
            f"{repo_id} is {where} on this machine and {found.why}: {found.advice}, or use the checkpoint nano, which "
            "needs no network."
        ) from error


def _info(repo_id: str, seconds: float) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(repo_id, timeout=seconds)


def _download(repo_id: str, progress: Progress) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download, try_to_load_from_cache

    info = _info(repo_id, TIMEOUT_S)  # first, since what follows has no limit of time for being answered
    missing = []
    for name in (file.rfilename for file in info.siblings):
        known = try_to_load_from_cache(repo_id, name, revision=info.sha)
        if name.endswith(WEIGHTS) and "/" not in name and not isinstance(known, str):
            url = hf_hub_url(repo_id, name, revision=info.sha)
            about = get_hf_file_metadata(url, timeout=TIMEOUT_S)
            if about.size and about.etag and ETAG.fullmatch(about.etag):
                missing.append((url, _blobs(repo_id) / about.etag, about.size))
    for url, blob, size in missing:
        _fetch_blob(url, blob, size, _Told(repo_id, progress, [(blob, size) for _, blob, size in missing]))
    # The small files, and the names under which all are found.
    return Path(snapshot_download(repo_id, allow_patterns=FILES, etag_timeout=TIMEOUT_S, tqdm_class=_bar()))


def _blobs(repo_id: str) -> Path:
    """Where the cache keeps the contents of a checkpoint's files, each named after its ETag."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model") / "blobs"


@dataclass(frozen=True)
class _Told:
    """Tells how much of a checkpoint's weights has arrived, and ends what is of no use any more."""

    repo_id: str
    progress: Progress
    blobs: list[tuple[Path, int]]

    def check(self) -> None:
        """Raises Stopped, or DiskError where there is no room for the rest."""
        jobs.check()
        total = sum(size for _, size in self.blobs)
        arrived = sum(_size(blob) or _size(_partial(blob)) for blob, _ in self.blobs)
        here = next(path for path in self.blobs[0][0].absolute().parents if path.is_dir())
        if shutil.disk_usage(here).free - max(0, total - arrived) < settings.free_bytes:
            raise DiskError(
                f"There is no room on the disk here for {self.repo_id}, of which {(total - arrived) / 1e6:,.0f} MB are "
                "missing: make room, or let HF_HOME name a folder on another disk."
            )
        self.progress(f"Downloading {self.repo_id}: {arrived / 1e6:,.0f} of {total / 1e6:,.0f} MB")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _fetch_blob(url: str, blob: Path, size: int, told: _Told) -> None:
    """Download one file, from where an earlier try ended. Raises what the Hub's client raises, and as `_Told.check`."""
    from huggingface_hub.errors import HfHubHTTPError

    partial, cache = _partial(blob), blob.parents[2]
    for folder in (blob.parent, cache / ".locks" / blob.parents[1].name):
        folder.mkdir(parents=True, exist_ok=True)
    with lock(cache / ".locks" / blob.parents[1].name / f"{blob.name}.lock"):
        left = TRIES
        while not blob.is_file() and (arrived := _size(partial)) < size:
            told.check()
            lost: Exception = ConnectionError("no more of it came")
            try:
                _append(url, partial, arrived, told)
            except (UserError, HfHubHTTPError):
                raise
            except Exception as error:
                if of_disk(error) or _is_of_cache(error):
                    raise
                lost = error
            if (now := _size(partial)) < size:
                left = TRIES if now > arrived else left - 1
                if not left:
                    raise LostError(
                        f"the connection was lost after {now / 1e6:,.1f} of {size / 1e6:,.1f} MB, which are kept"
                    ) from lost
                time.sleep(1)
        if not blob.is_file():
            if len(blob.name) == SHA256_DIGITS and _sha256(partial) != blob.name:
                partial.unlink()
                raise LostError("what arrived is not what was sent")
            partial.replace(blob)


class LostError(Exception):
    """A file did not arrive; how that is said to a person."""


def _append(url: str, partial: Path, arrived: int, told: _Told) -> None:
    """Ask for what is missing of a file and write it as it comes; all of it anew where the server sends no parts."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={arrived}-"}
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as answer:
        hf_raise_for_status(answer)
        with partial.open("ab" if answer.status_code == PARTIAL_CONTENT else "wb") as file:
            for block in answer.iter_bytes():
                jobs.check()
                file.write(block)
                if file.tell() // CHUNK != (file.tell() - len(block)) // CHUNK:
                    file.flush()
                    told.check()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _bar() -> type:
    """A bar for the Hub's client and its threads: it shows nothing, and ends what is of no use any more."""
    from tqdm.auto import tqdm

    job = jobs.current()

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if job:
                job.check()
            return super().update(n)

    return Bar


# --- why not ---------------------------------------------------------------------------------------------------------


def check_disk(error: BaseException) -> None:
    """Raises DiskError where an error of the Hub's client is about the disk here."""
    if of_disk(error):
        raise DiskError.of(error) from error
    if _is_of_cache(error):
        raise DiskError(
            "What comes from the Hugging Face Hub cannot be kept, since its folder here cannot be written to: let "
            "HF_HOME name another one."
        ) from error


def _is_of_cache(error: BaseException) -> bool:
    """Whether a folder or a file could not be made, and not a connection."""
    kinds = (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError)
    return any(isinstance(cause, kinds) and cause.filename is not None for cause in causes(error))


def refusal_of(error: BaseException, what: str = "checkpoint") -> Refusal:
    """What an error of the Hub's client means; `what` was to be had."""
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = _hub()
    for cause in causes(error):
        if isinstance(cause, LostError):
            return Refusal(str(cause), "try again")
        if isinstance(cause, OfflineModeIsEnabled):
            return Refusal(f"{hub} cannot be reached while HF_HUB_OFFLINE is set", "unset it")
        if isinstance(cause, GatedRepoError):
            return Refusal(
                f"{hub} gives it only to those who accepted its terms",
                "accept them on its page there, and set HF_TOKEN to a token of that account",
            )
        if isinstance(cause, RepositoryNotFoundError):
            return Refusal(
                f"{hub} has no public {what} of this name",
                "check the name, and if it is private, set HF_TOKEN to a token that may read it",
            )
        if isinstance(cause, RevisionNotFoundError):
            return Refusal(f"{hub} has no such revision of this {what}", "check what follows the @")
        if UNTRUSTED in str(cause):
            return Refusal(
                f"the certificate of {hub} is not trusted here",
                "let SSL_CERT_FILE name a file with the certificates of your network, and check the clock",
            )
        if type(cause).__name__ in BROKEN_OFF:
            return Refusal(f"the connection to {hub} was lost", "try again")
        if isinstance(cause, HfHubHTTPError):
            return _of_status(hub, cause.response.status_code, cause.response.headers)
        if isinstance(cause, (FileMetadataError, JSONDecodeError, LookupError, TypeError, AssertionError)):
            return Refusal(f"what answers for {hub} is none", f"check {_way()} and try again")
    return _unreachable()


def _of_status(hub: str, status: int, headers: Mapping[str, str]) -> Refusal:
    seconds = _seconds_to_wait(headers)
    later = "some minutes" if seconds is None else duration(seconds)
    if status in (401, 403):
        token = any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
        advice = "check HF_TOKEN, or unset it" if token else "check the account of this machine (hf auth whoami)"
        return Refusal(f"{hub} refuses access ({status})", advice)
    if status == TOO_MANY:
        advice = f"wait {later} and try again, or set HF_TOKEN, with which more is allowed"
        return Refusal(f"{hub} has had too many requests from here", advice)
    if status >= SERVER_ERROR:
        return Refusal(f"{hub} has trouble of its own ({status})", f"try again in {later}")
    return Refusal(f"{hub} does not give it ({status})", f"check {_way()} and try again")


def _seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """When to come back, as an answer says it: in seconds, as a date, or as the Hub tells of its limits."""
    told = headers.get("retry-after", "")
    if told.isdecimal():
        return float(told)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    found = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    return float(found[1]) if found else None


def _unreachable() -> Refusal:
    return Refusal(f"{_hub()} cannot be reached", f"check {_way()} and try again")


def _hub() -> str:
    from huggingface_hub import constants

    is_hub = urlsplit(constants.ENDPOINT).hostname == "huggingface.co"
    return "the Hugging Face Hub" if is_hub else "the mirror in HF_ENDPOINT"


def _way() -> str:
    """What lies between here and the Hub, by the names of the variables: their values may hold passwords."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    found = [] if address.hostname == "huggingface.co" else ["the address in HF_ENDPOINT"]
    if not urllib.request.proxy_bypass(address.hostname or ""):
        names = [f"{scheme}_proxy" for scheme in (address.scheme, "all")]
        proxy = next((name for way in names for name in (way, way.upper()) if os.environ.get(name)), None)
        found += [f"the proxy in {proxy}"] if proxy else []
    certificates = os.environ.get("SSL_CERT_FILE")
    found += ["the file in SSL_CERT_FILE"] if certificates and not os.path.isfile(certificates) else []
    return " and ".join(found) or "the network"
