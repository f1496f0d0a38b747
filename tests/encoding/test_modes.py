"""The cheaper modes: what they promise, and where they are refused."""

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV, RidgeOptions, RowDesign, cross_val_encode, plan_splits

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
ALPHAS = np.logspace(0, 8, 10)


def data(n, d, exponent, t=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -exponent @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    signal = X @ rng.standard_normal((d, t))
    snr = rng.uniform(0, 0.8, t)
    Y = signal / signal.std(0) * np.sqrt(snr) + rng.standard_normal((n, t)) * np.sqrt(1 - snr)
    return X.astype(np.float32), Y.astype(np.float32)


def test_the_approximate_mode_is_gone_and_says_so():
    with pytest.raises(InputError, match=r"'screen' lost up to .036 of the inner r and is gone; use mode 'exact'"):
        RidgeOptions(mode="screen")


def test_generalised_cross_validation_equals_its_formula():
    X, Y = data(200, 30, 0.5, t=20)
    result = cross_val_encode(X, Y, estimator=EncodingRidgeCV(ALPHAS, scale=False, options=RidgeOptions(mode="gcv")))
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
