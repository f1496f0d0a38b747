"""Everything about one layer's features that no response can change: computed once, used for every batch of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import ArraySource, check_finite
from brainmap.common.errors import InputError
from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.factors import GramTable, Place, Preparation, Train, factorise_cross
from brainmap.encoding.layer.rows import PreparedRows, factorise_rows, weight_map
from brainmap.encoding.layer.z_scores import ROW_BLOCK, Basis, FeatureMoments, Moments, augment, gram_product
from brainmap.encoding.settings import Problem, TrainSet, train_sets

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True)
class LayerFactors:
    """One layer, factorised for every train set of a plan.

    Attributes
    ----------
    name : str
    form : {'cross', 'rows'}
        Whether responses enter as cross-products per atom or as rows.
    inner, outer : tuple of Train
        Inner train sets (empty in mode 'gcv') and outer train sets.
    backend : Backend
        Where and in which precision this layer is computed.
    features : (n_rows, size) or None
        Augmented coordinates, rows sorted by atom (form 'cross').
    table : GramTable or None
        Augmented Gram matrices per atom (form 'cross').
    weight_maps : tuple
        Per outer split, how to get weights on original features (only when asked for).
    info : dict
        Rank, number of components, notes for warnings.
    candidates : tuple of LayerFactors
        For banded ridge, the same layer under each weighting of its bands (then `inner` and `outer` are the first's).
    """

    name: str
    form: str
    inner: tuple[Train, ...]
    outer: tuple[Train, ...]
    backend: Backend
    features: Any = None
    table: GramTable | None = None
    weight_maps: tuple[tuple[NDArray[Any], NDArray[Any]], ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    candidates: tuple[LayerFactors, ...] = ()


def factorise_layer(source: ArraySource, problem: Problem, *, weights: bool = False) -> LayerFactors:
    """Read a layer's features and factorise all its train sets.

    Parameters
    ----------
    source : ArraySource
        Features, rows in the order of the plan.
    problem : Problem
    weights : bool
        Keep what is needed for weights on original features.

    Raises
    ------
    InputError
        If the number of rows differs from the plan's, or a value is not finite.
    """
    if source.shape[0] != problem.n_rows:
        raise InputError(f"{source.name} has {source.shape[0]} rows but the splits are for {problem.n_rows}.")
    bands = problem.settings.bands
    if bands is not None and bands.shape[1] != source.shape[1]:
        raise InputError(
            f"{source.name} has {source.shape[1]} features but the bands of the estimator add up to {bands.shape[1]}."
        )
    problems = [replace(problem, settings=settings) for settings in problem.settings.candidates]
    if uses_rows(source.shape[1], problem):
        X = _sorted_rows(source, problem)
        layers = [_factorise_rows(source.name, X, one, weights) for one in problems]
    else:
        layers = _factorise_cross(source, problems, weights, problem.backend)
        if any(layer.info["unsafe"] for layer in layers) and problem.backend.precision == "float32":
            layers = _factorise_cross(source, problems, weights, replace(problem.backend, precision="float64"))
    return layers[0] if len(layers) == 1 else replace(layers[0], candidates=tuple(layers))


def uses_rows(n_features: int, problem: Problem) -> bool:
    """Whether a layer of that many features is computed from rows rather than cross-products."""
    return problem.largest_train <= 2 * n_features


def _factorise_cross(
    source: ArraySource, problems: list[Problem], weights: bool, backend: Backend
) -> list[LayerFactors]:
    problem = problems[0]
    basis = pooled_basis(source, problem)
    features = np.empty((problem.n_rows, basis.rank), dtype=backend.precision)
    place, atoms = _places(problem), problem.plan.atoms
    moments: FeatureMoments | None = None
    for start, block in row_blocks(source):
        features[place[start : start + len(block)]] = basis.transform(block, backend.precision)
        part = FeatureMoments.of(block, atoms[start : start + len(block)], problem.plan.n_atoms)
        moments = part if moments is None else moments + part
    assert moments is not None
    augmented = augment(features, problem.design.nuisance)
    del features
    table, moved = gram_table(augmented, moments, problem), backend.put(augmented)
    layers = []
    for one in problems:
        layer = factorise_table(source.name, table, basis, one, backend=backend, weights=weights)
        layers.append(replace(layer, features=moved))
    return layers


def _places(problem: Problem) -> NDArray[np.int64]:
    """Where each row goes when rows are sorted by atom."""
    place = np.empty(problem.n_rows, dtype=np.int64)
    place[problem.order] = np.arange(problem.n_rows)
    return place


def _sorted_rows(source: ArraySource, problem: Problem) -> NDArray[Any]:
    X = np.empty(source.shape, dtype=source.rows(0, 1).dtype)
    place = _places(problem)
    for start, block in row_blocks(source):
        X[place[start : start + len(block)]] = block
    return X


def gram_table(augmented: NDArray[Any], features: FeatureMoments, problem: Problem) -> GramTable:
    """Return augmented Gram matrices per atom."""
    weight, slices = problem.design.weight, problem.slices
    parts = [augmented[rows] for rows in slices]
    plain = np.stack(parallel(gram_product, parts, problem.threads))
    if weight is None:
        return GramTable(plain, None, features)
    weighted = parallel(lambda rows: gram_product(augmented[rows], weight[rows]), list(slices), problem.threads)
    return GramTable(plain, np.stack(weighted), features)


def placing(backend: Backend) -> Place:
    """Return the function that moves an array to a backend (on the CPU numpy's own: it is called for every array)."""
    return backend.put if backend.uses_torch else partial(np.ascontiguousarray, dtype=backend.precision)


def factorise_table(
    name: str, table: GramTable, basis: Basis, problem: Problem, *, backend: Backend, weights: bool = False
) -> LayerFactors:
    """Factorise all train sets of a layer from its Gram matrices alone."""
    inner_sets, outer_sets = _sets(problem)
    preparations = [Preparation.of(table, outer_set.members, basis, problem) for outer_set in outer_sets]

    place = placing(backend)
    work = partial(factorise_cross, table=table, preparations=preparations, problem=problem, place=place)
    results = parallel(work, [*inner_sets, *outer_sets], problem.threads)
    trains = tuple(train for train, _ in results)
    inner, outer = trains[: len(inner_sets)], trains[len(inner_sets) :]
    constant = table.features.low.min(axis=0) == table.features.high.max(axis=0)
    n_components = min(int(outer_set.matrix.shape[1]) for outer_set in preparations)
    unsafe = any(flag for _, flag in results) or any(outer_set.coarse for outer_set in preparations)
    varying = [len(constant) - outer_set.n_constant for outer_set in preparations]
    info = {**_info(problem, outer, n_components, varying), "unsafe": unsafe, "n_constant": int(constant.sum())}
    info["n_features"] = len(constant)
    maps = tuple(_cross_weight_map(train, basis, backend) for train in outer) if weights else ()
    return LayerFactors(name, "cross", inner, outer, backend, None, table, maps, info)


def _cross_weight_map(train: Train, basis: Basis, backend: Backend) -> tuple[NDArray[Any], NDArray[Any]]:
    columns = backend.get(train.map).T.astype(np.float64)
    matrix = basis.directions @ columns[: basis.rank]
    return matrix, columns[-1] - basis.shift @ matrix


def _factorise_rows(name: str, X: NDArray[Any], problem: Problem, weights: bool) -> LayerFactors:
    inner_sets, outer_sets = _sets(problem)
    inner: dict[int, Train] = {}
    outer, maps, components, varying = [], [], X.shape[1], []
    prepared: PreparedRows | None = None
    shared = problem.settings.plain and problem.n_nuisance == 0
    for outer_set in outer_sets:
        if prepared is None or not shared:
            prepared = PreparedRows.of(X, problem.rows(outer_set.members), problem)
            components = min(components, prepared.features.shape[1])
        varying.append(prepared.n_varying)
        rows = prepared
        mine = [number for number, inside in enumerate(inner_sets) if inside.outer == outer_set.outer]

        work = partial(factorise_rows, rows=rows, problem=problem, place=placing(problem.backend))
        *inside, last = parallel(work, [*(inner_sets[number] for number in mine), outer_set], problem.threads)
        inner.update(zip(mine, inside, strict=True))
        outer.append(last)
        if weights:
            maps.append(weight_map(outer_set, rows, problem))
    n_constant = int(np.count_nonzero(X.min(axis=0) == X.max(axis=0)))
    info = {**_info(problem, outer, components, varying), "unsafe": False, "n_constant": n_constant}
    info["n_features"] = X.shape[1]
    trains = tuple(inner[number] for number in range(len(inner_sets)))
    return LayerFactors(name, "rows", trains, tuple(outer), problem.backend, None, None, tuple(maps), info)


def _info(problem: Problem, outer: Sequence[Train], n_components: int, varying: list[int]) -> dict[str, Any]:
    """Return what provenance and warnings say of a layer; `varying` counts the features that vary in each train set."""
    ranks = [int(train.shrink.shape[1]) for train in outer]
    sizes = [len(train) for train, _ in problem.plan.outer]
    bands = problem.settings.band_scale
    unused = 0 if bands is None else int(np.count_nonzero(bands == 0))
    full = [min(n_components, n - unused, size - 1) for n, size in zip(varying, sizes, strict=True)]
    deficient = any(rank < most for rank, most in zip(ranks, full, strict=True))
    return {"n_components": n_components, "rank": min(ranks), "deficient": deficient, "n_train": min(sizes)}


def _sets(problem: Problem) -> tuple[list[TrainSet], list[TrainSet]]:
    settings = problem.settings
    inner, outer = train_sets(problem.plan, share=settings.plain and problem.n_nuisance == 0)
    nothing_to_choose = len(settings.alphas) == 1 and settings.band_scale is None
    return ([] if settings.options.mode == "gcv" or nothing_to_choose else inner), outer


def pooled_basis(source: ArraySource, problem: Problem) -> Basis:
    """Accumulate pooled moments in row blocks; return the basis of the layer."""
    moments: Moments | None = None
    for _, block in row_blocks(source):
        part = Moments.of(block, shift=None if moments is None else moments.shift)
        moments = part if moments is None else moments + part
    assert moments is not None
    settings = problem.settings
    centred = settings.centred or problem.n_nuisance > 0
    return moments.basis(scale=settings.scale, tolerance=settings.options.rank_tolerance, centred=centred)


def row_blocks(source: ArraySource) -> Iterable[tuple[int, NDArray[Any]]]:
    """Yield (first row, block) over all rows, checked for NaN and infinity."""
    for start in range(0, source.shape[0], ROW_BLOCK):
        block = source.rows(start, min(start + ROW_BLOCK, source.shape[0]))
        check_finite(block, source.name, first_row=start)
        yield start, block


def parallel(work: Callable[[Item], Out], items: list[Item], threads: int) -> list[Out]:
    """Map in worker threads (BLAS is held to one thread meanwhile, see `engine`), results in order."""
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return list(pool.map(work, items))
