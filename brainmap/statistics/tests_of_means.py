"""Tests and intervals of means over folds or subjects, of arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import SUBJECT_FLIPS

FloatArray = NDArray[np.float64]
Alternative = Literal["greater", "less", "two-sided"]
LEAST = {"folds": 3, "subjects": 3, "wilcoxon": 5}
"""Folds or subjects that a one-sided test needs: fewer have no spread, or cannot reach p ≤ .05 (2⁻ⁿ)."""


def folds_t(values: FloatArray, alternative: Alternative = "greater") -> tuple[FloatArray, FloatArray]:
    """Corrected t test of K-fold scores against zero.

    Parameters
    ----------
    values : ndarray, (n_folds, ...)
        Score of each fold.
    alternative : {'greater', 'less', 'two-sided'}
        Direction.

    Returns
    -------
    t, p : ndarray, (...)
        K − 1 degrees of freedom; the variance of the mean accounts for the correlation 1/(K − 1) of fold scores.

    Raises
    ------
    InputError
        For fewer than three folds.
    """
    folds, least = len(values), LEAST["folds"]
    if folds < least:
        raise InputError(f"A test over folds needs at least {least}, here are {folds}; test over subjects instead.")
    spread = values.var(axis=0, ddof=1) * 2.0 * (folds - 1) / (folds * (folds - 2))
    return _t(values.mean(axis=0), spread, folds - 1, alternative)


def folds_interval(values: FloatArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Interval of a mean over folds, with the variance of :func:`folds_t`, (n_folds, ...) → low, high.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import folds_interval
    >>> low, high = folds_interval(np.array([0.2, 0.25, 0.3, 0.22, 0.28]))
    >>> bool(low < 0.25 < high)
    True
    """
    t, _ = folds_t(values)
    mean = values.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.abs(np.where(t != 0, mean / t, 0.0))
    return mean - half, mean + half


def subjects_t(values: FloatArray, alternative: Alternative = "greater") -> tuple[FloatArray, FloatArray]:
    """One-sample t test against zero over the first axis (as ``scipy.stats.ttest_1samp``), (n_subjects, ...)."""
    n, least = len(values), LEAST["subjects"]
    if n < least:
        raise InputError(f"A test over subjects needs at least {least} of them, here are {n}; test over folds instead.")
    return _t(values.mean(axis=0), values.var(axis=0, ddof=1) / n, n - 1, alternative)


def subjects_interval(values: FloatArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Interval of a mean over subjects, for these photographs, (n_subjects, ...) → low, high.

    Student's; a percentile bootstrap of n subjects is narrower by √((n − 1)/n) and by the tails of t, and misses too
    often with the four to eight subjects that there are.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import subjects_interval
    >>> low, high = subjects_interval(np.array([0.2, 0.25, 0.3, 0.22]))
    >>> bool(low < 0.2425 < high)
    True
    """
    if len(values) < LEAST["subjects"]:
        raise InputError(f"An interval over subjects needs at least {LEAST['subjects']}, here are {len(values)}.")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def subjects_wilcoxon(values: FloatArray, alternative: Alternative = "greater") -> tuple[FloatArray, FloatArray]:
    """Wilcoxon signed-rank test over the first axis, exact for few subjects, (n_subjects, ...).

    Raises
    ------
    InputError
        If no result could reach p ≤ .05: the smallest one-sided p is 2⁻ⁿ, so five subjects are needed, or six.
    """
    _refuse_too_few(len(values), alternative, "Wilcoxon's test")
    flat = values.reshape(len(values), -1)
    finite = np.isfinite(flat).all(axis=0) & (flat != 0).any(axis=0)
    statistic, p = np.full(flat.shape[1], np.nan), np.full(flat.shape[1], np.nan)
    if finite.any():
        result = stats.wilcoxon(flat[:, finite], alternative=alternative, axis=0)
        statistic[finite], p[finite] = result.statistic, result.pvalue
    return statistic.reshape(values.shape[1:]), p.reshape(values.shape[1:])


def sign_flip_p(values: FloatArray, *, n_flips: int = 5000, seed: int = 0) -> float:
    """Two-sided p of a mean by sign flips, (n_observations,).

    Parameters
    ----------
    values : ndarray, (n_observations,)
        One per subject, or other independent observation whose errors are symmetric.
    n_flips : int
        Random flips; all 2ⁿ are used when there are no more.
    seed : int
        Seed.

    Raises
    ------
    InputError
        If 2ⁿ flips cannot reach p ≤ .05.
    """
    n = len(values)
    _refuse_too_few(n, "two-sided", "A sign-flip test")
    exact = 2**n <= n_flips
    rng = np.random.default_rng([seed, SUBJECT_FLIPS])
    signs: FloatArray = _all_signs(n) if exact else rng.choice(np.array([-1.0, 1.0]), size=(n_flips, n))
    rounding = 1e-9 * np.abs(values.sum()) + 1e-12 * np.abs(values).sum()
    reached = int((np.abs(signs @ values) >= np.abs(values.sum()) - rounding).sum())
    own = 0 if exact else 1  # all flips include the identity; random ones are joined by it
    return (reached + own) / (len(signs) + own)


def _refuse_too_few(n: int, alternative: Alternative, name: str) -> None:
    """Refuse a test whose smallest p, 2⁻ⁿ or for two sides twice that, exceeds .05."""
    if n < LEAST["wilcoxon"] + (alternative == "two-sided"):
        raise InputError(f"{name} cannot reach p < .05 ({alternative}) with {n} subjects; use more, or a t test.")


def _all_signs(n: int) -> FloatArray:
    """All 2ⁿ patterns of signs, (2ⁿ, n)."""
    bits: NDArray[np.intp] = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return bits.astype(np.float64) * 2.0 - 1.0


def _t(mean: FloatArray, variance: FloatArray, freedom: int, alternative: Alternative) -> tuple[FloatArray, FloatArray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(variance)
    tails = {"greater": stats.t.sf(t, freedom), "less": stats.t.cdf(t, freedom)}
    p = tails[alternative] if alternative in tails else 2.0 * stats.t.sf(np.abs(t), freedom)
    return t, np.asarray(p)
