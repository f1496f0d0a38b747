"""Rows that resemble their neighbours are told apart from those that do not, at a rate by chance that is negligible."""

import numpy as np
import pytest
from scipy.signal import lfilter

from brainmap.encoding import time_blocks
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.added.prewhitening import TimeFilter, noise_correlation
from brainmap.statistics.dependent_rows import neighbours, resemblance, same_kind, sufficient_gap
from brainmap.statistics.permutation.group_orders import group_orders

N = 200
NEXT = neighbours(np.arange(N - 1), np.arange(1, N))


def sequence(rng, columns, correlation, n=N):
    return lfilter([1.0], [1.0, -correlation], rng.standard_normal((n + 100, columns)), axis=0)[100:]


@pytest.mark.parametrize(("x", "y"), [(0.9, 0.5), (0.6, 0.3), (0.3, 0.9)])
def test_both_sides_alike_are_found(x, y):
    rng = np.random.default_rng(0)
    alike = resemblance(sequence(rng, 20, x), sequence(rng, 30, y), NEXT)
    assert alike.clear
    assert abs(alike.features - x) < 0.12 and abs(alike.responses - y) < 0.12


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9)])
def test_one_side_alone_is_nothing(x, y):
    rng = np.random.default_rng(1)
    found = [resemblance(sequence(rng, 20, x), sequence(rng, 30, y), NEXT, seed=i).clear for i in range(60)]
    assert sum(found) <= 1


def test_a_few_autocorrelated_targets_among_many_are_found():
    rng = np.random.default_rng(2)
    y = np.concatenate([sequence(rng, 4, 0.8), rng.standard_normal((N, 46))], axis=1)
    alike = resemblance(sequence(rng, 20, 0.9), y, NEXT)
    assert alike.clear and 0.05 < alike.share < 0.2 and alike.responses > 0.5


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e12, 1e200])
def test_units_do_not_matter(scale):
    rng = np.random.default_rng(3)
    x, y = sequence(rng, 20, 0.9), sequence(rng, 30, 0.5)
    plain, scaled = resemblance(x, y, NEXT), resemblance(x * scale, y * scale, NEXT)
    assert (plain.clear, plain.share, plain.n_pairs) == (scaled.clear, scaled.share, scaled.n_pairs)
    np.testing.assert_allclose([plain.features, plain.responses], [scaled.features, scaled.responses], rtol=1e-9)


def test_what_is_constant_missing_or_short_says_nothing():
    rng = np.random.default_rng(4)
    x = sequence(rng, 5, 0.9)
    y = np.column_stack([np.ones(N), np.full(N, np.nan)])
    assert resemblance(x, y, NEXT) is None
    assert resemblance(x, x, NEXT[:10]) is None


def test_the_gap_is_where_the_product_is_small():
    rng = np.random.default_rng(5)
    x, y = sequence(rng, 60, 0.9, 3000), sequence(rng, 60, 0.5, 3000)
    assert sufficient_gap(x, y, np.zeros(3000)) == 3  # .45 ** 4 = .041
    assert sufficient_gap(x, y, np.arange(3000) // 2) <= 1  # recordings of two


def test_pairs_of_a_kind():
    labels = np.array([0, 0, 0, 1, 2, 2])
    pairs = {tuple(sorted(pair)) for pair in same_kind(labels)}
    assert pairs == {(0, 1), (0, 2), (1, 2), (4, 5)}
    many = same_kind(np.repeat([0, 1], [1000, 500]), most=400)
    assert len(many) == 400 and (many[:, 0] != many[:, 1]).all()
    assert not len(same_kind(np.arange(5)))


def test_blocks_keep_their_sequence_when_they_are_permuted():
    place = np.random.default_rng(6).permutation(N)
    groups = time_blocks(place, 10)
    for order in group_orders(groups, 5):
        in_time = np.argsort(place)
        moved = place[order][in_time]  # place of what stands where, in time
        assert (np.diff(moved).reshape(-1) == 1).sum() >= N - 10


def test_the_time_filter_whitens_and_is_that_of_its_covariance():
    place = np.random.default_rng(7).permutation(60)
    groups = time_blocks(place, 6, gap=2, stretch=place // 20)
    noise = TimeFilter(groups, 0.6)
    distance = np.abs(np.subtract.outer(place, place))
    covariance = np.where(np.equal.outer(place // 20, place // 20), 0.6**distance, 0.0)
    np.testing.assert_allclose(noise.covariance(np.eye(60)), covariance, atol=1e-12)
    whitener = noise(np.eye(60))
    np.testing.assert_allclose(whitener @ covariance @ whitener.T, (1 - 0.36) * np.eye(60), atol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_noise_is_estimated_behind_a_baseline_that_absorbs_it(correlation):
    rng = np.random.default_rng(8)
    removed = np.linalg.qr(np.column_stack([np.ones(1000), sequence(rng, 200, 0.95, 1000)]))[0]
    groups = time_blocks(np.arange(1000), 10)
    found = noise_correlation([sequence(rng, 50, correlation, 1000)], np.arange(1000), removed, groups)
    assert abs(found - correlation) <= 0.1


def test_what_gradients_add_is_tested_over_blocks():
    """Sequences: without blocks 78 % of null targets were called significant, with them about 4 %."""
    rng = np.random.default_rng(9)
    groups = time_blocks(np.arange(N), 20, gap=4)
    options = ConditionalOptions(n_flips=199)
    x, y = sequence(rng, 30, 0.9), sequence(rng, 40, 0.5)

    def p(of, blocks):
        tested = conditional_test(x[:, :15], x[:, 15:], of, units=np.arange(40), groups=blocks, options=options)
        return tested.table["p"]

    assert (p(y, None) <= 0.05).mean() > 0.4 > 0.2 > (p(y, groups) <= 0.05).mean()
    planted = y + 0.7 * x[:, 15:] @ rng.standard_normal((15, 40))
    assert (p(planted, groups) <= 0.05).mean() > 0.8
