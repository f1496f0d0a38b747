"""The memory bound: parsed once, then shared between what must stay and what comes in batches."""

from __future__ import annotations

from dataclasses import dataclass

from brainmap.common.errors import InputError

MAX_BATCH = 2048
INTERPRETER_BYTES = 300 * 10**6  # Python with numpy, scipy, scikit-learn and xarray loaded


@dataclass(frozen=True)
class BatchPlan:
    """How many targets at a time, in how many worker threads."""

    batch: int
    threads: int


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
        batch = -(-n_targets // (rounds * threads))
    batch = max(1, min(batch, limit, n_targets))
    return BatchPlan(batch, max(1, min(threads, -(-n_targets // batch))))
