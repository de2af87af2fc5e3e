"""The endpoints for programs, `gradio_client` and agents alike: what the shell prints, as JSON, and what it writes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import Field, fields
from typing import Any

import gradio as gr
from gradio_client import handle_file

from vjepa_demo import explore
from vjepa_demo.cli.scale import like
from vjepa_demo.errors import RequestError
from vjepa_demo.options import Options, Question, described
from vjepa_demo.references import current
from vjepa_demo.settings import settings
from vjepa_demo.ui import addresses, examples, table
from vjepa_demo.ui.files import to_be_saved
from vjepa_demo.ui.handlers import AUTO, any_folder, make_options, number, pooling_asked
from vjepa_demo.ui.opening import listed_checkpoints
from vjepa_demo.ui.outcome import finished
from vjepa_demo.ui.result import require_references
from vjepa_demo.views.similarity import similarity as cosines
from vjepa_demo.views.surprise import Windows, parse_contexts

# What a client sent, by the names of the inputs.
Given = dict[str, Any]
QUESTION = {option.name: option for option in fields(Question)}
# What an answer holds, for those who ask without having the README.
HOW = (
    "`checkpoint`, `revision`, `precision`, `sampling`, `fit`, `layer` (null: the last) and `device` say how it was "
    "embedded, `speed` what was measured here of the precision; `shape` is [1, tokens, channels], `grid` [time steps, "
    "rows, columns]; `timestamps` are the seconds of the sampled frames; `crop` is what the model saw, `window` what "
    "the grid covers (left, top, right, bottom in pixels of the upright source), `source_size` its width and height; "
    "`timings_ms` is how long it took, `kept` which of these were kept from an earlier call and took none now; `notes` "
    "tell what was done otherwise than asked"
)
NPZ = "an .npz of `tokens` (float32 [time steps, rows, columns, channels]), `pooled`, `timestamps` and `meta` (JSON)"
SCORES = (
    "`scores` [time step][row][column] are cosines from -1 to 1, null where there is padding; `at` is the patch, "
    "`centred` whether the clip's mean token was subtracted; "
)
HEATMAP = "a .png of all time steps under their scores, or an .npz of `scores`, `at` and `meta` (JSON)"
SURPRISE = (
    "`surprise` [time step] is how far what came was from what was expected, the mean of `per_context` [context][time "
    "step], null where nothing was expected; `maximum` is the step of the highest, `mean` that of all; compare them "
    "within one checkpoint only; a step late in a window is guessed from farther away, which alone surprises more; "
    "its `timestamps` are the seconds of the time steps, not of the frames; "
)
ORDERS = (
    "`orders` have `order` (reversed, shuffled, frozen, fast), and the cosines to the clip as it is, `mean` by what is "
    "seen and `motion`, null where there is none; "
)
LABELS = (
    "`labels`, the likeliest first, have `label` and `probability`; `attention` [time step][row][column] is how much "
    "of the classifier's last attention went to each patch, in all 1; `cautions` are sentences to be told with them; "
)
ERRORS = "an .npz of `timestamps`, `surprise`, `per_context`, `per_patch` [time steps, rows, columns] and `contexts`"
NEIGHBOURS = (
    "`neighbours`, the nearest first, have `file`, `label` and `cosine`; `position` is the place on the map; `far` is "
    "true where the clip is less like its nearest references than almost all of these are like theirs; `pooling` is "
    "how it was compared; "
)


async def embed(given: Given) -> tuple[dict[str, Any], str]:
    """Embed a video or an image with V-JEPA 2: a token for each patch of each time step."""
    with to_be_saved("embedding.npz") as path:

        def work() -> dict[str, Any]:
            embedding = explore.embed(file_of(given), options_of(given)).embedding
            embedding.save(path)
            return explore.embedding_json(embedding)

        return await finished(work, given["file"]), str(path)


async def similarity(given: Given) -> dict[str, Any]:
    """How similar every patch of a video or an image is to one of its patches."""

    def work() -> dict[str, Any]:
        position = explore.parse_position(given["at"])
        embedding = explore.embed(file_of(given), options_of(given)).embedding
        return explore.similarity_json(embedding, position, centred=not given["raw"])

    return await finished(work, given["file"])


async def heatmap(given: Given) -> str:
    """How similar every patch of a video or an image is to one of its patches, as a picture or as a file."""
    if given["out"] not in QUESTION["out"].metadata["choices"]:
        raise gr.Error("The file must be png or npz.", print_exception=False)
    with to_be_saved(f"similarity.{given['out']}") as path:

        def work() -> str:
            position = explore.parse_position(given["at"])
            found = explore.embed(file_of(given), options_of(given))
            centred = not given["raw"]
            scores = cosines(found.embedding, position, centred=centred)
            explore.save_scores(found, position, scores, path, centred=centred)
            return str(path)

        return await finished(work, given["file"])


async def neighbours(given: Given) -> dict[str, Any]:
    """The reference clips that a video or an image resembles most, and its place on the map of them."""

    def work() -> dict[str, Any]:
        options, pooling = options_of(given), pooling_asked(given["pooling"])
        count = int(number(given["k"], "number of neighbours"))
        explore.check_count(count)
        if found := table.table():
            options = like(found.kind, options)
            if pooling not in (None, found.kind.pooling):
                raise RequestError(table.ALONE)
        embedded = explore.embed(file_of(given), options, pooling=pooling)
        require_references(embedded)
        return explore.neighbours_json(table.compare(embedded, current.folder(), explore.say_nothing), count)

    return await finished(work, given["file"])


async def surprise(given: Given) -> tuple[dict[str, Any], str]:
    """Where a video is not what V-JEPA 2's predictor expected, having seen only what came before."""
    with to_be_saved("surprise.npz") as path:

        def work() -> dict[str, Any]:
            window, stride = (int(number(given[name], name)) for name in ("window", "stride"))
            windows = Windows(window, stride, parse_contexts(given["contexts"]))
            shown = explore.embed(file_of(given), options_of(given))
            found = explore.surprise_of(shown, windows)
            found.save(path)
            return explore.surprise_json(shown.embedding, found)

        return await finished(work, given["file"]), str(path)


async def classify(given: Given) -> dict[str, Any]:
    """What the classifier of a checkpoint that has one calls a video or an image, and where it looked."""

    def work() -> dict[str, Any]:
        options, count = options_of(given), int(number(given["k"], "number of labels"))
        explore.check_labels(count, options)
        shown = explore.embed(file_of(given), options)
        return explore.classify_json(shown.embedding, explore.labels_of(shown, count))

    return await finished(work, given["file"])


async def order(given: Given) -> dict[str, Any]:
    """How like a video its frames are in other orders: whether the embedding uses motion, or only looks."""

    def work() -> dict[str, Any]:
        shown = explore.embed(file_of(given), options_of(given))
        return explore.order_json(shown.embedding, explore.time_tests_of(shown))

    return await finished(work, given["file"])


def file_of(given: Given) -> str:
    """Raises RequestError where none was sent."""
    if given["file"] is None:
        raise RequestError("There is nothing to embed: give a video or an image as the file.")
    return given["file"]


def options_of(given: Given) -> Options:
    """Raises RequestError where one of them is not to be had."""
    options = make_options(**{option.name: given[option.name] for option in fields(Options)})
    if settings.public and given["precision"] != "auto":  # every precision is a checkpoint more in memory
        raise RequestError("On this Space the precision is chosen by the app: leave it at auto.")
    return options


def endpoints() -> None:
    """The endpoints: hidden components, so that uploads are checked as on the page."""
    endpoint(embed, {"summary": HOW, "npz": NPZ})
    endpoint(similarity, {"summary": SCORES + HOW}, "at", "raw")
    endpoint(heatmap, {"heatmap": HEATMAP}, "at", "raw", "out")
    endpoint(neighbours, {"summary": NEIGHBOURS + HOW}, "k", pooling=True)
    endpoint(classify, {"summary": LABELS + HOW}, "k")
    endpoint(order, {"summary": ORDERS + HOW})
    endpoint(surprise, {"summary": SURPRISE + HOW, "npz": ERRORS}, "window", "stride", "contexts")


def endpoint(function: Callable[[Given], Any], answers: dict[str, str], *own: str, pooling: bool = False) -> None:
    """An endpoint of the function's name.

    Args:
        function: what answers.
        answers: the names of its outputs, and what each of them is; "summary" is JSON, all others are files.
        own: which questions it takes before the options.
        pooling: whether it takes that one, after them.
    """
    asked = [QUESTION["file"], *(QUESTION[name] for name in own), *fields(Options)]
    asked += [QUESTION["pooling"]] * pooling
    outputs = [
        told((gr.JSON if name == "summary" else gr.File)(visible=False, label=name), words, description=words)
        for name, words in answers.items()
    ]
    said = " ".join([str(function.__doc__), "Answers:", *(f"{name}: {words}." for name, words in answers.items())])
    gr.Button(visible=False).click(
        named(function, asked), list(map(hidden, asked)), outputs, api_name=function.__name__, api_description=said
    )


def hidden(option: Field[Any]) -> Any:
    """The input of an option, which clients are told what it is for and what it can be."""
    words = described(option)
    if option.name == "file":
        return told(
            gr.File(visible=False, label="file"), words, handle_file(addresses.of_example(examples.files()[0].name))
        )
    known: dict[str, Any] = {}
    if option.name == "checkpoint" and not any_folder():
        words += f"; here there are {', '.join(each.id for each in listed_checkpoints())}"
    if choices := list(option.metadata.get("choices", ())):
        if option.name == "pooling":
            choices, words = [*choices, AUTO], f"{words}; {AUTO} is what suits the clip and the checkpoint"
        known["enum"] = choices
    if str(option.type).startswith("int"):
        known["type"] = "integer"
    kind: Any = {str: gr.Textbox, bool: gr.Checkbox}.get(type(option.default), gr.Number)
    return told(kind(value=option.default, visible=False, label=option.name), words, option.default, **known)


def told(component: Any, words: str, example: Any = None, **schema: Any) -> Any:
    """A component of which clients are told these words, an example, and what else there is to its values."""
    known = {**component.api_info(), "additional_description": words, **schema}
    component.api_info = lambda: known
    component.example_payload = lambda: example
    return component


def named(function: Callable[[Given], Awaitable[Any]], asked: list[Field[Any]]) -> Callable[..., Any]:
    """A function of a dictionary as one of parameters with these names and defaults, which clients are told."""
    kind, needed = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [
        inspect.Parameter(each.name, kind, default=needed if each.name == "file" else each.default) for each in asked
    ]

    async def call(*given: Any) -> Any:
        return await function(dict(zip([each.name for each in asked], given, strict=True)))

    called: Any = call
    called.__name__ = function.__name__
    called.__signature__ = inspect.Signature(parameters)
    return called
