"""Which scores are above chance? Tests on cross-validated scores, corrections for many targets, paired comparisons.

Two questions, two denominators:

* ``folds``: would the result hold for other *photographs*? Scores are averaged over subjects; the variation over folds
  is the yardstick. The folds of one cross-validation share training data. Under the null hypothesis a score is a sum
  over pairs of folds, each pair entering twice, so fold scores correlate by 1/(K − 1) and the variance of their mean is
  ``s² · 2 (K − 1) / (K (K − 2))``, not s²/K (close to Nadeau and Bengio 2003). Scores are tested as Fisher's z: r of
  few photographs is spread evenly between −1 and 1, which t takes for an effect up to six times too often at p = .001
  (4 photographs in a fold: three times). Calibrated also when subjects share
  responses to the photographs that no model explains; needs nothing but the scores, and is the default.
* ``subjects`` (t or Wilcoxon): would it hold for other *subjects* who see the same photographs? Its null hypothesis is
  that the mean score of all such subjects *for these photographs* is zero. Responses to them that all subjects share
  and the features do not explain correlate with the features by chance; that chance is part of the subjects' mean, so
  the test says nothing about other photographs (measured in ``docs/calibration.md``).

To claim both, ask for both. Where there is an effect, as when two models are compared that both predict, fold scores
are nearly independent and ``folds`` is too careful; :mod:`brainmap.statistics.image_intervals` then holds its level.

A permutation null with refit is in :mod:`brainmap.statistics.permutation.permutation_test`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.storage.zarr_stores import TARGETS
from brainmap.statistics.correction import CORRECTIONS, Correction, adjust
from brainmap.statistics.tests_of_means import Alternative, folds_t, subjects_t, subjects_wilcoxon

FloatArray = NDArray[np.float64]
Test = Literal["folds", "subjects", "wilcoxon"]


@dataclass(frozen=True, eq=False)
class Significance:
    """Result of a test per target (or time).

    Parameters
    ----------
    statistic, p, p_adjusted : DataArray
        Test statistic, p value, p value after correction; NaN where a score is missing.
    significant : DataArray of bool
        ``p_adjusted ≤ alpha``.
    alpha : float
        Level.
    method : str
        Test, correction and family, in words.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.statistics import significance
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> marks = significance(run.scores["meg"]["r"].load(), per="time")
    >>> marks.significant.dims
    ('signal', 'layer', 'time')
    """

    statistic: xr.DataArray
    p: xr.DataArray
    p_adjusted: xr.DataArray
    significant: xr.DataArray
    alpha: float
    method: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per test with all four values."""
        names = ("statistic", "p", "p_adjusted", "significant")
        table = xr.Dataset({name: getattr(self, name) for name in names}).to_dataframe().reset_index()
        table.attrs = {"method": self.method, "alpha": self.alpha}
        return table

    def __repr__(self) -> str:
        hits, total = int(self.significant.sum()), int(np.isfinite(self.p).sum())
        return f"<Significance: {hits} of {total} at {self.alpha:g}; {self.method}>"


def significance(
    r: xr.DataArray | xr.Dataset,
    *,
    per: Literal["target", "time"] = "target",
    test: Test = "folds",
    correction: Correction = "bh",
    alpha: float = 0.05,
) -> Significance:
    """Test every map or time course of scores against chance, one-sided.

    Parameters
    ----------
    r : DataArray or Dataset (its ``r``)
        Scores with dims ``target`` and ``split`` and optionally ``subject``, ``signal``, ``layer`` …
    per : {'target', 'time'}
        'time' first averages over sensors (coordinate ``time`` of ``target``), as both studies do for MEG.
    test : {'folds', 'subjects', 'wilcoxon'}
        See the module's description.
    correction : {'bh', 'by', 'bonferroni', 'none'}
        Over the targets (times) of one map: every signal and layer is a family of its own.
    alpha : float
        Level of the corrected p.

    Returns
    -------
    Significance
        Arrays with the dims of ``r`` less ``subject`` and ``split``; ``target`` or ``time`` last.

    Raises
    ------
    InputError
        If the scores are no DataArray, a dimension is missing, a subject or fold has no score at all, there are fewer
        than three folds (``folds``) or subjects, or the level is no share.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.statistics import significance
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> marks = significance(run.scores["meg"]["r"].load(), per="time").significant
    >>> bool(marks.sel(signal="activation", layer="block.11").sel(time=0.5, method="nearest"))
    True
    """
    check_level(alpha)
    scores = _labelled(r["r"] if isinstance(r, xr.Dataset) else r)
    if "target" not in scores.dims:
        raise InputError(f"Scores need a dimension 'target'; these have {tuple(scores.dims)}.")
    if per not in ("target", "time"):
        raise InputError(f"Significance is per 'target' or per 'time', not per {per!r}.")
    if per == "time" and "time" not in scores.coords:
        raise InputError("Significance per time needs the coordinate 'time' on the targets; these scores have none.")
    statistic, p = _each_map(scores, per, test)
    adjusted = adjust(p, correction, over=(per,))
    scale = " of Fisher's z" if test == "folds" else ""
    words = f"{_TESTS[test]}{scale}, one-sided; {CORRECTIONS[correction]} over {per}s of each map"
    return Significance(statistic, p, adjusted, adjusted <= alpha, alpha, words)


def compare(
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    test: Test = "folds",
    alternative: Alternative = "two-sided",
    correction: Correction = "bh",
    alpha: float = 0.05,
) -> Significance:
    """Compare two sets of scores of the same targets, folds and subjects, pair by pair.

    Parameters
    ----------
    first, second : DataArray
        Scores with the same dims, such as two models or two signals; computed on the same splits.
    test : {'folds', 'subjects', 'wilcoxon'}
        See the module's description.
    alternative : {'two-sided', 'greater', 'less'}
        Of ``first − second``.
    correction, alpha
        As in :func:`significance`; the family is ``target`` where there is one, else all tests.

    Returns
    -------
    Significance

    Raises
    ------
    InputError
        If the two are no DataArrays or do not describe the same tests, a subject or fold has no score at all in one of
        them, or the level is no share.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.statistics import compare
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["fmri"]["r"].load().sel(signal="activation")
    >>> difference = compare(r.sel(layer="block.11", drop=True), r.sel(layer="block.0", drop=True), test="folds")
    >>> difference.significant.dims
    ('target',)
    """
    check_level(alpha)
    first, second = _labelled(first), _labelled(second)
    if set(first.dims) != set(second.dims) or any(first.sizes[d] != second.sizes[d] for d in first.dims):
        raise InputError(f"Paired scores must have equal dims; got {dict(first.sizes)} and {dict(second.sizes)}.")
    difference = first - second.transpose(*first.dims).drop_vars(
        [name for name in second.coords if name not in first.coords], errors="ignore"
    )
    if difference.size != first.size:
        raise InputError("Paired scores must carry the same labels (subjects, splits, targets) on their dimensions.")
    for name in (name for name in first.coords if name in second.coords):
        if first[name].dims == ("target",) and not first[name].variable.equals(second[name].variable):
            raise InputError(f"Paired scores must have the same targets in the same order; their '{name}' differs.")
    seen = _Seen()
    statistic, p = _test(difference, test, alternative, seen)
    seen.check(test)
    family: list[Hashable] = [d for d in p.dims if d in ("target", "time")] or list(p.dims)
    adjusted = adjust(p, correction, over=family)
    words = f"{_TESTS[test]} of paired differences, {alternative}; {CORRECTIONS[correction]}"
    return Significance(statistic, p, adjusted, adjusted <= alpha, alpha, words)


def _each_map(scores: xr.DataArray, per: str, test: Test) -> tuple[xr.DataArray, xr.DataArray]:
    """Statistic and p of all maps, ``per`` last; of one map (and of so many targets) scores are read at a time."""
    outer = [dim for dim in scores.dims if dim not in ("subject", "split", "target")]
    along = scores["target"] if per == "target" else scores["time"].groupby("time").first()
    seen, shape = _Seen(), [scores.sizes[dim] for dim in outer]
    statistic, p = (np.empty((*shape, along.size)) for _ in range(2))
    for place in np.ndindex(*shape):
        whole = scores.isel(dict(zip(outer, place, strict=True)))
        for few in _blocks(scores.sizes["target"]) if per == "target" else [slice(None)]:
            part = whole.isel(target=few).astype(np.float64)
            if test == "folds":
                part = fisher_z(part, seen)
            if per == "time":
                part = part.groupby("time").mean(skipna=True)
            results = _test(part, test, "greater", seen)
            statistic[(*place, few)], p[(*place, few)] = (result.values for result in results)
    seen.check(test)
    coords = {str(name): coord for name, coord in scores.coords.items() if set(coord.dims) <= set(outer)}
    coords |= {str(name): coord for name, coord in along.coords.items() if coord.dims == (per,)}
    dims = (*outer, per)
    return xr.DataArray(statistic, dims=dims, coords=coords), xr.DataArray(p, dims=dims, coords=coords)


def _blocks(n_targets: int) -> list[slice]:
    return [slice(first, first + TARGETS) for first in range(0, max(n_targets, 1), TARGETS)]


@dataclass
class _Seen:
    """What must hold of all maps together: none of their subjects and splits is without any score."""

    scored: dict[str, xr.DataArray] = field(default_factory=dict)
    inexact: xr.DataArray | None = None
    testable: bool = False

    def check(self, test: Test) -> None:
        if self.inexact is not None and not self.inexact.all():
            raise InputError(
                "In one of the test folds every r is ±1, as with two photographs in it; use fewer folds (--cv)."
            )
        for dim in ("split", "subject") if test == "folds" else ("subject", "split"):
            if dim in self.scored and not self.scored[dim].all():  # a single one makes every test NaN
                name = self.scored[dim][dim].values[int(self.scored[dim].values.argmin())]
                raise InputError(f"The {dim} {str(name)!r} has no score that is a number; leave it out.")
        if not self.testable:
            raise InputError("Nothing can be tested: everywhere the score of some subject or split is missing.")


def fisher_z(r: xr.DataArray, seen: _Seen | None = None) -> xr.DataArray:
    """Return artanh r, whose noise is nearly normal from three photographs on; missing where r = ±1 (two photographs).

    Raises
    ------
    InputError
        If a score lies beyond ±1, as one divided by a noise ceiling may, or all scores of a fold are ±1.
    """
    size, exact = abs(r), 1 - 1e-6
    if bool((size > 1 + 1e-6).any()):
        raise InputError(f"The test over folds is one of correlations, but a score is {float(size.max()):.3g}.")
    if "split" in r.dims and seen is not None:
        inexact = (~(size >= exact)).any([dim for dim in r.dims if dim != "split"])
        seen.inexact = inexact if seen.inexact is None else seen.inexact | inexact
    z: xr.DataArray = xr.apply_ufunc(np.arctanh, r.where(size < exact))
    return z


def check_level(alpha: float) -> None:
    """Refuse a level of significance that is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise InputError(f"The level alpha must lie between 0 and 1, such as 0.05; it is {alpha:g}.")


_TESTS = {
    "folds": "t test over folds (mean of subjects), variance corrected for shared training data",
    "subjects": "one-sample t test over subjects",
    "wilcoxon": "Wilcoxon signed-rank test over subjects",
}


def _labelled(scores: Any) -> xr.DataArray:
    """Refuse scores without names of their dimensions."""
    if not isinstance(scores, xr.DataArray):
        raise InputError(f"A test needs scores as an xarray.DataArray, not {type(scores).__name__}.")
    return scores


def _test(scores: xr.DataArray, test: Test, alternative: Alternative, seen: _Seen) -> tuple[xr.DataArray, xr.DataArray]:
    """Reduce ``subject`` and ``split`` by a test; whether that says anything, :meth:`_Seen.check` knows at the end."""
    if test not in _TESTS:
        raise InputError(f"The test {test!r} is unknown; choose one of {', '.join(map(repr, _TESTS))}.")
    directions = get_args(Alternative)
    if alternative not in directions:
        raise InputError(f"The alternative {alternative!r} is unknown; choose one of {', '.join(directions)}.")
    unit, averaged = ("split", "subject") if test == "folds" else ("subject", "split")
    if unit not in scores.dims:
        raise InputError(f"A test over {unit}s needs the dimension {unit!r}; the scores have {tuple(scores.dims)}.")
    for dim in (name for name in (unit, averaged) if name in scores.dims):
        scored = scores.notnull().any([other for other in scores.dims if other != dim])
        seen.scored[dim] = seen.scored[dim] | scored if dim in seen.scored else scored
    if averaged in scores.dims:
        scores = scores.mean(averaged, skipna=False)
    ordered = scores.transpose(unit, ...)
    seen.testable = seen.testable or bool(np.isfinite(ordered.values).all(axis=0).any())
    function = {"folds": folds_t, "subjects": subjects_t, "wilcoxon": subjects_wilcoxon}[test]
    statistic, p = function(np.asarray(ordered.values, dtype=np.float64), alternative)
    like = ordered.isel({unit: 0}, drop=True)
    return like.copy(data=statistic), like.copy(data=p)
