"""Cross-validated encoding: one call from features and responses to scores."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainmap.common.array_sources import ArraySource, Averaging, as_layers, as_source
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.versions import versions
from brainmap.encoding.any_estimator import encode_generic
from brainmap.encoding.encoding_result import EncodingResult, warn_about
from brainmap.encoding.engine import Engine, make_problem, make_settings
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.notation import LayerFactors, TargetBlock, TargetScores
from brainmap.encoding.layer.scores import score_batch, target_batch
from brainmap.encoding.predictions import coefficients, out_of_fold, prediction_arrays
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.row_groups import RowGroups
from brainmap.encoding.settings import CheckedRows, Problem, RowDesign


def cross_val_encode(
    X: Any,
    Y: Any,
    *,
    estimator: Any = None,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    rows: RowDesign | None = None,
    memory: str | int = "8GB",
    device: str = "cpu",
    return_estimator: bool = False,
    return_predictions: bool | str | Path = False,
) -> EncodingResult:
    """Predict every target from every layer, out of sample.

    Parameters
    ----------
    X : array-like, shape (n_rows, n_features), or mapping of str to such
        Features, one array or ``{layer: array}``. numpy, memmap, zarr, h5py or dask; read in blocks.
    Y : array-like, shape (n_rows, n_targets)
        Responses, rows aligned to `X`. Likewise read in blocks of targets, each block once for all layers that fit in
        `memory` together.
    estimator : estimator, optional
        Default ``EncodingRidgeCV()``. It, and `BandedRidgeCV` with two bands, run in the engine; any other scikit-learn
        or himalaya regressor is cloned, fitted and asked to predict, one split and layer at a time (its choice of
        penalties is then its own).
    cv : int, splitter or iterable of (train, test)
        Outer splits: grouped K-folds for an int; a scikit-learn splitter (for example ``LeaveOneGroupOut`` with
        sessions or subjects as `groups`); or fixed splits as index or mask pairs (a shared test set, train on one data
        set and test on another).
    groups : array-like, shape (n_rows,), optional
        Rows that stay together in outer and inner folds: repeats of an image, crops of a photograph. Rows in sequence
        (frames of a film): :func:`~brainmap.encoding.time_blocks`, with a gap.
    rows : RowDesign, optional
        Sample weights, nuisance regressors to project out inside each split, repeats to average. Only for
        `EncodingRidgeCV`.
    memory : str or int
        Bound on what this process holds besides arrays that you already hold, as ``'8GB'`` or bytes.
    device : str
        ``'cpu'``, ``'cuda'`` (through torch), or ``'torch'`` (torch on the CPU).
    return_estimator : bool
        Keep the fitted estimator of each split: ``result.estimators[layer][split]``.
    return_predictions : bool or path
        Keep out-of-fold predictions: ``result.predictions[layer]``; a path streams them to a Zarr directory.

    Returns
    -------
    EncodingResult
        ``r``, ``r2``, ``alpha`` with dimensions (layer, split, target), and provenance.

    Raises
    ------
    InputError
        If rows do not correspond, a value is not finite, splits cannot be made, or the memory bound is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import cross_val_encode
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((100, 3))
    >>> dict(cross_val_encode({"block.0": X}, Y, groups=np.arange(100) // 2).r.sizes)
    {'layer': 1, 'split': 5, 'target': 3}
    """
    estimator = EncodingRidgeCV() if estimator is None else estimator
    searched = len(getattr(estimator, "bands", None) or ()) > 2  # by himalaya
    if searched or not isinstance(estimator, EncodingRidgeCV):
        if rows is not None:
            raise InputError("`rows` (weights, nuisance, repeats) is for EncodingRidgeCV; prepare the arrays yourself.")
        return encode_generic(
            X, Y, estimator=estimator, cv=cv, groups=groups, keep=(return_estimator, return_predictions)
        )
    prepared = PreparedEncoding(
        X,
        estimator=estimator,
        cv=cv,
        groups=groups,
        rows=rows,
        memory=memory,
        device=device,
    )
    return prepared.encode(Y, return_estimator=return_estimator, return_predictions=return_predictions)


MEAN_EIGENVALUE = "trace(X'X)/d of each outer train split"


class PreparedEncoding:
    """Layers, splits and model of an encoding analysis; `encode` adds the responses.

    Factorisations of the features are made at the first `encode` and reused by every later one, as far as they fit in
    `memory` (beyond that they are made again).

    Parameters
    ----------
    X, estimator, cv, groups, rows, memory, device
        As in `cross_val_encode`; the estimator must be an `EncodingRidgeCV`.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import PreparedEncoding
    >>> rng = np.random.default_rng(0)
    >>> prepared = PreparedEncoding({"block.0": rng.standard_normal((60, 5))}, cv=3)
    >>> [prepared.encode(rng.standard_normal((60, 4))).r.shape for _ in range(2)]  # factorised once
    [(1, 3, 4), (1, 3, 4)]
    """

    def __init__(
        self,
        X: Any,
        *,
        estimator: EncodingRidgeCV | None = None,
        cv: Any = 5,
        groups: ArrayLike | RowGroups | None = None,
        rows: RowDesign | None = None,
        memory: str | int = "8GB",
        device: str = "cpu",
    ) -> None:
        self.estimator = EncodingRidgeCV() if estimator is None else estimator
        self.averaging = None if rows is None else rows.averaging()
        self.sources = as_layers(X)
        if self.averaging is not None:
            self.sources = {name: _averaged(source, self.averaging) for name, source in self.sources.items()}
            if groups is not None and len(np.asarray(groups)) == len(self.averaging.order):
                first = self.averaging.first_rows
                groups = groups.take(first) if isinstance(groups, RowGroups) else np.asarray(groups)[first]
        n_rows = next(iter(self.sources.values())).shape[0]
        for source in self.sources.values():
            if source.shape[0] != n_rows:
                raise InputError(f"{source.name} has {source.shape[0]} rows but the first layer has {n_rows}.")
        settings = make_settings(self.estimator)
        options = settings.options
        inner = getattr(self.estimator, "cv", 5)
        plan = plan_splits(n_rows, cv, groups=groups, inner_cv=inner, inner=options.inner, seed=options.seed)
        design = CheckedRows() if rows is None else rows.checked(n_rows)
        self.problem = make_problem(plan, settings, design, device=device)
        self.memory = parse_memory(memory)
        self.engine = Engine(self.sources, self.problem, self.memory)
        self.layers = list(self.sources)

    def encode(
        self, Y: Any, *, return_estimator: bool = False, return_predictions: bool | str | Path = False
    ) -> EncodingResult:
        """Score responses; parameters and result as in `cross_val_encode`."""
        responses = as_source(Y, "Y", average=self.averaging)
        if return_estimator:
            self.keep_weights()
        settings, n_splits, n_targets = self.problem.settings, len(self.problem.plan.outer), responses.shape[1]
        names = ("r", "r2", "alpha") if settings.shares is None else ("r", "r2", "alpha", "candidate")
        scores, coarse = {}, np.zeros(n_targets, dtype=bool)
        for name in names:
            scores[name] = np.full((len(self.layers), n_splits, n_targets), np.nan)
        estimators = {name: self._empty_estimators(name, n_targets) for name in self.layers} if return_estimator else {}
        wanted = return_predictions is not False
        compute = partial(_scored, problem=self.problem, predict=wanted, fit=return_estimator)
        info, precision = {}, {}
        shape = (self.problem.plan.n_rows, n_targets)
        filled = prediction_arrays(self.layers, shape, return_predictions) if wanted else nullcontext()
        with filled as predictions:
            for layer, part, (scored, predicted, weights) in self.engine.results(responses, compute):
                info[layer.name], precision[layer.name] = layer.info, layer.backend.precision
                coarse[part] = scored.coarse
                for name in names:
                    scores[name][self.layers.index(layer.name), :, part] = getattr(scored, name)
                if predictions is not None:
                    predictions[layer.name][:, part] = predicted
                for split, (coef, intercept) in enumerate(weights):
                    estimator = estimators[layer.name][split]
                    estimator.take(part, scored, split)
                    estimator.coef_[part], estimator.intercept_[part] = coef, intercept
        provenance = encoding_provenance(self.estimator, self.problem, averaged=self.averaging is not None)
        coarse &= np.dtype(str(responses.array.dtype).removeprefix("torch.")).itemsize <= 4
        notes = warn_about(info, scores, settings, n_rows=sum(provenance["n_test"]), coarse=coarse)
        attrs = {**provenance, "warnings": notes, "n_features": {}, "n_components": {}, "precision": precision}
        for name in self.layers:
            for key in ("n_features", "n_components"):
                attrs[key][name] = info[name][key]
        if settings.shares is not None:
            scores["share"] = settings.shares[scores.pop("candidate").astype(int)]
        return EncodingResult.from_arrays(
            scores, layers=self.layers, attrs=attrs, predictions=predictions, estimators=estimators or None
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
        return encoding_provenance(self.estimator, self.problem, averaged=self.averaging is not None)

    def _empty_estimators(self, layer: str, n_targets: int) -> list[EncodingRidgeCV]:
        estimators = []
        for _ in self.problem.plan.outer:
            estimator: EncodingRidgeCV = clone(self.estimator)
            estimator.n_features_in_ = self.sources[layer].shape[1]
            estimator.allocate(n_targets, estimator.n_features_in_)
            estimators.append(estimator)
        return estimators


def encoding_provenance(estimator: EncodingRidgeCV, problem: Problem, *, averaged: bool = False) -> dict[str, Any]:
    """Return the provenance of scores that the engine makes."""
    settings, plan, options = problem.settings, problem.plan, problem.settings.options
    trains, tests = zip(*plan.outer, strict=True)
    bands = {} if settings.shares is None else {"bands": list(settings.band_sizes), "shares": settings.shares.tolist()}
    return {
        "estimator": type(estimator).__name__,
        "n_trials": plan.n_rows,
        "scheme": plan.scheme,
        "inner_scheme": plan.inner_scheme,
        "split_hash": plan.hash,
        "n_train": list(map(len, trains)),
        "n_test": list(map(len, tests)),
        "grouped": plan.grouped,
        "alphas": settings.alphas.tolist(),
        **({"alphas_times": MEAN_EIGENVALUE} if settings.relative else {}),
        "scoring": settings.scoring,
        "mode": options.mode,
        "scale": settings.scale,
        "pca": settings.pca,
        "fit_intercept": settings.fit_intercept,
        **bands,
        "sample_weight": problem.design.weight is not None,
        "nuisance_regressors": problem.n_nuisance,
        "tie_tolerance": settings.tie_tolerance,
        "rank_tolerance": options.rank_tolerance,
        "seed": options.seed,
        "device": problem.backend.device,
        "ceiling_normalised": False,
        "repeats_averaged": averaged,
        "versions": dict(versions(("numpy", "scipy"))),
    }


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
    batch = target_batch(block, layer, problem)
    scores, weights = score_batch(batch)
    predicted = out_of_fold(batch, weights) if predict else None
    return scores, predicted, [coefficients(batch, parts, split) for split, parts in enumerate(weights)] if fit else []
