r"""One train set, factorised: from an eigendecomposition to the scores of every alpha, without predictions.

With the train Gram matrix ``G_T = Q diag(λ) Q'``, whitened cross-products ``c = Λ^-½ Q' X_T' y`` and shrinkage
``φ_k(α) = λ_k / (λ_k + α)``, the prediction on a validation set V has, about its mean,

- covariance with the truth ``Σ_k φ_k c_k v_k`` with ``v = Λ^-½ Q' X_V' y``: one thin product for all alphas;
- sum of squares ``f(α) = Σ_kl φ_k φ_l c_k c_l H_kl`` with ``H = Λ^-½ Q' G_V Q Λ^-½``. Written out, d² terms per alpha.

Because ``φ_k φ_l = (λ_l φ_k − λ_k φ_l) / (λ_l − λ_k)``, the double sum separates:

    f(α) = Σ_k φ_k² H_kk c_k² + 2 Σ_k φ_k c_k (M c)_k,      M_kl = H_kl λ_l / (λ_l − λ_k)

and ``M c`` does not depend on alpha: one product of d² per target serves all alphas, *exactly*. Three things keep it
accurate in float32. (i) Pairs with nearly equal eigenvalues, where M would blow up, are left out of M and summed
directly. (ii) ``Σ_k λ_k c_k (M c)_k = 0`` by antisymmetry, so ``φ_k`` may be replaced by ``φ_k − τ(α) λ_k``; τ is
chosen to minimise the rounding error. (iii) Everything is whitened, so that numbers are of order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import ArraySource, check_finite
from brainmap.encoding.layer.notation import Coupling, LayerFactors, Mask, Place, Train, TrainSet, Validation
from brainmap.encoding.layer.z_scores import (
    ROW_BLOCK,
    Basis,
    FeatureMoments,
    GramTable,
    Moments,
    Preparation,
    gram_product,
    leading_eigenvectors,
)
from brainmap.encoding.settings import Backend, Problem

Float64 = NDArray[np.float64]
Item = TypeVar("Item")
Out = TypeVar("Out")
NEAR = 1e-3  # relative gap below which a pair of eigenvalues is summed directly: rounding grows as 1 / NEAR
SMALL = 2**15  # numbers in the predictors of all alphas, up to which preparing anything cleverer takes longer
UNSAFE_ENERGY = 1e3  # validation over train energy of a component beyond which float32 cross-products lose digits
VANISHED_ENERGY = 1e-14  # whitened validation energy below which all of it is rounding


def couple(values: Float64, shrink: Float64, energy: Float64, place: Place, *, rows: Float64 | None = None) -> Coupling:
    """Prepare the sum of squares of the prediction for all alphas.

    Parameters
    ----------
    values : ndarray, shape (rank,)
        Eigenvalues of the train Gram matrix, largest first.
    shrink : ndarray, shape (n_alphas, rank)
        ``φ``.
    energy : ndarray, shape (rank, rank)
        H, the whitened Gram matrix of the validation set about its mean.
    place : callable
        Moves the result to where, and into the precision in which, responses come.
    rows : ndarray, shape (n_rows, rank), optional
        B with ``H = B' B`` where the caller has it.
    """
    n_alphas, rank = shrink.shape
    energy = without_rounding(energy)
    if rows is not None and not np.diag(energy).any():
        rows = np.zeros_like(rows)
    if rows is not None and len(rows) < rank and n_alphas * len(rows) * rank <= SMALL:
        stacked = shrink[:, None, :] * rows
        return Coupling(None, None, None, None, place(stacked))
    diagonal = shrink**2 * np.diag(energy)
    width = rank if rows is None else min(rank, len(rows))
    first = second = np.empty(0, dtype=np.int64)
    if np.any(values[1:] >= (1.0 - NEAR) * values[:-1]):  # eigenvalues descend
        near_by = np.searchsorted(-values, -(1.0 - NEAR) * values, side="right") - np.arange(rank) - 1
        first = np.repeat(np.arange(rank), near_by)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(near_by) - near_by, near_by)
    if n_alphas * width <= 2 * rank or len(first) > max(n_alphas * rank * width // 128, rank):
        factor = rows if rows is not None and len(rows) < rank else square_root(energy)
        return Coupling(place(diagonal), None, None, None, place(factor))
    matrix = values[None, :] - values[:, None]
    if len(first):
        matrix[first, second] = matrix[second, first] = np.inf
    np.fill_diagonal(matrix, np.inf)
    np.divide(values[None, :], matrix, out=matrix)
    matrix *= energy
    # φ_k − τ λ_k, τ the mean of φ_j / λ_j that least amplifies rounding errors of M c; written as
    # φ_k Σ_j w_j (φ_j / λ_j) (λ_j − λ_k), which does not cancel when alpha dwarfs the eigenvalues
    share = values**2 * np.einsum("kl,kl->k", matrix, matrix)
    share = share / max(float(share.sum()), np.finfo(float).tiny)
    slope = 2.0 * (shrink * ((shrink @ share)[:, None] - (shrink / values @ share)[:, None] * values))
    near = None
    if len(first):
        pair_weights = 2.0 * shrink[:, first] * shrink[:, second] * energy[first, second]
        near = first, second, place(pair_weights)
    return Coupling(place(diagonal), place(slope), place(matrix), near, None)


def without_rounding(energy: Float64) -> Float64:
    """Return H, or zeros where nothing of the train set's directions varies in the validation set (unseen categories).

    The prediction is then constant, and its correlation would be one of rounding errors.
    """
    return energy if np.diag(energy).max(initial=0.0) > VANISHED_ENERGY else np.zeros_like(energy)


def square_root(energy: Float64) -> Float64:
    """Return B with ``B' B`` equal to a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(energy)
    root: Float64 = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return root


def factorise_cross(
    train_set: TrainSet,
    table: GramTable,
    preparations: Sequence[Preparation],
    alphas: Float64,
    problem: Problem,
    place: Place,
) -> tuple[Train, bool]:
    """Factorise one train set; also say whether float32 cross-products are unsafe for it.

    Parameters
    ----------
    train_set : TrainSet
    table : GramTable
    preparations : sequence of Preparation
        Of the outer splits.
    alphas : ndarray, shape (n_splits, n_alphas)
        Penalties of the outer splits.
    problem : Problem
    place : callable
        Moves arrays to where responses come.

    Returns
    -------
    Train
        With ``map`` of shape (rank, size) acting on augmented cross-products.
    bool
        True when some component carries far more energy in a validation set than in the train set although no alpha
        shrinks it away: its cross-product is then a small difference of large numbers.
    """
    settings, preparation = problem.settings, preparations[train_set.outer]
    gram, total, n = preparation.project(table.of(train_set.members, fit=True))
    mean = total / n if settings.fit_intercept else np.zeros_like(total)
    centred = gram - np.outer(mean, total) if settings.fit_intercept else gram
    values, vectors = leading_eigenvectors(centred, settings.options.rank_tolerance)
    whiten = vectors / np.sqrt(values)
    shrink = values / (values + alphas[train_set.outer][:, None])  # φ
    if preparation.plain:
        columns = np.concatenate([whiten, ((preparation.matrix[-1] - mean) @ whiten)[None]])
    else:
        columns = preparation.matrix @ whiten
        columns[-1] -= mean @ whiten
    validations, unsafe = [], False
    for outer, members in train_set.validations:
        if not members.any():
            continue
        held_gram = table.of(members, fit=False)
        n_held = float(held_gram[-1, -1])
        half = held_gram @ columns
        gap = half[-1] / n_held  # the last column of augmented features is one
        energy = columns.T @ half - n_held * np.outer(gap, gap)
        ratio = np.diag(energy) * shrink[0] ** 2 * (n / n_held)
        unsafe = unsafe or bool(ratio.max() > UNSAFE_ENERGY)
        held = Validation(outer, members, round(n_held), None, place(gap))
        if train_set.final:
            validations.append(replace(held, gram=place(without_rounding(energy))))
        else:
            validations.append(replace(held, coupling=couple(values, shrink, energy, place)))
    degrees = shrink.sum(axis=1) + settings.fit_intercept
    universe = None if table.weighted is not None else train_set.universe
    train = Train(
        train_set.members, place(columns.T), place(values), place(shrink), tuple(validations), universe, degrees
    )
    return train, unsafe


def train_sets(problem: Problem) -> tuple[list[TrainSet], list[TrainSet]]:
    """Return inner train sets (none where there is nothing to choose) and outer train sets.

    In a plain problem with given alphas inner sets of equal rows are one, whichever outer splits they belong to.
    """
    plan, settings = problem.plan, problem.settings
    outer: list[TrainSet] = []
    for index, (train, test) in enumerate(plan.outer):
        outer.append(TrainSet(index, plan.members(train), ((index, plan.members(test)),), True, None))
    nothing_to_choose = len(settings.alphas) == 1 and settings.band_scale is None
    if settings.options.mode == "gcv" or nothing_to_choose:
        return [], outer
    inner: dict[Any, tuple[int, Mask, list[tuple[int, Mask]]]] = {}
    for index, pairs in enumerate(plan.inner):
        for number, (train, val) in enumerate(pairs):
            members = plan.members(train)
            key: Any = members.tobytes() if problem.plain and not settings.relative else (index, number)
            inner.setdefault(key, (index, members, []))[2].append((index, plan.members(val)))
    sets = []
    for index, members, validations in inner.values():
        count = members.astype(int)
        for _, held in validations:
            count += held
        universe = count > 0 if count.max(initial=0) <= 1 else None
        sets.append(TrainSet(index, members, tuple(validations), False, universe))
    return sets, outer


def factorise_products(
    source: ArraySource, problems: list[Problem], weights: bool, backend: Backend | None = None
) -> list[LayerFactors]:
    """Read a layer in row blocks, twice, and factorise it from Gram matrices per atom, for each problem on its rows.

    Where float32 cross-products turn out to be unsafe, in float64.
    """
    problem, settings = problems[0], problems[0].settings
    plan, weight, backend = problem.plan, problem.design.weight, backend or problem.backend
    moments: Moments | None = None
    for _, block in row_blocks(source):
        pooled = Moments.of(block, shift=None if moments is None else moments.shift)
        moments = pooled if moments is None else moments + pooled
    assert moments is not None
    # a ridge without intercept takes features as they are: a constant one is then as good as any other
    centred = settings.fit_intercept or settings.scale or settings.pca is not None or problem.n_nuisance > 0
    basis = moments.basis(scale=settings.scale, tolerance=settings.options.rank_tolerance, centred=centred)
    # z, nuisance regressors and a column of ones: means and counts ride along in every product
    rank = basis.directions.shape[1]
    features = np.ones((plan.n_rows, rank + problem.n_nuisance + 1), dtype=backend.precision)
    if problem.design.nuisance is not None:
        features[:, rank:-1] = problem.design.nuisance
    place = np.empty(plan.n_rows, dtype=np.int64)
    place[plan.order] = np.arange(plan.n_rows)
    spread: FeatureMoments | None = None
    for start, block in row_blocks(source):
        features[place[start : start + len(block)], :rank] = basis.transform(block, backend.precision)
        part = FeatureMoments.of(block, plan.atoms[start : start + len(block)], plan.n_atoms)
        spread = part if spread is None else spread + part
    assert spread is not None
    plain = np.stack(parallel(partial(gram_product, features), list(plan.slices), problem.factor_threads))
    weighted = None
    if weight is not None:
        weighted = np.stack(
            parallel(partial(gram_product, features, weight=weight), list(plan.slices), problem.factor_threads)
        )
    table, layers = GramTable(plain, weighted, spread), []
    moved = placing(backend)(features)
    for candidate in problems:
        layer = factorise_table(source.name, table, basis, candidate, backend=backend, weights=weights)
        if layer.info["unsafe"] and backend.precision == "float32":
            return factorise_products(source, problems, weights, replace(backend, precision="float64"))
        layers.append(replace(layer, features=moved))
    return layers


def row_blocks(source: ArraySource) -> Iterable[tuple[int, NDArray[Any]]]:
    """Yield (first row, block) over all rows, checked for NaN and infinity."""
    for start in range(0, source.shape[0], ROW_BLOCK):
        block = source.rows(start, min(start + ROW_BLOCK, source.shape[0]))
        check_finite(block, source.name, first_row=start)
        yield start, block


def factorise_table(
    name: str, table: GramTable, basis: Basis, problem: Problem, *, backend: Backend, weights: bool = False
) -> LayerFactors:
    """Factorise all train sets of a layer from its Gram matrices alone."""
    inner_sets, outer_sets = train_sets(problem)
    preparations, varying, unsafe, n_components = [], [], False, table.features.low.shape[1]
    constant = table.features.low.min(axis=0) == table.features.high.max(axis=0)
    for outer_set in outer_sets:
        preparation = Preparation.of(table, outer_set.members, basis, problem)
        preparations.append(preparation)
        varying.append(len(constant) - preparation.n_constant)
        unsafe = unsafe or preparation.coarse
        if problem.settings.band_scale is None:
            n_components = min(n_components, preparation.matrix.shape[1])
    place, alphas = placing(backend), alpha_grids(problem, table.features)
    work = partial(factorise_cross, table=table, preparations=preparations, alphas=alphas, problem=problem, place=place)
    trains, flags = zip(*parallel(work, [*inner_sets, *outer_sets], problem.factor_threads), strict=True)
    inner, outer = trains[: len(inner_sets)], trains[len(inner_sets) :]
    info = {**layer_info(problem, outer, n_components, varying), "unsafe": unsafe or any(flags)}
    info |= {"n_constant": int(constant.sum()), "n_features": len(constant), "alphas": alphas}
    maps = tuple(_cross_weight_map(train, basis, backend) for train in outer) if weights else ()
    return LayerFactors(name, "cross", inner, outer, backend, None, table, maps, info)


def alpha_grids(problem: Problem, features: FeatureMoments | None) -> Float64:
    """Return the penalties of each outer split, (n_splits, n_alphas); its inner folds take the same.

    Relative ones are multiples of ``trace(X'X) / d``, the mean eigenvalue over the d features that vary (before PCA), X
    as the ridge of the outer train set gets it: scaled, that is the number of train rows. No response enters.
    Given penalties need no `features`.
    """
    settings, plan, weight = problem.settings, problem.plan, problem.design.weight
    grids = np.tile(settings.alphas, (len(plan.outer), 1))
    if not settings.relative or features is None:
        return grids
    for split, (train, _) in enumerate(plan.outer):
        members = plan.members(train)
        n = features.n[members, None]
        power = float(len(train))
        if not settings.scale:
            mean = (n * features.mean[members]).sum(axis=0) / n.sum() if settings.fit_intercept else 0.0
            squares = (features.scatter[members] + n * (features.mean[members] - mean) ** 2).sum(axis=0)
            power = float(squares.sum()) / max(int(np.count_nonzero(squares)), 1)
        share = 1.0 if weight is None else weight[plan.rows(members)].mean()
        grids[split] *= share * (power if power > 0 else 1.0)
    return grids


def layer_info(problem: Problem, outer: Sequence[Train], n_components: int, varying: list[int]) -> dict[str, Any]:
    """Return what provenance and warnings say of a layer; `varying` counts the features that vary in each train set."""
    bands, deficient, lowest, smallest = problem.settings.band_scale, False, n_components, problem.plan.n_rows
    unused = 0 if bands is None else int(np.count_nonzero(bands == 0))
    for train, n_varying, (rows, _) in zip(outer, varying, problem.plan.outer, strict=True):
        rank, n_train = int(train.shrink.shape[1]), len(rows)
        deficient = deficient or rank < min(n_components, n_varying - unused, n_train - 1)
        lowest, smallest = min(lowest, rank), min(smallest, n_train)
    return {"n_components": n_components, "rank": lowest, "deficient": deficient, "n_train": smallest}


def _cross_weight_map(train: Train, basis: Basis, backend: Backend) -> tuple[NDArray[Any], NDArray[Any]]:
    columns = backend.get(train.map).T.astype(np.float64)
    matrix = basis.directions @ columns[: basis.directions.shape[1]]
    return matrix, columns[-1] - basis.shift @ matrix


def placing(backend: Backend) -> Place:
    """Return the function that moves an array to a backend (on the CPU numpy's own: it is called for every array)."""
    return backend.put if backend.uses_torch else partial(np.ascontiguousarray, dtype=backend.precision)


def parallel(work: Callable[[Item], Out], items: list[Item], threads: int) -> list[Out]:
    """Map in worker threads (BLAS is held to one thread meanwhile, see `engine`), results in order."""
    if threads == 1 or len(items) == 1:
        return list(map(work, items))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return list(pool.map(work, items))
