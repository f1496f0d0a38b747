"""The engine: layers factorised once, responses streamed past them in batches of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainmap.common.array_sources import ArraySource
from brainmap.common.errors import InputError
from brainmap.common.progress import track
from brainmap.encoding.layer.alpha_scores import (
    TargetScores,
    choose,
    gcv_scores,
    inner_scores,
    shrunk,
    test_scores,
    whitened,
)
from brainmap.encoding.layer.layer_factors import LayerFactors, factorise_layer, uses_rows
from brainmap.encoding.layer.response_batch import Batch, Responses
from brainmap.encoding.memory_bound import INTERPRETER_BYTES, BatchPlan, plan_batches
from brainmap.encoding.settings import Problem

Visit = Callable[[LayerFactors, slice, Responses], None]


@dataclass
class Engine:
    """Layers and a problem; `run` scores responses.

    Parameters
    ----------
    sources : mapping of str to ArraySource
        Features of each layer.
    problem : Problem
    memory : int
        Bound in bytes on what the process holds, the caller's own arrays aside.
    weights : bool
        Keep what is needed for weights on original features.
    """

    sources: Mapping[str, ArraySource]
    problem: Problem
    memory: int
    weights: bool = False
    _known: dict[str, LayerFactors] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        options = self.problem.settings.options
        if options.mode == "gcv":
            self._check_gcv()

    def _check_gcv(self) -> None:
        smallest = min(len(train) for train, _ in self.problem.plan.outer)
        widest = max(self._components(source) for source in self.sources.values())
        if self.problem.plan.grouped:
            raise InputError("mode 'gcv' counts every row as independent but rows are grouped; use mode 'exact'.")
        if widest >= smallest:
            raise InputError(
                f"mode 'gcv' breaks down with {widest} features and {smallest} train rows; use mode 'exact'."
            )
        if self.problem.design.weight is not None:
            raise InputError("mode 'gcv' does not take sample weights; use mode 'exact'.")

    def _components(self, source: ArraySource) -> int:
        pca = self.problem.settings.pca
        return source.shape[1] if pca is None else min(pca, source.shape[1])

    def layer(self, name: str) -> LayerFactors:
        """Return a factorised layer, from memory when it is still there."""
        if name not in self._known:
            with blas_threads(1):
                self._known[name] = factorise_layer(self.sources[name], self.problem, weights=self.weights)
        return self._known[name]

    def run(self, responses: ArraySource, visit: Visit, layers: Sequence[str] | None = None) -> None:
        """Bring every layer and every batch of targets together once.

        Parameters
        ----------
        responses : ArraySource
            Rows in the order of the plan.
        visit : callable
            Called from worker threads with a layer, the slice of targets and their responses. Different calls never
            share a (layer, target) cell.
        layers : sequence of str, optional
            Only these; default all.
        """
        names = list(self.sources) if layers is None else list(layers)
        if responses.shape[0] != self.problem.n_rows:
            raise InputError(
                f"{responses.name} has {responses.shape[0]} rows but the features have {self.problem.n_rows}; "
                "rows must correspond one to one."
            )
        n_targets = responses.shape[1]
        budget = self.memory - INTERPRETER_BYTES - self._output_bytes(n_targets)
        for group in self._groups(budget, names):
            held = sum(self._layer_bytes(name) for name in group)
            plan = self._batches(n_targets, budget - held, responses)
            factors = [self.layer(name) for name in group]
            with blas_threads(1):
                self._stream(responses, factors, plan, budget - held, visit)
            self._forget(group, budget)

    def _stream(
        self, responses: ArraySource, layers: list[LayerFactors], plan: BatchPlan, budget: int, visit: Visit
    ) -> None:
        n_targets = responses.shape[1]

        def work(task: tuple[NDArray[Any], int, int, int]) -> int:
            block, offset, start, stop = task
            part = Responses.of(
                block[:, start - offset : stop - offset], self.problem, name=responses.name, first_column=start
            )
            for layer in layers:
                visit(layer, slice(start, stop), part)
            return stop - start

        description = f"encoding {len(layers)} layer(s), {n_targets} targets"
        total = sum(1 for _ in _tasks(n_targets, plan.batch))
        with ThreadPoolExecutor(max_workers=plan.threads) as pool:
            done = _ordered(pool, work, self._read(responses, plan, budget), ahead=plan.threads)
            for _ in track(done, description, total=total, unit="batch"):
                pass

    def _read(
        self, responses: ArraySource, plan: BatchPlan, budget: int
    ) -> Iterator[tuple[NDArray[Any], int, int, int]]:
        """Yield batches as (block, first column of block, start, stop); blocks are wide where reading is not free."""
        n_targets = responses.shape[1]
        if responses.in_memory:
            for start, stop in _tasks(n_targets, plan.batch):
                yield responses.array, 0, start, stop
            return
        # whole batches, so that the same numbers are computed together wherever the responses live
        width = max(read_width(responses, budget) // plan.batch, 1) * plan.batch
        for first, last in _tasks(n_targets, width):
            block = responses.columns(first, last)
            for start, stop in _tasks(last - first, plan.batch):
                yield block, first, first + start, first + stop

    def _groups(self, budget: int, names: list[str]) -> Iterator[list[str]]:
        """Group layers so that one read of the responses serves as many as fit beside the batches."""
        room = budget * 0.6
        group: list[str] = []
        used = 0
        for name in names:
            size = self._layer_bytes(name)
            if group and used + size > room:
                yield group
                group, used = [], 0
            group.append(name)
            used += size
        yield group

    def _forget(self, group: list[str], budget: int) -> None:
        if sum(self._layer_bytes(name) for name in self.sources) > budget * 0.6:
            for name in group:
                self._known.pop(name, None)

    def _layer_bytes(self, name: str) -> int:
        """Estimate what one factorised layer holds."""
        source, problem = self.sources[name], self.problem
        n, d = source.shape
        itemsize = problem.backend.itemsize
        rank = min(self._components(source), n)
        inner = 0 if problem.settings.options.mode == "gcv" else sum(len(pairs) for pairs in problem.plan.inner)
        splits = (inner + len(problem.plan.outer)) * len(problem.settings.candidates)
        if uses_rows(d, problem):
            rank = min(rank, n)
            return splits * (n * rank + rank * min(rank, n)) * itemsize + n * d * 8
        size = min(d, n) + problem.n_nuisance + 1
        return splits * (rank * size + rank * rank) * itemsize + n * size * 4 + problem.plan.n_atoms * size * size * 8

    def _batches(self, n_targets: int, budget: int, responses: ArraySource) -> BatchPlan:
        problem = self.problem
        itemsize = problem.backend.itemsize
        per_target = problem.n_rows * (8 + 2 * itemsize)
        largest = 0
        for source in self.sources.values():
            d = self._components(source)
            if uses_rows(source.shape[1], problem):
                need = problem.n_rows * 2 * itemsize + 5 * min(d, problem.n_rows) * itemsize
            else:
                size = source.shape[1] + problem.n_nuisance + 1
                copies = 2 if problem.n_nuisance or problem.design.weight is not None else 1
                need = (problem.plan.n_atoms * copies + 8) * size * itemsize
            largest = max(largest, need)
        options = problem.settings.options
        reading = 0 if responses.in_memory else int(budget * 0.3)
        return plan_batches(
            n_targets,
            budget=budget - reading,
            bytes_per_target=per_target + largest,
            threads=1 if problem.backend.uses_torch else problem.threads,  # a device is kept busy by one
            batch=options.batch,
        )

    def _output_bytes(self, n_targets: int) -> int:
        return 4 * 8 * len(self.sources) * len(self.problem.plan.outer) * n_targets


def read_width(responses: ArraySource, budget: int) -> int:
    """Return how many columns to read at once: two blocks fit 30 % of the budget, and stored chunks are kept whole."""
    width = max(1, int(budget * 0.3) // max(responses.row_bytes * 2, 1))
    chunk = responses.column_chunk
    return width - width % chunk if 1 < chunk <= width else width


@dataclass(frozen=True)
class SplitWeights:
    """Whitened weights ``φ c`` of some targets of a batch in one outer split, (rank, n_targets), on the device."""

    layer: LayerFactors
    targets: Any
    values: Any


def score_batch(batch: Batch) -> tuple[TargetScores, list[list[SplitWeights]]]:
    """Choose alpha per target by inner cross-validation and score the outer test sets.

    Returns
    -------
    TargetScores
    list of list of SplitWeights
        For each outer split the weights of all targets (in several parts where a banded ridge chose differently).
    """
    settings, n_targets = batch.problem.settings, batch.total.shape[1]
    batches = [replace(batch, layer=layer) for layer in batch.layer.candidates or (batch.layer,)]
    n_splits = len(batch.layer.outer)
    scores = TargetScores(*(np.full((n_splits, n_targets), np.nan) for _ in range(5)))
    weights: list[list[SplitWeights]] = []
    paths = [_paths(one) for one in batches]
    for split in range(n_splits):
        own = [one.without_nuisance(one.layer.outer[split]) for one in batches]
        whites = [whitened(one, one.layer.outer[split]) for one in own]
        path = np.stack([_path(*each, split) for each in zip(own, whites, paths, strict=True)])
        best = path.max(axis=1).argmax(axis=0)
        path = path[best, :, np.arange(n_targets)].T
        single = path.shape[0] == 1
        chosen = np.zeros(n_targets, np.int64) if single else choose(path, settings.options.tie_tolerance)
        scores.alpha[split], scores.candidate[split] = settings.alphas[chosen], best
        scores.inner[split] = np.take_along_axis(path, chosen[None], axis=0)[0]
        parts = []
        for index in np.unique(best):
            targets: Any = slice(None) if len(own) == 1 else np.flatnonzero(best == index)
            part = own[index] if len(own) == 1 else own[index].select(targets)
            train = part.layer.outer[split]
            white = shrunk(part, train, whites[index][:, _index(part, targets)], chosen[targets])
            parts.append(SplitWeights(part.layer, targets, white))
            if train.validations:
                scores.r[split, targets], scores.r2[split, targets] = test_scores(part, train, white)
        weights.append(parts)
    return scores, weights


def _paths(batch: Batch) -> NDArray[np.float64] | None:
    """Return mean inner scores of all splits, (n_splits, n_alphas, n_targets), where one pass gives them all."""
    if not batch.layer.inner or batch.problem.n_nuisance:
        return None
    n_splits = len(batch.layer.outer)
    summed, count = inner_scores(batch, batch.layer.inner, n_splits)
    return summed / np.where(count > 0, count, np.nan)[:, None]


def _index(batch: Batch, targets: Any) -> Any:
    return targets if isinstance(targets, slice) else batch.layer.backend.put(targets)


def _path(batch: Batch, white: Any, known: NDArray[np.float64] | None, split: int) -> NDArray[np.float64]:
    """Return the criterion that chooses alpha in one outer split, (n_alphas, n_targets)."""
    if known is not None:
        return known[split]
    if batch.problem.settings.options.mode == "gcv":
        return gcv_scores(batch, batch.layer.outer[split], white)
    if not batch.layer.inner:
        return np.full((1, batch.total.shape[1]), np.nan)
    inner = tuple(train for train in batch.layer.inner if train.validations[0].outer == split)
    summed, count = inner_scores(batch, inner, len(batch.layer.outer))
    return summed[split] / np.where(count[split] > 0, count[split], np.nan)


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Hold BLAS to some threads: one each under our own worker threads beats BLAS threading, and is deterministic."""
    with threadpool_limits(limits=number, user_api="blas"):
        yield


def _tasks(n_targets: int, batch: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_targets, batch):
        yield start, min(start + batch, n_targets)


def _ordered(pool: ThreadPoolExecutor, work: Callable[[Any], int], tasks: Iterator[Any], ahead: int) -> Iterator[int]:
    """Map over lazily made tasks with a bounded number in flight (their blocks are what takes the memory)."""
    waiting: list[Any] = []
    for task in tasks:
        waiting.append(pool.submit(work, task))
        if len(waiting) > ahead:
            yield waiting.pop(0).result()
    while waiting:
        yield waiting.pop(0).result()
