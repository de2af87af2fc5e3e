"""Fifty starts of a talk in a row: is each ready within the time of the first?

    python tests/talk_starts.py --times 50

Starts the app as `make talk` does, opens the stage, waits until it says that all scenes are there, looks at each of
them without a network, and ends the app. Prints one JSON object: how many seconds each start took until the app
answered and until the stage was ready, and which of them came later than the first. The exit code is 1 where one did,
or failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo import demo_process
from playwright.sync_api import Browser, sync_playwright

WAIT_MS = 180_000
SCENES = 8


def start(browser: Browser, cache: Path) -> dict[str, Any]:
    """One start. Raises whatever goes wrong in it."""
    began = time.monotonic()
    with demo_process(cache, "--talk") as (address, _):
        answers = time.monotonic() - began
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{address}/?talk=1")
        page.wait_for_selector('.st-root[data-state="ready"]', state="attached", timeout=WAIT_MS)
        ready = time.monotonic() - began
        page.context.set_offline(True)
        captions = set()
        for number in range(1, SCENES + 1):
            page.keyboard.press(str(number))
            page.wait_for_timeout(200)
            captions.add(page.locator(".st-caption").inner_text())
        page.close()
        assert len(captions) == SCENES, captions
    return {"answers": round(answers, 1), "ready": round(ready, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    times = parser.parse_args().times
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    starts: list[dict[str, Any]] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as cache:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for number in range(times):
            try:
                starts.append(start(browser, Path(cache)))
            except Exception as error:
                starts.append({"failed": f"{type(error).__name__}: {error}"[:300]})
            print(f"{number + 1} of {times}: {starts[-1]}", file=sys.stderr, flush=True)
        browser.close()
    first = starts[0].get("ready", 0.0)
    later = [number for number, one in enumerate(starts, 1) if one.get("ready", float("inf")) > first]
    print(json.dumps({"times": times, "first": first, "starts": starts, "later_than_the_first": later}))
    return int(bool(later))


if __name__ == "__main__":
    sys.exit(main())
