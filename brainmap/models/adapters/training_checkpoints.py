"""Training checkpoints of the DINO family: student, teacher, heads and centres in the authors' own key layouts.

Understood are files of DINO (``student``/``teacher`` with ``backbone.`` and ``head.``, ``dino_loss``), of iBOT (the
same, with a second last layer for patches), and of DINOv2 and DINOv3 (``student.backbone.``, ``student.dino_head.``,
``student.ibot_head.`` …), wrapped by data-parallel ``module.`` or not, heads with weight normalisation or without,
backbones in the authors' names or in those of ``transformers``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.checkpoints.tensor_names import CONVERTED, backbone_names
from brainmap.models.checkpoints.weight_files import fill
from brainmap.models.model_cards import ModelCard
from brainmap.models.self_distillation import Branch, DINOHead, SelfDistillation


class TrainingCheckpointAdapter(Adapter):
    """Student and teacher of a card's backbone with heads as large as those in a file.

    Parameters
    ----------
    card : ModelCard
        Of the backbone.
    """

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Backbones of teacher and student."""
        return {name: module.get_submodule(f"{name}.backbone") for name in ("teacher", "student")}

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> SelfDistillation:
        """Build, convert and fill strictly."""
        if self.card.architecture not in CONVERTED or self.card.architecture == "IJepaModel":
            able = ", ".join(sorted(set(CONVERTED) - {"IJepaModel"}))
            kind = self.card.architecture
            raise InputError(f"Training checkpoints of {kind} are not understood; those of {able} are.")
        parts = split_parts(tensors)
        pair: SelfDistillation | None = None
        for name in ("student", "teacher"):
            branch = self._branch(parts[name], f"{source} ({name})")
            if pair is None:
                pair = SelfDistillation(branch)
            else:
                pair.teacher = branch.requires_grad_(False)
        assert pair is not None
        for loss in ("dino_loss", "ibot_patch_loss"):
            centre = parts.get(loss, {}).get("center")
            if centre is not None and getattr(pair, loss, None) is not None:
                getattr(pair, loss).center.copy_(centre.reshape(1, -1))
        return pair

    def _branch(self, tensors: Mapping[str, Mapping[str, Tensor]], source: str) -> Branch:
        renamed = backbone_names(tensors["backbone"], self.card)
        token = "embeddings.mask_token"
        if self.card.architecture == "ViTModel" and token in renamed:
            options = {**self.card.build_options, "use_mask_token": True}
            self.card = self.card.model_copy(update={"build_options": options})
        elif self.card.build_options.get("use_mask_token") and "embeddings.cls_token" in renamed:
            renamed[token] = torch.zeros_like(renamed["embeddings.cls_token"])  # iBOT's teacher sees no masks
        backbone = super().from_tensors(renamed, source)
        if "dino_head" not in tensors:
            raise InputError(f"Weights {source} have no DINO head; load them as a plain backbone instead.")
        patch_head = _head(tensors["ibot_head"], source) if "ibot_head" in tensors else None
        return Branch(backbone, _head(tensors["dino_head"], source), patch_head, options=self._sizes())


def is_training_checkpoint(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds a student, a teacher and a head."""
    names = {re.sub(r"^(model\.)?", "", name) for name in tensors}
    return all(any(name.startswith(part) for name in names) for part in ("student.", "teacher.")) and any(
        "head." in name for name in names
    )


def checkpoint_card(card: ModelCard, module: SelfDistillation) -> ModelCard:
    """The backbone's card with the exact loss as its default objective."""
    objective = "dino" if module.student.ibot_head is None else "dino-ibot"
    return card.model_copy(update={"objective": objective})


def split_parts(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sort a checkpoint's tensors: ``{student: {backbone: {…}, dino_head: {…}, …}, teacher: …, dino_loss: {…}, …}``."""
    parts: dict[str, Any] = {"student": {}, "teacher": {}}
    for name, tensor in tensors.items():
        name = re.sub(r"^model\.", "", name).replace("module.", "", 1)
        top, _, rest = name.partition(".")
        if top in ("student", "teacher"):
            component, _, leaf = rest.partition(".")
            component = "dino_head" if component == "head" else component
            parts[top].setdefault(component, {})[leaf] = tensor
        elif top in ("dino_loss", "ibot_patch_loss"):
            parts.setdefault(top, {})[rest] = tensor
        elif top == "ibot_loss":
            parts["ibot_patch_loss" if rest == "center2" else "dino_loss"] = {"center": tensor}
    for branch in (parts["student"], parts["teacher"]):
        _split_shared_head(branch)
    return parts


def _split_shared_head(branch: dict[str, dict[str, Tensor]]) -> None:
    """Split iBOT's head, one MLP with two last layers, into two heads, as the later models have."""
    head = branch.get("dino_head", {})
    second = {name: tensor for name, tensor in head.items() if name.startswith("last_layer2.")}
    if second:
        shared = {name: tensor for name, tensor in head.items() if name.startswith("mlp.")}
        branch["ibot_head"] = shared | {name.replace("last_layer2.", "last_layer."): t for name, t in second.items()}
        branch["dino_head"] = {name: tensor for name, tensor in head.items() if name not in second}


def _head(tensors: Mapping[str, Tensor], source: str) -> DINOHead:
    """A head as large as its tensors; weight normalisation ``g v / |v|`` is multiplied out."""
    values = dict(tensors)
    for gain, direction in (("weight_g", "weight_v"), ("parametrizations.weight.original0",) * 2):
        if f"last_layer.{gain}" not in values:
            continue
        direction = direction.replace("original0", "original1")
        g, v = values.pop(f"last_layer.{gain}"), values.pop(f"last_layer.{direction}")
        values["last_layer.weight"] = g * v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    try:
        hidden, width = values["mlp.0.weight"].shape
        prototypes, bottleneck = values["last_layer.weight"].shape
    except KeyError as error:
        raise InputError(f"The head in {source} lacks {error}; only three-layer heads are understood.") from None
    normed = "mlp.1.running_mean" in values  # DINO's convolutional networks (use_bn_in_head)
    head = DINOHead(width, hidden=hidden, bottleneck=bottleneck, prototypes=prototypes, batch_norm=normed)
    filled = fill(head, values, source)
    assert isinstance(filled, DINOHead)
    return copy.deepcopy(filled)
