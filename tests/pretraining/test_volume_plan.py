from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from rich.console import Console

from domainjepa import FrozenEncoder
from domainjepa.data.source import OpenOptions, Source
from domainjepa.embed import embed
from domainjepa.encoder.windows import windows
from domainjepa.errors import ConfigError, DataError, UserError
from domainjepa.inspection.drawing import draw
from domainjepa.inspection.inspection import inspect_source
from domainjepa.inspection.tables import render
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.run import pretrain
from domainjepa.settings import resolve
from domainjepa.views.resampling import Cube
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews
from tests.conftest import TINY, tiny
from tests.data.toys import Lazy, toy

SHAPE, SPACING = (8, 30, 28), (4.0, 1.0, 1.0)


def open_volumes(path: Path, options: OpenOptions) -> Source:
    """A loader of two kinds of volumes in memory; slices are not its business."""
    draw = np.random.default_rng(0)
    depth, height, width = np.indices(SHAPE)
    arrays = []
    for label in range(4):
        wave = np.sin(height / (2 + 2 * (label % 2))) * np.cos(width / 3 + depth)
        arrays.append((500 + 400 * wave + draw.normal(0, 20, SHAPE))[..., None].astype(np.int16))
    return toy(
        Lazy,
        arrays,
        name="heads",
        labels=np.array([0, 1, 0, 1]),
        classes=("fine", "coarse"),
        spacings=np.tile(SPACING, (4, 1)) if path.name != "unknown" else None,
        modality="MR",
    )


def settings(path: str = "heads", **changes: Any) -> Any:
    flags = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(
        {**TINY, "data": {"workers": 0, "path": path, "loader": f"{__name__}:open_volumes"}},
        (),
        {
            "backbone.name": "monai:resnet10",
            "backbone.stem_reduction": "auto",
            "views.global_size": 16,
            "batch_size": 4,
            "steps": 2,
            **flags,
        },
    )


@pytest.fixture(scope="module", autouse=True)
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "heads").touch()
    (folder / "unknown").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(settings())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "heads"
    pretrain(settings(), out, console=Console(quiet=True))
    return out


def source() -> Source:
    return open_volumes(Path("heads"), OpenOptions(dimensions=3))


def test_the_plan_says_what_a_sample_is(plan: Plan) -> None:
    # The geometric mean of 4, 1, 1 mm is 1.59; a region of 16 voxels is 25.4 mm a side, and
    # 32 x 30 x 28 mm hold 1.6 of them.
    assert plan.config.views.spacing == 1.59
    assert plan.config.data.regions == 2
    assert plan.config.data.dimensions == 3
    assert len(plan.source) == 8
    notes = " ".join(text for _, text in plan.notes)
    assert "4 volumes, 8x30x28x1 int16, 4x1x1 mm; 2 regions of each in an epoch" in notes
    assert "2 global of 16 voxels + 1 local of 8 voxels, in regions of 25.4 mm" in notes
    assert plan.config.domain == "mri"
    assert not plan.warnings


def test_windows_of_a_ct_are_channels() -> None:
    found = make_plan(settings(domain="ct", intensity__windows=("brain", "bone")))
    assert len(found.mean) == len(found.std) == 2
    assert found.source.channels == 1
    views = VolumeViews(ViewMaker(found.domain, found.intensity, found.config.views, 0))
    made = views(views.volume(found.source, 0), epoch=0, sample=0)
    assert made[0].shape == (2, 16, 16, 16)
    images = torch.from_numpy(np.stack(made[:2]))
    assert found.backbone(images).shape == (2, 512)


def test_settings_decide_spacing_and_regions() -> None:
    chosen = make_plan(settings(views__spacing=2.5, data__regions=3)).config
    assert (chosen.views.spacing, chosen.data.regions) == (2.5, 3)


def test_an_unknown_spacing_is_a_warning() -> None:
    found = make_plan(settings("unknown"))
    assert any("1 is taken" in text for text in found.warnings)
    assert found.config.views.spacing == 1.0


def test_too_few_regions_for_a_batch_say_how_to_have_more() -> None:
    with pytest.raises(ConfigError, match=r"there are 8.*--batch-size 4.*data\.regions"):
        make_plan(settings(batch_size=16))


def test_networks_and_samples_have_to_fit(blobs: Path) -> None:
    with pytest.raises(ConfigError, match=r"volumes of 8x30x28x1.*data\.dimensions=2.*monai:"):
        make_plan(settings(backbone__name="test_resnet", data__dimensions=3))
    with pytest.raises(DataError, match=r"no array of volumes.*monai:resnet10.*resnet18"):
        make_plan(tiny(blobs, backbone__name="monai:resnet10"))
    with pytest.raises(ConfigError, match=r"a network of volumes.*32x32x3.*data\.dimensions = 2"):
        make_plan(tiny(blobs, backbone__name="monai:resnet10", data__dimensions=2))


def test_a_monai_backbone_opens_volumes() -> None:
    assert settings().opening().dimensions == 3
    assert settings(backbone__name="resnet18").opening().dimensions == 2
    assert settings(data__dimensions=2).opening().dimensions == 2


def test_a_run_is_the_same_twice(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    pretrain(settings(), again, console=Console(quiet=True))
    losses = [
        [json.loads(line)["loss"] for line in (one / "metrics.jsonl").read_text().splitlines()]
        for one in (run, again)
    ]
    assert losses[0] == losses[1]
    assert np.isfinite(losses[0]).all()
    assert FrozenEncoder(run).sha256 == FrozenEncoder(again).sha256


def test_the_encoder_holds_what_volumes_need(run: Path) -> None:
    card = FrozenEncoder(run).card
    assert (card.dimensions, card.spacing, card.size, card.channels) == (3, 1.59, 16, 1)
    assert "monai" in card.versions


def test_features_of_a_volume_are_those_of_its_windows(run: Path) -> None:
    encoder = FrozenEncoder(run, spacing=SPACING)
    array = source()[1]
    found = encoder.transform([array])
    backbone, standardise = encoder.network
    from domainjepa.domains.intensity import load_intensity
    from domainjepa.views.resampling import Volume

    intensity = load_intensity(encoder.card.intensity).of(lambda: array)
    volume = Volume.of_array(array, SPACING, intensity)
    cubes = windows(volume.extent, 16 * 1.59, 16)
    assert len(cubes) == 8
    everything = volume.block([Cube(volume.extent / 2, 60.0, 60, np.eye(3))])
    stacked = torch.stack([everything.sample(cube) for cube in cubes])
    with torch.inference_mode():
        expected = backbone.probe_features(standardise(stacked)).mean(0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_sources_arrays_and_lists_give_the_same(run: Path) -> None:
    encoder, volumes = FrozenEncoder(run, spacing=SPACING), source()
    assert encoder.sha256 != FrozenEncoder(run).sha256
    expected = FrozenEncoder(run).transform(volumes)
    assert expected.shape == (4, 512)
    stacked = np.stack([volumes[row] for row in range(2)])
    np.testing.assert_allclose(encoder.transform(stacked), expected[:2], rtol=1e-5, atol=1e-6)
    flat = [volumes[3][..., 0]]
    np.testing.assert_allclose(encoder.transform(flat), expected[3:], rtol=1e-5, atol=1e-6)
    assert np.abs(encoder.untrained().transform(flat) - expected[3:]).max() > 1e-3


def test_an_unknown_spacing_of_arrays_warns(run: Path) -> None:
    with pytest.warns(UserWarning, match="1 mm is taken"):
        FrozenEncoder(run).transform(source()[0][None])
    with pytest.raises(UserError, match="three lengths"):
        FrozenEncoder(run, spacing=(1.0, -1.0, 1.0)).transform(source()[0][None])


def test_images_are_no_volumes(run: Path) -> None:
    with pytest.raises(DataError, match=r"volumes are \(N, D, H, W\)"):
        FrozenEncoder(run).transform(np.zeros((2, 30, 28), np.int16))
    images = toy(Lazy, [np.zeros((30, 28, 1), np.int16)])
    with pytest.raises(DataError, match=r"pretrained on volumes.*data\.dimensions=3"):
        FrozenEncoder(run).transform(images)


def test_embed_writes_the_features_of_volumes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.h5"
    assert embed(run, source(), out) == (4, 512)
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["features"], FrozenEncoder(run).transform(source()))
        assert file["labels"][:].tolist() == [0, 1, 0, 1]


def test_inspect_knows_volumes(tmp_path: Path) -> None:
    volumes = source()
    found = inspect_source(volumes)
    assert found.shape == (8, 30, 28, 1)
    assert found.sizes == 1
    assert found.domain == "mri"
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "text").open("w"))
    console.print(render(found))
    assert "4 of 8x30x28x1 int16" in console.export_text()
    draw(volumes, tmp_path / "volumes.png")
    assert (tmp_path / "volumes.png").read_bytes().startswith(b"\x89PNG")
