"""Take the README's picture: the page as a visitor finds it, with the pointer on a patch.

python tests/screenshot.py assets/screenshot.png [--dark] [--width 1400] [--height 1250]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from demo import running_demo
from playwright.sync_api import Page, expect, sync_playwright

WAIT_MS = 60_000


def take(page: Page, address: str, out: Path, *, whole: bool) -> None:
    page.goto(address)
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    page.wait_for_timeout(1500)  # the map's points fade in
    page.screenshot(path=out, full_page=whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--address", help="of an app that is running already")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, not just the window")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1250)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as cache:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
        )
        if options.address:
            take(page, options.address, options.out, whole=options.whole)
        else:
            with running_demo(Path(cache)) as address:
                take(page, address, options.out, whole=options.whole)
        browser.close()


if __name__ == "__main__":
    main()
