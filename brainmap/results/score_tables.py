"""Scores as pandas tables, read in parts: a run may hold more than fits into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import as_names

WHO = ("subject", "signal", "layer")


def long_table(scores: xr.Dataset, chosen: Mapping[str, Any], memory: str | int) -> pd.DataFrame:
    """Return one row per cell of the scores.

    Parameters
    ----------
    scores : xr.Dataset
        Scores with dims ``(subject, signal, layer, split, target)``.
    chosen : mapping
        Name of a dimension or of a column of the targets → the value or values to keep.
    memory : str or int
        Bound on the size of the table.

    Raises
    ------
    InputError
        For a name or value that the scores do not have, or a table larger than ``memory``.
    """
    part = scores
    for name, wanted in chosen.items():
        part = _keep(part, name, wanted)
    rows = int(np.prod(list(part.sizes.values())))
    columns = len(part.data_vars) + len(part.coords)
    size, bound = 16 * rows * columns, parse_memory(memory)  # the index that becomes columns is there twice
    if size > bound:
        raise InputError(
            f"The table of all scores has {rows:,} rows and needs about {size / 1e9:.1f} GB, more than memory="
            f"{memory!r}; choose some, as to_frame(layer='block.11', signal='activation'), use roi_table(), or "
            "give more memory."
        )
    order = [name for name in (*WHO, "split", "target") if name in part.dims]  # a fresh dataset may have another one
    order += [str(name) for name in part.dims if name not in order]
    return part.to_dataframe(dim_order=order).reset_index()


def _keep(scores: xr.Dataset, name: str, wanted: Any) -> xr.Dataset:
    if name not in scores.coords or scores[name].ndim != 1:
        known = ", ".join(str(key) for key in scores.coords if scores[key].ndim == 1)
        raise InputError(f"The scores have no {name!r} to choose by; they have {known}.")
    values = (
        as_names(wanted) if isinstance(wanted, str) else tuple(wanted) if isinstance(wanted, Iterable) else (wanted,)
    )
    known_values = scores[name].values
    absent = [value for value in values if not np.isin(value, known_values)]
    if absent or not values:
        some = ", ".join(map(str, dict.fromkeys(known_values[:8].tolist())))
        raise InputError(f"The scores have no {name} {absent[0] if absent else ''!r}; they have {some} …")
    return scores.isel({str(scores[name].dims[0]): np.flatnonzero(np.isin(known_values, values))})


def area_means(scores: xr.Dataset) -> pd.DataFrame:
    """Return r by subject, signal, layer and area: the mean over splits, then over the targets of the area.

    Targets without a name, and those without a score, do not count. Splits of one layer are read at a time.

    Raises
    ------
    InputError
        If no target has the name of an area.
    """
    names = np.asarray(scores["roi"].values).astype(str) if "roi" in scores.coords else np.zeros(0, str)
    areas, index = np.unique(names, return_inverse=True)
    if not (areas != "").any():
        raise InputError("No target of these scores has the name of an area (roi); use to_frame() instead.")
    r = scores["r"].transpose(*WHO, "split", "target")
    rows = []
    for place in itertools.product(*(range(r.sizes[dim]) for dim in WHO)):
        cell = r.isel(dict(zip(WHO, place, strict=True)))
        mean = cell.mean("split", skipna=True).values.astype(float)
        known = np.isfinite(mean)
        count = np.bincount(index[known], minlength=len(areas))
        total = np.bincount(index[known], mean[known], len(areas))
        labels = {dim: str(r[dim].values[i]) for dim, i in zip(WHO, place, strict=True)}
        depth = {"depth": float(scores["depth"].values[place[-1]])} if "depth" in scores.coords else {}
        with np.errstate(invalid="ignore"):
            table = pd.DataFrame({**labels, **depth, "roi": areas, "r": total / count, "n_targets": count})
        rows.append(table[table["roi"] != ""])
    return pd.concat(rows, ignore_index=True)


def normalised_area_means(normalised: xr.Dataset) -> pd.DataFrame:
    """Return the mean share of the noise ceiling by subject, signal, layer and area.

    Parameters
    ----------
    normalised : xr.Dataset
        From :meth:`brainmap.results.StudyResults.normalised`.

    Returns
    -------
    pandas.DataFrame
        ``subject``, ``signal``, ``layer``, ``roi``, ``r_normalised``, ``n_normalised`` and ``n_above_ceiling``.
    """
    parts = normalised[["r_normalised", "exceeds"]].transpose(*WHO, "target")
    names = np.asarray(normalised["roi"].values).astype(str)
    rows = []
    for place in itertools.product(*(range(parts.sizes[dim]) for dim in WHO)):
        cell = parts.isel(dict(zip(WHO, place, strict=True)))
        share = cell["r_normalised"].values.astype(float)
        frame = pd.DataFrame({"roi": names, "share": share, "above": cell["exceeds"].values & np.isfinite(share)})
        grouped = frame[frame["roi"] != ""].groupby("roi")
        labels = {dim: str(parts[dim].values[i]) for dim, i in zip(WHO, place, strict=True)}
        columns = {"r_normalised": grouped["share"].mean(), "n_normalised": grouped["share"].count()}
        table = pd.DataFrame({**columns, "n_above_ceiling": grouped["above"].sum()}).reset_index()
        rows.append(table.assign(**labels))
    return pd.concat(rows, ignore_index=True)[[*WHO, "roi", "r_normalised", "n_normalised", "n_above_ceiling"]]
