"""Batched gradients against torch.autograd.grad on one image at a time, and against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from brainmap.features import FeatureExtractor
from brainmap.features.pooling import POOLINGS
from brainmap.models import OBJECTIVES, ImageBatch, VisionModel
from brainmap.stimuli import StimulusSet

ROLES = {"cls": slice(0, 1), "register-mean": slice(1, 5), "patch-mean": slice(5, None), "all-mean": slice(None)}
SUFFIX = {"block": "", "mlp": ".mlp.down_proj"}
LAYERS = ("block.0", "block.6", "block.11")


def single(model: VisionModel, stimuli: StimulusSet, i: int) -> ImageBatch:
    image = stimuli.image(i)
    return ImageBatch([image], model.preprocess([image]), [stimuli.ids[i]], stimuli.table.iloc[[i]])


def oracle(model: VisionModel, batch: ImageBatch, name: str, site: str) -> dict[str, list[Tensor]]:
    """Gradient (v, T, d) of one image's loss at each layer, for each forward pass of the differentiated network."""
    objective = OBJECTIVES[name]
    network = model.branches[objective.branch(model)]
    outputs: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}

    def keep(layer: str) -> Any:
        return lambda _module, _inputs, output: outputs[layer].append(output)

    network.requires_grad_(True)
    handles = [
        network.get_submodule(f"model.layer.{layer[6:]}{SUFFIX[site]}").register_forward_hook(keep(layer))
        for layer in LAYERS
    ]
    try:
        loss = objective(model, batch)[0]
        return {layer: list(torch.autograd.grad(loss, outputs[layer], retain_graph=True)) for layer in LAYERS}
    finally:
        network.requires_grad_(False)
        for handle in handles:
            handle.remove()


def pooled(views: list[Tensor], pooling: str) -> np.ndarray:
    if pooling == "flatten":
        return np.concatenate([view.numpy().ravel() for view in views])
    return np.concatenate([view.numpy()[:, ROLES[pooling]].reshape(-1, view.shape[-1]) for view in views]).mean(0)


@pytest.mark.parametrize("site", ["block", "mlp"])
@pytest.mark.parametrize("name", ["dino", "dino-ibot", "headless", "feature-energy"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_batched_equals_one_image_at_a_time(
    precision: str, name: str, site: str, request: pytest.FixtureRequest, stimuli: StimulusSet
) -> None:
    model = request.getfixturevalue("dino_tiny" if precision == "float32" else "dino_tiny_double")
    tolerance = 1e-4 if precision == "float32" else 1e-9
    wanted = [oracle(model, single(model, stimuli, i), name, site) for i in range(len(stimuli))]
    for pooling in POOLINGS if name == "dino-ibot" else ("patch-mean", "cls"):
        extractor = FeatureExtractor(model, layers=LAYERS, site=site, pooling=pooling, objective=name, batch_size=4)
        found = extractor.extract(stimuli)
        for layer in LAYERS:
            rows = np.stack([pooled(views[layer], pooling) for views in wanted])
            error = np.linalg.norm(found["gradient", layer] - rows, axis=1)
            size = np.linalg.norm(rows, axis=1)
            assert (error <= tolerance * size).all(), (pooling, layer, error / size)
            whole = [np.linalg.norm(np.concatenate([g.numpy().ravel() for g in views[layer]])) for views in wanted]
            np.testing.assert_allclose(found.gradient_norms[layer], whole, rtol=tolerance)
        assert found["gradient", "block.0"].dtype == np.dtype(precision)


def test_a_loss_on_cls_leaves_late_patches_without_gradient(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    found = FeatureExtractor(dino_tiny, objective="dino", pooling="patch-mean").extract(stimuli)
    assert not np.any(found["gradient", "block.11"])
    assert np.all(np.any(found["gradient", "block.10"], axis=1))
    combined = FeatureExtractor(dino_tiny, objective="dino-ibot", pooling="patch-mean").extract(stimuli)
    none = int(np.sum(~np.any(combined["gradient", "block.11"], axis=1)))  # images without a masked crop, and said so
    said = [f"iBOT: {none} of 7 images have no masked crop"] if none else []
    assert none < 7 and [remark.partition(" in these")[0] for remark in combined.provenance["remarks"]] == said


@pytest.mark.parametrize("name", ["dino-ibot", "feature-energy"])
@pytest.mark.parametrize("site", ["block", "mlp"])
def test_pooled_gradient_is_the_effect_of_a_shared_shift(
    site: str, name: str, dino_tiny_double: VisionModel, stimuli: StimulusSet
) -> None:
    model, objective = dino_tiny_double, OBJECTIVES[name]
    batch = single(model, stimuli, 2)
    found = FeatureExtractor(model, layers=["block.4"], site=site, pooling="patch-mean", objective=name)
    gradient = found.compute(batch)["gradient", "block.4"][0]
    module = model.site_modules(("block.4",), site, objective.branch(model))["block.4"]
    tokens = 16 if name == "feature-energy" else 2 * 16 + 2 * 4
    step = 1e-4
    for column in (0, 17, 95):
        losses = []
        for sign in (1, -1):

            def shift(_module: Any, _inputs: Any, output: Tensor, sign: int = sign) -> Tensor:
                moved = output.clone()
                moved[:, 5:, column] += sign * step  # noqa: B023 - used before the loop goes on
                return moved

            handle = module.register_forward_hook(shift)
            with torch.no_grad():
                losses.append(float(objective(model, batch)[0]))
            handle.remove()
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope / tokens == pytest.approx(gradient[column], rel=1e-5, abs=1e-11)


def test_activations_do_not_depend_on_the_signals_asked_for(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    """Bit for bit: the store shares them between runs with and without gradients."""
    alone = FeatureExtractor(dino_tiny, signals=["activation"]).extract(stimuli)
    for name in ("feature-energy", "dino-ibot"):
        both = FeatureExtractor(dino_tiny, objective=name).extract(stimuli)
        for layer in both.layers:
            np.testing.assert_array_equal(alone["activation", layer], both["activation", layer])


def test_batch_size_and_order_do_not_matter(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    reference = FeatureExtractor(dino_tiny, batch_size=32).extract(stimuli)
    shuffled = stimuli.subset([4, 1, 6, 0, 2, 5, 3])
    for batch_size, images, order in ((1, stimuli, np.arange(7)), (7, shuffled, np.array([4, 1, 6, 0, 2, 5, 3]))):
        found = FeatureExtractor(dino_tiny, batch_size=batch_size).extract(images)
        for key in reference:
            wanted = np.asarray(reference[key])[order]
            error = np.linalg.norm(found[key] - wanted, axis=1)  # patches of the last block have none where no mask is
            assert (error <= 1e-5 * np.linalg.norm(wanted, axis=1)).all(), key


def test_activations_are_the_library_hidden_states(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    images = [stimuli.image(i) for i in range(len(stimuli))]
    network = dino_tiny.branches["teacher"]
    with torch.no_grad():
        states = network(dino_tiny.preprocess(images), output_hidden_states=True).hidden_states
    assert len(states) == 13
    for pooling in ("cls", "register-mean", "patch-mean", "all-mean", "flatten"):
        found = FeatureExtractor(dino_tiny, signals=["activation"], pooling=pooling).extract(stimuli)
        for layer, state in zip(dino_tiny.layers, states[1:], strict=True):
            tokens = state.numpy()
            wanted = tokens.reshape(7, -1) if pooling == "flatten" else tokens[:, ROLES[pooling]].mean(1)
            np.testing.assert_allclose(found["activation", layer.name], wanted, rtol=1e-4, atol=1e-5)


def test_batch_coupled_rows_belong_to_their_batch(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    extractor = FeatureExtractor(dino_tiny, objective="dino-ibot-koleo", batch_size=4, layers=["block.5"])
    found = extractor.extract(stimuli)
    assert found.provenance["batch_coupled"] is True
    four = FeatureExtractor(dino_tiny, objective="dino-ibot-koleo", batch_size=4, layers=["block.5"]).extract(
        stimuli.subset([0, 1, 2, 3])
    )
    np.testing.assert_array_equal(found["gradient", "block.5"][:4], four["gradient", "block.5"])
