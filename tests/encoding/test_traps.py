"""Features that hardly vary, responses in any unit, wild values, constants: against scikit-learn's own pipeline."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainmap.encoding import (
    BandedRidgeCV,
    EncodingRidgeCV,
    NumericalWarning,
    RowDesign,
    cross_val_encode,
    plan_splits,
)
from brainmap.encoding.distributed import encode_statistics, merge
from brainmap.encoding.layer.sufficient_statistics import SufficientStatistics
from brainmap.encoding.layer.z_scores import Moments

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
ALPHAS = np.logspace(0, 8, 9)
N, D, T = 150, 40, 8
PLAN = plan_splits(N, 5)


def pearson(truth, prediction):
    """Pearson r of columns in any unit, NaN where the truth is constant."""
    parts = []
    for values in (truth, prediction):
        values = values - values.mean(axis=0)
        largest = np.abs(values).max(axis=0)
        parts.append(values / np.where(largest > 0, largest, 1))
    norm = np.sqrt((parts[0] ** 2).sum(0) * (parts[1] ** 2).sum(0))
    r = np.where(norm > 0, (parts[0] * parts[1]).sum(0) / np.where(norm > 0, norm, 1), 0.0)
    return np.where(np.ptp(truth, axis=0) > 0, r, np.nan)


def ridge_path(X, Y, train, held, alphas):
    """Scores of ``Ridge(alpha, solver='svd')`` on held-out rows; the first alpha's is scikit-learn's own."""
    first = Ridge(alphas[0], solver="svd").fit(X[train], Y[train])
    mean, level = X[train].mean(axis=0), Y[train].mean(axis=0)
    left, values, right = np.linalg.svd(X[train] - mean, full_matrices=False)
    kept = values > 1e-15
    rotated, basis = left.T[kept] @ (Y[train] - level), (X[held] - mean) @ right[kept].T
    predictions = [basis @ ((values[kept] / (values[kept] ** 2 + a))[:, None] * rotated) + level for a in alphas]
    expected = first.predict(X[held])
    assert np.all(np.abs(predictions[0] - expected) <= 1e-7 * np.abs(expected).max(axis=0) + 1e-300)
    return [pearson(Y[held], prediction) for prediction in predictions]


def pipelines(X, Y, alphas, scale=True):
    """Inner and test scores of ``StandardScaler`` and ``Ridge`` for every alpha, (split, alpha, target)."""
    inner, outer = [], []
    for (train, test), pairs in zip(PLAN.outer, PLAN.inner, strict=True):
        Z = StandardScaler().fit(X[train]).transform(X) if scale else X
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # means over folds in which a target is constant throughout
            inner.append(np.nanmean([ridge_path(Z, Y, t, v, alphas) for t, v in pairs], axis=0))
        outer.append(ridge_path(Z, Y, train, test, alphas))
    return np.array(inner), np.array(outer)


def compare(X, Y, alphas=ALPHAS, *, scale=True, tolerance=2e-6, slack=1e-6, **kwargs):
    """Assert the scores of scikit-learn's pipelines at equal alpha, and that no inner score is lost."""
    result = cross_val_encode(X, Y, estimator=EncodingRidgeCV(alphas, scale=scale), **kwargs)
    assert result.provenance["split_hash"] == PLAN.hash
    inner, outer = pipelines(X.astype(float), Y.astype(float), alphas, scale)
    chosen = np.searchsorted(alphas, result.alpha.values[0] * (1 - 1e-9))
    lost = inner.max(axis=1) - np.take_along_axis(inner, chosen[:, None], axis=1)[:, 0]
    assert np.nanmax(lost) <= slack
    expected = np.take_along_axis(outer, chosen[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(np.isnan(result.r.values[0]), np.isnan(expected))
    np.testing.assert_allclose(result.r.values[0], expected, atol=tolerance)
    return result


def data(d=D, seed=0):
    rng = np.random.default_rng([seed, d])
    X = rng.standard_normal((N, d)) * np.arange(1, d + 1) ** -0.5 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    signal = X @ rng.standard_normal((d, T))
    return X, signal / signal.std(0) + rng.standard_normal((N, T)) * np.linspace(0.5, 4, T)


def scattered(X):
    X[:, 3::7] = 0


def constant_small(X):
    X[:, [3, 20]] = 1e-9


def constant_large(X):
    X[:, [3, 20, 21]] = [1e9, 0.1, -7]


def near_constant(X):
    noise = np.random.default_rng(5).standard_normal((N, 4))
    X[:, 5:9] = [1e6, 1e3, 1e5, 1.0] + noise * [1e-8, 1e-8, 1e-3, 1e-7]


def test_rows_only(X):
    rows = PLAN.outer[0][1]
    X[:, 5], X[rows, 5] = 0.1, 50 * X[rows, 5]


def validation_rows_only(X):
    rows = PLAN.inner[0][1][1]
    X[:, 5], X[rows, 5] = 0, 10 * X[rows, 5]


def train_rows_only(X):
    X[PLAN.outer[1][1], 5] = 0.3


def fires_once(X):
    X[:, 5] = 0
    X[17, 5] = 3


def hardly_varies_elsewhere(X):
    X[:, 5] = 1e-6 * X[:, 5]
    X[PLAN.outer[0][1], 5] *= 1e8


test_rows_only.__test__ = False  # a kind of features
KINDS = [
    scattered,
    constant_small,
    constant_large,
    near_constant,
    test_rows_only,
    validation_rows_only,
    train_rows_only,
    fires_once,
    hardly_varies_elsewhere,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("d", [D, 100], ids=["cross", "rows"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_that_hardly_vary_change_nothing(kind, d, dtype):
    X, Y = data(d)
    kind(X)
    compare(X.astype(dtype), Y)


@pytest.mark.parametrize("d", [D, 100], ids=["cross", "rows"])
def test_dead_features_are_as_good_as_absent(d):
    X, Y = data(d)
    dead = np.zeros(d, dtype=bool)
    dead[np.random.default_rng(1).choice(d, 9, replace=False)] = True
    X[:, dead] = 0
    rows = RowDesign(weight=np.linspace(0.5, 2, N), nuisance=np.arange(N))
    for estimator in (
        EncodingRidgeCV(),
        EncodingRidgeCV(scale=False),
        EncodingRidgeCV(pca=12),
        EncodingRidgeCV(fit_intercept=False),
        EncodingRidgeCV(np.logspace(-8, 8, 9)),
    ):
        for design in (None, rows):
            expected = cross_val_encode(X[:, ~dead], Y, estimator=estimator, rows=design)
            found = cross_val_encode(X, Y, estimator=estimator, rows=design)
            np.testing.assert_allclose(found.r, expected.r, atol=1e-6)
            np.testing.assert_allclose(found.r2, expected.r2, atol=2e-6)
    model = EncodingRidgeCV().fit(X, Y)
    np.testing.assert_array_equal(model.coef_[:, dead], 0)
    sizes = [15, d - 15]
    left = [int((~dead[:15]).sum()), int((~dead[15:]).sum())]
    banded = cross_val_encode(X, Y, estimator=BandedRidgeCV(sizes, (0, 0.5)))
    np.testing.assert_allclose(
        banded.r, cross_val_encode(X[:, ~dead], Y, estimator=BandedRidgeCV(left, (0, 0.5))).r, atol=1e-6
    )


def test_a_feature_that_nuisance_regressors_explain_carries_nothing():
    for d in (D, 100):
        X, Y = data(d)
        drift = np.linspace(-1, 1, N)
        X[:, 4] = 3 * drift + 2
        design = RowDesign(nuisance=drift)
        found = cross_val_encode(X, Y, rows=design)
        expected = cross_val_encode(np.delete(X, 4, axis=1), Y, rows=design)
        np.testing.assert_allclose(found.r, expected.r, atol=2e-6)


def test_without_an_intercept_a_constant_feature_is_one():
    X, Y = data(12)
    X = np.column_stack([X, np.full(N, 3.0)])
    estimator = EncodingRidgeCV([1.0], scale=False, fit_intercept=False)
    found = cross_val_encode(X, Y + 5, estimator=estimator, return_predictions=True).predictions["X"]
    for train, test in PLAN.outer:
        expected = Ridge(1.0, fit_intercept=False).fit(X[train], Y[train] + 5).predict(X[test])
        np.testing.assert_allclose(found[test], expected, atol=1e-5)


def test_dead_features_in_merged_statistics():
    X, Y = data()
    scattered(X)
    train_rows_only(X)
    moments = merge([Moments.of(X[:70], Y[:70]), Moments.of(X[70:], Y[70:])])
    basis, shift = moments.basis(scale=True, tolerance=1e-12), moments.target_total / N
    parts = [
        SufficientStatistics.of(
            X[a:b], 1e-23 * Y[a:b], PLAN.atoms[a:b], n_atoms=PLAN.n_atoms, basis=basis, target_shift=1e-23 * shift
        )
        for a, b in ((0, 70), (70, N))
    ]
    estimator = EncodingRidgeCV(ALPHAS)
    result = encode_statistics(merge(parts), PLAN, estimator=estimator)
    np.testing.assert_allclose(result.r, cross_val_encode(X, Y, estimator=estimator).r, atol=1e-6)


@pytest.mark.parametrize("exponent", [-300, -46, -23, -13, 19, 30, 290])
@pytest.mark.parametrize("d", [D, 100], ids=["cross", "rows"])
@pytest.mark.filterwarnings("error::brainmap.encoding.NumericalWarning")
def test_units_of_the_responses_change_nothing(exponent, d):
    X, Y = data(d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cross_val_encode(X, Y)
    for dtype in (np.float64, np.float32) if abs(exponent) < 32 else (np.float64,):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Many targets")
            scaled = cross_val_encode(X, (Y * 10.0**exponent).astype(dtype))
        np.testing.assert_allclose(scaled.r, expected.r, atol=1e-6)
        np.testing.assert_allclose(scaled.r2, expected.r2, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(scaled.alpha, expected.alpha)
    others = cross_val_encode(X, Y * 10.0**exponent, estimator=make_pipeline(StandardScaler(), Ridge(10.0)))
    ours = cross_val_encode(X, Y, estimator=make_pipeline(StandardScaler(), Ridge(10.0)))
    np.testing.assert_allclose(others.r, ours.r, atol=1e-6)
    np.testing.assert_allclose(others.r2, ours.r2, atol=1e-6)


@pytest.mark.parametrize("size", [1e4, 1e8, 1e12, 1e18])
@pytest.mark.parametrize("d", [D, 100], ids=["cross", "rows"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_wild_value_spoils_no_other_fold(size, d, dtype):
    X, Y = data(d)
    Y[33, 2], Y[70, 5] = size, -size
    compare(X, Y.astype(dtype))


@pytest.mark.parametrize("d", [D, 100], ids=["cross", "rows"])
def test_constant_targets_are_missing_and_nothing_else_is(d):
    X, Y = data(d)
    Y[:, 0], Y[:, 1] = 0.1, 0
    Y[PLAN.outer[0][1], 2] = 0.7  # in one test set
    Y[PLAN.outer[0][0], 3] = 0.3  # in one train set
    Y[PLAN.inner[1][2][1], 4] = 9.9  # in one validation set: the mean is over the others
    Y[:, 5] = 1e5 + 1e-3 * Y[:, 5]
    with pytest.warns(NumericalWarning, match=r"4 of 8 targets are constant in a test set.*Targets: 0, 1, 2, 3\."):
        result = compare(X, Y)
    assert np.isnan(result.r.values[0][:, :2]).all()
    model = EncodingRidgeCV().fit(X, Y)
    assert np.isnan(model.best_score_[:2]).all()
    np.testing.assert_allclose(model.predict(X)[:, :2], [[0.1, 0.0]] * N, atol=1e-12)
