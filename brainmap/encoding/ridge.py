"""Ridge regression with one penalty per target, chosen by grouped inner cross-validation."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.storage.digests import is_sealed, reading, sealed_folder
from brainmap.common.storage.files import recover_folder
from brainmap.common.storage.zarr_stores import create_checked
from brainmap.encoding.encoding_result import warn_about
from brainmap.encoding.engine import Engine, make_problem, make_settings
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.notation import LayerFactors, TargetBlock, TargetScores
from brainmap.encoding.layer.scores import score_batch, target_batch
from brainmap.encoding.predictions import coefficients
from brainmap.encoding.settings import Problem, RidgeOptions, RowDesign, Scoring


class EncodingRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with one penalty per target, chosen by grouped inner cross-validation.

    Equivalent to ``make_pipeline(StandardScaler(), [PCA(pca),] ridge)`` with scaler and PCA fitted on the rows given to
    `fit`, where the ridge runs an explicit inner cross-validation for every alpha and target; see ``docs/ridge.md`` for
    how it gets there without forming predictions.

    Parameters
    ----------
    alphas : array-like, optional
        Penalties to choose from, positive. Default: multiples of ``trace(X'X) / d`` of the scaled rows given to `fit`
        (in `cross_val_encode`: of each outer train split), 19 of them, log-spaced from 1e-8 to 1e5. Where features
        are z-scored that is the number of rows. The inner folds take the same penalties.
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
        Chosen penalties, as such (not as multiples).
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
    One-dimensional `y` gives attributes without the target axis, as in scikit-learn. Ties go to the largest alpha
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

    fitted: ClassVar[tuple[str, ...]] = ("coef_", "intercept_", "alpha_", "best_score_")

    def __init__(
        self,
        alphas: ArrayLike | None = None,
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

    def allocate(self, n_targets: int, n_features: int) -> None:
        """Make room for fitted attributes (used when the engine fits many encoders at once)."""
        self.alpha_: NDArray[np.float64] = np.empty(n_targets)
        self.best_score_: NDArray[np.float64] = np.empty(n_targets)
        self.coef_: NDArray[np.float64] = np.empty((n_targets, n_features))
        self.intercept_: NDArray[np.float64] = np.empty(n_targets)

    def fit(
        self, X: Any, y: Any, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> EncodingRidgeCV:
        """Choose a penalty per target and fit.

        Parameters
        ----------
        X : array-like, shape (n_rows, n_features)
        y : array-like, shape (n_rows, n_targets) or (n_rows,)
        groups : array-like, shape (n_rows,), optional
            Rows that stay together in the inner folds (repeats of an image, crops of a photograph).
        sample_weight : array-like, shape (n_rows,), optional
            Weights of the ridge loss, as in scikit-learn's ``Ridge``.

        Raises
        ------
        InputError
            If shapes disagree, a value is not finite, or folds cannot be made.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype="numeric", ensure_min_samples=2)
        settings = make_settings(self)
        features, responses = as_source(X, "X"), as_source(y, "y")
        plan = plan_splits(len(X), None, groups=groups, inner_cv=self.cv, seed=settings.options.seed)
        problem = make_problem(plan, settings, RowDesign(weight=sample_weight).checked(len(X)))
        engine = Engine({"X": features}, problem, parse_memory("1TB"), weights=True)
        self.allocate(responses.shape[1], X.shape[1])
        info: dict[str, Any] = {}
        for layer, part, (scores, coef, intercept) in engine.results(responses, partial(_fitted, problem=problem)):
            info = layer.info
            self.take(part, scores, 0)
            self.coef_[part], self.intercept_[part] = coef, intercept
        self.n_components_ = int(info["n_components"])
        inner = {"r": self.best_score_[None, None], "alpha": self.alpha_[None, None]}
        warn_about({"X": info}, inner, settings, n_rows=len(X))
        if np.ndim(y) == 1:
            for name in self.fitted:
                setattr(self, name, getattr(self, name)[0])
        return self

    def take(self, part: slice, scores: TargetScores, split: int) -> None:
        """Take over what was chosen for some targets in one outer split."""
        self.alpha_[part], self.best_score_[part] = scores.alpha[split], scores.inner[split]

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict responses to new rows, shape (n_rows, n_targets) or (n_rows,)."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, reset=False, dtype="numeric")
        return np.asarray(X, dtype=np.float64) @ self.coef_.T + self.intercept_

    def save(self, path: str | Path) -> Path:
        """Write the fitted encoder to a Zarr directory (no pickle) and return its path; `load` reads it."""
        return save_encoder(self, path)

    @classmethod
    def load(cls, path: str | Path) -> EncodingRidgeCV:
        """Read an encoder that `save` wrote."""
        return load_encoder(path, cls)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


Encoder = TypeVar("Encoder", bound=EncodingRidgeCV)
KIND = "brainmap fitted encoder"
SEALED = "fitted encoder"
FORMAT = 1


def _fitted(
    layer: LayerFactors, block: TargetBlock, problem: Problem
) -> tuple[TargetScores, NDArray[np.float64], NDArray[np.float64]]:
    batch = target_batch(block, layer, problem)
    scores, weights = score_batch(batch)
    return scores, *coefficients(batch, weights[0], 0)


def save_encoder(estimator: EncodingRidgeCV, path: str | Path) -> Path:
    """Write a fitted `EncodingRidgeCV` to a Zarr directory and return its path.

    Raises
    ------
    InputError
        If the estimator is not fitted. Its `cv` is stored only when it is an int: folds do not matter to prediction.
    """
    import zarr

    if not hasattr(estimator, "coef_"):
        raise InputError("this encoder is not fitted; call `fit` before `save`.")
    params = estimator.get_params(deep=False)
    options = params.pop("options")
    if params["alphas"] is not None:
        params["alphas"] = np.asarray(params["alphas"], dtype=float).ravel().tolist()
    if "shares" in params:
        params["shares"] = np.atleast_1d(params["shares"]).tolist()
        params["bands"] = None if params["bands"] is None else [int(size) for size in params["bands"]]
    params["cv"] = int(params["cv"]) if isinstance(params["cv"], int | np.integer) else 5
    with sealed_folder(Path(path), SEALED) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=3)
        group.attrs.update(
            {
                "kind": KIND,
                "format": FORMAT,
                "class": type(estimator).__name__,
                "params": params,
                "options": None if options is None else asdict(options),
                "n_features_in": int(estimator.n_features_in_),
                "n_components": int(estimator.n_components_),
                "single_target": np.ndim(estimator.alpha_) == 0,
            }
        )
        for name in estimator.fitted:
            values = np.atleast_1d(np.asarray(getattr(estimator, name)))
            create_checked(group, name, values)
    return Path(path)


def load_encoder(path: str | Path, cls: type[Encoder]) -> Encoder:
    """Read an encoder that `save_encoder` wrote.

    Raises
    ------
    InputError
        If there is no encoder of this class and format at `path`.
    DamagedError
        If it is not what was written; names the file.
    """
    recover_folder(Path(path))
    if not Path(path).is_dir():
        raise InputError(f"no encoder at {path}; give the directory that `save` wrote.")
    if not (Path(path) / "zarr.json").is_file() and not is_sealed(Path(path)):
        raise InputError(f"{path} holds no fitted encoder; give the directory that `save` wrote.")
    with reading(Path(path), SEALED):
        return _read_encoder(Path(path), cls)


def _read_encoder(path: Path, cls: type[Encoder]) -> Encoder:
    import zarr

    group = zarr.open_group(str(path), mode="r")
    attrs: dict[str, Any] = dict(group.attrs)
    if attrs.get("kind") != KIND or attrs.get("format") != FORMAT or attrs.get("class") != cls.__name__:
        raise InputError(
            f"{path} holds {attrs.get('kind', 'something else')}, not a fitted {cls.__name__} this version reads."
        )
    options = attrs["options"]
    estimator = cls(**attrs["params"], options=None if options is None else RidgeOptions(**options))
    single = bool(attrs["single_target"])
    for name in estimator.fitted:
        values = np.asarray(group[name])
        setattr(estimator, name, values[0] if single and name != "coef_" else values)
    estimator.n_features_in_ = int(attrs["n_features_in"])
    estimator.n_components_ = int(attrs["n_components"])
    return estimator
