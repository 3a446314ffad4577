"""The weights that a run begins with: random ones, or those of `--init` and `--extend`.

They are kept in the run folder as `initial.safetensors`, an encoder like any other: a resumed run
takes them from there, and `evaluate` sets the trained encoder beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from domainjepa import settings
from domainjepa.backbones import Backbone
from domainjepa.backbones.transfer import Fit, transfer
from domainjepa.backbones.weights import file_digest, published
from domainjepa.config import InitConfig, PretrainConfig
from domainjepa.encoder.artefact import EncoderCard, load_encoder, weights_digest
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.checkpoint import load_checkpoint

PUBLISHED = "timm:"
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Beginning:
    """Weights that were given, and what became of them.

    Attributes:
        name: `timm:NAME`, or backbone and step of an encoder of ours; never a path.
        sha256: of the file, of our encoder, or of the network in a checkpoint.
        fit: what went over into the backbone.
        first_step: the number of the first step in the keys of all draws.
        still: layers that stay as they are, and all; None where the whole backbone learns.
        statistics: what BatchNorm normalises by, `init.statistics`; None where there is none.
        run: what the folder of a run is called, for plan and report alone.
    """

    name: str
    sha256: str
    fit: Fit
    first_step: int = 0
    still: tuple[int, int] | None = None
    statistics: Literal["kept", "moving"] | None = None
    run: str = ""

    def told(self) -> str:
        """A phrase for the plan."""
        frozen = (
            f"; {self.still[0]} of {self.still[1]} layers stay as they are" if self.still else ""
        )
        kept = "; BatchNorm keeps its statistics" if self.statistics == "kept" else ""
        after = f"; draws go on from step {self.first_step:,}" if self.first_step else ""
        run = f"run {self.run}: " if self.run else ""
        return (
            f"{run}{self.name}, SHA-256 {self.sha256[:12]}…: {self.fit.told()}{frozen}{kept}{after}"
        )

    def card(self) -> dict[str, Any]:
        """What the encoder's card keeps."""
        return {"name": self.name, "sha256": self.sha256, **self.fit.plain()}


def begin(
    backbone: Backbone,
    config: PretrainConfig,
    channels: int,
    steps_an_epoch: int,
    kept: Path | None = None,
) -> Beginning | None:
    """Put the weights that a run begins with into its backbone.

    Args:
        backbone: with random weights; changed in place.
        config: the settings.
        channels: that the backbone sees.
        steps_an_epoch: of this run.
        kept: the run's own `initial.safetensors`, once there is one.

    Returns:
        What was done; None where the run begins with the random weights.

    Raises:
        UserError: weights that cannot be had, or do not fit.
        ConfigError: others than the settings ask for.
    """
    chosen = config.init
    if not chosen.given:
        if chosen.frozen or chosen.statistics == "kept":
            raise ConfigError(
                f"init.frozen = {chosen.frozen}: layers of random weights would never learn. Give "
                "weights by --init, or leave it out."
                if chosen.frozen
                else "init.statistics = 'kept': random weights have none. Give weights by --init, "
                "or leave it out."
            )
        return None
    first = chosen.first_step
    if kept is not None:
        name, sha256, weights = _kept(kept, config)
    elif chosen.extend:
        name, sha256, weights, first = _parent(Path(chosen.extend), config, steps_an_epoch)
    elif chosen.weights:
        name, sha256, weights = _given(chosen.weights, config.backbone.name)
    else:
        raise ConfigError(
            f"the settings are of a run that began with weights of SHA-256 {chosen.sha256}: give "
            "them by --init (or the run that it extends by --extend), or leave init.sha256 out."
        )
    if chosen.sha256 not in (None, sha256):
        raise ConfigError(
            f"{name} has the SHA-256 {sha256}, and the settings ask for {chosen.sha256}. Give "
            "those weights, or begin another run without init.sha256."
        )
    fit = transfer(backbone.net, weights, channels)
    if kept is not None:
        fit = _as_it_was(kept)
    still = backbone.freeze(chosen.frozen) if chosen.frozen else None
    statistics = chosen.statistics
    if statistics is None and backbone.has_batch_norm:
        statistics = "moving" if chosen.extend else "kept"
    if statistics == "kept":
        backbone.keep_statistics()
    run = Path(chosen.extend or chosen.weights or "")
    return Beginning(name, sha256, fit, first, still, statistics, run.name if run.is_dir() else "")


def begun_with(config: PretrainConfig, beginning: Beginning | None) -> InitConfig:
    """The settings of the beginning, with what was found of it."""
    if beginning is None:
        return config.init
    found = {
        "sha256": beginning.sha256,
        "first_step": beginning.first_step,
        "statistics": beginning.statistics,
    }
    return config.init.model_copy(update=found)


def backbone_of(weights: str) -> str:
    """The backbone that `--init` leads to.

    Raises:
        UserError: no such encoder.
    """
    if weights.startswith(PUBLISHED):
        return weights.removeprefix(PUBLISHED).partition("=")[0]
    return load_encoder(Path(weights))[0].backbone.name


def parent_settings(run: Path) -> dict[str, Any]:
    """The settings of a run that is to be extended, as those of a recipe: all but its length and
    what it began with itself.

    Raises:
        UserError: there is no run.
    """
    _refuse_no_run(run)
    found = settings.read_recipe(run / "config.toml")
    left = ("steps", "epochs", "budget", "init")
    layer = {name: value for name, value in found.items() if name not in left}
    begun = found.get("init", {})
    stays = {name: begun[name] for name in ("frozen", "statistics") if begun.get(name)}
    return {**layer, "init": stays} if stays else layer


def _given(text: str, backbone: str) -> tuple[str, str, Weights]:
    """Name, SHA-256 and weights behind `--init`, by the names of the backbone's network."""
    if text.startswith(PUBLISHED):
        name, _, file = text.partition("=")
        model = name.removeprefix(PUBLISHED)
        _refuse_other(model.partition(".")[0], backbone.partition(".")[0], name)
        weights, sha256 = published(model, Path(file) if file else None)
        return name, sha256, weights
    card, weights = load_encoder(Path(text))
    name = _called(card)
    _refuse_other(card.backbone.name, backbone, "the encoder of --init")
    return name, card.sha256, _of_the_net(weights, "net.")


def _refuse_other(there: str, here: str, name: str) -> None:
    if there != here:
        raise ConfigError(
            f"{name} is a {there}, and the backbone of the run is {here}: weights go over into a "
            f"network of the same name alone. Set --backbone {there}."
        )


def _kept(path: Path, config: PretrainConfig) -> tuple[str, str, Weights]:
    """What the run began with, out of its own folder."""
    card, weights = load_encoder(path)
    begun = card.init or {}
    name, sha256 = str(begun.get("name")), str(begun.get("sha256"))
    if config.init.weights:
        _refuse_other_file(config.init.weights, name, sha256)
    return name, sha256, _of_the_net(weights, "net.")


def _refuse_other_file(text: str, name: str, sha256: str) -> None:
    """What `--init` names beside `--resume` may be gone; where it is there, it is the same."""
    named, _, file = text.partition("=")
    try:
        if not text.startswith(PUBLISHED):
            same = load_encoder(Path(text))[0].sha256 == sha256
        else:
            same = named == name and (not file or file_digest(Path(file)) == sha256)
    except (UserError, OSError):
        return
    if not same:
        raise ConfigError(
            f"--resume with other weights than the run began with, which were {name}: leave --init "
            "out, or start a new run with another --out."
        )


def _as_it_was(path: Path) -> Fit:
    begun = load_encoder(path)[0].init or {}
    parts = {name: tuple(begun.get(name, ())) for name in ("adapted", "missing", "unused")}
    return Fit(matched=int(begun.get("matched", 0)), **parts)


def _parent(
    run: Path, config: PretrainConfig, steps_an_epoch: int
) -> tuple[str, str, Weights, int]:
    """Name, digest and backbone of a run's last checkpoint, and the number of the next draw.

    Its draws end in some epoch: ours begin in the next one that is whole, whatever our batch is,
    and no earlier than its steps end.
    """
    _refuse_no_run(run)
    packed = load_checkpoint(run / "checkpoints")
    card, _ = load_encoder(run)
    before = settings.resolve(settings.read_recipe(run / "config.toml"))
    for setting, there, here in (
        ("optimizer.layer_decay", before.optimizer.layer_decay, config.optimizer.layer_decay),
        ("init.frozen", before.init.frozen, config.init.frozen),
    ):
        if there != here:  # the moments belong to groups of weights, which these make
            raise ConfigError(
                f"--extend {run.name} with {setting} = {here}, where it has {there}: the moments "
                f"of its optimiser would not fit. Begin with its weights alone: --init {run.name}."
            )
    try:
        step, network = int(packed["step"]), dict(packed["network"])
        sha256 = weights_digest(network)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the checkpoint of {run.name!r} holds no run of domainjepa") from error
    done = before.init.first_step + step
    epochs = math.ceil(done / max(int(card.data["samples"]) // before.batch_size, 1))
    name = f"{card.backbone.name}, extended after step {done:,}"
    return name, sha256, _of_the_net(network, "backbone.net."), max(done, epochs * steps_an_epoch)


def _refuse_no_run(folder: Path) -> None:
    if not (folder / "config.toml").is_file():
        raise UserError(f"--extend {folder.name!r}: it holds no run. Give a run folder.")


def _called(card: EncoderCard) -> str:
    return f"{card.backbone.name}, step {card.step:,}"


def _of_the_net(weights: Weights, prefix: str) -> Weights:
    return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
