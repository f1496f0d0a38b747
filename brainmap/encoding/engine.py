"""The engine: layers factorised once, responses streamed past them in batches of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainmap.common.array_sources import ArraySource
from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.encoding.layer.layer_factors import LayerFactors, factorise_layer
from brainmap.encoding.layer.target_block import TargetBlock
from brainmap.encoding.memory_bound import BatchPlan, MemoryBound, n_components
from brainmap.encoding.settings import Problem

Out = TypeVar("Out")


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
        widest = max(n_components(source.shape[1], self.problem) for source in self.sources.values())
        if self.problem.plan.grouped:
            raise InputError("mode 'gcv' counts every row as independent but rows are grouped; use mode 'exact'.")
        if widest >= smallest:
            raise InputError(
                f"mode 'gcv' breaks down with {widest} features and {smallest} train rows; use mode 'exact'."
            )
        if self.problem.design.weight is not None:
            raise InputError("mode 'gcv' does not take sample weights; use mode 'exact'.")

    def layer(self, name: str) -> LayerFactors:
        """Return a factorised layer, from memory when it is still there."""
        if name not in self._known:
            with blas_threads(1):
                self._known[name] = factorise_layer(self.sources[name], self.problem, weights=self.weights)
        return self._known[name]

    def results(
        self,
        responses: ArraySource,
        compute: Callable[[LayerFactors, TargetBlock], Out],
        layers: Sequence[str] | None = None,
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

        Yields
        ------
        LayerFactors, slice, object
            Layer, targets and result, in order.
        """
        names = list(self.sources) if layers is None else list(as_names(layers))
        n_rows, n_targets = responses.shape
        if n_rows != self.problem.n_rows:
            raise InputError(
                f"{responses.name} has {n_rows} rows but the features have {self.problem.n_rows}; "
                "rows must correspond one to one."
            )
        bound = MemoryBound(self.sources, self.problem, self.memory, n_targets)
        for group in bound.groups(names):
            plan = bound.batches(group, responses)
            factors = [self.layer(name) for name in group]
            with blas_threads(1):
                yield from self._stream(responses, factors, plan, compute)
            if not bound.holds_all():
                self._known = {name: layer for name, layer in self._known.items() if name not in group}

    def _stream(
        self,
        responses: ArraySource,
        layers: list[LayerFactors],
        plan: BatchPlan,
        compute: Callable[[LayerFactors, TargetBlock], Out],
    ) -> Iterator[tuple[LayerFactors, slice, Out]]:
        n_targets = responses.shape[1]

        def work(task: tuple[NDArray[Any], int, int, int]) -> list[tuple[LayerFactors, slice, Out]]:
            stored, offset, start, stop = task
            columns = stored[:, start - offset : stop - offset]
            block = TargetBlock.of(columns, self.problem, name=responses.name, first_column=start)
            return [(layer, slice(start, stop), compute(layer, block)) for layer in layers]

        description = f"encoding {len(layers)} layer(s), {n_targets} targets"
        total = -(-n_targets // plan.batch)
        with ThreadPoolExecutor(max_workers=plan.threads) as pool:
            done = _ordered(pool, work, self._read(responses, plan), ahead=plan.threads)
            for results in track(done, description, total=total, unit="batch") if total > 1 else done:
                yield from results

    def _read(self, responses: ArraySource, plan: BatchPlan) -> Iterator[tuple[NDArray[Any], int, int, int]]:
        """Yield batches as (block, first column of block, start, stop); blocks are wide where reading is not free."""
        n_targets = responses.shape[1]
        if responses.in_memory:
            for start, stop in _tasks(n_targets, plan.batch):
                yield responses.array, 0, start, stop
            return
        # whole batches, so that the same numbers are computed together wherever the responses live
        width = max(plan.read_width // plan.batch, 1) * plan.batch
        for first, last in _tasks(n_targets, width):
            block = responses.columns(first, last)
            for start, stop in _tasks(last - first, plan.batch):
                yield block, first, first + start, first + stop


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Hold BLAS to some threads: one each under our own worker threads beats BLAS threading, and is deterministic."""
    with threadpool_limits(limits=number, user_api="blas"):
        yield


def _tasks(n_targets: int, batch: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_targets, batch):
        yield start, min(start + batch, n_targets)


def _ordered(pool: ThreadPoolExecutor, work: Callable[[Any], Out], tasks: Iterator[Any], ahead: int) -> Iterator[Out]:
    """Map over lazily made tasks with a bounded number in flight (their blocks are what takes the memory)."""
    waiting: list[Any] = []
    for task in tasks:
        waiting.append(pool.submit(work, task))
        if len(waiting) > ahead:
            yield waiting.pop(0).result()
    while waiting:
        yield waiting.pop(0).result()
