"""Intervals of scores over images: against the engine, explicit deletion, and new photographs of a planted study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from brainmap.common.errors import InputError
from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.encoding import EncodingRidgeCV, cross_val_encode
from brainmap.encoding.any_estimator import pearson, r_squared
from brainmap.encoding.folds import plan_splits
from brainmap.statistics.image_intervals import combine, image_scores
from brainmap.statistics.jackknife import corrected_residuals, leave_group_out, score_gradient, training_changes
from brainmap.statistics.partition.variance_partition import variance_partition
from brainmap.statistics.two_bands import principal_band

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
RIDGE = EncodingRidgeCV(alphas=(1e1, 1e3))
GROUPS = np.repeat(np.arange(30), 4)


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((120, 8))
    return x, 0.6 * x[:, :3] + rng.standard_normal((120, 3))


@pytest.mark.parametrize("score", ["r", "r2"])
def test_scores_are_those_of_the_engine(score: str) -> None:
    x, y = data()
    result = cross_val_encode(x, y, estimator=RIDGE, groups=GROUPS)
    found = image_scores(x, y, alpha=result.alpha.values[0], groups=GROUPS, score=score)
    np.testing.assert_allclose(found.score, getattr(result, score).mean("split").values[0], atol=1e-5)
    table = found.to_frame()
    t = table[score] / np.sqrt((found.test**2).sum(axis=0) + (found.training**2).sum(axis=0))
    assert table[["t", "p"]].isna().all(axis=None)  # a single score is skewed where nothing is predicted
    nothing = replace(found, score=0 * found.score, test=0 * found.test, training=0 * found.training)
    paired = (found - nothing).to_frame()
    np.testing.assert_allclose(paired["t"], t)
    np.testing.assert_allclose(paired["p"], 2 * stats.t.sf(np.abs(t), 25))
    np.testing.assert_allclose(table["high"] - table[score], stats.t.ppf(0.975, 25) * table[score] / t)
    unit = image_scores(x, y, alpha=result.alpha.values[0], groups=GROUPS, score=score, units=["b", "a", "b"])
    np.testing.assert_allclose(unit.score, [found.score[1], found.score[[0, 2]].mean()])
    np.testing.assert_allclose(unit.training[:, 1], found.training[:, [0, 2]].mean(axis=1))


def test_constant_targets_are_missing_from_a_unit() -> None:
    x, y = data()
    y = np.column_stack([y, np.full(len(y), 0.1)])
    four = image_scores(x, y, alpha=10.0, groups=GROUPS, units=np.zeros(4))
    three = image_scores(x, y[:, :3], alpha=10.0, groups=GROUPS, units=np.zeros(3))
    for name in ("score", "test", "training"):
        np.testing.assert_allclose(getattr(four, name), getattr(three, name), atol=1e-12)
    assert np.isnan(image_scores(x, y, alpha=10.0, groups=GROUPS).score[3])
    tiny = image_scores(x, 1e-30 * y[:, :3], alpha=10.0, groups=GROUPS, units=np.zeros(3))
    np.testing.assert_allclose(tiny.score, three.score, atol=1e-5)


@pytest.mark.parametrize(("score", "function"), [("r", pearson), ("r2", r_squared)])
def test_leaving_groups_out_equals_recomputing(score: str, function) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, 40)
    truth, prediction = rng.standard_normal((2, 40, 3)) + 3.0
    whole, without = leave_group_out(truth, prediction, codes, score)
    np.testing.assert_allclose(whole, function(truth, prediction))
    for group in range(5):
        np.testing.assert_allclose(without[group], function(truth[codes != group], prediction[codes != group]))
    slope, step = score_gradient(truth, prediction, score), 1e-6 * rng.standard_normal((40, 3))
    change = function(truth, prediction + step) - function(truth, prediction - step)
    np.testing.assert_allclose((slope * step).sum(axis=0), change / 2, rtol=1e-4)


@pytest.mark.parametrize(("score", "function"), [("r", pearson), ("r2", r_squared)])
def test_training_changes_are_those_of_refitting_without_a_row(score: str, function) -> None:
    x, y = data(2)
    train, test = plan_splits(120, 5, groups=GROUPS, inner_cv=2).outer[0]
    scaler = StandardScaler().fit(x[train])
    inside, outside = scaler.transform(x[train]), scaler.transform(x[test])
    band, alpha = principal_band(x, (train, test)), np.full(3, 20.0)
    centred = y[train] - y[train].mean(axis=0)
    prediction = Ridge(20.0).fit(inside, y[train]).predict(outside)
    residual = centred - band.fitted(band.weights(centred), alpha)
    rows = np.arange(len(train))
    # Squared correction: the residual of a row that was left out, (1 − h)⁻¹ times the fitted one.
    left_out = corrected_residuals(band, alpha, corrected_residuals(band, alpha, residual, rows), rows)
    found = training_changes(band, alpha, score_gradient(y[test], prediction, score), left_out)
    whole = function(y[test], prediction)
    explicit = []
    for row in rows:
        refitted = Ridge(20.0).fit(inside[rows != row], y[train][rows != row]).predict(outside)
        explicit.append(function(y[test], refitted) - whole)
    np.testing.assert_allclose(found, explicit, atol=0.2 * np.abs(explicit).max())  # to first order
    assert np.corrcoef(found.ravel(), np.ravel(explicit))[0, 1] > 0.99


def test_intervals_cover_the_mean_over_new_photographs() -> None:
    for signal in (0.0, 0.3):
        setup = PlantedOptions(
            n_groups=24 * 30,
            per_group=4,
            n_layers=2,
            width=10,
            n_units=1,
            targets_per_unit=6,
            signal=signal,
            gradient=0.0,
        )
        study = planted_study(0, setup)
        tables = []
        for rows in np.split(np.arange(len(study.groups)), 24):
            x, y, groups = study.activations["block.1"][rows], study.responses[0][rows], study.groups[rows]
            alpha = cross_val_encode(x, y, estimator=RIDGE, groups=groups).alpha.values[0]
            tables.append(image_scores(x, y, alpha=alpha, groups=groups).to_frame())
        low, high, r = (np.stack([table[name] for table in tables]) for name in ("low", "high", "r"))
        covered = (low <= r.mean(axis=0)) & (r.mean(axis=0) <= high)
        assert 0.88 < covered.mean() < 0.995  # 144 dependent ones


def test_scores_combine_as_their_changes_do() -> None:
    x, y = data()
    one, two = (image_scores(x[:, part], y, alpha=10.0, groups=GROUPS) for part in (slice(0, 4), slice(4, 8)))
    difference = one - two
    np.testing.assert_allclose(difference.score, one.score - two.score)
    assert np.abs((one - one).training).max() == 0
    np.testing.assert_allclose(combine([one, two]).test, (one.test + two.test) / 2)
    better = difference.to_frame(alternative="greater")
    assert (better["p"] < 0.05).all() and better["low"][0] > 0
    mean = combine([difference, one - two]).to_frame()
    assert mean["p"].notna().all() and combine([one, two]).to_frame()["p"].isna().all()
    other = image_scores(x, y, alpha=10.0, groups=GROUPS, score="r2")
    with pytest.raises(InputError, match="same kind"):
        one - other


def test_variance_parts_have_intervals_over_images() -> None:
    x, y = data()
    spaces = {"a": x[:, :4], "b": x[:, 4:]}
    result = variance_partition(spaces, y, estimator=RIDGE, groups=GROUPS)
    table = result.to_frame().set_index("part")
    np.testing.assert_allclose([result.images[name].score[0] for name in table.index], table["r2"], atol=1e-5)
    np.testing.assert_allclose((table["low"] + table["high"]) / 2, table["r2"], atol=1e-5)
    total = result.images["total"]
    parts = combine([result.images[name] for name in ("a", "b", "a&b")], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(parts.training, total.training, atol=1e-9)
    whole = variance_partition(spaces, y, estimator=RIDGE, groups=np.arange(120) // 24)  # one group per fold
    assert whole.images is None and (whole.to_frame()["low"] < whole.to_frame()["high"]).all()


def test_unusable_input_is_refused() -> None:
    x, y = data()
    with pytest.raises(InputError, match="share rows"):
        image_scores(x[:100], y, alpha=1.0)
    with pytest.raises(InputError, match="positive"):
        image_scores(x, y, alpha=0.0)
    with pytest.raises(InputError, match="positive"):
        image_scores(x, y, alpha=np.ones(2))
    with pytest.raises(InputError, match="units of shape"):
        image_scores(x, y, alpha=1.0, units=[1])
    with pytest.raises(InputError, match="two groups"):
        image_scores(x, y, alpha=1.0, groups=np.arange(120) // 24)
