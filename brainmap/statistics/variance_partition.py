"""Variance partitioning: what each feature space explains alone, and what they explain together.

Held-out R² of every combination of spaces gives unique and shared parts by inclusion and exclusion. Parts may be
negative: a shared part through suppression (one space helps only beside the other), a unique one because added features
cost held-out variance. They are reported as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.encoding.banded_ridge import BandedRidgeCV
from brainmap.encoding.cross_validation import cross_val_encode
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import RidgeOptions
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.checked_arrays import feature_arrays
from brainmap.statistics.image_intervals import ImageScores, combine, image_scores
from brainmap.statistics.tests_of_means import folds_interval

MAX_SPACES = 5


@dataclass(frozen=True, eq=False)
class VariancePartition:
    """Result of :func:`variance_partition`.

    Parameters
    ----------
    r2 : DataArray, (model, split, target)
        Held-out R² of every combination, labelled ``'a+b'``.
    parts : DataArray, (part, split, target)
        Variance explained by exactly the named spaces: ``'a'`` uniquely, ``'a&b'`` shared by these two and no other, …
        The parts of a split and target add up to the R² of all spaces together.
    attrs : dict
        Provenance of the fits.
    images : dict of str to ImageScores, optional
        Mean over targets of every part and of the total, for intervals over images; None where the estimator is not a
        plain ridge.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import variance_partition
    >>> rng = np.random.default_rng(0)
    >>> shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    >>> Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    >>> partition = variance_partition({"shape": shape, "colour": colour}, Y, cv=3)
    >>> partition.parts["part"].values.tolist()
    ['shape', 'colour', 'shape&colour']
    """

    r2: xr.DataArray
    parts: xr.DataArray
    attrs: dict[str, Any]
    images: dict[str, ImageScores] | None = None

    def unique(self, space: str) -> xr.DataArray:
        """What only this space explains (nested-model ΔR²: all spaces less all but this one), (split, target)."""
        if space not in self.parts["part"].values:
            raise InputError(f"There is no space {space!r}; the partition has {', '.join(self._spaces())}.")
        return self.parts.sel(part=space, drop=True)

    def to_frame(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Mean over targets of every part, with an interval over images.

        Without `images` the interval is over folds, with the variance that scores without effect have: too wide where
        there is an effect.

        Returns
        -------
        pandas.DataFrame
            ``part``, ``kind`` ('unique', 'shared' or 'total'), ``r2``, ``low``, ``high``.
        """
        total = self.r2.isel(model=-1, drop=True).expand_dims(part=["total"])
        mean = xr.concat([self.parts, total], "part").mean("target", skipna=True).transpose("split", "part")
        names = [str(name) for name in mean["part"].values]
        if self.images is None:
            low, high = folds_interval(mean.values.astype(np.float64), confidence)
        else:
            tables = pd.concat([self.images[name].to_frame(confidence=confidence) for name in names])
            low, high = tables["low"].to_numpy(), tables["high"].to_numpy()
        kinds = ["total" if n == "total" else ("shared" if "&" in n else "unique") for n in names]
        columns = {"part": names, "kind": kinds, "r2": mean.values.mean(axis=0), "low": low, "high": high}
        return pd.DataFrame(columns)

    def _spaces(self) -> list[str]:
        return [str(name) for name in self.parts["part"].values if "&" not in str(name)]

    def __repr__(self) -> str:
        table = self.to_frame().set_index("part")["r2"]
        return "<VariancePartition: " + ", ".join(f"{name} {value:+.3f}" for name, value in table.items()) + ">"


def variance_partition(
    spaces: Mapping[str, ArrayLike],
    Y: ArrayLike,
    *,
    estimator: Any = None,
    cv: Any = 5,
    groups: ArrayLike | None = None,
) -> VariancePartition:
    """Partition held-out variance over two to five feature spaces.

    Parameters
    ----------
    spaces : mapping of str to array-like (n, d)
        Feature spaces; names without '+' and '&'.
    Y : array-like, (n, n_targets)
        Responses.
    estimator, cv, groups
        As in :func:`~brainmap.encoding.cross_val_encode`; all combinations are fitted on the same splits.

    Returns
    -------
    VariancePartition

    Raises
    ------
    InputError
        For fewer than two or more than five spaces, or unusable names.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import variance_partition
    >>> rng = np.random.default_rng(0)
    >>> shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    >>> Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    >>> unique = variance_partition({"shape": shape, "colour": colour}, Y, cv=3).parts.mean(("split", "target"))
    >>> bool(unique.sel(part="shape") > unique.sel(part="colour"))
    True
    """
    arrays = _check_spaces(spaces)
    names = list(arrays)
    subsets = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    models = {"+".join(c): np.concatenate([arrays[name] for name in c], axis=1) for c in subsets}
    cv = cv if isinstance(cv, int) or hasattr(cv, "split") else list(cv)
    result = cross_val_encode(models, Y, estimator=estimator, cv=cv, groups=groups)
    r2 = result.dataset["r2"].rename(layer="model").assign_coords(model=list(models))
    by_subset = {frozenset(c): r2.isel(model=i, drop=True) for i, c in enumerate(subsets)}
    signs = {"&".join(shared): _inclusion(shared, names) for shared in subsets}
    single = _image_scores(models, Y, estimator or EncodingRidgeCV(), result, (cv, groups))
    images = None
    if single is not None:
        by_set = dict(zip(by_subset, single, strict=True))
        images = {name: combine([by_set[c] for c in terms], list(terms.values())) for name, terms in signs.items()}
        images["total"] = single[-1]
    return VariancePartition(r2, _parts(by_subset, signs), dict(result.dataset.attrs), images)


def banded_partition(
    spaces: Mapping[str, ArrayLike], Y: ArrayLike, *, cv: Any = 5, groups: Any = None, seed: int = 0
) -> VariancePartition:
    """Partition held-out variance as :func:`variance_partition`, each space a band with a penalty of its own.

    Parameters
    ----------
    spaces, Y, cv, groups
        As there.
    seed : int
        Of folds, and of the search over the balance of three bands and more.

    Returns
    -------
    VariancePartition
        Without changes by group of images. Penalties are chosen by R², which is what is partitioned.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import banded_partition
    >>> rng = np.random.default_rng(0)
    >>> small, large = rng.standard_normal((90, 3)), rng.standard_normal((90, 60))
    >>> Y = small @ rng.standard_normal((3, 2)) + rng.standard_normal((90, 2))
    >>> unique = banded_partition({"small": small, "large": large}, Y).parts.mean(("split", "target"))
    >>> bool(unique.sel(part="small") > 0.3)
    True
    """
    arrays = _check_spaces(spaces)
    names = list(arrays)
    subsets = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    cv = cv if isinstance(cv, int) or hasattr(cv, "split") else list(cv)
    by_subset, attrs = {}, {}
    for c in subsets:
        together = np.concatenate([arrays[name] for name in c], axis=1)
        options = RidgeOptions(seed=seed)
        estimator: Any = EncodingRidgeCV(scoring="r2", options=options)
        if len(c) > 1:
            estimator = BandedRidgeCV([arrays[name].shape[1] for name in c], scoring="r2", options=options)
        result = cross_val_encode({"+".join(c): together}, Y, estimator=estimator, cv=cv, groups=groups)
        by_subset[frozenset(c)], attrs = result.dataset["r2"].isel(layer=0, drop=True), dict(result.dataset.attrs)
    r2 = xr.concat(list(by_subset.values()), "model").assign_coords(model=["+".join(c) for c in subsets])
    signs = {"&".join(shared): _inclusion(shared, names) for shared in subsets}
    return VariancePartition(r2, _parts(by_subset, signs), attrs, None)


def _parts(
    by_subset: Mapping[frozenset[str], xr.DataArray], signs: Mapping[str, Mapping[frozenset[str], float]]
) -> xr.DataArray:
    """Unique and shared variance: signed sums of the R² of sets of spaces."""
    zero = xr.zeros_like(next(iter(by_subset.values())))
    parts = [
        sum((sign * by_subset[c] for c, sign in terms.items()), start=zero).expand_dims(part=[name])
        for name, terms in signs.items()
    ]
    return xr.concat(parts, "part")


def _inclusion(shared: tuple[str, ...], names: list[str]) -> dict[frozenset[str], float]:
    """Signs of the R² of sets of spaces whose sum is what exactly these spaces share."""
    others = frozenset(names) - frozenset(shared)
    inside = [frozenset(c) for size in range(len(shared) + 1) for c in combinations(shared, size)]
    return {others | c: (-1.0) ** (len(c) + 1) for c in inside if others | c}


def _image_scores(
    models: Mapping[str, NDArray[np.float64]],
    Y: ArrayLike,
    estimator: Any,
    result: EncodingResult,
    splits: tuple[Any, ArrayLike | None],
) -> list[ImageScores] | None:
    """R² of every model, mean over targets, with its changes by group; None where it has no closed form."""
    if type(estimator) is not EncodingRidgeCV or not (estimator.scale and estimator.fit_intercept) or estimator.pca:
        return None
    cv, groups = splits
    seed = (estimator.options or RidgeOptions()).seed
    n = int(np.shape(Y)[0])
    labels = np.arange(n) if groups is None else np.asarray(groups)
    if any(len(np.unique(labels[test])) < 2 for _, test in plan_splits(n, cv, groups=labels, inner_cv=2).outer):
        return None
    units = np.zeros(result.dataset.sizes["target"], dtype=int)
    options: dict[str, Any] = {"cv": cv, "groups": groups, "seed": seed, "units": units, "score": "r2"}
    alphas = result.alpha.values
    return [image_scores(x, Y, alpha=a, **options) for x, a in zip(models.values(), alphas, strict=True)]


def unique_tests(
    spaces: Mapping[str, ArrayLike],
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    options: ConditionalOptions | None = None,
) -> pd.DataFrame:
    """Test per unit whether each space explains responses beyond all the others.

    Parameters
    ----------
    spaces : mapping of str to array-like (n, d)
        Feature spaces.
    responses, units, groups, options
        As in :func:`~brainmap.statistics.added.conditional_test.conditional_test`.

    Returns
    -------
    pandas.DataFrame
        ``space``, ``unit``, ``statistic``, ``p``, ``p_fwer`` (over units, per space), ``significant``.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, unique_tests
    >>> rng = np.random.default_rng(0)
    >>> shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    >>> Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    >>> spaces = {"shape": shape, "colour": colour}
    >>> table = unique_tests(spaces, Y, units=["IT", "IT"], options=ConditionalOptions(n_flips=200))
    >>> table.set_index("space")["significant"].to_dict()
    {'shape': True, 'colour': False}
    """
    arrays = _check_spaces(spaces)
    tables = []
    for name, array in arrays.items():
        others = {key: value for key, value in arrays.items() if key != name}
        test = conditional_test(others, array, responses, units=units, groups=groups, options=options)
        tables.append(test.table.assign(space=name))
    columns = ["space", "unit", "statistic", "p", "p_fwer", "significant"]
    return pd.concat(tables, ignore_index=True)[columns]


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

    arrays = _check_spaces(spaces)
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


def _check_spaces(spaces: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    if not 2 <= len(spaces) <= MAX_SPACES:
        raise InputError(f"Variance is partitioned over 2 to {MAX_SPACES} feature spaces, here are {len(spaces)}.")
    if bad := [name for name in spaces if {"+", "&"} & set(str(name)) or name == "total"]:
        raise InputError(f"The name {bad[0]!r} cannot be used: '+', '&' and 'total' have a meaning in the result.")
    return feature_arrays(spaces, "feature-space")
