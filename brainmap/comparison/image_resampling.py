"""Resampling images and pairs of images: bootstrap replicates, corrected intervals, permutation nulls.

A bootstrap sample of images is a count per image. The pair (i, j) then occurs c_i · c_j times, and pairs of an image
with itself, whose dissimilarity is zero by construction, are left out. Images that belong together (crops of a
photograph, a category) are drawn as whole groups: two images of one group occur together once per copy of the group,
and pairs across two copies of it are left out, as those of an image with itself are. All replicates are therefore
*weighted* correlations over the same pairs, and ranks in a replicate are cumulative sums of weights in an order that is
sorted once: the result equals that of building each resampled matrix, hundreds of times faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import PERMUTED_LABELS, RESAMPLED_IMAGES, RESAMPLED_PAIRS
from brainmap.statistics.permutation.group_orders import group_orders

METHODS = {"spearman": "spearman", "pearson": "corr", "kendall": "tau-a"}
"""Similarity of two RDMs → its name in rsatoolbox."""

CHUNK = 2_000_000
"""Numbers held at once per array while resampling (16 MB)."""


def similarity(models: np.ndarray, brains: np.ndarray, method: str) -> np.ndarray:
    """Similarity of each model RDM with each brain RDM, computed by rsatoolbox.

    Parameters
    ----------
    models : array, (m, pairs)
        Dissimilarity vectors.
    brains : array, (b, pairs)
        Dissimilarity vectors.
    method : {'spearman', 'pearson', 'kendall'}
        Spearman's ρ, Pearson's r or Kendall's τ_a.

    Returns
    -------
    numpy.ndarray, (m, b)
    """
    import rsatoolbox.rdm

    if method not in METHODS:
        raise InputError(f"The method {method!r} is unknown; choose one of {', '.join(METHODS)}.")
    compare: Any = rsatoolbox.rdm.compare  # its annotation leaves out the arrays that it takes
    return np.asarray(compare(np.atleast_2d(models), np.atleast_2d(brains), METHODS[method]))


def image_counts(n_images: int, draws: int, seed: int) -> np.ndarray:
    """How often each image occurs in each bootstrap sample, (images, draws); at least three images are distinct."""
    rng = np.random.default_rng([seed, RESAMPLED_IMAGES])
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=draws)
    while (few := np.flatnonzero((counts > 0).sum(axis=1) < 3)).size:
        counts[few] = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=few.size)
    return counts.T.astype(np.float64)


def _codes(brain: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Group number of each image, every image for itself by default, (images,)."""
    n_images = round((1 + np.sqrt(1 + 8 * len(brain))) / 2)
    return np.arange(n_images) if groups is None else np.unique(groups, return_inverse=True)[1]


def bootstrap_images(
    models: np.ndarray, brain: np.ndarray, *, method: str, draws: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Similarities in bootstrap samples of images, or of groups of them.

    Parameters
    ----------
    models : array, (m, pairs)
        Dissimilarity vectors.
    brain : array, (pairs,)
        Dissimilarity vector.
    method : str
        As in :func:`similarity`.
    draws, seed : int
        Number of samples and seed. The same seed draws the same images whatever the model: comparisons are paired.
    groups : array, (images,), optional
        Images that are drawn together.

    Returns
    -------
    numpy.ndarray, (draws, m)
    """
    codes = _codes(brain, groups)
    counts = image_counts(int(codes.max()) + 1, draws, seed)
    rows, columns = (codes[side] for side in np.triu_indices(len(codes), 1))
    together = (rows == columns)[:, None]
    step = max(1, CHUNK // len(brain))
    parts = []
    for at in range(0, draws, step):
        first, second = counts[rows, at : at + step], counts[columns, at : at + step]
        parts.append(weighted_similarity(models, brain, np.where(together, first, first * second), method))
    return np.concatenate(parts)


def bootstrap_pairs(
    models: np.ndarray, brain: np.ndarray, *, method: str, draws: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Similarities in bootstrap samples of *pairs* (of groups), (draws, m); why, see :func:`corrected_interval`."""
    rng = np.random.default_rng([seed, RESAMPLED_PAIRS])
    codes = _codes(brain, groups)
    sides = np.sort([codes[side] for side in np.triu_indices(len(codes), 1)], axis=0)
    block = np.unique(sides[0] * len(codes) + sides[1], return_inverse=True)[1]
    n_pairs = int(block.max()) + 1
    step = max(1, CHUNK // len(brain))
    parts = []
    for at in range(0, draws, step):
        size = (min(step, draws - at), n_pairs)
        drawn = rng.integers(n_pairs, size=size)
        weights = np.stack([np.bincount(row, minlength=n_pairs) for row in drawn], axis=1)
        parts.append(weighted_similarity(models, brain, weights.astype(np.float64)[block], method))
    return np.concatenate(parts)


def leave_one_out(
    models: np.ndarray, brain: np.ndarray, *, method: str, groups: np.ndarray | None = None
) -> np.ndarray:
    """Similarities without one image (or group) at a time, (images, m): the jackknife over images."""
    codes = _codes(brain, groups)
    rows, columns = (codes[side] for side in np.triu_indices(len(codes), 1))
    n_groups = int(codes.max()) + 1
    step = max(1, CHUNK // len(brain))
    parts = []
    for at in range(0, n_groups, step):
        out = np.arange(at, min(at + step, n_groups))
        kept = (rows[:, None] != out) & (columns[:, None] != out)
        parts.append(weighted_similarity(models, brain, kept.astype(np.float64), method))
    return np.concatenate(parts)


def corrected_interval(
    estimate: np.ndarray, images: np.ndarray, pairs: np.ndarray, left_out: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval over images whose width is corrected for the noise of single pairs.

    Parameters
    ----------
    estimate : array, (m,)
        Similarities (or differences) in the full sample.
    images, pairs : array, (draws, m)
        Replicates from :func:`bootstrap_images` and :func:`bootstrap_pairs`.
    left_out : array, (images, m)
        From :func:`leave_one_out`.
    confidence : float
        Nominal coverage.

    Returns
    -------
    low, high : numpy.ndarray, (m,)

    Notes
    -----
    A similarity of RDMs is a statistic over pairs. Its variance has a part V₁ that comes from images and a part V₂ from
    what is particular to single pairs (measurement noise above all). In an image bootstrap the weight of a pair is a
    product of two counts with mean 1 and mean square 2, so its variance is 2² − 1 = 3: the bootstrap's variance is
    V₁ + 3 V₂, and plain percentile intervals are too wide — by 50 % and more for noisy brain data. The jackknife's is
    V₁ + 2 V₂ [1]_, and V₂ is the variance of a bootstrap over pairs. So the replicates over images give the shape of
    the interval, and are scaled about the estimate to V(jackknife) − V(pairs) = V₁ + V₂, never less than V(pairs), with
    Student's t for the images instead of the normal distribution. (V(images) − 2 V(pairs) would do too, but is too
    small where noise is low and images are few.) In simulated studies of 40 and 78 images, 400 of each kind, 95 %
    intervals of ρ and of differences covered the truth in 93–97 %; for differences of noise-free RDMs of 40 images in
    91 %. Percentile intervals covered it in 94–100 %. Compare the correction of the two-factor bootstrap in [2]_.

    References
    ----------
    .. [1] Efron & Stein 1981, *The jackknife estimate of variance*, Annals of Statistics 9.
    .. [2] Schütt et al. 2023, *Statistical inference on representational geometries*, eLife 12.
    """
    n_images = len(left_out)
    jackknife = (n_images - 1) / n_images * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    noise = pairs.var(axis=0, ddof=1)
    variance = np.maximum(jackknife - noise, noise)
    tail = (1 - confidence) / 2
    widen = stats.t.ppf(1 - tail, n_images - 1) / stats.norm.ppf(1 - tail)
    spread = images.std(axis=0, ddof=1)
    scale = widen * np.sqrt(variance) / np.where(spread > 0, spread, 1.0)
    low, high = np.quantile(estimate + (images - images.mean(axis=0)) * scale, [tail, 1 - tail], axis=0)
    return low, high


def permuted_images(
    models: np.ndarray, brain: np.ndarray, *, method: str, draws: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Similarities, (draws, m), after shuffling the images of the brain RDM: its rows and columns move together.

    Groups move as a whole, to places of groups of their own size.
    """
    n_images = round((1 + np.sqrt(1 + 8 * len(brain))) / 2)
    rows, columns = np.triu_indices(n_images, 1)
    where = np.zeros((n_images, n_images), dtype=np.int64)
    where[rows, columns] = where[columns, rows] = np.arange(len(brain))
    rng = np.random.default_rng([seed, PERMUTED_LABELS])
    if groups is None:
        orders = np.stack([rng.permutation(n_images) for _ in range(draws)])
    else:
        sizes = np.bincount(codes := _codes(brain, groups))[codes]
        orders = np.stack(list(group_orders(codes, draws, strata=sizes, seed=seed)))
    if method == "kendall":
        shuffled = (brain[where[order[rows], order[columns]]] for order in orders)
        return np.concatenate([similarity(models, vector, method).T for vector in shuffled])
    standard_models, standard_brain = _standardised(models, method), _standardised(brain[None], method)[0]
    step = max(1, CHUNK // len(brain))
    parts = []
    for at in range(0, draws, step):
        some = orders[at : at + step]
        parts.append(standard_brain[where[some[:, rows], some[:, columns]]] @ standard_models.T)
    return np.concatenate(parts)


def permutation_p(observed: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p of each similarity, and p corrected for having tried all of them (maximum statistic).

    Parameters
    ----------
    observed : array, (m,)
        Similarities.
    null : array, (draws, m)
        Similarities under permutation.

    Returns
    -------
    p, p_fwer : numpy.ndarray, (m,)
        (1 + number of permutations at least as high) / (1 + draws).
    """
    slack = 1e-12  # the identity is among the permutations: rounding must not make it count as lower than itself
    draws = len(null)
    single = (null >= observed - slack).sum(axis=0)
    family = (null.max(axis=1)[:, None] >= observed - slack).sum(axis=0)
    return (1 + single) / (1 + draws), (1 + family) / (1 + draws)


# -- weighted similarities --------------------------------------------------------------------------------------------


def weighted_similarity(models: np.ndarray, brain: np.ndarray, weights: np.ndarray, method: str) -> np.ndarray:
    """Similarity in samples that hold each pair a given number of times.

    Parameters
    ----------
    models : array, (m, pairs)
        Dissimilarity vectors.
    brain : array, (pairs,)
        Dissimilarity vector.
    weights : array, (pairs, samples)
        Whole numbers ≥ 0.
    method : str
        As in :func:`similarity`.

    Returns
    -------
    numpy.ndarray, (samples, m)
        NaN-free: a sample in which a vector is constant gives 0.
    """
    if method == "kendall":
        counts = weights.astype(np.int64).T
        repeated = ((np.repeat(models, count, axis=1), np.repeat(brain, count)) for count in counts)
        return np.concatenate([similarity(m, b, method).T for m, b in repeated])
    if method == "pearson":
        return _weighted_pearson(models, brain, weights)
    return _weighted_spearman(models, brain, weights)


def _weighted_pearson(models: np.ndarray, brain: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Centred first: the moments below cancel badly when means are large compared with spreads.
    models = models - models.mean(axis=1, keepdims=True)
    brain = brain - brain.mean()
    total = weights.sum(axis=0)[:, None]
    mean_m, mean_b = weights.T @ models.T / total, (weights.T @ brain)[:, None] / total
    cross = weights.T @ (models * brain).T / total - mean_m * mean_b
    variance_m = weights.T @ (models**2).T / total - mean_m**2
    variance_b = (weights.T @ brain**2)[:, None] / total - mean_b**2
    return _ratio(cross, variance_m, variance_b)


def _weighted_spearman(models: np.ndarray, brain: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=0)
    middle = (total + 1) / 2
    order, starts = _sorted_groups(brain)
    ranks, variance_b = _group_ranks(_by_group(weights[order], starts), middle)
    sizes = np.diff(np.append(starts, len(brain)))
    ranks_b = np.empty_like(weights)
    ranks_b[order] = np.repeat(ranks, sizes, axis=0)
    weighted_b = weights * ranks_b
    result = np.empty((weights.shape[1], len(models)))
    for i, model in enumerate(models):
        order, starts = _sorted_groups(model)
        ranks, variance_m = _group_ranks(_by_group(weights[order], starts), middle)
        cross = np.einsum("gs,gs->s", ranks, _by_group(weighted_b[order], starts))
        result[:, i] = _ratio(cross, variance_m, variance_b)
    return result


def _sorted_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorting order of the values and, in that order, where each run of equal ones starts."""
    order = np.argsort(values, kind="stable")
    new = np.concatenate([[True], np.diff(values[order]) > 0])
    return order, np.flatnonzero(new)


def _by_group(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return rows if len(starts) == len(rows) else np.add.reduceat(rows, starts, axis=0)


def _group_ranks(weights: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of groups of equal values, (groups, samples), minus their mean; and their weighted sum of squares."""
    ranks = np.cumsum(weights, axis=0)
    ranks -= weights / 2
    ranks += 0.5 - middle
    return ranks, np.einsum("gs,gs,gs->s", weights, ranks, ranks)


def _ratio(cross: np.ndarray, variance_a: np.ndarray, variance_b: np.ndarray) -> np.ndarray:
    product = np.clip(variance_a, 0, None) * np.clip(variance_b, 0, None)
    return np.where(product > 0, cross / np.sqrt(np.where(product > 0, product, 1.0)), 0.0)


def _standardised(vectors: np.ndarray, method: str) -> np.ndarray:
    """Vectors (ranks for Spearman) with mean 0 and length 1: their products are correlations."""
    values = stats.rankdata(vectors, axis=1) if method == "spearman" else vectors
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1.0)
