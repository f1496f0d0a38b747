"""Bands with penalties of their own: closed form against fits, planted shares, intervals by target and by unit."""

from __future__ import annotations

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.encoding import plan_splits
from brainmap.statistics import banded_partition
from brainmap.statistics.image_intervals import split_changes
from brainmap.statistics.partition import banded_partition as module
from brainmap.statistics.two_bands import principal_band
from brainmap.study.analysis.explained_by_unit import explained_by_unit

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
N = 120
GROUPS = np.arange(N) // 2


def planted(seed: int = 0, n_targets: int = 6) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Targets 0–2 follow `a` alone, 3–5 what `a` and `b` hold both; `c` is there for nothing."""
    rng = np.random.default_rng(seed)
    own, common, b, c = (rng.standard_normal((N, k)) for k in (3, 3, 20, 8))
    spaces = {"a": np.hstack([own, common]), "b": np.hstack([common, b]), "c": c}
    half = n_targets // 2
    drive = np.hstack([own @ rng.standard_normal((3, half)), common @ rng.standard_normal((3, half))])
    return spaces, drive / drive.std(axis=0) + 0.7 * rng.standard_normal((N, n_targets))


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_closed_form_predicts_as_the_fits_do(names: str) -> None:
    spaces, y = planted()
    outer = list(plan_splits(N, 3, groups=GROUPS, inner_cv=2).outer)
    fitted = module._Fitted.of({name: spaces[name] for name in names}, y, outer, GROUPS, 0)
    for number, split in enumerate(outer):
        for factors, columns in fitted.by_balance(number):
            band = principal_band(fitted.x, split, factors)
            alpha = fitted.alpha[number, columns].astype(np.float32)
            value, _ = split_changes(y[:, columns], band, alpha, split, GROUPS, "r2")
            np.testing.assert_allclose(value, fitted.r2.values[number, columns], atol=2e-5)


def test_planted_shares_and_their_intervals() -> None:
    spaces, y = planted()
    units = np.repeat(["alone", "both"], 3)
    found = banded_partition({name: spaces[name] for name in ("a", "b")}, y, groups=GROUPS, units=units)
    table = found.to_frame().set_index(["part", "unit"])
    assert table.loc[("a", "alone"), "low"] > 0.3 and table.loc[("a&b", "both"), "low"] > 0.3
    assert table.loc[("b", "alone"), "low"] < 0.02 and table.loc[("b", "both"), "low"] < 0.05
    assert found.errors is not None
    assert found.errors.sizes == {"part": 4, "target": 6} and (found.errors > 0).all()
    whole = banded_partition({name: spaces[name] for name in ("a", "b")}, y, groups=GROUPS)
    np.testing.assert_array_equal(whole.r2, found.r2)
    assert whole.images is not None and found.images is not None
    mean = found.images["a"].test.mean(axis=1)  # units of equal size
    np.testing.assert_allclose(whole.images["a"].test[:, 0], mean, atol=1e-12)


def test_blocks_of_targets_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces, y = planted()
    two = {name: spaces[name] for name in ("a", "b")}
    at_once = banded_partition(two, y, cv=3, groups=GROUPS)
    monkeypatch.setattr(module._Changes, "most_targets", 4)
    in_blocks = banded_partition(two, y, cv=3, groups=GROUPS)
    np.testing.assert_allclose(in_blocks.r2, at_once.r2, atol=1e-6)
    np.testing.assert_allclose(in_blocks.to_frame()["high"], at_once.to_frame()["high"], atol=1e-6)


def test_three_bands_share_their_splits_at_any_seed() -> None:
    """The search over three bands once dealt folds by another seed than the plain ridges it was compared with."""
    spaces, y = planted()
    one = banded_partition(spaces, y[:, :1], cv=3, groups=GROUPS, seed=7)
    outer = list(plan_splits(N, 3, groups=GROUPS, inner_cv=2, seed=7).outer)
    fixed = banded_partition(spaces, y[:, :1], cv=outer, groups=GROUPS, seed=7)
    np.testing.assert_array_equal(one.r2, fixed.r2)


def test_units_must_fit_and_one_group_a_fold_has_no_interval_over_photographs() -> None:
    spaces, y = planted()
    two = {name: spaces[name] for name in ("a", "b")}
    with pytest.raises(InputError, match="6 targets but units"):
        banded_partition(two, y, units=["x"])
    blocks = banded_partition(two, y, cv=4, groups=np.arange(N) // 30)
    assert blocks.images is None and blocks.errors is None
    by_unit = explained_by_unit([blocks], np.zeros(6), over="photographs")
    assert by_unit.attrs["interval"] == "over 4 folds" and (by_unit["explained_low"] < by_unit["explained"]).all()


def test_over_subjects_or_photographs() -> None:
    units = np.repeat(["alone", "both"], 3)
    options = {"groups": GROUPS, "units": units, "cv": 3}
    each = []
    for seed in range(3):
        spaces, _ = planted(0)
        y = planted(0)[1] + 0.3 * np.random.default_rng(seed).standard_normal((N, 6))
        each.append(banded_partition({name: spaces[name] for name in ("a", "b")}, y, **options))
    photographs = explained_by_unit(each, units, over="photographs")
    subjects = explained_by_unit(each, units, over="subjects")
    assert photographs.attrs["interval"] == "jackknife over 60 groups of photographs"
    assert subjects.attrs["interval"] == "t over 3 subjects"
    np.testing.assert_array_equal(photographs["explained"], subjects["explained"])
    kinds = photographs["explained"].sel(kind=["a", "b", "shared"]).sum("kind")
    np.testing.assert_allclose(kinds, photographs["explained"].sel(kind="total"), atol=1e-9)
    alone = explained_by_unit(each[:1], units, over="photographs")
    width = [float((part["explained_high"] - part["explained_low"]).mean()) for part in (photographs, alone)]
    assert 0.5 * width[1] < width[0] < 1.2 * width[1]  # the same photographs three times are no new photographs
    mean = np.mean([part.parts.sel(part="a").mean("split").values[:3].mean() for part in each])
    assert float(photographs["explained"].sel(kind="a", unit="alone")) == pytest.approx(mean)
