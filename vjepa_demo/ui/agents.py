"""What agents are told and answered: the endpoints as tools of the Model Context Protocol.

Gradio lists them and speaks the protocol. A call it would answer by calling itself over the network, as one client for
all, and from this machine, whose files that client opens. Here a call is answered like a page's event: behind the gate,
as a job of whoever asked, which ends when they have gone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import inspect
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.mcp
import jsonschema
from gradio.context import LocalContext
from gradio.route_utils import get_root_url
from mcp import types
from mcp.server import Server

from vjepa_demo.errors import RequestError, Stopped, cut
from vjepa_demo.scratch import check_room
from vjepa_demo.ui import addresses
from vjepa_demo.ui.examples import files as example_files
from vjepa_demo.ui.files import scratch
from vjepa_demo.ui.gate import NO_VALUES, admit
from vjepa_demo.ui.outcome import sentence

FILE = (
    "Upload it first, as the form field `files` of a POST to /gradio_api/upload, and give the path or the address that "
    "this answers; a file of up to 700 kB may be a data: address in base64 instead. {} is an example. Nothing is "
    "fetched from elsewhere."
)
MOST_SAID = 300  # characters of why a value is refused, which may repeat it
NO_PARAMETERS = "These are no values that this tool's parameters can have: see its description."
STOPPED = "The app has been stopped."
PICTURE_SIDE = 1568  # pixels: what is larger, models are shown reduced


def begin() -> None:
    """From now on, the server of tools that Gradio makes when an app is launched is this one."""
    gradio.mcp.GradioMCPServer = Tools  # type: ignore[misc]


class Tools(gradio.mcp.GradioMCPServer):
    """The endpoints of an app as tools, and nothing else: no resources, no prompts, no client of the app itself."""

    _over = False

    def create_mcp_server(self) -> Server:
        self._under_way: set[asyncio.Task[tuple[Any, ...]]] = set()
        server: Server = Server(str(self.blocks.title), instructions=f"Files: {self._about_files}")
        server.list_tools()(self._list)
        # Not by its decorator, which repeats in its answer what was sent, of whatever length.
        server.request_handlers[types.CallToolRequest] = self._call
        return server

    @property
    def _about_files(self) -> str:
        return FILE.format(addresses.of_example(example_files()[0].name))

    def get_fn_description(self, block_fn: Any, tool_name: str) -> tuple[str, dict[str, str]]:
        """What a tool does and answers, as the API page has it, and what its parameters are."""
        told = self.api_info["named_endpoints"][self.tool_to_endpoint[tool_name]]
        parameters = {each["parameter_name"]: each["python_type"]["description"] for each in told["parameters"]}
        parameters["file"] = f"{parameters['file']}. {self._about_files}"
        return told["description"], parameters

    def get_input_schema(
        self, tool_name: str, parameters: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], list[list[str | int]]]:
        """As Gradio's, which leaves out defaults that are false or null, and says that a file is any address."""
        schema, files = super().get_input_schema(tool_name, parameters)
        schema["additionalProperties"] = False
        file = schema["properties"]["file"]
        schema["properties"]["file"] = {name: file[name] for name in ("type", "description") if name in file}
        for each in self.api_info["named_endpoints"][self.tool_to_endpoint[tool_name]]["parameters"]:
            told = schema["properties"][each["parameter_name"]]
            told.pop("additional_description", None)
            if each["parameter_has_default"]:
                told["default"] = each["parameter_default"]
                told["type"] = [told["type"], "null"] if told["default"] is None else told["type"]
        return schema, files

    async def _list(self) -> list[types.Tool]:
        return [self._tool(name) for name in self._chosen()]

    def _tool(self, name: str) -> types.Tool:
        block_fn = self.get_block_fn_from_endpoint_name(self.tool_to_endpoint[name])
        words, parameters = self.get_fn_description(block_fn, name)
        return types.Tool(name=name, description=words, inputSchema=self.get_input_schema(name, parameters)[0])

    def _chosen(self) -> list[str]:
        """The tools that a client wants to know of: those of its address's `tools`, or all."""
        chosen = self.get_selected_tools_from_request()
        return [name for name in self.tool_to_endpoint if chosen is None or name in chosen]

    async def _call(self, request: types.CallToolRequest) -> types.ServerResult:
        work = asyncio.create_task(self._answer(request.params.name, request.params.arguments or {}))
        self._under_way.add(work)
        try:
            outputs = await self._unless_over(work)
            content = [part for output in outputs for part in self._content(output)]
            summary = next((output for output in outputs if isinstance(output, dict)), None)
            answer = types.CallToolResult(content=content, structuredContent=summary)
        except Exception as error:
            said = types.TextContent(type="text", text=sentence(error))
            answer = types.CallToolResult(content=[said], isError=True)
        finally:
            self._under_way.discard(work)
        return types.ServerResult(answer)

    async def _unless_over(self, work: asyncio.Task[tuple[Any, ...]]) -> tuple[Any, ...]:
        """What the work comes to. Raises Stopped where the app has ended it."""
        try:
            return await work
        except asyncio.CancelledError:
            if self._over:
                raise Stopped(STOPPED) from None
            raise

    def end(self) -> None:
        """Let all who wait for an answer know that none comes: a server waits for them when it ends."""
        self._over = True
        for work in tuple(self._under_way):
            work.get_loop().call_soon_threadsafe(work.cancel)

    async def _answer(self, name: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
        """What an endpoint returns, one value for each of its outputs. Raises UserError and gr.Error."""
        if self._over:  # it was asked while the app was ending
            raise Stopped(STOPPED)
        if name not in self._chosen():
            raise RequestError(f"There is no tool {cut(name)} here: there are {', '.join(self._chosen())}.")
        check(arguments, self.get_input_schema(name)[0])
        block_fn = self.get_block_fn_from_endpoint_name(self.tool_to_endpoint[name])
        assert block_fn is not None
        assert block_fn.fn is not None
        bound = inspect.signature(block_fn.fn).bind(**arguments)
        bound.apply_defaults()
        asking = LocalContext.request.set(gr.Request(request=self.mcp_server.request_context.request))
        try:
            values = (await self._admitted(block_fn, [None, *bound.args[1:]]))[1:]
            with scratch() as folder:
                outputs = await block_fn.fn(self._file(bound.arguments["file"], folder), *values)
        finally:
            LocalContext.request.reset(asking)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    async def _admitted(self, block_fn: Any, values: list[Any]) -> list[Any]:
        """What an endpoint's components make of these values."""
        try:
            return await self.blocks.preprocess_data(block_fn, values, None)
        except gr.Error as error:
            raise RequestError(NO_PARAMETERS if error.message == NO_VALUES else error.message) from None

    def _file(self, told: str, folder: Path) -> str:
        """The path of a file that was uploaded here, or of one made of a data: address in the folder."""
        if told.startswith("data:"):
            return written(told, folder)
        try:
            return admit(addresses.told({"path": told})["path"])
        except RequestError:
            raise RequestError(f"This file is not kept here, or no longer. {self._about_files}") from None

    def _content(self, output: Any) -> list[types.ContentBlock]:
        """An endpoint's output as an agent gets it: JSON, or the address of a file, and a picture to be seen too."""
        if isinstance(output, dict):
            return [types.TextContent(type="text", text=json.dumps(output, allow_nan=False))]
        request = self.mcp_server.request_context.request
        assert request is not None
        root = get_root_url(request, self.get_route_path(request), self.root_path)
        address = types.TextContent(type="text", text=f"{root}/gradio_api/file={output}")
        return [*([reduced(output)] if output.endswith(".png") else []), address]


def check(arguments: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raises RequestError where these are no parameters of a tool."""
    try:
        jsonschema.validate(arguments, schema)
    except jsonschema.ValidationError as error:
        where = "".join(f"{part}: " for part in error.absolute_path)
        raise RequestError(f"{where}{error.message[:MOST_SAID]}") from None


def written(address: str, folder: Path) -> str:
    """The path of a file in a folder, made of its data: address. Raises RequestError and DiskError."""
    head, _, body = address.partition(",")
    try:
        content = base64.b64decode(body, validate=True) if head.endswith(";base64") else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise RequestError("A data: address holds a file as base64: data:video/mp4;base64,…")
    check_room(len(content))
    path = folder / "file"
    path.write_bytes(content)
    return str(path)


def reduced(path: str) -> types.ImageContent:
    """A picture as a model is shown it."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return types.ImageContent(type="image", data=base64.b64encode(out.getvalue()).decode(), mimeType="image/jpeg")
