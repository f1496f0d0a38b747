"""What a permutation test will take, told before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from brainmap.common.memory_sizes import available_threads
from brainmap.statistics.permutation.permuted_subject import (
    CHUNK,
    PermutationInput,
    PermutationOptions,
    PermutedSubject,
)

PROBE_TARGETS, PROBE_ORDERS = 128, CHUNK - 1
LEAST_ROWS = 1000


@dataclass(frozen=True)
class PermutationCost:
    """What a permutation test will take, before it starts.

    Parameters
    ----------
    operations : float
        Floating-point operations.
    seconds : float
        On the processors that this process may use; an upper limit for sequential tests.
    memory : float
        Bytes held at a time, beyond X and Y.
    cpu_seconds : float
        Processor time, by a few permutations of that kind made here.
    """

    operations: float
    seconds: float
    memory: float
    cpu_seconds: float = 0.0

    def __repr__(self) -> str:
        return (
            f"<PermutationCost: {self.operations:.2g} operations, about {self.seconds:.0f} s here, "
            f"{self.memory / 2**20:.0f} MiB>"
        )


def permutation_cost(shape_x: tuple[int, int], n_targets: int, options: PermutationOptions) -> PermutationCost:
    """Estimate the cost of a permutation test of one subject and layer.

    Parameters
    ----------
    shape_x : tuple of int
        (n, d) of the features.
    n_targets : int
        Number of targets.
    options : PermutationOptions
        Settings.

    Returns
    -------
    PermutationCost
        Of the cheaper of the two ways in :mod:`brainmap.encoding.permuted_scores`.
    """
    (n, d), pca = shape_x, options.pca
    folds = options.cv if isinstance(options.cv, int) else len(options.cv)
    times = n_targets * options.n_permutations * len(options.candidates or (1,))
    operations = _operations(n, d, pca, folds) * times
    width = min(options.block, n_targets)
    memory = 4.0 * (folds * n * min(n, d, pca or d) + 4 * n * width + CHUNK * width)
    cpu = operations * _cpu_seconds_per_operation(_fewer_rows(n, d, pca, folds), d, pca, folds)
    return PermutationCost(operations, cpu / available_threads(), memory, cpu)


def _operations(n: int, d: int, pca: int | None, folds: int) -> float:
    """Floating-point operations of one target and permutation, by the cheaper way."""
    return 2.0 * min(_hat(n, folds), _rotated(n, d, pca, folds))


def _hat(n: int, folds: int) -> float:
    return n**2 * (folds - 1) / folds if folds > 1 else float(n**2)


def _rotated(n: int, d: int, pca: int | None, folds: int) -> float:
    rank = min(n, d, pca or d)
    return float(n * d + 3 * folds * rank * d if _has_products(n, d, folds) else 2 * n * rank)


def _has_products(n: int, d: int, folds: int) -> bool:
    """Whether features are kept as cross-products, as where there are many more rows than features."""
    return n * (folds - 1) / max(folds, 2) > 2 * d


def _fewer_rows(n: int, d: int, pca: int | None, folds: int) -> int:
    """Return the fewest rows that are still computed in the way that ``n`` rows are."""

    def way(rows: int) -> tuple[bool, bool]:
        return _hat(rows, folds) > _rotated(rows, d, pca, folds), _has_products(rows, d, folds)

    rows = n
    while rows * 0.8 >= LEAST_ROWS and way(int(rows * 0.8)) == way(n):
        rows = int(rows * 0.8)
    return rows


@lru_cache(maxsize=64)
def _cpu_seconds_per_operation(n: int, d: int, pca: int | None, folds: int) -> float:
    """Processor time of permutations that are made here of numbers at random, per operation that is counted."""
    rng = np.random.default_rng(0)
    count = max(folds, 2)
    options = PermutationOptions(n_permutations=PROBE_ORDERS, cv=count, pca=pca)
    data = PermutationInput(rng.standard_normal((n, d)), rng.standard_normal((n, PROBE_TARGETS)), 100.0)
    subject = PermutedSubject(data, options)
    values, columns = subject.read(slice(None)), slice(None)
    orders = np.concatenate(list(subject.chunks()))
    subject.scores(values, orders[:1], columns)  # decomposes the features, once for all permutations
    begun = time.process_time()
    subject.scores(values, orders, columns)
    spent = max(time.process_time() - begun, 1e-6)
    return spent / (_operations(n, d, pca, count) * PROBE_TARGETS * len(orders))
