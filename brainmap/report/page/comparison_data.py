"""Numbers of many studies for one page: the table, the curves and profiles to turn to, in a form a browser can read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.page.interactive import pack
from brainmap.report.words import headlines, p_and_numbers
from brainmap.results import lookups, nameable
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import RESIDUAL, residual_row, score_table, significant_with_any
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults

_DIGITS = 5
NOWHERE = "not significant"
_UNSET = {"projection": "none", "objective": "the model's own", "own": "none"}  # of other settings: all there are
# Paul Tol's "muted" scheme without its palest colour, distinct for every colour vision; it begins anew after ten.
_COLORS = (
    *("#332288", "#cc6677", "#117733", "#44aa99", "#882255"),
    *("#88ccee", "#aa4499", "#999933", "#5b6878", "#1b2430"),
)


def comparison_table(collection: Collection) -> pd.DataFrame:
    """Return one row per study, modality and signal.

    Parameters
    ----------
    collection : Collection
        Studies.

    Returns
    -------
    pandas.DataFrame
        ``study``, the settings that vary, ``responses``, ``signal``, ``layer`` (the best one), ``depth``, ``r`` (mean
        over subjects; fMRI: over targets that are significant in any study with the same targets, MEG, EEG: at the best
        time), ``low``, ``high`` (± SEM; for the residual see :func:`~brainmap.results.collection_tables.residual_row`,
        NaN where it is not significant: an interval at a chosen maximum says nothing), ``last_layer_r``, ``where``
        (best area or time), ``order_r`` (spatial or temporal score), ``significant`` (share of targets or times in the
        best layer), ``n_subjects``. Layer, place, time and order are named only where the signal is above chance after
        correction over all that the page shows (:func:`brainmap.results.nameable.naming_levels`).
    """
    rows = []
    masks = _common_targets(collection)
    levels = nameable.naming_levels([member.results for member in collection])
    for member, name, level in zip(collection, collection.names(), levels, strict=True):
        varied = {key: _plain(key, member.settings.get(key)) for key in collection.varying}
        for modality in member.results.modalities:
            mask = masks.get(member.results.scores[modality].sizes["target"]) if modality == "fmri" else None
            for row in _rows(member.results, modality, mask, level.get(modality, 0.0)):
                responses = MODALITY_NAMES[modality] + (" (simulated)" if member.results.simulated else "")
                rows.append({"study": name, **varied, "responses": responses, **row})
    return pd.DataFrame(rows)


def _common_targets(collection: Collection) -> dict[int, np.ndarray]:
    """Targets that are significant with any study, by the number of targets: the same yardstick for all."""
    alike: dict[int, list[StudyResults]] = {}
    for member in collection:
        if "fmri" in member.results.modalities:
            alike.setdefault(member.results.scores["fmri"].sizes["target"], []).append(member.results)
    return {count: significant_with_any(studies, "fmri") for count, studies in alike.items()}


def _rows(results: StudyResults, modality: str, mask: np.ndarray | None, level: float) -> list[dict[str, Any]]:
    best = score_table(results, modality, layer="best", targets=mask)
    last = score_table(results, modality, layer="last", targets=mask).set_index("signal")["r"]
    depth = dict(zip(results.scores[modality]["layer"].values.astype(str), results.depths(modality), strict=True))
    kind = "spatial" if modality == "fmri" else "temporal"
    rows = []
    for row in best.to_dict("records"):
        signal = str(row["signal"])
        if signal == RESIDUAL:
            rows.append(_residual_row(results, modality, level))
            continue
        where, layer = _best(results, modality, signal, level)
        order = lookups.hierarchy_table(results, kind, signal) if layer else None
        share = _share(results, modality, signal, str(row["layer"]))
        rows.append(
            {
                "signal": signal_name(signal),
                "layer": headlines.layer_name(str(row["layer"])) if layer else NOWHERE,
                "depth": float(depth[str(row["layer"])]) if layer else np.nan,
                **{name: float(row[name]) for name in ("r", "low", "high")},
                "last_layer_r": float(last[signal]),
                "where": where,
                "order_r": float(order.attrs["r"]) if order is not None and "r" in order.attrs else np.nan,
                "significant": share,
                "n_subjects": int(row["n"]),
            }
        )
    return rows


def _residual_row(results: StudyResults, modality: str, level: float) -> dict[str, Any]:
    row = residual_row(results, modality) or {}
    table = results.residual[modality]
    hits = table[table["significant"].astype(bool) & nameable.predicts(results, modality, level=level)]
    if modality == "fmri":
        where = headlines.area_list(hits.sort_values("delta", ascending=False)["unit"].tolist(), most=4)
    else:
        where = p_and_numbers.format_windows(lookups.residual_windows(results)) if len(hits) else ""
    numbers = {name: float(row[name]) if name == "r" or len(hits) else np.nan for name in ("r", "low", "high")}
    rest = {"last_layer_r": np.nan, "where": where or NOWHERE, "order_r": np.nan}
    return {
        "signal": signal_name(RESIDUAL), "layer": row["layer"] if len(hits) else NOWHERE,
        "depth": np.nan, **numbers, **rest,
        "significant": float(table["significant"].astype(bool).mean()), "n_subjects": int(row["n"]),
    }  # fmt: skip


def _best(results: StudyResults, modality: str, signal: str, level: float) -> tuple[str, str]:
    """Return the best area or time that may be named on a page of several studies, and its layer; else words and ''."""
    if nameable.named_cells(results, modality, signal, level) is None:
        return "not tested", ""
    if modality == "fmri":
        area = nameable.best_area(results, signal, level)
        return (NOWHERE, "") if area is None else (area[0], area[2])
    moment = nameable.best_moment(results, signal, level)
    return (NOWHERE, "") if moment is None else (f"{1000 * moment[0]:.0f} ms", moment[2])


def _share(results: StudyResults, modality: str, signal: str, layer: str) -> float:
    marks = lookups.significance_of(results, modality, signal)
    if marks is None:
        return float("nan")
    if "layer" in marks.dims:
        marks = marks.sel(layer=layer)
    return float(marks.values.mean())


def comparison_data(collection: Collection) -> str:
    """Return curves and profiles of all studies, packed for the page's script."""
    members = list(collection)
    studies = [
        {"name": name, "color": _COLORS[number % len(_COLORS)], **_study(member)}
        for number, (member, name) in enumerate(zip(members, collection.names(), strict=True))
    ]
    return pack(json.dumps({"studies": studies}, separators=(",", ":")))


def _study(member: Member) -> dict[str, Any]:
    results = member.results
    described: dict[str, Any] = {"simulated": results.simulated, "stimulus": stimulus_span(results)}
    described["measured"] = MODALITY_NAMES.get(results.timed or "", "")
    for modality, kind, by in ((results.timed, "meg", "time"), ("fmri", "fmri", "roi")):
        if modality is None or modality not in results.modalities:
            continue
        scores = lookups.averaged_over(results, modality, by).transpose("signal", "subject", "layer", by)
        axis = scores[by].values
        described[kind] = {
            "axis": [round(float(t), 4) for t in axis] if by == "time" else [str(a) for a in axis],
            "layers": [headlines.layer_name(str(name)) for name in scores["layer"].values],
            "depths": [round(float(d), 4) for d in results.depths(modality)],
            "subjects": [str(name) for name in scores["subject"].values],
            "signals": [str(name) for name in scores["signal"].values],
            "names": [signal_name(str(name)) for name in scores["signal"].values],
            "r": _nested(scores),
        }
    return described


def _nested(scores: xr.DataArray) -> list[Any]:
    values = np.round(scores.values.astype(float), _DIGITS)
    boxed = values.astype(object)
    boxed[~np.isfinite(values)] = None  # JSON has no NaN
    listed: list[Any] = boxed.tolist()
    return listed


def _plain(setting: str, value: Any) -> str:
    if value is None:
        return _UNSET.get(setting, "all")
    if setting == "own":
        return str(value["responses"])
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
