"""What many tests need: a small file of galaxies-like images, and one tiny run on it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

# Runs that are compared take the same threads, however busy the machine is: before torch is there.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
import pytest
from rich.console import Console

from domainjepa import settings
from domainjepa.config import PretrainConfig
from domainjepa.pretraining.run import pretrain

# Whichever test starts the server of the worker processes: every run's workers import this.
multiprocessing.get_context("forkserver").set_forkserver_preload(["domainjepa.views.dataset"])

TINY = {
    "batch_size": 16,
    "steps": 8,
    "data": {"workers": 0},
    "backbone": {"name": "test_resnet", "stem_reduction": 1},
    "projector": {"hidden": 32, "out": 8},
    "objective": {"num_slices": 16},
    "views": {"num_global": 2, "num_local": 1},
    "checkpoint": {"every_steps": 2},
    "log": {"every_steps": 1},
}


def write_blobs(path: Path, samples: int = 64, size: int = 32) -> Path:
    """Round and elongated blobs in Galaxy10's layout, with a split."""
    draw = np.random.default_rng(0)
    labels = np.arange(samples) % 2
    y, x = np.mgrid[:size, :size] - size / 2
    images = np.empty((samples, size, size, 3), np.uint8)
    for row, label in enumerate(labels):
        angle = draw.uniform(0, np.pi)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        blob = np.exp(-(u**2 + v**2 * (1 + 8 * label)) / (2 * 5**2))
        images[row] = np.clip(200 * blob[..., None] + draw.normal(20, 4, (size, size, 3)), 0, 255)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(1, size, size, 3))
        file["ans"] = labels
        file["split"] = np.where(np.arange(samples) // 2 % 4 == 3, b"test", b"train")
    return path


def tiny(path: Path, **changes: object) -> PretrainConfig:
    """The settings of a run that takes a second; `changes` by dotted name with __ for the dot."""
    flags = {name.replace("__", "."): value for name, value in changes.items()}
    return settings.resolve(TINY, (), {"data.path": str(path), **flags})


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMAINJEPA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("data") / "blobs.h5")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, blobs: Path) -> Path:
    """A finished run folder."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(tiny(blobs), out, console=Console(quiet=True))
    return out
