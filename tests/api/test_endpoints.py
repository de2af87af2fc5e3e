"""The endpoints give a client what the shell gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from demo import running_demo
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from vjepa_demo.cli import main


@pytest.fixture(scope="module")
def client(demo_url):
    return Client(demo_url, verbose=False)


def shell(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without_times(summary: dict) -> dict:
    return {name: value for name, value in summary.items() if name not in ("timings_ms", "kept", "speed")}


def test_embed_agrees_with_the_shell(client, video, tmp_path, capsys):
    summary, npz = client.predict(handle_file(video), precision="fp32", api_name="/embed")
    out = tmp_path / "shell.npz"
    expected = shell(capsys, "embed", str(video), "--precision", "fp32", "--out", str(out))
    assert without_times(summary) == without_times(expected)
    with np.load(npz, allow_pickle=False) as ours, np.load(out, allow_pickle=False) as theirs:
        assert set(ours) == set(theirs) == {"tokens", "pooled", "timestamps", "meta"}
        np.testing.assert_allclose(ours["tokens"], theirs["tokens"], atol=1e-4)


def test_similarity_agrees_with_the_shell(client, video, capsys):
    answer = client.predict(handle_file(video), at="1,2,3", precision="fp32", api_name="/similarity")
    expected = shell(capsys, "similarity", str(video), "--at", "1,2,3", "--precision", "fp32")
    scores = np.array(answer["scores"], np.float32)
    assert scores.shape == tuple(answer["grid"])
    assert scores[1, 2, 3] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(scores, np.array(expected["scores"], np.float32), atol=1e-4)


def test_neighbours_agree_with_the_shell(client, video, capsys):
    answer = client.predict(handle_file(video), k=3, precision="fp32", api_name="/neighbours")
    expected = shell(capsys, "neighbours", str(video), "-k", "3", "--precision", "fp32")
    assert [near["file"] for near in answer["neighbours"]] == [near["file"] for near in expected["neighbours"]]
    assert answer["position"] == pytest.approx(expected["position"], abs=1e-3)
    assert answer["far"] == expected["far"]
    assert answer["pooling"] == expected["pooling"] == "mean"
    motion = client.predict(handle_file(video), k=3, precision="fp32", pooling="motion", api_name="/neighbours")
    assert motion["pooling"] == "motion"
    assert motion["position"] != answer["position"]


def test_the_pooling_may_be_left_to_the_clip(client, video, photo):
    chosen = [client.predict(handle_file(file), pooling="auto", api_name="/neighbours") for file in (video, photo)]
    assert [answer["pooling"] for answer in chosen] == ["motion", "mean"]
    with pytest.raises(AppError, match="mean, motion or probe"):
        client.predict(handle_file(photo), pooling="sum", api_name="/neighbours")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"frames": 15}, "must be even"),
        ({"fit": "stretch"}, "crop, whole, squash or pad"),
        ({"checkpoint": "no-such-thing"}, "There is no checkpoint"),
        ({"checkpoint": "facebook/vjepa2-vitl-fpc64-256"}, "cannot be reached"),
    ],
)
def test_mistakes_come_back_as_one_sentence(client, video, options, sentence):
    with pytest.raises(AppError, match=sentence) as caught:
        client.predict(handle_file(video), api_name="/embed", **options)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_no_video_comes_back_as_one_sentence(client, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(AppError, match="neither a video nor an image"):
        client.predict(handle_file(text), api_name="/embed")


def test_surprise_agrees_with_the_shell(client, video, tmp_path, capsys):
    answer, npz = client.predict(handle_file(video), contexts="2,8", precision="fp32", api_name="/surprise")
    out = tmp_path / "shell.npz"
    asked = ("surprise", str(video), "--contexts", "2,8", "--precision", "fp32", "--out", str(out))
    expected = shell(capsys, *asked)
    assert answer["surprise"][1:] == pytest.approx(expected["surprise"][1:], abs=1e-4)
    assert answer["contexts"] == expected["contexts"] == [2, 8]
    assert answer["surprise"][0] is None
    assert answer["per_context"][1][:4] == [None] * 4
    assert len(answer["timestamps"]) == len(answer["surprise"]) == 8
    with np.load(npz) as ours, np.load(out) as theirs:
        assert set(ours) == set(theirs) == {"timestamps", "surprise", "per_context", "per_patch", "contexts"}
        np.testing.assert_allclose(ours["per_patch"], theirs["per_patch"], atol=1e-4)


def test_time_tests_agree_with_the_shell(client, video, photo, capsys):
    answer = client.predict(handle_file(video), precision="fp32", api_name="/order")
    expected = shell(capsys, "order", str(video), "--precision", "fp32")
    for ours, theirs in zip(answer["orders"], expected["orders"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert [test["order"] for test in answer["orders"]] == ["reversed", "shuffled", "frozen", "fast"]
    for name in ("/order", "/surprise"):
        with pytest.raises(AppError, match="choose a video"):
            client.predict(handle_file(photo), api_name=name)


def test_windows_that_do_not_fit_are_told(client, video):
    with pytest.raises(AppError, match="does not fit into 16"):
        client.predict(handle_file(video), window=32, api_name="/surprise")
    with pytest.raises(AppError, match="contexts must be numbers"):
        client.predict(handle_file(video), contexts="two", api_name="/surprise")


def test_labels_agree_with_the_shell(small_classifier, video, photo, tmp_path, capsys):
    name = str(small_classifier)
    with running_demo(tmp_path, VJEPA_DEMO_CHECKPOINT=name, VJEPA_DEMO_DEVICE="cpu") as address:
        there = Client(address, verbose=False)
        answer = there.predict(handle_file(video), k=3, checkpoint=name, precision="fp32", api_name="/classify")
        with pytest.raises(AppError, match="number of labels must be at least 1"):
            there.predict(handle_file(video), k=0, checkpoint=name, api_name="/classify")
        of_picture = there.predict(handle_file(photo), checkpoint=name, api_name="/classify")
    expected = shell(capsys, "classify", str(video), "-k", "3", "--checkpoint", name, "--precision", "fp32")
    loose = ("labels", "attention")
    assert {**without_times(answer), **dict.fromkeys(loose)} == {**without_times(expected), **dict.fromkeys(loose)}
    assert [entry["label"] for entry in answer["labels"]] == [entry["label"] for entry in expected["labels"]]
    for ours, theirs in zip(answer["labels"], expected["labels"], strict=True):
        assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-4)
    np.testing.assert_allclose(answer["attention"], expected["attention"], atol=1e-5)
    assert np.sum(answer["attention"]) == pytest.approx(1.0, abs=1e-4)
    assert len(of_picture["labels"]) == 5


def test_a_checkpoint_without_a_classifier_says_so(client, video):
    with pytest.raises(AppError, match="has no classifier"):
        client.predict(handle_file(video), checkpoint="nano", api_name="/classify")
