"""Bands with penalties of their own: unique and shared variance with intervals, and contributions to one R²."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.encoding.banded_ridge import BandedRidgeCV
from brainmap.encoding.cross_validation import cross_val_encode
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.engine import make_settings
from brainmap.encoding.folds import Split, plan_splits
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import RidgeOptions
from brainmap.statistics.checked_arrays import in_own_units, target_blocks
from brainmap.statistics.image_intervals import ImageScores, split_changes
from brainmap.statistics.jackknife import half_width
from brainmap.statistics.partition.variance_partition import VariancePartition, check_spaces, parts_of, signs_of
from brainmap.statistics.two_bands import principal_band

Float64 = NDArray[np.float64]
MOST_TARGETS = 2048  # at a time
CHANGES_BYTES = 2**28  # of changes by group of images, of the targets that are held at a time
SAME_SHARE = 9  # digits


def banded_partition(
    spaces: Mapping[str, ArrayLike],
    Y: Any,
    *,
    cv: Any = 5,
    groups: Any = None,
    seed: int = 0,
    units: ArrayLike | None = None,
) -> VariancePartition:
    """Partition held-out variance as :func:`variance_partition`, each space a band with a penalty of its own.

    Parameters
    ----------
    spaces, Y, cv, groups
        As there.
    seed : int
        Of folds, and of the search over the balance of three bands and more.
    units : array-like, (n_targets,), optional
        Label of each target (area, time) for ``images``; by default one unit of all targets.

    Returns
    -------
    VariancePartition
        Penalties are chosen by R², which is what is partitioned. ``errors`` and ``images`` take the chosen penalties as
        given; they are None where a test set holds fewer than two groups.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import banded_partition
    >>> rng = np.random.default_rng(0)
    >>> small, large = rng.standard_normal((90, 3)), rng.standard_normal((90, 60))
    >>> Y = small @ rng.standard_normal((3, 2)) + rng.standard_normal((90, 2))
    >>> table = banded_partition({"small": small, "large": large}, Y).to_frame().set_index("part")
    >>> bool(table.loc["small", "low"] > 0.2), bool(table.loc["large", "low"] > 0)
    (True, False)
    """
    arrays, responses = check_spaces(spaces), as_source(Y, "Y")
    names, (n_rows, n_targets) = list(arrays), responses.shape
    subsets = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    # One plan for all: an estimator that is searched would deal folds by a seed of its own.
    outer = list(plan_splits(n_rows, cv, groups=groups, inner_cv=2, seed=seed).outer)
    signs = {"&".join(shared): signs_of(shared, names) for shared in subsets}
    signs["total"] = {frozenset(names): 1.0}
    labels = np.arange(n_rows) if groups is None else np.asarray(groups)
    changes = _Changes.of(labels, outer, signs, n_targets, units)
    step = MOST_TARGETS if changes is None else changes.most_targets
    blocks, attrs = [], {}
    for start in range(0, n_targets, step):
        part = slice(start, min(start + step, n_targets))
        y = np.asarray(responses.columns(part.start, part.stop), dtype=np.float64)
        r2 = {}
        for c in subsets:
            fitted = _Fitted.of({name: arrays[name] for name in c}, y, outer, groups, seed)
            r2[frozenset(c)], attrs = fitted.r2, fitted.attrs
            if changes is not None:
                changes.add(frozenset(c), fitted, y)
        if changes is not None:
            changes.close(part, r2)
        blocks.append(xr.concat(list(r2.values()), "model").assign_coords(target=np.arange(part.start, part.stop)))
    r2_of_all = xr.concat(blocks, "target").assign_coords(model=["+".join(c) for c in subsets])
    by_subset = {frozenset(c): r2_of_all.isel(model=i, drop=True) for i, c in enumerate(subsets)}
    parts = parts_of(by_subset, {name: terms for name, terms in signs.items() if name != "total"})
    if changes is None:
        return VariancePartition(r2_of_all, parts, attrs)
    return VariancePartition(r2_of_all, parts, attrs, changes.images(), changes.errors())


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Bands side by side, as they predict some targets in every split.

    Parameters
    ----------
    x : ndarray, (n_rows, n_features)
    outer : list of (train, test)
    r2 : DataArray, (split, target)
    alpha : ndarray, (n_splits, n_targets)
        Penalty of features that are scaled and then multiplied by a factor.
    factors : list of (ndarray, (n_balances, n_features), ndarray of int, (n_targets,)) or None
        Of each split, the factors that occur and which a target has; without them plain ridge.
    """

    x: Float64
    outer: list[Split]
    r2: xr.DataArray
    alpha: Float64
    factors: list[tuple[Float64, NDArray[np.intp]]] | None
    attrs: dict[str, Any]

    @classmethod
    def of(cls, bands: Mapping[str, Float64], y: Float64, outer: list[Split], groups: Any, seed: int) -> _Fitted:
        """Fit: one band by plain ridge, two in the engine, three and more by a search."""
        sizes, options = [band.shape[1] for band in bands.values()], RidgeOptions(seed=seed)
        estimator: Any = EncodingRidgeCV(scoring="r2", options=options)
        if len(bands) > 1:
            estimator = BandedRidgeCV(sizes, scoring="r2", options=options)
        name, x = "+".join(bands), np.concatenate(list(bands.values()), axis=1)
        settings: dict[str, Any] = {"cv": outer, "groups": groups, "return_estimator": len(bands) > 2}
        result = cross_val_encode({name: x}, y, estimator=estimator, **settings)
        factors = None
        if len(bands) == 2:
            factors = _two_bands(result, estimator)
        elif len(bands) > 2:
            assert result.estimators is not None
            factors = [_searched(model.share_, sizes) for model in result.estimators[name]]
        r2 = result.dataset["r2"].isel(layer=0, drop=True)
        return cls(x, outer, r2, result.alpha.values[0], factors, dict(result.dataset.attrs))

    def by_balance(self, split: int) -> Iterator[tuple[Float64 | None, NDArray[np.intp]]]:
        """Yield the factors of features that occur in a split, and the targets that have them."""
        if self.factors is None:
            yield None, np.arange(self.alpha.shape[1])
            return
        rows, which = self.factors[split]
        for number, row in enumerate(rows):
            columns = np.flatnonzero(which == number)
            if len(columns):
                yield row, columns


def _two_bands(result: EncodingResult, estimator: BandedRidgeCV) -> list[tuple[Float64, NDArray[np.intp]]]:
    settings = make_settings(estimator)
    assert settings.bands is not None and settings.shares is not None
    chosen = result.dataset["share"].values[0]
    return [(settings.bands, np.abs(row[:, None] - settings.shares).argmin(axis=1)) for row in chosen]


def _searched(share: Float64, sizes: list[int]) -> tuple[Float64, NDArray[np.intp]]:
    """Bands start with the same trace, see `BandedRidgeCV`."""
    rows, which = np.unique(np.round(share, SAME_SHARE), axis=0, return_inverse=True)
    return np.sqrt(np.repeat(rows * (sum(sizes) / np.asarray(sizes)), sizes, axis=1)), which.reshape(-1)


@dataclass(eq=False)
class _Changes:
    """How each part depends on each group of images (:mod:`brainmap.statistics.jackknife`), gathered by block."""

    codes: NDArray[np.intp]
    groups: NDArray[Any]
    signs: Mapping[str, Mapping[frozenset[str], float]]
    n_splits: int
    units: NDArray[Any]
    unit: NDArray[np.intp]
    error: Float64
    total: Float64
    count: Float64
    by_unit: Float64
    block: Float64 | None = None

    @classmethod
    def of(
        cls, labels: NDArray[Any], outer: list[Split], signs: Any, n_targets: int, units: ArrayLike | None
    ) -> _Changes | None:
        """Make room; None where a test set holds fewer than two groups."""
        groups, codes = np.unique(labels, return_inverse=True)
        if any(len(np.unique(codes[test])) < 2 for _, test in outer):
            return None
        named = np.zeros(n_targets, dtype=int) if units is None else np.asarray(units)
        if named.shape != (n_targets,):
            raise InputError(f"There are {n_targets} targets but units of shape {named.shape}.")
        units, unit = np.unique(named, return_inverse=True)
        shape = (len(signs), len(units))
        return cls(
            codes, groups, signs, len(outer), units, unit.reshape(-1), np.full((len(signs), n_targets), np.nan),
            np.zeros(shape), np.zeros(shape), np.zeros((len(signs), 2, len(groups), len(units))),
        )  # fmt: skip

    @property
    def most_targets(self) -> int:
        """Targets whose changes may be held at a time."""
        return int(np.clip(CHANGES_BYTES // (16 * len(self.groups) * len(self.signs)), 64, MOST_TARGETS))

    def add(self, subset: frozenset[str], fitted: _Fitted, y: Float64) -> None:
        """Add what one set of bands contributes to the parts of the targets at hand."""
        changes = np.zeros((2, len(self.groups), y.shape[1]))
        count = np.zeros(y.shape[1])
        for number, split in enumerate(fitted.outer):
            for factors, columns in fitted.by_balance(number):
                band = principal_band(fitted.x, split, factors)
                for part in target_blocks(len(y), len(columns)):
                    chosen = columns[part]
                    block = in_own_units(y[:, chosen]).astype(np.float64)
                    alpha = fitted.alpha[number, chosen].astype(np.float32)
                    value, each = split_changes(block, band, alpha, split, self.codes, "r2")
                    changes[:, :, chosen] += each
                    count[chosen] += np.isfinite(value)
        changes /= np.maximum(count, 1.0)
        if self.block is None:
            self.block = np.zeros((len(self.signs), *changes.shape))
        for place, terms in enumerate(self.signs.values()):
            if subset in terms:
                self.block[place] += terms[subset] * changes

    def close(self, part: slice, r2: Mapping[frozenset[str], xr.DataArray]) -> None:
        """Take the errors of a block of targets, and what it adds to the units."""
        assert self.block is not None
        member = (self.unit[part] == np.arange(len(self.units))[:, None]).astype(np.float64)
        mean = {name: values.mean("split", skipna=True).values for name, values in r2.items()}
        for place, (terms, changes) in enumerate(zip(self.signs.values(), self.block, strict=True)):
            value = np.sum([sign * mean[name] for name, sign in terms.items()], axis=0)
            known = np.isfinite(value)
            # the quartile of t with one degree of freedom is 1
            self.error[place, part] = np.where(known, half_width(changes[0], changes[1], 1, 0.5), np.nan)
            self.total[place] += member @ np.where(known, value, 0.0)
            self.count[place] += member @ known
            self.by_unit[place] += (changes * known) @ member.T
        self.block = None

    def errors(self) -> xr.DataArray:
        """Standard error of every part of every target, with its degrees of freedom."""
        attrs = {"freedom": len(self.groups) - self.n_splits, "groups": len(self.groups)}
        return xr.DataArray(self.error, dims=("part", "target"), coords={"part": list(self.signs)}, attrs=attrs)

    def images(self) -> dict[str, ImageScores]:
        """Mean over the targets of each unit."""
        count = np.where(self.count > 0, self.count, np.nan)
        return {
            name: ImageScores(
                self.units, total / n, changes[0] / n, changes[1] / n, self.groups, self.n_splits, "r2"
            )
            for name, total, n, changes in zip(self.signs, self.total, count, self.by_unit, strict=True)
        }  # fmt: skip


def banded_ridge(
    spaces: Mapping[str, ArrayLike],
    Y: ArrayLike,
    *,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    n_iter: int = 30,
    seed: int = 0,
) -> xr.Dataset:
    """Banded ridge (one penalty per feature space and target) with each band's contribution to the held-out R².

    Parameters
    ----------
    spaces : mapping of str to array-like (n, d)
        Feature spaces (bands).
    Y : array-like, (n, n_targets)
        Responses.
    cv, groups
        Outer splits as in :func:`~brainmap.encoding.cross_val_encode`; inner splits are four grouped folds.
    n_iter : int
        With three spaces and more, random candidates of the relative weights of the bands; two spaces are searched on a
        grid (:class:`~brainmap.encoding.BandedRidgeCV`).
    seed : int
        Seed of folds and search.

    Returns
    -------
    xarray.Dataset
        ``r2`` (split, target), about the means of the test set; ``contribution`` (band, split, target), which adds up
        to ``r2`` (product measure: each band's prediction with the response, correlations among bands shared out; may
        be negative); ``weight`` (band, split, target), the bands' shares of the penalty's inverse.

    Raises
    ------
    InputError
        For fewer than two or more than five spaces, or responses that are not finite or do not fit.
    """
    from himalaya.scoring import r2_score_split

    arrays = check_spaces(spaces)
    y = np.asarray(Y, dtype=np.float64)
    rows = len(next(iter(arrays.values())))
    if y.ndim != 2 or len(y) != rows:
        raise InputError(f"Y must be (n, n_targets) with the {rows} rows of the features; it has shape {y.shape}.")
    if not np.isfinite(y).all():
        row, column = np.argwhere(~np.isfinite(y))[0]
        raise InputError(f"Y is not finite at row {row}, column {column}.")
    if n_iter < 1:
        raise InputError(f"The random search needs at least one candidate; n_iter is {n_iter}.")
    plan = plan_splits(len(y), cv, groups=groups, inner_cv=4, seed=seed)
    labels = np.arange(len(y)) if groups is None else np.asarray(groups)
    x, sizes = np.concatenate(list(arrays.values()), axis=1), [array.shape[1] for array in arrays.values()]
    edges = np.cumsum([0, *sizes])
    model = BandedRidgeCV(sizes, cv=4, scoring="r2", n_iter=n_iter, options=RidgeOptions(seed=seed))
    shape = (len(arrays), len(plan.outer), y.shape[1])
    contribution, weight = np.empty(shape), np.empty(shape)
    for number, (train, test) in enumerate(plan.outer):
        model.fit(x[train], y[train], groups=labels[train])
        split = np.stack([x[test, a:b] @ model.coef_[:, a:b].T for a, b in pairwise(edges)])
        # The product measure is defined about the mean; an offset between train and test belongs to no band.
        split = split - split.mean(axis=1, keepdims=True)
        contribution[:, number] = r2_score_split(y[test] - y[test].mean(axis=0), split)
        share = model.share_
        weight[:, number] = np.stack([share, 1.0 - share]) if len(arrays) == 2 else share.T
    dims = ("band", "split", "target")
    data = xr.Dataset({"contribution": (dims, contribution), "weight": (dims, weight)}, coords={"band": list(arrays)})
    data["r2"] = data["contribution"].sum("band")
    data.attrs = {"n_trials": len(y), "split_hash": plan.hash, "split_scheme": plan.scheme, "method": "banded ridge"}
    return data
