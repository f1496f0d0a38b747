"""Losses of the DINO family for models whose checkpoint holds student, teacher, heads and centres: ``exact``.

All of them run the *student* on random views of each image (two global crops, v local ones) and take the gradient at
the student's sites: a forward pass of their own, besides the plain view that gives the activations. The teacher sees
the global crops without gradient; its centres are constants of the checkpoint, so images don't influence each other.
Position jitter and drop path, which only regularise training, are off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from brainmap.models.image_batch import Batch
from brainmap.models.objectives.coupled import Bank, CoupledObjective, nearest_distance, sinkhorn_scales
from brainmap.models.objectives.objective import Objective, add_objective
from brainmap.models.self_distillation import SelfDistillation, dino_loss, ibot_loss, koleo_loss, sinkhorn
from brainmap.models.views import Views, multi_crop, patch_masks

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


FINAL_TEACHER_TEMPERATURE = 0.07


@dataclass(frozen=True)
class SelfDistillationObjective(Objective):
    """Common to DINO, iBOT and their sums.

    Parameters
    ----------
    seed : int
        Of the random views and masks, together with each image's id.
    """

    exactness = "exact"

    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the checkpoint holds student, teacher and heads."""
        return isinstance(model.module, SelfDistillation)

    def branch(self, model: VisionModel) -> str:
        """Gradients are the student's."""
        return "student"

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add views, temperature and weights of the terms, which come from the card and the checkpoint."""
        context = {"views": model.card.views.model_dump(mode="json"), "temperature": teacher_temperature(model)}
        weights = {name: model.recipe[name] for name in ("ibot_weight", "koleo_weight") if name in model.recipe}
        return {**super().identity(model), **context, "term_weights": weights}


def teacher_temperature(model: VisionModel) -> float:
    """Temperature of the teacher at the checkpoint's training step: linear warm-up, then constant."""
    recipe = model.recipe
    if model.weights == "untrained":
        recipe = {"step": 0, "steps": 1, "teacher_temperature": (0.04, 0.07), "temperature_warmup": 0.3}
    if not {"step", "steps", "teacher_temperature", "temperature_warmup"} <= recipe.keys():
        return float(recipe.get("final_teacher_temperature", FINAL_TEACHER_TEMPERATURE))
    low, high = recipe["teacher_temperature"]
    return low + (high - low) * min(1.0, recipe["step"] / recipe["steps"] / recipe["temperature_warmup"])


@dataclass(frozen=True)
class _Passes:
    """Student and teacher outputs of one batch of views."""

    student_cls: Tensor  # (2, n, d), global crops
    student_local: Tensor  # (v, n, d)
    student_patches: Tensor  # (2, n, patches, d)
    teacher_cls: Tensor  # (2, n, d)
    teacher_patches: Tensor  # (2, n, patches, d)


def _run(pair: SelfDistillation, views: Views, masks: Tensor | None, count: int) -> _Passes:
    with torch.no_grad():
        teacher_cls, teacher_patches = pair.teacher.tokens(views.large)
    student_cls, student_patches = pair.student.tokens(views.large, masks)
    student_local = student_cls.new_zeros(0, count, student_cls.shape[-1])
    if len(views.small):
        student_local = pair.student.tokens(views.small)[0].unflatten(0, (-1, count))
    both = [part.unflatten(0, (2, count)) for part in (student_cls, student_patches, teacher_cls, teacher_patches)]
    return _Passes(both[0], student_local, both[1], both[2], both[3])


def _dino(pair: SelfDistillation, passes: _Passes, temperature: float) -> Tensor:
    head = pair.student.dino_head
    with torch.no_grad():
        targets = pair.dino_loss.probabilities(pair.teacher.dino_head(passes.teacher_cls), temperature)
    local = head(passes.student_local) if len(passes.student_local) else passes.student_local
    return dino_loss(head(passes.student_cls), local, targets)


def _ibot(pair: SelfDistillation, passes: _Passes, masks: Tensor, temperature: float) -> Tensor:
    with torch.no_grad():
        logits = pair.teacher.ibot_head(passes.teacher_patches)
        centre = pair.ibot_patch_loss
        assert centre is not None  # the objective is only offered where there is one
        targets = centre.probabilities(logits, temperature)
    return ibot_loss(pair.student.ibot_head(passes.student_patches), targets, masks.unflatten(0, (2, -1)))


@dataclass(frozen=True)
class DINO(SelfDistillationObjective):
    """DINO cross-entropy between views, on the CLS token.

    ``L = mean over pairs (teacher view u ∈ 2 global, student view v ≠ u) of −Σ_k p_t(u)[k] log p_s(v)[k]`` with
    ``p_t = softmax((g_t − c)/τ_t)`` and ``p_s = softmax(g_s/0.1)``; Caron et al. 2021, eq. 3. Only the CLS token
    reaches the loss, so patch tokens of the last block have no gradient.
    """

    name = "dino"

    def __call__(self, model: VisionModel, batch: Batch) -> Tensor:
        """Loss of each image."""
        pair = _pair(model)
        passes = _run(pair, multi_crop(model, batch, seed=self.seed), None, len(batch))
        return _dino(pair, passes, teacher_temperature(model))


class _NeedsPatchHead(SelfDistillationObjective):
    def supports(self, model: VisionModel) -> bool:
        """Whether the checkpoint also holds heads of the patch tokens."""
        return super().supports(model) and _pair(model).student.ibot_head is not None


@dataclass(frozen=True)
class IBOT(_NeedsPatchHead):
    """iBOT cross-entropy on masked patches.

    ``L = mean over masked patches i of −Σ_k p_t[i, k] log p_s[i, k]``, the teacher seeing the patches that are masked
    for the student; Zhou et al. 2022, eq. 2. For each image one of the two global crops is masked.
    """

    name = "ibot"

    def __call__(self, model: VisionModel, batch: Batch) -> Tensor:
        """Loss of each image."""
        pair = _pair(model)
        large = multi_crop(model, batch, seed=self.seed).large
        masks = _masks(model, batch, large, self.seed)
        passes = _run(pair, Views(large, large[:0]), masks, len(batch))
        return _ibot(pair, passes, masks, teacher_temperature(model))


@dataclass(frozen=True)
class DINOiBOT(_NeedsPatchHead):
    """DINO plus iBOT in one pass, as trained: ``L = L_DINO + w L_iBOT``, the student's global crops masked for both.

    The two image-wise terms of DINOv2's and DINOv3's loss. The third, KoLeo, ties the images of a batch together:
    see ``dino-ibot-koleo``.
    """

    name = "dino-ibot"

    def __call__(self, model: VisionModel, batch: Batch) -> Tensor:
        """Loss of each image."""
        return self._terms(model, batch)[0]

    def _terms(self, model: VisionModel, batch: Batch) -> tuple[Tensor, _Passes]:
        pair, temperature = _pair(model), teacher_temperature(model)
        views = multi_crop(model, batch, seed=self.seed)
        masks = _masks(model, batch, views.large, self.seed)
        passes = _run(pair, views, masks, len(batch))
        weight = float(model.recipe.get("ibot_weight", 1.0))
        return _dino(pair, passes, temperature) + weight * _ibot(pair, passes, masks, temperature), passes


@dataclass(frozen=True)
class DINOiBOTKoLeo(CoupledObjective, DINOiBOT):
    """The whole training loss with frozen centres: ``L_DINO + w L_iBOT + w' L_KoLeo``.

    KoLeo runs over the CLS tokens of the batch, for each global crop.

    Batch-coupled: the nearest neighbour of an image depends on the other images of its batch.
    """

    name = "dino-ibot-koleo"

    def bank(self, model: VisionModel, batch: Batch) -> dict[str, Tensor]:
        """CLS tokens of the student's global crops (n, 2, d)."""
        return {"cls": self._terms(model, batch)[1].student_cls.transpose(0, 1)}

    def loss(self, model: VisionModel, batch: Batch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        losses, passes = self._terms(model, batch)
        return losses + float(model.recipe.get("koleo_weight", 0.1)) * _koleo(passes, bank)


@dataclass(frozen=True)
class DINOSinkhorn(CoupledObjective, SelfDistillationObjective):
    """DINO with the teacher centred by Sinkhorn–Knopp over the batch, as DINOv2 and DINOv3 train.

    Batch-coupled: the teacher's distribution of an image depends on the other images. ``dino`` with the checkpoint's
    frozen centre is one image-wise form; with a frozen reference, Sinkhorn's scales of the reference are another.
    """

    name = "dino-sinkhorn"

    def bank(self, model: VisionModel, batch: Batch) -> dict[str, Tensor]:
        """Teacher logits (2 n, K)."""
        pair = _pair(model)
        cls = pair.teacher.tokens(multi_crop(model, batch, seed=self.seed).large)[0]
        return {"cls_logits": pair.teacher.dino_head(cls)}

    def finish(self, model: VisionModel, bank: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the prototypes' scales."""
        return {"cls_scales": sinkhorn_scales(bank["cls_logits"], teacher_temperature(model))}

    def loss(self, model: VisionModel, batch: Batch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        pair = _pair(model)
        passes = _run(pair, multi_crop(model, batch, seed=self.seed), None, len(batch))
        return _sinkhorn_dino(pair, passes, teacher_temperature(model), bank)


@dataclass(frozen=True)
class DINOv3Loss(CoupledObjective, _NeedsPatchHead):
    """DINOv2's and DINOv3's training loss (before Gram anchoring): ``L_DINO + w L_iBOT + w' L_KoLeo``.

    Both teachers are centred by Sinkhorn–Knopp, over the global crops and over the masked patches of the batch.
    Batch-coupled in all three terms; exact in the given company.
    """

    name = "dinov3"

    def bank(self, model: VisionModel, batch: Batch) -> dict[str, Tensor]:
        """Teacher logits of crops (2 n, K) and masked patches (m, K'), CLS tokens of the student (n, 2, d)."""
        pair, views, masks = self._inputs(model, batch)
        passes = _run(pair, views, masks, len(batch))
        return {
            "cls": passes.student_cls.transpose(0, 1),
            "cls_logits": pair.teacher.dino_head(passes.teacher_cls).flatten(0, 1),
            "patch_logits": pair.teacher.ibot_head(passes.teacher_patches.flatten(0, 1)[masks]),
        }

    def finish(self, model: VisionModel, bank: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the scales of both sets of prototypes, and the CLS tokens."""
        temperature = teacher_temperature(model)
        scales = {f"{part}_scales": sinkhorn_scales(bank[f"{part}_logits"], temperature) for part in ("cls", "patch")}
        return {"cls": bank["cls"], **scales}

    def loss(self, model: VisionModel, batch: Batch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        pair, views, masks = self._inputs(model, batch)
        temperature = teacher_temperature(model)
        passes = _run(pair, views, masks, len(batch))
        with torch.no_grad():
            logits = pair.teacher.ibot_head(passes.teacher_patches.flatten(0, 1)[masks])
            found = _centred(logits, temperature, None if bank is None else bank["patch_scales"])
            targets = logits.new_zeros(*masks.shape, logits.shape[-1])
            targets[masks] = found
        student = pair.student.ibot_head(passes.student_patches)
        patches = ibot_loss(student, targets.unflatten(0, (2, -1)), masks.unflatten(0, (2, -1)))
        weights = [float(model.recipe.get(key, usual)) for key, usual in (("ibot_weight", 1.0), ("koleo_weight", 0.1))]
        return (
            _sinkhorn_dino(pair, passes, temperature, bank) + weights[0] * patches + weights[1] * _koleo(passes, bank)
        )

    def _inputs(self, model: VisionModel, batch: Batch) -> tuple[SelfDistillation, Views, Tensor]:
        views = multi_crop(model, batch, seed=self.seed)
        return _pair(model), views, _masks(model, batch, views.large, self.seed)


def _koleo(passes: _Passes, bank: Bank | None) -> Tensor:
    """KoLeo of each image, mean over its global crops, with neighbours in the batch or the bank (r, 2, d)."""
    if bank is None:
        return torch.stack([koleo_loss(view) for view in passes.student_cls]).mean(0)
    crops = zip(passes.student_cls, bank["cls"].unbind(1), strict=True)
    return torch.stack([-torch.log(nearest_distance(view, others) + 1e-8) for view, others in crops]).mean(0)


def _centred(logits: Tensor, temperature: float, scales: Tensor | None) -> Tensor:
    """Teacher distributions by Sinkhorn over the rows, or with scales held constant."""
    if scales is None:
        return sinkhorn(logits, temperature)
    return torch.softmax(logits / temperature + scales, dim=-1)


def _sinkhorn_dino(pair: SelfDistillation, passes: _Passes, temperature: float, bank: Bank | None) -> Tensor:
    with torch.no_grad():
        logits = pair.teacher.dino_head(passes.teacher_cls)
        targets = _centred(logits.flatten(0, 1), temperature, None if bank is None else bank["cls_scales"])
    head = pair.student.dino_head
    local = head(passes.student_local) if len(passes.student_local) else passes.student_local
    return dino_loss(head(passes.student_cls), local, targets.view_as(logits))


def _pair(model: VisionModel) -> SelfDistillation:
    assert isinstance(model.module, SelfDistillation)
    return model.module


def _masks(model: VisionModel, batch: Batch, large: Tensor, seed: int) -> Tensor:
    patches = (large.shape[-1] // (model.card.patch or 1)) ** 2
    return patch_masks(batch, patches, model.card.views.mask_ratio, seed=seed).to(large.device)


for _objective in (DINO(), IBOT(), DINOiBOT(), DINOiBOTKoLeo(), DINOSinkhorn(), DINOv3Loss()):
    add_objective(_objective)
