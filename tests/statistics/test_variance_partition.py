"""Variance partitioning and banded ridge against identities and planted shares; cluster tests against mne."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from scipy import sparse, stats

from brainmap.common.errors import InputError
from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.encoding import EncodingRidgeCV, cross_val_encode
from brainmap.statistics.added.conditional_test import ConditionalOptions
from brainmap.statistics.cluster_tests import cluster_null, cluster_subjects
from brainmap.statistics.partition.banded_partition import banded_ridge
from brainmap.statistics.partition.variance_partition import unique_tests, variance_partition
from brainmap.statistics.permutation.permutation_test import permutation_null, permutation_test
from brainmap.statistics.permutation.permuted_subject import PermutationOptions

RIDGE = EncodingRidgeCV(alphas=(1e-2, 1e0, 1e2))
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")


def planted(n: int = 600) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three spaces: a and b overlap in one dimension; responses are driven by a alone, the overlap, b alone."""
    rng = np.random.default_rng(0)
    own_a, own_b, common, c = rng.standard_normal((4, n, 3))
    spaces = {"a": np.hstack([own_a, common]), "b": np.hstack([own_b, common]), "c": c}
    drive = np.stack([own_a[:, 0], common[:, 0], own_b[:, 0]], axis=1)
    return spaces, drive + 0.7 * rng.standard_normal((n, 3))


def test_parts_recover_planted_shares_and_add_up() -> None:
    spaces, y = planted()
    result = variance_partition(spaces, y, estimator=RIDGE)
    means = result.parts.mean("split").to_series().unstack("part")
    explained = 1 / (1 + 0.49)
    np.testing.assert_allclose(means.loc[0, "a"], explained, atol=0.04)
    np.testing.assert_allclose(means.loc[1, "a&b"], explained, atol=0.04)
    np.testing.assert_allclose(means.loc[2, "b"], explained, atol=0.04)
    assert means.drop(columns=["a", "b", "a&b"]).abs().to_numpy().max() < 0.03
    assert (means.to_numpy() < 0).any()  # negative parts are reported
    np.testing.assert_allclose(result.parts.sum("part"), result.r2.sel(model="a+b+c"), atol=1e-6)
    table = result.to_frame().set_index("part")
    assert table.loc["total", "r2"] == pytest.approx(table.drop("total")["r2"].sum())
    assert table.loc["a&b", "kind"] == "shared" and (table["low"] <= table["r2"]).all()
    assert "a&b" in repr(result)


def test_unique_variance_is_the_difference_of_nested_models() -> None:
    spaces, y = planted(200)
    two = {name: spaces[name] for name in ("a", "b")}
    result = variance_partition(two, y, estimator=RIDGE)
    both = cross_val_encode(np.hstack([two["a"], two["b"]]), y, estimator=RIDGE).r2.isel(layer=0)
    alone = cross_val_encode(two["b"], y, estimator=RIDGE).r2.isel(layer=0)
    np.testing.assert_allclose(result.unique("a"), both - alone, atol=1e-5)
    with pytest.raises(InputError, match="no space"):
        result.unique("d")


def test_unique_tests_find_the_spaces_that_add_something() -> None:
    study = planted_study(0, PlantedOptions(n_groups=36, per_group=5, n_layers=4, width=16, n_units=8, planted=(2,)))
    spaces = {
        "activation": np.concatenate(list(study.activations.values()), axis=1),
        "gradient": np.concatenate(list(study.gradients.values()), axis=1),
    }
    options = ConditionalOptions(n_flips=400)
    table = unique_tests(spaces, study.responses, units=study.units, groups=study.groups, options=options)
    hits = table[table["significant"]]
    assert hits.loc[hits["space"] == "gradient", "unit"].tolist() == [2]
    assert (hits["space"] == "activation").sum() >= 7


def test_banded_ridge_contributions_add_up_and_find_the_bands() -> None:
    spaces, y = planted(300)
    data = banded_ridge({name: spaces[name] for name in ("a", "c")}, y, n_iter=10, cv=3)
    means = data.mean("split")
    np.testing.assert_allclose(data["contribution"].sum("band"), data["r2"])
    assert means["contribution"].sel(band="a", target=0) > 0.55
    assert abs(means["contribution"].sel(band="c", target=0)) < 0.05
    assert means["weight"].sel(band="a", target=0) > 0.6
    np.testing.assert_allclose(data["weight"].sum("band"), 1.0)
    plain = cross_val_encode(spaces["a"], y, estimator=RIDGE, cv=3).r2.mean("split").isel(layer=0)
    np.testing.assert_allclose(means["r2"].sel(target=0), plain.sel(target=0), atol=0.07)


def test_unusable_spaces_are_refused() -> None:
    spaces, y = planted(60)
    with pytest.raises(InputError, match="2 to 5"):
        variance_partition({"a": spaces["a"]}, y)
    with pytest.raises(InputError, match="cannot be used"):
        variance_partition({"a+b": spaces["a"], "c": spaces["c"]}, y)


def test_clusters_over_subjects_equal_mne() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((9, 30))
    values[:, 10:16] += 1.5
    result = cluster_subjects(values)
    threshold = stats.t.ppf(0.95, 8)
    t, clusters, p, _ = mne.stats.permutation_cluster_1samp_test(
        values, threshold=threshold, tail=1, n_permutations=2000, seed=0, verbose=False
    )
    np.testing.assert_allclose(result.statistic, t)
    assert len(result.table) == len(clusters)
    np.testing.assert_allclose(np.sort(result.table["p"]), np.sort(p))
    assert result.significant[11:15].all() and not result.significant[[0, 25]].any()
    assert result.table["first"].iloc[0] >= 8 and "1 of" in repr(result)
    with pytest.raises(InputError, match="cannot reach"):
        cluster_subjects(values[:4])
    with pytest.raises(InputError, match=r"5 subjects cannot reach p < .05 \(two-sided\)"):
        cluster_subjects(values[:5], alternative="two-sided")  # at best 2 of 2⁵
    with pytest.raises(InputError, match="Fewer than 20 sign flips"):
        cluster_subjects(values, n_permutations=10)
    assert "512 sign flips" in result.method  # all that nine subjects have


@pytest.mark.parametrize("threshold", [np.nan, 0.0, -1.0])
def test_a_cluster_threshold_that_is_not_above_the_mean_is_refused(threshold: float) -> None:
    values = np.random.default_rng(0).standard_normal((30, 50))
    with pytest.raises(InputError, match="must be above 0, the mean under permutation"):
        cluster_null(values[0], values[1:], threshold=threshold)


def test_clusters_follow_the_mesh() -> None:
    rng = np.random.default_rng(2)
    order = rng.permutation(30)  # neighbours in time are far apart in the numbering
    line = sparse.diags_array([np.ones(29), np.ones(29)], offsets=[-1, 1]).tocsr()[order][:, order]
    values = rng.standard_normal((9, 30))
    values[:, 10:16] += 1.5
    plain, shuffled = cluster_subjects(values), cluster_subjects(values[:, order], adjacency=line)
    np.testing.assert_array_equal(shuffled.significant, plain.significant[order])
    null = rng.standard_normal((199, 30))
    observed = np.where((np.arange(30) >= 10) & (np.arange(30) < 16), 3.0, 0.0)
    plain, shuffled = cluster_null(observed, null), cluster_null(observed[order], null[:, order], adjacency=line)
    assert plain.significant.sum() == 6 and plain.table["p"].iloc[0] == pytest.approx(1 / 200)
    np.testing.assert_array_equal(shuffled.significant, plain.significant[order])


def test_cluster_null_is_calibrated() -> None:
    rng = np.random.default_rng(3)

    def smooth(n: int) -> np.ndarray:
        return np.apply_along_axis(np.convolve, 1, rng.standard_normal((n, 44)), np.ones(5), "valid")

    hits = [cluster_null(smooth(1)[0], smooth(99)).significant.any() for _ in range(150)]
    interval = stats.binomtest(int(np.sum(hits)), 150).proportion_ci(0.99, method="exact")
    assert interval.low <= 0.05 <= interval.high


def test_permutation_null_averages_targets_of_a_unit() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((60, 5)), rng.standard_normal((60, 6))
    y[:, :3] += x[:, :1]
    units = np.array(["b", "b", "b", "a", "a", "a"])
    options = PermutationOptions(n_permutations=30, block=4)
    observed, null, names = permutation_null(x, y, alpha=5.0, units=units, options=options)
    single = permutation_test(x, y, alpha=5.0, options=options).table["r"].to_numpy()
    assert names.tolist() == ["a", "b"] and null.shape == (30, 2)
    np.testing.assert_allclose(observed, [single[3:].mean(), single[:3].mean()])
    assert observed[1] > null[:, 1].max()


def test_strata_hold_in_the_null_of_units_too() -> None:
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((60, 4)), rng.standard_normal((60, 3))
    session = np.repeat([0, 1], 30)
    X[session == 1] += 2.0  # what differs between sessions is predicted, but no photograph
    Y[session == 1] += 2.0
    setup = PermutationOptions(n_permutations=99)
    units = np.arange(3)
    observed, null, _ = permutation_null(X, Y, alpha=10.0, units=units, strata=session, options=setup)
    test = permutation_test(X, Y, alpha=10.0, strata=session, options=setup)
    np.testing.assert_allclose(observed, test.table["r"], atol=1e-6)
    np.testing.assert_allclose((1 + (null >= observed).sum(axis=0)) / 100, test.table["p"], atol=0.011)
    assert test.table["p"].min() > 0.05 and null.mean() > 0.3  # sessions keep their difference in the null ...
    assert permutation_test(X, Y, alpha=10.0, options=setup).table["p"].max() < 0.02  # ... and lose it without strata


def test_strata_that_leave_nothing_to_exchange_are_refused() -> None:
    X, Y = np.random.default_rng(0).standard_normal((2, 12, 3))
    groups = np.repeat(np.arange(6), 2)
    sentence = "Each of the 6 strata holds one group only: nothing can be exchanged. Take wider strata."
    with pytest.raises(InputError, match=sentence):
        permutation_test(X, Y, alpha=1.0, groups=groups, strata=groups)
    with pytest.raises(InputError, match=sentence):
        permutation_null(X, Y, alpha=1.0, units=np.arange(3), groups=groups, strata=groups)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alternative": "more"}, "The alternative 'more' is unknown; choose one of greater, less, two-sided."),
        ({"adjacency": np.eye(20)}, r"The adjacency has shape \(20, 20\) for 50 tests; it must be \(50, 50\)."),
        ({"alpha": 5}, "The level alpha must lie between 0 and 1, such as 0.05; it is 5."),
    ],
)
def test_wrong_cluster_tests_are_one_sentence(change: dict, sentence: str) -> None:
    values = np.random.default_rng(0).standard_normal((30, 50))
    with pytest.raises(InputError, match=sentence):
        cluster_subjects(values, **change)
    if "alternative" not in change:
        with pytest.raises(InputError, match=sentence):
            cluster_null(values[0], values[1:], **change)
    values[8, 3] = np.nan
    with pytest.raises(InputError, match="permutation 7 is not finite at test 3"):
        cluster_null(values[0], values[1:])


def test_wrong_responses_of_banded_ridge_are_one_sentence() -> None:
    spaces = {"a": np.random.default_rng(0).standard_normal((30, 2)), "b": np.random.default_rng(1).random((30, 2))}
    y = np.random.default_rng(2).standard_normal((30, 4))
    with pytest.raises(InputError, match=r"with the 30 rows of the features; it has shape \(30,\)"):
        banded_ridge(spaces, y[:, 0])
    with pytest.raises(InputError, match=r"with the 30 rows of the features; it has shape \(20, 4\)"):
        banded_ridge(spaces, y[:20])
    y[7, 2] = np.nan
    with pytest.raises(InputError, match="Y is not finite at row 7, column 2"):
        banded_ridge(spaces, y)
