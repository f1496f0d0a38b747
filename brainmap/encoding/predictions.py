"""Predictions, residuals and weights on demand, streamed to Zarr batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.storage.digests import sealed_folder
from brainmap.common.storage.zarr_stores import reserve_checked
from brainmap.encoding.layer.notation import LayerFactors, SplitWeights, TargetBatch, TargetBlock
from brainmap.encoding.layer.nuisance import without_nuisance
from brainmap.encoding.layer.scores import score_batch, set_inputs, set_moments, target_batch
from brainmap.encoding.settings import Problem

if TYPE_CHECKING:
    from brainmap.encoding.cross_validation import PreparedEncoding


What = Literal["prediction", "residual", "coef"]
CHUNK = 256
PREDICTIONS, ARRAYS = "predictions", "encoding arrays"  # what the lists of digests call them


def export_arrays(
    prepared: PreparedEncoding,
    Y: Any,
    path: str | Path,
    *,
    what: Sequence[What] = ("prediction",),
    layers: Sequence[str] | None = None,
    targets: Any = None,
) -> Path:
    """Write arrays of chosen layers and targets to a Zarr directory, one group per layer.

    Parameters
    ----------
    prepared : PreparedEncoding
        Features, splits and model; penalties are chosen by inner cross-validation as in `PreparedEncoding.encode`.
    Y : array-like, shape (n_rows, n_targets)
        Responses.
    path : path
        Directory to write, with digests; one that was written so before is replaced when the new one is complete.
    what : sequence of {'prediction', 'residual', 'coef'}
        'prediction' and 'residual': out of fold, (n_rows, n_chosen), NaN in rows never tested; with nuisance regressors
        both refer to the responses after projection. 'coef': weights on the original features of each split,
        (n_splits, n_chosen, n_features), with 'intercept' (n_splits, n_chosen) beside them.
    layers : sequence of str, optional
        Default all.
    targets : slice, mask or ascending indices, optional
        Default all.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        For an unknown name, or a directory that holds anything else.
    """
    import zarr

    names = prepared.layers if layers is None else list(as_names(layers))
    kinds = as_names(what)
    unknown = [name for name in names if name not in prepared.layers]
    unknown += [kind for kind in kinds if kind not in get_args(What)]
    if unknown:
        raise InputError(f"{unknown[0]!r} is neither a layer of this analysis nor one of {', '.join(get_args(What))}.")
    what = [kind for kind in get_args(What) if kind in kinds]
    if "coef" in what:
        prepared.keep_weights()
    source = as_source(Y, "Y", average=prepared.averaging).select(targets)
    compute = partial(_compute, problem=prepared.problem, what=what)
    with sealed_folder(Path(path), ARRAYS) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=3)
        group.attrs.update({"kind": "brainmap encoding arrays", "provenance": prepared.provenance()})
        stores = {name: _create(group, name, what, prepared, source.shape) for name in names}
        for layer, part, arrays in prepared.engine.results(source, compute, names):
            for key, values in arrays.items():
                store = stores[layer.name][key]
                store[(slice(None), part) if store.ndim == 2 else (slice(None), part, slice(None))] = values
    return Path(path)


def _create(
    group: Any, name: str, what: Sequence[What], prepared: PreparedEncoding, shape: tuple[int, int]
) -> dict[str, Any]:
    inside = group.create_group(name)
    n_splits, n_features = len(prepared.problem.plan.outer), prepared.sources[name].shape[1]
    width = min(CHUNK, shape[1])
    shapes = {"prediction": shape, "residual": shape, "coef": (n_splits, shape[1], n_features)}
    wanted = {key: shapes[key] for key in what}
    if "coef" in what:
        wanted["intercept"] = (n_splits, shape[1])  # type: ignore[index]
    return {
        key: reserve_checked(inside, key, size, (size[0], width) if len(size) == 2 else (1, width, size[2]))
        for key, size in wanted.items()
    }


def _compute(
    layer: LayerFactors, responses: TargetBlock, problem: Problem, what: Sequence[What]
) -> dict[str, NDArray[Any]]:
    batch = target_batch(responses, layer, problem)
    _, weights = score_batch(batch)
    arrays: dict[str, NDArray[Any]] = {}
    if "prediction" in what or "residual" in what:
        prediction = out_of_fold(batch, weights)
        if "prediction" in what:
            arrays["prediction"] = prediction
        if "residual" in what:
            arrays["residual"] = _truth(batch, responses) - prediction
    if "coef" in what:
        pairs = [coefficients(batch, parts, split) for split, parts in enumerate(weights)]
        arrays["coef"] = np.stack([coef for coef, _ in pairs])
        arrays["intercept"] = np.stack([intercept for _, intercept in pairs])
    return arrays


def _truth(batch: TargetBatch, responses: TargetBlock) -> NDArray[np.float64]:
    """Return the responses that predictions are compared with, rows in the caller's order."""
    problem = batch.problem
    result = np.full(responses.values.shape, np.nan)
    for train in batch.layer.outer:
        for held in train.validations:
            rows = problem.plan.rows(held.members)
            values = responses.values[rows].astype(np.float64)
            if problem.design.nuisance is not None:
                regressors = np.column_stack([problem.design.nuisance, np.ones(problem.plan.n_rows)])
                inside = problem.plan.rows(train.members)
                fitted = np.linalg.lstsq(regressors[inside], responses.values[inside].astype(np.float64), rcond=None)[0]
                values -= regressors[rows] @ fitted
            result[problem.plan.order[rows]] = values
    shift = 0.0 if problem.n_nuisance else responses.shift
    return result * responses.scale + shift


def out_of_fold(batch: TargetBatch, weights: list[list[SplitWeights]]) -> NDArray[np.float64]:
    """Return predictions of the test rows of each split, (n_rows, n_targets), NaN in rows never tested.

    Rows come back in the order of the caller. With overlapping test sets the last split that tested a row counts. With
    nuisance regressors these are predictions of what is left of the responses after projection.
    """
    problem, layer = batch.problem, batch.layer
    result = np.full((problem.plan.n_rows, batch.total.shape[1]), np.nan)
    for split, parts in enumerate(weights):
        train = layer.outer[split]
        own = without_nuisance(batch, train, set_inputs(batch, train.members)) if problem.n_nuisance else batch
        level = np.zeros(result.shape[1])
        if problem.settings.fit_intercept:
            level = set_moments(own, train.members, fit=True).mean * batch.scale
            level += 0.0 if problem.n_nuisance else batch.shift
        for part in parts:
            part_train = part.layer.outer[split]
            for held in part_train.validations:
                rows = problem.plan.rows(held.members)
                if layer.form == "rows":
                    centred = held.map.T @ part.values + held.gap @ part.values
                else:
                    centred = layer.features[rows] @ (part_train.map.T @ part.values)
                shown = layer.backend.get(centred).astype(np.float64) * batch.scale[part.targets] + level[part.targets]
                result[_cells(problem.plan.order[rows], part.targets)] = shown
    return result


def _cells(rows: NDArray[np.int64], targets: Any) -> Any:
    return (rows, targets) if isinstance(targets, slice) else np.ix_(rows, targets)


@contextmanager
def prediction_arrays(
    names: list[str], shape: tuple[int, int], where: bool | str | Path
) -> Iterator[dict[str, Any] | None]:
    """Give one array of NaN per layer to fill: float64 in memory, or float32 in a Zarr directory at a path.

    The directory is there when the block ends, with digests; then the arrays are those on the disk.
    """
    if isinstance(where, bool):
        yield {name: np.full(shape, np.nan) for name in names} if where else None
        return
    import zarr

    with sealed_folder(Path(where), PREDICTIONS) as partial_folder:
        group = zarr.open_group(str(partial_folder), mode="w", zarr_format=3)
        group.attrs["kind"] = "brainmap out-of-fold predictions"
        chunks = (shape[0], min(shape[1], CHUNK))
        arrays = {name: reserve_checked(group, name, shape, chunks) for name in names}
        yield arrays
    complete = zarr.open_group(str(where), mode="r")
    arrays.update({name: complete[name] for name in names})


def coefficients(
    batch: TargetBatch, weights: list[SplitWeights], split: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights on original features (n_targets, n_features) and intercepts of one outer split.

    Parameters
    ----------
    batch : TargetBatch
        Of a layer factorised with ``weights=True``.
    weights : list of SplitWeights
        Of that split.
    split : int
    """
    n_targets = batch.total.shape[1]
    intercept = np.zeros(n_targets)
    if batch.problem.settings.fit_intercept:
        train = batch.layer.outer[split]
        intercept = set_moments(batch, train.members, fit=True).mean * batch.scale + batch.shift
    coef = np.empty((n_targets, batch.layer.info["n_features"]))
    for part in weights:
        matrix, offset = part.layer.weight_maps[split]
        white = part.layer.backend.get(part.values).astype(np.float64) * batch.scale[part.targets]
        coef[part.targets] = (matrix @ white).T
        intercept[part.targets] += offset @ white
    return coef, intercept
