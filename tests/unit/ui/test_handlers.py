"""What a page may send, and what it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from conftest import save_checkpoint
from loops import finish
from starlette.datastructures import Headers

from vjepa_demo import options
from vjepa_demo.errors import ReferencesError, RequestError, duration
from vjepa_demo.model import checkpoints, encoder
from vjepa_demo.options import Options, page_fit
from vjepa_demo.references import current
from vjepa_demo.settings import Settings
from vjepa_demo.ui import handlers, opening, outcome, own_references, page, shown, visits
from vjepa_demo.ui.outcome import OUR_FAULT


def last(handler, *inputs) -> str:
    """What the status says in the end."""

    async def listen():
        return [update async for update in handler(*inputs)][-1][0]

    return finish(listen())


@pytest.mark.parametrize("value", ["x", float("nan"), float("inf"), [1], {"a": 1}, True])
@pytest.mark.parametrize("field", ["frames", "start", "end"])
def test_what_is_no_number_is_told(field, value):
    given = {"frames": 16, "start": 0, "end": 0, field: value}
    with pytest.raises(RequestError, match="must be a number"):
        handlers.make_request(given["frames"], given["start"], given["end"], "even", "crop", "nano")


def test_nothing_to_embed_is_told():
    words = last(handlers.embed, None, None, 16, 0, 0, "even", "crop", "nano", None, "auto")
    assert "drop a video or an image" in words


@pytest.mark.parametrize(("hdr", "words"), [(False, "not HDR, so it stays as it is"), (True, "It is embedded again.")])
def test_a_video_of_usual_light_is_not_embedded_again_for_its_light(monkeypatch, hdr, words):
    def embed(*_, **__):
        raise RequestError("It is embedded again.")

    result = SimpleNamespace(path="a.mp4", clip=SimpleNamespace(is_hdr=hdr))
    monkeypatch.setattr(handlers, "there", lambda _: result)
    monkeypatch.setattr(handlers.explore, "embed", embed)
    made = ("a.mp4", Options("nano", 16, fit="whole"))
    controls = (16, 0, 0, "even", "whole", "nano", None, "auto", "toned")
    assert words in last(handlers.embed_again, "a.mp4", made, "id", *controls)
    assert "It is embedded again." in last(handlers.embed_again, "a.mp4", made, "id", 32, *controls[1:])


def test_a_result_that_is_gone_or_still_comes_is_told():
    for handler, inputs in [
        (shown.change_layer, ("gone", 3)),
        (shown.change_pooling, ("gone", "mean", None)),
        (shown.compare, ("gone", None)),
        (shown.take_embedding, ("gone",)),
        (shown.take_video, ("gone", None)),
        (shown.take_loop(".gif"), ("gone", None)),
        (shown.take_snippet, ("gone", None)),
        (handlers.compare_anyway, ("gone", None)),
    ]:
        assert "no longer kept here" in last(handler, *inputs)
        assert "No clip is shown yet" in last(handler, None, *inputs[1:])


def test_the_platforms_own_words_reach_the_visitor():
    quota = gr.Error("You have exceeded your free ZeroGPU quota. Try again in 1:00:00")
    assert outcome.sentence(quota) == "You have exceeded your free ZeroGPU quota. Try again in 1:00:00"
    assert outcome.sentence(KeyError("x")) == OUR_FAULT


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"pinned": True, "add": "abc", "subtract": [], "centred": True},
        {"pinned": True, "add": [{"clip": 0}], "subtract": [], "centred": True},
        {"pinned": True, "add": [{"clip": 0, "at": [0.5, 1, 2]}], "subtract": [], "centred": True},
        {"pinned": True, "add": [{"clip": 0, "at": ["0", "1", "2"]}], "subtract": [], "centred": True},
        {"pinned": True, "add": [{"clip": 0, "at": [0, 0, 0]}] * 100_000, "subtract": [], "centred": True},
        {"pinned": True, "add": [], "subtract": None, "centred": True},
        *(
            {"pinned": True, "add": [], "subtract": [], "centred": True, "range": ends}
            for ends in (None, [0], [0, "1"], [1, 0], [float("nan"), 1], [-2, 1], [0, 1e9], [0, True])
        ),
    ],
)
def test_a_forged_query_is_no_query(forged):
    assert shown.remember_query(SimpleNamespace(**forged)) is None


def test_a_query_of_the_viewer_is_kept():
    query = {"pinned": True, "add": [{"clip": 0, "at": [1, 2, 3]}], "subtract": [], "centred": False, "range": [0, 0.5]}
    assert shown.remember_query(SimpleNamespace(**query)) == query
    more = {**query, "pinned": [{}] * 1000, "add": [{**query["add"][0], "more": [{}] * 1000}]}
    assert shown.remember_query(SimpleNamespace(**more)) == query, "and nothing else is"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def request(address: str, forwarded: str = "") -> SimpleNamespace:
    headers = Headers(raw=[(b"x-forwarded-for", line.encode()) for line in forwarded.split("|") if line])
    return SimpleNamespace(client=SimpleNamespace(host=address), headers=headers, session_hash="s")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "10.0.0.1"),
        (0, "6.6.6.6", "10.0.0.1"),  # anybody can send this header
        (1, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (1, "6.6.6.6|1.2.3.4", "1.2.3.4"),  # in two lines
        (2, "6.6.6.6|1.2.3.4|10.0.0.2", "1.2.3.4"),
        (2, "1.2.3.4", "1.2.3.4"),
        (1, "", "10.0.0.1"),
    ],
)
def test_whose_work_it_is(monkeypatch, proxies, forwarded, address):
    monkeypatch.setattr(visits, "settings", Settings(proxies=proxies))
    token = visits.LocalContext.request.set(request("10.0.0.1", forwarded))
    try:
        assert visits.visitor() == visits.Visitor(address, "s")
    finally:
        visits.LocalContext.request.reset(token)


def queue(*, alive: bool = True, waiting: bool = False) -> SimpleNamespace:
    event = SimpleNamespace(alive=alive, session_hash="s")
    messages = SimpleNamespace(empty=lambda: not waiting)
    return SimpleNamespace(event_ids_to_events={"e": event}, pending_messages_per_session={"s": messages})


def test_who_has_gone(monkeypatch):
    def gone(event: str, **state: bool) -> bool:
        return visits._Listening(SimpleNamespace(_queue=queue(**state)), event).gone()

    assert not gone("e")
    assert gone("e", alive=False)
    assert gone("another")
    assert not gone("e", waiting=True)
    monkeypatch.setattr(visits, "UNHEARD_S", -1)
    assert gone("e", waiting=True)


def test_the_page_begins_with_the_whole_picture_unless_references_were_built_in_the_shells_way(monkeypatch):
    assert page_fit() == "whole"
    monkeypatch.setattr(options, "settings", Settings(references="my_set"))
    assert page_fit() == Options().fit == "crop"


def test_a_folder_without_references_is_told_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(current, "settings", Settings(references=str(tmp_path)))
    with pytest.raises(ReferencesError, match="holds no reference clips"):
        page.build()


LIBRARIES = "import gradio, torch, torchcodec.decoders, transformers.models.vjepa2.modeling_vjepa2"
DEFAULTS = """if 1:
    from vjepa_demo.cli import build_parser
    from vjepa_demo.options import Options
    from vjepa_demo.model import checkpoints
    from vjepa_demo.ui import api, opening, page
    import gradio as gr, inspect, json
    with gr.Blocks() as demo:
        first = [page._checkpoint().value, page._settings()["frames"].value]
        api.endpoints()
    named = [inspect.signature(each.fn).parameters for each in demo.fns.values() if each.fn]
    calls = [parameters["checkpoint"].default for parameters in named if "checkpoint" in parameters][:2]
    shell = build_parser().parse_args(["embed", "x.mp4"]).checkpoint
    opened = opening.opening()
    view = opening.first_updates()
    print(json.dumps({
        "page": first, "calls": calls, "shell": shell, "options": Options().checkpoint,
        "auto": checkpoints.find(shell).id, "failure": opened.failure, "status": view["status"],
        "told": opening.choice_told(first[0]), "other": opening.choose_other(first[0]),
        "back": opening.choose_other(opening.choose_other(first[0])[0]), "map": view["map"] is not None,
        "offered": view["offer"], "embedded_by": opened.example.embedding.fingerprint.checkpoint,
    }), flush=True)
"""
# A process that has imported what is not ours; each line that comes is run by a copy of it, in that environment.
COPIES = f"""if 1:
    {LIBRARIES}
    import json, os, sys
    for line in sys.stdin:
        environment, code = json.loads(line)
        if not (copy := os.fork()):
            os.environ.update(environment)
            exec(code)
            sys.stdout.flush()
            os._exit(0)
        print("ended", os.waitpid(copy, 0)[1], flush=True)
"""
VITL = "facebook/vjepa2-vitl-fpc64-256"


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """See COPIES, and where its errors are written; its hub is empty and out of reach."""
    folder = tmp_path_factory.mktemp("copies")
    env = {**os.environ, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    with (folder / "errors").open("w") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        with subprocess.Popen([sys.executable, "-c", COPIES], env=env, cwd=Path(__file__).parents[3], **pipes) as found:
            yield found, folder / "errors"
            found.stdin.close()


@pytest.fixture
def defaults(copies, tmp_path) -> Callable[..., dict]:
    """A function that tells what a first visitor, a client and the shell get without naming a checkpoint, where the
    environment is such, once some code has run; a process reads its settings once."""

    process, errors = copies

    def defaults(before: str = "", **environment: str) -> dict:
        given = {"VJEPA_DEMO_CACHE_DIR": str(tmp_path / "cache"), **environment}
        process.stdin.write(json.dumps([given, f"{before}\n{DEFAULTS}"]) + "\n")
        process.stdin.flush()
        lines = [process.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("ended"):
            lines.append(process.stdout.readline())
        assert lines[-1] == "ended 0\n", errors.read_text()
        return json.loads(lines[-2])

    return defaults


def test_the_checkpoint_of_the_environment_is_the_default_everywhere(defaults, tmp_path):
    name = str(save_checkpoint(tmp_path / "mine", frames_per_clip=8))
    # However quick the machine is: no references are few enough to be embedded at once.
    slow = "from vjepa_demo.ui import opening, result; opening.AT_ONCE_S = result.AT_ONCE_S = 0.0"
    found = defaults(slow, VJEPA_DEMO_CHECKPOINT=name, VJEPA_DEMO_PUBLIC="1")
    assert found["page"] == [name, 8]
    assert found["calls"] == [name, name]
    assert found["shell"] == found["options"] == found["auto"] == found["embedded_by"] == name
    assert "mine (local folder): as it was set up here" in found["told"][0]
    assert (found["told"][1], found["other"][:2], found["back"][:2]) == ("nano ›", ["nano", 8], [name, 8])
    assert "Point at any patch" in found["status"]
    assert not found["map"], "its references are not embedded while the app starts"
    assert not found["offered"]["visible"]


def test_without_a_gpu_auto_is_nano_everywhere(defaults):
    found = defaults(VJEPA_DEMO_DEVICE="cpu")
    assert found["page"] == ["nano", 16]
    assert found["calls"] == ["auto", "auto"]
    assert (found["shell"], found["options"], found["auto"]) == ("auto", "auto", "nano")
    assert "nano: no GPU" in found["told"][0]
    assert (found["told"][1], found["other"][:2], found["back"][:2]) == ("ViT-L ›", [VITL, 16], ["nano", 16])
    assert found["map"]


def test_a_default_that_cannot_be_had_is_told_and_nano_opens(defaults):
    found = defaults(VJEPA_DEMO_CHECKPOINT=VITL)
    assert found["page"] == ["nano", 16]
    assert found["calls"] == [VITL, VITL], "as the owner wants it, with a sentence on why it is not to be had"
    assert found["failure"].startswith(
        f"ViT-L could not be loaded, so this is nano. {VITL} is not on this machine and "
    )
    assert "unset it" in found["status"]
    assert "nano: ViT-L could not be loaded" in found["told"][0]
    assert found["map"]


def test_a_default_that_does_not_fit_the_memory_is_told_and_auto_is_nano(monkeypatch):
    get = encoder.get_encoder

    def get_encoder(name, **options):
        if name == checkpoints.LARGE.id:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return get(name, **options)

    monkeypatch.setattr(checkpoints, "_automatic", checkpoints.Choice(checkpoints.LARGE, "on a GPU"))
    monkeypatch.setattr(encoder, "get_encoder", get_encoder)
    opened = opening.opening.__wrapped__()
    assert opened.choice.checkpoint is checkpoints.find("auto") is checkpoints.NANO
    assert opened.example.embedding.fingerprint.checkpoint == "nano"
    assert "too little memory" in opened.failure
    assert opened.failure in opened.said


def test_on_zero_gpu_the_first_example_is_nanos_and_the_page_says_so(monkeypatch, tmp_path):
    """There a GPU is given to visitors' requests alone; the checkpoint is loaded before them all the same."""
    loaded, get = [], encoder.get_encoder
    folder = checkpoints.find(str(save_checkpoint(tmp_path / "mine")))

    def get_encoder(name, **options):
        return loaded.append(name) if name == folder.id else get(name, **options)

    monkeypatch.setattr(opening, "ZERO_GPU", True)
    monkeypatch.setattr(encoder, "get_encoder", get_encoder)
    monkeypatch.setattr(checkpoints, "default", lambda: checkpoints.Choice(folder, "on a GPU"))
    opened = opening.opening.__wrapped__()
    assert loaded == [opened.choice.checkpoint.id] == [folder.id]
    assert opened.example.embedding.fingerprint.checkpoint == "nano"
    assert "This example is nano&#x27;s; mine (local folder) embeds what you choose." in opened.said


def test_an_unknown_default_is_told_at_the_start(tmp_path):
    done = subprocess.run(
        [sys.executable, "app.py"],
        env={**os.environ, "VJEPA_DEMO_CHECKPOINT": "facebook/vjepa2-huge", "VJEPA_DEMO_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
    )
    assert done.returncode == 1
    told = "VJEPA_DEMO_CHECKPOINT cannot be met. There is no checkpoint 'facebook/vjepa2-huge': choose auto, nano, a "
    assert f"\n{done.stderr}".find(f"\n{told}") >= 0, done.stderr  # after a word on the port, where that is in use
    assert "Traceback" not in done.stderr


def test_a_set_that_cannot_be_saved_is_told(monkeypatch):
    def fails(*_, **__):
        raise ReferencesError("It cannot be written.")

    monkeypatch.setattr(own_references, "change", fails)
    assert "It cannot be written." in last(own_references.save_set, None, None)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lab/a.png in z.zip", "a.png in z.zip"),
        ("a\u202egnp.exe\n.png", "a gnp.exe .png"),
        ("x" * 5000 + ".png in z.zip", "x" * 40 + "…" + "x" * 27 + ".png in z.zip"),
    ],
)
def test_a_name_in_a_sentence_is_short_and_turns_no_line_around(name, told):
    assert own_references.shown_name(name) == told
    assert len(told) <= 81


def test_a_clip_that_is_chosen_again_and_again_is_one(monkeypatch):
    chosen = []

    def change(say, own_id, result_id, work, **kinds):
        monkeypatch.setattr(own_references, "settle", lambda *given, **more: None)
        words, _ = work(Path("folder"), None, "mean", None)
        return {"status": words}

    monkeypatch.setattr(own_references, "change", change)
    monkeypatch.setattr(own_references, "remove", lambda folder, files: chosen.extend(files))
    monkeypatch.setattr(own_references, "rename", lambda folder, files, label: chosen.extend(files))
    assert "1 clip removed" in last(own_references.remove_clips, None, None, ["a.png"] * 20_000)
    last(own_references.rename_clips, None, None, ["a.png"] * 20_000, "x")
    assert chosen == ["a.png"] * 2
