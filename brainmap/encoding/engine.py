"""The engine: layers factorised once, responses streamed past them in batches of targets, within a memory bound."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from brainmap.common.array_sources import ArraySource
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import available_threads
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.encoding.folds import SplitPlan
from brainmap.encoding.layer.factors import factorise_products
from brainmap.encoding.layer.notation import LayerFactors, TargetBlock
from brainmap.encoding.layer.rows import factorise_all_rows
from brainmap.encoding.layer.scores import target_block
from brainmap.encoding.settings import (
    RELATIVE_ALPHAS,
    RELATIVE_TIE_TOLERANCE,
    TIE_TOLERANCE,
    Backend,
    CheckedRows,
    Problem,
    RidgeOptions,
    RidgeSettings,
    make_backend,
)

Out = TypeVar("Out")
MAX_BATCH, MIN_BATCH = 2048, 64  # targets; below the smaller, another thread costs more than it brings
FEW_ROWS, FEW_RESPONSES = 128, 2**14  # rows of a problem, numbers of its responses below which it does so, too
WIDE, WIDE_BATCH = 256, 512  # of more components fewer targets stay in a core's cache between products
LAYERS_SHARE, READING_SHARE = 0.6, 0.3  # of what is free: for factorised layers; for stored responses being read
INTERPRETER_BYTES = 300 * 10**6  # Python with numpy, scipy, scikit-learn and xarray loaded


def make_settings(estimator: Any) -> RidgeSettings:
    """Check the parameters of an `EncodingRidgeCV` and collect them.

    Raises
    ------
    InputError
        If alphas are not positive and finite, the scoring is unknown, `pca` is below 1, or bands and shares are not
        those of two bands.
    """
    relative = estimator.alphas is None
    values = np.sort(np.ravel(np.asarray(RELATIVE_ALPHAS if relative else estimator.alphas, dtype=np.float64)))
    if values.size == 0 or not np.all(np.isfinite(values)) or values[0] <= 0:
        raise InputError(f"`alphas` must be positive finite numbers, got {estimator.alphas!r}.")
    if estimator.scoring not in ("pearsonr", "r2"):
        raise InputError(f"unknown scoring {estimator.scoring!r}; choose 'pearsonr' or 'r2'.")
    if estimator.pca is not None and estimator.pca < 1:
        raise InputError(f"`pca` must be at least 1 component (or None), got {estimator.pca}.")
    options = estimator.options or RidgeOptions()
    tie = options.tie_tolerance
    if tie is None:
        tie = RELATIVE_TIE_TOLERANCE if relative else TIE_TOLERANCE
    settings = RidgeSettings(
        values,
        relative,
        tie,
        scoring=estimator.scoring,
        fit_intercept=estimator.fit_intercept,
        scale=estimator.scale,
        pca=estimator.pca,
        options=options,
    )
    if getattr(estimator, "bands", None) is None:
        return settings
    sizes = tuple(int(size) for size in estimator.bands)
    if len(sizes) == 1:
        return replace(settings, band_sizes=sizes)
    shares = np.atleast_1d(np.asarray(estimator.shares, dtype=np.float64))
    if len(sizes) != 2 or min(sizes) < 1:
        raise InputError(f"the engine takes the sizes of two bands (three and more: `fit`), got {estimator.bands!r}.")
    if shares.size == 0 or shares.min() < 0 or shares.max() > 1:
        raise InputError(f"`shares` must lie between 0 and 1, got {estimator.shares!r}.")
    factors = np.sqrt(2 * np.column_stack([shares, 1 - shares]))
    return replace(settings, band_sizes=sizes, shares=shares, bands=np.repeat(factors, sizes, axis=1))


def make_problem(plan: SplitPlan, settings: RidgeSettings, design: CheckedRows, *, device: str = "cpu") -> Problem:
    """Return what the engine is to solve, on a device.

    Raises
    ------
    InputError
        If torch or the device is missing.
    """
    # without intercept the level of the responses cannot be subtracted: float32 would lose what lies above it
    precision = settings.options.precision if settings.fit_intercept else "float64"
    backend = Backend(precision=precision) if device == "cpu" else make_backend(device, precision)
    design = design if design.weight is None and design.nuisance is None else design.ordered(plan.order)
    n_nuisance = 0 if design.nuisance is None else design.nuisance.shape[1]
    as_they_are = settings.fit_intercept and not settings.scale and settings.pca is None and settings.bands is None
    threads = settings.options.threads or available_threads()
    in_factors = threads if plan.n_rows >= FEW_ROWS else 1
    plain = as_they_are and n_nuisance == 0
    return Problem(plan, settings, design, backend, threads, in_factors, n_nuisance, plain)


@dataclass
class Engine:
    """Layers and a problem; `results` brings responses to them.

    Parameters
    ----------
    sources : mapping of str to ArraySource
        Features of each layer.
    problem : Problem
    memory : int
        Bound in bytes on what the process holds, the caller's own arrays aside.
    weights : bool
        Keep what is needed for weights on original features.
    factors : dict of str to LayerFactors
        Layers that are factorised, as far as they fit.
    """

    sources: Mapping[str, ArraySource]
    problem: Problem
    memory: int
    weights: bool = False
    factors: dict[str, LayerFactors] = field(default_factory=dict, repr=False)

    def results(
        self,
        responses: ArraySource,
        compute: Callable[[LayerFactors, TargetBlock], Out],
        layers: Sequence[str] | None = None,
        *,
        kept: int | None = None,
        part: slice | None = None,
    ) -> Iterator[tuple[LayerFactors, slice, Out]]:
        """Yield what a function makes of every layer and every batch of targets.

        Parameters
        ----------
        responses : ArraySource
            Rows in the order of the plan.
        compute : callable
            Called in worker threads with a layer and responses to some targets; must change neither.
        layers : sequence of str, optional
            Only these; default all.
        kept : int, optional
            Targets whose results the caller holds at a time; all by default.
        part : slice, optional
            Whole batches of targets, of :meth:`batch_size`; all by default.

        Yields
        ------
        LayerFactors, slice, object
            Layer, targets and result, in order.
        """
        names = list(self.sources) if layers is None else list(as_names(layers))
        n_rows, n_targets = responses.shape
        if n_rows != self.problem.plan.n_rows:
            raise InputError(
                f"{responses.name} has {n_rows} rows but the features have {self.problem.plan.n_rows}; "
                "rows must correspond one to one."
            )
        bound = memory_bound(self.sources, self.problem, self.memory, (n_targets, kept or n_targets), names)
        plans = bound.plans(responses)
        for group, plan in zip(bound.groups, plans, strict=True):
            # BLAS threads are held to one: worker threads of our own beat BLAS threading, and are deterministic
            with blas_controller("torch" in sys.modules).limit(limits=1, user_api="blas"):
                for name in group:
                    if name not in self.factors:
                        self.factors[name] = factorise_layer(self.sources[name], self.problem, weights=self.weights)
                yield from self._stream(responses, list(map(self.factors.__getitem__, group)), plan, compute, part)
            if not bound.holds_all:
                self.factors = {name: layer for name, layer in self.factors.items() if name not in group}

    def batch_size(self, responses: ArraySource, *, kept: int) -> int:
        """Targets of each batch in which :meth:`results` goes through responses."""
        names, targets = list(self.sources), (responses.shape[1], kept)
        return memory_bound(self.sources, self.problem, self.memory, targets, names).plans(responses)[0].batch

    def _stream(
        self,
        responses: ArraySource,
        layers: list[LayerFactors],
        plan: BatchPlan,
        compute: Callable[[LayerFactors, TargetBlock], Out],
        part: slice | None,
    ) -> Iterator[tuple[LayerFactors, slice, Out]]:
        begin, end = (0, responses.shape[1]) if part is None else (part.start, part.stop)
        waiting: list[Any] = []

        def work(columns: NDArray[Any], start: int) -> list[tuple[LayerFactors, slice, Out]]:
            block = target_block(columns, self.problem, name=responses.name, first=start)
            results = []
            for layer in layers:
                results.append((layer, slice(start, start + columns.shape[1]), compute(layer, block)))
            return results

        starts: Any = range(begin, end, plan.batch)
        if len(starts) == 1:
            columns = responses.array[:, begin:end] if responses.in_memory else responses.columns(begin, end)
            yield from work(columns, begin)
            return
        starts = track(starts, f"encoding {len(layers)} layer(s), {end - begin} targets", unit="batch")
        # Where reading is not free, blocks are wide; whole batches, so that the same numbers are computed together
        # wherever the responses live.
        width = max(plan.read_width // plan.batch, 1) * plan.batch
        block, first, last = responses.array, 0, end if responses.in_memory else 0
        with ThreadPoolExecutor(max_workers=plan.threads) as pool:
            for start in starts:
                if start >= last:
                    first, last = start, min(start + width, end)
                    block = responses.columns(first, last)
                stop = min(start + plan.batch, last)
                waiting.append(pool.submit(work, block[:, start - first : stop - first], start))
                if len(waiting) > plan.threads:  # a bounded number in flight: their blocks are what takes the memory
                    yield from waiting.pop(0).result()
            while waiting:
                yield from waiting.pop(0).result()


@cache
def blas_controller(with_torch: bool) -> ThreadpoolController:
    """Find the BLAS libraries of this process, which takes milliseconds; anew once torch has brought its own."""
    return ThreadpoolController()


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
        If the number of rows differs from the plan's, a value is not finite, or mode 'gcv' would mislead.
    """
    settings, (n_rows, n_features) = problem.settings, source.shape
    if settings.options.mode == "gcv":
        check_gcv(source, problem)
    if n_rows != problem.plan.n_rows:
        raise InputError(f"{source.name} has {n_rows} rows but the splits are for {problem.plan.n_rows}.")
    problems = [problem]
    if settings.band_sizes:
        total = sum(settings.band_sizes)
        if total != n_features:
            raise InputError(
                f"{source.name} has {n_features} features but the bands of the estimator add up to {total}."
            )
    if settings.bands is not None:
        problems = [replace(problem, settings=replace(settings, bands=None, band_scale=row)) for row in settings.bands]
    factorise = factorise_all_rows if uses_rows(n_features, problem) else factorise_products
    layers = factorise(source, problems, weights)
    return layers[0] if len(layers) == 1 else replace(layers[0], candidates=tuple(layers))


def check_gcv(source: ArraySource, problem: Problem) -> None:
    """Refuse generalised cross-validation where its criterion means something else."""
    if problem.plan.grouped:
        raise InputError("mode 'gcv' counts every row as independent but rows are grouped; use mode 'exact'.")
    width, smallest = source.shape[1], min(len(train) for train, _ in problem.plan.outer)
    width = width if problem.settings.pca is None else min(width, problem.settings.pca)
    if width >= smallest:
        raise InputError(
            f"mode 'gcv' breaks down with {width} features ({source.name}) and {smallest} train rows; use mode 'exact'."
        )
    if problem.design.weight is not None:
        raise InputError("mode 'gcv' does not take sample weights; use mode 'exact'.")


def uses_rows(n_features: int, problem: Problem) -> bool:
    """Whether a layer of that many features is computed from rows rather than cross-products."""
    return problem.plan.largest_train <= 2 * n_features


@dataclass(frozen=True)
class BatchPlan:
    """How many targets at a time, in how many worker threads."""

    batch: int
    threads: int
    read_width: int = 1  # columns of stored responses to read at once


@dataclass(frozen=True)
class MemoryBound:
    """What layers and batches of targets take, and how many of them fit a bound (`memory_bound` makes it).

    Attributes
    ----------
    problem : Problem
    n_targets, most : int
        Targets, and largest batch of them.
    free : int
        Bytes for layers and batches.
    layer_bytes : dict of str to int
        Of each layer, factorised.
    target_bytes : int
        What one worker needs for one target, beside the widest layer.
    groups : list of list of str
        Layers, so grouped that one read of the responses serves as many as fit beside the batches.
    holds_all : bool
        Whether all layers stay factorised for the next responses.
    """

    problem: Problem
    n_targets: int
    free: int
    layer_bytes: dict[str, int]
    target_bytes: int
    most: int
    groups: list[list[str]]
    holds_all: bool

    def plans(self, responses: ArraySource) -> list[BatchPlan]:
        """Choose the batches of targets beside each group of layers, of one size for all."""
        plans: list[BatchPlan] = []
        few = self.problem.plan.n_rows * self.n_targets < FEW_RESPONSES
        alone = few or self.problem.backend.uses_torch  # a device is kept busy by one thread
        for group in self.groups:
            free = self.free - sum(map(self.layer_bytes.__getitem__, group))
            reading = 0 if responses.in_memory else int(free * READING_SHARE)
            plan = plan_batches(
                self.n_targets,
                self.most,
                budget=free - reading,
                bytes_per_target=self.target_bytes,
                threads=1 if alone else self.problem.threads,
                batch=self.problem.settings.options.batch if not plans else plans[0].batch,
            )
            if plans and plan.batch < plans[0].batch:
                plans = [replace(each, batch=plan.batch) for each in plans]
            if not responses.in_memory:  # two blocks fit the room, and stored chunks are kept whole
                width, chunk = max(1, reading // max(responses.row_bytes * 2, 1)), responses.column_chunk
                plan = replace(plan, read_width=width - width % chunk if 1 < chunk <= width else width)
            plans.append(plan)
        return plans


def memory_bound(
    sources: Mapping[str, ArraySource], problem: Problem, memory: int, targets: tuple[int, int], names: Sequence[str]
) -> MemoryBound:
    """Estimate what layers and targets take, within `memory` bytes.

    `targets` are how many there are, and the results of how many are kept at a time; `names` are the layers that are
    wanted, `sources` all of them.
    """
    plan, settings, itemsize = problem.plan, problem.settings, np.dtype(problem.backend.precision).itemsize
    n, extra = plan.n_rows, problem.n_nuisance + 1
    splits = len(plan.outer) + (0 if settings.options.mode == "gcv" else sum(map(len, plan.inner)))
    splits *= 1 if settings.bands is None else len(settings.bands)
    copies = 2 if problem.n_nuisance or problem.design.weight is not None else 1
    layer_bytes, target_bytes, widest = {}, 0, 1
    for name, source in sources.items():
        d = source.shape[1]
        rank, size = min(d, n) if settings.pca is None else min(d, n, settings.pca), min(d, n) + extra
        if uses_rows(d, problem):
            layer_bytes[name] = splits * (n * rank + rank * min(rank, n)) * itemsize + n * d * 8
            if settings.bands is not None and d <= plan.largest_train:  # Gram matrices that all balances share
                layer_bytes[name] += (1 + len(plan.inner[0])) * d * d * 8
            needed = n * 2 * itemsize + 5 * rank * itemsize
        else:
            layer_bytes[name] = splits * (rank * size + rank * rank) * itemsize
            layer_bytes[name] += n * size * 4 + plan.n_atoms * size * size * 8
            needed = (plan.n_atoms * copies + 8) * (d + extra) * itemsize
        target_bytes, widest = max(target_bytes, n * (8 + 2 * itemsize) + needed), max(widest, rank)
    n_targets, kept = targets
    free = memory - INTERPRETER_BYTES - 4 * 8 * len(sources) * len(plan.outer) * min(kept, n_targets)
    holds_all = sum(layer_bytes.values()) <= free * LAYERS_SHARE
    groups: list[list[str]] = []
    used = 0.0
    for name in names:
        if not groups or used + layer_bytes[name] > free * LAYERS_SHARE:
            groups.append([])
            used = 0.0
        groups[-1].append(name)
        used += layer_bytes[name]
    most = MAX_BATCH if widest <= WIDE or problem.backend.uses_torch else WIDE_BATCH
    return MemoryBound(problem, n_targets, free, layer_bytes, target_bytes, most, groups, holds_all)


def plan_batches(
    n_targets: int, most: int = MAX_BATCH, *, budget: int, bytes_per_target: int, threads: int, batch: int | None = None
) -> BatchPlan:
    """Choose the batch: as large as the budget allows, at most `most`, and a whole number of rounds of the workers.

    Parameters
    ----------
    n_targets, most : int
        Number of targets, and largest batch of them.
    budget : int
        Bytes left for all workers together.
    bytes_per_target : int
        Bytes that one worker needs for one target.
    threads : int
        Worker threads wanted.
    batch : int, optional
        Fixed batch, still bounded by the budget.

    Raises
    ------
    InputError
        If not even 16 targets fit.
    """
    smallest = min(n_targets, 16)
    while threads > 1 and budget // threads < smallest * bytes_per_target:
        threads -= 1
    limit = budget // (threads * bytes_per_target)
    if limit < smallest:
        need = (smallest * bytes_per_target - budget) / 1e6
        raise InputError(f"the memory bound is too small by about {need:.0f} MB; raise `memory` or use `pca`.")
    if batch is None:
        batch = min(most, limit)
        rounds = -(-n_targets // (batch * threads))
        batch = max(-(-n_targets // (rounds * threads)), min(MIN_BATCH, limit))
    batch = max(1, min(batch, limit, n_targets))
    return BatchPlan(batch, max(1, min(threads, -(-n_targets // batch))))
