"""What every request passes before Gradio sees it: whose it may be, which routes there are, how much it may bring.

A list of what is used, since all that Gradio offers beside it (proxies, recordings, monitoring, calls beside the queue)
has been a way in. Plain ASGI, so that streams stay streams.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gradio.utils import LRUCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vjepa_demo import scratch
from vjepa_demo.errors import DiskError, RequestError, of_disk
from vjepa_demo.settings import Settings, is_loopback, settings
from vjepa_demo.ui import addresses, card, gate, serving
from vjepa_demo.ui.allowance import Allowance
from vjepa_demo.ui.unheard import REMEMBERED, Unheard
from vjepa_demo.ui.visits import address_of, network_of

log = logging.getLogger(__name__)

FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
NAME = "[A-Za-z0-9_-]{1,100}"
PART = "[^/]{1,200}"  # of a path
# What is there for those who have not logged in: the page that asks them to, and what is the same in every app.
OPEN = re.compile(
    f"/|/favicon.ico|/{card.NAME}|/manifest.json|/robots.txt|/theme.css|/(assets|static|svelte)(/{PART}){{1,12}}"
    f"|/gradio_api/(theme.css|startup-events|app_id)|{serving.HEALTH}"
)
# What the page, `gradio_client` and curl ask for. Names are ids of endpoints, sessions and events.
READ = re.compile(
    f"{OPEN.pattern}|/config/?|/plotly.min.js"
    f"|/examples\\.jpg|{addresses.EXAMPLE}"
    f"|/widgets/{NAME}/shared/widgets\\.js"
    f"|/references/{NAME}/[a-z0-9.]{{1,20}}"
    "|/gradio_api/(info/?|queue/data|upload_progress)"
    "|/gradio_api/mcp/(schema)?"
    f"|/gradio_api/(heartbeat/{NAME}|call/(v2/)?{NAME}/{NAME})"
    f"|{FILE}.+",
    re.DOTALL,
)
WRITE = re.compile(f"/gradio_api/(mcp/|upload|queue/join|cancel|reset/?|call/(v2/)?{NAME}/?)")
LOGIN = re.compile("/login/?")
CALL = re.compile(f"/gradio_api/(queue/join|call/(?P<second>v2/)?(?P<name>{NAME})/?)")
TOLD = re.compile(f"/gradio_api/(queue/data|call/(v2/)?{NAME}/(?P<event>{NAME}))")
# Where agents ask, by POST: what Gradio has for others there, it has on the page too.
AGENTS = "/gradio_api/mcp/"
# Gradio compresses what has an ending: not the descriptions of the page. The page itself is ours to send.
COMPRESSED = re.compile("/config/?|/gradio_api/info/?|/gradio_api/mcp/schema")
HASHED = "/assets/"  # Gradio's chunks, whose names hold a hash of what is in them
MAX_JSON_BYTES = 1024 * 1024
MOST_QUERY_BYTES = 2000
NAMES_A_FILE = b"filename"  # stands once in the head of each file of an upload
MOST_PORT = 65_535
# By this header Gradio would tell the page that it is elsewhere. Nobody who is between here and there is to say so.
ELSEWHERE = b"x-gradio-server"
# Gradio writes it into every page: the names, the fields and the presets of all functions.
DESCRIPTION = re.compile(rb"(window\.gradio_api_info = ).*?(;</script>)", re.DOTALL)
ASK_HERE = "Agents ask here, by POST and the Model Context Protocol. What they can ask: /?view=api\n"
LOG_IN = "Load the page again and log in."
MANY_OPEN = "Very much is open from your network: close some pages, or wait for what is under way.\n"

# Gradio makes functions of text, for its HTML components among others ('unsafe-eval'), runs the page's own script as a
# module from a `blob:`, writes its configuration and a few lines more into the page ('unsafe-inline' for scripts), and
# styles elements one by one (for styles). Recordings and saved pictures are `blob:`, icons `data:`.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


NO_PARAMETERS = inspect.Signature()


@dataclass(frozen=True)
class Function:
    """A function of the app: its name, "" where it has none, and its parameters."""

    name: str
    signature: inspect.Signature = NO_PARAMETERS

    def takes(self, given: Mapping[str, Any]) -> bool:
        """Whether it can be called with these parameters."""
        try:
            self.signature.bind(**given)
        except TypeError:
            return False
        return True


class Guard:
    """Goes around the whole app, Gradio's own middleware included.

    Args:
        app: what it goes around.
        limits: what may be asked for.
        functions: the app's functions by their numbers; None where any may be called.
        unheard: the messages that wait for those who are to be told.
        logged_in: whether somebody with these cookies has logged in, where they have to.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Settings = settings,
        functions: Mapping[int, Function] | None = None,
        unheard: Unheard | None = None,
        logged_in: Callable[[Mapping[str, str]], bool] = lambda cookies: False,
    ) -> None:
        self.app = app
        self.compressed = GZipMiddleware(app)
        self.limits = limits
        self.functions = functions
        self.unheard = unheard
        self.logged_in = logged_in
        self._named = {function.name: function for function in (functions or {}).values() if function.name}
        self._uploads = Allowance(limits.upload_bytes_each, 3600)
        self._pages = Allowance(limits.pages_each, 600)
        self._logins = Allowance(limits.logins_each, 3600)
        self._known: LRUCache[str, bool] = LRUCache(REMEMBERED)
        self._open: Counter[str] = Counter()
        self.bound = limits.server_name.strip("[]").lower()
        self.hosts = set(limits.hosts.replace(",", " ").lower().split())
        ancestors = " ".join(limits.frame_ancestors.replace(";", " ").replace(",", " ").split())
        self.policy = f"{PAGE_POLICY}; frame-ancestors {ancestors or chr(39) + 'none' + chr(39)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        who = _who(scope)
        if self.limits.public and self._open[who] >= self.limits.open_each:
            await PlainTextResponse(MANY_OPEN, 429, headers={"Connection": "close"})(scope, receive, send)
            return
        self._open[who] += 1
        try:
            await self._pass(scope, receive, send)
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != ELSEWHERE]}
        path = path_of(scope)
        if path + "/" == AGENTS:  # from there Gradio would lead on to an address that a proxy may not know
            path, scope["path"] = AGENTS, scope["path"] + "/"
        most = self.limits.max_request_bytes if path == UPLOAD else MAX_JSON_BYTES
        brought = 0
        replaced = False
        last = b""

        async def take() -> Message:
            nonlocal brought, last
            message = await receive()
            brought += len(message.get("body", b""))
            if path == UPLOAD and self.limits.public:
                seen = (last + message.get("body", b"")).lower()
                last = seen[1 - len(NAMES_A_FILE) :]
                # Counted as they come: those of a request that breaks off are on the disk, too.
                self._uploads.spend(_who(scope), seen.count(NAMES_A_FILE) * scratch.on_disk(0), anyway=True)
            return {"type": "http.disconnect"} if brought > most else message

        async def finish(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                self._set_headers(MutableHeaders(scope=message))
                if path.startswith(HASHED) and message["status"] == 200:
                    MutableHeaders(scope=message)["Cache-Control"] = serving.FOR_GOOD
                instead = too_large(most) if brought > most else None
                if LOGIN.fullmatch(path) and message["status"] == 200:  # only wrong passwords count
                    self._logins.spend(network_of(_who(scope)), -1, anyway=True)
                if path == UPLOAD and message["status"] == 500:
                    instead = PlainTextResponse("This is no upload of files.\n", 400)
                replaced = instead is not None
                if instead:
                    await instead(scope, receive, send)
            if not replaced:
                await send(message)

        answer: ASGIApp | None = self._refuse(scope, path, most)
        if answer is None and path.startswith(FILE):
            answer = self._file(path)
        if answer is None and scope["method"] == "POST" and path != UPLOAD and not LOGIN.fullmatch(path):
            body = await _whole(take)
            answer = self._refuse_body(scope, body, CALL.fullmatch(path)) if brought <= most else too_large(most)
            receive = _again(body, receive)
            brought = 0
        try:
            if answer is None and path == "/":
                answer = GZipMiddleware(await self._page(scope, receive))
            app = self.compressed if COMPRESSED.fullmatch(path) else self.app
            await (answer or app)(scope, take, finish)
        except Exception as error:
            if brought <= most and not of_disk(error):
                raise
            if not replaced:
                await (too_large(most) if brought > most else no_room(error))(scope, receive, send)

    def _refuse(self, scope: Scope, path: str, most: int) -> Response | None:
        """Why a request goes no further, or None where it does."""
        headers, method = Headers(scope=scope), scope["method"]
        if path == serving.HEALTH and method in ("GET", "HEAD"):
            return None  # asked for at whatever address the machine knows, by those who watch over it
        if not self._knows(headers.get("host", "")):
            return PlainTextResponse("This app is not known by that name: VJEPA_DEMO_HOSTS can name it.\n", 421)
        allowed = WRITE if method == "POST" else READ if method in ("GET", "HEAD") else None
        login = self.limits.auth is not None and method == "POST" and LOGIN.fullmatch(path) is not None
        if not (login or (allowed and allowed.fullmatch(path))):
            return PlainTextResponse("Not found\n", 404)
        # Gradio asks for a login at some of its own routes, and at none of ours.
        if not (login or (method != "POST" and OPEN.fullmatch(path)) or self._is_in(scope)):
            return JSONResponse({"detail": {"error": "Not authenticated", "auth_message": LOG_IN}}, 401)
        query = scope.get("query_string", b"")
        asked = parse_qs(query[: MOST_QUERY_BYTES + 1].decode("latin1"), keep_blank_values=True)
        named = [*asked.get("upload_id", []), *asked.get("session_hash", [])]
        if path == "/" and len(query) > MOST_QUERY_BYTES:  # no link of ours: the page without what it says
            return RedirectResponse("./", 303)
        if len(query) > MOST_QUERY_BYTES or not all(map(_is_name, named)):
            return PlainTextResponse("Names of uploads and sessions are 1 to 100 letters and digits.\n", 400)
        if any(
            asked.get("page", [])
        ):  # Gradio looks for a page of that name, and fails; here there is one, without a name
            return PlainTextResponse("Not found\n", 404)
        if not all(map(_is_host, headers.get("x-forwarded-host", "a").replace(" ", "").split(","))):
            return PlainTextResponse("X-Forwarded-Host names no host.\n", 400)
        if method != "POST" and path == AGENTS:
            return PlainTextResponse(ASK_HERE, 405, headers={"Allow": "POST"})
        if method != "POST":
            told = TOLD.fullmatch(path)
            name = told and (told["event"] or "".join(asked.get("session_hash", [])))
            known = not told or not self.unheard or self.unheard.has(name or "")
            return None if known else PlainTextResponse("Not found\n", 404)
        if comes_from_elsewhere(headers):
            return PlainTextResponse("Requests from other sites' pages are not taken.\n", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return too_large(most)
        kind = headers.get("content-type", "").lower()
        if login and "charset" in kind and "utf-8" not in kind:  # Gradio fails at some, for names that it knows alone
            return PlainTextResponse("Log in with text in UTF-8.\n", 400)
        if login and not self._logins.spend(network_of(_who(scope))):
            return PlainTextResponse("Too many wrong passwords from your network: try again in an hour.\n", 429)
        if path == UPLOAD:
            try:
                scratch.check_room(int(length))
            except DiskError as error:
                return no_room(error)
            # One that does not say how long it is counts as the longest.
            if self.limits.public and not self._uploads.spend(_who(scope), int(length) or most):
                return PlainTextResponse("Your network has uploaded a lot here: try again in an hour.\n", 429)
        return None

    def _refuse_body(self, scope: Scope, body: bytes, call: re.Match[str] | None) -> Response | None:
        """Why a body, which may be that of a call of a function, goes no further, or None where it does.

        Gradio keeps something for every session's name that it is told, of whatever length, and ends in an error where
        it knows no function of this number or name, or is sent letters that cannot be written.
        """
        try:
            given = json.loads(body)
            json.dumps(given, ensure_ascii=False).encode()
            page, number = given.get("session_hash"), given.get("fn_index")
        except (ValueError, AttributeError, RecursionError):
            return PlainTextResponse("This is no JSON object.\n", 400)
        if page is not None and not _is_name(page):
            return PlainTextResponse("A session's name is 1 to 100 letters and digits.\n", 400)
        if call is None:
            return None
        if why := self._refuse_function(number, call, given):
            return why
        if call["second"]:  # there a session cannot be named
            page = None
        if page is not None and self.unheard and self.unheard.is_full(page):
            return PlainTextResponse("Read first what you have been told: queue/data has it.\n", 429)
        if not self.limits.public or page in self._known:
            return None
        if not self._pages.spend(_who(scope)):
            return PlainTextResponse(
                "Very many pages have been opened from your network: try again in ten minutes.\n", 429
            )
        if page is not None:
            self._known[page] = True
        return None

    def _refuse_function(self, number: Any, call: re.Match[str], given: dict[str, Any]) -> Response | None:
        """Why a function cannot be called by this number or name, or with these parameters, where they are named."""
        if self.functions is None:
            return None
        function = self._named.get(call["name"]) if call["name"] else None
        if (call["name"] and function is None) or not (
            number is None or (type(number) is int and number in self.functions)
        ):
            return PlainTextResponse("Not found\n", 404)
        if call["second"] and function and not function.takes(given):
            return PlainTextResponse(f"Its parameters are {', '.join(function.signature.parameters)}.\n", 400)
        return None

    def _knows(self, host: str) -> bool:
        """Whether a request meant this app: a page elsewhere can have its own name point to this machine."""
        name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
        # By the last two Gradio asks itself, before it starts.
        return not (self.hosts or self.limits.loopback) or name in self.hosts or is_loopback(name) or name == self.bound

    def _is_in(self, scope: Scope) -> bool:
        """Whether a request comes from somebody who has logged in, or nobody has to."""
        return self.limits.auth is None or self.logged_in(Request(scope).cookies)

    async def _page(self, scope: Scope, receive: Receive) -> Response:
        """The page as Gradio answers, with our card; for those who are not in, without the description of all functions
        that is in it."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        if not self._is_in(scope):
            body = DESCRIPTION.sub(rb"\1null\2", body)
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in sent[0].get("headers", [])}
        headers.pop("content-length", None)
        headers["cache-control"] = "private, no-cache"  # what it says depends on who asks, and under which name
        return Response(card.with_card(body, Request(scope)) if body else body, sent[0]["status"], headers)

    def _file(self, path: str) -> Response:
        try:
            return serving.file_answer(gate.admit(path[len(FILE) :]))
        except RequestError:
            return PlainTextResponse("Not found\n", 404)

    def _set_headers(self, headers: MutableHeaders) -> None:
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=(), display-capture=()"
        headers.setdefault("Content-Security-Policy", self.policy)


async def _whole(receive: Receive) -> bytes:
    """The body of a request, as far as it comes."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read already, then what follows it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def from_the_start() -> Message:
        return left.pop() if left else await receive()

    return from_the_start


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(NAME, text) is not None


def _who(scope: Scope) -> str:
    return address_of(Headers(scope=scope), scope["client"][0] if scope.get("client") else "")


def path_of(scope: Scope) -> str:
    """The path below that of a proxy, where the proxy left its own in it."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return (path[len(root) :] or "/") if root and (path + "/").startswith(root + "/") else path


def _is_host(text: str) -> bool:
    found = re.fullmatch(r"([A-Za-z0-9._-]+|\[(?P<six>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{1,5}))?", text)
    if found is None or int(found["port"] or 0) > MOST_PORT:
        return False
    with contextlib.suppress(ValueError):
        return found["six"] is None or bool(ipaddress.IPv6Address(found["six"]))
    return False


def comes_from_elsewhere(headers: Headers) -> bool:
    """Whether a page of another origin sent this, as far as the browser says. What is no browser says nothing."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin == "null":
        return True
    if site is not None:
        return site in ("cross-site", "same-site")
    if origin is None:
        return False
    ours = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
    return urlsplit(origin).netloc.lower() not in {host.strip().lower() for host in ours}


def too_large(most: int) -> Response:
    return PlainTextResponse(f"A request may bring {most:,} bytes here.\n", 413, headers={"Connection": "close"})


def no_room(error: Exception) -> Response:
    log.warning("an upload found no room: %s", type(error).__name__)
    return PlainTextResponse(f"{error if isinstance(error, DiskError) else DiskError.of(error)}\n", 507)


@contextlib.asynccontextmanager
async def guarded(app: Any) -> AsyncIterator[None]:
    """A lifespan that puts the guard around an app: a middleware would be inside those that Gradio adds later."""
    functions = {
        number: Function(str(fn.api_name), inspect.signature(fn.fn)) if fn.api_visibility == "public" else Function("")
        for number, fn in app.get_blocks().fns.items()
    }

    def logged_in(cookies: Mapping[str, str]) -> bool:
        names = f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"
        return any(cookies.get(name) in app.tokens for name in names)

    app.middleware_stack = Guard(
        app.middleware_stack, functions=functions, unheard=Unheard(app.get_blocks()._queue), logged_in=logged_in
    )
    yield


def app_kwargs() -> dict[str, Any]:
    """What `launch` hands on to FastAPI: our own routes, and the guard around all of them."""
    return {"routes": list(serving.ROUTES), "lifespan": guarded}
