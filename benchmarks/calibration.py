"""Do the tests and intervals keep their word? Simulated studies with known truth, many times over.

    python benchmarks/calibration.py [part ...] [--runs 1000] [--out docs/calibration.json]

Each part adds rows (observed rate, exact 99 % binomial interval, nominal rate) to a JSON file; ``--table`` prints it as
Markdown, the table of ``docs/statistics.md``. One core, about a second per simulated study.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

Row = dict[str, Any]
PARTS: dict[str, Callable[[int], Iterator[Row]]] = {}


def part(function: Callable[[int], Iterator[Row]]) -> Callable[[int], Iterator[Row]]:
    """Register a part under its name."""
    PARTS[function.__name__] = function
    return function


def row(check: str, condition: str, hits: np.ndarray | list[bool], nominal: float | None) -> Row:
    """One line of the table, with the exact (Clopper–Pearson) 99 % interval of the rate."""
    count, runs = int(np.sum(hits)), len(hits)
    low, high = stats.binomtest(count, runs).proportion_ci(0.99, method="exact")
    verdict = (
        "" if nominal is None else ("yes" if low <= nominal <= high else ("conservative" if high < nominal else "NO"))
    )
    if nominal is not None and nominal > 0.5 and verdict in ("conservative", "NO"):  # coverage: above is conservative
        verdict = "conservative" if low > nominal else "NO"
    return {
        "check": check,
        "condition": condition,
        "runs": runs,
        "rate": count / runs,
        "low": low,
        "high": high,
        "nominal": nominal,
        "kept": verdict,
    }


SMALL: dict[str, Any] = {
    "n_groups": 40,
    "per_group": 6,
    "n_layers": 4,
    "width": 20,
    "n_units": 10,
    "targets_per_unit": 4,
}
NULLS: dict[str, dict[str, Any]] = {
    "40 photographs × 6 crops": SMALL,
    "no activation signal": SMALL | {"signal": 0.0},
    "strong group noise": SMALL | {"group_noise": 0.3},
    "strong unmodelled part": SMALL | {"unmodelled": 0.3},
    "more features than images": SMALL | {"n_layers": 8, "width": 40},
    "20 photographs × 12 crops": SMALL | {"n_groups": 20, "per_group": 12},
    "240 ungrouped images": SMALL | {"n_groups": 240, "per_group": 1},
    "75 photographs × 8 crops, 12 layers of 64": {"n_groups": 75, "per_group": 8, "n_layers": 12, "width": 64},
}


@part
def residual_null(runs: int) -> Iterator[Row]:
    """False positives of the residual test: gradients that add nothing."""
    from brainmap.encoding.conditional import ConditionalOptions, conditional_test
    from brainmap.encoding.planted import PlantedOptions, planted_study

    for name, changes in NULLS.items():
        count = runs if changes.get("n_layers", 6) < 12 else runs // 4
        single, family = [], []
        for seed in range(count):
            study = planted_study(seed, PlantedOptions(**changes))
            options = ConditionalOptions(n_flips=1000, seed=seed)
            data = (study.activations, study.gradients, study.responses)
            table = conditional_test(*data, units=study.units, groups=study.groups, options=options).table
            single.append(table["p"].iloc[seed % len(table)] <= 0.05)
            family.append(table["significant"].any())
        yield row("residual test, one unit", name, single, 0.05)
        yield row("residual test, family-wise over all units", name, family, 0.05)


@part
def residual_power(runs: int) -> Iterator[Row]:
    """Power of the residual test, and false positives elsewhere, when three units of 16 are planted."""
    from brainmap.encoding.conditional import ConditionalOptions, conditional_test
    from brainmap.encoding.planted import PlantedOptions, planted_study

    planted = (2, 5, 8)
    for share in (0.01, 0.02, 0.05):
        found, elsewhere = [], []
        for seed in range(runs):
            study = planted_study(seed, PlantedOptions(**SMALL, planted=planted, gradient=share))
            options = ConditionalOptions(n_flips=1000, seed=seed)
            data = (study.activations, study.gradients, study.responses)
            hits = conditional_test(*data, units=study.units, groups=study.groups, options=options).table["significant"]
            found += hits.iloc[list(planted)].tolist()
            elsewhere.append(hits.drop(list(planted)).any())
        yield row("residual test, power", f"gradients drive {share:.0%} of the variance of 3 units", found, None)
        yield row("residual test, family-wise elsewhere", f"the same, {share:.0%}", elsewhere, 0.05)


def table(rows: list[Row]) -> str:
    """Markdown table."""
    lines = ["| check | condition | runs | rate | 99 % interval | nominal | kept |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        nominal = "" if r["nominal"] is None else f"{r['nominal']:.2f}"
        interval = f"{r['low']:.3f}–{r['high']:.3f}"
        cells = (r["check"], r["condition"], r["runs"], f"{r['rate']:.3f}", interval, nominal, r["kept"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the parts asked for and update the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; default all")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs/calibration.json"))
    parser.add_argument("--table", action="store_true", help="print the table of the file and stop")
    arguments = parser.parse_args()
    found: dict[str, list[Row]] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    if arguments.table:
        print(table([r for rows in found.values() for r in rows]))
        return
    for name in arguments.parts or PARTS:
        start = time.perf_counter()
        rows = []
        for r in PARTS[name](arguments.runs):
            rows.append(r)
            print(table([r]).splitlines()[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
        found[name] = rows
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
