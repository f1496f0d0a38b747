"""Settings of the ridge engine that few people change, kept out of the signatures that everybody uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from brainmap.errors import InputError

Mode = Literal["exact", "screen", "gcv"]
Inner = Literal["nested", "shared"]
Precision = Literal["float32", "float64"]
Scoring = Literal["pearsonr", "r2"]


@dataclass(frozen=True)
class RidgeOptions:
    """Advanced settings of `EncodingRidgeCV`.

    Parameters
    ----------
    mode : {'exact', 'screen', 'gcv'}
        How alpha is chosen. 'exact': inner cross-validation, as an explicit float64 loop would. 'screen': the same with
        an approximated prediction variance (cheaper, nearly always the same alpha; see ``docs/ridge.md``). 'gcv':
        generalised cross-validation, one decomposition per train set, another criterion (mean squared error).
    inner : {'nested', 'shared'}
        Inner folds of their own, or the other outer folds (cheaper; only with outer folds that partition the rows).
    seed : int
        Seed of the shuffles that make outer and inner folds.
    threads : int, optional
        Worker threads, one BLAS thread each; default: the CPUs this process may use.
    batch : int, optional
        Targets computed at a time per worker; default: from the memory bound, at most 2,048. Part of bit-identity.
    precision : {'float32', 'float64'}
        Of products with responses. Decompositions are always float64; layers on which float32 is not safe are promoted.
    rank_tolerance : float
        Components whose eigenvalue is below this fraction of the largest are dropped (treated as the null space).
    tie_tolerance : float
        Among alphas whose mean inner score is within this of the best, the largest is chosen.
    """

    mode: Mode = "exact"
    inner: Inner = "nested"
    seed: int = 0
    threads: int | None = None
    batch: int | None = None
    precision: Precision = "float32"
    rank_tolerance: float = 1e-12
    tie_tolerance: float = 5e-7

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"unknown mode {self.mode!r}; choose one of {', '.join(get_args(Mode))}.")
        if self.inner not in get_args(Inner):
            raise InputError(f"unknown inner folds {self.inner!r}; choose one of {', '.join(get_args(Inner))}.")
        if self.precision not in get_args(Precision):
            raise InputError(f"unknown precision {self.precision!r}; choose 'float32' or 'float64'.")
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be at least 1, got {value}.")
