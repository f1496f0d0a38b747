from __future__ import annotations

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare
from scipy.stats import ortho_group

from brainmap.common.errors import InputError
from brainmap.comparison.cka import cka, cka_matrix


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((30, 4))
    noise = rng.standard_normal((2, 30, 12))
    return shared @ rng.standard_normal((4, 12)) + noise[0], shared @ rng.standard_normal((4, 20)) + np.hstack(
        [noise[1], noise[1][:, :8] ** 2]
    )


def test_cka_is_the_published_ratio_of_norms(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (values - values.mean(axis=0) for values in pair)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    assert cka(*pair) == pytest.approx(np.linalg.norm(y.T @ x) ** 2 / norms, rel=1e-12)


def test_cka_equals_the_whitened_rdm_cosine_of_rsatoolbox(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rdms = [calc_rdm(Dataset(values), method="euclidean") for values in pair]
    assert cka(*pair) == pytest.approx(compare(*rdms, method="cosine_cov")[0, 0], rel=1e-10)


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_ignores_rotation_scale_and_shift(pair: tuple[np.ndarray, np.ndarray], debiased: bool) -> None:
    x, y = pair
    moved = 1e-9 * (x @ ortho_group.rvs(12, random_state=0)) + 1e-8
    assert cka(moved, x, debiased=debiased) == pytest.approx(1.0, abs=1e-7)
    assert cka(moved, y, debiased=debiased) == pytest.approx(cka(x, y, debiased=debiased), abs=1e-7)


def test_debiased_hsic_is_the_u_statistic(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Song et al. 2012: the unbiased HSIC averages a kernel over all ordered quadruples of distinct samples."""
    x, y = (values[:7] for values in pair)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n, total, count = len(k), 0.0, 0
        for i in range(n):
            for j in set(range(n)) - {i}:
                for q in set(range(n)) - {i, j}:
                    for r in set(range(n)) - {i, j, q}:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
        return total / count

    k, m = x @ x.T, y @ y.T
    oracle = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert cka(x, y, debiased=True) == pytest.approx(oracle, rel=1e-9)


def test_debiased_cka_of_unrelated_features_is_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    plain, fair = [], []
    for _ in range(200):
        x, y = rng.standard_normal((2, 20, 100))
        plain.append(cka(x, y))
        fair.append(cka(x, y, debiased=True))
    assert np.mean(plain) > 0.8  # what the correction is for
    assert abs(np.mean(fair)) < 4 * np.std(fair) / np.sqrt(200)


def test_matrix_of_layers_against_layers(pair: tuple[np.ndarray, np.ndarray]) -> None:
    frame = cka_matrix({("activation", "block.0"): pair[0], ("gradient", "block.0"): pair[1]})
    np.testing.assert_allclose(np.diagonal(frame), 1.0)
    np.testing.assert_allclose(frame, frame.T)
    assert frame.loc[("activation", "block.0"), ("gradient", "block.0")] == pytest.approx(cka(*pair))


def test_bad_input_is_named(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(InputError, match="30 images, the other 29"):
        cka(pair[0], pair[1][1:])
    with pytest.raises(InputError, match="second are the same for all images"):
        cka(pair[0], np.ones((30, 3)))
    with pytest.raises(InputError, match="at least 4"):
        cka(pair[0][:3], pair[1][:3])
    with pytest.raises(InputError, match="equally alike in the features first; debiased CKA is undefined"):
        cka(np.eye(30), pair[1], debiased=True)
