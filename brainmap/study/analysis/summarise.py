"""From encoding results to the results of a study: ceilings, significance, residual, hierarchies, controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.memory_sizes import parse_memory
from brainmap.common.progress import track
from brainmap.common.storage.lazy_arrays import mean_over_targets
from brainmap.statistics.tests_of_means import folds_interval
from brainmap.study.analysis.above_chance import above_chance
from brainmap.study.analysis.bands_and_stacks import features_of_bands, photographs_found, several_spaces
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded, KeptCeilings, noise_ceilings, stack
from brainmap.study.analysis.gradients_beyond_activations import residual_of_gradients
from brainmap.study.analysis.orders_and_hypotheses import hypotheses, order_of_layers
from brainmap.study.analysis.provenance import study_provenance
from brainmap.study.analysis.rows_and_spaces import ridge
from brainmap.study.analysis.terms_of_the_loss import terms_of_the_loss
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.inputs import Inputs

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.results import StudyResults

READ_AT_ONCE = 8  # scores of at most this part of the memory bound are read once and kept


def summarise(
    config: StudyConfig,
    inputs: Inputs,
    features: Features,
    encoded: Sequence[Encoded],
    *,
    scratch: Path | None = None,
    store: Path | None = None,
    ceilings: KeptCeilings | None = None,
) -> StudyResults:
    """Compute everything that follows from the scores.

    Parameters
    ----------
    config, inputs, features
        The study and what it started from.
    encoded : sequence of Encoded
        All subjects of all modalities.
    scratch : Path, optional
        Folder in which permutation tests keep what is finished.
    store : Path, optional
        Store of the features, for bands of other models.
    ceilings : dict, optional
        Noise ceilings that studies of one grid share.

    Returns
    -------
    StudyResults
    """
    from brainmap.results import StudyResults

    by_modality: dict[str, list[Encoded]] = {}
    for subject in encoded:
        by_modality.setdefault(subject.responses.modality, []).append(subject)
    steps = track(by_modality.items(), "statistics", unit="modalities")
    others = features_of_bands(config, inputs.stimuli, store)
    parts = {
        modality: _summarise_modality(
            config, inputs, features, each, noise_ceilings(each, ceilings), scratch=scratch, others=others
        )
        for modality, each in steps
    }
    scores = {modality: part.scores for modality, part in parts.items()}
    hierarchy = {name: table for part in parts.values() for name, table in part.hierarchy.items()}
    results = StudyResults(
        provenance=study_provenance(
            config, inputs, features, scores, {name: part.methods for name, part in parts.items()}, encoded
        ),
        scores=scores,
        residual={modality: part.residual for modality, part in parts.items() if part.residual is not None},
        gains={modality: part.gains for modality, part in parts.items() if part.gains is not None},
        hierarchy=hierarchy,
        significance={name: part.significance for name, part in parts.items() if part.significance is not None},
        controls={modality: part.controls for modality, part in parts.items()},
        ceilings={modality: part.ceilings for modality, part in parts.items() if part.ceilings is not None},
        together={modality: part.together for modality, part in parts.items() if part.together is not None},
        retrieval={modality: part.retrieval for modality, part in parts.items() if part.retrieval is not None},
        terms={modality: part.terms for modality, part in parts.items() if part.terms is not None},
        term_maps={modality: part.term_maps for modality, part in parts.items() if part.term_maps is not None},
        truth=inputs.truth.to_report() if inputs.truth is not None else None,
    )
    results.hypotheses = hypotheses(results.check())
    return results


@dataclass(frozen=True, eq=False)
class _Part:
    """What is known of one modality."""

    scores: xr.Dataset
    residual: pd.DataFrame | None
    gains: xr.Dataset | None
    hierarchy: dict[str, dict[str, pd.DataFrame]]
    significance: xr.DataArray | None
    controls: pd.DataFrame
    ceilings: xr.DataArray | None
    together: xr.Dataset | None
    retrieval: pd.DataFrame | None
    terms: pd.DataFrame | None
    term_maps: xr.Dataset | None
    methods: dict[str, str]


def _summarise_modality(
    config: StudyConfig,
    inputs: Inputs,
    features: Features,
    subjects: Sequence[Encoded],
    ceilings: xr.DataArray | None,
    *,
    scratch: Path | None,
    others: Mapping[str, Features],
) -> _Part:
    scores = stack(subjects, config.signals, features.depths)
    if scores.nbytes <= parse_memory(config.memory) // READ_AT_ONCE:
        scores = scores.load()
    modality = subjects[0].responses.modality
    marks, tested = above_chance(scores["r"], subjects, inputs.stimuli, features, config, scratch=scratch)
    hierarchy, methods = order_of_layers(scores, subjects[0].responses, config, marks)
    methods[modality] = tested
    residual = gains = None
    if set(config.signals) == {"activation", "gradient"}:
        residual, gains, made = residual_of_gradients(subjects, features, config)
        methods["residual"] = made
    terms, term_maps, made = terms_of_the_loss(subjects, features, config)
    if made:
        methods["terms"] = made
    return _Part(
        scores=scores,
        residual=residual,
        gains=gains,
        hierarchy=hierarchy,
        significance=marks,
        controls=compare_with_controls(subjects, scores),
        ceilings=ceilings,
        together=several_spaces(config, subjects, inputs.stimuli, features, ridge(config), others),
        retrieval=photographs_found(config, subjects, inputs.stimuli, features),
        terms=terms,
        term_maps=term_maps,
        methods=methods,
    )


def compare_with_controls(subjects: Sequence[Encoded], scores: xr.Dataset) -> pd.DataFrame:
    """Mean score of each signal's best layer and of each control, with its 95 % interval over folds.

    Scores are averaged over subjects first: responses to the photographs that all subjects share make subjects agree
    by chance, and are no further evidence. The variance is that of
    :func:`~brainmap.statistics.tests_of_means.folds_interval`.

    Returns
    -------
    pandas.DataFrame
        ``space``, ``r`` (mean over targets), ``low``, ``high``; NaN with fewer than three folds.
    """
    spaces = {}
    for signal in scores["signal"].values:
        mean = mean_over_targets(scores["r"].sel(signal=signal))
        best = mean.mean(("subject", "split")).argmax("layer")
        spaces[str(signal)] = mean.isel(layer=best).transpose("subject", "split").values
    controls = [mean_over_targets(subject.spaces[CONTROL_SPACES].r) for subject in subjects]
    for name in controls[0]["layer"].values:
        spaces[str(name)] = np.stack([subject.sel(layer=name).values for subject in controls])
    rows = []
    for name, values in spaces.items():
        folds = values.mean(axis=0, dtype=np.float64)
        low, high = folds_interval(folds) if len(folds) > 2 else (np.nan, np.nan)
        rows.append({"space": name, "r": folds.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)
