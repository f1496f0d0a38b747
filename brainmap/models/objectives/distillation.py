"""Losses of the DINO family for models whose checkpoint holds student, teacher and heads.

All of them run the *student* on random views of each image (two global crops, v local ones) and take the gradient at
the student's sites: a forward pass of their own, besides the plain view that gives the activations. The teacher sees
the global crops without gradient. Networks are in evaluation mode: position jitter and drop path, which only regularise
training, are off. Temperatures, weights and views are those of the checkpoint's recipe
(:mod:`brainmap.models.training_recipe`).

Where a run was centred by a stored mean, DINO and iBOT are image-wise; where it was centred by Sinkhorn–Knopp, the
training loss couples the images of a batch (``dinov3``), and the image-wise forms are surrogates of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from brainmap.models.distillation_losses import dino_loss, ibot_loss, koleo_loss, pooled_ibot_loss
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.coupled import Bank, CoupledObjective
from brainmap.models.objectives.objective import (
    Exactness,
    Objective,
    Passes,
    add_objective,
    exact_label,
    relative_cost,
    total,
)
from brainmap.models.self_distillation import SelfDistillation
from brainmap.models.training_recipe import Centring, TrainingRecipe, training_recipe
from brainmap.models.views import Views, multi_crop, patch_masks, view_sizes

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


@dataclass(frozen=True)
class SelfDistillationObjective(Objective):
    """Common to DINO, iBOT and their sums.

    Parameters
    ----------
    seed : int
        Of the random views and masks, together with each image's id.
    """

    exactness = "exact"
    version = 2
    centring: ClassVar[Centring] = "centre"  # of the runs whose loss it is
    masks_patches: ClassVar[bool] = False

    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the checkpoint holds student, teacher and heads."""
        return isinstance(model.module, SelfDistillation)

    def branch(self, model: VisionModel) -> str:
        """Gradients are the student's."""
        return "student"

    def label(self, model: VisionModel) -> Exactness:
        """Exact on runs with this centring; else a surrogate of the run's loss."""
        recipe = recipe_of(model)
        if self.centring != recipe.centring or not self._whole(model, recipe):
            return "surrogate"
        return exact_label(stated=recipe.stated, views=model.card.views.stated, batch_coupled=self.batch_coupled)

    def _whole(self, model: VisionModel, recipe: TrainingRecipe) -> bool:
        """Whether every part of the run's terms can be computed as it was trained."""
        return True

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """Say for how many images the iBOT term is zero, because neither of their crops is masked."""
        if not self.masks_patches:
            return ()
        masks = masks_of(model, ids, self.seed).unflatten(0, (2, -1))
        none = int((~masks.any(-1)).all(0).sum())
        if not none:
            return ()
        return (
            f"iBOT: {none} of {len(ids)} images have no masked crop in these views; that term's gradient is zero there",
        )

    def passes(self, model: VisionModel) -> Passes:
        """The teacher's and the student's passes through the crops."""
        spec, size, local = view_sizes(model)
        small = spec.local_crops * relative_cost(model, local)
        large = relative_cost(model, size)
        gram = 2 * relative_cost(model, spec.gram_pixels) if spec.gram_pixels and recipe_of(model).gram else 0.0
        return Passes(forward=4 * large + small + gram, backward=2 * large + small)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add views and recipe, which come from the card and the checkpoint."""
        views = model.card.views.model_dump(mode="json")
        return {**super().identity(model), "views": views, "recipe": asdict(recipe_of(model))}


def recipe_of(model: VisionModel) -> TrainingRecipe:
    """Training recipe of a model that holds student, teacher and heads."""
    pair = pair_of(model)
    settings = {"step": 0, "ibot_mean": "crops"} if model.weights == "untrained" else model.recipe
    centres = [part.center for part in (pair.dino_loss, pair.ibot_patch_loss) if part is not None]
    used = any(centre.is_meta or bool((centre != 0).any()) for centre in centres)
    patch_head = pair.student.ibot_head is not None
    return training_recipe(settings, model.card, centres_used=used, patch_head=patch_head)


@dataclass(frozen=True)
class ViewOutputs:
    """Student and teacher outputs of one batch of views."""

    views: Views
    masks: Tensor | None  # (2, n, patches)
    student_cls: Tensor  # (2, n, d), global crops
    student_local: Tensor  # (v, n, d)
    student_patches: Tensor  # (2, n, patches, d)
    teacher_cls: Tensor  # (2, n, d)
    teacher_patches: Tensor  # (2, n, patches, d)


def run_views(model: VisionModel, batch: ImageBatch, seed: int, *, masked: bool, local: bool = True) -> ViewOutputs:
    """Run teacher and student on the views of a batch, the student's global crops masked or not."""
    pair, count = pair_of(model), len(batch)
    views = multi_crop(model, batch, seed=seed, local=local)
    masks = masks_of(model, batch.ids, seed).to(views.large.device) if masked else None
    with torch.no_grad():
        teacher = pair.teacher.tokens(views.large)
    student = pair.student.tokens(views.large, masks)
    small = student[0].new_zeros(0, count, student[0].shape[-1])
    if len(views.small):
        small = pair.student.local_cls(views.small).unflatten(0, (-1, count))
    student_cls, student_patches, teacher_cls, teacher_patches = (
        part.unflatten(0, (2, count)) for part in (*student, *teacher)
    )
    shaped = None if masks is None else masks.unflatten(0, (2, count))
    return ViewOutputs(views, shaped, student_cls, small, student_patches, teacher_cls, teacher_patches)


def dino_term(model: VisionModel, passes: ViewOutputs, recipe: TrainingRecipe, targets: Tensor) -> Tensor:
    """DINO term, weighted; teacher probabilities (2, n, K)."""
    head = pair_of(model).student.dino_head
    local = head(passes.student_local) if len(passes.student_local) else passes.student_local
    return recipe.dino_weight * dino_loss(
        head(passes.student_cls),
        local,
        targets,
        same_view=recipe.same_view,
        local_weight=recipe.local_weight,
        least_local_pairs=recipe.least_local_pairs,
    )


def ibot_term(model: VisionModel, passes: ViewOutputs, recipe: TrainingRecipe, targets: Tensor) -> Tensor:
    """IBOT term, weighted; teacher probabilities (m, K) of the masked patches."""
    assert passes.masks is not None
    student = pair_of(model).student.ibot_head(passes.student_patches[passes.masks])
    term = pooled_ibot_loss if recipe.pooled_ibot else ibot_loss
    return recipe.ibot_weight * term(student, targets, passes.masks)


def koleo_term(passes: ViewOutputs, recipe: TrainingRecipe, bank: Bank | None) -> Tensor:
    """KoLeo, weighted, summed over the global crops, with neighbours in the batch or the bank (r, 2, d)."""
    others = (None, None) if bank is None else bank["cls"].unbind(1)
    crops = [
        koleo_loss(view, other, neighbours=recipe.koleo_neighbours, group=recipe.koleo_group)
        for view, other in zip(passes.student_cls, others, strict=True)
    ]
    return recipe.koleo_weight * torch.stack(crops).sum(0)


@torch.no_grad()
def teacher_logits(model: VisionModel, passes: ViewOutputs) -> Tensor:
    """Teacher logits (2, n, K) of the CLS tokens."""
    logits: Tensor = pair_of(model).teacher.dino_head(passes.teacher_cls)
    return logits


@torch.no_grad()
def teacher_patch_logits(model: VisionModel, passes: ViewOutputs) -> Tensor:
    """Teacher logits (m, K) of the patches that are masked for the student."""
    assert passes.masks is not None
    logits: Tensor = pair_of(model).teacher.ibot_head(passes.teacher_patches[passes.masks])
    return logits


def _centred_dino(model: VisionModel, passes: ViewOutputs, recipe: TrainingRecipe) -> Tensor:
    """DINO term with the checkpoint's centre."""
    logits = teacher_logits(model, passes)
    return dino_term(model, passes, recipe, pair_of(model).dino_loss.probabilities(logits, recipe.teacher_temperature))


def _centred_ibot(model: VisionModel, passes: ViewOutputs, recipe: TrainingRecipe) -> Tensor:
    """IBOT term with the checkpoint's centre."""
    centre = pair_of(model).ibot_patch_loss
    assert centre is not None  # the objective is only offered where there is one
    targets = centre.probabilities(teacher_patch_logits(model, passes), recipe.patch_temperature)
    return ibot_term(model, passes, recipe, targets)


@dataclass(frozen=True)
class DINO(SelfDistillationObjective):
    """DINO cross-entropy between views, on the CLS token.

    ``L = mean over pairs (teacher view u ∈ 2 global, student view v ≠ u) of −Σ_k p_t(u)[k] log p_s(v)[k]`` with
    ``p_t = softmax((g_t − c)/τ_t)`` and ``p_s = softmax(g_s/0.1)``; Caron et al. 2021, eq. 3. Only the CLS token
    reaches the loss, so patch tokens of the last block have no gradient. The student sees its global crops unmasked.
    """

    name = "dino"

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return _centred_dino(model, run_views(model, batch, self.seed, masked=False), recipe_of(model))


class PatchObjective(SelfDistillationObjective):
    """Common to losses with a term on masked patches."""

    masks_patches = True

    def supports(self, model: VisionModel) -> bool:
        """Whether the checkpoint also holds heads of the patch tokens."""
        return super().supports(model) and pair_of(model).student.ibot_head is not None

    def _whole(self, model: VisionModel, recipe: TrainingRecipe) -> bool:
        """A mean over the masked patches of a whole batch is not image-wise."""
        return self.batch_coupled or not recipe.pooled_ibot


@dataclass(frozen=True)
class IBOT(PatchObjective):
    """iBOT cross-entropy on masked patches.

    ``L = ½ Σ_crops mean over the crop's masked patches i of −Σ_k p_t[i, k] log p_s[i, k]``, the teacher seeing the
    patches that are masked for the student; Zhou et al. 2022, eq. 2. A crop without masked patches counts zero: an
    image neither of whose global crops is masked has no gradient, which the provenance counts.
    """

    name = "ibot"

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return _centred_ibot(model, run_views(model, batch, self.seed, masked=True, local=False), recipe_of(model))

    def passes(self, model: VisionModel) -> Passes:
        """No local crops."""
        large = relative_cost(model, view_sizes(model)[1])
        return Passes(forward=4 * large, backward=2 * large)


@dataclass(frozen=True)
class DINOiBOT(PatchObjective):
    """DINO plus iBOT in one pass: ``L = w₁ L_DINO + w₂ L_iBOT``, the student's global crops masked for both.

    iBOT's loss, and the two image-wise terms of DINOv2's where it was trained with a centre. The third, KoLeo, ties the
    images of a batch together: see ``dino-ibot-koleo``.
    """

    name = "dino-ibot"

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return total(self.by_term(model, batch))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """``dino``, on the CLS token, and ``ibot``, on the masked patches."""
        return ("dino", "ibot")

    def by_term(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Both terms of each image's loss."""
        return self._centred(model, run_views(model, batch, self.seed, masked=True))

    def _centred(self, model: VisionModel, passes: ViewOutputs) -> dict[str, Tensor]:
        recipe = recipe_of(model)
        return {"dino": _centred_dino(model, passes, recipe), "ibot": _centred_ibot(model, passes, recipe)}


@dataclass(frozen=True)
class DINOiBOTKoLeo(CoupledObjective, DINOiBOT):
    """DINOv2's whole training loss where it was trained with a centre: ``w₁ L_DINO + w₂ L_iBOT + w₃ Σ_crops L_KoLeo``.

    KoLeo runs over the CLS tokens of the batch, for each global crop.

    ImageBatch-coupled: the nearest neighbour of an image depends on the other images of its batch.
    """

    name = "dino-ibot-koleo"

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """CLS tokens of the student's global crops (n, 2, d)."""
        return {"cls": run_views(model, batch, self.seed, masked=True, local=False).student_cls.transpose(0, 1)}

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        return total(self.loss_by_term(model, batch, bank))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """Those of ``dino-ibot``, and ``koleo``, which keeps images of a batch apart."""
        return (*super().terms(model), "koleo")

    def loss_by_term(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> dict[str, Tensor]:
        """All three terms of each image's loss."""
        passes = run_views(model, batch, self.seed, masked=True)
        return {**self._centred(model, passes), "koleo": koleo_term(passes, recipe_of(model), bank)}


def pair_of(model: VisionModel) -> SelfDistillation:
    """Student and teacher of a model that has them."""
    assert isinstance(model.module, SelfDistillation)
    return model.module


def masks_of(model: VisionModel, ids: Sequence[str], seed: int) -> Tensor:
    """Masks (2 n, patches) of the global crops."""
    spec, size, _ = view_sizes(model)
    return patch_masks(ids, size // (model.card.patch or 1), spec, seed=seed)


for _objective in (DINO(), IBOT(), DINOiBOT(), DINOiBOTKoLeo()):
    add_objective(_objective)
