"""``brainmap run``: a study file with one study or a grid of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmap.cli.console import (
    EXIT_USER_ERROR,
    Cluster,
    FeaturesRoot,
    Jobs,
    console,
    interruptible,
    on_workers,
    print_table,
    use_features_root,
)
from brainmap.common.errors import InputError


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
    jobs: Jobs = 1,
    cluster: Cluster = None,
    features_root: FeaturesRoot = None,
    only: Annotated[str | None, typer.Option(help="Only a share of the studies, as 17/64 (arrays of jobs).")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the studies and what is done of each, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Run the studies that a file declares, and write one report that compares them.

    Every study has its own folder; what is finished is not computed again, and Ctrl-C loses nothing that is. The same
    command may run several times at once, here or on other machines that share the folder: each process takes what no
    other one holds.
    """
    from brainmap.study import Grid, GridConfig, listed, share_of

    if only is not None and (jobs > 1 or cluster is not None):
        raise InputError("--only is one process's share; --jobs and --cluster hand out all studies: give one of them")
    use_features_root(features_root)
    grid = Grid(GridConfig.from_yaml(study), out)
    screen = console()
    with interruptible():
        if list_:
            print_table(listed(grid))
            return
        if dry_run:
            screen.print(grid.plan())
            if not skip_missing and any(grid.missing(cell) for cell in grid.cells):
                raise typer.Exit(EXIT_USER_ERROR)
            return
        for line in grid.models:
            screen.print(line)
        if only is not None:
            done = grid.run_all(share_of(grid.cells, only), reports=reports)
            screen.print(f"Share {only}: {len(done)} of {len(grid.cells)} studies finished in {grid.out}")
            return
        workers = on_workers(jobs, cluster, reports=reports, skip_missing=skip_missing)
        if workers is not None:
            workers(grid)
        report = grid.write(skip_missing=skip_missing, reports=reports)
    screen.print(f"Report: {report}")


def submit(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of all studies, seen by all machines.")],
    jobs: Annotated[int, typer.Option(min=1, help="Jobs in the array.")] = 8,
    print_: Annotated[bool, typer.Option("--print", help="Print the script; nothing is submitted.")] = False,
) -> None:
    """Print the SLURM script that runs a study file in an array of jobs, to be looked at and given to sbatch."""
    from brainmap.study import GridConfig, queue_script

    GridConfig.from_yaml(study)
    if not print_:
        raise InputError(f"nothing is submitted for you: brainmap submit {study} --out {out} --print | sbatch")
    typer.echo(queue_script(study, out, jobs))


def preset(
    name: Annotated[str, typer.Argument(help="misalignment, convergence, or misalignment-hypotheses.")],
) -> None:
    """Print the study file of a published study, or its hypotheses, to start one's own from."""
    from brainmap.study import preset_text

    typer.echo(preset_text(name), nl=False)
