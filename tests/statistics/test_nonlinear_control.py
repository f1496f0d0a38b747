"""Random nonlinear features of activations beside gradients: which of the two a nonlinear response lets pass."""

from __future__ import annotations

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.statistics import ConditionalOptions, nonlinear_control
from brainmap.statistics.added.nonlinear_control import nonlinear_features

SMALL = PlantedOptions(
    n_groups=40,
    per_group=3,
    n_layers=2,
    width=8,
    n_units=2,
    targets_per_unit=4,
    n_subjects=1,
    planted=(1,),
    gradient=0.3,
)


def test_gradients_pass_and_a_quadratic_response_is_told_apart() -> None:
    study = planted_study(3, SMALL)
    first = np.asarray(study.activations["block.1"])
    scaled = (first - first.mean(axis=0)) / first.std(axis=0)
    square = (scaled @ np.random.default_rng(0).standard_normal((8, 4))) ** 2
    responses = study.responses[0].copy()
    responses[:, :4] += 1.5 * (square - square.mean(axis=0)) / square.std(axis=0)
    table = nonlinear_control(
        study.activations,
        study.gradients,
        [responses],
        units=study.units,
        groups=study.groups,
        options=ConditionalOptions(n_flips=400),
    ).set_index("unit")
    assert table.loc[0, "nonlinear"] <= 0.05 and table.loc[0, "passed"] != "linear and nonlinear baseline"
    assert table.loc[1, "passed"] == "linear and nonlinear baseline" and table.loc[1, "gradients"] <= 0.05
    assert table.attrs["n_nonlinear"] == 16  # as many as gradients


def test_features_are_squares_of_directions_and_follow_the_seed() -> None:
    x = np.random.default_rng(0).standard_normal((60, 5))
    found = nonlinear_features({"a": np.column_stack([x, np.ones(60)])}, 7, seed=1)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    pairs = np.stack([z[:, i] * z[:, j] for i in range(5) for j in range(i, 5)], axis=1)
    left = np.linalg.lstsq(pairs, found, rcond=None)[1]
    assert found.shape == (60, 7) and (found >= 0).all() and left.max() < 1e-18 * 60 + 1e-12
    np.testing.assert_array_equal(found, nonlinear_features({"a": x}, 7, seed=1))
    assert not np.allclose(found, nonlinear_features(x, 7, seed=2))
    with pytest.raises(InputError, match="constant over images"):
        nonlinear_features(np.ones((9, 2)), 3)
