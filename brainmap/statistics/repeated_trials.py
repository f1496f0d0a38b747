"""Repeats of stimuli: their sums, halves of them, and resamples of stimuli; blocks of noise ceilings rest on these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import CEILING_BOOTSTRAP
from brainmap.statistics.checked_arrays import check_finite_columns, sliceable

FloatArray = NDArray[np.float64]
LEAST_GROUPS = 20  # of stimuli: intervals of twelve covered .90


@dataclass(frozen=True, eq=False)
class Resampled:
    """Trials, and how often each resample draws every stimulus.

    Attributes
    ----------
    values : array-like, (n_trials, n_targets)
    codes : ndarray, (n_trials,)
        Stimulus of each trial.
    counts : ndarray, (n_stimuli,)
        Trials of each stimulus.
    weights : ndarray, (n_weightings, n_stimuli)
        All ones in the first row.
    group : ndarray, (n_stimuli,)
        Unit that a stimulus is drawn with.
    """

    values: Any
    codes: NDArray[np.intp]
    counts: NDArray[np.intp]
    weights: FloatArray
    group: NDArray[np.intp]


def quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; 0/0 is 0 (a constant target has no signal), x/0 is infinite (no noise)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, numerator / denominator)


def checked_trials(trials: ArrayLike, stimulus: ArrayLike) -> tuple[Any, NDArray[np.intp], NDArray[np.intp]]:
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


def bootstrap_weights(
    codes: NDArray[np.intp], groups: ArrayLike | None, n_bootstrap: int, seed: int
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Rows of weights over stimuli (all ones, then one multinomial draw per sample) and the unit of each stimulus."""
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
    return np.vstack([np.ones(n_stimuli), draws]), group


def _stimulus_sums(values: FloatArray, codes: NDArray[np.intp], n_stimuli: int) -> FloatArray:
    """Sum rows by stimulus without a loop over stimuli."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_stimuli))
    sums: FloatArray = np.add.reduceat(values[order], starts, axis=0)
    return sums


def decomposed(
    values: FloatArray, codes: NDArray[np.intp], counts: NDArray[np.intp], weights: FloatArray, repeats: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return signal variance, noise variance (both of the sample) and explainable shares (one row per weighting)."""
    means, within = _means_and_scatter(values, codes, counts)
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
    return signal[0], noise[0], quotient(positive, positive + noise / repeats)


def _means_and_scatter(
    values: FloatArray, codes: NDArray[np.intp], counts: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Return mean and scatter over the repeats of each stimulus, (n_stimuli, n_targets)."""
    block = np.asarray(values, dtype=float)
    centre = block.mean(axis=0)  # any constant is exact; this one avoids cancellation in the sums of squares
    block = block[np.argsort(codes, kind="stable")]
    block -= centre
    starts = np.cumsum(counts) - counts
    means: FloatArray = np.add.reduceat(block, starts, axis=0) / counts[:, None]
    block -= np.repeat(means, counts, axis=0)
    block *= block
    within: FloatArray = np.add.reduceat(block, starts, axis=0)
    return means, within


def log_ratios(trials: Resampled, block: slice) -> tuple[FloatArray, FloatArray]:
    """Return log of mean squares between over within stimuli and its standard error, (n_weightings, n_targets).

    The error is that of units drawn independently, from what each adds to either sum of squares (infinitesimal
    jackknife): no distribution is assumed.
    """
    counts, weights, group = trials.counts, trials.weights, trials.group
    means, within = _means_and_scatter(trials.values[:, block], trials.codes, counts)
    grand = counts @ means / counts.sum()
    between = counts[:, None] * (means - grand) ** 2
    units = int(group.max()) + 1
    drawn = weights[:, np.unique(group, return_index=True)[1]]
    n_trials, n_stimuli = weights @ counts, weights.sum(axis=1)
    shift = (weights * counts) @ means / n_trials[:, None] - grand
    squares = np.maximum(weights @ between - n_trials[:, None] * shift**2, 0.0)
    noise = weights @ within
    freedom = (np.maximum(n_trials - n_stimuli, 1e-12) / (n_stimuli - 1))[:, None]
    tiny = np.finfo(float).tiny
    ratio = np.log(np.maximum(squares, tiny)) - np.log(np.maximum(noise, tiny)) + np.log(freedom)
    ratio = np.where(squares > 0, ratio, np.log(tiny))  # a constant target, too: no signal
    one, two = (_stimulus_sums(part, group, units) if units < len(group) else part for part in (between, within))
    first, second = quotient(one, one.sum(axis=0)), quotient(two, two.sum(axis=0))
    a, b = drawn @ first, drawn @ second
    spread = quotient(drawn @ first**2, a**2) - 2 * quotient(drawn @ (first * second), a * b)
    spread += quotient(drawn @ second**2, b**2)
    return ratio, np.sqrt(np.maximum(spread, 0.0) * units / (units - 1))


def halvings(
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


def half_correlation(
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
        total += quotient(correlate(half, two), np.where(spread > 0, spread, np.inf))
    mean: FloatArray = total / len(halves)
    return mean
