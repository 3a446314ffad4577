"""The Typer application that the commands join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from domainjepa.errors import UserError

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Command(TyperCommand):
    """A command whose help ends with examples, and which refuses an option given twice where it
    takes one value.

    The last one would win in silence: `--data A --data B` would score on B alone.
    """

    examples: Sequence[str] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        # As plain lines, whatever the width: they are there to be copied.
        lines = "\n".join(f"  {example}" for example in self.examples)
        formatter.write(f" Examples:\n{lines}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: Counter[Any] = Counter(self.make_parser(ctx).parse_args(args=list(args))[2])
        for option, times in given.items():
            if times == 1 or option.param_type_name == "argument":
                continue
            if not (option.multiple or option.is_flag):
                raise UserError(f"{option.opts[0]} is given {times} times and takes one value.")
        return super().parse_args(ctx, args)


class _App(typer.Typer):
    def command(
        self, name: str | None = None, *, examples: Sequence[str] = (), **more: Any
    ) -> Callable[[_Function], _Function]:
        """A command of the application.

        Args:
            name: that of the function, unless it is called otherwise.
            examples: whole lines for a shell, which end its help; a test asks for one at least.
        """
        own = type("_Command", (_Command,), {"examples": tuple(examples)})
        return super().command(name, **{"cls": own, **more})


BEGIN = """\
domainjepa {version}: pretrain your own image encoder on your own unlabelled images.

Where to begin:
  domainjepa demo                                   the whole journey on simulated galaxies
  domainjepa inspect --data DATA --out look.png     what is found in your data, a file or a folder
  domainjepa pretrain --data DATA --budget 1h       an encoder, in the time that you have
  domainjepa evaluate RUN --data DATA               what it is worth, beside its untrained twin
  domainjepa embed RUN --data DATA --out f.parquet  its features, with ids and columns
  domainjepa similar RUN --data DATA --query 17     what is most like sample 17
  domainjepa doctor                                 what this machine has, and what slows it down

domainjepa --help lists every command; domainjepa COMMAND --help ends with examples.
domainjepa --install-completion has your shell complete commands and options."""

app = _App(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Pretrain your own image encoder on your own unlabelled data with LeJEPA.",
    epilog="--debug anywhere shows the traceback of an error.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(_installed())
        raise typer.Exit


def _installed() -> str:
    from importlib.metadata import version

    return version("domainjepa")


@app.callback()
def _everywhere(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(BEGIN.format(version=_installed()))
