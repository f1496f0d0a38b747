from __future__ import annotations

import numpy as np
import pytest
from rsatoolbox.rdm import RDMs, compare
from scipy import stats
from scipy.spatial.distance import squareform

from brainmap.common.errors import InputError
from brainmap.comparison import image_resampling

METHODS = sorted(image_resampling.METHODS)


@pytest.fixture
def vectors() -> np.ndarray:
    """Dissimilarities of 12 images in four spaces; the last has many ties, as categories give."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(66)
    spaces = shared + rng.standard_normal((4, 66))
    spaces[3] = np.round(spaces[3])
    return spaces


def test_similarity_is_that_of_scipy(vectors: np.ndarray) -> None:
    models, brain = vectors[:2], vectors[2:3]
    for method, oracle in [("spearman", stats.spearmanr), ("pearson", stats.pearsonr), ("kendall", stats.kendalltau)]:
        expected = [[oracle(model, brain[0]).statistic] for model in models]  # τ_a is τ_b where nothing is tied
        np.testing.assert_allclose(image_resampling.similarity(models, brain, method), expected, atol=1e-12)
    with pytest.raises(InputError, match="'cosine' is unknown"):
        image_resampling.similarity(models, brain, "cosine")


@pytest.mark.parametrize("method", METHODS)
def test_image_bootstrap_equals_resampled_matrices(vectors: np.ndarray, method: str) -> None:
    """Oracle: rsatoolbox builds each resampled RDM; an image paired with its own copy is NaN there and left out."""
    models, brain = RDMs(vectors[:3]), RDMs(vectors[3:])
    found = image_resampling.bootstrap_images(vectors[:3], vectors[3], method=method, draws=25, seed=4)
    counts = image_resampling.image_counts(12, 25, 4).astype(int)
    for row, count in zip(found, counts.T, strict=True):
        sample = np.repeat(np.arange(12), count)
        resampled = [rdms.subsample_pattern("index", sample) for rdms in (models, brain)]
        assert np.isnan(resampled[0].dissimilarities).any()
        np.testing.assert_allclose(row, compare(*resampled, image_resampling.METHODS[method])[:, 0], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_ties_on_the_model_side(vectors: np.ndarray, method: str) -> None:
    weights = np.random.default_rng(2).integers(0, 4, size=(66, 6)).astype(float)
    found = image_resampling.weighted_similarity(vectors[2:], vectors[0], weights, method)
    for row, weight in zip(found, weights.T, strict=True):
        repeated = np.repeat(vectors, weight.astype(int), axis=1)
        np.testing.assert_allclose(
            row, compare(repeated[2:], repeated[:1], image_resampling.METHODS[method])[:, 0], atol=1e-12
        )


@pytest.mark.parametrize("method", METHODS)
def test_pair_bootstrap_draws_as_many_pairs_as_there_are(vectors: np.ndarray, method: str) -> None:
    found = image_resampling.bootstrap_pairs(vectors[:2], vectors[2], method=method, draws=300, seed=1)
    assert found.shape == (300, 2)
    rng = np.random.default_rng(9)
    picks = rng.integers(66, size=(300, 66))
    oracle = np.array(
        [image_resampling.similarity(vectors[:2, pick], vectors[2, pick], method)[:, 0] for pick in picks]
    )
    np.testing.assert_allclose(found.mean(axis=0), oracle.mean(axis=0), atol=4 * oracle.std() / np.sqrt(150))
    np.testing.assert_allclose(found.std(axis=0), oracle.std(axis=0), rtol=0.2)


def test_chunks_and_models_do_not_change_the_draws(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"method": "spearman", "draws": 20, "seed": 3}
    functions = (image_resampling.bootstrap_images, image_resampling.bootstrap_pairs, image_resampling.permuted_images)
    whole = [function(vectors[:3], vectors[3], **arguments) for function in functions]
    monkeypatch.setattr(image_resampling, "CHUNK", 200)
    for function, expected in zip(functions, whole, strict=True):
        np.testing.assert_array_equal(function(vectors[:3], vectors[3], **arguments), expected)
        np.testing.assert_allclose(function(vectors[1:2], vectors[3], **arguments)[:, 0], expected[:, 1], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_permutation_moves_rows_and_columns_together(vectors: np.ndarray, method: str) -> None:
    found = image_resampling.permuted_images(vectors[:3], vectors[3], method=method, draws=10, seed=5)
    rng = np.random.default_rng([5, image_resampling.PERMUTED_LABELS])
    matrix = RDMs(vectors[3:]).get_matrices()[0]
    for row in found:
        order = rng.permutation(12)
        moved = matrix[np.ix_(order, order)][np.triu_indices(12, 1)]
        np.testing.assert_allclose(row, image_resampling.similarity(vectors[:3], moved, method)[:, 0], atol=1e-12)


def test_permutation_p_counts_the_observation_itself() -> None:
    observed = np.array([0.5, 0.2])
    null = np.array([[0.5, 0.1], [0.3, 0.4], [0.1, 0.0]])
    p, p_fwer = image_resampling.permutation_p(observed, null)
    np.testing.assert_allclose(p, [2 / 4, 2 / 4])
    np.testing.assert_allclose(p_fwer, [2 / 4, 3 / 4])


@pytest.mark.parametrize("method", METHODS)
def test_leaving_out_an_image_leaves_out_its_pairs(vectors: np.ndarray, method: str) -> None:
    found = image_resampling.leave_one_out(vectors[:3], vectors[3], method=method)
    matrices = RDMs(vectors).get_matrices()
    for image, row in enumerate(found):
        kept = np.delete(np.arange(12), image)
        reduced = matrices[:, kept][:, :, kept][:, *np.triu_indices(11, 1)]
        np.testing.assert_allclose(row, image_resampling.similarity(reduced[:3], reduced[3], method)[:, 0], atol=1e-12)


def test_corrected_interval_has_the_corrected_variance() -> None:
    rng = np.random.default_rng(0)
    images, pairs = 2 * rng.standard_normal((20000, 1)) + 7, rng.standard_normal((20000, 1))
    left_out = rng.standard_normal((40, 1))
    left_out *= np.sqrt(3 / (39 / 40 * ((left_out - left_out.mean()) ** 2).sum()))
    low, high = image_resampling.corrected_interval(np.array([1.0]), images, pairs, left_out)
    # Variance 3 of the jackknife, 1 of the pairs' bootstrap: 3 − 1 remains, with t for 39 degrees of freedom.
    oracle = 1 + stats.t.ppf([0.025, 0.975], 39) * np.sqrt(2)
    np.testing.assert_allclose([low[0], high[0]], oracle, atol=0.06)
    low, high = image_resampling.corrected_interval(np.array([1.0]), images, 2 * pairs, left_out)
    oracle = 2 * stats.t.ppf(0.975, 39) * 2  # never less than the noise of pairs alone
    np.testing.assert_allclose(high - low, oracle, atol=0.12)


def correlation_distances(patterns: np.ndarray) -> np.ndarray:
    return 1 - np.corrcoef(patterns)


@pytest.mark.parametrize(("noise", "too_wide"), [(24.0, 1.35), (0.0, 1.0)])
def test_intervals_cover_the_truth_in_simulated_studies(noise: float, too_wide: float) -> None:
    """100 simulated studies of 40 images, with noisy or noise-free responses; truth is the value for 1500 images."""
    rng = np.random.default_rng(11)
    to_model, to_brain = rng.standard_normal((6, 40)), rng.standard_normal((10, 60))

    def study(n_images: int) -> tuple[np.ndarray, np.ndarray]:
        latent = rng.standard_normal((n_images, 10))
        responses = np.tanh(latent @ to_brain) + noise / np.sqrt(10) * rng.standard_normal((n_images, 60))
        rows, columns = np.triu_indices(n_images, 1)
        model = correlation_distances(np.tanh(latent[:, :6] @ to_model))
        return model[rows, columns], correlation_distances(responses)[rows, columns]

    truth = np.mean([stats.spearmanr(*study(1500)).statistic for _ in range(3)])
    estimates, covered, widths, plain_widths = [], 0, [], []
    for seed in range(100):
        model, brain = study(40)
        arguments = {"method": "spearman", "draws": 250, "seed": seed}
        images = image_resampling.bootstrap_images(model[None], brain, **arguments)
        pairs = image_resampling.bootstrap_pairs(model[None], brain, **arguments)
        estimate = image_resampling.similarity(model, brain, "spearman")[0]
        left_out = image_resampling.leave_one_out(model[None], brain, method="spearman")
        low, high = image_resampling.corrected_interval(estimate, images, pairs, left_out)
        covered += bool(low[0] <= truth <= high[0])
        estimates.append(estimate[0])
        widths.append((high - low)[0])
        plain_widths.append(np.ptp(np.quantile(images, [0.025, 0.975])))
    low_count, high_count = stats.binom.interval(0.999, 100, 0.95)
    assert low_count <= covered <= high_count
    ideal = 2 * 1.96 * np.std(estimates)
    assert np.mean(widths) == pytest.approx(ideal, rel=0.25)
    assert np.mean(plain_widths) > too_wide * ideal


@pytest.mark.parametrize("method", METHODS)
def test_groups_are_drawn_left_out_and_moved_as_a_whole(vectors: np.ndarray, method: str) -> None:
    """Oracle: the resampled matrix, in which pairs across two copies of one group are left out."""
    groups = np.repeat([3, 1, 2, 0, 5, 4], 2)
    found = image_resampling.bootstrap_images(vectors[:2], vectors[2], method=method, draws=10, seed=4, groups=groups)
    square = [squareform(vector) for vector in vectors[:3]]
    for row, count in zip(found, image_resampling.image_counts(6, 10, 4).astype(int).T, strict=True):
        copies = [(g, copy) for g in range(6) for copy in range(count[g])]
        images = [(image, copy) for g, copy in copies for image in np.flatnonzero(groups == g)]
        pairs = [(a, b) for k, a in enumerate(images) for b in images[k + 1 :]]
        kept = [(a[0], b[0]) for a, b in pairs if groups[a[0]] != groups[b[0]] or a[1] == b[1]]
        drawn = [np.array([matrix[pair] for pair in kept]) for matrix in square]
        expected = image_resampling.similarity(np.stack(drawn[:2]), drawn[2], method)[:, 0]
        np.testing.assert_allclose(row, expected, atol=1e-12)
    left = image_resampling.leave_one_out(vectors[:2], vectors[2], method=method, groups=groups)
    rest = np.flatnonzero(groups != 1)
    drawn = [squareform(matrix[np.ix_(rest, rest)], checks=False) for matrix in square]
    expected = image_resampling.similarity(np.stack(drawn[:2]), drawn[2], method)[:, 0]
    np.testing.assert_allclose(left[1], expected, atol=1e-12)
    alone = {"method": method, "draws": 9, "seed": 2}
    for function in (image_resampling.bootstrap_images, image_resampling.bootstrap_pairs):
        every = function(vectors[:2], vectors[2], **alone, groups=np.arange(12))
        np.testing.assert_array_equal(every, function(vectors[:2], vectors[2], **alone))
    moved = image_resampling.permuted_images(vectors[:2], vectors[2], **alone, groups=groups)
    assert moved.shape == (9, 2) and np.ptp(moved) > 0
