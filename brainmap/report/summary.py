"""The numbers of a report, taken out of the results: averages and look-ups, no new statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.report.results import MODALITY_NAMES, StudyResults
from brainmap.report.style import format_p, format_score, signal_name


@dataclass(frozen=True)
class Headline:
    """One number with its uncertainty.

    Attributes
    ----------
    question : str
        What the number answers.
    value, uncertainty : str
        The number as text, and its interval or spread.
    note : str
        How to read it.
    signal : str
        Decides the colour.
    """

    question: str
    value: str
    uncertainty: str
    note: str
    signal: str


def averaged_over(results: StudyResults, modality: str, by: str) -> xr.DataArray:
    """Average r over splits and over the targets that share a coordinate.

    Parameters
    ----------
    results : StudyResults
        Results.
    modality : str
        ``fmri`` or ``meg``.
    by : str
        Target coordinate to keep, such as ``time`` (averages over sensors) or ``roi``.

    Returns
    -------
    xr.DataArray
        Dims ``(subject, signal, layer, by)``; targets without a score do not count.
    """
    r = results.mean_r(modality)
    labels, index = np.unique(np.asarray(results.scores[modality][by].values), return_inverse=True)
    flat = r.values.reshape(-1, r.sizes["target"]).astype(float)
    known = np.isfinite(flat)
    total = np.stack([np.bincount(index, row, len(labels)) for row in np.where(known, flat, 0.0)])
    count = np.stack([np.bincount(index, row, len(labels)) for row in known.astype(float)])
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    coords = {name: r[name].values for name in ("subject", "signal", "layer")}
    return xr.DataArray(
        mean.reshape(*r.shape[:-1], len(labels)), dims=("subject", "signal", "layer", by), coords={**coords, by: labels}
    )


def best_layers(results: StudyResults, signal: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best layer of each fMRI target from the mean over subjects and splits.

    Returns
    -------
    tuple of np.ndarray, each of shape (n_targets,)
        Number of the best layer (−1 where no layer has a score), its depth, and r there. Targets that are not
        significant at their best layer have NaN in the last two.
    """
    r = results.mean_r("fmri").sel(signal=signal).mean("subject", skipna=True).values
    known = np.isfinite(r).any(axis=0)
    best = np.where(known, np.argmax(np.where(np.isfinite(r), r, -np.inf), axis=0), -1)
    top = np.take_along_axis(r, np.maximum(best, 0)[None], axis=0)[0]
    shown = known & _significant_at(results, signal, best)
    depth = np.where(shown, results.depths("fmri")[best], np.nan)
    return best, depth, np.where(shown, top, np.nan)


def _significant_at(results: StudyResults, signal: str, layer: np.ndarray) -> np.ndarray:
    marks = significance_of(results, "fmri", signal)
    if marks is None or "target" not in marks.dims:
        return np.ones(len(layer), dtype=bool)
    if "layer" not in marks.dims:
        return marks.values.astype(bool)
    marks = marks.transpose("layer", "target")
    return np.take_along_axis(marks.values.astype(bool), np.maximum(layer, 0)[None], axis=0)[0]


def significance_of(results: StudyResults, modality: str, signal: str) -> xr.DataArray | None:
    """Return the significance marks of one signal, or None where the study made none."""
    marks = results.significance.get(modality)
    if marks is None:
        return None
    if "signal" in marks.dims:
        if signal not in marks["signal"].values:
            return None
        marks = marks.sel(signal=signal)
    return marks


def time_marks(results: StudyResults, signal: str) -> xr.DataArray | None:
    """Return MEG marks with dims ``(layer, time)``, or None where they are by target or absent."""
    marks = significance_of(results, "meg", signal)
    return marks if marks is not None and set(marks.dims) == {"layer", "time"} else None


def hierarchy_table(results: StudyResults, kind: str, signal: str) -> pd.DataFrame | None:
    """Return the table of one hierarchy (``spatial``, ``temporal``) for one signal, or None where there is none."""
    part = results.hierarchy.get(kind)
    if isinstance(part, Mapping):
        table = part.get(signal)
    elif isinstance(part, pd.DataFrame) and "signal" in part:
        table = part[part["signal"] == signal]
    else:
        table = part if signal == "activation" else None
    return table if isinstance(table, pd.DataFrame) and len(table) else None


def residual_units(results: StudyResults, modality: str) -> list[Any]:
    """Return the areas or times at which gradients add significantly, in the order of the table."""
    table = results.residual.get(modality)
    return [] if table is None else table.loc[table["significant"].astype(bool), "unit"].tolist()


def time_runs(times: list[float], step: float) -> list[tuple[float, float]]:
    """Join neighbouring time samples into windows ``(first, last)`` in s."""
    runs: list[tuple[float, float]] = []
    for time in sorted(float(t) for t in times):
        if runs and time - runs[-1][1] < 1.5 * step:
            runs[-1] = (runs[-1][0], time)
        else:
            runs.append((time, time))
    return runs


def residual_windows(results: StudyResults) -> list[tuple[float, float]]:
    """Return the time windows in which gradients add significantly to activations."""
    table = results.residual.get("meg")
    if table is None or len(table) < 2:
        return []
    step = float(np.median(np.diff(np.sort(table["unit"].to_numpy(float)))))
    return time_runs(residual_units(results, "meg"), step)


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


def main_signal(results: StudyResults, modality: str) -> str | None:
    """Return the signal that headlines are about: activations if they were scored, None where nothing has a score."""
    if modality not in results.modalities:
        return None
    r = results.scores[modality]["r"]
    names = [str(name) for name in r["signal"].values]
    for name in sorted(names, key=lambda name: name != "activation"):
        if np.isfinite(r.sel(signal=name).values).any():
            return name
    return None


def best_area(results: StudyResults, signal: str) -> tuple[str, np.ndarray, str]:
    """Return the best-predicted area, its score per subject at its best layer, and that layer."""
    r = averaged_over(results, "fmri", "roi").sel(signal=signal)
    mean = r.mean("subject", skipna=True).transpose("layer", "roi")
    layer, area = np.unravel_index(np.nanargmax(mean.values), mean.shape)
    return str(mean["roi"].values[area]), r.isel(layer=layer, roi=area).values, str(mean["layer"].values[layer])


def best_moment(results: StudyResults, signal: str) -> tuple[float, np.ndarray, str]:
    """Return the time of the highest MEG score (mean over sensors), the score per subject there, and the layer."""
    r = averaged_over(results, "meg", "time").sel(signal=signal)
    mean = r.mean("subject", skipna=True).transpose("layer", "time")
    layer, time = np.unravel_index(np.nanargmax(mean.values), mean.shape)
    return float(mean["time"].values[time]), r.isel(layer=layer, time=time).values, str(mean["layer"].values[layer])


def headlines(results: StudyResults) -> list[Headline]:
    """Return the numbers at the top of the report, as far as the results hold them."""
    found: list[Headline] = []
    signal = main_signal(results, "fmri")
    if signal is not None:
        area, values, layer = best_area(results, signal)
        found.append(_score_headline("Best-predicted area", area, values, layer, signal))
    signal = main_signal(results, "meg")
    if signal is not None:
        time, values, layer = best_moment(results, signal)
        found.append(_score_headline("Best-predicted moment", f"{1000 * time:.0f} ms", values, layer, signal))
    for kind, question, note in (
        ("spatial", "Order in space", "best layer of an area against its distance from V1"),
        ("temporal", "Order in time", "latency of a layer against its depth"),
    ):
        table = hierarchy_table(results, kind, "activation")
        if table is not None and "r" in table.attrs:
            found.append(_order_headline(question, dict(table.attrs), note))
    if "fmri" in results.residual:
        units = residual_units(results, "fmri")
        total = len(results.residual["fmri"])
        found.append(
            Headline(
                "Areas where gradients add",
                f"{len(units)} of {total}",
                _listed(units),
                _family_note(results),
                "residual",
            )
        )
    if "meg" in results.residual:
        windows = residual_windows(results)
        value = format_windows(windows, most=1) if windows else "never"
        found.append(Headline("Times when gradients add", value, _gain(results), _family_note(results), "residual"))
    return found


def order_p(statistics: Mapping[Any, Any], kind: str = "p") -> tuple[float, str]:
    """Return p of a hierarchy's order, and p in words with the name of its test.

    Parameters
    ----------
    statistics : mapping
        ``attrs`` of a hierarchy. The test is that of the spins (neighbouring areas are alike) or of the slope of T_max
        (neighbouring layers share their noise); for lack of both the one that takes areas, or layers, for independent.
    kind : {'p', 'rho_p'}
        Of Pearson's or Spearman's correlation; the latter has no words where its only test takes layers for independent
        and the slope's does not.

    Returns
    -------
    p : float
        NaN if unknown.
    words : str
        Such as ``spin p = .01``; empty if unknown.
    """
    tests = {"spin ": ("spin_p", "spin_rho_p"), "slope ": ("slope_p", ""), "": ("p", "rho_p")}
    for label, names in tests.items():
        if np.isfinite(statistics.get(names[0], np.nan)):  # this is the test that was made
            p = float(statistics.get(names[kind == "rho_p"], np.nan))
            return p, f"{label}{format_p(p)}" if np.isfinite(p) else ""
    return float("nan"), ""


def order_text(statistics: Mapping[Any, Any]) -> str:
    """Return r and p of a hierarchy's order, such as ``r = .95, spin p = .01``."""
    r = f"r = {format_score(float(statistics.get('r', np.nan)))}"
    return ", ".join(filter(None, (r, order_p(statistics)[1])))


def layer_name(layer: str) -> str:
    """Return a layer as written in a sentence: ``block.3`` becomes ``block 3``."""
    return layer.replace(".", " ")


def area_list(units: list[Any], *, most: int = 5) -> str:
    """Return area names as text, such as ``FFC, PH and 3 more``."""
    names = [str(unit) for unit in units]
    if len(names) > most:
        return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def modality_phrase(results: StudyResults, modality: str) -> str:
    """Return the name of a modality, with *simulated* before it where it is."""
    return ("simulated " if results.simulated else "") + MODALITY_NAMES[modality]


def _listed(units: list[Any]) -> str:
    return area_list(units) if units else "no area"


def _family_note(results: StudyResults) -> str:
    level = format_score(float(results.provenance.get("alpha_level") or 0.05))
    return f"gain in held-out r over activations, family-wise p < {level}"


def _gain(results: StudyResults) -> str:
    table = results.residual["meg"]
    shown = table[table["significant"].astype(bool)]
    if not len(shown):
        return "no significant gain"
    top = shown.iloc[int(shown["delta"].to_numpy().argmax())]
    return f"up to {format_score(top['delta'], 3)} [{format_score(top['low'], 3)}, {format_score(top['high'], 3)}]"


def _score_headline(question: str, where: str, values: np.ndarray, layer: str, signal: str) -> Headline:
    mean = float(np.nanmean(values))
    uncertainty = f"r = {format_score(mean, 2 if mean >= 0.1 else 3)} {spread(values)}"
    note = f"{signal_name(signal).lower()} of {layer_name(layer)}"
    note += f"; ± SEM over {len(values)} subjects" if len(values) > 1 else ""
    return Headline(question, where, uncertainty, note, signal)


def _order_headline(question: str, statistics: Mapping[Any, Any], note: str) -> Headline:
    interval = ""
    if "low" in statistics and "high" in statistics:
        interval = (
            f"95 % interval {format_score(float(statistics['low']))} to {format_score(float(statistics['high']))}"
        )
    _, words = order_p(statistics)
    return Headline(
        question,
        f"r = {format_score(float(statistics['r']))}",
        ", ".join(part for part in (interval, words) if part),
        note,
        "activation",
    )
