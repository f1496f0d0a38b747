"""Correction of p values for many tests, within families."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError

Correction = Literal["bh", "by", "bonferroni", "none"]
CORRECTIONS = {
    "bh": "false discovery rate (Benjamini–Hochberg)",
    "by": "false discovery rate (Benjamini–Yekutieli)",
    "bonferroni": "family-wise error (Bonferroni)",
    "none": "not corrected",
}
BLOCK = 2**20


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

    names = {"by": "fdr_by", "bonferroni": "bonferroni"}
    unknown = [dim for dim in over if dim not in p.dims]
    if method not in CORRECTIONS:
        raise InputError(f"The correction {method!r} is unknown; choose one of {', '.join(CORRECTIONS)}.")
    if unknown:
        raise InputError(f"Cannot correct over {tuple(over)} for p values with dims {tuple(p.dims)}.")
    if method == "none":
        return p.copy()
    others = [dim for dim in p.dims if dim not in over]
    ordered = p.transpose(*others, *over)
    flat = ordered.values.reshape(int(np.prod([p.sizes[d] for d in others], dtype=int)), -1)
    adjusted = np.full(flat.shape, np.nan)
    for source, goal in zip(flat, adjusted, strict=True):
        known = np.isfinite(source)
        if not known.any():
            continue
        if method == "bh":
            _benjamini_hochberg(source, goal, int(known.sum()))
        else:
            goal[known] = multipletests(source[known].astype(float), method=names[method])[1]
    return ordered.copy(data=adjusted.reshape(ordered.shape)).transpose(*p.dims)


def _benjamini_hochberg(p: NDArray[Any], adjusted: NDArray[np.float64], n: int) -> None:
    """Adjust the n finite p, to the bits of statsmodels, which holds seven arrays of their size."""
    order = np.argsort(p)[:n]  # NaN comes last
    ordered = p[order].astype(np.float64, copy=False)
    for first in range(0, n, BLOCK):
        part = ordered[first : first + BLOCK]
        part /= np.arange(first + 1, first + len(part) + 1) / float(n)
    np.minimum.accumulate(ordered[::-1], out=ordered[::-1])
    np.minimum(ordered, 1.0, out=ordered)
    adjusted[order] = ordered
