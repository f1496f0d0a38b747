"""ImageBatch-coupled losses and their frozen, image-wise forms: formulas, sums, and what may influence an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from models.tiny_towers import TEXT, TOWER
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor
from brainmap.models import OBJECTIVES, VisionModel, freeze_reference, load_model, model_card, register_model
from brainmap.models.distillation_losses import koleo_loss, nearest_distances, sinkhorn
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.coupled import random_directions, sigreg, sinkhorn_scales
from brainmap.models.views import multi_crop
from brainmap.stimuli import StimulusSet

CONFIGS: dict[str, dict[str, Any]] = {
    "clip-vit-base-patch32": {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT},
    "siglip2-base-patch16": {"vision_config": TOWER, "text_config": {**TEXT, "projection_size": 24}},
    "lejepa-vits8": TOWER,
    "dino-tiny": {},
}
COUPLED = [
    ("clip-vit-base-patch32", "contrastive"),
    ("siglip2-base-patch16", "contrastive"),
    ("lejepa-vits8", "lejepa"),
    ("dino-tiny", "koleo"),
    ("dino-tiny", "sigreg"),
    ("dino-tiny", "dino-sinkhorn"),
    ("dino-tiny", "dino-ibot-koleo"),
    ("dino-tiny", "dinov3"),
]


@pytest.fixture(scope="module")
def models() -> dict[str, VisionModel]:
    found = {}
    for name, config in CONFIGS.items():
        card = model_card(name)
        if config:
            views = card.views.model_copy(update={"global_pixels": 32, "local_pixels": 32})
            preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
            changes = {"config": {**card.config, **config}, "patch": 8, "views": views, "preprocessing": preprocessing}
            card = register_model(card.model_copy(update={**changes, "name": f"coupled-{name}"}))
        model = load_model(card.name, weights="untrained", dtype="float64")
        generator = torch.Generator().manual_seed(0)
        for parameter in model.module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        found[name] = model
    return found


def photographs(count: int, seed: int) -> StimulusSet:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (40 + i, 44, 3), dtype=np.uint8) for i in range(count)]
    captions = [f"{('cat', 'dog', 'sea', 'tree')[i % 4]} number {i}" for i in range(count)]
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [f"p{i}" for i in range(count)], "caption": captions}))


def batch_of(model: VisionModel, stimuli: StimulusSet) -> ImageBatch:
    images = [stimuli.image(i) for i in range(len(stimuli))]
    return ImageBatch(images, model.preprocess(images), [str(key) for key in stimuli.ids], stimuli.table)


@pytest.mark.parametrize(("name", "objective"), COUPLED)
def test_frozen_references_make_them_image_wise(name: str, objective: str, models: dict[str, VisionModel]) -> None:
    """Gradients of batches of 1, 2 and 5, in another order, agree; coupled ones depend on the company."""
    model, stimuli = models[name], photographs(5, 1)
    assert OBJECTIVES[objective].batch_coupled
    frozen = freeze_reference(objective, model, photographs(6, 2), batch_size=4)
    assert not frozen.batch_coupled and frozen.exactness == "surrogate" and frozen.name == f"{objective}-frozen"
    layer = model.layer_names()[0]
    options: dict[str, Any] = {"layers": [layer], "pooling": "all-mean", "objective": frozen}
    together = FeatureExtractor(model, **options).extract(stimuli)
    wanted = np.asarray(together["gradient", layer])
    assert np.linalg.norm(wanted, axis=1).min() > 0
    for size, order in ((1, [0, 1, 2, 3, 4]), (2, [3, 0, 4, 2, 1])):
        found = FeatureExtractor(model, **options, batch_size=size).extract(stimuli.subset(order))
        error = np.linalg.norm(found["gradient", layer] - wanted[order], axis=1)
        assert (error <= 1e-8 * np.linalg.norm(wanted[order], axis=1)).all()
        np.testing.assert_allclose(found.losses, together.losses[order], rtol=1e-9)
    identity = frozen.identity(model)
    other = freeze_reference(objective, model, photographs(6, 3)).identity(model)
    assert identity["bank"]["photographs"] == 6 and identity["bank"]["digest"] != other["bank"]["digest"]


@pytest.mark.parametrize(("name", "objective"), COUPLED)
@torch.no_grad()
def test_coupled_losses_depend_on_the_company(name: str, objective: str, models: dict[str, VisionModel]) -> None:
    model, stimuli = models[name], photographs(5, 1)
    whole = OBJECTIVES[objective](model, batch_of(model, stimuli))
    part = OBJECTIVES[objective](model, batch_of(model, stimuli.subset([0, 1, 2])))
    assert whole.shape == (5,) and torch.isfinite(whole).all()
    assert not torch.allclose(whole[:3], part, rtol=1e-9)
    terms = OBJECTIVES[objective].by_term(model, batch_of(model, stimuli))
    assert tuple(terms) == OBJECTIVES[objective].terms(model)
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(0), whole, rtol=1e-12, atol=0.0)
    frozen = freeze_reference(objective, model, photographs(6, 2))
    terms = frozen.by_term(model, batch_of(model, stimuli))
    assert tuple(terms) == frozen.terms(model)
    loss = frozen(model, batch_of(model, stimuli))
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(0), loss, rtol=1e-12, atol=0.0)


@torch.no_grad()
def test_contrastive_is_the_library_s_loss(models: dict[str, VisionModel]) -> None:
    """Sum over images is n times the batch's loss as ``transformers`` computes it."""
    for name in ("clip-vit-base-patch32", "siglip2-base-patch16"):
        model = models[name]
        batch = batch_of(model, photographs(5, 1))
        assert model.tokenizer is not None
        tokens = model.tokenizer(batch.table["caption"].tolist())
        wanted = model.module(pixel_values=batch.pixels, **tokens, return_loss=True).loss
        found = OBJECTIVES["contrastive"](model, batch)
        torch.testing.assert_close(found.mean(), wanted, rtol=1e-9, atol=0)
    assert OBJECTIVES["contrastive"].label(models["siglip2-base-patch16"]) == "surrogate"
    assert (
        OBJECTIVES["contrastive"].label(models["clip-vit-base-patch32"])
        == "exact loss, simplified views (batch-coupled)"
    )


def test_frozen_negatives_are_the_bank_s(models: dict[str, VisionModel]) -> None:
    model, bank = models["clip-vit-base-patch32"], photographs(4, 2)
    batch, others = batch_of(model, photographs(2, 1)), batch_of(model, bank)
    found = freeze_reference("contrastive", model, bank)(model, batch)
    module: Any = model.module

    def vectors(part: ImageBatch) -> tuple[Tensor, Tensor]:
        image = model.adapter.image_embedding(module, part.pixels)
        text = model.text_embedding(part.table["caption"].tolist())
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    (image, text), (bank_image, bank_text) = vectors(batch), vectors(others)
    for i in range(2):
        to_text = torch.cat([text[i : i + 1], bank_text]) @ image[i] * module.logit_scale.exp()
        to_image = torch.cat([image[i : i + 1], bank_image]) @ text[i] * module.logit_scale.exp()
        wanted = 0.5 * sum(-torch.log_softmax(scores, 0)[0] for scores in (to_text, to_image))
        torch.testing.assert_close(found[i], wanted, rtol=1e-9, atol=1e-12)


def test_frozen_scales_reproduce_sinkhorn_on_the_reference() -> None:
    logits = torch.randn(30, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scales = sinkhorn_scales(logits, 0.07)
    torch.testing.assert_close(torch.softmax(logits / 0.07 + scales, 1), sinkhorn(logits, 0.07), rtol=1e-9, atol=0)


def test_nearest_neighbours_of_batch_and_bank() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(-torch.log(nearest_distances(z)[:, 0] + 1e-8), koleo_loss(z))
    bank = torch.randn(9, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = torch.cdist(F.normalize(z, dim=1), F.normalize(bank, dim=1)).min(1).values
    torch.testing.assert_close(nearest_distances(z, bank)[:, 0], wanted, rtol=1e-6, atol=0)


def test_sigreg_is_the_characteristic_function_s_distance() -> None:
    """Against scipy's quadrature of the statistic's definition, and near zero for a Gaussian."""
    from scipy.integrate import quad

    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=12)

    def integrand(t: float, sample: np.ndarray) -> float:
        gap = np.exp(1j * t * sample).mean() - np.exp(-t * t / 2)
        return float(abs(gap) ** 2 * np.exp(-t * t / 2))

    direction = torch.ones(1, 1, dtype=torch.float64)
    whole = 2 * quad(integrand, 0, 3, args=(values,))[0] * 12
    found = sigreg(torch.from_numpy(values)[None, :, None], direction)
    assert float(found.sum()) == pytest.approx(whole, rel=2e-3)
    one = sigreg(torch.from_numpy(values[:2])[None, :, None], direction, torch.from_numpy(values[2:])[None, :, None])
    for i in range(2):
        sample = np.append(values[2:], values[i])
        assert float(one[i]) == pytest.approx(2 * quad(integrand, 0, 3, args=(sample,))[0] * 11, rel=2e-3)
    normal = torch.from_numpy(rng.standard_normal((1, 4000, 3)))
    directions = random_directions(3, 16, 0, normal)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(16, dtype=torch.float64))
    assert float(sigreg(normal, directions).sum()) < 3.0 < float(sigreg(normal + 0.5, directions).sum())


@torch.no_grad()
def test_lejepa_is_its_formula(models: dict[str, VisionModel]) -> None:
    """The batch's loss as the paper writes it, on four views and with the batch's own statistics in the projector."""
    model = models["lejepa-vits8"]
    batch, module = batch_of(model, photographs(5, 1)), models["lejepa-vits8"].module
    views = multi_crop(model, batch, seed=0)
    crops = [*views.large.unflatten(0, (2, 5)), *views.small.unflatten(0, (2, 5))]
    hidden: Tensor = torch.cat([module.head(model.tokens(crop)[:, 0]) for crop in crops])
    for linear, norm in (("0", "1"), ("4", "5")):
        hidden = module.proj[linear](hidden)
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
        hidden = torch.relu(hidden * module.proj[norm].weight + module.proj[norm].bias)
    proj = module.proj["8"](hidden).unflatten(0, (4, 5))
    invariance = (proj.mean(0) - proj).square().mean()
    regular = sigreg(proj, random_directions(proj.shape[-1], 256, 0, proj)).sum()
    found = OBJECTIVES["lejepa"](model, batch)
    torch.testing.assert_close(found.mean(), 0.98 * invariance + 0.02 * regular, rtol=1e-9, atol=0)
    label = OBJECTIVES["lejepa"].label(model)
    assert model.card.objective == "lejepa" and label == "exact loss, simplified views (batch-coupled)"


def test_what_cannot_be_frozen_is_named(models: dict[str, VisionModel]) -> None:
    with pytest.raises(InputError, match="'dino' is image-wise already; "):
        freeze_reference("dino", models["dino-tiny"], photographs(3, 1))
    with pytest.raises(InputError, match="at least 2 photographs, got 1"):
        freeze_reference("koleo", models["dino-tiny"], photographs(1, 1))
    with pytest.raises(InputError, match="lacks the parts of objective 'contrastive'"):
        freeze_reference("contrastive", models["dino-tiny"], photographs(3, 1))


def test_the_plan_fixes_and_records_the_company(models: dict[str, VisionModel]) -> None:
    model, stimuli = models["dino-tiny"], photographs(5, 1)
    options: dict[str, Any] = {"layers": ["block.3"], "objective": "koleo", "batch_size": 2}
    record = FeatureExtractor(model, **options).extract(stimuli).provenance["batch_composition"]
    again = FeatureExtractor(model, **options).extract(stimuli).provenance["batch_composition"]
    other = FeatureExtractor(model, **options).extract(stimuli.subset([1, 0, 2, 3, 4])).provenance["batch_composition"]
    assert record == again and record["sizes"] == [2, 3] and record["hash"] != other["hash"]
    assert "batch_composition" not in FeatureExtractor(model, layers=["block.3"]).extract(stimuli).provenance
