"""A run on a volume that is too large to be read whole: regions, tiles, boxes, and what is told."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console
from scipy.ndimage import gaussian_filter

from domainjepa.data.formats.hdf5.datasets import DatasetsSource
from domainjepa.data.opening import open_source
from domainjepa.inspection.inspection import inspect_source
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.views.volume_views import VolumeViews
from tests.conftest import tiny

SIDES = (96, 64, 64)
BOXES = ("train=:56,:,:", "test=72:,:,:")
LIMIT = 100_000


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "em.h5"
    field = gaussian_filter(np.random.default_rng(0).normal(size=SIDES), 1.5)
    values = np.clip(120 + 200 * field / field.std() / 5, 1, 255)
    values[:, :, :16] = 0
    with h5py.File(path, "w") as file:
        stored = values.astype(np.uint8)
        file.create_dataset("raw", data=stored, chunks=(16, 16, 16))
    return path


def flags(**more: object) -> dict[str, object]:
    return {
        "data__split_boxes": BOXES,
        "data__split_margin": 16,
        "data__max_sample_bytes": LIMIT,
        "domain": "microscopy",
        "views__global_size": 16,
        "batch_size": 4,
        "steps": 2,
        **more,
    }


def test_regions_of_the_training_box_alone_are_read(
    cubes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[list[int], list[int]]] = []
    region = DatasetsSource.region

    def noting(self: DatasetsSource, index: int, start: list[int], stop: list[int]) -> object:
        read.append((list(start), list(stop)))
        return region(self, index, start, stop)

    chosen = flags(backbone__name="monai:resnet10", backbone__stem_reduction="auto")
    config = tiny(cubes, **chosen, data__regions=20)
    plan = make_plan(config)
    assert set(plan.source.split[plan.rows].tolist()) == {"train"}  # type: ignore[index]
    notes = dict(plan.notes)
    assert "bytes of chunks (16x16x16) for each byte that is used" in notes["reads"]
    assert float(notes["reads"].split()[0]) < 3.5
    monkeypatch.setattr(DatasetsSource, "region", noting)
    made = VolumeViews(plan.maker())
    for epoch in range(3):
        for row in plan.rows.tolist():
            made.drawn(made.volume(plan.source, row), epoch, row)
    assert len(read) >= 3 * len(plan.rows)
    assert max(stop[0] for _, stop in read) <= 56
    pretrain(config, tmp_path / "run", console=Console(quiet=True))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines][-1] == 2
    assert np.isfinite(lines[-1]["loss"])


def test_tiles_are_images_and_what_they_cost_is_told(cubes: Path, tmp_path: Path) -> None:
    chosen = flags(data__axis="all", data__tile=24, data__regions=60)
    plan = make_plan(tiny(cubes, **chosen))
    assert plan.source.shape == (24, 24, 1)
    assert set(plan.source.split[plan.rows].tolist()) == {"train"}  # type: ignore[index]
    assert any("for each byte that is used, so training will wait" in one for one in plan.warnings)
    assert any("Pack the tiles once: domainjepa prepare" in one for one in plan.warnings)
    pretrain(tiny(cubes, **chosen), tmp_path / "run", console=Console(quiet=True))
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 2


def test_dear_chunks_are_warned_of(cubes: Path, tmp_path: Path) -> None:
    with h5py.File(cubes) as file, h5py.File(tmp_path / "a.h5", "w") as other:
        other.create_dataset("raw", data=file["raw"][...], chunks=(1, 64, 64))
    plan = make_plan(tiny(tmp_path / "a.h5", **flags(backbone__name="monai:resnet10")))
    (told,) = [one for one in plan.warnings if "bytes of chunks (1x64x64)" in one]
    assert "--out volume.zarr" in told


def test_inspect_looks_at_cubes(cubes: Path) -> None:
    source = open_source(cubes, dimensions=3, max_sample_bytes=LIMIT)
    found = inspect_source(source)
    assert (found.looked_at, found.unreadable_count) == (64, 0)
    assert found.bands[0].high is not None
    assert 150 < found.bands[0].high <= 255
