"""What all commands share: console, tables, interrupts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainmap.common.errors import InputError, printable
from brainmap.common.yaml_text import parse_value

if TYPE_CHECKING:
    from rich.console import Console


EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


Jobs = Annotated[int, typer.Option(min=1, help="Processes that work at once; of a queue, jobs at most.")]
Cluster = Annotated[
    str | None,
    typer.Option(help="slurm, pbs, sge, lsf, htcondor, or a Dask scheduler's address.", show_default="here"),
]
FeaturesRoot = Annotated[
    Path | None,
    typer.Option(
        help="One store of features for all studies, in place of one a run.", show_default="$BRAINMAP_FEATURES"
    ),
]
UNWRAPPED = 100_000  # columns; a file or a pipe has no right edge


def console() -> Console:
    """Rich on a terminal, plain unwrapped lines elsewhere; text is printed as it is, brackets included.

    Control characters, which a name in a file may hold and a terminal would obey, are shown as their escapes.
    """
    from rich.console import Console

    class Printing(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    if sys.stdout.isatty():
        return Printing(highlight=False, markup=False)
    return Printing(highlight=False, markup=False, soft_wrap=True, width=UNWRAPPED)


@contextmanager
def interruptible() -> Iterator[None]:
    """End with exit code 130 and a sentence on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("brainmap: interrupted; what was finished is kept, the same command continues", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def use_features_root(folder: Path | None) -> None:
    """Have all studies of this process, and of those that it starts, share one store of features."""
    if folder is not None:
        from brainmap.study.run_folder import FEATURES_ROOT, check_out

        os.environ[FEATURES_ROOT] = str(check_out(folder.absolute()))


def on_workers(jobs: int, cluster: str | None, **options: Any) -> Callable[[Any], None] | None:
    """Return what computes a study or a grid on several processes, as ``--jobs`` and ``--cluster`` ask; None for one.

    Parameters
    ----------
    jobs, cluster, **options
        As for :func:`brainmap.study.run_on_dask`.
    """
    if jobs == 1 and cluster is None:
        return None

    def compute(work: Any) -> None:
        from brainmap.study import run_on_dask

        run_on_dask(work, jobs=jobs, cluster=cluster, **options)

    return compute


def names(text: str | None) -> tuple[str, ...] | None:
    """Split ``a,b,c``; ``None`` stays ``None`` (all), and nothing between the commas is nothing, not all."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def settings_table(pairs: list[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs; a dot in the name goes one level down, values are YAML (``[1, 2]`` is a list).

    Raises
    ------
    InputError
        For a pair without ``=``, or a value that is not YAML.
    """
    table: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        *above, last = name.strip().split(".")
        if not equals or not last or not all(above):
            raise InputError(f"--set {pair!r} must be a name and a value, such as --set atlas=streams")
        value = parse_value(text, f"--set {pair!r}")
        level: Any = table
        for part in above:
            level = level.setdefault(part, {})
            if not isinstance(level, dict):
                break
        if not isinstance(level, dict) or last in level:
            raise InputError(f"--set {pair!r} contradicts another --set of {name.strip()!r} or a part of it; keep one")
        level[last] = value
    return table


def refuse_renamed(old: str, new: str, given: object) -> None:
    """Answer an option of an earlier version with its new name.

    Raises
    ------
    InputError
        If the old option was given.
    """
    from brainmap.common.errors import InputError

    if given is not None:
        raise InputError(f"{old} is called {new} now; write {new} {given}")


def print_table(rows: list[dict[str, str]]) -> None:
    """Print dictionaries with equal keys as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(value)) for value in row.values()))
    console().print(table)
