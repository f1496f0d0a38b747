"""Shape of a representation: how many dimensions it uses, globally and locally."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.comparison.representations import read_values, representations, same_for_all

RANKME_EPSILON = 1e-7
"""Added to each normalised singular value, as published; keeps the logarithm finite."""


def geometry(features: Any) -> pd.DataFrame:
    """Dimensionality of each feature space.

    Parameters
    ----------
    features : array, or mapping of layer or (signal, layer) to array, (images, features)
        Such as ``Features`` of an extractor.

    Returns
    -------
    pandas.DataFrame
        One row per space: ``signal``, ``layer``, ``depth``, ``n_images``, ``n_features``, ``effective_dimension``,
        ``rankme``, ``two_nn_dimension``. All three depend on the number of images: compare at equal numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import geometry
    >>> rng = np.random.default_rng(0)
    >>> geometry({"block.0": rng.standard_normal((50, 8)), "block.1": rng.standard_normal((50, 4))}).shape[0]
    2
    """
    rows = []
    for space in representations(features):
        values = read_values(space)
        rows.append(
            {
                "signal": space.signal,
                "layer": space.layer,
                "depth": space.depth,
                "n_images": values.shape[0],
                "n_features": values.shape[1],
                **_dimensions(values, space.label),
            }
        )
    return pd.DataFrame(rows)


def _dimensions(values: np.ndarray, label: str) -> dict[str, float]:
    measures = (effective_dimension, rankme, two_nn_dimension)
    try:
        return {measure.__name__: measure(values) for measure in measures}
    except InputError as error:
        raise InputError(f"The features {label} have no geometry: {error}") from None


def effective_dimension(values: np.ndarray) -> float:
    """Participation ratio of the covariance's eigenvalues, (Σλ)² / Σλ².

    Parameters
    ----------
    values : array, (images, features)
        Centred here.

    Returns
    -------
    float
        Between 1 and the rank. For n samples of a d-dimensional isotropic Gaussian about d (n − 1) / (n + d): an
        underestimate of d unless n ≫ d.

    References
    ----------
    .. [1] Gao et al. 2017, *A theory of multineuronal dimensionality, dynamics and measurement*, bioRxiv 214262.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import effective_dimension
    >>> rng = np.random.default_rng(0)
    >>> plane = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 20))
    >>> 1 < effective_dimension(plane) <= 2
    True
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size and same_for_all(values):
        raise InputError("The features are the same for all images; their effective dimension is undefined.")
    eigenvalues = _singular_values(values - values.mean(axis=0) if values.size else values) ** 2
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def rankme(values: np.ndarray) -> float:
    """Smooth rank: exponential of the entropy of the normalised *singular* values.

    Parameters
    ----------
    values : array, (images, features)
        Not centred, as published.

    Returns
    -------
    float
        Between 1 and min(images, features).

    References
    ----------
    .. [1] Garrido et al. 2023, *RankMe: assessing the downstream performance of pretrained self-supervised
       representations by their rank*, ICML (equations 1 and 2).

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import rankme
    >>> round(rankme(np.eye(5)), 6)
    5.000002
    """
    singular = _singular_values(values)
    share = singular / singular.sum() + RANKME_EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def two_nn_dimension(values: np.ndarray, *, discard: float = 0.1) -> float:
    """Intrinsic dimension from the ratio of the distances to the second and first nearest neighbour.

    Parameters
    ----------
    values : array, (images, features)
        One point per image; of points that coincide, one is kept.
    discard : float
        Fraction of the largest ratios left out of the fit, from 0 to less than 1; 0.1 as published.

    Returns
    -------
    float
        Dimension of the manifold on which the images lie locally.

    Raises
    ------
    InputError
        If fewer than 10 distinct points remain, a value is not finite, or every point has its two nearest neighbours
        at one distance, as on a regular grid; or if ``discard`` is no such fraction.

    Notes
    -----
    Where density is locally constant, μ = r₂ / r₁ has the distribution F(μ) = 1 − μ⁻ᵈ. The dimension is the slope of
    −log(1 − F) against log μ, fitted through the origin [1]_.

    References
    ----------
    .. [1] Facco et al. 2017, *Estimating the intrinsic dimension of datasets by a minimal neighborhood information*,
       Scientific Reports 7.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import two_nn_dimension
    >>> rng = np.random.default_rng(0)
    >>> plane = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 20))
    >>> 1.5 < two_nn_dimension(plane) < 2.5
    True
    """
    from sklearn.neighbors import NearestNeighbors

    if not 0 <= discard < 1:
        raise InputError(f"The fraction to discard must lie between 0 and 1, such as 0.1; it is {discard:g}.")
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise InputError(f"The values of shape {points.shape} must be finite, (images, features).")
    points = np.unique(points, axis=0)
    if len(points) < 10:
        raise InputError(f"There are {len(points)} distinct points; the two-nearest-neighbour dimension needs 10.")
    points -= points.mean(axis=0)
    nearest = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(points, return_distance=False)
    # In high dimensions the search takes distances from inner products, in which close points drown in rounding.
    distances = np.sort([np.linalg.norm(points - points[rows], axis=1) for rows in nearest.T], axis=0)
    log_ratio = np.sort(np.log(distances[2] / distances[1]))
    if log_ratio[-1] == 0:
        raise InputError("Every point has its two nearest neighbours at one distance; their ratio tells no dimension.")
    survival = -np.log1p(-np.arange(1, len(log_ratio) + 1) / (len(log_ratio) + 1))
    kept = slice(0, max(2, int(len(log_ratio) * (1 - discard))))
    return float(log_ratio[kept] @ survival[kept] / (log_ratio[kept] @ log_ratio[kept]))


def _singular_values(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    scale = np.abs(values).max() if values.size else 0.0
    if values.ndim != 2 or scale == 0 or not np.isfinite(scale):
        raise InputError(
            f"The values of shape {values.shape} have no finite spread; give (images, features) that vary."
        )
    return np.linalg.svd(values / scale, compute_uv=False)
