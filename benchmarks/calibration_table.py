"""Rows and Markdown tables of ``benchmarks/calibration.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

Row = dict[str, Any]


def row(check: str, condition: str, hits: np.ndarray | list[bool], nominal: float | None) -> Row:
    """One line of the table, with the exact (Clopper–Pearson) 99 % interval of the rate."""
    count, runs = int(np.sum(hits)), len(hits)
    low, high = stats.binomtest(count, runs).proportion_ci(0.99, method="exact")
    verdict = (
        "" if nominal is None else ("yes" if low <= nominal <= high else ("conservative" if high < nominal else "NO"))
    )
    if nominal is not None and nominal > 0.5 and verdict in ("conservative", "NO"):  # coverage: above is conservative
        verdict = "conservative" if low > nominal else "NO"
    return {
        "check": check,
        "condition": condition,
        "runs": runs,
        "rate": count / runs,
        "low": low,
        "high": high,
        "nominal": nominal,
        "kept": verdict,
    }


def table(rows: list[Row]) -> str:
    """Markdown table."""
    lines = ["| check | condition | runs | rate | 99 % interval | nominal | kept |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        nominal = "" if r["nominal"] is None else f"{r['nominal']:.3g}"
        interval = f"{r['low']:.3f}–{r['high']:.3f}"
        cells = (r["check"], r["condition"], r["runs"], f"{r['rate']:.3f}", interval, nominal, r["kept"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


def insert(page: str, text: str) -> str:
    """Put a table between the two marks of a page."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"
