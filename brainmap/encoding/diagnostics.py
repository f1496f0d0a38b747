"""Numerics that warn: what a user should know before believing a score."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.settings import RidgeSettings

EDGE_SHARE = 0.2
NEAR_SQUARE = 0.1


class NumericalWarning(UserWarning):
    """Something about the numbers limits what the scores mean."""


def warn_about(info: Mapping[str, Any], alpha: NDArray[Any], settings: RidgeSettings, name: str) -> list[str]:
    """Emit and return warnings about one fitted layer.

    Parameters
    ----------
    info : mapping
        `LayerFactors.info`.
    alpha : ndarray, shape (n_splits, n_targets)
        Chosen penalties.
    settings : RidgeSettings
    name : str
        Of the layer.
    """
    notes = [*_rank_notes(info, settings, name), *_edge_notes(alpha, settings, name)]
    if info["unsafe"]:
        notes.append(
            f"{name}: float32 cross-products are not safe on these features (train and validation rows span very "
            "different directions); float64 was used."
        )
    for note in notes:
        warnings.warn(note, NumericalWarning, stacklevel=3)
    return notes


def _rank_notes(info: Mapping[str, Any], settings: RidgeSettings, name: str) -> list[str]:
    components, rank = info["n_components"], info["outer_rank"]
    notes = []
    n_train = int(info["n_train"])
    if rank < min(components, n_train - 1):
        notes.append(
            f"{name}: {components} features span only {rank} dimensions (duplicated, constant or collinear "
            f"columns; eigenvalues below {settings.options.rank_tolerance:g} of the largest are dropped)."
        )
    if abs(components - n_train) <= NEAR_SQUARE * n_train and settings.alphas[0] < 1:
        notes.append(
            f"{name}: {components} features and {n_train} train rows are nearly as many; small alphas are then "
            "unstable. Use larger alphas or `pca`."
        )
    return notes


def _edge_notes(alpha: NDArray[Any], settings: RidgeSettings, name: str) -> list[str]:
    alphas = settings.alphas
    if len(alphas) < 3:
        return []
    low, high = float(np.mean(alpha == alphas[0])), float(np.mean(alpha == alphas[-1]))
    notes = []
    if low > EDGE_SHARE:
        notes.append(f"{name}: {low:.0%} of targets chose the smallest alpha ({alphas[0]:g}); try smaller ones.")
    if high > EDGE_SHARE:
        notes.append(
            f"{name}: {high:.0%} of targets chose the largest alpha ({alphas[-1]:g}); these are targets that the "
            "features do not predict, or larger alphas are needed."
        )
    return notes
