"""Features prepared once for many responses: subjects, ROIs, time windows or permutations that share the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainmap.common.array_sources import ArraySource, Averaging, as_source
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import available_threads, parse_memory
from brainmap.common.versions import versions
from brainmap.encoding.backend import make_backend
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.engine import Engine
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.layer_factors import LayerFactors
from brainmap.encoding.layer.scores import TargetScores, score_batch
from brainmap.encoding.layer.target_block import TargetBatch, TargetBlock
from brainmap.encoding.numerical_warnings import warn_about, warn_about_targets
from brainmap.encoding.predictions import coefficients, out_of_fold, prediction_arrays
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import Problem, RowDesign


class PreparedEncoding:
    """Layers, splits and model of an encoding analysis; `encode` adds the responses.

    Factorisations of the features are made at the first `encode` and reused by every later one, as far as they fit in
    `memory` (beyond that they are made again).

    Parameters
    ----------
    X, estimator, cv, groups, rows, memory, device
        As in `cross_val_encode`; the estimator must be an `EncodingRidgeCV`.
    """

    def __init__(
        self,
        X: Any,
        *,
        estimator: EncodingRidgeCV | None = None,
        cv: Any = 5,
        groups: ArrayLike | None = None,
        rows: RowDesign | None = None,
        memory: str | int = "8GB",
        device: str = "cpu",
    ) -> None:
        self.estimator = EncodingRidgeCV() if estimator is None else estimator
        rows = rows or RowDesign()
        self.averaging = rows.averaging()
        self.sources = as_layers(X)
        if self.averaging is not None:
            self.sources = {name: _averaged(source, self.averaging) for name, source in self.sources.items()}
            if groups is not None and len(np.asarray(groups)) == len(self.averaging.order):
                groups = np.asarray(groups)[self.averaging.first_rows]
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
            rows.checked(n_rows),
            backend=make_backend(device, settings.precision),
            threads=options.threads or available_threads(),
        )
        self.memory = parse_memory(memory)
        self.engine = Engine(self.sources, self.problem, self.memory)

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return list(self.sources)

    def encode(
        self, Y: Any, *, return_estimator: bool = False, return_predictions: bool | str | Path = False
    ) -> EncodingResult:
        """Score responses; parameters and result as in `cross_val_encode`."""
        responses = as_source(Y, "Y", average=self.averaging)
        if return_estimator:
            self.keep_weights()
        rows = {name: row for row, name in enumerate(self.layers)}
        n_splits, n_targets = len(self.problem.plan.outer), responses.shape[1]
        names = ("r", "r2", "alpha") if self.problem.settings.bands is None else ("r", "r2", "alpha", "candidate")
        scores = {name: np.full((len(rows), n_splits, n_targets), np.nan) for name in names}
        coarse, layers = np.zeros(n_targets, dtype=bool), {}
        predictions, estimators = None, None
        if return_predictions is not False:
            predictions = prediction_arrays(self.layers, (self.problem.n_rows, n_targets), return_predictions)
        if return_estimator:
            estimators = {name: [_empty_estimator(self, name, n_targets) for _ in range(n_splits)] for name in rows}
        compute = partial(_scored, problem=self.problem, predict=predictions is not None, fit=return_estimator)
        for layer, part, (found, predicted, weights) in self.engine.results(responses, compute):
            layers[layer.name] = layer
            coarse[part] = found.coarse
            for name in names:
                scores[name][rows[layer.name], :, part] = getattr(found, name)
            if predictions is not None:
                predictions[layer.name][:, part] = predicted
            for split, (coef, intercept) in enumerate(weights):
                assert estimators is not None
                estimators[layer.name][split].take(part, found, split)
                estimators[layer.name][split].coef_[part], estimators[layer.name][split].intercept_[part] = (
                    coef,
                    intercept,
                )
        info = {name: layers[name].info for name in rows}
        known = np.where(np.isfinite(scores["r"]), scores["alpha"], np.nan)
        notes = warn_about(info, dict(zip(rows, known, strict=True)), self.problem.settings)
        single = np.dtype(str(responses.array.dtype).removeprefix("torch.")).itemsize <= 4
        notes += warn_about_targets(scores["r"], coarse & single)
        attrs = {**self.provenance(), "warnings": notes}
        attrs |= {key: {name: info[name][key] for name in rows} for key in ("n_features", "n_components")}
        attrs["precision"] = {name: layers[name].backend.precision for name in rows}
        return EncodingResult.from_arrays(
            self.estimator.named_scores(scores),
            layers=self.layers,
            attrs=attrs,
            predictions=predictions,
            estimators=estimators,
        )

    def keep_weights(self) -> None:
        """Keep, from now on, what weights on the original features need.

        Raises
        ------
        InputError
            With nuisance regressors, which weights on features alone cannot represent.
        """
        if self.problem.n_nuisance:
            raise InputError("weights on features know no nuisance regressors; ask for predictions instead.")
        if not self.engine.weights:
            self.engine = Engine(self.sources, self.problem, self.memory, weights=True)

    def export(
        self, Y: Any, path: str | Path, *, what: Any = ("prediction",), layers: Any = None, targets: Any = None
    ) -> Path:
        """Stream predictions, residuals or weights to Zarr; see `brainmap.encoding.predictions.export_arrays`."""
        from brainmap.encoding.predictions import export_arrays

        return export_arrays(self, Y, path, what=what, layers=layers, targets=targets)

    def permutation_scores(self, Y: Any, permutations: ArrayLike, alpha: ArrayLike | float) -> xr.DataArray:
        """Score permuted responses at fixed penalties; see `brainmap.encoding.permuted_scores.permutation_scores`."""
        from brainmap.encoding.permuted_scores import permutation_scores

        return permutation_scores(self, Y, permutations, alpha)

    def provenance(self) -> dict[str, Any]:
        """Return how scores are made: splits, model, engine and versions."""
        return {**encoding_provenance(self.estimator, self.problem), "repeats_averaged": self.averaging is not None}


def encoding_provenance(estimator: EncodingRidgeCV, problem: Problem) -> dict[str, Any]:
    """Return the provenance of scores that the engine makes."""
    settings, plan = problem.settings, problem.plan
    options = settings.options
    return {
        "estimator": type(estimator).__name__,
        "n_trials": problem.n_rows,
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
        **estimator.extra_provenance(),
        "sample_weight": problem.design.weight is not None,
        "nuisance_regressors": problem.n_nuisance,
        "tie_tolerance": options.tie_tolerance,
        "rank_tolerance": options.rank_tolerance,
        "seed": options.seed,
        "device": problem.backend.device,
        "ceiling_normalised": False,
        "versions": versions(("numpy", "scipy")),
    }


def as_layers(X: Any) -> dict[str, ArraySource]:
    """Return named sources of features; a single array is called ``'X'``."""
    if not isinstance(X, Mapping):
        return {"X": as_source(X, "X")}
    if not X:
        raise InputError("`X` is an empty mapping; give at least one layer.")
    return {str(name): as_source(array, str(name)) for name, array in X.items()}


def _averaged(source: ArraySource, averaging: Averaging) -> ArraySource:
    if source.shape[0] == len(averaging.order):
        return replace(source, average=averaging)
    if source.shape[0] == averaging.n_groups:
        return source
    raise InputError(
        f"{source.name} has {source.shape[0]} rows; with repeats it needs one per trial ({len(averaging.order)}) "
        f"or one per distinct label ({averaging.n_groups})."
    )


def _scored(
    layer: LayerFactors, block: TargetBlock, problem: Problem, predict: bool, fit: bool
) -> tuple[TargetScores, NDArray[np.float64] | None, list[tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Return scores, out-of-fold predictions where wanted, and weights of each split where wanted."""
    batch = TargetBatch.of(block, layer, problem)
    scores, weights = score_batch(batch)
    predicted = out_of_fold(batch, weights) if predict else None
    return scores, predicted, [coefficients(batch, parts, split) for split, parts in enumerate(weights)] if fit else []


def _empty_estimator(prepared: PreparedEncoding, name: str, n_targets: int) -> EncodingRidgeCV:
    estimator: EncodingRidgeCV = clone(prepared.estimator)
    n_features = prepared.sources[name].shape[1]
    estimator.n_features_in_ = n_features
    estimator.allocate(n_targets, n_features)
    return estimator
