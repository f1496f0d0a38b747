from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from brainmap.common.errors import InputError
from brainmap.comparison.manifold_alignment import manifold_alignment

LABELS = np.repeat(["cat", "dog", "eel"], [8, 10, 12])


def cloud(seed: int, n_features: int = 25) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((30, n_features)) * np.linspace(2, 0.1, n_features)


def test_a_signal_is_aligned_with_itself_whatever_its_scale_and_place() -> None:
    values = cloud(0)
    found = manifold_alignment(values, -1e-9 * values + 5e-9, LABELS)
    np.testing.assert_allclose(found["axis_overlap"], 1.0, atol=1e-9)
    np.testing.assert_allclose(found["centre_cosine"], -1.0, atol=1e-9)
    assert list(found["n_points"]) == [8, 10, 12]


def test_overlap_is_the_cosine_of_covariances() -> None:
    first, second = cloud(0), cloud(1)
    for row in manifold_alignment(first, second, LABELS).itertuples():
        a, b = (np.cov(values[row.manifold == LABELS].T) for values in (first, second))
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        assert row.axis_overlap == pytest.approx(np.trace(a @ b) / norms, rel=1e-10)
        assert row.axis_chance == pytest.approx(np.trace(a) * np.trace(b) / 25 / norms, rel=1e-10)


def test_chance_is_the_mean_over_random_rotations() -> None:
    first, second = cloud(0), cloud(1)
    rotations = ortho_group.rvs(25, size=300, random_state=2)
    turned = [manifold_alignment(first, second @ rotation, LABELS) for rotation in rotations]
    overlaps = np.stack([frame["axis_overlap"] for frame in turned])
    error = 4 * overlaps.std(axis=0) / np.sqrt(300)
    assert (np.abs(overlaps.mean(axis=0) - turned[0]["axis_chance"]) < error).all()
    cosines = np.stack([frame["centre_cosine"] for frame in turned])
    np.testing.assert_allclose(np.sqrt((cosines**2).mean(axis=0)), turned[0]["centre_chance"], rtol=0.2)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"shapes \(30, 25\) and \(30, 24\)"):
        manifold_alignment(cloud(0), cloud(0, 24), LABELS)
    with pytest.raises(InputError, match="29 labels for 30"):
        manifold_alignment(cloud(0), cloud(1), LABELS[1:])
    with pytest.raises(InputError, match="'ant' has 1 of 30"):
        manifold_alignment(cloud(0), cloud(1), np.array(["ant", *LABELS[1:]]))
    for value in (1.0, 0.1):  # the mean of 0.1 is not 0.1, by rounding
        flat = np.where((LABELS == "dog")[:, None], value, cloud(1))
        with pytest.raises(InputError, match="'dog' have the same features"):
            manifold_alignment(cloud(0), flat, LABELS)
    with pytest.raises(InputError, match="values that are not finite"):
        manifold_alignment(cloud(0), np.where(np.arange(30)[:, None] == 2, np.nan, cloud(1)), LABELS)
    with pytest.raises(InputError, match="fewer than two categories"):
        manifold_alignment(cloud(0), cloud(1), ["dog"] * 30)
