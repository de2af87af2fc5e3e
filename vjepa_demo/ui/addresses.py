"""Where the app is, and addresses of its own that stand for files: uploads and examples. None is ever fetched."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
from typing import Any
from urllib.parse import unquote

from vjepa_demo.errors import PortError, cut
from vjepa_demo.settings import ASSETS, settings

log = logging.getLogger(__name__)

PORT = "VJEPA_DEMO_PORT"
HOSTS = ("VJEPA_DEMO_SERVER_NAME", "GRADIO_SERVER_NAME")
LAST = 2**16 - 1
MOST_TRIED = 100  # ports, as Gradio looks for one
EXAMPLES = ASSETS / "examples"
FOLDER = "/examples/v-jepa-2-explorer/"  # that nobody else has
EXAMPLE = f"{FOLDER}(?P<example>[a-z]{{1,40}}[.]mp4)"
# Under whatever name the app is known to whoever asks.
OURS = re.compile(f"https?://[^/?#]+(/[^?#]*)?({EXAMPLE}|/gradio_api/file=(?P<upload>.+))", re.DOTALL)


def port() -> int:
    """The port that the app listens at."""
    return int(os.environ.get(_port_variable()) or "7860")


def _port_variable() -> str:
    """The variable that names the port: ours, where both are set."""
    return next((name for name in (PORT, "GRADIO_SERVER_PORT") if os.environ.get(name)), PORT)


def settle_port() -> None:
    """Where another program has the port, take the next one that is free, and say so; for an app that others reach, and
    look for where it was put, that is an error. To be called before Gradio is imported, which reads its own variable.

    Raises:
        PortError: the port is no number of one, or taken; or the address is none of this machine's.
    """
    try:
        wanted = port()
        if not 0 < wanted <= LAST:
            raise ValueError(wanted)
    except ValueError:
        raise PortError(f"{_port_variable()} must be the number of a port, 1 to 65535.") from None
    free = next((number for number in range(wanted, min(wanted + MOST_TRIED, LAST + 1)) if _is_free(number)), None)
    os.environ["GRADIO_SERVER_PORT"] = str(wanted)  # whatever else it says is of no account
    if free == wanted:
        return
    if free is None or not settings.loopback:
        raise PortError(f"Another program has port {wanted}: end it, or let {PORT} name another one.")
    log.warning("another program has port %d: this app takes %d", wanted, free)
    os.environ[PORT] = str(free)


def _is_free(number: int) -> bool:
    name = settings.server_name.strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            name or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            variable = next((known for known in HOSTS if os.environ.get(known)), HOSTS[0])
            raise PortError(f"{variable} must be an address of this machine, not {cut(name)}.") from None
        return False
    return True


def of_example(name: str) -> str:
    """Where an example can be had, as far as the app knows where it is itself."""
    if host := os.environ.get("SPACE_HOST"):
        return f"https://{host}{FOLDER}{name}"
    names = settings.hosts.replace(",", " ").split()
    return f"http://{names[0] if names else 'localhost'}:{port()}{FOLDER}{name}"


def told(value: Any) -> Any:
    """A file object that names such an address as one that names the file, to be admitted by the gate like any other;
    everything else as it is."""
    path = value.get("path") if isinstance(value, dict) else None
    found = OURS.fullmatch(path) if isinstance(path, str) else None
    if found is None:
        return value
    if found["upload"] is not None:
        return {"path": unquote(found["upload"]), "meta": {"_type": "gradio.FileData"}}
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    example = EXAMPLES / found["example"]
    if not example.is_file():
        return value
    return {"path": save_file_to_cache(example, get_upload_folder()), "meta": {"_type": "gradio.FileData"}}
