"""Contrastive losses with their negatives, KoLeo and SIGReg of any model, and LeJEPA's whole loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.models.adapters.lejepa import LeJEPA
from brainmap.models.distillation_losses import koleo_loss
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.coupled import (
    Bank,
    CoupledObjective,
    random_directions,
    sigreg,
)
from brainmap.models.objectives.objective import (
    Exactness,
    Passes,
    add_objective,
    caption_cost,
    exact_label,
    relative_cost,
    total,
)
from brainmap.models.views import multi_crop, view_sizes

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


@dataclass(frozen=True)
class Contrastive(CoupledObjective):
    """The image–text contrastive loss, negatives included.

    Softmax (CLIP): ``L_i = ½ [CE_j(s_i·, i) + CE_j(s_·i, i)]``; sigmoid (SigLIP): ``L_i = −log σ(s_ii) − Σ_{j≠i}
    log σ(−s_ij)``, with ``s_ij = exp(t) cos(f(x_i), g(c_j)) + b``. The losses sum to n times the batch's, which is the
    training loss of CLIP and dino.txt in this company (training had far larger batches); SigLIP 2 and OWL-ViT were
    trained with further terms, so there it is a surrogate. Captions' embeddings are constants.
    """

    name = "contrastive"
    exactness = "exact"
    needs = ("caption",)
    plain_view = True

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has a text tower."""
        return model.adapter.has_text

    def label(self, model: VisionModel) -> Exactness:
        """Exact, but for the crop of the photograph, where it is the whole training loss."""
        whole = model.card.family in ("clip", "dinotxt")
        return exact_label(views=False, batch_coupled=True) if whole else "surrogate"

    def passes(self, model: VisionModel) -> Passes:
        """The image tower forward and backward, the text tower forward."""
        return Passes(1 + caption_cost(model), 1.0)

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Image and caption vectors."""
        image = model.adapter.image_embedding(model.module, batch.pixels)
        return {"image": F.normalize(image, dim=-1), "text": self._text(model, batch, image)}

    def _text(self, model: VisionModel, batch: ImageBatch, like: Tensor) -> Tensor:
        captions = [str(caption) for caption in batch.column("caption")]
        return F.normalize(model.text_embedding(captions).to(like.dtype), dim=-1)

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image with the batch's, or the bank's, images and captions as negatives."""
        module: Any = model.module
        image = F.normalize(model.adapter.image_embedding(module, batch.pixels), dim=-1)
        text = self._text(model, batch, image)
        scale, bias = module.logit_scale.exp(), getattr(module, "logit_bias", 0.0)
        own = (image * text).sum(-1) * scale + bias
        if bank is None:
            table = image @ text.T * scale + bias
            mine = torch.eye(len(batch), dtype=torch.bool, device=table.device)
            to_text, to_image = table.masked_fill(mine, -torch.inf), table.T.masked_fill(mine, -torch.inf)
        else:
            to_text, to_image = image @ bank["text"].T * scale + bias, text @ bank["image"].T * scale + bias
        if hasattr(module, "logit_bias"):
            return -F.logsigmoid(own) + F.softplus(to_text).sum(1)
        both = [torch.cat([own[:, None], others], dim=1) for others in (to_text, to_image)]
        return 0.5 * sum(torch.logsumexp(scores, dim=1) - own for scores in both)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add the tokenizer."""
        tokenizer = None if model.tokenizer is None else model.tokenizer.identity
        return {**super().identity(model), "tokenizer": tokenizer}


@dataclass(frozen=True)
class KoLeo(CoupledObjective):
    """KoLeo regulariser of the image embedding, ``L_i = −log min_j |z_i − z_j|`` on the unit sphere.

    One term of DINOv2's and DINOv3's loss, here of the plain image and of any model; Sablayrolles et al. 2019.
    """

    name = "koleo"
    exactness = "surrogate"
    version = 2  # CLIP's and OWL-ViT's tokens are normed since
    plain_view = True

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Embeddings."""
        return {"embedding": model.embedding(batch.pixels)}

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image with its neighbours in the batch or the bank."""
        embeddings = model.embedding(batch.pixels)
        return koleo_loss(embeddings, None if bank is None else bank["embedding"])


@dataclass(frozen=True)
class SIGReg(CoupledObjective):
    """SIGReg of the image embedding alone: how far it is from an isotropic Gaussian, along random directions.

    ``L_i`` is the batch's statistic over n, or with a frozen bank the statistic of bank and image; see
    :func:`brainmap.models.objectives.coupled.sigreg`. Of any model, whose embedding nobody asked to be Gaussian: a
    surrogate.

    Parameters
    ----------
    directions : int
        Random directions.
    seed : int
        Of the directions.
    """

    name = "sigreg"
    exactness = "surrogate"
    version = 2  # CLIP's and OWL-ViT's tokens are normed since
    plain_view = True

    directions: int = 256
    seed: int = 0

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Embeddings."""
        return {"embedding": model.embedding(batch.pixels)}

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        embeddings = model.embedding(batch.pixels)
        company = None if bank is None else bank["embedding"][None]
        return sigreg(
            embeddings[None],
            random_directions(embeddings.shape[-1], self.directions, self.seed, embeddings),
            company,
        )


@dataclass(frozen=True)
class LeJEPALoss(CoupledObjective):
    """LeJEPA: ``L = (1 − λ) mean_v |p̄ − p_v|² + λ SIGReg(p)`` over the projections p_v of an image's views.

    Coupled, the projector's batch normalisation uses the batch's own statistics, as in training; frozen, those of the
    checkpoint. The images' losses sum to n times the batch's. Directions are drawn once instead of at each step.

    Parameters
    ----------
    weight : float
        λ; the authors' is 0.02.
    directions, seed : int
        Random directions, and the seed of directions and views.
    """

    name = "lejepa"
    exactness = "exact"

    weight: float = 0.02
    directions: int = 256
    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the model carries LeJEPA's projector."""
        return isinstance(model.module, LeJEPA)

    def label(self, model: VisionModel) -> Exactness:
        """Exact but for the views, whose changes of colour are simplified."""
        return exact_label(views=False, batch_coupled=True)

    def passes(self, model: VisionModel) -> Passes:
        """Each crop forward and backward."""
        spec, size, local = view_sizes(model)
        crops = 2 * relative_cost(model, size) + spec.local_crops * relative_cost(model, local)
        return Passes(crops, crops)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add the view settings, which come from the card."""
        return {**super().identity(model), "views": model.card.views.model_dump(mode="json")}

    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Projections of all views, one row per image."""
        return {"projection": self._projections(model, batch, batch_statistics=False).transpose(0, 1)}

    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image."""
        return total(self.loss_by_term(model, batch, bank))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """``prediction`` of the views' mean, and ``sigreg``."""
        return ("prediction", "sigreg")

    def loss_by_term(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> dict[str, Tensor]:
        """Both terms of each image's loss."""
        projections = self._projections(model, batch, batch_statistics=bank is None)
        spread = (projections.mean(0) - projections).square().mean((0, 2))
        directions = random_directions(projections.shape[-1], self.directions, self.seed, projections)
        if bank is None:  # the statistic of the whole batch counts once for each image, as the mean over images does
            regular = sigreg(projections, directions) * len(batch)
        else:
            regular = sigreg(projections, directions, bank["projection"].transpose(0, 1))
        return {"prediction": (1 - self.weight) * spread, "sigreg": self.weight * regular}

    def _projections(self, model: VisionModel, batch: ImageBatch, *, batch_statistics: bool) -> Tensor:
        """Projections (views, n, k)."""
        module = model.module
        assert isinstance(module, LeJEPA)
        views = multi_crop(model, batch, seed=self.seed)
        tokens = [model.tokens(part)[:, 0] for part in (views.large, views.small) if len(part)]
        projected = module.project(torch.cat(tokens), batch_statistics=batch_statistics)
        return projected.unflatten(0, (-1, len(batch)))


for _objective in (Contrastive(), KoLeo(), SIGReg(), LeJEPALoss()):
    add_objective(_objective)
