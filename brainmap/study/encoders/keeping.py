"""Keep the encoders of a study: those of its folds, and one refit on all photographs, without pickle.

Of every subject and signal, each target keeps the encoder of the layer that predicts it best (mean r over splits), or
those of chosen layers. The folds' encoders stand beside, so that anybody can see the stored scores come out of them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.common.storage.digests import sealed_folder
from brainmap.common.storage.zarr_stores import reserve_checked
from brainmap.encoding import EncodingRidgeCV, NumericalWarning, PreparedEncoding
from brainmap.encoding.any_estimator import pearson
from brainmap.features import Features
from brainmap.study.analysis.encoded_part import Encoded
from brainmap.study.declared.study_config import StudyConfig

KIND, FORMAT = "kept encoders", 1
META, REFIT, FOLDS = "encoder.json", "refit", "folds"
BLOCK, CHUNK = 2048, 256  # targets that are fitted at once, and that one stored chunk holds
EQUAL = 1e-6  # what predictions on held-out photographs reproduce the stored scores to
SETTINGS = (
    *("model", "weights", "seed", "layers", "signals", "site", "pooling", "objective", "wrt"),
    *("projection", "batch_size"),
)
Prepare = Callable[[Mapping[str, Any]], PreparedEncoding]


def keep_encoders(
    config: StudyConfig, subject: Encoded, signal: str, features: Features, path: Path, prepare: Prepare
) -> Path:
    """Refit and write the encoders of one subject and signal; what is written already stays.

    Parameters
    ----------
    config : StudyConfig
        The study; ``keep`` says which layers.
    subject : Encoded
        Its responses and scores.
    signal : str
        What predicts.
    features : Features
        Of all photographs.
    path : Path
        Folder to write.
    prepare : callable
        Makes the study's regression of a mapping of layer to features, rows as the subject's.

    Returns
    -------
    Path
        The folder: ``encoder.json``, and a folder a layer with the refit (:meth:`EncodingRidgeCV.save`) and the
        weights of the folds.

    Raises
    ------
    InputError
        If the responses have confounds, of which weights on features know nothing.
    """
    if is_kept(path, config.keep):
        return path
    if subject.confounds is not None:
        raise InputError("encoders of responses with confounds cannot be kept: they know the photographs only")
    scores = subject.spaces[signal].r
    chosen = targets_of_layers(scores, config.keep_layers)
    responses = as_source(subject.averaged.values, "responses")
    reached = 0.0
    with sealed_folder(path, KIND) as partial:
        for layer, targets in chosen.items():
            X = np.asarray(features[signal, layer])
            prepared = prepare({layer: X})
            folder = partial / layer
            rows = X if len(X) == len(subject.rows) else X[subject.rows]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)  # the texts stand with the scores
                _write_folds(folder / FOLDS, prepared, responses, targets)
                _refit(prepared, rows, responses, targets, subject).save(folder / REFIT)
            held_out = _scores_of_folds(folder / FOLDS, rows, responses, targets, prepared)
            stored = scores.sel(layer=layer).transpose("split", "target").values[:, targets]
            reached = max(reached, float(np.nanmax(np.abs(held_out - stored), initial=0.0)))
            np.save(folder / "targets.npy", targets)
        meta = _described(config, subject, signal, features, list(chosen))
        (partial / META).write_text(json.dumps({**meta, "reproduced_to": reached}, indent=1), encoding="utf-8")
    return path


def is_kept(path: Path, keep: str | None) -> bool:
    """Whether the encoders that a study asks for are there.

    Raises
    ------
    InputError
        If those of other layers are.
    """
    if not path.is_dir():
        return False
    kept = json.loads((path / META).read_text(encoding="utf-8")).get("keep")
    if kept != keep:
        raise InputError(f"{path} holds what 'keep: {kept}' asked for; remove it, or choose another --out")
    return True


def targets_of_layers(scores: xr.DataArray, layers: tuple[str, ...] | None) -> dict[str, NDArray[np.int64]]:
    """Return which targets (ascending) keep the encoder of which layer; of the best layer, where none are named.

    Raises
    ------
    InputError
        If a layer is named that there is not.
    """
    names = [str(name) for name in scores["layer"].values]
    everyone = np.arange(scores.sizes["target"])
    if layers is not None:
        absent = [name for name in layers if name not in names]
        if absent:
            raise InputError(f"'keep' names the layer {absent[0]!r}, which is not there; there are {', '.join(names)}")
        return dict.fromkeys(layers, everyone)
    mean = scores.mean("split", skipna=True).transpose("layer", "target").values
    best = np.where(np.isfinite(mean), mean, -np.inf).argmax(axis=0)
    return {name: everyone[best == number] for number, name in enumerate(names) if (best == number).any()}


def _write_folds(folder: Path, prepared: PreparedEncoding, responses: Any, targets: NDArray[np.int64]) -> None:
    """Write weights and intercepts of every fold in double precision: features may all but coincide."""
    import zarr

    (source,) = prepared.sources.values()
    n_splits, n_targets, n_features = len(prepared.problem.plan.outer), len(targets), source.shape[1]
    group = zarr.open_group(str(folder), mode="w", zarr_format=3)
    width = min(CHUNK, n_targets)
    coef = reserve_checked(group, "coef", (n_splits, n_targets, n_features), (1, width, n_features), dtype=np.float64)
    intercept = reserve_checked(group, "intercept", (n_splits, n_targets), (n_splits, width), dtype=np.float64)
    for start in range(0, n_targets, BLOCK):
        part = slice(start, min(start + BLOCK, n_targets))
        fitted = prepared.encode(responses.select(targets[part]).columns(0, BLOCK), return_estimator=True).estimators
        assert fitted is not None
        for split, estimator in enumerate(next(iter(fitted.values()))):
            coef[split, part], intercept[split, part] = estimator.coef_, estimator.intercept_


def fold_weights(folder: Path) -> tuple[Any, Any]:
    """Weights (split, target, feature) and intercepts (split, target) of the folds, on disk."""
    import zarr

    group: Any = zarr.open_group(str(folder), mode="r")
    return group["coef"], group["intercept"]


def _scores_of_folds(
    folder: Path, X: NDArray[Any], responses: Any, targets: NDArray[np.int64], prepared: PreparedEncoding
) -> NDArray[np.float64]:
    """Pearson r of what the stored encoders of each fold predict of its test photographs, (split, target)."""
    coef, intercept = fold_weights(folder)
    plan = prepared.problem.plan
    r = np.empty(intercept.shape)
    for start in range(0, len(targets), BLOCK):
        part = slice(start, start + BLOCK)
        truth = np.asarray(responses.select(targets[part]).columns(0, BLOCK), dtype=np.float64)
        for split, (_, test) in enumerate(plan.outer):
            predicted = X[test].astype(np.float64) @ np.asarray(coef[split, part], dtype=np.float64).T
            r[split, part] = pearson(truth[test], predicted + np.asarray(intercept[split, part]))
    return r


def _refit(
    prepared: PreparedEncoding, X: NDArray[Any], responses: Any, targets: NDArray[np.int64], subject: Encoded
) -> EncodingRidgeCV:
    """Fit all photographs, a block of targets at a time."""
    parts = []
    for start in range(0, len(targets), BLOCK):
        Y = np.asarray(responses.select(targets[start : start + BLOCK]).columns(0, BLOCK))
        estimator = EncodingRidgeCV(**prepared.estimator.get_params(deep=False))
        parts.append(estimator.fit(X, Y, groups=subject.groups))
    whole = parts[0]
    for name in whole.fitted:
        setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
    return whole


def _described(
    config: StudyConfig, subject: Encoded, signal: str, features: Features, layers: list[str]
) -> dict[str, Any]:
    described = config.describe()
    averaged, info = subject.averaged, subject.responses.info
    return {
        "format": FORMAT,
        "keep": config.keep,
        "modality": averaged.modality,
        "subject": averaged.subject,
        "signal": signal,
        "layers": layers,
        "best_layer": config.keep_layers is None,
        "settings": {name: described[name] for name in SETTINGS if name in described},
        "features_file": config.features is not None,
        "weights_digest": features.provenance["weights_digest"],
        "dataset": config.dataset,
        "simulated": subject.responses.simulated,
        "n_photographs": len(subject.rows),
        "n_targets": averaged.n_targets,
        "unit": str(info.get("unit") or "that of the responses as they were given"),
        "split_hash": subject.spaces[signal].dataset.attrs["split_hash"],
    }
