"""P and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

STARS = (
    "Star: significant somewhere in the map (fMRI) or after onset (MEG, EEG) by the study's own test, corrected over "
    "vertices or times (residual: family-wise over areas or times); a layer without any effect gets one in at most one "
    "study of twenty."
)


def format_p(p: float) -> str:
    """Return a p value as it is written in a sentence, such as ``p < .001`` or ``p = .03``."""
    if not np.isfinite(p):
        return "p not available"
    if p < 0.001:
        return "p < .001"
    return "p = " + format_score(p, 3 if p < 0.01 else 2)


def format_score(value: float, digits: int = 2) -> str:
    """Return a correlation without its leading zero and with a true minus sign, such as ``.35`` or ``−.27``."""
    if not np.isfinite(value):
        return "n/a"
    text = f"{abs(value):.{digits}f}"
    if text.startswith("0."):
        text = text[1:]
    return ("−" if value < 0 and float(f"{abs(value):.{digits}f}") > 0 else "") + text


def format_windows(windows: list[tuple[float, float]], *, most: int = 3) -> str:
    """Return windows as text, the longest first when there are too many."""
    if not windows:
        return "no time"
    chosen = sorted(sorted(windows, key=lambda w: w[0] - w[1])[:most])
    text = ", ".join(f"{low:.2f}–{high:.2f} s" if high > low else f"{low:.2f} s" for low, high in chosen)
    return text + (f" and {len(windows) - most} shorter" if len(windows) > most else "")


def spread(values: np.ndarray) -> str:
    """Return ``± standard error`` over subjects, or a word where there is only one."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return "(one subject)"
    return f"± {format_score(float(np.std(values, ddof=1) / np.sqrt(len(values))), 3)}"


def order_p(statistics: Mapping[Any, Any], kind: str = "p") -> tuple[float, str]:
    """Return p of a hierarchy's order, and p in words with the name of its test.

    Parameters
    ----------
    statistics : mapping
        ``attrs`` of a hierarchy. The test is that of the slope of T_max (layers share their noise) in time, and of
        random maps (neighbouring areas are alike) in space.
    kind : {'p', 'rho_p'}
        Of Pearson's or Spearman's correlation; the latter has no words where its only test takes layers for independent
        and the slope's does not.

    Returns
    -------
    p : float
        NaN if unknown.
    words : str
        Such as ``slope p = .01``; empty if unknown.
    """
    label, names = ("slope ", ("slope_p", "")) if "slope_p" in statistics else ("", ("p", "rho_p"))
    p = float(statistics.get(names[kind == "rho_p"], np.nan))  # unknown where nothing is replicated: there is no other
    return p, f"{label}{format_p(p)}" if np.isfinite(p) else ""


def order_text(statistics: Mapping[Any, Any]) -> str:
    """Return r and p of a hierarchy's order, such as ``r = .95, slope p = .01``."""
    r = f"r = {format_score(float(statistics.get('r', np.nan)))}"
    return ", ".join(filter(None, (r, order_p(statistics)[1])))


def two_methods(statistics: Mapping[Any, Any]) -> str:
    """Say why an interval of r and its p disagree about zero; empty where they agree, or one is unknown."""
    low, high = (float(statistics.get(name, np.nan)) for name in ("low", "high"))
    p, words = order_p(statistics)
    if not np.isfinite([low, high, p]).all() or (low <= 0 <= high) == (p >= 0.05):
        return ""
    made = "p is of the slope" if words.startswith("slope") else "p takes each point for independent"
    return (
        f"Interval and {words} are of two methods and disagree about zero: the interval resamples the points, {made}; "
        "take the order as unsettled."
    )
