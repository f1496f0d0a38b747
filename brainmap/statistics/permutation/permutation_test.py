"""Permutation null of encoding scores that refits: every permutation trains and tests on permuted responses.

Shuffling only the test labels of a finished K-fold cross-validation is anti-conservative (12 % false positives at 5 %,
measured in ``docs/calibration.md``): folds share training data, and that dependence is lost. Refitting restores it, and
is cheap, since everything about X is decomposed once. A penalty that a target chose on the observed responses
favours them in principle: take one that many targets agree on
(:func:`~brainmap.statistics.permutation.permuted_subject.common_penalty`), or let every permutation choose anew
(``candidates``).

This module is the test (p values, stopping early, continuing); orders of rows are in
:mod:`brainmap.statistics.permutation.group_orders`, scores of permuted responses in
:mod:`brainmap.encoding.permuted_scores`, what a test is made from in
:mod:`brainmap.statistics.permutation.permuted_subject`, one block of its targets in
:mod:`brainmap.statistics.permutation.permuted_blocks`, and what it takes in
:mod:`brainmap.statistics.permutation.expected_time`.

Whole groups (repeats of an image, crops of a photograph) move together, within strata (sessions) where asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.statistics.permutation.block_store import BlockStore
from brainmap.statistics.permutation.pareto_tail import tail_p
from brainmap.statistics.permutation.permuted_blocks import averaged, blocks_of_units, tested_block
from brainmap.statistics.permutation.permuted_subject import PermutationInput, PermutationOptions, PermutedSubject

__all__ = [
    "PermutationInput",
    "PermutationOptions",
    "PermutationTest",
    "compute_blocks",
    "group_permutation_test",
    "permutation_null",
    "permutation_test",
]
FloatArray = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of :func:`permutation_test`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per target: ``r`` (mean over folds and subjects), ``p`` (one-sided), ``n_permutations`` (used) and
        ``p_fwer`` (maximum over targets; NaN for sequential tests); with units, one row per unit and the column
        ``unit``, with Pareto tails the column ``tail``: ``pareto`` or ``counted``.
    options : PermutationOptions
        Settings used.
    split_hash : str
        Identifies the folds (of the first subject).

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import PermutationOptions, permutation_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = np.c_[X @ rng.standard_normal((5, 1)), rng.standard_normal((60, 1))]
    >>> test = permutation_test(X, Y, alpha=10.0, options=PermutationOptions(n_permutations=99))
    >>> (test.table["p"] < 0.05).tolist()
    [True, False]
    """

    table: pd.DataFrame
    options: PermutationOptions
    split_hash: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table, settings in ``attrs``."""
        table = self.table.copy()
        table.attrs = {"method": self.method, "split_hash": self.split_hash}
        return table

    @property
    def method(self) -> str:
        """How the p values were made, in words."""
        rule = "" if self.options.stop_after is None else f", stopped after {self.options.stop_after} exceedances"
        chosen = self.options.candidates
        rule += ", small p values from a fitted generalised Pareto tail" if self.options.tails == "pareto" else ""
        penalty = "fixed penalty" if chosen is None else f"the best of {len(chosen)} penalties for each permutation"
        return f"{self.options.n_permutations} permutations of whole groups with refit at {penalty}{rule}"

    def __repr__(self) -> str:
        hits = int((self.table["p"] <= 0.05).sum())
        return f"<PermutationTest of {len(self.table)} targets: {hits} with p ≤ .05 (uncorrected); {self.method}>"


def permutation_test(
    X: ArrayLike,
    Y: Any,
    *,
    alpha: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    options: PermutationOptions | None = None,
    checkpoint: str | Path | None = None,
) -> PermutationTest:
    """Test held-out scores of a ridge regression against permuted responses.

    Parameters
    ----------
    X, Y, alpha, groups, strata
        As in :class:`~brainmap.statistics.permutation.permuted_subject.PermutationInput`.
    options : PermutationOptions, optional
        Settings.
    checkpoint : str or Path, optional
        Folder in which finished blocks of targets are kept; the same call again continues there, and several
        processes that make it at once share the blocks.

    Returns
    -------
    PermutationTest

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, penalties are not positive, a group lies in two strata, or each
        stratum holds one group only.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import PermutationOptions, permutation_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((60, 2))
    >>> options = PermutationOptions(n_permutations=99)
    >>> test = permutation_test(X, Y, alpha=10.0, groups=np.arange(60) // 2, options=options)
    >>> test.table["p_fwer"].tolist()
    [0.01, 0.01]
    """
    single = PermutationInput(X, Y, alpha, groups, strata)
    return group_permutation_test([single], options=options, checkpoint=checkpoint)


def group_permutation_test(
    subjects: Sequence[PermutationInput],
    *,
    units: ArrayLike | None = None,
    options: PermutationOptions | None = None,
    checkpoint: str | Path | None = None,
    memory: str | int = "8GB",
    device: str = "cpu",
) -> PermutationTest:
    """Test held-out scores averaged over subjects, and over the targets of a unit, against permuted responses.

    Parameters
    ----------
    subjects : sequence of PermutationInput
        With the same targets.
    units : array-like, (n_targets,), optional
        Average over the targets of a unit (area, time); default: every target for itself.
    options, checkpoint
        As in :func:`permutation_test`.
    memory, device
        As in :class:`~brainmap.encoding.PreparedEncoding`; beside it, ``block`` targets of every subject are held.

    Returns
    -------
    PermutationTest

    Raises
    ------
    InputError
        As in :func:`permutation_test`, and if subjects differ in their number of targets.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import PermutationOptions, group_permutation_test
    >>> from brainmap.statistics.permutation.permuted_subject import PermutationInput
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> weights = rng.standard_normal((5, 2))
    >>> brains = [X @ weights + rng.standard_normal((60, 2)) for _ in range(3)]
    >>> subjects = [PermutationInput(X, Y, alpha=10.0) for Y in brains]
    >>> group_permutation_test(subjects, options=PermutationOptions(n_permutations=99)).table["p"].tolist()
    [0.01, 0.01]
    """
    test = _Blocks(subjects, units, options, checkpoint, memory, device)
    test.compute(range(len(test.blocks)), wait=True)
    options, parts = test.options, test.parts
    largest = np.max([part["largest"] for part in parts.values()], axis=0)
    in_order = [parts[number] for number in sorted(parts)]
    r, exceeding, used = (np.concatenate([p[name] for p in in_order]) for name in ("r", "exceeding", "used"))
    settled = options.stop_after is not None and exceeding >= options.stop_after
    p = np.where(settled, exceeding / np.maximum(used, 1), (exceeding + 1) / (used + 1))
    fitted = np.zeros(len(r), dtype=bool)
    if options.tails == "pareto":
        tails = np.concatenate([part["tail"] for part in in_order], axis=1)
        p, fitted = tail_p(r, tails, p, options.n_permutations)
    family = np.full(len(r), np.nan)
    if options.stop_after is None:
        family = (1 + (largest[:, None] >= r).sum(axis=0)) / (1 + options.n_permutations)
    table = pd.DataFrame({"r": r, "p": np.where(np.isfinite(r), p, np.nan), "p_fwer": family, "n_permutations": used})
    if options.tails == "pareto":
        table["tail"] = np.where(fitted, "pareto", "counted")
    if units is not None:
        table.insert(0, "unit", test.names)
    return PermutationTest(table, options, test.group[0].prepared.problem.plan.hash)


def compute_blocks(
    subjects: Sequence[PermutationInput],
    *,
    checkpoint: str | Path,
    share: tuple[int, int] = (1, 1),
    units: ArrayLike | None = None,
    options: PermutationOptions | None = None,
    memory: str | int = "8GB",
    device: str = "cpu",
    wait: bool = True,
) -> None:
    """Compute a share of a :func:`group_permutation_test`, which finds it in ``checkpoint`` and has the same numbers.

    Parameters
    ----------
    subjects, units, options, memory, device
        As there.
    checkpoint : str or Path
        Folder of finished blocks, which any number of processes may fill.
    share : tuple of int
        ``(3, 8)``: every eighth block of targets, from the third.
    wait : bool
        Wait for blocks that other processes hold.
    """
    test = _Blocks(subjects, units, options, checkpoint, memory, device)
    number, of = share
    test.compute(range(number - 1, len(test.blocks), of), wait=wait)


class _Blocks:
    """Blocks of targets of one test, each permuted for itself."""

    def __init__(
        self,
        subjects: Sequence[PermutationInput],
        units: ArrayLike | None,
        options: PermutationOptions | None,
        checkpoint: str | Path | None,
        memory: str | int,
        device: str,
    ) -> None:
        self.options = options or PermutationOptions()
        self.group = [
            PermutedSubject(data, self.options, number, memory=memory, device=device)
            for number, data in enumerate(subjects)
        ]
        self.names, self.blocks = blocks_of_units(self.group, units, self.options.block)
        shared = [array for subject in self.group for array in (subject.x, subject.codes, subject.strata)]
        self.store = BlockStore(checkpoint, shared, self.options)
        self.parts: dict[int, dict[str, NDArray[Any]]] = {}

    def compute(self, numbers: Iterable[int], *, wait: bool) -> None:
        """Compute some blocks, or find them; those that other processes hold come last."""
        held = [number for number in numbers if not self._done(number, wait=False)]
        for number in held if wait else ():
            self._done(number, wait=True)

    def _done(self, number: int, *, wait: bool) -> bool:
        """Compute a block, or find it; False if another process holds it."""
        columns, unit = self.blocks[number]
        values = [subject.read(columns) for subject in self.group]
        key = self.store.key(number, [*values, *(subject.penalty[..., columns] for subject in self.group)])
        block = self.store.load(key)
        if block is None:
            with self.store.held(key, wait=wait) as mine:
                if not mine:
                    return False
                block = self.store.load(key)  # of who held it until now
                if block is None:
                    block = tested_block(self.group, values, columns, unit)
                    self.store.save(key, block)
        self.parts[number] = block
        return True


def permutation_null(
    X: ArrayLike,
    Y: Any,
    *,
    alpha: ArrayLike | None = None,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    options: PermutationOptions | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Mean score per unit (time, area) with its permutations, for cluster tests and maximum statistics.

    Parameters
    ----------
    X, Y, alpha, groups, strata, options
        As in :func:`permutation_test`.
    units : array-like, (n_targets,)
        Unit of each target; scores are averaged over the targets of a unit. The same permutations are used for all.

    Returns
    -------
    observed : ndarray, (n_units,)
        Mean r.
    null : ndarray, (n_permutations, n_units)
        The same for permuted responses.
    names : ndarray, (n_units,)
        Units, sorted. Average results of several subjects to test the group.

    Raises
    ------
    InputError
        As in :func:`permutation_test`.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import PermutationOptions, permutation_null
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 4)) + rng.standard_normal((60, 4))
    >>> options = PermutationOptions(n_permutations=99)
    >>> observed, null, names = permutation_null(X, Y, alpha=10.0, units=["V1", "V1", "IT", "IT"], options=options)
    >>> observed.shape, null.shape, names.tolist()
    ((2,), (99, 2), ['IT', 'V1'])
    """
    options = options or PermutationOptions()
    subject = PermutedSubject(PermutationInput(X, Y, alpha, groups, strata), options)
    names, blocks = blocks_of_units([subject], units, options.block)
    parts = []
    for columns, unit in blocks:
        values = subject.read(columns)
        chunks = [averaged([subject.scores(values, chunk, columns)], unit) for chunk in subject.chunks()]
        parts.append(np.concatenate(chunks))
    means = np.concatenate(parts, axis=1)
    return means[0], means[1:], names
