"""Do added features explain responses beyond a baseline? A test whose family-wise error is right for grouped images.

The question behind the residual of gradients: a unit (an area, a time point) is driven by the activations, the
gradients correlate with the activations, crops of one photograph resemble one another. Comparing cross-validated
scores is no test then: a penalised baseline leaves some of the activations' own signal behind, which any correlated
feature may pick up, and the folds of one cross-validation are not independent of each other.

The statistic is the covariance, summed over a unit's targets, between each group of images and what the *other* groups
predict for it from the added features: a quadratic form ``T = Σ_{g≠h} y_g' N_gh y_h``. Its matrix N

* is the kernel of the added features, residualised on the leading principal components U of the baseline, whitened by
  the covariance that the baseline's remainder would give the responses, ``V = h K + (1 − h) I`` with h by maximum
  likelihood per unit (the score test of a variance component, Lin 1997);
* is then made *hollow* (``N_gg = 0``, ``N U = 0``): T has mean zero for every signal in the span of U and every noise
  that is independent between groups, whatever its covariance inside a group.

Its null distribution flips the sign of whole groups of residuals, ``T(s) = Σ s_g s_h e_g' N_gh e_h``: refitting costs
one product of small matrices. Residuals from U are correlated between groups, so the noise that U absorbed is drawn
anew and added to them (see :class:`~brainmap.statistics.added.group_noise.GroupNoise`): under the working covariance
they are independent between groups again, and T, which does not see what lies in the span of U, is one of its own
flips: the test is exact, as far as that covariance is right. The maximum over units of the standardised T controls the
family-wise error. ``docs/statistics.md`` holds measured calibration and power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.common.decompositions import left_singular
from brainmap.common.errors import InputError
from brainmap.common.random_purposes import FLIP_BLOCKS, FLIP_NOISE
from brainmap.encoding.row_groups import RowGroups
from brainmap.encoding.settings import RowDesign
from brainmap.statistics.added.group_noise import GroupNoise
from brainmap.statistics.added.hollow_matrices import block_sums, hollow, remove
from brainmap.statistics.added.prewhitening import Filtered, TimeFilter, noise_correlation
from brainmap.statistics.added.sign_flips import flip_p, flip_signs
from brainmap.statistics.checked_arrays import (
    Features,
    check_responses,
    layers_of,
    rows_of,
    standardised,
    target_blocks,
)

FloatArray = NDArray[np.float64]
SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])


@dataclass(frozen=True)
class ConditionalOptions:
    """Settings of :func:`conditional_test`.

    Parameters
    ----------
    n_components : int, optional
        Principal components of the baseline whose signal is removed exactly; by default as many as hold ``explained``
        of its variance, at most a quarter of the images.
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
    max_images : int
        Of more images than this, whole groups are drawn at random until so many are reached: the test stays valid, at
        a cost that does not grow (memory: a few arrays of this size squared).
    alpha : float
        Family-wise error rate of ``significant``.
    seed : int
        Seed of flips, merging, drawing of groups, and of the noise that stands for what the baseline absorbed.

    Examples
    --------
    >>> from brainmap.statistics import ConditionalOptions
    >>> ConditionalOptions(n_flips=1000, alpha=0.01).n_added
    200
    """

    n_components: int | None = None
    explained: float = 0.999
    n_added: int = 200
    ridge: tuple[float, ...] = (np.inf, 1.0)
    n_flips: int = 5000
    max_blocks: int = 200
    max_images: int = 4000
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
        ``p_fwer`` (maximum over units), ``significant`` (``p_fwer ≤ alpha``), ``n_targets``, ``baseline_share`` (h).
    options : ConditionalOptions
        Settings used.
    n_images, n_blocks, n_components : int
        Images used, exchangeable blocks, baseline components removed.
    null : ndarray, (n_flips, n_units)
        Statistic of each unit under the flips; to pool tests of several subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, conditional_test
    >>> rng = np.random.default_rng(0)
    >>> base, added = rng.standard_normal((80, 5)), rng.standard_normal((80, 5))
    >>> responses = np.c_[base @ rng.standard_normal((5, 3)), added @ rng.standard_normal((5, 3))]
    >>> areas = np.repeat(["V1", "IT"], 3)
    >>> options = ConditionalOptions(n_flips=200)
    >>> test = conditional_test(base, added, responses + rng.standard_normal((80, 6)), units=areas, options=options)
    >>> test.table.set_index("unit")["significant"].to_dict()
    {'IT': True, 'V1': False}
    """

    table: pd.DataFrame
    options: ConditionalOptions
    n_images: int
    n_blocks: int
    n_components: int
    null: NDArray[np.float32]

    def to_frame(self) -> pd.DataFrame:
        """Return the table; settings are in ``attrs``."""
        table = self.table.copy()
        sizes: dict[Any, Any] = {name: getattr(self, name) for name in ("n_images", "n_blocks", "n_components")}
        table.attrs = {**sizes, "n_flips": self.options.n_flips, "alpha": self.options.alpha, "p": self.method}
        return table

    @property
    def method(self) -> str:
        """How the p values were made, in words."""
        return (
            f"{self.options.n_flips} sign flips of {self.n_blocks} groups of {self.n_images} images, of the covariance "
            f"of responses with features residualised on {self.n_components} baseline components; maximum over units"
        )

    def __repr__(self) -> str:
        hits = self.table.loc[self.table["significant"], "unit"].tolist()
        shown = ", ".join(map(str, hits[:8])) + (" …" if len(hits) > 8 else "")
        summary = f"{len(hits)} of {len(self.table)} units significant (FWER {self.options.alpha})"
        return f"<ConditionalTest: {summary}: {shown}>"


@dataclass(frozen=True, eq=False)
class _Design:
    """Everything about features and groups (images sorted by block); responses come later."""

    vectors: FloatArray
    values: FloatArray
    removed: FloatArray
    added: FloatArray
    blocks: list[slice]
    noise: GroupNoise
    order: NDArray[np.intp]
    options: ConditionalOptions

    def kernels(self, share: float) -> list[FloatArray]:
        """Hollow kernels of the added features, one per penalty, if the baseline has this share of the responses."""
        shrink = (1.0 - share) / (share * self.values + 1.0 - share)
        whitened = remove(self.removed, self._filter(self.added, np.sqrt(shrink)))
        left, singular = left_singular(whitened)
        kept = (singular > 1e-8 * singular[0]) & (np.arange(len(singular)) < self.options.n_added)
        eigen = singular[kept] ** 2
        left = remove(self.removed, self._filter(left[:, kept], np.sqrt(shrink)))
        mean = eigen.mean()
        weights = [eigen / (mean if np.isinf(penalty) else eigen + penalty * mean) for penalty in self.options.ridge]
        return [hollow((left * weight) @ left.T, self.removed, self.blocks) for weight in weights]

    def _filter(self, x: FloatArray, factor: FloatArray) -> FloatArray:
        """Scale x along the baseline's eigenvectors, leaving the rest of it alone."""
        filtered: FloatArray = x + self.vectors @ ((factor - 1.0)[:, None] * (self.vectors.T @ x))
        return filtered


def conditional_test(
    base: Features,
    added: Features,
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
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
        Images that belong together (crops of one photograph); default: every image for itself. With blocks in time
        (:class:`~brainmap.encoding.row_groups.RowGroups`), pairs of blocks nearer than the gap are left out.
    confounds : array-like, (n_images, n_confounds), optional
        Removed like components of the baseline.
    options : ConditionalOptions, optional
        Settings.

    Returns
    -------
    ConditionalTest
        The null hypothesis of a unit: given the baseline, its responses are unrelated to the added features.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, there are fewer than six groups, or the added features lie within
        the baseline.

    Notes
    -----
    Memory: a few (n_images × n_images) arrays; time: n_images² × targets for the responses and n_images³ per distinct
    baseline fit. Signs are shared by all units, targets and subjects, which keeps every dependence among them.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, conditional_test
    >>> rng = np.random.default_rng(0)
    >>> activations, gradients = rng.standard_normal((80, 5)), rng.standard_normal((80, 5))
    >>> responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((80, 3))
    >>> options = ConditionalOptions(n_flips=200)
    >>> conditional_test(activations, gradients, responses, units=["IT"] * 3, options=options).table["p"].item() < 0.05
    True
    """
    settings = options or ConditionalOptions()
    subjects = check_responses(responses)
    labels = np.asarray(units)
    if labels.shape != (subjects[0].shape[1],):
        raise InputError(f"There are {subjects[0].shape[1]} targets but units of shape {labels.shape}.")
    n_images = int(subjects[0].shape[0])
    rows, blocks = _blocks(groups, n_images, settings)
    fixed, regressors = np.ones((n_images, 1)), RowDesign(nuisance=confounds).checked(n_images).nuisance
    if regressors is not None:
        fixed = np.column_stack([fixed, regressors])
    design = _prepare(base, added, (rows, fixed), blocks, settings)
    apart = None
    if isinstance(groups, RowGroups):
        apart = ~groups.take(rows).touching(blocks)
        white = TimeFilter(groups, noise_correlation(subjects, design.order, design.removed, groups))
        if white.correlation:
            x, g = ({name: white(np.asarray(f)) for name, f in layers_of(part).items()} for part in (base, added))
            fixed = np.column_stack([fixed, white(fixed)])
            design = _prepare(x, g, (rows, fixed), blocks, settings)
            subjects = [Filtered(values, white) for values in subjects]
    names, codes = np.unique(labels, return_inverse=True)
    shares = _fit_shares(subjects, codes, design)
    sums: list[Any] = [None] * len(names)
    for share in np.unique(shares):
        kernels = design.kernels(SHARES[share])
        for unit in np.flatnonzero(shares == share):
            sums[unit] = _pair_sums(subjects, np.flatnonzero(codes == unit), design, kernels)
            if apart is not None:  # what is near in time resembles itself: such pairs of blocks say nothing
                sums[unit] = sums[unit] * apart
    statistic, null = flip_signs(np.stack(sums), settings.n_flips, settings.seed)
    p, p_fwer = flip_p(statistic, null)
    table = pd.DataFrame(
        {
            "unit": names,
            "statistic": statistic,
            "p": p,
            "p_fwer": p_fwer,
            "significant": p_fwer <= settings.alpha,
            "n_targets": np.bincount(codes) * len(subjects),
            "baseline_share": SHARES[shares],
        }
    )
    n_removed = design.removed.shape[1] - fixed.shape[1]
    return ConditionalTest(table, settings, len(rows), len(design.blocks), n_removed, null.astype(np.float32))


def _blocks(
    groups: ArrayLike | None, n_images: int, options: ConditionalOptions
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the images to use, and the exchangeable block of each of them."""
    labels = np.arange(n_images) if groups is None else np.asarray(groups)
    if labels.shape != (n_images,):
        raise InputError(f"There are {n_images} images but groups of shape {labels.shape}.")
    _, codes = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng([options.seed, FLIP_BLOCKS])
    rows = np.arange(n_images)
    if n_images > options.max_images:
        drawn = rng.permutation(int(codes.max()) + 1)
        kept = drawn[np.cumsum(np.bincount(codes)[drawn]) <= options.max_images]
        rows = np.flatnonzero(np.isin(codes, kept))
        _, codes = np.unique(codes[rows], return_inverse=True)
    n_groups = int(codes.max(initial=-1)) + 1
    if n_groups < 6:
        raise InputError(f"Sign flips need at least 6 groups of images (2^5 distinct patterns), here are {n_groups}.")
    if n_groups > options.max_blocks and isinstance(groups, RowGroups):  # blocks that follow one another
        place = np.asarray(groups.place)[rows]
        first = np.argsort(np.argsort([place[codes == code].min() for code in range(n_groups)]))
        codes = (first * options.max_blocks // n_groups)[codes]
    elif n_groups > options.max_blocks:
        codes = (rng.permutation(n_groups) % options.max_blocks)[codes]
    return rows, codes


def _prepare(
    base: Features,
    added: Features,
    used: tuple[NDArray[np.intp], FloatArray],
    blocks: NDArray[np.intp],
    options: ConditionalOptions,
) -> _Design:
    """Decompose the baseline kernel, sort images by block; ``used``: images used, what is always removed of all."""
    rows, fixed = used[0], used[1][used[0]]
    layers, others = (
        standardised(rows_of(features, rows, len(used[1])), name)
        for features, name in ((base, "baseline"), (added, "added"))
    )
    extra = np.concatenate(list(others.values()), axis=1)
    together = np.concatenate([array / np.sqrt(array.shape[1]) for array in layers.values()], axis=1)
    # Inside a block in an order of their own: what is drawn must not depend on the order in which images are given.
    order = np.lexsort((together.sum(axis=1), blocks))
    fixed = left_singular(fixed[order])[0] if fixed.shape[1] > 1 else np.full((len(order), 1), len(order) ** -0.5)
    baseline = together[order] if fixed.shape[1] == 1 else remove(fixed, together[order])
    vectors, singular = left_singular(baseline)
    kept = singular > 1e-10 * singular[0]
    vectors, values = vectors[:, kept], singular[kept] ** 2 * len(order) / np.sum(singular[kept] ** 2)
    needed = int(np.searchsorted(np.cumsum(values) / values.sum(), options.explained) + 1)
    wanted = min(needed, len(order) // 4) if options.n_components is None else options.n_components
    # The mean is removed like a component: without it, centring alone would correlate the groups' residuals.
    removed = np.column_stack([fixed, vectors[:, :wanted]])
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    slices = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(order)], strict=True)]
    rest = remove(removed, extra[order])
    if np.linalg.norm(rest) < 1e-6 * np.linalg.norm(extra):
        raise InputError("The added features are linear combinations of the baseline: there is nothing left to test.")
    draws = np.random.default_rng([options.seed, FLIP_NOISE]).standard_normal(removed.shape)
    return _Design(vectors, values, removed, rest, slices, GroupNoise(removed, slices, draws), rows[order], options)


def _fit_shares(subjects: list[Any], codes: NDArray[np.intp], design: _Design) -> NDArray[np.intp]:
    """Choose h per unit by maximum likelihood of its targets under V = h K + (1 − h) I, the scale profiled out."""
    membership = np.zeros((len(codes), int(codes.max()) + 1))
    membership[np.arange(len(codes)), codes] = 1.0
    energy = np.zeros((membership.shape[1], len(design.values)))
    for values in subjects:
        for part in target_blocks(int(values.shape[0]), len(codes)):
            energy += membership[part].T @ ((design.vectors.T @ _targets(values, part, design.order)) ** 2).T
    energy /= membership.sum(axis=0)[:, None] * len(subjects)
    n_free = len(design.order) - 1  # the mean is gone
    outside = max(n_free - len(design.values), 0)
    variance = SHARES[:, None] * design.values + 1.0 - SHARES[:, None]
    rest = np.maximum(len(design.order) - energy.sum(axis=1, keepdims=True), 0.0)
    scaled = energy @ (1.0 / variance).T + rest / (1.0 - SHARES)
    cost = np.log(variance).sum(axis=1) + outside * np.log1p(-SHARES) + n_free * np.log(np.maximum(scaled, 1e-300))
    best: NDArray[np.intp] = np.argmin(cost, axis=1)
    return best


def _targets(values: Any, which: slice | NDArray[Any], order: NDArray[np.intp]) -> FloatArray:
    """Return standardised targets with images sorted by block; constant targets become zero."""
    chunk = np.asarray(values[:, which], dtype=np.float64)[order]
    chunk = chunk - chunk.mean(axis=0)
    spread = chunk.std(axis=0)
    scaled: FloatArray = chunk / np.where(spread > 0, spread, np.inf)
    return scaled


def _pair_sums(
    subjects: list[Any], columns: NDArray[np.intp], design: _Design, kernels: list[FloatArray]
) -> FloatArray:
    """Residual products weighted by a kernel and summed over pairs of blocks, (n_penalties, blocks, blocks)."""
    outer = np.zeros((len(design.order), len(design.order)))
    for values in subjects:
        for part in target_blocks(int(values.shape[0]), len(columns)):
            residual, expected = design.noise.complete(_targets(values, columns[part], design.order))
            outer += residual @ residual.T - expected
    return np.stack([block_sums(kernel * outer, design.blocks) for kernel in kernels])
