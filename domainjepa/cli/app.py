"""The Typer application that the commands join."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pretrain your own image encoder on your own unlabelled data with LeJEPA.",
    epilog="--debug anywhere shows the traceback of an error.",
)
