"""Found against planted: what an analysis recovered of the structure that a simulation contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmap.report.words import headlines, p_and_numbers
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results import lookups
from brainmap.results.study_results import StudyResults


@dataclass(frozen=True)
class Recovery:
    """One planted thing and what was found of it.

    Attributes
    ----------
    what, planted, found : str
        Words for a table.
    verdict : str
        ``recovered``, ``partly``, ``differs`` or ``not computed``.
    """

    what: str
    planted: str
    found: str
    verdict: str


def found_and_planted(results: StudyResults) -> list[Recovery]:
    """Compare the results with the ground truth of the simulation.

    Keys of ``results.truth`` that are read: ``depth_by_area`` (area to planted depth), ``residual_areas`` (names),
    ``residual_window`` (seconds), and ``checks``, a list of dicts with ``what``, ``planted``, ``found``, ``agrees`` for
    anything else that a study compares itself.

    Returns
    -------
    list of Recovery
        Empty when there is no ground truth.
    """
    truth: dict[str, Any] | None = results.truth
    if not truth:
        return []
    checks = [check for check in (_order(results, "spatial"), _order(results, "temporal")) if check is not None]
    if truth.get("depth_by_area") and "fmri" in results.modalities:
        checks.append(_depths(results, truth["depth_by_area"]))
    if "residual_areas" in truth and "fmri" in results.modalities:
        checks.append(_areas(results, [str(area) for area in truth["residual_areas"]]))
    if truth.get("residual_window") is not None and results.timed is not None:
        checks.append(_window(results, (float(truth["residual_window"][0]), float(truth["residual_window"][1]))))
    for row in truth.get("checks", []):
        verdict = {None: "not computed", True: "recovered", False: "differs"}[row.get("agrees")]
        checks.append(Recovery(str(row["what"]), str(row["planted"]), str(row["found"]), verdict))
    return checks


def _order(results: StudyResults, kind: str) -> Recovery | None:
    modality = headlines.ordered_modality(results, kind)
    if modality not in results.modalities:
        return None
    what = {"spatial": "Order of layers in space", "temporal": "Order of layers in time"}[kind]
    planted = {
        "spatial": "deeper layers drive areas farther from V1",
        "temporal": "deeper layers drive later moments",
    }[kind]
    table = lookups.hierarchy_table(results, kind, "activation")
    if table is None or "r" not in table.attrs:
        return Recovery(what, planted, "not computed", "not computed")
    recovered = float(table.attrs["r"]) > 0 and p_and_numbers.order_p(table.attrs)[0] < 0.05
    return Recovery(what, planted, p_and_numbers.order_text(table.attrs), "recovered" if recovered else "differs")


def _areas(results: StudyResults, planted: list[str]) -> Recovery:
    what = "Areas that only gradients drive"
    if "fmri" not in results.residual:
        return Recovery(what, headlines.area_list(planted, most=12), "not computed", "not computed")
    significant = [str(unit) for unit in lookups.residual_units(results, "fmri")]
    missed, extra = [a for a in planted if a not in significant], [a for a in significant if a not in planted]
    text = headlines.area_list(significant, most=12) or "no area"
    if missed and significant:
        text += f"; missed {headlines.area_list(missed)}"
    if extra:
        text += f"; not planted: {headlines.area_list(extra)}"
    verdict = "differs" if extra or (not significant and planted) else "partly" if missed else "recovered"
    return Recovery(what, headlines.area_list(planted, most=12) or "no area", text, verdict)


def _depths(results: StudyResults, planted: Mapping[str, float]) -> Recovery:
    """Compare the planted depth of each area with the mean depth of the best layers found there."""
    what, words = (
        "Depth of each area",
        f"{len(planted)} areas from {min(planted.values()):.2f} to {max(planted.values()):.2f}",
    )
    table = lookups.hierarchy_table(results, "spatial", "activation")
    if table is None:
        return Recovery(what, words, "not computed", "not computed")
    pairs = [(planted[str(a)], d) for a, d in zip(table["roi"], table["best_layer"], strict=True) if str(a) in planted]
    values = np.array([pair for pair in pairs if np.isfinite(pair).all()], dtype=float)
    if len(values) < 3 or np.ptp(values, axis=0).min() == 0:
        return Recovery(what, words, "too few areas to compare", "not computed")
    r = float(np.corrcoef(values.T)[0, 1])
    error = float(np.abs(values[:, 0] - values[:, 1]).mean())
    text = f"r = {format_score(r)} with the planted depths, mean absolute error {format_score(error)}"
    return Recovery(what, words, text, "recovered" if r > 0.7 else "partly" if r > 0.4 else "differs")


def _window(results: StudyResults, planted: tuple[float, float]) -> Recovery:
    what = "Times that only gradients drive"
    words = f"{planted[0]:.2f}–{planted[1]:.2f} s"
    if results.timed not in results.residual:
        return Recovery(what, words, "not computed", "not computed")
    windows = lookups.residual_windows(results)
    units = np.array([float(unit) for unit in lookups.residual_units(results, str(results.timed))])
    table = results.residual[str(results.timed)]
    step = float(np.median(np.diff(np.sort(table["unit"].to_numpy(float))))) if len(table) > 1 else 0.0
    inside = (units >= planted[0] - 1.01 * step) & (units <= planted[1] + 1.01 * step)
    text = p_and_numbers.format_windows(windows)
    if len(units) and not inside.all():
        text += f"; outside the window at {int((~inside).sum())} samples"
    verdict = "differs" if not len(units) or not inside.all() else "recovered"
    return Recovery(what, words, text, verdict)
