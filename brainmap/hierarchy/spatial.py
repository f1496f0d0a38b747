"""Spatial hierarchy: the layer that predicts an area best, against the area's distance from V1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.errors import InputError
from brainmap.hierarchy.order import agreement


def best_layer(scores: xr.DataArray) -> xr.DataArray:
    """Depth of the layer with the highest score of each target.

    Parameters
    ----------
    scores : xr.DataArray
        r with a dimension ``layer`` that carries the coordinate ``depth``, and ``target``; others are averaged.

    Returns
    -------
    xr.DataArray
        Depth in [0, 1] along ``target``; NaN where no layer has a score.
    """
    mean = _layer_by_target(scores)
    known = np.isfinite(mean.values).any(0)
    first = np.where(np.isfinite(mean.values), mean.values, -np.inf).argmax(0)
    depth = np.where(known, scores["depth"].values[first], np.nan)
    return xr.DataArray(depth, dims="target")


def centre_of_mass(scores: xr.DataArray) -> xr.DataArray:
    """Depth at the centre of mass of each target's tuning curve over layers.

    Scores are taken above the curve's minimum, so that a flat curve has its centre in the middle of the network.
    """
    mean = _layer_by_target(scores)
    above = mean.values - np.nanmin(mean.values, axis=0, keepdims=True)
    total = np.nansum(above, axis=0)
    weighted = np.nansum(above * scores["depth"].values[:, None], axis=0)
    return xr.DataArray(np.divide(weighted, total, out=np.full_like(total, np.nan), where=total > 0), dims="target")


def distance_to(targets: pd.DataFrame, reference: str = "V1") -> pd.Series:
    """Euclidean distance of each area's centre to that of a reference area of the same hemisphere.

    Parameters
    ----------
    targets : pandas.DataFrame
        One row per target: ``roi``, ``hemisphere``, ``x``, ``y``, ``z`` (mm).
    reference : str
        Area the distances start from.

    Returns
    -------
    pandas.Series
        mm by area, mean over hemispheres; empty where coordinates or the reference are missing.
    """
    named = targets[targets["roi"].astype(str) != ""]
    centres = named.groupby(["hemisphere", "roi"])[["x", "y", "z"]].mean()
    distances = []
    for hemisphere in centres.index.unique("hemisphere"):
        inside = centres.xs(hemisphere, level="hemisphere")
        if reference in inside.index:
            offset = inside.to_numpy() - inside.loc[reference].to_numpy()
            distances.append(pd.Series(np.linalg.norm(offset, axis=1), index=inside.index))
    if not distances:
        return pd.Series(dtype=float)
    return pd.concat(distances).groupby(level=0).mean().dropna()


def spatial_hierarchy(
    scores: xr.DataArray,
    targets: pd.DataFrame,
    *,
    mask: np.ndarray | None = None,
    reference: str = "V1",
    seed: int = 0,
) -> pd.DataFrame:
    """Relate the best layer of each area to its distance from V1 (the *spatial score* of Raugel et al. 2025).

    Parameters
    ----------
    scores : xr.DataArray
        r of one signal, dims among (subject, layer, split, target), coordinate ``depth`` on ``layer``.
    targets : pandas.DataFrame
        One row per target: ``roi``, ``hemisphere``, ``x``, ``y``, ``z`` (mm).
    mask : ndarray of bool, (n_targets,), optional
        Targets to use, such as the significant ones; all by default.
    reference : str
        Area the distances start from.
    seed : int
        Seed of the bootstrap over areas.

    Returns
    -------
    pandas.DataFrame
        One row per area: ``roi``, ``distance_mm``, ``best_layer`` (mean depth of its targets' best layers),
        ``centre_of_mass`` (depth), ``r`` (mean score at the best layer), ``n_targets``. ``attrs``: ``r``, ``p``,
        ``rho``, ``rho_p``, ``low``, ``high`` of the correlation of distance and best layer, and ``p_method``.

    Raises
    ------
    InputError
        If targets and scores disagree, or fewer than four areas have coordinates and scores.
    """
    if len(targets) != scores.sizes["target"]:
        raise InputError(f"there are {len(targets)} rows of targets for {scores.sizes['target']} scores")
    use = np.ones(len(targets), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    top = np.nanmax(np.where(use, _layer_by_target(scores).values, np.nan), axis=0, initial=-np.inf)
    table = pd.DataFrame(
        {
            "roi": targets["roi"].to_numpy(),
            "best_layer": np.where(use, best_layer(scores).values, np.nan),
            "centre_of_mass": np.where(use, centre_of_mass(scores).values, np.nan),
            "r": np.where(np.isfinite(top), top, np.nan),
        }
    )
    areas = table.groupby("roi").mean()
    areas["n_targets"] = table.groupby("roi")["best_layer"].count()
    areas.insert(0, "distance_mm", distance_to(targets, reference))
    areas = areas.dropna(subset=["distance_mm", "best_layer"]).reset_index()
    order = agreement(areas["distance_mm"], areas["best_layer"], seed=seed)
    areas.attrs = {**order.as_attrs(), "p_method": "two-sided t test of Pearson r over areas"}
    return areas


def _layer_by_target(scores: xr.DataArray) -> xr.DataArray:
    others = [dim for dim in scores.dims if dim not in ("layer", "target")]
    return scores.mean(others, skipna=True).transpose("layer", "target")
