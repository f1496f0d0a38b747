"""Unique variance of several spaces: sizes against scikit-learn, tests against planted and absent spaces."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from brainmap.common.errors import InputError
from brainmap.encoding.folds import plan_splits
from brainmap.statistics import (
    ConditionalOptions,
    ResidualOptions,
    pool_unique_variance,
    residual,
    unique_variance,
)

OPTIONS = (ResidualOptions(alphas=(50.0,), cv=3, inner_cv=3, score="r2"), ConditionalOptions(n_flips=200))


def made_up(seed: int, strength: float = 1.0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Two spaces that resemble each other; unit 0 follows the first of them, unit 1 neither."""
    rng = np.random.default_rng(seed)
    shared, groups = rng.standard_normal((120, 4)), np.repeat(np.arange(40), 3)
    spaces = {name: shared @ rng.standard_normal((4, 6)) + rng.standard_normal((120, 6)) for name in ("dino", "ibot")}
    Y = rng.standard_normal((120, 6)) + rng.standard_normal((40, 6))[groups]
    Y[:, :3] += strength * spaces["dino"] @ rng.standard_normal((6, 3))
    return spaces, Y, np.repeat([0, 1], 3), groups


def test_sizes_are_those_of_scikit_learn() -> None:
    spaces, Y, units, groups = made_up(0)
    found = unique_variance(spaces, Y, units=units, groups=groups, options=OPTIONS)
    plan = plan_splits(120, 3, groups=groups, inner_cv=3)
    scores: dict[str, list[np.ndarray]] = {"others": [], "all": []}
    for train, test in plan.outer:
        base, added = ((x - x[train].mean(0)) / x[train].std(0) for x in (spaces["ibot"], spaces["dino"]))
        weights = np.linalg.lstsq(base[train], added[train], rcond=None)[0]
        for name, design in {"others": base, "all": np.hstack([base, added - base @ weights])}.items():
            fit = Ridge(alpha=50.0).fit(design[train], Y[train])
            scores[name].append(r2_score(Y[test], fit.predict(design[test]), multioutput="raw_values"))
    row = found.table.set_index(["space", "unit"]).loc[("dino", 0)]
    wanted = {name: float(np.mean(values, axis=0)[:3].mean()) for name, values in scores.items()}
    assert row["r2_others"] == pytest.approx(wanted["others"], abs=1e-4)
    assert row["r2_all"] == pytest.approx(wanted["all"], abs=1e-4)
    assert row["unique"] == pytest.approx(wanted["all"] - wanted["others"], abs=1e-4)
    maps = found.by_target()
    assert maps["unique"].sel(space="dino")[:3].mean() == pytest.approx(row["unique"], abs=1e-6)
    assert maps["significant"].sel(space="dino")[:3].any() and not maps["significant"].sel(space="ibot").any()


def test_what_is_planted_is_found_and_corrected_over_spaces() -> None:
    spaces, Y, units, groups = made_up(1)
    found = unique_variance(spaces, Y, units=units, groups=groups, options=OPTIONS)
    assert found.table["space"].tolist() == ["dino", "dino", "ibot", "ibot"]
    assert found.table["significant"].tolist() == [True, False, False, False]
    assert (found.table["low"] <= found.table["unique"]).all() and (found.table["p_fwer"] >= found.table["p"]).all()
    alone = residual(spaces["ibot"], spaces["dino"], Y, units=units, groups=groups, options=OPTIONS)
    assert found.table["p"].iloc[0] == alone.table["p"].iloc[0]
    assert (found.table["p_fwer"].iloc[:2].to_numpy() >= alone.table["p_fwer"].to_numpy()).all()  # over both spaces
    assert "dino in 1, ibot in 0" in repr(found)
    base = {"activations": spaces["dino"]}
    with pytest.raises(InputError, match="linear combinations of the baseline"):
        unique_variance(spaces, Y, units=units, base=base, groups=groups, options=OPTIONS)


def test_subjects_who_saw_other_photographs_are_pooled() -> None:
    each = []
    for seed in range(2):
        spaces, Y, units, groups = made_up(seed, 0.5)
        options = (OPTIONS[0], ConditionalOptions(n_flips=200, seed=seed))
        each.append(unique_variance(spaces, Y, units=units * 0.1, groups=groups, options=options))
    table, method = pool_unique_variance(each)
    assert table["space"].tolist() == ["dino", "dino", "ibot", "ibot"] and table["unit"].tolist() == [0, 0.1, 0, 0.1]
    assert table["unique"].iloc[0] == pytest.approx(np.mean([one.table["unique"].iloc[0] for one in each]))
    assert table["significant"].iloc[0] and "summed over 2 subjects" in method


def test_what_cannot_be_compared_is_named() -> None:
    spaces, Y, units, _ = made_up(2)
    with pytest.raises(InputError, match="two feature spaces or more, here is 1"):
        unique_variance({"dino": spaces["dino"]}, Y, units=units)
    with pytest.raises(InputError, match="'ibot' is constant"):
        unique_variance({**spaces, "ibot": np.ones((120, 3))}, Y, units=units)
    with pytest.raises(InputError, match="score 'tau' is unknown"):
        ResidualOptions(score="tau")  # type: ignore[arg-type]


def test_penalties_that_predict_absurdly_do_not_widen_the_interval() -> None:
    """R² has no lower bound: at a tiny penalty more features than images reach −1000, which nobody would choose."""
    rng = np.random.default_rng(3)
    spaces = {name: rng.standard_normal((90, 150)) for name in ("dino", "ibot")}
    Y = rng.standard_normal((90, 6))
    options = (ResidualOptions(cv=3, inner_cv=3), ConditionalOptions(n_flips=50))
    table = unique_variance(spaces, Y, units=[0] * 6, groups=np.arange(90) // 3, options=options).table
    assert (table["high"] - table["low"]).max() < 0.5
