"""Scores of every place as profiles over layers: mean, error of the mean, and what is above chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainmap.results.lookups import averaged_over, significance_of
from brainmap.results.study_results import SCORE_DIMS, StudyResults


@dataclass(frozen=True, eq=False)
class ScoreProfiles:
    """Scores of one modality, one profile over layers for every signal and place.

    Attributes
    ----------
    signals, layers : list of str
        Names, in the order of the arrays.
    places : ndarray, (n_places,)
        Targets by number, areas by name or times in s.
    mean : ndarray of float32, (n_signals, n_layers, n_places)
        Mean r; NaN where there is no score.
    error : ndarray of float32 or None
        Standard error of that mean, NaN where a single value stands behind it; None where it does everywhere.
    error_over : str
        What the error is over: ``subjects``, ``splits``, or empty.
    above : ndarray of bool or None
        What is above chance by the study's own test: a place with a target (or sample) that is; None without a test.
    n_above, n_targets : ndarray of int or None
        Of areas: targets above chance, ``(n_signals, n_layers, n_places)``, and all targets, ``(n_places,)``.
    """

    signals: list[str]
    layers: list[str]
    places: np.ndarray
    mean: np.ndarray
    error: np.ndarray | None
    error_over: str
    above: np.ndarray | None
    n_above: np.ndarray | None = None
    n_targets: np.ndarray | None = None


def score_profiles(results: StudyResults, modality: str, by: str | None = None) -> ScoreProfiles:
    """Return the profile of every target, area or time.

    Parameters
    ----------
    results : StudyResults
        A study.
    modality : str
        ``fmri``, ``meg`` …
    by : str, optional
        Average over the targets that share this coordinate: ``roi`` or ``time``.

    Returns
    -------
    ScoreProfiles
        Means over splits, then targets, then subjects. The error is over subjects, of a single subject over splits
        (whose training data overlap, so that it is too small rather than too large).
    """
    r = results.scores[modality]["r"].transpose(*SCORE_DIMS)
    labels, index = _labels(results, modality, by)
    over = "subjects" if r.sizes["subject"] > 1 else "splits"
    averaged = None if by is None or over == "splits" else averaged_over(results, modality, by).values
    mean, error = np.full((2, r.sizes["signal"], r.sizes["layer"], len(labels)), np.nan, dtype=np.float32)
    repeated = False
    for place in np.ndindex(mean.shape[:2]):  # one layer is read at a time
        if averaged is not None:
            values = averaged[:, *place].astype(np.float32)
        elif over == "subjects":
            values = r[:, *place].mean("split", skipna=True).values.astype(np.float32)
        else:
            values = _by_label(r[0, *place].values.astype(float), by, index, len(labels)).astype(np.float32)
        known = np.isfinite(values).sum(axis=0)
        filled = np.where(np.isfinite(values), values, 0.0)
        middle = np.divide(filled.sum(axis=0), known, out=np.full(known.shape, np.nan), where=known > 0)
        squares = np.where(np.isfinite(values), (values - middle) ** 2, 0.0).sum(axis=0)
        variance = np.full(known.shape, np.nan)
        np.divide(squares, known * (known - 1.0), out=variance, where=known > 1)
        mean[place], error[place] = middle, np.sqrt(variance)
        repeated = repeated or bool((known > 1).any())
    signals = [str(name) for name in r["signal"].values]
    marks = _marks(results, modality, by, signals, r.sizes["layer"])
    above = n_above = n_targets = None
    if marks is not None:
        of_targets = marks.shape[-1] == len(index)
        counts = _sums(marks, index, len(labels)) if by is not None and of_targets else marks
        above = counts > 0
        n_above = counts.astype(int) if by == "roi" else None
    if by == "roi":
        n_targets = np.bincount(index, minlength=len(labels))
    return ScoreProfiles(
        signals,
        [str(name) for name in r["layer"].values],
        labels,
        mean,
        error if repeated else None,
        over if repeated else "",
        above,
        n_above,
        n_targets,
    )


def _labels(results: StudyResults, modality: str, by: str | None) -> tuple[np.ndarray, np.ndarray]:
    if by is None:
        numbers = np.arange(results.scores[modality].sizes["target"])
        return numbers, numbers
    labels, index = np.unique(np.asarray(results.scores[modality][by].values), return_inverse=True)
    return labels, index


def _by_label(values: np.ndarray, by: str | None, index: np.ndarray, n_labels: int) -> np.ndarray:
    """Mean over the targets with one label, (split, target) → (split, place)."""
    if by is None:
        return values
    known = _sums(np.isfinite(values), index, n_labels)
    total = _sums(np.nan_to_num(values), index, n_labels)
    return np.divide(total, known, out=np.full(known.shape, np.nan), where=known > 0)


def _sums(values: np.ndarray, index: np.ndarray, n_labels: int) -> np.ndarray:
    """Sum over the places with one label, the last axis."""
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    return np.stack([np.bincount(index, row, n_labels) for row in rows]).reshape(*values.shape[:-1], n_labels)


def _marks(
    results: StudyResults, modality: str, by: str | None, signals: list[str], n_layers: int
) -> np.ndarray | None:
    """Marks ``(signal, layer, target)``, or by time where the test was by time; None where there was no test."""
    every = [significance_of(results, modality, signal) for signal in signals]
    if all(marks is None for marks in every):
        return None
    size = next(
        marks.sizes[dim] for marks in every if marks is not None for dim in marks.dims if dim in ("target", "time")
    )
    tested = results.scores[modality].sizes["target"]
    if size != tested and by != "time":  # a test by time says nothing of single sensors
        return None
    full = np.zeros((len(signals), n_layers, size), dtype=bool)
    for number, marks in enumerate(every):
        if marks is not None:
            last = "target" if "target" in marks.dims else "time"
            full[number] = marks.transpose(..., last).values
    return full
