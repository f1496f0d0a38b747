"""How well any model could match brain RDMs: ceilings for single subjects and for their mean."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import t as student_t

from brainmap.comparison.image_resampling import METHODS, similarity


@dataclass(frozen=True)
class RDMCeiling:
    """Ceilings of the similarity between a model RDM and brain RDMs of one area; NaN where undefined.

    Attributes
    ----------
    lower, upper : float
        For the **mean of the single subjects' similarities** (column ``rho_subjects``): mean similarity of a subject
        with the mean of the others, and with the mean of all, from rsatoolbox (Nili et al. 2014 [1]_).
    lower_r2, upper_r2 : float
        The same for *squared* similarities, with means of plain (not ranked) dissimilarities: the noise ceilings of the
        Algonauts challenge 2019 [2]_, whose scores are squared Spearman correlations.
    reliability : float
        Of the **subjects' mean RDM**: its expected similarity with the mean RDM of as many other subjects
        (Spearman–Brown, from the mean similarity between subjects).
    attainable : float
        √reliability: expected similarity of the noise-free RDM with the subjects' mean. The ceiling of the column
        ``rho``; ``lower`` and ``upper`` are not.
    attainable_low, attainable_high : float
        95 % interval, by jackknife over subjects.

    References
    ----------
    .. [1] Nili et al. 2014, *A toolbox for representational similarity analysis*, PLoS Comput. Biol. 10.
    .. [2] Cichy et al. 2019, *The Algonauts project*, arXiv 1905.05675.
    """

    lower: float
    upper: float
    lower_r2: float
    upper_r2: float
    reliability: float
    attainable: float
    attainable_low: float
    attainable_high: float

    def as_dict(self) -> dict[str, float]:
        """Attributes by name."""
        return asdict(self)


def noise_ceiling(subjects: np.ndarray, method: str = "spearman") -> RDMCeiling:
    """Ceilings of one brain area.

    Parameters
    ----------
    subjects : array, (subjects, pairs)
        Dissimilarity vectors.
    method : {'spearman', 'pearson', 'kendall'}
        Similarity of RDMs. Kendall's τ does not attenuate like a correlation: reliability is NaN for it.

    Returns
    -------
    RDMCeiling
        All NaN for a single subject; no interval for two.
    """
    count = len(subjects)
    if count < 2:
        return RDMCeiling(*[float("nan")] * 8)
    lower, upper = _bounds(subjects, method)
    squared = _squared_bounds(subjects, method)
    if method == "kendall":
        return RDMCeiling(lower, upper, *squared, *[float("nan")] * 4)
    between = similarity(subjects, subjects, method)
    mean = float(between[np.triu_indices(count, 1)].mean())
    reliability = _spearman_brown(mean, count)
    low, high = _jackknife(between, mean) if count > 2 else (float("nan"), float("nan"))
    attainable = [float(np.sqrt(_spearman_brown(r, count))) for r in (mean, low, high)]
    return RDMCeiling(lower, upper, *squared, reliability, *attainable)


def _bounds(subjects: np.ndarray, method: str) -> tuple[float, float]:
    from rsatoolbox.inference import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs

    with warnings.catch_warnings():
        # rsatoolbox reminds that the best RDM for Kendall's tau is approximated by mean ranks.
        warnings.filterwarnings("ignore", message="Noise ceiling for tau")
        lower, upper = boot_noise_ceiling(RDMs(subjects), method=METHODS[method])
    return float(lower), float(upper)


def _squared_bounds(subjects: np.ndarray, method: str) -> tuple[float, float]:
    """Mean squared similarity of a subject with the mean of the others, and with the mean of all."""
    total, others = subjects.sum(axis=0), len(subjects) - 1
    with_others = [similarity(subject, (total - subject) / others, method)[0, 0] ** 2 for subject in subjects]
    with_all = similarity(subjects, total[None], method)[:, 0] ** 2
    return float(np.mean(with_others)), float(with_all.mean())


def _spearman_brown(mean: float, count: int) -> float:
    """Reliability of a mean of ``count`` parallel measurements; 0 if they don't agree at all."""
    clipped = float(np.clip(mean, 0.0, 1.0)) if np.isfinite(mean) else float("nan")
    return count * clipped / (1 + (count - 1) * clipped)


def _jackknife(between: np.ndarray, mean: float) -> tuple[float, float]:
    """95 % interval of the mean similarity between subjects, leaving out one subject at a time."""
    count = len(between)
    total = between[np.triu_indices(count, 1)].sum()
    without = (total - (between.sum(axis=0) - np.diagonal(between))) / ((count - 1) * (count - 2) / 2)
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    half = float(student_t.ppf(0.975, count - 1) * error)
    return mean - half, mean + half
