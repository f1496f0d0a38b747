"""The calibration page says what its file says, and a small version of it holds with the tolerance its size allows."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainmap.hierarchy import agreement, factor_model
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.planted_studies import PlantedOptions, planted_study

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


def test_intervals_of_peak_times_in_thirty_studies(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    parts = importlib.import_module("calibration_latencies")
    for name in ("noise 0.04 in r (peak .08)", "noise 0.02, weak order"):
        for hits in parts.coverage(30, parts.SETTINGS[name]).values():
            assert stats.binom.cdf(np.sum(hits), 30, 0.95) > 1e-4


def test_factors_in_a_hundred_null_studies_of_four_subjects() -> None:
    names = pd.MultiIndex.from_product([range(4), list("SL"), list("abc")], names=["subject", "size", "images"])
    called = {"size": 0, "images": 0, "size:images": 0}
    for seed in range(100):
        rng = np.random.default_rng([seed, 13])
        # Subjects differ in what size and images do to them, far beyond the noise of a score.
        parts = (rng.standard_normal((4, *shape)) for shape in ((1, 1), (2, 1), (1, 3)))
        values = sum(parts) + 0.1 * rng.standard_normal((4, 2, 3))
        frame = names.to_frame(index=False).assign(r=values.ravel())
        for test in factor_model(frame, "r ~ size * images").tests.itertuples():
            called[test.term] += test.p <= 0.05
    assert max(called.values()) <= 15  # more than fifteen of a hundred at .05: once in thirty thousand
