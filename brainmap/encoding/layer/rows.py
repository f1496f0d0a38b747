"""Factorisation from rows: the form for few rows, where responses enter as they are.

With fewer train rows than about twice the features, ``X'Y`` is larger than ``Y`` and working with rows is cheaper. It
is also safer: whitened cross-products come from orthonormal columns, so d ≈ n costs no digits. The eigendecomposition
is of the Gram matrix when there are fewer components than rows and of the kernel (dual form) otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import ArraySource
from brainmap.encoding.layer.factors import (
    alpha_grids,
    couple,
    layer_info,
    parallel,
    placing,
    row_blocks,
    train_sets,
    without_rounding,
)
from brainmap.encoding.layer.notation import LayerFactors, Place, Train, TrainSet, Validation
from brainmap.encoding.layer.z_scores import FeatureMoments, Float64, leading_eigenvectors, safe_scale
from brainmap.encoding.settings import Problem

VANISHED = 1e-12  # share of a feature's spread that is rounding when nuisance regressors explain all of it


@dataclass(frozen=True)
class PreparedRows:
    """Rows as one outer split's ridge sees them.

    Attributes
    ----------
    features : ndarray, shape (n_rows, n_components)
        After nuisance projection, centring, scaling and PCA, float64, rows sorted by atom.
    kernel : ndarray, shape (n_rows, n_rows) or None
        ``features @ features.T``, made where there are more components than train rows.
    back : ndarray, shape (n_components, n_features)
        From weights on `features` to weights on original features.
    centre : ndarray, shape (n_features,)
        What was subtracted from the original features (without nuisance regressors).
    n_varying : int
        Features that vary in the outer train set.
    balance : ndarray, shape (n_components,) or None
        What features were multiplied by to balance two bands.
    grams : dict of bytes to ndarray
        Gram matrices before that, by train rows: all balances share them.
    """

    features: Float64
    kernel: Float64 | None
    back: Any
    centre: Float64
    n_varying: int
    balance: Float64 | None = None
    grams: dict[bytes, Float64] = field(default_factory=dict)

    @classmethod
    def of(cls, X: NDArray[Any], train: NDArray[np.int64], problem: Problem) -> PreparedRows:
        """Prepare all rows with statistics of the outer train rows: scaled, then balanced or reduced."""
        rows = cls.scaled(X, train, problem)
        if problem.settings.band_scale is not None:
            return rows.balanced(problem.settings.band_scale, len(train))
        if problem.settings.pca is not None:
            rows = rows.components(train, problem.settings.pca)
        return rows.with_kernel(len(train))

    def with_kernel(self, n_train: int) -> PreparedRows:
        """Make the kernel of all rows where there are more components than train rows."""
        return replace(self, kernel=self.features @ self.features.T) if self.features.shape[1] > n_train else self

    def balanced(self, factor: Float64, n_train: int) -> PreparedRows:
        """Multiply the features of two bands; a band without share is left out."""
        used, back = np.flatnonzero(factor), self.back * factor
        if len(used) < len(factor):
            back = np.diag(back)[used]
        features = self.features[:, used] * factor[used]
        return replace(self, features=features, back=back, kernel=None, balance=factor).with_kernel(n_train)

    def gram(self, centred: Float64, train: NDArray[np.int64]) -> Float64:
        """Return ``centred.T @ centred``, `centred` being these train rows about their mean (weighted)."""
        if self.balance is None:
            return centred.T @ centred
        used, key = np.flatnonzero(self.balance), train.tobytes()
        scale = np.outer(self.balance[used], self.balance[used])
        if key in self.grams:
            shared = self.grams[key] if len(used) == len(self.balance) else self.grams[key][np.ix_(used, used)]
            return shared * scale
        gram: Float64 = centred.T @ centred
        if len(used) == len(self.balance):
            self.grams[key] = gram / scale
        return gram

    @classmethod
    def scaled(cls, X: NDArray[Any], train: NDArray[np.int64], problem: Problem) -> PreparedRows:
        """Prepare all rows up to PCA: without nuisance regressors, centred and scaled."""
        settings = problem.settings
        features = X.astype(np.float64)
        mean = features[train].mean(axis=0)
        centring = settings.fit_intercept or settings.scale or settings.pca is not None or problem.n_nuisance > 0
        centre = mean if centring else np.zeros_like(mean)
        features -= centre
        varies = features[train].min(axis=0) < features[train].max(axis=0)
        spread = np.sqrt((features[train] ** 2).mean(axis=0))
        if problem.design.nuisance is not None:
            regressors = np.column_stack([problem.design.nuisance, np.ones(len(X))])
            features -= regressors @ np.linalg.lstsq(regressors[train], features[train], rcond=None)[0]
            varies &= np.sqrt((features[train] ** 2).mean(axis=0)) > VANISHED * spread
        # a diagonal, until PCA; what does not vary among the train rows has no weight, whatever it does elsewhere
        # (nor in a plain problem, whose rows are shared by train sets in which other features vary)
        back: Any = np.where(varies | problem.plain | (not centring), 1.0, 0.0)
        if settings.scale:
            back = back / safe_scale((features[train] ** 2).mean(axis=0), mean, len(train))
        features *= back
        return cls(features, None, back, centre, int(varies.sum()))

    def components(self, train: NDArray[np.int64], most: int) -> PreparedRows:
        """Return the leading principal components of the outer train rows, at most so many, largest first."""
        axes = principal_axes(self.features[train], max(1, min(most, len(train) - 1, self.features.shape[1])))
        return replace(self, features=self.features @ axes, back=axes.T * self.back)

    def beyond(self, base: PreparedRows, train: NDArray[np.int64], problem: Problem) -> PreparedRows:
        """Return what these rows hold beyond another band, regressed out as it is fitted on some train rows.

        The two are orthogonal on these rows: a ridge on both, with a penalty each, is then the sum of two ridges.
        """
        whitened = _whiten(base, train, problem)
        white = _apply(whitened, base, train, np.arange(len(base.features)), problem)
        rest = self.features - white @ (whitened.map @ self.features[train])
        return replace(self, features=rest, kernel=None, balance=None, grams={})

    def original(self, weights: Float64) -> Float64:
        """Turn weights on the prepared features, (n_components, n), into weights on the original ones."""
        original: Float64 = self.back[:, None] * weights if self.back.ndim == 1 else self.back.T @ weights
        return original


def principal_axes(centred: Float64, keep: int) -> Float64:
    """Return the leading principal axes of centred rows, shape (n_features, ≤ keep)."""
    n, d = centred.shape
    if d <= n:
        return leading_eigenvectors(centred.T @ centred, 0.0, keep)[1]
    values, left = leading_eigenvectors(centred @ centred.T, 1e-15, keep)
    return centred.T @ (left / np.sqrt(values))


@dataclass(frozen=True)
class _Whitened:
    """Train rows whitened: their map, and how to whiten any other rows."""

    values: Float64  # (rank,), eigenvalues
    map: Float64  # (rank, n_train), gives c from train responses
    mean: Float64  # of prepared features over the train rows (zero without intercept)
    inverse: Float64  # primal: (n_components, rank); dual: (n_train, rank)


def _whiten(rows: PreparedRows, train: NDArray[np.int64], problem: Problem) -> _Whitened:
    settings = problem.settings
    weight = None if problem.design.weight is None else problem.design.weight[train]
    root, share = None, np.full(len(train), 1.0 / len(train))
    if weight is not None:
        root = np.sqrt(weight)[:, None]
        share = (root**2 / (root**2).sum())[:, 0]
    if rows.kernel is not None:
        kernel = rows.kernel[np.ix_(train, train)]
        if settings.fit_intercept:
            lean = kernel @ share
            kernel = kernel - lean[:, None] - lean[None, :] + share @ lean
        kernel = kernel if root is None else root * kernel * root.T
        values, vectors = leading_eigenvectors(kernel, settings.options.rank_tolerance)
        vectors = vectors if root is None else root * vectors
        return _Whitened(values, vectors.T, share, vectors / values)
    centred = rows.features[train]  # a copy
    mean = share @ centred if settings.fit_intercept else np.zeros(centred.shape[1])
    centred -= mean
    if root is not None:
        centred *= root
    if centred.shape[1] <= len(train):
        values, vectors = leading_eigenvectors(rows.gram(centred, train), settings.options.rank_tolerance)
    else:
        values, left = leading_eigenvectors(centred @ centred.T, settings.options.rank_tolerance)
        vectors = centred.T @ (left / np.sqrt(values))
    inverse = vectors / np.sqrt(values)
    white = inverse.T @ centred.T
    return _Whitened(values, white if root is None else white * root.T, mean, inverse)


def _apply(
    whitened: _Whitened, rows: PreparedRows, train: NDArray[np.int64], other: NDArray[np.int64], problem: Problem
) -> Float64:
    """Whiten other rows about the train mean, shape (n_other, rank)."""
    if rows.kernel is None:
        return (rows.features[other] - whitened.mean) @ whitened.inverse
    block = rows.kernel[np.ix_(other, train)]
    if problem.settings.fit_intercept:
        lean = rows.kernel[np.ix_(train, train)] @ whitened.mean
        block = block - (block @ whitened.mean)[:, None] - lean[None, :] + whitened.mean @ lean
    return block @ whitened.inverse


def factorise_rows(
    train_set: TrainSet, rows: PreparedRows, alphas: NDArray[np.float64], problem: Problem, place: Place
) -> Train:
    """Factorise one train set; ``map`` has shape (rank, n_train) and acts on train responses."""
    whitened = _whiten(rows, problem.plan.rows(train_set.members), problem)
    return _factorised(whitened, train_set, rows, alphas, problem, place)


def _factorised(
    whitened: _Whitened,
    train_set: TrainSet,
    rows: PreparedRows,
    alphas: NDArray[np.float64],
    problem: Problem,
    place: Place,
) -> Train:
    settings = problem.settings
    train = problem.plan.rows(train_set.members)
    shrink = whitened.values / (whitened.values + alphas[train_set.outer][:, None])  # φ
    validations = []
    for outer, members in train_set.validations:
        if not members.any():
            continue
        held = _apply(whitened, rows, train, problem.plan.rows(members), problem)
        gap = held.mean(axis=0)
        held -= gap
        energy = held.T @ held
        gram = coupling = None
        if not train_set.final:
            coupling = couple(whitened.values, shrink, energy, place, rows=held)
        else:
            gram = place(held if len(held) < len(whitened.values) else without_rounding(energy))
        validations.append(Validation(outer, members, len(held), place(held.T), place(gap), gram, coupling))
    degrees = shrink.sum(axis=1) + settings.fit_intercept
    values = place(whitened.values)
    return Train(train_set.members, place(whitened.map), values, place(shrink), tuple(validations), None, degrees)


def _weight_map(
    whitened: _Whitened, train: NDArray[np.int64], rows: PreparedRows, problem: Problem
) -> tuple[Float64, Float64]:
    """Return how shrunk whitened cross-products become weights on original features, and the constant to add.

    Returns
    -------
    ndarray, shape (n_features, rank)
        Times ``φ c``: weights.
    ndarray, shape (rank,)
        Times ``φ c``: what to add to ``x @ weights`` besides the mean train response.
    """
    if rows.kernel is None:
        inverse, mean = whitened.inverse, whitened.mean
    else:
        inside = rows.features[train]
        mean = whitened.mean @ inside if problem.settings.fit_intercept else np.zeros(inside.shape[1])
        inverse = (inside - mean).T @ whitened.inverse
    matrix = rows.original(inverse)
    return matrix, -(rows.centre @ matrix) - mean @ inverse


def _with_weight_map(
    train_set: TrainSet, rows: PreparedRows, alphas: NDArray[np.float64], problem: Problem, weights: bool
) -> tuple[Train, list[tuple[Float64, Float64]]]:
    train = problem.plan.rows(train_set.members)
    whitened = _whiten(rows, train, problem)
    maps = [_weight_map(whitened, train, rows, problem)] if weights and train_set.final else []
    return _factorised(whitened, train_set, rows, alphas, problem, placing(problem.backend)), maps


def factorise_all_rows(source: ArraySource, problems: list[Problem], weights: bool) -> list[LayerFactors]:
    """Read a layer and factorise it from its rows, for each problem: one, or one for each balance of two bands."""
    problem, plan = problems[0], problems[0].plan
    X = np.empty(source.shape, dtype=source.rows(0, 1).dtype)
    place = np.empty(plan.n_rows, dtype=np.int64)
    place[plan.order] = np.arange(plan.n_rows)
    for start, block in row_blocks(source):
        X[place[start : start + len(block)]] = block
    moments = FeatureMoments.of(X, plan.sorted_atoms, plan.n_atoms) if problem.settings.relative else None
    alphas = alpha_grids(problem, moments)
    inner_sets, outer_sets = train_sets(problem)
    inner: list[dict[int, Train]] = [{} for _ in problems]
    outer: list[list[Train]] = [[] for _ in problems]
    maps: list[list[Any]] = [[] for _ in problems]
    components, varying = X.shape[1], []
    prepare = PreparedRows.of if problem.settings.band_scale is None else PreparedRows.scaled
    prepared: PreparedRows | None = None
    for outer_set in outer_sets:
        train = plan.rows(outer_set.members)
        if prepared is None or not problem.plain:
            prepared = prepare(X, train, problem)
            components = min(components, prepared.features.shape[1])
        varying.append(prepared.n_varying)
        mine = [number for number, inside in enumerate(inner_sets) if inside.outer == outer_set.outer]
        sets = [*(inner_sets[number] for number in mine), outer_set]
        for index, each in enumerate(problems):
            scale = each.settings.band_scale
            rows = prepared if scale is None else prepared.balanced(scale, len(train))
            work = partial(_with_weight_map, rows=rows, alphas=alphas, problem=each, weights=weights)
            *inside, last = parallel(work, sets, problem.factor_threads)
            inner[index].update(zip(mine, (one for one, _ in inside), strict=True))
            outer[index].append(last[0])
            maps[index].extend(last[1])
    n_constant = int(np.count_nonzero(X.min(axis=0) == X.max(axis=0)))
    layers = []
    for each, own, finals, with_weights in zip(problems, inner, outer, maps, strict=True):
        info = {**layer_info(each, finals, components, varying), "unsafe": False, "n_constant": n_constant}
        info |= {"n_features": X.shape[1], "alphas": alphas}
        trains = tuple(own[number] for number in range(len(inner_sets)))
        layers.append(
            LayerFactors(
                source.name, "rows", trains, tuple(finals), each.backend, None, None, tuple(with_weights), info
            )
        )
    return layers
