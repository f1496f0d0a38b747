"""Scores with an interval over images, and paired differences of them: what holds for other photographs, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.encoding.folds import Split, SplitPlan, plan_splits
from brainmap.statistics.checked_arrays import (
    check_finite_columns,
    feature_arrays,
    in_own_units,
    sliceable,
    target_blocks,
)
from brainmap.statistics.jackknife import (
    HeldOutRows,
    Score,
    corrected_residuals,
    half_width,
    score_gradient,
    sum_by_group,
    training_changes,
)
from brainmap.statistics.two_bands import Band, principal_band

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Cross-validated scores and how they depend on each group of images. Subtract two of them to compare models.

    Parameters
    ----------
    units : ndarray, (n_units,)
        Labels: targets, areas or times.
    score : ndarray, (n_units,)
        Mean over splits (and over the targets of a unit).
    test, training : ndarray, (n_groups, n_units)
        Change of the score when a group is not tested, or does not teach (:mod:`brainmap.statistics.jackknife`).
    groups : ndarray, (n_groups,)
        Labels of the groups.
    n_splits : int
        Splits.
    kind : {'r', 'r2'}
        Which score.
    paired : bool
        Whether this is a difference of scores on the same images, which a t test over images may compare with zero.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import image_scores
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((60, 2))
    >>> wide, narrow = image_scores(X, Y, alpha=10.0), image_scores(X[:, :1], Y, alpha=10.0)
    >>> (wide - narrow).to_frame().columns.tolist()
    ['unit', 'r', 'low', 'high', 't', 'p']
    """

    units: NDArray[Any]
    score: FloatArray
    test: FloatArray
    training: FloatArray
    groups: NDArray[Any]
    n_splits: int
    kind: Score
    paired: bool = False

    def to_frame(
        self, *, confidence: float = 0.95, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
    ) -> pd.DataFrame:
        """Return ``unit``, the score, ``low``, ``high``; of a paired difference also the t test of zero: ``t``, ``p``.

        Of a single score both are NaN: where nothing is predicted it is skewed, and the test called .064 at .05.
        Whether a score is above chance say :func:`brainmap.statistics.significance` and ``permutation_test``.
        """
        freedom = len(self.groups) - self.n_splits
        half = half_width(self.test, self.training, freedom, confidence)
        unit = half_width(self.test, self.training, 1, 0.5)  # the quartile of t with one degree of freedom is 1
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self.score / unit if self.paired else np.full(self.score.shape, np.nan)
        tails = {"greater": stats.t.sf(t, freedom), "less": stats.t.cdf(t, freedom)}
        p = tails[alternative] if alternative in tails else 2.0 * stats.t.sf(np.abs(t), freedom)
        columns = {"low": self.score - half, "high": self.score + half, "t": t, "p": p}
        table = pd.DataFrame({"unit": self.units, self.kind: self.score, **columns})
        table.attrs = {"method": f"jackknife over {len(self.groups)} groups of images, tested and teaching"}
        return table

    def __sub__(self, other: ImageScores) -> ImageScores:
        """Return the paired difference."""
        return replace(combine([self, other], [1.0, -1.0]), paired=True)

    def __repr__(self) -> str:
        return f"<ImageScores: {self.kind} of {len(self.units)} units over {len(self.groups)} groups of images>"


def combine(scores: Sequence[ImageScores], weights: Sequence[float] | None = None) -> ImageScores:
    """Weighted sum of scores on the same images, such as the mean over subjects, or a difference of models.

    Parameters
    ----------
    scores : sequence of ImageScores
        On the same groups of images and splits, of the same units. What they share in these images counts as shared.
    weights : sequence of float, optional
        Default: the mean. Only of paired differences the result is one (``paired``, with a t test).

    Raises
    ------
    InputError
        If kinds, units, groups or numbers of splits differ.
    """
    first = scores[0]
    for other in scores[1:]:
        same = np.array_equal(first.units, other.units) and np.array_equal(first.groups, other.groups)
        if not same or (first.kind, first.n_splits) != (other.kind, other.n_splits):
            raise InputError("Scores to combine must be of the same kind, units, groups of images and splits.")
    factors = np.full(len(scores), 1.0 / len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    score, test, training = (
        np.tensordot(factors, np.stack([getattr(part, name) for part in scores]), axes=1)
        for name in ("score", "test", "training")
    )
    paired = all(part.paired for part in scores)
    return replace(first, score=score, test=test, training=training, paired=paired)


def image_scores(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    alpha: ArrayLike,
    groups: ArrayLike | None = None,
    cv: Any = 5,
    units: ArrayLike | None = None,
    score: Score = "r",
    seed: int = 0,
) -> ImageScores:
    """Scores of ridge with an interval over images, per target or averaged per unit.

    Parameters
    ----------
    X : array-like, (n, d)
        Features of one layer; standardised on each train split.
    Y : array-like, (n, n_targets)
        Responses.
    alpha : float or array-like, (n_targets,) or (n_splits, n_targets)
        Ridge penalties, such as those an :class:`~brainmap.encoding.EncodingResult` chose (``result.alpha``); the
        scores are then that result's.
    groups : array-like, (n,), optional
        Images that belong together (repeats, crops of a photograph); default: every image for itself.
    cv, seed
        Outer splits, as in :func:`~brainmap.encoding.cross_val_encode` and ``RidgeOptions.seed``.
    units : array-like, (n_targets,), optional
        Average over the targets of a unit (area, time); default: every target for itself.
    score : {'r', 'r2'}
        Held-out Pearson r or R².

    Returns
    -------
    ImageScores

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, penalties are not positive, or a split tests one group only.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import image_scores
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((60, 2))
    >>> table = image_scores(X, Y, alpha=10.0, groups=np.arange(60) // 2).to_frame()
    >>> table.columns.tolist()
    ['unit', 'r', 'low', 'high', 't', 'p']
    """
    x = np.concatenate(list(feature_arrays(X, "").values()), axis=1)
    y = sliceable(Y)
    labels = np.arange(len(x)) if groups is None else np.asarray(groups)
    if len(y.shape) != 2 or not len(x) == len(y) == len(labels):
        raise InputError(f"Features {x.shape}, responses {tuple(y.shape)} and groups {labels.shape} must share rows.")
    check_finite_columns(y, "The response")
    names = np.arange(y.shape[1]) if units is None else np.asarray(units)
    if names.shape != (y.shape[1],):
        raise InputError(f"There are {y.shape[1]} targets but units of shape {names.shape}.")
    plan = plan_splits(len(x), cv, groups=groups, inner_cv=2, seed=seed)
    penalty = _penalties(alpha, (len(plan.outer), int(y.shape[1])))
    group_names, codes = np.unique(labels, return_inverse=True)
    if any(len(np.unique(codes[test])) < 2 for _, test in plan.outer):
        raise InputError("An interval over images needs at least two groups of images in every test split.")
    bands = [principal_band(x, split) for split in plan.outer]
    unique_groups, unit = np.unique(names, return_inverse=True)
    total, count = np.zeros(len(unique_groups)), np.zeros(len(unique_groups))
    changes = np.zeros((2, len(group_names), len(unique_groups)))
    for part in target_blocks(len(x), int(y.shape[1])):
        block = in_own_units(y[:, part]).astype(np.float64)
        scores, parts = _block(block, bands, penalty[:, part], codes, plan, score)
        member = np.zeros((len(unique_groups), block.shape[1]))
        member[unit[part], np.arange(block.shape[1])] = np.isfinite(scores)
        count += member.sum(axis=1)
        total += member @ np.nan_to_num(scores)
        changes += parts @ member.T
    count = np.where(count > 0, count, np.nan)  # a target that is constant in every test set is missing, not a zero
    return ImageScores(
        unique_groups, total / count, changes[0] / count, changes[1] / count, group_names, len(plan.outer), score
    )


def _penalties(alpha: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    penalty = np.asarray(alpha, dtype=np.float32)
    penalty = penalty.reshape(shape) if penalty.size == shape[0] * shape[1] else penalty
    if penalty.ndim > 2 or not np.all(penalty > 0) or penalty.shape[-1:] not in ((), (shape[1],)):
        raise InputError(f"Penalties must be positive, one or {shape[1]} or {shape}; got an array of {penalty.shape}.")
    return np.broadcast_to(penalty, shape)


def _block(
    y: FloatArray,
    bands: list[Band],
    penalty: NDArray[np.float32],
    codes: NDArray[np.intp],
    plan: SplitPlan,
    score: Score,
) -> tuple[FloatArray, FloatArray]:
    """Mean score of some targets, (n_targets,), and its changes, (2, n_groups, n_targets).

    Test sets in which a target is constant are missing from its mean; NaN where all are.
    """
    total, count = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    changes = np.zeros((2, int(codes.max()) + 1, y.shape[1]))
    for split, band, alpha in zip(plan.outer, bands, penalty, strict=True):
        value, each = split_changes(y, band, alpha, split, codes, score)
        known = np.isfinite(value)
        total += np.where(known, value, 0.0)
        count += known
        changes += each
    return total / np.where(count > 0, count, np.nan), changes / np.maximum(count, 1.0)


def split_changes(
    y: FloatArray,
    band: Band,
    alpha: NDArray[np.float32],
    split: Split,
    codes: NDArray[np.intp],
    score: Score,
) -> tuple[FloatArray, FloatArray]:
    """Score of one split, (n_targets,), NaN where the target is constant, and its changes, (2, n_groups, n_targets).

    Parameters
    ----------
    y : ndarray, (n, n_targets)
        Responses.
    band : Band
        Features of the split (:func:`~brainmap.statistics.two_bands.principal_band`).
    alpha : ndarray, (n_targets,)
        Ridge penalties.
    split : (ndarray, ndarray)
        Train and test rows.
    codes : ndarray of int, (n,)
        Group of each row.
    score : {'r', 'r2'}
        Which score.
    """
    train, test = split
    changes = np.zeros((2, int(codes.max()) + 1, y.shape[1]))
    mean = y[train].mean(axis=0)
    centred = y[train] - mean
    weights = band.weights(centred)
    prediction = band.predict(weights, alpha) + mean
    value, tested = HeldOutRows.of(y[test], codes[test], score).tested_changes(prediction)
    changes[0, np.unique(codes[test])] += tested
    residual = corrected_residuals(band, alpha, centred - band.fitted(weights, alpha), codes[train])
    taught = training_changes(band, alpha, score_gradient(y[test], prediction, score), residual)
    names, sums = sum_by_group(taught, codes[train])
    changes[1, names] += np.where(np.isfinite(value), sums, 0.0)
    return value, changes
