"""Cross-validated encoding: one call from features and responses to scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.base import clone

from brainmap.encoding.folds import plan_splits
from brainmap.encoding.options import RidgeOptions
from brainmap.encoding.result import EncodingResult
from brainmap.encoding.ridge import EncodingRidgeCV, pearson
from brainmap.errors import InputError


def cross_val_encode(
    X: Any,
    Y: Any,
    *,
    estimator: Any = None,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    memory: str | int = "8GB",
    device: str = "cpu",
    return_estimator: bool = False,
    return_predictions: bool = False,
) -> EncodingResult:
    """Predict every target from every layer, out of sample."""
    layers = dict(X) if isinstance(X, Mapping) else {"X": X}
    Y = np.asarray(Y)
    estimator = EncodingRidgeCV() if estimator is None else estimator
    options = getattr(estimator, "options", None) or RidgeOptions()
    plan = plan_splits(len(Y), cv, groups=groups, seed=options.seed)
    groups = None if groups is None else np.asarray(groups)
    shape = (len(layers), len(plan.outer), Y.shape[1])
    scores = {name: np.full(shape, np.nan) for name in ("r", "r2", "alpha")}
    predictions = {name: np.full(Y.shape, np.nan) for name in layers}
    estimators: dict[str, list[Any]] = {name: [] for name in layers}
    for row, (name, features) in enumerate(layers.items()):
        features = np.asarray(features)
        if len(features) != len(Y):
            raise InputError(f"layer {name!r} has {len(features)} rows but the responses have {len(Y)}.")
        for split, (train, test) in enumerate(plan.outer):
            model = clone(estimator)
            extra = {"groups": groups[train]} if groups is not None and isinstance(model, EncodingRidgeCV) else {}
            model.fit(features[train], Y[train], **extra)
            predicted = np.asarray(model.predict(features[test]))
            truth = Y[test]
            scores["r"][row, split] = pearson(truth, predicted)
            total = ((truth - truth.mean(0)) ** 2).sum(0)
            scores["r2"][row, split] = np.where(
                total > 0, 1 - ((truth - predicted) ** 2).sum(0) / np.where(total > 0, total, 1), np.nan
            )
            if hasattr(model, "alpha_"):
                scores["alpha"][row, split] = model.alpha_
            predictions[name][test] = predicted
            estimators[name].append(model)
    attrs = {
        "n_trials": len(Y),
        "scheme": plan.scheme,
        "split_hash": plan.hash,
        "inner_scheme": plan.inner_scheme,
        "alphas": np.asarray(getattr(estimator, "alphas", [])).tolist(),
        "scoring": getattr(estimator, "scoring", None),
        "scikit_learn": sklearn.__version__,
        "numpy": np.__version__,
    }
    return EncodingResult.from_arrays(
        scores,
        layers=list(layers),
        attrs=attrs,
        predictions=predictions if return_predictions else None,
        estimators=estimators if return_estimator else None,
    )
