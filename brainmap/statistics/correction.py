"""Correction of p values for many tests, within families."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from brainmap.common.errors import InputError

Correction = Literal["bh", "by", "bonferroni", "none"]
CORRECTIONS = {
    "bh": "false discovery rate (Benjamini–Hochberg)",
    "by": "false discovery rate (Benjamini–Yekutieli)",
    "bonferroni": "family-wise error (Bonferroni)",
    "none": "not corrected",
}


def adjust(p: xr.DataArray, method: Correction = "bh", *, over: Sequence[Hashable]) -> xr.DataArray:
    """Correct p values for multiple testing within families.

    Parameters
    ----------
    p : DataArray
        p values; NaN (no test) does not count.
    method : {'bh', 'by', 'bonferroni', 'none'}
        False discovery rate by Benjamini–Hochberg (independent or positively dependent tests) or Benjamini–Yekutieli
        (any dependence); family-wise error by Bonferroni.
    over : sequence of dimension names
        What makes up one family; each index of the other dimensions is a family of its own.

    Returns
    -------
    DataArray
        Like ``p``.

    Raises
    ------
    InputError
        For an unknown method or dimension.

    Examples
    --------
    >>> import xarray as xr
    >>> from brainmap.statistics import adjust
    >>> p = xr.DataArray([0.001, 0.02, 0.5], dims="target")
    >>> adjust(p, "bonferroni", over=["target"]).values
    array([0.003, 0.06 , 1.   ])
    """
    from statsmodels.stats.multitest import multipletests

    names = {"bh": "fdr_bh", "by": "fdr_by", "bonferroni": "bonferroni"}
    unknown = [dim for dim in over if dim not in p.dims]
    if method not in (*names, "none"):
        raise InputError(f"The correction {method!r} is unknown; choose one of {', '.join([*names, 'none'])}.")
    if unknown:
        raise InputError(f"Cannot correct over {tuple(over)} for p values with dims {tuple(p.dims)}.")
    if method == "none":
        return p.copy()
    others = [dim for dim in p.dims if dim not in over]
    ordered = p.transpose(*others, *over)
    flat = ordered.values.reshape(int(np.prod([p.sizes[d] for d in others], dtype=int)), -1).astype(float)
    adjusted = np.full_like(flat, np.nan)
    for source, goal in zip(flat, adjusted, strict=True):
        known = np.isfinite(source)
        if known.any():
            goal[known] = multipletests(source[known], method=names[method])[1]
    return ordered.copy(data=adjusted.reshape(ordered.shape)).transpose(*p.dims)
