from __future__ import annotations

import json
import pickle

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from domainjepa.backbones import weights
from domainjepa.backbones.weights import Unavailable
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import Pixels, baselines, encoder
from domainjepa.evaluation.encoders.published import PUBLISHED, TimmEncoder, as_three_bands
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.suite import evaluate
from domainjepa.registry import BASELINES
from tests.evaluation.toys import ArraySource, make_source

SMALL = "test_vit"  # timm's own network for tests: 160 px, 64 wide
CONVNET = "test_convnext"


def weight_file(folder, model, **changes):
    torch.manual_seed(0)
    net = timm.create_model(model, pretrained=False)
    path = folder / f"{model}.safetensors"
    safetensors.torch.save_file({**net.state_dict(), **changes}, path)
    return path, net


def rgb(rng, samples=3, side=(50, 40), channels=3):
    return list(rng.integers(0, 256, (samples, *side, channels), dtype=np.uint8))


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {name: weight_file(folder, PUBLISHED[name]) for name in ("dinov2-small", "dinov3-small")}


@pytest.mark.parametrize("name", ["dinov2-small", "dinov3-small"])
def test_dino_sees_what_timms_own_transform_gives(name, dino, rng):
    path, net = dino[name]
    (made,) = baselines([f"{name}={path}"], [])
    transform = create_transform(**resolve_model_data_config(net), is_training=False)
    for image in [*rgb(rng, 1), *rgb(rng, 1, (300, 600))]:
        expected = transform(PIL.Image.fromarray(image))
        found = made.prepare([image])[0]
        assert found.shape == expected.shape == (3, *net.pretrained_cfg["input_size"][1:])
        assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["dinov2-small", "dinov3-small"])
def test_dinos_features_are_the_cls_tokens_of_its_last_two_layers(name, dino, rng):
    path, _ = dino[name]
    (made,) = baselines([f"{name}@112={path}"], [])
    images = rgb(rng, 2)
    found = made.transform(images)
    assert found.shape == (2, 2 * 384)
    # The weights of the file, read out layer by layer with hooks.
    torch.manual_seed(1)
    net = timm.create_model(PUBLISHED[name], num_classes=0, img_size=112).eval()
    kept = safetensors.torch.load_file(path)
    fitting = {n: v for n, v in kept.items() if n in net.state_dict()}
    if "pos_embed" in fitting:
        fitting["pos_embed"] = timm.layers.resample_abs_pos_embed(
            fitting["pos_embed"], new_size=[8, 8], num_prefix_tokens=net.num_prefix_tokens
        )
    net.load_state_dict(fitting, strict=True)
    tokens = []
    for block in net.blocks[-2:]:
        block.register_forward_hook(lambda _, __, output: tokens.append(output))
    with torch.inference_mode():
        last = net.forward_features(made.prepare(images))
        expected = torch.cat([net.norm(layer)[:, 0] for layer in tokens], 1)
    assert torch.allclose(expected[:, 384:], last[:, 0], atol=1e-5)
    assert found == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_report_says_where_weights_came_from(dino, tmp_path, rng):
    labels = np.arange(12) % 2
    images = rng.integers(0, 60, (12, 16, 16, 3), dtype=np.uint8) + (150 * labels)[
        :, None, None, None
    ].astype(np.uint8)
    source = ArraySource(
        name="toy", loader="memory", shape=(16, 16, 3), dtype=images.dtype, labels=labels,
        images=images, split=np.array(["train"] * 8 + ["test"] * 4),
    )  # fmt: skip
    wanted = [
        "pixels",
        "histograms",
        *(f"{name}@56={dino[name][0]}" for name in dino if "2" in name),
    ]
    wanted += [f"dinov3-small@64={dino['dinov3-small'][0]}"]
    made = baselines(wanted, [])
    protocol = Protocol(name="p", probe="linear", shots=("all",), metrics=("accuracy",))
    results = evaluate(made, source, [protocol], tmp_path / "out")
    assert [e["name"] for e in results.settings["encoders"]] == [
        "pixels", "histograms", "dinov2-small@56", "dinov3-small@64",
    ]  # fmt: skip
    for described in results.settings["encoders"][2:]:
        assert described["weights"].startswith("local file, SHA-256 ")
        assert "Normalize" in described["input"]
    text = (tmp_path / "out" / "report.html").read_text()
    assert "weights from local file, SHA-256" in text
    assert str(tmp_path) not in json.dumps(results.settings)
    assert str(dino["dinov2-small"][0].parent) not in text


def test_float_images_take_the_same_steps(tmp_path, rng):
    path, net = weight_file(tmp_path, SMALL)
    made = TimmEncoder("x", SMALL, path)
    image = (0.25 + 0.5 * rng.random((200, 180, 3))).astype(np.float32)
    transform = create_transform(**resolve_model_data_config(net), is_training=False)
    eight_bit = transform(PIL.Image.fromarray((image * 255).round().astype(np.uint8)))
    # Pillow rounds to 255 levels three times; timm divides by the standard deviation.
    tolerance = 3 / 255 / min(net.pretrained_cfg["std"])
    assert (made.prepare([image])[0] - eight_bit).abs().max() < tolerance


def test_bands_become_three(rng):
    image = rng.random((4, 5, 7)).astype(np.float32)
    found = as_three_bands(image)
    for band, part in enumerate(((0, 1, 2), (3, 4), (5, 6))):
        assert found[..., band] == pytest.approx(image[..., part].mean(2), abs=1e-6)
    two = as_three_bands(image[..., :2])
    assert two[..., 1] == pytest.approx(image[..., :2].mean(2))
    one = as_three_bands(image[..., :1])
    assert np.array_equal(one, np.repeat(image[..., :1], 3, 2))
    assert as_three_bands(image[..., :3]) is not None
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert as_three_bands(grey).dtype == np.uint8


def test_stored_values_are_brought_to_the_range_of_the_data_set(tmp_path, rng):
    path, _ = weight_file(tmp_path, SMALL)
    images = (1e4 + 500 * rng.random((30, 20, 20, 5))).astype(np.float32)
    source = ArraySource(
        name="toy", loader="memory", shape=(20, 20, 5), dtype=images.dtype, images=images,
        card={"name": "toy", "domain": "natural"},
    )  # fmt: skip
    made = TimmEncoder("x", SMALL, path)
    made.adapt(source, np.arange(10))
    before = made.sha256
    net = timm.create_model(SMALL)
    mean, std = (np.array(net.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    shown = made.prepare([images[3]])[0].numpy() * std + mean
    assert shown.min() > -1e-5
    assert shown.max() < 1 + 1e-5
    assert shown.std() > 0.02
    assert "linear" in made.preprocessing
    # The numbers of the intensity are those of the training rows, and part of what is cached by.
    images[:10] *= 2
    made.adapt(source, np.arange(10))
    assert made.sha256 != before


def test_grey_pictures_are_repeated(tmp_path, rng):
    path, _ = weight_file(tmp_path, SMALL)
    made = TimmEncoder("x", SMALL, path)
    (grey,) = rgb(rng, 1, channels=1)
    assert torch.equal(made.prepare([grey]), made.prepare([np.repeat(grey, 3, 2)]))
    assert torch.equal(made.prepare([grey]), made.prepare([grey[..., 0]]))


def test_pth_files_hold_tensors_or_are_refused(tmp_path):
    _, net = weight_file(tmp_path, CONVNET)
    path = tmp_path / "plain.pth"
    torch.save({"state_dict": {f"module.{n}": v for n, v in net.state_dict().items()}}, path)
    made = encoder(f"timm:{CONVNET}={path}")
    assert made.origin.startswith("local file, SHA-256 ")
    assert torch.equal(made._load().net.state_dict()["stem.0.weight"], net.stem[0].weight)

    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (ran.touch, ())

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    torch.save({"model": Evil()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(Unavailable, match="holds no weights"):
            _ = encoder(f"timm:{CONVNET}={tmp_path / name}").origin
    assert not ran.exists()


def test_weights_of_another_network_are_refused(tmp_path):
    path, net = weight_file(tmp_path, SMALL)
    with pytest.raises(Unavailable, match=r"test_vit.safetensors holds no weights"):
        _ = encoder(f"timm:{CONVNET}={path}").origin
    name = next(name for name in net.state_dict() if name.startswith("blocks.1"))
    for changes in ({name: torch.zeros(3)}, {"blocks.99.extra": torch.zeros(3)}):
        changed, _ = weight_file(tmp_path, SMALL, **changes)
        with pytest.raises(Unavailable, match="holds no weights"):
            _ = encoder(f"timm:{SMALL}={changed}").origin
    (tmp_path / "text.safetensors").write_text("not weights at all")
    for absent in ("text.safetensors", "none.safetensors"):
        with pytest.raises(Unavailable, match=absent):
            _ = encoder(f"timm:{SMALL}={tmp_path / absent}").origin


def test_without_weights_the_rest_of_the_report_comes(monkeypatch, tmp_path, rng):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def offline(repo, file, *, local_files_only, **more):
        asked.append((repo, file, local_files_only))
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(weights, "_unreachable", [])
    labels = np.arange(20) % 2
    protocol = Protocol(name="p", probe="knn", shots=("all",))
    made = [Pixels(2), *baselines(["dinov2-small", "dinov3-convnext-tiny", "ijepa"], [])]
    results = evaluate(made, make_source(labels), [protocol], tmp_path)
    assert results.encoders == ["pixels"]
    left_out = [text for text in results.warnings if "is left out" in text]
    assert len(left_out) == 3
    assert "not in the hub's cache" in left_out[0]
    assert "=FILE.safetensors" in left_out[0]
    assert "free of pickle" in left_out[2]
    assert asked == [  # the second is looked for in the cache alone
        ("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors", False),
        ("timm/convnext_tiny.dinov3_lvd1689m", "model.safetensors", True),
    ]
    with pytest.raises(UserError, match="no encoder could be evaluated"):
        evaluate(made[1:], make_source(labels), [protocol])


def test_names_resolve_to_networks_that_timm_has():
    assert set(PUBLISHED) <= set(BASELINES.names())
    for name, model in PUBLISHED.items():
        assert timm.is_model(model), name
        (made,) = BASELINES.load(name)([], None)
        assert (made.name, made.model) == (name, model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:vit_smal", "timm has no model 'vit_smal'"),
        ("dinov2-small@big", "number of pixels"),
        ("dinov2-small@0", "number of pixels"),
    ],
)
def test_wrong_names_are_wrong_usage(text, message):
    with pytest.raises(UserError, match=message) as error:
        baselines([text], [])
    assert not isinstance(error.value, Unavailable)


def test_volumes_are_no_pictures(tmp_path):
    path, _ = weight_file(tmp_path, SMALL)
    volumes = np.zeros((4, 8, 8, 8, 1), np.float32)
    source = ArraySource(
        name="toy", loader="memory", shape=(8, 8, 8, 1), dtype=volumes.dtype, images=volumes
    )
    with pytest.raises(Unavailable, match="holds volumes"):
        TimmEncoder("x", SMALL, path).adapt(source, np.arange(4))


def test_the_cache_tells_weights_and_sizes_apart(tmp_path):
    path, _ = weight_file(tmp_path, SMALL)
    one, two = TimmEncoder("a", SMALL, path), TimmEncoder("b", SMALL, path, size=128)
    assert one.sha256 == TimmEncoder("c", SMALL, path).sha256
    assert one.sha256 != two.sha256
