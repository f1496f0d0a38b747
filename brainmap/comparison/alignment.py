"""Whether the category manifolds of two signals lie in the same places and stretch along the same directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainmap.errors import InputError


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
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    labels = np.asarray(labels)
    if first.ndim != 2 or first.shape != second.shape:
        raise InputError(
            f"The signals have shapes {first.shape} and {second.shape}; they must be in one feature space, for the "
            "same images (for activations and gradients: the same site, layer and pooling)."
        )
    if len(labels) != len(first):
        raise InputError(f"There are {len(labels)} labels for {len(first)} images; give one per image.")
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise InputError(
            f"The category {str(names[counts.argmin()])!r} has {counts.min()} of {len(labels)} images; at least two "
            "categories of at least two images are needed."
        )
    groups = [labels == name for name in names]
    centres = [np.stack([signal[group].mean(axis=0) for group in groups]) for signal in (first, second)]
    rows = []
    for i, (name, group) in enumerate(zip(names, groups, strict=True)):
        overlap, chance = _overlap(first[group] - centres[0][i], second[group] - centres[1][i], str(name))
        directions = [centre[i] - centre.mean(axis=0) for centre in centres]
        rows.append(
            {
                "manifold": name,
                "n_points": int(counts[i]),
                "centre_cosine": _cosine(*directions),
                "centre_chance": first.shape[1] ** -0.5,
                "axis_overlap": overlap,
                "axis_chance": chance,
            }
        )
    return pd.DataFrame(rows)


def _overlap(first: np.ndarray, second: np.ndarray, name: str) -> tuple[float, float]:
    """Cosine of two covariances and its mean under rotation, from centred points (n × d) without d × d arrays."""
    scales = np.abs(first).max(), np.abs(second).max()
    if min(scales) == 0:
        raise InputError(f"All images of category {name!r} have the same features in one signal; leave it out.")
    first, second = first / scales[0], second / scales[1]
    norms = np.linalg.norm(first @ first.T) * np.linalg.norm(second @ second.T)
    traces = (first**2).sum() * (second**2).sum()
    shared = np.linalg.norm(first @ second.T) ** 2
    return float(shared / norms), float(traces / (first.shape[1] * norms))


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / lengths) if lengths > 0 else float("nan")
