"""Noise ceilings: how well the best possible model could predict a target, given the noise of its measurement.

Three estimates, one result type. Every ceiling is given as *explainable variance* (a fraction of the variance of the
response averaged over ``n_repeats``) and as the *correlation* a noiseless prediction would reach, its square root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import CEILING_HALVES
from brainmap.statistics.checked_arrays import target_blocks
from brainmap.statistics.repeated_trials import (
    Resampled,
    bootstrap_weights,
    checked_trials,
    decomposed,
    half_correlation,
    halvings,
    log_ratios,
    quotient,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """Noise ceilings of many targets.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per target: ``ncsnr`` (standard deviation of signal over that of noise), ``variance`` (explainable
        fraction), ``r`` (ceiling of a Pearson correlation), ``low`` and ``high`` (interval of ``r``; NaN without
        bootstrap), and where the method knows them ``signal_variance`` and ``noise_variance`` (units of the responses
        squared; the signal's may be negative by chance, and is then reported so).
    method : str
        How the ceilings were made.
    n_repeats : float
        Number of repeats averaged in the responses that the ceilings speak about.
    confidence : float
        Coverage of ``low`` to ``high``.

    Examples
    --------
    >>> from brainmap.statistics import ceiling_from_ncsnr
    >>> ceiling = ceiling_from_ncsnr([0.5, 1.0])
    >>> ceiling.r.round(3), ceiling.for_repeats(3).r.round(3)
    (array([0.447, 0.707]), array([0.655, 0.866]))
    """

    table: pd.DataFrame
    method: str
    n_repeats: float
    confidence: float = 0.95

    @property
    def r(self) -> FloatArray:
        """Ceiling of a Pearson correlation, (n_targets,)."""
        return self.table["r"].to_numpy(dtype=float)

    @property
    def variance(self) -> FloatArray:
        """Explainable fraction of the variance, (n_targets,)."""
        return self.table["variance"].to_numpy(dtype=float)

    def for_repeats(self, n_repeats: float) -> NoiseCeiling:
        """Return the ceilings of responses averaged over another number of repeats (point estimates and intervals)."""
        if n_repeats <= 0:
            raise InputError(f"The number of repeats must be positive, not {n_repeats}.")
        table = self.table.copy()
        ratio = n_repeats / self.n_repeats
        for column in ("r", "low", "high"):
            share = table[column].to_numpy(dtype=float) ** 2
            table[column] = np.sqrt(_prophecy(share, ratio))
        table["variance"] = table["r"] ** 2
        return replace(self, table=table, n_repeats=n_repeats)

    def to_frame(self) -> pd.DataFrame:
        """Return the table with the method and the number of repeats beside every row."""
        return self.table.assign(method=self.method, n_repeats=self.n_repeats)

    def __repr__(self) -> str:
        r = self.r
        middle = np.nanmedian(r) if np.isfinite(r).any() else np.nan
        return (
            f"<NoiseCeiling of {len(r)} targets by {self.method}, {self.n_repeats:g} repeats: "
            f"median r {middle:.3f}, {int(np.sum(r > 0))} above zero>"
        )


def ceiling_from_ncsnr(ncsnr: ArrayLike, n_repeats: float | ArrayLike = 1) -> NoiseCeiling:
    """Turn NSD's noise-ceiling signal-to-noise ratio into ceilings.

    Parameters
    ----------
    ncsnr : array-like, (n_targets,)
        Standard deviation of the signal over that of the noise of one trial.
    n_repeats : float or array-like, (n_images,)
        Repeats averaged per image; for unequal numbers the mean of 1/n over images enters.

    Returns
    -------
    NoiseCeiling
        ``variance = ncsnr² / (ncsnr² + 1/n)`` (Allen et al. 2022, methods, "noise ceiling estimation").

    Raises
    ------
    InputError
        For negative ratios or repeats below one.

    Examples
    --------
    >>> from brainmap.statistics import ceiling_from_ncsnr
    >>> ceiling_from_ncsnr([0.0, 1.0], n_repeats=3).variance
    array([0.  , 0.75])
    """
    ratio = np.atleast_1d(np.asarray(ncsnr, dtype=float))
    repeats = np.atleast_1d(np.asarray(n_repeats, dtype=float))
    if np.any(ratio < 0):
        raise InputError(f"ncsnr must not be negative; target {int(np.argmax(ratio < 0))} is {ratio[ratio < 0][0]:g}.")
    if np.any(repeats < 1) or not np.isfinite(repeats).all():
        raise InputError("The number of repeats of every image must be at least one.")
    harmonic = 1.0 / np.mean(1.0 / repeats)
    variance = ratio**2 / (ratio**2 + 1.0 / harmonic)
    return NoiseCeiling(_table(ratio, variance), "ncsnr", float(harmonic))


def explainable_variance(
    trials: ArrayLike,
    stimulus: ArrayLike,
    *,
    n_repeats: float | None = None,
    groups: ArrayLike | None = None,
    n_bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> NoiseCeiling:
    """Ceilings from repeats: variance between stimuli against variance between repeats of one.

    Parameters
    ----------
    trials : array-like, (n_trials, n_targets)
        Single-trial responses.
    stimulus : array-like, (n_trials,)
        Stimulus of each trial. Stimuli shown once inform the total variance only.
    n_repeats : float, optional
        Repeats averaged in the responses the ceiling is for; default the harmonic mean of the repeats at hand.
    groups : array-like, (n_trials,), optional
        What stimuli belong together (categories, crops of a photograph): they are then drawn together, and the interval
        holds for new groups.
    n_bootstrap : int
        Bootstrap samples over stimuli (or groups) for the interval of ``r``; 0 for none. It is an interval of the
        ceiling of these stimuli, with which their scores are compared; no distribution is assumed. That of *other*
        stimuli it holds nearly as often, unless many repeats leave only the stimuli to chance and responses have heavy
        tails, which a hundred stimuli need not show (table in ``docs/statistics_appendix.md``).
    confidence : float
        Coverage of the interval.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    NoiseCeiling
        Signal and noise variance are the unbiased moment estimates of a one-way random-effects model, right for
        unequal repeats too; for equal repeats it is NSD's decomposition. Negative signal variance gives a ceiling of 0.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or fewer than two stimuli were repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import explainable_variance
    >>> rng = np.random.default_rng(0)
    >>> signal = np.repeat(rng.standard_normal((200, 1)), 4, axis=0)  # 200 photographs, 4 showings
    >>> trials = signal + rng.standard_normal((800, 1))
    >>> explainable_variance(trials, np.repeat(np.arange(200), 4)).variance.round(1)  # 1 / (1 + 1/4)
    array([0.8])
    """
    values, codes, counts = checked_trials(trials, stimulus)
    repeats = float(1.0 / np.mean(1.0 / counts)) if n_repeats is None else float(n_repeats)
    if repeats <= 0:
        raise InputError(f"The number of repeats must be positive, not {repeats:g}.")
    weights, group = bootstrap_weights(codes, groups, n_bootstrap, seed)
    parts = [decomposed(values[:, block], codes, counts, weights, repeats) for block in target_blocks(*values.shape)]
    signal, noise, shares = (np.concatenate(pieces, axis=-1) for pieces in zip(*parts, strict=True))
    ncsnr = np.sqrt(quotient(np.maximum(signal, 0.0), noise))
    low, high = _interval(Resampled(values, codes, counts, weights, group), shares, repeats, confidence)
    table = _table(ncsnr, shares[0], low, high, signal_variance=signal, noise_variance=noise)
    return NoiseCeiling(table, "explainable variance", repeats, confidence)


def split_half(
    trials: ArrayLike,
    stimulus: ArrayLike,
    *,
    n_splits: int = 20,
    groups: ArrayLike | None = None,
    n_bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> NoiseCeiling:
    """Ceilings from the correlation of two halves of the repeats, stepped up by Spearman–Brown.

    Parameters
    ----------
    trials : array-like, (n_trials, n_targets)
        Single-trial responses.
    stimulus : array-like, (n_trials,)
        Stimulus of each trial; each must have been shown at least twice.
    n_splits : int
        Random halvings; their correlations are averaged before the correction.
    groups : array-like, (n_trials,), optional
        What stimuli belong together (categories, crops of a photograph): they are then drawn together, and the interval
        holds for new groups.
    n_bootstrap : int
        Bootstrap samples over stimuli (or groups) for the interval of ``r``; 0 for none. It is an interval of the
        ceiling of these stimuli, with which their scores are compared; no distribution is assumed. That of *other*
        stimuli it holds nearly as often, unless many repeats leave only the stimuli to chance and responses have heavy
        tails, which a hundred stimuli need not show (table in ``docs/statistics_appendix.md``).
    confidence : float
        Coverage of the interval.
    seed : int
        Seed of halvings and bootstrap.

    Returns
    -------
    NoiseCeiling
        ``variance = k ρ / (1 + (k − 1) ρ)`` with ρ the mean correlation of the halves and k the repeats over the
        repeats in a half (2 for even numbers). Negative ρ gives a ceiling of 0.

    Raises
    ------
    InputError
        If a stimulus was shown once only, or fewer than three stimuli remain.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import split_half
    >>> rng = np.random.default_rng(0)
    >>> signal = np.repeat(rng.standard_normal((200, 1)), 4, axis=0)  # 200 photographs, 4 showings
    >>> trials = signal + rng.standard_normal((800, 1))
    >>> split_half(trials, np.repeat(np.arange(200), 4)).r.round(1)
    array([0.9])
    """
    values, codes, counts = checked_trials(trials, stimulus)
    if counts.min() < 2 or len(counts) < 3:
        raise InputError(
            "Split halves need at least three stimuli, each shown twice or more; "
            f"here are {len(counts)} stimuli and the rarest was shown {counts.min()} time(s)."
        )
    halves = halvings(codes, counts, n_splits, np.random.default_rng([seed, CEILING_HALVES]))
    weights, group = bootstrap_weights(codes, groups, n_bootstrap, seed)
    half = np.mean(counts // 2)
    ratio = float(np.mean(counts) / half)
    parts = [half_correlation(values[:, block], codes, halves, weights) for block in target_blocks(*values.shape)]
    reliability = _prophecy(np.maximum(np.concatenate(parts, axis=1), 0.0), ratio)
    repeats = float(np.mean(counts))
    share = reliability[0]
    ncsnr = np.sqrt(quotient(share, (1.0 - share) * repeats))
    low, high = _interval(Resampled(values, codes, counts, weights, group), reliability, repeats, confidence)
    return NoiseCeiling(_table(ncsnr, share, low, high), "split half", repeats, confidence)


def _table(
    ncsnr: FloatArray,
    variance: FloatArray,
    low: FloatArray | float = np.nan,
    high: FloatArray | float = np.nan,
    **more: FloatArray,
) -> pd.DataFrame:
    return pd.DataFrame(
        {**more, "ncsnr": ncsnr, "variance": variance, "r": np.sqrt(variance), "low": low, "high": high}
    )


def _prophecy(reliability: FloatArray, ratio: float) -> FloatArray:
    """Spearman–Brown: reliability of a measurement ``ratio`` times as long."""
    stepped: FloatArray = ratio * reliability / (1.0 + (ratio - 1.0) * reliability)
    return stepped


def _interval(
    trials: Resampled, shares: FloatArray, repeats: float, confidence: float
) -> tuple[FloatArray | float, FloatArray | float]:
    """Interval of the ceiling of r from explainable shares, the estimate in the first row, resamples below.

    Percentiles expanded for few stimuli (Hesterberg 2015), joined with their reflection about the estimate on the scale
    -log(1 - share), on which a ratio of variances is nearly symmetric, and with the studentised interval of that ratio:
    percentiles alone miss too often, most of all where tails are heavy. NaN without resamples.
    """
    if not 0 < confidence < 1:
        raise InputError(f"The confidence must lie between 0 and 1, not {confidence}.")
    if len(shares) < 2:
        return np.nan, np.nan
    units, counts = int(trials.group.max()) + 1, trials.counts
    scale = -np.log1p(-np.clip(shares, 0.0, 1.0 - 1e-12))
    tail = _tail(units, confidence)
    low, high = np.quantile(scale[1:], [tail, 1.0 - tail], axis=0)
    below, above = np.minimum(low, 2 * scale[0] - high), np.maximum(high, 2 * scale[0] - low)
    blocks = target_blocks(*trials.values.shape)
    ends = [_studentised(*log_ratios(trials, block), units, confidence) for block in blocks]
    factor = repeats / ((counts.sum() - (counts**2).sum() / counts.sum()) / (len(counts) - 1))
    ratios = (factor * np.expm1(np.minimum(np.concatenate(part), 700.0)) for part in zip(*ends, strict=True))
    least, most = (np.log1p(np.maximum(ratio, 0.0)) for ratio in ratios)
    below, above = np.minimum(below, least), np.maximum(above, most)
    return np.sqrt(-np.expm1(-np.maximum(below, 0.0))), np.sqrt(-np.expm1(-np.maximum(above, 0.0)))


def _studentised(
    ratios: FloatArray, errors: FloatArray, n_stimuli: int, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Interval of a log ratio, estimates in the first row, from resamples over their own standard errors.

    The wider of the equal-tailed and the symmetric one on either side: each misses where the other holds.
    """
    tail = _tail(n_stimuli, confidence)
    standing = (ratios[1:] - ratios[0]) / np.where(errors[1:] > 0, errors[1:], np.inf)
    low, high = np.quantile(standing, [tail, 1.0 - tail], axis=0)
    either = np.quantile(np.abs(standing), 1.0 - 2 * tail, axis=0)
    return ratios[0] - np.maximum(high, either) * errors[0], ratios[0] + np.maximum(-low, either) * errors[0]


def _tail(n_stimuli: int, confidence: float) -> float:
    """Return the quantile of resamples that stands for a tail, expanded for few stimuli (Hesterberg 2015)."""
    reach = np.sqrt(n_stimuli / (n_stimuli - 1)) * stats.t.ppf((1.0 + confidence) / 2.0, n_stimuli - 1)
    return float(stats.norm.sf(reach))
