from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog, nnls
from scipy.stats import chi, norm

from brainmap.common.errors import InputError
from brainmap.comparison.manifold_capacity import manifold_capacity, manifold_coordinates, point_manifold_capacity


def ball_capacity(radius: float, dimension: int, margin: float = 0.0) -> float:
    """Chung, Lee & Sompolinsky 2016: capacity of L2 balls, by quadrature."""

    def below(x: float, c: float) -> float:
        """∫ (c − u)² φ(u) du from −∞ to x."""
        return (c**2 + 1) * norm.cdf(x) + (2 * c - x) * norm.pdf(x)

    def given_length(t: float) -> float:
        low, high = margin - t / radius, margin + radius * t
        touching = (below(high, high) - below(low, high)) / (1 + radius**2)
        embedded = below(low, margin) + t**2 * norm.cdf(low)
        return touching + embedded

    return 1 / quad(lambda t: given_length(t) * chi.pdf(t, dimension), 0, 12, epsabs=1e-10)[0]


def circle(radius: float, count: int = 72) -> np.ndarray:
    angles = np.arange(count) * 2 * np.pi / count
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def agrees(found: dict[str, float], oracle: float) -> None:
    assert abs(1 / found["capacity"] - 1 / oracle) < 3.5 * found["standard_error"]
    assert found["standard_error"] < 0.07 / oracle


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_points_have_gardners_capacity(margin: float) -> None:
    found = point_manifold_capacity(np.zeros((1, 0)), margin=margin, n_draws=4000, seed=0)
    gardner = 1 / quad(lambda t: (t + margin) ** 2 * norm.pdf(t), -margin, np.inf)[0]
    agrees(found, gardner)
    assert gardner == pytest.approx(2 if margin == 0 else gardner)
    assert found["radius"] == 0 and found["dimension"] == 0


@pytest.mark.parametrize(("radius", "margin"), [(0.1, 0.0), (0.5, 0.0), (0.5, 0.3), (3.0, 0.0)])
def test_line_segments_have_the_capacity_of_balls_of_dimension_one(radius: float, margin: float) -> None:
    found = point_manifold_capacity(np.array([[radius], [-radius]]), margin=margin, n_draws=3000, seed=1)
    agrees(found, ball_capacity(radius, 1, margin))


@pytest.mark.parametrize("radius", [0.2, 1.0])
def test_circles_have_the_capacity_of_balls_of_dimension_two(radius: float) -> None:
    found = point_manifold_capacity(circle(radius), margin=0.0, n_draws=2000, seed=2)
    agrees(found, ball_capacity(radius, 2))


def test_limits_of_the_radius() -> None:
    assert ball_capacity(1e-4, 3) == pytest.approx(2, rel=1e-3)
    assert ball_capacity(1e4, 3) == pytest.approx(1 / 3.5, rel=1e-3)  # 1 / (D + 1/2)
    small = point_manifold_capacity(circle(0.02), margin=0.0, n_draws=1500, seed=3)
    agrees(small, ball_capacity(0.02, 2))
    # A small ball's anchor lies on its surface, opposite to T: R_M = R and D_M = ⟨|t|²⟩ = D.
    assert small["radius"] == pytest.approx(0.02, rel=0.01)
    assert small["dimension"] == pytest.approx(2, abs=4 * np.sqrt(4 / 1500))


def test_the_quadratic_program_equals_non_negative_least_squares() -> None:
    """At margin 0 the distance to the cone {V : S V ≥ 0} is the norm of a projection on the cone of points."""
    shape = np.random.default_rng(0).standard_normal((15, 8))
    augmented = np.hstack([shape, np.ones((15, 1))])
    draws = np.random.default_rng(7).standard_normal((50, 9))
    oracle = np.mean([np.sum((augmented.T @ nnls(augmented.T, -draw)[0]) ** 2) for draw in draws])
    found = point_manifold_capacity(shape, margin=0.0, n_draws=50, seed=7)
    assert 1 / found["capacity"] == pytest.approx(oracle, rel=1e-6)


def separable_share(n_manifolds: int, size: int, radius: float, rng: np.random.Generator) -> float:
    """Share of random line-segment manifolds with random labels that a hyperplane through the origin separates."""
    found = 0
    for _ in range(20):
        centres, axes = rng.standard_normal((2, n_manifolds, size)) / np.sqrt(size)
        signs = rng.choice([-1, 1], n_manifolds)[:, None]
        ends = np.vstack([signs * (centres + radius * axes), signs * (centres - radius * axes)])
        found += linprog(np.zeros(size), A_ub=-ends, b_ub=-np.ones(len(ends)), bounds=(None, None)).status == 0
    return found / 20


def test_random_manifolds_become_inseparable_at_the_predicted_number() -> None:
    rng, size, radius = np.random.default_rng(0), 40, 0.5
    predicted = point_manifold_capacity(np.array([[radius], [-radius]]), margin=0.0, n_draws=2000, seed=0)["capacity"]
    assert separable_share(round(0.7 * predicted * size), size, radius, rng) > 0.8
    assert separable_share(round(1.35 * predicted * size), size, radius, rng) < 0.2


def clouds(spread: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    centres, labels = rng.standard_normal((10, 60)), np.repeat(np.arange(10), 12)
    return centres[labels] + spread * rng.standard_normal((120, 60)), labels


def test_categories_untangle_as_they_shrink() -> None:
    results = [manifold_capacity(*clouds(spread), n_draws=60, seed=0) for spread in (0.05, 0.5, 1.5)]
    capacities = [result.capacity for result in results]
    assert capacities == sorted(capacities, reverse=True) and capacities[0] == pytest.approx(2, rel=0.35)
    assert results[0].radius < results[1].radius < results[2].radius
    assert results[0].centre_correlation == pytest.approx(np.sqrt(2 / np.pi / 60), abs=0.06)
    table = results[1].table
    assert list(table["n_points"]) == [12] * 10
    assert results[1].capacity == pytest.approx(1 / (1 / table["capacity"]).mean())


def test_capacity_ignores_rotation_scale_and_shift() -> None:
    values, labels = clouds(0.5)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((60, 60)))[0]
    first = manifold_capacity(values, labels, n_draws=150)
    second = manifold_capacity(1e-6 * values @ rotation + 3e-6, labels, n_draws=150)
    # The basis of each manifold may come out with other signs: equal up to the noise of the draws.
    assert second.capacity == pytest.approx(first.capacity, rel=0.1)
    assert second.centre_correlation == pytest.approx(first.centre_correlation, rel=1e-6)
    np.testing.assert_allclose(manifold_coordinates(values[:12]).std(), manifold_coordinates(7 * values[:12]).std())


def test_bad_input_is_named() -> None:
    values, labels = clouds(0.5)
    with pytest.raises(InputError, match="119 labels for 120 images"):
        manifold_capacity(values, labels[1:])
    with pytest.raises(InputError, match=r"fewer than two categories \('0\.0'\)"):
        manifold_capacity(values, np.zeros(120))
    with pytest.raises(InputError, match=r"Image 0 has no label \(nan\)"):
        manifold_capacity(values, np.where(labels == 0, np.nan, labels))
    with pytest.raises(InputError, match=r"Image 1 has no label \(None\)"):
        manifold_capacity(values, ["a", None, *["b"] * 118])
    with pytest.raises(InputError, match=r"labels of shape \(120, 1\) for 120"):
        manifold_capacity(values, labels[:, None])
    with pytest.raises(InputError, match="margin"):
        manifold_capacity(values, labels, margin=-1.0)
    with pytest.raises(InputError, match="margin"):
        manifold_capacity(values, labels, margin=float("nan"))
    with pytest.raises(InputError, match="is the centre of all"):
        manifold_capacity(np.full((120, 4), 0.1), labels)  # differences of rounding are no manifolds
    with pytest.raises(InputError, match="is the centre of all"):
        manifold_capacity(np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0]]), ["a", "a", "b", "b"])


def test_a_single_draw_is_refused() -> None:
    values = np.random.default_rng(0).standard_normal((40, 5))
    with pytest.raises(InputError, match="n_draws is 0; at least 2 Gaussian vectors are needed, 300 are usual"):
        manifold_capacity(values, np.repeat([0, 1], 20), n_draws=0)


def test_what_the_package_offers() -> None:
    import brainmap.comparison as comparison

    for name in comparison.__all__:
        assert callable(getattr(comparison, name)), name
    values = np.random.default_rng(1).standard_normal((60, 8))
    assert comparison.cka(values, 2 * values) == pytest.approx(1.0)
    assert 5 < comparison.rankme(values) < 8.01
    assert comparison.geometry(values)["rankme"].iloc[0] == pytest.approx(comparison.rankme(values))
    assert len(comparison.manifold_alignment(values, values, np.repeat([0, 1, 2], 20))) == 3
