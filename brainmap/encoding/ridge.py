"""Ridge regression with one penalty per target, chosen by grouped inner cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainmap.encoding.backend import make_backend
from brainmap.encoding.batch import Batch
from brainmap.encoding.diagnostics import warn_about
from brainmap.encoding.engine import Engine
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer import LayerFactors
from brainmap.encoding.memory import available_threads, parse_memory
from brainmap.encoding.options import RidgeOptions, Scoring
from brainmap.encoding.scores import TargetScores
from brainmap.encoding.settings import Problem, RidgeSettings, RowDesign, make_settings
from brainmap.encoding.sources import as_source

DEFAULT_ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 8, 10))


class EncodingRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with one penalty per target, chosen by grouped inner cross-validation.

    Equivalent to ``make_pipeline(StandardScaler(), [PCA(pca),] ridge)`` with scaler and PCA fitted on the rows given to
    `fit`, where the ridge runs an explicit inner cross-validation for every alpha and target; see ``docs/ridge.md`` for
    how it gets there without forming predictions.

    Parameters
    ----------
    alphas : array-like
        Penalties to choose from, positive. Default: ten, log-spaced from 1 to 1e8.
    cv : int, splitter or iterable of (train, validation)
        Inner folds. An int deals the groups given to `fit` into that many folds.
    scoring : {'pearsonr', 'r2'}
        What the mean over inner folds is taken of when alphas are compared.
    fit_intercept : bool
        Whether features and responses are centred on each train set.
    scale : bool
        Whether features are z-scored with statistics of the rows given to `fit`.
    pca : int, optional
        Reduce features to ``min(pca, n_train − 1, n_features)`` principal components after scaling.
    options : RidgeOptions, optional
        Mode, seed, threads and tolerances.

    Attributes
    ----------
    alpha_ : ndarray, shape (n_targets,)
        Chosen penalties.
    best_score_ : ndarray, shape (n_targets,)
        Mean inner score at the chosen penalty; NaN with a single alpha, which is not cross-validated.
    coef_ : ndarray, shape (n_targets, n_features)
        Weights on the original (unscaled) features.
    intercept_ : ndarray, shape (n_targets,)
    n_components_ : int
        Features the ridge saw (principal components when `pca` is set).
    n_features_in_ : int

    Notes
    -----
    One-dimensional `Y` gives attributes without the target axis, as in scikit-learn. Ties go to the largest alpha
    (`RidgeOptions.tie_tolerance`).

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import EncodingRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 8))
    >>> Y = X @ rng.standard_normal((8, 3))
    >>> EncodingRidgeCV().fit(X, Y).predict(X[:5]).shape
    (5, 3)
    """

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

    def settings(self) -> RidgeSettings:
        """Return the parameters, checked, as the engine takes them."""
        return make_settings(
            self.alphas,
            self.scoring,
            fit_intercept=self.fit_intercept,
            scale=self.scale,
            pca=self.pca,
            options=self.options,
        )

    def fit(
        self, X: Any, Y: Any, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> EncodingRidgeCV:
        """Choose a penalty per target and fit.

        Parameters
        ----------
        X : array-like, shape (n_rows, n_features)
        Y : array-like, shape (n_rows, n_targets) or (n_rows,)
        groups : array-like, shape (n_rows,), optional
            Rows that stay together in the inner folds (repeats of an image, crops of a photograph).
        sample_weight : array-like, shape (n_rows,), optional
            Weights of the ridge loss, as in scikit-learn's ``Ridge``.

        Raises
        ------
        InputError
            If shapes disagree, a value is not finite, or folds cannot be made.
        """
        X, Y = validate_data(self, X, Y, multi_output=True, y_numeric=True, dtype="numeric", ensure_min_samples=2)
        settings = self.settings()
        features, responses = as_source(X, "X"), as_source(Y, "Y")
        options = settings.options
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=options.seed)
        design = RowDesign.checked(len(X), sample_weight, None)
        threads = options.threads or available_threads()
        problem = Problem.of(plan, settings, design, backend=make_backend("cpu", settings.precision), threads=threads)
        engine = Engine({"X": features}, problem, parse_memory("1TB"), weights=True)
        self.allocate(responses.shape[1], X.shape[1])
        engine.run(responses, self._store)
        self.n_components_ = int(engine.layer("X").info["n_components"])
        warn_about(engine.layer("X").info, self.alpha_[None], settings, "X")
        if np.ndim(Y) == 1:
            self.coef_, self.intercept_ = self.coef_[0], self.intercept_[0]
            self.alpha_, self.best_score_ = self.alpha_[0], self.best_score_[0]
        return self

    def allocate(self, n_targets: int, n_features: int) -> None:
        """Make room for fitted attributes (used when the engine fits many encoders at once)."""
        self.alpha_, self.best_score_ = np.empty(n_targets), np.empty(n_targets)
        self.coef_ = np.empty((n_targets, n_features))
        self.intercept_ = np.empty(n_targets)

    def _store(self, layer: LayerFactors, part: slice, batch: Batch, scores: TargetScores, weights: list[Any]) -> None:
        self.alpha_[part], self.best_score_[part] = scores.alpha[0], scores.inner[0]
        self.coef_[part], self.intercept_[part] = coefficients(layer, batch, weights[0], 0)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict responses to new rows, shape (n_rows, n_targets) or (n_rows,)."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, reset=False, dtype="numeric")
        return np.asarray(X, dtype=np.float64) @ self.coef_.T + self.intercept_

    def save(self, path: str | Path) -> Path:
        """Write the fitted encoder to a Zarr directory (no pickle) and return its path; `load` reads it."""
        from brainmap.encoding.persistence import save_encoder

        return save_encoder(self, path)

    @classmethod
    def load(cls, path: str | Path) -> EncodingRidgeCV:
        """Read an encoder that `save` wrote."""
        from brainmap.encoding.persistence import load_encoder

        return load_encoder(path, cls)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def coefficients(
    layer: LayerFactors, batch: Batch, weights: Any, split: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights on original features (n_targets, n_features) and intercepts of one outer split.

    Parameters
    ----------
    layer : LayerFactors
        Factorised with ``weights=True``.
    batch : Batch
    weights : (rank, n_targets)
        Whitened weights ``φ c`` of that split.
    split : int
    """
    matrix, offset = layer.weight_maps[split]
    white = layer.backend.get(weights).astype(np.float64) * batch.scale
    mean = np.zeros(white.shape[1])
    if batch.problem.settings.fit_intercept:
        mean = batch.moments(layer.outer[split].members, fit=True).mean * batch.scale + batch.shift
    return (matrix @ white).T, mean + offset @ white
