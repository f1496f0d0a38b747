"""Encoded part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.storage.lazy_arrays import stacked
from brainmap.data import Responses
from brainmap.encoding import EncodingResult, RowGroups
from brainmap.encoding.encoding_result import stack_datasets
from brainmap.results.study_results import SCORE_DIMS

CONTROL_SPACES = "controls"


@dataclass(frozen=True, eq=False)
class Encoded:
    """One subject's responses and what was encoded from them.

    Attributes
    ----------
    responses, averaged : Responses
        Trials, and means over the repeats of each photograph.
    rows : ndarray of int, (n_images,)
        Row of the stimulus set of each row of ``averaged``.
    groups : ndarray, (n_images,), or RowGroups
        Group of each row: photographs that are held out, permuted and flipped together.
    spaces : dict of str to EncodingResult
        Feature space (``activation``, ``gradient``, ``controls``) → result; filled as they are finished.
    notes : list of str
        What was seen of the rows that the results should say.
    """

    responses: Responses
    averaged: Responses
    rows: np.ndarray
    groups: np.ndarray | RowGroups
    spaces: dict[str, EncodingResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> np.ndarray:
        """Label of the group of each row, (n_images,)."""
        return np.asarray(self.groups)

    @property
    def confounds(self) -> np.ndarray | None:
        """Confounds of each row, (n_images, n_confounds), means over the showings; None where there are none."""
        table = self.averaged.confounds
        return None if table is None else table.to_numpy()

    @property
    def design(self) -> bytes:
        """Identity of rows, groups and confounds: subjects with an equal one are encoded with one preparation."""
        parts: list[Any] = [self.rows, pd.factorize(self.labels)[0], self.confounds]
        if isinstance(self.groups, RowGroups):
            parts += [self.groups.place, self.groups.stretch]
        return b"|".join(b"" if part is None else np.ascontiguousarray(part).tobytes() for part in parts)


def stack(subjects: Sequence[Encoded], spaces: Sequence[str], depths: Mapping[str, float]) -> xr.Dataset:
    """Stack results to dims (subject, signal, layer, split, target), unread, with the layers' depths as coordinate."""
    names = [subject.responses.subject for subject in subjects]
    sets = [[subject.spaces[space].dataset for space in spaces] for subject in subjects]
    per_signal = [
        stack_datasets([each[number].drop_vars(list(each[number].data_vars)) for each in sets], "subject", names)
        for number in range(len(spaces))
    ]
    scores = stack_datasets(per_signal, "signal", list(spaces))
    coords = {
        name: coord.transpose(*(dim for dim in SCORE_DIMS if dim in coord.dims))
        for name, coord in scores.coords.items()
    }
    scores = scores.assign_coords(coords)
    depth = [depths[str(layer)] for layer in scores["layer"].values]
    scores = scores.assign_coords(depth=("layer", depth))
    return scores.assign({
        name: stacked([stacked([dataset[name].variable for dataset in each], "signal") for each in sets], "subject")
        for name in sets[0][0].data_vars
    })  # fmt: skip


KeptCeilings = dict[int, tuple[Responses, np.ndarray]]


def noise_ceilings(subjects: Sequence[Encoded], kept: KeptCeilings | None = None) -> xr.DataArray | None:
    """Noise ceiling of r for the averaged responses, (subject, target); None where nothing was shown twice.

    Those of simulated responses, which many studies of a grid share, are ``kept``.
    """
    kept = {} if kept is None else kept
    each = []
    for subject in subjects:
        _, ceiling = kept.get(id(subject.responses), (None, None))
        ceiling = _noise_ceiling(subject) if ceiling is None else ceiling
        if ceiling is None:
            return None
        if subject.responses.simulated:
            kept[id(subject.responses)] = subject.responses, ceiling
        each.append(ceiling)
    names = [subject.responses.subject for subject in subjects]
    return xr.DataArray(np.stack(each), dims=("subject", "target"), coords={"subject": names})


def _noise_ceiling(subject: Encoded) -> np.ndarray | None:
    from brainmap.data.missing_values import FilledFromRepeats
    from brainmap.data.without_confounds import WithoutConfounds
    from brainmap.statistics.noise_ceiling import ceiling_from_ncsnr, explainable_variance

    published = subject.responses.targets.get("ncsnr")
    if published is not None and np.isfinite(published).all():  # the dataset's own, from all of its repeats
        repeats = subject.averaged.trials.get("n_repeats", 1)
        return ceiling_from_ncsnr(published.to_numpy(dtype=float), np.asarray(repeats)).r
    stimulus = subject.responses.trials["stimulus"].to_numpy()
    if len(np.unique(stimulus)) == len(stimulus):
        return None
    values = subject.responses.values
    if subject.responses.info.get("missing"):
        values = FilledFromRepeats(values, stimulus)
    if subject.responses.confounds is not None:
        values = WithoutConfounds(values, subject.responses.confounds.to_numpy())
    return explainable_variance(values, stimulus).r
