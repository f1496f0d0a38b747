"""Stacked regression over layers: every layer predicts, and each target weighs their predictions (Lin et al. 2023).

Of each outer train set, inner folds give every layer's predictions of photographs that it was not fitted to. Weights of
a target are those of the convex combination of layers (none negative, their sum one) with the smallest squared error
there. The test set is then predicted by all layers fitted to the whole train set, with these weights: it takes no part
in their choice. A profile over layers comes out that is not the position of a maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from sklearn.base import clone

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.encoding.cross_validation import PreparedEncoding
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.row_groups import RowGroups

Float64 = NDArray[np.float64]
BLOCK = 1024  # targets at a time: predictions of all layers are held of these


@dataclass(frozen=True, eq=False)
class StackedScores:
    """Scores of a stack, and how each target weighs the layers.

    Attributes
    ----------
    layers : list of str
        In the order given.
    r, r2 : ndarray, (n_splits, n_targets)
        Of the stacked predictions of each test set.
    weights : ndarray, (n_splits, n_layers, n_targets)
        Not negative, with a sum of one.
    single : EncodingResult
        Scores of the layers by themselves, on the same splits.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import StackedScores, stacked_encode
    >>> rng = np.random.default_rng(0)
    >>> X = {name: rng.standard_normal((90, 4)) for name in ("early", "late")}
    >>> stack: StackedScores = stacked_encode(X, X["late"] @ rng.standard_normal((4, 2)))
    >>> stack.profile([0, 1]).round(1).tolist()
    [1.0, 1.0]
    """

    layers: list[str]
    r: Float64
    r2: Float64
    weights: Float64
    single: EncodingResult

    def profile(self, depths: ArrayLike) -> Float64:
        """Mean depth under the weights (mean over splits), (n_targets,): a place in the model that is no argmax."""
        mean: Float64 = np.asarray(depths, dtype=np.float64) @ self.weights.mean(axis=0)
        return mean


def stacked_encode(
    X: Mapping[str, Any],
    Y: Any,
    *,
    estimator: EncodingRidgeCV | None = None,
    cv: Any = 5,
    groups: ArrayLike | RowGroups | None = None,
    memory: str | int = "8GB",
) -> StackedScores:
    """Predict every target from all layers together, each weighed.

    Parameters
    ----------
    X : mapping of str to array-like, (n_rows, n_features)
        Layers, two or more.
    Y : array-like, (n_rows, n_targets)
        Responses.
    estimator, cv, groups, memory
        As in :func:`cross_val_encode`. Inner folds are the estimator's ``cv``. Penalties are chosen by squared error,
        by which predictions are weighed: those chosen by r may be of any size.

    Returns
    -------
    StackedScores

    Raises
    ------
    InputError
        For fewer than two layers, and as :func:`cross_val_encode` does.

    Notes
    -----
    Takes as many regressions as there are outer folds, more than that of the layers by themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import stacked_encode
    >>> rng = np.random.default_rng(0)
    >>> X = {name: rng.standard_normal((120, 5)) for name in ("early", "late")}
    >>> Y = X["late"] @ rng.standard_normal((5, 3)) + rng.standard_normal((120, 3))
    >>> early, late = stacked_encode(X, Y).weights.mean((0, 2))
    >>> bool(late > 0.9)
    True
    """
    if not isinstance(X, Mapping) or len(X) < 2:
        raise InputError("A stack takes two layers or more, as {name: features}.")
    estimator = clone(EncodingRidgeCV() if estimator is None else estimator).set_params(scoring="r2")
    responses = as_source(Y, "Y")
    n_rows, n_targets = responses.shape
    whole = PreparedEncoding(X, estimator=estimator, cv=cv, groups=groups, memory=memory)
    outer = whole.problem.plan.outer
    if np.bincount(np.concatenate([test for _, test in outer]), minlength=n_rows).max() > 1:
        raise InputError("A stack takes splits that test each row once at most.")
    stacks = [_inside(X, train, groups, estimator, memory) for train, _ in outer]
    layers = list(X)
    r, r2 = np.full((len(outer), n_targets), np.nan), np.full((len(outer), n_targets), np.nan)
    weights, singles = np.zeros((len(outer), len(layers), n_targets)), []
    for start in range(0, n_targets, BLOCK):
        part = slice(start, min(start + BLOCK, n_targets))
        y = np.asarray(responses.columns(part.start, part.stop), dtype=np.float64)
        scored = whole.encode(y, return_predictions=True)
        singles.append(scored)
        for split, (train, test) in enumerate(outer):
            held_out = stacks[split].encode(y[train], return_predictions=True).predictions
            assert held_out is not None
            errors = np.stack([y[train] - held_out[name] for name in layers])
            weights[split, :, part] = convex_weights(errors)
            predicted = np.einsum("lt,lrt->rt", weights[split, :, part], _of_rows(scored, layers, test))
            r[split, part], r2[split, part] = _r(predicted, y[test]), _r2(predicted, y[test])
    return StackedScores(layers, r, r2, weights, _joined(singles))


def convex_weights(errors: Float64) -> Float64:
    """Weights of the convex combination of predictions with the least squared error, (n_layers, n_targets).

    Parameters
    ----------
    errors : ndarray, (n_layers, n_rows, n_targets)
        Response minus prediction, of photographs that no prediction was fitted to. Rows with NaN are left out.

    Notes
    -----
    With weights that sum to one, the error of the combination is the combination of the errors. ``min |Ra|²`` over the
    simplex is ``min |Ru|² + (1'u − 1)²`` over ``u ≥ 0``, divided by its sum: non-negative least squares (Lawson and
    Hanson 1974).
    """
    known = np.isfinite(errors).all(axis=(0, 2))
    gram = np.einsum("lrt,mrt->tlm", errors[:, known], errors[:, known])
    n_targets, n_layers = gram.shape[:2]
    weights = np.full((n_layers, n_targets), 1.0 / n_layers)
    one = np.zeros(n_layers + 1)
    one[-1] = 1.0
    for target, square in enumerate(gram):
        scale = np.trace(square) / n_layers
        if not np.isfinite(scale) or scale <= 0:
            continue
        values, vectors = np.linalg.eigh(square / scale)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        u = nnls(np.vstack([root, np.ones(n_layers)]), one)[0]
        weights[:, target] = u / u.sum()
    return weights


def _inside(
    X: Mapping[str, Any], train: NDArray[np.int64], groups: Any, estimator: EncodingRidgeCV, memory: str | int
) -> PreparedEncoding:
    """Regressions within an outer train set, whose folds are the estimator's inner ones."""
    rows = {name: np.asarray(x)[train] for name, x in X.items()}
    if groups is not None:
        groups = groups.take(train) if isinstance(groups, RowGroups) else np.asarray(groups)[train]
    return PreparedEncoding(rows, estimator=estimator, cv=estimator.cv, groups=groups, memory=memory)


def _of_rows(scored: EncodingResult, layers: list[str], test: NDArray[np.int64]) -> Float64:
    assert scored.predictions is not None
    return np.stack([np.asarray(scored.predictions[name])[test] for name in layers])


def _r(predicted: Float64, y: Float64) -> Float64:
    a, b = predicted - predicted.mean(axis=0), y - y.mean(axis=0)
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r: Float64 = np.divide((a * b).sum(axis=0), norm, out=np.zeros(a.shape[1]), where=norm > 0)
    return r


def _r2(predicted: Float64, y: Float64) -> Float64:
    total = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    missed = ((y - predicted) ** 2).sum(axis=0)
    r2: Float64 = 1.0 - np.divide(missed, total, out=np.ones(y.shape[1]), where=total > 0)
    return r2


def _joined(parts: list[EncodingResult]) -> EncodingResult:
    dataset = parts[0].dataset if len(parts) == 1 else xr.concat([part.dataset for part in parts], "target")
    return EncodingResult(dataset)
