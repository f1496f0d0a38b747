"""Whether the category manifolds of two signals lie in the same places and stretch along the same directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.comparison.representations import category_rows, same_for_all


def manifold_alignment(first: np.ndarray, second: np.ndarray, labels: Any) -> pd.DataFrame:
    """Compare the manifolds of two signals at the same site, such as activations and gradients of one layer.

    Parameters
    ----------
    first, second : array, (images, features)
        Row-aligned, in the **same** feature space: feature j means the same unit in both.
    labels : array-like, (images,)
        Category of each image; every category has at least two images.

    Returns
    -------
    pandas.DataFrame
        One row per category: ``manifold``, ``n_points``; ``centre_cosine`` between the centres of the category in the
        two signals, each relative to the mean of the signal's centres, and ``centre_chance``, the root mean square of
        that cosine for random directions, 1 / √features; ``axis_overlap``, cosine between the two covariances within
        the category, tr(AB) / (‖A‖ ‖B‖), and ``axis_chance``, its mean if one of them were turned at random,
        tr(A) tr(B) / (features ‖A‖ ‖B‖).

    Raises
    ------
    InputError
        If shapes or labels disagree, or a category does not extend in one of the signals.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import manifold_alignment
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["dog", "tree", "car"], 8)
    >>> activations = rng.standard_normal((24, 6))
    >>> manifold_alignment(activations, activations, labels)["centre_cosine"].round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise InputError(
            f"The signals have shapes {first.shape} and {second.shape}; they must be in one feature space, for the "
            "same images (for activations and gradients: the same site, layer and pooling)."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("A signal holds values that are not finite; leave those images out or compute them again.")
    groups = category_rows(labels, len(first))
    smallest = min(groups, key=lambda name: len(groups[name]))
    if len(groups[smallest]) < 2:
        raise InputError(
            f"The category {str(smallest)!r} has 1 of {len(first)} images; at least two of each category are needed."
        )
    centres = [np.stack([signal[group].mean(axis=0) for group in groups.values()]) for signal in (first, second)]
    rows = []
    for i, (name, group) in enumerate(groups.items()):
        for signal in (first[group], second[group]):
            if same_for_all(signal):
                raise InputError(
                    f"All images of category {str(name)!r} have the same features in one signal; leave it out."
                )
        overlap, chance = _overlap(first[group] - centres[0][i], second[group] - centres[1][i])
        directions = [centre[i] - centre.mean(axis=0) for centre in centres]
        rows.append(
            {
                "manifold": name,
                "n_points": len(group),
                "centre_cosine": _cosine(*directions),
                "centre_chance": first.shape[1] ** -0.5,
                "axis_overlap": overlap,
                "axis_chance": chance,
            }
        )
    return pd.DataFrame(rows)


def _overlap(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Cosine of two covariances and its mean under rotation, from centred points (n × d) without d × d arrays."""
    first, second = first / np.abs(first).max(), second / np.abs(second).max()
    norms = np.linalg.norm(first @ first.T) * np.linalg.norm(second @ second.T)
    traces = (first**2).sum() * (second**2).sum()
    shared = np.linalg.norm(first @ second.T) ** 2
    return float(shared / norms), float(traces / (first.shape[1] * norms))


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / lengths) if lengths > 0 else float("nan")
