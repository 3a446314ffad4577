"""What a run is: typed, frozen, strict. The one owner of settings and of their defaults.

Defaults are the paper's (LeJEPA, arXiv:2511.08544) where it states them. They are overlaid by a
recipe, then by `--set`, then by the flags of the command line.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[tuple[Share, Share], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]

CARRIED_OUT = (
    "data.path",
    "data.root",
    "data.workers",
    "data.download",
    "data.max_sample_bytes",
    "data.cache_bytes",
    "device",
    "devices",
    "max_hours",
    "threads",
    "attention",
    "compile",
    "activation_checkpointing",
    "shard",
    "log.every_steps",
    "log.shortcuts",
    "log.track",
    "checkpoint.",
)
"""How a run is carried out. None of it changes what the model sees; another device, number of ranks
or kind of attention rounds sums another way."""
FREE_ON_RESUME = (*CARRIED_OUT, "data.where", "micro_batch", "init.weights", "init.extend")
"""What a resumed run may do otherwise. Other conditions on the rows change what the model sees, and
the fingerprint of the data tells. Other micro-batches change what BatchNorm sees. What the run
began with is in its folder."""
OF_THE_RUN_ALONE = (*CARRIED_OUT, "log.", "epochs", "budget")
"""Settings that no encoder has to know of: the above, what only watches, and `epochs` and `budget`,
which `steps` says in steps. One training is one file, however it was carried out."""


MONAI_NETWORKS, VOLUME_TRANSFORMERS = "monai:", "vit3d_"
"""What the names of networks of volumes begin with: MONAI's, and plain transformers of our own."""

_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def seconds_of(time: str) -> float:
    """Seconds in a time such as `90s`, `45m`, `2h` or `1h30m`.

    Raises:
        ValueError: it is none, or not above 0.
    """
    match = _TIME.fullmatch(time.strip())
    parts = match.groups(default="0") if match else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds < 1e9:
        raise ValueError("write a time above 0 with its unit, such as 90s, 45m, 2h or 1h30m")
    return seconds


def _is_time(time: str) -> str:
    seconds_of(time)
    return time


class Settings(BaseModel):
    """A frozen group of settings; unknown names and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class DataConfig(Settings):
    """The images to learn from, and where to find what is not found by itself."""

    path: str = ""
    """A file, a folder, a URL, or the name of a dataset card; `--data` sets it."""
    loader: str | None = None
    """A loader's name or `module:attribute`; sniffed from the content by default."""
    root: str | None = None
    """The folder of a table's images, where that is not the table's own. No path leads out of it.
    Of a folder of links: the folder that holds it and what they lead to."""
    images: str | None = None
    """Which images of a container: an HDF5, Zarr or NumPy name, a FITS HDU (name or number), a
    series of a TIFF (number), a table's column of paths or a path made of its columns, such as
    `p{patient}/{scan}.png`; of a folder a pattern of file names, for FITS and HDF5 with an HDU or a
    data set at will: `*_g.fits[SCI]`. Of HDF5 also a pattern of data sets of one sample each, such
    as `*/Img`; of Parquet the column of pictures; of an archive their suffix, such as `seg.png`."""
    labels: str | None = None
    """Name of the label data set; labels only monitor the run, they never train the encoder. Here,
    in groups, split and ids, `name:REGEX` takes the first group of an expression (RE2) on the path
    of each file below the root."""
    groups: str | None = None
    """Name of the group data set (patient, sky position): groups are never split. `sky:60arcsec`
    groups positions of the columns ra and dec; `sky:60arcsec,name:REGEX` those of two groups of an
    expression on the names."""
    split: str | None = None
    """Name of the split data set: one of train, val, test for each sample."""
    ids: str | None = None
    """Name of the data set of identifiers. Of medical data they become hashes."""
    where: Names = ()
    """Which samples: conditions on columns, all of which hold, such as `["source=vindr",
    "redshift<0.3"]`; with =, !=, <, <=, >, >=. A blank fulfils none but `column=`."""
    blank: Names = ()
    """Texts and numbers that mean no value in columns, beside empty fields and NaN, such as
    `["NA", "-9"]`."""
    bands: Names = ()
    """Bands that make the channels, in this order: the parts of file names that tell one channel's
    file from another's, such as [w1,w2,w3] or [T1,T2,FLAIR], names of channels that a file tells,
    FITS HDUs, or planes of a cube. By default all that are found."""
    masks: Literal["none"] | str | None = None
    """Which files of a folder are masks of others and no samples: a pattern of names, such as
    `*_gt.png` or `gt/*`; `none`: no file is. Of HDF5, npz and Zarr the name of the array of masks.
    By default the usual layouts and names are recognised."""
    dimensions: Literal[2, 3] | None = None
    """3: samples are volumes; 2: their slices. By default 3 for `monai:` and
    `vit3d_` backbones, else 2."""
    axis: str | None = None
    """Along which slices follow each other: axial, coronal, sagittal, or the number of an axis.
    By default the one along which the scanner took them; `all`: tiles of a volume larger than
    `max_sample_bytes` lie in its three planes by turns. Of FITS and TIFF: what planes and
    pages are, bands or samples; of FITS also hdus, where each HDU is a sample. Of MATLAB:
    last, where samples come last and nothing tells so."""
    neighbours: int = Field(default=0, ge=0)
    """Slices on either side that join a slice as further channels (2.5-D)."""
    crop: int | None = Field(default=None, ge=8)
    """Take the centre of every frame, this many pixels a side; smaller frames stay as they are."""
    tile: int | None = Field(default=None, ge=16)
    """Cut samples into tiles of this many pixels a side, each a sample of its own: for mosaics,
    whole slides and volumes. Tiles with nothing on them are left out."""
    regions: int | None = Field(default=None, gt=0)
    """Samples that an epoch draws from each volume, each from a region of its own; of an image or a
    volume larger than `max_sample_bytes`, the tiles that are drawn from it. By default as many as
    fill the median volume, or what is not empty of a large one."""
    split_boxes: Names = ()
    """Train, val and test as boxes inside of one volume or mosaic, pixels or % along D, H, W (or
    H, W), an axis that is not told whole: `["train=:70%", "test=75%:"]`,
    `["train=0:2000,:,0:4096"]`. What lies in none is not used."""
    split_margin: int = Field(default=64, ge=0)
    """Pixels or voxels that must lie between boxes of different parts of `split_boxes`."""
    skip_unreadable: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the samples that may be unreadable: pretraining replaces them by others, but leaves
    volumes out, `embed` and `evaluate` leave them out, and all report them. By default the first
    one is an error."""
    download: bool = False
    """Fetch the data of a dataset card into ./data if they are missing; nothing else downloads."""
    include_test: bool = False
    """Pretrain on test rows too. By default rows of the test split are left out."""
    follow_links: bool = False
    """Follow links and virtual data sets that stay inside the folder of the data."""
    max_sample_bytes: int = Field(default=256 * 2**20, gt=0)
    """Refuse samples (and chunks) that would take more bytes than this in memory. Volumes of HDF5,
    Zarr, TIFF, FITS and plain NIfTI that would are read in parts; of images, where their tiles are
    asked for."""
    cache_bytes: int = Field(default=50 * 2**30, ge=0)
    """Bytes that data of URLs may take in the cache ($DOMAINJEPA_CACHE), all sets together, and at
    most 80 % of the free disk. What has no room is read anew each time."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that make views; by default as many as the machine has cores to spare, up to 8."""


class TargetConfig(Settings):
    """What a probe tells: that of `evaluate`, and the one that rides along in pretraining."""

    column: str | None = None
    """Column to tell in the place of the labels; several columns of yes and no with commas between
    them are several labels. `evaluate --target` sets it."""
    uncertain: float | str | None = None
    """The value that stands for "uncertain"; a blank is never known. By default -1 in columns of 0
    and 1, and none in others."""
    uncertain_as: Literal["unknown", 0, 1] = "unknown"
    """Leave uncertain labels out, or count them as 0 or as 1."""
    ordered: bool = False
    """Classes are grades, in the order of their numbers: quadratic kappa is measured."""
    redshift: bool | None = None
    """Numbers are redshifts: scatter, outliers and bias of dz / (1 + z) are measured. By default
    where the column is named like one."""
    ignore: tuple[int, ...] | None = None
    """Values of masks that are no class: such pixels neither train nor test. By default what the
    data call ignore, void or unlabelled, and 255 beside others than 0."""
    background: int | Literal["none"] | None = None
    """Of masks, the value of what lies between structures, which is told apart and not scored. By
    default 0, unless the data give it another name; none scores every class."""


class ViewsConfig(Settings):
    """How many views of a sample, how large, and how much of it each shows."""

    num_global: int = Field(default=2, ge=1)
    """Views that show much of a sample; their mean is what all views predict."""
    num_local: int = Field(default=8, ge=0)
    """Smaller views that show a part of it."""
    global_size: int | None = Field(default=None, ge=8)
    """Pixels a side; by default the image's own, at most 224 (64 voxels of volumes), rounded to the
    backbone's stride."""
    local_size: int | None = Field(default=None, ge=8)
    """Pixels a side; by default 7/16 of the global size."""
    global_scale: Scale = (0.3, 1.0)
    """Share of the image's area that a global view shows, drawn from this range."""
    local_scale: Scale = (0.05, 0.3)
    """Share of the image's area that a local view shows."""
    spacing: float | None = Field(default=None, gt=0)
    """Millimetres from voxel to voxel in a view of a volume, the same along all axes. By default
    the geometric mean of the data's own, its median over the volumes."""
    without: Names = ()
    """Transforms of the domain to leave out, by the names that `domainjepa views` draws."""
    related: str | None = None
    """Of whom the views of a sample are, all but the first: `z:12mm` or `z:2`, other slices of its
    volume, so far away at most; `group`, samples of its group; `column:NAME`, samples that share
    its value there. By default its own. See domains.md."""
    related_crops: Literal["together", "free"] | None = None
    """`together`: the global views of a sample and of those related to it show one place; `free`:
    each shows its own. By default together for slices of CT and MR, which lie on one grid, and
    free for all others."""
    channel_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a view does without a channel, which is then 0 after the intensity; one always
    stays. For bands and sequences that some samples lack."""
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
        if self.related_crops and not self.related:
            raise ValueError("related_crops places the crops of views.related, which is not set")
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
    """Any timm model name; for volumes `monai:` and one of MONAI's, such as monai:resnet18, or
    `vit3d_SIZE_patchN`."""
    stem_reduction: Literal["auto", 1, 2, 4] = "auto"
    """Divide the stride of the stem by this. A stem made for 224 px leaves nothing of a small
    image: `auto` takes the smallest divisor that keeps 4x4 positions of a whole image (2x2x2 of a
    volume) as it is seen by default. Smaller views keep that stride, and cost less."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a residual branch is left out for a sample (stochastic depth, Huang et al. 2016);
    grows linearly with depth up to this."""


class InitConfig(Settings):
    """Weights to begin with in the place of random ones; see start-from-weights.md."""

    weights: str | None = None
    """A run folder, an `encoder.safetensors`, or `timm:NAME[=FILE]`; `--init` sets it."""
    extend: str | None = None
    """A run folder whose last checkpoint is gone on from, optimiser included, in a new run with a
    warm-up and a cosine of its own; `--extend` sets it."""
    sha256: str | None = None
    """Of what `weights` or `extend` led to, written by the run: a repeat refuses any other."""
    first_step: int = Field(default=0, ge=0)
    """The number of the first step in the keys of all draws, written by a run that extends another:
    they go on where those of the other ended."""
    frozen: float = Field(default=0.0, ge=0, lt=1)
    """Share of the backbone's layers, from the stem on, that stay as they were given, their running
    statistics included."""
    statistics: Literal["kept", "moving"] | None = None
    """What BatchNorm in given weights normalises by while it learns. `kept`: the running statistics
    that came with them, as it will afterwards; `moving`: those of each batch of views, as from
    random weights. By default kept after `--init`, and as the other run did after `--extend`."""

    @model_validator(mode="after")
    def _one_of_them(self) -> InitConfig:
        if self.weights and self.extend:
            raise ValueError("init.weights and init.extend each say what to begin with: give one")
        return self

    @property
    def given(self) -> bool:
        """Whether a run begins with weights that were given."""
        return bool(self.weights or self.extend or self.sha256)


class ProjectorConfig(Settings):
    """MLP from features to embeddings; thrown away after pretraining."""

    layers: int = Field(default=3, ge=1, le=3)
    """Linear layers."""
    hidden: int = Field(default=2048, gt=0)
    """Width between them."""
    out: int = Field(default=128, gt=1)
    """Dimensions of an embedding, K."""


class ObjectiveConfig(Settings):
    """LeJEPA: lam * SIGReg + (1 - lam) * prediction."""

    lam: float = Field(default=0.05, ge=0, le=1)
    """The share of SIGReg, the one hyper-parameter of the paper."""
    statistic: str = "epps-pulley"
    """The test of each slice; `domainjepa list statistics`, or `module:function` of one's own."""
    num_slices: int = Field(default=1024, gt=0)
    """Directions onto which embeddings are projected in a step, M."""
    directions: str = "gaussian"
    """`gaussian`, drawn anew at each step; `sobol`, more even over the sphere; `fixed`, the same at
    every step. See objective.md."""
    debias: bool = False
    """Leave out the pairs of a sample with itself (the U-statistic of Epps-Pulley)."""
    knots: int = Field(default=17, ge=3)
    """Points of the quadrature of Epps-Pulley."""
    t_max: float = Field(default=5.0, gt=0)
    """Where the quadrature ends."""
    average_weights: float = Field(default=0.0, ge=0, lt=1)
    """Ablation: the centre comes from an exponential average of the weights with this decay."""
    predictor: bool = False
    """Ablation: an MLP between an embedding and what it predicts."""


class OptimizerConfig(Settings):
    """AdamW, linear warm-up, then a cosine down to `final_lr`."""

    lr: float | None = Field(default=None, gt=0)
    """At the peak. By default 5e-4, and a fifth of it where the run begins with given weights: the
    projector is random at first, and its gradients would take them apart."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer of the backbone learns at this share of the rate of the layer above it."""
    weight_decay: float | None = Field(default=None, ge=0)
    """By default 5e-2 for transformers and 5e-4 for convolutional networks."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps."""
    final_lr: float = Field(default=1e-3, ge=0, le=1)
    """The last learning rate as a share of `lr`."""
    clip: float | None = Field(default=None, gt=0)
    """The longest that the encoder's gradient may be (its global norm): a longer one is scaled down
    to it. Off by default; `gradient_norm` in the metrics tells what is usual."""


class CheckpointConfig(Settings):
    """`checkpoint.*`: how often a run is saved, and what is kept of it."""

    encoders_every: int | None = Field(default=None, gt=0)
    """Keep the encoder of every so many steps, each to be used as RUN@STEP; by default the last
    alone."""
    every_steps: int | None = Field(default=None, gt=0)
    """By default once an epoch, but every 200 steps at the most often and 500 at the least."""
    keep: int = Field(default=2, ge=1)
    """The newest so many checkpoints stay."""


class LogConfig(Settings):
    """`log.*`: what a run tells of itself while it goes on."""

    every_steps: int | None = Field(default=None, gt=0)
    """By default a hundredth of the run, at most 50 steps."""
    probe: bool = True
    """Where there are labels, train a linear probe beside the encoder, without touching it."""
    shortcuts: bool = True
    """Warn where something simple, such as colour or brightness, tells samples apart across their
    views; and say at the end how much of it the features hold."""
    track: Names = ()
    """Who else is told of the run: tensorboard, wandb, mlflow, trackio, or `module:function` of
    one's own. `--track` sets it."""


class PretrainConfig(Settings):
    """One pretraining run, complete: the same settings on the same data give the same weights."""

    data: DataConfig = DataConfig()
    target: TargetConfig = TargetConfig()
    domain: str | None = None
    """What kind of images these are; proposed from the data by default."""
    intensity: IntensityConfig = IntensityConfig()
    views: ViewsConfig = ViewsConfig()
    backbone: BackboneConfig = BackboneConfig()
    init: InitConfig = InitConfig()
    projector: ProjectorConfig = ProjectorConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    epochs: int = Field(default=400, gt=0)
    """Times that every sample is seen."""
    steps: int | None = Field(default=None, gt=0)
    """Optimiser steps in all; takes the place of `epochs`."""
    budget: Annotated[str, AfterValidator(_is_time)] | None = None
    """How long the whole command may take, such as 90s, 45m or 2h; `--budget` sets it. What a step
    costs here is measured for some seconds, and what was left unset of steps, views, image size,
    backbone, learning rate and batch follows; see budget.md. Takes the place of `epochs`; with
    `steps`, which a run writes beside it, nothing is measured again."""
    batch_size: int = Field(default=256, gt=1)
    """The GLOBAL batch, over all devices. SIGReg depends on it, so it is never changed silently."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Samples of a device that go through the backbone at once, where the batch is too large for
    its memory; SIGReg and prediction still see the whole batch, and the gradient is the whole
    batch's. Costs one more forward pass. BatchNorm in the backbone sees the parts."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass in place of keeping them, block by block: less
    memory for one more forward pass, the same gradient."""
    shard: Literal["none", "full"] = "none"
    """`full`: every device keeps its part of weights, gradients and moments alone (FSDP2), for
    backbones that outgrow a card. Checkpoints are whole: another number of devices resumes them."""
    seed: int = Field(default=0, ge=0)
    """The key of all draws: initial weights, order, views, directions."""
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = "auto"
    """`auto`: the accelerator where there is one. `cuda` is ROCm, too; `mps` is Apple's, `xpu`
    Intel's."""
    devices: int = Field(default=1, gt=0)
    """Processes, one a device (DDP); the batch stays global."""
    threads: int | None = Field(default=None, gt=0)
    """Threads of the processor that compute, where no GPU does. By default the cores that nobody is
    using when the run begins; a run that goes on keeps them, since their number decides how sums
    are rounded. OMP_NUM_THREADS goes before."""
    max_hours: float | None = Field(default=None, gt=0)
    """Save and end with status 75 after the first step beyond this time, counted from the start of
    the command; `--resume` goes on. For clusters that limit the time of a job."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on GPUs that compute in it, float32 elsewhere."""
    attention: Literal["auto", "flash", "math"] = "auto"
    """Kernels of transformers: `auto`, the fastest safe ones; `flash`, that one or an error;
    `math`, slow and certain. cuDNN's are never taken: in bfloat16 their gradients can be NaN."""
    compile: bool = False
    """torch.compile the backbone: slower to start, faster to run on a GPU."""

    def opening(self) -> DataConfig:
        """The data as this run opens it: volumes for networks of volumes, unless something is
        set."""
        volumes = self.backbone.name.startswith((MONAI_NETWORKS, VOLUME_TRANSFORMERS))
        dimensions = self.data.dimensions or (3 if volumes else 2)
        return self.data.model_copy(update={"dimensions": dimensions})
