"""What a run is going to do, decided and printed before the first long step."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from domainjepa.backbones import Backbone, traits
from domainjepa.config import PretrainConfig, ViewsConfig
from domainjepa.data.sampling import key
from domainjepa.data.source import OpenOptions, Source, open_source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity, channel_statistics
from domainjepa.domains.proposal import propose_domain
from domainjepa.errors import ConfigError, UserError
from domainjepa.objective import LeJEPALoss, SIGReg
from domainjepa.registry import DOMAINS
from domainjepa.views import resolve_sizes

STATISTICS_SAMPLES = 1024
"""Training samples that the intensity and the standardisation are measured on."""


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open.

    Attributes:
        config: the settings, every "auto" replaced by its value.
        source: the data.
        rows: (N,) the rows to learn from, ascending.
        domain, intensity, mean, std: how a row becomes views; measured on the rows alone.
        backbone: with its first weights.
        objective: the loss.
        steps, steps_an_epoch: of the optimiser.
        device: of this rank.
        log_every, save_every: steps from one log line, or checkpoint, to the next.
        notes: what was found and decided, one line each.
        warnings: what the user should look at, one line each.
    """

    config: PretrainConfig
    source: Source
    rows: NDArray[np.int64]
    domain: Domain
    intensity: Intensity
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backbone: Backbone
    objective: LeJEPALoss
    steps: int
    steps_an_epoch: int
    device: torch.device
    log_every: int
    save_every: int
    notes: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """Classes that the online probe tells apart; 0 without labels or with the probe off."""
        labels = self.source.labels
        if labels is None or not self.config.log.probe or len(self.rows) == 0:
            return 0
        return int(labels[self.rows].max()) + 1


def make_plan(config: PretrainConfig, *, batches: bool = True) -> Plan:
    """Open the data, look at it, and settle every open question of the settings.

    Args:
        config: the settings.
        batches: whether there must be enough samples for a batch.

    Raises:
        UserError: data, domain or backbone that cannot be used; says what to do.
    """
    lejepa = build_objective(config)
    options = config.data.model_dump(
        include={"images", "labels", "groups", "split", "follow_links", "max_sample_bytes"}
    )
    source = open_source(
        config.data.path, loader=config.data.loader, options=OpenOptions(**options)
    )
    rows, rows_note = pretraining_rows(source, config)
    if batches and len(rows) < config.batch_size:
        raise ConfigError(
            f"a global batch of {config.batch_size} needs as many samples; there are {len(rows)} "
            f"to learn from. Set --batch-size {max(2, len(rows) // 2)} or lower."
        )
    proposed, reason = propose_domain(source)
    if config.domain:
        reason = "as you said" if config.domain != proposed else "as you said, and as proposed"
    name = config.domain or proposed
    domain: Domain = DOMAINS.load(name)(keep_colour=config.views.keep_colour)
    intensity, mean, std = measure(source, rows, domain, config.seed)
    nominal = traits(config.backbone.name)
    height, width, channels = source.shape
    # First the global size, which the backbone is built for; then the local one, which it judges.
    views = resolve_sizes(config.views, source.shape, nominal.stride, False, nominal.patch)
    assert views.global_size is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "weights"))
        backbone = Backbone(config.backbone, channels, views.global_size)
    views = resolve_sizes(
        config.views,
        source.shape,
        nominal.stride,
        fixed_size=backbone.multiple == 0,
        multiple=max(backbone.multiple, 1),
    )
    device, precision = choose_device(config)
    if precision == "bfloat16" and device.type == "cpu":
        refuse_unwritten_gradients(backbone, views, channels)
    steps_an_epoch = max(len(rows) // config.batch_size, 1)
    steps = config.steps or config.epochs * steps_an_epoch
    weight_decay = config.optimizer.weight_decay
    if weight_decay is None:
        weight_decay = 5e-2 if backbone.transformer else 5e-4
    workers = config.data.workers
    if workers is None:
        workers = max(1, min(8, available_cores() // config.devices - 1))
    log_every = config.log.every_steps or min(50, max(1, steps // 100))
    save_every = config.checkpoint.every_steps or min(500, max(steps_an_epoch, 200))
    resolved = config.model_copy(
        update={
            "domain": name,
            "steps": steps,
            "views": views,
            "backbone": config.backbone.model_copy(
                update={"stem_reduction": backbone.stem_reduction}
            ),
            "optimizer": config.optimizer.model_copy(update={"weight_decay": weight_decay}),
            "data": config.data.model_copy(update={"workers": workers}),
            "log": config.log.model_copy(update={"every_steps": log_every}),
            "checkpoint": config.checkpoint.model_copy(update={"every_steps": save_every}),
            "precision": precision,
            "device": device.type,
        }
    )
    labels = "none"
    if source.labels is not None:
        labels = f"{len(np.unique(source.labels))} classes, used for monitoring only"
        if not config.log.probe:
            labels = "not used (log.probe is off)"
    multi_crop = f" + {views.num_local} local of {views.local_size} px" if views.num_local else ""
    weights = sum(p.numel() for p in backbone.parameters())
    objective = config.objective
    notes = [
        ("data", f"{len(source):,} images, {height}x{width}x{channels} {source.dtype}"),
        ("", "; ".join(source.decisions)),
        ("rows", rows_note),
        ("labels", labels),
        ("domain", f"{name} ({reason}); {intensity.describe()}"),
        ("views", f"{views.num_global} global of {views.global_size} px{multi_crop}"),
        (
            "backbone",
            f"{backbone.name}, {weights / 1e6:.1f} M weights, {backbone.dim} features"
            + (f", stem stride / {backbone.stem_reduction}" if backbone.stem_reduction > 1 else ""),
        ),
        (
            "objective",
            f"LeJEPA, lambda {objective.lam}, {objective.statistic}, {objective.num_slices} slices",
        ),
        (
            "training",
            f"{steps:,} steps of {config.batch_size} ({steps / steps_an_epoch:.1f} epochs), "
            f"lr {config.optimizer.lr:g}, weight decay {weight_decay:g}",
        ),
        ("machine", machine_note(device, precision, workers, config.devices)),
    ]
    return Plan(
        config=resolved,
        source=source,
        rows=rows,
        domain=domain,
        intensity=intensity,
        mean=mean,
        std=std,
        backbone=backbone,
        objective=lejepa,
        steps=steps,
        steps_an_epoch=steps_an_epoch,
        device=device,
        log_every=log_every,
        save_every=save_every,
        notes=[note for note in notes if note[1]],
        warnings=[*source.warnings, *rank_warnings(config.devices, device)],
    )


def build_objective(config: PretrainConfig) -> LeJEPALoss:
    """The loss of the settings.

    Raises:
        ConfigError: a statistic or a kind of directions that there is not.
    """
    chosen = config.objective
    try:
        sigreg = SIGReg(
            num_slices=chosen.num_slices,
            knots=chosen.knots,
            t_max=chosen.t_max,
            statistic=chosen.statistic,
            directions=chosen.directions,
            debias=chosen.debias,
            seed=config.seed,
        )
    except ValueError as error:
        raise ConfigError(f"objective: {error}") from error
    return LeJEPALoss(chosen.lam, sigreg)


def pretraining_rows(source: Source, config: PretrainConfig) -> tuple[NDArray[np.int64], str]:
    """The rows to learn from and why: test rows stay out unless asked for."""
    if source.split is None:
        return source.rows(), f"all {len(source):,}: the data has no split"
    counts = {name: int((source.split == name).sum()) for name in ("train", "val", "test")}
    if config.data.include_test:
        return source.rows(), f"all {len(source):,}, test rows included as asked"
    rows = source.rows("train", "val")
    return rows, (
        f"{len(rows):,} of the splits train ({counts['train']:,}) and val ({counts['val']:,}); "
        f"the {counts['test']:,} test rows stay out (data.include_test takes them in)"
    )


def measure(
    source: Source, rows: NDArray[np.int64], domain: Domain, seed: int
) -> tuple[Intensity, tuple[float, ...], tuple[float, ...]]:
    """Intensity, channel means and standard deviations from a keyed selection of the rows."""
    draw = np.random.default_rng(key(seed, "statistics"))
    chosen = np.sort(draw.permutation(rows)[:STATISTICS_SAMPLES])
    samples = source.__getitems__(chosen.tolist())
    intensity = domain.fit_intensity(samples)
    mean, std = channel_statistics(intensity(sample) for sample in samples)
    return intensity, mean, std


def choose_device(config: PretrainConfig) -> tuple[torch.device, str]:
    """The device of this rank, and the precision.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise UserError("--device cuda: this machine has no usable CUDA device. Use --device cpu.")
    device = torch.device("cpu")
    if cuda and config.device != "cpu":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    return device, precision


def refuse_unwritten_gradients(backbone: Backbone, views: ViewsConfig, channels: int) -> None:
    """bfloat16 on the CPU must not meet a convolution whose gradient would be garbage.

    Raises:
        ConfigError: a view is so small that it would.
    """
    sizes = {views.global_size, views.local_size if views.num_local else views.global_size}
    for size in sizes:
        if size and backbone.strides_over_one_pixel(channels, size):
            raise ConfigError(
                f"views of {size} px shrink to one pixel inside {backbone.name}, where PyTorch's "
                "bfloat16 gradients on the CPU are undefined. Set --set precision=float32, larger "
                "views.local_size, or views.num_local=0."
            )


def rank_warnings(devices: int, device: torch.device) -> list[str]:
    """What several ranks do otherwise than one."""
    if devices == 1 or device.type == "cuda":
        return []
    return [
        f"{devices} ranks on the CPU: BatchNorm sees each rank's share of the batch (on CUDA its "
        "statistics are of the whole batch), so weights differ a little from those of one rank."
    ]


def fast_on_cpu(precision: str) -> bool:
    """Whether this processor computes in a precision without emulating it."""
    return precision == "float32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def available_cores() -> int:
    """Cores that this process may use, which under Slurm or in a container are fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_note(device: torch.device, precision: str, workers: int, devices: int) -> str:
    """A phrase for the plan."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    ranks = f"{devices} x " if devices > 1 else ""
    cores = "" if device.type == "cuda" else f" ({torch.get_num_threads()} threads)"
    return f"{ranks}{where}{cores}, {precision}, {workers} worker{'s' if workers != 1 else ''}"


def learning_rate(step: int, steps: int, peak: float, warmup: float, final: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine to `final` times the peak.

    A pure function of the step, so that a resumed run goes on as if it had never stopped.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(steps - rising - 1, 1)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
