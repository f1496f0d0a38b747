"""Student, teacher and heads of the DINO family.

One module serves training (``tools/train_dino_tiny.py``) and the objectives whose gradients are mapped onto brains,
so that "the model's own loss" is the same code in both places; its terms are in
:mod:`brainmap.models.distillation_losses`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError


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
        flat = tokens.reshape(-1, tokens.shape[-1])  # batch normalisation takes no further axes
        bottleneck = F.normalize(self.mlp(flat), dim=-1)
        logits: Tensor = self.last_layer(bottleneck)
        return logits.reshape(*tokens.shape[:-1], logits.shape[-1])


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
    local_cls_norm : nn.Module, optional
        Final norm of the CLS token of local crops, where a training has one of its own (DINOv3's
        ``untie_global_and_local_cls_norm``).

    Notes
    -----
    Both heads may be one and the same (DINOv2's ``separate_head: false``).
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
        local_cls_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.options = options or {}
        self.backbone = backbone
        self.dino_head = dino_head
        self.ibot_head = ibot_head
        self.local_cls_norm = local_cls_norm

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

    def local_cls(self, images: Tensor) -> Tensor:
        """CLS tokens (n × width) of local crops after their final norm."""
        if self.local_cls_norm is None:
            return self.tokens(images)[0]
        before: list[Tensor] = []
        handle = self.backbone.norm.register_forward_pre_hook(lambda _module, inputs: before.append(inputs[0][:, 0]))
        try:
            self.tokens(images)
        finally:
            handle.remove()
        local: Tensor = self.local_cls_norm(before[0])
        return local


class UntiedNorm(nn.Module):
    """Final norm that treats CLS and registers apart from patches (DINOv3's ``untie_cls_and_patch_norms``).

    Parameters
    ----------
    norm : nn.Module
        Of the patches.
    cls_norm : nn.Module
        Of the leading tokens.
    leading : int
        Number of CLS and register tokens.
    """

    def __init__(self, norm: nn.Module, cls_norm: nn.Module, leading: int) -> None:
        super().__init__()
        self.norm, self.cls_norm, self.leading = norm, cls_norm, leading

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise tokens (n, T, d)."""
        return torch.cat([self.cls_norm(tokens[:, : self.leading]), self.norm(tokens[:, self.leading :])], dim=1)


def untied(backbone: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Give a backbone the CLS norm of its own that a file in the authors' names holds; unchanged where there is none.

    Parameters
    ----------
    backbone : nn.Module
        A ``DINOv3ViTModel``.
    tensors : mapping of str to Tensor
        Of the backbone, in the authors' names, below a prefix or not.
    """
    names = [name for name in tensors if re.search(r"(^|\.)cls_norm\.weight$", name)]
    names = [name for name in names if not name.startswith("student.")] or names
    own = names[0].removesuffix(".weight") if names else "cls_norm"
    norm = layer_norm(tensors, own, getattr(backbone, "norm", None))
    if norm is not None:
        backbone.norm = UntiedNorm(backbone.norm, norm, 1 + int(backbone.config.num_register_tokens))
    return backbone


def layer_norm(tensors: Mapping[str, Tensor], name: str, like: Any) -> nn.LayerNorm | None:
    """The layer norm ``name`` of a file, with the epsilon of ``like``; None where the file has none."""
    if f"{name}.weight" not in tensors or like is None:
        return None
    like = like.norm if isinstance(like, UntiedNorm) else like
    if f"{name}.bias" not in tensors:
        raise InputError(f"The norm '{name}' has no bias: only layer norms are understood.")
    weight = tensors[f"{name}.weight"]
    norm = nn.LayerNorm(len(weight), eps=like.eps)
    norm.load_state_dict({"weight": weight, "bias": tensors[f"{name}.bias"]})
    return norm


class SelfDistillation(nn.Module):
    """Student and exponential-moving-average teacher with the centres of both losses.

    Parameters
    ----------
    student : Branch
        The trained branch. The teacher starts as its copy and takes no gradient.

    Attributes
    ----------
    gram_teacher : nn.Module or None
        Backbone of an earlier teacher, whose patch similarities DINOv3 keeps (Gram anchoring).
    """

    gram_teacher: nn.Module | None

    def __init__(self, student: Branch) -> None:
        super().__init__()
        self.gram_teacher = None
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
