"""Tests of scores against scipy, statsmodels, brute force, and simulated null studies."""

from __future__ import annotations

import itertools

import mne
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from brainmap.common.errors import InputError
from brainmap.common.storage.locks import file_lock
from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.encoding import EncodingRidgeCV, cross_val_encode
from brainmap.encoding.folds import plan_splits
from brainmap.statistics.correction import adjust
from brainmap.statistics.permutation.expected_time import permutation_cost
from brainmap.statistics.permutation.group_orders import group_orders
from brainmap.statistics.permutation.permutation_test import (
    compute_blocks,
    group_permutation_test,
    permutation_test,
)
from brainmap.statistics.permutation.permuted_subject import PermutationInput, PermutationOptions, common_penalty
from brainmap.statistics.significance import compare, fisher_z, significance
from brainmap.statistics.tests_of_means import folds_t, sign_flip_p, subjects_interval, subjects_t, subjects_wilcoxon


def scores(seed: int = 0, mean: float = 0.0, **sizes: int) -> xr.DataArray:
    sizes = {"subject": 4, "layer": 2, "split": 5, "target": 6} | sizes
    values = mean + 0.1 * np.random.default_rng(seed).standard_normal(tuple(sizes.values()))
    return xr.DataArray(values, dims=tuple(sizes))


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_subject_tests_equal_scipy(alternative) -> None:
    values = np.random.default_rng(1).standard_normal((7, 3, 4)) + 0.3
    t, p = subjects_t(values, alternative)
    reference = stats.ttest_1samp(values, 0.0, alternative=alternative)
    np.testing.assert_allclose(t, reference.statistic)
    np.testing.assert_allclose(p, reference.pvalue)
    w, p = subjects_wilcoxon(values, alternative)
    reference = stats.wilcoxon(values, alternative=alternative, axis=0)
    np.testing.assert_allclose(w, reference.statistic)
    np.testing.assert_allclose(p, reference.pvalue)


def test_interval_over_subjects_is_student_s_and_wider_than_a_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).standard_normal((6, 4)) + 0.3
    low, high = subjects_interval(values, 0.9)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose([low, high], [expected.low, expected.high])
    bootstrap = stats.bootstrap(
        (values,), np.mean, axis=0, confidence_level=0.9, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    ratio = (high - low) / (bootstrap.high - bootstrap.low)
    np.testing.assert_allclose(ratio, stats.t.ppf(0.95, 5) / 1.645 * np.sqrt(6 / 5), rtol=0.1)
    # For new subjects it covers the mean of all of them, 95 % of the time; the bootstrap does not.
    many = np.random.default_rng(2).standard_normal((4, 4000))
    low, high = subjects_interval(many)
    assert 0.94 < ((low <= 0) & (high >= 0)).mean() < 0.96
    with pytest.raises(InputError, match="at least 3"):
        subjects_interval(values[:2])


def test_fold_variance_is_that_of_a_mean_over_pairs_of_folds() -> None:
    # Fold scores made the way the derivation says: each is the sum of independent terms it shares with the other folds.
    rng = np.random.default_rng(2)
    folds, repeats = 5, 40_000
    pairs = rng.standard_normal((folds, folds, repeats))
    pairs = np.triu(np.ones((folds, folds)), 1)[:, :, None] * pairs
    values = (pairs + pairs.transpose(1, 0, 2)).sum(axis=1)
    t, p = folds_t(values)
    expected = values.var(axis=0, ddof=1).mean() * 2 * 4 / (5 * 3)
    assert values.mean(axis=0).var() == pytest.approx(expected, rel=0.03)
    # One mean over ten pairs has no exact t distribution; its tail is close to that of 4 degrees of freedom.
    assert 0.035 < (p <= 0.05).mean() < 0.055
    plain = stats.ttest_1samp(values, 0.0, alternative="greater")
    np.testing.assert_allclose(t, plain.statistic * np.sqrt((1 / 5) / (8 / 15)))


def test_null_scores_with_shared_unmodelled_responses_are_not_called_significant() -> None:
    rates = {"folds": [], "subjects": []}
    for seed in range(4):
        options = PlantedOptions(
            signal=0.0, unmodelled=0.4, gradient=0.0, n_units=20, targets_per_unit=10, n_subjects=4
        )
        study = planted_study(seed, options)
        ridge = EncodingRidgeCV(alphas=(1e2, 1e4))
        subjects = [
            cross_val_encode(study.activations["block.2"], y, estimator=ridge, groups=study.groups).r
            for y in study.responses
        ]
        r = xr.concat(subjects, "subject")
        for test, found in rates.items():
            hits = significance(r, test=test, correction="none").significant
            found.append(float(hits.mean()))
    assert np.mean(rates["folds"]) < 0.075  # 800 dependent targets
    assert np.mean(rates["subjects"]) > 0.08  # the photographs are a fixed effect there: anti-conservative


def test_sign_flips_equal_enumeration_and_mne() -> None:
    for n, effect in ((6, 0.0), (6, 1.0), (9, 0.5)):
        values = np.random.default_rng(n).standard_normal(n) + effect
        flipped = np.array(list(itertools.product([1, -1], repeat=n))) * values
        expected = (np.abs(flipped.sum(axis=1)) >= abs(values.sum()) - 1e-9).mean()
        assert sign_flip_p(values) == pytest.approx(expected)
        assert sign_flip_p(-values) == sign_flip_p(values)
        mne_p = mne.stats.permutation_t_test(values[:, None], n_permutations="all", tail=0, verbose=False)[1][0]
        assert sign_flip_p(values) == pytest.approx(mne_p, abs=2 / 2**n)  # which leaves the identity out
        assert sign_flip_p(values, n_flips=60) == pytest.approx(expected, abs=0.2)  # random flips


def test_corrections_equal_scipy_within_families_and_ignore_missing_tests() -> None:
    p = xr.DataArray(np.random.default_rng(4).uniform(size=(3, 8)) ** 2, dims=("layer", "target"))
    p[1, 2] = np.nan
    for method in ("bh", "by"):
        adjusted = adjust(p, method, over=("target",))
        np.testing.assert_allclose(adjusted[0], stats.false_discovery_control(p[0], method=method))
        kept = np.isfinite(p[1].values)
        np.testing.assert_allclose(adjusted[1][kept], stats.false_discovery_control(p[1][kept], method=method))
        assert np.isnan(adjusted[1, 2])
    both = adjust(p.isel(layer=[0, 2]), "bh", over=("layer", "target"))
    flat = stats.false_discovery_control(p.isel(layer=[0, 2]).values.ravel())
    np.testing.assert_allclose(both.values.ravel(), flat)
    np.testing.assert_allclose(adjust(p[0], "bonferroni", over=("target",)), np.minimum(8 * p[0], 1))
    np.testing.assert_array_equal(adjust(p, "none", over=("target",)), p)


def test_significance_of_maps_and_time_courses() -> None:
    r = scores(target=12).assign_coords(time=("target", np.tile([0.0, 0.1, 0.2, 0.3], 3)))
    r = r + xr.where(r["time"] > 0.15, 0.3, 0.0)
    result = significance(r, per="time")
    assert result.significant.dims == ("layer", "time")
    assert result.significant.values.tolist() == [[False, False, True, True]] * 2
    assert set(result.to_frame()) >= {"layer", "time", "p", "p_adjusted", "significant"}
    assert "4 of 8" in repr(result) and "folds" in result.method
    expected = folds_t(np.arctanh(r).mean("subject").transpose("split", "layer", "target").values)[1]
    np.testing.assert_allclose(significance(r, correction="none").p, expected)
    assert significance(r, test="subjects").p.shape == (2, 12)


@pytest.mark.parametrize("photographs", [3, 4, 6, 10])
def test_small_folds_hold_their_level_far_out(photographs: int) -> None:
    """r of few photographs is not normal; corrections over many targets rest on the tails."""
    half = (photographs - 2) / 2
    r = 2 * np.random.default_rng(0).beta(half, half, (5, 200_000)) - 1  # the distribution of r of pure noise
    z = fisher_z(xr.DataArray(r, dims=("split", "target")))
    _, p = folds_t(z.values)
    assert (p < 0.01).mean() < 0.01
    assert (p < 0.001).mean() < 0.001


def test_folds_of_two_photographs_are_refused() -> None:
    r = scores(target=12)
    with pytest.raises(InputError, match="every r is ±1, as with two photographs in it; use fewer folds"):
        significance(r.where(r["split"] != 1, np.sign(r)))
    with pytest.raises(InputError, match="one of correlations, but a score is 1"):
        significance(xr.full_like(r, 1.5))


def test_paired_comparison() -> None:
    first = scores(0, 0.3)
    second = (first - 0.2 + 0.01 * scores(5)).transpose("target", "split", "layer", "subject")
    result = compare(first, second)
    assert result.significant.all()
    one_sided = compare(second, first, alternative="greater")
    assert not one_sided.significant.any()
    np.testing.assert_allclose(compare(first, second, test="subjects").p.sizes["target"], 6)
    with pytest.raises(InputError, match="equal dims"):
        compare(first, second.isel(target=slice(3)))
    with pytest.raises(InputError, match="same targets in the same order; their 'time' differs"):
        timed = first.assign_coords(time=("target", np.arange(6) / 10))
        compare(timed, timed.isel(target=slice(None, None, -1)))
    with pytest.raises(InputError, match="alternative 'bigger' is unknown; choose one of greater, less, two-sided"):
        compare(first, second, alternative="bigger")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="correction 'fdr' is unknown; choose one of bh, by, bonferroni, none"):
        compare(first, second, correction="fdr")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="per 'target' or per 'time', not per 'sensor'"):
        significance(first, per="sensor")  # type: ignore[arg-type]


def test_scores_that_are_missing_or_have_no_names_are_refused() -> None:
    r = scores(3).assign_coords(subject=["S1", "S2", "S3", "S4"])
    hole = r.copy()
    hole.loc[{"subject": "S3"}] = np.nan
    refused = "The subject 'S3' has no score that is a number; leave it out"
    for test in ("folds", "subjects"):
        with pytest.raises(InputError, match=refused):
            significance(hole, test=test)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=refused):
            compare(r, hole, test=test)  # type: ignore[arg-type]
    folds = r.copy()
    folds[:, :, 2] = np.nan
    with pytest.raises(InputError, match="The split '2' has no score that is a number"):
        significance(folds)
    split = r.copy()
    split[0, :, :, :3] = split[1, :, :, 3:] = np.nan  # nobody is missing, but no target has everybody
    with pytest.raises(InputError, match="everywhere the score of some subject or split is missing"):
        compare(r, split)
    part = r.copy()
    part[2, :, :, :2] = np.nan  # a few targets without a score are left out, and counted
    assert "of 8 at" in repr(significance(part)) and np.isnan(significance(part).p[:, :2]).all()
    with pytest.raises(InputError, match=r"A test needs scores as an xarray\.DataArray, not ndarray"):
        significance(r.values)  # type: ignore[arg-type]
    for pair in ((r, r.values), (r.values, r)):
        with pytest.raises(InputError, match=r"A test needs scores as an xarray\.DataArray, not ndarray"):
            compare(*pair)


def explicit_scores(X: np.ndarray, Y: np.ndarray, groups: np.ndarray, alpha: float) -> np.ndarray:
    values = []
    for train, test in plan_splits(len(X), 5, groups=groups, inner_cv=2).outer:
        scaler = StandardScaler().fit(X[train])
        fitted = Ridge(alpha).fit(scaler.transform(X[train]), Y[train]).predict(scaler.transform(X[test]))
        values.append([stats.pearsonr(fitted[:, t], Y[test][:, t]).statistic for t in range(Y.shape[1])])
    return np.mean(values, axis=0)


@pytest.mark.parametrize("width", [6, 70])
def test_permutation_test_equals_explicit_refitting(width: int) -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(15), 4)
    X = rng.standard_normal((60, width))
    Y = 0.3 * X[:, :3] + rng.standard_normal((60, 3))
    options = PermutationOptions(n_permutations=25, block=2)
    result = permutation_test(X, Y, alpha=30.0, groups=groups, options=options)
    observed = explicit_scores(X, Y, groups, 30.0)
    null = np.array([explicit_scores(X, Y[order], groups, 30.0) for order in group_orders(groups, 25)])
    np.testing.assert_allclose(result.table["r"], observed, atol=1e-5)
    np.testing.assert_allclose(result.table["p"], (1 + (null >= observed).sum(axis=0)) / 26)
    np.testing.assert_allclose(result.table["p_fwer"], (1 + (null.max(axis=1)[:, None] >= observed).sum(axis=0)) / 26)


def test_every_permutation_may_choose_its_penalty() -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(15), 4)
    X = rng.standard_normal((60, 6))
    Y = 0.3 * X[:, :3] + rng.standard_normal((60, 3))
    options = PermutationOptions(n_permutations=25, block=2, candidates=(1.0, 1000.0))
    result = permutation_test(X, Y, groups=groups, options=options)

    def best(y: np.ndarray) -> np.ndarray:
        return np.maximum(explicit_scores(X, y, groups, 1.0), explicit_scores(X, y, groups, 1000.0))

    null = np.array([best(Y[order]) for order in group_orders(groups, 25)])
    np.testing.assert_allclose(result.table["r"], best(Y), atol=1e-5)
    np.testing.assert_allclose(result.table["p"], (1 + (null >= best(Y)).sum(axis=0)) / 26)
    assert "best of 2 penalties" in result.method
    with pytest.raises(InputError, match="either fixed penalties"):
        permutation_test(X, Y, alpha=1.0, groups=groups, options=options)


def test_permutation_orders_move_whole_groups_within_strata() -> None:
    groups = np.repeat(np.arange(12), 3)
    strata = groups // 6
    for order in group_orders(groups, 20, strata=strata, seed=1):
        assert sorted(order) == list(range(36))
        np.testing.assert_array_equal(strata[order], strata)
        assert all(len(set(groups[order][groups == g])) == 1 for g in range(12))
    unequal = np.repeat(np.arange(4), [1, 2, 3, 4])
    assert all(sorted(order) == list(range(10)) for order in group_orders(unequal, 5))
    with pytest.raises(InputError, match="two strata"):
        permutation_test(
            np.ones((20, 1)), np.ones((20, 1)), alpha=1.0, groups=np.arange(20) // 2, strata=np.arange(20) % 2
        )


def test_permutations_are_calibrated_stop_early_and_resume(tmp_path) -> None:
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(20), 4)
    X = rng.standard_normal((20, 8))[groups] + 0.5 * rng.standard_normal((80, 8))
    Y = rng.standard_normal((20, 300))[groups] + 0.5 * rng.standard_normal((80, 300))
    options = PermutationOptions(n_permutations=99, block=100)
    path = tmp_path / "null"
    full = permutation_test(X, Y, alpha=10.0, groups=groups, options=options, checkpoint=path)
    assert 0.02 < (full.table["p"] <= 0.05).mean() < 0.1  # 300 targets on one X
    modified = [file.stat().st_mtime_ns for file in sorted(path.iterdir())]
    again = permutation_test(X, Y, alpha=10.0, groups=groups, options=options, checkpoint=path)
    assert [file.stat().st_mtime_ns for file in sorted(path.iterdir())] == modified and len(modified) == 3
    assert again.table.equals(full.table)
    early = permutation_test(
        X, Y, alpha=10.0, groups=groups, options=PermutationOptions(n_permutations=99, stop_after=5)
    )
    assert early.table["n_permutations"].mean() < 40
    assert early.table["p_fwer"].isna().all()
    # Besag–Clifford: h / l where stopped, else the usual estimate; close to the full p by design.
    assert np.corrcoef(early.table["p"], full.table["p"])[0, 1] > 0.8
    assert 0.02 < (early.table["p"] <= 0.05).mean() < 0.1


def test_shares_computed_apart_are_the_whole_test(tmp_path) -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 4)
    X, Y = rng.standard_normal((48, 5)), rng.standard_normal((48, 70))
    subjects = [PermutationInput(X, Y, 10.0, groups), PermutationInput(X, Y[::-1], 10.0, groups)]
    for stop in (None, 3):
        options = PermutationOptions(n_permutations=40, block=16, stop_after=stop)
        alone = group_permutation_test(subjects, options=options)
        folder = tmp_path / f"{stop}"
        for share in ((2, 3), (1, 3), (3, 3), (9, 9)):
            compute_blocks(subjects, options=options, checkpoint=folder, share=share)
        made = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert len(made) == 5
        together = group_permutation_test(subjects, options=options, checkpoint=folder)
        assert together.table.equals(alone.table)
        assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == made
        hit = next(folder.iterdir())
        hit.write_bytes(hit.read_bytes()[:-40])
        with pytest.warns(UserWarning, match="is damaged"):
            mended = group_permutation_test(subjects, options=options, checkpoint=folder)
        assert mended.table.equals(alone.table)


def test_a_block_that_another_process_holds_is_left_or_waited_for(tmp_path) -> None:
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((40, 4)), rng.standard_normal((40, 20))
    subjects, options = [PermutationInput(X, Y, 10.0)], PermutationOptions(n_permutations=30, block=10)
    compute_blocks(subjects, options=options, checkpoint=tmp_path / "all")
    held = sorted(file.stem for file in (tmp_path / "all").iterdir())[0]
    with file_lock(tmp_path / "some" / f"{held}.lock"):
        compute_blocks(subjects, options=options, checkpoint=tmp_path / "some", wait=False)
        assert [file.stem for file in (tmp_path / "some").glob("*.npz")] != [held]
        assert len(list((tmp_path / "some").glob("*.npz"))) == 1
    assert group_permutation_test(subjects, options=options, checkpoint=tmp_path / "some").table.equals(
        group_permutation_test(subjects, options=options).table
    )


def test_group_averages_subjects_and_targets_of_a_unit() -> None:
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(15), 4)
    X = rng.standard_normal((60, 6))
    first, second = (0.2 * X[:, :4] + rng.standard_normal((60, 4)) for _ in range(2))
    units, options = np.array([1, 0, 1, 0]), PermutationOptions(n_permutations=25, block=2)
    subjects = [PermutationInput(X, y, 30.0, groups) for y in (first, second)]
    found = group_permutation_test(subjects, units=units, options=options).table

    def both(order: np.ndarray) -> np.ndarray:
        scores = [explicit_scores(X, y[order], groups, 30.0) for y in (first, second)]
        return np.mean(scores, axis=0)[[1, 3, 0, 2]].reshape(2, 2).mean(axis=1)

    observed, null = both(np.arange(60)), np.array([both(order) for order in group_orders(groups, 25)])
    assert found["unit"].tolist() == [0, 1]
    np.testing.assert_allclose(found["r"], observed, atol=1e-5)
    np.testing.assert_allclose(found["p"], (1 + (null >= observed).sum(axis=0)) / 26)
    np.testing.assert_allclose(found["p_fwer"], (1 + (null.max(axis=1)[:, None] >= observed).sum(axis=0)) / 26)
    # Subjects who saw other photographs are permuted independently: the second has orders of its own.
    apart = [subjects[0], PermutationInput(X, second, 30.0, groups, same_photographs=False)]
    alone = [explicit_scores(X, second[order], groups, 30.0) for order in group_orders(groups, 25, seed=1)]
    shared = np.array([explicit_scores(X, first[order], groups, 30.0) for order in group_orders(groups, 25)])
    free = (shared + np.array(alone)) / 2
    own = group_permutation_test(apart, options=options).table
    seen = (explicit_scores(X, first, groups, 30.0) + explicit_scores(X, second, groups, 30.0)) / 2
    np.testing.assert_allclose(own["p"], (1 + (free >= seen).sum(axis=0)) / 26)
    with pytest.raises(InputError, match="same targets"):
        group_permutation_test([subjects[0], PermutationInput(X, second[:, :3], 30.0, groups)], options=options)


def test_common_penalty_is_what_the_best_predicted_agree_on() -> None:
    alpha = np.array([[1e8, 1e2, 1e8, 1e2, 1e3, 1e8], [1e8, 1e2, 1e8, 1e3, 1e3, 1e8]])
    r = np.array([0.0, 0.4, 0.01, 0.3, 0.1, -0.1])
    assert common_penalty(alpha, r) == 1e2
    with pytest.raises(InputError, match="No target has a penalty"):
        common_penalty(np.full((1, 6), np.nan), r)


def test_cost_is_told_beforehand() -> None:
    small = permutation_cost((500, 100), 1000, PermutationOptions(n_permutations=100))
    large = permutation_cost((500, 100), 1000, PermutationOptions(n_permutations=1000))
    assert large.operations == 10 * small.operations == 2 * (500 * 100 + 3 * 5 * 100**2) * 1000 * 1000  # whitened
    few_images = permutation_cost((100, 400), 1000, PermutationOptions(n_permutations=100))
    assert few_images.operations == 2 * 100 * 80 * 1000 * 100  # hat matrices: n_train x n_test in every fold
    assert small.seconds > 0 and "operations" in repr(small)


def test_questions_without_an_answer_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3"):
        significance(scores(split=2))
    with pytest.raises(InputError, match="at least 3"):
        significance(scores(subject=2), test="subjects")
    with pytest.raises(InputError, match="cannot reach"):
        significance(scores(), test="wilcoxon")
    with pytest.raises(InputError, match="cannot reach"):
        sign_flip_p(np.ones(4))
    five = np.random.default_rng(0).standard_normal((5, 2))
    with pytest.raises(InputError, match=r"cannot reach p < .05 \(two-sided\) with 5"):  # 2 · 2⁻⁵ > .05
        sign_flip_p(five[:, 0])
    with pytest.raises(InputError, match=r"cannot reach p < .05 \(two-sided\) with 5"):
        subjects_wilcoxon(five, alternative="two-sided")
    assert subjects_wilcoxon(five)[1].min() >= 2.0**-5
    with pytest.raises(InputError, match="time"):
        significance(scores(), per="time")
    with pytest.raises(InputError, match="positive"):
        permutation_test(np.ones((20, 1)), np.ones((20, 1)), alpha=np.nan)
