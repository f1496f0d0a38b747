"""``method: banded`` and ``method: stacked``: several feature spaces predict together, beside the scores by layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.progress import track
from brainmap.encoding import EncodingRidgeCV, NumericalWarning, stacked_encode
from brainmap.features import Features
from brainmap.models.model_cards import resolve_model
from brainmap.statistics import VariancePartition, banded_partition
from brainmap.stimuli import StimulusSet
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.analysis.explained_by_unit import CONFIDENCE, explained_by_unit
from brainmap.study.analysis.rows_and_spaces import feature_spaces, splits_of
from brainmap.study.declared.band_names import BandName, bands_of_other_models
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.inputs import extractor


def several_spaces(
    config: StudyConfig,
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    estimator: EncodingRidgeCV,
    others: Mapping[str, Features] | None = None,
) -> xr.Dataset | None:
    """Return what the study's method adds to the scores by layer, None where it is a plain ridge.

    Parameters
    ----------
    config, subjects, stimuli, features, estimator
        The study.
    others : mapping of str to Features, optional
        Bands of other models (:func:`features_of_bands`).

    Returns
    -------
    Dataset or None
        Banded: ``r2`` (subject, model, target), of every set of bands, and ``part`` (subject, of, target): the unique
        variance of each band, and what sets of them share; means over splits; ``low``, ``high``, their 95 % interval
        over groups of photographs; by area or time what
        :func:`~brainmap.study.analysis.explained_by_unit.explained_by_unit` gives.
        Stacked: ``r``, ``r2`` (subject, signal, split, target), ``weight`` (subject, signal, layer, target; mean over
        splits) and ``depth`` (subject, signal, target), the mean depth under the weights.

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
    for name, extracted in (others or {}).items():
        spaces[name] = dict(extracted.by_layer(BandName.of(name).space))
    parts, partitions = [], []
    units = units_of(subjects[0])
    for subject in track(subjects, f"{config.method} regression", unit="subjects"):
        cv = splits_of(config, subject, stimuli)
        rows = {name: {layer: np.asarray(x)[subject.rows] if len(x) != len(subject.rows) else np.asarray(x)
                       for layer, x in space.items()} for name, space in spaces.items()}  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # the texts travel with the scores by layer
            if config.method == "banded":
                options = {"cv": cv, "groups": subject.groups, "seed": config.seed, "units": units}
                partitions.append(banded_partition(bands_of(config, rows), subject.averaged.values, **options))
                parts.append(_banded(partitions[-1]))
            else:
                parts.append(_stacked(config, rows, features, subject, cv, estimator))
    names = [subject.responses.subject for subject in subjects]
    together = xr.concat(parts, "subject").assign_coords(subject=names)
    if not partitions:
        return together
    test = config.yardstick(subjects[0].responses.modality)
    over = "subjects" if test in ("subjects", "wilcoxon") else "photographs"
    by_unit = explained_by_unit(partitions, units, over=over)
    return together.merge(by_unit).assign_attrs(by_unit.attrs)


def units_of(subject: Encoded) -> NDArray[Any]:
    """Area of each target of fMRI, time (s) of each of other modalities."""
    targets = subject.averaged.targets
    column = "roi" if subject.averaged.modality == "fmri" else "time"
    values = targets[column].to_numpy()
    return values.astype(str) if column == "roi" else np.asarray(values, dtype=np.float64)


def features_of_bands(config: StudyConfig, stimuli: StimulusSet, store: Path | None) -> dict[str, Features]:
    """Extract (or find in the store) the bands that other models make, by name."""
    return {name: extractor(each, store).extract(stimuli) for name, each in studies_of_bands(config).items()}


def studies_of_bands(config: StudyConfig) -> dict[str, StudyConfig]:
    """Settings of the features of each band that another model makes: a model's own loss, all else the study's."""
    plain = {"features": None, "objective": None, "method": "ridge", "bands": None, "keep": None, "hypotheses": None}
    return {
        name: config.model_copy(
            update={
                **plain, "model": resolve_model(band.model), "weights": band.weights, "signals": (band.space,),
                "layers": band.layers or None,
            }
        )
        for name, band in bands_of_other_models((config.method == "banded" and config.bands) or ()).items()
    }  # fmt: skip


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
        band = BandName.of(name)
        if name in spaces:  # of another model
            wanted, there = list(spaces[name]), spaces[name]
        elif band.space in spaces:
            there = spaces[band.space]
            wanted = list(band.layers or there)
        else:
            wanted, there = [band.space], spaces[CONTROL_SPACES]
        absent = [each for each in wanted if each not in there]
        if absent:
            known = ", ".join([*config.signals, *spaces[CONTROL_SPACES]])
            raise InputError(f"the band '{name}' names {absent[0]!r}, which is not there; there are {known}")
        bands[name] = np.concatenate([np.asarray(there[each], dtype=np.float64) for each in wanted], axis=1)
    return bands


def _banded(found: VariancePartition) -> xr.Dataset:
    parts = found.parts.rename(part="of").mean("split")
    kept = xr.Dataset({"r2": found.r2.mean("split"), "part": parts}).drop_vars("target")
    if found.errors is None:
        return kept
    errors = found.errors.rename(part="of").sel(of=parts["of"])
    half = errors * stats.t.ppf(0.5 + CONFIDENCE / 2, max(found.errors.attrs["freedom"], 1))
    return kept.assign(low=kept["part"] - half, high=kept["part"] + half)


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
