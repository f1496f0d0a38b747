"""The command line: parses, calls the public API, prints. No analysis lives here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from brainmap.cli.console import EXIT_USER_ERROR, console, interruptible
from brainmap.cli.data_commands import data_app
from brainmap.cli.fit_command import fit
from brainmap.cli.models_commands import models_app
from brainmap.cli.reproduce_command import reproduce
from brainmap.cli.run_command import preset, run
from brainmap.common.errors import BrainmapError

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
    try:
        app()
    except BrainmapError as error:
        typer.echo(f"brainmap: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)
