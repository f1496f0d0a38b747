"""Rows and Markdown tables of ``benchmarks/calibration.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

Row = dict[str, Any]
NEARLY = (0.07, 0.92)  # upper end of false positives at .05, and coverage of 95 %, that are told apart from NO


def row(check: str, condition: str, hits: np.ndarray | list[bool], nominal: float | None) -> Row:
    """One line of the table, with the exact (Clopper–Pearson) 99 % interval of the rate."""
    count, runs = int(np.sum(hits)), len(hits)
    rate = count / runs
    low, high = stats.binomtest(count, runs).proportion_ci(0.99, method="exact")
    verdict = (
        "" if nominal is None else ("yes" if low <= nominal <= high else ("conservative" if high < nominal else "NO"))
    )
    if nominal is not None and nominal > 0.5 and verdict in ("conservative", "NO"):  # coverage: above is conservative
        verdict = "conservative" if low > nominal else "NO"
    if verdict == "NO" and nominal is not None:
        near = rate >= NEARLY[1] if nominal > 0.5 else nominal == 0.05 and high <= NEARLY[0]
        verdict = "nearly" if near else verdict
    return {
        "check": check,
        "condition": condition,
        "runs": runs,
        "rate": rate,
        "low": low,
        "high": high,
        "nominal": nominal,
        "kept": verdict,
    }


FIRST = {"NO": "Does not keep its word", "nearly": "Nearly"}
HEAD = ["| check | condition | runs | rate | 99 % interval | nominal | kept |", "|---|---|---|---|---|---|---|"]


def table(rows: list[Row]) -> str:
    """Markdown tables: what does not keep its word first, then what nearly does, then the rest."""
    parts = []
    for kept, title in {**FIRST, "": "Keeps its word, or is for comparison"}.items():
        mine = [r for r in rows if (r["kept"] == kept if kept else r["kept"] not in FIRST)]
        if mine:
            parts.append("\n".join([f"### {title}", "", *HEAD, *map(line, mine)]))
    return "\n\n".join(parts)


def line(r: Row) -> str:
    """One row of the table."""
    nominal = "" if r["nominal"] is None else f"{r['nominal']:.3g}"
    interval = f"{r['low']:.3f}–{r['high']:.3f}"
    cells = (r["check"], r["condition"], r["runs"], f"{r['rate']:.3f}", interval, nominal, r["kept"])
    return "| " + " | ".join(map(str, cells)) + " |"


BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


def insert(page: str, text: str) -> str:
    """Put a table between the two marks of a page."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"
