"""Do the tests and intervals keep their word? Simulated studies with known truth, many times over.

    python benchmarks/calibration.py [part ...] [--runs 1000] [--out docs/calibration.json]

Each part adds rows (observed rate, exact 99 % binomial interval, nominal rate) to a JSON file; ``--table`` prints it as
Markdown and ``--write docs/calibration.md`` puts it between the two marks of that page. One core; a thousand runs of
everything take more than an hour, so every row says how many runs it had.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import calibration_half_times
import calibration_hierarchy
import calibration_orders
import calibration_permutation
import calibration_scores
import calibration_terms
import numpy as np
from calibration_table import Row, insert, row, table

PARTS: dict[str, Callable[[int], Iterator[Row]]] = {}


def part(function: Callable[[int], Iterator[Row]]) -> Callable[[int], Iterator[Row]]:
    """Register a part under its name."""
    PARTS[function.__name__] = function
    return function


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
}


@part
def residual_null(runs: int) -> Iterator[Row]:
    """False positives of the residual test: gradients that add nothing."""
    for name, changes in NULLS.items():
        yield from residual_false_positives(runs, name, changes)


@part
def residual_null_large(runs: int) -> Iterator[Row]:
    """The same for a study of the sample's size (a second per run)."""
    size = {"n_groups": 75, "per_group": 8, "n_layers": 12, "width": 64, "n_units": 6}
    yield from residual_false_positives(runs, "75 photographs × 8 crops, 12 layers of 64", size)


def residual_false_positives(runs: int, name: str, changes: dict[str, Any]) -> Iterator[Row]:
    """Two rows for studies of these settings."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test

    single, family = [], []
    for seed in range(runs):
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
    """Power of the residual test, and false positives elsewhere, when three units of ten are planted."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
    from brainmap.statistics.added.sign_flips import flip_p

    planted = (2, 5, 8)
    for share in (0.01, 0.02, 0.05):
        found, elsewhere = [], []
        for seed in range(runs):
            study = planted_study(seed, PlantedOptions(**SMALL, planted=planted, gradient=share))
            options = ConditionalOptions(n_flips=1000, seed=seed)
            data = (study.activations, study.gradients, study.responses)
            test = conditional_test(*data, units=study.units, groups=study.groups, options=options)
            found += test.table["significant"].iloc[list(planted)].tolist()
            # The maximum over all ten units would bound the error of these seven, not reach it: their own maximum does.
            others = np.setdiff1d(np.arange(len(test.table)), planted)
            elsewhere.append(flip_p(test.table["statistic"].to_numpy()[others], test.null[:, others])[1].min() <= 0.05)
        yield row("residual test, power", f"gradients drive {share:.0%} of the variance of 3 units", found, None)
        yield row("residual test, family-wise over the 7 other units", f"the same, {share:.0%}", elsewhere, 0.05)


@part
def residual_interval(runs: int) -> Iterator[Row]:
    """Coverage of the interval of the residual's size, half as many runs; the truth is the mean over the replicates."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.statistics.added.added_value import ResidualOptions, residual_scores

    options = ResidualOptions(alphas=(1e2, 1e3, 1e4), inner_cv=3)
    study = SMALL | {"planted": (2, 5, 8)}
    for name, changes in {
        "new photographs": study,
        "new photographs, no activation signal": study | {"signal": 0.0},
        "new noise, the same photographs, for comparison": study,
    }.items():
        covered: dict[str, list[bool]] = {"planted unit": [], "other unit": []}
        for number in range(-(-runs // (2 * calibration_scores.SLICES))):
            if name.startswith("new photographs"):
                replicates = calibration_scores.slices(number, changes)
            else:
                setup, seeds = PlantedOptions(**changes), range(calibration_scores.SLICES)
                replicates = (planted_study(number, setup, noise_seed=seed) for seed in seeds)
            tables = []
            for s in replicates:
                scores = residual_scores(s.activations, s.gradients, s.responses, groups=s.groups, options=options)
                tables.append(scores.by_unit(s.units))
            columns = ([t[column].to_numpy() for t in tables] for column in ("low", "high", "delta"))
            inside = calibration_scores.covered(*columns)
            for turn, hit in enumerate(inside):  # each unit in turn
                covered["planted unit"].append(bool(hit[[2, 5, 8][turn % 3]]))
                covered["other unit"].append(bool(hit[[0, 1, 3, 4, 6, 7, 9][turn % 7]]))
        for kind, hits in covered.items():
            # It is made for new photographs; for the same ones it is shown for comparison.
            nominal = 0.95 if name.startswith("new photographs") else None
            yield row(f"residual, interval of Δr, {kind}", name, hits, nominal)


@part
def scores_null(runs: int) -> Iterator[Row]:
    """False positives of tests of encoding scores; one target per run is counted."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.statistics.significance import significance

    for name, changes in {
        "independent noise": {"group_noise": 0.0, "unmodelled": 0.0},
        "noise shared by crops": {"group_noise": 0.5, "unmodelled": 0.0},
        "unmodelled responses shared by subjects": {"group_noise": 0.1, "unmodelled": 0.6},
    }.items():
        hits: dict[str, list[bool]] = {}
        for seed in range(runs):
            setup = SMALL | {"signal": 0.0, "n_subjects": 4, "n_units": 1} | changes
            study = planted_study(seed, PlantedOptions(**setup))
            r, _ = calibration_scores.encode(study.activations[f"block.{seed % 4}"], study.responses, study.groups)
            for test in ("folds", "subjects"):
                found = significance(r, test=test, correction="none").significant
                hits.setdefault(test, []).append(bool(found[0]))
        yield row("scores, t test over folds", name, hits["folds"], 0.05)
        if changes["unmodelled"]:  # its null holds for these photographs: see the interval over subjects
            check = "scores, t test over subjects, taken for one over photographs (for comparison)"
            yield row(check, name, hits["subjects"], None)
        else:
            yield row("scores, t test over subjects", name, hits["subjects"], 0.05)


@part
def ceilings(runs: int) -> Iterator[Row]:
    """Coverage of the bootstrap intervals of noise ceilings."""
    from brainmap.statistics.noise_ceiling import explainable_variance, split_half

    for n_stimuli, repeats in ((60, 3), (200, 3), (100, 12)):
        rng = np.random.default_rng([n_stimuli, repeats])
        stimulus = np.repeat(np.arange(n_stimuli), repeats)
        trials = 0.5 * rng.standard_normal((n_stimuli, runs))[stimulus] + rng.standard_normal((len(stimulus), runs))
        truth = np.sqrt(0.25 / (0.25 + 1 / repeats))
        for name, ceiling in {
            "explainable variance": explainable_variance(trials, stimulus, n_bootstrap=400),
            "split half": split_half(trials, stimulus, n_splits=10, n_bootstrap=400),
        }.items():
            inside = (ceiling.table["low"] <= truth) & (truth <= ceiling.table["high"])
            yield row(f"noise ceiling, {name}", f"{n_stimuli} stimuli × {repeats}", inside.to_numpy(), 0.95)


for _part in calibration_scores.PARTS:
    part(_part)
for _name in ("agreements", "spins", "dynamics", "factors", "clusters"):
    part(getattr(calibration_hierarchy, _name))
for _part in (*calibration_orders.PARTS, *calibration_half_times.PARTS):
    part(_part)

part(calibration_terms.loss_terms)
for _name in ("permutations", "shuffled_labels"):
    part(getattr(calibration_permutation, _name))


def main() -> None:
    """Run the parts asked for and update the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; default all")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs/calibration.json"))
    parser.add_argument("--table", action="store_true", help="print the table of the file and stop")
    parser.add_argument("--write", type=Path, help="put the table into this page and stop")
    arguments = parser.parse_args()
    found: dict[str, list[Row]] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    if arguments.table or arguments.write:
        text = table([r for name in PARTS for r in found.get(name, [])])
        if arguments.write:
            arguments.write.write_text(insert(arguments.write.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            print(text)
        return
    warnings.simplefilter("ignore")  # null studies make the engine warn that nothing is predicted
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
