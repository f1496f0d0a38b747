"""Found against planted: what an analysis recovered of the structure that a simulation contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.errors import InputError
from brainmap.report import summary
from brainmap.report.results import StudyResults
from brainmap.report.style import format_score


@dataclass(frozen=True)
class Check:
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


def found_and_planted(results: StudyResults) -> list[Check]:
    """Compare the results with the ground truth of the simulation.

    Keys of ``results.truth`` that are read: ``depth_by_area`` (area to planted depth), ``residual_areas`` (names),
    ``residual_window`` (seconds), and ``checks``, a list of dicts with ``what``, ``planted``, ``found``, ``agrees`` for
    anything else that a study compares itself.

    Returns
    -------
    list of Check
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
    if truth.get("residual_window") is not None and "meg" in results.modalities:
        checks.append(_window(results, (float(truth["residual_window"][0]), float(truth["residual_window"][1]))))
    for row in truth.get("checks", []):
        verdict = {None: "not computed", True: "recovered", False: "differs"}[row.get("agrees")]
        checks.append(Check(str(row["what"]), str(row["planted"]), str(row["found"]), verdict))
    return checks


def hypotheses(results: StudyResults) -> pd.DataFrame | None:
    """Test Study A's three hypotheses on the scores of a study, for the table in the report.

    Returns
    -------
    pandas.DataFrame or None
        As :func:`judged_hypotheses`; None where a signal is missing or there are too few layers, areas or folds.
    """
    try:
        return judged_hypotheses(results)
    except (InputError, KeyError):  # areas without coordinates, too few layers: there is no order to speak of
        return None


def judged_hypotheses(results: StudyResults) -> pd.DataFrame:
    """Test the hypotheses with 200 resamples (tables need verdicts, not the last digit of an interval).

    Returns
    -------
    pandas.DataFrame
        As :func:`brainmap.hierarchy.evaluate_hypotheses`, over the targets that count in the study's own order.

    Raises
    ------
    InputError
        Where a signal is missing or there are too few layers, areas or folds.
    """
    from brainmap.hierarchy import HypothesisOptions, Resampling, SpatialOptions, TemporalOptions, evaluate_hypotheses
    from brainmap.hierarchy.spatial import predicted_somewhere

    plan = Resampling(n=200)
    options = HypothesisOptions(spatial=SpatialOptions(resampling=plan), temporal=TemporalOptions(resampling=plan))
    scores: dict[str, xr.Dataset | xr.DataArray] = {name: results.scores[name] for name in results.modalities}
    chosen = results.provenance.get("config", {}).get("order_over") == "significant"
    masks = predicted_somewhere(results.significance.get("fmri")) if chosen else {}
    return evaluate_hypotheses(scores, masks=masks, options=options)


def _order(results: StudyResults, kind: str) -> Check | None:
    modality = {"spatial": "fmri", "temporal": "meg"}[kind]
    if modality not in results.modalities:
        return None
    what = {"spatial": "Order of layers in space", "temporal": "Order of layers in time"}[kind]
    planted = {
        "spatial": "deeper layers drive areas farther from V1",
        "temporal": "deeper layers drive later moments",
    }[kind]
    table = summary.hierarchy_table(results, kind, "activation")
    if table is None or "r" not in table.attrs:
        return Check(what, planted, "not computed", "not computed")
    recovered = float(table.attrs["r"]) > 0 and summary.order_p(table.attrs)[0] < 0.05
    return Check(what, planted, summary.order_text(table.attrs), "recovered" if recovered else "differs")


def _areas(results: StudyResults, planted: list[str]) -> Check:
    what = "Areas that only gradients drive"
    if "fmri" not in results.residual:
        return Check(what, summary.area_list(planted, most=12), "not computed", "not computed")
    found = [str(unit) for unit in summary.residual_units(results, "fmri")]
    missed, extra = [a for a in planted if a not in found], [a for a in found if a not in planted]
    text = summary.area_list(found, most=12) or "no area"
    if missed and found:
        text += f"; missed {summary.area_list(missed)}"
    if extra:
        text += f"; not planted: {summary.area_list(extra)}"
    verdict = "differs" if extra or (not found and planted) else "partly" if missed else "recovered"
    return Check(what, summary.area_list(planted, most=12) or "no area", text, verdict)


def _depths(results: StudyResults, planted: Mapping[str, float]) -> Check:
    """Compare the planted depth of each area with the mean depth of the best layers found there."""
    what, words = (
        "Depth of each area",
        f"{len(planted)} areas from {min(planted.values()):.2f} to {max(planted.values()):.2f}",
    )
    table = summary.hierarchy_table(results, "spatial", "activation")
    if table is None:
        return Check(what, words, "not computed", "not computed")
    pairs = [(planted[str(a)], d) for a, d in zip(table["roi"], table["best_layer"], strict=True) if str(a) in planted]
    values = np.array([pair for pair in pairs if np.isfinite(pair).all()], dtype=float)
    if len(values) < 3 or np.ptp(values, axis=0).min() == 0:
        return Check(what, words, "too few areas to compare", "not computed")
    r = float(np.corrcoef(values.T)[0, 1])
    error = float(np.abs(values[:, 0] - values[:, 1]).mean())
    text = f"r = {format_score(r)} with the planted depths, mean absolute error {format_score(error)}"
    return Check(what, words, text, "recovered" if r > 0.7 else "partly" if r > 0.4 else "differs")


def _window(results: StudyResults, planted: tuple[float, float]) -> Check:
    what = "Times that only gradients drive"
    words = f"{planted[0]:.2f}–{planted[1]:.2f} s"
    if "meg" not in results.residual:
        return Check(what, words, "not computed", "not computed")
    windows = summary.residual_windows(results)
    units = np.array([float(unit) for unit in summary.residual_units(results, "meg")])
    table = results.residual["meg"]
    step = float(np.median(np.diff(np.sort(table["unit"].to_numpy(float))))) if len(table) > 1 else 0.0
    inside = (units >= planted[0] - 1.01 * step) & (units <= planted[1] + 1.01 * step)
    text = summary.format_windows(windows)
    if len(units) and not inside.all():
        text += f"; outside the window at {int((~inside).sum())} samples"
    verdict = "differs" if not len(units) or not inside.all() else "recovered"
    return Check(what, words, text, verdict)
