"""Splits: balanced, grouped, deterministic, and expressible as unions of atoms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from brainmap.common.errors import InputError
from brainmap.encoding.folds import group_kfold, plan_splits, split_hash, splits_from_labels


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=6, max_size=40), k=st.integers(2, 6), seed=st.integers(0, 99))
def test_folds_are_balanced_and_keep_groups_together(sizes, k, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.random.default_rng(seed).permutation(groups)
    folds = group_kfold(groups, k, seed)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in np.unique(groups))
    counts = np.bincount(folds, minlength=k)
    assert counts.min() > 0
    assert counts.max() - counts.min() <= max(sizes)
    np.testing.assert_array_equal(folds, group_kfold(groups, k, seed))
    renamed = np.array([f"photo-{997 * group % 1009}" for group in groups])
    np.testing.assert_array_equal(folds, group_kfold(renamed, k, seed))


def test_seeds_differ_and_singletons_differ_by_at_most_one():
    folds = group_kfold(np.arange(103), 5)
    assert np.ptp(np.bincount(folds)) == 1
    assert (folds != group_kfold(np.arange(103), 5, seed=1)).any()


@pytest.mark.parametrize("inner", ["nested", "shared"])
def test_plan_is_made_of_atoms_and_never_leaks(inner):
    groups = np.repeat(np.arange(60), 3)
    plan = plan_splits(180, 5, groups=groups, inner=inner)
    assert plan.n_atoms == (25 if inner == "nested" else 5)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in plan.outer])), np.arange(180))
    for (train, test), pairs in zip(plan.outer, plan.inner, strict=True):
        assert not set(groups[train]) & set(groups[test])
        held = np.concatenate([val for _, val in pairs])
        np.testing.assert_array_equal(np.sort(held), train)
        for inside, val in pairs:
            assert not set(groups[inside]) & set(groups[val])
            for rows in (inside, val, train, test):
                members = plan.members(rows)
                np.testing.assert_array_equal(np.flatnonzero(members[plan.atoms]), rows)
    assert len(pairs) == (5 if inner == "nested" else 4)


def test_inner_folds_are_balanced_inside_each_outer_train_set():
    plan = plan_splits(250, 5)
    assert all(len(val) == 40 for pairs in plan.inner for _, val in pairs)


def test_fixed_and_splitter_splits():
    groups = np.repeat(np.arange(4), 10)
    plan = plan_splits(40, LeaveOneGroupOut(), groups=groups)
    assert plan.scheme == "LeaveOneGroupOut"
    assert [len(test) for _, test in plan.outer] == [10] * 4
    assert len(plan_splits(40, GroupKFold(2), groups=groups).outer) == 2
    test = np.zeros(40, dtype=bool)
    test[:8] = True
    fixed = plan_splits(40, [(~test, test)])
    np.testing.assert_array_equal(fixed.outer[0][1], np.arange(8))
    assert fixed.n_atoms == 6


def test_hash_knows_every_row_and_every_split():
    splits = splits_from_labels(np.arange(12) % 3)
    assert split_hash(splits) == split_hash([(train.tolist(), test.tolist()) for train, test in splits])
    assert split_hash(splits) != split_hash(splits[::-1])
    assert split_hash(splits) != split_hash(splits_from_labels((np.arange(12) + 1) % 3))
    assert plan_splits(60).hash != plan_splits(60, seed=1).hash
    assert plan_splits(60).hash == plan_splits(60).hash


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"cv": 9, "groups": np.arange(40) % 3}, "9 folds cannot be made from 3 groups"),
        ({"groups": np.arange(7)}, "7 entries but there are 40 rows"),
        ({"cv": [([0, 1], [1, 2])]}, "row 1 is in both"),
        ({"cv": [([0, 1], [77])]}, "names row 77"),
        ({"cv": [([0, 1], [])]}, "both must hold some"),
        ({"cv": []}, "no split"),
        ({"inner_cv": 1}, "at least 2"),
        ({"cv": [(np.arange(30), np.arange(30, 40))], "inner": "shared"}, "partition the rows"),
        ({"cv": 2, "inner": "shared"}, "three outer folds"),
    ],
)
def test_impossible_splits_are_explained(kwargs, words):
    with pytest.raises(InputError, match=words):
        plan_splits(40, **kwargs)


def test_a_group_across_train_and_test_is_reported():
    with pytest.warns(UserWarning, match="group"):
        plan_splits(6, [([0, 1, 2, 3], [4, 5])], groups=[0, 1, 2, 3, 3, 4], inner_cv=2)
