"""Numerics that warn: what a user should know before believing a score."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.settings import RidgeSettings

EDGE_SHARE = 0.2
NEAR_SQUARE = 0.1


class NumericalWarning(UserWarning):
    """Something about the numbers limits what the scores mean."""


def warn_about(
    layers: Mapping[str, Mapping[str, Any]], alphas: Mapping[str, NDArray[Any]], settings: RidgeSettings
) -> list[str]:
    """Emit one warning per kind of problem, naming the layers it concerns, and return the texts.

    Parameters
    ----------
    layers : mapping of str to mapping
        `LayerFactors.info` of each layer.
    alphas : mapping of str to ndarray, shape (n_splits, n_targets)
        Chosen penalties of each layer; NaN where there was nothing to choose by (constant targets).
    settings : RidgeSettings
    """
    texts: dict[str, list[str]] = {}
    for name, info in layers.items():
        for text, detail in [*_feature_notes(info, settings), *_edge_notes(alphas[name], settings)]:
            texts.setdefault(text, []).append(f"{name} ({detail})")
    notes = [f"{text} {_listed(places)}" for text, places in texts.items()]
    for note in notes:
        warnings.warn(note, NumericalWarning, stacklevel=4)
    return notes


def warn_about_targets(r: NDArray[Any], coarse: NDArray[np.bool_]) -> list[str]:
    """Emit and return warnings about responses.

    Parameters
    ----------
    r : ndarray, shape (n_layers, n_splits, n_targets)
        Test scores, NaN where a target is constant in a test set.
    coarse : ndarray of bool, shape (n_targets,)
        Targets whose mean is so large that float32 leaves few digits for their variation.
    """
    notes = []
    constant = np.isnan(r).any(axis=(0, 1))
    for mask, text in (
        (constant, "constant in a test set; their scores there are NaN"),
        (coarse, "float32 with a mean 1e5 times their spread; subtract it before storing, few digits are left"),
    ):
        if mask.any():
            places = ", ".join(map(str, np.flatnonzero(mask)[:5]))
            notes.append(
                f"{mask.sum()} of {len(mask)} targets are {text}. Targets: {places}{' …' if mask.sum() > 5 else ''}."
            )
    for note in notes:
        warnings.warn(note, NumericalWarning, stacklevel=4)
    return notes


def _listed(places: list[str]) -> str:
    shown = ", ".join(places[:4])
    return f"Layers: {shown}{f' and {len(places) - 4} more' if len(places) > 4 else ''}."


def _feature_notes(info: Mapping[str, Any], settings: RidgeSettings) -> Iterator[tuple[str, str]]:
    components, n_train = int(info["n_components"]), int(info["n_train"])
    if info.get("n_constant"):
        yield "Features are constant in all rows and carry nothing.", f"{info['n_constant']} of {info['n_features']}"
    if info["deficient"]:
        yield (
            "Features are duplicated or collinear; eigenvalues below "
            f"{settings.options.rank_tolerance:g} of the largest are treated as null space.",
            f"rank {info['rank']} of {components}",
        )
    if abs(components - n_train) <= NEAR_SQUARE * n_train and settings.alphas[0] < 1:
        yield (
            "Features and train rows are nearly as many: small alphas are unstable there; use larger ones or `pca`.",
            f"{components} features, {n_train} rows",
        )
    if info["unsafe"]:
        yield (
            "float32 products are not safe (validation rows reach directions that train rows hardly span, or a feature "
            "hardly varies in a train set); float64 was used.",
            "promoted",
        )


def _edge_notes(alpha: NDArray[Any], settings: RidgeSettings) -> Iterator[tuple[str, str]]:
    alphas = settings.alphas
    if len(alphas) < 3:
        return
    known = np.maximum(np.isfinite(alpha).sum(), 1)
    low, high = float((alpha == alphas[0]).sum() / known), float((alpha == alphas[-1]).sum() / known)
    if low > EDGE_SHARE:
        yield f"Many targets chose the smallest alpha ({alphas[0]:g}); try smaller ones.", f"{low:.0%}"
    if high > EDGE_SHARE:
        yield (
            f"Many targets chose the largest alpha ({alphas[-1]:g}): the features do not predict them, or larger "
            "alphas are needed.",
            f"{high:.0%}",
        )
