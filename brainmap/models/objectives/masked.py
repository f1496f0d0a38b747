"""Losses that predict what is masked: pixels (MAE) or latents (I-JEPA, V-JEPA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brainmap.common.random_purposes import OBJECTIVE_MASKS
from brainmap.models.adapters.ijepa import IJEPA, target_and_context
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.objective import (
    Exactness,
    Objective,
    Passes,
    add_objective,
    exact_label,
    relative_weight,
)

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel


@dataclass(frozen=True)
class MAEReconstruction(Objective):
    """Mean squared error of the pixels of masked patches, ``L = mean_{i masked} mean |x̂_i − x_i|²``; He et al. 2021.

    Targets are normalised within each patch where the checkpoint's configuration says so. The encoder sees only the
    visible patches: ``flatten`` lines up those, in the random order they were drawn in.

    Parameters
    ----------
    mask_ratio : float
        Share of masked patches.
    seed : int
        Of the masks, together with each image's id.
    """

    name = "mae-reconstruction"
    exactness = "exact"

    mask_ratio: float = 0.75
    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the model carries a decoder of pixels."""
        return model.card.adapter == "mae"

    def label(self, model: VisionModel) -> Exactness:
        """Exact but for the view: training crops at random and mirrors."""
        return exact_label(views=False)

    def passes(self, model: VisionModel) -> Passes:
        """The encoder on the visible patches, the decoder on all."""
        cost = (1 - self.mask_ratio) + relative_weight(model, model.module.get_submodule("decoder"))
        return Passes(cost, cost)

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        module: Any = model.module
        patches = module.vit.embeddings.patch_embeddings.num_patches
        drawn = np.stack([rng.random(patches) for rng in batch.generators(self.seed, OBJECTIVE_MASKS)])
        noise = torch.from_numpy(drawn).to(batch.pixels)
        encoded = model.forward(batch.pixels, mask_ratio=self.mask_ratio, noise=noise)
        predicted = module.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
        target = module.patchify(batch.pixels)
        if module.config.norm_pix_loss:
            spread = target.var(-1, keepdim=True)
            target = (target - target.mean(-1, keepdim=True)) / (spread + 1e-6).sqrt()
        errors = (predicted - target).square().mean(-1)
        return (errors * encoded.mask).sum(1) / encoded.mask.sum(1)


@dataclass(frozen=True)
class VJEPALatent(Objective):
    """Mean absolute error of predicted latents of masked tokens, ``L = mean |P(E(x visible)) − LN(E(x))|``.

    Assran et al. 2025, with the encoder as its own target where the training has a moving average of it: a surrogate.
    Masked are random rectangles of the patch grid over all frames, trimmed to the same number of tokens for every
    image.

    Parameters
    ----------
    mask_ratio : float
        Share of masked tokens.
    seed : int
        Of the masks, together with each image's id.
    """

    name = "vjepa-latent"
    exactness = "surrogate"

    mask_ratio: float = 0.75
    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the model carries V-JEPA 2's predictor."""
        return model.card.architecture == "VJEPA2Model"

    def passes(self, model: VisionModel) -> Passes:
        """The target on all tokens, the encoder on the visible ones, the predictor on both kinds."""
        cost = (1 - self.mask_ratio) + relative_weight(model, model.module.get_submodule("predictor"))
        return Passes(1 + cost, cost)

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        module: Any = model.module
        side = batch.pixels.shape[-1] // (model.card.patch or 1)
        masks = np.stack(
            [block_mask(side, self.mask_ratio, rng) for rng in batch.generators(self.seed, OBJECTIVE_MASKS)]
        )
        with torch.no_grad():
            target = model.forward(batch.pixels).last_hidden_state
            target = torch.nn.functional.layer_norm(target, target.shape[-1:])
        depth = target.shape[1] // side**2
        masked = torch.from_numpy(np.tile(masks.reshape(len(batch), 1, -1), (1, depth, 1)).reshape(len(batch), -1))
        keep, hide = (_positions(part).to(target.device) for part in (~masked, masked))
        encoded = model.forward(batch.pixels, keep=keep)
        width = encoded.shape[-1]
        context = torch.zeros_like(target).scatter(1, keep[..., None].expand(-1, -1, width), encoded)
        predicted = module.predictor(context, [keep], [hide]).last_hidden_state
        wanted = target.gather(1, hide[..., None].expand(-1, -1, width))
        return (predicted - wanted).abs().mean((1, 2))


@dataclass(frozen=True)
class IJEPALatent(Objective):
    """Smooth L1 of predicted latents of target blocks, ``L = mean smooth_l1(P(E(x context)), LN(Ē(x)))``.

    Assran et al. 2023; for full checkpoints, which hold encoder E, its moving average Ē and predictor P. The views are
    simplified: the whole image instead of a crop, and blocks of fixed size, so that images of a batch don't trim each
    other: see
    :func:`brainmap.models.adapters.ijepa.target_and_context`.

    Parameters
    ----------
    targets : int
        Target blocks of an image.
    scale : float
        Share of the image of a target block.
    seed : int
        Of the blocks, together with each image's id.
    """

    name = "ijepa-latent"
    exactness = "exact"

    targets: int = 4
    scale: float = 0.175
    seed: int = 0

    def supports(self, model: VisionModel) -> bool:
        """Whether the checkpoint holds the target encoder and the predictor."""
        return isinstance(model.module, IJEPA)

    def label(self, model: VisionModel) -> Exactness:
        """Exact but for the view and the sizes of blocks and context."""
        return exact_label(views=False)

    def passes(self, model: VisionModel) -> Passes:
        """The target encoder on all patches, the encoder on the context, the predictor once for each block."""
        context = max(0.0, 1 - self.targets * self.scale)
        predictor = relative_weight(model, model.module.get_submodule("predictor"))
        cost = context + self.targets * (context + self.scale) * predictor
        return Passes(1 + cost, cost)

    def branch(self, model: VisionModel) -> str:
        """Gradients are the encoder's."""
        return "encoder"

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        module: Any = model.module
        side = batch.pixels.shape[-1] // (model.card.patch or 1)
        drawn = [
            target_and_context(side, rng, targets=self.targets, scale=self.scale)
            for rng in batch.generators(self.seed, OBJECTIVE_MASKS)
        ]
        wanted = torch.from_numpy(np.stack([blocks for blocks, _ in drawn])).to(batch.pixels.device)
        keep = torch.from_numpy(np.stack([context for _, context in drawn])).to(batch.pixels.device)
        with torch.no_grad():
            target = model.tokens(batch.pixels, branch="target")
            target = torch.nn.functional.layer_norm(target, target.shape[-1:])
        encoded = model.forward(batch.pixels, branch="encoder", keep=keep)
        errors = []
        for block in wanted.unbind(1):
            predicted = module.predictor(encoded, keep, block)
            truth = target.gather(1, block[..., None].expand(-1, -1, target.shape[-1]))
            errors.append(torch.nn.functional.smooth_l1_loss(predicted, truth, reduction="none").mean((1, 2)))
        return torch.stack(errors).mean(0)


def block_mask(side: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Random rectangles on a grid until ``round(ratio · side²)`` cells are covered; the last one is trimmed.

    Parameters
    ----------
    side : int
        Cells along a side.
    ratio : float
        Share of covered cells.
    rng : numpy.random.Generator
        Of this image.

    Returns
    -------
    ndarray of bool, (side, side)
    """
    wanted = min(side * side - 1, max(1, round(ratio * side * side)))
    mask = np.zeros((side, side), bool)
    while (lacking := wanted - int(mask.sum())) > 0:
        area, ratio_of_sides = rng.uniform(0.1, 0.4) * side * side, np.exp(rng.uniform(-0.4, 0.4))
        height = int(np.clip(round(np.sqrt(area * ratio_of_sides)), 1, side))
        width = int(np.clip(round(np.sqrt(area / ratio_of_sides)), 1, side))
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        rows, columns = np.nonzero(~mask[top : top + height, left : left + width])
        mask[top + rows[:lacking], left + columns[:lacking]] = True
    return mask


def _positions(mask: Tensor) -> Tensor:
    """Positions (n, k) of the True entries of (n, T), k of them in every row."""
    return mask.nonzero()[:, 1].view(len(mask), -1)


for _objective in (MAEReconstruction(), VJEPALatent(), IJEPALatent()):
    add_objective(_objective)
