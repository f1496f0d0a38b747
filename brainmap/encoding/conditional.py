"""Do added features explain responses beyond a baseline? A test whose family-wise error is right for grouped images.

The question behind the residual of gradients: a unit (an area, a time point) is driven by the activations, the
gradients correlate with the activations, crops of one photograph resemble one another. Comparing cross-validated
scores is not a test then: a penalised baseline leaves some of the activations' own signal behind, which any correlated
feature may pick up, and the folds of one cross-validation are not independent.

Three steps, each guarding against a failure of the others:

1. The added features are residualised on the leading principal components of the baseline, so that they cannot help
   by repeating it.
2. Responses and residualised features are whitened by the covariance that the responses would have if the baseline
   alone drove them, ``V = h K + (1 − h) I``, with the kernel K (all baseline layers together, or the one layer that
   fits best) and h by maximum likelihood per unit. What the first step leaves of the baseline is accounted for here.
3. The statistic is the covariance, summed over targets, between each group of images and what the *other* groups
   predict for it, ``T = Σ_{g≠h} u_g' B u_h``. Under the null hypothesis whole groups may change sign, so T's null
   distribution is ``s' Q s`` for random signs s: refitting included, at the price of a small matrix product. The
   maximum over units of the standardised T gives family-wise error control.

It is the score test of a variance component (Lin 1997) with cross-group terms only and a sign-flip null (Winkler et al.
2014 for flips of exchangeability blocks). ``docs/statistics.md`` holds its measured calibration and power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.errors import InputError

FloatArray = NDArray[np.float64]
Features = ArrayLike | Mapping[str, ArrayLike]
FLIP_PURPOSE, BLOCK_PURPOSE = 21, 22
SHARES = np.concatenate([np.linspace(0.0, 0.95, 20), [0.97, 0.98, 0.99]])
TARGET_CHUNK = 4096


@dataclass(frozen=True)
class ConditionalOptions:
    """Settings of :func:`conditional_test`.

    Parameters
    ----------
    n_components : int, optional
        Principal components of the baseline on which the added features are residualised; by default as many as hold
        ``explained`` of its variance, at most a quarter of the images.
    explained : float
        Share of the baseline's variance removed when ``n_components`` is not given.
    n_added : int
        Principal components kept of the residualised added features.
    ridge : tuple of float
        Penalties, in units of the mean eigenvalue of the added kernel, with which groups predict one another; infinity
        is the plain kernel. The best is taken, and the null distribution takes the best too.
    n_flips : int
        Random sign flips.
    max_blocks : int
        More groups than this are merged into so many blocks, at random: valid, and bounded in memory.
    alpha : float
        Family-wise error rate of ``significant``.
    seed : int
        Seed of flips and merging.
    """

    n_components: int | None = None
    explained: float = 0.99
    n_added: int = 200
    ridge: tuple[float, ...] = (np.inf, 1.0)
    n_flips: int = 5000
    max_blocks: int = 200
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_flips < 19 or not 0 < self.alpha < 1 or not 0 < self.explained <= 1:
            raise InputError("A conditional test needs ≥ 19 flips, alpha in (0, 1) and an explained share in (0, 1].")
        if not self.ridge or min(self.ridge) <= 0:
            raise InputError(f"Penalties of the conditional test must be positive, got {self.ridge}.")


@dataclass(frozen=True, eq=False)
class ConditionalTest:
    """Result of :func:`conditional_test`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per unit: ``unit``, ``statistic`` (T over its null standard deviation), ``p`` (one-sided, per unit),
        ``p_fwer`` (maximum over units), ``significant`` (``p_fwer ≤ alpha``), ``n_targets``, ``baseline`` (layer whose
        kernel fitted best, or 'all'), ``baseline_share`` (h).
    options : ConditionalOptions
        Settings used.
    n_images, n_blocks, n_components : int
        Images, exchangeable blocks, baseline components removed.
    """

    table: pd.DataFrame
    options: ConditionalOptions
    n_images: int
    n_blocks: int
    n_components: int

    def to_frame(self) -> pd.DataFrame:
        """Return the table; settings are in ``attrs``."""
        table = self.table.copy()
        table.attrs = {"n_images": self.n_images, "n_blocks": self.n_blocks, "n_components": self.n_components}
        table.attrs |= {"n_flips": self.options.n_flips, "alpha": self.options.alpha, "p": self.method}
        return table

    @property
    def method(self) -> str:
        """How the p values were made, in words."""
        return (
            f"sign flips of {self.n_blocks} image groups ({self.options.n_flips} flips) of the covariance of whitened "
            f"responses with features residualised on {self.n_components} baseline components; maximum over units"
        )

    def __repr__(self) -> str:
        hits = self.table.loc[self.table["significant"], "unit"].tolist()
        shown = ", ".join(map(str, hits[:8])) + (" …" if len(hits) > 8 else "")
        return f"<ConditionalTest: {len(hits)} of {len(self.table)} units significant (FWER {self.options.alpha}): {shown}>"


@dataclass(frozen=True, eq=False)
class _Basis:
    """Eigenvectors and eigenvalues of one baseline kernel, scaled to a mean diagonal of one."""

    name: str
    vectors: FloatArray
    values: FloatArray

    def whiten(self, x: FloatArray, share: float) -> FloatArray:
        """Multiply by V^(-1/2), V = share · K + (1 − share) · I."""
        factor = np.sqrt((1.0 - share) / (share * self.values + 1.0 - share)) - 1.0
        white: FloatArray = (x + self.vectors @ (factor[:, None] * (self.vectors.T @ x))) / np.sqrt(1.0 - share)
        return white


@dataclass(eq=False)
class _Design:
    """Everything about features and groups; responses come later."""

    bases: list[_Basis]
    added: FloatArray
    starts: NDArray[np.intp]
    order: NDArray[np.intp]
    n_components: int
    ridge: tuple[float, ...]
    kernels: dict[tuple[int, int], list[FloatArray]] = field(default_factory=dict)

    def similarity(self, basis: int, share: int) -> list[FloatArray]:
        """Kernels of the whitened added features between images, one per penalty (images sorted by group)."""
        key = (basis, share)
        if key not in self.kernels:
            whitened = self.bases[basis].whiten(self.added, SHARES[share])
            left, singular, _ = np.linalg.svd(whitened, full_matrices=False)
            eigen = singular**2
            mean = eigen.mean()
            weights = [eigen / mean if np.isinf(a) else eigen / (eigen + a * mean) for a in self.ridge]
            self.kernels = {key: [(left * w) @ left.T for w in weights]}  # units come sorted: keep the last only
        return self.kernels[key]

    def block_sums(self, matrix: FloatArray) -> FloatArray:
        """Sum an (images × images) matrix over pairs of blocks and drop the pairs of a block with itself."""
        sums: FloatArray = np.add.reduceat(np.add.reduceat(matrix, self.starts, axis=0), self.starts, axis=1)
        np.fill_diagonal(sums, 0.0)
        return sums


def conditional_test(
    base: Features,
    added: Features,
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    options: ConditionalOptions | None = None,
) -> ConditionalTest:
    """Test per unit whether added features explain responses beyond baseline features.

    Parameters
    ----------
    base, added : array-like (n_images, d) or mapping of layer to array-like
        Baseline (activations of all layers) and added features (gradients). Columns are standardised here.
    responses : array-like (n_images, n_targets), or a sequence of them
        Responses to the same images; a sequence holds several subjects with the same targets.
    units : array-like, (n_targets,)
        Unit of each target: its area, or its time. Targets of a unit are summed.
    groups : array-like, (n_images,), optional
        Images that belong together (crops of one photograph); default: every image for itself.
    options : ConditionalOptions, optional
        Settings.

    Returns
    -------
    ConditionalTest
        The null hypothesis of a unit: given the baseline, its responses are unrelated to the added features.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or there are fewer than six groups.

    Notes
    -----
    Memory: a few (n_images × n_images) arrays; time: n_images² × targets for the responses and n_images³ per distinct
    baseline fit. Signs are shared by all units, targets and subjects, which keeps every dependence among them.
    """
    settings = options or ConditionalOptions()
    subjects = _subjects(responses)
    n_images = len(subjects[0])
    labels = np.asarray(units)
    if labels.shape != (subjects[0].shape[1],):
        raise InputError(f"There are {subjects[0].shape[1]} targets but units of shape {labels.shape}.")
    design = _prepare(base, added, _blocks(groups, n_images, settings), settings)
    names, codes = np.unique(labels, return_inverse=True)
    energy = _energies(subjects, codes, len(names), design)
    fits = [_fit_share(energy, unit, design.bases) for unit in range(len(names))]
    moments = [np.empty(0)] * len(names)
    for unit in sorted(range(len(names)), key=lambda u: fits[u]):  # equal fits share their kernels
        moments[unit] = _pair_sums(subjects, codes == unit, design, fits[unit])
    statistic, p, p_fwer = _flip(np.stack(moments), settings)
    table = pd.DataFrame(
        {
            "unit": names,
            "statistic": statistic,
            "p": p,
            "p_fwer": p_fwer,
            "significant": p_fwer <= settings.alpha,
            "n_targets": np.bincount(codes) * len(subjects),
            "baseline": [design.bases[basis].name for basis, _ in fits],
            "baseline_share": [SHARES[share] for _, share in fits],
        }
    )
    return ConditionalTest(table, settings, n_images, len(design.starts), design.n_components)


def standardised(features: Features, name: str) -> dict[str, FloatArray]:
    """Check features and standardise their columns; constant columns are dropped.

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
    layers = dict(features) if isinstance(features, Mapping) else {"all": features}
    result: dict[str, FloatArray] = {}
    for layer, values in layers.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise InputError(f"The {name} features {layer!r} must be a finite (n_images, d) array, got {array.shape}.")
        array = array - array.mean(axis=0)
        spread = array.std(axis=0)
        keep = spread > 1e-12 * max(float(spread.max(initial=0.0)), 1e-300)
        if not keep.any():
            raise InputError(f"The {name} features {layer!r} are constant over images.")
        result[str(layer)] = array[:, keep] / spread[keep]
    if len({len(array) for array in result.values()}) > 1:
        raise InputError(
            f"The {name} features have different numbers of rows: { {k: len(v) for k, v in result.items()} }."
        )
    return result


def _subjects(responses: ArrayLike | Sequence[ArrayLike]) -> list[FloatArray]:
    """Return a list of (n_images, n_targets) arrays, one per subject."""
    if isinstance(responses, Sequence) and len(responses) and np.ndim(responses[0]) == 2:
        arrays = [np.asarray(subject) for subject in responses]
    else:
        arrays = [np.asarray(responses)]
    if arrays[0].ndim != 2 or len({array.shape for array in arrays}) > 1:
        raise InputError(f"Responses must be (n_images, n_targets) in all subjects; got {[a.shape for a in arrays]}.")
    for number, array in enumerate(arrays):
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise InputError(f"The response of subject {number} at row {row}, column {column} is not finite.")
    return arrays


def _blocks(groups: ArrayLike | None, n_images: int, options: ConditionalOptions) -> NDArray[np.intp]:
    """Return the exchangeable block of each image."""
    labels = np.arange(n_images) if groups is None else np.asarray(groups)
    if labels.shape != (n_images,):
        raise InputError(f"There are {n_images} images but groups of shape {labels.shape}.")
    _, codes = np.unique(labels, return_inverse=True)
    n_groups = int(codes.max()) + 1
    if n_groups < 6:
        raise InputError(f"Sign flips need at least 6 groups of images (2^5 distinct patterns), here are {n_groups}.")
    if n_groups > options.max_blocks:
        rng = np.random.default_rng([options.seed, BLOCK_PURPOSE])
        codes = (rng.permutation(n_groups) % options.max_blocks)[codes]
    return codes


def _prepare(base: Features, added: Features, blocks: NDArray[np.intp], options: ConditionalOptions) -> _Design:
    """Decompose the baseline kernels and residualise the added features."""
    layers = standardised(base, "baseline")
    extra = np.concatenate(list(standardised(added, "added").values()), axis=1)
    together = np.concatenate([array / np.sqrt(array.shape[1]) for array in layers.values()], axis=1)
    if not len(extra) == len(together) == len(blocks):
        raise InputError(
            f"Baseline, added features and responses have {len(together)}, {len(extra)}, {len(blocks)} rows."
        )
    order = np.argsort(blocks, kind="stable")
    bases = [_basis("all", together[order])]
    if len(layers) > 1:
        bases += [_basis(name, array[order]) for name, array in layers.items()]
    share = np.cumsum(bases[0].values) / bases[0].values.sum()
    wanted = (
        int(np.searchsorted(share, options.explained) + 1) if options.n_components is None else options.n_components
    )
    limit = len(order) // 4 if options.n_components is None else len(order) - 2
    removed = bases[0].vectors[:, : min(wanted, limit)]
    rest = extra[order]
    for _ in range(2):  # twice: one Gram–Schmidt pass leaves rounding errors
        rest = rest - removed @ (removed.T @ rest)
    left, singular, _ = np.linalg.svd(rest, full_matrices=False)
    kept = (singular > 1e-8 * singular[0]) & (np.arange(len(singular)) < options.n_added)
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    return _Design(bases, left[:, kept] * singular[kept], starts, order, removed.shape[1], options.ridge)


def _basis(name: str, features: FloatArray) -> _Basis:
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    keep = singular > 1e-10 * singular[0]
    values = singular[keep] ** 2
    return _Basis(name, left[:, keep], values * len(features) / values.sum())


def _energies(subjects: list[FloatArray], codes: NDArray[np.intp], n_units: int, design: _Design) -> list[FloatArray]:
    """Mean energy of each unit's standardised targets along every eigenvector of every basis, (n_units, rank)."""
    membership = np.zeros((len(codes), n_units))
    membership[np.arange(len(codes)), codes] = 1.0
    totals = [np.zeros((n_units, len(basis.values))) for basis in design.bases]
    for values in subjects:
        for start in range(0, len(codes), TARGET_CHUNK):
            part = slice(start, start + TARGET_CHUNK)
            chunk = _targets(values, part, design.order)
            for total, basis in zip(totals, design.bases, strict=True):
                total += membership[part].T @ ((basis.vectors.T @ chunk) ** 2).T
    count = membership.sum(axis=0)[:, None] * len(subjects)
    return [total / count for total in totals]


def _targets(values: FloatArray, which: slice | NDArray, order: NDArray[np.intp]) -> FloatArray:
    """Return standardised targets with images sorted by block; constant targets become zero."""
    chunk = np.asarray(values[:, which], dtype=np.float64)[order]
    chunk = chunk - chunk.mean(axis=0)
    spread = chunk.std(axis=0)
    return chunk / np.where(spread > 0, spread, np.inf)


def _fit_share(energy: list[FloatArray], unit: int, bases: list[_Basis]) -> tuple[int, int]:
    """Choose basis and share h by maximum likelihood of the unit's targets under h K + (1 − h) I, scale profiled out."""
    best = (np.inf, 0, 0)
    for number, basis in enumerate(bases):
        n_free = len(basis.vectors) - 1  # the mean is gone
        rest = max(len(basis.vectors) - float(energy[number][unit].sum()), 0.0)
        variance = SHARES[:, None] * basis.values + 1.0 - SHARES[:, None]
        scaled = (energy[number][unit] / variance).sum(axis=1) + rest / (1.0 - SHARES)
        outside = max(n_free - len(basis.values), 0)
        cost = np.log(variance).sum(axis=1) + outside * np.log1p(-SHARES) + n_free * np.log(np.maximum(scaled, 1e-300))
        share = int(np.argmin(cost))
        best = min(best, (float(cost[share]), number, share))
    return best[1], best[2]


def _pair_sums(
    subjects: list[FloatArray], members: NDArray[np.bool_], design: _Design, fit: tuple[int, int]
) -> FloatArray:
    """Block-pair sums Q of one unit, (n_penalties, n_blocks, n_blocks)."""
    outer = np.zeros((len(design.order), len(design.order)))
    columns = np.flatnonzero(members)
    for values in subjects:
        for start in range(0, len(columns), TARGET_CHUNK):
            chunk = _targets(values, columns[start : start + TARGET_CHUNK], design.order)
            white = design.bases[fit[0]].whiten(chunk, SHARES[fit[1]])
            outer += white @ white.T
    return np.stack([design.block_sums(kernel * outer) for kernel in design.similarity(*fit)])


def _flip(sums: FloatArray, options: ConditionalOptions) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return standardised statistic, p per unit and p over the family from Q, (n_units, n_penalties, blocks, blocks)."""
    n_units, n_penalties, n_blocks, _ = sums.shape
    rng = np.random.default_rng([options.seed, FLIP_PURPOSE])
    signs = rng.choice(np.array([-1.0, 1.0]), size=(options.n_flips, n_blocks))
    # Var(s'Qs) = 2 ΣQ² over the flips, for symmetric Q with zero diagonal
    spread = np.sqrt(2.0 * (sums**2).sum(axis=(2, 3)))
    spread = np.where(spread > 0, spread, np.inf)
    observed = (sums.sum(axis=(2, 3)) / spread).max(axis=1)
    null = np.empty((options.n_flips, n_units))
    for unit in range(n_units):
        draws = [((signs @ sums[unit, a]) * signs).sum(axis=1) / spread[unit, a] for a in range(n_penalties)]
        null[:, unit] = np.max(draws, axis=0)
    tolerance = 1e-9
    p = (1 + (null >= observed - tolerance).sum(axis=0)) / (1 + options.n_flips)
    largest = null.max(axis=1)
    p_fwer = (1 + (largest[:, None] >= observed - tolerance).sum(axis=0)) / (1 + options.n_flips)
    return observed, p, p_fwer
