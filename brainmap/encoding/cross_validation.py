"""Cross-validated encoding: one call from features and responses to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from brainmap.common.array_sources import ArraySource, Averaging, as_layers, as_source
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.storage.digests import sealed_folder
from brainmap.common.storage.zarr_stores import TARGETS
from brainmap.common.versions import versions
from brainmap.encoding.any_estimator import encode_generic
from brainmap.encoding.encoding_result import SCORES, EncodingResult, target_coords, warn_about
from brainmap.encoding.engine import Engine, make_problem, make_settings
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.notation import LayerFactors, TargetBlock, TargetScores
from brainmap.encoding.layer.scores import score_batch, target_batch
from brainmap.encoding.predictions import coefficients, out_of_fold, prediction_arrays
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.row_groups import RowGroups
from brainmap.encoding.score_files import KIND, ScoreFile, load_scores
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
        self.scored = SCORES if settings.shares is None else (*SCORES, "candidate")

    def encode(
        self, Y: Any, *, return_estimator: bool = False, return_predictions: bool | str | Path = False
    ) -> EncodingResult:
        """Score responses; parameters and result as in `cross_val_encode`."""
        responses = as_source(Y, "Y", average=self.averaging)
        if return_estimator:
            self.keep_weights()
        n_splits, n_targets = len(self.problem.plan.outer), responses.shape[1]
        scores: dict[str, NDArray[Any]] = {}
        for name in self.scored:
            scores[name] = np.full((len(self.layers), n_splits, n_targets), np.nan)
        estimators = {name: self._empty_estimators(name, n_targets) for name in self.layers} if return_estimator else {}
        wanted = return_predictions is not False
        compute = partial(_scored, problem=self.problem, predict=wanted, fit=return_estimator)
        told = _Told(np.zeros(n_targets, dtype=bool))
        shape = (self.problem.plan.n_rows, n_targets)
        filled = prediction_arrays(self.layers, shape, return_predictions) if wanted else nullcontext()
        with filled as predictions:
            for layer, part, (scored, predicted, weights) in self.engine.results(responses, compute):
                told.info[layer.name], told.precision[layer.name] = layer.info, layer.backend.precision
                told.coarse[part] = scored.coarse
                for name, values in scores.items():
                    values[self.layers.index(layer.name), :, part] = getattr(scored, name)
                if predictions is not None:
                    predictions[layer.name][:, part] = predicted
                for split, (coef, intercept) in enumerate(weights):
                    estimator = estimators[layer.name][split]
                    estimator.take(part, scored, split)
                    estimator.coef_[part], estimator.intercept_[part] = coef, intercept
        attrs = self._attributes(told, scores, responses)
        shares = self.problem.settings.shares
        if shares is not None:
            scores["share"] = shares[scores.pop("candidate").astype(int)]
        return EncodingResult.from_arrays(
            scores, layers=self.layers, attrs=attrs, predictions=predictions, estimators=estimators or None
        )

    def encode_to(
        self, Y: Any, path: str | Path, *, targets: pd.DataFrame | None = None, share: tuple[int, int] = (1, 1)
    ) -> EncodingResult:
        """Score responses, and write the scores to a file as they come: they are never in memory together.

        Parameters
        ----------
        Y : array-like, shape (n_rows, n_targets)
            Responses.
        path : str or Path
            As for :meth:`EncodingResult.save`; scores are float32.
        targets : pandas.DataFrame, optional
            A row of each target, see :meth:`EncodingResult.with_targets`.
        share : tuple of int
            Which of how many parts of the batches of targets: scores of a target are the same to the bit, whichever.

        Returns
        -------
        EncodingResult
            Scores of these targets, which stay on disk.
        """
        path, responses = Path(path), as_source(Y, "Y", average=self.averaging)
        n_targets, size = responses.shape[1], self.engine.batch_size(responses, kept=TARGETS)
        bounds = [-(-n_targets // size) * each // share[1] * size for each in (share[0] - 1, share[0])]
        part = slice(*(min(bound, n_targets) for bound in bounds))
        coords = xr.Dataset(coords={
            "layer": self.layers, "split": range(len(self.problem.plan.outer)),
            "target": np.arange(part.start, part.stop),
            **({} if targets is None else target_coords(targets.iloc[part])),
        })  # fmt: skip
        told = _Told(np.zeros(part.stop - part.start, dtype=bool))
        compute = partial(_scored, problem=self.problem, predict=False, fit=False)
        with sealed_folder(path, KIND) as folder:
            file = ScoreFile(folder, self.scored, coords)
            for layer, at, (scored, _, _) in self.engine.results(responses, compute, kept=TARGETS, part=part):
                here = slice(at.start - part.start, at.stop - part.start)
                told.info[layer.name], told.precision[layer.name] = layer.info, layer.backend.precision
                told.coarse[here] = scored.coarse
                file.write(self.layers.index(layer.name), here, vars(scored))
            whole = share[1] == 1
            file.describe(self._attributes(told, file.arrays, responses) if whole else vars(told))
        return EncodingResult.load(path, lazy=True)

    def join(
        self, shares: Sequence[Path], responses: Any, path: str | Path, *, targets: pd.DataFrame | None = None
    ) -> EncodingResult:
        """Put the files of all shares of :meth:`encode_to` together: what it writes of all targets at once."""
        parts = [load_scores(share, lazy=True) for share in shares]
        parts = [part for part in parts if part.sizes["target"]] or parts[:1]
        n_targets = sum(part.sizes["target"] for part in parts)
        told = _Told(np.concatenate([part.attrs["coarse"] for part in parts]).astype(bool), **{
            name: parts[0].attrs[name] for name in ("info", "precision")
        })  # fmt: skip
        for info in told.info.values():
            info["alphas"] = np.array(info["alphas"])
        coords = parts[0].drop_vars([name for name in parts[0].variables if "target" in parts[0][name].dims])
        columns = {} if targets is None else target_coords(targets)
        coords = coords.assign_coords({"target": np.arange(n_targets), **columns})
        with sealed_folder(Path(path), KIND) as folder:
            file = ScoreFile(folder, self.scored, coords)
            for layer in range(len(self.layers)):
                for part in parts:
                    first, last = int(part["target"][0]), int(part["target"][-1]) + 1
                    scores = {name: part[name][layer].values for name in file.arrays}
                    file.write(layer, slice(first, last), scores)
            file.describe(self._attributes(told, file.arrays, as_source(responses, "Y", average=self.averaging)))
        return EncodingResult.load(path, lazy=True)

    def _attributes(self, told: _Told, scores: Mapping[str, Any], responses: ArraySource) -> dict[str, Any]:
        """How scores were made, with warnings about them."""
        provenance = encoding_provenance(self.estimator, self.problem, averaged=self.averaging is not None)
        coarse = told.coarse & (np.dtype(str(responses.array.dtype).removeprefix("torch.")).itemsize <= 4)
        settings, n_rows = self.problem.settings, sum(provenance["n_test"])
        notes = warn_about(told.info, scores, settings, n_rows=n_rows, coarse=coarse)
        attrs = {**provenance, "warnings": notes, "n_features": {}, "n_components": {}, "precision": told.precision}
        for name in self.layers:
            for key in ("n_features", "n_components"):
                attrs[key][name] = told.info[name][key]
        return attrs

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


@dataclass
class _Told:
    """What the engine says of layers and targets beside the scores."""

    coarse: NDArray[np.bool_]
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    precision: dict[str, str] = field(default_factory=dict)


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
