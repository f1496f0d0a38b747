"""The command line: parses, calls the public API, prints. No analysis lives here."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from brainmap.cli.console import EXIT_USER_ERROR, console, interruptible
from brainmap.cli.data_commands import data_app
from brainmap.cli.fit_command import StudyCommand, fit
from brainmap.cli.models_commands import models_app
from brainmap.cli.predict_command import predict
from brainmap.cli.reproduce_command import reproduce
from brainmap.cli.run_command import preset, run, submit
from brainmap.common.errors import BrainmapError, DependentRowsWarning, ReadingNote, printable
from brainmap.common.storage.file_errors import os_sentence
from brainmap.common.versions import __version__

FAULT = "this is a fault of brainmap, not of your input"
TRACEBACK = "BRAINMAP_TRACEBACK"

app = typer.Typer(
    help="Brain encoding with the activations and gradients of vision models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"brainmap {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Brain encoding with the activations and gradients of vision models."""


app.command(cls=StudyCommand)(fit)
app.command()(run)
app.command()(submit)
app.command()(predict)
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
def explore(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, or of its training steps.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file.", show_default="RUN/explore.html")] = None,
) -> None:
    """Write the page in which a run is explored: turn the cortex, click a place, move through layers and time."""
    from brainmap.study import explore_run

    with interruptible():
        console().print(f"Explore: {explore_run(run, out)}")


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


@app.command()
def verify(run: Annotated[Path, typer.Argument(help="Folder of a run, or of several.")]) -> None:
    """Compare all that a run wrote with its digests, byte by byte. Exit code 2 if anything is damaged."""
    from brainmap.study import verify_run

    with interruptible():
        damage = verify_run(run)
    screen = console()
    for file, problem in damage.damaged:
        screen.print(f"damaged: {file} {problem}")
    if damage.not_verified:
        first = damage.not_verified[0]
        screen.print(f"not verified: {len(damage.not_verified)} stores without digests, the first is {first}")
    screen.print(f"{damage.stores} stores compared, {len(damage.damaged)} files damaged")
    if not damage.ok:
        screen.print("The command that made the run computes what is damaged anew.")
        raise typer.Exit(EXIT_USER_ERROR)


def main() -> None:
    """Run the command line: a user error is one sentence and exit code 2, an interrupt is exit code 130."""
    warnings.showwarning = _show_warning
    try:
        app()
    except BrainmapError as error:
        fail(str(error))
    except OSError as error:
        fail(os_sentence(error))
    except MemoryError as error:
        fail(f"there is not enough memory ({error or 'none is left'}); lower --memory, or use fewer data at once")
    except RecursionError:
        fail("the input is nested too deeply; no file of a study needs more than a few levels")
    except UnicodeError as error:
        fail(f"a text is not in UTF-8 ({error}); save the file in that encoding")
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        fail(f"{FAULT} ({problem}); set {TRACEBACK}=1 to see where, and please report it")


def fail(sentence: str) -> NoReturn:
    """Print a sentence as an error and end; what a file or a server put into it cannot steer the terminal."""
    typer.echo(printable(f"brainmap: {sentence}"), err=True)
    sys.exit(EXIT_USER_ERROR)


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print a note about how a file was read, and about dependent rows, as a plain line; all else as Python does."""
    words = {ReadingNote: "note", DependentRowsWarning: "warning"}
    kind = next((word for known, word in words.items() if issubclass(category, known)), None)
    if kind is not None:
        typer.echo(printable(f"brainmap: {kind}: {message}"), err=True)
    else:
        _show_others(message, category, *where, **more)
