"""Pearson r pooled over small test folds, from out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError

Float64 = NDArray[np.float64]


def pooled_r(truth: ArrayLike, prediction: ArrayLike, splits: Iterable[tuple[ArrayLike, ArrayLike]]) -> Float64:
    """Correlate predictions and responses over all test folds at once, both centred within each fold.

    Without centring the value would be biased: a fold with high responses was predicted from train rows whose mean is
    low (r of noise is about −.4 with 8 folds of 5 rows and a strong penalty). Rows weigh alike here, while the mean
    over folds weighs folds alike and takes each at its own scale. Neither is the more precise: of noise in 8 folds of 5
    rows both spread by .21, and the remedy is fewer folds or more rows.

    Parameters
    ----------
    truth : array-like, shape (n_rows, n_targets)
        Responses.
    prediction : array-like, shape (n_rows, n_targets)
        Out-of-fold predictions: ``cross_val_encode(…, return_predictions=True).predictions[layer]``.
    splits : iterable of (train, test)
        The splits they were made with: index or mask pairs, such as ``plan_splits(n_rows, cv, groups=groups).outer``.

    Returns
    -------
    ndarray, shape (n_targets,)
        NaN where responses or predictions do not vary within any fold, or a response is NaN.

    Raises
    ------
    InputError
        If the arrays differ in shape, or a test row has no prediction.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import cross_val_encode, plan_splits, pooled_r
    >>> rng = np.random.default_rng(0)
    >>> X, splits = rng.standard_normal((40, 3)), plan_splits(40, 8).outer
    >>> Y = X @ rng.standard_normal((3, 2))
    >>> predicted = cross_val_encode({"block.0": X}, Y, cv=splits, return_predictions=True).predictions
    >>> pooled_r(Y, predicted["block.0"], splits).round(2)
    array([1., 1.])
    """
    y, guess = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if y.shape != guess.shape or y.ndim != 2:
        raise InputError(
            f"responses have the shape {y.shape} and predictions {guess.shape}; both are rows × targets, of one shape."
        )
    covariance, energy, scatter = np.zeros((3, y.shape[1]))
    for number, (_, test) in enumerate(splits):
        held, shown = y[np.asarray(test)], guess[np.asarray(test)]
        if not np.isfinite(shown).all():
            row = int(np.argwhere(~np.isfinite(shown))[0, 0])
            raise InputError(
                f"test row {row} of split {number} has no prediction; give the splits that were predicted."
            )
        held, shown = held - held.mean(axis=0), shown - shown.mean(axis=0)
        covariance += (held * shown).sum(axis=0)
        energy, scatter = energy + (shown**2).sum(axis=0), scatter + (held**2).sum(axis=0)
    scale = np.sqrt(energy * scatter)
    r: Float64 = np.divide(covariance, scale, out=np.full(len(scale), np.nan), where=scale > 0)
    return r
