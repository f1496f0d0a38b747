"""Student, teacher and heads of the DINO family, and the losses that tie them together.

One module serves training (``tools/train_dino_tiny.py``) and the objectives whose gradients are mapped onto brains,
so that "the model's own loss" is the same code in both places.

References
----------
.. [1] Caron et al. 2021, *Emerging properties in self-supervised vision transformers* (DINO).
.. [2] Zhou et al. 2022, *iBOT: image BERT pre-training with online tokenizer*.
.. [3] Oquab et al. 2023, *DINOv2*; Siméoni et al. 2025, *DINOv3*.
.. [4] Sablayrolles et al. 2019, *Spreading vectors for similarity search* (KoLeo).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DINOHead(nn.Module):
    """Projection head: three-layer MLP, L2-normalised bottleneck, prototypes without bias.

    Parameters
    ----------
    width : int
        Width of the backbone's tokens.
    hidden, bottleneck, prototypes : int
        Sizes of the MLP's hidden layers, of the bottleneck, and number of prototypes K.
    batch_norm : bool
        Normalise the hidden layers, as DINO does on convolutional networks. Here always with the running statistics of
        the checkpoint, so that images of a batch do not influence each other.
    """

    def __init__(self, width: int, *, hidden: int, bottleneck: int, prototypes: int, batch_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (width, hidden):
            layers += [nn.Linear(inputs, hidden), *([nn.BatchNorm1d(hidden)] if batch_norm else []), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.last_layer = nn.Linear(bottleneck, prototypes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.last_layer.weight, std=bottleneck**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (…, width) to prototype logits (…, K)."""
        flat = tokens.flatten(0, -2)  # batch normalisation takes no further axes
        bottleneck = F.normalize(self.mlp(flat).unflatten(0, tokens.shape[:-1]), dim=-1, eps=1e-6)
        return self.last_layer(bottleneck)


class Branch(nn.Module):
    """A backbone with its DINO (image) and iBOT (patch) heads.

    Attribute names follow the layout of the DINOv2 and DINOv3 training checkpoints
    (``student.backbone.*``, ``student.dino_head.*``, ``student.ibot_head.*``).

    Parameters
    ----------
    backbone : nn.Module
        A vision transformer of ``transformers``.
    dino_head : nn.Module
        Head on the CLS token.
    ibot_head : nn.Module or None
        Head on the patch tokens; DINO's first version has none.
    options : dict, optional
        Further arguments of the backbone's forward pass.
    """

    backbone: Any
    dino_head: Any
    ibot_head: Any

    def __init__(
        self,
        backbone: nn.Module,
        dino_head: nn.Module,
        ibot_head: nn.Module | None,
        *,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.options = options or {}
        self.backbone = backbone
        self.dino_head = dino_head
        self.ibot_head = ibot_head

    def tokens(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """CLS (n × width) and patch tokens (n × patches × width) after the final norm.

        A convolutional backbone has neither: its grid's positions are the patches, and their mean stands for the CLS.
        """
        masked = {} if masks is None else {"bool_masked_pos": masks}
        output = self.backbone(images, **masked, **self.options).last_hidden_state
        if output.ndim == 4:
            positions = output.flatten(2).transpose(1, 2)
            return positions.mean(1), positions
        first_patch = 1 + int(getattr(self.backbone.config, "num_register_tokens", 0))
        return output[:, 0], output[:, first_patch:]


class SelfDistillation(nn.Module):
    """Student and exponential-moving-average teacher with the centres of both losses.

    Parameters
    ----------
    student : Branch
        The trained branch. The teacher starts as its copy and takes no gradient.
    """

    def __init__(self, student: Branch) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.dino_loss = Centre(student.dino_head.last_layer.out_features)
        ibot = student.ibot_head
        self.ibot_patch_loss = None if ibot is None else Centre(ibot.last_layer.out_features)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student: θ_t ← m θ_t + (1 − m) θ_s."""
        teacher: list[Tensor] = list(self.teacher.parameters())
        torch._foreach_lerp_(teacher, [p.detach() for p in self.student.parameters()], 1.0 - momentum)


class Centre(nn.Module):
    """Running mean of teacher logits, subtracted before the teacher's softmax (DINO's guard against collapse)."""

    center: Tensor

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(1, prototypes))

    def probabilities(self, logits: Tensor, temperature: float) -> Tensor:
        """Teacher distribution ``softmax((logits − c) / τ_t)``; the centre is a constant of the checkpoint."""
        return F.softmax((logits - self.center) / temperature, dim=-1)

    @torch.no_grad()
    def update(self, logits: Tensor, momentum: float = 0.9) -> None:
        """Update the centre with the mean of a batch of teacher logits (…, K)."""
        self.center.lerp_(logits.reshape(-1, logits.shape[-1]).mean(0, keepdim=True), 1.0 - momentum)


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Teacher distributions by Sinkhorn–Knopp, as DINOv2 and DINOv3 centre: prototypes used equally over the batch.

    Parameters
    ----------
    logits : Tensor, (m, K)
        Teacher logits of all views of all images of the batch, which thereby influence each other.
    temperature : float
        Of the teacher.
    iterations : int
        Rounds of normalising prototypes, then views.

    Returns
    -------
    Tensor, (m, K)
        Rows sum to one.
    """
    # The largest logit is taken off first: a constant factor, which the first normalisation removes.
    scaled = logits.double() / temperature
    table = (scaled - scaled.max()).exp()
    for _ in range(iterations):
        table = table / table.sum(0, keepdim=True).clamp(min=1e-300) / table.shape[1]
        table = table / table.sum(1, keepdim=True) / table.shape[0]
    return (table * table.shape[0]).to(logits.dtype)


def cross_entropy(student_logits: Tensor, teacher_probabilities: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy −Σ_k p_t[k] log softmax(s / τ_s)[k] along the last axis, without reduction."""
    return -(teacher_probabilities * F.log_softmax(student_logits / temperature, dim=-1)).sum(-1)


def dino_loss(
    student_global: Tensor, student_local: Tensor, teacher_global: Tensor, temperature: float = 0.1
) -> Tensor:
    """DINO loss of each image: every student view against every teacher view but itself.

    Parameters
    ----------
    student_global : Tensor, (2, n, K)
        Student logits of the global crops.
    student_local : Tensor, (v, n, K)
        Student logits of the local crops; v may be 0.
    teacher_global : Tensor, (2, n, K)
        Teacher probabilities of the global crops.

    Returns
    -------
    Tensor, (n,)
        Mean over the 2 + 2 v pairs of views.
    """
    crossed = cross_entropy(student_global, teacher_global.flip(0), temperature).sum(0)
    if len(student_local):
        crossed = crossed + cross_entropy(student_local[:, None], teacher_global[None], temperature).sum((0, 1))
    return crossed / (2 + 2 * len(student_local))


def ibot_loss(student_patches: Tensor, teacher_patches: Tensor, masks: Tensor, temperature: float = 0.1) -> Tensor:
    """Masked-patch loss of each image (iBOT): mean cross-entropy over its masked patches, over all its global crops.

    Parameters
    ----------
    student_patches, teacher_patches : Tensor, (crops, n, patches, K)
        Student logits and teacher probabilities.
    masks : Tensor of bool, (crops, n, patches)
        Patches the student did not see.

    Returns
    -------
    Tensor, (n,)
        Zero for an image without a masked patch.
    """
    weights = masks.to(student_patches.dtype)
    losses = cross_entropy(student_patches, teacher_patches, temperature) * weights
    return losses.sum((0, 2)) / weights.sum((0, 2)).clamp(min=1.0)


def koleo_loss(embeddings: Tensor, eps: float = 1e-8) -> Tensor:
    """KoLeo regulariser of each image, −log of the distance to its nearest neighbour in the batch (n × width).

    Images of the batch influence each other: the loss is *batch-coupled*.
    """
    normed = F.normalize(embeddings, dim=-1, eps=eps)
    with torch.no_grad():
        similarity = normed @ normed.T
        similarity.fill_diagonal_(-1.0)
        nearest = similarity.argmax(1)
    return -torch.log(F.pairwise_distance(normed, normed[nearest], eps=eps) + eps)
