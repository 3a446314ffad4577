"""What a run is: typed, frozen, strict. The one owner of settings and of their defaults.

Defaults are the paper's (LeJEPA, arXiv:2511.08544) where it states them. They are overlaid by a
recipe, then by `--set`, then by the flags of the command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domainjepa import catalog
from domainjepa.errors import ConfigError, did_you_mean

Share = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[tuple[Share, Share], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Settings(BaseModel):
    """A frozen group of settings; unknown names and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class DataConfig(Settings):
    """The images to learn from, and where to find what is not found by itself."""

    path: str = ""
    """A file, a folder, or the name of a dataset card; `--data` sets it."""
    loader: str | None = None
    """A loader's name or `module:attribute`; sniffed from the content by default."""
    images: str | None = None
    """Which images of a container: an HDF5, Zarr or NumPy name, a FITS HDU (name or number), a
    series of a TIFF (number), a table's column of paths; of a folder a pattern of file names, for
    FITS with an HDU at will: `*_g.fits[SCI]`."""
    labels: str | None = None
    """Name of the label data set; labels only monitor the run, they never train the encoder."""
    groups: str | None = None
    """Name of the group data set (patient, sky position): groups are never split."""
    split: str | None = None
    """Name of the split data set: one of train, val, test for each sample."""
    bands: Names = ()
    """Bands that make the channels, in this order: FITS HDUs, planes of a cube, or the parts of
    file names that tell one band's file from another's. By default all that are found."""
    dimensions: Literal[2, 3] | None = None
    """3: samples are volumes; 2: their slices. By default 3 for `monai:` backbones, else 2."""
    axis: str | None = None
    """Along which slices follow each other: axial, coronal, sagittal, or the number of an axis.
    By default the one along which the scanner took them. Of FITS and TIFF: what planes and
    pages are, bands or samples; of FITS also hdus, where each HDU is a sample."""
    neighbours: int = Field(default=0, ge=0)
    """Slices on either side that join a slice as further channels (2.5-D)."""
    tile: int | None = Field(default=None, ge=16)
    """Cut samples into tiles of this many pixels a side, each a sample of its own: for mosaics,
    whole slides and volumes. Tiles with nothing on them are left out."""
    regions: int | None = Field(default=None, gt=0)
    """Samples that an epoch draws from each volume, each from a region of its own. By default as
    many as fill the median volume."""
    skip_unreadable: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the samples that may be unreadable: they are replaced by others and reported. By
    default the first one stops the run."""
    download: bool = False
    """Fetch the data of a dataset card into ./data if they are missing; nothing else downloads."""
    include_test: bool = False
    """Pretrain on test rows too. By default rows of the test split are left out."""
    follow_links: bool = False
    """Follow links and virtual data sets that stay inside the folder of the data."""
    max_sample_bytes: int = Field(default=256 * 2**20, gt=0)
    """Refuse samples (and chunks) that would take more bytes than this in memory."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that make views; by default as many as the machine has cores to spare, up to 8."""


class ViewsConfig(Settings):
    """How many views of a sample, how large, and how much of it each shows."""

    num_global: int = Field(default=2, ge=1)
    num_local: int = Field(default=8, ge=0)
    global_size: int | None = Field(default=None, ge=8)
    """Pixels a side; by default the image's own, at most 224 (64 voxels of volumes), rounded to the
    backbone's stride."""
    local_size: int | None = Field(default=None, ge=8)
    """Pixels a side; by default 7/16 of the global size."""
    global_scale: Scale = (0.3, 1.0)
    """Share of the image's area that a global view shows, drawn from this range."""
    local_scale: Scale = (0.05, 0.3)
    spacing: float | None = Field(default=None, gt=0)
    """Millimetres from voxel to voxel in a view of a volume, the same along all axes. By default
    the geometric mean of the data's own, its median over the volumes."""
    without: Names = ()
    """Transforms of the domain to leave out, by the names that `domainjepa views` draws."""
    keep_colour: bool = False
    """Leave the ratios of the bands alone, where colour is the science. Colour identifies a sample
    across its views, so this weakens what is learned of shape."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> ViewsConfig:
        if self.num_global + self.num_local < 2:
            raise ValueError("a prediction needs two views or more of each sample")
        for low, high in (self.global_scale, self.local_scale):
            if low > high:
                raise ValueError(f"a scale goes from low to high, not from {low} to {high}")
        return self


class IntensityConfig(Settings):
    """How stored values become what views see; the domain decides what is left open."""

    stretch: Literal["auto", "linear", "asinh", "zscale", "percentile"] = "auto"
    """Of values that are no renderings. All numbers are the data set's, never one image's."""
    windows: Names = ()
    """CT windows, each a channel: brain, subdural, stroke, lung, mediastinum, bone, liver, soft, or
    LEVEL/WIDTH in Hounsfield units such as 40/80."""


class BackboneConfig(Settings):
    """The network that is kept."""

    name: str = "resnet34"
    """Any timm model name; for volumes `monai:` and one of MONAI's, such as monai:resnet18."""
    stem_reduction: Literal["auto", 1, 2, 4] = "auto"
    """Divide the stride of the stem by this. A stem made for 224 px leaves nothing of a small
    image: `auto` takes the smallest divisor that keeps 4x4 positions of a global view."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class ProjectorConfig(Settings):
    """MLP from features to embeddings; thrown away after pretraining."""

    layers: int = Field(default=3, ge=1, le=3)
    hidden: int = Field(default=2048, gt=0)
    out: int = Field(default=128, gt=1)


class ObjectiveConfig(Settings):
    """LeJEPA: lam * SIGReg + (1 - lam) * prediction."""

    lam: float = Field(default=0.05, ge=0, le=1)
    statistic: str = "epps-pulley"
    """The test of each slice; `domainjepa list statistics`, or `module:function` of one's own."""
    num_slices: int = Field(default=1024, gt=0)
    directions: str = "gaussian"
    debias: bool = False
    knots: int = Field(default=17, ge=3)
    t_max: float = Field(default=5.0, gt=0)
    average_weights: float = Field(default=0.0, ge=0, lt=1)
    """Ablation: the centre comes from an exponential average of the weights with this decay."""
    predictor: bool = False
    """Ablation: an MLP between an embedding and what it predicts."""


class OptimizerConfig(Settings):
    """AdamW, linear warm-up, then a cosine down to `final_lr`."""

    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    """By default 5e-2 for transformers and 5e-4 for convolutional networks."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps."""
    final_lr: float = Field(default=1e-3, ge=0, le=1)
    """The last learning rate as a share of `lr`."""


class CheckpointConfig(Settings):
    every_steps: int | None = Field(default=None, gt=0)
    """By default once an epoch, but every 200 steps at the most often and 500 at the least."""
    keep: int = Field(default=2, ge=1)


class LogConfig(Settings):
    every_steps: int | None = Field(default=None, gt=0)
    """By default a hundredth of the run, at most 50 steps."""
    probe: bool = True
    """Where there are labels, train a linear probe beside the encoder, without touching it."""
    shortcuts: bool = True
    """Warn where something simple, such as colour or brightness, tells samples apart across their
    views; and say at the end how much of it the features hold."""


class PretrainConfig(Settings):
    """One pretraining run, complete: the same settings on the same data give the same weights."""

    data: DataConfig = DataConfig()
    domain: str | None = None
    """What kind of images these are; proposed from the data by default."""
    intensity: IntensityConfig = IntensityConfig()
    views: ViewsConfig = ViewsConfig()
    backbone: BackboneConfig = BackboneConfig()
    projector: ProjectorConfig = ProjectorConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    epochs: int = Field(default=400, gt=0)
    steps: int | None = Field(default=None, gt=0)
    """Optimiser steps in all; takes the place of `epochs`."""
    batch_size: int = Field(default=256, gt=1)
    """The GLOBAL batch, over all devices. SIGReg depends on it, so it is never changed silently."""
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(default=1, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on CUDA, float32 on the CPU."""
    compile: bool = False
    """torch.compile the backbone: slower to start, faster to run on a GPU."""

    def opening(self) -> DataConfig:
        """The data as this run opens it: volumes for `monai:` backbones, unless something is set.

        MONAI's networks are the three-dimensional ones.
        """
        volumes = self.backbone.name.startswith("monai:")
        dimensions = self.data.dimensions or (3 if volumes else 2)
        return self.data.model_copy(update={"dimensions": dimensions})


def defaults() -> dict[str, Any]:
    """Every setting with its default, as plain nested data."""
    return PretrainConfig().model_dump()


def setting_names(model: type[BaseModel] = PretrainConfig, prefix: str = "") -> list[str]:
    """All dotted setting names, such as `objective.lam`."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key=value` from `--set`; the value is read as TOML, else taken as a string.

    Raises:
        ConfigError: there is no `=`, or no setting of that name.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {text!r} has no '='. Write --set objective.lam=0.05")
    _check_name(key)
    try:
        return key, tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return key, None if value.strip() == "none" else value.strip()


def _check_name(key: str) -> None:
    names = setting_names()
    if key in names:
        return
    inside = [name for name in names if name.startswith(f"{key}.")]
    if inside:
        raise ConfigError(f"{key!r} is a group of settings: set one of {', '.join(inside)}.")
    # A bare `lamda` should find `objective.lam`, so leaf names are compared as well.
    leaves = {name.rpartition(".")[2]: name for name in names}
    hint = did_you_mean(key, names)
    if "Did you mean" not in hint:
        near = did_you_mean(key.rpartition(".")[2], leaves)
        for leaf in sorted(leaves, key=len, reverse=True):
            if f" {leaf}?" in near or f" {leaf} " in near:
                hint = f" Did you mean {leaves[leaf]}?"
                break
        else:
            hint = " `domainjepa pretrain --help` and docs/settings.md list them."
    raise ConfigError(f"unknown setting {key!r}.{hint}")


def overlay(base: Mapping[str, Any], layer: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`base` with the values of `layer` laid over it, group by group.

    Raises:
        ConfigError: `layer` has a name that is no setting.
    """
    merged = dict(base)
    for key, value in layer.items():
        if key in base and isinstance(base[key], Mapping):
            if not isinstance(value, Mapping):
                _check_name(f"{prefix}{key}")
            merged[key] = overlay(base[key], value, f"{prefix}{key}.")
        else:
            _check_name(f"{prefix}{key}")
            merged[key] = value
    return merged


def resolve(
    recipe: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> PretrainConfig:
    """defaults < recipe < `--set` < flags.

    Args:
        recipe: settings of a recipe, nested.
        assignments: `key=value` texts in the order given.
        flags: dotted name -> value; None means that the flag was not given.

    Raises:
        ConfigError: an unknown name, or a value of the wrong type or out of range.
    """
    settings = overlay(defaults(), recipe or {})
    pairs = [parse_assignment(text) for text in assignments]
    pairs += [(key, value) for key, value in (flags or {}).items() if value is not None]
    for key, value in pairs:
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        settings = overlay(settings, nested)
        if key == "epochs":  # the later word counts; `steps` would else hide it
            settings["steps"] = None
    return validated(settings)


def validated(settings: Mapping[str, Any]) -> PretrainConfig:
    """Settings from plain nested data.

    Raises:
        ConfigError: with every wrong value named.
    """
    try:
        return PretrainConfig.model_validate(settings)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if part in setting_words())
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where or 'settings'} = {problem['input']!r}: {message}")
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def setting_words() -> set[str]:
    """Every word that occurs in a setting's dotted name."""
    return {word for name in setting_names() for word in name.split(".")}


def without_paths(config: PretrainConfig) -> dict[str, Any]:
    """The settings as plain data for an artefact: what is None is left out, and the data's path
    too, unless it is the bare name of a dataset card."""
    plain = config.model_dump(mode="json", exclude_none=True)
    if config.data.path not in catalog.names("datasets"):
        del plain["data"]["path"]
    return plain


def flat(config: PretrainConfig) -> dict[str, Any]:
    """Dotted name -> value."""
    values: dict[str, Any] = {}
    for name in setting_names():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    return values


def to_toml(config: PretrainConfig) -> str:
    """The settings as TOML that `--recipe` takes back; it names no path."""
    return tomli_w.dumps(without_paths(config))


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's settings.

    Raises:
        ConfigError: the file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the recipe {path.name!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the recipe {path.name!r} is no valid TOML: {error}") from error
