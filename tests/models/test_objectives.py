"""Objectives of dino-tiny against literal formulas, and what may and may not influence an image's loss."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.models import OBJECTIVES, ImageBatch, VisionModel, load_model, register_objective
from brainmap.models.distillation_losses import sinkhorn
from brainmap.models.objectives import DINO, find_objective
from brainmap.models.objectives.distillation import recipe_of
from brainmap.models.views import multi_crop, patch_masks

IMAGE_WISE = ("dino", "ibot", "dino-ibot", "feature-energy", "headless")


@pytest.fixture(scope="module")
def model() -> VisionModel:
    found = load_model("dino-tiny", weights="untrained", dtype="float64")
    generator = torch.Generator().manual_seed(0)
    for parameter in found.module.student.parameters():  # a student that differs from its teacher
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    for centre in (found.module.dino_loss.center, found.module.ibot_patch_loss.center):
        centre += 0.1 * torch.randn(centre.shape, generator=generator, dtype=torch.float64)
    return found


@pytest.fixture(scope="module")
def batch(model: VisionModel) -> ImageBatch:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (100 + 7 * i, 130 - 5 * i, 3), dtype=np.uint8) for i in range(4)]
    return ImageBatch(images, model.preprocess(images), [f"{i:016x}" for i in range(4)], pd.DataFrame(index=range(4)))


def reordered(batch: ImageBatch, order: list[int]) -> ImageBatch:
    images, ids = [batch.images[i] for i in order], [batch.ids[i] for i in order]
    return ImageBatch(images, batch.pixels[order], ids, batch.table.iloc[order])


def one_cross_entropy(student: Tensor, teacher: Tensor, centre: Tensor, temperature: float) -> Tensor:
    target = torch.softmax((teacher - centre) / temperature, -1)
    return -(target * torch.log_softmax(student / 0.1, -1)).sum()


def literal_losses(model: VisionModel, batch: ImageBatch, masked: bool) -> tuple[Tensor, Tensor]:
    """DINO and iBOT losses of each image by plain loops over views, pairs and patches."""
    pair, count, tau = model.module, len(batch), 0.04
    views = multi_crop(model, batch, seed=0)
    masks = patch_masks(batch.ids, 4, model.card.views, seed=0).unflatten(0, (2, count))
    crops = [*views.large.unflatten(0, (2, count)), *views.small.unflatten(0, (2, count))]
    dino, ibot = [], []
    for i in range(count):
        student, teacher, patches = [], [], torch.zeros((), dtype=torch.float64)
        for j, crop in enumerate(crops):
            hidden = masks[j, i : i + 1] if j < 2 and masked else None
            cls, tokens = pair.student.tokens(crop[i : i + 1], hidden)
            student.append(pair.student.dino_head(cls)[0])
            if j < 2:
                goal_cls, goal = pair.teacher.tokens(crop[i : i + 1])
                teacher.append(pair.teacher.dino_head(goal_cls)[0])
                hidden_patches = masks[j, i].nonzero()[:, 0].tolist()
                for p in hidden_patches:  # a mean over each crop's, and then over both crops, masked or not
                    both = pair.student.ibot_head(tokens[0, p]), pair.teacher.ibot_head(goal[0, p])
                    term = one_cross_entropy(*both, pair.ibot_patch_loss.center[0], tau)
                    patches = patches + term / len(hidden_patches) / 2
        pairs = [(u, v) for u, v in itertools.product(range(2), range(4)) if u != v]
        terms = [one_cross_entropy(student[v], teacher[u], pair.dino_loss.center[0], tau) for u, v in pairs]
        dino.append(torch.stack(terms).mean())
        ibot.append(patches)
    return torch.stack(dino), torch.stack(ibot)


@torch.no_grad()
def test_dino_and_ibot_are_their_formulas(model: VisionModel, batch: ImageBatch) -> None:
    plain, _ = literal_losses(model, batch, masked=False)
    masked, patches = literal_losses(model, batch, masked=True)
    for name, wanted in (("dino", plain), ("ibot", patches), ("dino-ibot", masked + patches)):
        found = OBJECTIVES[name](model, batch)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0, msg=name)


@torch.no_grad()
def test_koleo_couples_the_batch_and_says_so(model: VisionModel, batch: ImageBatch) -> None:
    coupled = OBJECTIVES["dino-ibot-koleo"]
    assert coupled.batch_coupled and coupled.exactness == "exact"
    views = multi_crop(model, batch, seed=0)
    masks = patch_masks(batch.ids, 4, model.card.views, seed=0)
    embeddings = model.module.student.tokens(views.large, masks)[0].unflatten(0, (2, 4))
    distance = torch.cdist(F.normalize(embeddings, dim=-1), F.normalize(embeddings, dim=-1))
    nearest = (distance + 9 * torch.eye(4)).min(-1).values
    wanted = OBJECTIVES["dino-ibot"](model, batch) - 0.1 * torch.log(nearest).sum(0)
    torch.testing.assert_close(coupled(model, batch), wanted, rtol=1e-5, atol=0)
    assert not torch.allclose(coupled(model, batch)[:2], coupled(model, reordered(batch, [0, 1])))


@torch.no_grad()
def test_sinkhorn_uses_prototypes_equally(model: VisionModel, batch: ImageBatch) -> None:
    """Against the textbook iteration on Q (prototypes × views), and its limit: uniform columns."""
    logits = torch.randn(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    q = (logits / 0.5).exp().T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdim=True) * 6
        q /= q.sum(0, keepdim=True) * 40
    torch.testing.assert_close(sinkhorn(logits, 0.5), (q * 40).T, rtol=1e-10, atol=0)
    many = sinkhorn(logits, 0.5, iterations=200)
    torch.testing.assert_close(many.sum(0), torch.full((6,), 40 / 6, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(sinkhorn(logits + 3000, 0.01).sum(1), torch.ones(40, dtype=torch.float64))
    coupled = OBJECTIVES["dino-sinkhorn"]
    assert coupled.batch_coupled
    assert not torch.allclose(coupled(model, batch)[:2], coupled(model, reordered(batch, [0, 1])))


@pytest.mark.parametrize("name", IMAGE_WISE)
@torch.no_grad()
def test_batch_and_order_do_not_matter(name: str, model: VisionModel, batch: ImageBatch) -> None:
    objective = OBJECTIVES[name]
    assert not objective.batch_coupled
    together = objective(model, batch)
    shuffled = objective(model, reordered(batch, [2, 0, 3, 1]))
    torch.testing.assert_close(shuffled, together[[2, 0, 3, 1]], rtol=1e-10, atol=0)
    alone = torch.cat([objective(model, reordered(batch, [i])) for i in range(4)])
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=0)


@torch.no_grad()
def test_headless_and_energy_are_their_formulas(model: VisionModel, batch: ImageBatch) -> None:
    views = multi_crop(model, batch, seed=0)
    crops = [*views.large.unflatten(0, (2, 4)), *views.small.unflatten(0, (2, 4))]
    z = [F.normalize(model.module.teacher.tokens(crop)[0], dim=-1) for crop in crops]
    pairs = [(u, v) for u, v in itertools.product(range(2), range(4)) if u != v]
    wanted = torch.stack([1 - (z[u] * z[v]).sum(-1) for u, v in pairs]).mean(0)
    torch.testing.assert_close(OBJECTIVES["headless"](model, batch), wanted, rtol=1e-10, atol=1e-14)
    hidden = model.module.teacher.backbone(batch.pixels, output_hidden_states=True).hidden_states[-1]
    energy = OBJECTIVES["feature-energy"](model, batch)
    torch.testing.assert_close(energy, 0.5 * hidden.square().mean((1, 2)), rtol=1e-10, atol=0)


def test_views_are_drawn_by_seed_and_id(model: VisionModel, batch: ImageBatch) -> None:
    first, again, other = (multi_crop(model, batch, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.large, again.large) and torch.equal(first.small, again.small)
    assert not torch.equal(first.large, other.large)
    assert first.large.shape == (8, 3, 64, 64) and first.small.shape == (8, 3, 32, 32)
    ids = [f"{i:016x}" for i in range(400)]
    masks = patch_masks(ids, 4, model.card.views, seed=0).unflatten(0, (2, 400)).sum(-1)
    assert 0.42 < (masks > 0).float().mean() < 0.58  # each crop is masked with probability one half, for itself
    assert 60 < int((masks == 0).all(0).sum()) < 140 and masks.max() == 8
    one_crop = model.card.views.model_copy(update={"masking": "one crop"})
    masks = patch_masks(ids, 4, one_crop, seed=0).unflatten(0, (2, 400)).sum(-1)
    assert ((masks == 0).sum(0) == 1).all()


def test_dino_tiny_s_weights_say_how_they_were_trained(model: VisionModel) -> None:
    """Temperature by step; the weights that come along averaged iBOT over patches: no image-wise loss is theirs."""
    assert recipe_of(model).teacher_temperature == 0.04 and not recipe_of(model).pooled_ibot
    assert OBJECTIVES["dino-ibot"].label(model) == "exact"
    shipped = load_model("dino-tiny", weights="step_000400")
    recipe = recipe_of(shipped)
    assert recipe.teacher_temperature == pytest.approx(0.04 + 0.03 * 400 / shipped.recipe["steps"] / 0.3)
    assert recipe.pooled_ibot and recipe.koleo_weight == 0.05
    labels = {name: OBJECTIVES[name].label(shipped) for name in ("dino", "ibot", "dino-ibot", "dino-ibot-koleo")}
    assert labels == {
        "dino": "exact", "ibot": "surrogate", "dino-ibot": "surrogate", "dino-ibot-koleo": "exact (batch-coupled)"
    }  # fmt: skip


def test_own_objective_in_five_lines(model: VisionModel, batch: ImageBatch) -> None:
    @register_objective("spread", plain_view=True)
    def spread(model: VisionModel, batch: ImageBatch) -> Tensor:
        return model.tokens(batch.pixels).var((1, 2))

    objective = find_objective(model, "spread")
    assert objective.exactness == "surrogate"
    assert objective.identity(model)["version"] is None
    wanted = model.tokens(batch.pixels).var((1, 2))
    torch.testing.assert_close(objective(model, batch), wanted)
    del OBJECTIVES["spread"]


def test_unknown_objectives_and_missing_columns_are_named(model: VisionModel, batch: ImageBatch) -> None:
    with pytest.raises(InputError, match=r"no objective 'dyno'; 'dino-tiny' can use dino, ibot"):
        find_objective(model, "dyno")
    with pytest.raises(InputError, match="column 'caption'"):
        batch.column("caption")
    assert find_objective(model, DINO(seed=5)).identity(model)["parameters"] == {"seed": 5}


def test_an_empty_caption_is_missing() -> None:
    table = pd.DataFrame({"caption": ["a cat", " "]})
    batch = ImageBatch([], torch.zeros(2, 3, 8, 8), ["first", "second"], table)
    with pytest.raises(InputError, match="'caption' of the stimulus table is empty for stimulus second"):
        batch.column("caption")
