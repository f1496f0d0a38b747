"""Statistics add up: over blocks, over machines, through files."""

from itertools import pairwise

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode, plan_splits
from brainmap.encoding.distributed import encode_dask, encode_statistics, merge
from brainmap.encoding.layer.sufficient_statistics import SufficientStatistics
from brainmap.encoding.layer.z_scores import Moments

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((240, 18)) * rng.uniform(0.1, 9, 18) + 50
    Y = (X / X.std(0)) @ rng.standard_normal((18, 11)) + 4 * rng.standard_normal((240, 11)) + 30
    return X, Y, np.arange(240) // 3


def blocks_of(X, Y, plan, edges, scale=True):
    """Statistics of each block of rows, as separate machines would make them."""
    pairs = list(pairwise(edges))
    moments = merge([Moments.of(X[a:b], Y[a:b]) for a, b in pairs])
    basis = moments.basis(scale=scale, tolerance=1e-12)
    shift = moments.target_total / moments.n
    return [
        SufficientStatistics.of(X[a:b], Y[a:b], plan.atoms[a:b], n_atoms=plan.n_atoms, basis=basis, target_shift=shift)
        for a, b in pairs
    ]


def test_moments_do_not_depend_on_blocks_or_shifts(arrays):
    X, Y, _ = arrays
    whole = Moments.of(X, Y)
    parts = Moments.of(X[:100], Y[:100]) + Moments.of(X[100:101], Y[100:101]) + Moments.of(X[101:], Y[101:])
    np.testing.assert_allclose(parts.shift + parts.total / parts.n, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(parts.target_total, Y.sum(0))
    centred = X - X.mean(0)
    np.testing.assert_allclose(whole.about(np.zeros(18)).scatter, centred.T @ centred, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [True, False])
def test_merged_blocks_give_the_scores_of_the_whole(arrays, scale, tmp_path):
    X, Y, groups = arrays
    estimator = EncodingRidgeCV(np.logspace(0, 8, 10), scale=scale)
    plan = plan_splits(240, 5, groups=groups)
    parts = blocks_of(X, Y, plan, [0, 70, 71, 200, 240], scale)
    expected = cross_val_encode(X, Y, groups=groups, estimator=estimator)
    for merged in (merge(parts), merge(parts[::-1])):
        result = encode_statistics(merged, plan, estimator=estimator)
        np.testing.assert_allclose(result.r.values, expected.r.values, atol=1e-6)
        np.testing.assert_allclose(result.r2.values, expected.r2.values, atol=1e-6)
        np.testing.assert_array_equal(result.alpha.values, expected.alpha.values)
        assert result.provenance["split_hash"] == expected.provenance["split_hash"]
    stored = SufficientStatistics.load(merge(parts).save(tmp_path / "statistics.zarr"))
    again = encode_statistics(stored, plan, estimator=estimator)
    np.testing.assert_array_equal(again.r.values, encode_statistics(merge(parts), plan, estimator=estimator).r.values)


def test_wrong_merges_are_refused(arrays):
    X, Y, groups = arrays
    plan = plan_splits(240, 5, groups=groups)
    parts = blocks_of(X, Y, plan, [0, 120, 240])
    with pytest.raises(InputError, match="exactly once"):
        encode_statistics(parts[0], plan)
    with pytest.raises(InputError, match="different bases"):
        parts[0] + blocks_of(2 * X, Y, plan, [0, 240])[0]
    with pytest.raises(InputError, match="no statistics"):
        SufficientStatistics.load("nowhere")


def test_map_reduce_on_two_workers(arrays):
    import dask.array as da
    from dask.distributed import Client, LocalCluster

    X, Y, groups = arrays
    lazy = da.from_array(X, chunks=(60, 5)), da.from_array(Y, chunks=(100, 4))
    expected = cross_val_encode(X, Y, groups=groups)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        result = encode_dask(*lazy, groups=groups)
    np.testing.assert_allclose(result.r.values, expected.r.values, atol=1e-6)
    np.testing.assert_array_equal(result.alpha.values, expected.alpha.values)
    local = encode_dask(*lazy, groups=groups, estimator=EncodingRidgeCV(options=RidgeOptions(inner="shared")))
    shared = cross_val_encode(X, Y, groups=groups, estimator=EncodingRidgeCV(options=RidgeOptions(inner="shared")))
    np.testing.assert_allclose(local.r.values, shared.r.values, atol=1e-6)
