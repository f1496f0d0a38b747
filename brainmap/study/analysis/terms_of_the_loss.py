"""Which loss does the brain follow? What the gradient of each term explains beyond the other terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import is_term_signal
from brainmap.statistics.added.added_value import ResidualOptions
from brainmap.statistics.added.conditional_test import ConditionalOptions
from brainmap.statistics.added.unique_variance import UniqueVariance, pool_unique_variance, unique_variance
from brainmap.study.analysis.gradients_beyond_activations import UNIT, compared_layers
from brainmap.study.declared.study_config import StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.study.analysis.encoded_part import Encoded

COPIES = 3  # of all features, in float64, that the tests hold at once


def terms_of_the_loss(
    subjects: Sequence[Encoded], features: Features, config: StudyConfig
) -> tuple[pd.DataFrame | None, xr.Dataset | None, str]:
    """Size and test, by area or moment, what each term's gradient explains beyond the other terms and the activations.

    Activations are in the baseline where the study has them. Subjects who saw the same photographs are tested together;
    others one by one, and then pooled.

    Parameters
    ----------
    subjects : sequence of Encoded
        Of one modality.
    features : Features
        With the gradients of the terms.
    config : StudyConfig
        Layers compared, folds, seed, number of sign flips and memory.

    Returns
    -------
    table : pandas.DataFrame or None
        ``term`` (``dino``, or by role ``dino at cls``), ``unit``, ``unique`` (gain in held-out R²), ``low``, ``high``,
        ``r2_others``, ``r2_all``, ``statistic``, ``p``, ``p_fwer`` (over all terms and units), ``significant``,
        ``n_targets``. None where it cannot be computed.
    maps : xarray.Dataset or None
        Of fMRI, ``unique``, ``low``, ``high``, ``p`` and ``significant`` (false discovery rate over terms and targets)
        at each target, dims (term, target); None for subjects who saw different photographs.
    method : str
        How p was made, or why there is no table.
    """
    if config.terms == "together":
        return None, None, ""
    names = [signal for signal in features.signals if is_term_signal(signal)]
    layers = compared_layers(features, config)
    signals = [*(["activation"] if "activation" in config.signals else []), *names]
    width = sum(features[signal, layer].shape[1] for signal in signals for layer in layers)
    needed = COPIES * 8 * len(subjects[0].rows) * width
    if needed > parse_memory(config.memory):
        return None, None, (
            f"not computed: the terms' gradients and the activations together need about {needed / 1e9:.0f} GB; raise "
            "--memory, choose fewer layers (or residual_layers: last), or project the features"
        )  # fmt: skip
    try:
        if all(subject.design == subjects[0].design for subject in subjects):
            found = _unique(subjects, features, config, config.seed)
            maps = found.by_target().rename(space="term") if subjects[0].responses.modality == "fmri" else None
            return found.to_frame().rename(columns={"space": "term"}), maps, found.method
        each = [_unique([one], features, config, config.seed + number) for number, one in enumerate(subjects)]
        table, method = pool_unique_variance(each)
    except InputError as error:
        return None, None, f"not computed: {error}"
    return table.rename(columns={"space": "term"}), None, method


def _unique(subjects: Sequence[Encoded], features: Features, config: StudyConfig, seed: int) -> UniqueVariance:
    """Unique variance of terms, of subjects who saw the same photographs."""
    first, layers = subjects[0], compared_layers(features, config)

    def rows(signal: str) -> dict[str, Any]:
        return {layer: np.asarray(features[signal, layer])[first.rows] for layer in layers}

    spaces = {name.removeprefix("gradient of "): rows(name) for name in features.signals if is_term_signal(name)}
    return unique_variance(
        spaces,
        [subject.averaged.values for subject in subjects],
        units=first.responses.targets[UNIT[first.responses.modality]].to_numpy(),
        base=rows("activation") if "activation" in config.signals else None,
        groups=first.groups,
        confounds=first.confounds,
        options=(
            ResidualOptions(alphas=config.alphas, cv=config.cv, seed=config.seed),
            ConditionalOptions(n_flips=config.flips, seed=seed),
        ),
    )
