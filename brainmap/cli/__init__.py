"""The command line: parses, calls the public API, prints. No analysis lives here."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from brainmap.cli.console import EXIT_USER_ERROR, console, interruptible
from brainmap.cli.data_commands import data_app
from brainmap.cli.fit_command import fit
from brainmap.cli.models_commands import models_app
from brainmap.cli.reproduce_command import reproduce
from brainmap.cli.run_command import preset, run
from brainmap.common.errors import BrainmapError, ReadingNote
from brainmap.common.file_errors import os_sentence

app = typer.Typer(
    help="Brain encoding with the activations and gradients of vision models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(fit)
app.command()(run)
app.command()(preset)
app.command()(reproduce)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write the HTML report of a finished run again."""
    from brainmap.study import rewrite_report

    with interruptible():
        console().print(f"Report: {rewrite_report(run)}")


@app.command()
def doctor() -> None:
    """Check this machine: Python, packages, devices, embedded data. Exit code 2 when something is missing."""
    from brainmap.study import examine

    checks = examine()
    screen = console()
    for check in checks:
        screen.print(f"{'ok     ' if check.ok else 'MISSING'} {check.name}: {check.found}")
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_USER_ERROR)


def main() -> None:
    """Run the command line: a user error is one sentence and exit code 2, an interrupt is exit code 130."""
    warnings.showwarning = _show_warning
    try:
        app()
    except BrainmapError as error:
        typer.echo(f"brainmap: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:  # a full or read-only disk, a file that vanished
        typer.echo(f"brainmap: {os_sentence(error)}", err=True)
        sys.exit(EXIT_USER_ERROR)


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print a note about how a file was read as a plain line; anything else as Python does."""
    if issubclass(category, ReadingNote):
        typer.echo(f"brainmap: note: {message}", err=True)
    else:
        _show_others(message, category, *where, **more)
