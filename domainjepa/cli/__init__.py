"""The commands: parse, resolve, call. Imports no torch, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import typer

from domainjepa.cli import discover, evaluate, examine, learn, look, use
from domainjepa.cli.app import app
from domainjepa.errors import RankLost, UserError
from domainjepa.lifeline import end_with_starter
from domainjepa.showing import print_anything, shown

__all__ = ["app", "discover", "evaluate", "examine", "learn", "look", "main", "use"]


def main() -> None:
    """Run the command line; an error is one message on stderr.

    Exit status: 2 for what the user can mend, 130 for Ctrl-C, 1 for what only we can.
    """
    end_with_starter()
    debug = "--debug" in sys.argv
    print_anything()
    try:
        app(args=[word for word in sys.argv[1:] if word != "--debug"], prog_name="domainjepa")
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        said, status = _told(error)
        typer.echo(said, err=True)
        if isinstance(error, RankLost):
            os._exit(status)  # a clean end would have its threads and its launcher wait
        sys.exit(status)


def _told(error: BaseException) -> tuple[str, int]:
    """What ended a command, in one line, and its exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    if isinstance(error, UserError):
        return f"error: {shown(error)}", 2
    if isinstance(error, OSError):
        name = Path(os.fsdecode(error.filename)).name if error.filename else "a file"
        return f"error: {shown(name)}: {shown(error.strerror or error)}", 2
    if isinstance(error, MemoryError):
        return "error: the memory of this machine does not suffice for that.", 2
    # What the error says may hold names and paths, and people paste this line.
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}, line {last.lineno}"
    return (
        f"error: {type(error).__name__} in {place}: this is a fault of ours. Run the command again "
        "with --debug, and report what it shows.",
        1,
    )
