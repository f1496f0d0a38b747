"""Random projections: inner products as theory says, weight gradients against autograd, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor, RandomProjection
from brainmap.features.projection import CHUNK
from brainmap.features.reduction import weight_gradient_norms, weight_gradients
from brainmap.models import OBJECTIVES, ImageBatch, VisionModel
from brainmap.stimuli import StimulusSet

KINDS = ("sparse", "gaussian", "kronecker")


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_preserved_with_the_variance_of_theory(kind: str) -> None:
    """Mean of ⟨Px, Py⟩ over seeds is ⟨x, y⟩; the variance is the Gaussian formula's, or a small multiple of it."""
    k, seeds = 64, 400
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 30, generator=generator, dtype=torch.float64)
    y = 0.6 * x + 0.8 * y
    inner, sizes = float((x * y).sum()), float(x.square().sum() * y.square().sum())
    found = []
    for seed in range(seeds):
        px, py = RandomProjection(k, kind, seed)(torch.stack([x, y]))  # type: ignore[arg-type]
        found.append(float(px @ py))
    variance = (inner**2 + sizes) / k
    assert abs(np.mean(found) - inner) < 4 * np.std(found) / seeds**0.5
    ratio = np.var(found) / variance
    bounds = {"gaussian": (0.75, 1.3), "sparse": (0.6, 1.3), "kronecker": (0.7, 6.0)}
    assert bounds[kind][0] < ratio < bounds[kind][1], ratio


@pytest.mark.parametrize("kind", KINDS)
def test_projection_is_linear_seeded_and_chunked(kind: str) -> None:
    projection = RandomProjection(20, kind, 3)  # type: ignore[arg-type]
    rows = torch.randn(3, 5, CHUNK // 2 + 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = projection(rows)
    assert found.shape == (3, 20)
    torch.testing.assert_close(projection(2 * rows[:1] - rows[1:2]), 2 * found[:1] - found[1:2])
    torch.testing.assert_close(RandomProjection(20, kind, 3)(rows), found, rtol=0, atol=0)  # type: ignore[arg-type]
    assert not torch.allclose(RandomProjection(20, kind, 4)(rows), found)  # type: ignore[arg-type]
    torch.testing.assert_close(projection(rows[1:2]), found[1:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_gradients_are_projected_matrices(kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    deltas = [torch.randn(2, 3, 7, 10, generator=generator), torch.randn(1, 3, 4, 10, generator=generator)]
    inputs = [torch.randn(2, 3, 7, 15, generator=generator), torch.randn(1, 3, 4, 15, generator=generator)]
    matrices = sum(torch.einsum("vnto,vnti->noi", d, x) for d, x in zip(deltas, inputs, strict=True))
    projection = RandomProjection(24, kind, 0)  # type: ignore[arg-type]
    found = weight_gradients(deltas, inputs, projection)
    torch.testing.assert_close(found, projection(matrices), rtol=1e-4, atol=1e-4)
    norms = weight_gradient_norms(deltas, inputs)
    torch.testing.assert_close(norms, matrices.flatten(1).norm(dim=1), rtol=1e-4, atol=1e-4)


def test_weight_gradients_are_autograd_s(dino_tiny_double: VisionModel, stimuli: StimulusSet) -> None:
    model, projection = dino_tiny_double, RandomProjection(50, "sparse")
    extractor = FeatureExtractor(model, site="mlp", layers=["block.5"], wrt="weights", projection=projection)
    found = extractor.extract(stimuli)
    weight = model.site_modules(("block.5",), "mlp", "student")["block.5"].weight
    for i in (0, 4):
        images = [stimuli.image(i)]
        batch = ImageBatch(images, model.preprocess(images), [str(stimuli.ids[i])], stimuli.table.iloc[[i]])
        weight.requires_grad_(True)
        gradient = torch.autograd.grad(OBJECTIVES["dino-ibot"](model, batch)[0], weight)[0]
        weight.requires_grad_(False)
        np.testing.assert_allclose(found["gradient", "block.5"][i], projection(gradient[None])[0].numpy(), rtol=1e-9)
        assert found.gradient_norms["block.5"][i] == pytest.approx(float(gradient.norm()), rel=1e-9)
    assert found["activation", "block.5"].shape == (7, 96)
    assert found.provenance["gradient_of"] == "weights of site 'mlp', branch 'student'"


def test_flattened_tokens_are_projected_per_signal(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    whole = FeatureExtractor(dino_tiny, layers=["block.2"], pooling="flatten").extract(stimuli)
    projections = {"gradient": RandomProjection(40, "kronecker"), "activation": RandomProjection(30)}
    options = {"layers": ["block.2"], "pooling": "flatten"}
    found = FeatureExtractor(dino_tiny, **options, projection=projections).extract(stimuli)
    for signal, tokens in (("gradient", 2 * 21 + 2 * 9), ("activation", 21)):
        matrices = torch.from_numpy(np.asarray(whole[signal, "block.2"])).unflatten(1, (tokens, 96))
        wanted = projections[signal](matrices)
        np.testing.assert_allclose(found[signal, "block.2"], wanted.numpy(), rtol=1e-4, atol=1e-6)
    alone = FeatureExtractor(dino_tiny, **options, projection=RandomProjection(40)).extract(stimuli)
    assert alone["activation", "block.2"].shape == (7, 21 * 96)
    keys = {
        FeatureExtractor(dino_tiny, **options, projection=RandomProjection(40, seed=s)).array_keys().__repr__()
        for s in (0, 1)
    }
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"wrt": "weights", "site": "mlp"}, "too large to keep"),
        ({"wrt": "weights", "projection": RandomProjection(8)}, "has no weights of its own"),
        ({"wrt": "inputs"}, "wrt must be 'output' or 'weights'"),
    ],
)
def test_impossible_gradients_are_refused(options: dict, sentence: str, dino_tiny: VisionModel) -> None:
    with pytest.raises(InputError, match=sentence):
        FeatureExtractor(dino_tiny, **options)
    with pytest.raises(InputError, match="not one of sparse, gaussian, kronecker"):
        RandomProjection(8, "fourier")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_hold_the_matrix(kind: str) -> None:
    """The dense matrices would take 262 MB (3.2 GB for the Kronecker projection)."""
    import tracemalloc

    rows = torch.zeros(1, 1000, 1000) if kind == "kronecker" else torch.zeros(1, 1, 20 * CHUNK)
    tracemalloc.start()
    RandomProjection(800, kind)(rows)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
