"""What all commands share: console, tables, interrupts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


UNWRAPPED = 100_000  # columns; a file or a pipe has no right edge


def console() -> Console:
    """Rich on a terminal, plain unwrapped lines elsewhere; text is printed as it is, brackets included."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    return Console(highlight=False, markup=False, soft_wrap=True, width=UNWRAPPED)


@contextmanager
def interruptible() -> Iterator[None]:
    """End with exit code 130 and a sentence on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("brainmap: interrupted; what was finished is kept, the same command continues", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


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
    import yaml

    from brainmap.common.errors import InputError

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            equals = ""
        if not equals or not name:
            raise InputError(f"--set {pair!r} must be a name and a value, such as --set atlas=streams")
        *above, last = name.strip().split(".")
        level = found
        for part in above:
            level = level.setdefault(part, {})
        level[last] = value
    return found


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
        table.add_row(*(str(value) for value in row.values()))
    console().print(table)
