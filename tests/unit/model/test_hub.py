"""What comes from a Hub, what is said where nothing does, and what "auto" makes of it: the Hub's real client, asked in
a process of its own since it reads its environment once, and a server of this machine's."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save_checkpoint
from hub import COMMIT, Hub

ROOT = Path(__file__).parents[3]
ID = "facebook/vjepa2-vitl-fpc64-256"
WEIGHTS = "model.safetensors"
FETCH = """
import json, sys
from vjepa_demo.errors import UserError
from vjepa_demo.model import hub
said = []
for name in sys.argv[1:]:
    try:
        print(json.dumps(["folder", str(hub.fetch(name, said.append)), said]))
    except UserError as error:
        print(json.dumps([type(error).__name__, str(error), said]))
"""
CHOOSE = """
import json, sys
from vjepa_demo.model import checkpoints
choice = checkpoints.choose(gpu=sys.argv[1] == "gpu")
assert not {"torch", "transformers"} & set(sys.modules)
print(json.dumps([choice.checkpoint.id, choice.why]))
"""
# Nobody listens on port 9.
DEAD = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of some megabytes."""
    return save_checkpoint(tmp_path_factory.mktemp("hub") / "checkpoint", hidden_size=176)


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[Hub]:
    with Hub(ID, checkpoint).running() as running:
        yield running


def run(code: str, *arguments: str, home: Path, **environment: str) -> list[Any]:
    """The lines of JSON that a program prints, whose Hub is that of the environment."""
    ours = ("HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "VJEPA_DEMO_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    env = {**kept, "HF_HOME": str(home), **environment}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fetch(home: Path, hub: Hub | None = None, **environment: str) -> tuple[str, str, list[str]]:
    """What came of one try: the kind of error or "folder", its sentence or path, and what was told meanwhile."""
    ((kind, words, said),) = run(FETCH, ID, home=home, **({"HF_ENDPOINT": hub.address} if hub else {}), **environment)
    return kind, words, said


def partials(home: Path) -> list[Path]:
    return list(home.rglob("*.incomplete"))


def test_what_comes_is_what_is_there_and_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    kind, folder, said = fetch(tmp_path, hub)
    assert kind == "folder"
    assert Path(folder).name == COMMIT
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == hub.files
    total = len(hub.files[WEIGHTS]) / 1e6
    assert any(re.fullmatch(rf"Downloading {ID}: \d+ of {total:,.0f} MB", message) for message in said)
    asked = len(hub.asked)
    assert fetch(tmp_path, hub)[:2] == (kind, folder)
    assert len(hub.asked) == asked
    assert fetch(tmp_path, HF_HUB_OFFLINE="1")[:2] == (kind, folder), "a copy works without a network"


def test_each_refusal_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    expected = {
        (401, "GatedRepo"): "gives it only to those who accepted its terms: accept them on its page",
        (403, "GatedRepo"): "set HF_TOKEN to a token of that account",
        (401, "RepoNotFound"): "has no public checkpoint of this name: check the name",
        (404, "RepoNotFound"): "has no public checkpoint of this name: check the name",
        (403, ""): r"refuses access \(403\): check the account",
        (429, ""): "too many requests from here: wait some minutes",
        (500, ""): r"trouble of its own \(500\): try again in some minutes",
        (503, ""): r"trouble of its own \(503\)",
        (418, ""): r"does not give it \(418\): check the address in HF_ENDPOINT",
    }
    hub.refused = {f"some/{number}-{status}": (status, code) for number, (status, code) in enumerate(expected)}
    found = run(FETCH, *hub.refused, "other/name", home=tmp_path, HF_ENDPOINT=hub.address)
    for (kind, words, _), name, sentence in zip(found, hub.refused, expected.values(), strict=False):
        assert kind == "CheckpointError"
        assert words.startswith(f"{name} is not on this machine and the mirror in HF_ENDPOINT ")
        assert words.endswith(", or use the checkpoint nano, which needs no network.")
        assert re.search(sentence, words), words
        assert "\n" not in words


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "the Hugging Face Hub cannot be reached while HF_HUB_OFFLINE is set: unset it"),
        ({"HF_ENDPOINT": DEAD}, "the mirror in HF_ENDPOINT cannot be reached: check the address in HF_ENDPOINT and"),
        ({"HF_ENDPOINT": "mirror.example"}, "the mirror in HF_ENDPOINT cannot be reached: check the address in"),
        (
            {"HTTPS_PROXY": "http://me:secret@127.0.0.1:9"},
            "the Hugging Face Hub cannot be reached: check the proxy in ",
        ),
        ({"all_proxy": "socks://127.0.0.1:9"}, "the Hugging Face Hub cannot be reached: check the proxy in all_proxy"),
        (
            {"HF_ENDPOINT": "http://mirror.example", "http_proxy": DEAD},
            "check the address in HF_ENDPOINT and the proxy in http_proxy",
        ),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else "",
)
def test_what_lies_between_is_named_and_soon(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    started = time.perf_counter()
    kind, said, _ = fetch(tmp_path, **environment)
    assert time.perf_counter() - started < 30
    assert kind == "CheckpointError"
    assert words in said
    assert "secret" not in said


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_a_certificate_that_is_not_trusted_is_told_as_one(tmp_path: Path) -> None:
    """As where a company's proxy speaks for every server, with a certificate of its own."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # it answers 501, whatever it is asked
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"https://127.0.0.1:{server.server_port}"
    for file, words in (
        ("", "the certificate of the mirror in HF_ENDPOINT is not trusted here: let SSL_CERT_FILE name"),
        (str(tmp_path / "none"), "check the address in HF_ENDPOINT and the file in SSL_CERT_FILE"),
        (str(tmp_path / "certificate"), "trouble of its own (501)"),
    ):
        _, said, _ = fetch(tmp_path, HF_ENDPOINT=address, **({"SSL_CERT_FILE": file} if file else {}))
        assert words in said
    server.shutdown()
    server.server_close()


def test_what_is_no_hub_is_said(tmp_path: Path, checkpoint: Path) -> None:
    with Hub(ID, checkpoint, refused={ID: (200, "")}).running() as portal:
        _, said, _ = fetch(tmp_path, portal)
    assert "what answers for the mirror in HF_ENDPOINT is none: check the address" in said


def test_a_connection_that_is_lost_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.sends = [1_000_000, 500_000]
    assert fetch(tmp_path, hub)[0] == "folder"
    assert hub.sent_from() == [0, 1_000_000, 1_500_000]


def test_the_next_try_goes_on_where_the_last_one_ended(hub: Hub, tmp_path: Path) -> None:
    hub.sends = [1_000_000, 0, 0, 0]
    kind, said, _ = fetch(tmp_path, hub)
    assert kind == "CheckpointError"
    assert re.search(r"the connection was lost after 1\.0 of \d+\.\d MB, which are kept: try again, or use", said)
    assert [path.stat().st_size for path in partials(tmp_path)] == [1_000_000]
    _, said, _ = fetch(tmp_path, HF_HUB_OFFLINE="1")
    assert said.startswith(f"{ID} is only in part on this machine and the Hugging Face Hub cannot be reached")
    hub.asked.clear()
    kind, folder, said = fetch(tmp_path, hub)
    assert kind == "folder"
    assert hub.sent_from() == [1_000_000]
    assert said[1].startswith(f"Downloading {ID}: 1 of"), "what is here is counted"
    assert (Path(folder) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert not partials(tmp_path)


def test_a_server_without_parts_sends_all_of_it_anew(hub: Hub, tmp_path: Path) -> None:
    hub.sends, hub.parts = [1_000_000], False
    _, folder, _ = fetch(tmp_path, hub)
    assert (Path(folder) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_what_arrived_damaged_is_not_used(hub: Hub, tmp_path: Path) -> None:
    hub.sends = [1_000_000, 0, 0, 0]
    fetch(tmp_path, hub)
    (partial,) = partials(tmp_path)
    partial.write_bytes(bytes(1_000_000))
    kind, said, _ = fetch(tmp_path, hub)
    assert kind == "CheckpointError"
    assert "what arrived is not what was sent: try again" in said
    assert fetch(tmp_path, hub)[0] == "folder"


def test_a_disk_without_room_is_said_before_anything_is_sent(hub: Hub, tmp_path: Path) -> None:
    hub.claims = 10**15
    kind, said, _ = fetch(tmp_path, hub)
    assert kind == "DiskError"
    assert said == (
        f"There is no room on the disk here for {ID}, of which 1,000,000,000 MB are missing: make room, or let HF_HOME "
        "name a folder on another disk."
    )
    assert not hub.sent_from()


def test_a_download_ends_when_nobody_waits_for_it_and_takes_nobodys_time(hub: Hub, tmp_path: Path) -> None:
    hub.pause_s = 0.05
    code = """if 1:
        import json, sys, time
        from vjepa_demo.errors import Stopped
        from vjepa_demo.jobs import Job
        from vjepa_demo.model import checkpoints
        job = Job(seconds=0.1)
        def progress(message):
            if "2 of" in message:  # long after its time would have been up
                job.stop()
        with job.running():
            try:
                checkpoints.files_of(checkpoints.find(sys.argv[1]), progress)
            except Stopped as stopped:
                print(json.dumps(str(stopped)))
    """
    (said,) = run(code, ID, home=tmp_path, HF_ENDPOINT=hub.address)
    assert said.startswith("Stopped")
    assert 2_000_000 <= partials(tmp_path)[0].stat().st_size < len(hub.files[WEIGHTS]), "what has arrived stays"


def test_half_of_the_shards_is_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    from transformers import AutoModel

    sharded = save_checkpoint(tmp_path / "sharded")
    (sharded / WEIGHTS).unlink()
    AutoModel.from_pretrained(checkpoint).save_pretrained(sharded, max_shard_size="2MB")
    with Hub(ID, sharded).running() as hub:
        _, folder, _ = fetch(tmp_path, hub)
        lost = max(Path(folder).glob("*.safetensors"))
        lost.resolve().unlink()  # and its name with it, or not
        kind, said, _ = fetch(tmp_path, HF_HUB_OFFLINE="1")
        assert kind == "CheckpointError"
        assert "only in part" in said
        hub.asked.clear()
        assert fetch(tmp_path, hub)[:2] == ("folder", folder)
        assert hub.sent_from() == [0], "the others are still here"
        assert lost.read_bytes() == hub.files[lost.name]


def test_what_is_fetched_is_loaded(hub: Hub, tmp_path: Path) -> None:
    code = """if 1:
        import json, sys
        from vjepa_demo.model import checkpoints
        loaded = checkpoints.load(checkpoints.find(sys.argv[1]))
        print(json.dumps([loaded.checkpoint.id, loaded.revision, loaded.model.config.hidden_size]))
    """
    assert run(code, ID, home=tmp_path, HF_ENDPOINT=hub.address) == [[ID, COMMIT, 176]]


def test_what_auto_stands_for(hub: Hub, tmp_path: Path) -> None:
    def choice(gpu: str, **environment: str) -> list[str]:
        (found,) = run(CHOOSE, gpu, home=tmp_path, **environment)
        return found

    assert choice("none", HF_ENDPOINT=hub.address) == ["nano", "no GPU"]
    assert not hub.asked, "without a GPU nothing is asked of the network"
    assert choice("gpu", HF_ENDPOINT=DEAD) == ["nano", "the mirror in HF_ENDPOINT cannot be reached"]
    assert choice("gpu", HF_ENDPOINT=hub.address) == [ID, "on a GPU"]
    hub.refused = {ID: (429, "")}
    assert choice("gpu", HF_ENDPOINT=hub.address) == [
        "nano",
        "the mirror in HF_ENDPOINT has had too many requests from here",
    ]
    hub.refused = {}
    fetch(tmp_path, hub)
    assert choice("gpu", HF_ENDPOINT=DEAD) == [ID, "on a GPU"], "it is here"


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.pause_s = 20
    started = time.perf_counter()
    (found,) = run(CHOOSE, "gpu", home=tmp_path, HF_ENDPOINT=hub.address)
    assert time.perf_counter() - started < 15
    assert found == ["nano", "the mirror in HF_ENDPOINT cannot be reached"]


# --- when to come back, and where what comes cannot be kept ----------------------------------------------------------

DATASET = """
import json, sys
from vjepa_demo.errors import UserError
from vjepa_demo.references.sources import fetch
for name in sys.argv[1:]:
    try:
        print(json.dumps(["folder", str(fetch(name))]))
    except UserError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Retry-After": "40"}, "wait 40 s and"),
        ({"Retry-After": "600"}, "wait 10 min and"),
        ({"Retry-After": "in 30 min"}, "wait (29|30) min and"),
        ({"RateLimit": '"api";r=0;t=240'}, "wait 4 min and"),
        ({"Retry-After": "soon"}, "wait some minutes and"),
        ({}, "wait some minutes and"),
    ],
)
def test_when_to_come_back_is_said(hub: Hub, tmp_path: Path, headers: dict[str, str], words: str) -> None:
    if headers.get("Retry-After") == "in 30 min":
        headers = {"Retry-After": formatdate(time.time() + 1800, usegmt=True)}  # a date, which the Hub may send too
    hub.refused, hub.refused_with = {"some/name": (429, "")}, headers
    ((_, checkpoint, _),) = run(FETCH, "some/name", home=tmp_path, HF_ENDPOINT=hub.address)
    assert re.search(f"has had too many requests from here: {words} try again", checkpoint), checkpoint


def test_each_refusal_of_a_dataset_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    expected = {
        (401, "GatedRepo"): "gives it only to those who accepted its terms: accept them on its page",
        (403, "GatedRepo"): "set HF_TOKEN to a token of that account",
        (404, "RepoNotFound"): "has no public dataset of this name: check the name",
        (404, "RevisionNotFound"): "has no such revision of this dataset: check what follows the @",
        (403, ""): r"refuses access \(403\): check the account",
        (429, ""): "too many requests from here: wait 40 s and try again",
        (503, ""): r"trouble of its own \(503\): try again in 40 s",
    }
    hub.refused = {f"some/{number}-{status}": (status, code) for number, (status, code) in enumerate(expected)}
    hub.refused_with = {"Retry-After": "40"}
    names = [f"hf://datasets/{name}" for name in hub.refused]
    for (kind, words), sentence in zip(
        run(DATASET, *names, home=tmp_path, HF_ENDPOINT=hub.address), expected.values(), strict=True
    ):
        assert kind == "ReferencesError"
        assert words.startswith("The dataset cannot be had, the mirror in HF_ENDPOINT ")
        assert words.endswith(", or give a folder.")
        assert re.search(sentence, words), words


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "cannot be reached while HF_HUB_OFFLINE is set: unset it"),
        ({"HF_ENDPOINT": DEAD}, "cannot be reached: check the address in HF_ENDPOINT"),
        ({"HF_ENDPOINT": "mirror.example"}, "cannot be reached: check the address in HF_ENDPOINT"),
    ],
)
def test_a_dataset_that_cannot_be_reached(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    ((kind, said),) = run(DATASET, "hf://datasets/o/n", home=tmp_path, **environment)
    assert kind == "ReferencesError"
    assert words in said, said


def test_a_dataset_goes_on_after_a_connection_that_was_lost(tmp_path: Path) -> None:
    (tmp_path / "ds" / "a").mkdir(parents=True)
    data = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    (tmp_path / "ds" / "a" / "0.mp4").write_bytes(data)
    with Hub("o/n", tmp_path / "ds", kind="datasets", weights=".mp4").running() as hub:
        hub.sends = [50_000] * 20
        ((kind, words),) = run(DATASET, "hf://datasets/o/n", home=tmp_path / "home", HF_ENDPOINT=hub.address)
        assert kind == "ReferencesError"
        assert "connection to the mirror in HF_ENDPOINT was lost: try again" in words
        hub.sends = []
        ((kind, folder),) = run(DATASET, "hf://datasets/o/n", home=tmp_path / "home", HF_ENDPOINT=hub.address)
    assert kind == "folder"
    assert (Path(folder) / "a" / "0.mp4").read_bytes() == data


@pytest.mark.parametrize("code", [FETCH, DATASET], ids=["checkpoint", "dataset"])
def test_a_folder_of_the_hubs_that_cannot_be_written_to(hub: Hub, tmp_path: Path, code: str) -> None:
    """A file has its name, which keeps out root as well."""
    (tmp_path / "home").write_text("no folder")
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "0.mp4").write_bytes(b"a clip")
    with Hub("o/n", tmp_path / "ds", kind="datasets", weights=".mp4").running() as datasets:
        name, server = (ID, hub) if code == FETCH else ("hf://datasets/o/n", datasets)
        (found,) = run(code, name, home=tmp_path / "home", HF_ENDPOINT=server.address)
    assert found[0] == "DiskError"
    assert "let HF_HOME name another one" in found[1]
