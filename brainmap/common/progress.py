"""Progress for anything that lasts: a bar with rate and remaining time on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


def track(iterable: Iterable[Item], description: str, *, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Iterate while showing progress on standard error.

    Parameters
    ----------
    iterable : iterable
        What to go through.
    description : str
        Shown left of the bar.
    total : int, optional
        Number of items; taken from ``len(iterable)`` where that exists.
    unit : str
        Noun of the throughput, as in ``12.3 images/s``.

    Yields
    ------
    object
        The items, unchanged. Nothing is written when standard error is not a terminal.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if not sys.stderr.isatty():
        yield from iterable
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")
        for item in iterable:
            yield item
            speed = bar.tasks[task].speed
            bar.update(task, advance=1, rate=f"{speed:.3g} {unit}/s" if speed else "")
