"""Who may use a private server: the accounts that its owner names in the environment."""

from __future__ import annotations

from pathlib import Path

from vjepa_demo.errors import RequestError

FORM = "write name:password, several with commas between them, or @ and the path of a file with one in each line"


def read(text: str | None) -> list[tuple[str, str]] | None:
    """The names and passwords of `VJEPA_DEMO_AUTH`, or None where it is not set and everybody is let in.

    Spaces around a name or a password are no part of them. In a file a password may hold commas. What is wrong is said
    without a letter of what was given.

    Raises:
        RequestError: it is set, and does not say who is let in.
    """
    if text is None:
        return None
    entries = text.split(",")
    if text.startswith("@"):
        try:
            entries = Path(text[1:].strip()).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            raise RequestError(
                "The file that VJEPA_DEMO_AUTH names cannot be read: check its path, and that it is text."
            ) from None
    named: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        name, _, password = (part.strip() for part in entry.partition(":"))
        if not entry.strip() and len(entries) > 1:
            continue
        if not (name and password):
            raise RequestError(f"Entry {number} of VJEPA_DEMO_AUTH is no name with a password: {FORM}.")
        if name in named:
            raise RequestError(f"Entry {number} of VJEPA_DEMO_AUTH names somebody for the second time: take it out.")
        named[name] = password
    if not named:
        raise RequestError(f"VJEPA_DEMO_AUTH names nobody: {FORM}, or leave it unset.")
    return list(named.items())
