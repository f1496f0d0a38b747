"""r over all test folds, centred within each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV, cross_val_encode, plan_splits, pooled_r


def test_one_fold_of_centred_rows_is_pearsons_r() -> None:
    rng = np.random.default_rng(0)
    y, guess = rng.standard_normal((2, 50, 3))
    splits = [(np.arange(0), np.arange(50))]
    expected = [stats.pearsonr(y[:, target], guess[:, target])[0] for target in range(3)]
    np.testing.assert_allclose(pooled_r(y, guess, splits), expected, atol=1e-12)


def test_noise_has_no_bias() -> None:
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((40, 20)), rng.standard_normal((40, 400))
    splits = plan_splits(40, 8).outer
    ridge = EncodingRidgeCV(alphas=[1e5])
    result = cross_val_encode({"layer": X}, Y, estimator=ridge, cv=splits, return_predictions=True)
    predicted = np.asarray(result.predictions["layer"])
    pooled = pooled_r(Y, predicted, splits)
    plain = np.array([stats.pearsonr(Y[:, target], predicted[:, target])[0] for target in range(400)])
    assert plain.mean() < -0.2  # what centring is for
    assert abs(pooled.mean()) < 0.05


def test_constant_and_missing_values() -> None:
    rng = np.random.default_rng(2)
    y, guess = rng.standard_normal((2, 20, 2))
    splits = plan_splits(20, 4).outer
    y[:, 0] = 3.0
    assert np.isnan(pooled_r(y, guess, splits)[0]) and np.isfinite(pooled_r(y, guess, splits)[1])
    guess[splits[1][1][0]] = np.nan
    with pytest.raises(InputError, match="of split 1 has no prediction"):
        pooled_r(y, guess, splits)
    with pytest.raises(InputError, match="of one shape"):
        pooled_r(y[:, :1], guess, splits)
