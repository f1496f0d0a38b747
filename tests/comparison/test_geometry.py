from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from sklearn.datasets import make_swiss_roll

from brainmap.common.errors import InputError
from brainmap.comparison.geometry import effective_dimension, geometry, rankme, two_nn_dimension


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize(("n", "d"), [(400, 5), (200, 200), (100, 400)])
def test_effective_dimension_of_gaussian_clouds(n: int, d: int) -> None:
    # Wishart moments with m = n − 1: E[(tr S)²] = m²d² + 2md and E[tr S²] = md (m + d + 1).
    oracle = ((n - 1) * d + 2) / (n + d)
    found = np.mean([effective_dimension(gaussian(n, d, seed)) for seed in range(5)])
    assert found == pytest.approx(oracle, rel=0.01)


def test_effective_dimension_is_the_participation_ratio_of_the_covariance() -> None:
    values = gaussian(50, 8) * np.arange(1, 9) + 3
    eigenvalues = np.linalg.eigvalsh(np.cov(values.T))
    assert effective_dimension(values) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-10)


def test_rankme_of_orthogonal_columns_is_their_number() -> None:
    orthonormal = np.linalg.qr(gaussian(60, 9))[0]
    assert rankme(orthonormal) == pytest.approx(9, rel=1e-4)
    assert rankme(np.outer(np.arange(1.0, 20), np.ones(5))) == pytest.approx(1, rel=1e-4)


def test_rankme_uses_singular_values_not_their_squares() -> None:
    values = np.diag([3.0, 1.0])
    p = np.array([0.75, 0.25])
    assert rankme(values) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


@pytest.mark.parametrize(("n", "d"), [(800, 200), (600, 500)])
def test_rankme_of_gaussian_clouds_follows_marchenko_pastur(n: int, d: int) -> None:
    ratio = d / n
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

    def density(x: float) -> float:  # of eigenvalues x of the covariance
        return np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x)

    mean = quad(lambda x: np.sqrt(x) * density(x), low, high)[0]
    entropy = quad(lambda x: np.sqrt(x) / mean * np.log(np.sqrt(x) / mean) * density(x), low, high)[0]
    assert rankme(gaussian(n, d)) == pytest.approx(d * np.exp(-entropy), rel=0.005)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_dimension_of_embedded_gaussian_clouds(dimension: int) -> None:
    found = [
        two_nn_dimension(gaussian(1000, dimension, seed) @ np.linalg.qr(gaussian(40, dimension, 9))[0].T)
        for seed in range(4)
    ]
    assert np.mean(found) == pytest.approx(dimension, rel=0.06)


def test_two_nn_dimension_of_a_rolled_sheet_is_two() -> None:
    roll = make_swiss_roll(2000, random_state=0)[0]
    assert two_nn_dimension(roll) == pytest.approx(2, rel=0.06)
    assert effective_dimension(roll) > 2.3  # the roll fills three linear dimensions


@pytest.mark.parametrize("width", [3, 50])  # from 16 features on, scikit-learn searches with inner products
def test_two_nn_dimension_takes_repeated_points_once(width: int) -> None:
    cloud = gaussian(300, 3) @ gaussian(3, width, 9)
    once = two_nn_dimension(cloud)
    assert two_nn_dimension(np.vstack([cloud, cloud[:100]])) == pytest.approx(once, rel=1e-9)
    assert two_nn_dimension(np.vstack([cloud, cloud])) == pytest.approx(once, rel=1e-9)
    assert two_nn_dimension(1e6 + cloud) == pytest.approx(once, rel=1e-6)


def test_two_nn_dimension_equals_the_estimator_on_exact_distances() -> None:
    cloud = gaussian(200, 40)
    distances = np.sort(cdist(cloud, cloud), axis=1)
    ratio = np.log(np.sort(distances[:, 2] / distances[:, 1]))[:180]
    height = -np.log(1 - np.arange(1, 181) / 201)
    assert two_nn_dimension(cloud) == pytest.approx(ratio @ height / (ratio @ ratio), rel=1e-9)


def test_values_without_a_dimension_are_refused() -> None:
    cloud, gap = gaussian(30, 3), gaussian(30, 3)
    gap[4, 1] = np.nan
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    for values, message in (
        (cloud[:5], "5 distinct points"),
        (np.repeat(cloud[:6], 4, axis=0), "6 distinct points"),
        (gap, "must be finite"),
        (cloud[:, 0], "must be finite"),
        (grid, "at one distance"),
    ):
        with pytest.raises(InputError, match=message):
            two_nn_dimension(values)
    for discard in (-0.1, 1.0, np.nan):
        with pytest.raises(InputError, match="The fraction to discard must lie between 0 and 1"):
            two_nn_dimension(cloud, discard=discard)
    with pytest.raises(InputError, match="the same for all images"):
        effective_dimension(np.full((50, 4), 0.1))  # whose mean is not 0.1, by rounding
    with pytest.raises(InputError, match=r"features block\.3 have no geometry: The features are the same"):
        geometry({"block.0": cloud, "block.3": np.full((30, 4), 0.1)})


def test_table_of_layers() -> None:
    values = {("activation", "block.0"): gaussian(60, 4), ("gradient", "block.0"): 1e-12 * gaussian(60, 30)}
    frame = geometry(values)
    assert list(frame["signal"]) == ["activation", "gradient"] and list(frame["n_features"]) == [4, 30]
    assert frame["rankme"].iloc[1] == pytest.approx(rankme(gaussian(60, 30)), rel=1e-9)
    with pytest.raises(InputError, match="no finite spread"):
        rankme(np.zeros((4, 3)))
