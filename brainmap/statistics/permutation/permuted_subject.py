"""What a permutation test is made from, and the scores of one subject under permuted orders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.encoding.cross_validation import PreparedEncoding
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.row_groups import RowGroups
from brainmap.encoding.settings import RidgeOptions
from brainmap.statistics.checked_arrays import in_own_units, sliceable
from brainmap.statistics.permutation.group_orders import check_strata, group_orders, order_chunks
from brainmap.statistics.permutation.pareto_tail import LEAST_PERMUTATIONS

FloatArray = NDArray[np.floating]
CHUNK = 50  # permutations scored at a time
ALIKE = 1.2


@dataclass(frozen=True)
class PermutationOptions:
    """Settings of :func:`~brainmap.statistics.permutation.permutation_test.permutation_test`.

    Parameters
    ----------
    n_permutations : int
        Number of permutations, at most so many where ``stop_after`` is given.
    cv : int or sequence of (train, test)
        Grouped folds, or splits, the same as for the scores under test.
    stop_after : int, optional
        Sequential p (Besag and Clifford 1991): a target is settled once so many permutations beat it, and then costs
        nothing any more. The maximum statistic needs all permutations and is then not given.
    candidates : tuple of float, optional
        Penalties to choose from anew in every permutation, the observed order included: the statistic is the largest
        mean r over them. Costs one refit for each. Exact, where fixed penalties are so only if chosen on other data.
    pca : int, optional
        Principal components of the features, fitted on each train split, as for the scores under test.
    block : int
        Targets held at a time.
    seed : int
        Seed of folds and permutations.
    tails : {"counted", "pareto"}
        Small p values counted, or from a generalised Pareto distribution fitted to the largest null scores
        (:mod:`brainmap.statistics.permutation.pareto_tail`), which takes 10,000 permutations and no early stop.

    Examples
    --------
    >>> from brainmap.statistics import PermutationOptions
    >>> PermutationOptions(n_permutations=5000, stop_after=20).n_permutations
    5000
    """

    n_permutations: int = 1000
    cv: Any = 5
    stop_after: int | None = None
    candidates: tuple[float, ...] | None = None
    pca: int | None = None
    block: int = 2048
    seed: int = 0
    tails: Literal["counted", "pareto"] = "counted"

    def __post_init__(self) -> None:
        if self.tails not in ("counted", "pareto"):
            raise InputError(f"tails {self.tails!r} must be 'counted' or 'pareto'.")
        if self.tails == "pareto" and (self.stop_after is not None or self.n_permutations < LEAST_PERMUTATIONS):
            raise InputError(
                f"A Pareto tail is fitted to {LEAST_PERMUTATIONS:,} permutations or more, none of them left out: raise "
                "n_permutations, leave stop_after out, or take tails='counted'."
            )
        if self.n_permutations < 19 or self.block < 1 or (self.stop_after is not None and self.stop_after < 1):
            raise InputError("A permutation test needs ≥ 19 permutations, a block of ≥ 1 target and stop_after ≥ 1.")


@dataclass(frozen=True, eq=False)
class PermutationInput:
    """Features and responses of one subject.

    Parameters
    ----------
    X : array-like, (n, d)
        Features; standardised on each train split.
    Y : array-like, (n, n_targets)
        Responses; arrays that live elsewhere (memmap, zarr, …) are read one block of targets at a time.
    alpha : float or array-like, (n_targets,) or (n_splits, n_targets), optional
        Fixed ridge penalties. Give these, or ``candidates`` of the options.
    groups : array-like, (n,), optional
        Rows that move and are held out together; default: every row for itself. Blocks in time, with a gap around test
        sets, are a :class:`~brainmap.encoding.row_groups.RowGroups`.
    strata : array-like, (n,), optional
        Groups are exchanged within strata only, such as sessions.
    cv : sequence of (train, test), optional
        Splits of this subject's rows, in place of the options' folds.
    same_photographs : bool
        Rows show the same photographs as those of the first subject, and are permuted alike, so that responses that
        subjects share stay shared in the null distribution.
    """

    X: ArrayLike
    Y: Any
    alpha: ArrayLike | None = None
    groups: ArrayLike | None = None
    strata: ArrayLike | None = None
    cv: Any = None
    same_photographs: bool = True


class PermutedSubject:
    """Scores of one subject in any order of its rows; everything about the features is decomposed once.

    Parameters
    ----------
    data : PermutationInput
        Checked here.
    options : PermutationOptions
        Settings of the test.
    number : int
        Position in the group; subjects who saw other photographs have permutations of their own.
    memory, device
        As in :class:`~brainmap.encoding.PreparedEncoding`.

    Raises
    ------
    InputError
        If shapes disagree, features are not finite, penalties are not positive, or a group lies in two strata.
    """

    def __init__(
        self,
        data: PermutationInput,
        options: PermutationOptions,
        number: int = 0,
        *,
        memory: str | int = "8GB",
        device: str = "cpu",
    ) -> None:
        x, self.responses = np.asarray(data.X, dtype=np.float64), sliceable(data.Y)
        shape = tuple(self.responses.shape)
        if x.ndim != 2 or len(shape) != 2 or len(x) != shape[0]:
            raise InputError(f"X and Y must be (n, d) and (n, n_targets) with equal n; got {x.shape} and {shape}.")
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise InputError(f"X is not finite at row {row}, column {column}.")
        labels = np.arange(len(x)) if data.groups is None else np.asarray(data.groups)
        strata = np.zeros(len(x)) if data.strata is None else np.asarray(data.strata)
        if labels.shape != (len(x),) or strata.shape != (len(x),):
            raise InputError(f"Groups and strata must have one entry per row ({len(x)}).")
        self.codes, self.strata = check_strata(labels, strata)
        self.options, self.x, self.n_targets = options, x, shape[1]
        self.seed = options.seed if data.same_photographs else options.seed + number
        splits = options.cv if data.cv is None else data.cv
        n_splits = splits if isinstance(splits, int) else len(splits)
        self.penalty = penalties(data.alpha, options, (n_splits, self.n_targets))
        # Nothing is chosen any more, so the inner folds do not matter.
        ridge = EncodingRidgeCV(
            alphas=np.unique(self.penalty), cv=2, pca=options.pca, options=RidgeOptions(seed=options.seed)
        )
        self.groups = data.groups if isinstance(data.groups, RowGroups) else self.codes
        self.prepared = PreparedEncoding(
            x, estimator=ridge, cv=splits, groups=self.groups, memory=memory, device=device
        )

    def read(self, columns: NDArray[np.intp] | slice) -> FloatArray:
        """Responses of some targets, (n, n_columns), float32, about their median and in units of their own.

        Raises
        ------
        InputError
            If a value is not finite.
        """
        block = np.asarray(self.responses[:, columns])
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            target = np.arange(self.n_targets)[columns][column]
            raise InputError(f"Y is not finite at row {row}, column {target}.")
        return in_own_units(block)

    def chunks(self) -> Iterator[NDArray[np.intp]]:
        """Yield orders of rows, some at a time; the very first is the one that was observed."""
        orders = group_orders(self.groups, self.options.n_permutations, strata=self.strata, seed=self.seed)
        return order_chunks(orders, len(self.x), CHUNK)

    def scores(
        self, block: FloatArray, orders: NDArray[np.intp], columns: NDArray[np.intp] | slice
    ) -> NDArray[np.float64]:
        """Mean over folds of the held-out r, (n_orders, n_columns); NaN for targets constant in every test set.

        Of several candidates (first axis of the penalties) the best counts.
        """
        by_alpha = [
            self.prepared.permutation_scores(block, orders, alpha).isel(layer=0).values.astype(np.float64)
            for alpha in self.penalty[..., columns]
        ]
        best: NDArray[np.float64] = np.fmax.reduce(by_alpha)
        return best


def penalties(alpha: ArrayLike | None, options: PermutationOptions, shape: tuple[int, int]) -> FloatArray:
    """Penalties to score with, (n_candidates, n_splits, n_targets); one candidate where they are fixed.

    Raises
    ------
    InputError
        If neither or both of fixed penalties and candidates are given, or they do not fit or are not positive.
    """
    if (alpha is None) == (options.candidates is None):
        raise InputError("Give either fixed penalties `alpha`, or `candidates` to choose from in every permutation.")
    given = [alpha] if options.candidates is None else list(options.candidates)
    try:
        penalty = np.stack([np.broadcast_to(np.asarray(value, dtype=np.float32), shape) for value in given])
    except ValueError:
        raise InputError(
            f"alpha of shape {np.asarray(given[0]).shape} fits neither ({shape[1]},) nor ({shape[0]}, {shape[1]})."
        ) from None
    if not (np.isfinite(penalty) & (penalty > 0)).all():
        raise InputError("Ridge penalties must be positive and finite; a score without a penalty cannot be refitted.")
    return penalty


def common_penalty(alpha: NDArray[np.floating], r: NDArray[np.floating]) -> float:
    """Return one penalty for all targets of a layer: what the best predicted third of them chose most often.

    A penalty chosen on the very responses under test favours them a little; one that hundreds of targets agree on does
    not depend on any single one of them.

    Parameters
    ----------
    alpha : ndarray, (..., n_targets)
        Chosen penalties; NaN is ignored.
    r : ndarray, (..., n_targets)
        Scores.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If no penalty is known.
    """
    flat, scores = np.reshape(alpha, (-1, np.shape(alpha)[-1])), np.reshape(r, (-1, np.shape(r)[-1]))
    scored = np.isfinite(scores)
    mean = np.where(scored, scores, 0.0).sum(axis=0) / np.maximum(scored.sum(axis=0), 1)
    some = scored.any(axis=0)  # constant targets are missing, not the worst
    best = some & (mean >= np.quantile(mean[some], 2 / 3)) if some.any() else some
    known = flat[:, best][np.isfinite(flat[:, best])]
    if not len(known):
        raise InputError("No target has a penalty; there is nothing to permute.")
    # grids of several splits differ by their numbers of train rows: penalties less than ALIKE apart are one
    values, count = np.unique(known, return_counts=True)
    number = np.cumsum(np.diff(values, prepend=values[0]) > (ALIKE - 1) * values)
    votes = np.bincount(number, weights=count)
    members = np.flatnonzero(number == votes.argmax())
    return float(values[members[count[members].argmax()]])
