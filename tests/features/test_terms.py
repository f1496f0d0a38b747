"""Gradients of the terms of a loss: against autograd on a loss whose other weights are zero, and against their sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from features.test_gradients import oracle, pooled, single

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor
from brainmap.models import OBJECTIVES, ImageBatch, VisionModel
from brainmap.models.objectives import distillation, find_objective
from brainmap.stimuli import StimulusSet

LAYERS = ("block.0", "block.6", "block.11")
WEIGHTS = {"dino": "dino_weight", "ibot": "ibot_weight", "koleo": "koleo_weight"}


def only(term: str, patch: pytest.MonkeyPatch) -> None:
    """Give all other terms of the recipe no weight."""
    own = distillation.recipe_of

    def weighed(model: VisionModel) -> Any:
        return replace(own(model), **{field: 0.0 for name, field in WEIGHTS.items() if name != term})

    patch.setattr(distillation, "recipe_of", weighed)


def test_terms_are_autograd_one_image_at_a_time(dino_tiny_double: VisionModel, stimuli: StimulusSet) -> None:
    model, stimuli = dino_tiny_double, stimuli.subset(range(3))
    found = FeatureExtractor(model, layers=LAYERS, objective="dino-ibot", batch_size=2, terms="split").extract(stimuli)
    assert found.signals == ("activation", "gradient", "gradient of dino", "gradient of ibot")
    assert found.provenance["terms"] == ["dino", "ibot"]
    for term in ("dino", "ibot"):
        with pytest.MonkeyPatch.context() as patch:
            only(term, patch)
            wanted = [oracle(model, single(model, stimuli, i), "dino-ibot", "block") for i in range(len(stimuli))]
        for layer in LAYERS:
            rows = np.stack([pooled(views[layer], "patch-mean") for views in wanted])
            largest = np.abs(found["gradient", layer]).max()
            np.testing.assert_allclose(found[f"gradient of {term}", layer], rows, atol=1e-9 * largest)
    whole = [oracle(model, single(model, stimuli, i), "dino-ibot", "block") for i in range(len(stimuli))]
    for layer in LAYERS:
        rows = np.stack([pooled(views[layer], "patch-mean") for views in whole])
        added = found["gradient of dino", layer] + found["gradient of ibot", layer]
        np.testing.assert_allclose(added, rows, atol=1e-9 * np.abs(rows).max())
        assert np.array_equal(found["gradient of dino", layer], np.zeros_like(rows)) == (layer == "block.11")


def test_a_coupled_term_in_its_batch(dino_tiny_double: VisionModel, stimuli: StimulusSet) -> None:
    model, few = dino_tiny_double, stimuli.subset(range(4))
    options: dict[str, Any] = {"layers": LAYERS[:2], "pooling": "cls", "objective": "dino-ibot-koleo"}
    found = FeatureExtractor(model, **options, terms="split").extract(few)
    added = sum(np.asarray(found[f"gradient of {term}", "block.0"]) for term in WEIGHTS)
    np.testing.assert_allclose(added, found["gradient", "block.0"], atol=1e-9 * np.abs(added).max())
    images = [few.image(i) for i in range(4)]
    batch = ImageBatch(images, model.preprocess(images), list(few.ids), few.table)
    outputs: list[torch.Tensor] = []
    network = model.branches["student"].requires_grad_(True)
    handle = network.get_submodule("model.layer.6").register_forward_hook(lambda _m, _i, out: outputs.append(out))
    with pytest.MonkeyPatch.context() as patch:
        only("koleo", patch)
        grads = torch.autograd.grad(OBJECTIVES["dino-ibot-koleo"](model, batch).sum(), outputs)
    handle.remove()
    network.requires_grad_(False)
    rows = torch.cat([grad.unflatten(0, (-1, 4))[:, :, 0] for grad in grads]).mean(0).numpy()
    np.testing.assert_allclose(found["gradient of koleo", "block.6"], rows, atol=1e-9 * np.abs(rows).max())


def test_by_role_is_the_pooling_of_that_role(dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layers": LAYERS[1:], "signals": ["gradient"], "store": tmp_path}
    roles = FeatureExtractor(dino_tiny, **options, terms="split-by-role").extract(stimuli)
    assert set(roles.signals) == {"gradient"} | {
        f"gradient of {term} at {role}" for term in ("dino", "ibot") for role in ("cls", "register", "patch")
    }
    assert np.any(roles["gradient of dino at cls", "block.11"])
    assert not np.any(roles["gradient of dino at patch", "block.11"])
    extractor = FeatureExtractor(dino_tiny, **options, pooling=["patch-mean", "cls"], terms="split")
    for pooling, role in (("patch-mean", "patch"), ("cls", "cls")):
        found = extractor.extract_poolings(stimuli)[pooling]
        for term in ("dino", "ibot"):
            wanted = np.asarray(roles[f"gradient of {term} at {role}", "block.6"])
            np.testing.assert_array_equal(np.asarray(found[f"gradient of {term}", "block.6"]), wanted)
    plain = FeatureExtractor(dino_tiny, layers=LAYERS[1:], signals=["gradient"]).extract(stimuli)
    np.testing.assert_array_equal(plain["gradient", "block.6"], np.asarray(roles["gradient", "block.6"]))


def test_losses_that_are_added_up(dino_tiny_double: VisionModel, stimuli: StimulusSet) -> None:
    model, few = dino_tiny_double, stimuli.subset(range(3))
    found = FeatureExtractor(model, objective="headless+feature-energy", terms="split").extract(few)
    assert found.provenance["exactness"] == "surrogate"
    losses = np.zeros(3)
    for name in ("headless", "feature-energy"):
        alone = FeatureExtractor(model, objective=name).extract(few)
        losses += alone.losses
        a, b = np.asarray(alone["gradient", "block.6"]), np.asarray(found[f"gradient of {name}", "block.6"])
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        np.testing.assert_allclose(cosine, 1.0, rtol=1e-9)  # the mean is over the tokens of all views
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"objective": "dino", "terms": "split"}, "'dino' of 'dino-tiny' has one term; choose dino-ibot or"),
        ({"terms": "apart"}, "terms must be one of together, split, split-by-role"),
        ({"terms": "split", "signals": ["activation"]}, "Terms of the loss split gradients"),
        ({"objective": "dino+dino-ibot"}, "holds the term 'dino' twice"),
        ({"objective": "dino+koleo"}, "'dino' that of 'student', 'koleo' that of 'teacher'"),
        ({"objective": "dino+nonsense"}, "There is no objective 'nonsense'"),
    ],
)
def test_what_cannot_be_split_is_named(options: dict[str, Any], problem: str, dino_tiny: VisionModel) -> None:
    with pytest.raises(InputError, match=problem):
        FeatureExtractor(dino_tiny, **options)


def test_a_sum_of_losses_states_its_identity(dino_tiny: VisionModel) -> None:
    objective = find_objective(dino_tiny, "headless + feature-energy")
    assert objective.name == "headless+feature-energy" and not objective.batch_coupled and objective.needs == ()
    identity = objective.identity(dino_tiny)
    assert [part["name"] for part in identity["parts"]] == ["headless", "feature-energy"]
    passes, parts = objective.passes(dino_tiny), [part.passes(dino_tiny) for part in objective.parts]  # type: ignore[attr-defined]
    assert passes is not None and passes.total == pytest.approx(sum(part.total for part in parts))
