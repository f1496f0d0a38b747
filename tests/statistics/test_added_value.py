"""The residual of gradients: arithmetic against explicit fits, the test against simulated null and planted studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from brainmap.common.decompositions import left_singular
from brainmap.common.errors import InputError
from brainmap.data.simulation.planted_studies import PlantedOptions, PlantedStudy, planted_study
from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode
from brainmap.encoding.engine import make_problem, make_settings
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.settings import CheckedRows, RowDesign
from brainmap.statistics.added.added_value import ResidualOptions, residual, residual_scores
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.added.group_noise import COMMON, GroupNoise
from brainmap.statistics.added.hollow_matrices import block_sums, hollow, remove
from brainmap.statistics.added.pooled_subjects import pool_residuals
from brainmap.statistics.added.sign_flips import flip_p
from brainmap.statistics.jackknife import half_width
from brainmap.statistics.two_bands import factorise_bands

SMALL = {"n_groups": 36, "per_group": 5, "n_layers": 4, "width": 16, "n_units": 8, "targets_per_unit": 4}


def small_study(seed: int, **changes) -> PlantedStudy:
    return planted_study(seed, PlantedOptions(**(SMALL | changes)))


def run_test(study: PlantedStudy, seed: int):
    return conditional_test(
        study.activations,
        study.gradients,
        study.responses,
        units=study.units,
        groups=study.groups,
        options=ConditionalOptions(n_flips=400, seed=seed),
    )


def binomial_interval(hits: np.ndarray) -> tuple[float, float]:
    interval = stats.binomtest(int(np.sum(hits)), len(hits)).proportion_ci(0.99, method="exact")
    return interval.low, interval.high


# -- the test -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"signal": 0.0, "group_noise": 0.3}, {"unmodelled": 0.3}, {"n_groups": 120, "per_group": 1}],
    ids=["activations drive", "group noise only", "unmodelled part", "ungrouped"],
)
def test_gradients_that_add_nothing_are_called_significant_at_the_nominal_rate(changes) -> None:
    tables = [run_test(small_study(seed, **changes), seed).table for seed in range(100)]
    family = [table["significant"].any() for table in tables]
    single = [table["p"].iloc[seed % len(table)] <= 0.05 for seed, table in enumerate(tables)]
    assert binomial_interval(family)[0] <= 0.05
    low, high = binomial_interval(single)
    assert low <= 0.05 <= high


def test_planted_units_are_found_and_no_others() -> None:
    found, elsewhere = [], []
    for seed in range(40):
        hits = run_test(small_study(seed, planted=(2, 6)), seed).table["significant"]
        found += [hits[2], hits[6]]
        elsewhere.append(hits.drop([2, 6]).any())
    assert np.mean(found) > 0.95
    assert binomial_interval(elsewhere)[0] <= 0.05


def test_permuted_responses_are_a_null() -> None:
    hits = []
    for seed in range(60):
        study = small_study(seed, planted=(0, 1, 2, 3))
        rng = np.random.default_rng(seed)
        order = np.concatenate([np.flatnonzero(study.groups == g) for g in rng.permutation(36)])
        shuffled = PlantedStudy(**{**vars(study), "responses": [y[order] for y in study.responses]})
        hits.append(run_test(shuffled, seed).table["significant"].any())
    assert binomial_interval(hits)[0] <= 0.05


def test_hollow_matrices_have_no_diagonal_blocks_and_ignore_the_baseline() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((30, 6)))[0]
    blocks = [slice(0, 4), slice(4, 9), slice(9, 12), slice(12, 20), slice(20, 30)]
    x = remove(basis, rng.standard_normal((30, 9)))
    m = hollow(x @ x.T, basis, blocks, tolerance=1e-12)
    np.testing.assert_allclose(m @ basis, 0.0, atol=1e-7)
    np.testing.assert_allclose(m, m.T, atol=1e-9)
    assert all(np.all(m[b, b] == 0) for b in blocks)
    # Nearest such matrix: the difference is orthogonal to every other one.
    y = remove(basis, rng.standard_normal((30, 9)))
    other = hollow(y @ y.T, basis, blocks, tolerance=1e-12)
    assert abs(np.vdot(x @ x.T - m, other)) < 1e-6 * np.linalg.norm(x @ x.T) * np.linalg.norm(other)
    sums = block_sums(m, blocks)
    assert sums[0, 3] == pytest.approx(m[0:4, 12:20].sum())
    # Mean zero for noise that is independent between groups, whatever its covariance inside, plus any baseline signal.
    mixing = [rng.standard_normal((b.stop - b.start, 3)) for b in blocks]
    noise = np.concatenate([w @ rng.standard_normal((3, 40_000)) for w in mixing])
    total = noise + basis @ rng.standard_normal((6, 1)) * 5.0
    values = np.einsum("it,ij,jt->t", total, m, total, optimize=True)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(40_000)


def test_completed_residuals_have_the_covariance_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((30, 6)))[0]
    blocks = [slice(0, 4), slice(4, 9), slice(9, 12), slice(12, 20), slice(20, 30)]
    maker = np.eye(30) - basis @ basis.T
    expected = GroupNoise(basis, blocks, np.zeros((30, 6))).expected_shares
    for strength, share in zip(COMMON, expected, strict=True):
        left = maker @ _common(strength, blocks) @ maker
        assert share == pytest.approx(sum(left[b, b].sum() for b in blocks) / np.trace(left))
    assert (np.diff(expected) > 0).all()
    # Independent between groups, although residuals are not: over draws. For given draws, what they lead to expect.
    noise = _common(COMMON[5], blocks)
    root, plain, total, expected, given = np.linalg.cholesky(noise), *np.zeros((4, 30, 30))
    fixed = rng.standard_normal((30, 6))
    for _ in range(2000):
        y = root @ rng.standard_normal((30, 200)) + basis @ rng.standard_normal((6, 1)) * 5.0
        for kept, draws in ((total, rng.standard_normal((30, 6))), (given, fixed)):
            whole, products = GroupNoise(basis, blocks, draws).complete(y)
            kept += whole @ whole.T / 400_000
        expected += products / 400_000
        plain += maker @ y @ y.T @ maker / 400_000
    assert np.abs(total - noise).max() < 0.05 < 0.2 < np.abs(plain - noise).max()
    assert np.abs(given - expected).max() < 0.05 < 0.2 < np.abs(given - noise).max()


def _common(strength: float, blocks: list[slice]) -> np.ndarray:
    covariance = np.eye(blocks[-1].stop)
    for block in blocks:
        covariance[block, block] += strength
    return covariance


def test_what_completes_the_residuals_does_not_move_the_statistic() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((30, 6)))[0]
    blocks = [slice(start, start + 5) for start in range(0, 30, 5)]
    x, y = remove(basis, rng.standard_normal((30, 9))), rng.standard_normal((30, 4))
    matrix = hollow(x @ x.T, basis, blocks, tolerance=1e-12)
    completed = [GroupNoise(basis, blocks, rng.standard_normal((30, 6))).complete(y) for _ in range(2)]
    assert np.abs(completed[0][0] - completed[1][0]).max() > 0.5
    for whole, products in completed:
        assert np.sum(matrix * (whole @ whole.T - products)) == pytest.approx(np.sum(y * (matrix @ y)), rel=1e-6)


def test_result_is_deterministic_and_does_not_depend_on_row_order() -> None:
    study = small_study(3, planted=(2,))
    first, again = run_test(study, 5), run_test(study, 5)
    assert first.table.equals(again.table)
    assert "1 of 8" in repr(first) and first.to_frame().attrs["n_blocks"] == 36
    order = np.random.default_rng(0).permutation(180)
    moved = PlantedStudy(
        **{
            **vars(study),
            "activations": {k: v[order] for k, v in study.activations.items()},
            "gradients": {k: v[order] for k, v in study.gradients.items()},
            "responses": [y[order] for y in study.responses],
            "groups": study.groups[order],
        }
    )
    np.testing.assert_allclose(run_test(moved, 5).table["statistic"], first.table["statistic"], rtol=1e-5)


def test_many_groups_are_merged_into_blocks() -> None:
    study = small_study(2, n_groups=180, per_group=1, planted=(4,))
    options = ConditionalOptions(n_flips=400, max_blocks=40)
    data = (study.activations, study.gradients, study.responses)
    result = conditional_test(*data, units=study.units, options=options)
    assert result.n_blocks == 40
    assert result.table.loc[result.table["significant"], "unit"].tolist() == [4]


def test_of_many_images_whole_groups_are_drawn() -> None:
    study = small_study(2, planted=(4,))
    data = (study.activations, study.gradients, study.responses)
    options = ConditionalOptions(n_flips=400, max_images=102)
    result = conditional_test(*data, units=study.units, groups=study.groups, options=options)
    assert (result.n_images, result.n_blocks) == (100, 20)
    assert result.table["statistic"].idxmax() == 4
    rows = np.isin(study.groups, np.random.default_rng([0, 22]).permutation(36)[:20])
    features = [{name: array[rows] for name, array in part.items()} for part in data[:2]]
    alone = conditional_test(
        *features,
        [y[rows] for y in study.responses],
        units=study.units,
        groups=study.groups[rows],
        options=ConditionalOptions(n_flips=400),
    )
    np.testing.assert_array_equal(alone.table["statistic"], result.table["statistic"])


def test_subjects_who_saw_different_images_are_pooled() -> None:
    studies = [small_study(seed, planted=(4,), n_subjects=1) for seed in range(3)]
    each = [
        residual(
            study.activations,
            study.gradients,
            study.responses,
            units=study.units,
            groups=study.groups,
            options=(ResidualOptions(), ConditionalOptions(n_flips=400, seed=seed)),
        )
        for seed, study in enumerate(studies)
    ]
    pooled = pool_residuals(each)
    tables = [result.table for result in each]
    np.testing.assert_allclose(pooled.table["delta"], np.mean([table["delta"] for table in tables], axis=0))
    np.testing.assert_allclose(pooled.table["statistic"], sum(table["statistic"] for table in tables) / np.sqrt(3))
    variance = sum(((table["high"] - table["low"]) / 2) ** 2 for table in tables) / 9
    np.testing.assert_allclose(pooled.table["high"] - pooled.table["delta"], np.sqrt(variance))
    assert pooled.table.loc[pooled.table["significant"], "unit"].tolist() == [4]
    assert "summed over 3 subjects" in pooled.to_frame().attrs["p_method"]
    with pytest.raises(InputError, match="seed of its own"):
        pool_residuals([each[0], each[0]])


def test_pooled_tests_hold_their_level() -> None:
    hits = []
    for seed in range(60):
        tests = [run_test(small_study(100 * seed + number, n_subjects=1), 7 + number) for number in range(2)]
        observed = sum(test.table["statistic"].to_numpy() for test in tests)
        hits.append(flip_p(observed, tests[0].null + tests[1].null)[1].min() <= 0.05)
    assert binomial_interval(np.array(hits))[0] <= 0.05


# -- the effect ---------------------------------------------------------------------------------------------------


def pca_scores(train: np.ndarray, test: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    scaler = StandardScaler().fit(train)
    pca = PCA(n, svd_solver="full").fit(scaler.transform(train))
    return pca.transform(scaler.transform(train)), pca.transform(scaler.transform(test))


def test_nested_scores_equal_an_explicit_fit() -> None:
    study = small_study(0, planted=(2,), n_subjects=1)
    y = study.responses[0]
    options = ResidualOptions(alphas=(200.0,), explained=1.0, max_components=20)
    result = residual_scores(study.activations, study.gradients, y, groups=study.groups, options=options)
    x = np.concatenate(list(study.activations.values()), axis=1)
    g = np.concatenate(list(study.gradients.values()), axis=1)
    added = 0
    for number, (train, test) in enumerate(plan_splits(180, 5, groups=study.groups).outer):
        a_train, a_test = pca_scores(x[train], x[test], 20)
        scaler = StandardScaler().fit(g[train])
        clean = LinearRegression().fit(a_train, scaler.transform(g[train]))
        g_train = scaler.transform(g[train]) - clean.predict(a_train)
        g_test = scaler.transform(g[test]) - clean.predict(a_test)
        pca = PCA(20, svd_solver="full").fit(g_train)
        base = Ridge(200.0).fit(a_train, y[train]).predict(a_test)
        extra = Ridge(200.0, fit_intercept=False).fit(pca.transform(g_train), y[train]).predict(pca.transform(g_test))
        for target in range(y.shape[1]):
            r_base = stats.pearsonr(base[:, target], y[test, target]).statistic
            r_full = stats.pearsonr((base + extra)[:, target], y[test, target]).statistic
            found = result.dataset.isel(subject=0, split=number, target=target)
            assert float(found["r_base"]) == pytest.approx(r_base, abs=1e-4)
            # The added band is chosen between this penalty and nothing at all.
            chosen = min(abs(float(found["r_full"]) - r) for r in (r_full, r_base))
            assert chosen < 1e-4
            added += abs(float(found["r_full"]) - r_full) < 1e-4
    assert added > 20


@pytest.mark.parametrize("alphas", [None, (1e1, 1e2, 1e3)])
def test_the_baseline_is_scored_as_the_engine_scores_it(alphas: tuple[float, ...] | None) -> None:
    study = small_study(0, planted=(2,), n_subjects=1)
    gaze = np.random.default_rng(0).standard_normal((180, 2))
    x = np.concatenate(list(study.activations.values()), axis=1)
    for confounds in (None, gaze):
        options = ResidualOptions(alphas=alphas, explained=1.0, max_components=20, seed=3)
        result = residual_scores(
            x, study.gradients, study.responses[0], groups=study.groups, confounds=confounds, options=options
        )
        engine = cross_val_encode(
            x,
            study.responses[0],
            estimator=EncodingRidgeCV(alphas, pca=20, options=RidgeOptions(seed=3)),
            groups=study.groups,
            rows=None if confounds is None else RowDesign(nuisance=confounds),
        )
        np.testing.assert_allclose(result.dataset["r_base"][0], engine.r[0], atol=2e-5)
        assert result.dataset.attrs["split_hash"] == engine.provenance["split_hash"]
        assert result.dataset.attrs["alphas"] == engine.provenance["alphas"]


def test_matched_dimension_bands_are_study_a() -> None:
    study = small_study(0)
    x = np.concatenate(list(study.activations.values()), axis=1)
    g = np.concatenate(list(study.gradients.values()), axis=1)
    options = ResidualOptions(alphas=(50.0,))
    plan = plan_splits(180, 5, groups=study.groups)
    problem = make_problem(plan, make_settings(options.ridge), CheckedRows())
    bands = factorise_bands(x, g, problem, limits=(1.0, 0, 0), matched=10)[1][0][-1]
    train, test = plan.order[bands.train], plan.order[bands.test]
    assert np.array_equal(np.sort(test), plan.outer[0][1])
    sides = [pca_scores(f[train], f[test], 10) for f in (x, g)]
    both_train, both_test = (np.concatenate(parts, axis=1) for parts in zip(*sides, strict=True))
    y = study.responses[0][train]
    expected = Ridge(50.0, fit_intercept=False).fit(both_train, y - y.mean(axis=0)).predict(both_test)
    np.testing.assert_allclose(bands.added.predict(bands.added.weights(y - y.mean(axis=0)), 50.0), expected, atol=1e-4)
    x_train, x_test = pca_scores(x[train], x[test], 20)
    expected = Ridge(50.0, fit_intercept=False).fit(x_train, y - y.mean(axis=0)).predict(x_test)
    np.testing.assert_allclose(bands.base.predict(bands.base.weights(y - y.mean(axis=0)), 50.0), expected, atol=1e-4)


def test_residual_table_has_effects_intervals_and_the_test() -> None:
    study = small_study(7, planted=(2, 6), gradient=0.2)
    data = (study.activations, study.gradients, study.responses)
    result = residual(*data, units=study.units, groups=study.groups)
    table = result.to_frame().set_index("unit")
    planted = table.index.isin([2, 6])
    assert table["significant"].to_numpy().tolist() == planted.tolist()
    assert (table["delta"][planted] > 0.02).all() and table["low"][planted].max() > 0
    assert (table["delta"][~planted] < 0.02).all()  # below zero: the price of adding what explains nothing
    np.testing.assert_allclose(table["r_full"] - table["r_base"], table["delta"], atol=1e-6)
    assert "sign flips" in table.attrs["p_method"] and table.attrs["split_hash"]
    matched = residual_scores(
        *data, groups=study.groups, options=ResidualOptions(method="matched", matched_components=15)
    ).by_unit(study.units)
    assert matched.loc[[2, 6], "delta"].min() > matched.drop([2, 6])["delta"].max()


def test_the_interval_of_the_residual_covers_its_mean_over_new_photographs() -> None:
    setup = PlantedOptions(**(SMALL | {"n_groups": 16 * 36, "planted": (2, 6)}))
    study = planted_study(0, setup)
    tables = []
    for rows in np.split(np.arange(len(study.groups)), 16):
        features = [{name: x[rows] for name, x in part.items()} for part in (study.activations, study.gradients)]
        y = [values[rows] for values in study.responses]
        options = ResidualOptions(alphas=(1e2, 1e3), inner_cv=3)
        tables.append(residual_scores(*features, y, groups=study.groups[rows], options=options).by_unit(study.units))
    low, high, delta = (np.stack([table[name] for table in tables]) for name in ("low", "high", "delta"))
    covered = (low <= delta.mean(axis=0)) & (delta.mean(axis=0) <= high)
    assert 0.88 < covered.mean() < 0.995  # 128 dependent ones
    # Neither twice as wide as the estimates scatter, nor half.
    assert 0.8 < np.sqrt(np.mean((high - low) ** 2) / 4 / np.mean(delta.var(axis=0, ddof=1))) / 2.04 < 1.4


def test_residual_scores_know_what_each_group_does_to_them() -> None:
    study = small_study(1, planted=(2,), n_subjects=1)
    data = (study.activations, study.gradients, study.responses)
    scores = residual_scores(*data, groups=study.groups, options=ResidualOptions(alphas=(100.0,), inner_cv=2))
    assert scores.test.shape == scores.training.shape == scores.choice.shape == (36, 32)
    table = scores.by_unit(study.units)
    parts = (scores.test, scores.training, scores.choice)
    test, training, choice = (changes.reshape(36, 8, 4).mean(axis=2) for changes in parts)
    noise, delta = np.sum(test**2, axis=0) + np.sum(training**2, axis=0), table["delta"].to_numpy()
    shrunk = np.sqrt(np.maximum(1 - noise / np.where(delta == 0, 1, delta) ** 2, 0.0))
    assert shrunk.min() == 0 and shrunk.max() > 0.9  # a gain of noise or nothing added; a gain
    expected = half_width(test + shrunk * choice, training, 31, 0.95)
    assert (expected > 0).all()  # even where no split added anything
    np.testing.assert_allclose((table["high"] - table["low"]) / 2, expected, rtol=1e-5)


def test_noise_common_to_a_group_does_not_make_features_common_to_it_significant() -> None:
    single = []
    for seed in range(30):
        rng = np.random.default_rng([seed, 1])
        study = small_study(seed, n_subjects=1, n_groups=40, width=20)
        common = np.repeat(rng.standard_normal((40, 20)), 5, axis=0) + 0.3 * rng.standard_normal((200, 20))
        options = ConditionalOptions(n_flips=200, seed=seed)
        data = (study.activations, common, study.responses)
        single += (
            conditional_test(*data, units=study.units, groups=study.groups, options=options).table["p"] <= 0.05
        ).tolist()
    assert np.mean(single) < 0.09  # 240 dependent ones


def test_bad_input_is_refused_in_one_sentence() -> None:
    study = small_study(0)
    data = (study.activations, study.gradients, study.responses)
    with pytest.raises(InputError, match="units of shape"):
        conditional_test(*data, units=[0, 1])
    with pytest.raises(InputError, match="at least 6 groups"):
        conditional_test(*data, units=study.units, groups=study.groups % 3)
    mixed = study.activations["block.1"] @ np.ones((16, 2)) + study.activations["block.0"][:, :2]
    full = ConditionalOptions(n_components=64)
    with pytest.raises(InputError, match="nothing left to test"):
        conditional_test(study.activations, mixed, study.responses, units=study.units, options=full)
    with pytest.raises(InputError, match="constant over images"):
        conditional_test(np.ones((180, 3)), study.gradients, study.responses, units=study.units)
    broken = study.responses[0].copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="row 3, column 1"):
        residual_scores(study.activations, study.gradients, broken)
    with pytest.raises(InputError, match="nested"):
        ResidualOptions(method="other")


def test_decomposition_survives_a_failure_of_the_fast_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).standard_normal((12, 5))
    left, singular = left_singular(matrix)
    np.testing.assert_allclose(singular, np.linalg.svd(matrix, compute_uv=False))

    def fail(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", fail)
    again, values = left_singular(matrix)
    np.testing.assert_allclose(values, singular)
    np.testing.assert_allclose(np.abs(np.sum(again * left, axis=0)), 1.0)


def test_targets_have_a_test_and_a_correction_of_their_own() -> None:
    rng = np.random.default_rng(0)
    base, added = rng.standard_normal((2, 120, 20))
    responses = 0.3 * base @ rng.standard_normal((20, 60)) + rng.standard_normal((120, 60))
    nothing = residual_scores(base, added, responses).by_target()
    assert not nothing["significant"].any() and (nothing["p"] < 0.05).mean() <= 0.05
    planted = np.arange(60) < 20
    responses[:, planted] += 1.5 * added @ rng.standard_normal((20, 20)) / np.sqrt(20)
    scores = residual_scores(base, added, responses)
    table = scores.by_target()
    assert table["significant"][planted].mean() > 0.7 and not table["significant"][~planted].any()
    np.testing.assert_array_equal(table["significant"], stats.false_discovery_control(table["p"]) <= 0.05)
    np.testing.assert_allclose(table["delta"], scores.dataset["delta"].mean(("subject", "split")), atol=1e-6)
    assert (table["low"] <= table["delta"]).all() and (table["p"][table["low"] > 0] < 0.025).all()
