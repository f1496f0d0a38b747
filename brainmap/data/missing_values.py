"""Responses with values missing here and there: which trials and targets can still be used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import RowMeans, read_block
from brainmap.common.errors import InputError
from brainmap.data.responses import Responses

MOST_OF_A_TRIAL = 0.5  # of its targets: a trial that lacks more is dropped, not the targets


def usable_trials(cells: np.ndarray, n_trials: int, n_targets: int) -> np.ndarray:
    """Trials that have most of their values, (n_trials,) bool.

    Parameters
    ----------
    cells : numpy.ndarray of int, (k, 2)
        Row and column of each missing value.
    n_trials, n_targets : int
        Size of the responses.
    """
    lacking = np.bincount(cells[:, 0], minlength=n_trials) if len(cells) else np.zeros(n_trials, dtype=np.int64)
    usable: np.ndarray = lacking <= MOST_OF_A_TRIAL * n_targets
    return usable


def usable_targets(cells: np.ndarray, stimulus: np.ndarray, n_targets: int) -> np.ndarray:
    """Targets that have a value for every photograph in at least one of its showings, (n_targets,) bool.

    Parameters
    ----------
    cells : numpy.ndarray of int, (k, 2)
        Row and column of each missing value.
    stimulus : numpy.ndarray of str, (n_trials,)
        Photograph of each trial.
    n_targets : int
        Number of columns.
    """
    usable = np.ones(n_targets, dtype=bool)
    if not len(cells):
        return usable
    codes, _ = pd.factorize(stimulus)
    shown = np.bincount(codes)
    pairs, counts = np.unique(np.stack([codes[cells[:, 0]], cells[:, 1]], axis=1), axis=0, return_counts=True)
    usable[pairs[counts == shown[pairs[:, 0]], 1]] = False
    return usable


def without_unusable_targets(responses: Responses, cells: np.ndarray) -> tuple[Responses, int]:
    """Leave out targets that lack every showing of some photograph; return how many there were.

    Raises
    ------
    InputError
        If none is left.
    """
    usable = usable_targets(cells, responses.trials["stimulus"].to_numpy(), responses.n_targets)
    if "sensor" in responses.targets:  # which have every time, or none
        usable = ~responses.targets["sensor"].isin(set(responses.targets["sensor"][~usable])).to_numpy()
    if usable.all():
        return responses, 0
    if not usable.any():
        raise InputError(
            f"Every target of subject {responses.subject} is NaN or infinite for some photograph; check the files."
        )
    return replace(responses.select(usable), info=dict(responses.info)), int((~usable).sum())


class FilledFromRepeats:
    """Single trials whose missing values are the mean of the photograph's other showings, for estimates from repeats.

    Parameters
    ----------
    values : array-like, (n_trials, n_targets)
        Responses, NaN where missing.
    stimulus : numpy.ndarray of str, (n_trials,)
        Photograph of each trial; each has a value of every target in one showing at least.
    """

    def __init__(self, values: Any, stimulus: np.ndarray) -> None:
        self._values, self._codes = values, pd.factorize(stimulus)[0]
        self._means = RowMeans(values, self._codes)
        self.shape, self.dtype = values.shape, np.dtype(np.float32)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        block = np.asarray(read_block(self._values, None, columns), dtype=np.float32)
        missing = np.isnan(block)
        if missing.any():
            means = np.asarray(read_block(self._means, None, columns))
            block = np.where(missing, means[self._codes], block)
        return block if rows is None else block[rows]
