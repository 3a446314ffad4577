"""Networks of others as baselines: the examples of the page, with random weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.encoders.networks import Network
from domainjepa.evaluation.protocol import FineTuning, Protocol
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import ArraySource

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The examples of the page as a module in the current folder."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    for block in blocks:
        (name,) = re.findall(r"^def (\w+)\(encoders", block, flags=re.M)
        (tmp_path / f"lab_{name}.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


def images(rng, channels=3, dtype=np.uint8, volume=False):
    shape = (4, 10, 24, 24, channels) if volume else (6, 40, 32, channels)
    array = rng.uniform(0, 255, shape).astype(dtype)
    return ArraySource(
        name="toy", loader="memory", shape=array.shape[1:], dtype=array.dtype, images=array,
        labels=np.arange(len(array)) % 2, card={"name": "toy", "domain": "natural"},
    )  # fmt: skip


def test_torchvision_as_the_page_has_it(lab, rng):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    save_file(network.state_dict(), lab / "w.safetensors")
    (encoder,) = baselines(["lab_torchvision_resnet:torchvision_resnet=w.safetensors"], [])
    source = images(rng)
    found = encoder.transform(source)
    network.fc = nn.Identity()
    prepare = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    pictures = torch.stack([torch.from_numpy(one / 255).permute(2, 0, 1) for one in source.images])
    with torch.no_grad():
        wanted = network.eval()(prepare(pictures.float()))
    assert found.shape == (6, 512)
    assert found == pytest.approx(wanted.numpy(), abs=1e-4)


def test_transformers_as_the_page_has_it(lab, rng):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.ViTModel(config).eval()
    network.save_pretrained(lab / "vit")
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(lab / "vit")
    (encoder,) = baselines([f"lab_transformers_vit:transformers_vit={lab / 'vit'}"], [])
    source = images(rng)
    found = encoder.transform(list(source.images))
    with torch.no_grad():
        pixels = processor(list(source.images), return_tensors="pt")
        wanted = network(**pixels).last_hidden_state[:, 0]
    assert found == pytest.approx(wanted.numpy(), abs=0.02)
    assert np.corrcoef(found.ravel(), wanted.numpy().ravel())[0, 1] > 0.999


def test_monai_as_the_page_has_it(lab, rng):
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    network = nets.resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False).eval()
    save_file(network.state_dict(), lab / "w.safetensors")
    (encoder,) = baselines(["lab_monai_resnet:monai_resnet=w.safetensors"], [])
    source = images(rng, channels=1, volume=True)
    found = encoder.transform(source)
    cubes = torch.stack([torch.from_numpy(one[..., 0] / 255)[None] for one in source.images])
    cubes = nn.functional.interpolate(cubes.float(), (64, 64, 64), mode="trilinear")
    with torch.no_grad():
        assert found == pytest.approx(network(cubes).numpy(), abs=1e-4)
    float_volumes = images(rng, channels=1, volume=True, dtype=np.float32)
    encoder.adapt(float_volumes, np.arange(4))
    assert np.isfinite(encoder.transform(float_volumes)).all()


class Colours(nn.Module):
    """The mean of each band, learned gains in front."""

    def __init__(self, channels=3):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, images):
        return images * self.gain[:, None, None]


def test_positions_are_averaged_and_values_run_from_0_to_1(rng):
    source = images(rng)
    found = Network("colours", Colours()).transform(source)
    assert found == pytest.approx(source.images.mean((1, 2)) / 255, abs=1e-5)
    grey = images(rng, channels=1)
    assert Network("colours", Colours()).transform(grey).shape == (6, 3)
    assert Network("one", Colours(1), bands=None).transform(grey).shape == (6, 1)
    dark = images(rng, dtype=np.float32)
    encoder = Network("colours", Colours())
    encoder.adapt(dark, np.arange(6))
    of_floats = encoder.transform(dark)
    assert 0 <= of_floats.min() < of_floats.max() <= 1


def test_features_are_kept_only_where_they_are_described():
    assert Network("a", Colours()).sha256 is None
    one, two = (Network("a", Colours(), described=text) for text in ("as it is", "doubled"))
    assert one.sha256 != two.sha256
    assert one.sha256 == Network("a", Colours(), described="as it is").sha256
    assert one.preprocessing == "as it is"


def test_what_is_no_encoder_is_refused(lab, rng):
    (lab / "lab_none.py").write_text("def none(encoders, weights=None):\n    return 3\n")
    with pytest.raises(UserError, match="gave a int: an encoder has a name"):
        baselines(["lab_none:none"], [])
    with pytest.raises(UserError, match="bands=4"):
        Network("a", Colours(), bands=4)
    wrong = Network("a", Colours(), read=lambda network, batch: network(batch).mean())
    with pytest.raises(UserError, match=r"gave Tensor \(\) for a batch of \d"):
        wrong.transform(images(rng))
    with pytest.raises(UserError, match="cannot be loaded"):
        baselines(["lab_absent:none"], [])


def test_a_network_of_images_is_fine_tuned(rng):
    level = np.arange(60) % 2
    source = images(rng)
    pixels = rng.normal(90, 5, (60, 16, 16, 3))
    pixels[..., 0] += 40 * level[:, None, None]
    source.images = pixels.astype(np.uint8)
    source.labels, source.shape = level, (16, 16, 3)
    tune = FineTuning(epochs=3, least_steps=20, batch_size=16, lr=0.1)
    protocol = Protocol(name="tune", probe="finetune", shots=("all",), finetune=tune)
    network = Colours()
    results = evaluate([Network("colours", network)], source, [protocol])
    assert results.cells["tune", "all", "colours"].values["accuracy"][0] == 1
    assert torch.equal(network.gain, torch.ones(3))
