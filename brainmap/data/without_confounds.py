"""Responses without what confounds explain of them, over all trials: for noise ceilings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.blocks import read_block


class WithoutConfounds:
    """Values of trials less their regression on confounds; columns are computed when they are asked for.

    Parameters
    ----------
    values : array-like, (n_trials, n_targets)
        Responses.
    confounds : numpy.ndarray, (n_trials, n_confounds)
        Regressors; a constant is added, and the mean of the values is kept.
    """

    def __init__(self, values: Any, confounds: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, tuple(values.shape), np.dtype(np.float32)
        centred = confounds - confounds.mean(axis=0)
        self._basis = np.linalg.svd(centred / np.maximum(centred.std(axis=0), 1e-300), full_matrices=False)
        self.ndim = 2

    def __len__(self) -> int:
        """Return the number of trials."""
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read ``[rows, columns]``."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        block = np.asarray(read_block(self.values, None, columns), dtype=np.float64)
        left, singular, _ = self._basis
        left = left[:, singular > 1e-10 * singular[0]]
        cleaned = block - left @ (left.T @ (block - block.mean(axis=0)))
        return np.asarray(cleaned[rows], dtype=np.float32)
