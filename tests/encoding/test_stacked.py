"""Stacked regression over layers: weights of planted mixtures, and the score of what no choice has seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV, cross_val_encode, stacked_encode
from brainmap.encoding.stacked import convex_weights


def planted(seed: int = 0, n: int = 240) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three layers; targets of the first, of the last, of both in equal parts, and of none."""
    rng = np.random.default_rng(seed)
    X = {name: rng.standard_normal((n, 12)) for name in ("a", "b", "c")}
    signal = {name: x @ rng.standard_normal((12, 10)) for name, x in X.items()}
    signal = {name: values / values.std(axis=0) for name, values in signal.items()}
    Y = np.concatenate([signal["a"], signal["c"], (signal["a"] + signal["c"]) / np.sqrt(2), 0 * signal["a"]], axis=1)
    return X, Y + 0.7 * rng.standard_normal(Y.shape)


def test_planted_mixtures_are_found_and_beat_every_layer() -> None:
    X, Y = planted()
    stack = stacked_encode(X, Y)
    weights = stack.weights.mean(axis=0)
    assert np.allclose(stack.weights.sum(axis=1), 1) and (stack.weights >= 0).all()
    assert weights[0, :10].mean() > 0.9 and weights[2, 10:20].mean() > 0.9
    assert np.abs(weights[[0, 2], 20:30].mean(axis=1) - 0.5).max() < 0.06 and weights[1, 20:30].mean() < 0.06
    depth = stack.profile([0, 0.5, 1])
    assert depth[:10].max() < 0.2 < 0.8 < depth[10:20].min() and np.abs(depth[20:30] - 0.5).max() < 0.2
    best = stack.single.r.mean("split").max("layer").values
    assert (stack.r.mean(axis=0)[20:30] > best[20:30] + 0.1).all()
    assert np.abs(stack.r.mean(axis=0)[:20] - best[:20]).max() < 0.05


def test_layers_by_themselves_are_the_plain_ridge() -> None:
    X, Y = planted(n=100)
    plain = cross_val_encode(X, Y, cv=4, estimator=EncodingRidgeCV(scoring="r2"))
    stack = stacked_encode(X, Y, cv=4)
    assert np.allclose(stack.single.r, plain.r, atol=1e-8)


def test_noise_is_predicted_by_no_stack() -> None:
    X = planted(1)[0]
    means = [stacked_encode(X, np.random.default_rng(seed).standard_normal((240, 20))).r.mean() for seed in range(8)]
    t = np.mean(means) / (np.std(means, ddof=1) / np.sqrt(8))
    assert t < 3.5


def test_weights_are_those_of_the_quadratic_program() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((4, 50, 6)) * np.array([1, 1.2, 0.9, 3])[:, None, None] + rng.standard_normal((50, 6))
    weights = convex_weights(errors)
    for target in range(6):
        gram = errors[:, :, target] @ errors[:, :, target].T
        found = minimize(
            lambda a, gram=gram: a @ gram @ a, np.full(4, 0.25), jac=lambda a, gram=gram: 2 * gram @ a,
            bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda a: a.sum() - 1}, method="SLSQP",
            options={"ftol": 1e-12},
        )  # fmt: skip
        assert np.allclose(weights[:, target], found.x, atol=1e-4)


def test_groups_stay_together_inside_too() -> None:
    """Copies of photographs in one group: a stack that divided them would find what it knows by heart."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 3)
    X = {name: np.repeat(rng.standard_normal((40, 60)), 3, axis=0) for name in "ab"}
    Y = np.repeat(rng.standard_normal((40, 30)), 3, axis=0)
    assert stacked_encode(X, Y, groups=labels).r.mean() < 0.1


def test_what_is_no_stack_is_refused() -> None:
    X, Y = planted(n=60)
    with pytest.raises(InputError, match="two layers or more"):
        stacked_encode({"a": X["a"]}, Y)
    with pytest.raises(InputError, match="each row once"):
        stacked_encode(X, Y, cv=[(np.arange(50, 60), np.arange(20)), (np.arange(50, 60), np.arange(10, 40))])
