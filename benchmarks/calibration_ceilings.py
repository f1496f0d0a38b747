"""Coverage of 95 % intervals of noise ceilings where noise or responses are not normal: a table for the appendix.

    python benchmarks/calibration_ceilings.py --runs 500 --seed 1

Two truths: the ceiling of these stimuli, which the interval is of, and that of other stimuli of the same kind
(variances of the population).
"""

from __future__ import annotations

import argparse

import numpy as np

from brainmap.statistics import explainable_variance, split_half

SIGNAL, NOISE = 0.6, 1.1
DESIGNS = ((60, 3), (200, 3), (100, 12))
KINDS = ("normal", "t(3) noise", "t(3) responses", "t(3) both", "heteroscedastic noise", "20 categories")


def simulate(kind: str, n: int, k: int, runs: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return signal, (n, runs), trials, (n, k, runs), and category of each stimulus or None."""
    rng = np.random.default_rng(seed)
    normal, heavy = rng.standard_normal, lambda shape: rng.standard_t(3, shape) / np.sqrt(3)
    signal = (heavy if kind in ("t(3) responses", "t(3) both") else normal)((n, runs))
    noise = (heavy if kind in ("t(3) noise", "t(3) both") else normal)((n, k, runs))
    groups = None
    if kind == "heteroscedastic noise":  # of each stimulus another size
        noise *= rng.lognormal(0, 0.5, (n, 1, runs)) / np.exp(0.25)
    if kind == "20 categories":
        groups = np.repeat(np.arange(20), n // 20)
        signal = np.sqrt(0.5) * normal((20, runs))[groups] + np.sqrt(0.5) * signal
    return SIGNAL * signal, SIGNAL * signal[:, None] + NOISE * noise, groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| stimuli × repeats | responses | variances: these | others | width | halves: these | others | width |")
    print("|---|---|---|---|---|---|---|---|")
    for n, k in DESIGNS:
        for kind in KINDS:
            signal, trials, groups = simulate(kind, n, k, options.runs, options.seed)
            shown = np.repeat(np.arange(n), k)
            own = signal.var(axis=0, ddof=1)
            truths = [np.sqrt(S / (S + NOISE**2 / k)) for S in (own, np.full(options.runs, SIGNAL**2))]
            how = {"groups": None if groups is None else groups[shown], "n_bootstrap": 400}
            flat, cells = trials.reshape(n * k, -1), []
            for ceiling in (explainable_variance(flat, shown, **how), split_half(flat, shown, n_splits=10, **how)):
                table = ceiling.table
                cells += [((table["low"] <= truth) & (truth <= table["high"])).mean() for truth in truths]
                cells.append((table["high"] - table["low"]).median())
            print(
                f"| {n} × {k} | {kind} | " + " | ".join(f"{cell:.3f}".lstrip("0") for cell in cells) + " |", flush=True
            )


if __name__ == "__main__":
    main()
