"""Losses of classifiers and of models that relate images to text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.objective import (
    Exactness,
    Objective,
    Passes,
    add_objective,
    caption_cost,
    exact_label,
)

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel

MIXED_LABELS = ("convnext", "deit")  # trained with label smoothing, mixup and CutMix


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross-entropy with given labels, ``L = −log softmax(f(x))[label]``: the training loss of a classifier.

    The column ``label`` of the stimulus table holds the class: its index in the model's output, or its name in the
    model's configuration. Augmentations are left out, and the label says so; families that were trained with smoothed
    and mixed labels have another loss, of which this is a surrogate.
    """

    name = "cross-entropy"
    exactness = "exact"
    needs = ("label",)
    plain_view = True

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has a classifier."""
        return model.adapter.has_logits

    def label(self, model: VisionModel) -> Exactness:
        """Exact but for the views, unless training mixed or smoothed the labels."""
        return "surrogate" if model.card.family in MIXED_LABELS else exact_label(views=False)

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        logits = model.logits(batch.pixels)
        labels = [_class_index(model, label, logits.shape[1]) for label in batch.column("label")]
        return F.cross_entropy(logits, torch.tensor(labels, device=logits.device), reduction="none")


@dataclass(frozen=True)
class CrossEntropyTop1(Objective):
    """Cross-entropy with the model's own most probable class as label: what it would learn by trusting itself."""

    name = "cross-entropy-top1"
    exactness = "surrogate"
    plain_view = True

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has a classifier."""
        return model.adapter.has_logits

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        logits = model.logits(batch.pixels)
        return F.cross_entropy(logits, logits.detach().argmax(1), reduction="none")


@dataclass(frozen=True)
class ImageTextSimilarity(Objective):
    """Minus the model's own similarity of an image and its caption, ``L = −(exp(t) cos(f(x), g(caption)) + b)``.

    The score that the contrastive loss is made of, without its negatives. The caption's embedding is a constant.
    """

    name = "image-text-similarity"
    exactness = "native similarity"
    needs = ("caption",)
    plain_view = True

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has a text tower."""
        return model.adapter.has_text

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return -model.similarity(batch.pixels, [str(caption) for caption in batch.column("caption")])

    def passes(self, model: VisionModel) -> Passes:
        """The image tower forward and backward, the text tower forward."""
        return Passes(1 + caption_cost(model), 1.0)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Add the tokenizer."""
        tokenizer = None if model.tokenizer is None else model.tokenizer.identity
        return {**super().identity(model), "tokenizer": tokenizer}


def _class_index(model: VisionModel, label: Any, classes: int) -> int:
    names = getattr(getattr(model.module, "config", None), "label2id", None) or {}
    if isinstance(label, str) and label in names:
        return int(names[label])
    try:
        index = int(label)
    except (TypeError, ValueError):
        raise InputError(f"Label '{label}' is neither a class index nor a class name of '{model.name}'.") from None
    if not 0 <= index < classes:
        raise InputError(f"Label {index} is outside the {classes} classes of '{model.name}' (0 … {classes - 1}).")
    return index


for _objective in (CrossEntropy(), CrossEntropyTop1(), ImageTextSimilarity()):
    add_objective(_objective)
