"""The identity behind the engine: the prediction's sum of squares for all alphas from one product."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmap.encoding.layer.factors import NEAR, couple, placing
from brainmap.encoding.layer.notation import Train
from brainmap.encoding.layer.scores import choose, path_energy
from brainmap.encoding.settings import Backend

ALPHAS = np.logspace(-4, 8, 13)


def energies(values, held, white, alphas=ALPHAS, precision="float64", **kwargs):
    """Return engine and explicit sums of squares, (n_alphas, n_targets)."""
    values = np.sort(values)[::-1]
    place, shrink = placing(Backend("cpu", precision)), values / (values + alphas[:, None])
    coupling = couple(values, shrink, held.T @ held, place, **kwargs)
    train = Train(np.ones(1, dtype=bool), np.eye(len(values)), values, place(shrink), (), None, alphas)
    found = path_energy(train, coupling, white.astype(precision))
    expected = np.array([((held @ ((values / (values + alpha))[:, None] * white)) ** 2).sum(0) for alpha in alphas])
    return found, expected, coupling


SPECTRA = {
    "spread": lambda r, rng: np.exp(rng.uniform(-8, 8, r)),
    "power law": lambda r, rng: 1e6 * np.arange(1, r + 1) ** -2.0,
    "all equal": lambda r, rng: np.full(r, 3.0),
    "two levels": lambda r, rng: np.where(np.arange(r) < r // 2, 10.0, 0.1),
    "pairs that nearly coincide": lambda r, rng: np.repeat(np.arange(1, r // 2 + 1), 2) * (1 + 1e-5 * rng.random(r)),
    "gaps at the threshold": lambda r, rng: (1 + NEAR) ** np.arange(r),
    "white": lambda r, rng: np.linalg.eigvalsh(np.cov(rng.standard_normal((r, 4 * r)))) * 4 * r,
}


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
def test_energy_of_all_alphas_equals_predictions(kind, precision, tolerance):
    rng = np.random.default_rng(3)
    values = SPECTRA[kind](60, rng)
    held, white = rng.standard_normal((200, 60)), rng.standard_normal((60, 9))
    found, expected, _ = energies(values, held, white, precision=precision)
    np.testing.assert_allclose(found, expected, rtol=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    rank=st.integers(1, 40),
    rows=st.integers(1, 60),
    n_targets=st.integers(1, 5),
    n_alphas=st.integers(1, 12),
    decades=st.floats(0, 10),
    seed=st.integers(0, 2**16),
)
def test_energy_for_any_shape_and_spectrum(rank, rows, n_targets, n_alphas, decades, seed):
    rng = np.random.default_rng(seed)
    values = 10.0 ** rng.uniform(0, decades, rank)
    held, white = rng.standard_normal((rows, rank)), rng.standard_normal((rank, n_targets))
    found, expected, _ = energies(values, held, white, 10.0 ** rng.uniform(-6, 8, n_alphas))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max())


def test_every_way_of_computing_it_is_exercised():
    rng = np.random.default_rng(0)
    held, white = rng.standard_normal((80, 60)), rng.standard_normal((60, 2))
    spread, equal = np.exp(rng.uniform(-4, 4, 60)), np.ones(60)
    assert energies(spread, held, white)[2].matrix is not None
    assert energies(equal, held, white)[2].direct is not None
    assert energies(spread, held, white, ALPHAS[:1])[2].direct is not None
    few = np.concatenate([spread[:58], spread[:2] * (1 + 1e-6)])
    assert len(energies(few, held, white)[2].near[0]) >= 2
    found, expected, small = energies(spread, held[:3], white, rows=held[:3])
    assert small.direct.shape == (len(ALPHAS), 3, 60)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    values, many = np.exp(rng.uniform(-4, 4, 900)), rng.standard_normal((30, 900))
    found, expected, rows = energies(values, many, rng.standard_normal((900, 2)), rows=many)
    assert rows.direct.shape == (30, 900)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_unseen_validation_set_predicts_a_constant():
    rng = np.random.default_rng(0)
    found, _, _ = energies(np.exp(rng.uniform(-4, 4, 20)), 1e-9 * rng.standard_normal((30, 20)), np.ones((20, 2)))
    np.testing.assert_array_equal(found, 0)
    few = 1e-9 * rng.standard_normal((5, 20))
    found, _, _ = energies(np.exp(rng.uniform(-4, 4, 20)), few, np.ones((20, 2)), rows=few)
    np.testing.assert_array_equal(found, 0)


def test_ties_go_to_the_largest_alpha():
    scores = np.array([[0.1, 0.3], [0.3, 0.3 - 1e-3], [0.3 - 1e-8, 0.2], [0.2, 0.1]])
    np.testing.assert_array_equal(choose(scores, 5e-7), [2, 0])
