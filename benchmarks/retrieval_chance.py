"""How often noise is retrieved: ``python benchmarks/retrieval_chance.py [studies]``.

Responses that know nothing of the photographs (targets correlated, photographs in groups) are ranked by likelihood and
by decoding. Printed: how often p of top-1 is at most .05 and .01, and how often the corrected p over two layers is,
with exact (Clopper-Pearson) 99 % intervals; mean top-1 beside its chance.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import stats

from brainmap.statistics import RetrievalOptions, retrieval


def main(n: int) -> None:
    """Print one line a method."""
    for method in ("likelihood", "decoding"):
        tables = []
        for seed in range(n):
            rng = np.random.default_rng([seed, 22])
            groups = np.arange(90) // 3
            X = {name: np.repeat(rng.standard_normal((30, 6)), 3, axis=0) for name in "ab"}
            X = {name: x + 0.3 * rng.standard_normal(x.shape) for name, x in X.items()}
            Y = np.repeat(rng.standard_normal((30, 15)), 3, axis=0) + rng.standard_normal((90, 15))
            Y += rng.standard_normal((90, 1))
            options = RetrievalOptions(method=method, n_permutations=199, seed=seed)  # type: ignore[arg-type]
            tables.append(retrieval(X, Y, cv=3, groups=groups, options=options))
        single = [(table["p"].iloc[0] <= level) for level in (0.05, 0.01) for table in tables]
        family = [table["p_corrected"].min() <= 0.05 for table in tables]
        for words, hits in (("p <= .05", single[:n]), ("p <= .01", single[n:]), ("corrected <= .05", family)):
            low, high = stats.binomtest(int(sum(hits)), n).proportion_ci(0.99, "exact")
            print(f"{method}: {words} in {sum(hits)}/{n} = {sum(hits) / n:.3f} [{low:.3f}, {high:.3f}]")
        top1 = np.array([table["top1"].iloc[0] for table in tables])
        print(
            f"{method}: top-1 {top1.mean():.4f} ± {top1.std(ddof=1) / np.sqrt(n):.4f}, "
            f"chance {tables[0]['chance1'][0]:.4f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
