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
from brainmap.models.self_distillation import Branch, DINOHead, SelfDistillation, layer_norm, untied
from brainmap.models.training_recipe import recipe_views, training_recipe

NORM_EPSILON = {"layernorm": 1e-6, "layernormbf16": 1e-5}


class TrainingCheckpointAdapter(Adapter):
    """Student and teacher of a card's backbone with heads as large as those in a file.

    Parameters
    ----------
    card : ModelCard
        Of the backbone.
    settings : mapping, optional
        Arguments of the training, where the checkpoint states them.
    """

    def __init__(self, card: ModelCard, settings: Mapping[str, Any] | None = None) -> None:
        student = ((settings or {}).get("config") or {}).get("student") or {}
        super().__init__(_card_of_run(card, student))
        self._shares_head = settings is not None and _shares_head(settings)

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
            branch = self._branch(parts[name], f"{source} ({name})", "ibot_patch_loss" in parts)
            if pair is None:
                pair = SelfDistillation(branch)
            else:
                pair.teacher = branch.requires_grad_(False)
        assert pair is not None
        for loss in ("dino_loss", "ibot_patch_loss"):
            centre = parts.get(loss, {}).get("center")
            if centre is not None and getattr(pair, loss, None) is not None:
                kept = getattr(pair, loss).center
                if centre.numel() != kept.numel():
                    sizes = f"{centre.numel()} prototypes, its head {kept.numel()}"
                    raise InputError(f"The centre '{loss}' of {source} is that of {sizes}.")
                kept.copy_(centre.reshape(1, -1))
        if "backbone" in parts.get("gram_teacher", {}):
            pair.gram_teacher = self._backbone(parts["gram_teacher"]["backbone"], f"{source} (Gram teacher)")
        return pair

    def _backbone(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        self.card = _with_registers(self.card, tensors)
        renamed = backbone_names(tensors, self.card)
        token = "embeddings.mask_token"
        if self.card.architecture == "ViTModel" and token in renamed:
            options = {**self.card.build_options, "use_mask_token": True}
            self.card = self.card.model_copy(update={"build_options": options})
        elif self.card.build_options.get("use_mask_token") and "embeddings.cls_token" in renamed:
            renamed[token] = torch.zeros_like(renamed["embeddings.cls_token"])  # iBOT's teacher sees no masks
        backbone = super().from_tensors(renamed, source)
        return untied(backbone, tensors)

    def _branch(self, tensors: Mapping[str, Mapping[str, Tensor]], source: str, patch_centre: bool) -> Branch:
        backbone: Any = self._backbone(tensors["backbone"], source)
        if "dino_head" not in tensors:
            raise InputError(f"Weights {source} have no DINO head; load them as a plain backbone instead.")
        head = _head(tensors["dino_head"], source)
        shared = head if self._shares_head or patch_centre else None
        patch_head = _head(tensors["ibot_head"], source) if "ibot_head" in tensors else shared
        local_norm = layer_norm(tensors["backbone"], "local_cls_norm", getattr(backbone, "norm", None))
        return Branch(backbone, head, patch_head, options=self._sizes(), local_cls_norm=local_norm)


def is_training_checkpoint(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds a student, a teacher and a head."""
    names = {re.sub(r"^(model\.)?", "", name) for name in tensors}
    return all(any(name.startswith(part) for name in names) for part in ("student.", "teacher.")) and any(
        "head." in name for name in names
    )


def checkpoint_card(card: ModelCard, module: SelfDistillation, settings: Mapping[str, Any]) -> ModelCard:
    """The backbone's card with the views of the checkpoint's recipe, and its training loss as default objective.

    Where the training was centred by Sinkhorn–Knopp that is ``dinov3``, which ties the images of a batch together;
    else the image-wise terms, ``dino-ibot`` or ``dino``.
    """
    views = recipe_views(settings, card)
    if card.adapter == "dino-tiny":
        return card.model_copy(update={"views": views})
    centres = [part.center for part in (module.dino_loss, module.ibot_patch_loss) if part is not None]
    used = any(bool((centre != 0).any()) for centre in centres)
    patch_head = module.student.ibot_head is not None
    recipe = training_recipe(settings, card, centres_used=used, patch_head=patch_head)
    patches = patch_head and recipe.ibot_weight > 0
    if recipe.centring == "sinkhorn":
        objective = "dinov3" if patches else "dino-sinkhorn"
    else:
        objective = "dino-ibot" if patches else "dino"
    return card.model_copy(update={"objective": objective, "views": views})


def _card_of_run(card: ModelCard, student: Mapping[str, Any]) -> ModelCard:
    """The card with the epsilon of the final and inner norms that a run's config names (DINOv2, DINOv3)."""
    name = student.get("norm_layer")
    if name is None:
        return card
    if name not in NORM_EPSILON:
        raise InputError(f"The checkpoint's config says norm_layer '{name}'; known are {', '.join(NORM_EPSILON)}.")
    return card.model_copy(update={"config": {**card.config, "layer_norm_eps": NORM_EPSILON[name]}})


def _shares_head(settings: Mapping[str, Any]) -> bool:
    """Whether a config says that DINO's head serves the patches too (DINOv2's ``ibot.separate_head: false``)."""
    ibot = (settings.get("config") or {}).get("ibot") or {}
    return ibot.get("separate_head") is False and float(ibot.get("loss_weight", 1.0)) > 0


def _with_registers(card: ModelCard, tensors: Mapping[str, Tensor]) -> ModelCard:
    """The card with as many registers as a DINOv3 backbone in the authors' names holds; other runs may have none."""
    if card.architecture != "DINOv3ViTModel" or not any(name.startswith("blocks.") for name in tensors):
        return card
    tokens = tensors.get("storage_tokens", tensors.get("register_tokens"))
    count = 0 if tokens is None else tokens.shape[1]
    changes = {"config": {**card.config, "num_register_tokens": count}, "tokens": {"cls": 1, "register": count}}
    return card.model_copy(update=changes)


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
        elif top == "gram_teacher" and rest.startswith("backbone."):
            parts.setdefault(top, {}).setdefault("backbone", {})[rest.removeprefix("backbone.")] = tensor
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
    """A head as large as its tensors, its last layer normalised (``g v / |v|``) where the file's is."""
    values = dict(tensors)
    for number, old in enumerate(("weight_g", "weight_v")):
        if f"last_layer.{old}" in values:
            values[f"last_layer.parametrizations.weight.original{number}"] = values.pop(f"last_layer.{old}")
    direction = "last_layer.parametrizations.weight.original1"
    last = direction if direction in values else "last_layer.weight"
    try:
        hidden, width = values["mlp.0.weight"].shape
        prototypes, bottleneck = values[last].shape
    except KeyError as error:
        raise InputError(f"The head in {source} lacks {error}; only three-layer heads are understood.") from None
    normed = "mlp.1.running_mean" in values  # DINO's convolutional networks (use_bn_in_head)
    head = DINOHead(width, hidden=hidden, bottleneck=bottleneck, prototypes=prototypes, batch_norm=normed)
    if last == direction:
        nn.utils.parametrizations.weight_norm(head.last_layer, dim=0)
    filled = fill(head, values, source)
    assert isinstance(filled, DINOHead)
    return copy.deepcopy(filled)
