"""Many sigmoids at once are those of the fit one by one."""

from __future__ import annotations

import numpy as np
import pytest

from brainmap.hierarchy.training_sigmoids import fitted_sigmoid, scanned_sigmoids, sigmoid


@pytest.mark.parametrize("steps", [(50, 100, 400, 1600, 6400), tuple(np.geomspace(50, 25_600, 10))])
def test_scanned_sigmoids_are_the_fitted_ones(steps):
    x, rng = np.log(np.array(steps, float)), np.random.default_rng(0)
    middles = rng.uniform(x[1], x[-2], 12)
    truth = np.stack([sigmoid(x, np.array([0.02, 0.1, middle, np.log(2.0)])) for middle in middles])
    parameters, r2 = scanned_sigmoids(x, truth)
    np.testing.assert_allclose(parameters[:, 2], middles, atol=2e-3)
    np.testing.assert_allclose(parameters[:, :2], np.tile([0.02, 0.1], (12, 1)), rtol=0.02)
    assert (r2 > 0.9999).all()
    noisy = truth + 0.01 * rng.standard_normal(truth.shape)
    found, explained = scanned_sigmoids(x, noisy)
    for curve, row, share in zip(noisy, found, explained, strict=True):
        reference, best = fitted_sigmoid(x, curve)
        assert share == pytest.approx(best, abs=2e-3)
        np.testing.assert_allclose(sigmoid(x, row), sigmoid(x, reference), atol=2e-3)
        assert 1 - ((sigmoid(x, row) - curve) ** 2).sum() / ((curve - curve.mean()) ** 2).sum() == pytest.approx(share)
