"""What the choice of a penalty does to a held-out score: against closed forms, and in the interval of the residual."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
from brainmap.statistics.added.added_value import ResidualOptions, residual_scores
from brainmap.statistics.added.penalty_choice import choice_changes


def test_the_choice_between_two_options_follows_the_normal_density() -> None:
    rng = np.random.default_rng(0)
    changes = rng.standard_normal((2, 12, 40)) * np.array([1.0, 0.4])[:, None, None]
    inner = np.stack([rng.uniform(-8, 8, 40), np.zeros(40)])
    reached = np.stack([np.full(40, 0.3), np.full(40, 0.1)])
    between = changes[0] - changes[1]
    spread = np.linalg.norm(between, axis=0)
    expected = 0.2 * stats.norm.pdf(inner[0] / spread) / spread * between
    found = choice_changes(inner, changes, reached)
    size = np.linalg.norm(found, axis=0)
    np.testing.assert_allclose(size, np.linalg.norm(expected, axis=0), atol=0.012)  # of 0.08 where both are equal
    assert np.vdot(found, expected) / np.linalg.norm(found) / np.linalg.norm(expected) > 0.99


def test_an_option_listed_twice_counts_once() -> None:
    rng = np.random.default_rng(1)
    changes, inner, reached = rng.standard_normal((2, 12, 30)), rng.standard_normal((2, 30)), rng.uniform(size=(2, 30))
    once = choice_changes(inner, changes, reached)
    twice = choice_changes(*(array[[0, 1, 1]] for array in (inner, changes, reached)))
    size = np.linalg.norm(once)
    assert np.linalg.norm(twice - once) < 0.1 * size


def test_a_choice_that_is_clear_or_without_consequence_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    changes = rng.standard_normal((3, 10, 5))
    inner = np.array([[0.0], [1.0], [2.0]]) * np.ones(5)
    np.testing.assert_allclose(choice_changes(100 * inner, changes, inner), 0.0, atol=1e-12)
    np.testing.assert_allclose(choice_changes(inner, changes, np.full((3, 5), 0.2)), 0.0, atol=1e-12)
    np.testing.assert_array_equal(choice_changes(inner, np.zeros((3, 10, 5)), inner), 0.0)


@pytest.mark.parametrize(("method", "least"), [("nested", 1.05), ("matched", 1.015)])
def test_the_interval_of_the_residual_knows_the_choice_where_something_is_gained(
    method: Literal["nested", "matched"], least: float
) -> None:
    size = {"n_groups": 40, "per_group": 6, "n_layers": 4, "width": 20, "n_units": 8, "targets_per_unit": 4}
    setup = PlantedOptions(**size, planted=(2, 6), signal=0.0)
    options = ResidualOptions(alphas=(1e2, 1e3, 1e4), inner_cv=3, method=method, matched_components=20)
    wider = []
    for seed in range(8):
        study = planted_study(70 + seed, setup)
        scores = residual_scores(
            study.activations, study.gradients, study.responses, groups=study.groups, options=options
        )
        given = replace(scores, choice=np.zeros_like(scores.choice))
        width, without = (table["high"] - table["low"] for table in (s.by_unit(study.units) for s in (scores, given)))
        wider.append(width / without)
    ratio = np.sqrt(np.mean(np.square(wider), axis=0))
    planted = np.isin(np.arange(8), [2, 6])
    assert least < ratio[planted].mean() < 1.3  # where the gradients add something, and the choice decides how much
    assert 0.98 < ratio[~planted].mean() < 1.04  # where they add nothing, choices are noise that is counted already
