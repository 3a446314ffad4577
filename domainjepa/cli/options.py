"""Options that several commands share, and the source that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domainjepa.errors import UserError

if TYPE_CHECKING:
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
    data: str, loader: str | None, assignments: list[str] | None, encoders: Sequence[str] = ()
) -> Source:
    """The source of a command that takes `--set data.…` alone.

    Args:
        data: `--data`.
        loader: `--loader`.
        assignments: `--set`.
        encoders: what it is opened for: volumes where one was pretrained on volumes.
    """
    from domainjepa import settings
    from domainjepa.data.opening import open_configured

    for text in assignments or ():
        if not text.startswith("data."):
            raise UserError(f"--set {text}: this command takes data.* settings alone.")
    flags = {"data.path": data, "data.loader": loader}
    wanted = settings.resolve(None, assignments or (), flags).data
    if wanted.dimensions is None and any(map(_of_volumes, encoders)):
        wanted = wanted.model_copy(update={"dimensions": 3})
    return open_configured(wanted)


def _of_volumes(encoder: str) -> bool:
    from domainjepa.artefact import load_encoder

    return not encoder.startswith("timm:") and load_encoder(Path(encoder))[0].dimensions == 3
