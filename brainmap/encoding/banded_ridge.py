"""Banded ridge for two feature spaces, by a grid: exact inner cross-validation over alpha *and* the bands' balance."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainmap.common.errors import InputError
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.notation import TargetScores
from brainmap.encoding.layer.z_scores import safe_scale
from brainmap.encoding.ridge import DEFAULT_ALPHAS, EncodingRidgeCV
from brainmap.encoding.settings import RidgeOptions, Scoring

DEFAULT_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class BandedRidgeCV(EncodingRidgeCV):
    """Ridge with two penalties per target, for features that are two bands side by side.

    Penalties of the bands are ``alpha / (2 share)`` and ``alpha / (2 (1 − share))``: at ``share`` one half both are
    `alpha`, at 0 or 1 one band is left out. Every share is one more ridge on rescaled features, so the statistics of
    the data are accumulated once for all of them; time grows with the number of shares otherwise. For more bands, or a
    random search, use `brainmap.encoding.banded_ridge.HimalayaRidgeCV`.

    Parameters
    ----------
    bands : (int, int)
        Number of features of the first and the second band; `fit` gets them side by side.
    shares : array-like
        Balances to choose from, between 0 (second band alone) and 1 (first band alone).
    alphas, cv, scoring, fit_intercept, scale, options
        As in `EncodingRidgeCV`.

    Attributes
    ----------
    share_ : ndarray, shape (n_targets,)
        Chosen balance; other attributes as in `EncodingRidgeCV`.
    """

    fitted: ClassVar[tuple[str, ...]] = (*EncodingRidgeCV.fitted, "share_")

    def __init__(
        self,
        bands: tuple[int, int] = (1, 1),
        shares: ArrayLike = DEFAULT_SHARES,
        alphas: ArrayLike = DEFAULT_ALPHAS,
        *,
        cv: Any = 5,
        scoring: Scoring = "pearsonr",
        fit_intercept: bool = True,
        scale: bool = True,
        options: RidgeOptions | None = None,
    ) -> None:
        super().__init__(
            alphas, cv=cv, scoring=scoring, fit_intercept=fit_intercept, scale=scale, pca=None, options=options
        )
        self.bands = bands
        self.shares = shares

    def allocate(self, n_targets: int, n_features: int) -> None:
        """Make room for fitted attributes."""
        super().allocate(n_targets, n_features)
        self.share_: NDArray[np.float64] = np.empty(n_targets)

    def take(self, part: slice, scores: TargetScores, split: int) -> None:
        """Take over what was chosen for some targets in one outer split."""
        super().take(part, scores, split)
        self.share_[part] = np.atleast_1d(np.asarray(self.shares))[scores.candidate[split].astype(int)]


Kind = Literal["ridge", "kernel", "banded"]


class HimalayaRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A himalaya ridge as an encoding model.

    Parameters
    ----------
    kind : {'ridge', 'kernel', 'banded'}
        'ridge': ``RidgeCV``. 'kernel': ``KernelRidgeCV`` with a linear kernel. 'banded': one penalty per band and
        target by random search (``MultipleKernelRidgeCV``, one linear kernel per band).
    alphas : array-like
        Penalties to choose from.
    bands : sequence of int, optional
        Number of features in each band, in order; needed for 'banded'.
    n_iter : int
        Random-search draws for 'banded'.
    cv : int
        Inner folds, dealt by group when `fit` is given groups.
    seed : int
        Of folds and random search.

    Attributes
    ----------
    alpha_ : ndarray, shape (n_targets,)
        Chosen penalty; for 'banded' the harmonic mean over bands of ``exp(−deltas_)``.
    model_ : estimator
        The fitted himalaya estimator (``deltas_`` for 'banded').

    Notes
    -----
    Selection is by Pearson r. Features and responses are centred, features scaled, with statistics of the train rows.
    """

    def __init__(
        self,
        kind: Kind = "kernel",
        *,
        alphas: ArrayLike = DEFAULT_ALPHAS,
        bands: Any = None,
        n_iter: int = 50,
        cv: int = 5,
        seed: int = 0,
    ) -> None:
        self.kind = kind
        self.alphas = alphas
        self.bands = bands
        self.n_iter = n_iter
        self.cv = cv
        self.seed = seed

    def fit(self, X: Any, Y: Any, *, groups: ArrayLike | None = None) -> HimalayaRidgeCV:
        """Fit on rows, (n_rows, n_features) and (n_rows, n_targets) or (n_rows,); folds keep groups together.

        Raises
        ------
        InputError
            If the kind is unknown or bands do not add up to the features.
        """
        from himalaya.backend import get_backend

        if self.kind not in get_args(Kind):
            raise InputError(f"unknown kind {self.kind!r}; choose one of {', '.join(get_args(Kind))}.")
        if get_backend().__name__ not in ("himalaya.backend.numpy", "numpy"):
            raise InputError("himalaya is set to another backend; call himalaya.backend.set_backend('numpy') first.")
        X, Y = validate_data(self, X, Y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        Y = np.asarray(Y, dtype=np.float64)
        self._single = Y.ndim == 1
        targets = Y.reshape(len(Y), -1)
        self._mean, self._level = X.mean(axis=0), targets.mean(axis=0)
        self._scale = safe_scale(X.var(axis=0), self._mean, len(X))
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=self.seed)
        self.model_ = self._build(list(plan.inner[0]))
        self.model_.fit(self._inputs(X), targets - self._level)
        if self.kind == "banded":
            self.alpha_ = 1.0 / np.exp(self.model_.deltas_).mean(axis=0)
        else:
            self.alpha_ = np.asarray(self.model_.best_alphas_, dtype=np.float64)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict responses to new rows."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        predicted: NDArray[np.float64] = np.asarray(self.model_.predict(self._inputs(X))) + self._level
        return predicted[:, 0] if self._single else predicted

    def _inputs(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        Z: NDArray[np.float64] = (X - self._mean) / self._scale
        if self.kind != "banded":
            return Z
        sizes = [] if self.bands is None else [int(size) for size in self.bands]
        if sum(sizes) != X.shape[1]:
            raise InputError(f"`bands` must add up to the {X.shape[1]} features, got {sizes}.")
        if not hasattr(self.model_, "dual_coef_"):
            self._train = Z
        edges = np.cumsum([0, *sizes])
        return np.stack([Z[:, a:b] @ self._train[:, a:b].T for a, b in pairwise(edges)])

    def _build(self, splits: list[Any]) -> Any:
        from himalaya.kernel_ridge import KernelRidgeCV, MultipleKernelRidgeCV
        from himalaya.ridge import RidgeCV
        from himalaya.scoring import correlation_score

        alphas = np.asarray(self.alphas, dtype=np.float64)
        params = {"score_func": correlation_score}
        if self.kind == "ridge":
            return RidgeCV(alphas=alphas, fit_intercept=True, cv=splits, solver_params=params)
        if self.kind == "kernel":
            return KernelRidgeCV(alphas=alphas, cv=splits, solver_params=params)
        search = {"alphas": alphas, "n_iter": self.n_iter, "progress_bar": False, **params}
        return MultipleKernelRidgeCV(
            kernels="precomputed", solver="random_search", solver_params=search, cv=splits, random_state=self.seed
        )
