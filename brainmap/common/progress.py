"""Progress for anything that lasts: a bar with rate and remaining time on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

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


class StageProgress:
    """Progress of work in several stages: a bar each on a terminal; elsewhere a line at times, as logs are read.

    Parameters
    ----------
    totals : mapping of str to int
        Stage → pieces of work; in the order in which they are shown.
    every : float
        Seconds between two lines, at least, where standard error is no terminal.
    """

    def __init__(self, totals: Mapping[str, int], *, every: float = 30.0) -> None:
        self.totals, self.every = dict(totals), every
        self.done = dict.fromkeys(self.totals, 0)
        self._bar: Any = None
        self._rows: dict[str, Any] = {}
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> StageProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
            self._rows = {stage: self._bar.add_task(stage, total=total) for stage, total in self.totals.items()}
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, stage: str) -> None:
        """Count a piece of work as done."""
        self.done[stage] += 1
        if self._bar is not None:
            self._bar.update(self._rows[stage], advance=1)
        elif self.done[stage] == self.totals[stage] or time.monotonic() - self._told > self.every:
            self._told = time.monotonic()
            self.say(self.line())

    def line(self) -> str:
        """Return what is done of each stage, and how long the rest of it takes at the pace so far."""
        return ", ".join(
            f"{stage} {self.done[stage]}/{total}{self._remaining(stage)}" for stage, total in self.totals.items()
        )

    def say(self, text: str) -> None:
        """Print a line beside the bars."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(f"brainmap: {text}", file=sys.stderr, flush=True)

    def _remaining(self, stage: str) -> str:
        done, total = self.done[stage], self.totals[stage]
        if not 0 < done < total:
            return ""
        minutes = (time.monotonic() - self._begun) / done * (total - done) / 60
        return f" (about {minutes:.0f} min left)" if minutes >= 1 else " (less than a minute left)"
