"""Ridge regression with one penalty per target, chosen by inner cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from brainmap.encoding.folds import plan_splits
from brainmap.encoding.options import RidgeOptions, Scoring

DEFAULT_ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 8, 10))


class EncodingRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with one penalty per target, chosen by grouped inner cross-validation."""

    def __init__(
        self,
        alphas: ArrayLike = DEFAULT_ALPHAS,
        *,
        cv: Any = 5,
        scoring: Scoring = "pearsonr",
        fit_intercept: bool = True,
        scale: bool = True,
        pca: int | None = None,
        options: RidgeOptions | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.scale = scale
        self.pca = pca
        self.options = options

    def fit(self, X: Any, Y: Any, *, groups: ArrayLike | None = None) -> EncodingRidgeCV:
        """Choose alpha per target and fit."""
        options = self.options or RidgeOptions()
        X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
        Y2 = Y.reshape(len(Y), -1)
        alphas = np.asarray(self.alphas, dtype=float)
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=options.seed)
        self._scaler = StandardScaler().fit(X) if self.scale else None
        Z = self._scaler.transform(X) if self._scaler else X
        self._pca = PCA(min(self.pca, len(X) - 1, X.shape[1]), svd_solver="full").fit(Z) if self.pca else None
        Z = self._pca.transform(Z) if self._pca else Z
        total = np.zeros((len(alphas), Y2.shape[1]))
        for train, val in plan.inner[0]:
            for index, weights in enumerate(_path(Z[train], Y2[train], alphas)):
                prediction = (Z[val] - Z[train].mean(0)) @ weights + Y2[train].mean(0)
                total[index] += _score(Y2[val], prediction, self.scoring)
        self.alpha_ = alphas[_choose(total / len(plan.inner[0]), alphas, options.tie_tolerance)]
        self.best_score_ = (total / len(plan.inner[0])).max(0)
        self._mean = Z.mean(0)
        self._weights = np.empty((Z.shape[1], Y2.shape[1]))
        for alpha, weights in zip(alphas, _path(Z, Y2, alphas), strict=True):
            self._weights[:, self.alpha_ == alpha] = weights[:, self.alpha_ == alpha]
        self.intercept_ = Y2.mean(0)
        self.n_features_in_ = X.shape[1]
        self._flat = Y.ndim == 1
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict responses."""
        check_is_fitted(self, "alpha_")
        Z = np.asarray(X, dtype=float)
        Z = self._scaler.transform(Z) if self._scaler else Z
        Z = self._pca.transform(Z) if self._pca else Z
        prediction = (Z - self._mean) @ self._weights + self.intercept_
        return prediction[:, 0] if self._flat else prediction


def _path(X: NDArray, Y: NDArray, alphas: NDArray) -> Any:
    centred = X - X.mean(0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    keep = singular > 1e-6 * singular[0]
    left, singular, right = left[:, keep], singular[keep], right[keep]
    rotated = left.T @ (Y - Y.mean(0))
    for alpha in alphas:
        yield right.T @ ((singular / (singular**2 + alpha))[:, None] * rotated)


def _score(truth: NDArray, prediction: NDArray, scoring: str) -> NDArray:
    if scoring == "r2":
        total = ((truth - truth.mean(0)) ** 2).sum(0)
        return np.where(total > 0, 1 - ((truth - prediction) ** 2).sum(0) / np.where(total > 0, total, 1), 0.0)
    return np.nan_to_num(pearson(truth, prediction))


def pearson(truth: NDArray, prediction: NDArray) -> NDArray:
    """Pearson correlation of matching columns; NaN where the truth is constant, 0 where the prediction is."""
    a, b = truth - truth.mean(0), prediction - prediction.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    r = (a * b).sum(0) / np.where(scale > 0, scale, 1)
    return np.where(np.ptp(truth, axis=0) == 0, np.nan, r)


def _choose(scores: NDArray, alphas: NDArray, tolerance: float) -> NDArray:
    eligible = scores >= scores.max(0) - tolerance
    return np.where(eligible, alphas[:, None], -np.inf).argmax(0)
