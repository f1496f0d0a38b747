"""A classifier's output compared with captions, through CLIP: the bridge is defined here, not by any paper's code.

Study A (Raugel et al. 2026) uses a "CLIP-bridged caption similarity" for classifiers without defining the bridge. Ours
is a linear map, fitted by ridge regression, from the classifier's logits (its final embedding, where it has no
classifier) to CLIP's embeddings of captions; the loss is minus the cosine of the mapped output and the caption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.objective import Objective, Passes, caption_cost, relative_weight

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel
    from brainmap.stimuli import StimulusSet


ALPHAS = tuple(10.0**power for power in range(-3, 7))


@dataclass(frozen=True, eq=False)
class CLIPBridge(Objective):
    """Minus the cosine of the bridged output and the caption, ``L = −cos(W f(x) + b, g(caption))``.

    Made by :func:`fit_clip_bridge`. A surrogate: no classifier was trained with it.

    Parameters
    ----------
    weights : ndarray, (d, k)
        W, transposed.
    offset : ndarray, (k,)
        b.
    clip : VisionModel
        Gives the captions' embeddings.
    alpha : float
        Ridge penalty that was chosen.
    photographs : int
        How many captions it was fitted to.
    """

    name = "clip-bridge"
    exactness = "surrogate"
    needs = ("caption",)
    plain_view = True

    weights: np.ndarray
    offset: np.ndarray
    clip: VisionModel
    alpha: float
    photographs: int = 0

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        output = _output(model, batch.pixels)
        mapped = output @ torch.from_numpy(self.weights).to(output) + torch.from_numpy(self.offset).to(output)
        captions = self.clip.text_embedding([str(caption) for caption in batch.column("caption")])
        return -F.cosine_similarity(mapped, captions.to(mapped), dim=-1)

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """Say which model the captions went through, and that they fitted the bridge."""
        return (
            f"clip-bridge: mapped into the caption space of {self.clip.name} ({self.clip.weights}), fitted to the "
            f"captions of {self.photographs} photographs with ridge penalty {self.alpha:g}",
        )

    def passes(self, model: VisionModel) -> Passes:
        """The model forward and backward, each caption through CLIP's text tower."""
        return Passes(1 + caption_cost(self.clip) * relative_weight(model, self.clip.network()), 1.0)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Digest of the map, and the text tower's identity."""
        digest = hashlib.sha256(self.weights.tobytes() + self.offset.tobytes()).hexdigest()[:16]
        assert self.clip.tokenizer is not None
        text = {"digest": self.clip.digest, "code": self.clip.loaded.code, "tokenizer": self.clip.tokenizer.identity}
        return {"name": self.name, "version": self.version, "map": digest, "text": text}


def fit_clip_bridge(model: VisionModel, clip: VisionModel, stimuli: StimulusSet, *, batch_size: int = 32) -> CLIPBridge:
    """Fit the map from a model's output to CLIP's caption embeddings.

    Parameters
    ----------
    model : VisionModel
        A classifier, or any model with an embedding.
    clip : VisionModel
        An image–text model.
    stimuli : StimulusSet
        Photographs with captions. Take others than those of the study, or say so: the map is fitted to their captions
        (never to brain responses).
    batch_size : int
        Images per pass.

    Returns
    -------
    CLIPBridge
        With the penalty of least leave-one-out error among 1e-3 … 1e6.

    Raises
    ------
    InputError
        If captions are missing, there are fewer than 3 images, or ``clip`` has no text tower.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.models import fit_clip_bridge
    >>> captioned = brainmap.sample_stimuli()
    >>> clip = brainmap.load_model("clip-vit-base-patch32")  # doctest: +SKIP
    >>> bridge = fit_clip_bridge(brainmap.load_model("dino-tiny"), clip, captioned)  # doctest: +SKIP
    >>> bool(captioned.table["caption"].notna().all())  # what a bridge needs of the photographs
    True
    """
    if len(stimuli) < 3:
        raise InputError(f"A bridge cannot be fitted to {len(stimuli)} images; give at least 3, better hundreds.")
    outputs, wanted = [], []
    for start in range(0, len(stimuli), batch_size):
        rows = range(start, min(start + batch_size, len(stimuli)))
        images = [stimuli.image(row) for row in rows]
        ids = [str(stimuli.ids[row]) for row in rows]
        batch = ImageBatch(images, model.preprocess(images), ids, stimuli.table.iloc[start : rows.stop])
        with torch.no_grad(), model.autocast():
            outputs.append(_output(model, batch.pixels).double().cpu())
        captions = clip.text_embedding([str(caption) for caption in batch.column("caption")])
        wanted.append(F.normalize(captions.double().cpu(), dim=-1))
    weights, offset, alpha = _ridge(torch.cat(outputs).numpy(), torch.cat(wanted).numpy())
    return CLIPBridge(weights, offset, clip, alpha, len(stimuli))


def _output(model: VisionModel, pixels: Tensor) -> Tensor:
    return model.logits(pixels) if model.adapter.has_logits else model.embedding(pixels)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Ridge with an intercept; one penalty for all targets by exact leave-one-out error (Golub et al. 1979)."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = np.linalg.svd(x - x_mean, full_matrices=False)
    projected = left.T @ (y - y_mean)
    errors = []
    for alpha in ALPHAS:
        shrink = singular**2 / (singular**2 + alpha)
        residual = (y - y_mean) - left @ (shrink[:, None] * projected)
        leverage = (left**2 @ shrink) + 1.0 / len(x)
        errors.append(float(np.mean((residual / (1.0 - leverage)[:, None]) ** 2)))
    alpha = ALPHAS[int(np.argmin(errors))]
    weights = right.T @ ((singular / (singular**2 + alpha))[:, None] * projected)
    return weights, y_mean - x_mean @ weights, alpha
