"""Limits and switches, one frozen object, read once from the environment.

Every field can be set as `VJEPA_DEMO_<FIELD>` in upper case, e.g. `VJEPA_DEMO_MAX_SECONDS=120`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from vjepa_demo.errors import SettingsError, cut

MIB = 1024 * 1024
AUTO = "auto"  # the checkpoint that suits the machine
# Whether this is a Space whose GPU is attached only while it is needed (`model/zero_gpu.py`).
ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
ASSETS = Path(__file__).resolve().parent.parent / "assets"


HUB = "hf://"


def is_own_folder(references: str) -> bool:
    """Whether references are a folder of the owner's, and not the shipped ones or a dataset on the Hub."""
    return bool(references) and not references.startswith(HUB)


def is_table(references: str) -> bool:
    """Whether references are a Lance table, and not a folder of clips or a dataset on the Hub."""
    stored = "://" in references and not references.startswith(HUB)
    return stored or references.rstrip("/").endswith(".lance") or (Path(references) / "_versions").is_dir()


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Within this, nothing counts that the environment says of proxies and certificates.

    Gradio makes a client of the network where it is imported, and at its start asks its own page for an answer: through
    a proxy that knows nothing of this machine, or of a kind that the client does not know, or with certificates that
    are no longer where they were.
    """
    names = [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("SSL")]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


def _default_cache() -> str:
    try:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    except RuntimeError:  # a user without a name and a home, as in many a container
        base = tempfile.gettempdir()
    return str(Path(base) / "vjepa-demo")


def is_loopback(name: str) -> bool:
    """Whether a host's name or address means the machine itself, to whatever it might be resolved."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _yes_or_no(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError(text)


# By the type of a field: how it is read, and what it must be.
READERS: dict[type, tuple[Callable[[str], object], str]] = {
    bool: (_yes_or_no, "1 or 0"),
    int: (int, "a whole number, 0 or more"),
    float: (float, "a number, 0 or more"),
}
CHOICES = {"device": ("auto", "cuda", "mps", "cpu"), "forward": ("fast", "reference")}


def _value(name: str, text: str, kind: type) -> object:
    """What a variable says for a field of this name and type. Raises SettingsError."""
    read, words = READERS.get(kind, (str, " or ".join(CHOICES.get(name, ()))))
    try:
        value = read(text)
        if text not in CHOICES.get(name, (text,)) or (isinstance(value, (int, float)) and not 0 <= value < math.inf):
            raise ValueError(text)
    except ValueError:
        raise SettingsError(
            f"VJEPA_DEMO_{name.upper()} must be {words}, not {cut(text)}: correct it, or leave it unset."
        ) from None
    return value


@dataclass(frozen=True)
class Settings:
    """What the app accepts and how much it keeps.

    Attributes:
        max_bytes: largest file, in bytes.
        max_frame_pixels: largest video frame, in pixels (8K UHD is 33.2 million).
        max_image_pixels: largest still image, or frame of an animation, in pixels.
        max_animation_pixels: most pixels of all frames of an animation together.
        max_video_frames: most frames of a video.
        max_decoded_pixels: most pixels that have to be decoded to reach the frames that are taken from a video.
        max_seconds: longest video, in seconds.
        max_frames: most frames sampled from one clip.
        max_clip_bytes: most bytes of decoded frames held for one clip; larger frames are decoded at a reduced size.
        decode_seconds: longest time that reading one file may take.
        decode_bytes: most memory, as address space, that reading one file may take.
        job_seconds: longest time that one visitor's piece of work may take, in seconds, the waiting left out.
        build_seconds: longest time for embedding one set of references, or for changing one's own, in seconds.
        most_waiting: most pieces of work that wait for their turn.
        most_each: most pieces of work of one address, whatever they wait for.
        encoder_bytes: most bytes of checkpoints in memory: the longest unused go first, the newest always stays.
        store_bytes: most bytes of results kept between events for all visitors together.
        memo_bytes: most bytes of clips and embeddings kept so that the same file is not decoded or embedded twice in
            one way, also of those that results hold; 0 keeps none.
        keep_hours: how long an upload, a result or a visitor's own references are kept after their last use, in hours.
        own_bytes, own_bytes_each, own_bytes_all: most bytes of disk that the references of one visitor on a public app
            may take, those of one address, and those of all visitors together.
        upload_bytes: most bytes of uploads and of files made for visitors; beyond it the oldest go before their time.
        free_bytes: what is left free of the disk, in bytes.
        scratch_dir: where the folder for all of these is made; the system's place for temporary files when empty.
        cache_dir: folder for vectors and maps of reference clips.
        checkpoint: the checkpoint that is used when none is named; "auto" is ViT-L where a GPU is and its files can be
            had, else nano (`checkpoints.choose`).
        offered: ids of the checkpoints that the page and the API offer beside nano, separated by spaces; when empty,
            all that are known, but on ZeroGPU, where what is offered is loaded at the start, ViT-L alone.
        references: folder of reference clips, a table of them (docs/scale.md), or a dataset of videos on the Hub
            (hf://datasets/OWNER/NAME); the shipped ones when empty.
        scenes: file with the scenes of a talk (`ui/stage/scenes.py`); the shipped ones when empty.
        talk: whether they are embedded before the app answers, and not when somebody first opens the stage.
        space: owner/name of the Space that this is, from where the copied code can fetch nano.
        device: "auto", "cuda", "mps" or "cpu".
        forward: "fast", or "reference" for transformers' own forward pass, to compare with (`model/forward.py`).
        proxies: how many proxies in front of the app are trusted to say whom they were asked by; one on a Space.
        server_name: address that the app is bound to; all of the machine's on a Space, else the machine itself alone.
        hosts: names under which an app on the machine itself may be asked for, beside localhost; any where it is bound
            to more than that, unless some are named.
        frame_ancestors: origins whose pages may show the app in a frame, as a Content-Security-Policy writes them;
            none when empty, but Hugging Face's on a Space.
        max_request_bytes: most bytes of one request that uploads files.
        upload_bytes_each, pages_each, open_each: most bytes that one address may upload in an hour to a public app,
            most pages that it may open there in ten minutes, and most requests that it may have open.
        public: True where strangers reach the app: on a Space, and wherever it is bound to more than the machine
            itself. Then nothing a visitor adds is kept on disk, and no folder of it can be named.
        auth: who has to log in: name:password, several with commas between them, or @ and the path of a file with one
            in each line; nobody has to when it is not set. Those who do are strangers still, see `public`.
        logins_each: most wrong passwords from one address in an hour.
    """

    max_bytes: int = 512 * MIB
    max_frame_pixels: int = 36_000_000
    max_image_pixels: int = 40_000_000
    max_animation_pixels: int = 2_500_000_000
    max_video_frames: int = 500_000
    max_decoded_pixels: int = 100_000_000_000
    max_seconds: float = 3600.0
    max_frames: int = 64
    max_clip_bytes: int = 512 * MIB
    decode_seconds: float = 60.0
    decode_bytes: int = 3072 * MIB
    job_seconds: float = 600.0
    build_seconds: float = 4 * 3600.0
    most_waiting: int = 64
    most_each: int = 24
    encoder_bytes: int = 12 * 1024 * MIB
    store_bytes: int = 1024 * MIB
    memo_bytes: int = 512 * MIB
    keep_hours: float = 6.0
    own_bytes: int = 256 * MIB
    own_bytes_each: int = 1024 * MIB
    own_bytes_all: int = 8 * 1024 * MIB
    upload_bytes: int = 16 * 1024 * MIB
    free_bytes: int = 512 * MIB
    scratch_dir: str = ""
    cache_dir: str = ""
    checkpoint: str = AUTO
    offered: str = ""
    references: str = ""
    scenes: str = ""
    talk: bool = False
    space: str = ""
    device: str = "auto"
    forward: str = "fast"
    proxies: int = 0
    server_name: str = "127.0.0.1"
    hosts: str = ""
    frame_ancestors: str = ""
    max_request_bytes: int = 2048 * MIB
    upload_bytes_each: int = 4096 * MIB
    pages_each: int = 300
    open_each: int = 600
    public: bool = False
    auth: str | None = field(default=None, repr=False)
    logins_each: int = 20

    @property
    def loopback(self) -> bool:
        """Whether only the machine itself reaches the app."""
        return is_loopback(self.server_name)

    @property
    def own_folder(self) -> bool:
        """Whether the references are a folder of the owner's."""
        return is_own_folder(self.references)

    @property
    def table(self) -> bool:
        """Whether the references are a table of clips."""
        return bool(self.references) and is_table(self.references)

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the fields from the environment.

        Raises:
            SettingsError: a variable is set to something that its field cannot hold.
        """
        name = os.environ.get("SPACE_ID", "")
        space = bool(name)
        values: dict[str, object] = {
            "space": name,
            "cache_dir": _default_cache(),
            "server_name": os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if space else cls.server_name),  # noqa: S104
            "frame_ancestors": "https://huggingface.co https://*.hf.space" if space else "",
            "proxies": int(space),
        }
        for known in fields(cls):
            text = os.environ.get(f"VJEPA_DEMO_{known.name.upper()}")
            kind = type(getattr(cls, known.name))
            # Nothing is no number and no choice: Compose files pass what is not set on as an empty text.
            if text is not None and (text or kind is bool or (kind not in READERS and known.name not in CHOICES)):
                values[known.name] = _value(known.name, text, kind)
        values.setdefault("public", space or not is_loopback(str(values["server_name"])))
        return cls(**values)  # type: ignore[arg-type]


settings = Settings.from_environment()
