"""Do rows resemble their neighbours, or their kind, in features and in responses alike? Then they are not exchangeable.

Folds dealt at random then hold rows of which near copies train: noise that is alike in two rows is predicted from
features that are alike in them, and the test calls it significant. On features of autocorrelation .9 and noise of .5
the default test calls 87 % of null targets predicted; what counts is the product of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import SHUFFLED_ROWS

FloatArray = NDArray[np.float64]
N_SHUFFLES = 100
CLEAR = 4.0  # deviations of shuffled rows by which a mean must exceed theirs
CLEAR_TARGET = 3.0  # and the value of one target
SOME_TARGETS = 0.05  # share of targets that exceed it, of which one in 700 does by chance
LEAST = 0.03  # a correlation below this does no harm worth a warning
HARMLESS = 0.05  # product of both correlations at which neighbours are far enough apart
FEWEST_PAIRS = 20
LONGEST_GAP = 200


@dataclass(frozen=True)
class Resemblance:
    """How alike pairs of rows are.

    Attributes
    ----------
    features, responses : float
        Mean correlation of the pairs, over features and over targets (those that exceed chance, where few do).
    share : float
        Share of targets whose pairs resemble each other beyond chance.
    n_pairs : int
        Pairs of rows.
    clear : bool
        Whether both exceed what shuffled rows show.
    """

    features: float
    responses: float
    share: float
    n_pairs: int
    clear: bool


def neighbours(first: ArrayLike, second: ArrayLike) -> NDArray[np.int64]:
    """Pairs of rows as one array, (n_pairs, 2)."""
    pairs = np.column_stack([np.asarray(first), np.asarray(second)]).astype(np.int64)
    return pairs


def resemblance(X: ArrayLike, Y: ArrayLike, pairs: ArrayLike, *, seed: int = 0) -> Resemblance | None:
    """Compare pairs of rows with pairs of shuffled rows.

    Parameters
    ----------
    X : array-like, (n, d)
        Features.
    Y : array-like, (n, n_targets)
        Responses.
    pairs : array-like of int, (n_pairs, 2)
        Rows that may be alike: neighbours in time, photographs of one folder.
    seed : int
        Of the shuffles.

    Returns
    -------
    Resemblance or None
        None with fewer than twenty pairs, or where nothing varies.

    Raises
    ------
    InputError
        If X and Y have different numbers of rows.
    """
    x, y, index = _standardised(X), _standardised(Y), np.asarray(pairs, dtype=np.int64)
    if len(x) != len(y):
        raise InputError(f"Features of {len(x)} rows and responses of {len(y)} cannot be compared row by row.")
    if len(index) < FEWEST_PAIRS or not x.shape[1] or not y.shape[1]:
        return None
    rng = np.random.default_rng([seed, SHUFFLED_ROWS])
    orders = [rng.permutation(len(x)) for _ in range(N_SHUFFLES)]
    of_x, of_y = _alike(x, index), _alike(y, index)
    chance_x = np.array([_alike(x, order[index]).mean() for order in orders])
    chance_y = np.array([_alike(y, order[index]) for order in orders])
    z = (of_y - chance_y.mean(axis=0)) / np.maximum(chance_y.std(axis=0), 1e-12)
    share = float((z > CLEAR_TARGET).mean())
    in_all = _exceeds(float(of_y.mean()), chance_y.mean(axis=1))
    in_some = share >= SOME_TARGETS
    few = in_some and share < 0.5
    responses = float(of_y[z > CLEAR_TARGET].mean() if few else of_y.mean())
    features = float(of_x.mean())
    clear = _exceeds(features, chance_x) and (in_all or in_some) and min(features, responses) >= LEAST
    return Resemblance(features, responses, share, len(index), bool(clear))


def sufficient_gap(X: ArrayLike, Y: ArrayLike, stretch: ArrayLike) -> int:
    """Rows to leave out on either side of a test block: the first distance at which both together resemble nothing.

    Parameters
    ----------
    X, Y : array-like, (n, d) and (n, n_targets)
        Features and responses, in the order of presentation.
    stretch : array-like, (n,)
        Recording of each row.

    Returns
    -------
    int
        Smallest gap beyond which the product of the two correlations is below .05, at most 200 and a tenth of the rows.
    """
    x, y, recording = _standardised(X), _standardised(Y), np.asarray(stretch)
    longest = min(LONGEST_GAP, len(x) // 10)
    for lag in range(1, longest + 1):
        first = np.flatnonzero(recording[lag:] == recording[:-lag])
        if len(first) < FEWEST_PAIRS:
            return lag - 1
        pairs = neighbours(first, first + lag)
        if max(_alike(x, pairs).mean(), 0.0) * max(_alike(y, pairs).mean(), 0.0) < HARMLESS:
            return lag - 1
    return longest


def same_kind(labels: ArrayLike, *, most: int = 20_000, seed: int = 0) -> NDArray[np.int64]:
    """Pairs of rows with equal labels, (n_pairs, 2), ``most`` of them at random."""
    codes = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    rng = np.random.default_rng([seed, SHUFFLED_ROWS])
    parts: list[NDArray[np.int64]] = []
    for rows in np.split(order, np.cumsum(sizes)[:-1]):
        each = min(len(rows) * (len(rows) - 1) // 2, max(most // len(sizes), 1))
        if not each:
            continue
        if len(rows) < 200:
            first, second = np.triu_indices(len(rows), 1)
            chosen = rng.permutation(len(first))[:each]
            parts.append(neighbours(rows[first[chosen]], rows[second[chosen]]))
        else:  # a few pairs twice do no harm
            first = rng.integers(0, len(rows), each)
            second = (first + rng.integers(1, len(rows), each)) % len(rows)
            parts.append(neighbours(rows[first], rows[second]))
    return np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)


def _exceeds(value: float, chance: FloatArray) -> bool:
    return bool(value > chance.mean() + CLEAR * max(float(chance.std()), 1e-12))


def _alike(values: FloatArray, pairs: NDArray[np.int64]) -> FloatArray:
    """Correlation over pairs of each column of standardised values, (n_columns,)."""
    return np.asarray(np.einsum("ij,ij->j", values[pairs[:, 0]], values[pairs[:, 1]]) / len(pairs))


def _standardised(values: ArrayLike) -> FloatArray:
    """Columns of mean 0 and variance 1; those that do not vary are left out."""
    array = np.asarray(values, dtype=np.float64)
    array = array[:, np.isfinite(array).all(axis=0)]
    scale = np.abs(array).max(axis=0, initial=0.0)
    array = array[:, scale > 0] / scale[scale > 0]  # squares of any unit neither vanish nor overflow
    centred = array - array.mean(axis=0)
    spread = centred.std(axis=0)
    kept = spread > 1e-9
    return np.asarray(centred[:, kept] / spread[kept])
