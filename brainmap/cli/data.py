"""``brainmap data``: which datasets there are, what is on disk, what an analysis needs."""

from __future__ import annotations

import typer

from brainmap.cli.common import print_table

data_app = typer.Typer(help="Data: what is embedded, and how to bring your own.", invoke_without_command=True)


@data_app.callback()
def data(context: typer.Context) -> None:
    """List the datasets that `brainmap fit --dataset` takes."""
    if context.invoked_subcommand is None:
        from brainmap.study import list_datasets

        print_table(list_datasets())
