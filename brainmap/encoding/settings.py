"""What one analysis asks of the engine, and what it knows about the rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.array_sources import Averaging
from brainmap.common.errors import InputError
from brainmap.encoding.backend import Backend
from brainmap.encoding.folds import SplitPlan


@dataclass(frozen=True)
class RidgeOptions:
    """Advanced settings of `EncodingRidgeCV`.

    Parameters
    ----------
    mode : {'exact', 'gcv'}
        How alpha is chosen. 'exact': inner cross-validation, as an explicit float64 loop would. 'gcv': generalised
        cross-validation, one decomposition per train set, another criterion (mean squared error).
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
        if str(self.mode) == "screen":
            raise InputError("mode 'screen' lost up to .036 of the inner r and is gone; use mode 'exact'.")
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


@dataclass(frozen=True)
class RidgeSettings:
    """The model: penalties and what happens to features before the ridge.

    Attributes mirror the parameters of `EncodingRidgeCV`. For banded ridge, `bands` holds one row of factors on the
    scaled features per candidate, (n_candidates, n_features), and `band_scale` the one a factorisation is for.
    """

    alphas: NDArray[np.float64]
    scoring: str = "pearsonr"
    fit_intercept: bool = True
    scale: bool = True
    pca: int | None = None
    options: RidgeOptions = field(default_factory=RidgeOptions)
    bands: NDArray[np.float64] | None = None
    band_scale: NDArray[np.float64] | None = None

    @property
    def candidates(self) -> tuple[RidgeSettings, ...]:
        """The settings of each candidate of a banded ridge; of a plain one, just these."""
        if self.bands is None:
            return (self,)
        return tuple(replace(self, bands=None, band_scale=row) for row in self.bands)

    @property
    def plain(self) -> bool:
        """Whether features enter as they are but for centring (then train sets may be shared between outer splits)."""
        return not self.scale and self.pca is None and self.band_scale is None and self.fit_intercept

    @property
    def centred(self) -> bool:
        """Whether features are centred on each train set: not by a ridge without intercept on features as they are."""
        return self.fit_intercept or self.scale or self.pca is not None

    @property
    def precision(self) -> str:
        """Precision of products with responses: float64 without intercept, where their level cannot be subtracted."""
        return self.options.precision if self.fit_intercept else "float64"


def make_settings(
    alphas: ArrayLike, scoring: str, *, fit_intercept: bool, scale: bool, pca: int | None, options: RidgeOptions | None
) -> RidgeSettings:
    """Check parameters and collect them.

    Raises
    ------
    InputError
        If alphas are not positive and finite, the scoring is unknown, or `pca` is below 1.
    """
    values = np.sort(np.atleast_1d(np.asarray(alphas, dtype=np.float64)).ravel())
    if values.size == 0 or not np.all(np.isfinite(values)) or values[0] <= 0:
        raise InputError(f"`alphas` must be positive finite numbers, got {alphas!r}.")
    if scoring not in ("pearsonr", "r2"):
        raise InputError(f"unknown scoring {scoring!r}; choose 'pearsonr' or 'r2'.")
    if pca is not None and pca < 1:
        raise InputError(f"`pca` must be at least 1 component (or None), got {pca}.")
    return RidgeSettings(values, scoring, fit_intercept, scale, pca, options or RidgeOptions())


@dataclass(frozen=True)
class RowDesign:
    """What is known about each row besides features, responses and groups.

    Parameters
    ----------
    weight : array-like, shape (n_rows,), optional
        Sample weights of the ridge fit, as in scikit-learn's ``Ridge.fit``; scaling, PCA and scores stay unweighted.
    nuisance : array-like, shape (n_rows, n_regressors), optional
        Regressors (drift, motion, eye movements, session) projected out of features and responses inside each split:
        fitted with an intercept on the outer train set, applied to its test set.
    repeats : array-like, shape (n_rows,), optional
        Rows with the same label (repeats of an image) are averaged before anything else; averaged rows come in the
        order in which labels first appear, and splits, weights and nuisance regressors then refer to those. Features
        and groups may have one row per trial (averaged too; the first trial's group counts) or one per averaged row.
    """

    weight: ArrayLike | None = None
    nuisance: ArrayLike | None = None
    repeats: ArrayLike | None = None

    def averaging(self) -> Averaging | None:
        """Return how rows are averaged, if they are."""
        return None if self.repeats is None else Averaging.by_label(self.repeats)

    def checked(self, n_rows: int) -> CheckedRows:
        """Check shapes and values; nuisance columns are z-scored, which changes nothing but their conditioning.

        Raises
        ------
        InputError
            If lengths differ from the number of rows, or weights are negative, all zero or not finite.
        """
        w = None if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        if w is not None and (w.shape != (n_rows,) or not np.all(np.isfinite(w)) or w.min() < 0 or w.max() == 0):
            raise InputError(f"sample weights must be {n_rows} finite numbers, none negative and not all zero.")
        if self.nuisance is None:
            return CheckedRows(w, None)
        columns = np.asarray(self.nuisance, dtype=np.float64)
        columns = columns[:, None] if columns.ndim == 1 else columns
        if columns.ndim != 2 or len(columns) != n_rows or not np.all(np.isfinite(columns)):
            raise InputError(f"nuisance regressors must be finite with {n_rows} rows, got shape {columns.shape}.")
        centred = columns - columns.mean(axis=0)
        spread = np.sqrt((centred**2).mean(axis=0))
        kept = spread > 1e-12 * np.abs(columns).max(axis=0, initial=0.0)
        return CheckedRows(w, centred[:, kept] / spread[kept] if kept.any() else None)


@dataclass(frozen=True)
class CheckedRows:
    """Weights, (n_rows,), and nuisance regressors, (n_rows, n_regressors), ready for the engine."""

    weight: NDArray[np.float64] | None
    nuisance: NDArray[np.float64] | None

    def ordered(self, order: NDArray[np.int64]) -> CheckedRows:
        """Return both with rows in another order."""
        weight = None if self.weight is None else self.weight[order]
        return CheckedRows(weight, None if self.nuisance is None else self.nuisance[order])


@dataclass(frozen=True)
class Problem:
    """Splits, model and rows of one analysis: everything the engine needs but features and responses."""

    plan: SplitPlan
    settings: RidgeSettings
    design: CheckedRows
    backend: Backend
    threads: int
    order: NDArray[np.int64]  # rows sorted by atom
    starts: NDArray[np.int64]  # first sorted row of each atom, and the number of rows
    slices: tuple[slice, ...]  # sorted rows of each atom
    largest_train: int  # rows of the largest outer train set
    n_nuisance: int  # regressors projected out inside each split

    @classmethod
    def of(
        cls, plan: SplitPlan, settings: RidgeSettings, design: CheckedRows, *, backend: Backend, threads: int
    ) -> Problem:
        """Sort rows by atom."""
        order = np.argsort(plan.atoms, kind="stable").astype(np.int64)
        counts = np.bincount(plan.atoms, minlength=plan.n_atoms)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        slices = tuple(map(slice, starts[:-1].tolist(), starts[1:].tolist()))
        largest = max([len(train) for train, _ in plan.outer])
        design = design if design.weight is None and design.nuisance is None else design.ordered(order)
        n_nuisance = 0 if design.nuisance is None else design.nuisance.shape[1]
        return cls(plan, settings, design, backend, threads, order, starts, slices, largest, n_nuisance)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    def rows(self, members: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the sorted-row indices of a set of atoms."""
        parts = [np.arange(self.starts[atom], self.starts[atom + 1]) for atom in np.flatnonzero(members)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class TrainSet:
    """Which atoms train and which sets they are scored on, before anything is factorised."""

    outer: int
    members: NDArray[np.bool_]
    validations: tuple[tuple[int, NDArray[np.bool_]], ...]
    final: bool  # an outer train set with its test set
    universe: NDArray[np.bool_] | None  # train and validation atoms together, when no atom is in two of them


def train_sets(plan: SplitPlan, *, share: bool) -> tuple[list[TrainSet], list[TrainSet]]:
    """Return inner train sets and outer train sets; with `share`, inner sets of equal rows become one."""
    members = {id(rows): plan.members(rows) for pairs in (plan.outer, *plan.inner) for pair in pairs for rows in pair}
    outer = []
    for index, (train, test) in enumerate(plan.outer):
        outer.append(TrainSet(index, members[id(train)], ((index, members[id(test)]),), True, None))
    inner: dict[Any, TrainSet] = {}
    for index, pairs in enumerate(plan.inner):
        for number, (train, val) in enumerate(pairs):
            key: Any = members[id(train)].tobytes() if share else (index, number)
            known = inner.get(key, TrainSet(index, members[id(train)], (), False, None))
            inner[key] = replace(known, validations=(*known.validations, (index, members[id(val)])))
    for key, known in inner.items():
        count = known.members.astype(int) + sum(held.astype(int) for _, held in known.validations)
        inner[key] = replace(known, universe=count > 0 if count.max(initial=0) <= 1 else None)
    return list(inner.values()), outer


Mode = Literal["exact", "gcv"]
Inner = Literal["nested", "shared"]
Precision = Literal["float32", "float64"]
Scoring = Literal["pearsonr", "r2"]
