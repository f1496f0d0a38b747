"""What gradients add to activations, unit by unit: a test, and the size of the gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmap.encoding.conditional import ConditionalOptions, conditional_test

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.study.summary import Encoded

SPACE = "beyond activations"
ALONE, JOINED = "activations", "activations and gradients"
COMPONENTS = 300
UNIT = {"fmri": "roi", "meg": "time"}


def joined_space(features: Features) -> dict[str, np.ndarray]:
    """All layers' activations side by side, alone and joined by all layers' gradients.

    Both are reduced to the same number of principal components inside each train split, so that the comparison is one
    of equal dimension, as in Study A (Raugel et al. 2026), over all layers at once.
    """
    columns = {
        signal: np.concatenate([np.asarray(rows) for rows in features.by_layer(signal).values()], axis=1)
        for signal in ("activation", "gradient")
    }
    return {ALONE: columns["activation"], JOINED: np.concatenate([*columns.values()], axis=1)}


def residual_of_gradients(
    subjects: Sequence[Encoded], features: Features, *, n_flips: int, seed: int
) -> tuple[pd.DataFrame | None, str]:
    """Test and size what gradients add in each area or at each time.

    Parameters
    ----------
    subjects : sequence of Encoded
        Of one modality; tested together, so they must have seen the same photographs.
    features : Features
        Activations and gradients.
    n_flips, seed : int
        Sign flips of the test, and their seed.

    Returns
    -------
    table : pandas.DataFrame or None
        ``unit``, ``delta`` (gain in r, mean over targets, subjects and splits), ``low``, ``high`` (bootstrap over
        subjects and splits), ``statistic``, ``p_fwer``, ``significant``. None if subjects saw different photographs or
        there are too few source photographs.
    method : str
        How p was made, or why there is no table.
    """
    rows = [np.sort(one.rows) for one in subjects]
    if any(len(other) != len(rows[0]) or (other != rows[0]).any() for other in rows):
        return None, "not computed: subjects saw different photographs"
    groups = subjects[0].groups[np.argsort(subjects[0].rows)]
    if len(np.unique(groups)) < 6:
        return None, "not computed: fewer than six source photographs"
    targets = subjects[0].responses.targets[UNIT[subjects[0].responses.modality]].to_numpy()
    test = conditional_test(
        _aligned(features, "activation", rows[0]),
        _aligned(features, "gradient", rows[0]),
        [one.averaged.block(rows=np.argsort(one.rows)) for one in subjects],
        units=targets,
        groups=groups,
        options=ConditionalOptions(n_flips=n_flips, seed=seed),
    )
    table = test.to_frame()
    table = table.merge(gain(subjects, targets, seed), on="unit")
    return table, test.method


def gain(subjects: Sequence[Encoded], targets: np.ndarray, seed: int) -> pd.DataFrame:
    """Mean gain in r of each unit with a 95 % bootstrap interval over subjects and splits: ``unit, delta, low, high``."""
    units, codes = np.unique(targets, return_inverse=True)
    rows = []
    for one in subjects:
        r = one.spaces[SPACE].r
        difference = np.nan_to_num((r.sel(layer=JOINED) - r.sel(layer=ALONE)).transpose("split", "target").values)
        rows += [np.bincount(codes, split) / np.bincount(codes) for split in difference]
    values = np.stack(rows)
    index = np.random.default_rng([seed, 32]).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[index].mean(1), [2.5, 97.5], axis=0)
    return pd.DataFrame({"unit": units, "delta": values.mean(0), "low": low, "high": high})


def _aligned(features: Features, signal: str, rows: np.ndarray) -> Mapping[str, np.ndarray]:
    return {layer: np.asarray(array)[rows] for layer, array in features.by_layer(signal).items()}
