"""The Typer application that the commands join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from domainjepa.errors import UserError

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Command(TyperCommand):
    """A command that refuses an option given twice where it takes one value.

    The last one would win in silence: `--data A --data B` would score on B alone.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: Counter[Any] = Counter(self.make_parser(ctx).parse_args(args=list(args))[2])
        for option, times in given.items():
            if times == 1 or option.param_type_name == "argument":
                continue
            if not (option.multiple or option.is_flag):
                raise UserError(f"{option.opts[0]} is given {times} times and takes one value.")
        return super().parse_args(ctx, args)


class _App(typer.Typer):
    def command(self, name: str | None = None, **more: Any) -> Callable[[_Function], _Function]:
        return super().command(name, **{"cls": _Command, **more})


app = _App(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pretrain your own image encoder on your own unlabelled data with LeJEPA.",
    epilog="--debug anywhere shows the traceback of an error.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("domainjepa"))
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None: ...
