"""Features prepared once for many responses: subjects, ROIs, time windows or permutations that share the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainmap.encoding.backend import make_backend
from brainmap.encoding.batch import Batch
from brainmap.encoding.diagnostics import warn_about
from brainmap.encoding.engine import Engine
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer import LayerFactors
from brainmap.encoding.memory import available_threads, parse_memory
from brainmap.encoding.result import EncodingResult
from brainmap.encoding.ridge import EncodingRidgeCV, coefficients
from brainmap.encoding.scores import TargetScores
from brainmap.encoding.settings import Problem, RowDesign
from brainmap.encoding.sources import ArraySource, as_source
from brainmap.errors import InputError


class PreparedEncoding:
    """Layers, splits and model of an encoding analysis; `encode` adds the responses.

    Factorisations of the features are made at the first `encode` and reused by every later one, as far as they fit in
    `memory` (beyond that they are made again).

    Parameters
    ----------
    X, estimator, cv, groups, sample_weight, nuisance, memory, device
        As in `cross_val_encode`; the estimator must be an `EncodingRidgeCV`.
    """

    def __init__(
        self,
        X: Any,
        *,
        estimator: EncodingRidgeCV | None = None,
        cv: Any = 5,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        nuisance: ArrayLike | None = None,
        memory: str | int = "8GB",
        device: str = "cpu",
    ) -> None:
        self.estimator = EncodingRidgeCV() if estimator is None else estimator
        self.sources = as_layers(X)
        n_rows = next(iter(self.sources.values())).shape[0]
        for source in self.sources.values():
            if source.shape[0] != n_rows:
                raise InputError(f"{source.name} has {source.shape[0]} rows but the first layer has {n_rows}.")
        settings = self.estimator.settings()
        options = settings.options
        inner = getattr(self.estimator, "cv", 5)
        plan = plan_splits(n_rows, cv, groups=groups, inner_cv=inner, inner=options.inner, seed=options.seed)
        self.problem = Problem.of(
            plan,
            settings,
            RowDesign.checked(n_rows, sample_weight, nuisance),
            backend=make_backend(device, settings.precision),
            threads=(options.threads or available_threads()) if device == "cpu" else 1,
        )
        self.memory = parse_memory(memory)
        self._engine = Engine(self.sources, self.problem, self.memory)

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return list(self.sources)

    def encode(
        self, Y: Any, *, return_estimator: bool = False, return_predictions: bool | str | Path = False
    ) -> EncodingResult:
        """Score responses; parameters and result as in `cross_val_encode`."""
        responses = as_source(Y, "Y")
        if return_estimator and not self._engine.weights:
            if self.problem.n_nuisance:
                raise InputError("fitted estimators know no nuisance regressors; ask for predictions instead.")
            self._engine = Engine(self.sources, self.problem, self.memory, weights=True)
        sink = _Collector(self, responses.shape[1], return_estimator, return_predictions)
        self._engine.run(responses, sink)
        notes = [
            note
            for row, name in enumerate(self.layers)
            for note in warn_about(sink.info[name], sink.scores["alpha"][row], self.problem.settings, name)
        ]
        attrs = {**self.provenance(), **sink.layer_attrs(), "warnings": notes}
        return EncodingResult.from_arrays(
            sink.scores, layers=self.layers, attrs=attrs, predictions=sink.predictions, estimators=sink.estimators
        )

    def provenance(self) -> dict[str, Any]:
        """Return how scores are made: splits, model, engine and versions."""
        from brainmap import __version__

        settings, plan = self.problem.settings, self.problem.plan
        options = settings.options
        return {
            "estimator": type(self.estimator).__name__,
            "n_trials": self.problem.n_rows,
            "scheme": plan.scheme,
            "inner_scheme": plan.inner_scheme,
            "split_hash": plan.hash,
            "n_train": [len(train) for train, _ in plan.outer],
            "n_test": [len(test) for _, test in plan.outer],
            "grouped": plan.grouped,
            "alphas": settings.alphas.tolist(),
            "scoring": settings.scoring,
            "mode": options.mode,
            "scale": settings.scale,
            "pca": settings.pca,
            "fit_intercept": settings.fit_intercept,
            "sample_weight": self.problem.design.weight is not None,
            "nuisance_regressors": self.problem.n_nuisance,
            "tie_tolerance": options.tie_tolerance,
            "rank_tolerance": options.rank_tolerance,
            "seed": options.seed,
            "device": self.problem.backend.device,
            "ceiling_normalised": False,
            "versions": {"brainmap": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
        }


def as_layers(X: Any) -> dict[str, ArraySource]:
    """Return named sources of features; a single array is called ``'X'``."""
    if not isinstance(X, Mapping):
        return {"X": as_source(X, "X")}
    if not X:
        raise InputError("`X` is an empty mapping; give at least one layer.")
    return {str(name): as_source(array, str(name)) for name, array in X.items()}


class _Collector:
    """Puts scores, predictions and estimators of each (layer, batch) where they belong."""

    def __init__(
        self, prepared: PreparedEncoding, n_targets: int, estimators: bool, predictions: bool | str | Path
    ) -> None:
        self.problem = prepared.problem
        self.rows = {name: row for row, name in enumerate(prepared.layers)}
        shape = (len(self.rows), len(self.problem.plan.outer), n_targets)
        self.scores = {name: np.full(shape, np.nan) for name in ("r", "r2", "alpha")}
        self.info: dict[str, dict[str, Any]] = {}
        self.precision: dict[str, str] = {}
        self.predictions: dict[str, Any] | None = None
        self.estimators: dict[str, list[Any]] | None = None
        if predictions is not False:
            self.predictions = prediction_arrays(list(self.rows), (self.problem.n_rows, n_targets), predictions)
        if estimators:
            self.estimators = {
                name: [_empty_estimator(prepared, name, n_targets) for _ in self.problem.plan.outer]
                for name in self.rows
            }

    def __call__(
        self, layer: LayerFactors, part: slice, batch: Batch, scores: TargetScores, weights: list[Any]
    ) -> None:
        row = self.rows[layer.name]
        self.info[layer.name] = layer.info
        self.precision[layer.name] = layer.backend.precision
        for name in ("r", "r2", "alpha"):
            self.scores[name][row, :, part] = getattr(scores, name)
        if self.predictions is not None:
            self.predictions[layer.name][:, part] = out_of_fold(layer, batch, weights)
        if self.estimators is not None:
            for split, estimator in enumerate(self.estimators[layer.name]):
                estimator.alpha_[part], estimator.best_score_[part] = scores.alpha[split], scores.inner[split]
                found = coefficients(layer, batch, weights[split], split)
                estimator.coef_[part], estimator.intercept_[part] = found

    def layer_attrs(self) -> dict[str, Any]:
        return {
            "n_features": {name: info["n_features"] for name, info in self.info.items()},
            "n_components": {name: info["n_components"] for name, info in self.info.items()},
            "precision": dict(self.precision),
        }


def out_of_fold(layer: LayerFactors, batch: Batch, weights: list[Any]) -> NDArray[np.float32]:
    """Return predictions of the test rows of each split, (n_rows, n_targets), NaN in rows never tested.

    Rows come back in the order of the caller. With overlapping test sets the last split that tested a row counts.
    """
    problem, backend = batch.problem, layer.backend
    result = np.full((problem.n_rows, batch.total.shape[1]), np.nan, dtype=np.float32)
    for train, white in zip(layer.outer, weights, strict=True):
        own = batch.without_nuisance(train)
        level = np.zeros(result.shape[1])
        if problem.settings.fit_intercept:
            level = own.moments(train.members, fit=True).mean * batch.scale
            level += 0.0 if problem.n_nuisance else batch.shift
        for held in train.validations:
            rows = problem.rows(held.members)
            if layer.form == "rows":
                centred = backend.get(held.map.T @ white + held.gap @ white)
            else:
                centred = backend.get(layer.features[rows] @ (train.map.T @ white))
            result[problem.order[rows]] = centred * batch.scale + level
    return result


def _empty_estimator(prepared: PreparedEncoding, name: str, n_targets: int) -> EncodingRidgeCV:
    estimator = clone(prepared.estimator)
    n_features = prepared.sources[name].shape[1]
    estimator.n_features_in_ = n_features
    estimator.allocate(n_targets, n_features)
    return estimator


def prediction_arrays(names: list[str], shape: tuple[int, int], where: bool | str | Path) -> dict[str, Any]:
    """Return one array of NaN per layer, in memory or in a Zarr directory at a path."""
    if where is True:
        return {name: np.full(shape, np.nan, dtype=np.float32) for name in names}
    import zarr

    group = zarr.open_group(str(where), mode="w", zarr_format=3)
    group.attrs["kind"] = "brainmap out-of-fold predictions"
    chunks = (shape[0], min(shape[1], 256))
    return {
        name: group.create_array(name, shape=shape, dtype="float32", chunks=chunks, fill_value=float("nan"))
        for name in names
    }
