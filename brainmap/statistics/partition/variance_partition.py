"""Variance partitioning: what each feature space explains alone, and what they explain together.

Held-out R² of every combination of spaces gives unique and shared parts by inclusion and exclusion. Parts may be
negative: a shared part through suppression (one space helps only beside the other), a unique one because added features
cost held-out variance. They are reported as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
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
        Mean over targets (of a unit) of every part and of the total, for intervals over images; None where the
        estimator has no closed form.
    errors : DataArray, (part, target), optional
        Of bands, standard error over groups of images of every part, and of the total, of each target.

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
    errors: xr.DataArray | None = None

    def unique(self, space: str) -> xr.DataArray:
        """What only this space explains (nested-model ΔR²: all spaces less all but this one), (split, target)."""
        if space not in self.parts["part"].values:
            raise InputError(f"There is no space {space!r}; the partition has {', '.join(self._spaces())}.")
        return self.parts.sel(part=space, drop=True)

    def to_frame(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Mean over targets (of a unit) of every part, with an interval over images.

        Without `images` the interval is over folds, with the variance that scores without effect have: too wide where
        there is an effect.

        Returns
        -------
        pandas.DataFrame
            ``part``, ``kind`` ('unique', 'shared' or 'total'), of several units ``unit``, ``r2``, ``low``, ``high``.
        """
        kinds = {name: "shared" if "&" in name else "unique" for name in map(str, self.parts["part"].values)}
        kinds["total"] = "total"
        columns = ["part", "kind", "r2", "low", "high"]
        if self.images is not None and len(self.images["total"].units) > 1:
            tables = [self.images[name].to_frame(confidence=confidence).assign(part=name) for name in kinds]
            table = pd.concat(tables, ignore_index=True)
            return table.assign(kind=table["part"].map(kinds))[[*columns[:2], "unit", *columns[2:]]]
        total = self.r2.isel(model=-1, drop=True).expand_dims(part=["total"])
        mean = xr.concat([self.parts, total], "part").mean("target", skipna=True).transpose("split", "part")
        if self.images is None:
            low, high = folds_interval(mean.values.astype(np.float64), confidence)
        else:
            both = pd.concat([self.images[name].to_frame(confidence=confidence) for name in kinds])
            low, high = both["low"].to_numpy(), both["high"].to_numpy()
        values = (list(kinds), list(kinds.values()), mean.values.mean(axis=0), low, high)
        return pd.DataFrame(dict(zip(columns, values, strict=True)))

    def _spaces(self) -> list[str]:
        return [str(name) for name in self.parts["part"].values if "&" not in str(name)]

    def __repr__(self) -> str:
        table = self.to_frame().groupby("part", sort=False)["r2"].mean()
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
    arrays = check_spaces(spaces)
    names = list(arrays)
    subsets = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    models = {"+".join(c): np.concatenate([arrays[name] for name in c], axis=1) for c in subsets}
    cv = cv if isinstance(cv, int) or hasattr(cv, "split") else list(cv)
    result = cross_val_encode(models, Y, estimator=estimator, cv=cv, groups=groups)
    r2 = result.dataset["r2"].rename(layer="model").assign_coords(model=list(models))
    by_subset = {frozenset(c): r2.isel(model=i, drop=True) for i, c in enumerate(subsets)}
    signs = {"&".join(shared): signs_of(shared, names) for shared in subsets}
    single = _image_scores(models, Y, estimator or EncodingRidgeCV(), result, (cv, groups))
    images = None
    if single is not None:
        by_set = dict(zip(by_subset, single, strict=True))
        images = {name: combine([by_set[c] for c in terms], list(terms.values())) for name, terms in signs.items()}
        images["total"] = single[-1]
    return VariancePartition(r2, parts_of(by_subset, signs), dict(result.dataset.attrs), images)


def parts_of(
    by_subset: Mapping[frozenset[str], xr.DataArray], signs: Mapping[str, Mapping[frozenset[str], float]]
) -> xr.DataArray:
    """Unique and shared variance: signed sums of the R² of sets of spaces."""
    zero = xr.zeros_like(next(iter(by_subset.values())))
    parts = [
        sum((sign * by_subset[c] for c, sign in terms.items()), start=zero).expand_dims(part=[name])
        for name, terms in signs.items()
    ]
    return xr.concat(parts, "part")


def signs_of(shared: tuple[str, ...], names: list[str]) -> dict[frozenset[str], float]:
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
    arrays = check_spaces(spaces)
    tables = []
    for name, array in arrays.items():
        others = {key: value for key, value in arrays.items() if key != name}
        test = conditional_test(others, array, responses, units=units, groups=groups, options=options)
        tables.append(test.table.assign(space=name))
    columns = ["space", "unit", "statistic", "p", "p_fwer", "significant"]
    return pd.concat(tables, ignore_index=True)[columns]


def check_spaces(spaces: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """Return feature spaces as arrays; an InputError says which number of them, name or value cannot be used."""
    if not 2 <= len(spaces) <= MAX_SPACES:
        raise InputError(f"Variance is partitioned over 2 to {MAX_SPACES} feature spaces, here are {len(spaces)}.")
    if bad := [name for name in spaces if {"+", "&"} & set(str(name)) or name == "total"]:
        raise InputError(f"The name {bad[0]!r} cannot be used: '+', '&' and 'total' have a meaning in the result.")
    return feature_arrays(spaces, "feature-space")
