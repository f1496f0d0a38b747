"""Residuals of several subjects who saw different images, pooled over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.statistics.added.added_value import ResidualResult
from brainmap.statistics.added.sign_flips import flip_p


@dataclass(frozen=True, eq=False)
class PooledResidual:
    """Residual per unit over several subjects.

    Parameters
    ----------
    table : pandas.DataFrame
        As of :class:`~brainmap.statistics.added.added_value.ResidualResult`, with ``n_subjects``.
    subjects : tuple of ResidualResult
        Each subject's own.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, pool_residuals, residual
    >>> rng = np.random.default_rng(0)
    >>> subjects = []
    >>> for seed in range(2):  # each saw photographs of their own
    ...     activations, gradients = rng.standard_normal((100, 5)), rng.standard_normal((100, 5))
    ...     responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    ...     options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200, seed=seed))
    ...     subjects.append(residual(activations, gradients, responses, units=["IT"] * 3, options=options))
    >>> pooled = pool_residuals(subjects)
    >>> pooled.table["n_subjects"].tolist()
    [2]
    """

    table: pd.DataFrame
    subjects: tuple[ResidualResult, ...]

    @property
    def method(self) -> str:
        """How the p values were made, in words."""
        return f"{self.subjects[0].test.method}; summed over {len(self.subjects)} subjects, signs drawn for each"

    def to_frame(self) -> pd.DataFrame:
        """Return the table; how it was made is in ``attrs``."""
        table = self.table.copy()
        table.attrs = {**self.subjects[0].to_frame().attrs, "p_method": self.method}
        return table


def pool_residuals(results: Sequence[ResidualResult]) -> PooledResidual:
    """Pool residuals of subjects who saw different images.

    Parameters
    ----------
    results : sequence of ResidualResult
        One per subject, tested with different seeds (so that their sign flips are independent) and equally many flips.

    Returns
    -------
    PooledResidual
        Effects are means over subjects, weighted equally; their intervals speak about these subjects. The statistic is
        the sum of the subjects' standardised ones over √n, its null the same sum of independent flips. Units that a
        subject lacks are left out.

    Raises
    ------
    InputError
        If fewer than two subjects are given, they share a seed or differ in flips, or no unit is in all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, pool_residuals, residual
    >>> rng = np.random.default_rng(0)
    >>> subjects = []
    >>> for seed in range(2):  # each saw photographs of their own
    ...     activations, gradients = rng.standard_normal((100, 5)), rng.standard_normal((100, 5))
    ...     responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    ...     options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200, seed=seed))
    ...     subjects.append(residual(activations, gradients, responses, units=["IT"] * 3, options=options))
    >>> bool(pool_residuals(subjects).table["significant"].all())
    True
    """
    seeds = [result.test.options.seed for result in results]
    if len(results) < 2 or len(set(seeds)) < len(seeds):
        raise InputError("Pooling needs at least two subjects, each tested with a seed of its own.")
    if len({len(result.test.null) for result in results}) > 1:
        raise InputError("Pooling needs equally many sign flips in all subjects.")
    units = reduce(np.intersect1d, [result.test.table["unit"].to_numpy() for result in results])
    if not len(units):
        raise InputError("No unit was tested in all subjects; name areas or times alike.")
    place = [pd.Index(result.test.table["unit"]).get_indexer(units) for result in results]
    tested = [(result.test, at) for result, at in zip(results, place, strict=True)]
    statistic = np.sum([test.table["statistic"].to_numpy()[at] for test, at in tested], axis=0) / np.sqrt(len(results))
    null = np.sum([test.null[:, at].astype(np.float64) for test, at in tested], axis=0) / np.sqrt(len(results))
    p, p_fwer = flip_p(statistic, null)
    table = _effects([result.table.set_index("unit").loc[units] for result in results], units)
    table = table.assign(statistic=statistic, p=p, p_fwer=p_fwer, n_subjects=len(results))
    table["significant"] = table["p_fwer"] <= results[0].test.options.alpha
    return PooledResidual(table, tuple(results))


def _effects(tables: list[pd.DataFrame], units: np.ndarray) -> pd.DataFrame:
    """Mean effects over subjects, with the interval of a mean of independent estimates."""
    mean = {name: np.mean([table[name] for table in tables], axis=0) for name in ("delta", "r_base", "r_full")}
    half = np.sqrt(np.sum([(table["high"] - table["low"]) ** 2 for table in tables], axis=0)) / (2 * len(tables))
    frame = pd.DataFrame({"unit": units, **mean}).assign(low=mean["delta"] - half, high=mean["delta"] + half)
    return frame.assign(n_targets=np.sum([table["n_targets"] for table in tables], axis=0))
