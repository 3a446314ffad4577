"""The commands: parse, resolve, call. Imports no torch, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from domainjepa.cli import learn, look, use
from domainjepa.cli.app import app
from domainjepa.errors import UserError

__all__ = ["app", "learn", "look", "main", "use"]


def main() -> None:
    """Run the command line; a user's error is one message on stderr and exit status 2."""
    debug = "--debug" in sys.argv
    try:
        app(args=[word for word in sys.argv[1:] if word != "--debug"], prog_name="domainjepa")
    except UserError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        name = Path(str(error.filename)).name if error.filename else "a file"
        typer.echo(f"error: {name}: {error.strerror or error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if debug:
            raise
        typer.echo("stopped", err=True)
        sys.exit(130)
