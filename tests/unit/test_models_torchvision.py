"""torchvision's models: any of them by name, from the seed or from weights on this machine."""

from __future__ import annotations

import socket

import pytest
import torch
from torchvision.models import SqueezeNet1_1_Weights

from torchmodes.config.models import TorchvisionModel
from torchmodes.workloads.models import build_model, download_weights
from torchmodes.workloads.models import torchvision as family

SPEC = TorchvisionModel(family="torchvision", name="squeezenet1_1", image_size=64).model_dump()
PRETRAINED = SPEC | {"weights": "pretrained"}


def build(spec, *, seed=42, batch_size=2):
    return build_model(spec, seed=seed, batch_size=batch_size, device="cpu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of weights; returns the file that SPEC's weights have in it."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    file = family.cached_file(SqueezeNet1_1_Weights.DEFAULT)
    file.parent.mkdir(parents=True)
    return file


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_a_classifier_maps_images_to_one_tensor_of_logits(name):
    built = build(SPEC | {"name": name})
    assert built.inputs.args[0].shape == (2, 3, 64, 64)
    with torch.inference_mode():
        assert built.inputs.call(built.module).shape == (2, 1000)
    assert not built.module.training
    assert (built.item, built.batch_size) == ("image", 2)


def test_weights_and_images_come_from_the_seed():
    one, other, third = build(SPEC), build(SPEC), build(SPEC, seed=7)
    with torch.inference_mode():
        assert torch.equal(one.inputs.call(one.module), other.inputs.call(other.module))
        assert not torch.equal(one.inputs.call(one.module), third.inputs.call(third.module))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet5O", "resnet50"), ("fcn_resnet5O", "fcn_resnet50"), ("raft_samll", "raft_small")],
)
def test_what_is_no_model_is_told_with_the_nearest(name, meant):
    told = rf"name: torchvision has no model '{name}'; did you mean '{meant}'\?"
    with pytest.raises(ValueError, match=told):
        build(SPEC | {"name": name})


def test_pretrained_weights_are_read_from_the_cache_and_get_the_same_images(cache):
    published = build(SPEC, seed=1)
    torch.save(published.module.state_dict(), cache)
    built, random = build(PRETRAINED), build(SPEC)
    weights = built.module.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in published.module.state_dict().items())
    assert torch.equal(built.inputs.args[0], random.inputs.args[0])


def test_weights_that_are_not_here_are_told_with_every_way_to_get_them(cache, no_network):
    with pytest.raises(ValueError, match="weights: pretrained, but") as caught:
        build(PRETRAINED)
    told = str(caught.value)
    for word in (cache.name, str(cache.parent), "make check", "TORCH_HOME", "weights: random"):
        assert word in told


def test_nothing_is_downloaded_where_weights_are_random_or_here(cache, no_network):
    download_weights(SPEC)
    cache.touch()
    download_weights(PRETRAINED)


def test_a_server_that_keeps_silent_is_given_up(cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(family, "SERVER_SILENT_S", 0.2)
        weights = SqueezeNet1_1_Weights.DEFAULT
        monkeypatch.setattr(weights.value, "url", f"http://127.0.0.1:{port}/{cache.name}")
        with pytest.raises(ValueError, match=r"cannot download http://127.*timed out"):
            download_weights(PRETRAINED)
    assert socket.getdefaulttimeout() is None
