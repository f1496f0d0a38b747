"""``method: banded`` and ``method: stacked``: several feature spaces predict together, beside the scores by layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.array_sources import as_source
from brainmap.common.errors import InputError
from brainmap.common.progress import track
from brainmap.encoding import EncodingRidgeCV, NumericalWarning, stacked_encode
from brainmap.features import Features
from brainmap.statistics.variance_partition import banded_partition
from brainmap.stimuli import StimulusSet
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.analysis.rows_and_spaces import feature_spaces, splits_of
from brainmap.study.declared.study_config import StudyConfig

BLOCK = 2048  # targets at a time


def several_spaces(
    config: StudyConfig,
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    estimator: EncodingRidgeCV,
) -> xr.Dataset | None:
    """Return what the study's method adds to the scores by layer, None where it is a plain ridge.

    Returns
    -------
    Dataset or None
        Banded: ``r2`` (subject, model, target), of every set of bands, and ``part`` (subject, part, target): the unique
        variance of each band, and what sets of them share; means over splits. Stacked: ``r``, ``r2`` (subject, signal,
        split, target), ``weight`` (subject, signal, layer, target; mean over splits) and ``depth`` (subject, signal,
        target), the mean depth under the weights.

    Raises
    ------
    InputError
        For a band that there is not, or responses with confounds.
    """
    if config.method not in ("banded", "stacked"):
        return None
    if any(subject.confounds is not None for subject in subjects):
        raise InputError(f"'method: {config.method}' knows no confounds; leave them out, or use ridge")
    spaces = feature_spaces(config, stimuli, features)
    parts = []
    for subject in track(subjects, f"{config.method} regression", unit="subjects"):
        cv = splits_of(config, subject, stimuli)
        rows = {name: {layer: np.asarray(x)[subject.rows] if len(x) != len(subject.rows) else np.asarray(x)
                       for layer, x in space.items()} for name, space in spaces.items()}  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # the texts travel with the scores by layer
            if config.method == "banded":
                parts.append(_banded(bands_of(config, rows), subject, cv, config.seed))
            else:
                parts.append(_stacked(config, rows, features, subject, cv, estimator))
    names = [subject.responses.subject for subject in subjects]
    return xr.concat(parts, "subject").assign_coords(subject=names)


def photographs_found(
    config: StudyConfig, subjects: Sequence[Encoded], stimuli: StimulusSet, features: Features
) -> pd.DataFrame | None:
    """Return how often photographs are found from each subject's responses, None where nobody asks.

    Raises
    ------
    InputError
        Without activations, with confounds, or with galleries that are too small.
    """
    from brainmap.statistics.retrieval import RetrievalOptions, retrieval

    if config.retrieval == "none":
        return None
    if "activation" not in config.signals or any(subject.confounds is not None for subject in subjects):
        raise InputError("photographs are found by activations, of responses without confounds; leave out 'retrieval'")
    options = RetrievalOptions(method=config.retrieval, seed=config.seed)
    tables = []
    for subject in track(subjects, "finding photographs", unit="subjects"):
        averaged, splits = subject.averaged, splits_of(config, subject, stimuli)
        X = {layer: np.asarray(features["activation", layer])[subject.rows] for layer in features.layers}
        times = averaged.targets["time"].to_numpy() if averaged.modality != "fmri" else None
        values = np.asarray(averaged.values[:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            table = retrieval(X, values, times=times, cv=splits, groups=subject.groups, options=options)
        table.insert(0, "subject", averaged.subject)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def bands_of(config: StudyConfig, spaces: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the bands that a study names, each side by side in one array, (n_rows, n_features).

    Raises
    ------
    InputError
        For a band, or a layer of it, that there is not.
    """
    bands = {}
    for name in config.bands or config.signals:
        space, _, layers = name.partition(":")
        if space in spaces:
            wanted = layers.split("/") if layers else list(spaces[space])
            there = spaces[space]
        else:
            wanted, there = [space], spaces[CONTROL_SPACES]
        absent = [each for each in wanted if each not in there]
        if absent:
            known = ", ".join([*config.signals, *spaces[CONTROL_SPACES]])
            raise InputError(f"the band '{name}' names {absent[0]!r}, which is not there; there are {known}")
        bands[name] = np.concatenate([np.asarray(there[each], dtype=np.float64) for each in wanted], axis=1)
    return bands


def _banded(bands: dict[str, NDArray[Any]], subject: Encoded, cv: Any, seed: int) -> xr.Dataset:
    responses = as_source(subject.averaged.values, "responses")
    blocks = []
    for start in range(0, responses.shape[1], BLOCK):
        y = responses.columns(start, min(start + BLOCK, responses.shape[1]))
        found = banded_partition(bands, y, cv=cv, groups=subject.groups, seed=seed)
        blocks.append(xr.Dataset({"r2": found.r2.mean("split"), "part": found.parts.rename(part="of").mean("split")}))
    return xr.concat(blocks, "target").drop_vars("target", errors="ignore")


def _stacked(
    config: StudyConfig,
    rows: Mapping[str, Mapping[str, NDArray[Any]]],
    features: Features,
    subject: Encoded,
    cv: Any,
    estimator: EncodingRidgeCV,
) -> xr.Dataset:
    parts = []
    for signal in config.signals:
        values, groups = subject.averaged.values, subject.groups
        stack = stacked_encode(rows[signal], values, estimator=estimator, cv=cv, groups=groups, memory=config.memory)
        depths = [features.depths[name] for name in stack.layers]
        variables = {
            "r": (("split", "target"), stack.r),
            "r2": (("split", "target"), stack.r2),
            "weight": (("layer", "target"), stack.weights.mean(axis=0)),
            "depth": (("target",), stack.profile(depths)),
        }
        parts.append(xr.Dataset(variables, coords={"layer": stack.layers}))
    return xr.concat(parts, "signal").assign_coords(signal=list(config.signals))
