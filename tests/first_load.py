"""All that a page asks for, from its address to the first picture with its heat and to the map."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

WAIT_MS = 60_000
HEARD = """
const heard = () => { window.firstHeat ||= performance.timeOrigin + performance.now(); };
document.addEventListener("patchquery", heard);
"""


class Load:
    """All that a page asks for, as it went over the wire, the headers with it; `heat` is when the first heat stood."""

    def __init__(self, page: Page, url: str) -> None:
        self.requests: dict[str, dict[str, Any]] = {}
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(HEARD)
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._asked)
        session.on("Network.dataReceived", lambda sent: self._came(sent, sent["encodedDataLength"]))
        session.on("Network.loadingFinished", lambda sent: self._came(sent, sent["encodedDataLength"], whole=True))
        page.goto(url)
        self.heat: float = page.wait_for_function("window.firstHeat").json_value()

    def _asked(self, sent: dict[str, Any]) -> None:
        if urlsplit(sent["request"]["url"]).scheme in ("http", "https"):
            path = urlsplit(sent["request"]["url"]).path
            asked = sent["request"]["method"], sent["request"]["url"], sent["request"].get("postData")
            self.requests[sent["requestId"]] = {"path": path, "at": 1000 * sent["wallTime"], "bytes": 0, "asked": asked}

    def _came(self, sent: dict[str, Any], count: int, *, whole: bool = False) -> None:
        if request := self.requests.get(sent["requestId"]):
            request["bytes"] = count if whole else request["bytes"] + count

    def until_heat(self) -> list[dict[str, Any]]:
        """What was asked for until then, with all of its bytes; the largest first."""
        asked = [request for request in self.requests.values() if request["at"] <= self.heat]
        return sorted(asked, key=lambda request: -request["bytes"])

    def paths(self) -> list[str]:
        return [request["path"] for request in self.requests.values()]


def ready(page: Page) -> None:
    for name in ("Patch viewer", "Reference map"):
        expect(page.get_by_label(name, exact=True)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
