"""Do two maps of areas agree more than their smoothness makes any two maps agree? Random maps, as smooth as the data.

Neighbouring areas resemble one another, so n areas are fewer than n observations. One map (distance from V1, myelin) is
kept; the other is replaced by random maps, normal with a covariance that falls with distance, as in geostatistics
(Diggle and Ribeiro 2007) and in surrogate maps that match a variogram (Burt et al. 2020). How smooth they must be is
estimated by restricted likelihood, from what the kept map does not explain. As few areas leave this uncertain, every
smoothness counts whose likelihood is near the highest, and p is the largest of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import SURROGATE_MAPS
from brainmap.hierarchy.agreement import correlate

FloatArray = NDArray[np.float64]
# Of correlation, from half the distance of neighbours to eight times that of the farthest areas. Of twelve none need be
# near the true one where the likelihood is sharp: .06 of maps were called for 50 areas around V1, smooth over .3 rad.
LENGTHS = 24
OWN = (0.0, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0)  # share of the variance that areas do not share with neighbours
PLAUSIBLE = 2.0  # log likelihood below the highest that still counts
BLUR = (
    0.001  # variance added to data and model, times n: many places tell the finest form of a kernel, which is not true
)


@dataclass(frozen=True)
class MapAgreement:
    """Correlation of two maps.

    Attributes
    ----------
    r, low, high : float
        Pearson correlation and its interval, Fisher's z ± the quantile of ``abs(z)`` of random maps.
    p : float
        Two-sided: share of random maps, the data's among them, whose ``abs(r)`` is at least as large.
    n, n_surrogates : int
        Areas, and random maps.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import SurrogateMaps
    >>> places = np.random.default_rng(0).standard_normal((60, 3))
    >>> smooth = SurrogateMaps(places[:, 0], places, n_surrogates=999).test(places[:, 0] + 0.2 * places[:, 1])
    >>> smooth.n, round(smooth.r, 2)
    (60, 0.99)
    """

    r: float
    low: float
    high: float
    p: float
    n: int
    n_surrogates: int

    @property
    def how(self) -> str:
        """Say how p was made."""
        return f"share of {self.n_surrogates:,} random maps, as smooth as the data, that correlate as strongly"


@dataclass(frozen=True)
class _Kernel:
    """One form and length of covariance.

    Attributes
    ----------
    contrasts, models : ndarray, (n, n − 2), (len(OWN), n − 2)
        Independent contrasts of a map that the kept map does not explain, and their variances.
    along, variances : ndarray, (n − 1,)
        The kept map, and variances, along the independent directions of a centred map.
    """

    contrasts: FloatArray
    models: FloatArray
    along: FloatArray
    variances: FloatArray


class SurrogateMaps:
    """Random maps at the places of one map, to test any number of others against it.

    Parameters
    ----------
    kept : array-like, (n,)
        The map that stays.
    places : array-like, (n, 2 or 3)
        Coordinates of the areas: on the sphere, or in mm.
    n_surrogates : int
        Random maps of every smoothness.
    seed : int
        Seed.

    Raises
    ------
    InputError
        For fewer than four areas, shapes that disagree, values that are not finite, a map that does not vary, or areas
        that are all in one place.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import SurrogateMaps
    >>> places = np.random.default_rng(0).standard_normal((60, 3))
    >>> distance = SurrogateMaps(places[:, 0], places, n_surrogates=999)
    >>> bool(distance.test(np.random.default_rng(1).standard_normal(60)).p > 0.05)
    True
    """

    def __init__(self, kept: ArrayLike, places: ArrayLike, *, n_surrogates: int = 5000, seed: int = 0) -> None:
        y, at = np.asarray(kept, dtype=np.float64), np.asarray(places, dtype=np.float64)
        if y.ndim != 1 or at.ndim != 2 or len(at) != len(y) or not np.isfinite(y).all() or not np.isfinite(at).all():
            raise InputError(f"Surrogate maps need finite values (n,) at places (n, 3); got {y.shape} and {at.shape}.")
        if len(y) < 4:
            raise InputError(f"a correlation of orders needs at least 4 units with values, got {len(y)}")
        centred = y - y.mean()
        if np.ptp(y) <= 1e-9 * np.abs(y).max():
            raise InputError("A map that is the same everywhere agrees with no other.")
        distance = np.sqrt(np.maximum(((at[:, None] - at) ** 2).sum(axis=-1), 0.0))
        if distance.max() == 0:
            raise InputError("All areas are in one place; surrogate maps need their coordinates.")
        self.direction = centred / np.linalg.norm(centred)
        self.n_surrogates = n_surrogates
        noise = np.random.default_rng([seed, SURROGATE_MAPS]).standard_normal((n_surrogates, len(y) - 1))
        self._noise: FloatArray = noise
        self._kernels = list(self._kernel_grid(distance))
        self._null: dict[tuple[int, float], FloatArray] = {}

    def _kernel_grid(self, distance: FloatArray) -> Iterator[_Kernel]:
        n, reach = len(distance), distance.max()
        nearest = np.sort(distance + np.diag(np.full(n, np.inf)), axis=1)[:, 0].mean()
        rest = np.linalg.svd(np.column_stack([np.ones(n), self.direction]))[0][:, 2:]
        centred = np.linalg.svd(np.ones((n, 1)))[0][:, 1:]
        for length in np.geomspace(max(nearest / 2.0, reach / 200.0), 8.0 * reach, LENGTHS):
            for covariance in (np.exp(-distance / length), np.exp(-((distance / length) ** 2))):
                values, vectors = np.linalg.eigh(centred.T @ covariance @ centred)
                scale = values.mean()
                spread, axes = np.linalg.eigh(rest.T @ covariance @ rest)
                own = np.array(OWN)[:, None]
                models = (1.0 - own) * np.maximum(spread / scale, 0.0) + own
                models = models / models.mean(axis=1, keepdims=True) + BLUR * n
                along = self.direction @ centred @ vectors
                yield _Kernel(rest @ axes, models, along, np.maximum(values / scale, 0.0))

    def _random_r(self, number: int, own: float) -> FloatArray:
        """|r| of random maps with one covariance, sorted, (n_surrogates,)."""
        if (number, own) not in self._null:
            kernel = self._kernels[number]
            drawn = self._noise * np.sqrt((1.0 - own) * kernel.variances + own)
            self._null[number, own] = np.sort(np.abs(drawn @ kernel.along) / np.linalg.norm(drawn, axis=1))
        return self._null[number, own]

    def test(self, other: ArrayLike, *, confidence: float = 0.95) -> MapAgreement:
        """Correlate a map with the one that is kept.

        Parameters
        ----------
        other : array-like, (n,)
            Values at the same places, without NaN.
        confidence : float
            Coverage of the interval.
        """
        x = np.asarray(other, dtype=np.float64)
        n = len(self.direction)
        if x.shape != (n,) or not np.isfinite(x).all():
            raise InputError(f"The map to compare needs {n} finite values; got {x.shape}.")
        if np.ptp(x) <= 1e-9 * np.abs(x).max():
            return MapAgreement(np.nan, np.nan, np.nan, np.nan, n, self.n_surrogates)
        centred = x - x.mean()
        r = float(np.clip(self.direction @ centred / np.linalg.norm(centred), -1.0, 1.0))
        likelihood = np.array([_log_likelihoods(kernel, centred) for kernel in self._kernels])
        near = np.argwhere(likelihood >= likelihood.max() - PLAUSIBLE)
        plausible = [self._random_r(int(number), OWN[share]) for number, share in near]
        reached = [len(null) - int(np.searchsorted(null, abs(r) - 1e-12)) for null in plausible]
        widest = plausible[int(np.argmax(reached))]
        reach = np.arctanh(min(float(np.quantile(widest, confidence)), 1.0 - 1e-12))
        z = np.arctanh(np.clip(r, -1.0 + 1e-12, 1.0 - 1e-12))
        p = (1 + max(reached)) / (1 + self.n_surrogates)
        return MapAgreement(r, float(np.tanh(z - reach)), float(np.tanh(z + reach)), p, n, self.n_surrogates)


def _log_likelihoods(kernel: _Kernel, centred: FloatArray) -> FloatArray:
    """Restricted log likelihood of a map for each share of variance of its own, the scale profiled out."""
    power = (centred @ kernel.contrasts) ** 2
    power = power / max(float(power.mean()), np.finfo(float).tiny) + BLUR * len(centred)
    scale = np.mean(power / kernel.models, axis=1)
    return -0.5 * (len(power) * np.log(scale) + np.log(kernel.models).sum(axis=1))


def map_order(
    x: FloatArray,
    kept: FloatArray,
    places: FloatArray,
    *,
    n_surrogates: int = 5000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Pearson and Spearman correlation of two maps of areas against random maps, with the plain p beside.

    Parameters
    ----------
    x, kept : ndarray, (n,)
        Maps; ``x`` is the one that random maps replace.
    places : ndarray, (n, 3)
        Of the areas.
    n_surrogates, seed, confidence
        As in :class:`SurrogateMaps`.

    Returns
    -------
    dict
        ``r``, ``low``, ``high``, ``p``, ``rho``, ``rho_low``, ``rho_high``, ``rho_p``; ``areas_p``, the t test that
        takes areas for independent; ``n``, ``n_surrogates``, ``p_method``. NaN where a map does not vary.
    """
    names = ("r", "low", "high", "p", "rho", "rho_low", "rho_high", "rho_p", "areas_p")
    more = {"n": len(x), "n_surrogates": n_surrogates}
    if not np.isfinite(correlate(x, kept)):
        return {**dict.fromkeys(names, np.nan), **more, "p_method": "no p: all areas have the same value"}
    setting = {"n_surrogates": n_surrogates, "seed": seed}
    r = SurrogateMaps(kept, places, **setting).test(x, confidence=confidence)
    rho = SurrogateMaps(stats.rankdata(kept), places, **setting).test(stats.rankdata(x), confidence=confidence)
    values = (r.r, r.low, r.high, r.p, rho.r, rho.low, rho.high, rho.p, float(stats.pearsonr(x, kept).pvalue))
    return {**dict(zip(names, values, strict=True)), **more, "p_method": r.how}
