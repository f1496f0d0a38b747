"""What a permutation test will take, told before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from brainmap.statistics.permutation.permuted_subject import CHUNK, PermutationOptions


@dataclass(frozen=True)
class PermutationCost:
    """What a permutation test will take, before it starts.

    Parameters
    ----------
    operations : float
        Floating-point operations.
    seconds : float
        At the speed measured here on a product of the same shape; an upper limit for sequential tests.
    memory : float
        Bytes held at a time, beyond X and Y.
    """

    operations: float
    seconds: float
    memory: float

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
    n, rank = shape_x[0], min(*shape_x, options.pca or shape_x[1])
    folds = options.cv if isinstance(options.cv, int) else len(options.cv)
    hat = n**2 * (folds - 1) / folds if folds > 1 else n**2
    per_target = min(hat, n * rank + 3 * folds * rank**2)
    operations = 2.0 * per_target * n_targets * options.n_permutations * len(options.candidates or (1,))
    width = min(options.block, n_targets)
    memory = 4.0 * (folds * n * rank + 4 * n * width + CHUNK * width)
    return PermutationCost(operations, operations / _speed(n, rank, width), memory)


def _speed(n: int, rank: int, width: int) -> float:
    """Operations per second of a product of this shape, measured here."""
    probe = np.ones((min(n, 1024), min(rank, 512)), dtype=np.float32)
    goal = np.ones((probe.shape[0], min(width, 512)), dtype=np.float32)
    start = time.perf_counter()
    for _ in range(3):
        _ = probe.T @ goal
    return 3 * 2.0 * probe.size * goal.shape[1] / max(time.perf_counter() - start, 1e-9)
