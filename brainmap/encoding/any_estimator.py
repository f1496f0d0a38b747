"""Any scikit-learn-compatible regressor through the same splits and the same result type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainmap.common.array_sources import ArraySource, as_layers, as_source, check_finite
from brainmap.common.errors import InputError
from brainmap.common.versions import versions
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.folds import SplitPlan, plan_splits
from brainmap.encoding.layer.z_scores import power_of_two

PENALTIES = ("alpha_", "best_alphas_", "alphas_")


def encode_generic(
    X: Any,
    Y: Any,
    *,
    estimator: Any,
    cv: Any,
    groups: ArrayLike | None,
    keep: tuple[bool, bool | str | Path] = (False, False),
) -> EncodingResult:
    """Fit and test an estimator split by split, layer by layer; see `cross_val_encode`.

    Parameters
    ----------
    X, Y, cv, groups
        As in `cross_val_encode`. Responses are held in memory.
    estimator : estimator
        With ``fit(X, Y)`` and ``predict(X)``. If its ``fit`` takes `groups`, it gets those of the train rows.
    keep : (bool, bool or path)
        Whether to keep estimators and predictions.

    Raises
    ------
    InputError
        If the estimator cannot be copied, or predicts NaN or an array of another shape. What it raises itself goes
        through, with a note of the split and the layer.
    """
    from brainmap.encoding.predictions import prediction_arrays

    sources, responses = as_layers(X), as_source(Y, "Y")
    truth = responses.columns(0, responses.shape[1])
    check_finite(truth, "Y")
    plan = plan_splits(len(truth), cv, groups=groups, inner_cv=2)
    labels = None if groups is None else np.asarray(groups)
    shape = (len(sources), len(plan.outer), truth.shape[1])
    scores = {name: np.full(shape, np.nan) for name in ("r", "r2", "alpha")}
    estimators: dict[str, list[Any]] = {name: [] for name in sources}
    with prediction_arrays(list(sources), truth.shape, keep[1]) as predictions:
        for row, (name, source) in enumerate(sources.items()):
            features = _features(source, len(truth))
            for split, (train, test) in enumerate(plan.outer):
                with _told(f"layer {name}, split {split + 1} of {len(plan.outer)}"):
                    model = _fit(estimator, features[train], truth[train], None if labels is None else labels[train])
                    predicted = _predict(model, features[test], truth.shape[1])
                scores["r"][row, split] = pearson(truth[test], predicted)
                scores["r2"][row, split] = r_squared(truth[test], predicted)
                scores["alpha"][row, split] = _penalty(model, truth.shape[1])
                if predictions is not None:
                    held = np.asarray(predictions[name][:])
                    held[test] = predicted
                    predictions[name][:] = held
                if keep[0]:
                    estimators[name].append(model)
    return EncodingResult.from_arrays(
        scores,
        layers=list(sources),
        attrs=_provenance(estimator, plan, len(truth)),
        predictions=predictions,
        estimators=estimators if keep[0] else None,
    )


def _features(source: ArraySource, n_rows: int) -> NDArray[Any]:
    if source.shape[0] != n_rows:
        raise InputError(f"{source.name} has {source.shape[0]} rows but the responses have {n_rows}.")
    features = source.rows(0, n_rows)
    check_finite(features, source.name)
    return features


def _fit(estimator: Any, X: NDArray[Any], Y: NDArray[Any], groups: NDArray[Any] | None) -> Any:
    import inspect

    model = _copied(estimator)
    takes_groups = groups is not None and "groups" in inspect.signature(model.fit).parameters
    model.fit(X, Y, groups=groups) if takes_groups else model.fit(X, Y)
    return model


def _predict(model: Any, X: NDArray[Any], n_targets: int) -> NDArray[Any]:
    predicted = model.predict(X)
    if hasattr(predicted, "cpu"):  # himalaya on a torch backend
        predicted = predicted.cpu().numpy()
    values, shape = np.asarray(predicted), (len(X), n_targets)
    if values.shape == shape[:1] and n_targets == 1:  # as scikit-learn's, of one target
        values = values[:, None]
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"{type(model).__name__} predicts an array of shape {values.shape} and type {values.dtype}; "
            f"real numbers of shape {shape}, rows × targets, are needed."
        )
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{type(model).__name__} predicts {values[row, column]} at test row {row}, target {column}.")
    return values


def _copied(estimator: Any) -> Any:
    """Return an unfitted copy, so that no split sees what another has learned."""
    try:
        return clone(estimator)
    except (TypeError, RuntimeError):
        name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        raise InputError(
            f"{name} cannot be copied for every split; give an instance of a class that inherits from "
            "sklearn.base.BaseEstimator and whose __init__ keeps its arguments under their names."
        ) from None


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Say at which split and layer an estimator failed; the error itself is its author's."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')} ({where}).") from None
    except Exception as error:
        error.add_note(f"brainmap: in {where}")
        raise


def _penalty(model: Any, n_targets: int) -> NDArray[np.float64]:
    """Return the penalty a fitted estimator (or the last step of a pipeline) reports, NaN where it reports none."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    for name in PENALTIES:
        value = getattr(last, name, None)
        if value is not None:
            values = np.asarray(value.cpu() if hasattr(value, "cpu") else value, dtype=np.float64).ravel()
            if values.size in (1, n_targets):
                return np.broadcast_to(values, (n_targets,))
    return np.full(n_targets, np.nan)


def _provenance(estimator: Any, plan: SplitPlan, n_rows: int) -> dict[str, Any]:
    return {
        "estimator": " ".join(repr(estimator).split()),
        "n_trials": n_rows,
        "scheme": plan.scheme,
        "inner_scheme": "the estimator's own",
        "split_hash": _outer_hash(plan.outer),
        "n_train": [len(train) for train, _ in plan.outer],
        "n_test": [len(test) for _, test in plan.outer],
        "grouped": plan.grouped,
        "alphas": [],
        "scoring": "the estimator's own",
        "ceiling_normalised": False,
        "versions": dict(versions(("numpy", "scikit-learn"))),
    }


def _outer_hash(outer: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> str:
    from brainmap.encoding.folds import split_hash

    return split_hash(outer)


CONSTANT = 1e-13  # relative spread below which a prediction varies by rounding only


def pearson(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Return the correlation of matching columns; NaN where the truth is constant, 0 where the prediction is.

    Parameters
    ----------
    truth, prediction : array-like, shape (n_rows, n_targets)
    """
    a, b = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    constant = np.ptp(a, axis=0) == 0
    size_a, size_b = (power_of_two(np.abs(x).max(axis=0, initial=0.0)) for x in (a, b))
    a, b = a / size_a, b / size_b  # squares of tesla squared, or of predictions of them, would underflow
    flat = b.var(axis=0) <= (CONSTANT * np.abs(b).max(axis=0, initial=0.0)) ** 2
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r = (a * b).sum(axis=0) / np.where(scale > 0, scale, 1.0)
    return np.where(constant, np.nan, np.where(flat, 0.0, r))


def r_squared(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Return the coefficient of determination of matching columns; NaN where the truth is constant.

    Parameters
    ----------
    truth, prediction : array-like, shape (n_rows, n_targets)
    """
    a, b = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    constant = np.ptp(a, axis=0) == 0
    size = power_of_two(np.abs(a).max(axis=0, initial=0.0))
    a, b = a / size, b / size
    total = ((a - a.mean(axis=0)) ** 2).sum(axis=0)
    return np.where(constant, np.nan, 1.0 - ((a - b) ** 2).sum(axis=0) / np.where(constant, 1.0, total))
