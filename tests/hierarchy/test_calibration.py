"""The calibration page says what its file says, and a small version of it holds with the tolerance its size allows."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from brainmap.encoding.conditional import ConditionalOptions, conditional_test
from brainmap.encoding.planted import PlantedOptions, planted_study
from brainmap.hierarchy import agreement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration_table", ROOT / "benchmarks" / "calibration_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_file_agree(tables) -> None:
    found = json.loads((ROOT / "docs" / "calibration.json").read_text())
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    shown = page.split(tables.BEGIN)[1].split(tables.END)[0].strip().splitlines()
    rows = [row for part in found.values() for row in part]
    assert sorted(shown[2:]) == sorted(tables.table(rows).splitlines()[2:])
    for row in rows:
        hits = round(row["rate"] * row["runs"])
        again = tables.row(row["check"], row["condition"], np.arange(row["runs"]) < hits, row["nominal"])
        assert again == pytest.approx(row)


def test_rows_judge_rates_and_coverage(tables) -> None:
    def kept(hits: int, runs: int, nominal: float) -> str:
        return str(tables.row("a", "b", np.arange(runs) < hits, nominal)["kept"])

    assert [kept(50, 1000, 0.05), kept(90, 1000, 0.05), kept(10, 1000, 0.05)] == ["yes", "NO", "conservative"]
    assert [kept(950, 1000, 0.95), kept(900, 1000, 0.95), kept(995, 1000, 0.95)] == ["yes", "NO", "conservative"]
    assert tables.insert(f"a {tables.BEGIN} old {tables.END} z", "new") == f"a {tables.BEGIN}\n\nnew\n\n{tables.END} z"


def test_residual_test_in_forty_null_studies() -> None:
    small = PlantedOptions(n_groups=30, per_group=4, n_layers=3, width=16, n_units=10, targets_per_unit=3)
    family, single = [], []
    for seed in range(40):
        study = planted_study(1000 + seed, small)
        data = (study.activations, study.gradients, study.responses)
        options = ConditionalOptions(n_flips=200, seed=seed)
        table = conditional_test(*data, units=study.units, groups=study.groups, options=options).table
        family.append(table["significant"].any())
        single += (table["p"] <= 0.05).tolist()
    # Forty studies: a rate of .05 gives more than six hits in one of five thousand repetitions of this test.
    assert stats.binom.sf(np.sum(family) - 1, 40, 0.05) > 2e-4
    assert 0.01 < np.mean(single) < 0.12


def test_intervals_of_correlations_in_two_hundred_studies() -> None:
    inside = []
    for seed in range(200):
        rng = np.random.default_rng([seed, 2])
        x = rng.standard_normal(20)
        y = 0.5 * x + np.sqrt(0.75) * rng.standard_normal(20)
        found = agreement(x, y, n_bootstrap=400, seed=seed)
        inside.append(found.low <= 0.5 <= found.high)
    assert stats.binom.cdf(np.sum(inside), 200, 0.95) > 1e-4
