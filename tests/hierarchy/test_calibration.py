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

from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.hierarchy import agreement, factor_model
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration_table", ROOT / "benchmarks" / "calibration_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_file_agree(tables) -> None:
    found = json.loads((ROOT / "docs" / "calibration.json").read_text())
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    shown = page.split(tables.BEGIN)[1].split(tables.END)[0].strip().splitlines()
    rows = [row for part in found.values() for row in part]
    assert sorted(shown) == sorted(tables.table(rows).splitlines())
    assert len((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").split()) <= 1500
    for row in rows:
        hits = round(row["rate"] * row["runs"])
        again = tables.row(row["check"], row["condition"], np.arange(row["runs"]) < hits, row["nominal"])
        assert again == pytest.approx(row)


def test_rows_judge_rates_and_coverage(tables) -> None:
    def kept(hits: int, runs: int, nominal: float) -> str:
        return str(tables.row("a", "b", np.arange(runs) < hits, nominal)["kept"])

    assert [kept(50, 1000, 0.05), kept(90, 1000, 0.05), kept(10, 1000, 0.05)] == ["yes", "NO", "conservative"]
    assert [kept(950, 1000, 0.95), kept(900, 1000, 0.95), kept(995, 1000, 0.95)] == ["yes", "NO", "conservative"]
    assert [kept(113, 2000, 0.05), kept(128, 2000, 0.05), kept(930, 1000, 0.95)] == ["yes", "NO", "nearly"]
    bad, good = (tables.row("a", "b", np.arange(1000) < hits, 0.05) for hits in (90, 50))
    assert tables.table([good, bad]).index("Does not keep its word") == 4  # first
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


def test_orders_in_time_through_encoding_in_a_hundred_studies(monkeypatch) -> None:
    """Correlated layers → responses of subjects who saw the same photographs → ridge → order of peaks."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    parts = importlib.import_module("calibration_orders")
    for subjects in (3, 8):
        found = [parts.tested(s) for s in parts.studies(np.random.default_rng(subjects), n=100, subjects=subjects)]
        for tests in zip(*found, strict=True):
            assert stats.binom.sf(sum(test.p <= 0.05 for test in tests) - 1, 100, 0.05) > 1e-3
            assert stats.binom.cdf(sum(test.low <= 0 <= test.high for test in tests), 100, 0.95) > 1e-4


def test_the_benchmarks_ridge_scores_as_scikit_learns(monkeypatch) -> None:
    from sklearn.linear_model import Ridge

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    parts = importlib.import_module("calibration_orders")
    monkeypatch.setattr(parts, "ALPHAS", (30.0,))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, parts.LAYERS, 60, parts.WIDTH)), rng.standard_normal((2, 60, 4))
    scores = parts.encode(x, y)
    test = np.arange(60) % parts.FOLDS == 2
    predicted = Ridge(alpha=30.0).fit(x[1, 3][~test], y[1][~test]).predict(x[1, 3][test])
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, y[1][test].T, strict=True)]
    np.testing.assert_allclose(scores[1, 3, 2], expected)


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
