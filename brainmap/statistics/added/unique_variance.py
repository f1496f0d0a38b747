"""Unique variance of each of several feature spaces: what held-out R² loses when one of them is left out.

Of every space in turn the others (and a common baseline) are the baseline of
:func:`brainmap.statistics.added.added_value.residual`: its size and interval are those of the gain in R², its test is
that of the covariance beyond the others, and one correction runs over all spaces and units. The flips of all spaces
share their signs, so that the largest statistic over spaces and units keeps every dependence among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.statistics.added.added_value import ResidualOptions, ResidualResult, residual
from brainmap.statistics.added.conditional_test import ConditionalOptions, ConditionalTest
from brainmap.statistics.added.pooled_subjects import pool_residuals
from brainmap.statistics.added.sign_flips import flip_p
from brainmap.statistics.checked_arrays import Features, layers_of
from brainmap.statistics.correction import adjust

COLUMNS = ("space", "unit", "unique", "low", "high", "r2_others", "r2_all", "statistic", "p", "p_fwer", "significant")


@dataclass(frozen=True, eq=False)
class UniqueVariance:
    """Result of :func:`unique_variance`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per space and unit: ``space``, ``unit``, ``unique`` (gain in held-out R² over all other spaces and the
        baseline), ``low``, ``high`` (95 %, over groups of images), ``r2_others``, ``r2_all``, ``statistic``, ``p``
        (one-sided), ``p_fwer`` (over all spaces and units), ``significant``, ``n_targets``.
    spaces : dict of str to ResidualResult
        Each space beyond the others.
    method : str
        How the p values were made, in words.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, unique_variance
    >>> rng = np.random.default_rng(0)
    >>> shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    >>> Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    >>> options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200))
    >>> found = unique_variance({"shape": shape, "colour": colour}, Y, units=["IT", "IT"], options=options)
    >>> found.by_target()["unique"].dims
    ('space', 'target')
    """

    table: pd.DataFrame
    spaces: dict[str, ResidualResult]
    method: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table; how it was made is in ``attrs``."""
        table = self.table.copy()
        first = next(iter(self.spaces.values()))
        table.attrs = {"p_method": self.method, "alpha": first.test.options.alpha, "scoring": "R², held out"}
        return table

    def by_target(self, *, level: float = 0.05) -> xr.Dataset:
        """Size and test the unique variance of every target by itself.

        Parameters
        ----------
        level : float
            False discovery rate over all spaces and targets.

        Returns
        -------
        xarray.Dataset
            ``unique``, ``low``, ``high`` (95 %), ``p``, ``significant``, dims (space, target); as
            :meth:`~brainmap.statistics.added.added_value.ResidualScores.by_target`, by the jackknife only.
        """
        each = [result.scores.by_target() for result in self.spaces.values()]
        names = {"delta": "unique", "low": "low", "high": "high", "p": "p"}
        data = xr.Dataset(
            {
                new: (("space", "target"), np.stack([table[old].to_numpy() for table in each]))
                for old, new in names.items()
            },
            coords={"space": list(self.spaces)},
        )
        return data.assign(significant=adjust(data["p"], "bh", over=["space", "target"]) <= level)

    def __repr__(self) -> str:
        hits = self.table.loc[self.table["significant"]].groupby("space", sort=False).size()
        units = len(self.table) // len(self.spaces)
        each = ", ".join(f"{name} in {hits.get(name, 0)}" for name in self.spaces)
        return f"<UniqueVariance of {units} units: {each}>"


def unique_variance(
    spaces: Mapping[str, Features],
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    base: Features | None = None,
    groups: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
    options: tuple[ResidualOptions, ConditionalOptions] | None = None,
) -> UniqueVariance:
    """Size and test, per unit, what each feature space explains beyond all the others.

    Parameters
    ----------
    spaces : mapping of str to (array-like (n_images, d) or mapping of layer to array-like)
        Two feature spaces or more, such as the gradients of the terms of a loss. Layers that are constant are left out.
    responses, units, groups, confounds, options
        As in :func:`~brainmap.statistics.added.added_value.residual`; scores are R², whatever the options say.
    base : array-like or mapping of layer to array-like, optional
        Features that belong to no space and are always in the baseline, such as activations.

    Returns
    -------
    UniqueVariance

    Raises
    ------
    InputError
        If there are fewer than two spaces, a space is constant, or as there.

    Notes
    -----
    Both tests of a space are right as far as its baseline holds what the other spaces explain: its leading components
    are removed, as many as hold 99.9 % of its variance and at most a quarter of the images, and the rest is modelled.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, unique_variance
    >>> rng = np.random.default_rng(0)
    >>> shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    >>> Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    >>> options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200))
    >>> found = unique_variance({"shape": shape, "colour": colour}, Y, units=["IT", "IT"], options=options)
    >>> found.table.set_index("space")["significant"].to_dict()
    {'shape': True, 'colour': False}
    """
    if len(spaces) < 2:
        raise InputError(f"Unique variance is of two feature spaces or more, here is {len(spaces)}.")
    scores, test = options or (ResidualOptions(), ConditionalOptions())
    varying = {name: _varying(features, name) for name, features in spaces.items()}
    always = {} if base is None else {f"baseline {layer}": x for layer, x in layers_of(base).items()}
    results = {}
    for name, layers in varying.items():
        others = {f"{other} {layer}": x for other in varying if other != name for layer, x in varying[other].items()}
        results[name] = residual(
            {**always, **others},
            layers,
            responses,
            units=units,
            groups=groups,
            confounds=confounds,
            options=(replace(scores, score="r2"), test),
        )
    return UniqueVariance(_table(_joint(results).table, list(results)), results, _method(results))


def pool_unique_variance(subjects: Sequence[UniqueVariance]) -> tuple[pd.DataFrame, str]:
    """Pool the unique variance of subjects who saw different images, as :func:`pool_residuals` does.

    Parameters
    ----------
    subjects : sequence of UniqueVariance
        One per subject, of the same spaces, tested with different seeds and equally many flips.

    Returns
    -------
    table : pandas.DataFrame
        As of :class:`UniqueVariance`, over subjects; corrected over all spaces and units.
    method : str
        How p was made.

    Raises
    ------
    InputError
        If fewer than two subjects are given, they share a seed or differ in flips, or no unit is in all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, pool_unique_variance, unique_variance
    >>> rng = np.random.default_rng(0)
    >>> subjects = []
    >>> for seed in range(2):  # each saw photographs of their own
    ...     shape, colour = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    ...     Y = shape @ rng.standard_normal((3, 2)) + rng.standard_normal((80, 2))
    ...     options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200, seed=seed))
    ...     spaces = {"shape": shape, "colour": colour}
    ...     subjects.append(unique_variance(spaces, Y, units=["IT", "IT"], options=options))
    >>> pool_unique_variance(subjects)[0].set_index("space")["significant"].to_dict()
    {'shape': True, 'colour': False}
    """
    joints = [_joint(subject.spaces) for subject in subjects]
    table = pool_residuals(joints).to_frame().join(joints[0].table.set_index("unit")[["space", "of"]], on="unit")
    how = f"{subjects[0].method}; summed over {len(subjects)} subjects, signs drawn for each"
    return _table(table, list(subjects[0].spaces)), how


def _method(results: Mapping[str, ResidualResult]) -> str:
    """How the p values were made, in words."""
    test = next(iter(results.values())).test
    return (
        f"{test.options.n_flips} sign flips of {test.n_blocks} groups of {test.n_images} images, of the covariance of "
        f"responses with each of {len(results)} feature spaces residualised on all that stands beside it; maximum over "
        "units and spaces"
    )


def _varying(features: Features, name: str) -> dict[str, NDArray[Any]]:
    """Layers of a space that are not constant."""
    layers = {layer: np.asarray(x) for layer, x in layers_of(features).items()}
    kept = {layer: x for layer, x in layers.items() if np.ptp(x, axis=0).any()}
    if not kept:
        raise InputError(f"The feature space '{name}' is constant over images in every layer; leave it out.")
    return kept


def _joint(results: Mapping[str, ResidualResult]) -> ResidualResult:
    """All spaces as one result whose units are pairs of space and unit, corrected over all of them."""
    first = next(iter(results.values()))
    tables = [result.table.assign(space=name) for name, result in results.items()]
    together = pd.concat(tables, ignore_index=True)
    together["of"] = together["unit"]
    together["unit"] = [f"{space}\n{unit!r}" for space, unit in zip(together["space"], together["of"], strict=True)]
    null = np.concatenate([result.test.null for result in results.values()], axis=1)
    together["p"], together["p_fwer"] = flip_p(together["statistic"].to_numpy(), null)
    together["significant"] = together["p_fwer"] <= first.test.options.alpha
    test = ConditionalTest(
        together, first.test.options, first.test.n_images, first.test.n_blocks, first.test.n_components, null
    )
    return ResidualResult(together, first.scores, test)


def _table(joint: pd.DataFrame, spaces: list[str]) -> pd.DataFrame:
    """Table of spaces and units, in the order of the spaces."""
    table = joint.drop(columns="unit").rename(
        columns={"of": "unit", "delta": "unique", "r_base": "r2_others", "r_full": "r2_all"}
    )
    table = table.assign(place=table["space"].map(spaces.index)).sort_values(["place", "unit"], kind="stable")
    return table[[*COLUMNS, "n_targets"]].reset_index(drop=True)
