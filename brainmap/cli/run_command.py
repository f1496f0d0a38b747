"""``brainmap run``: a study file with one study or a grid of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmap.cli.console import EXIT_USER_ERROR, console, interruptible


def run(
    study: Annotated[
        Path, typer.Argument(help="Study file (YAML); print one with `brainmap preset`.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of all studies.", show_default="brainmap_runs/grid-...")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out studies whose model or data are not here.")
    ] = False,
    reports: Annotated[bool, typer.Option("--reports", help="Write a report for every study, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Run the studies that a file declares, and write one report that compares them.

    Every study has its own folder; what is finished is not computed again, and Ctrl-C loses nothing that is.
    """
    from brainmap.study import Grid, GridConfig

    grid = Grid(GridConfig.from_yaml(study), out)
    screen = console()
    with interruptible():
        if dry_run:
            screen.print(grid.plan())
            if not skip_missing and any(grid.missing(cell) for cell in grid.cells):
                raise typer.Exit(EXIT_USER_ERROR)
            return
        for line in grid.models:
            screen.print(line)
        report = grid.write(skip_missing=skip_missing, reports=reports)
    screen.print(f"Report: {report}")


def preset(
    name: Annotated[str, typer.Argument(help="misalignment or convergence.")],
) -> None:
    """Print the study file of a published study, to start one's own from."""
    from brainmap.study import preset_text

    typer.echo(preset_text(name), nl=False)
