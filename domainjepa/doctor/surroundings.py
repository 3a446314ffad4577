"""What is installed and what the machine is made of. No path, no host, no user."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from domainjepa import devices
from domainjepa.pretraining.machine import available_cores, busy_cores

SHAPING = (
    *("domainjepa", "torch", "timm", "numpy", "albumentations", "opencv-python-headless", "scipy"),
    *("scikit-learn", "h5py", "safetensors", "pydantic", "pyarrow", "triton"),
)
"""Packages that shape what is learned and read."""
EXTRAS = {
    "hdf5": (("hdf5plugin",), "LZ4, Zstd and Blosc in HDF5"),
    "dicom": (
        ("pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "imagecodecs"),
        "DICOM, compressed or not",
    ),
    "nifti": (("nibabel",), "NIfTI"),
    "zarr": (("zarr", "fsspec"), "Zarr and OME-Zarr"),
    "remote": (("fsspec", "aiohttp", "s3fs"), "data behind URLs"),
    "tiff": (("tifffile", "imagecodecs"), "TIFF of 16 bits, of many pages, compressed"),
    "volumes": (("monai", "einops"), "backbones and views in three dimensions"),
    "export": (("skops", "onnx", "onnxscript"), "export to scikit-learn and ONNX"),
    "hub": (("huggingface_hub",), "hf:// and share --push"),
    "explore": (("umap-learn",), "maps by UMAP"),
    "index": (("usearch",), "neighbours among millions"),
    "docs": (("sphinx", "myst-parser", "furo", "sphinx-copybutton"), "make docs"),
    "tensorboard": (("tensorboard",), "--track tensorboard"),
    "wandb": (("wandb",), "--track wandb"),
    "mlflow": (("mlflow",), "--track mlflow"),
    "trackio": (("trackio",), "--track trackio"),
}
"""Extra -> its packages, and what it opens."""


def versions() -> dict[str, str]:
    """Package or platform -> version; a package that is missing is left out."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    found |= {name: one for name in SHAPING if (one := installed(name))}
    found["torch"] = torch.__version__  # with what it was built for
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    if torch.version.hip:
        found["rocm"] = torch.version.hip
    return found


def installed(package: str) -> str | None:
    """Its version, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def extras() -> list[dict[str, Any]]:
    """Each extra: what it opens, and which of its packages are missing."""
    return [
        {"extra": name, "opens": opens, "missing": [one for one in packages if not installed(one)]}
        for name, (packages, opens) in EXTRAS.items()
    ]


def machine() -> dict[str, Any]:
    """The processor and every device, in words and numbers."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": available_cores(),
        "busy_cores": busy_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory(),
        "fast_bfloat16_on_the_cpu": devices.computes_bfloat16(torch.device("cpu")),
        "accelerator": devices.accelerator(),
        "devices": [],
    }
    kind = devices.accelerator()
    numbers = range(torch.accelerator.device_count() if kind else 0)
    found["devices"] = [_accelerator(f"{kind}:{number}") for number in numbers]
    return found


def _accelerator(device: str) -> dict[str, Any]:
    """Its name; memory and compute capability where its kind tells them."""
    kind = torch.device(device).type
    if kind == "mps":
        return {"name": "Apple GPU", "memory_gib": None, "capability": None}
    one = getattr(torch, kind).get_device_properties(device)
    return {
        "name": one.name,
        "memory_gib": round(one.total_memory / 2**30, 1),
        "capability": f"{one.major}.{one.minor}" if kind == "cuda" else None,
    }


def _processor() -> str:
    """As Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> float | None:
    """GiB of the machine; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
