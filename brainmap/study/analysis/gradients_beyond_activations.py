"""What gradients add to activations, area by area or moment by moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import TIMED
from brainmap.statistics.added.added_value import ResidualOptions, ResidualResult, residual
from brainmap.statistics.added.conditional_test import ConditionalOptions
from brainmap.statistics.added.nonlinear_control import nonlinear_control
from brainmap.statistics.added.pooled_subjects import pool_residuals
from brainmap.study.declared.study_config import StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.study.analysis.encoded_part import Encoded


UNIT = {"fmri": "roi", **dict.fromkeys(TIMED, "time")}


def residual_of_gradients(
    subjects: Sequence[Encoded], features: Features, config: StudyConfig
) -> tuple[pd.DataFrame | None, xr.Dataset | None, str]:
    """Test and size what gradients add.

    Subjects who saw the same photographs are tested together; others one by one, and then pooled.

    Parameters
    ----------
    subjects : sequence of Encoded
        Of one modality.
    features : Features
        Activations and gradients.
    config : StudyConfig
        Folds, seed, number of sign flips and memory.

    Returns
    -------
    table : pandas.DataFrame or None
        ``unit``, ``delta`` (gain in held-out r), ``low``, ``high``, ``statistic``, ``p_fwer``, ``significant`` and
        more, see :func:`brainmap.statistics.added.added_value.residual`, and ``delta <subject>`` for each subject.
        With ``residual_control``, family-wise p of random nonlinear features of the activations (``p_nonlinear``) and
        of the gradients beyond both (``p_beyond_nonlinear``). None where it cannot be computed.
    gains : xarray.Dataset or None
        Of fMRI, the same at each target, see :meth:`~brainmap.statistics.added.added_value.ResidualScores.by_target`;
        None for subjects who saw different photographs or have other targets.
    method : str
        How p was made, or why there is no table.
    """
    layers = compared_layers(features, config)
    needed = (
        3
        * 8
        * len(subjects[0].rows)
        * sum(features[signal, layer].shape[1] for signal in ("activation", "gradient") for layer in layers)
    )
    if needed > parse_memory(config.memory):
        which = "all layers" if config.residual_layers == "all" else "the last layer"
        return (
            None,
            None,
            (
                f"not computed: {which} of both signals together need about {needed / 1e9:.0f} GB; raise --memory, "
                "choose fewer layers (or residual_layers: last), or project the features"
            ),
        )
    try:
        if all(subject.design == subjects[0].design for subject in subjects):
            result = _residual(subjects, features, config, config.seed)
            table, made = result.to_frame(), result.test.method
            if config.residual_control == "nonlinear":
                table, made = _with_control(table, made, subjects, features, config)
            return _with_subjects(table, [result], subjects), _gains(subjects, result), made
        seeds = [config.seed + number for number in range(len(subjects))]
        each = [_residual([subject], features, config, seed) for subject, seed in zip(subjects, seeds, strict=True)]
        pooled = pool_residuals(each)
    except InputError as error:
        return None, None, f"not computed: {error}"
    made = pooled.method
    if config.residual_control == "nonlinear":
        made += "; not tested beyond nonlinear features of the activations, as subjects saw different photographs"
    return _with_subjects(pooled.to_frame(), each, subjects), None, made


def _gains(subjects: Sequence[Encoded], result: ResidualResult) -> xr.Dataset | None:
    """Gain of each fMRI target; moments are units already."""
    if subjects[0].responses.modality != "fmri":
        return None
    table = result.scores.by_target()
    gains = xr.Dataset({str(name): ("target", column.to_numpy()) for name, column in table.items()})
    each = result.scores.dataset["delta"].mean("split", skipna=True).transpose("subject", "target").values
    names = [subject.responses.subject for subject in subjects]
    return gains.assign(delta_subject=(("subject", "target"), each)).assign_coords(subject=names)


def compared_layers(features: Features, config: StudyConfig) -> list[str]:
    """Layers whose activations and gradients are compared: all of the study, or its last one."""
    return list(features.layers) if config.residual_layers == "all" else [features.layers[-1]]


def _with_subjects(table: pd.DataFrame, results: Sequence[ResidualResult], subjects: Sequence[Encoded]) -> pd.DataFrame:
    """Add each subject's own gain: how far it differs between people is what an interval over images cannot say."""
    units = [subject.responses.targets[UNIT[subject.responses.modality]].to_numpy() for subject in subjects]
    tables = [result.scores.by_subject(own) for result, own in zip(results, units, strict=False)]
    columns = pd.concat(tables, axis=1)
    columns.columns = pd.Index([f"delta {subject.responses.subject}" for subject in subjects])
    return table.join(columns, on="unit")


def _with_control(
    table: pd.DataFrame, made: str, subjects: Sequence[Encoded], features: Features, config: StudyConfig
) -> tuple[pd.DataFrame, str]:
    """Add the tests with random nonlinear features of the activations, and say how they were made."""
    arrays, more = _arguments(subjects, features, config)
    control = nonlinear_control(*arrays, **more, options=ConditionalOptions(n_flips=config.flips, seed=config.seed))
    beside = control.set_index("unit")[["nonlinear", "gradients_beyond"]]
    beside.columns = pd.Index(["p_nonlinear", "p_beyond_nonlinear"])
    joined = table.join(beside, on="unit")
    joined.attrs = dict(table.attrs)
    count = control.attrs["n_nonlinear"]
    return joined, f"{made}; the same test with {count} random nonlinear features of the activations in the baseline"


def _residual(subjects: Sequence[Encoded], features: Features, config: StudyConfig, seed: int) -> ResidualResult:
    """Residual of subjects who saw the same photographs."""
    arrays, more = _arguments(subjects, features, config)
    return residual(
        *arrays,
        **more,
        options=(
            ResidualOptions(config.residual, alphas=config.alphas, cv=config.cv, seed=config.seed),
            ConditionalOptions(n_flips=config.flips, seed=seed),
        ),
    )


def _arguments(
    subjects: Sequence[Encoded], features: Features, config: StudyConfig
) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """Activations, gradients and responses of subjects who saw the same photographs; units, groups and confounds."""
    first = subjects[0]
    activations, gradients = (
        {layer: np.asarray(features[signal, layer])[first.rows] for layer in compared_layers(features, config)}
        for signal in ("activation", "gradient")
    )
    units = first.responses.targets[UNIT[first.responses.modality]].to_numpy()
    more = {"units": units, "groups": first.groups, "confounds": first.confounds}
    return (activations, gradients, [subject.averaged.values for subject in subjects]), more
