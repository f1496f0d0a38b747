"""The order of layers over the cortex (fMRI) or over time (MEG, EEG), for every signal of a study."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.results import nameable
from brainmap.results.study_results import StudyResults
from brainmap.study.declared.study_config import StudyConfig

Tables = dict[str, dict[str, pd.DataFrame]]


def order_of_layers(
    scores: xr.Dataset, responses: Responses, config: StudyConfig, marks: xr.DataArray | None = None
) -> tuple[Tables, dict[str, str]]:
    """Spatial (fMRI) or temporal (MEG, EEG) hierarchy of each signal, and how its p was made.

    With ``order_over: significant`` only fMRI targets count that some layer predicts above chance (``marks``). Left out
    where there is no order to speak of: too few layers, areas without coordinates, nothing predicted. Areas of HCP-MMP1
    are compared on the sphere and, beside Euclidean distances from V1, with those along the mesh.
    """
    from brainmap.hierarchy import temporal_hierarchy, top_areas
    from brainmap.hierarchy.order_in_space import predicted_somewhere

    kind = "spatial" if responses.modality == "fmri" else "temporal"
    tables: dict[str, pd.DataFrame] = {}
    areas = None
    masks = predicted_somewhere(marks) if kind == "spatial" and config.order_over == "significant" else {}
    if kind == "spatial" and config.top_areas is not None and "activation" in config.signals:
        areas = top_areas(scores["r"].sel(signal="activation"), responses.targets, fraction=config.top_areas)
    for signal in config.signals:
        r = scores["r"].sel(signal=signal)
        try:
            if kind == "spatial":
                tables[signal] = _spatial(r, responses.targets, areas, config.seed, mask=masks.get(signal))
            else:
                tables[signal] = temporal_hierarchy(r)
        except InputError:
            continue
    if not tables:
        return {}, {}
    attrs = next(iter(tables.values())).attrs
    counted = "; only targets predicted above chance in some layer" if masks else ""
    return {kind: tables}, {kind: attrs["p_method"] + counted}


def _spatial(
    r: xr.DataArray,
    targets: pd.DataFrame,
    areas: list[str] | None,
    seed: int,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Spatial hierarchy; ``attrs`` also hold, along the mesh, ``geodesic_r``, ``_low``, ``_high`` and ``_p``."""
    from brainmap.hierarchy import SpatialOptions, spatial_hierarchy
    from brainmap.hierarchy.cortex_distances import in_hcp_areas

    cortex, options = _hcp_areas() if in_hcp_areas(targets) else None, SpatialOptions(seed=seed)
    table = spatial_hierarchy(r, targets, mask=mask, areas=areas, cortex=cortex, options=options)
    if cortex is None:
        return table
    distances = cortex.groupby("roi")["geodesic_mm"].mean()
    other = spatial_hierarchy(r, targets, mask=mask, areas=areas, distances=distances, cortex=cortex, options=options)
    table["geodesic_mm"] = distances.reindex(table["roi"]).to_numpy()
    table.attrs |= {f"geodesic_{name}": other.attrs[name] for name in ("r", "low", "high", "p")}
    return table


@functools.cache
def _hcp_areas() -> pd.DataFrame:
    """All areas of HCP-MMP1 with their distances from V1 through space and along the mesh (mm)."""
    from brainmap.data.atlas import load_atlas, load_surface
    from brainmap.hierarchy import cortex_areas, geodesic_to_areas

    table = cortex_areas()
    parts = []
    for side, labels in load_atlas().items():
        everywhere = pd.DataFrame({"roi": labels, "hemisphere": side, "vertex": range(len(labels))})
        distance = geodesic_to_areas(everywhere, {side: load_surface(side, "midthickness")})
        mine = table[table["hemisphere"] == side]
        parts.append(mine.assign(geodesic_mm=distance.reindex(mine["roi"]).to_numpy()))
    return pd.concat(parts, ignore_index=True)


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
    """Test the hypotheses.

    Returns
    -------
    pandas.DataFrame
        As :func:`brainmap.hierarchy.evaluate_hypotheses`, over the targets that count in the study's own order; no
        verdict rests on a signal of which the report may name nothing (:mod:`brainmap.results.nameable`).

    Raises
    ------
    InputError
        Where a signal is missing or there are too few layers, areas or folds.
    """
    from brainmap.hierarchy import evaluate_hypotheses
    from brainmap.hierarchy.order_in_space import predicted_somewhere

    scores: dict[str, xr.Dataset | xr.DataArray] = {name: results.scores[name] for name in results.modalities}
    chosen = results.provenance.get("config", {}).get("order_over") == "significant"
    masks = predicted_somewhere(results.significance.get("fmri")) if chosen else {}
    signals = ("activation", "gradient")
    predicting = {name: [s for s in signals if nameable.predicts(results, name, s)] for name in results.modalities}
    return evaluate_hypotheses(scores, masks=masks, predicting=predicting)
