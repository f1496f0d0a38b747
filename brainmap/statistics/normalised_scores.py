"""Scores as a share of the best that noise allows; the raw ones stay beside them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.statistics.noise_ceiling import NoiseCeiling

FloatArray = NDArray[np.float64]


def normalise_scores(
    r: xr.DataArray | ArrayLike, ceiling: NoiseCeiling | xr.DataArray | ArrayLike, *, minimum: float = 0.1
) -> xr.Dataset:
    """Divide correlations by their ceilings, keeping the raw ones beside.

    Parameters
    ----------
    r : DataArray or array-like
        Correlations; the last dimension (or ``target``) runs over targets.
    ceiling : NoiseCeiling, DataArray or array-like
        Ceilings of r for the same targets (a DataArray may also have ``subject``).
    minimum : float
        Targets whose ceiling lies below are masked (NaN): dividing by a ceiling near zero only inflates noise.

    Returns
    -------
    xarray.Dataset
        ``r`` (raw), ``ceiling``, ``r_normalised`` (at most 1), ``masked`` and ``exceeds`` (raw above its ceiling; such
        values are set to 1, since a ceiling is an estimate too). The rule is written in ``attrs``.

    Raises
    ------
    InputError
        If the numbers of targets differ or ``minimum`` is not in (0, 1).

    Examples
    --------
    >>> from brainmap.statistics import normalise_scores
    >>> normalise_scores([0.3, 0.2, 0.1], [0.6, 0.1, 0.05], minimum=0.08)["r_normalised"].values
    array([0.5, 1. , nan])
    """
    if not 0 < minimum < 1:
        raise InputError(f"The smallest ceiling to divide by must lie between 0 and 1, not {minimum}.")
    raw = r if isinstance(r, xr.DataArray) else _as_data_array(np.asarray(r, dtype=float))
    limit = ceiling.r if isinstance(ceiling, NoiseCeiling) else ceiling
    if not isinstance(limit, xr.DataArray):
        values = np.asarray(limit, dtype=float)
        if values.shape != (raw.sizes["target"],):
            raise InputError(f"There are {raw.sizes['target']} targets but ceilings of shape {values.shape}.")
        limit = xr.DataArray(values, dims="target")
    masked = ~(limit >= minimum)
    ratio = (raw / limit.where(~masked)).transpose(*raw.dims, ...)
    dataset = xr.Dataset(
        {"r": raw, "ceiling": limit, "r_normalised": ratio.clip(max=1.0), "masked": masked, "exceeds": ratio > 1}
    )
    dataset.attrs = {
        **raw.attrs,
        "ceiling_normalised": True,
        "minimum_ceiling": minimum,
        "n_masked": int(masked.sum()),
        "n_exceeding": int((ratio > 1).sum()),
    }
    return dataset


def _as_data_array(values: FloatArray) -> xr.DataArray:
    names = [f"dim_{axis}" for axis in range(values.ndim - 1)]
    return xr.DataArray(values, dims=[*names, "target"])
