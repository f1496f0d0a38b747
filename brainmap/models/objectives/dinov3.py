"""DINOv3's training loss, and DINO's and DINOv2's where they were centred by Sinkhorn–Knopp: batch-coupled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.models.distillation_losses import gram_loss, sinkhorn
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.coupled import Bank, CoupledObjective, sinkhorn_scales
from brainmap.models.objectives.distillation import (
    PatchObjective,
    SelfDistillationObjective,
    ViewOutputs,
    dino_term,
    ibot_term,
    koleo_term,
    pair_of,
    recipe_of,
    run_views,
    teacher_logits,
    teacher_patch_logits,
)
from brainmap.models.objectives.objective import add_objective, total
from brainmap.models.training_recipe import GramRecipe, TrainingRecipe

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


@dataclass(frozen=True)
class DINOSinkhorn(CoupledObjective, SelfDistillationObjective):
    """DINO with the teacher centred by Sinkhorn–Knopp over the batch, as DINOv2 and DINOv3 train.

    ImageBatch-coupled: the teacher's distribution of an image depends on the other images. With a frozen reference,
    Sinkhorn's scales of the reference make it image-wise.
    """

    name = "dino-sinkhorn"
    centring = "sinkhorn"

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Teacher logits (2 n, K)."""
        return {
            "cls_logits": teacher_logits(model, run_views(model, batch, self.seed, masked=False, local=False)).flatten(
                0, 1
            )
        }

    def finish(self, model: VisionModel, bank: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the prototypes' scales."""
        return {"cls_scales": sinkhorn_scales(bank["cls_logits"], recipe_of(model).teacher_temperature)}

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        return _sinkhorn_dino(model, run_views(model, batch, self.seed, masked=False), recipe_of(model), bank)


@dataclass(frozen=True)
class DINOv3Loss(CoupledObjective, PatchObjective):
    """DINOv3's training loss, and DINOv2's where it was centred by Sinkhorn–Knopp.

    ``L = w₁ L_DINO + w₂ L_iBOT + w₃ Σ_crops L_KoLeo + w₄ L_Gram``. Both teachers are centred by Sinkhorn–Knopp, over
    the global crops and over the masked patches of the batch. Gram anchoring is added where the checkpoint's config
    says so: ``L_Gram = mean |X_s X_sᵀ − X_t X_tᵀ|²`` over the normalised patch tokens of a crop (Siméoni et al. 2025,
    eq. 3), X_t of an earlier teacher, which the file must hold, or of the moving average.

    ImageBatch-coupled in all terms but the last; exact in the given company.
    """

    name = "dinov3"
    centring = "sinkhorn"

    def _whole(self, model: VisionModel, recipe: TrainingRecipe) -> bool:
        """A Gram teacher of its own must be in the file, its crops in the views."""
        lacking = recipe.gram is not None and recipe.gram.own_teacher and not _has_gram_teacher(model)
        return not lacking and not recipe.pooled_ibot

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """Say where the Gram term had to be left out."""
        said = super().remarks(model, ids)
        if recipe_of(model).gram is None or self._whole(model, recipe_of(model)):
            return said
        return (
            *said,
            "the checkpoint was trained with Gram anchoring but lacks its Gram teacher: that term is left out",
        )

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Teacher logits of crops (2 n, K) and masked patches (m, K'), CLS tokens of the student (n, 2, d)."""
        passes = run_views(model, batch, self.seed, masked=True, local=False)
        return {
            "cls": passes.student_cls.transpose(0, 1),
            "cls_logits": teacher_logits(model, passes).flatten(0, 1),
            "patch_logits": teacher_patch_logits(model, passes),
        }

    def finish(self, model: VisionModel, bank: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the scales of both sets of prototypes, and the CLS tokens."""
        recipe = recipe_of(model)
        return {
            "cls": bank["cls"],
            "cls_scales": sinkhorn_scales(bank["cls_logits"], recipe.teacher_temperature),
            "patch_scales": sinkhorn_scales(bank["patch_logits"], recipe.patch_temperature),
        }

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        return total(self.loss_by_term(model, batch, bank))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """``dino``, ``ibot``, and what the checkpoint's recipe weighs of ``koleo`` and ``gram``."""
        recipe = recipe_of(model)
        koleo = ("koleo",) if recipe.koleo_weight else ()
        return ("dino", "ibot", *koleo, *(("gram",) if _with_gram(model, recipe) else ()))

    def loss_by_term(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> dict[str, Tensor]:
        """All terms of each image's loss."""
        recipe, passes = recipe_of(model), run_views(model, batch, self.seed, masked=True)
        logits = teacher_patch_logits(model, passes)
        targets = _centred(logits, recipe.patch_temperature, None if bank is None else bank["patch_scales"])
        terms = {
            "dino": _sinkhorn_dino(model, passes, recipe, bank),
            "ibot": ibot_term(model, passes, recipe, targets),
        }
        if recipe.koleo_weight:
            terms["koleo"] = koleo_term(passes, recipe, bank)
        if recipe.gram is not None and _with_gram(model, recipe):
            terms["gram"] = _gram(model, passes, recipe.gram)
        return terms


def _with_gram(model: VisionModel, recipe: TrainingRecipe) -> bool:
    """Whether the recipe has Gram anchoring, and the file the teacher that it needs."""
    return recipe.gram is not None and (not recipe.gram.own_teacher or _has_gram_teacher(model))


def _centred(logits: Tensor, temperature: float, scales: Tensor | None) -> Tensor:
    """Teacher distributions by Sinkhorn over the rows, or with scales held constant."""
    if scales is None:
        return sinkhorn(logits, temperature)
    return torch.softmax(logits / temperature + scales, dim=-1)


def _sinkhorn_dino(model: VisionModel, passes: ViewOutputs, recipe: TrainingRecipe, bank: Bank | None) -> Tensor:
    logits = teacher_logits(model, passes)
    scales = None if bank is None else bank["cls_scales"]
    targets = _centred(logits.flatten(0, 1), recipe.teacher_temperature, scales).view_as(logits)
    return dino_term(model, passes, recipe, targets)


def _has_gram_teacher(model: VisionModel) -> bool:
    return pair_of(model).gram_teacher is not None and model.card.views.gram_pixels is not None


def _gram(model: VisionModel, passes: ViewOutputs, gram: GramRecipe) -> Tensor:
    """Gram term, weighted."""
    student, teacher, masks = passes.student_patches, passes.teacher_patches, passes.masks
    assert masks is not None
    if gram.own_teacher:
        teacher = _gram_teacher_patches(model, passes, gram)
    selected = {"all": None, "masked": masks, "unmasked": ~masks}[gram.tokens]
    return gram.weight * gram_loss(
        student,
        teacher,
        normalised=gram.normalised,
        image_level=gram.image_level,
        negatives=gram.negatives,
        selected=selected,
    )


@torch.no_grad()
def _gram_teacher_patches(model: VisionModel, passes: ViewOutputs, gram: GramRecipe) -> Tensor:
    """Patch tokens (2, n, P, d) of the Gram teacher, its larger grid resized to the student's."""
    backbone: Any = pair_of(model).gram_teacher
    assert passes.views.gram is not None
    leading = 1 + int(getattr(backbone.config, "num_register_tokens", 0))
    patches = backbone(passes.views.gram).last_hidden_state[:, leading:]
    wanted = passes.student_patches
    if patches.shape[1] != wanted.shape[2]:
        side, new = (int(np.sqrt(count)) for count in (patches.shape[1], wanted.shape[2]))
        grid = patches.mT.unflatten(-1, (side, side))
        grid = F.interpolate(grid, (new, new), mode=gram.resize, align_corners=False, antialias=gram.antialias)
        patches = grid.flatten(2).mT
    return patches.unflatten(0, wanted.shape[:2])


for _objective in (DINOSinkhorn(), DINOv3Loss()):
    add_objective(_objective)
