"""Spatial hierarchy: the layer that predicts an area best, against the area's distance from V1."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.storage.lazy_arrays import mean_by_layer
from brainmap.common.storage.zarr_stores import TARGETS
from brainmap.hierarchy.agreement import correlate
from brainmap.hierarchy.replication import OverUnits, tested_over_units, unit_scores, variants
from brainmap.hierarchy.surrogate_maps import map_order

FloatArray = NDArray[np.float64]
AT_ONCE = 2048  # targets of which the best layers of all units are looked for together
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
    n_surrogates : int
        Random maps of every smoothness, from which p is made.
    confidence : float
        Coverage of the intervals.
    seed : int
        Seed of the random maps.

    Examples
    --------
    >>> from brainmap.hierarchy import SpatialOptions
    >>> SpatialOptions(value="centre_of_mass").reference
    'V1'
    """

    reference: str = "V1"
    value: Literal["best_layer", "centre_of_mass"] = "best_layer"
    n_surrogates: int = 5000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.value not in ("best_layer", "centre_of_mass"):
            raise InputError(f"The value of areas must be 'best_layer' or 'centre_of_mass', not {self.value!r}.")
        if self.n_surrogates < 19 or not 0 < self.confidence < 1:
            raise InputError("An order in space needs 19 random maps or more, and a confidence in (0, 1).")


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
    return xr.DataArray(_best_depth(mean_by_layer(scores).values, _depths(scores)), dims="target")


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
        mm by area, mean over hemispheres; empty where coordinates or the reference are missing (NaN).

    Raises
    ------
    InputError
        If the table lacks a column.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.hierarchy import distance_to
    >>> targets = pd.DataFrame({"roi": ["V1", "V4"], "hemisphere": "L", "x": [0, 0], "y": [-90, -60], "z": [0, 40]})
    >>> distance_to(targets).tolist()
    [0.0, 50.0]
    """
    if absent := [name for name in ("roi", "hemisphere", "x", "y", "z") if name not in targets]:
        raise InputError(
            f"distances between areas need the place of each target; its table lacks {', '.join(absent)}. "
            "Give them (mm), or distances of your own"
        )
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
        top = np.fmax.reduce(mean_by_layer(scores).values, axis=0)
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
        Areas with their places on the sphere: ``roi``, ``hemisphere``, ``sphere_x``, ``sphere_y``, ``sphere_z`` (see
        :func:`brainmap.hierarchy.cortex_areas`). How far apart areas are is then measured there, else between the
        centres of their targets.
    options : SpatialOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        One row per area: ``roi``, ``distance_mm``, ``best_layer`` (mean depth of its targets' best layers),
        ``centre_of_mass`` (depth), ``r`` (mean score at the best layer), ``n_targets``. ``attrs``: ``r`` with ``p``,
        ``low``, ``high`` and ``rho`` with ``rho_p``, against random maps as smooth as that of the best layers
        (:mod:`brainmap.hierarchy.surrogate_maps`); ``areas_p``, the t test that takes areas for independent, as
        published; ``n``, ``n_surrogates``, ``p_method``. Of the same correlation over subjects (five or more; else
        folds), these areas given: ``unit_r``, ``unit_low``, ``unit_high``, ``unit_p`` (t test of Fisher's z),
        ``unit_flip_p``, ``unit``, ``n_units``. Noise of the scores draws all correlations towards zero.

    Raises
    ------
    InputError
        If targets and scores disagree, fewer than four areas have coordinates and scores, or an area is not in the
        table of the cortex.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import SpatialOptions, spatial_hierarchy
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> r = run.scores["fmri"]["r"].load().sel(signal="activation")
    >>> table = spatial_hierarchy(r, run.targets("fmri"), options=SpatialOptions(n_surrogates=99))
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
    if len(table) < 4:
        raise InputError(f"a correlation of orders needs at least 4 units with values, got {len(table)}")
    places = _centres(targets, table["roi"]) if cortex is None else _on_sphere(cortex, targets, table["roi"])
    table.attrs = _order(table, places, options)
    units = _over_units(scores, names, use, table, options)
    r = {"unit_r": units.value, "unit_low": units.low, "unit_high": units.high}
    table.attrs |= {name: float(np.tanh(z)) for name, z in r.items()}
    table.attrs |= {"unit_p": units.p, "unit_flip_p": units.flip_p, "unit": units.unit, "n_units": units.n_units}
    table.attrs |= {"unit_method": units.how("correlation over these areas (Fisher's z)")}
    table.attrs |= {"value": options.value, "reference": options.reference}
    return table


def _check_targets(scores: xr.DataArray, targets: pd.DataFrame) -> None:
    if len(targets) != scores.sizes["target"]:
        raise InputError(f"there are {len(targets)} rows of targets for {scores.sizes['target']} scores")


def _depths(scores: xr.DataArray) -> FloatArray:
    if "depth" not in scores.coords:
        raise InputError("Scores need the coordinate 'depth' (0 to 1) on 'layer' to speak of a hierarchy.")
    return scores["depth"].values.astype(np.float64)


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
    mean, depth = mean_by_layer(scores).values, _depths(scores)
    with np.errstate(all="ignore"):
        top = np.fmax.reduce(mean, axis=0)
    columns = {"best_layer": _best_depth(mean, depth), "centre_of_mass": _mass_depth(mean, depth), "r": top}
    table = pd.DataFrame(columns)[use].groupby(names[use]).mean()
    count = pd.Series(columns["best_layer"][use]).groupby(names[use]).count()
    return table.assign(n_targets=count)


def _order(table: pd.DataFrame, places: FloatArray, options: SpatialOptions) -> dict[Hashable, Any]:
    """Correlations of areas' values with their distances, against random maps."""
    x, away = (table[name].to_numpy(dtype=float) for name in (options.value, "distance_mm"))
    n, seed, confidence = options.n_surrogates, options.seed, options.confidence
    return dict(map_order(x, away, places, n_surrogates=n, seed=seed, confidence=confidence).items())


def _over_units(
    scores: xr.DataArray, names: NDArray, use: NDArray[np.bool_], table: pd.DataFrame, options: SpatialOptions
) -> OverUnits:
    """Fisher's z of the correlation over the table's areas, tested over subjects or folds."""
    position = {name: number for number, name in enumerate(table["roi"])}
    kept = use & np.isin(names, list(position))
    depth, away = _depths(scores), table["distance_mm"].to_numpy()
    value = _best_depth if options.value == "best_layer" else _mass_depth
    total: FloatArray = np.zeros(())
    count: FloatArray = np.zeros(())
    n, unit = 0, ""
    for first in range(0, len(names), TARGETS):  # of so many targets the scores of all units and layers are read
        block = slice(first, first + TARGETS)
        inside = np.flatnonzero(kept[block])
        if not len(inside):
            continue
        rows, unit = unit_scores(scores.isel(target=block), "layer", "target")
        n = len(rows)
        for some in np.array_split(inside, -(-len(inside) // AT_ONCE)):
            values = value(variants(rows[:, :, some], unit), depth)
            membership = np.zeros((len(some), len(position)))
            membership[np.arange(len(some)), [position[name] for name in names[block][some]]] = 1.0
            known = np.isfinite(values)
            total = total + np.where(known, values, 0.0) @ membership
            count = count + known.astype(np.float64) @ membership
    with np.errstate(invalid="ignore", divide="ignore"):
        by_area = np.asarray(total / count)
    by_area = np.where(np.isfinite(by_area), by_area, table[options.value].to_numpy())  # unknown in this unit only
    r = np.nan_to_num(correlate(by_area, away[None]))  # the same everywhere: no order
    z = np.asarray(np.arctanh(np.clip(r, -1 + 1e-6, 1 - 1e-6)))
    return tested_over_units(z, n, unit, options.confidence)


def _centres(targets: pd.DataFrame, areas: pd.Series) -> FloatArray:
    """Centres of areas in mm, those of the right hemisphere mirrored and averaged with the left, (n, 3)."""
    named = targets.assign(roi=targets["roi"].astype(str))
    named["x"] = named["x"].where(named["hemisphere"] != "R", -named["x"])
    return np.asarray(named.groupby("roi")[["x", "y", "z"]].mean().reindex(areas), dtype=np.float64)


def _on_sphere(cortex: pd.DataFrame, targets: pd.DataFrame, areas: pd.Series) -> FloatArray:
    """Centres of areas on the sphere of the left hemisphere, or of the only one, (n, 3)."""
    missing = [c for c in ("roi", "hemisphere", *SPHERE) if c not in cortex]
    if missing:
        raise InputError(f"The table of the cortex has no column {missing[0]!r}; see cortex_areas().")
    sides = [s for s in ("L", "R") if s in set(targets["hemisphere"])] or ["L"]
    whole = cortex[cortex["hemisphere"] == sides[0]]
    places = whole.set_index(whole["roi"].astype(str))[SPHERE].reindex(areas)
    if (absent := places.isna().any(axis=1)).any():
        raise InputError(f"The table of the cortex has no area {places.index[absent][0]!r}.")
    return np.asarray(places, dtype=np.float64)
