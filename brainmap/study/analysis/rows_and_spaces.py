"""What is encoded: the rows of a subject, the feature spaces that predict them, and the ridge between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.data.published_splits import fixed_split
from brainmap.encoding import EncodingRidgeCV, RidgeOptions
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.inputs import Inputs
from brainmap.study.photograph_groups import photograph_groups, undivided

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.stimuli import StimulusSet

SHUFFLED = "shuffled gradients"
KeptControls = dict[tuple[str, ...], dict[str, np.ndarray]]
KeptMeans = dict[int, tuple[Responses, Responses]]


def align_rows(
    responses: Responses,
    stimuli: StimulusSet,
    memory: int | None = None,
    config: StudyConfig | None = None,
    means: KeptMeans | None = None,
) -> Encoded:
    """Average the repeats of each photograph, put rows in the order of the photographs, and group them.

    Means larger than ``memory`` (bytes) are not kept: they are read again wherever they are needed. Without a
    ``config`` photographs are grouped by source. ``means`` of simulated responses are kept for other studies.
    """
    means = {} if means is None else means
    shown = responses.stimulus_ids
    rows = np.sort(stimuli.index_of(shown))
    ids = stimuli.ids[rows]
    if len(shown) == responses.n_trials and np.array_equal(shown, ids):
        averaged = responses
    else:
        averaged = means[id(responses)][1] if id(responses) in means else responses
        if averaged is responses or not np.array_equal(averaged.trials["stimulus"], ids):
            averaged = responses.average_repeats(ids, memory=memory)
        if responses.simulated:
            means[id(responses)] = responses, averaged
    groups = photograph_groups(StudyConfig() if config is None else config, stimuli, responses, rows)
    return Encoded(responses, averaged, rows, groups)


def feature_spaces(
    config: StudyConfig, stimuli: StimulusSet, features: Features, kept: KeptControls | None = None
) -> dict[str, dict[str, Any]]:
    """Signals and controls, each a mapping of layer (or control) to an array, rows in the order of the photographs.

    Controls that need photographs alone are ``kept``, for other studies of the same photographs.
    """
    from brainmap.features.control_spaces import control_spaces
    from brainmap.statistics.permutation.group_orders import group_orders

    spaces: dict[str, dict[str, Any]] = {signal: dict(features.by_layer(signal)) for signal in config.signals}
    photographs = (*stimuli.ids, *map(str, stimuli.table.get("category", ())))
    kept = {} if kept is None else kept
    if photographs not in kept:
        kept.clear()  # of one set of photographs at a time
    kept_here = kept.setdefault(photographs, {})
    spaces[CONTROL_SPACES] = control_spaces(stimuli, features, names=config.controls, kept=kept_here)
    if "gradient" in config.signals:  # what gradients predict must be owed to the photograph they belong to
        order = next(group_orders(stimuli.table["source"].to_numpy(), 1, seed=config.seed))
        spaces[CONTROL_SPACES][SHUFFLED] = np.asarray(features["gradient", features.layers[-1]])[order]
    return spaces


def check_subjects(config: StudyConfig, inputs: Inputs) -> None:
    """Refuse a subject whose photographs cannot be dealt into folds."""
    for responses in inputs.everyone:
        problem = undivided(config, inputs.stimuli, responses)
        if problem is not None:
            raise InputError(problem)


def ridge(config: StudyConfig, threads: int | None = None) -> EncodingRidgeCV:
    """Return the study's estimator: alpha per target by inner cross-validation, scaling and PCA on the train split."""
    mode: Literal["exact", "gcv"] = "gcv" if config.method == "ridge-gcv" else "exact"
    options = RidgeOptions(mode=mode, seed=config.seed, threads=threads)
    return EncodingRidgeCV(config.alphas, pca=config.pca, options=options)


def splits_of(config: StudyConfig, subject: Encoded, stimuli: StimulusSet) -> Any:
    """Number of folds, or the one split into the data set's own train and test photographs."""
    if config.split == "test":
        return fixed_split(subject.averaged, stimuli, groups=subject.labels)
    return config.cv
