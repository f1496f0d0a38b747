"""Feature spaces as rows of (signal, layer, depth, array), and their representational dissimilarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError

Distance = Literal["correlation", "euclidean"]
DISTANCES = ("correlation", "euclidean")


@dataclass(frozen=True, eq=False)
class Representation:
    """One feature space: ``values`` (images, features) of a ``layer`` at relative ``depth`` (NaN if unknown)."""

    signal: str
    layer: str
    depth: float
    values: Any

    @property
    def label(self) -> str:
        """Signal and layer, as error messages name it."""
        return f"{self.signal} of {self.layer}" if self.signal != "features" else self.layer


def representations(features: Any) -> list[Representation]:
    """List the feature spaces in anything that holds features.

    Parameters
    ----------
    features : array, or mapping of str or (signal, layer) to array
        Arrays (images, features). A plain array is one space named ``X``; names without a signal get ``'features'``.
        Depths are taken from an attribute ``depths`` (layer → [0, 1]) where there is one, as ``Features`` has.

    Returns
    -------
    list of Representation
        In the order of the mapping; arrays are not read yet.

    Raises
    ------
    InputError
        If there is nothing, or the arrays differ in their number of images.
    """
    depths: Mapping[str, float] = getattr(features, "depths", {})
    if not hasattr(features, "keys"):
        features = {"X": np.asarray(features)}
    spaces = []
    for key in features.keys():  # noqa: SIM118 - Features need not be a Mapping
        signal, layer = key if isinstance(key, tuple) else ("features", key)
        spaces.append(Representation(str(signal), str(layer), float(depths.get(layer, np.nan)), features[key]))
    if not spaces:
        raise InputError("There are no features; give an array or a mapping of layers to arrays (images, features).")
    for space in spaces:
        shape = _shape(space.values)
        if len(shape) != 2 or not shape[1]:
            raise InputError(f"The features {space.label} have shape {shape}; they need two axes, images and features.")
        if shape[0] != (rows := _shape(spaces[0].values)[0]):
            raise InputError(
                f"The features {space.label} have {shape[0]} rows and {spaces[0].label} {rows}; "
                "give all layers for the same images."
            )
    return spaces


def _shape(values: Any) -> tuple[int, ...]:
    """Shape without reading lazy arrays."""
    return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)


def read_values(space: Representation) -> np.ndarray:
    """Load one feature space as float64 (images, features), checked for missing values."""
    values = np.asarray(space.values, dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise InputError(
            f"The features {space.label} have the value {values[row, column]} at image {row}, feature {column}; "
            "remove the image or compute the features again."
        )
    return values


def same_for_all(values: np.ndarray) -> bool:
    """Whether the images (rows) have the same features, but for rounding errors."""
    return bool(np.abs(values - values.mean(axis=0)).max() <= 1e-12 * np.abs(values).max())


def category_rows(labels: Any, n_images: int) -> dict[Any, np.ndarray]:
    """Rows of each category's images, in the order of the sorted labels.

    Parameters
    ----------
    labels : array-like, (n_images,)
        Category of each image.
    n_images : int
        Number of images.

    Returns
    -------
    dict of label to ndarray of int

    Raises
    ------
    InputError
        If there is not one label per image, one is missing (NaN, None), or there are fewer than two categories.
    """
    names = np.asarray(labels)
    if names.shape != (n_images,):
        counted = f"{names.size} labels" if names.ndim == 1 else f"labels of shape {names.shape}"
        raise InputError(f"There are {counted} for {n_images} images; give one per image.")
    if (absent := np.flatnonzero(pd.isna(names))).size:
        raise InputError(f"Image {absent[0]} has no label ({names[absent[0]]}); give it one or leave the image out.")
    if names.dtype == object:
        names = names.astype(str)
    groups = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    if len(groups) < 2:
        told = ", ".join(f"'{name}'" for name in groups) or "none"
        raise InputError(f"The labels name fewer than two categories ({told}); at least two are needed.")
    return groups


def dissimilarities(values: np.ndarray, distance: Distance = "correlation", *, label: str = "features") -> np.ndarray:
    """Dissimilarity of each pair of images, computed by rsatoolbox.

    Parameters
    ----------
    values : array, (images, features)
        Finite numbers.
    distance : {'correlation', 'euclidean'}
        1 − Pearson r of two images' features; or their squared Euclidean distance divided by the number of features
        (rsatoolbox's ``euclidean``; rank correlations are the same as with the distance itself).
    label : str
        How error messages name the features.

    Returns
    -------
    numpy.ndarray, (pairs,)
        Upper triangle, row by row.

    Raises
    ------
    InputError
        For an unknown distance, or correlation distance where an image's features are all equal.
    """
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm.calc import calc_rdm_correlation, calc_rdm_euclidean

    if distance not in DISTANCES:
        raise InputError(f"The distance {distance!r} is unknown; choose one of {', '.join(DISTANCES)}.")
    values = np.asarray(values, dtype=np.float64)
    if distance == "correlation":
        spread = values.std(axis=1)
        flat = np.flatnonzero(spread <= 1e-12 * np.abs(values).max(axis=1))
        if len(flat):
            raise InputError(
                f"The {label} of image {int(flat[0])} are all equal, so their correlation with others is undefined; "
                "use distance='euclidean' or leave this layer out."
            )
    rdm = (calc_rdm_correlation if distance == "correlation" else calc_rdm_euclidean)(Dataset(values))
    return np.asarray(rdm.get_vectors()[0], dtype=np.float64)


def dissimilarity_stack(spaces: list[Representation], distance: Distance = "correlation") -> np.ndarray:
    """Dissimilarities of several feature spaces, (spaces, pairs); one space is in memory at a time."""
    return np.stack([dissimilarities(read_values(space), distance, label=space.label) for space in spaces])
