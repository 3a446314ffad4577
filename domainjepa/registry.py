"""Name -> thing: the built-ins, what other packages register, and `module:attribute`.

This is the one place to plug in. A built-in is one line here; a package of one's own declares an
entry point in the group named beside the table; a script passes `my_module:my_function`.
Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

from domainjepa.errors import UserError, did_you_mean


@cache
def _installed(group: str) -> EntryPoints:
    """What other packages register. Looking through all takes longer than opening a file: once."""
    return entry_points(group=group)


@dataclass(frozen=True)
class Registry:
    """One table of names.

    Attributes:
        kind: what the table holds, in the singular, for messages.
        group: the entry-point group in which other packages register theirs.
        builtin: name -> "module:attribute".
    """

    kind: str
    group: str
    builtin: dict[str, str]

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in _installed(self.group)}

    def names(self) -> list[str]:
        """Every name that `load` knows, built-ins first."""
        return [*self.builtin, *sorted(set(self._plugins()) - set(self.builtin))]

    def load(self, name: str) -> Any:
        """The object behind a name, an entry point or `module:attribute`.

        Raises:
            UserError: the name is unknown, or its module cannot be imported.
        """
        target = self.builtin.get(name)
        if target is None:  # looking through the installed packages takes longer than opening
            plugin = self._plugins().get(name)
            target = plugin.value if plugin else name
        module_name, _, attribute = target.partition(":")
        if not attribute:
            raise UserError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, self.names())} "
                f"Your own: module:attribute, or an entry point in {self.group!r}."
            )
        try:
            thing: Any = _imported(module_name)
            for part in attribute.split("."):
                thing = getattr(thing, part)
        except (ImportError, AttributeError) as error:
            raise UserError(f"the {self.kind} {name!r} cannot be loaded: {error}") from error
        return thing

    def load_all(self) -> dict[str, Any]:
        """Everything that loads; a broken plug-in warns and is left out."""
        things: dict[str, Any] = {}
        for name in self.names():
            try:
                things[name] = self.load(name)
            except UserError as error:
                if name in self.builtin:
                    raise
                warnings.warn(str(error), stacklevel=2)
        return things


def _imported(name: str) -> Any:
    """A module; one that no package has is looked for in the current folder, too, as `python -m`
    does and an installed command does not."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = Path.cwd() / name.partition(".")[0]
        if error.name != here.name or not (here.is_dir() or here.with_suffix(".py").is_file()):
            raise
    sys.path.append(str(Path.cwd()))
    return importlib.import_module(name)


LOADERS = Registry(
    "loader",
    "domainjepa.loaders",
    {
        "hdf5": "domainjepa.data.formats.hdf5.loader:HDF5Loader",
        "arrays": "domainjepa.data.formats.arrays.loader:ArraysLoader",
        "torchvision": "domainjepa.data.formats.torchvision_sets:TorchvisionLoader",
        "cifar": "domainjepa.data.formats.cifar:CifarLoader",
        "netcdf": "domainjepa.data.formats.netcdf:NetCDFLoader",
        "matlab": "domainjepa.data.formats.matlab:MatlabLoader",
        "fits": "domainjepa.data.formats.fits.loader:FITSLoader",
        "images": "domainjepa.data.formats.images.loader:ImagesLoader",
        "zarr": "domainjepa.data.formats.zarr.loader:ZarrLoader",
        "archive": "domainjepa.data.formats.archives.loader:ArchiveLoader",
        "parquet": "domainjepa.data.formats.parquet.loader:ParquetLoader",
        "table": "domainjepa.data.formats.tables.loader:TableLoader",
        "nifti": "domainjepa.data.formats.nifti.loader:NIfTILoader",
        "dicom": "domainjepa.data.formats.dicom.loader:DicomLoader",
    },
)

DOMAINS = Registry(
    "domain",
    "domainjepa.domains",
    {
        "natural": "domainjepa.domains.natural:Natural",
        "astronomy": "domainjepa.domains.astronomy:Astronomy",
        "radio": "domainjepa.domains.radio:Radio",
        "radiography": "domainjepa.domains.radiography:Radiography",
        "ct": "domainjepa.domains.ct:CT",
        "mri": "domainjepa.domains.mri:MRI",
        "ultrasound": "domainjepa.domains.ultrasound:Ultrasound",
        "microscopy": "domainjepa.domains.microscopy:Microscopy",
        "histopathology": "domainjepa.domains.histopathology:Histopathology",
        "electron": "domainjepa.domains.electron:Electron",
        "aerial": "domainjepa.domains.aerial:Aerial",
    },
)

BACKBONES = Registry("backbone", "domainjepa.backbones", {})
"""Besides timm's and MONAI's."""

STATISTICS = Registry("statistic", "domainjepa.statistics", {})
"""Besides those of the objective: functions of projections (..., N, M) -> (..., M)."""

TRACKERS = Registry(
    "tracker",
    "domainjepa.trackers",
    {
        "tensorboard": "domainjepa.tracking.services:TensorBoard",
        "wandb": "domainjepa.tracking.services:WandB",
        "mlflow": "domainjepa.tracking.services:MLflow",
        "trackio": "domainjepa.tracking.services:Trackio",
    },
)

BASELINES = Registry(
    "baseline",
    "domainjepa.baselines",
    {
        "pixels": "domainjepa.evaluation.encoders.baselines:pixels",
        "untrained": "domainjepa.evaluation.encoders.baselines:untrained",
        "supervised": "domainjepa.evaluation.encoders.scratch:supervised",
        "intensity": "domainjepa.evaluation.segmentation.intensity:intensity",
        "histograms": "domainjepa.evaluation.encoders.baselines:histograms",
        "dinov2-small": "domainjepa.evaluation.encoders.published:BY_NAME.dinov2_small",
        "dinov2-base": "domainjepa.evaluation.encoders.published:BY_NAME.dinov2_base",
        "dinov2-large": "domainjepa.evaluation.encoders.published:BY_NAME.dinov2_large",
        "dinov3-small": "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_small",
        "dinov3-base": "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_base",
        "dinov3-large": "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_large",
        "dinov3-convnext-tiny": (
            "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_convnext_tiny"
        ),
        "dinov3-convnext-small": (
            "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_convnext_small"
        ),
        "dinov3-convnext-base": (
            "domainjepa.evaluation.encoders.published:BY_NAME.dinov3_convnext_base"
        ),
        "resnet50-imagenet": "domainjepa.evaluation.encoders.published:BY_NAME.resnet50_imagenet",
        "ijepa": "domainjepa.evaluation.encoders.published:BY_NAME.ijepa",
    },
)
