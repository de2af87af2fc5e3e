"""A Space's entry: build the page and launch it. Run locally, `--references DIR` names a set of reference clips."""

import argparse
import atexit
import contextlib
import ctypes
import gc
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

TALK = "http://localhost:{}/?talk=1"


def main() -> None:
    parser = argparse.ArgumentParser(description="V-JEPA 2 Explorer")
    references = "your own set, in which clips added on the page are kept; or a table of clips (docs/scale.md)"
    parser.add_argument("--references", metavar="DIR", help=references)
    parser.add_argument("--talk", action="store_true", help="embed the scenes of a talk before the app answers")
    parser.add_argument("--scenes", metavar="FILE", help="your own scenes for a talk; their clips lie beside that file")
    options = parser.parse_args()
    switches = {"REFERENCES": options.references, "SCENES": options.scenes, "TALK": options.talk and "1"}
    os.environ.update(
        {f"VJEPA_DEMO_{name}": value for name, value in switches.items() if value}
    )  # before they are read
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # noqa: F401  # must come before torch, which it patches
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` wants it
            signal.signal(number, stop)

    from vjepa_demo.errors import DiskError, SettingsError, UserError, of_disk

    try:
        from vjepa_demo.settings import ZERO_GPU, no_network, settings
    except SettingsError as error:
        sys.exit(str(error))
    from vjepa_demo import logs, scratch
    from vjepa_demo.ui import accounts, addresses

    logs.begin()
    gc.disable()  # what is imported and built now stays: to look through it again and again takes a tenth of the start
    try:
        accounts.read(settings.auth)  # before all that takes seconds
        os.environ["GRADIO_TEMP_DIR"] = str(scratch.folder(scratch.UPLOADS))  # before Gradio reads it
        os.environ["FORWARDED_ALLOW_IPS"] = ""  # before uvicorn reads it: who asks is said in ui/visits.py alone
        tempfile.tempdir = str(scratch.folder(scratch.WORK))  # what libraries write for a moment goes with the rest

        from vjepa_demo.media import worker

        threading.Thread(target=load_library, daemon=True).start()
        worker.warm()  # it has imported its libraries by the time this process has imported the page's
        import uvicorn.config

        addresses.settle_port()
        with no_network():
            from vjepa_demo.ui.janitor import clearing_up
            from vjepa_demo.ui.opening import load_soon
            from vjepa_demo.ui.page import build, launch_options

        uvicorn.config.LOGGING_CONFIG.update(handlers={}, loggers={})  # what it logs goes where all else goes
        with contextlib.suppress(ImportError, ValueError, OSError):
            import resource  # not on Windows

            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each visitor takes two or three
        if ZERO_GPU:
            from vjepa_demo.model.encoder import prepare

            prepare()
        demo = build()
        with clearing_up(demo):
            with contextlib.suppress(KeyboardInterrupt):
                with no_network():
                    demo.launch(**launch_options(), prevent_thread_lock=True)
                load_soon()
                if settings.talk:
                    print(f"The talk:  {TALK.format(demo.server_port)}", flush=True)
                while True:
                    time.sleep(1)
            demo.close(verbose=False)  # Gradio's own waiting would not end what open pages listen to, and wait for them
    except KeyboardInterrupt:  # there was no server to close yet
        sys.exit(130)
    except UserError as error:
        sys.exit(str(error))
    except Exception as error:
        if not of_disk(error):
            raise
        logging.getLogger(__name__).debug("no start", exc_info=True)
        sys.exit(str(DiskError.of(error)))
    finally:
        scratch.end()
    # Nothing is left to tidy up, and to free all memory piece by piece takes longer than a service is given to end.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def load_library() -> None:
    """Load torch's largest library beside all else: while `import torch` loads it, all threads stand still."""
    found = importlib.util.find_spec("torch")
    library = Path(found.origin).parent / "lib" / "libtorch.so" if found and found.origin else Path()
    if library.is_file():
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).dlopen(bytes(library), os.RTLD_NOW)  # `CDLL(library)` would hold them up, too


def stop(number: int, frame: object) -> None:
    """The end of a service and that of its terminal lead out as Ctrl-C does; a second time, at once."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
