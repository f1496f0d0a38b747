"""Spatial hierarchy: the layer that predicts an area best, against the area's distance from V1."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.hierarchy.agreement import agreement
from brainmap.hierarchy.order_interval import draw, order_interval
from brainmap.hierarchy.resampling import Resampling, cells
from brainmap.hierarchy.spin_tests import spin_test, spins

FloatArray = NDArray[np.float64]
SPHERE = ["sphere_x", "sphere_y", "sphere_z"]


@dataclass(frozen=True)
class SpatialOptions:
    """Settings of :func:`spatial_hierarchy`.

    Parameters
    ----------
    reference : str
        Area the distances start from.
    value : {'best_layer', 'centre_of_mass'}
        What is correlated with distance: the depth of the best layer, or the centre of mass of the tuning over layers.
    n_spins : int
        Rotations of the spin test, where the table of the whole cortex is given.
    resampling : Resampling
        Of the interval for measurement noise.

    Examples
    --------
    >>> from brainmap.hierarchy import SpatialOptions
    >>> SpatialOptions(value="centre_of_mass").reference
    'V1'
    """

    reference: str = "V1"
    value: Literal["best_layer", "centre_of_mass"] = "best_layer"
    n_spins: int = 1000
    resampling: Resampling = field(default_factory=lambda: Resampling(n=400))


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

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import best_layer
    >>> r = brainmap.open_run("brainmap_runs/demo").mean_r("fmri").sel(signal="activation")
    >>> best_layer(r).dims
    ('target',)
    """
    return xr.DataArray(_best_depth(_layer_by_target(scores).values, _depths(scores)), dims="target")


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

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.hierarchy import distance_to
    >>> targets = pd.DataFrame({"roi": ["V1", "V4"], "hemisphere": "L", "x": [0, 0], "y": [-90, -60], "z": [0, 40]})
    >>> distance_to(targets).tolist()
    [0.0, 50.0]
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


def top_areas(scores: xr.DataArray, targets: pd.DataFrame, *, fraction: float = 1 / 3) -> list[str]:
    """Areas with the highest mean score, as Study A selects them (top third by forward score).

    Parameters
    ----------
    scores : xr.DataArray
        r of the activations, dims among (subject, layer, split, target). The best layer of each target counts.
    targets : pandas.DataFrame
        One row per target with ``roi``.
    fraction : float
        Share of the areas to keep.

    Returns
    -------
    list of str
        Best first.

    Raises
    ------
    InputError
        If the fraction is not in (0, 1] or targets and scores disagree.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import top_areas
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> len(top_areas(run.mean_r("fmri").sel(signal="activation"), run.targets("fmri"), fraction=0.1))
    5
    """
    if not 0 < fraction <= 1:
        raise InputError(f"The fraction of areas to keep must lie in (0, 1], not {fraction}.")
    _check_targets(scores, targets)
    with np.errstate(all="ignore"):
        top = np.fmax.reduce(_layer_by_target(scores).values, axis=0)
    named = targets["roi"].astype(str).to_numpy()
    means = pd.Series(top).groupby(named).mean().drop(labels=[""], errors="ignore").dropna()
    keep = max(1, round(fraction * len(means)))
    return [str(name) for name in means.sort_values(ascending=False, kind="stable").index[:keep]]


def predicted_somewhere(marks: xr.DataArray | None) -> dict[str, NDArray[np.bool_]]:
    """Targets that some layer predicts above chance, by signal: the ``mask`` of Study A's spatial hierarchy.

    Parameters
    ----------
    marks : xr.DataArray of bool, (signal, layer, target), optional
        Such as :attr:`brainmap.statistics.significance.Significance.significant`.

    Returns
    -------
    dict of str to ndarray of bool, (n_targets,)
        Empty without marks.
    """
    if marks is None:
        return {}
    return {str(signal): marks.sel(signal=signal).any("layer").values for signal in marks["signal"].values}


def spatial_hierarchy(
    scores: xr.DataArray,
    targets: pd.DataFrame,
    *,
    mask: np.ndarray | None = None,
    areas: Sequence[str] | None = None,
    distances: pd.Series | None = None,
    cortex: pd.DataFrame | None = None,
    options: SpatialOptions | None = None,
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
    areas : sequence of str, optional
        Areas to use, such as those of :func:`top_areas`; all by default.
    distances : pandas.Series, optional
        mm by area in place of Euclidean distances, such as geodesic ones.
    cortex : pandas.DataFrame, optional
        All areas of the cortex: ``roi``, ``hemisphere``, ``distance_mm``, ``sphere_x``, ``sphere_y``, ``sphere_z``
        (see :func:`brainmap.hierarchy.cortex_areas`); adds a spin test, which rotates this map of distances: it must
        be that of ``distances``, or of ``options.reference``.
    options : SpatialOptions, optional
        Settings.
    seed : int
        Seed of the bootstrap over areas and of the spins.

    Returns
    -------
    pandas.DataFrame
        One row per area: ``roi``, ``distance_mm``, ``best_layer`` (mean depth of its targets' best layers),
        ``centre_of_mass`` (depth), ``r`` (mean score at the best layer), ``n_targets``. ``attrs``: ``r``, ``p``,
        ``low``, ``high`` (over areas), ``rho``, ``rho_p``, ``rho_low``, ``rho_high``, ``n``; ``noise_low``,
        ``noise_high`` (what the noiseless ``r`` may be, over subject × fold cells or subjects, see
        :func:`brainmap.hierarchy.order_interval.order_interval`); ``p_method``; and with ``cortex`` ``spin_p``,
        ``spin_rho_p``, ``n_spins``.

    Raises
    ------
    InputError
        If targets and scores disagree, or fewer than four areas have coordinates and scores.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import Resampling, SpatialOptions, spatial_hierarchy
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> r = run.scores["fmri"]["r"].load().sel(signal="activation")
    >>> table = spatial_hierarchy(r, run.targets("fmri"), options=SpatialOptions(resampling=Resampling(n=50)))
    >>> bool(table.attrs["r"] > 0.5), table.columns[:3].tolist()
    (True, ['roi', 'distance_mm', 'best_layer'])
    """
    options = options or SpatialOptions()
    _check_targets(scores, targets)
    names = targets["roi"].astype(str).to_numpy()
    use = np.ones(len(targets), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    use = use & (names != "") & (np.isin(names, as_names(areas)) if areas is not None else True)
    table = _area_table(scores, names, use)
    away = distance_to(targets, options.reference) if distances is None else distances
    table.insert(0, "distance_mm", away.reindex(table.index))
    table = table.dropna(subset=["distance_mm", "best_layer"]).rename_axis("roi").reset_index()
    order = agreement(table["distance_mm"], table[options.value], seed=seed)
    low, high = _noise_interval(scores, names, use, table, options)
    table.attrs = {**order.as_attrs(), "noise_low": low, "noise_high": high, "value": options.value}
    table.attrs |= {"p_method": "two-sided t test of Pearson r over areas", "reference": options.reference}
    if cortex is not None:
        table.attrs |= _spin(table, targets, cortex, options, seed)
    return table


def _check_targets(scores: xr.DataArray, targets: pd.DataFrame) -> None:
    if len(targets) != scores.sizes["target"]:
        raise InputError(f"there are {len(targets)} rows of targets for {scores.sizes['target']} scores")


def _depths(scores: xr.DataArray) -> FloatArray:
    if "depth" not in scores.coords:
        raise InputError("Scores need the coordinate 'depth' (0 to 1) on 'layer' to speak of a hierarchy.")
    return scores["depth"].values.astype(np.float64)


def _layer_by_target(scores: xr.DataArray) -> xr.DataArray:
    others = [dim for dim in scores.dims if dim not in ("layer", "target")]
    return scores.mean(others, skipna=True).transpose("layer", "target")


def _best_depth(values: FloatArray, depth: FloatArray) -> FloatArray:
    """Depth of the largest score, (..., layer, target) → (..., target)."""
    filled = np.where(np.isfinite(values), values, -np.inf)
    best: FloatArray = np.where(np.isfinite(filled.max(axis=-2)), depth[filled.argmax(axis=-2)], np.nan)
    return best


def _mass_depth(values: FloatArray, depth: FloatArray) -> FloatArray:
    """Depth of the centre of mass above the minimum, (..., layer, target) → (..., target)."""
    above = values - np.fmin.reduce(values, axis=-2)[..., None, :]
    above = np.nan_to_num(above)
    total = above.sum(axis=-2)
    weighted = (above * depth[:, None]).sum(axis=-2)
    return np.divide(weighted, total, out=np.full(total.shape, np.nan), where=total > 0)


def _area_table(scores: xr.DataArray, names: NDArray, use: NDArray[np.bool_]) -> pd.DataFrame:
    mean, depth = _layer_by_target(scores).values, _depths(scores)
    with np.errstate(all="ignore"):
        top = np.fmax.reduce(mean, axis=0)
    columns = {"best_layer": _best_depth(mean, depth), "centre_of_mass": _mass_depth(mean, depth), "r": top}
    table = pd.DataFrame(columns)[use].groupby(names[use]).mean()
    count = pd.Series(columns["best_layer"][use]).groupby(names[use]).count()
    return table.assign(n_targets=count)


def _noise_interval(
    scores: xr.DataArray, names: NDArray, use: NDArray[np.bool_], table: pd.DataFrame, options: SpatialOptions
) -> tuple[float, float]:
    """Interval of the noiseless r: subject × fold cells (or subjects) are resampled."""
    rows = cells(scores, "layer", "target", over=options.resampling.over)
    position = {name: number for number, name in enumerate(table["roi"])}
    kept = np.flatnonzero(use & np.isin(names, list(position)))
    membership = np.zeros((len(kept), len(position)))
    membership[np.arange(len(kept)), [position[name] for name in names[kept]]] = 1.0
    rows = rows[:, :, kept]
    depth, away = _depths(scores), table["distance_mm"].to_numpy()
    value = _best_depth if options.value == "best_layer" else _mass_depth

    def statistic(means: FloatArray) -> FloatArray:
        drawn = value(means, depth)
        known = np.isfinite(drawn)
        with np.errstate(invalid="ignore"):
            per_area = (np.where(known, drawn, 0.0) @ membership) / (known @ membership)
        return np.nan_to_num(per_area, nan=float(depth.mean()))

    # Targets of an area share its tuning, so that their best layers are rounded to the same layer.
    step = float(np.median(np.diff(np.unique(depth)))) if options.value == "best_layer" and len(depth) > 1 else 0.0
    drawn = draw(rows, statistic, options.resampling)
    return order_interval(drawn, away, options.resampling, rounding=step)


def _spin(
    table: pd.DataFrame, targets: pd.DataFrame, cortex: pd.DataFrame, options: SpatialOptions, seed: int
) -> dict[Hashable, Any]:
    """Spin test of the table's correlation: the map of distances, known on all of the cortex, is rotated."""
    missing = [c for c in ("roi", "hemisphere", "distance_mm", *SPHERE) if c not in cortex]
    if missing:
        raise InputError(f"The table of the cortex has no column {missing[0]!r}; see cortex_areas().")
    sides = [s for s in ("L", "R") if s in set(targets["hemisphere"])] or ["L"]
    whole = cortex[cortex["hemisphere"] == sides[0]].reset_index(drop=True)
    home = pd.Series(whole.index, index=whole["roi"].astype(str)).reindex(table["roi"])
    if home.isna().any():
        raise InputError(f"The table of the cortex has no area {home.index[home.isna()][0]!r}.")
    at = home.to_numpy(dtype=np.intp)
    sphere = whole[SPHERE].to_numpy(dtype=float)
    turned = spins(sphere[at], sphere, n_spins=options.n_spins, seed=seed)
    x, y = table[options.value].to_numpy(dtype=float), whole["distance_mm"].to_numpy(dtype=float)
    # Centres of the areas' targets are not quite those of the areas, but another reference is another order.
    if len(table) > 3 and not np.corrcoef(y[at], table["distance_mm"])[0, 1] > 0.9:
        raise InputError(
            "The distances of the areas are not those of the table of the cortex, which the spin test rotates: give "
            f"cortex_areas({options.reference!r}), or a table whose column 'distance_mm' holds your distances."
        )
    pearson = spin_test(x, y, turned, at=at)
    spearman = spin_test(x, y, turned, at=at, method="spearman")
    return {"spin_p": pearson.p, "spin_rho_p": spearman.p, "n_spins": pearson.n_spins}
