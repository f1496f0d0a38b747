"""The memory bound: parsed once, then shared between what must stay and what comes in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from brainmap.common.array_sources import ArraySource
from brainmap.common.errors import InputError
from brainmap.encoding.layer.layer_factors import uses_rows
from brainmap.encoding.settings import Problem

MAX_BATCH, MIN_BATCH = 2048, 64  # below the smaller, another thread costs more than it brings
LAYERS_SHARE, READING_SHARE = 0.6, 0.3  # of what is free: for factorised layers; for stored responses being read
INTERPRETER_BYTES = 300 * 10**6  # Python with numpy, scipy, scikit-learn and xarray loaded


@dataclass(frozen=True)
class BatchPlan:
    """How many targets at a time, in how many worker threads."""

    batch: int
    threads: int
    read_width: int = 1  # columns of stored responses to read at once


def plan_batches(
    n_targets: int, *, budget: int, bytes_per_target: int, threads: int, batch: int | None = None
) -> BatchPlan:
    """Choose the batch: as large as the budget allows, at most 2,048, and a whole number of rounds of the workers.

    Parameters
    ----------
    n_targets : int
        Number of targets.
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
        batch = min(MAX_BATCH, limit)
        rounds = -(-n_targets // (batch * threads))
        batch = max(-(-n_targets // (rounds * threads)), min(MIN_BATCH, limit))
    batch = max(1, min(batch, limit, n_targets))
    return BatchPlan(batch, max(1, min(threads, -(-n_targets // batch))))


class MemoryBound:
    """What layers and batches of targets take, and how many of them fit a bound.

    Parameters
    ----------
    sources : mapping of str to ArraySource
        Features of each layer.
    problem : Problem
    memory : int
        Bytes.
    n_targets : int
        Targets whose results are kept.
    """

    def __init__(self, sources: Mapping[str, ArraySource], problem: Problem, memory: int, n_targets: int) -> None:
        self.problem, self.n_targets = problem, n_targets
        self.shapes = {name: source.shape for name, source in sources.items()}
        output = 4 * 8 * len(sources) * len(problem.plan.outer) * n_targets
        self.free = memory - INTERPRETER_BYTES - output
        self.layer_bytes = {name: self._layer_bytes(*shape) for name, shape in self.shapes.items()}

    def groups(self, names: Sequence[str]) -> list[list[str]]:
        """Group layers so that one read of the responses serves as many as fit beside the batches."""
        groups: list[list[str]] = []
        used = 0.0
        for name in names:
            size = self.layer_bytes[name]
            if not groups or used + size > self.free * LAYERS_SHARE:
                groups.append([])
                used = 0
            groups[-1].append(name)
            used += size
        return groups

    def holds_all(self) -> bool:
        """Whether all layers stay factorised for the next responses."""
        return sum(self.layer_bytes.values()) <= self.free * LAYERS_SHARE

    def batches(self, group: Sequence[str], responses: ArraySource) -> BatchPlan:
        """Choose the batches of targets beside some layers."""
        problem = self.problem
        free = self.free - sum(self.layer_bytes[name] for name in group)
        reading = 0 if responses.in_memory else int(free * READING_SHARE)
        plan = plan_batches(
            self.n_targets,
            budget=free - reading,
            bytes_per_target=max(self._target_bytes(d) for _, d in self.shapes.values()),
            threads=1 if problem.backend.uses_torch else problem.threads,  # a device is kept busy by one
            batch=problem.settings.options.batch,
        )
        return plan if responses.in_memory else replace(plan, read_width=_read_width(responses, reading))

    def _layer_bytes(self, n: int, d: int) -> int:
        """Estimate what one factorised layer holds."""
        problem, itemsize = self.problem, self.problem.backend.itemsize
        rank = min(n_components(d, problem), n)
        inner = 0 if problem.settings.options.mode == "gcv" else sum(len(pairs) for pairs in problem.plan.inner)
        splits = (inner + len(problem.plan.outer)) * len(problem.settings.candidates)
        if uses_rows(d, problem):
            return splits * (n * rank + rank * min(rank, n)) * itemsize + n * d * 8
        size = min(d, n) + problem.n_nuisance + 1
        return splits * (rank * size + rank * rank) * itemsize + n * size * 4 + problem.plan.n_atoms * size * size * 8

    def _target_bytes(self, d: int) -> int:
        """Estimate what one worker needs for one target."""
        problem, itemsize = self.problem, self.problem.backend.itemsize
        own = problem.n_rows * (8 + 2 * itemsize)
        if uses_rows(d, problem):
            return own + problem.n_rows * 2 * itemsize + 5 * min(n_components(d, problem), problem.n_rows) * itemsize
        copies = 2 if problem.n_nuisance or problem.design.weight is not None else 1
        return own + (problem.plan.n_atoms * copies + 8) * (d + problem.n_nuisance + 1) * itemsize


def n_components(n_features: int, problem: Problem) -> int:
    """Return how many features a ridge sees at most."""
    pca = problem.settings.pca
    return n_features if pca is None else min(pca, n_features)


def _read_width(responses: ArraySource, room: int) -> int:
    """Return how many columns to read at once: two blocks fit the room, and stored chunks are kept whole."""
    width = max(1, room // max(responses.row_bytes * 2, 1))
    chunk = responses.column_chunk
    return width - width % chunk if 1 < chunk <= width else width
