"""Small p values from a fitted tail: right where it can be, counted where it cannot, never 0."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.statistics.permutation.pareto_tail import FEW, TAIL, largest_scores, tail_p
from brainmap.statistics.permutation.permutation_test import permutation_test
from brainmap.statistics.permutation.permuted_subject import PermutationOptions

N = 10_000


def counted(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    return (1 + (null >= observed).sum(axis=0)) / (1 + len(null))


def tails_of(null: np.ndarray) -> np.ndarray:
    kept = np.full((0, null.shape[1]), -np.inf)
    for start in range(0, len(null), 900):
        kept = largest_scores(kept, null[start : start + 900])
    return kept


def test_the_largest_scores_are_kept_whatever_the_chunks() -> None:
    null = np.random.default_rng(0).standard_normal((2_000, 7))
    np.testing.assert_array_equal(np.sort(tails_of(null), axis=0), np.sort(null, axis=0)[-TAIL - 1 :])


def test_p_is_nearer_the_truth_than_counting() -> None:
    """The null of a mean correlation is nearly normal; true p of 5e-4, 2e-4 and 1e-4."""
    rng = np.random.default_rng(1)
    truth = np.repeat([5e-4, 2e-4, 1e-4], 20)
    null = rng.standard_normal((N, len(truth)))
    observed = stats.norm.isf(truth)
    first = counted(observed, null)
    p, fitted = tail_p(observed, tails_of(null), first, N)
    assert fitted[truth == 1e-4].mean() > 0.8
    assert (p >= 1 / (N + 1)).all()
    error, before = (np.abs(np.log10(each / truth))[fitted] for each in (p, first))
    assert error.mean() < before.mean() and error.mean() < 0.25
    np.testing.assert_array_equal(p[~fitted], first[~fitted])


def test_counting_holds_where_many_exceed_or_no_tail_fits() -> None:
    rng = np.random.default_rng(2)
    null = np.column_stack([rng.standard_normal(N), rng.integers(0, 3, N), np.ones(N), rng.standard_normal(N)])
    observed = np.array([1.0, 3.0, 2.0, np.nan])  # often exceeded; ties; one value; no score
    first = np.where(np.isfinite(observed), counted(observed, null), np.nan)
    assert first[0] * (N + 1) - 1 > FEW
    p, fitted = tail_p(observed, tails_of(null), first, N)
    assert not fitted.any()
    np.testing.assert_array_equal(p, first)


def test_two_clumps_are_no_pareto_tail() -> None:
    rng = np.random.default_rng(3)
    null = rng.standard_normal((N, 1))
    null[:120] = 8 + 0.01 * rng.standard_normal((120, 1))
    observed = np.array([8.5])
    first = counted(observed, null)
    p, _ = tail_p(observed, tails_of(null), first, N)
    assert p[0] == first[0]


def test_a_score_far_beyond_never_has_p_0() -> None:
    null = np.random.default_rng(4).uniform(-1, 1, (N, 3))
    observed = np.array([1.5, 50.0, 1.0001])
    p, _ = tail_p(observed, tails_of(null), counted(observed, null), N)
    assert (p >= 1 / (N + 1)).all() and (p <= 2 / (N + 1)).all()


def test_a_whole_test_with_tails() -> None:
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((30, 2)), rng.standard_normal((30, 3))
    Y[:, 0] += 0.9 * X[:, 0]
    options = PermutationOptions(n_permutations=N, cv=2, tails="pareto", block=2)
    tailed = permutation_test(X, Y, alpha=1.0, options=options).table
    assert set(tailed["tail"]) <= {"counted", "pareto"} and (tailed["p"] >= 1 / (N + 1)).all()
    assert tailed["p"].iloc[0] == tailed["p"].min() < 1e-3 and (tailed["n_permutations"] == N).all()
    assert (tailed["tail"][tailed["p"] > (FEW + 2) / N] == "counted").all()


def test_too_few_permutations_or_an_early_stop_are_refused() -> None:
    for options in ({"n_permutations": 1000}, {"n_permutations": N, "stop_after": 25}):
        with pytest.raises(InputError, match=r"10,000 permutations or more"):
            PermutationOptions(tails="pareto", **options)
    with pytest.raises(InputError, match="must be 'counted' or 'pareto'"):
        PermutationOptions(tails="gpd")  # type: ignore[arg-type]
