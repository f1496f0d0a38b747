"""The cheaper modes: what they promise, and where they are refused."""

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV, RidgeOptions, RowDesign, cross_val_encode, plan_splits

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.numerical_warnings.NumericalWarning")
ALPHAS = np.logspace(0, 8, 10)


def data(n, d, exponent, t=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -exponent @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    signal = X @ rng.standard_normal((d, t))
    snr = rng.uniform(0, 0.8, t)
    Y = signal / signal.std(0) * np.sqrt(snr) + rng.standard_normal((n, t)) * np.sqrt(1 - snr)
    return X.astype(np.float32), Y.astype(np.float32)


@pytest.mark.parametrize(
    ("n", "d", "exponent", "same"), [(900, 300, 1.0, 0.95), (400, 600, 0.7, 0.9), (900, 300, 0, 0.6)]
)
def test_screening_loses_little(n, d, exponent, same):
    X, Y = data(n, d, exponent)
    exact = cross_val_encode(X, Y)
    screen = cross_val_encode(X, Y, estimator=EncodingRidgeCV(options=RidgeOptions(mode="screen")))
    assert (exact.alpha == screen.alpha).mean() > same
    # at the same alpha the test score is the exact one: only the choice is approximate
    agree = exact.alpha.values == screen.alpha.values
    np.testing.assert_allclose(exact.r.values[agree], screen.r.values[agree], atol=1e-6)
    assert abs(float((exact.r - screen.r).mean())) < 2e-3


def test_screening_is_exact_when_the_leading_block_is_everything():
    X, Y = data(400, 60, 0.5)
    exact = cross_val_encode(X, Y)
    screen = cross_val_encode(X, Y, estimator=EncodingRidgeCV(options=RidgeOptions(mode="screen")))
    np.testing.assert_array_equal(exact.alpha.values, screen.alpha.values)


def test_generalised_cross_validation_equals_its_formula():
    X, Y = data(200, 30, 0.5, t=20)
    result = cross_val_encode(X, Y, estimator=EncodingRidgeCV(scale=False, options=RidgeOptions(mode="gcv")))
    for split, (train, _) in enumerate(plan_splits(200, 5).outer):
        Z, T = X[train].astype(float), Y[train].astype(float)
        Z, T = Z - Z.mean(0), T - T.mean(0)
        errors = []
        for alpha in ALPHAS:
            hat = Z @ np.linalg.solve(Z.T @ Z + alpha * np.eye(30), Z.T) + 1 / len(train)
            errors.append(((T - hat @ T) ** 2).mean(0) / (1 - np.trace(hat) / len(train)) ** 2)
        np.testing.assert_allclose(result.alpha.values[0, split], ALPHAS[np.argmin(errors, axis=0)])


def test_generalised_cross_validation_is_refused_where_it_is_wrong():
    estimator = EncodingRidgeCV(options=RidgeOptions(mode="gcv"))
    X, Y = data(100, 30, 0.5, t=3)
    with pytest.raises(InputError, match="grouped"):
        cross_val_encode(X, Y, estimator=estimator, groups=np.arange(100) // 2)
    with pytest.raises(InputError, match="breaks down"):
        cross_val_encode(np.hstack([X] * 3), Y, estimator=estimator)
    with pytest.raises(InputError, match="sample weights"):
        cross_val_encode(X, Y, estimator=estimator, rows=RowDesign(weight=np.ones(100)))
