"""Options that several commands share, and the source that they name."""

from __future__ import annotations

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


def opened(data: str, loader: str | None, assignments: list[str] | None) -> Source:
    """The source of a command that takes `--set data.…` alone."""
    from domainjepa import config as settings
    from domainjepa.data.source import open_configured

    for text in assignments or ():
        if not text.startswith("data."):
            raise UserError(f"--set {text}: this command takes data.* settings alone.")
    flags = {"data.path": data, "data.loader": loader}
    return open_configured(settings.resolve(None, assignments or (), flags).data)
