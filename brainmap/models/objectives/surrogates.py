"""Objectives that need nothing but the backbone: ``surrogate`` for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.objective import Objective, Passes, add_objective, relative_cost
from brainmap.models.views import multi_crop, view_sizes

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


@dataclass(frozen=True)
class FeatureEnergy(Objective):
    """Half the mean square of the last layer's output: the simplest baseline.

    ``L = ½ mean_{t,d} h_L[t, d]²``, before the final norm, which would hold the energy fixed. At the last layer the
    gradient is the activation itself, scaled.
    """

    name = "feature-energy"
    exactness = "surrogate"
    plain_view = True

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        last = model.layers[-1].name
        caught: list[Tensor] = []
        module = model.site_modules((last,), "block")[last]
        handle = module.register_forward_hook(lambda _m, _i, output: caught.append(model.as_tokens(output, "block")))
        try:
            model.forward(batch.pixels)
        finally:
            handle.remove()
        return 0.5 * caught[0].square().mean((1, 2))


@dataclass(frozen=True)
class Headless(Objective):
    """Teacher–student agreement between random views without heads; the frozen backbone is its own teacher.

    ``L = mean over pairs (global view u, view v ≠ u) of 1 − cos(z(v), sg z(u))`` with z the image embedding of the
    backbone and sg the stop-gradient. For models of the DINO family released without heads; a surrogate of their loss,
    not it.

    Parameters
    ----------
    seed : int
        Of the random views, together with each image's id.
    """

    name = "headless"
    exactness = "surrogate"
    version = 2  # CLIP's and OWL-ViT's tokens are normed since

    seed: int = 0

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        views = multi_crop(model, batch, seed=self.seed)
        student = F.normalize(model.embedding(views.large), dim=-1).unflatten(0, (2, len(batch)))
        teacher = student.detach()
        agreement = (student * teacher.flip(0)).sum(-1).sum(0)
        local = 0
        if len(views.small):
            small = F.normalize(model.embedding(views.small), dim=-1).unflatten(0, (-1, len(batch)))
            agreement = agreement + (small[:, None] * teacher[None]).sum(-1).sum((0, 1))
            local = len(small)
        return 1.0 - agreement / (2 + 2 * local)

    def passes(self, model: VisionModel) -> Passes:
        """Each crop once forward and once backward: the frozen backbone is its own teacher."""
        spec, size, local = view_sizes(model)
        crops = 2 * relative_cost(model, size) + spec.local_crops * relative_cost(model, local)
        return Passes(crops, crops)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add the view settings, which come from the card."""
        return {**super().identity(model), "views": model.card.views.model_dump(mode="json")}


for _objective in (FeatureEnergy(), Headless()):
    add_objective(_objective)
