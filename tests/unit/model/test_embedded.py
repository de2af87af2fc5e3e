"""The embedded checkpoint's own modules and processor, held against what transformers makes of the same files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoVideoProcessor

from vjepa_demo.errors import CheckpointError
from vjepa_demo.model import checkpoints, embedded
from vjepa_demo.model import encoder as encoder_module
from vjepa_demo.model.checkpoints import NANO, Loaded, load
from vjepa_demo.model.encoder import Encoder
from vjepa_demo.settings import Settings

FOLDER = NANO.folder
# Wide, tall, square, already of the scaled size, smaller than it, and with sides whose scaling has to be rounded.
SIZES = [(720, 1280), (1280, 720), (333, 333), (146, 260), (64, 48), (147, 1000), (509, 383)]


@pytest.fixture(scope="module")
def own() -> Loaded:
    return load(NANO)


def frames_of(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(height).integers(0, 256, (3, 3, height, width), dtype=np.uint8))


def test_the_weights_have_the_same_names_and_values(own: Loaded) -> None:
    assert isinstance(own.model, embedded.Model)
    expected = AutoModel.from_pretrained(FOLDER).state_dict()
    found = own.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not own.model.training
    assert not any(weights.requires_grad for weights in own.model.parameters())


def test_the_forward_pass_is_that_of_transformers() -> None:
    frames = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 16, 3, 128, 128), dtype=np.uint8))
    encoder = Encoder(load(NANO), "cpu", "fp32")
    pixels = encoder.normalise(frames)
    with torch.no_grad():
        expected = AutoModel.from_pretrained(FOLDER).get_vision_features(pixels)
    assert (encoder.forward(frames) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_forecast_is_that_of_a_model_that_transformers_loaded(precision: str) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (1, 16, 3, 128, 128), dtype=np.uint8)
    ways = [NANO, checkpoints.find(str(FOLDER))]
    one, other = (Encoder(load(way, precision=precision), "cpu", precision).forecast(frames, [2, 4]) for way in ways)
    for steps in (2, 4):
        np.testing.assert_allclose(one.expected[steps], other.expected[steps], atol=1e-4)
        np.testing.assert_allclose(one.seen[steps], other.seen[steps], atol=1e-4)
    np.testing.assert_allclose(one.target, other.target, atol=1e-4)


@pytest.mark.parametrize("sides", SIZES)
@pytest.mark.parametrize(
    "fit", [{}, {"size": {"height": 128, "width": 232}, "do_center_crop": False}], ids=["crop", "whole"]
)
def test_pixels_are_those_of_transformers_bit_for_bit(own: Loaded, sides: tuple[int, int], fit: dict[str, Any]) -> None:
    asked = {"do_rescale": False, "do_normalize": False, **fit}
    (found,) = own.processor(frames_of(*sides), **asked)["pixel_values_videos"]
    (expected,) = AutoVideoProcessor.from_pretrained(FOLDER)(frames_of(*sides), **asked)["pixel_values_videos"]
    assert torch.equal(found, expected)


def test_normalised_pixels_are_those_of_transformers_bit_for_bit(own: Loaded) -> None:
    other = AutoVideoProcessor.from_pretrained(FOLDER)
    frames = frames_of(128, 128)
    arguments = True, other.rescale_factor, True, tuple(other.image_mean), tuple(other.image_std)
    assert torch.equal(
        own.processor.rescale_and_normalize(frames, *arguments), other.rescale_and_normalize(frames, *arguments)
    )
    assert (own.processor.do_rescale, own.processor.do_normalize) == (other.do_rescale, other.do_normalize)
    assert (own.processor.size, own.processor.crop_size) == (
        {"shortest_edge": other.size["shortest_edge"]},
        {"height": other.crop_size["height"], "width": other.crop_size["width"]},
    )


def test_a_machine_without_quick_code_for_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision asks torch the same question there."""
    from torchvision.transforms.v2.functional import resize

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert torch.equal(embedded.scale(frames_of(300, 200), (160, 107)), resize(frames_of(300, 200), [160, 107]))


def test_the_settings_are_those_that_are_followed(own: Loaded) -> None:
    """Another resampling or scale, in the files of a new nano, would be one that is not followed."""
    other = AutoVideoProcessor.from_pretrained(FOLDER)
    assert (other.resample, other.do_resize, other.do_center_crop) == (2, True, True)
    assert own.model.config.hidden_act == "gelu"
    with pytest.raises(ValueError, match="no more"):
        own.processor(frames_of(64, 64), do_rescale=True, do_normalize=False)


def test_for_its_own_forward_pass_transformers_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import VJEPA2Model, VJEPA2VideoProcessor

    monkeypatch.setattr(checkpoints, "settings", Settings(forward="reference"))
    loaded = load(NANO)
    assert isinstance(loaded.model, VJEPA2Model)
    assert isinstance(loaded.processor, VJEPA2VideoProcessor)


def test_damaged_files_get_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "Model", lambda config: SimpleNamespace())
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        load(NANO)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_forecast_is_made_with_transformers_own_forward_pass_too(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (1, 8, 3, 128, 128), dtype=np.uint8)
    ours = Encoder(load(NANO), "cpu", "fp32").forecast(frames, [2])
    for module in (checkpoints, encoder_module):
        monkeypatch.setattr(module, "settings", Settings(forward="reference"))
    theirs = Encoder(load(NANO, precision=precision), "cpu", precision).forecast(frames, [2])
    most = 1e-3 if precision == "fp32" else 0.1
    assert np.abs(theirs.expected[2] - ours.expected[2]).mean() < most
