"""What gradients add to the activations of all layers, area by area or moment by moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmap.encoding.conditional import ConditionalOptions
from brainmap.encoding.residual import ResidualOptions, residual
from brainmap.errors import InputError
from brainmap.study.config import StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.study.summary import Encoded

UNIT = {"fmri": "roi", "meg": "time"}


def residual_of_gradients(
    subjects: Sequence[Encoded], features: Features, config: StudyConfig
) -> tuple[pd.DataFrame | None, str]:
    """Test and size what gradients add.

    Parameters
    ----------
    subjects : sequence of Encoded
        Of one modality; tested together, so they must have seen the same photographs.
    features : Features
        Activations and gradients.
    config : StudyConfig
        Folds, seed and number of sign flips.

    Returns
    -------
    table : pandas.DataFrame or None
        ``unit``, ``delta`` (gain in held-out r), ``low``, ``high``, ``statistic``, ``p_fwer``, ``significant`` and
        more, see :func:`brainmap.encoding.residual.residual`. None where it cannot be computed.
    method : str
        How p was made, or why there is no table.
    """
    order = [np.argsort(one.rows) for one in subjects]
    rows = subjects[0].rows[order[0]]
    if any(not np.array_equal(one.rows[index], rows) for one, index in zip(subjects, order, strict=True)):
        return None, "not computed: subjects saw different photographs"
    activations, gradients = (
        {layer: np.asarray(array)[rows] for layer, array in features.by_layer(signal).items()}
        for signal in ("activation", "gradient")
    )
    try:
        result = residual(
            activations,
            gradients,
            [one.averaged.block(rows=index) for one, index in zip(subjects, order, strict=True)],
            units=subjects[0].responses.targets[UNIT[subjects[0].responses.modality]].to_numpy(),
            groups=subjects[0].groups[order[0]],
            options=(
                ResidualOptions(config.residual, cv=config.cv, seed=config.seed),
                ConditionalOptions(n_flips=config.permutations, seed=config.seed),
            ),
        )
    except InputError as error:
        return None, f"not computed: {error}"
    return result.to_frame(), result.test.method
