"""What objects show of themselves in a notebook: a short table of what they hold."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping


def html_table(caption: str, rows: Mapping[str, object]) -> str:
    """Return a table with a caption and one row per property; every text is escaped."""
    body = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<table><caption>{html.escape(caption)}</caption>{body}</table>"


def shortened(names: Iterable[object], most: int = 4) -> str:
    """Return a few names and how many more there are: ``block.0, block.1, …, block.11 (12)``."""
    listed = [str(name) for name in names]
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[: most - 2])}, …, {listed[-1]} ({len(listed)})"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: ``1 layer``, ``1,080 images``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
