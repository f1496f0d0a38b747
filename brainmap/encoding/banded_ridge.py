"""Ridge with a penalty per band of features, and himalaya's ridges as encoding models."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainmap.common.errors import InputError
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.notation import TargetScores
from brainmap.encoding.layer.z_scores import standard_deviations
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import RELATIVE_ALPHAS, RidgeOptions, Scoring

Float64 = NDArray[np.float64]
DEFAULT_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class BandedRidgeCV(EncodingRidgeCV):
    """Ridge with a penalty per band of features and target, for features that are bands side by side.

    Two bands: an exact grid over alpha and the balance of the bands. Their penalties are ``alpha / (2 share)`` and
    ``alpha / (2 (1 − share))``: at ``share`` one half both are `alpha`, at 0 or 1 one band is left out. Every share is
    one more ridge on rescaled features, so the statistics of the data are accumulated once for all of them.

    Three bands and more: himalaya's random search over their balance (Dupré la Tour et al. 2022), with bands scaled to
    start as equals whatever their sizes. One band: a plain ridge.

    Parameters
    ----------
    bands : sequence of int, optional
        Number of features of each band, in order; `fit` gets them side by side. Default: one band of all features.
    shares : array-like
        Two bands: balances to choose from, between 0 (second band alone) and 1 (first band alone).
    alphas, cv, scoring, fit_intercept, scale, options
        As in `EncodingRidgeCV`. Three bands and more need `fit_intercept`.
    n_iter : int
        Three bands and more: balances that are drawn.

    Attributes
    ----------
    share_ : ndarray, shape (n_targets,) or (n_targets, n_bands)
        Chosen share of the first of two bands (1 for a single band); of three and more, that of each.
    alpha_, best_score_, coef_, intercept_, n_components_, n_features_in_
        As in `EncodingRidgeCV`.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import BandedRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 10))
    >>> Y = X[:, :3] @ rng.standard_normal((3, 2)) + rng.standard_normal((60, 2))
    >>> BandedRidgeCV((3, 7)).fit(X, Y).share_.shape
    (2,)
    """

    fitted: ClassVar[tuple[str, ...]] = (*EncodingRidgeCV.fitted, "share_")

    def __init__(
        self,
        bands: Any = None,
        shares: ArrayLike = DEFAULT_SHARES,
        alphas: ArrayLike | None = None,
        *,
        cv: Any = 5,
        scoring: Scoring = "pearsonr",
        fit_intercept: bool = True,
        scale: bool = True,
        n_iter: int = 50,
        options: RidgeOptions | None = None,
    ) -> None:
        super().__init__(
            alphas, cv=cv, scoring=scoring, fit_intercept=fit_intercept, scale=scale, pca=None, options=options
        )
        self.bands = bands
        self.shares = shares
        self.n_iter = n_iter

    def allocate(self, n_targets: int, n_features: int) -> None:
        """Make room for fitted attributes."""
        super().allocate(n_targets, n_features)
        self.share_: Float64 = np.ones(n_targets)

    def take(self, part: slice, scores: TargetScores, split: int) -> None:
        """Take over what was chosen for some targets in one outer split."""
        super().take(part, scores, split)
        if self.bands is not None and len(self.bands) == 2:
            self.share_[part] = np.atleast_1d(np.asarray(self.shares))[scores.candidate[split].astype(int)]

    def fit(
        self, X: Any, y: Any, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> BandedRidgeCV:
        """Choose penalties per target and fit; as `EncodingRidgeCV.fit`.

        Raises
        ------
        InputError
            As there; if bands do not add up to the features; if three bands and more come with sample weights or
            without intercept.
        """
        if self.bands is None or len(self.bands) < 3:
            super().fit(X, y, groups=groups, sample_weight=sample_weight)
            return self
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        y = np.asarray(y, dtype=np.float64)
        sizes = [int(size) for size in self.bands]
        if min(sizes) < 1 or sum(sizes) != X.shape[1]:
            raise InputError(f"X has {X.shape[1]} features but the bands of the estimator are {sizes}.")
        if sample_weight is not None or not self.fit_intercept:
            raise InputError("three bands and more are searched by himalaya, without sample weights, with intercept.")
        if self.n_iter < 1:
            raise InputError(f"the random search needs at least one draw; n_iter is {self.n_iter}.")
        options = self.options or RidgeOptions()
        mean, spread = X.mean(axis=0), standard_deviations(X) if self.scale else np.ones(X.shape[1])
        Z, targets = (X - mean) / spread, y.reshape(len(y), -1)
        edges = np.cumsum([0, *sizes])
        equal = np.sqrt(np.repeat(X.shape[1] / np.asarray(sizes), sizes))  # the same trace for every band
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=options.seed)
        search = {
            "n_iter": self.n_iter,
            "alphas": _alphas(self.alphas, Z),
            "score_func": _score_function(self.scoring),
            "progress_bar": False,
        }
        level = targets.mean(axis=0)
        parts = [(Z * equal)[:, a:b] for a, b in pairwise(edges)]
        weights, deltas, scores = _random_search(parts, targets - level, search, list(plan.inner[0]), options.seed)
        self.allocate(targets.shape[1], X.shape[1])
        self.coef_ = (weights * (equal / spread)[:, None]).T
        self.intercept_ = level - self.coef_ @ mean
        inverse = np.exp(deltas)
        self.alpha_, self.share_ = 1.0 / inverse.sum(axis=0), (inverse / inverse.sum(axis=0)).T
        self.best_score_, self.n_components_ = scores, X.shape[1]
        if y.ndim == 1:
            for name in self.fitted:
                setattr(self, name, getattr(self, name)[0])
        return self


def _random_search(
    bands: list[Float64], y: Float64, search: dict[str, Any], folds: list[Any], seed: int
) -> tuple[Float64, Float64, Float64]:
    """Return weights, (n_features, n_targets), log weights of bands, (n_bands, n_targets), and best inner scores."""
    if sum(band.shape[1] for band in bands) <= len(y):
        from himalaya.ridge import GroupRidgeCV

        model = GroupRidgeCV(groups="input", solver_params=search, cv=folds, random_state=seed).fit(bands, y)
        weights = np.asarray(model.coef_)
    else:
        from himalaya.kernel_ridge import MultipleKernelRidgeCV

        model = MultipleKernelRidgeCV(
            kernels="precomputed", solver="random_search", solver_params=search, cv=folds, random_state=seed
        )
        model.fit(np.stack([band @ band.T for band in bands]), y)
        scaled = np.exp(np.asarray(model.deltas_))
        weights = np.concatenate([band.T @ model.dual_coef_ * share for band, share in zip(bands, scaled, strict=True)])
    return weights, np.asarray(model.deltas_), np.asarray(model.cv_scores_).max(axis=0)


def _score_function(scoring: str) -> Callable[..., Any]:
    """Return himalaya's function of a scoring, on numpy."""
    from himalaya.backend import get_backend
    from himalaya.scoring import correlation_score, r2_score

    if get_backend().__name__ not in ("himalaya.backend.numpy", "numpy"):
        raise InputError("himalaya is set to another backend; call himalaya.backend.set_backend('numpy') first.")
    functions: dict[str, Callable[..., Any]] = {"pearsonr": correlation_score, "r2": r2_score}
    if scoring not in functions:
        raise InputError(f"unknown scoring {scoring!r}; choose 'pearsonr' or 'r2'.")
    return functions[scoring]


def _alphas(alphas: ArrayLike | None, Z: Float64) -> Float64:
    """Return penalties for features that are centred (and scaled); by default multiples of their mean eigenvalue."""
    if alphas is not None:
        return np.asarray(alphas, dtype=np.float64)
    squares = (Z**2).sum(axis=0)
    power = float(squares.sum()) / max(int(np.count_nonzero(squares)), 1)
    return np.asarray(RELATIVE_ALPHAS) * (power if power > 0 else 1.0)


Kind = Literal["ridge", "kernel"]


class HimalayaRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A himalaya ridge as an encoding model; for bands of features see `BandedRidgeCV`.

    Parameters
    ----------
    kind : {'ridge', 'kernel'}
        'ridge': ``RidgeCV``. 'kernel': ``KernelRidgeCV`` with a linear kernel.
    alphas : array-like, optional
        Penalties to choose from; default as in `EncodingRidgeCV`.
    cv : int
        Inner folds, dealt by group when `fit` is given groups.
    seed : int
        Of the folds.

    Attributes
    ----------
    alpha_ : ndarray, shape (n_targets,)
        Chosen penalty.
    model_ : estimator
        The fitted himalaya estimator.

    Notes
    -----
    Selection is by Pearson r. Features and responses are centred, features scaled, with statistics of the train rows.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import HimalayaRidgeCV, cross_val_encode
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((60, 2))
    >>> cross_val_encode(X, Y, estimator=HimalayaRidgeCV("kernel"), cv=3).r.shape
    (1, 3, 2)
    """

    def __init__(self, kind: Kind = "kernel", *, alphas: ArrayLike | None = None, cv: int = 5, seed: int = 0) -> None:
        self.kind = kind
        self.alphas = alphas
        self.cv = cv
        self.seed = seed

    def fit(self, X: Any, y: Any, *, groups: ArrayLike | None = None) -> HimalayaRidgeCV:
        """Fit on rows, (n_rows, n_features) and (n_rows, n_targets) or (n_rows,); folds keep groups together.

        Raises
        ------
        InputError
            If the kind is unknown, or himalaya computes elsewhere than in numpy.
        """
        if self.kind not in get_args(Kind):
            hint = " (several bands: BandedRidgeCV)" if str(self.kind) == "banded" else ""
            raise InputError(f"unknown kind {self.kind!r}{hint}; choose one of {', '.join(get_args(Kind))}.")
        params = {"score_func": _score_function("pearsonr")}
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        y = np.asarray(y, dtype=np.float64)
        self._single = y.ndim == 1
        targets = y.reshape(len(y), -1)
        self._mean, self._level, self._scale = X.mean(axis=0), targets.mean(axis=0), standard_deviations(X)
        Z = (X - self._mean) / self._scale
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=self.seed)
        self.model_ = self._build(_alphas(self.alphas, Z), list(plan.inner[0]), params)
        self.model_.fit(Z, targets - self._level)
        self.alpha_ = np.asarray(self.model_.best_alphas_, dtype=np.float64)
        return self

    def predict(self, X: Any) -> Float64:
        """Predict responses to new rows."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        predicted: Float64 = np.asarray(self.model_.predict((X - self._mean) / self._scale)) + self._level
        return predicted[:, 0] if self._single else predicted

    def _build(self, alphas: Float64, splits: list[Any], params: dict[str, Any]) -> Any:
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV

        if self.kind == "ridge":
            return RidgeCV(alphas=alphas, fit_intercept=True, cv=splits, solver_params=params)
        return KernelRidgeCV(alphas=alphas, cv=splits, solver_params=params)
