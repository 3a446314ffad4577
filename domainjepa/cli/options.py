"""Options that several commands share, and the source that they name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domainjepa.errors import UserError

if TYPE_CHECKING:
    from domainjepa.config import DataConfig, TargetConfig
    from domainjepa.data.source import Source

Data = Annotated[
    str, typer.Option("--data", help="A file, a folder, or the name of a dataset card.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as objective.lam=0.1."),
]
Recipe = Annotated[
    str | None,
    typer.Option("--recipe", help="Name or .toml file of a recipe; a run's config.toml."),
]
DomainName = Annotated[
    str | None, typer.Option("--domain", help="What kind of images; proposed from the data.")
]
Loader = Annotated[
    str | None, typer.Option("--loader", help="A loader's name or module:attribute.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def opened(
    data: str,
    loader: str | None,
    assignments: Sequence[str] | None,
    encoders: Sequence[str] = (),
) -> Source:
    """The source of a command that takes `--set data.…` alone.

    Args:
        data: `--data`.
        loader: `--loader`.
        assignments: `--set`.
        encoders: what it is opened for: volumes where one was pretrained on volumes; samples that
            cannot be read are found beforehand where `data.skip_unreadable` allows some.
    """
    from domainjepa import settings
    from domainjepa.data.checks.quarantine import checked, strict, told
    from domainjepa.data.opening import open_configured

    for text in assignments or ():
        if not text.startswith("data."):
            raise UserError(f"--set {text}: this command takes data.* settings alone.")
    flags = {"data.path": data, "data.loader": loader}
    wanted = settings.resolve(None, assignments or (), flags).data
    if wanted.dimensions is None and any(map(_of_volumes, encoders)):
        wanted = wanted.model_copy(update={"dimensions": 3})
    source = open_configured(wanted)
    if not encoders:
        return source
    if not wanted.skip_unreadable:
        return strict(source)
    typer.echo("reading every sample once, to leave out those that cannot be read", err=True)
    source = checked(source, wanted.skip_unreadable)
    if lost := source.unreadable(range(len(source))):
        counted = f"{len(lost):,} of {len(source):,} samples cannot be read"
        typer.echo(f"warning: {counted} and are left out: {told(lost)}", err=True)
    return source


def target_settings(
    column: str | None, assignments: Sequence[str] | None
) -> tuple[TargetConfig, list[str]]:
    """What `--target` and `--set target.…` ask for, and the assignments that are left."""
    from domainjepa import settings

    own = [text for text in assignments or () if text.startswith("target.")]
    rest = [text for text in assignments or () if not text.startswith("target.")]
    return settings.resolve(None, own, {"target.column": column}).target, rest


def repeated(data: DataConfig) -> str:
    """The options of a command that opens the same data, for a shell."""
    from dataclasses import fields

    from domainjepa.data.source import OpenOptions

    words = ["--data", data.path]
    if data.loader:
        words += ["--loader", data.loader]
    given = data.model_dump(exclude_defaults=True)
    for name in (one.name for one in fields(OpenOptions)):
        if name in given:
            value = given[name]
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--set", f"data.{name}={text}"]
    return shlex.join(words)


def _of_volumes(encoder: str) -> bool:
    from domainjepa.encoder.artefact import load_encoder

    return not encoder.startswith("timm:") and load_encoder(Path(encoder))[0].dimensions == 3
