"""Checks shared by the analyses that compare feature spaces: arrays in, clean float arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.errors import InputError

FloatArray = NDArray[np.float64]
Features = ArrayLike | Mapping[str, ArrayLike]


def feature_arrays(features: Features, name: str) -> dict[str, FloatArray]:
    """Check feature arrays and drop their constant columns.

    Parameters
    ----------
    features : array-like (n_images, d) or mapping of layer to array-like
        Features.
    name : str
        What they are, for messages.

    Returns
    -------
    dict of str to ndarray
        Float64 arrays (n_images, d'); a single array gets the key 'all'.

    Raises
    ------
    InputError
        If an array is not two-dimensional, not finite or entirely constant, or row counts differ.
    """
    layers: dict[Any, ArrayLike] = dict(features) if isinstance(features, Mapping) else {"all": features}
    result: dict[str, FloatArray] = {}
    for layer, values in layers.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise InputError(f"The {name} features {layer!r} must be a finite (n_images, d) array, got {array.shape}.")
        spread = array.std(axis=0)
        keep = spread > 1e-12 * max(float(spread.max(initial=0.0)), 1e-300)
        if not keep.any():
            raise InputError(f"The {name} features {layer!r} are constant over images.")
        result[str(layer)] = array[:, keep]
    rows = {layer: len(array) for layer, array in result.items()}
    if len(set(rows.values())) != 1:
        raise InputError(f"The {name} features have different numbers of rows: {rows}.")
    return result


def standardised(features: Features, name: str) -> dict[str, FloatArray]:
    """Check feature arrays and bring their columns to mean 0 and standard deviation 1 (see :func:`feature_arrays`)."""
    return {
        layer: (array - array.mean(axis=0)) / array.std(axis=0)
        for layer, array in feature_arrays(features, name).items()
    }


def check_responses(responses: ArrayLike | Sequence[ArrayLike]) -> list[NDArray[np.floating]]:
    """Return responses as a list of (n_images, n_targets) arrays, one per subject.

    Raises
    ------
    InputError
        If shapes differ between subjects or a value is not finite (named).
    """
    if isinstance(responses, Sequence) and len(responses) and np.ndim(responses[0]) == 2:
        arrays = [np.asarray(subject) for subject in responses]
    else:
        arrays = [np.asarray(responses)]
    if arrays[0].ndim != 2 or len({array.shape for array in arrays}) > 1:
        raise InputError(f"Responses must be (n_images, n_targets) in all subjects; got {[a.shape for a in arrays]}.")
    for number, array in enumerate(arrays):
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise InputError(f"The response of subject {number} at row {row}, column {column} is not finite.")
    return arrays
