"""``brainmap reproduce``: every panel and number of a published study, on the data at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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


def reproduce(
    name: Annotated[str, typer.Argument(help="misalignment (Raugel et al. 2026) or convergence (2025).")],
    out: Annotated[Path | None, typer.Option(help="Folder.", show_default="brainmap_runs/<name>")] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=FILE",
            help="convergence: cortical map on the fsLR-32k mesh, or a folder of them; kinds: developmental-expansion, "
            "thickness, timescale, myelin, evolutionary-expansion. Repeatable.",
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Model size: checkpoints of one training. Once each, small to large."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Image type: checkpoints of a training on such images. Once each."),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Checkpoints of one training (MODEL:FOLDER; DINOv3-S by default) for the panels over it.",
        ),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study file in place of the preset's; may start with `preset: NAME`.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Public dataset in place of the sample; twice for fMRI of one and MEG of the other."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the public datasets.", show_default="$BRAINMAP_DATA")
    ] = None,
    thin: Annotated[
        int | None,
        typer.Option(help="Every n-th vertex and sensor of the simulated sample.", show_default="the preset's"),
    ] = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    features_root: FeaturesRoot = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Draw every panel of a paper and put its numbers beside those found here.

    Panels whose data are absent are drawn, too, and say what is missing. Of `convergence`, --sizes and --types take
    NAME=FOLDER, NAME=MODEL:FOLDER for checkpoints of a registered model, or NAME=MODEL for its trained weights.
    """
    from brainmap.papers import reproduce as run_reproduction
    from brainmap.papers import reproduction_grid
    from brainmap.papers.property_maps import read_maps

    settings: dict[str, Any] = {} if thin is None else {"thin": thin}
    factors = {"sizes": sizes or [], "types": types or []}
    place = {} if data_root is None else {"place": {"data_root": str(data_root)}}
    data = [{"dataset": data_set, **place} for data_set in dataset or []]
    chosen: dict[str, Any] = {"study": study, "factors": factors, "checkpoints": checkpoints, "data": data}
    use_features_root(features_root)
    screen = console()
    with interruptible():
        if dry_run:
            grid = reproduction_grid(name, out, **chosen, **settings)
            read_maps(name, maps)
            screen.print(grid.plan())
            if all(grid.missing(cell) for cell in grid.cells):  # what a machine lacks is left out, unless it is all
                raise typer.Exit(EXIT_USER_ERROR)
            return
        workers = on_workers(jobs, cluster, skip_missing=True)
        outcome = run_reproduction(name, out, maps=maps, settings=settings, compute=workers, **chosen)
    for table in (outcome.numbers, outcome.likeness):
        print_table([{str(key): str(value) for key, value in row.items()} for row in table.to_dict("records")])
        screen.print()
    screen.print(f"{len(outcome.drawn)} panels drawn, {len(outcome.missing)} say which data are missing")
    screen.print(f"Page: {outcome.page}")
