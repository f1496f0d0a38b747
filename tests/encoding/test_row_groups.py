"""Blocks in time: groups stay whole, and what is near a held-out row does not train."""

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.encoding import RowGroups, cross_val_encode, plan_splits, time_blocks

rng = np.random.default_rng(0)
N = 120
PLACE = rng.permutation(N)


def test_blocks_are_equal_stretches_of_the_order_of_presentation():
    blocks = time_blocks(PLACE, 10)
    labels = np.asarray(blocks)[np.argsort(PLACE)]
    assert np.array_equal(labels, np.arange(N) // 12)


def test_blocks_do_not_span_recordings():
    runs = np.repeat(["b", "a", "c"], [50, 40, 30])
    labels = np.asarray(time_blocks(np.arange(N), 6, stretch=runs))
    assert all(len(set(runs[labels == block])) == 1 for block in np.unique(labels))
    assert np.array_equal(labels, np.sort(labels))


@pytest.mark.parametrize("gap", [0, 1, 2, 4])
@pytest.mark.parametrize("runs", [1, 4])
def test_no_train_row_is_within_the_gap_of_a_test_row(gap, runs):
    stretch = PLACE * runs // N
    groups = time_blocks(PLACE, 12, gap=gap, stretch=stretch)
    plan = plan_splits(N, 5, groups=groups)
    pairs = [*plan.outer, *(pair for inner in plan.inner for pair in inner)]
    for train, test in pairs:
        distance = np.abs(PLACE[train][:, None] - PLACE[test])
        apart = stretch[train][:, None] != stretch[test]
        assert (apart | (distance > gap)).all()
        assert not set(np.asarray(groups)[train]) & set(np.asarray(groups)[test])
    for train, test in plan.outer:  # and nothing else is left out
        others = np.setdiff1d(np.arange(N), np.concatenate([train, test]))
        near = (np.abs(PLACE[others][:, None] - PLACE[test]) <= gap) & (stretch[others][:, None] == stretch[test])
        assert near.any(axis=1).all()
    assert np.array_equal(np.sort(np.concatenate([test for _, test in plan.outer])), np.arange(N))


@pytest.mark.parametrize(("d", "gap"), [(8, 0), (8, 2), (30, 5), (200, 2)])
def test_scores_equal_scikit_learn_on_the_same_rows(d, gap):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from brainmap.encoding import EncodingRidgeCV

    own = np.random.default_rng([d, gap])
    x = own.standard_normal((N, d))
    y = x @ own.standard_normal((d, 6)) + 3 * own.standard_normal((N, 6))
    groups = time_blocks(PLACE, 10, gap=gap)
    alphas = np.logspace(0, 4, 5)
    plan = plan_splits(N, 5, groups=groups)

    def held_out(alpha, train, test):
        model = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[train], y[train])
        predicted = model.predict(x[test])
        return np.array([np.corrcoef(predicted[:, t], y[test, t])[0, 1] for t in range(y.shape[1])])

    got = cross_val_encode(x, y, estimator=EncodingRidgeCV(alphas), groups=groups).r.values[0]
    for split, ((train, test), inner) in enumerate(zip(plan.outer, plan.inner, strict=True)):
        scaled = StandardScaler().fit(x[train])
        z = scaled.transform(x)
        means = []
        for alpha in alphas:
            scores = []
            for fit_rows, held in inner:
                predicted = Ridge(alpha).fit(z[fit_rows], y[fit_rows]).predict(z[held])
                scores.append([np.corrcoef(predicted[:, t], y[held, t])[0, 1] for t in range(y.shape[1])])
            means.append(np.mean(scores, axis=0))
        best = np.argmax(means, axis=0)
        expected = [held_out(alphas[best[t]], train, test)[t] for t in range(y.shape[1])]
        np.testing.assert_allclose(got[split], expected, atol=2e-5)


def test_a_gap_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="gap of 60 rows"):
        plan_splits(N, 5, groups=time_blocks(PLACE, 10, gap=60))
    with pytest.raises(InputError, match="nested"):
        plan_splits(N, 5, groups=time_blocks(PLACE, 10, gap=1), inner="shared")
    with pytest.raises(InputError, match="121 blocks"):
        time_blocks(PLACE, 121)
    with pytest.raises(InputError, match="same place"):
        RowGroups(np.zeros(3), [0, 1, 1])
    with pytest.raises(InputError, match="from 0"):
        RowGroups(np.zeros(3), [0, 1, 2], gap=-1)


def test_fixed_splits_keep_the_gap_too():
    groups = time_blocks(np.arange(N), 12, gap=4)
    plan = plan_splits(N, [(np.arange(60), np.arange(60, 90))], groups=groups)
    assert plan.outer[0][0].max() == 55


def test_groups_that_touch_are_those_within_the_gap():
    groups = time_blocks(np.arange(N), 4, gap=2)
    touching = groups.touching(np.asarray(groups))
    assert np.array_equal(touching, np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1)
    apart = time_blocks(np.arange(N), 4, gap=2, stretch=np.arange(N) // 60)
    assert not apart.touching(np.asarray(apart))[1, 2]
