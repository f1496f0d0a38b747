"""False positives where rows are no independent draws: images in sequence, images of a category.

``python benchmarks/dependent_rows.py [runs]``: independent responses are predicted from features through ridge and
nested cross-validation, and tested as a study tests them. Features have an autocorrelation of .9 and noise of .5, or
both are shared by the ten images of each of twenty categories. Rates are per target at p <= .05; intervals are 99 %
ones over runs, which are independent where the targets of a run are not.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
from scipy import signal, stats

from brainmap.encoding import EncodingRidgeCV, PreparedEncoding, RowGroups, time_blocks
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.permutation.permutation_test import PermutationOptions, permutation_test
from brainmap.statistics.tests_of_means import folds_t

N, WIDTH, TARGETS = 200, 50, 8
CATEGORIES = 20
Groups = np.ndarray | RowGroups | None


def sequence(rng: np.random.Generator, columns: int, correlation: float) -> np.ndarray:
    """Stationary autoregressive columns, (N, columns)."""
    noise = rng.standard_normal((N + 200, columns))
    values: np.ndarray = signal.lfilter([1.0], [1.0, -correlation], noise, axis=0)[200:]
    return values


def categories(rng: np.random.Generator, columns: int, share: float) -> np.ndarray:
    """Columns of which a share of the variance is the category's, (N, columns)."""
    own, kind = rng.standard_normal((N, columns)), rng.standard_normal((CATEGORIES, columns))
    return np.sqrt(share) * kind[np.arange(N) % CATEGORIES] + np.sqrt(1 - share) * own


def folds(x: np.ndarray, y: np.ndarray, groups: Groups, seed: int) -> np.ndarray:
    """P of the default test of every target."""
    r = PreparedEncoding(x, estimator=EncodingRidgeCV(), groups=groups).encode(y).r.values[0]
    return np.asarray(folds_t(r.astype(float))[1])


def permutations(x: np.ndarray, y: np.ndarray, groups: Groups, seed: int) -> np.ndarray:
    """P of whole groups permuted, with refit."""
    options = PermutationOptions(n_permutations=99, candidates=(10.0, 1000.0, 100000.0), seed=seed)
    return permutation_test(x, y, groups=groups, options=options).table["p"].to_numpy()


def flips(x: np.ndarray, y: np.ndarray, groups: Groups, seed: int) -> np.ndarray:
    """P of what half of the features add to the others, by sign flips of whole groups; every target its own unit."""
    options = ConditionalOptions(n_flips=499, seed=seed)
    half = WIDTH // 2
    tested = conditional_test(x[:, :half], x[:, half:], y, units=np.arange(y.shape[1]), groups=groups, options=options)
    return tested.table["p"].to_numpy()


def blocks(count: int, gap: int) -> RowGroups:
    return time_blocks(np.arange(N), count, gap=gap)


TESTS: dict[str, Callable[[np.ndarray, np.ndarray, Groups, int], np.ndarray]] = {
    "t over folds": folds, "permutations": permutations, "sign flips (residual)": flips,
}  # fmt: skip
OF_TIME: dict[str, Groups] = {
    "single rows": None,
    "10 blocks": blocks(10, 0),
    "10 blocks, gap 2": blocks(10, 2),
    "10 blocks, gap 4": blocks(10, 4),
    "20 blocks, gap 4": blocks(20, 4),
}
OF_KIND: dict[str, Groups] = {"single rows": None, "categories": np.arange(N) % CATEGORIES}


def main(runs: int) -> None:
    """Print rates of all tests and groups."""
    conditions = {
        "AR .9 x AR .5": (OF_TIME, lambda rng: (sequence(rng, WIDTH, 0.9), sequence(rng, TARGETS, 0.5))),
        "20 categories x 10": (OF_KIND, lambda rng: (categories(rng, WIDTH, 0.5), categories(rng, TARGETS, 0.3))),
    }
    for place, (condition, (schemes, draw)) in enumerate(conditions.items()):
        for test, p_of in TESTS.items():
            for scheme, groups in schemes.items():
                draws = [draw(np.random.default_rng([2026, place, run])) for run in range(runs)]
                p = np.stack([p_of(x, y, groups, run) for run, (x, y) in enumerate(draws)])
                rates = (p <= 0.05).mean(axis=1)
                reach = stats.t.ppf(0.995, runs - 1) * rates.std(ddof=1) / np.sqrt(runs)
                rate = f"{rates.mean():.3f} [{rates.mean() - reach:.3f}, {rates.mean() + reach:.3f}], {runs} runs"
                print(f"{condition:20} {test:22} {scheme:18} {rate}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
