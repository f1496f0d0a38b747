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

from brainmap.errors import InputError
from brainmap.models.adapters import Adapter
from brainmap.models.cards import ModelCard
from brainmap.models.fitting import fill
from brainmap.models.self_distillation import Branch, DINOHead, SelfDistillation

# Authors' names to those of transformers, by architecture. Fused qkv weights are split beforehand.
_COMMON = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^masked_embed$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
_RENAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "ViTModel": (
        *_COMMON,
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"^norm\.", "layernorm."),
    ),
    "Dinov2Model": (
        *_COMMON,
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.w12\.", ".mlp.weights_in."),
        (r"\.mlp\.w3\.", ".mlp.weights_out."),
        (r"^norm\.", "layernorm."),
    ),
    "DINOv3ViTModel": (
        (r"^(cls_token|mask_token)$", r"embeddings.\1"),
        (r"^(?:storage_tokens|register_tokens)$", "embeddings.register_tokens"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"^blocks\.(\d+)\.", r"layer.\1."),
        (r"\.attn\.query\.", ".attention.q_proj."),
        (r"\.attn\.key\.", ".attention.k_proj."),
        (r"\.attn\.value\.", ".attention.v_proj."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.(?:fc1|w2)\.", ".mlp.up_proj."),
        (r"\.mlp\.(?:fc2|w3)\.", ".mlp.down_proj."),
        (r"\.mlp\.w1\.", ".mlp.gate_proj."),
    ),
}
_RENAMES["IJepaModel"] = _RENAMES["ViTModel"]
_RENAMES["Dinov2WithRegistersModel"] = _RENAMES["Dinov2Model"]
_DROPPED = re.compile(r"rope_embed\.|bias_mask$|local_cls_norm\.|cls_norm\.")


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
        if self.card.architecture not in _RENAMES or self.card.architecture == "IJepaModel":
            able = ", ".join(sorted(_RENAMES.keys() - {"IJepaModel"}))
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
        if self.card.architecture == "ViTModel" and "embeddings.mask_token" in renamed:
            options = {**self.card.build_options, "use_mask_token": True}
            self.card = self.card.model_copy(update={"build_options": options})
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


def backbone_names(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """A backbone's tensors in the names of ``transformers``; those that have them already pass unchanged."""
    if not any(name.startswith("blocks.") for name in tensors):
        return dict(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in _split_qkv(tensors, card).items():
        if _DROPPED.search(name):
            continue
        for pattern, replacement in _RENAMES[card.architecture]:
            name = re.sub(pattern, replacement, name)
        if name == "embeddings.mask_token" and card.architecture in ("DINOv3ViTModel", "ViTModel"):
            tensor = tensor.reshape(1, 1, -1)
        renamed[name] = tensor
    return renamed


def _split_qkv(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Fused ``attn.qkv`` to query, key and value. DINOv3's keys have no bias: theirs is masked in the authors' code."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." not in name or name.endswith("bias_mask"):
            split[name] = tensor
            continue
        for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            if not (part == "key" and name.endswith("bias") and card.architecture == "DINOv3ViTModel"):
                split[name.replace(".qkv.", f".{part}.")] = piece.contiguous()
    return split


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
    head = DINOHead(width, hidden=hidden, bottleneck=bottleneck, prototypes=prototypes)
    filled = fill(head, values, source)
    assert isinstance(filled, DINOHead)
    return copy.deepcopy(filled)
