"""Noise ceilings: how well the best possible model could predict a target, given the noise of its measurement.

Three estimates, one result type. Every ceiling is given as *explainable variance* (a fraction of the variance of the
response averaged over ``n_repeats``) and as the *correlation* a noiseless prediction would reach, its square root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import CEILING_BOOTSTRAP, CEILING_HALVES
from brainmap.statistics.checked_arrays import check_finite_columns, sliceable, target_blocks

FloatArray = NDArray[np.float64]
LEAST_GROUPS = 20  # of stimuli: intervals of twelve covered .90


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
        Bootstrap samples over stimuli (or groups) for the interval of ``r``; 0 for none. It holds for stimuli like
        these whose responses are about normal, and, whatever their distribution, for the ceiling of these very stimuli.
        With heavy-tailed responses to stimuli (t, 3 degrees of freedom), 95 % intervals hold that of *other* stimuli
        in .82 to .93 only: they cannot know tails that the data do not show.
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
    values, codes, counts = _trials(trials, stimulus)
    repeats = float(1.0 / np.mean(1.0 / counts)) if n_repeats is None else float(n_repeats)
    if repeats <= 0:
        raise InputError(f"The number of repeats must be positive, not {repeats:g}.")
    weights, units = _bootstrap_weights(codes, groups, n_bootstrap, seed)
    parts = [
        _decompose_block(values[:, block], codes, counts, weights, repeats) for block in target_blocks(*values.shape)
    ]
    signal, noise, shares = (np.concatenate(pieces, axis=-1) for pieces in zip(*parts, strict=True))
    ncsnr = np.sqrt(_ratio(np.maximum(signal, 0.0), noise))
    low, high = _interval(shares, units, confidence)
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
        Bootstrap samples over stimuli (or groups) for the interval of ``r``; 0 for none. It holds for stimuli like
        these whose responses are about normal, and, whatever their distribution, for the ceiling of these very stimuli.
        With heavy-tailed responses to stimuli (t, 3 degrees of freedom), 95 % intervals hold that of *other* stimuli
        in .82 to .93 only: they cannot know tails that the data do not show.
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
    values, codes, counts = _trials(trials, stimulus)
    if counts.min() < 2 or len(counts) < 3:
        raise InputError(
            "Split halves need at least three stimuli, each shown twice or more; "
            f"here are {len(counts)} stimuli and the rarest was shown {counts.min()} time(s)."
        )
    halves = _halvings(codes, counts, n_splits, np.random.default_rng([seed, CEILING_HALVES]))
    weights, units = _bootstrap_weights(codes, groups, n_bootstrap, seed)
    half = np.mean(counts // 2)
    ratio = float(np.mean(counts) / half)
    parts = [_half_correlation(values[:, block], codes, halves, weights) for block in target_blocks(*values.shape)]
    reliability = _prophecy(np.maximum(np.concatenate(parts, axis=1), 0.0), ratio)
    repeats = float(np.mean(counts))
    share = reliability[0]
    ncsnr = np.sqrt(_ratio(share, (1.0 - share) * repeats))
    low, high = _interval(reliability, units, confidence)
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


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; 0/0 is 0 (a constant target has no signal), x/0 is infinite (no noise)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, numerator / denominator)


def _prophecy(reliability: FloatArray, ratio: float) -> FloatArray:
    """Spearman–Brown: reliability of a measurement ``ratio`` times as long."""
    stepped: FloatArray = ratio * reliability / (1.0 + (ratio - 1.0) * reliability)
    return stepped


def _trials(trials: ArrayLike, stimulus: ArrayLike) -> tuple[Any, NDArray[np.intp], NDArray[np.intp]]:
    """Check single trials; return values, stimulus codes and the number of trials per stimulus."""
    values = sliceable(trials)
    labels = np.asarray(stimulus)
    if len(values.shape) != 2 or labels.shape != values.shape[:1]:
        raise InputError(
            f"Trials must be (n_trials, n_targets) with one stimulus per trial; got {values.shape} and {labels.shape}."
        )
    check_finite_columns(values, "The response")
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if np.sum(counts > 1) < 2:
        raise InputError("A ceiling needs at least two stimuli that were shown more than once.")
    return values, codes, counts


def _bootstrap_weights(
    codes: NDArray[np.intp], groups: ArrayLike | None, n_bootstrap: int, seed: int
) -> tuple[FloatArray, int]:
    """Rows of weights over stimuli: all ones first, then one multinomial draw per bootstrap sample; and drawn units."""
    n_stimuli = int(codes.max()) + 1
    group = np.arange(n_stimuli)
    if groups is not None:
        labels = np.asarray(groups)
        if labels.shape != codes.shape:
            raise InputError(
                f"groups must name the group of each of the {len(codes)} trials; got shape {labels.shape}."
            )
        names, of_trial = np.unique(labels, return_inverse=True)
        if len(names) < LEAST_GROUPS:
            raise InputError(f"An interval over groups needs at least {LEAST_GROUPS} of them, here are {len(names)}.")
        group[codes] = of_trial
        if (group[codes] != of_trial).any():
            raise InputError("A stimulus is in two groups; every stimulus must have one.")
    units = int(group.max()) + 1
    rng = np.random.default_rng([seed, CEILING_BOOTSTRAP])
    draws = rng.multinomial(units, np.full(units, 1.0 / units), size=n_bootstrap)[:, group]
    return np.vstack([np.ones(n_stimuli), draws]), units


def _stimulus_sums(values: FloatArray, codes: NDArray[np.intp], n_stimuli: int) -> FloatArray:
    """Sum rows by stimulus without a loop over stimuli."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_stimuli))
    sums: FloatArray = np.add.reduceat(values[order], starts, axis=0)
    return sums


def _decompose_block(
    values: FloatArray, codes: NDArray[np.intp], counts: NDArray[np.intp], weights: FloatArray, repeats: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return signal variance, noise variance (both of the sample) and explainable shares (one row per weighting)."""
    block = np.asarray(values, dtype=float)
    block = block - block.mean(axis=0)  # any constant is exact; this one avoids cancellation in the sums of squares
    means = _stimulus_sums(block, codes, len(counts)) / counts[:, None]
    within = _stimulus_sums((block - means[codes]) ** 2, codes, len(counts))
    n_trials = weights @ counts
    n_stimuli = weights.sum(axis=1)
    grand = (weights * counts) @ means / n_trials[:, None]
    between = (weights * counts) @ means**2 - n_trials[:, None] * grand**2
    # A stimulus shown once has no degree of freedom for noise; neither has a resample made of such stimuli only.
    noise_df = np.maximum(n_trials - n_stimuli, 1e-12)[:, None]
    noise = weights @ within / noise_df
    typical = (n_trials - weights @ counts**2 / n_trials) / (n_stimuli - 1)
    signal = (between / (n_stimuli - 1)[:, None] - noise) / typical[:, None]
    positive = np.maximum(signal, 0.0)
    return signal[0], noise[0], _ratio(positive, positive + noise / repeats)


def _halvings(
    codes: NDArray[np.intp], counts: NDArray[np.intp], n_splits: int, rng: np.random.Generator
) -> list[tuple[FloatArray, FloatArray]]:
    """Row weights of the two half means (equal numbers of repeats in both) for each random halving."""
    halves = []
    half = (counts // 2)[codes]
    order = np.argsort(codes, kind="stable")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    for _ in range(n_splits):
        shuffled = np.lexsort((rng.random(len(codes)), codes))
        place = np.empty(len(codes), dtype=np.intp)
        place[shuffled] = np.arange(len(order)) - starts
        halves.append(
            (np.where(place < half, 1.0 / half, 0.0), np.where((place >= half) & (place < 2 * half), 1 / half, 0))
        )
    return halves


def _half_correlation(
    values: FloatArray,
    codes: NDArray[np.intp],
    halves: list[tuple[FloatArray, FloatArray]],
    weights: FloatArray,
) -> FloatArray:
    """Mean correlation of the two half means over halvings, (n_weightings, n_targets)."""
    block = np.asarray(values, dtype=float)
    block = block - block.mean(axis=0)
    n_stimuli = weights.shape[1]
    total = np.zeros((len(weights), block.shape[1]))
    share = weights / weights.sum(axis=1, keepdims=True)
    correlate: Callable[[FloatArray, FloatArray], FloatArray] = lambda a, b: share @ (a * b) - (share @ a) * (share @ b)  # noqa: E731
    for first, second in halves:
        half = _stimulus_sums(block * first[:, None], codes, n_stimuli)
        two = _stimulus_sums(block * second[:, None], codes, n_stimuli)
        spread = np.sqrt(np.maximum(correlate(half, half) * correlate(two, two), 0.0))
        total += _ratio(correlate(half, two), np.where(spread > 0, spread, np.inf))
    mean: FloatArray = total / len(halves)
    return mean


def _interval(shares: FloatArray, n_stimuli: int, confidence: float) -> tuple[FloatArray | float, FloatArray | float]:
    """Interval of the ceiling of r from explainable shares, the estimate in the first row, resamples below.

    Percentiles expanded for few stimuli (Hesterberg 2015), joined with their reflection about the estimate on the scale
    -log(1 - share), on which a ratio of variances is nearly symmetric; percentiles alone miss too often. NaN without
    resamples.
    """
    if not 0 < confidence < 1:
        raise InputError(f"The confidence must lie between 0 and 1, not {confidence}.")
    if len(shares) < 2:
        return np.nan, np.nan
    scale = -np.log1p(-np.clip(shares, 0.0, 1.0 - 1e-12))
    reach = np.sqrt(n_stimuli / (n_stimuli - 1)) * stats.t.ppf((1.0 + confidence) / 2.0, n_stimuli - 1)
    tail = float(stats.norm.sf(reach))
    low, high = np.quantile(scale[1:], [tail, 1.0 - tail], axis=0)
    below, above = np.minimum(low, 2 * scale[0] - high), np.maximum(high, 2 * scale[0] - low)
    return np.sqrt(-np.expm1(-np.maximum(below, 0.0))), np.sqrt(-np.expm1(-np.maximum(above, 0.0)))
