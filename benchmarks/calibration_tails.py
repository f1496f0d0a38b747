"""False positives of Pareto tails at 1e-3 and 1e-4, beside counting: ``python benchmarks/calibration_tails.py``.

Observed scores are drawn from the outermost share of the null distribution, where alone a p below 1e-3 can arise, and
rates are scaled by that share: 4,000 tests there stand for a million.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from brainmap.statistics.permutation.pareto_tail import largest_scores, tail_p

SHARE = 0.004
NULLS = {
    "normal": stats.norm(),
    "mean r of 5 folds of 20": None,
    "t, 8 degrees of freedom": stats.t(8),
}


def drawn(name: str, rng: np.random.Generator, n: int) -> np.ndarray:
    if name.startswith("mean r"):  # r of n rows: t / sqrt(n - 2 + t²)
        t = rng.standard_t(18, (5, n))
        return (t / np.sqrt(18 + t**2)).mean(axis=0)
    return np.asarray(NULLS[name].rvs(n, random_state=rng))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--permutations", type=int, default=10_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{options.permutations:,} permutations; false positives (95 % interval of {options.tests} tests)")
    for name in NULLS:
        reference = np.sort(drawn(name, rng, 4_000_000))[::-1]
        outer = reference[: int(SHARE * len(reference))]
        counts = np.zeros((2, 2))
        used = 0
        for _ in range(options.tests):
            null = drawn(name, rng, options.permutations)[:, None]
            observed = rng.choice(outer, 1)
            first = (1 + (null >= observed).sum(axis=0)) / (1 + options.permutations)
            p, fitted = tail_p(observed, largest_scores(np.empty((0, 1)), null), first, options.permutations)
            used += int(fitted[0])
            for row, value in enumerate((first[0], p[0])):
                counts[row] += [value <= 1e-3, value <= 1e-4 * 1.0001]
        for word, row in zip(("counted", "pareto"), counts, strict=True):
            told = []
            for level, count in zip((1e-3, 1e-4), row, strict=True):
                low, high = stats.binomtest(int(count), options.tests).proportion_ci(method="wilson")
                rate = SHARE * count / options.tests
                told.append(f"{level:g}: {rate:.2e} [{SHARE * low:.2e}, {SHARE * high:.2e}]")
            print(f"{name:<26} {word:<8} {'   '.join(told)}")
        print(f"{name:<26} a tail was fitted in {used / options.tests:.0%} of these tests")


if __name__ == "__main__":
    main()
