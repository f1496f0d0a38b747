"""Names of tensors in the authors' files to those of ``transformers``, by architecture.

Understood are the layouts of :data:`brainmap.models.checkpoints.authors_layouts.LAYOUTS`, bare or wrapped as
``teacher.backbone.``, ``module.``, ``model.`` (Lightning) and the like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from brainmap.models.checkpoints.authors_layouts import LAYOUTS, Layout
from brainmap.models.model_cards import ModelCard

# Architectures whose training checkpoints (student, teacher, heads) are understood.
CONVERTED = (
    "DINOv3ConvNextModel", "DINOv3ViTModel", "Dinov2Model", "Dinov2WithRegistersModel", "IJepaModel", "ResNetModel",
    "ViTModel",
)  # fmt: skip
_TRAINED = (
    "model.teacher.backbone.", "teacher.module.backbone.", "teacher.backbone.", "teacher.module.", "teacher.",
    "model_ema.backbone.",
)  # fmt: skip
WRAPPERS = ("module.", "model.", "net.", "network.", "backbone.", "encoder.", "trunk.")
_DEPTH = 4  # wrappers in one another, as in Lightning's model of a data-parallel module of a backbone
_MASKED = ("Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel")


def to_library_names(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Tensors of a model's file in the names of ``transformers``, without prefixes and wrappers.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As in the file.
    card : ModelCard
        Its ``prefix`` selects the backbone's tensors in a larger model's file.
    """
    named = dict(tensors)
    if card.prefix and any(name.startswith(card.prefix) for name in named):
        named = _below(named, card.prefix)
    unwrapped, layout = _unwrapped(named, card)
    return dict(named) if layout is None else _renamed(unwrapped, layout, card)


def without_wrappers(tensors: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Tensors that have the library's names but for a wrapper around all of them, such as ``model.``, without it.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of any names.
    wanted : set of str
        The network's own names, which may begin like a wrapper.
    """
    best, named = dict(tensors), dict(tensors)
    for _ in range(_DEPTH):
        wrapper = next((w for w in WRAPPERS if all(name.startswith(w) for name in named)), None)
        if wrapper is None:
            break
        named = _below(named, wrapper)
        if len(wanted & named.keys()) > len(wanted & best.keys()):
            best = named
    return best


def backbone_names(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """A backbone's tensors in the names of ``transformers``; those that have them already pass unchanged."""
    layout = _layout(tensors, card)
    return dict(tensors) if layout is None else _renamed(tensors, layout, card)


def expected_layouts(card: ModelCard) -> str:
    """What a file of the card's model may look like, for the message about one that doesn't."""
    return ", ".join(["the names of transformers", *(layout.name for layout in LAYOUTS.get(card.architecture, ()))])


def _layout(tensors: Mapping[str, Tensor], card: ModelCard) -> Layout | None:
    for layout in LAYOUTS.get(card.architecture, ()):
        pattern = re.compile(layout.signature)
        if any(pattern.match(name) for name in tensors):
            return layout
    return None


def _unwrapped(tensors: dict[str, Tensor], card: ModelCard) -> tuple[dict[str, Tensor], Layout | None]:
    """The tensors without the wrappers around them, and their layout; None where none is recognised."""
    for wrapper in ("", *_TRAINED):
        inside = _below(tensors, wrapper) if wrapper else tensors
        for _ in range(_DEPTH if inside else 0):
            if (layout := _layout(inside, card)) is not None:
                return inside, layout
            further = next((w for w in WRAPPERS if any(name.startswith(w) for name in inside)), None)
            if further is None:
                break
            inside = _below(inside, further)
    return tensors, None


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _renamed(tensors: Mapping[str, Tensor], layout: Layout, card: ModelCard) -> dict[str, Tensor]:
    changed = dict(tensors)
    for change in layout.before:
        changed = change(changed)
    renamed: dict[str, Tensor] = {}
    for name, tensor in changed.items():
        if re.search(layout.dropped, name):
            continue
        renamed[_new_name(name, layout)] = tensor
    token = "embeddings.mask_token"
    if token in renamed and card.architecture in ("DINOv3ViTModel", "ViTModel"):
        renamed[token] = renamed[token].reshape(1, 1, -1)
    if card.architecture in _MASKED and token not in renamed and "embeddings.cls_token" in renamed:
        shape = (1, 1, -1) if card.architecture == "DINOv3ViTModel" else (1, -1)
        width = renamed["embeddings.cls_token"].shape[-1]
        renamed[token] = torch.zeros(width).reshape(shape)  # only training uses it
    return renamed


def _new_name(name: str, layout: Layout) -> str:
    for head, replacement in layout.heads.items():
        if name.startswith(head):
            return replacement + name.removeprefix(head)
    for pattern, replacement in layout.rules:
        name = re.sub(pattern, replacement, name)
    return name if name.startswith(layout.apart or ("\0",)) else layout.prefix + name
