"""Checks shared by the analyses that compare feature spaces: arrays in, clean float arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.blocks import Mapped, mapping_of
from brainmap.common.errors import InputError
from brainmap.encoding.layer.z_scores import constant_features, power_of_two

FloatArray = NDArray[np.float64]
Features = ArrayLike | Mapping[str, ArrayLike]
BLOCK_BYTES = 64 * 2**20


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
    result: dict[str, FloatArray] = {}
    for layer, values in layers_of(features).items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise InputError(f"The {name} features {layer!r} must be a finite (n_images, d) array, got {array.shape}.")
        rounding = constant_features(array.var(axis=0), array.mean(axis=0), len(array))
        keep = (array.min(axis=0, initial=np.inf) < array.max(axis=0, initial=-np.inf)) & ~rounding
        if not keep.any():
            raise InputError(f"The {name} features {layer!r} are constant over images.")
        result[layer] = array[:, keep]
    rows = {layer: len(array) for layer, array in result.items()}
    if len(set(rows.values())) != 1:
        raise InputError(f"The {name} features have different numbers of rows: {rows}.")
    return result


def layers_of(features: Features) -> dict[str, ArrayLike]:
    """Return features by layer; a single array gets the key 'all'."""
    layers = features if isinstance(features, Mapping) else {"all": features}
    return {str(layer): values for layer, values in layers.items()}


def rows_of(features: Features, rows: NDArray[np.intp], n_images: int) -> dict[str, NDArray[Any]]:
    """Take the images used from each layer, before anything is copied or converted."""
    taken = {}
    for layer, values in layers_of(features).items():
        array = np.asarray(values)
        if len(array) != n_images:
            raise InputError(
                f"Features {layer!r} have {len(array)} rows for responses to {n_images} images; they must be the same "
                "images."
            )
        taken[layer] = array if len(rows) == n_images else array[rows]
    return taken


def standardised(features: Features, name: str) -> dict[str, FloatArray]:
    """Check feature arrays and bring their columns to mean 0 and standard deviation 1 (see :func:`feature_arrays`)."""
    return {
        layer: (array - array.mean(axis=0)) / array.std(axis=0)
        for layer, array in feature_arrays(features, name).items()
    }


def check_responses(responses: ArrayLike | Sequence[ArrayLike]) -> list[Any]:
    """Return responses as a list of (n_images, n_targets) arrays, one per subject.

    Arrays that live elsewhere (memmap, zarr, h5py, anything with ``shape`` that can be sliced) stay there: they are
    read once here, and by the caller later, in blocks of targets.

    Raises
    ------
    InputError
        If shapes differ between subjects or a value is not finite (named).
    """
    if isinstance(responses, Sequence) and len(responses) and len(_shape(responses[0])) == 2:
        arrays = [sliceable(subject) for subject in responses]
    else:
        arrays = [sliceable(responses)]
    shapes = [tuple(array.shape) for array in arrays]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise InputError(f"Responses must be (n_images, n_targets) in all subjects; got {shapes}.")
    for number, array in enumerate(arrays):
        check_finite_columns(array, f"The response of subject {number}")
    return arrays


def target_blocks(n_rows: int, n_targets: int) -> list[slice]:
    """Blocks of targets whose float64 values take 64 MiB, at most 4,096 targets each."""
    step = min(4096, max(16, BLOCK_BYTES // (8 * max(1, n_rows))))
    return [slice(start, min(start + step, n_targets)) for start in range(0, n_targets, step)]


def check_finite_columns(array: Any, name: str) -> None:
    """Read an array once, some columns at a time, and complain about the first value that is not finite."""
    for part in target_blocks(int(array.shape[0]), int(array.shape[1])):
        block = np.asarray(array[:, part])
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise InputError(f"{name} at row {row}, column {part.start + column} is not finite.")


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)


def sliceable(values: Any) -> Any:
    """Leave what has a shape and can be sliced where it is; make an array of the rest."""
    if mapping_of(values) is not None and values.ndim == 2:
        return Mapped(values)
    lazy = hasattr(values, "shape") and hasattr(values, "dtype") and hasattr(values, "__getitem__")
    return values if lazy and not hasattr(values, "columns") else np.asarray(values)


def in_own_units(block: ArrayLike) -> NDArray[np.float32]:
    """Return responses about their median and in units of about their largest deviation, float32.

    Correlations and R² depend on neither. Squares of tesla would not fit float32, and beside one wild value a mean
    would leave no digits to the rest.
    """
    values = np.asarray(block, dtype=np.float64)
    values = values - np.median(values, axis=0)
    typical = np.quantile(np.abs(values), 0.9, axis=0)
    size = np.where(typical > 0, typical, np.abs(values).max(axis=0))
    scaled: NDArray[np.float32] = (values / power_of_two(size)).astype(np.float32)
    return scaled
