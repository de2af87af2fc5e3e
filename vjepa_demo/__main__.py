from __future__ import annotations

import sys

from vjepa_demo.errors import SettingsError


def run() -> int:
    """What the shell asks for. Returns the exit code."""
    try:
        from vjepa_demo.cli import main
    except SettingsError as error:  # the environment is read when it is first imported
        print(error, file=sys.stderr)
        return 2
    return main()


if __name__ == "__main__":
    raise SystemExit(run())
