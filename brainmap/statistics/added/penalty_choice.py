"""Choice of ridge penalties by inner cross-validation, and how a held-out score depends on it through each group.

The train images decide which penalty wins. Mostly that hardly matters: near the best penalty the score is flat. But
where quite different ones come out even (add much of the gradients, or nothing), the winner differs from study to
study, and the score with it. A winner has no derivative. The mean score over the winners on other train images of the
same kind has one: with Gaussian noise on the inner scores, of the covariance that their own jackknife gives, it is the
regression of the winner's score on that noise (the infinitesimal jackknife of a bagged estimate, Efron 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.layer.scores import choose
from brainmap.statistics.jackknife import HeldOutRows, Score, corrected_residuals, training_changes
from brainmap.statistics.two_bands import TwoBands

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]
Groups = NDArray[np.intp]
DRAWS = 512  # noise draws per target: the regression on six to eight directions then errs by one or two per cent
AT_ONCE = 64  # targets whose draws stay in the processor's cache
WORST = (
    -1.0
)  # R² has no lower bound, and noise as wide as a score of −1000 would let that option win: r stops here, too
FAINT = 0.01  # of the largest spread: what varies less decides nothing, and a slope on it would be one of draws


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of the outer test rows at the chosen penalties.

    Parameters
    ----------
    predictions : tuple of ndarray, (n_test, n_targets)
        Without and with the added features.
    penalties : tuple of ndarray, (n_targets,)
        Of the baseline and of the added band.
    choice : ndarray, (n_groups, n_targets)
        Change of the held-out r with the added features when a group has no say in the added band's penalty.
    """

    predictions: tuple[NDArray[np.float32], NDArray[np.float32]]
    penalties: tuple[Array, Array]
    choice: Float64


def held_out(
    y: Array, bands: list[TwoBands], chosen: Array, penalties: tuple[Array, float], codes: Groups, score: Score = "r"
) -> HeldOut:
    """Predict the outer test rows without and with the added features, whose penalty inner cross-validation chooses.

    Parameters
    ----------
    y : ndarray, (n, n_targets)
        Responses, rows sorted by atom.
    bands : list of TwoBands
        One per inner split, and the outer split's last.
    chosen : ndarray, (n_targets,)
        Penalties of the baseline.
    penalties : tuple of (ndarray, float)
        Those to choose from, in increasing order (for an additive band infinity, nothing added, is tried, too), and the
        tolerance within which scores are even.
    codes : ndarray of int, (n,)
        Group of each row.
    score : {'r', 'r2'}
        What decides, and what `choice` is a change of.
    """
    own, (grid, tie) = bands[-1], penalties
    grid = np.append(grid, np.inf) if own.additive else grid
    scores, changes = _inner_scores(y, bands[:-1], chosen, (grid, codes), score)
    best = choose(scores, tie)
    base, start, weights = _start(y, own, chosen, score)
    held = HeldOutRows.of(y[own.test], codes[own.test], score)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a single group nothing can be left out
        reached = np.stack([held.scores(start + own.added.predict(weights, alpha))[0] for alpha in grid])
    if score == "r2":
        hopeless = scores < WORST
        scores, reached = np.maximum(scores, WORST), np.maximum(reached, WORST)
        changes = np.where(hopeless[:, None, :], 0.0, changes)
    full = start + own.added.predict(weights, grid[best])
    return HeldOut((base, full), (chosen, grid[best]), choice_changes(scores, changes, np.nan_to_num(reached)))


def taught_changes(
    bands: TwoBands,
    y: Array,
    penalties: tuple[Array, Array],
    slopes: list[NDArray[np.float64]],
    codes: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Change of the difference of scores when a train row does not teach, (n_train, n_targets)."""
    centred = y - y.mean(axis=0)
    fits = [
        band.fitted(band.weights(centred), alpha)
        for band, alpha in zip((bands.base, bands.added), penalties, strict=True)
    ]
    base = corrected_residuals(bands.base, penalties[0], centred - fits[0], codes)
    without = training_changes(bands.base, penalties[0], slopes[0], base)
    if not bands.additive:
        own = corrected_residuals(bands.added, penalties[1], centred - fits[1], codes)
        return training_changes(bands.added, penalties[1], slopes[1], own) - without
    # Orthogonal bands: what the baseline explains does not reach the added weights; both fits absorbed noise.
    rest = corrected_residuals(bands.added, penalties[1], base - fits[1], codes)
    both = training_changes(bands.base, penalties[0], slopes[1], base)
    return both + training_changes(bands.added, penalties[1], slopes[1], rest) - without


def choice_changes(inner: Float64, changes: Float64, reached: Float64) -> Float64:
    """Change of the mean score of the winner when a group has no say in who wins.

    Parameters
    ----------
    inner : ndarray, (n_options, n_targets)
        Mean validation scores, whose largest wins.
    changes : ndarray, (n_options, n_groups, n_targets)
        Their changes when a group is not there to validate.
    reached : ndarray, (n_options, n_targets)
        Held-out score of each option.

    Returns
    -------
    ndarray, (n_groups, n_targets)
    """
    by_target = np.ascontiguousarray(changes.transpose(2, 0, 1))
    values, vectors = np.linalg.eigh(by_target @ by_target.transpose(0, 2, 1))
    spread = np.sqrt(np.maximum(values, 0.0))  # ascending
    known = spread > FAINT * spread.max(axis=1, keepdims=True)
    last = slice(-max(int(known.sum(axis=1).max()), 1), None)
    vectors, spread, known = vectors[:, :, last], spread[:, last], known[:, last]
    slope = _slopes(inner.T, vectors * spread[:, None, :], reached.T)
    share = vectors @ np.where(known, slope / np.where(known, spread, 1.0), 0.0)[:, :, None]
    moved: Float64 = (by_target.transpose(0, 2, 1) @ share)[:, :, 0].T
    return moved


def _slopes(inner: Float64, noise: Float64, reached: Float64) -> Float64:
    """Regression of the winner's score on the noise, (n_targets, n_directions), a few targets at a time.

    Parameters
    ----------
    inner, reached : ndarray, (n_targets, n_options)
        As in :func:`choice_changes`.
    noise : ndarray, (n_targets, n_options, n_directions)
        What one standard deviation in each direction does to the options.
    """
    draws = _draws(noise.shape[2])
    slopes = np.empty((len(noise), draws.shape[1]))
    for start in range(0, len(noise), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        best = np.full((len(noise[part]), len(draws)), -np.inf)
        score = np.zeros_like(best)
        for option in range(inner.shape[1]):
            drawn = noise[part, option] @ draws.T
            drawn += inner[part, option, None]
            np.copyto(score, reached[part, option, None], where=drawn > best)
            np.maximum(best, drawn, out=best)
        slopes[part] = score @ draws / len(draws)
    return slopes


def _draws(n: int) -> Float64:
    """Normal draws in pairs of opposite sign, (DRAWS, n), whose covariance is exactly one."""
    half, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((DRAWS // 2, n)))
    draws: NDArray[np.float64] = np.concatenate([half, -half]) * np.sqrt(DRAWS / 2)
    return draws


def _start(y: Array, bands: TwoBands, chosen: Array, score: Score) -> tuple[Array, Array, Array]:
    """Predictions of the baseline, what the added band's are added to, and its projections of the responses."""
    level = y[bands.train].mean(axis=0)
    centred = y[bands.train] - level
    base = bands.base.predict(bands.base.weights(centred), chosen)
    start = base if bands.additive else np.zeros_like(base)
    if score == "r2":  # r does not see the level
        base, start = base + level, start + level
    return base, start, bands.added.weights(centred)


def _inner_scores(
    y: Array, bands: list[TwoBands], chosen: Array, options: tuple[Array, Groups], score: Score
) -> tuple[Float64, Float64]:
    """Mean validation score of every penalty of the added band, beside the baseline's, and changes by group."""
    grid, codes = options
    scores, count = np.zeros((len(grid), y.shape[1])), np.zeros(y.shape[1])
    changes = np.zeros((len(grid), int(codes.max()) + 1, y.shape[1]))
    for band in bands:
        _, start, weights = _start(y, band, chosen, score)
        held, names = HeldOutRows.of(y[band.test], codes[band.test], score), np.unique(codes[band.test])
        for index, alpha in enumerate(grid):
            with np.errstate(divide="ignore", invalid="ignore"):  # of a single group nothing can be left out
                r, moved = held.tested_changes(start + band.added.predict(weights, alpha))
            scores[index] += np.nan_to_num(r)
            changes[index, names] += moved
        count += np.isfinite(r)
    count = np.maximum(count, 1)
    return scores / count, changes / count
